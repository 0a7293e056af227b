"""Weights of the bins of a cube in the fit statistic."""

import numpy as np
import pytest

from villard.datasets import MapDataset
from villard.exceptions import DataError
from villard.irf import PSFMap
from villard.likelihood import bind
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import Models, PointSpatialModel, PowerLawSpectralModel, SkyModel


def make(weights=None, free_position=False):
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=1, axes=[axis])
    true = geom.as_energy_true()
    rng = np.random.default_rng(3)
    dataset = MapDataset(
        counts=WcsNDMap(geom, data=rng.poisson(0.7, geom.data_shape).astype(float)),
        background=WcsNDMap(geom, data=np.full(geom.data_shape, 0.4)),
        exposure=WcsNDMap(true, data=np.full(geom.data_shape, 1e13), unit="cm2 s"),
        psf=PSFMap.from_gauss(true.axes["energy_true"], sigma="0.1 deg"),
        name="cube",
    )
    if weights is not None:
        dataset.weights = WcsNDMap(geom, data=weights(geom.data_shape))
    place = PointSpatialModel(lon_0="0.12 deg", lat_0="0 deg", frame="galactic")
    place.lon_0.frozen = place.lat_0.frozen = not free_position
    model = SkyModel(PowerLawSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1"), place, name="source")
    dataset.models = Models([model])
    return dataset


@pytest.mark.parametrize("free_position", [False, True])
@pytest.mark.parametrize("statistic", ["cash", "cstat"])
def test_the_fit_sums_the_weighted_statistic_of_each_bin(free_position, statistic):
    def weights(shape):
        return np.random.default_rng(0).choice([0.0, 0.3, 1.0], shape)

    weighted, plain = make(weights, free_position), make(None, free_position)
    weighted.stat_type = plain.stat_type = statistic
    expected = np.sum(weighted.weights.data * plain.stat_array())
    np.testing.assert_allclose(weighted.stat_sum(), expected, rtol=1e-13)
    bound = bind([weighted], weighted.models)
    np.testing.assert_allclose(bound.stat(), expected, rtol=1e-12)


def test_weights_of_zero_act_as_a_mask_and_equal_ones_as_a_factor():
    plain = make()
    doubled = make(lambda shape: np.full(shape, 2.0))
    np.testing.assert_allclose(doubled.stat_sum(), 2 * plain.stat_sum(), rtol=1e-13)
    half = make(lambda shape: np.broadcast_to(np.arange(shape[2]) > 4, shape).astype(float))
    plain.mask_fit = plain.counts.copy(data=half.weights.data > 0)
    np.testing.assert_allclose(half.stat_sum(), plain.stat_sum(), rtol=1e-13)


def test_weights_go_with_copies_cutouts_and_files(tmp_path):
    dataset = make(lambda shape: np.linspace(0, 1, int(np.prod(shape))).reshape(shape))
    dataset.psf_method = "exact"
    dataset.write(tmp_path / "cube.fits")
    again = MapDataset.read(tmp_path / "cube.fits")
    np.testing.assert_allclose(again.weights.data, dataset.weights.data)
    part = dataset.slice_by_energy("2 TeV", "10 TeV").cutout(dataset.geom.center_skydir, "0.4 deg")
    assert part.weights.data.shape == part.counts.data.shape
    assert part.psf_method == again.psf_method == "exact"


def test_bins_with_weights_cant_be_joined_and_weights_must_be_numbers():
    dataset = make(np.ones)
    with pytest.raises(DataError, match="can't be joined"):
        dataset.to_image()
    with pytest.raises(DataError, match="have weights"):
        make().stack(dataset)
    with pytest.raises(DataError, match=r"weights: .* negative"):
        make(lambda shape: np.full(shape, -1.0))
    with pytest.raises(DataError, match="aren't finite"):
        make(lambda shape: np.full(shape, np.nan))
    with pytest.raises(DataError, match="all are 0"):
        make(np.zeros).stat_sum()

"""Simulated cubes: Asimov counts, random ones, and many fits of them."""

import astropy.units as u
import numpy as np
import pytest
from scipy import stats

from villard.datasets import MapDataset, MapDatasetOnOff
from villard.irf import PSFMap
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling import Fit
from villard.modeling.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from villard.simulate import asimov, fake, simulate_toys

N_TOYS = 500
AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
TRUE = AXIS.copy(name="energy_true")
IMAGE = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=(2.4, 2.4))


def cube(values, axis=AXIS, unit=""):
    geom = IMAGE.to_cube([axis])
    return WcsNDMap(geom, data=np.broadcast_to(values, geom.data_shape).copy(), unit=unit)


def source():
    spatial = GaussianSpatialModel(lon_0="0 deg", lat_0="0 deg", sigma="0.2 deg", frame="galactic")
    return SkyModel(PowerLawSpectralModel(index=2, amplitude="1e-12 cm-2 s-1 TeV-1"), spatial, name="source")


def dataset(area_time=1e15):
    """About 900 counts of a Gaussian source and 500 of the background."""
    return MapDataset(
        counts=cube(0.0),
        exposure=cube(area_time, TRUE, "cm2 s"),
        background=cube(np.array([0.6, 0.2, 0.1])[:, np.newaxis, np.newaxis]),
        psf=PSFMap.from_gauss(TRUE, sigma=0.1 * u.deg),
        models=[source(), FoVBackgroundModel(dataset_name="cube")],
        name="cube",
    )


def test_asimov_counts_give_back_the_truth():
    expected = asimov([dataset()])[0]
    np.testing.assert_allclose(expected.counts.data, dataset().npred().data, rtol=1e-9, atol=1e-12)
    expected.models = dataset().models
    truth = expected.models.parameters.free_parameters.value
    expected.models["source"].spectral_model.index.value = 2.3
    assert Fit().run([expected]).success
    np.testing.assert_allclose(expected.models.parameters.free_parameters.value, truth, rtol=1e-3, atol=1e-4)


def test_fake_counts_have_their_mean():
    counts = fake([dataset()], random_state=1)[0].counts.data
    expected = dataset().npred().data
    assert abs(counts.sum() - expected.sum()) < 4 * np.sqrt(expected.sum())


def test_off_counts():
    onoff = MapDatasetOnOff.from_map_dataset(dataset(), acceptance=1, acceptance_off=5)
    onoff.models = [source()]
    expected = asimov([onoff], npred_background=cube(2.0))[0]
    np.testing.assert_allclose(expected.counts_off.data, 10)
    np.testing.assert_allclose(expected.counts.data, 2 + onoff.npred_signal().data)


@pytest.fixture(scope="module")
def toys():
    return simulate_toys([dataset()], N_TOYS, random_state=1)


def test_pulls_of_all_parameters_are_normal(toys):
    assert toys.names == [
        "source.spectral.index",
        "source.spectral.amplitude",
        "source.spatial.lon_0",
        "source.spatial.lat_0",
        "source.spatial.sigma",
        "cube-bkg.spectral.norm",
    ]
    assert np.all(toys.success)
    pulls = toys.pulls()
    assert pulls.shape == (N_TOYS, 6)
    assert np.all(np.abs(pulls.mean(axis=0)) < 3.5 / np.sqrt(N_TOYS))
    assert np.all(np.abs(pulls.std(axis=0) - 1) < 3.5 / np.sqrt(2 * N_TOYS))
    for column in pulls.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3


def test_statistic_of_the_truth_follows_chi2(toys):
    assert stats.kstest(toys.ts_truth(), stats.chi2(6).cdf).pvalue > 1e-3


def test_a_toy_is_what_a_single_fit_gives(toys):
    single = dataset()
    single.counts = single.counts.copy(data=toys._toys.draws[0]["counts"][7].reshape(single.data_shape))
    result = Fit().run([single])
    assert result.total_stat == pytest.approx(toys.stat[7], abs=1e-3)

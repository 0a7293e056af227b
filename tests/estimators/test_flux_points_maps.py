"""Flux points from cubes of counts: the same as fits of the cubes cut in energy."""

import json
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from villard.datasets import Datasets, MapDataset, MapDatasetOnOff
from villard.estimators import FluxPointsEstimator
from villard.irf import EDispKernelMap, PSFMap
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling import Fit
from villard.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
AXIS_TRUE = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=6, name="energy_true")
GEOM = WcsGeom.create(skydir=(266, -29), npix=(24, 20), binsz=0.1, proj="TAN", axes=[AXIS])
EDGES = AXIS.edges[[0, 2, 4]]


def make_dataset(name: str = "cube") -> MapDataset:
    exposure = WcsNDMap(GEOM.to_image().to_cube([AXIS_TRUE]), data=np.full((6, 20, 24), 3e13), unit="cm2 s")
    return MapDataset(
        counts=WcsNDMap(GEOM),
        background=WcsNDMap(GEOM, data=np.full(GEOM.data_shape, 0.3)),
        exposure=exposure,
        psf=PSFMap.from_gauss(AXIS_TRUE, sigma=0.12 * u.deg),
        edisp=EDispKernelMap.from_gauss(AXIS, AXIS_TRUE, sigma=0.1, bias=0.0),
        name=name,
    )


def make_models(*names: str) -> list[Any]:
    positions = [GEOM.pix_to_skydir(x, y) for x, y in ((11, 9), (16, 12))]
    keys = [{"lon_0": p.ra, "lat_0": p.dec, "frame": "icrs"} for p in positions]
    one = SkyModel(
        PowerLawSpectralModel(index=2.2, amplitude="8e-12 cm-2 s-1 TeV-1"),
        PointSpatialModel(**keys[0]),
        name="source",
    )
    two = SkyModel(
        PowerLawSpectralModel(index=2.5, amplitude="5e-12 cm-2 s-1 TeV-1"),
        GaussianSpatialModel(sigma="0.2 deg", **keys[1]),
        name="other",
    )
    return [one, two, *(FoVBackgroundModel(dataset_name=name) for name in names)]


@pytest.fixture
def dataset() -> MapDataset:
    dataset = make_dataset()
    dataset.models = make_models("cube")
    dataset.fake(random_state=7)
    return dataset


def fit_of_cut(dataset: MapDataset, low: u.Quantity, high: u.Quantity, reoptimize: bool) -> Any:
    """Fit the amplitude of the source to the energies of one bin."""
    cut = dataset.copy(name="cube")
    cut.mask_fit = GEOM.energy_mask(low, high, round_to_edge=True)
    models = dataset.models.copy()
    source = models["source"]
    for parameter in models.parameters if not reoptimize else source.parameters:
        parameter.frozen = True
    source.spectral_model.amplitude.frozen = False
    cut.models = models
    return source.spectral_model.amplitude, Fit().run([cut]), cut


@pytest.mark.parametrize("reoptimize", [False, True])
def test_same_as_fits_of_cut_cubes(dataset: MapDataset, reoptimize: bool) -> None:
    models = dataset.models
    assert models is not None
    for name in ("source", "other"):
        models[name].spatial_model.freeze()
        models[name].spectral_model.index.frozen = True
    points = FluxPointsEstimator(
        EDGES, source="source", reoptimize=reoptimize, selection_optional="all", n_sigma_ul=2
    ).run(dataset)
    reference = models["source"].spectral_model.amplitude.value
    for i in range(2):
        amplitude, result, cut = fit_of_cut(dataset, EDGES[i], EDGES[i + 1], reoptimize)
        np.testing.assert_allclose(points.quantity("norm")[i], amplitude.value / reference, rtol=1e-5)
        np.testing.assert_allclose(points.quantity("norm_err")[i], amplitude.error / reference, rtol=1e-4)
        np.testing.assert_allclose(points.quantity("stat")[i], result.total_stat, rtol=1e-9)
        inside = cut.mask_fit.data
        np.testing.assert_allclose(points.quantity("counts")[i, 0], dataset.counts.data[inside].sum())
        np.testing.assert_allclose(points.quantity("npred")[i, 0], cut.npred().data[inside].sum(), rtol=1e-6)
        signal = cut.npred_signal("source").data[inside].sum()
        np.testing.assert_allclose(points.quantity("npred_excess")[i, 0], signal, rtol=1e-5)
    assert np.all(points.quantity("norm_ul") > points.quantity("norm"))
    np.testing.assert_allclose(points.quantity("ts"), points.quantity("stat_null") - points.quantity("stat"))


def test_expected_counts_give_the_spectrum(dataset: MapDataset) -> None:
    dataset.counts = dataset.npred()
    points = FluxPointsEstimator(AXIS.edges, source="source").run(dataset)
    np.testing.assert_allclose(points.quantity("norm"), 1, rtol=1e-6)
    spectrum = dataset.models["source"].spectral_model
    expected = spectrum.integral(points.energy_min, points.energy_max)
    np.testing.assert_allclose(points.quantity("flux").to_value(expected.unit), expected.value, rtol=1e-6)


def test_several_cubes_and_masks() -> None:
    cubes = [make_dataset(name) for name in ("one", "two")]
    models = make_models("one", "two")
    mask = np.ones(GEOM.data_shape, dtype=bool)
    mask[0, :, :12] = False
    cubes[1].mask_safe = WcsNDMap(GEOM, data=mask)
    for cube in cubes:
        cube.models = models
        cube.counts = cube.npred()
    datasets = Datasets(cubes)
    points = FluxPointsEstimator(AXIS.edges, source="source").run(datasets)
    np.testing.assert_allclose(points.quantity("norm"), 1, rtol=1e-6)
    # What is masked adds nothing: a smaller error where both cubes count.
    single = FluxPointsEstimator(AXIS.edges, source="source").run(cubes[0])
    ratio = points.quantity("norm_err") / single.quantity("norm_err")
    np.testing.assert_allclose(ratio[1:], np.sqrt(0.5), rtol=1e-5)
    assert np.sqrt(0.5) < ratio[0] < 1
    np.testing.assert_allclose(points.quantity("counts")[0, 1], cubes[1].counts.data[0][mask[0]].sum())


def test_measured_background(dataset: MapDataset) -> None:
    measured = MapDatasetOnOff.from_map_dataset(dataset, acceptance=1, acceptance_off=20, name="cube")
    measured.counts_off = WcsNDMap(GEOM, data=np.full(GEOM.data_shape, 6.0))
    models = make_models()
    measured.models = models
    signal = measured.npred_signal()
    measured.counts = signal.copy(data=signal.data + 0.3)
    points = FluxPointsEstimator(EDGES, source="source").run(measured)
    np.testing.assert_allclose(points.quantity("norm"), 1, rtol=1e-4)
    assert points.success.data.all()


REFERENCE = json.loads((Path(__file__).parent.parent / "reference/estimators_maps.json").read_text())


@pytest.mark.parametrize("tag", ["fixed", "reoptimized"])
def test_same_as_gammapy(gammapy_data: Path, tag: str) -> None:
    dataset = MapDataset.read(gammapy_data / "cta-1dc-gc/cta-1dc-gc-small.fits.gz", name="cta")
    spectrum = ExpCutoffPowerLawSpectralModel(
        index=2.4, amplitude="2.4e-12 cm-2 s-1 TeV-1", lambda_="0.02 TeV-1"
    )
    spatial = PointSpatialModel(lon_0="-0.05 deg", lat_0="-0.05 deg", frame="galactic")
    dataset.models = [SkyModel(spectrum, spatial, name="gc"), FoVBackgroundModel(dataset_name="cta")]
    points = FluxPointsEstimator(
        [0.1, 0.3, 1, 3, 10] * u.TeV, source="gc", selection_optional="ul", reoptimize=tag == "reoptimized"
    ).run(dataset)
    for name, values in REFERENCE["flux_points"][tag].items():
        np.testing.assert_allclose(points.quantity(name).value, values, rtol=5e-3, err_msg=name)

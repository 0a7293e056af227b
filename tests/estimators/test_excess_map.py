"""Excess maps: counts in disks, their significance, and the flux that they mean."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

from villard.datasets import MapDataset, MapDatasetOnOff
from villard.estimators import ExcessMapEstimator
from villard.exceptions import ConfigError, DataError
from villard.irf import EDispKernelMap
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import PowerLawSpectralModel

AXIS = MapAxis.from_energy_edges([1, 2, 4, 8] * u.TeV)
GEOM = WcsGeom.create(skydir=(83, 22), npix=(24, 17), binsz=0.1, proj="TAN", axes=[AXIS])


def make_map(values: object, geom: WcsGeom = GEOM, **kwargs: object) -> WcsNDMap:
    return WcsNDMap(geom, data=np.broadcast_to(values, geom.data_shape).copy(), **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def dataset() -> MapDataset:
    rng = np.random.default_rng(1)
    exposure = make_map(1e13, GEOM.as_energy_true(), unit="cm2 s")
    counts = make_map(rng.poisson(1.0, GEOM.data_shape).astype(float))
    return MapDataset(counts=counts, background=make_map(1.0), exposure=exposure, name="toy")


def brute_force_sum(image: np.ndarray, radius: float) -> np.ndarray:
    """Sum of the pixels with their centre within a radius in pixels."""
    y, x = np.indices(image.shape)
    total = np.zeros(image.shape)
    for j, i in np.ndindex(image.shape):
        total[j, i] = image[np.hypot(x - i, y - j) <= radius + 1e-6].sum()
    return total


@pytest.mark.parametrize("radius", [0.05, 0.1, 0.25, 0.3, 0.52, 3.0])
def test_sums_in_disks_also_at_the_edges(dataset: MapDataset, radius: float) -> None:
    mask = np.ones(GEOM.data_shape, dtype=bool)
    mask[:, :6, :5] = False
    mask[1, 12:] = False
    dataset.mask_safe = make_map(mask)
    maps = ExcessMapEstimator(radius * u.deg).run(dataset)
    counts = np.where(mask, dataset.counts.data, 0).sum(axis=0)
    background = mask.sum(axis=0).astype(float)
    known = mask.any(axis=0)
    for name, image in (("counts", counts), ("npred_background", background)):
        expected = np.where(known, brute_force_sum(image, radius / 0.1), np.nan)
        np.testing.assert_allclose(maps[name].data[0], expected, rtol=1e-13)
    np.testing.assert_allclose(maps.npred_excess.data, maps.counts.data - maps.npred_background.data)


def test_rectangular_pixels() -> None:
    geom = WcsGeom.create(npix=(20, 20), binsz=(0.1, 0.2), axes=[AXIS.squash()])
    counts = make_map(0.0, geom)
    counts.data[0, 10, 10] = 1
    maps = ExcessMapEstimator("0.4 deg").run(MapDataset(counts=counts, background=make_map(0.1, geom)))
    assert maps.counts.data[0, 10].sum() == 9
    assert maps.counts.data[0, :, 10].sum() == 5


# Gammapy's documented values of counts statistics.
@pytest.mark.parametrize(
    ("n_on", "mu_bkg", "sqrt_ts"),
    [(1, 2, -0.78339367), (5, 1, 2.84506224), (10, 5, 1.96543726), (100, 23, 11.8294207)],
)
def test_significance_with_known_background(n_on: float, mu_bkg: float, sqrt_ts: float) -> None:
    geom = GEOM.squash("energy")
    maps = ExcessMapEstimator("0.01 deg").run(
        MapDataset(counts=make_map(n_on, geom), background=make_map(mu_bkg, geom), name="toy")
    )
    np.testing.assert_allclose(maps.sqrt_ts.data, sqrt_ts, rtol=1e-5)
    np.testing.assert_allclose(maps.npred_excess.data, n_on - mu_bkg)


@pytest.mark.parametrize(
    ("n_on", "n_off", "alpha", "sqrt_ts"), [(10, 5, 0.3, 3.5853813), (1, 20, 1.0, -4.5903736)]
)
def test_significance_with_measured_background(
    n_on: float, n_off: float, alpha: float, sqrt_ts: float
) -> None:
    # Li & Ma 1983, eq. 17.
    geom = GEOM.squash("energy")
    dataset = MapDatasetOnOff(
        counts=make_map(n_on, geom),
        counts_off=make_map(n_off, geom),
        acceptance=make_map(1.0, geom),
        acceptance_off=make_map(1 / alpha, geom),
        name="toy",
    )
    maps = ExcessMapEstimator("0.01 deg").run(dataset)
    np.testing.assert_allclose(maps.sqrt_ts.data, sqrt_ts, rtol=1e-6)
    np.testing.assert_allclose(maps.alpha.data, alpha)
    # A disk of pixels holds their sum ...
    disk = ExcessMapEstimator("0.1 deg").run(dataset)
    assert disk.counts.data[0, 8, 8] == 5 * n_on
    np.testing.assert_allclose(disk.alpha.data, alpha)
    # ... also of the off counts, unless these are already those of a region.
    ring = ExcessMapEstimator("0.1 deg", correlate_off=False).run(dataset)
    np.testing.assert_allclose(ring.alpha.data[0, 8, 8], 5 * alpha)
    np.testing.assert_allclose(ring.npred_background.data[0, 8, 8], 5 * alpha * n_off)


def test_flux_of_a_source_inside_the_disk(dataset: MapDataset) -> None:
    spectrum = PowerLawSpectralModel(index=2.5, amplitude="2e-12 cm-2 s-1 TeV-1")
    expected = np.array([spectrum.integral(a, b).value for a, b in AXIS.iter_by_edges]) * 1e13
    dataset.counts.data = dataset.background.data.copy()
    dataset.counts.data[:, 8, 12] += expected
    maps = ExcessMapEstimator("0.2 deg", spectral_model=spectrum).run(dataset)
    np.testing.assert_allclose(maps.norm.data[0, 8, 11:14], 1, rtol=1e-12)
    np.testing.assert_allclose(maps.npred_excess.data[0, 8, 12], expected.sum())
    total = spectrum.integral(1 * u.TeV, 8 * u.TeV)
    np.testing.assert_allclose(maps.flux.quantity[0, 8, 12].to_value(total.unit), total.value)
    # A power law of another index gives nearly the same flux per bin.
    bins = ExcessMapEstimator("0.2 deg", energy_edges=AXIS.edges).run(dataset)
    np.testing.assert_allclose(bins.flux.data[:, 8, 12] * 1e13, expected, rtol=1e-12)


def test_flux_beside_a_mask(dataset: MapDataset) -> None:
    # Where half of the disk is masked, the mean exposure is that of the other half.
    mask = np.ones(GEOM.data_shape, dtype=bool)
    mask[:, :, 13:] = False
    dataset.mask_fit = make_map(mask)
    spectrum = PowerLawSpectralModel(index=2)
    dataset.counts.data = dataset.background.data.copy()
    dataset.counts.data[:, 8, 12] += [spectrum.integral(a, b).value * 1e13 for a, b in AXIS.iter_by_edges]
    maps = ExcessMapEstimator("0.3 deg").run(dataset)
    np.testing.assert_allclose(maps.norm.data[0, 8, 12], 1, rtol=1e-12)
    assert np.isnan(maps.norm.data[0, :, 13:]).all()


def test_errors_and_limits(dataset: MapDataset) -> None:
    maps = ExcessMapEstimator("0.3 deg", selection_optional="all", n_sigma=1, n_sigma_ul=2).run(dataset)
    unit = np.sqrt(maps.counts.data) / maps.norm_err.data
    n_on, background = maps.counts.data, maps.npred_background.data

    def stat(excess: np.ndarray) -> np.ndarray:
        mu = background + excess
        return 2 * (mu - n_on * np.log(mu))

    best = stat(maps.npred_excess.data)
    for name, sign, level in (("norm_errn", -1, 1), ("norm_errp", 1, 1)):
        rise = stat(maps.npred_excess.data + sign * maps[name].data * unit) - best
        np.testing.assert_allclose(rise, level, rtol=1e-6)
    np.testing.assert_allclose(stat(maps.norm_ul.data * unit) - best, 4, rtol=1e-6)
    np.testing.assert_allclose(maps.norm.data * unit, maps.npred_excess.data, atol=1e-12)
    wide = ExcessMapEstimator("0.3 deg", n_sigma=3).run(dataset)
    np.testing.assert_allclose(wide.norm_err.data, 3 * maps.norm_err.data)


def test_significance_of_background_is_normal() -> None:
    rng = np.random.default_rng(2)
    geom = WcsGeom.create(npix=(200, 200), binsz=0.1, axes=[AXIS.squash()])
    dataset = MapDataset(
        counts=make_map(rng.poisson(10, geom.data_shape).astype(float), geom), background=make_map(10.0, geom)
    )
    maps = ExcessMapEstimator("0.2 deg").run(dataset)
    # Pixels that are four apart share no counts.
    values = maps.sqrt_ts.data[0, 2:-2:5, 2:-2:5].ravel()
    assert abs(values.mean()) < 4 / np.sqrt(len(values))
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * len(values))


def test_several_datasets_are_added_up(dataset: MapDataset) -> None:
    other = dataset.copy(name="other")
    one, two = (ExcessMapEstimator("0.2 deg").run(items) for items in (dataset, [dataset, other]))
    np.testing.assert_allclose(two.counts.data, 2 * one.counts.data)
    np.testing.assert_allclose(two.norm.data, one.norm.data)
    np.testing.assert_allclose(two.ts.data, 2 * one.ts.data, rtol=1e-10, atol=1e-12)


def test_without_exposure_there_is_no_flux(dataset: MapDataset) -> None:
    dataset.exposure = None
    maps = ExcessMapEstimator("0.2 deg").run(dataset)
    assert not maps.has("flux")
    assert maps.has("sqrt_ts")


def test_bad_input(dataset: MapDataset) -> None:
    with pytest.raises(ConfigError, match="positive correlation_radius"):
        ExcessMapEstimator("0 deg")
    with pytest.raises(ConfigError, match="angle as correlation_radius"):
        ExcessMapEstimator("3 TeV")
    with pytest.raises(ConfigError, match="Did you mean 'ul'"):
        ExcessMapEstimator(selection_optional=["uls"])
    with pytest.raises(ConfigError, match="unit of energy"):
        ExcessMapEstimator(energy_edges=[1, 2] * u.s)
    with pytest.raises(ConfigError, match="increasing energy_edges"):
        ExcessMapEstimator(energy_edges=[2, 1] * u.TeV)
    with pytest.raises(ConfigError, match="positive n_sigma_ul"):
        ExcessMapEstimator(n_sigma_ul=-1)
    with pytest.raises(DataError, match="at least one dataset"):
        ExcessMapEstimator().run([])
    with pytest.raises(DataError, match="expected a MapDataset"):
        ExcessMapEstimator().run([3])
    with pytest.raises(DataError, match="no bin between"):
        ExcessMapEstimator(energy_edges=[20, 40] * u.TeV).run(dataset)
    smaller = dataset.cutout(GEOM.center_skydir, 1 * u.deg, name="small")
    with pytest.raises(DataError, match="other pixels"):
        ExcessMapEstimator().run([dataset, smaller])
    measured = MapDatasetOnOff.from_map_dataset(dataset, acceptance=1, acceptance_off=2, name="onoff")
    with pytest.raises(DataError, match="some have not"):
        ExcessMapEstimator().run([dataset, measured])
    dataset.background.data[0, 3, 3] = np.nan
    with pytest.raises(DataError, match="background"):
        ExcessMapEstimator().run(dataset)


REFERENCE = json.loads((Path(__file__).parent.parent / "reference/estimators_maps.json").read_text())


def test_same_as_gammapy(gammapy_data: Path) -> None:
    folder = gammapy_data / "fermi-3fhl-gc"
    counts, background, exposure = (
        Map.read(folder / f"fermi-3fhl-gc-{key}-cube.fits.gz") for key in ("counts", "background", "exposure")
    )
    edisp = EDispKernelMap.from_diagonal_response(
        counts.geom.axes["energy"], exposure.geom.axes["energy_true"]
    )
    exposure = exposure.copy(unit="cm2 s")
    dataset = MapDataset(counts=counts, background=background, exposure=exposure, edisp=edisp, name="3fhl")
    dataset = dataset.cutout(counts.geom.center_skydir, (5, 4) * u.deg, name="centre")
    entry = REFERENCE["excess"]
    maps = ExcessMapEstimator("0.1 deg", selection_optional="all", energy_edges=[10, 50, 500] * u.GeV).run(
        dataset
    )
    energy, y, x = np.array(entry["bins"]).T
    for name, values in entry["values"].items():
        np.testing.assert_allclose(maps[name].data[energy, y, x], values, rtol=1e-4, err_msg=name)

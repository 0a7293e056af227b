"""Maps of test statistics: sources are found where they are, with their flux, and nothing else is."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import erf
from scipy.stats import chi2, kstest

from villard.datasets import MapDataset, MapDatasetOnOff
from villard.estimators import FluxMaps, TSMapEstimator, find_peaks
from villard.estimators.map_data import MapData
from villard.estimators.norm_map import PixelProblem, kernel_sums, solve_norms
from villard.estimators.ts_kernels import SourceShape
from villard.exceptions import ConfigError, DataError, ModelError
from villard.irf import EDispKernelMap, PSFMap
from villard.likelihood.predict import predict
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap
from villard.modeling import Fit
from villard.modeling.models import (
    ConstantSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
AXIS_TRUE = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=6, name="energy_true")
GEOM = WcsGeom.create(skydir=(266, -29), npix=(34, 26), binsz=0.05, proj="TAN", axes=[AXIS])


def make_dataset(
    geom: WcsGeom = GEOM, background: float = 0.5, name: str = "toy", **kwargs: Any
) -> MapDataset:
    """Make a dataset whose exposure changes over the map, differently from energy to energy."""
    true = geom.to_image().to_cube([AXIS_TRUE])
    y, x = np.indices(geom.spatial_shape)
    slope = (x / geom.npix[0] - 0.5) * np.linspace(-0.5, 0.8, AXIS_TRUE.nbin)[:, None, None]
    exposure = WcsNDMap(true, data=1e13 * (1 + slope + 0.1 * y / geom.npix[1]), unit="cm2 s")
    level = background * np.array([4, 2, 1])[: geom.axes["energy"].nbin, None, None]
    parts = {
        "counts": WcsNDMap(geom, data=np.zeros(geom.data_shape)),
        "background": WcsNDMap(geom, data=np.broadcast_to(level, geom.data_shape).copy()),
        "exposure": exposure,
        "psf": PSFMap.from_gauss(AXIS_TRUE, sigma=np.linspace(0.12, 0.06, AXIS_TRUE.nbin) * u.deg),
        "edisp": EDispKernelMap.from_gauss(geom.axes["energy"], AXIS_TRUE, sigma=0.15, bias=0.0),
    }
    return MapDataset(name=name, **(parts | kwargs))


def make_source(x: float = 20, y: float = 11, geom: WcsGeom = GEOM, sigma: float | None = None) -> SkyModel:
    position = geom.pix_to_skydir(x, y)
    keys = {"lon_0": position.ra, "lat_0": position.dec, "frame": "icrs"}
    spatial = (
        PointSpatialModel(**keys) if sigma is None else GaussianSpatialModel(sigma=sigma * u.deg, **keys)
    )
    return SkyModel(
        PowerLawSpectralModel(index=2.3, amplitude="2e-12 cm-2 s-1 TeV-1"), spatial, name="source"
    )


def with_source(dataset: MapDataset, source: SkyModel) -> MapDataset:
    """Set the counts to those that are expected with a source, whose PSF is integrated over pixels."""
    measurement = dataclasses.replace(dataset._response_measurement(), psf_method="exact")
    signal = predict(measurement, [source]).reshape(dataset.data_shape)
    dataset.counts = dataset.background.copy(data=dataset.background.data + signal)
    return dataset


@pytest.mark.parametrize("add_up", [True, False])
@pytest.mark.parametrize("sigma", [None, 0.1])
@pytest.mark.parametrize("pixel", [(20, 11), (2, 1), (33, 25)])
def test_expected_counts_give_the_source(add_up: bool, sigma: float | None, pixel: tuple[int, int]) -> None:
    source = make_source(*pixel, sigma=sigma)
    dataset = with_source(make_dataset(), source)
    maps = TSMapEstimator(source, sum_over_energy_groups=add_up, rtol=1e-6).run(dataset)
    x, y = pixel
    # The exposure of a source that is extended is taken in its middle.
    tolerance = 1e-3 if sigma is None else 1e-2
    np.testing.assert_allclose(maps.norm.data[0, y, x], 1, rtol=tolerance)
    flux = source.spectral_model.integral(*AXIS.bounds)
    np.testing.assert_allclose(maps.flux.quantity[0, y, x].to_value(flux.unit), flux.value, rtol=tolerance)
    if pixel == (20, 11):
        # At an edge a stronger source outside fits as well.
        peaks = find_peaks(maps.sqrt_ts, threshold=0.2, min_distance=5)
        assert (peaks["x"][0], peaks["y"][0]) == pixel
        assert len(peaks) == 1


@pytest.mark.parametrize("sigma", [None, 0.1])
@pytest.mark.parametrize("add_up", [True, False])
def test_same_as_fits_of_the_engine(sigma: float | None, add_up: bool) -> None:
    source = make_source(sigma=sigma)
    dataset = make_dataset()
    dataset.models = [source]
    dataset.fake(random_state=3)
    dataset.models = None
    maps = TSMapEstimator(
        source, sum_over_energy_groups=add_up, rtol=1e-6, selection_optional="all", n_sigma_ul=3
    ).run(dataset)
    single = dataset.to_image(name="single") if add_up else dataset
    for x, y in [(20, 11), (17, 12), (5, 20), (33, 25)]:
        model = make_source(x, y, sigma=sigma)
        for parameter in model.parameters:
            parameter.frozen = parameter.name != "amplitude"
        model.spectral_model.amplitude.min = np.nan
        single.models = [model]
        start = float(model.spectral_model.amplitude.value)
        model.spectral_model.amplitude.value = 0
        null = single.stat_sum()
        model.spectral_model.amplitude.value = start
        result = Fit().run([single])
        best, error = (
            model.spectral_model.amplitude.value / start,
            model.spectral_model.amplitude.error / start,
        )
        single.models = None
        # By default a fit shares point sources between pixels; an extended source has many exposures.
        tolerance = 1e-2 if sigma is None else 2e-2
        np.testing.assert_allclose(maps.norm.data[0, y, x], best, atol=tolerance * (error + abs(best)))
        np.testing.assert_allclose(maps.norm_err.data[0, y, x], error, rtol=tolerance)
        ts = null - result.total_stat
        np.testing.assert_allclose(maps.ts.data[0, y, x], ts, atol=0.01 + 2 * tolerance * abs(ts))


def test_background_alone_follows_half_chi2() -> None:
    geom = WcsGeom.create(npix=(150, 150), binsz=0.05, axes=[AXIS])
    dataset = make_dataset(geom, background=3.0)
    dataset.fake(random_state=11)
    maps = TSMapEstimator(kernel_width=0.6 * u.deg, sum_over_energy_groups=False).run(dataset)
    # Pixels that are so far from each other share hardly any counts.
    ts, norm = (item.data[0, 5:-5:6, 5:-5:6].ravel() for item in (maps.ts, maps.norm))
    assert abs(np.mean(norm > 0) - 0.5) < 4 * 0.5 / np.sqrt(len(ts))
    assert kstest(ts[norm > 0], chi2(1).cdf).pvalue > 1e-3
    assert np.all(maps.ts.data >= -1e-9)


def test_limits_cover_the_truth() -> None:
    # One source in each of many squares.
    geom = WcsGeom.create(npix=(260, 260), binsz=0.05, axes=[AXIS])
    dataset = make_dataset(geom, background=2.0, psf=None)
    model = SkyModel(PowerLawSpectralModel(index=2, amplitude="2e-12 cm-2 s-1 TeV-1"), PointSpatialModel())
    dataset.counts.data = 2 * dataset.background.data
    maps = TSMapEstimator(model, kernel_width=0.04 * u.deg).run(dataset)
    unit = maps.npred_excess.data[0] / maps.norm.data[0]
    rng = np.random.default_rng(5)
    expected = dataset.background.data.sum(axis=0) + unit
    counts = rng.poisson(expected)
    # All counts in one energy: only their sum matters here.
    dataset.counts.data = np.stack([counts, 0 * counts, 0 * counts]).astype(float)
    maps = TSMapEstimator(model, kernel_width=0.04 * u.deg, selection_optional="all", n_sigma_ul=2).run(
        dataset
    )
    known = np.isfinite(unit)
    below = np.mean(maps.norm_ul.data[0][known] > 1)
    # 97.7 % of normal variables are below two sigma.
    assert abs(below - 0.977) < 0.006
    inside = np.abs(maps.norm.data[0] - 1) < np.where(
        maps.norm.data[0] > 1, maps.norm_errn.data[0], maps.norm_errp.data[0]
    )
    assert abs(np.mean(inside[known]) - 0.683) < 0.03


def test_pulls_of_the_flux_are_normal() -> None:
    source = make_source()
    dataset = make_dataset(background=1.0)
    dataset.models = [source]
    pulls = []
    expected = dataset.npred()
    rng = np.random.default_rng(4)
    dataset.models = None
    estimator = TSMapEstimator(source, sum_over_energy_groups=False, kernel_width=0.8 * u.deg)
    for _ in range(60):
        dataset.counts = expected.copy(data=rng.poisson(expected.data).astype(float))
        maps = estimator.run(dataset)
        pulls.append((maps.norm.data[0, 11, 20] - 1) / maps.norm_err.data[0, 11, 20])
    assert abs(np.mean(pulls)) < 4 / np.sqrt(60)
    assert abs(np.std(pulls) - 1) < 4 / np.sqrt(120)


def test_masked_data_do_not_matter() -> None:
    source = make_source()
    dataset = make_dataset()
    dataset.models = [source]
    dataset.fake(random_state=1)
    dataset.models = None
    mask = np.ones(GEOM.data_shape, dtype=bool)
    mask[:, :8] = False
    mask[1, :, 28:] = False
    dataset.mask_fit = WcsNDMap(GEOM, data=mask)
    first = TSMapEstimator(source, sum_over_energy_groups=False).run(dataset)
    dataset.counts.data[~mask] = 1000
    for add_up in (False, True):
        second = TSMapEstimator(source, sum_over_energy_groups=add_up).run(dataset)
        if not add_up:
            np.testing.assert_allclose(second.norm.data, first.norm.data, rtol=1e-12)
        assert np.isnan(second.norm.data[0, :8]).all()
        assert not second.success.data[0, :8].any()
        assert np.isfinite(second.norm.data[0, 8:]).all()
    # Right beside the mask a source has its flux, too.
    dataset.counts = with_source(make_dataset(), make_source(20, 8)).counts
    for add_up in (False, True):
        norm = TSMapEstimator(source, sum_over_energy_groups=add_up, rtol=1e-6).run(dataset).norm
        np.testing.assert_allclose(norm.data[0, 8, 20], 1, rtol=1e-3)


def test_models_of_the_dataset_are_background() -> None:
    source = make_source()
    dataset = with_source(make_dataset(), source)
    dataset.models = [source]
    maps = TSMapEstimator(source, rtol=1e-6).run(dataset)
    assert maps.sqrt_ts.data.max() < 1e-2
    np.testing.assert_allclose(maps.norm.data[0, 11, 20], 0, atol=1e-2)
    assert source.spatial_model.lon_0.value == pytest.approx(GEOM.pix_to_skydir(20, 11).ra.deg)


def test_several_datasets_have_one_norm() -> None:
    source = make_source()
    one = make_dataset(name="one")
    one.models = [source]
    one.fake(random_state=1)
    one.models = None
    two = one.copy(name="two")
    keys = {"kernel_model": source, "sum_over_energy_groups": False, "rtol": 1e-6}
    single, joint = (TSMapEstimator(**keys).run(item) for item in (one, [one, two]))
    np.testing.assert_allclose(joint.norm.data, single.norm.data, atol=1e-6)
    np.testing.assert_allclose(joint.norm_err.data, single.norm_err.data / np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(joint.ts.data, 2 * single.ts.data, rtol=1e-6, atol=1e-8)
    # With other responses and energies, too.
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    geom = GEOM.to_image().to_cube([axis])
    other = with_source(
        make_dataset(geom, psf=PSFMap.from_gauss(AXIS_TRUE, sigma=0.03 * u.deg), name="b"), source
    )
    both = TSMapEstimator(**keys).run([with_source(one, source), other])
    np.testing.assert_allclose(both.norm.data[0, 11, 20], 1, rtol=1e-3)


def test_energy_bins() -> None:
    source = make_source()
    dataset = make_dataset()
    dataset.models = [source]
    dataset.fake(random_state=8)
    dataset.models = None
    edges = AXIS.edges[[0, 1, 3]]
    maps = TSMapEstimator(source, energy_edges=edges, sum_over_energy_groups=False).run(dataset)
    np.testing.assert_allclose(maps.energy_axis.edges.value, edges.value)
    for i in range(2):
        mask = dataset.counts.geom.energy_mask(edges[i], edges[i + 1], round_to_edge=True)
        dataset.mask_fit = mask
        part = TSMapEstimator(source, sum_over_energy_groups=False).run(dataset)
        np.testing.assert_allclose(maps.norm.data[i], part.norm.data[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(maps.ts.data[i], part.ts.data[0], rtol=1e-9, atol=1e-9)


def test_downsampling_interpolates() -> None:
    source = make_source()
    dataset = with_source(make_dataset(), source)
    full, coarse = (TSMapEstimator(source, downsampling_factor=n, rtol=1e-6).run(dataset) for n in (None, 2))
    np.testing.assert_allclose(coarse.norm.data[0, 1::2, 1::2], full.norm.data[0, 1::2, 1::2], atol=1e-9)
    assert np.abs(coarse.norm.data - full.norm.data).max() < 0.15
    assert coarse.success.data.all()


def test_executors_change_nothing() -> None:
    source = make_source()
    dataset = with_source(make_dataset(), source)
    here = TSMapEstimator(source).run(dataset)
    with ThreadPoolExecutor(2) as executor:
        there = TSMapEstimator(source, executor=executor).run(dataset)
    for name in here.available_quantities:
        np.testing.assert_array_equal(here[name].data, there[name].data)


def test_without_any_counts() -> None:
    source = make_source()
    dataset = make_dataset(background=0.01)
    maps = TSMapEstimator(source, selection_optional="ul", n_sigma_ul=2).run(dataset)
    unit = maps.npred_excess.data / maps.norm.data
    # As few as predictions that can't be negative allow; 2 S (n - n_best) = 4 at the limit.
    assert np.all(maps.norm.data < 0)
    np.testing.assert_allclose((maps.norm_ul.data - maps.norm.data) * unit, 2)
    assert np.isnan(maps.norm_err.data).all()


def test_changing_psf_makes_tiles() -> None:
    # Twice as wide on one side of the map as on the other.
    pixels = WcsGeom.create(skydir=(266, -29), npix=(9, 2), binsz=0.25, proj="TAN")
    psf = PSFMap.from_gauss(AXIS_TRUE, sigma=0.06 * u.deg, geom=pixels)
    wide = PSFMap.from_gauss(AXIS_TRUE, psf.rad_axis, sigma=0.12 * u.deg, geom=pixels)
    mix = np.linspace(0, 1, 9)
    psf.psf_map.data = psf.psf_map.data * (1 - mix) + wide.psf_map.data * mix
    for x in (3, 31):
        source = make_source(x, 12)
        dataset = with_source(make_dataset(psf=psf), source)
        maps = TSMapEstimator(source, kernel_tolerance=0.04, rtol=1e-6).run(dataset)
        np.testing.assert_allclose(maps.norm.data[0, 12, x], 1, rtol=0.04)


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.05, 0.15])
def test_kernels_are_integrals_over_pixels(sigma: float) -> None:
    dataset = make_dataset(psf=PSFMap.from_gauss(AXIS_TRUE, sigma=sigma * u.deg))
    images, _, _ = SourceShape(MapData(dataset, "test"), make_source(), (3, 3)).at(17, 13)
    edges = erf(0.05 * (np.arange(8) - 3.5) / (np.sqrt(2) * sigma)) / 2
    expected = np.outer(np.diff(edges), np.diff(edges))
    # The last 0.1 % of a PSF are cut off, and added to the rest.
    np.testing.assert_allclose(images, np.broadcast_to(expected, images.shape), atol=2e-3 * expected.max())
    np.testing.assert_allclose(images.sum(axis=(1, 2)), expected.sum(), rtol=2e-3)


def test_energies_and_places_without_exposure_need_no_psf() -> None:
    source = make_source()
    dataset = make_dataset()
    dataset.exposure.data[0] = 0
    dataset.exposure.data[:, :, :6] = 0
    dataset.exposure.data[-1, :, 20:] = 0
    psf = dataset.psf.psf_map.data.copy()
    psf[0] = 0
    dataset.psf.psf_map.data = psf
    with_source(dataset, source)
    maps = TSMapEstimator(source, rtol=1e-6, sum_over_energy_groups=False).run(dataset)
    np.testing.assert_allclose(maps.norm.data[0, 11, 20], 1, rtol=5e-3)
    assert np.isnan(maps.norm.data[0, :, :6]).all()
    assert not maps.success.data[0, :, :6].any()
    # A dataset that sees nothing there changes nothing.
    other = make_dataset(name="other")
    other.exposure.data[:, :, 12:] = 0
    other.counts.data = other.background.data.copy()
    both = TSMapEstimator(source, rtol=1e-6, sum_over_energy_groups=False).run([dataset, other])
    np.testing.assert_allclose(both.norm.data[0, :, 20], maps.norm.data[0, :, 20], atol=1e-9)


def test_result_can_be_written(tmp_path: Path) -> None:
    dataset = with_source(make_dataset(), make_source())
    maps = TSMapEstimator(make_source(), selection_optional="all").run(dataset)
    maps.write(tmp_path / "ts.fits")
    again = FluxMaps.read(tmp_path / "ts.fits")
    for name in ("norm", "flux_ul", "sqrt_ts", "npred_excess", "success"):
        np.testing.assert_array_equal(again[name].data, maps[name].data)
    np.testing.assert_allclose(maps["sqrt_ts"].data, maps.sqrt_ts.data)


def test_bad_input() -> None:
    dataset = with_source(make_dataset(), make_source())
    with pytest.raises(ConfigError, match="whole number as downsampling_factor"):
        TSMapEstimator(downsampling_factor=1.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="positive rtol"):
        TSMapEstimator(rtol=0)
    with pytest.raises(ConfigError, match="angle as kernel_width"):
        TSMapEstimator(kernel_width="1 TeV")
    with pytest.raises(ConfigError, match="Available: errn-errp, ul"):
        TSMapEstimator(selection_optional="scan")
    with pytest.raises(ConfigError, match="the same"):
        TSMapEstimator(make_source(), model=make_source())
    with pytest.raises(ModelError, match="expected a SkyModel"):
        TSMapEstimator(PowerLawSpectralModel()).run(dataset)
    with pytest.raises(ModelError, match="with a position"):
        TSMapEstimator(SkyModel(PowerLawSpectralModel(), ConstantSpatialModel())).run(dataset)
    with pytest.raises(ModelError, match="needs a spatial_model"):
        TSMapEstimator(SkyModel(PowerLawSpectralModel())).run(dataset)
    measured = MapDatasetOnOff.from_map_dataset(dataset, acceptance=1, acceptance_off=2, name="onoff")
    with pytest.raises(DataError, match="ExcessMapEstimator"):
        TSMapEstimator().run(measured)
    dataset.exposure = None
    with pytest.raises(DataError, match="exposure"):
        TSMapEstimator().run(dataset)
    with pytest.raises(DataError, match="at least one dataset"):
        TSMapEstimator().run([])


def read_galactic_centre(folder: Path) -> MapDataset:
    """Read the middle of the 3FHL cubes."""
    files = {key: folder / f"fermi-3fhl-gc/fermi-3fhl-gc-{key}-cube.fits.gz" for key in KEYS}
    counts, background, exposure = (Map.read(files[key]) for key in KEYS[:3])
    exposure = exposure.copy(unit="cm2 s")
    edisp = EDispKernelMap.from_diagonal_response(
        counts.geom.axes["energy"], exposure.geom.axes["energy_true"]
    )
    dataset = MapDataset(
        counts=counts,
        background=background,
        exposure=exposure,
        psf=PSFMap.read(files["psf"], format="gtpsf"),
        edisp=edisp,
        name="3fhl",
    )
    return dataset.cutout(counts.geom.center_skydir, (5, 4) * u.deg, name="centre")


KEYS = ("counts", "background", "exposure", "psf")
REFERENCE = json.loads((Path(__file__).parent.parent / "reference/estimators_maps.json").read_text())


@pytest.mark.parametrize("tag", ["point", "gauss"])
def test_same_as_gammapy(gammapy_data: Path, tag: str) -> None:
    entry = REFERENCE[f"ts_{tag}"]
    spatial = PointSpatialModel() if tag == "point" else GaussianSpatialModel(sigma="0.1 deg")
    spectrum = PowerLawSpectralModel(index=entry["index"], amplitude="1e-22 cm-2 s-1 keV-1")
    maps = TSMapEstimator(
        SkyModel(spectrum, spatial),
        kernel_width="3 deg",
        energy_edges=[10, 500] * u.GeV,
        sum_over_energy_groups=False,
        selection_optional="all",
        n_sigma_ul=2,
    ).run(read_galactic_centre(gammapy_data))
    x, y = np.array(entry["pixels"]).T
    values = {name: np.array(numbers) for name, numbers in entry["values"].items()}
    # Gammapy's kernels are evaluated at the centres of parts of pixels, and normalised in the square.
    error = values["norm_err"]
    for name in ("norm", "norm_ul"):
        if name in values:
            assert np.all(
                np.abs(maps[name].data[0, y, x] - values[name]) < 0.02 * np.abs(values[name]) + 0.1 * error
            )
    for name in ("norm_err", "norm_errp"):
        if name in values:
            np.testing.assert_allclose(maps[name].data[0, y, x], values[name], rtol=0.02, err_msg=name)
    np.testing.assert_allclose(maps.ts.data[0, y, x], values["ts"], rtol=0.015, atol=0.1)
    np.testing.assert_allclose(maps.stat_null.data[0, y, x], values["stat_null"], rtol=1e-6)
    np.testing.assert_allclose(
        maps.flux.data[0, y, x] / maps.norm.data[0, y, x], values["flux"] / values["norm"], rtol=1e-5
    )


# The solver alone


def brute_force(problem: PixelProblem, y: int, x: int) -> tuple[Any, float]:
    """Return -2 ln L of a norm at a pixel, and the lowest norm that is allowed."""
    counts, background, mask = problem.counts, problem.background, problem.mask
    n_planes, n_y, n_x = counts.shape
    h, w = (n // 2 for n in problem.kernels.shape[2:])
    image = np.zeros((n_planes, n_y + 2 * h, n_x + 2 * w))
    image[:, y : y + 2 * h + 1, x : x + 2 * w + 1] = np.tensordot(
        problem.coefficients[:, y, x], problem.kernels, axes=1
    )
    kernel = image[:, h : h + n_y, w : w + n_x][mask]
    n, b = counts[mask], background[mask]
    with np.errstate(divide="ignore"):
        floor = -np.min(b / kernel)

    def stat(norm: float) -> float:
        mu = b + norm * kernel
        return float(2 * np.sum(mu - n * np.log(np.maximum(mu, 1e-25))))

    return stat, floor


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    level=st.sampled_from([0.003, 0.1, 3.0, 100.0]),
    n_basis=st.integers(1, 3),
    strength=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_solver_finds_the_minima(seed: int, level: float, n_basis: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 9, 8)
    background = level * rng.uniform(0.5, 2, shape)
    kernels = rng.uniform(0, 1, (n_basis, 2, 5, 7)) ** 3
    coefficients = rng.uniform(0.3, 2, (n_basis, *shape[1:]))
    expected = background.copy()
    expected[:, 3:8, 0:7] += strength * kernels[0]
    counts = rng.poisson(expected).astype(float)
    problem = PixelProblem(counts, background, rng.uniform(size=shape) < 0.9, kernels, coefficients)
    pixels = rng.choice(72, 6, replace=False)
    result = solve_norms(problem, pixels, tol=1e-6, errn_errp=1, upper_limit=2)
    assert result.success.all()
    for i, pixel in enumerate(pixels):
        stat, floor = brute_force(problem, *divmod(int(pixel), 8))
        high = result.norm[i] + 20 * (np.nan_to_num(result.norm_err[i]) + 10 / kernel_sums(problem).max())
        best = minimize_scalar(stat, bounds=(floor, high), method="bounded", options={"xatol": 1e-9})
        value = stat(result.norm[i])
        assert value <= best.fun + 1e-6
        assert result.norm[i] >= floor * (1 + 1e-9)
        np.testing.assert_allclose(result.ts[i], stat(0.0) - value, atol=1e-7 * (1 + abs(value)))
        assert result.norm_ul is not None
        np.testing.assert_allclose(stat(result.norm_ul[i]) - value, 4, rtol=1e-5)
        assert result.norm_errp is not None
        np.testing.assert_allclose(stat(result.norm[i] + result.norm_errp[i]) - value, 1, rtol=1e-5)
        assert result.norm_errn is not None
        if np.isfinite(result.norm_errn[i]):
            np.testing.assert_allclose(stat(result.norm[i] - result.norm_errn[i]) - value, 1, rtol=1e-5)
        else:
            assert stat(floor) - value < 1 + 1e-6


def test_background_of_zero() -> None:
    # Counts where none are expected can only be the source's.
    shape = (1, 5, 5)
    counts = np.zeros(shape)
    counts[0, 2, 2] = 4
    kernels = np.ones((1, 1, 3, 3)) / 9
    problem = PixelProblem(counts, np.zeros(shape), np.ones(shape, bool), kernels, np.full((1, 5, 5), 2.0))
    result = solve_norms(problem, np.arange(25), upper_limit=1)
    np.testing.assert_allclose(result.norm[12], 4 / 2)
    np.testing.assert_allclose(result.norm_err[12], 2 / 2)
    assert np.isfinite(result.ts).all()
    np.testing.assert_allclose(result.norm[4], 0, atol=1e-12)

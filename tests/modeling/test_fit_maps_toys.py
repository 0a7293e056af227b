"""Many fits of simulated cubes: pulls, longitudes across 0, and sources that the fit has to follow."""

from typing import Any

import numpy as np
import pytest
from map_engine_toys import background, dataset, image, source
from numpy.testing import assert_allclose
from scipy import stats

from villard.datasets import MapDataset
from villard.likelihood import bind
from villard.modeling import Fit

N_TOYS = 500
NAMES = ["index", "amplitude", "lon_0", "lat_0", "sigma", "norm"]


def truth() -> list[Any]:
    return [source("gauss", lon_0=0.02, lat_0=-0.03, sigma=0.2), background()]


def simulated(**kwargs: Any) -> MapDataset:
    """About 1500 counts of a Gaussian source and as many of the background, without random counts."""
    return dataset(truth(), **{"psf": 0.1, "edisp": False, "seed": None, **kwargs})


@pytest.fixture(scope="module")
def pulls() -> np.ndarray:
    """Pulls of all parameters, shape (n_toys, n_parameters)."""
    toy = simulated()
    expected = toy.npred().data
    models = toy.models
    parameters = [next(p for p in models.parameters.free_parameters if p.name == name) for name in NAMES]
    true = np.array([p.value for p in parameters])
    rng = np.random.default_rng(11)
    fit, rows = Fit(), []
    for _ in range(N_TOYS):
        toy.counts.data = rng.poisson(expected).astype(float)
        for parameter, value in zip(parameters, true, strict=True):
            parameter.value = value
        result = fit.run([toy])
        assert result.success
        rows.append([(p.value - value) / p.error for p, value in zip(parameters, true, strict=True)])
    # Bins with counts are padded, so that nearly all cubes share what is compiled.
    solvers = bind([toy])._kernels.__dict__["_solvers"].values()
    assert sum(solver._cache_size() for solver in solvers) <= 5
    return np.array(rows)


@pytest.mark.parametrize("name", NAMES)
def test_pulls_are_normal(name: str, pulls: np.ndarray) -> None:
    pull = pulls[:, NAMES.index(name)]
    assert np.all(np.isfinite(pull))
    assert abs(pull.mean()) < 3 / np.sqrt(N_TOYS)
    assert abs(pull.std() - 1) < 3 / np.sqrt(2 * N_TOYS)
    assert stats.kstest(pull, "norm").pvalue > 0.003


def test_pulls_of_positions_are_independent(pulls: np.ndarray) -> None:
    correlation = np.corrcoef(pulls.T)
    position = correlation[2:4].copy()
    position[[0, 1], [2, 3]] = 0
    assert np.all(np.abs(position) < 4 / np.sqrt(N_TOYS))


def counts_of(toy: MapDataset, seed: int) -> MapDataset:
    toy.counts.data = np.random.default_rng(seed).poisson(toy.npred().data).astype(float)
    return toy


@pytest.mark.parametrize("start", [359.9, 0.1, -0.1])
def test_longitude_crosses_zero(start: float) -> None:
    """The fit ends at one place from both sides of 0, on its side of the branch."""
    toy = counts_of(simulated(), 1)
    spatial = toy.models["gauss"].spatial_model
    spatial.lon_0.value = start
    result = Fit().run([toy])
    assert result.success
    reference = counts_of(simulated(), 1)
    assert_allclose(result.total_stat, Fit().run([reference]).total_stat, atol=1e-5)
    best = reference.models["gauss"].spatial_model.lon_0
    assert_allclose(spatial.lon_0.value, best.value + (360 if start > 180 else 0), atol=1e-4)
    assert_allclose(spatial.lon_0.error, best.error, rtol=1e-4)
    assert abs(best.value - 0.02) < 4 * best.error


@pytest.mark.parametrize(
    ("shape", "distance"), [("point", 0.5), ("point", 0.8), ("gauss", 0.5), ("gauss", 0.8)]
)
def test_fit_follows_a_source(shape: str, distance: float) -> None:
    """From far away: pixels on which the source is computed are cut out again where it goes."""
    values: dict[str, Any] = {"sigma": 0.2} if shape == "gauss" else {}
    model = source(shape, lon_0=0.02, lat_0=-0.03, **values)
    toy = dataset([model, background()], geom=image((6.0, 5.0)), edisp=False, psf=0.3, seed=2)
    spatial = model.spatial_model
    near = Fit().run([toy])
    place = spatial.lon_0.value, spatial.lat_0.value
    spatial.lon_0.value, spatial.lat_0.value = 0.8 * distance, 0.6 * distance
    far = Fit().run([toy])
    assert far.success
    assert_allclose(far.total_stat, near.total_stat, atol=0.01)
    assert_allclose([spatial.lon_0.value, spatial.lat_0.value], place, atol=0.05 * spatial.lon_0.error)
    assert_allclose(toy.stat_sum(), far.total_stat, atol=0.01)


def test_source_that_grows() -> None:
    """A fit that starts with a size much too small ends at the same one as from the truth."""
    toy = counts_of(simulated(geom=image((4.0, 4.0))), 3)
    spatial = toy.models["gauss"].spatial_model
    best = Fit().run([toy])
    sigma = spatial.sigma.value
    spatial.sigma.value = 0.03
    result = Fit().run([toy])
    assert result.success
    assert_allclose(result.total_stat, best.total_stat, atol=0.02)
    assert_allclose(spatial.sigma.value, sigma, rtol=5e-3)
    assert_allclose(toy.stat_sum(), result.total_stat, atol=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_point_source_that_starts_three_sigma_off(seed: int) -> None:
    """Its counts lie in the tail of the PSF, where a step by the curvature alone leads off the map."""
    model = source("point")
    toy = dataset([model, background()], seed=seed)
    truth = [model.spatial_model.lon_0.value, model.spatial_model.lat_0.value]
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    model.spatial_model.lon_0.value += 0.45 * np.cos(angle)
    model.spatial_model.lat_0.value += 0.45 * np.sin(angle)
    result = Fit().run([toy])
    assert result.success
    found = [model.spatial_model.lon_0.value, model.spatial_model.lat_0.value]
    assert np.hypot(*np.subtract(found, truth)) < 0.05

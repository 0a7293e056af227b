"""Fit statistics: reference numbers, closed forms, edges, derivatives."""

import functools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats
from scipy.special import erfc, erfcx

from villard._jax import jax, jnp
from villard.likelihood import statistics as module
from villard.likelihood.statistics import (
    STATISTICS,
    TRUNCATION,
    cash,
    cash_derivatives,
    chi2,
    chi2_asymmetric,
    chi2_censored,
    chi2_censored_derivatives,
    cstat,
    cstat_derivatives,
    get_wstat_gof_terms,
    get_wstat_mu_bkg,
    wstat,
    wstat_derivatives,
    wstat_fisher,
)

REFERENCE = Path(__file__).parents[1] / "reference" / "statistics.json"
ENTRIES = {entry["id"]: entry for entry in json.loads(REFERENCE.read_text())["entries"]}
PER_BIN = [key for key, entry in ENTRIES.items() if entry["kind"] in {"cash", "cstat", "wstat"}]

counts = st.one_of(st.integers(0, 20), st.integers(0, 10**5)).map(float)
alphas = st.one_of(st.just(0.0), st.floats(1e-3, 10.0))
predictions = st.one_of(st.just(0.0), st.floats(1e-6, 1e5))


# --- Reference numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("key", PER_BIN)
@pytest.mark.parametrize("xp", [np, jnp])
def test_reference(key: str, xp: Any) -> None:
    entry = ENTRIES[key]
    inputs = {
        name: value if isinstance(value, bool) else xp.asarray(value, dtype=float)
        for name, value in entry["inputs"].items()
    }
    value = getattr(module, entry["kind"])(**inputs)
    np.testing.assert_allclose(value, entry["expected"], rtol=entry["rtol"], atol=entry["atol"])


@pytest.mark.parametrize("key", [key for key, entry in ENTRIES.items() if entry["kind"] == "wstat_mu_bkg"])
def test_reference_mu_bkg(key: str) -> None:
    entry = ENTRIES[key]
    value = get_wstat_mu_bkg(**entry["inputs"])
    np.testing.assert_allclose(value, entry["expected"], rtol=entry["rtol"], atol=entry["atol"])


def test_reference_cash_sum() -> None:
    entry = ENTRIES["stat.cash.sum"]
    n_on, mu_on = entry["inputs"]["n_on"], entry["inputs"]["mu_on"]
    np.testing.assert_allclose(cash(n_on, mu_on).sum(), entry["expected"], rtol=entry["rtol"])


def test_reference_more_exact() -> None:
    # The table of sherpa and XSPEC rounds: without on counts wstat is 2 [mu + n_off ln(1 + alpha)].
    inputs = ENTRIES["stat.wstat.bin6"]["inputs"]
    exact = 2 * (inputs["mu_sig"] + inputs["n_off"] * math.log1p(inputs["alpha"]))
    np.testing.assert_allclose(wstat(**inputs), exact, rtol=1e-15)
    assert abs(exact / ENTRIES["stat.wstat.bin6"]["expected"] - 1) > 1e-8


@pytest.fixture(scope="module")
def flux_points(gammapy_data: Path) -> dict[str, Any]:
    table = Table.read(gammapy_data / "tests/spectrum/flux_points/diff_flux_points.fits")
    columns = {
        name: np.ma.filled(np.ma.asarray(table[column]), np.nan) * 1e6
        for name, column in {"value": "dnde", "error": "dnde_err", "ul": "dnde_ul"}.items()
    }
    columns["energy"] = table["e_ref"].quantity.to_value("TeV")
    columns["is_ul"] = np.isnan(columns["value"])
    return columns


def fit_power_law(columns: dict[str, Any], stat: Any) -> tuple[float, float, float]:
    def total(theta: np.ndarray) -> float:
        return stat(columns, np.exp(theta[1]) * 2e-13 * columns["energy"] ** -theta[0])

    options = {"xatol": 1e-8, "fatol": 1e-8}
    result = optimize.minimize(total, [2.2, 0.0], method="Nelder-Mead", options=options)
    return float(result.fun), float(result.x[0]), 2e-13 * math.exp(result.x[1])


def test_reference_flux_points_chi2(flux_points: dict[str, Any]) -> None:
    expected = ENTRIES["fit.fluxpoints.chi2"]["expected"]
    stat, index, amplitude = fit_power_law(
        flux_points, lambda c, mu: chi2(c["value"], mu, c["error"])[~c["is_ul"]].sum()
    )
    np.testing.assert_allclose(
        [stat, index, amplitude], [expected[key] for key in ("total_stat", "index", "amplitude")], rtol=1e-4
    )


def test_reference_flux_points_distrib(flux_points: dict[str, Any]) -> None:
    stat, _, _ = fit_power_law(
        flux_points,
        lambda c, mu: chi2_asymmetric(c["value"], mu, c["error"], c["error"], c["ul"], c["is_ul"]).sum(),
    )
    np.testing.assert_allclose(stat, ENTRIES["fit.fluxpoints.distrib"]["expected"], rtol=1e-6)


# --- Closed forms and edges -------------------------------------------------------------------


@given(n=counts, mu=st.floats(1e-3, 1e5))
def test_poisson_probability(n: float, mu: float) -> None:
    """The statistics are -2 ln of the Poisson probability, up to what mu does not change."""
    log_p = scipy_stats.poisson.logpmf(n, mu)
    np.testing.assert_allclose(cash(n, mu) + 2 * math.lgamma(n + 1), -2 * log_p, rtol=1e-9, atol=1e-6)
    best = scipy_stats.poisson.logpmf(n, n)
    np.testing.assert_allclose(cstat(n, mu), 2 * (best - log_p), rtol=1e-9, atol=1e-6)


def test_scalars_and_broadcasting() -> None:
    assert np.ndim(cash(1, 2.0)) == 0
    assert wstat(np.ones((3, 1)), np.ones(4), 0.5, 1.0).shape == (3, 4)
    assert cash([1, 2], [1, 2]).dtype == float


@pytest.mark.parametrize("function", [cash, cstat])
def test_nan_is_not_hidden(function: Any) -> None:
    assert np.isnan(function(1.0, np.nan))
    assert np.isnan(function(1.0, jnp.asarray(np.nan)))


@pytest.mark.parametrize("xp", [np, jnp])
def test_derivatives_at_truncation(xp: Any) -> None:
    """Bins without counts know that predictions cost; bins with counts, that zero is wrong."""
    for mu in (0.0, -1.0, 1e-30):
        value, d1, d2 = cash_derivatives(xp.asarray([0.0, 3.0]), xp.asarray(mu))
        np.testing.assert_allclose(d1, [2.0, -6 / TRUNCATION])
        np.testing.assert_allclose(d2, [0.0, 6 / TRUNCATION**2])
        assert np.all(np.isfinite(value))
        gradient = jax.grad(lambda mu: cash(jnp.asarray([0.0, 3.0]), mu)[0])(mu)
        np.testing.assert_allclose(gradient, 2.0)


@given(n_on=counts, mu=predictions, n_off=counts)
def test_wstat_without_off_exposure(n_on: float, mu: float, n_off: float) -> None:
    """Without off exposure the off counts tell nothing: `cstat` of the signal alone."""
    np.testing.assert_allclose(get_wstat_mu_bkg(n_on, n_off, 0.0, mu), n_off)
    ours, theirs = wstat_derivatives(n_on, n_off, 0.0, mu), cstat_derivatives(n_on, mu)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12 * (1 + n_on))


@given(n_on=counts, alpha=st.floats(1e-2, 10), mu=predictions)
def test_wstat_without_off_counts(n_on: float, alpha: float, mu: float) -> None:
    """Two pieces: background up to mu = alpha n_on / (1 + alpha), none above."""
    if mu < n_on * alpha / (1 + alpha):
        expected = 2 * (n_on * math.log1p(1 / alpha) - mu / alpha)
    else:
        expected = cstat(n_on, mu)
    np.testing.assert_allclose(wstat(n_on, 0.0, alpha, mu), expected, rtol=1e-9, atol=1e-9 * (1 + n_on))


@given(n_off=counts, alpha=st.floats(1e-2, 10), mu=predictions)
def test_wstat_without_on_counts(n_off: float, alpha: float, mu: float) -> None:
    expected = 2 * (mu + n_off * math.log1p(alpha))
    np.testing.assert_allclose(wstat(0.0, n_off, alpha, mu), expected, rtol=1e-9, atol=1e-9)


def test_wstat_kink_is_taken_from_the_right() -> None:
    at_kink = 0.5 * 9 / 1.5
    value, d1, d2 = wstat_derivatives(9.0, 0.0, 0.5, at_kink)
    np.testing.assert_allclose([value, d1, d2], [cstat(9, at_kink), -4.0, 2 * 9 / at_kink**2], rtol=1e-12)
    below = wstat_derivatives(9.0, 0.0, 0.5, at_kink - 1e-9)
    np.testing.assert_allclose(below[1:], [-4.0, 0.0])
    hessian = jax.grad(jax.grad(lambda mu: wstat(9.0, 0.0, 0.5, mu)))
    np.testing.assert_allclose(hessian(at_kink), d2, rtol=1e-12)


@given(n_on=counts, n_off=counts, alpha=alphas, mu=predictions)
def test_wstat_is_not_negative(n_on: float, n_off: float, alpha: float, mu: float) -> None:
    assert wstat(n_on, n_off, alpha, mu) >= -1e-13 * (n_on + n_off)


@given(mu=st.floats(0.01, 1e4), b=st.floats(0.01, 1e4), alpha=st.floats(1e-3, 10))
def test_wstat_of_a_perfect_prediction(mu: float, b: float, alpha: float) -> None:
    n_on = mu + alpha * b
    value, d1, d2 = wstat_derivatives(n_on, b, alpha, mu)
    np.testing.assert_allclose(get_wstat_mu_bkg(n_on, b, alpha, mu), b, rtol=1e-9)
    np.testing.assert_allclose(value, 0.0, atol=1e-12 * (n_on + b))
    np.testing.assert_allclose(d1, 0.0, atol=1e-12)
    # For data equal to their expectation the observed curvature is the expected one.
    np.testing.assert_allclose(d2, wstat_fisher(n_on, b, alpha, mu), rtol=1e-9)
    np.testing.assert_allclose(d2, 2 / (n_on + alpha**2 * b), rtol=1e-9)


@given(n_on=counts, n_off=counts, alpha=alphas, mu=predictions, b=st.floats(1e-3, 1e3))
def test_wstat_terms(n_on: float, n_off: float, alpha: float, mu: float, b: float) -> None:
    """It is the sum of two Poisson terms, and the extra terms do not know the prediction."""
    both = cstat(n_on, mu + alpha * b) + cstat(n_off, b)
    np.testing.assert_allclose(wstat(n_on, n_off, alpha, mu, mu_bkg=b), both, rtol=1e-10, atol=1e-9)
    plain = wstat(n_on, n_off, alpha, mu, mu_bkg=b, extra_terms=False)
    scale = abs(plain) + abs(get_wstat_gof_terms(n_on, n_off))
    np.testing.assert_allclose(plain, both - get_wstat_gof_terms(n_on, n_off), atol=1e-12 * scale, rtol=1e-10)


@given(
    n_on=st.integers(0, 30).map(float),
    n_off=st.integers(0, 30).map(float),
    alpha=st.floats(0.05, 5),
    mu=st.floats(-20, 40),
)
def test_wstat_is_the_minimum_over_backgrounds(n_on: float, n_off: float, alpha: float, mu: float) -> None:
    lowest = max(0.0, -mu / alpha)
    b = lowest + np.concatenate([[0.0], np.geomspace(1e-9, 1e3, 20000)])
    on = np.maximum(mu + alpha * b, 0.0)
    brute = cstat(n_on, on) + cstat(n_off, b)
    profiled = wstat(n_on, n_off, alpha, mu)
    assert profiled <= brute.min() + 1e-9
    np.testing.assert_allclose(profiled, brute.min(), atol=2e-5 * (1 + n_on + n_off))


def test_mu_bkg_does_not_cancel() -> None:
    # alpha (1 + alpha) b² - C b - n_off mu = 0 with C = -1e12: the textbook root would lose all digits.
    b = get_wstat_mu_bkg(n_on=1.0, n_off=3.0, alpha=1.0, mu_sig=1e12)
    np.testing.assert_allclose(b, 1.5, rtol=1e-11)
    np.testing.assert_allclose(get_wstat_mu_bkg(5.0, 7.0, 1e-14, 2.0), 7.0, rtol=1e-12)


# --- Derivatives ------------------------------------------------------------------------------


@functools.cache
def _compiled(name: str) -> Any:
    value = STATISTICS[name].value
    first = jax.grad(value)
    return jax.jit(lambda mu, data: (value(mu, data), first(mu, data), jax.grad(first)(mu, data)))


def automatic(name: str, mu: float, data: dict[str, float]) -> tuple[float, float, float]:
    return tuple(float(term) for term in _compiled(name)(mu, data))


@given(n=counts, mu=st.one_of(st.just(0.0), st.floats(1e-12, 1e6), st.floats(-10, 0)))
def test_poisson_derivatives(n: float, mu: float) -> None:
    for name in ("cash", "cstat"):
        analytic = STATISTICS[name].derivatives(mu, {"counts": n})
        np.testing.assert_allclose(analytic, automatic(name, mu, {"counts": n}), rtol=1e-9, atol=1e-9)
        assert np.all(np.isfinite(analytic))


# XLA takes subnormal numbers for 0, which is on the other side of a kink.
negative = st.floats(-100, 0, allow_subnormal=False)


@given(n_on=counts, n_off=counts, alpha=alphas, mu=st.one_of(predictions, negative))
def test_wstat_derivatives(n_on: float, n_off: float, alpha: float, mu: float) -> None:
    data = {"counts": n_on, "counts_off": n_off, "alpha": alpha}
    analytic = STATISTICS["wstat"].derivatives(mu, data)
    if alpha == 0 and mu <= 0:
        expected = [2.0 if n_on == 0 else -2 * n_on / TRUNCATION, 2 * n_on / TRUNCATION**2]
        np.testing.assert_allclose(analytic[1:], expected)
    scale = 1 + abs(analytic[1])
    np.testing.assert_allclose(analytic, automatic("wstat", mu, data), rtol=1e-6, atol=1e-6 * scale)
    assert analytic[2] >= 0
    assert STATISTICS["wstat"].fisher(mu, data) > 0


@pytest.mark.parametrize("mu", [0.3, 2.0, 11.0, -3.0])
@pytest.mark.parametrize("n_on", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("n_off", [0.0, 1.0, 13.0])
def test_wstat_derivatives_by_differences(n_on: float, n_off: float, mu: float) -> None:
    h, alpha = 1e-4, 0.4
    low, mid, high = (wstat_derivatives(n_on, n_off, alpha, mu + shift) for shift in (-h, 0.0, h))
    np.testing.assert_allclose(mid[1], (high[0] - low[0]) / (2 * h), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mid[2], (high[1] - low[1]) / (2 * h), rtol=1e-5, atol=1e-6)


def test_wstat_extremes_are_finite() -> None:
    big = [0.0, 1.0, 2.0, 1e3, 1e9]
    mus = [0.0, 1e-300, 1e-30, 1e-9, 1.0, 1e9, -1e-200, -1e-9, -1.0, -1e3]
    grid = np.meshgrid(big, big, [0.0, 1e-6, 0.1, 1.0, 1e4], mus, indexing="ij")
    n_on, n_off, alpha, mu = (axis.ravel() for axis in grid)
    for term in (*wstat_derivatives(n_on, n_off, alpha, mu), wstat_fisher(n_on, n_off, alpha, mu)):
        assert np.all(np.isfinite(term))
    first = jax.grad(wstat, argnums=3)
    second = jax.grad(first, argnums=3)
    for function in (first, second):
        assert np.all(np.isfinite(jax.jit(jax.vmap(function))(n_on, n_off, alpha, mu)))


def test_fisher_is_the_expected_curvature() -> None:
    mu = 3.7
    n = np.arange(0, 60)
    probability = scipy_stats.poisson.pmf(n, mu)
    for name in ("cash", "cstat"):
        d2 = STATISTICS[name].derivatives(mu, {"counts": n})[2]
        np.testing.assert_allclose((probability * d2).sum(), STATISTICS[name].fisher(mu, {"counts": 0.0}))


# --- Flux points ------------------------------------------------------------------------------


def flux_data(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    is_ul = rng.random(n) < 0.5

    def column(low: float, high: float, where: np.ndarray) -> np.ndarray:
        return np.where(where, rng.uniform(low, high, n), np.nan)

    # What a point or a limit doesn't have is NaN, and must harm neither values nor derivatives.
    return {
        "value": column(-1, 3, ~is_ul),
        "errn": column(0.1, 2, ~is_ul),
        "errp": column(0.1, 2, ~is_ul),
        "ul": column(0.5, 5, is_ul),
        "ul_error": column(0.3, 2, is_ul),
        "is_ul": is_ul.astype(float),
    }


@pytest.mark.parametrize("name", ["distrib", "censored"])
def test_flux_point_derivatives(name: str) -> None:
    data, mu = flux_data(400, 1), np.random.default_rng(2).uniform(-1, 4, 400)
    statistic = STATISTICS[name]
    first = jax.grad(statistic.value)
    second = jax.grad(lambda mu, data: first(mu, data))
    value, d1, d2 = statistic.derivatives(mu, data)
    np.testing.assert_allclose(value, statistic.value(mu, data), rtol=1e-14)
    np.testing.assert_allclose(d1, jax.vmap(first)(mu, data), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(d2, jax.vmap(second)(mu, data), rtol=1e-6, atol=1e-6)
    assert np.all(statistic.fisher(mu, data) > 0)


def test_chi2_derivatives() -> None:
    data = {"value": 1.0, "error": 0.3}
    np.testing.assert_allclose(STATISTICS["chi2"].derivatives(2.0, data), automatic("chi2", 2.0, data))
    np.testing.assert_allclose(STATISTICS["chi2"].fisher(2.0, data), 2 / 0.09)


def test_asymmetric_errors_are_those_towards_the_model() -> None:
    points = {"errn": 0.1, "errp": 0.3, "ul": np.nan, "is_ul": False}
    np.testing.assert_allclose(chi2_asymmetric(1.0, [0.8, 1.2], **points), [4.0, 4 / 9])


def test_distrib_upper_limit() -> None:
    r"""2 ln[erfc(1 - mu/ul) / erfc(1)]: 0 for no flux, and bounded by 2 ln[2 / erfc(1)]."""
    mu = np.array([0.0, 0.5, 1.0, 2.0, 50.0])
    stat = chi2_asymmetric(np.nan, mu, np.nan, np.nan, 2.0, True)
    np.testing.assert_allclose(stat, 2 * np.log(erfc(1 - mu / 2) / erfc(1)), atol=1e-14)
    assert stat[-1] < 5.0856


def test_censored_upper_limit() -> None:
    r"""-2 ln Phi((ul - mu) / sigma), and nearly the squared excess over the limit when far above."""
    mu = np.linspace(-1, 8, 10)
    stat = chi2_censored(np.nan, mu, np.nan, np.nan, 2.0, 1.0, True)
    np.testing.assert_allclose(stat, -2 * scipy_stats.norm.logcdf(2.0 - mu), rtol=1e-12)
    assert np.all(np.diff(stat) > 0)


def test_censored_derivatives_far_above_the_limit() -> None:
    """Through the change to the asymptotic series, against erfcx and its continued fraction."""
    z = np.concatenate([np.linspace(-60, -20, 81), [-1e3, -1e6]])
    _, d1, d2 = chi2_censored_derivatives(0.0, -z, 1.0, 1.0, 0.0, 1.0, True)
    slope = math.sqrt(2 / math.pi) / erfcx(-z / math.sqrt(2))
    np.testing.assert_allclose(d1, 2 * slope, rtol=1e-10)
    # lambda + z = 1/(|z| + 2/(|z| + 3/(|z| + ...))): no cancellation.
    gap = np.zeros_like(z)
    for k in range(60, 0, -1):
        gap = k / (-z + gap)
    np.testing.assert_allclose(d2, 2 * (gap - z) * gap, rtol=2e-9)


# --- The registry -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cash", "cstat", "wstat", "chi2", "distrib", "censored"])
def test_registry(name: str) -> None:
    statistic = STATISTICS[name]
    assert statistic.name == name
    data = dict.fromkeys(statistic.data_names, 1.0)
    value, d1, d2 = statistic.derivatives(2.0, data)
    np.testing.assert_allclose(value, statistic.value(2.0, data))
    assert np.isfinite([d1, d2]).all()
    assert statistic.fisher(2.0, data) > 0


def test_import_is_light() -> None:
    code = (
        "import sys, villard.likelihood.statistics; "
        "print([name for name in ('jax', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

"""Counts statistics: reference numbers, closed forms, coverage."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import lambertw
from scipy.stats import norm, poisson

import villard.stats as room
from villard.exceptions import DataError
from villard.likelihood.statistics import wstat
from villard.stats import CashCountsStatistic, WStatCountsStatistic

REFERENCE = Path(__file__).parents[1] / "reference" / "statistics.json"
ENTRIES = {entry["id"]: entry for entry in json.loads(REFERENCE.read_text())["entries"]}
COUNTS = [key for key in ENTRIES if key.startswith("counts.")]

positive_counts = st.integers(1, 200)
any_counts = st.integers(0, 200)
alphas = st.floats(0.02, 5)
sigmas = st.floats(0.1, 5)


def li_ma(n_on: float, n_off: float, alpha: float) -> float:
    """Eq. 17 of Li & Ma (1983, ApJ 272, 317), signed."""
    total = n_on + n_off
    on = n_on * math.log((1 + alpha) / alpha * n_on / total)
    off = n_off * math.log((1 + alpha) * n_off / total)
    return math.copysign(math.sqrt(2 * max(on + off, 0.0)), n_on - alpha * n_off)


# --- Reference numbers ------------------------------------------------------------------------


def compute(entry: dict[str, Any]) -> dict[str, Any]:
    inputs = dict(entry["inputs"])
    n_sigma, significance = inputs.pop("n_sigma", 3), inputs.pop("significance", None)
    inputs.setdefault("n_on", 0)
    statistic = (CashCountsStatistic if "mu_bkg" in inputs else WStatCountsStatistic)(**inputs)
    if entry["kind"].endswith("_ul"):
        return {"value": statistic.compute_upper_limit(n_sigma)}
    if entry["kind"].endswith("_match"):
        return {"value": statistic.n_sig_matching_significance(significance)}
    if entry["kind"] == "lima_sum":
        statistic = statistic.sum()
    values = {}
    for name in entry["expected"]:
        method, _, sigma = name.partition("_")
        if method in {"errn", "errp"}:
            values[name] = getattr(statistic, f"compute_{method}")(float(sigma or 1))
        else:
            values[name] = getattr(statistic, name)
    return values


@pytest.mark.parametrize("key", COUNTS)
def test_reference(key: str) -> None:
    entry = ENTRIES[key]
    expected = entry["expected"] if isinstance(entry["expected"], dict) else {"value": entry["expected"]}
    # The sign of a matching excess below the absolute tolerance given there would be lost.
    for name, value in compute(entry).items():
        np.testing.assert_allclose(
            value, expected[name], rtol=entry["rtol"], atol=entry["atol"], err_msg=name
        )


def test_reference_more_exact() -> None:
    # The reference prints 1.37e-32: the tail of a normal variable beyond sqrt(TS) in closed form.
    statistic = CashCountsStatistic(100, 23)
    ts = 2 * (23 - 100 + 100 * math.log(100 / 23))
    np.testing.assert_allclose(statistic.p_value, 0.5 * math.erfc(math.sqrt(ts / 2)), rtol=1e-12)
    # Listed to 0.01; roots of the closed form are exact.
    entry = ENTRIES["counts.lima.match.10.0.1.5"]["inputs"]
    excess = WStatCountsStatistic(0, entry["n_off"], entry["alpha"]).n_sig_matching_significance(5)
    np.testing.assert_allclose(li_ma(excess + 1.0, 10, 0.1), 5.0, rtol=1e-12)


# --- Closed forms -----------------------------------------------------------------------------


@given(n_on=positive_counts, n_off=positive_counts, alpha=alphas)
def test_significance_is_li_ma(n_on: int, n_off: int, alpha: float) -> None:
    statistic = WStatCountsStatistic(n_on, n_off, alpha)
    np.testing.assert_allclose(statistic.sqrt_ts, li_ma(n_on, n_off, alpha), rtol=1e-7, atol=1e-5)
    np.testing.assert_allclose(statistic.ts, statistic.stat_null - statistic.stat_max, atol=1e-9)


@given(n_on=any_counts, n_off=any_counts, alpha=alphas, mu_sig=st.floats(-50, 50))
def test_known_signal_shifts_the_excess(n_on: int, n_off: int, alpha: float, mu_sig: float) -> None:
    plain = WStatCountsStatistic(n_on, n_off, alpha)
    shifted = WStatCountsStatistic(n_on, n_off, alpha, mu_sig)
    np.testing.assert_allclose(shifted.n_sig, plain.n_sig - mu_sig)
    np.testing.assert_allclose(shifted.ts, max(float(wstat(n_on, n_off, alpha, mu_sig)), 0.0))
    np.testing.assert_allclose(
        shifted.compute_upper_limit(), plain.compute_upper_limit() - mu_sig, rtol=1e-9, atol=1e-9
    )


@given(n_on=positive_counts, n_sigma=sigmas)
def test_poisson_errors_in_closed_form(n_on: int, n_sigma: float) -> None:
    """mu - n - n ln(mu / n) = n_sigma² / 2 solved by Lambert's W."""
    argument = -math.exp(-1 - n_sigma**2 / (2 * n_on))
    low, high = (-n_on * lambertw(argument, branch).real for branch in (0, -1))
    statistic = CashCountsStatistic(n_on, mu_bkg=3.0)
    np.testing.assert_allclose(statistic.compute_errn(n_sigma), n_on - low, rtol=1e-6)
    np.testing.assert_allclose(statistic.compute_errp(n_sigma), high - n_on, rtol=1e-6)


@given(n_sigma=sigmas, mu_bkg=st.floats(0, 100))
def test_no_counts(n_sigma: float, mu_bkg: float) -> None:
    """The statistic is 2 mu: nothing below, n_sigma² / 2 above."""
    statistic = CashCountsStatistic(0, mu_bkg)
    assert statistic.compute_errn(n_sigma) == 0
    np.testing.assert_allclose(statistic.compute_errp(n_sigma), n_sigma**2 / 2, rtol=1e-9)


@given(n_sigma=sigmas, alpha=alphas)
def test_no_counts_at_all(n_sigma: float, alpha: float) -> None:
    """2 mu above 0 and -2 mu / alpha below, where all expected counts are in the off region."""
    statistic = WStatCountsStatistic(0, 0, alpha)
    np.testing.assert_allclose(statistic.compute_errp(n_sigma), n_sigma**2 / 2, rtol=1e-9)
    np.testing.assert_allclose(statistic.compute_errn(n_sigma), alpha * n_sigma**2 / 2, rtol=1e-9)
    assert statistic.sqrt_ts == 0


@given(n_on=any_counts, n_off=any_counts, alpha=alphas, n_sigma=sigmas)
def test_errors_end_where_the_statistic_says(n_on: int, n_off: int, alpha: float, n_sigma: float) -> None:
    statistic = WStatCountsStatistic(n_on, n_off, alpha)
    ends = [-statistic.compute_errn(n_sigma), statistic.compute_errp(n_sigma)]
    stat = wstat(n_on, n_off, alpha, statistic.n_sig + np.array(ends))
    np.testing.assert_allclose(stat, n_sigma**2, rtol=1e-7, atol=1e-9)
    assert ends[0] < 0 < ends[1]


@given(n_on=any_counts, n_off=any_counts, alpha=alphas, n_sigma=sigmas)
def test_on_and_off_exchanged(n_on: int, n_off: int, alpha: float, n_sigma: float) -> None:
    """The excess of the off region is minus the excess of the on region over alpha."""
    here, there = WStatCountsStatistic(n_on, n_off, alpha), WStatCountsStatistic(n_off, n_on, 1 / alpha)
    np.testing.assert_allclose(here.sqrt_ts, -there.sqrt_ts, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(
        here.compute_errn(n_sigma), alpha * there.compute_errp(n_sigma), rtol=1e-6, atol=1e-9
    )


@given(n_off=positive_counts, alpha=alphas, significance=sigmas)
def test_matching_excess_has_its_significance(n_off: int, alpha: float, significance: float) -> None:
    background = WStatCountsStatistic(0, n_off, alpha)
    excess = background.n_sig_matching_significance(significance)
    matched = WStatCountsStatistic(excess + alpha * n_off, n_off, alpha)
    np.testing.assert_allclose(matched.sqrt_ts, significance, rtol=1e-6)
    excess = CashCountsStatistic(0, n_off).n_sig_matching_significance(significance)
    np.testing.assert_allclose(CashCountsStatistic(excess + n_off, n_off).sqrt_ts, significance, rtol=1e-6)


def test_matching_deficit() -> None:
    np.testing.assert_allclose(
        CashCountsStatistic(0, [100, 2]).n_sig_matching_significance(-5), [-45.631273, np.nan], rtol=1e-6
    )
    # No on counts at all: significance -sqrt(2 mu_bkg), the lowest there is.
    lowest = -math.sqrt(2 * 2.0) * (1 - 1e-12)
    np.testing.assert_allclose(CashCountsStatistic(0, 2.0).n_sig_matching_significance(lowest), -2, rtol=1e-6)
    deficit = WStatCountsStatistic(0, 30, 0.5).n_sig_matching_significance(-2)
    np.testing.assert_allclose(WStatCountsStatistic(15 + deficit, 30, 0.5).sqrt_ts, -2, rtol=1e-9)


def test_matching_without_background() -> None:
    assert CashCountsStatistic(0, 0).n_sig_matching_significance(5) == 0
    assert WStatCountsStatistic(0, 0, 0).n_sig_matching_significance(5) == 0
    # Without off counts TS = 2 n_on ln(1 + 1 / alpha).
    excess = WStatCountsStatistic(0, 0, 0.2).n_sig_matching_significance(5)
    np.testing.assert_allclose(excess, 25 / (2 * math.log(6)), rtol=1e-9)


# --- Arrays -----------------------------------------------------------------------------------


def test_arrays_of_any_shape_agree_with_single_bins() -> None:
    rng = np.random.default_rng(0)
    n_on, n_off = rng.poisson(4, (3, 5)), rng.poisson(8, (3, 5))
    alpha = rng.uniform(0.1, 2, (3, 5))
    statistic = WStatCountsStatistic(n_on, n_off, alpha)
    limits, lower = statistic.compute_upper_limit(), statistic.compute_errn(2)
    matching = statistic.n_sig_matching_significance(5)
    assert limits.shape == matching.shape == (3, 5)
    for index in np.ndindex(3, 5):
        one = statistic[index]
        best = float(one.n_sig)

        def rise(mu: float, one: Any = one, n_sigma: float = 3) -> float:
            return float(wstat(one.n_on, one.n_off, one.alpha, mu)) - n_sigma**2

        np.testing.assert_allclose(limits[index], brentq(rise, best, best + 100, xtol=1e-12), rtol=1e-9)
        expected = brentq(lambda mu, rise=rise: rise(mu, n_sigma=2), best - 100, best, xtol=1e-12)
        np.testing.assert_allclose(best - lower[index], expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(matching[index], one.n_sig_matching_significance(5), rtol=1e-9)


def test_confidence_broadcasts() -> None:
    statistic = CashCountsStatistic([[5], [10]], 1)
    errors = statistic.compute_errp([1, 2, 3])
    assert errors.shape == (2, 3)
    np.testing.assert_allclose(errors[1, 2], CashCountsStatistic(10, 1).compute_errp(3))
    assert statistic.n_sig_matching_significance([3.0, 5.0]).shape == (2, 2)


def test_sum_over_an_axis() -> None:
    statistic = WStatCountsStatistic(np.ones((2, 3)), np.full((2, 3), 4.0), [0.1, 0.2, 0.3], mu_sig=0.5)
    total = statistic.sum(axis=1)
    assert total.n_on.shape == (2,)
    np.testing.assert_allclose(total.alpha, 0.2)
    np.testing.assert_allclose(total.mu_sig, 1.5)
    np.testing.assert_allclose(total.n_sig, statistic.n_sig.sum(axis=1))
    # Without off counts the bins have nothing to weight them by.
    np.testing.assert_allclose(WStatCountsStatistic([1, 2], [0, 0], [0.1, 0.3]).sum().alpha, 0.2)


@given(n_on=st.lists(any_counts, min_size=1, max_size=5), mu_bkg=st.floats(0, 10))
def test_sum_of_cash(n_on: list[int], mu_bkg: float) -> None:
    total = CashCountsStatistic(n_on, mu_bkg).sum()
    np.testing.assert_allclose(total.n_sig, np.sum(n_on) - len(n_on) * mu_bkg, atol=1e-9)


def test_info_and_print() -> None:
    statistic = WStatCountsStatistic([5, 3], [1, 4], 0.5)
    assert set(statistic.info_dict()) == {
        "n_on", "background", "excess", "significance", "p_value", "n_off", "alpha", "mu_sig"
    }  # fmt: skip
    text = str(statistic)
    assert text.splitlines() == [
        "WStatCountsStatistic",
        "  Total counts             : 8.00",
        "  Total background counts  : 2.50",
        "  Total excess counts      : 5.50",
        "  Total significance       : 2.08",
        "  p-value                  : 0.019",
        "  Number of bins           : 2",
        "  Off counts               : 5.00",
        "  alpha                    : 0.5",
        "  Predicted signal counts  : 0.00",
    ]
    np.testing.assert_allclose(statistic.error, np.sqrt([5 + 0.25, 3 + 1]))


# --- Coverage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("mu", "tolerance"), [(20.0, 0.05), (1000.0, 0.01)])
@pytest.mark.parametrize("n_sigma", [1, 2])
def test_coverage_of_poisson_errors(mu: float, tolerance: float, n_sigma: int) -> None:
    """Summed over all counts, so exact. Counts are discrete: coverage jumps around its nominal value."""
    n = np.arange(0, math.ceil(mu + 9 * math.sqrt(mu)))
    statistic = CashCountsStatistic(n, 0)
    low, high = n - statistic.compute_errn(n_sigma), n + statistic.compute_errp(n_sigma)
    coverage = poisson.pmf(n, mu)[(low <= mu) & (mu <= high)].sum()
    assert abs(coverage - (2 * norm.cdf(n_sigma) - 1)) < tolerance


@pytest.mark.parametrize("n_sigma", [1, 2])
def test_coverage_with_measured_background(n_sigma: int) -> None:
    rng = np.random.default_rng(7)
    n_toys, mu_sig, b, alpha = 20000, 40.0, 300.0, 0.2
    statistic = WStatCountsStatistic(rng.poisson(mu_sig + alpha * b, n_toys), rng.poisson(b, n_toys), alpha)
    low = statistic.n_sig - statistic.compute_errn(n_sigma)
    high = statistic.n_sig + statistic.compute_errp(n_sigma)
    nominal = 2 * norm.cdf(n_sigma) - 1
    coverage = np.mean((low <= mu_sig) & (mu_sig <= high))
    # Three standard errors of the toys, and half a percent for what 100 counts lack of infinitely many.
    assert abs(coverage - nominal) < 3 * math.sqrt(nominal * (1 - nominal) / n_toys) + 0.005


def test_coverage_of_upper_limits() -> None:
    rng = np.random.default_rng(8)
    n_toys, mu_sig, b, alpha = 20000, 5.0, 200.0, 0.1
    statistic = WStatCountsStatistic(rng.poisson(mu_sig + alpha * b, n_toys), rng.poisson(b, n_toys), alpha)
    coverage = np.mean(statistic.compute_upper_limit(n_sigma=2) > mu_sig)
    # One-sided 2 sigma: 97.7 %.
    assert abs(coverage - norm.cdf(2)) < 3 * math.sqrt(0.0225 / n_toys) + 0.006


def test_significance_is_normal_without_source() -> None:
    """Mean 0 and width 1 up to the skewness of the counts, tails as stated (Li & Ma 1983, fig. 2)."""
    rng = np.random.default_rng(9)
    n_toys, b, alpha = 40000, 500.0, 0.3
    significance = WStatCountsStatistic(rng.poisson(alpha * b, n_toys), rng.poisson(b, n_toys), alpha).sqrt_ts
    assert abs(significance.mean()) < 3 / math.sqrt(n_toys) + 0.02
    assert abs(significance.std() - 1) < 3 / math.sqrt(2 * n_toys) + 0.005
    p = norm.sf(2)
    assert abs(np.mean(significance > 2) - p) < 3 * math.sqrt(p / n_toys) + 0.002


# --- Monotony and extremes --------------------------------------------------------------------


def test_monotony() -> None:
    n_on = np.arange(0, 200)
    for statistic in (CashCountsStatistic(n_on, 50), WStatCountsStatistic(n_on, 100, 0.5)):
        assert np.all(np.diff(statistic.compute_upper_limit()) > 0)
        assert np.all(np.diff(statistic.sqrt_ts) > 0)
        assert np.all(np.diff([statistic.compute_errp(k) for k in (0, 0.5, 1, 3, 5)], axis=0) > 0)


def test_extremes() -> None:
    grid = np.meshgrid([0, 1e-5, 0.3, 1, 1e3, 1e9], [0, 1, 1e3, 1e9], [0, 1e-12, 0.1, 1e5], indexing="ij")
    n_on, n_off, alpha = grid
    statistic = WStatCountsStatistic(n_on, n_off, alpha)
    for n_sigma in (0, 1e-3, 1, 40):
        errn, errp = statistic.compute_errn(n_sigma), statistic.compute_errp(n_sigma)
        assert np.all(np.isfinite(errn) & (errn >= 0))
        assert np.all(np.isfinite(errp) & (errp >= 0))
        assert np.all(np.isfinite(statistic.n_sig_matching_significance(n_sigma)))
        # Without off exposure no prediction is below zero.
        assert np.all(errn[alpha == 0] <= n_on[alpha == 0])
    # High counts: the interval of a normal variable.
    big = WStatCountsStatistic(1e9, 1e9, 0.5)
    np.testing.assert_allclose([big.compute_errn(), big.compute_errp()], big.error, rtol=1e-4)


# --- Bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CashCountsStatistic([1, -2], 1), r"n_on must be finite and not negative, found -2\.0"),
        (lambda: CashCountsStatistic(1, np.nan), "mu_bkg must be finite and not negative, found nan"),
        (lambda: WStatCountsStatistic(1, 1, -0.5), r"alpha .* found -0\.5"),
        (lambda: WStatCountsStatistic(1, 1, 1, np.inf), "mu_sig must be finite, found inf"),
        (lambda: WStatCountsStatistic([1, 2], [1, 2, 3], 1), r"same shape, found n_on \(2,\), n_off \(3,\)"),
        (lambda: CashCountsStatistic(1, 1).compute_errn(-1), r"n_sigma .* found -1\.0"),
        (
            lambda: CashCountsStatistic(1, 1).n_sig_matching_significance(np.nan),
            "significance must be finite",
        ),
    ],
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_room_exports() -> None:
    for name in room.__all__:
        assert getattr(room, name) is not None

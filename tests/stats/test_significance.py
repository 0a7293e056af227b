"""Significances, probabilities and test statistics."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from villard.exceptions import DataError
from villard.stats import (
    aic,
    bic,
    likelihood_ratio,
    probability_to_significance_normal,
    sigma_to_ts,
    significance_to_probability_normal,
    ts_to_sigma,
)

REFERENCE = Path(__file__).parents[1] / "reference" / "statistics.json"
ENTRIES = json.loads(REFERENCE.read_text())["entries"]
SIGMA_TO_TS = [entry for entry in ENTRIES if entry["kind"] == "sigma_to_ts"]


@pytest.mark.parametrize("entry", SIGMA_TO_TS, ids=lambda entry: entry["id"])
def test_reference(entry: dict) -> None:
    inputs = entry["inputs"]
    value = sigma_to_ts(inputs["sigma"], inputs["df"])
    np.testing.assert_allclose(value, entry["expected"], rtol=entry["rtol"])


@given(n_sigma=st.floats(1e-6, 8), df=st.integers(1, 30))
def test_ts_is_the_chi2_quantile(n_sigma: float, df: int) -> None:
    ts = sigma_to_ts(n_sigma, df)
    np.testing.assert_allclose(chi2.sf(ts, df), 2 * norm.sf(n_sigma), rtol=1e-9)


@given(n_sigma=st.floats(1e-6, 1e4), df=st.one_of(st.integers(1, 1000), st.floats(0.5, 10)))
def test_round_trip(n_sigma: float, df: float) -> None:
    np.testing.assert_allclose(ts_to_sigma(sigma_to_ts(n_sigma, df), df), n_sigma, rtol=1e-9, atol=1e-9)


def test_two_degrees_of_freedom_in_closed_form() -> None:
    """TS = -2 ln p, also where p is far below the smallest number."""
    n_sigma = np.array([0.5, 5.0, 37.0, 40.0, 1000.0])
    log_p = math.log(2) + norm.logsf(n_sigma)
    np.testing.assert_allclose(sigma_to_ts(n_sigma, 2), -2 * log_p, rtol=1e-12)
    np.testing.assert_allclose(ts_to_sigma(-2 * log_p, 2), n_sigma, rtol=1e-12)


def test_limits() -> None:
    for df in (1, 2, 5):
        assert sigma_to_ts(0, df) == 0
        assert ts_to_sigma(0, df) == 0
        assert ts_to_sigma(np.inf, df) == np.inf
    assert sigma_to_ts([[1, 2], [3, 4]], [1, 2]).shape == (2, 2)


@given(significance=st.floats(-8, 37))
def test_probability(significance: float) -> None:
    probability = significance_to_probability_normal(significance)
    np.testing.assert_allclose(probability, norm.sf(significance), rtol=1e-12)
    if significance > -5:
        np.testing.assert_allclose(probability_to_significance_normal(probability), significance, atol=1e-9)


def test_bad_input() -> None:
    with pytest.raises(DataError, match="ts must not be negative or NaN"):
        ts_to_sigma(-1)
    with pytest.raises(DataError, match="n_sigma must not be negative or NaN"):
        sigma_to_ts(np.nan)
    with pytest.raises(DataError, match=r"df .* must be positive"):
        sigma_to_ts(1, df=0)
    with pytest.raises(DataError, match="between 0 and 1"):
        probability_to_significance_normal(1.5)


def test_likelihood_ratio() -> None:
    result = likelihood_ratio(50.0, 38.1709, n_dof=2)
    np.testing.assert_allclose(result.p_value, math.exp(-result.ts / 2), rtol=1e-12)
    np.testing.assert_allclose(result.significance, 3.0, rtol=1e-4)
    assert str(result) == "TS = 11.829 for 2 degrees of freedom: p-value 0.0027, 3.00 sigma"
    np.testing.assert_allclose(likelihood_ratio([5.0, 9.0], 0.0, 1).significance, np.sqrt([5, 9]))


def test_likelihood_ratio_of_a_missed_minimum() -> None:
    result = likelihood_ratio(10.0, 11.0, n_dof=1)
    assert (result.ts, result.p_value, result.significance) == (-1.0, 1.0, 0.0)


def test_likelihood_ratio_follows_chi2() -> None:
    """Counts of five bins: one mean for all against one each has four more parameters."""
    rng = np.random.default_rng(3)
    n = rng.poisson(200, (20000, 5)).astype(float)
    stat_null = 2 * (n * np.log(n / n.mean(axis=1, keepdims=True))).sum(axis=1)
    p_value = likelihood_ratio(stat_null, 0.0, n_dof=4).p_value
    for level in (0.5, 0.1, 0.01):
        assert abs(np.mean(p_value < level) - level) < 3.5 * math.sqrt(level * (1 - level) / 20000) + 0.001


def test_information_criteria() -> None:
    assert aic(10.0, 3) == 16
    np.testing.assert_allclose(aic(10.0, 3, n_data=20), 16 + 24 / 16)
    np.testing.assert_allclose(bic([10.0, 12.0], 3, n_data=20), np.array([10, 12]) + 3 * math.log(20))


def test_information_criteria_bad_input() -> None:
    with pytest.raises(DataError, match="n_data must exceed n_parameters"):
        aic(1.0, 3, n_data=4)
    with pytest.raises(DataError, match="n_data must be at least 1"):
        bic(1.0, 3, n_data=0)
    with pytest.raises(DataError, match="n_dof must be at least 1"):
        likelihood_ratio(1.0, 0.0, n_dof=0)
    with pytest.raises(DataError, match="must be finite"):
        likelihood_ratio(np.nan, 0.0, n_dof=1)

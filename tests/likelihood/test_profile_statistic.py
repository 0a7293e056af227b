"""Statistic of tabulated profiles: accuracy against the likelihoods they tabulate, derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from villard.exceptions import DataError
from villard.likelihood.profile_statistic import profile_roots, profile_spline
from villard.likelihood.statistics import STATISTICS

GRID = np.geomspace(0.2, 5, 11)


def poisson_rise(norm, counts, background, signal):
    """Rise of the Cash statistic above its minimum."""
    mu = background + signal * norm
    return 2 * (mu - counts - counts * np.log(mu / counts))


def test_gaussian_profile_is_exact_within_and_beyond_the_table():
    best, sigma = 1.3, 0.4
    spline = profile_roots(
        GRID[None], ((GRID[None] - best) / sigma) ** 2 + 11, np.array([best]), np.array([11.0])
    )
    for norm in (-2.0, 0.1, 1.29, 1.31, 4.0, 9.0):
        stat = STATISTICS["profile"].value(np.array([norm]), spline)
        np.testing.assert_allclose(stat, ((norm - best) / sigma) ** 2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "background", "signal"),
    [(241, 14.4, 229.0), (95, 5.0, 82.5), (10, 5.0, 8.0), (3, 2.5, 4.0), (20, 25.0, 10.0)],
)
@pytest.mark.parametrize("known", [True, False])
def test_poisson_profile_from_eleven_values(counts, background, signal, known):
    best = (counts - background) / signal
    rise = poisson_rise(GRID, counts, background, signal)
    # The statistic has any constant; the best fit may be unknown.
    data = profile_roots(GRID[None], rise[None] + 5, np.array([best if known else np.nan]), np.array([5.0]))
    norm = np.linspace(
        max(best - 2.5 * np.sqrt(counts) / signal, 0.2), best + 2.5 * np.sqrt(counts) / signal, 60
    )
    columns = {name: np.repeat(values, len(norm), axis=1) for name, values in data.items()}
    stat = STATISTICS["profile"].value(norm, columns)
    expected = poisson_rise(norm, counts, background, signal)
    if not known and best < GRID[0]:
        # Where the minimum lies can't be known from the table, but its shape can.
        stat, expected = stat - stat[0], expected - expected[0]
    np.testing.assert_allclose(stat, expected, atol=0.012 if known else 0.12)


@given(st.floats(-1.0, 7.0), st.integers(1, 50), st.floats(0.5, 30.0), st.floats(1.0, 50.0))
def test_derivatives_agree_with_finite_differences(norm, counts, background, signal):
    rise = poisson_rise(GRID, counts, background, signal)
    data = profile_roots(GRID[None], rise[None], np.array([(counts - background) / signal]), np.array([0.0]))
    step = 1e-6
    statistic = STATISTICS["profile"]
    value, d1, d2 = (x[0] for x in statistic.derivatives(np.array([norm]), data))
    low, high = (statistic.derivatives(np.array([norm + s]), data) for s in (-step, step))
    assert value == statistic.value(np.array([norm]), data)[0] >= 0
    np.testing.assert_allclose(
        d1, (high[0] - low[0])[0] / (2 * step), rtol=1e-5, atol=1e-5 * (1 + abs(value))
    )
    # The second derivative jumps at the ends of the table, where a straight line goes on.
    if not any(abs(norm - end) < 2 * step for end in data["knot"][[0, -1], 0]):
        np.testing.assert_allclose(
            d2, (high[1] - low[1])[0] / (2 * step), rtol=1e-4, atol=1e-4 * (1 + abs(d1))
        )
    assert statistic.fisher(np.array([norm]), data)[0] > 0


def test_jax_and_numpy_agree_and_padding_stays_finite_where_it_is_masked():
    from villard._jax import jnp

    data = profile_roots(np.tile(GRID, (2, 1)), np.tile((GRID - 1) ** 2, (2, 1)), np.ones(2), np.zeros(2))
    mu = np.array([0.7, 3.0])
    expected = STATISTICS["profile"].derivatives(mu, data)
    found = STATISTICS["profile"].derivatives(jnp.asarray(mu), {k: jnp.asarray(v) for k, v in data.items()})
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    padding = {name: np.ones((12, 1)) for name in data}
    assert all(np.all(np.isfinite(x)) for x in STATISTICS["profile"].derivatives(np.array([2.0]), padding))


def test_a_best_fit_on_a_tabulated_value_keeps_the_number_of_knots():
    stat = ((GRID - GRID[4]) / 0.1) ** 2
    assert len(profile_spline(GRID, stat, GRID[4], 0.0).x) == len(GRID) + 1
    assert len(profile_spline(GRID, stat, 1.05, 1000.0).x) == len(GRID) + 1


def test_points_without_profile_are_nan():
    stat = np.stack([(GRID - 1) ** 2, np.full(11, np.nan)])
    data = profile_roots(np.tile(GRID, (2, 1)), stat, np.array([1.0, np.nan]), np.array([0.0, np.nan]))
    value = STATISTICS["profile"].value(np.array([2.0, 2.0]), data)
    np.testing.assert_allclose(value[0], 1)
    assert np.isnan(value[1])


def test_too_short_profile_is_named():
    with pytest.raises(DataError, match="at least 4"):
        profile_spline(GRID[:3], GRID[:3], 1.0, 0.0)

"""Sticks broken by coordinates of the unit cube: deterministic, and Dirichlet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from villard._jax import jnp
from villard.bayes import stick_breaking
from villard.bayes.coordinates import Continuous, Discrete, Shares, Space
from villard.bayes.dirichlet import break_stick, check_alpha, log_dirichlet, sticks
from villard.exceptions import ParameterError
from villard.modeling.prior import GaussianPrior, GeneralizedGaussianPrior, LogUniformPrior, UniformPrior

ALPHAS = [(1.0, 1.0), (1.0, 1.0, 1.0), (0.5, 2.0, 3.0, 1.0)]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_marginals_are_dirichlet(alpha: tuple[float, ...]) -> None:
    u = np.random.default_rng(1).random((20_000, len(alpha) - 1))
    weights = stick_breaking(u, alpha)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    for i, a in enumerate(alpha):
        # The tool that this replaces drew weights anew at each call.
        assert stats.kstest(weights[:, i], stats.beta(a, sum(alpha) - a).cdf).pvalue > 1e-3
    covariance = stats.dirichlet(alpha).cov()
    np.testing.assert_allclose(np.cov(weights.T), covariance, atol=0.03 * covariance.max())


@given(st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=5))
def test_equal_coordinates_give_equal_weights(u: list[float]) -> None:
    alpha = np.linspace(0.5, 2, len(u) + 1)
    first, second = stick_breaking(u, alpha), stick_breaking(np.array([u, u]), alpha)
    np.testing.assert_array_equal(first, second[0])
    np.testing.assert_array_equal(second[0], second[1])
    # A small step in the cube is a small step of the weights.
    moved = stick_breaking(np.array(u) * (1 - 1e-9), alpha)
    assert np.max(np.abs(moved - first)) < 1e-4
    assert np.all(first >= 0)
    assert first.sum() == pytest.approx(1)


def test_inverse_and_density() -> None:
    rng = np.random.default_rng(0)
    alpha = np.array([0.7, 1.0, 2.5])
    weights = rng.dirichlet(alpha, 5)
    np.testing.assert_allclose(break_stick(sticks(weights)), weights, rtol=1e-10)
    for w in weights:
        assert float(log_dirichlet(w, alpha)) == pytest.approx(stats.dirichlet.logpdf(w, alpha))
        assert float(log_dirichlet(jnp.asarray(w), alpha)) == pytest.approx(stats.dirichlet.logpdf(w, alpha))
    assert log_dirichlet(np.array([-0.1, 0.6, 0.5]), alpha) == -np.inf


def test_bad_concentrations() -> None:
    with pytest.raises(ParameterError, match="expected 2 positive concentrations, or one"):
        check_alpha([1, -1], 2, "node")


COORDINATES = [
    Continuous("a", UniformPrior(min=-1, max=3)),
    Continuous("b", LogUniformPrior(min=1e-3, max=1e3)),
    Continuous("c", GaussianPrior(mu=2, sigma=0.5)),
    Continuous("d", GaussianPrior(mu=2, sigma=0.5), (2.2, np.inf)),
    Continuous("e", GeneralizedGaussianPrior(mu=1, sigma=2, eta=1.0), (-np.inf, 5.0)),
]


@pytest.mark.parametrize("coordinate", COORDINATES, ids=lambda c: repr(c.prior))
def test_priors_on_the_real_line_and_in_the_cube(coordinate: Continuous) -> None:
    # The density on the real line has the integral 1, and the same median as the transform of the cube.
    z = np.linspace(-40, 40, 8001)
    x = np.array([coordinate.from_real(np.array([t]))[0][0] for t in z])
    density = np.exp([float(coordinate.from_real(np.array([t]))[1]) for t in z])
    total = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(z))])
    assert total[-1] == pytest.approx(1, abs=2e-3)
    order = 1 if x[-1] > x[0] else -1
    median = np.interp(0.5, total if order > 0 else 1 - total[::-1], x if order > 0 else x[::-1])
    assert median == pytest.approx(float(coordinate.from_unit(np.array([0.5]))[0]), rel=1e-2)
    traced, log = coordinate.from_real(jnp.array([0.3]))
    plain, same = coordinate.from_real(np.array([0.3]))
    assert float(traced[0]) == pytest.approx(float(plain[0]))
    assert float(log) == pytest.approx(float(same))


def test_discrete_values_and_their_space() -> None:
    grid = Discrete("m", np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 1.0]))
    np.testing.assert_array_equal(grid.from_unit(np.array([0.1, 0.3, 0.74, 0.76, 1.0])), [1, 2, 2, 4, 4])
    assert float(grid.log_prior(np.array([2.1]))) == pytest.approx(np.log(0.5))
    space = Space([Shares(["x", "y", "z"], np.ones(3)), grid])
    assert space.all_names == ["x", "y", "z", "m"]
    theta = space.from_unit(np.array([0.19, 0.2, 0.9]))
    np.testing.assert_allclose(space.with_derived(theta), [0.1, 0.18, 0.72, 4.0])
    # On the real line, too, the middle has equal weights.
    np.testing.assert_allclose(space.from_real(np.zeros(3))[0][:2], [1 / 3, 1 / 3])


def test_priors_that_can_t_be_sampled() -> None:
    with pytest.raises(ParameterError, match="leave nothing of the prior"):
        Continuous("a", UniformPrior(min=0, max=1), (2, 3))
    with pytest.raises(ParameterError, match="weight 2"):
        Continuous("a", UniformPrior(min=0, max=1, weight=2))
    with pytest.raises(ParameterError, match="nothing to sample"):
        Space([])
    with pytest.raises(ParameterError, match="have the name 'a'"):
        Space([COORDINATES[0], COORDINATES[0]])

"""The solver's linear systems, with and without LAPACK, and how often it traces the likelihood."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from villard._jax import jax, jnp
from villard.likelihood.solver import _FEW, SolverStatus, _cholesky_solve, _eliminate, minimize


@pytest.mark.parametrize("solve", [_eliminate, _cholesky_solve])
@pytest.mark.parametrize("n", [1, 2, 5, _FEW])
def test_solutions_and_squares(solve: Any, n: int) -> None:
    rng = np.random.default_rng(n)
    factors = rng.normal(size=(2, n, n + 3))
    matrices = factors @ factors.transpose(0, 2, 1)
    right = rng.normal(size=n)
    expected = np.linalg.solve(matrices, np.broadcast_to(right, (2, n))[..., None])[..., 0]
    solutions, squares = solve(jnp.asarray(matrices), jnp.asarray(right))
    assert_allclose(solutions, expected, rtol=1e-9)
    assert_allclose(squares, expected @ right, rtol=1e-9)


@pytest.mark.parametrize("solve", [_eliminate, _cholesky_solve])
def test_nearly_degenerate_parameters(solve: Any) -> None:
    """As they come after scaling: ones on the diagonal, a correlation of 1 - 1e-10."""
    matrix = np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]])
    solutions, _ = solve(jnp.asarray(matrix[None]), jnp.asarray([1.0, -1.0]))
    assert_allclose(solutions, [[1e10, -1e10]], rtol=1e-5)


@pytest.mark.parametrize("solve", [_eliminate, _cholesky_solve])
@pytest.mark.parametrize("matrix", [[[1.0, 2.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]])
def test_what_is_not_positive_definite_gives_no_step(solve: Any, matrix: Any) -> None:
    solutions, squares = solve(jnp.asarray([matrix]), jnp.asarray([1.0, 1.0]))
    assert not np.isfinite(solutions).all()
    assert not np.isfinite(squares).all()


@pytest.mark.parametrize("n", [1, _FEW, _FEW + 1, 3 * _FEW])
def test_a_parabola_takes_two_steps(n: int) -> None:
    rng = np.random.default_rng(n)
    factor = rng.normal(size=(n, n + 3))
    hessian, minimum = factor @ factor.T, rng.normal(size=n)

    def terms(theta: Any, far: Any) -> Any:
        gradient = hessian @ (theta - minimum)
        return 0.5 * (theta - minimum) @ gradient, gradient, jnp.asarray(hessian)

    limits = np.full(n, np.inf)
    active = np.ones(n, dtype=bool)
    result = minimize(terms, jnp.zeros(n), -limits, limits, active, 1e-8, 50)
    assert result["status"] == SolverStatus.CONVERGED
    assert_allclose(result["theta"], minimum, atol=1e-5)
    assert result["nfev"] <= 5


def test_the_likelihood_is_traced_once() -> None:
    traced = 0

    def terms(theta: Any, far: Any) -> Any:
        nonlocal traced
        traced += 1
        return jnp.sum(theta**2), 2 * theta, 2 * jnp.eye(2)

    @jax.jit
    def solve(theta: Any) -> Any:
        limits = jnp.full(2, jnp.inf)
        return minimize(terms, theta, -limits, limits, jnp.ones(2, dtype=bool), 1e-8, 50)["theta"]

    assert_allclose(solve(jnp.ones(2)), 0, atol=1e-4)
    # The loop's body may be traced a second time to settle types, but not a third.
    assert traced <= 2

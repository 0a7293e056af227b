"""Many roots at once."""

import numpy as np
import pytest

from villard.exceptions import FitError
from villard.stats.roots import solve_bracketed


def test_convex_and_not() -> None:
    target = np.array([0.5, 2.0, 100.0])
    root = solve_bracketed(lambda x: (x**3, 3 * x**2), target, np.zeros(3), np.full(3, 10.0))
    np.testing.assert_allclose(root, np.cbrt(target), rtol=1e-13)
    # Newton's method alone diverges on the arc tangent.
    root = solve_bracketed(
        lambda x: (np.arctan(x), 1 / (1 + x * x)), np.array([0.3]), np.array([-20.0]), np.array([50.0])
    )
    np.testing.assert_allclose(root, np.tan(0.3), rtol=1e-12)


def test_derivative_that_is_no_use() -> None:
    root = solve_bracketed(lambda x: (x, np.full_like(x, np.inf)), np.array([0.7]), np.zeros(1), np.ones(1))
    np.testing.assert_allclose(root, 0.7, rtol=1e-12)


def test_outer_end_falls_short() -> None:
    """There is no prediction below zero: a limit that would lie there ends at the bracket."""
    root = solve_bracketed(lambda x: (x, np.ones_like(x)), np.array([2.0]), np.zeros(1), np.ones(1))
    assert root == 1.0


def test_not_a_function() -> None:
    with pytest.raises(FitError, match="NaN at 1 of 1 points"):
        solve_bracketed(lambda x: (x * np.nan, np.ones_like(x)), np.ones(1), np.zeros(1), np.ones(1))

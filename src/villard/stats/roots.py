"""Many roots at once, of functions whose derivative is known."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FitError

__all__ = ["solve_bracketed"]

Array = NDArray[np.float64]

_MAX_NEWTON = 60
_MAX_ITERATIONS = 1200
_RTOL = 1e-9
_EPS = 4 * np.finfo(float).eps


def solve_bracketed(
    function: Callable[[Array], tuple[Array, Array]], target: Array, inside: Array, outside: Array
) -> Array:
    """Solve ``function(x) = target`` elementwise by Newton steps that never leave their bracket.

    The search starts outside: for a convex function Newton's method comes from there without
    overshooting. A step that would leave the bracket is replaced by a bisection.

    Parameters
    ----------
    function : callable
        Returns the values and the derivatives at an array of points.
    target : array
        Values to be reached.
    inside, outside : array
        Finite ends of the brackets: ``function(inside) <= target``, and usually
        ``function(outside) >= target``. Where even the outer end falls short, it is the result.

    Returns
    -------
    x : array
        Roots, of the shape of the brackets.

    Raises
    ------
    FitError
        If the function is NaN somewhere, or an element does not converge.

    Examples
    --------
    >>> import numpy as np
    >>> x = solve_bracketed(lambda x: (x**2, 2 * x), np.array([4.0, 9.0]), np.zeros(2), np.full(2, 10.0))
    >>> [round(float(value), 12) for value in x]
    [2.0, 3.0]
    """
    target, inside, outside = np.broadcast_arrays(*(np.asarray(a, float) for a in (target, inside, outside)))
    x, inside, outside = outside.copy(), inside.copy(), outside.copy()
    for iteration in range(_MAX_ITERATIONS):
        value, slope = function(x)
        if np.isnan(value).any():
            raise FitError(f"The function is NaN at {np.isnan(value).sum()} of {value.size} points")
        too_far = value >= target
        outside = np.where(too_far, x, outside)
        inside = np.where(too_far, inside, x)
        usable = np.isfinite(slope) & (slope != 0)
        new = x - np.where(usable, (value - target) / np.where(usable, slope, 1.0), 0.0)
        # Where rounding of the function decides, Newton steps wander for ever: bisection ends.
        held = (
            usable
            & (iteration < _MAX_NEWTON)
            & (new >= np.minimum(inside, outside))
            & (new <= np.maximum(inside, outside))
        )
        new = np.where(held, new, (inside + outside) / 2)
        # Convergence is quadratic: after a step of 1e-9 the error is one of rounding.
        done = held & (np.abs(new - x) <= _RTOL * np.abs(new))
        done |= (value == target) | (np.abs(outside - inside) <= _EPS * np.abs(outside))
        x = np.where(value == target, x, new)
        if done.all():
            return x
    raise FitError(f"{np.sum(~done)} of {done.size} roots were not found in {_MAX_ITERATIONS} iterations")

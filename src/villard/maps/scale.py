"""The scales on which an axis is evenly spaced or interpolated."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError

Array = NDArray[np.float64]

_FORWARD: dict[str, Callable[[Array], Array]] = {"lin": lambda x: x, "log": np.log, "sqrt": np.sqrt}
_INVERSE: dict[str, Callable[[Array], Array]] = {"lin": lambda x: x, "log": np.exp, "sqrt": np.square}


def check_scale(name: str, where: str) -> str:
    """Return the name of a scale, or raise `DataError` if there is none of that name."""
    if name not in _FORWARD:
        raise DataError(f"{where}: unknown scale {name!r}, expected one of {', '.join(_FORWARD)}")
    return name


def forward(name: str, values: ArrayLike) -> Array:
    """Return values on the scale; those outside its domain become NaN or -inf, without a warning.

    Examples
    --------
    >>> forward("sqrt", [4.0, 9.0])
    array([2., 3.])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return _FORWARD[name](np.asarray(values, dtype=float))


def inverse(name: str, values: ArrayLike) -> Array:
    """Return the values that `forward` has put on the scale."""
    return _INVERSE[name](np.asarray(values, dtype=float))


def interpolate(x: ArrayLike, xp: Array, fp: Array) -> Array:
    """Interpolate linearly between points, and go on with the same slope beyond the ends.

    Parameters
    ----------
    x : array-like
        Where to evaluate.
    xp, fp : `~numpy.ndarray`
        At least two points with increasing ``xp``.

    Returns
    -------
    `~numpy.ndarray`
        Values, of the shape of ``x``.

    Examples
    --------
    >>> interpolate([0.5, 3.0], np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0, 6.0]))
    array([ 1., 10.])
    """
    x = np.asarray(x, dtype=float)
    idx = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, len(xp) - 2)
    fraction = (x - xp[idx]) / (xp[idx + 1] - xp[idx])
    # This form, other than f0 + fraction (f1 - f0), is exact at both points.
    return (1 - fraction) * fp[idx] + fraction * fp[idx + 1]

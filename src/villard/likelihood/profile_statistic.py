r"""Fit statistic of flux points that come with their likelihood profiles.

A profile is tabulated at a few values of the flux. Interpolated is the signed square root of its
rise above the minimum, :math:`r(\mu) = \pm \sqrt{-2 \ln L(\mu) + 2 \ln L_\max}`, negative below the best
fit: for a Gaussian it is a straight line, for counts nearly one, so that a cubic spline through few
points is accurate, the statistic :math:`r^2` is never negative, and :math:`2 r'^2` is a curvature to
minimise with. Beyond the table r goes on as a straight line, the statistic as a parabola.

A minimum at the lower end of the table, such as a flux of zero, is mostly no true one: the statistic
has a slope there, and its root none that is finite. Then the root is that of the rise above a *floor*
below the table, :math:`r = \sqrt{-2 \ln L + 2 \ln L_\max + K}`, and the statistic is :math:`r^2 - K`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.utils.array import namespace

__all__ = [
    "profile",
    "profile_derivatives",
    "profile_fisher",
    "profile_interpolation",
    "profile_roots",
    "profile_spline",
]

Array = NDArray[np.float64]

_NONE: Array = np.zeros(1)


def profile(model: Any, knot: Any, root: Any, slope: Any, floor: Any = _NONE) -> Any:
    """Rise of tabulated profiles above their minima.

    Parameters
    ----------
    model : array
        Predicted values, shape (...).
    knot, root, slope : array
        Fluxes, signed roots of the rise there and their derivatives, shape (n_knots, ...).
    floor : array
        What roots are above, below the best fit, shape (1, ...).

    Returns
    -------
    stat : array
        Statistic of each point.

    Examples
    --------
    >>> knot = np.array([[0.0], [1.0], [3.0]])
    >>> profile(np.array([1.5]), knot, root=2 * (knot - 1), slope=np.full((3, 1), 2.0)).tolist()
    [1.0]
    """
    value, _, _ = _interpolate(model, knot, root, slope)
    return value**2 - floor[0]


def profile_derivatives(
    model: Any, knot: Any, root: Any, slope: Any, floor: Any = _NONE
) -> tuple[Any, Any, Any]:
    """`profile` and its derivatives by the model.

    Parameters
    ----------
    model, knot, root, slope, floor : array
        As for `profile`.

    Returns
    -------
    value, d1, d2 : array
        Statistic, first and second derivative.
    """
    value, d1, d2 = _interpolate(model, knot, root, slope)
    return value**2 - floor[0], 2 * value * d1, 2 * (d1**2 + value * d2)


def profile_fisher(model: Any, knot: Any, root: Any, slope: Any, floor: Any = _NONE) -> Any:
    """Positive curvature of `profile`: that of a squared residual, without the change of its slope.

    Parameters
    ----------
    model, knot, root, slope, floor : array
        As for `profile`.

    Returns
    -------
    fisher : array
        Curvature of each point.
    """
    _, d1, _ = _interpolate(model, knot, root, slope)
    return 2 * d1**2


def _interpolate(model: Any, knot: Any, root: Any, slope: Any) -> tuple[Any, Any, Any]:
    """Cubic Hermite interpolation and its two derivatives; a straight line beyond the ends."""
    xp: ModuleType = namespace(model, knot)
    model = xp.asarray(model, dtype=float)
    interval = xp.sum(model >= knot[1:-1], axis=0)

    def at(values: Any, shift: int) -> Any:
        return xp.take_along_axis(values, (interval + shift)[None], axis=0)[0]

    x0, width = at(knot, 0), at(knot, 1) - at(knot, 0)
    # Padding has no width.
    width = xp.where(width > 0, width, 1.0)
    y0, y1 = at(root, 0), at(root, 1)
    s0, s1 = at(slope, 0) * width, at(slope, 1) * width
    t = (model - x0) / width
    inside = xp.clip(t, 0.0, 1.0)
    # Coefficients of the cubic in t.
    c2, c3 = 3 * (y1 - y0) - 2 * s0 - s1, 2 * (y0 - y1) + s0 + s1
    value = y0 + inside * (s0 + inside * (c2 + inside * c3))
    d1 = s0 + inside * (2 * c2 + 3 * inside * c3)
    d2 = xp.where(t == inside, 2 * c2 + 6 * inside * c3, 0.0)
    return value + d1 * (t - inside), d1 / width, d2 / width**2


def profile_spline(norm: Array, stat: Array, best_norm: float, best_stat: float) -> Any:
    """Return the spline through the signed root of the rise of one profile.

    Parameters
    ----------
    norm, stat : array
        Tabulated profile, shape (n,); ``norm`` increases.
    best_norm, best_stat : float
        Best fit, which becomes a knot; NaN if it isn't known, then it is taken from a spline through
        the profile itself.

    Returns
    -------
    `~scipy.interpolate.CubicSpline`
        With n + 1 knots.

    Raises
    ------
    DataError
        If there are less than four values, or they are not finite and increasing.

    Examples
    --------
    >>> norm = np.linspace(0, 3, 7)
    >>> spline = profile_spline(norm, 4 * (norm - 1.2) ** 2 + 7, np.nan, np.nan)
    >>> round(float(spline(2.2)), 6)
    2.0
    """
    from scipy.interpolate import CubicSpline

    norm, stat = np.asarray(norm, dtype=float), np.asarray(stat, dtype=float)
    if len(norm) < 4 or not (np.all(np.isfinite(stat)) and np.all(np.diff(norm) > 0)):
        raise DataError(
            f"Likelihood profile: expected at least 4 finite, increasing values, found {norm}, {stat}"
        )
    # A best fit above the profile isn't one: then the profile's own minimum is better.
    if not (np.isfinite(best_norm) and best_stat <= stat.min() + 1e-3):
        best_norm, best_stat = _minimum(norm, stat)
    root = np.sign(norm - best_norm) * np.sqrt(np.maximum(stat - best_stat, 0.0))
    gap = 1e-6 * (norm[-1] - norm[0])
    near = np.abs(norm - best_norm) < gap
    knot, value = np.append(norm[~near], best_norm), np.append(root[~near], 0.0)
    order = np.argsort(knot)
    spline = CubicSpline(knot[order], value[order])
    if not np.any(near):
        return spline
    return _with_knot(spline)


def profile_interpolation(norm: Array, stat: Array, best_norm: float, best_stat: float) -> tuple[Any, float]:
    """Return the spline through the roots of the rise of one profile, and the floor that they are above.

    Parameters
    ----------
    norm, stat, best_norm, best_stat :
        As for `profile_spline`.

    Returns
    -------
    spline : `~scipy.interpolate.CubicSpline`
        With n + 1 knots; increasing, for a profile that has one minimum.
    floor : float
        0 but for minima at the lower end of the table that aren't flat.

    Examples
    --------
    >>> norm = np.linspace(0, 3, 7)
    >>> spline, floor = profile_interpolation(norm, 4 * norm, 0.0, 0.0)
    >>> round(float(spline(1.3) ** 2 - floor), 3)
    5.2
    """
    from scipy.interpolate import CubicSpline

    norm, stat = np.asarray(norm, dtype=float), np.asarray(stat, dtype=float)
    checked = profile_spline(norm, stat, best_norm, best_stat)
    if np.argmin(stat) != 0 or not abs(best_norm - norm[0]) <= 1e-6 * (norm[-1] - norm[0]):
        return checked, 0.0
    direct = CubicSpline(norm, stat)
    slope, curvature = float(direct(norm[0], 1)), float(direct(norm[0], 2))
    rise = stat - stat[0]
    floor = float(rise.max())
    if slope * (norm[-1] - norm[0]) < 1e-3 * floor or not floor > 0:
        return checked, 0.0
    if curvature > 0:
        floor = min(floor, slope**2 / (2 * curvature))
    return _with_knot(CubicSpline(norm, np.sqrt(np.maximum(rise, 0.0) + floor))), floor


def _with_knot(spline: Any) -> Any:
    """Return the same spline with one knot more: all splines of a data set have as many."""
    from scipy.interpolate import CubicSpline

    knot = spline.x
    extra = knot[np.argmax(np.diff(knot))] + 0.5 * np.max(np.diff(knot))
    knot = np.sort(np.append(knot, extra))
    return CubicSpline(knot, spline(knot))


def _minimum(norm: Array, stat: Array) -> tuple[float, float]:
    """Return the minimum of a profile; beyond its ends that of the parabola which continues it."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(norm, stat)
    candidates = spline.derivative().roots(extrapolate=False)
    candidates = candidates[np.isfinite(candidates)]
    candidates = np.concatenate([candidates, norm[[0, -1]]])
    best = float(candidates[np.argmin(spline(candidates))])
    slope, curvature = float(spline(best, 1)), float(spline(best, 2))
    beyond = (best == norm[0] and slope > 0) or (best == norm[-1] and slope < 0)
    if beyond and curvature > 0:
        return best - slope / curvature, float(spline(best)) - slope**2 / (2 * curvature)
    return best, float(spline(best))


def profile_roots(norm: Array, stat: Array, best_norm: Array, best_stat: Array) -> dict[str, Array]:
    """Return what `profile` needs of the profiles of several points.

    Parameters
    ----------
    norm, stat : array
        Tabulated profiles, shape (n, n_norm).
    best_norm, best_stat : array
        Best fits, shape (n,); NaN where they aren't known.

    Returns
    -------
    dict
        ``knot``, ``root`` and ``slope``, shape (n_norm + 1, n), and ``floor``, shape (1, n); NaN for
        points without a profile.
    """
    n_points, n_norm = norm.shape
    result = {name: np.full((n_norm + 1, n_points), np.nan) for name in ("knot", "root", "slope")}
    result["floor"] = np.full((1, n_points), np.nan)
    for i in range(n_points):
        if np.all(np.isfinite(stat[i])):
            spline, result["floor"][0, i] = profile_interpolation(
                norm[i], stat[i], best_norm[i], best_stat[i]
            )
            result["knot"][:, i], result["root"][:, i] = spline.x, spline(spline.x)
            result["slope"][:, i] = spline(spline.x, 1)
    return result

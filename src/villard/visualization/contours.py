"""Contours of the likelihood."""

from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_contour_line"]

_POINTS_PER_SEGMENT = 20


def plot_contour_line(ax: "Axes", x: Any, y: Any, **kwargs: Any) -> "Axes":
    """Draw a smooth closed curve through the points of a contour.

    The curve is a periodic cubic spline over the chord length, in units of the contour's extent, so
    that it looks the same whatever the units of the axes.

    Parameters
    ----------
    ax : `~matplotlib.axes.Axes`
        Where to draw.
    x, y : array
        Coordinates of the points in order around the contour, as `Fit.stat_contour` gives them. The
        first may be repeated at the end.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.plot`.

    Returns
    -------
    `~matplotlib.axes.Axes`
        The axes.

    Raises
    ------
    DataError
        If x and y differ in length, have fewer than three points, or aren't finite.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> angle = np.linspace(0, 2 * np.pi, 9)
    >>> ax = plot_contour_line(plt.gca(), np.cos(angle), np.sin(angle))
    >>> radius = np.hypot(*ax.lines[0].get_data())
    >>> bool(np.all(np.abs(radius - 1) < 0.01))
    True
    """
    from scipy.interpolate import CubicSpline

    points = _closed(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    extent = np.ptp(points, axis=0)
    steps = np.linalg.norm(np.diff(points / np.where(extent > 0, extent, 1.0), axis=0), axis=1)
    keep = np.append(True, steps > 0)
    distance = np.append(0.0, np.cumsum(steps))[keep]
    spline = CubicSpline(distance, points[keep], bc_type="periodic")
    curve = spline(np.linspace(0, distance[-1], _POINTS_PER_SEGMENT * len(points)))
    ax.plot(curve[:, 0], curve[:, 1], **kwargs)
    return ax


def _closed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the points, shape (n, 2), with the first repeated exactly at the end."""
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(f"Contour: expected as many x as y, found shapes {x.shape} and {y.shape}")
    points = np.stack([x, y], axis=1)
    if not np.all(np.isfinite(points)):
        raise DataError(f"Contour: {np.sum(~np.isfinite(points).all(axis=1))} points are not finite")
    extent = np.ptp(points, axis=0) if len(points) else np.zeros(2)
    if len(points) > 1 and np.all(np.abs(points[0] - points[-1]) <= 1e-9 * extent):
        points = points[:-1]
    if len(points) < 3:
        raise DataError(f"Contour: expected at least 3 different points, found {len(points)}")
    return np.concatenate([points, points[:1]])

"""Upper limits from the likelihood profiles of flux points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.profile_statistic import profile_interpolation

if TYPE_CHECKING:
    from villard.estimators.flux_points import FluxPoints

__all__ = ["profile_upper_limits"]


def profile_upper_limits(points: FluxPoints, n_sigma: float) -> NDArray[np.float64]:
    """Return where profiles have risen by n_sigma² above the best fit.

    Parameters
    ----------
    points : `FluxPoints`
        Flux points with profiles.
    n_sigma : float
        Number of standard deviations.

    Returns
    -------
    array
        Norms, shape (n,); NaN without a profile, and where the limit is beyond its last norm.
    """
    norm, stat = points.norm_scan, points.quantity("stat_scan").value
    best_norm = points.quantity("norm").value
    best_stat = points.quantity("stat").value if points.has("stat") else np.full(len(points), np.nan)
    limits = np.full(len(points), np.nan)
    for i in range(len(points)):
        if not np.all(np.isfinite(stat[i])):
            continue
        spline, floor = profile_interpolation(norm[i], stat[i], best_norm[i], best_stat[i])
        # The root is negative, or least, below the best fit, so this is a crossing above it.
        crossings = spline.solve(np.sqrt(n_sigma**2 + floor), extrapolate=False)
        limits[i] = crossings[0] if len(crossings) else np.nan
    return limits

"""Profile likelihood of the width of a round source: maximum, errors and upper limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOOR", "WidthProfile", "WidthResult"]

Array = NDArray[np.float64]

#: Smallest width that is told (deg).
FLOOR = 0.00316
#: Fall of ln L at the ends of a 68 % interval, and at a one-sided 95 % upper limit.
_ONE_SIGMA, _UPPER_95 = 0.5, 1.3527717
_TOL = 2e-3
_MAX_STEPS = 30


@dataclass
class WidthResult:
    """Maximum of a profile, its errors, and the values at chosen widths."""

    width: Array
    loglike: Array
    ext: float
    loglike_ext: float
    err_lo: float
    err_hi: float
    ul95: float

    @property
    def err(self) -> float:
        """Mean of both errors, or the upper one."""
        return 0.5 * (self.err_lo + self.err_hi) if np.isfinite(self.err_lo) else self.err_hi

    @property
    def ts(self) -> float:
        """Twice the gain of ln L over width 0."""
        return max(2 * (self.loglike_ext - float(self.loglike[0])), 0.0)


@dataclass
class WidthProfile:
    """A function ln L(width), of which each value is computed once.

    Parameters
    ----------
    function : callable
        ln L, all else refitted, at a width (deg); 0 is a point source.

    Examples
    --------
    >>> profile = WidthProfile(lambda w: -0.5 * (w - 0.3) ** 2 / 0.05**2)
    >>> result = profile.solve(np.geomspace(0.01, 1, 11))
    >>> round(result.ext, 3), round(result.err, 3), round(result.ul95, 3), round(result.ts, 1)
    (0.3, 0.05, 0.382, 36.0)
    """

    function: Callable[[float], float]
    known: dict[float, float] = field(default_factory=dict)

    def __call__(self, width: float) -> float:
        """Return ln L at a width."""
        width = float(width)
        if width not in self.known:
            self.known[width] = float(self.function(width))
        return self.known[width]

    def solve(self, widths: Array) -> WidthResult:
        """Find the maximum, from the best of some widths, and where ln L has fallen on both sides.

        Parameters
        ----------
        widths : array
            Widths above 0 (deg), ascending.
        """
        grid = np.concatenate([[0.0], np.asarray(widths, dtype=float)])
        values = np.array([self(w) for w in grid])
        best, top = self._maximum(grid, values)
        far = float(grid[-1])
        high = self._crossing(best, top, _ONE_SIGMA, far)
        limit = self._crossing(best, top, _UPPER_95, far)
        low = np.nan
        if best > 0 and top - values[0] > _ONE_SIGMA:
            low = best - self._crossing(best, top, _ONE_SIGMA, 0.0)
        return WidthResult(grid, values, max(best, FLOOR), top, low, high - best, limit)

    def _maximum(self, grid: Array, values: Array) -> tuple[float, float]:
        """Refine the best width by parabolas through three points, guarded by a bracket."""
        from scipy.optimize import minimize_scalar

        i = int(np.nanargmax(values))
        low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
        minimize_scalar(
            lambda w: -self(w),
            bounds=(low, high),
            method="bounded",
            options={"xatol": 0.01 * high, "maxiter": 12},
        )
        candidates = {w: v for w, v in self.known.items() if low <= w <= high and np.isfinite(v)}
        best = max(candidates, key=lambda w: candidates[w])
        # Parabola through the best point and its neighbours: the last per cent.
        around = sorted(candidates)
        k = around.index(best)
        if 0 < k < len(around) - 1:
            x, y = np.array(around[k - 1 : k + 2]), np.array([candidates[w] for w in around[k - 1 : k + 2]])
            a, b, c = np.polyfit(x - x[1], y - y[1], 2)
            if a < 0 and x[0] < x[1] - b / (2 * a) < x[2]:
                top = y[1] + c - b * b / (4 * a)
                if 0 <= top - y[1] < 0.05:
                    return float(x[1] - b / (2 * a)), float(top)
        return float(best), float(candidates[best])

    def _crossing(self, best: float, top: float, fall: float, far: float) -> float:
        """Return where ln L has fallen by an amount between the maximum and a far width; NaN if it hasn't."""
        inner, outer = best, far
        for w in sorted(self.known, reverse=far < best):
            beyond = w > best if far > best else w < best
            if not beyond or not np.isfinite(self.known[w]):
                continue
            if top - self.known[w] >= fall:
                outer = w
                break
            inner = w
        else:
            return float("nan")
        # The root of the fall is nearly straight in the width.
        a, b = (np.sqrt(max(top - self(w), 0.0)) - np.sqrt(fall) for w in (inner, outer))
        if inner == best:
            a = -np.sqrt(fall)
        for step in range(_MAX_STEPS):
            guess = inner - a * (outer - inner) / (b - a)
            if step % 3 == 2:
                guess = 0.5 * (inner + outer)
            value = top - self(guess)
            if abs(value - fall) < _TOL * fall or abs(outer - inner) < 1e-6 * max(outer, inner):
                return float(guess)
            root = np.sqrt(max(value, 0.0)) - np.sqrt(fall)
            if root < 0:
                inner, a = guess, root
            else:
                outer, b = guess, root
        return float(0.5 * (inner + outer))

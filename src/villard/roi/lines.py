"""Fits of one norm at a time: with everything else held, the counts are a straight line in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.contributions import Contribution, contributions
from villard.likelihood.statistics import STATISTICS

__all__ = ["Lines"]

Array = NDArray[np.float64]

_MAX_STEPS = 50
_TOL = 1e-8


class Lines:
    """Predicted counts of a likelihood whose free parameters are norms, changed one at a time.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood; each of its free parameters is a norm.
    theta : array
        Scaled parameters, shape (n_free,).
    """

    def __init__(self, likelihood: Any, theta: Array) -> None:
        self.likelihood = likelihood
        self.theta = np.array(theta, dtype=float)
        position = {id(p): i for i, p in enumerate(likelihood.parameters)}
        own = [position.get(id(p), -1) for p in likelihood.binding.parameters]
        self._parts: dict[int, list[Contribution]] = {}
        for part in contributions(likelihood, np.ones(likelihood.n_free)):
            for column in {own[i] for i in part.parameters} - {-1}:
                self._parts.setdefault(column, []).append(part)
        blocks = likelihood._kernels.npred(self.theta, likelihood._device_data)
        self._counts = [np.array(block) for block in blocks]

    def minimize(self, column: int, lower: float = -np.inf, upper: float = np.inf) -> float:
        """Fit one norm, keep it, and return its scaled value.

        Parameters
        ----------
        column : int
            Position of the norm among the free parameters.
        lower, upper : float
            Its limits.
        """
        lines = [self._line(part) for part in self._parts.get(column, [])]
        x = start = float(self.theta[column])
        if not lines:
            return x
        # Of a function that is convex, the point where its slope is zero is approached between brackets.
        low, high = lower, upper
        for _ in range(_MAX_STEPS):
            slope, curvature = self._derivatives(lines, x - start)
            if slope > 0:
                high = min(high, x)
            else:
                low = max(low, x)
            if (slope > 0 and x <= lower) or (slope <= 0 and x >= upper):
                break
            if slope**2 < 2 * _TOL * curvature or high - low < 1e-14 * max(abs(x), 1e-300):
                break
            new = x - slope / curvature if curvature > 0 else np.nan
            if not low < new < high:
                new = self._between(low, high, x, slope, lower, upper)
            x = new
        self.theta[column] = x
        for part in self._parts[column]:
            part.add_to(self._counts, x - start)
        return x

    @staticmethod
    def _between(low: float, high: float, x: float, slope: float, lower: float, upper: float) -> float:
        """Return a point between brackets: a limit that is still open, the middle, or further out."""
        if slope > 0 and low == lower and np.isfinite(lower):
            return lower if x - lower < 1e-3 * max(abs(x), 1e-300) else x - 0.9 * (x - lower)
        if slope <= 0 and high == upper:
            return min(upper, x + 2 * max(abs(x), 1.0))
        if not np.isfinite(low):
            return x - 2 * max(abs(x), 1.0)
        return 0.5 * (low + high)

    def _line(self, part: Contribution) -> tuple[Any, ...]:
        block = self.likelihood.binding.blocks[part.block]
        used = slice(None) if part.columns is None else part.columns
        data = {key: value[..., part.row, :][..., used] for key, value in block.arrays["data"].items()}
        mask = block.arrays["mask"][part.row][used]
        counts = self._counts[part.block][part.row][used]
        return STATISTICS[block.structure.statistic].derivatives, counts, part.counts, data, mask

    @staticmethod
    def _derivatives(lines: list[tuple[Any, ...]], step: float) -> tuple[float, float]:
        slope = curvature = 0.0
        for derivatives, counts, per_norm, data, mask in lines:
            _, first, second = derivatives(counts + step * per_norm, data)
            slope += float(np.sum(np.where(mask, first * per_norm, 0.0)))
            curvature += float(np.sum(np.where(mask, second * per_norm**2, 0.0)))
        return slope, curvature

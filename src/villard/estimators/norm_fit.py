"""Fits of one factor in many selections of the data at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.batch import BATCH_SIZE

__all__ = ["NormFits"]

Array = NDArray[np.float64]
_MAX_ROOT_STEPS, _MAX_DOUBLINGS, _HALVINGS = 60, 40, 50
# Slope, over one standard deviation, up to which a minimum is one.
_FLAT = 1e-3


class NormFits:
    """Minima, errors, limits and profiles of a norm, one for each selection of bins.

    All selections, and all values of the norm, are rows of one batch; rows are computed by 32, so
    that a single compiled function serves for everything.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood of all bins.
    column : int
        Position of the norm among its free parameters; the others are refitted everywhere.
    masks : list of array of bool
        For each measurement of the likelihood which bins each selection has, shape (n, n_bins).
    floor : array
        Norms below which counts predicted in a selection would be negative, shape (n,); -inf where
        that can't happen. Where a selection has no counts, the minimum is there.
    tol : float
        How exactly the statistic must meet its level where an interval ends.
    overrides : list of dict, optional
        For each block of the likelihood's binding further arrays that differ from selection to selection,
        as for `~villard.likelihood.Likelihood.minimize_batch`.
    """

    def __init__(
        self,
        likelihood: Any,
        column: int,
        masks: list[Any],
        floor: Array,
        tol: float = 1e-6,
        overrides: list[dict[str, Any]] | None = None,
    ) -> None:
        self.likelihood = likelihood
        self.column = column
        self.tol = tol
        by_name = dict(zip((m.name for m in likelihood.binding.measurements), masks, strict=True))
        blocks = likelihood.binding.blocks
        self._overrides = [
            {"mask": block.pack([by_name[m.name] for m in block.measurements], fill=False), **more}
            for block, more in zip(blocks, overrides or [{} for _ in blocks], strict=True)
        ]
        self.n = len(masks[0])
        self._others = np.ones(likelihood.n_free, dtype=bool)
        self._others[column] = False
        # From scaled parameters to norms.
        self._factor = float(likelihood.to_values(np.eye(likelihood.n_free)[column])[column])
        self._low, self._high = (np.full(self.n, bound[column]) for bound in likelihood.bounds)
        self._low = np.maximum(self._low, floor / self._factor)
        self.theta = np.tile(likelihood.theta, (self.n, 1))
        self.stat, self.slope = np.full(self.n, np.nan), np.full(self.n, np.nan)
        self.success, self.nfev = np.zeros(self.n, dtype=bool), np.zeros(self.n, dtype=int)
        self._fit()
        self.error = self._errors()

    def _minimize(self, theta: Array, rows: NDArray[np.intp], active: NDArray[np.bool_]) -> Any:
        """Minimise from ``theta``, shape (n_rows, n_free), for the selections numbered by ``rows``."""
        parts = [
            self.likelihood.minimize_batch(
                theta[chunk],
                active=active,
                overrides=[{k: v[rows[chunk]] for k, v in o.items()} for o in self._overrides],
            )
            for chunk in _chunks(len(rows))
        ]
        self.nfev += np.bincount(rows, np.concatenate([p.nfev for p in parts]), self.n).astype(int)
        return parts[0] if len(parts) == 1 else _join(parts)

    def _at(self, norms: Array, rows: NDArray[np.intp]) -> Any:
        """Refit the other parameters at given (scaled) norms; the gradient tells the way downhill."""
        theta = self.theta[rows]
        theta[:, self.column] = norms
        return self._minimize(theta, rows, self._others)

    def _accept(self, rows: NDArray[np.intp], solution: Any, good: NDArray[np.bool_]) -> None:
        rows = rows[good]
        self.theta[rows], self.stat[rows] = solution.theta[good], solution.value[good]
        self.slope[rows] = solution.gradient[good, self.column]
        self.success[rows] = True

    def _fit(self) -> None:
        """Find the minima: at the floor, else by the solver, else by halving an interval."""
        bounded = np.flatnonzero(np.isfinite(self._low))
        if len(bounded):
            solution = self._at(self._low[bounded], bounded)
            uphill = solution.gradient[:, self.column] >= 0
            self._accept(bounded, solution, uphill & solution.success & np.isfinite(solution.value))
        rows = np.flatnonzero(~self.success)
        if len(rows):
            start = np.tile(self.likelihood.theta, (len(rows), 1))
            solution = self._minimize(start, rows, np.ones(self.likelihood.n_free, dtype=bool))
            inside = solution.theta[:, self.column] >= self._low[rows]
            self._accept(rows, solution, inside & solution.success)
        rows = np.flatnonzero(~self.success)
        if len(rows):
            self._halve(rows)

    def _halve(self, rows: NDArray[np.intp]) -> None:
        """Find minima where the slope changes its sign, be it in a jump as where nothing was counted."""
        start = np.maximum(
            self.likelihood.theta[self.column], np.where(np.isfinite(self._low), self._low, -np.inf)
        )[rows]
        low, low_found = self._expand(rows, start, -1)
        high, high_found = self._expand(rows, start, 1)
        found = low_found & high_found
        rows, low, high = rows[found], low[found], high[found]
        if not len(rows):
            return
        # As many points between as fit in one call.
        n_points = max(1, BATCH_SIZE // len(rows))
        fractions = np.arange(n_points + 2) / (n_points + 1)
        for _ in range(int(np.ceil(_HALVINGS / np.log2(n_points + 1)))):
            points = low[:, np.newaxis] + (high - low)[:, np.newaxis] * fractions
            inner = points[:, 1:-1]
            slopes = self._at(inner.ravel(), np.repeat(rows, n_points)).gradient[:, self.column]
            first = np.sum(np.logical_and.accumulate(slopes.reshape(inner.shape) <= 0, axis=1), axis=1)
            index = np.arange(len(rows))
            low, high = points[index, first], points[index, first + 1]
        # A jump of the slope is mostly at no flux.
        best = np.where((low <= 0) & (high >= 0), 0.0, 0.5 * (low + high))
        solution = self._at(best, rows)
        self._accept(rows, solution, solution.success & np.isfinite(solution.value))

    def _expand(self, rows: NDArray[np.intp], start: Array, side: int) -> tuple[Array, NDArray[np.bool_]]:
        """Go from the start until the statistic rises; return where that is, and whether it was found."""
        norms, step = start.copy(), np.maximum(np.abs(start), 1.0)
        found = np.zeros(len(rows), dtype=bool)
        for _ in range(_MAX_DOUBLINGS):
            slope = side * self._at(norms, rows).gradient[:, self.column]
            at_limit = norms <= self._low[rows] if side < 0 else norms >= self._high[rows]
            found |= (slope > 0) | at_limit
            if np.all(found):
                break
            moved = np.clip(norms + side * step, self._low[rows], self._high[rows])
            norms, step = np.where(found, norms, moved), 2 * step
        return norms, found

    def _errors(self) -> Array:
        """Standard errors from the exact Hessians; NaN where these aren't positive definite."""
        errors = np.full(self.n, np.nan)
        for chunk in _chunks(self.n):
            overrides = [{k: v[chunk] for k, v in o.items()} for o in self._overrides]
            for i, hessian in zip(
                chunk, self.likelihood.hessian_batch(self.theta[chunk], overrides), strict=True
            ):
                errors[i] = self._error(hessian)
        # At a floor or a kink the statistic isn't a parabola.
        curved = np.abs(self.slope * errors / self._factor) < _FLAT
        return np.where(self.success & curved, errors, np.nan)

    @property
    def at_edge(self) -> NDArray[np.bool_]:
        """Minima where the statistic has a slope: at a floor, a limit or a kink, shape (n,)."""
        return self.success & ~np.isfinite(self.error) & (self.slope != 0)

    def _error(self, hessian: Array) -> float:
        scale = np.sqrt(np.abs(np.diag(hessian)))
        if not np.all(np.isfinite(hessian)) or not scale[self.column] > 0:
            return float("nan")
        # Parameters that a selection says nothing of don't matter for the norm's error.
        known = scale > 0
        scaled = hessian[np.ix_(known, known)] / np.outer(scale[known], scale[known])
        column = int(np.sum(known[: self.column]))
        values, vectors = np.linalg.eigh(scaled)
        if values[0] <= 1e-14 * values[-1]:
            return float("nan")
        variance = 2 * np.sum(vectors[column] ** 2 / values) / scale[self.column] ** 2
        return float(np.sqrt(variance)) * self._factor

    @property
    def norm(self) -> Array:
        """Norms at the minima, shape (n,)."""
        return self.theta[:, self.column] * self._factor

    def stat_at(self, norms: Array) -> Array:
        """Return the statistic at given norms, the other parameters refitted.

        Parameters
        ----------
        norms : array
            Norms, shape (k,), the same for all selections.

        Returns
        -------
        array
            -2 ln L, shape (n, k).
        """
        rows = np.repeat(np.arange(self.n), len(norms))
        return self._at(np.tile(norms, self.n) / self._factor, rows).value.reshape(self.n, len(norms))

    def crossings(self, side: int, n_sigma: float) -> Array:
        """Return how far from the minimum the refitted statistic has risen by n_sigma².

        The square root of the rise is nearly linear in the norm, so Newton steps on it, with the
        slope from the envelope theorem, meet the level in a few batches; a bracket guards them.

        Parameters
        ----------
        side : {-1, 1}
            Below or above the minimum.
        n_sigma : float
            Square root of the rise.

        Returns
        -------
        array
            Distances, shape (n,); NaN where the statistic doesn't rise that far within the limits.
        """
        level = float(n_sigma) ** 2
        rows = np.flatnonzero(self.success & (np.isfinite(self.error) | self.at_edge))
        far = (
            self.theta[:, self.column] - self._low if side < 0 else self._high - self.theta[:, self.column]
        )[rows]
        scale = n_sigma * self.error[rows] / self._factor
        distance = np.minimum(np.where(np.isfinite(scale), scale, 1.0), far)
        low, high = np.zeros(len(rows)), np.full(len(rows), np.inf)
        done, limited = np.zeros(len(rows), dtype=bool), far <= 0
        theta = self.theta[rows]
        for _ in range(_MAX_ROOT_STEPS):
            todo = np.flatnonzero(~(done | limited))
            if not len(todo):
                break
            points = theta[todo]
            points[:, self.column] = self.theta[rows[todo], self.column] + side * distance[todo]
            solution = self._minimize(points, rows[todo], self._others)
            rise = solution.value - self.stat[rows[todo]]
            slope = side * solution.gradient[:, self.column]
            usable = solution.success & np.isfinite(rise)
            theta[todo] = np.where(usable[:, None], solution.theta, points)
            below = usable & (rise < level)
            done[todo] = usable & (np.abs(rise - level) < self.tol * max(level, 1.0))
            limited[todo] = below & ~done[todo] & (distance[todo] >= far[todo])
            low[todo] = np.where(below, np.maximum(low[todo], distance[todo]), low[todo])
            high[todo] = np.where(below, high[todo], np.minimum(high[todo], distance[todo]))
            step = _next(distance[todo], rise, slope, level, low[todo], high[todo])
            distance[todo] = np.where(done[todo], distance[todo], np.minimum(step, far[todo]))
        result = np.full(self.n, np.nan)
        result[rows[done]] = distance[done] * self._factor
        return result


def _next(distance: Array, rise: Array, slope: Array, level: float, low: Array, high: Array) -> Array:
    """Newton step on the square root of the rise, or a step of the bracket where that leaves it."""
    root = np.sqrt(np.maximum(rise, 1e-12))
    with np.errstate(divide="ignore", invalid="ignore"):
        newton = distance + (np.sqrt(level) - root) * 2 * root / slope
    inside = np.isfinite(newton) & (newton > low) & (newton < high) & (newton < 10 * distance)
    middle = np.where(np.isfinite(high), 0.5 * (low + high), 2 * distance)
    return np.where(inside, newton, middle)


def _chunks(n: int) -> list[NDArray[np.intp]]:
    return np.split(np.arange(n), np.arange(BATCH_SIZE, n, BATCH_SIZE))


def _join(parts: list[Any]) -> Any:
    names = ("theta", "value", "gradient", "edm", "status", "nfev")
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

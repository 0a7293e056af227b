r"""Poisson likelihoods that are linear in all free parameters: norms of fixed templates.

With templates T, fixed counts F and norms x the predicted counts are :math:`\mu = F + x T`, and

.. math:: -2 \ln L = 2 \sum_b w_b (\mu_b - n_b \ln \mu_b) + \sum_i (x_i - m_i)^2 / \sigma_i^2

is convex: there is one minimum, and Newton's method with the exact Hessian finds it in a few steps. Only
bins with counts need a logarithm; of the others the sums of the templates are known. Problems that share
nothing, such as bins of energy or time, are one object each, so that none pays for the others' bins.
Nothing is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LinearFit", "LinearNorms"]

Array = NDArray[np.float64]

_MAX_STEPS, _MAX_SHRINKS, _MAX_ROOT_STEPS = 100, 40, 60
_TINY = 1e-300
#: Share of the decrease expected from the slope that a step must reach.
_ARMIJO = 1e-4


@dataclass(frozen=True)
class LinearFit:
    """End of a minimisation: norms, -2 ln L, its gradient, and whether it converged."""

    x: Array
    stat: float
    gradient: Array
    success: bool
    n_steps: int


class LinearNorms:
    """-2 ln L of norms of templates.

    Parameters
    ----------
    counts : array
        Counts of the bins that have some, times the weights of the bins; shape (n_bins,).
    templates : array
        Counts there for norms of 1, without weights, shape (n_norms, n_bins).
    fixed : array
        Counts there of all that is fixed, without weights, shape (n_bins,).
    sums : array
        Sums of the templates, times weights, over all bins with and without counts, shape (n_norms,).
    fixed_sum : float
        The same of the fixed counts.
    lower, upper : array, optional
        Limits of the norms, shape (n_norms,).
    mean, sigma : array, optional
        Normal priors; none where sigma is infinite.

    Examples
    --------
    >>> flat, peak = np.ones(4), np.array([0.0, 1.0, 1.0, 0.0])
    >>> counts = np.array([3.0, 8.0, 12.0, 5.0])
    >>> norms = LinearNorms(counts, np.array([flat, peak]), np.zeros(4), np.array([4.0, 2.0]), 0.0)
    >>> norms.minimize(np.ones(2)).x.round(6)
    array([4., 6.])
    """

    def __init__(
        self,
        counts: Array,
        templates: Array,
        fixed: Array,
        sums: Array,
        fixed_sum: float,
        lower: Array | None = None,
        upper: Array | None = None,
        mean: Array | None = None,
        sigma: Array | None = None,
    ) -> None:
        n = len(templates)
        self.counts, self.fixed, self.fixed_sum = counts, fixed, float(fixed_sum)
        self.templates, self.sums = (
            np.ascontiguousarray(templates, dtype=float),
            np.asarray(sums, dtype=float),
        )
        self.lower = np.full(n, -np.inf) if lower is None else np.asarray(lower, dtype=float)
        self.upper = np.full(n, np.inf) if upper is None else np.asarray(upper, dtype=float)
        self.mean = np.zeros(n) if mean is None else np.asarray(mean, dtype=float)
        self.weight = np.zeros(n) if sigma is None else 1 / np.asarray(sigma, dtype=float) ** 2

    @property
    def n_norms(self) -> int:
        """Number of norms."""
        return len(self.sums)

    def stat(self, x: Array) -> float:
        """Return -2 ln L; infinite where counts are seen but none, or fewer, are predicted."""
        mu = self.fixed + x @ self.templates
        return self._value(x, mu)

    def _value(self, x: Array, mu: Array) -> float:
        if np.any(mu <= 0):
            return float("inf")
        total = self.fixed_sum + self.sums @ x - self.counts @ np.log(np.maximum(mu, _TINY))
        return float(2 * total + self.weight @ (x - self.mean) ** 2)

    def gradient(self, x: Array) -> Array:
        """Return the gradient of -2 ln L, shape (n_norms,)."""
        mu = np.maximum(self.fixed + x @ self.templates, _TINY)
        return 2 * (self.sums - self.templates @ (self.counts / mu)) + 2 * self.weight * (x - self.mean)

    def hessian(self, x: Array) -> Array:
        """Return the Hessian of -2 ln L, shape (n_norms, n_norms)."""
        mu = np.maximum(self.fixed + x @ self.templates, _TINY)
        scaled = self.templates * (np.sqrt(2 * self.counts) / mu)
        return scaled @ scaled.T + np.diag(2 * self.weight)

    def minimize(self, x: Array, active: Any = None, tol: float = 1e-10) -> LinearFit:
        """Minimise within the limits by Newton's method.

        Parameters
        ----------
        x : array
            Start, shape (n_norms,).
        active : array of bool, optional
            Norms that may change; all by default.
        tol : float
            Largest estimated distance to the minimum in -2 ln L.
        """
        active = np.ones(self.n_norms, dtype=bool) if active is None else np.asarray(active, dtype=bool)
        # Norms that are held may be beyond their limits, as scans may ask for.
        x = np.where(active, np.clip(x, self.lower, self.upper), x)
        value = self.stat(x)
        if not np.isfinite(value):
            x, value = self._start(x, active)
        gradient, success = self.gradient(x), False
        n_steps = 0
        while n_steps < _MAX_STEPS:
            n_steps += 1
            held = ((x <= self.lower) & (gradient > 0)) | ((x >= self.upper) & (gradient < 0))
            moving = active & ~held
            step, distance = self._step(x, gradient, moving)
            if distance < tol:
                success = bool(np.isfinite(value))
                # The last step is free, and squares what is left of the distance.
                last = np.where(step == 0, x, np.clip(x + step, self.lower, self.upper))
                value_last = self.stat(last)
                if value_last <= value:
                    x, value, gradient = last, value_last, self.gradient(last)
                break
            new, value_new = self._descend(x, value, gradient, step)
            if value_new >= value:
                # Rounding: no step lowers it any more.
                success = distance < 1e-5 * (1 + 1e-9 * abs(value))
                break
            x, value, gradient = new, value_new, self.gradient(new)
        return LinearFit(x, value, gradient, success, n_steps)

    def _start(self, x: Array, active: Any) -> tuple[Array, float]:
        """Find norms for which something is predicted wherever something is seen."""
        for factor in (1.0, 1e-3, 1e3):
            size = factor * np.maximum(np.abs(x), 1.0)
            trial = np.where(active, np.clip(size, self.lower, self.upper), x)
            value = self.stat(trial)
            if np.isfinite(value):
                return trial, value
        return x, float("inf")

    def _step(self, x: Array, gradient: Array, moving: Any) -> tuple[Array, float]:
        """Newton step of the norms that move, and the estimated distance to the minimum."""
        step = np.zeros_like(x)
        index = np.flatnonzero(moving)
        if not len(index):
            return step, 0.0
        mu = np.maximum(self.fixed + x @ self.templates, _TINY)
        scaled = self.templates[index] * (np.sqrt(2 * self.counts) / mu)
        hessian = scaled @ scaled.T
        hessian[np.diag_indices(len(index))] += 2 * self.weight[index]
        g = gradient[index]
        diagonal = np.diag(hessian).copy()
        # Without counts in its reach -2 ln L is a straight line in a norm: down to its limit.
        flat = diagonal <= 1e-14 * np.maximum(g**2, 1e-300)
        low, high = self.lower[index] - x[index], self.upper[index] - x[index]
        straight = np.where(g > 0, low, high)
        scale = np.where(flat, 1.0, np.sqrt(np.maximum(diagonal, _TINY)))
        matrix = hessian / np.outer(scale, scale)
        matrix[flat], matrix[:, flat] = 0.0, 0.0
        matrix[np.diag_indices(len(index))] = np.where(flat, 1.0, 1.0 + 1e-12)
        side = np.where(flat, 0.0, g / scale)
        solution = _solve(matrix, side)
        step[index] = -solution / scale
        distance = 0.5 * float(side @ solution)
        bounded = flat & np.isfinite(straight) & (g != 0)
        step[index[bounded]] = straight[bounded]
        distance += float(np.sum(np.abs(g[bounded] * straight[bounded])))
        return step, distance

    def _descend(self, x: Array, value: float, gradient: Array, step: Array) -> tuple[Array, float]:
        """Shorten a step, kept within the limits, until it lowers the statistic."""
        size = 1.0
        for _ in range(_MAX_SHRINKS):
            new = np.where(step == 0, x, np.clip(x + size * step, self.lower, self.upper))
            trial = self.stat(new)
            if np.isfinite(trial) and trial <= value + _ARMIJO * float(gradient @ (new - x)):
                return new, trial
            size *= 0.5 if np.isfinite(trial) else 0.3
        return x, value

    def profile(self, i: int, values: Any, x: Array) -> tuple[Array, Array, Array]:
        """Return -2 ln L at values of one norm, the others refitted.

        Parameters
        ----------
        i : int
            The norm.
        values : array
            Its values.
        x : array
            Best fit, from which the others start.

        Returns
        -------
        stat, slope, x : array
            -2 ln L; its derivative along the profile, by the envelope theorem; the norms; shapes (n_values,),
            (n_values,), (n_values, n_norms).
        """
        values = np.asarray(values, dtype=float)
        stat, slope = np.empty(len(values)), np.empty(len(values))
        all_x = np.empty((len(values), self.n_norms))
        others = np.arange(self.n_norms) != i
        # Outwards from the best fit, so that each start is near.
        above = np.flatnonzero(values >= x[i])[np.argsort(values[values >= x[i]])]
        below = np.flatnonzero(values < x[i])[np.argsort(-values[values < x[i]])]
        for order in (above, below):
            current = x
            for k in order:
                start = current.copy()
                start[i] = values[k]
                fit = self.minimize(start, others)
                stat[k], slope[k], all_x[k], current = fit.stat, fit.gradient[i], fit.x, fit.x
        return stat, slope, all_x

    def crossing(self, i: int, best: LinearFit, level: float, side: int, tol: float = 1e-7) -> float:
        """Return how far from the best fit the refitted statistic has risen by a level; NaN if it never does.

        Parameters
        ----------
        i : int
            The norm.
        best : `LinearFit`
            Minimum.
        level : float
            Rise of -2 ln L.
        side : {-1, 1}
            Below or above the minimum.
        tol : float
            How exactly the level is met.
        """
        others = np.arange(self.n_norms) != i
        far = best.x[i] - self.lower[i] if side < 0 else self.upper[i] - best.x[i]
        if not far > 0:
            return float("nan")
        distance = min(self._first_distance(i, best, level, side), far)
        low, high, x = 0.0, np.inf, best.x
        for _ in range(_MAX_ROOT_STEPS):
            start = x.copy()
            start[i] = best.x[i] + side * distance
            fit = self.minimize(start, others)
            rise, slope = fit.stat - best.stat, side * fit.gradient[i]
            if abs(rise - level) < tol * max(level, 1.0):
                return float(distance)
            if rise < level:
                if distance >= far:
                    return float("nan")
                low = distance
            else:
                high = distance
            x = fit.x if np.isfinite(fit.stat) else x
            distance = min(_next(distance, rise, slope, level, low, high), far)
        return float("nan")

    def _first_distance(self, i: int, best: LinearFit, level: float, side: int) -> float:
        slope = side * best.gradient[i]
        curvature = self.curvature(i, best.x)
        if slope > 0 and slope**2 > 2 * curvature * level:
            return float(level / slope)
        return float(np.sqrt(2 * level / curvature)) if curvature > 0 else 1.0

    def curvature(self, i: int, x: Array) -> float:
        """Return the second derivative of the profile of a norm, the others refitted; 0 without any."""
        matrix = self.hessian(x)
        inside = (x > self.lower) & (x < self.upper) & (np.diag(matrix) > 0)
        inside[i] = False
        if not np.any(inside):
            return float(matrix[i, i])
        scale = np.sqrt(np.diag(matrix)[inside])
        side = matrix[inside, i] / scale
        solution = _solve(matrix[np.ix_(inside, inside)] / np.outer(scale, scale), side)
        return float(max(matrix[i, i] - side @ solution, 0.0))


def _solve(matrix: Array, side: Array) -> Array:
    """Solve a positive semidefinite system; the smallest solution where it is singular."""
    try:
        solution = np.linalg.solve(matrix, side)
        if np.all(np.isfinite(solution)) and side @ solution >= 0:
            return np.asarray(solution)
    except np.linalg.LinAlgError:
        pass
    return np.asarray(np.linalg.lstsq(matrix, side, rcond=1e-12)[0])


def _next(distance: float, rise: float, slope: float, level: float, low: float, high: float) -> float:
    """Newton step on the root of the rise, which is nearly straight; a step of the bracket outside of it."""
    if np.isfinite(rise) and rise > 0 and slope > 0:
        newton = distance + (np.sqrt(level) - np.sqrt(rise)) * 2 * np.sqrt(rise) / slope
        if low < newton < high and newton < 10 * distance:
            return float(newton)
    return 0.5 * (low + high) if np.isfinite(high) else 2 * distance

"""Profiles of many parameters of one likelihood at once: all others follow, in one batch.

Near the maximum the Hessian there leads every nuisance parameter to where it belongs in a few steps, each
of which needs a value and a gradient for each profile and nothing else. The slope of a profile is the
partial derivative where the others are refitted (envelope theorem), so that a limit is a root that
Newton's method finds without any interpolation. Profiles on which this doesn't converge, far from the
maximum or where nuisance parameters meet their limits, are refitted by the likelihood's own minimiser.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.modeling.curvature import invert_hessian

__all__ = ["Profiler"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MAX_STEPS = 14
#: Distance from the minimum of -2 ln L over the nuisance parameters, and from the level of a limit.
_TOL = 1e-5
#: A step towards a level multiplies the distance from the best value by no more than this.
_LARGEST_STEP = 4.0


class Profiler:
    """Profiles around the maximum of a likelihood.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood.
    theta : array, optional
        Maximum, in scaled parameters, shape (n_free,); the present values by default.
    active : array of bool, optional
        Parameters that are refitted, shape (n_free,); all by default.
    """

    def __init__(self, likelihood: Any, theta: Any = None, active: Any = None) -> None:
        self.likelihood = likelihood
        self.theta: Array = likelihood.theta if theta is None else np.asarray(theta, dtype=float)
        n = likelihood.n_free
        self.active: Flags = np.ones(n, dtype=bool) if active is None else np.asarray(active, dtype=bool)
        self.value, self.gradient = likelihood.value_and_gradient(self.theta)

    @cached_property
    def hessian(self) -> Array:
        """Hessian of -2 ln L at the maximum, shape (n_free, n_free)."""
        return np.asarray(self.likelihood.hessian(self.theta))

    @cached_property
    def moving(self) -> Flags:
        """Parameters that are refitted, but for those that their limits hold."""
        lower, upper = self.likelihood.bounds
        held = ((self.theta <= lower) & (self.gradient > 0)) | ((self.theta >= upper) & (self.gradient < 0))
        return self.active & ~held & (np.diag(self.hessian) > 0)

    @cached_property
    def inverse(self) -> Array:
        """Inverse of the Hessian of the moving parameters, 0 elsewhere; shape (n_free, n_free)."""
        inverse = np.zeros_like(self.hessian)
        block = np.ix_(self.moving, self.moving)
        if self.moving.any():
            names = [p.name for p in self.likelihood.parameters]
            inverse[block] = invert_hessian(
                self.hessian[block], [n for n, m in zip(names, self.moving, strict=True) if m]
            )[0]
        return inverse

    def curvature(self, columns: Any) -> Array:
        """Second derivative of the profiles of parameters at the maximum, shape (n,)."""
        result = []
        for j in np.atleast_1d(columns):
            if self.moving[j]:
                result.append(1 / self.inverse[j, j])
            else:
                coupled = self.hessian[:, j] * self.moving
                result.append(self.hessian[j, j] - coupled @ self.inverse @ coupled)
        return np.maximum(np.array(result), 1e-300)

    def sigma(self, columns: Any) -> Array:
        """Standard errors of parameters, the others refitted, shape (n,)."""
        return np.sqrt(2 / self.curvature(columns))

    # Values

    def values(self, columns: Any, values: Any) -> tuple[Array, Array, Array]:
        """Refit all other parameters where some parameters have given values.

        Parameters
        ----------
        columns : array of int
            Parameter of each profile, shape (n,).
        values : array
            Its scaled value, shape (n,).

        Returns
        -------
        value, slope, theta : array
            -2 ln L and its slope, shape (n,), and all parameters, shape (n, n_free).
        """
        columns, values = np.broadcast_arrays(np.atleast_1d(columns), np.asarray(values, dtype=float))
        result = self._follow(columns, values)
        value, slope, theta, done = result
        left = np.flatnonzero(~done)
        # One by one: together they would wait for the slowest, and a batch has to be compiled.
        for row, start in zip(left, self._start(columns[left], values[left]), strict=True):
            active = self.active.copy()
            active[columns[row]] = False
            solution = self.likelihood.minimize(start, active=active, tol=_TOL)
            value[row], theta[row] = solution.value, solution.theta
            slope[row] = solution.gradient[columns[row]]
        return value, slope, theta

    def _start(self, columns: Any, values: Any) -> Array:
        """Where the parabola at the maximum expects the others, within their limits and near by."""
        lower, upper = self.likelihood.bounds
        start = np.tile(self.theta, (len(columns), 1))
        for row, (j, x) in enumerate(zip(columns, values, strict=True)):
            start[row] += self._step(j, np.zeros_like(self.gradient), x - self.theta[j])
        # Far away the parabola may be wrong: others keep part of their distance to a limit.
        with np.errstate(invalid="ignore"):
            low = np.where(np.isfinite(lower), lower + 0.1 * (self.theta - lower), -np.inf)
            high = np.where(np.isfinite(upper), upper - 0.1 * (upper - self.theta), np.inf)
        start = np.clip(start, low, high)
        start[:, ~self.active] = self.theta[~self.active]
        start[np.arange(len(columns)), columns] = values
        return start

    def _step(self, j: int, gradient: Array, change: float) -> Array:
        """Newton step of the others, with the Hessian at the maximum, while parameter j changes."""
        if self.moving[j]:
            own = np.where(self.moving, gradient, 0.0)
            own[j] = 0.0
            own[j] = -(change + self.inverse[j] @ own) / self.inverse[j, j]
            step = -(self.inverse @ own)
        else:
            own = np.where(self.moving, gradient + self.hessian[:, j] * change, 0.0)
            step = -(self.inverse @ own)
        step[j] = change
        return np.asarray(step)

    def _follow(self, columns: Any, values: Any) -> tuple[Array, Array, Array, Flags]:
        """Refit by steps with the Hessian at the maximum; tell which profiles converged."""
        n = len(columns)
        theta = np.tile(self.theta, (n, 1))
        for row, (j, x) in enumerate(zip(columns, values, strict=True)):
            theta[row] += self._step(j, np.zeros_like(self.gradient), x - self.theta[j])
        value, slope = np.full(n, np.nan), np.full(n, np.nan)
        done, lost = np.zeros(n, dtype=bool), self._outside(theta, columns)
        last = np.full(n, np.inf)
        for _ in range(_MAX_STEPS):
            rows = np.flatnonzero(~(done | lost))
            if not len(rows):
                break
            found, gradient = self._evaluate(theta[rows])
            for row, v, g in zip(rows.tolist(), found, gradient, strict=True):
                step = self._step(columns[row], g, 0.0)
                distance = -0.5 * float(step @ np.where(self.moving, g, 0.0) - step[columns[row]])
                value[row], slope[row] = v, g[columns[row]]
                done[row] = 0 <= distance < _TOL
                if done[row] and self._is_released(columns[row], g):
                    done[row], lost[row] = False, True
                    continue
                lost[row] = not done[row] and not 0 <= distance < 0.7 * last[row]
                last[row] = distance
                if not done[row]:
                    theta[row] += step
            lost |= ~done & self._outside(theta, columns)
        return value, slope, theta, done

    def _evaluate(self, theta: Array) -> tuple[Array, Array]:
        found = [self.likelihood.value_and_gradient(row) for row in theta]
        return np.array([value for value, _ in found]), np.array([gradient for _, gradient in found])

    def _is_released(self, column: int, gradient: Array) -> bool:
        """Whether a parameter that was held by a limit would leave it."""
        lower, upper = self.likelihood.bounds
        held = self.active & ~self.moving
        held[column] = False
        pull = np.where(self.theta <= lower, -gradient, np.where(self.theta >= upper, gradient, 0.0))
        gain = 0.5 * np.maximum(pull, 0.0) ** 2 / np.maximum(np.diag(self.hessian), 1e-300)
        return bool(np.any(held & (gain > _TOL)))

    def _outside(self, theta: Array, columns: Any) -> Flags:
        """Whether any parameter but the profiled one is beyond a limit."""
        lower, upper = self.likelihood.bounds
        outside = (theta < lower) | (theta > upper) | ~np.isfinite(theta)
        outside[np.arange(len(columns)), columns] = False
        return np.asarray(outside.any(axis=1))

    # Limits

    def limits(self, columns: Any, rise: float, side: int = 1) -> tuple[Array, Flags]:
        """Find where profiles have risen by some amount.

        Parameters
        ----------
        columns : array of int
            Parameter of each profile, shape (n,).
        rise : float
            Rise of -2 ln L, such as 2.7055 for one-sided limits of 95 %.
        side : int
            1 for the upper, -1 for the lower side.

        Returns
        -------
        x : array
            Scaled values, shape (n,); a limit of the parameter where the profile ends below the level.
        found : array of bool
            Which ones are at the level.
        """
        columns = np.atleast_1d(columns)
        n = len(columns)
        best = self.theta[columns]
        bound = self.likelihood.bounds[0 if side < 0 else 1][columns]
        far = np.abs(bound - best)
        curvature = self.curvature(columns)
        slope = np.where(self.active[columns] & self.moving[columns], 0.0, side * self.gradient[columns])
        distance = np.minimum(_root(np.zeros(n), slope, curvature, rise), far)
        done, ended = np.zeros(n, dtype=bool), far <= 0
        low, high = np.zeros(n), np.full(n, np.inf)
        before = np.zeros(n), slope
        for _ in range(2 * _MAX_STEPS):
            rows = np.flatnonzero(~(done | ended))
            if not len(rows):
                break
            x = best[rows] + side * distance[rows]
            value, own, _ = self.values(columns[rows], x)
            height, own = value - self.value, side * own
            done[rows] = np.abs(height - rise) < 10 * _TOL
            ended[rows] = ~done[rows] & (height < rise) & (distance[rows] >= far[rows])
            low[rows] = np.where(height < rise, np.maximum(low[rows], distance[rows]), low[rows])
            high[rows] = np.where(height < rise, high[rows], np.minimum(high[rows], distance[rows]))
            # The change of the slope tells the curvature between the last two points.
            with np.errstate(divide="ignore", invalid="ignore"):
                secant = (own - before[1][rows]) / (distance[rows] - before[0][rows])
            curvature[rows] = np.where(np.isfinite(secant) & (secant > 0), secant, curvature[rows])
            before[0][rows], before[1][rows] = distance[rows], own
            new = distance[rows] + _root(height, own, curvature[rows], rise)
            new = np.minimum(new, _LARGEST_STEP * distance[rows])
            bad = ~np.isfinite(new) | (new <= low[rows]) | (new >= high[rows])
            middle = np.where(np.isfinite(high[rows]), 0.5 * (low[rows] + high[rows]), 2 * distance[rows])
            new = np.minimum(np.where(bad, middle, new), far[rows])
            distance[rows] = np.where(done[rows] | ended[rows], distance[rows], new)
        result = best + side * distance
        result[~(done | ended)] = np.nan
        return result, done


def _root(height: Array, slope: Array, curvature: Array, level: float) -> Array:
    """Return the step after which a parabola reaches a level on its rising side."""
    inside = np.maximum(slope**2 + 2 * curvature * (level - height), 0.0)
    return (-slope + np.sqrt(inside)) / curvature

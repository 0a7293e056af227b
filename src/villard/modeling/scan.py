"""Profiles, surfaces, contours and intervals: many small refits in one batch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FitError, FitSetupError
from villard.modeling.models import Models
from villard.modeling.parameter import Parameter

__all__ = ["confidence_interval", "contour", "scan"]

Array = NDArray[np.float64]
_MAX_ROOT_STEPS = 60


def scan(
    likelihood: Any, models: Models, parameters: list[Parameter], values: list[Array], reoptimize: bool
) -> dict[str, Any]:
    """Compute the statistic on the grid of the parameters' values.

    Returns
    -------
    dict
        As `Fit.stat_profile` and `Fit.stat_surface` describe.
    """
    from astropy.table import Table

    columns = [likelihood.column(p) for p in parameters]
    grid = np.stack([g.ravel() for g in np.meshgrid(*values, indexing="ij")], axis=-1)
    points = np.tile(likelihood.to_values(likelihood.theta), (len(grid), 1))
    points[:, columns] = grid
    active = np.full(likelihood.n_free, bool(reoptimize))
    active[columns] = False
    solution = likelihood.minimize_batch(likelihood.to_theta(points), active=active)
    names = [models.unique_name(p) for p in likelihood.parameters]
    result: dict[str, Any] = {f"{names[c]}_scan": v for c, v in zip(columns, values, strict=True)}
    result["stat_scan"] = solution.value.reshape([len(v) for v in values])
    if reoptimize:
        table = Table(likelihood.to_values(solution.theta), names=names)
        table["stat"] = solution.value
        table["success"] = solution.success
        result["fit_results"] = table
    else:
        result["fit_results"] = []
    return result


class _Rays:
    """Search along rays from the minimum for a rise of the statistic, all rays in one batch.

    The square root of the rise is nearly linear in the distance, so Newton steps on it, with the
    slope from the envelope theorem, meet the level in a few batches; a bracket guards them.
    """

    def __init__(self, likelihood: Any, columns: list[int], directions: Array, reoptimize: bool) -> None:
        self.likelihood = likelihood
        self.columns = columns
        self.directions = directions
        self.active = np.full(likelihood.n_free, bool(reoptimize))
        self.active[columns] = False
        self.nfev = 0
        solution = likelihood.minimize()
        if not solution.success or not reoptimize:
            held = likelihood.theta if not reoptimize else solution.theta
            start = held.copy()
            solution = likelihood.minimize(start, active=~self.active if not reoptimize else None)
            if not solution.success:
                raise FitError(f"There is no minimum to start from: {solution.status.message}")
        self.best = solution

    def limits(self) -> Array:
        """Distance along each ray at which a scanned parameter reaches a limit."""
        lower, upper = (bound[self.columns] for bound in self.likelihood.bounds)
        start = self.best.theta[self.columns]
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(
                self.directions > 0, (upper - start) / self.directions, (lower - start) / self.directions
            )
        return np.min(np.where(self.directions == 0, np.inf, room), axis=1)

    def inward(self) -> Array:
        """For each scanned parameter the sign of the way away from a limit that the minimum lies at, or 0."""
        lower, upper = (bound[self.columns] for bound in self.likelihood.bounds)
        start = self.best.theta[self.columns]
        near = 1e-8 * np.maximum(np.abs(start), 1e-3)
        return np.asarray((start - lower <= near).astype(float) - (upper - start <= near), dtype=float)

    def evaluate(self, distance: Array, theta: Array) -> tuple[Array, Array, Array, Array]:
        """Return rise, its slope along the ray, refitted θ and success at these distances."""
        points = theta.copy()
        points[:, self.columns] = self.best.theta[self.columns] + distance[:, None] * self.directions
        solution = self.likelihood.minimize_batch(points, active=self.active)
        self.nfev += int(solution.nfev.sum())
        slope = np.sum(solution.gradient[:, self.columns] * self.directions, axis=1)
        return solution.value - self.best.value, slope, solution.theta, solution.success

    def solve(self, level: float, tol: float) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return distances at which the rise is ``level``, which were found, and which hit a limit."""
        n = len(self.directions)
        at_start = ~np.any(self.directions, axis=1)
        far = np.where(at_start, 0.0, self.limits())
        distance = np.minimum(np.full(n, np.sqrt(level)), far)
        low, high = np.zeros(n), np.full(n, np.inf)
        theta = np.tile(self.best.theta, (n, 1))
        done = np.zeros(n, dtype=bool)
        limited = np.zeros(n, dtype=bool)
        for _ in range(_MAX_ROOT_STEPS):
            rise, slope, refitted, success = self.evaluate(distance, theta)
            usable = success & np.isfinite(rise)
            theta = np.where(usable[:, None], refitted, theta)
            done |= at_start | usable & (np.abs(rise - level) < tol * max(level, 1.0))
            limited |= usable & (rise < level) & (distance >= far)
            if np.all(done | limited):
                break
            low = np.where(usable & (rise < level), np.maximum(low, distance), low)
            high = np.where(~usable | (rise >= level), np.minimum(high, distance), high)
            root = np.sqrt(np.maximum(rise, 1e-12))
            with np.errstate(divide="ignore", invalid="ignore"):
                step = distance + (np.sqrt(level) - root) * 2 * root / slope
            inside = usable & np.isfinite(step) & (step > low) & (step < high) & (step < 10 * distance)
            middle = np.where(np.isfinite(high), 0.5 * (low + high), 2 * distance)
            new = np.minimum(np.where(inside, step, middle), far)
            distance = np.where(done | limited, distance, new)
        return distance, done, limited


def _covariance(likelihood: Any, theta: Array, columns: list[int], reoptimize: bool) -> Array:
    """Covariance of some parameters at the minimum, to set the scale of a search."""
    hessian = likelihood.hessian(theta)
    if not reoptimize:
        hessian = hessian[np.ix_(columns, columns)]
        columns = list(range(len(columns)))
    eigenvalues, vectors = np.linalg.eigh(hessian)
    eigenvalues = np.maximum(np.abs(eigenvalues), 1e-12 * np.max(np.abs(eigenvalues)))
    return 2 * ((vectors / eigenvalues) @ vectors.T)[np.ix_(columns, columns)]


def confidence_interval(
    likelihood: Any, parameter: Parameter, sigma: float = 1, reoptimize: bool = True, tol: float = 1e-6
) -> dict[str, Any]:
    """Return the interval of a parameter in which the statistic rises by less than sigma²."""
    column = likelihood.column(parameter)
    rays = _Rays(likelihood, [column], np.array([[-1.0], [1.0]]), reoptimize)
    scale = np.sqrt(_covariance(likelihood, rays.best.theta, [column], reoptimize)[0, 0])
    rays.directions = rays.directions * scale
    distance, done, limited = rays.solve(sigma**2, tol)
    distance = np.where(done | limited, distance, np.nan)
    factor = likelihood.to_values(np.eye(likelihood.n_free)[column])[column]
    errn, errp = np.abs(distance) * scale * factor
    return {
        "success": bool(done.all()),
        "message": _message(done, limited, [parameter.name]),
        "errp": float(errp),
        "errn": float(errn),
        "nfev": rays.nfev,
    }


def contour(
    likelihood: Any,
    models: Models,
    parameters: list[Parameter],
    numpoints: int = 10,
    sigma: float = 1,
    reoptimize: bool = True,
    tol: float = 1e-6,
) -> dict[str, Any]:
    """Return points of the curve on which the (refitted) statistic rises by sigma²."""
    if numpoints < 3:
        raise FitSetupError(f"A contour needs at least 3 points, found numpoints={numpoints}")
    columns = [likelihood.column(p) for p in parameters]
    rays = _Rays(likelihood, columns, np.zeros((numpoints, 2)), reoptimize)
    inward = rays.inward()
    root: Array = np.linalg.cholesky(_covariance(likelihood, rays.best.theta, columns, reoptimize)).astype(
        float
    )
    rays.directions = _directions(root, inward, numpoints)
    distance, done, limited = rays.solve(sigma**2, tol)
    distance = np.where(done | limited, distance, np.nan)
    theta = np.tile(rays.best.theta, (numpoints, 1))
    theta[:, columns] += distance[:, None] * rays.directions
    values = likelihood.to_values(theta)
    closed = np.append(np.arange(numpoints), 0)
    names = [models.unique_name(p) for p in parameters]
    result: dict[str, Any] = {name: values[closed, c] for name, c in zip(names, columns, strict=True)}
    result["success"] = bool(done.all())
    result["message"] = _message(done, limited, [p.name for p in parameters], reoptimize)
    at_limit = [p.name for p, side in zip(parameters, inward, strict=True) if side]
    if at_limit:
        closing = f"The minimum lies at a limit of {' and '.join(at_limit)}, which closes the curve."
        result["message"] = f"{result['message']} {closing}"
    result["nfev"] = rays.nfev
    return result


def _directions(root: Array, inward: Array, n: int) -> Array:
    """Spread directions evenly in angle, in units of the covariance, over those that limits allow.

    Parameters
    ----------
    root : array
        Square root of the covariance, shape (2, 2).
    inward : array
        For each parameter the sign of the way away from its limit; 0 if it isn't at one. Shape (2,).
    n : int
        Number of directions.

    Returns
    -------
    array
        Directions, shape (n, 2). Between two limits one has length zero: their corner, on the curve's way.
    """
    if not np.any(inward):
        angle = 2 * np.pi * np.arange(n) / n
        return np.stack([np.cos(angle), np.sin(angle)], axis=1) @ root.T
    is_corner = bool(np.all(inward))
    # Each limit allows the half circle around its own direction.
    middles = [np.arctan2(*(side * row)[::-1]) for row, side in zip(root, inward, strict=True) if side]
    first = middles[0]
    turns = [(middle - first + np.pi) % (2 * np.pi) - np.pi for middle in middles]
    angle = first + np.linspace(max(turns) - np.pi / 2, min(turns) + np.pi / 2, n - is_corner)
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ root.T
    # The ends run along a limit, not by rounding beyond it.
    directions[np.abs(directions) < 1e-9 * np.sqrt(np.diag(root @ root.T))] = 0.0
    return np.concatenate([directions, np.zeros((1, 2))]) if is_corner else directions


def _message(
    done: NDArray[np.bool_], limited: NDArray[np.bool_], names: list[str], reoptimize: bool = True
) -> str:
    if done.all():
        which = "refitted likelihood" if reoptimize else "likelihood with the others fixed"
        return f"Every point lies on the {which} at the level asked for."
    where = " or ".join(names)
    parts = []
    if limited.any():
        parts.append(f"{limited.sum()} of {len(done)} points end at a limit of {where} below the level")
    lost = ~(done | limited)
    if lost.any():
        parts.append(f"{lost.sum()} of {len(done)} points didn't converge")
    return f"{' and '.join(parts)}."

"""Newton's method with the exact Hessian and limits, for many parameters and where scoring creeps.

Each step minimises a convex quadratic model in a box: the limits of the parameters, and for each of them how
far the model can be trusted. What is pressed against a limit is held, and so is the shape of a source without
flux. A parameter that the data hardly bound is thereby limited alone, while all others take their full step.

The loop runs in plain Python: each step is one call of a compiled function, and linear algebra.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Coordinates", "ExactSteps", "minimize_exactly"]

Array = NDArray[np.float64]
Curved = Callable[[Array, bool], tuple[float, Array, Array]]

#: Smallest eigenvalue of the scaled Hessian that is divided by, relative to the largest.
_FLOOR = 1e-10
#: Below this an eigenvalue is a true negative curvature, not rounding.
_NEGATIVE = -1e-6
#: Expected fall of the statistic from which on the expected curvature is taken.
_FAR = 0.1
#: Share of its size, but at least of one, that a parameter may change at first: norms come before shapes.
_FIRST_REACH = 0.1
_GROW, _SHRINK, _MOST_TRIALS = 3.0, 0.3, 12
#: Share of the expected fall that a step must reach.
_ENOUGH = 1e-4
#: Squared gradient over curvature (twice a distance to the minimum) beyond which it is no slope but a cliff.
_CLIFF = 1e18
#: Fall of the statistic for which a saddle is left.
_OFF_SADDLE = 1e-3
_BOX_STEPS, _BOX_SHRINKS = 60, 30


class Coordinates(Protocol):
    """Other coordinates z of the parameters θ, with the same limits."""

    def theta(self, z: Array) -> Array:
        """Return the parameters."""

    def pull(self, z: Array, gradient: Array, matrix: Array) -> tuple[Array, Array]:
        """Turn gradient and Hessian by θ into those by z."""


@dataclass
class ExactSteps:
    """Where the steps ended, with the evaluations' rows of statistic and θ."""

    theta: Array
    value: float
    gradient: Array
    edm: float
    converged: bool
    rows: list[Array]


@dataclass
class _Point:
    """A point with what was evaluated there: by the coordinates z, and the gradient by θ."""

    z: Array
    theta: Array
    value: float
    slope: Array
    gradient: Array
    matrix: Array
    far: bool

    @property
    def is_finite(self) -> bool:
        return bool(
            np.isfinite(self.value)
            and np.all(np.isfinite(self.gradient))
            and np.all(np.isfinite(self.matrix))
        )

    @property
    def on_cliff(self) -> bool:
        return bool(np.any(np.abs(self.slope) > np.sqrt(_CLIFF * np.abs(np.diag(self.matrix)))))


@dataclass
class _Model:
    """Convex quadratic model of the statistic in the parameters that aren't held."""

    moving: NDArray[np.intp]
    slope: Array
    matrix: Array
    lowest: float


def minimize_exactly(
    curved: Curved,
    theta: Array,
    bounds: tuple[Array, Array],
    active: NDArray[np.bool_],
    tol: float,
    max_evaluations: int,
    steady: NDArray[np.bool_] | None = None,
    longest: Array | None = None,
    coordinates: Coordinates | None = None,
) -> ExactSteps:
    """Minimise with the exact Hessian, its negative eigenvalues turned around.

    Parameters
    ----------
    curved : callable
        (θ, far) ↦ statistic, gradient, and Hessian; where ``far``, with the expected curvature of the data.
    theta : array
        Start, shape (n,).
    bounds : tuple of array
        Lower and upper bounds of θ.
    active : array of bool
        Parameters that may move, shape (n,).
    tol : float
        Largest estimated distance to the minimum.
    max_evaluations : int
        Most calls of ``curved``; at least one is made.
    steady : array of bool, optional
        Parameters in which predictions are linear, so that the model can be trusted at any distance.
    longest : array, optional
        Longest step of each parameter; longer ones are shortened.
    coordinates : `Coordinates`, optional
        Those in which steps are taken; θ itself by default.

    Returns
    -------
    `ExactSteps`
        The end.
    """
    steps = _Steps(curved, bounds, active, coordinates, [])
    steady = np.zeros(len(theta), dtype=bool) if steady is None else steady
    limit = np.full(len(theta), np.inf) if longest is None else longest
    reach = np.minimum(np.where(steady, np.inf, _FIRST_REACH * np.maximum(np.abs(theta), 1.0)), limit)
    point, edm, converged = steps.evaluate(np.asarray(theta, dtype=float), True), float("inf"), False
    while point.is_finite:
        model = steps.model(point, tol)
        step, fall, inside = steps.step(point, model, reach)
        edm = fall if inside else float("inf")
        if inside and fall < tol:
            if not point.far:
                converged = model.lowest > _NEGATIVE
                break
            if len(steps.rows) >= max_evaluations:
                break
            # Only the exact Hessian says whether this is a minimum.
            point = steps.evaluate(point.z, False)
            continue
        found = steps.descend(point, model, step, fall, reach, steady, max_evaluations)
        if found is None:
            break
        point, reach = found[0], np.minimum(found[1], limit)
    return ExactSteps(point.theta, point.value, point.gradient, edm, converged, steps.rows)


@dataclass
class _Steps:
    """The steps of one minimisation."""

    curved: Curved
    bounds: tuple[Array, Array]
    active: NDArray[np.bool_]
    coordinates: Coordinates | None
    rows: list[Array]

    def evaluate(self, z: Array, far: bool) -> _Point:
        theta = z if self.coordinates is None else self.coordinates.theta(z)
        value, gradient, matrix = self.curved(theta, far)
        slope = gradient
        self.rows.append(np.append(value, theta))
        if self.coordinates is not None and np.all(np.isfinite(matrix)):
            slope, matrix = self.coordinates.pull(z, gradient, matrix)
        return _Point(z, theta, value, slope, gradient, matrix, far)

    def model(self, point: _Point, tol: float) -> _Model:
        """Return the model at a point, without what is held there."""
        lower, upper = self.bounds
        pressed = ((point.z <= lower) & (point.slope > 0)) | ((point.z >= upper) & (point.slope < 0))
        moving = np.flatnonzero(self.active & ~pressed)
        # The shape of a source without flux changes nothing.
        size = np.max(np.abs(point.matrix[np.ix_(moving, moving)]), axis=1, initial=0.0)
        moving = moving[(size > 1e-14 * np.max(size, initial=0.0)) | (point.slope[moving] != 0)]
        slope = point.slope[moving]
        if not len(moving):
            return _Model(moving, slope, np.zeros((0, 0)), 1.0)
        matrix = point.matrix[np.ix_(moving, moving)]
        scale = _equilibrium(matrix)
        eigenvalues, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
        largest = max(float(np.max(np.abs(eigenvalues))), 1e-300)
        size = np.maximum(np.abs(eigenvalues), _FLOOR * largest)
        lowest = float(eigenvalues[0]) / largest
        if not point.far and lowest < _NEGATIVE:
            # At a saddle there is no slope to follow: a push along its steepest descent.
            along = float(vectors[:, 0] @ (slope / scale))
            push = np.sqrt(2 * _OFF_SADDLE * size[0])
            if 0.5 * along**2 / size[0] < tol:
                slope = slope + (np.copysign(push, along) - along) * vectors[:, 0] * scale
        return _Model(moving, slope, (vectors * size) @ vectors.T * np.outer(scale, scale), lowest)

    def step(self, point: _Point, model: _Model, reach: Array) -> tuple[Array, float, bool]:
        """Return the step to the minimum of the model, its fall, and whether only limits stopped it."""
        lower, upper = self.bounds
        moving = model.moving
        low = np.maximum(lower - point.z, -reach)[moving]
        high = np.minimum(upper - point.z, reach)[moving]
        step = np.zeros(len(point.z))
        step[moving], fall = _minimum_in_box(model.matrix, model.slope, low, high)
        return step, fall, not np.any(np.abs(step) >= reach * (1 - 1e-9))

    def inside(self, z: Array, step: Array) -> Array:
        """Take a step within the limits; what is held beyond them stays."""
        lower, upper = self.bounds
        return np.clip(z + step, np.minimum(lower, z), np.maximum(upper, z))

    def descend(
        self,
        point: _Point,
        model: _Model,
        step: Array,
        fall: float,
        reach: Array,
        steady: NDArray[np.bool_],
        max_evaluations: int,
    ) -> tuple[_Point, Array] | None:
        """Shrink the box until its minimum is lower, and go there; return also what can be trusted next."""
        reach = reach.copy()
        rounding = 1e-13 * (abs(point.value) + 1.0)
        for trial in range(_MOST_TRIALS):
            if len(self.rows) >= max_evaluations:
                return None
            new = self.evaluate(self.inside(point.z, step), fall > _FAR)
            gained = point.value - new.value
            cliff = new.is_finite and new.on_cliff and not point.on_cliff
            missed = _missed(point, new, model, step)
            if new.is_finite and not cliff and gained >= _ENOUGH * fall - rounding:
                return new, _next_reach(reach, step, gained / fall, missed, steady)
            # First what the model got wrong most, then all that isn't linear, then everything.
            bad = np.ones(len(step), dtype=bool) if trial > 1 else ~steady
            if trial == 0 and np.all(np.isfinite(missed)):
                bad = bad & (missed > 0.05 * np.max(missed[bad], initial=0.0))
            bad = bad & (step != 0)
            reach[bad] = np.minimum(reach[bad], _SHRINK * np.abs(step[bad]))
            step, fall, _ = self.step(point, model, reach)
            if not fall > 0:
                return None
        return None


def _missed(point: _Point, new: _Point, model: _Model, step: Array) -> Array:
    """How wrong the model was about the slope of each parameter, in units of the statistic."""
    expected = point.slope.copy()
    expected[model.moving] += model.matrix @ step[model.moving]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.abs((new.slope - expected) * step))


def _next_reach(reach: Array, step: Array, ratio: float, missed: Array, steady: NDArray[np.bool_]) -> Array:
    reach = reach.copy()
    if ratio < 0.25:
        bad = ~steady & (missed > 0.1 * np.max(missed, initial=0.0))
        reach[bad] = np.minimum(reach[bad], 0.5 * np.abs(step[bad]) + 1e-12)
    elif ratio > 0.5:
        reach[np.abs(step) > 0.7 * reach] *= _GROW
    # Norms were held back for one step only.
    reach[steady] = np.inf
    return reach


def _equilibrium(matrix: Array) -> Array:
    """Return scales that bring the largest number in each row and column of a matrix to about 1."""
    scale = np.ones(len(matrix))
    for _ in range(4):
        largest = np.max(np.abs(matrix) / np.outer(scale, scale), axis=1)
        scale *= np.sqrt(np.where(largest > 0, largest, 1.0))
    return scale


def _minimum_in_box(matrix: Array, slope: Array, low: Array, high: Array) -> tuple[Array, float]:
    """Minimise slope·x + ½ x·matrix·x within limits that include 0; return x and how far it falls.

    Projected Newton steps (Bertsekas 1982, SIAM J. Control Optim. 20, 221): those at a limit that press
    against it are held, the others take a Newton step that is projected into the box.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    x, value, gradient = np.zeros(len(slope)), 0.0, slope
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    for _ in range(_BOX_STEPS):
        free = np.flatnonzero(~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))))
        if not len(free):
            break
        inner = matrix[np.ix_(free, free)] / np.outer(scale[free], scale[free])
        side = gradient[free] / scale[free]
        inner[np.diag_indices(len(free))] += 1e-14
        try:
            step = -cho_solve(cho_factor(inner, check_finite=False), side, check_finite=False)
        except LinAlgError:
            step = -side
        expected = -0.5 * float(side @ step)
        # What is left is nothing beside what has been reached, or beside any tolerance.
        if not expected > max(1e-12, -1e-6 * value):
            break
        step = step / scale[free]
        for k in range(_BOX_SHRINKS):
            trial = x.copy()
            trial[free] = np.clip(x[free] + 0.5**k * step, low[free], high[free])
            product = matrix @ trial
            new = float(slope @ trial + 0.5 * trial @ product)
            if new < value:
                break
        else:
            break
        x, value, gradient = trial, new, slope + product
    return x, -value

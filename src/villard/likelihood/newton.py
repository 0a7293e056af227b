"""Newton steps with the exact Hessian, for the few fits in which Fisher scoring creeps.

Where parameters are nearly degenerate, the second derivatives of the spectra that Fisher scoring
leaves out are what curves the valley. These steps run in plain Python: each needs a few calls of
compiled functions, and hardly any fit gets here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExactSteps", "minimize_exactly"]

Array = NDArray[np.float64]

#: Smallest eigenvalue of the scaled Hessian that is divided by, relative to the largest.
_FLOOR = 1e-10
#: Below this an eigenvalue is a true negative curvature, not rounding.
_NEGATIVE = -1e-6
_TOWARDS_BOUND = 0.9
_SHRINK, _MAX_SHRINKS = 0.25, 12


@dataclass
class ExactSteps:
    """Where the steps ended: as `Solution`, with the evaluations' rows of statistic and θ."""

    theta: Array
    value: float
    gradient: Array
    edm: float
    converged: bool
    rows: list[Array]


def minimize_exactly(
    value_and_gradient: Callable[[Array], tuple[float, Array]],
    hessian: Callable[[Array], Array],
    theta: Array,
    bounds: tuple[Array, Array],
    active: NDArray[np.bool_],
    tol: float,
    max_evaluations: int,
) -> ExactSteps:
    """Minimise with the exact Hessian, its negative eigenvalues turned around.

    Parameters
    ----------
    value_and_gradient, hessian : callable
        θ ↦ statistic and gradient; θ ↦ Hessian.
    theta : array
        Start, shape (n,).
    bounds : tuple of array
        Lower and upper bounds of θ.
    active : array of bool
        Parameters that may move, shape (n,).
    tol : float
        Largest estimated distance to the minimum.
    max_evaluations : int
        Most calls of ``value_and_gradient``; at least one is made.

    Returns
    -------
    `ExactSteps`
        The end.
    """
    value, gradient = value_and_gradient(theta)
    state = ExactSteps(theta, value, gradient, float("inf"), False, [np.append(value, theta)])
    while np.isfinite(state.value) and np.all(np.isfinite(state.gradient)):
        step, state.edm, minimum = _step(hessian, state, bounds, active)
        state.converged = state.edm < tol and minimum
        if state.converged or not _descend(value_and_gradient, state, step, bounds, tol, max_evaluations):
            break
    return state


def _step(
    hessian: Callable[[Array], Array], state: ExactSteps, bounds: tuple[Array, Array], active: Any
) -> tuple[Array, float, bool]:
    """Return the step, the estimated distance to the minimum, and whether the curvature is positive."""
    lower, upper = bounds
    pressed = ((state.theta <= lower) & (state.gradient > 0)) | (
        (state.theta >= upper) & (state.gradient < 0)
    )
    moving = active & ~pressed
    step = np.zeros_like(state.theta)
    if not np.any(moving):
        return step, 0.0, True
    matrix = hessian(state.theta)[np.ix_(moving, moving)]
    if not np.all(np.isfinite(matrix)):
        return step, float("inf"), False
    scale = np.sqrt(np.abs(np.diag(matrix)))
    scale[scale == 0] = 1.0
    eigenvalues, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    largest = max(float(np.max(np.abs(eigenvalues))), 1e-300)
    projected = vectors.T @ (state.gradient[moving] / scale)
    scaled = projected / np.maximum(np.abs(eigenvalues), _FLOOR * largest)
    step[moving] = -(vectors @ scaled) / scale
    return step, 0.5 * float(projected @ scaled), bool(eigenvalues[0] > _NEGATIVE * largest)


def _descend(
    value_and_gradient: Callable[[Array], tuple[float, Array]],
    state: ExactSteps,
    step: Array,
    bounds: tuple[Array, Array],
    tol: float,
    max_evaluations: int,
) -> bool:
    """Shorten the step until it lowers the statistic, and take it; tell whether there was one."""
    for _ in range(_MAX_SHRINKS):
        if len(state.rows) >= max_evaluations:
            return False
        trial = _within_bounds(state.theta, step, state.gradient, bounds, tol)
        value, gradient = value_and_gradient(trial)
        state.rows.append(np.append(value, trial))
        if value < state.value:
            state.theta, state.value, state.gradient = trial, value, gradient
            return True
        step = step * _SHRINK
    return False


def _within_bounds(
    theta: Array, step: Array, gradient: Array, bounds: tuple[Array, Array], tol: float
) -> Array:
    """Go at most most of the way to a bound, and onto it where the rest changes nothing."""
    trial = theta + step
    for bound, beyond in zip(bounds, (trial <= bounds[0], trial >= bounds[1]), strict=True):
        beyond = beyond & (step != 0)
        with np.errstate(invalid="ignore"):
            negligible = np.abs(gradient * (bound - theta)) < 1e-3 * tol
        short = np.where(negligible, bound, theta + _TOWARDS_BOUND * (bound - theta))
        trial = np.where(beyond, short, trial)
    return trial

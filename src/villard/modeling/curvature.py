"""What derivatives say about the point where a minimiser ended: limits, distance left, covariance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.modeling.fit_result import CovarianceResult
from villard.modeling.minimizers import Outcome
from villard.modeling.models import Models

__all__ = ["at_limits", "check_distance", "covariance_at", "invert_hessian", "names_at_limits"]

Array = NDArray[np.float64]

#: Smallest over largest eigenvalue of the Hessian, scaled to a unit diagonal, below which parameters are
#: degenerate: a minimum that is known to rounding leaves this much of curvature where there is none.
_DEGENERATE = 1e-9
#: Distance from the minimum, in units of -2 ln L, that users are told; beyond 1, a fit has failed.
_NOTABLE_DISTANCE = 0.01


def check_distance(likelihood: Any, outcome: Outcome) -> None:
    """Estimate how far a minimiser ended from the minimum; what it calls a success may be none.

    L-BFGS-B, for one, stops where the statistic is flat for lack of predicted counts. There the Hessian is
    huge, since counts are observed; only the curvature to be expected tells how far it is to go.
    """
    if not np.all(np.isfinite(outcome.theta)):
        return
    free = ~at_limits(likelihood, outcome.theta)
    gradient = likelihood.value_and_gradient(outcome.theta)[1][free]
    curvatures = [
        f(outcome.theta)[np.ix_(free, free)] for f in (likelihood.hessian, likelihood.expected_fisher)
    ]
    if not all(np.all(np.isfinite(array)) for array in (gradient, *curvatures)) or not free.any():
        return
    distance = max(_distance(gradient, curvature) for curvature in curvatures)
    if np.isnan(outcome.edm):
        outcome.edm = distance
    # After a failure the parabola that this assumes is too far away to say anything.
    if distance > _NOTABLE_DISTANCE and outcome.success:
        text = f"The minimum is estimated to be lower by {distance:.2g}"
        outcome.message = f"{outcome.message.rstrip('.')}. {text}."
        # A grid has its minimum where it has it.
        outcome.success = distance < 1 or outcome.method == "gridsearch"


def _distance(gradient: Array, curvature: Array) -> float:
    """Return ½ gᵀC⁻¹g, with negative curvature turned around."""
    scale = np.sqrt(np.abs(np.diag(curvature)))
    scale[scale == 0] = 1.0
    eigenvalues, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    eigenvalues = np.maximum(np.abs(eigenvalues), _DEGENERATE * max(eigenvalues[-1], 1e-300))
    # Where hardly any counts are predicted, it may be beyond all numbers.
    with np.errstate(over="ignore"):
        return 0.5 * float(np.sum((vectors.T @ (gradient / scale)) ** 2 / eigenvalues))


def names_at_limits(likelihood: Any, theta: Array, models: Models) -> list[str]:
    """Return the unique names of parameters that are at one of their limits."""
    at = at_limits(likelihood, theta)
    return [models.unique_name(p) for p, is_at in zip(likelihood.parameters, at, strict=True) if is_at]


def at_limits(likelihood: Any, theta: Array) -> NDArray[np.bool_]:
    """Which parameters are at a limit, or so close to one that a better fit lies beyond it.

    MINUIT and simplex methods approach a limit without ever reaching it.
    """
    lower, upper = likelihood.bounds
    size = np.maximum(np.abs(theta), 1e-3)
    room = np.minimum(theta - lower, upper - theta)
    at = room <= 1e-8 * size
    if np.any(~at & (room < 1e-2 * size)):
        _, gradient = likelihood.value_and_gradient(theta)
        curvature = np.diag(likelihood.hessian(theta))
        sigma = np.sqrt(2 / np.where(curvature > 0, curvature, np.inf))
        downhill = np.where(gradient > 0, theta - lower, upper - theta)
        at |= (downhill < 1e-2 * sigma) & (np.abs(gradient) * sigma > 0.1)
    return at


def covariance_at(likelihood: Any, theta: Array, models: Models) -> CovarianceResult:
    """Return twice the inverse of the exact Hessian, with its quality.

    Parameters at a limit are held: their error is 0, and the message names them.
    """
    names = [models.unique_name(p) for p in likelihood.parameters]
    hessian = likelihood.hessian(theta)
    free = ~at_limits(likelihood, theta)
    matrix = np.zeros_like(hessian)
    quality, message = 0, "The Hessian is not finite: no covariance."
    inner = hessian[np.ix_(free, free)]
    if np.all(np.isfinite(inner)):
        inverse, quality, message = invert_hessian(
            inner, [n for n, is_free in zip(names, free, strict=True) if is_free]
        )
        matrix[np.ix_(free, free)] = 2 * inverse
    limited = [name for name, is_free in zip(names, free, strict=True) if not is_free]
    if limited:
        message = f"{message.rstrip('.')}. At a limit and without error: {', '.join(limited)}."
    return CovarianceResult(
        "newton", "exact hessian", quality, message, likelihood.matrix_to_values(matrix), names
    )


def invert_hessian(hessian: Array, names: list[str]) -> tuple[Array, int, str]:
    """Invert a Hessian; force it positive definite where it isn't, and tell."""
    if hessian.size == 0:
        return hessian, 0, "No parameter is away from its limits: no covariance."
    scale = np.sqrt(np.abs(np.diag(hessian)))
    scale[scale == 0] = 1.0
    scaled = hessian / np.outer(scale, scale)
    eigenvalues, vectors = np.linalg.eigh(scaled)
    if eigenvalues[0] > _DEGENERATE * eigenvalues[-1]:
        inverse = (vectors / eigenvalues) @ vectors.T
        return inverse / np.outer(scale, scale), 3, "Hessian positive definite: covariance accurate."
    if eigenvalues[-1] > 0:
        forced = np.maximum(np.abs(eigenvalues), 1e-10 * eigenvalues[-1])
        inverse = (vectors / forced) @ vectors.T
        weak = vectors[:, eigenvalues <= _DEGENERATE * eigenvalues[-1]]
        involved = np.max(np.abs(weak), axis=1) > 0.1
        which = ", ".join(name for name, is_in in zip(names, involved, strict=True) if is_in)
        message = (
            "Hessian not positive definite: covariance forced, errors unreliable. "
            f"The data don't tell apart or constrain: {which}."
        )
        return inverse / np.outer(scale, scale), 2, message
    diagonal = np.where(np.diag(hessian) > 0, 1 / np.where(np.diag(hessian) > 0, np.diag(hessian), 1.0), 0.0)
    return np.diag(diagonal), 1, "Hessian has no positive eigenvalue: only its diagonal was used."

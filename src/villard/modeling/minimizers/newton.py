"""The engine's own damped Fisher scoring, finished by exact Newton steps where that helps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from villard.modeling.minimizers import Objective, Outcome, take_options

__all__ = ["optimize"]


def optimize(objective: Objective, options: Mapping[str, Any]) -> Outcome:
    """Minimise with `villard.likelihood.Likelihood.minimize`.

    Parameters
    ----------
    objective : `Objective`
        Statistic.
    options : dict
        ``tol``: largest estimated distance to the minimum in units of -2 ln L (1e-8);
        ``max_iter``: most evaluations (200).
    """
    settings = take_options(options, {"tol": 1e-8, "max_iter": 200}, "newton")
    solution = objective.likelihood.minimize(
        tol=settings["tol"], max_iter=settings["max_iter"], trace=objective.store_trace
    )
    objective.nfev += solution.nfev
    objective.rows.extend(np.asarray(solution.trace))
    theta, value, edm, success = solution.theta, solution.value, solution.edm, solution.success
    message = solution.status.message
    if not success and np.isfinite(value) and objective.nfev < settings["max_iter"] + 1:
        theta, value, edm, success = _exact_steps(objective, theta, settings["tol"])
        message = "Converged with the exact Hessian." if success else message
    return Outcome(theta, value, success, message, "fisher scoring", objective.nfev, edm)


def _exact_steps(
    objective: Objective, theta: Any, tol: float, n_steps: int = 30
) -> tuple[Any, float, float, bool]:
    """Newton steps with the exact Hessian, made positive definite by its eigenvalues.

    For nearly degenerate parameters Fisher scoring creeps: the second derivatives that it leaves
    out are what curves the valley.
    """
    lower, upper = objective.bounds
    value, gradient = objective.value_and_gradient(theta)
    edm = float("inf")
    for _ in range(n_steps):
        moving = ~((theta <= lower) & (gradient > 0)) & ~((theta >= upper) & (gradient < 0))
        hessian = objective.hessian(theta)[np.ix_(moving, moving)]
        if not np.all(np.isfinite(hessian)):
            break
        eigenvalues, vectors = np.linalg.eigh(hessian)
        floor = 1e-10 * max(np.max(np.abs(eigenvalues)), 1e-300)
        step = np.zeros_like(theta)
        projected = vectors.T @ gradient[moving]
        step[moving] = -vectors @ (projected / np.maximum(np.abs(eigenvalues), floor))
        edm = float(-0.5 * gradient @ step)
        if edm < tol:
            return theta, value, edm, True
        for shrink in 0.25 ** np.arange(12):
            # Written so that infinite limits stay infinite.
            trial = np.clip(
                theta + shrink * step, theta - 0.9 * (theta - lower), theta + 0.9 * (upper - theta)
            )
            new_value, new_gradient = objective.value_and_gradient(trial)
            if new_value < value:
                theta, value, gradient = trial, new_value, new_gradient
                break
        else:
            break
    return theta, value, edm, False

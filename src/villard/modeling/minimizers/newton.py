"""The engine's own damped Fisher scoring, finished by exact Newton steps where that helps."""

from collections.abc import Mapping
from typing import Any

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
        ``max_iter``: most evaluations (200); ``exact``: whether steps take the exact Hessian from the start,
        as they do for more than 40 parameters (`False`).
    """
    settings = take_options(options, {"tol": 1e-8, "max_iter": 200, "exact": False}, "newton")
    solution = objective.likelihood.minimize(
        tol=settings["tol"],
        max_iter=settings["max_iter"],
        trace=objective.store_trace,
        exact=bool(settings["exact"]),
    )
    objective.nfev += solution.nfev
    objective.rows.extend(solution.trace)
    return Outcome.from_solution(solution, objective.nfev)

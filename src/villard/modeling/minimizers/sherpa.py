"""Sherpa's minimisers: simplex, levmar, moncar, gridsearch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from villard.exceptions import FitSetupError
from villard.modeling.minimizers import Objective, Outcome
from villard.utils.lazy import import_optional
from villard.utils.names import nearest

__all__ = ["optimize"]

_METHODS = {"simplex": "NelderMead", "levmar": "LevMar", "moncar": "MonCar", "gridsearch": "GridSearch"}
#: Sherpa wants finite limits.
_HUGE = 1e120


def optimize(objective: Objective, options: Mapping[str, Any]) -> Outcome:
    """Minimise with one of Sherpa's methods.

    Parameters
    ----------
    objective : `Objective`
        Statistic.
    options : dict
        ``method`` (``"simplex"``), one of simplex, levmar, moncar, gridsearch; all else sets the
        method's options, such as ``ftol`` and ``maxfev``.

    Raises
    ------
    FitSetupError
        If the method or an option is unknown, or levmar is asked to fit priors.
    """
    optmethods = import_optional("sherpa.optmethods", "sherpa")
    settings = dict(options)
    method = settings.pop("method", "simplex")
    if method not in _METHODS:
        raise FitSetupError(f"Backend 'sherpa' has no method {method!r}. {nearest(str(method), _METHODS)}")
    optimizer = getattr(optmethods, _METHODS[method])()
    for key, value in settings.items():
        if key not in optimizer.config:
            raise FitSetupError(f"Sherpa's {method} has no option {key!r}. {nearest(key, optimizer.config)}")
        optimizer.config[key] = value
    function = _residuals(objective) if method == "levmar" else _values(objective)
    lower, upper = (np.clip(limit, -_HUGE, _HUGE) for limit in objective.bounds)
    valid, theta, _, message, _ = optimizer.fit(function, objective.start, lower, upper)
    theta = np.asarray(theta, dtype=float)
    # Where it gives up, the statistic that Sherpa returns is not that of its last point.
    stat = float(objective.likelihood.value_and_gradient(objective.theta(theta))[0])
    return Outcome(theta, stat, bool(valid), str(message), method, objective.nfev)


def _values(objective: Objective) -> Any:
    def function(theta: Any, *_: Any) -> tuple[float, Any]:
        value = objective.value(theta)
        return value, np.array([value])

    return function


def _residuals(objective: Objective) -> Any:
    """Square roots of the bins' statistics: what a least-squares method minimises the squares of."""
    if any(p.prior is not None for p in objective.likelihood.parameters):
        raise FitSetupError(
            "Sherpa's levmar minimises sums of squares and can't fit priors; use method='simplex'"
        )

    def function(theta: Any, *_: Any) -> tuple[float, Any]:
        value = objective.value(theta)
        return value, objective.residuals(theta)

    return function

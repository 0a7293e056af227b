"""MINUIT's MIGRAD with exact gradients, through iminuit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from villard.exceptions import FitSetupError
from villard.modeling.minimizers import Objective, Outcome, take_options

__all__ = ["optimize"]


def optimize(objective: Objective, options: Mapping[str, Any]) -> Outcome:
    """Minimise with MIGRAD.

    Parameters
    ----------
    objective : `Objective`
        Statistic.
    options : dict
        ``tol`` (0.1), ``strategy`` (1), ``print_level`` (0), ``migrad_opts`` (keywords of
        `iminuit.Minuit.migrad`).

    Returns
    -------
    `Outcome`
        With the `iminuit.Minuit` object, whose parameters are scaled to be of order one.
    """
    from iminuit import Minuit

    allowed = {"tol": 0.1, "strategy": 1, "print_level": 0, "migrad_opts": {}}
    settings = take_options(options, allowed, "minuit")
    if settings["strategy"] not in (0, 1, 2):
        raise FitSetupError(f"Backend 'minuit', strategy: expected 0, 1 or 2, found {settings['strategy']!r}")
    names = [f"par_{i:03d}_{name}" for i, name in enumerate(objective.names)]
    cache: dict[str, Any] = {"theta": None, "gradient": None}

    def value(theta: Any) -> float:
        theta = np.array(theta)
        result, gradient = objective.value_and_gradient(theta)
        cache.update(theta=theta, gradient=gradient)
        return result

    def gradient(theta: Any) -> Any:
        # MINUIT asks for the gradient where it has just asked for the value.
        if cache["theta"] is None or not np.array_equal(cache["theta"], theta):
            at = objective.likelihood.value_and_gradient(objective.theta(theta))
            return at[1] * objective.unit
        return cache["gradient"]

    start = objective.start
    minuit = Minuit(value, start, grad=gradient, name=names)
    minuit.errordef = Minuit.LEAST_SQUARES
    minuit.strategy = settings["strategy"]
    minuit.tol = settings["tol"]
    minuit.print_level = settings["print_level"]
    minuit.limits = list(zip(*objective.bounds, strict=True))
    # First steps: known errors, a part of the value, or where that is zero the unit.
    errors = objective.likelihood.to_theta([p.error for p in objective.likelihood.parameters])
    steps = np.where(start == 0, 1.0, np.maximum(0.1 * np.abs(start), 0.01))
    minuit.errors = np.where(errors > 0, errors / objective.unit, steps)
    try:
        minuit.migrad(**settings["migrad_opts"])
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise FitSetupError(f"Backend 'minuit', migrad_opts: {error}") from error
    minimum = minuit.fmin
    return Outcome(
        np.array(minuit.values),
        float(minuit.fval),
        bool(minuit.valid),
        _message(minimum),
        "migrad",
        objective.nfev,
        float(minimum.edm),
        minuit,
    )


def _message(minimum: Any) -> str:
    if minimum.is_valid:
        return "Optimization terminated successfully."
    reasons = []
    if minimum.has_reached_call_limit:
        reasons.append("call limit reached")
    if minimum.is_above_max_edm:
        reasons.append(f"estimated distance to minimum {minimum.edm:.2g} too large")
    if not minimum.has_valid_parameters:
        reasons.append("no valid parameters")
    return f"Optimization failed: {', '.join(reasons) or 'MIGRAD found no valid minimum'}."

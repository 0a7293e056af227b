"""The minimisers of scipy.optimize, local and global, with gradient and Hessian where they take them."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from villard.exceptions import FitSetupError
from villard.modeling.minimizers import Objective, Outcome
from villard.utils.names import nearest

__all__ = ["METHODS", "optimize"]

_GRADIENT = {"CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP"}
_HESSIAN = {"Newton-CG", "dogleg", "trust-ncg", "trust-exact", "trust-krylov", "trust-constr"}
_NO_DERIVATIVES = {"Nelder-Mead", "Powell", "COBYLA", "COBYQA"}
_BOUNDED = {"Nelder-Mead", "Powell", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "COBYLA", "COBYQA"}
_GLOBAL = {"differential_evolution", "dual_annealing", "shgo", "direct", "basinhopping"}

METHODS = sorted(_GRADIENT | _HESSIAN | _NO_DERIVATIVES | _GLOBAL)


def optimize(objective: Objective, options: Mapping[str, Any]) -> Outcome:
    """Minimise with a method of scipy.optimize.

    Parameters
    ----------
    objective : `Objective`
        Statistic.
    options : dict
        ``method`` (``"L-BFGS-B"``): one of `METHODS`; all else is passed on, as ``tol`` (1e-6 for
        Powell) and ``options`` to `scipy.optimize.minimize` or the keywords of a global optimiser.

    Raises
    ------
    FitSetupError
        If the method is unknown, ignores limits that are set, or needs limits that aren't.
    """
    settings = dict(options)
    method = settings.pop("method", "L-BFGS-B")
    known = {name.lower(): name for name in METHODS}
    if str(method).lower() not in known:
        raise FitSetupError(f"Backend 'scipy' has no method {method!r}. {nearest(str(method), METHODS)}")
    method = known[str(method).lower()]
    with _clear_errors(method):
        result = (
            _global(objective, method, settings) if method in _GLOBAL else _local(objective, method, settings)
        )
    message = (
        result.message
        if isinstance(result.message, str)
        else "; ".join(map(str, np.atleast_1d(result.message)))
    )
    success = bool(getattr(result, "success", True)) and bool(np.isfinite(result.fun))
    return Outcome(
        np.asarray(result.x, dtype=float), float(result.fun), success, message, method, objective.nfev
    )


@contextmanager
def _clear_errors(method: str) -> Iterator[None]:
    """Turn what scipy says about options that it doesn't know into an error that names the method."""
    from scipy.optimize import OptimizeWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Unknown solver options", OptimizeWarning)
        try:
            yield
        except (TypeError, OptimizeWarning) as error:
            if "unexpected keyword" not in str(error) and "Unknown solver options" not in str(error):
                raise
            raise FitSetupError(f"scipy method {method!r}: {error}") from error


def _local(objective: Objective, method: str, settings: dict[str, Any]) -> Any:
    from scipy.optimize import minimize

    lower, upper = objective.bounds
    limited = np.isfinite(lower) | np.isfinite(upper)
    if method in _BOUNDED:
        settings.setdefault("bounds", list(zip(lower, upper, strict=True)))
    elif limited.any():
        names = [name for name, has in zip(objective.names, limited, strict=True) if has]
        raise FitSetupError(
            f"scipy method {method!r} can't keep limits, and these parameters have some: {', '.join(names)}. "
            f"Methods that can: {', '.join(sorted(_BOUNDED))}"
        )
    if method in _NO_DERIVATIVES:
        if method == "Powell" and "options" not in settings:
            # Its own tolerance is relative to the statistic, and may leave it a tenth of an error away.
            settings.setdefault("tol", 1e-6)
        return minimize(objective.value, objective.start, method=method, **settings)
    if method in _HESSIAN:
        settings.setdefault("hess", objective.hessian)
    return minimize(objective.value_and_gradient, objective.start, jac=True, method=method, **settings)


def _global(objective: Objective, method: str, settings: dict[str, Any]) -> Any:
    import scipy.optimize

    lower, upper = objective.bounds
    function = getattr(scipy.optimize, method)
    if method == "basinhopping":
        local = {"method": "L-BFGS-B", "jac": True, "bounds": list(zip(lower, upper, strict=True))}
        settings.setdefault("minimizer_kwargs", local)
        result = function(objective.value_and_gradient, objective.start, **settings)
        result.success = bool(result.lowest_optimization_result.success)
        return result
    missing = [
        n for n, a, b in zip(objective.names, lower, upper, strict=True) if not np.all(np.isfinite([a, b]))
    ]
    if missing:
        raise FitSetupError(
            f"scipy method {method!r} needs min and max of every parameter; missing: {', '.join(missing)}"
        )
    return function(objective.value, bounds=list(zip(lower, upper, strict=True)), **settings)

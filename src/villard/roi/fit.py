"""The fit of a region of interest: retried where it fails, and put back where it can't be trusted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError
from villard.modeling.minimizers import Outcome
from villard.roi.options import options
from villard.roi.quality import Assessment, assess, correlation_of, degenerate_pairs
from villard.utils.names import nearest

__all__ = ["OPTIMIZERS", "Fitting", "fit_region", "fit_settings"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

#: Backend and its options for each optimiser, by the names of fermipy and by ours.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "NEWTON": ("newton", {}),
    "MINUIT": ("minuit", {}),
    "NEWMINUIT": ("minuit", {"strategy": 2}),
    "LBFGS": ("scipy", {"method": "L-BFGS-B"}),
    "DRMNGB": ("scipy", {"method": "TNC"}),
    "DRMNFB": ("scipy", {"method": "SLSQP"}),
    "SCIPY": ("scipy", {}),
    "SHERPA": ("sherpa", {}),
}

_DEFAULTS: dict[str, Any] = {
    "optimizer": "NEWTON",
    "tol": 1e-3,
    "max_iter": 100,
    "init_lambda": 1e-4,
    "retries": 3,
    "min_fit_quality": 2,
    "verbosity": 0,
    "options": None,
}
#: Distance to the minimum of -2 ln L that our own minimiser goes for, whatever is accepted: parameters end
#: within 1e-5 of their errors, wherever they started.
_TOL = 1e-10
#: Loss in ln L beyond which a retry has found another, worse maximum.
_WORSE = 1e-3
#: Calls of the likelihood that MINUIT and others may need per parameter in one iteration.
_CALLS = 10


class Fitting:
    """The fit, for `villard.roi.ROI`."""

    def fit(
        self,
        update: bool = True,
        covar: bool = True,
        reoptimize: bool = False,
        optimizer: str | Mapping[str, Any] | None = None,
        tol: float | None = None,
        max_iter: int | None = None,
        retries: int | None = None,
        min_fit_quality: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Fit the free parameters of all sources to all cubes.

        Settings that aren't given are those of the section ``optimizer`` of the configuration.

        Parameters
        ----------
        update : bool
            Whether TS, fluxes and limits of the fitted sources are computed after a success.
        covar : bool
            Whether errors and covariance are returned, and given to the parameters.
        reoptimize : bool
            Whether the other sources are refitted for the TS of each.
        optimizer : str or dict
            "NEWTON" (the default), "MINUIT", "NEWMINUIT", "LBFGS", "DRMNFB", "DRMNGB"; or a dictionary of
            settings: ``optimizer``, ``tol``, ``max_iter``, ``retries``, ``min_fit_quality``, and
            ``options`` of the backend.
        tol : float
            Largest estimated distance to the maximum, in ln L, of a fit that has converged (1e-3).
        max_iter : int
            Most evaluations of an attempt (100); with other optimisers than NEWTON, of its iterations.
        retries : int
            Most attempts after the first one, each in another way (3).
        min_fit_quality : int
            Lowest quality that is a success (2).
        **kwargs : dict
            ``init_lambda`` and ``verbosity``, kept for scripts of fermipy.

        Returns
        -------
        dict
            ``fit_quality`` (3: converged by the estimated distance to the maximum, and the exact Hessian is
            positive definite on the parameters away from their limits; 2: converged, and forced positive
            definite; 1: only its diagonal is; 0: not converged), ``fit_success``, ``fit_status`` (0 if it
            converged), ``fit_message``, ``loglike``, ``dloglike``, ``edm`` (in ln L), ``values``,
            ``errors``, ``covariance``, ``correlation`` (of the free parameters, in their own units),
            ``names``, ``src_names``, ``par_names``, ``is_norm``, ``at_limits`` (names), ``degenerate``
            (pairs of sources with the correlation of their normalisations), ``niter``, ``attempts``,
            ``config``. Where the fit is no success, the region is as it was before, and these tell where
            the best attempt ended.
        """
        given = {
            "optimizer": optimizer,
            "tol": tol,
            "max_iter": max_iter,
            "retries": retries,
            "min_fit_quality": min_fit_quality,
            **kwargs,
        }
        settings = fit_settings(self, {k: v for k, v in given.items() if v is not None})
        return fit_region(self, settings, update, covar, reoptimize)


def fit_settings(roi: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a fit: those given, those of the configuration, defaults.

    Raises
    ------
    ConfigError
        If a setting, an optimiser or a value isn't known.

    Examples
    --------
    >>> fit_settings(None, {"optimizer": {"optimizer": "minuit", "tol": 0.01}})["optimizer"]
    'MINUIT'
    """
    given = dict(given)
    if isinstance(given.get("optimizer"), Mapping):
        given = {**dict(given.pop("optimizer")), **given}
    settings = options(roi, "optimizer", _DEFAULTS, given)
    settings["optimizer"] = name = str(settings["optimizer"]).upper()
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer: no optimizer {name!r}. {nearest(name, OPTIMIZERS)}")
    for key, lowest in (("tol", 0.0), ("max_iter", 1), ("retries", 0), ("min_fit_quality", 0)):
        if not settings[key] >= lowest:
            raise ConfigError(f"optimizer: {key} must be at least {lowest}, found {settings[key]!r}")
    return settings


@dataclass
class _Attempt:
    """One attempt: how, where it ended, and how good that is."""

    method: str
    outcome: Outcome
    assessment: Assessment

    @property
    def loglike(self) -> float:
        return -0.5 * self.outcome.stat

    @property
    def rank(self) -> tuple[int, float]:
        return self.assessment.quality, self.loglike


def fit_region(
    roi: Any, settings: Mapping[str, Any], update: bool, covar: bool, reoptimize: bool
) -> dict[str, Any]:
    """Fit a region; see `Fitting.fit`."""
    from villard.likelihood import bind

    likelihood = bind(roi.datasets, roi.models)
    owners = owners_of(roi, likelihood.parameters)
    if likelihood.n_free == 0:
        return _nothing_free(likelihood, settings)
    likelihood.check_free()
    start = -0.5 * likelihood.derivatives()[0]
    names = [f"{source.name}.{parameter}" for source, parameter in owners]
    attempts = _try(likelihood, settings, names)
    best = max(attempts, key=lambda attempt: attempt.rank)
    success = best.assessment.quality >= settings["min_fit_quality"] and best.assessment.edm < np.inf
    result = _report(likelihood, owners, best, start, covar)
    result |= {
        "fit_success": success,
        "niter": sum(attempt.outcome.nfev for attempt in attempts),
        "attempts": [
            {
                "method": a.method,
                "fit_quality": a.assessment.quality,
                "loglike": a.loglike,
                "edm": a.assessment.edm,
            }
            for a in attempts
        ],
        "config": {**settings, "update": update, "covar": covar, "reoptimize": reoptimize},
    }
    if not success:
        result["fit_message"] += " All parameters were left as they were."
        log.warning("Fit: %s", result["fit_message"])
        return result
    _apply(likelihood, best, covar)
    if best.assessment.quality < 3 or result["at_limits"] or result["degenerate"]:
        log.warning("Fit: %s", result["fit_message"])
    # Not only owners: linked parameters change several sources.
    fitted = [source.name for source in roi.sources if source.free]
    roi.update_npred(fitted)
    if update:
        from villard.roi.derived import update_sources

        update_sources(roi, fitted, reoptimize=reoptimize)
    return result


def owners_of(roi: Any, parameters: Any) -> list[tuple[Any, str]]:
    """Return for each parameter the first source that has it, and its name there."""
    found: dict[int, tuple[Any, str]] = {}
    for source in roi.sources:
        own = source.model.parameters
        for name, parameter in zip(own.names, own, strict=True):
            found.setdefault(id(parameter), (source, name))
    return [found[id(parameter)] for parameter in parameters]


def _try(likelihood: Any, settings: Mapping[str, Any], names: list[str]) -> list[_Attempt]:
    """Make attempts, each in another way, until one is good enough."""
    attempts: list[_Attempt] = []
    for method, run in _ways(likelihood, settings, attempts):
        outcome = run()
        attempt = _Attempt(method, outcome, assess(likelihood, outcome.theta, names, settings["tol"]))
        attempts.append(attempt)
        highest = max(a.loglike for a in attempts)
        good = attempt.assessment.quality >= settings["min_fit_quality"]
        if good and attempt.loglike >= highest - _WORSE:
            break
        if attempt.assessment.quality == 2:
            break  # converged, but the data can't tell parameters apart: nor could another fit
        log.info("Fit, %s: %s", method, attempt.assessment.message)
        if len(attempts) > settings["retries"]:
            break
    return attempts


def _ways(
    likelihood: Any, settings: Mapping[str, Any], attempts: list[_Attempt]
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Yield ways to fit: as asked; from a perturbed start; norms before shapes; another backend; …"""
    backend, preset = OPTIMIZERS[settings["optimizer"]]
    own = {**preset, **(settings["options"] or {})}
    yield settings["optimizer"].lower(), lambda: _run(likelihood, backend, own, settings)
    newton = lambda theta: lambda: _newton(likelihood, settings, theta)  # noqa: E731
    yield (
        "newton from a perturbed start",
        newton(_perturbed(likelihood, _best_theta(likelihood, attempts), 0.3, 1)),
    )
    yield "newton, normalisations before shapes", newton(None)
    other = "minuit" if backend != "minuit" else "scipy"
    yield f"{other}, then newton", lambda: _other(likelihood, other, settings, attempts)
    for seed in range(2, 1000):
        theta = _perturbed(likelihood, _best_theta(likelihood, attempts), 1.0, seed)
        yield f"newton from a perturbed start ({seed})", newton(theta)


def _best_theta(likelihood: Any, attempts: list[_Attempt]) -> Array:
    finite = [a for a in attempts if np.all(np.isfinite(a.outcome.theta)) and np.isfinite(a.outcome.stat)]
    if not finite:
        return np.asarray(likelihood.theta)
    return max(finite, key=lambda a: a.loglike).outcome.theta


def _perturbed(likelihood: Any, theta: Array, size: float, seed: int) -> Array:
    """Move parameters by a part of the error that is to be expected for each alone, within their limits."""
    curvature = np.diag(likelihood.expected_fisher(theta))
    sigma = np.where(curvature > 0, np.sqrt(2 / np.where(curvature > 0, curvature, 1.0)), 0.0)
    sigma = np.minimum(sigma, np.maximum(np.abs(theta), 0.1))
    moved = theta + size * sigma * np.random.default_rng(seed).standard_normal(len(theta))
    lower, upper = likelihood.bounds
    inside = (moved > lower) & (moved < upper)
    return np.asarray(np.where(inside, moved, theta))


def _run(likelihood: Any, backend: str, own: Mapping[str, Any], settings: Mapping[str, Any]) -> Outcome:
    """Fit with one of the minimisers of `villard.modeling.Fit`."""
    from villard.modeling.minimizers import Objective, get_backend, natural_units
    from villard.modeling.minimizers.follow import follow_sources

    objective = Objective(likelihood)
    if backend != "newton":
        objective.unit = natural_units(likelihood)
    outcome = get_backend(backend)(objective, _backend_options(likelihood, backend, own, settings))
    outcome.theta = objective.theta(outcome.theta)
    follow_sources(likelihood, outcome)
    return outcome


def _backend_options(
    likelihood: Any, backend: str, own: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    most = settings["max_iter"]
    if backend == "newton":
        # The Hessian is compiled for the covariance in any case, and takes a third of the steps.
        return {"max_iter": most, "tol": min(2 * settings["tol"], _TOL), "exact": True, **own}
    if backend == "minuit":
        # MINUIT stops at an estimated distance of 0.002 tol in -2 ln L.
        calls = {"ncall": most * (_CALLS + likelihood.n_free)} if most < _DEFAULTS["max_iter"] else {}
        return {"tol": min(settings["tol"] / 0.002, 0.1), "migrad_opts": calls, **own}
    if backend == "scipy" and own.get("method") in ("L-BFGS-B", "SLSQP"):
        return {"options": {"maxiter": most * (1 if most < _DEFAULTS["max_iter"] else _CALLS)}, **own}
    return dict(own)


def _newton(likelihood: Any, settings: Mapping[str, Any], theta: Array | None) -> Outcome:
    """Fit with our own minimiser from ``theta``; without it from the start, normalisations first."""
    most, tol, before = settings["max_iter"], min(2 * settings["tol"], _TOL), 0
    if theta is None:
        first = likelihood.minimize(active=_is_norm(likelihood), max_iter=most)
        theta, before = first.theta, first.nfev
    solution = likelihood.minimize(theta, max_iter=most, tol=tol)
    return Outcome.from_solution(solution, before + solution.nfev)


def _other(likelihood: Any, backend: str, settings: Mapping[str, Any], attempts: list[_Attempt]) -> Outcome:
    """Fit with another backend, and finish with our own."""
    preset = {"method": "L-BFGS-B"} if backend == "scipy" else {}
    first = _run(likelihood, backend, preset, settings)
    start = first.theta if np.all(np.isfinite(first.theta)) else _best_theta(likelihood, attempts)
    outcome = _newton(likelihood, settings, start)
    outcome.nfev += first.nfev
    return outcome


def _is_norm(likelihood: Any) -> NDArray[np.bool_]:
    return np.array([bool(p.is_norm) for p in likelihood.parameters], dtype=bool)


def _report(
    likelihood: Any, owners: list[tuple[Any, str]], best: _Attempt, start: float, covar: bool
) -> dict[str, Any]:
    assessment = best.assessment
    is_norm = _is_norm(likelihood)
    covariance = likelihood.matrix_to_values(assessment.covariance)
    sources = [source.name for source, _ in owners]
    names = [f"{source}.{parameter}" for source, (_, parameter) in zip(sources, owners, strict=True)]
    assessment.pairs = degenerate_pairs(assessment.covariance, sources, is_norm)
    result = {
        "fit_quality": assessment.quality,
        "fit_status": _status(best),
        "fit_message": _sentence(best, names),
        "loglike": best.loglike,
        "dloglike": best.loglike - start,
        "edm": assessment.edm,
        "values": likelihood.to_values(best.outcome.theta),
        "errors": None,
        "covariance": None,
        "correlation": None,
        "names": names,
        "src_names": sources,
        "par_names": [parameter for _, parameter in owners],
        "is_norm": is_norm,
        "at_limits": [n for n, at in zip(names, assessment.at_limit, strict=True) if at],
        "degenerate": assessment.pairs,
    }
    if covar:
        result["covariance"] = covariance
        result["errors"] = np.sqrt(np.clip(np.diag(covariance), 0, None))
        result["correlation"] = correlation_of(assessment.covariance)
    return result


def _status(best: _Attempt) -> int:
    """0 if it converged; 1 if the iterations didn't suffice or a step failed, 2 if nothing is finite."""
    if best.assessment.quality > 0:
        return 0
    return 1 if np.isfinite(best.assessment.edm) else 2


def _sentence(best: _Attempt, names: list[str]) -> str:
    a = best.assessment
    parts = [a.message if a.quality else f"{best.outcome.message.rstrip('.')}. {a.message}"]
    at = [n for n, is_at in zip(names, a.at_limit, strict=True) if is_at]
    idle = [n for n, is_idle in zip(names, a.idle, strict=True) if is_idle]
    if at:
        parts.append(f"At a limit, without error: {', '.join(at)}.")
    if idle:
        parts.append(f"Without effect, because the source has no flux: {', '.join(idle)}.")
    for first, second, value in a.pairs:
        parts.append(
            f"{first} and {second} can hardly be told apart: their normalisations have the correlation "
            f"{value:.4f}."
        )
    return " ".join(parts)


def _apply(likelihood: Any, best: _Attempt, covar: bool) -> None:
    """Give values, errors and correlations to the parameters; those of frozen ones stay."""
    from villard.modeling.covariance import Covariance

    likelihood.set_values(best.outcome.theta)
    if covar:
        matrix = likelihood.matrix_to_values(best.assessment.covariance)
        Covariance(likelihood.parameters, matrix).apply()


def _nothing_free(likelihood: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    loglike, none, empty = -0.5 * likelihood.stat(), np.zeros(0), np.zeros((0, 0))
    return {
        "fit_quality": 3,
        "fit_success": True,
        "fit_status": 0,
        "fit_message": "No parameter is free: nothing to fit.",
        "loglike": loglike,
        "dloglike": 0.0,
        "edm": 0.0,
        "values": none,
        "errors": none,
        "covariance": empty,
        "correlation": empty,
        **{key: [] for key in ("names", "src_names", "par_names", "is_norm", "at_limits", "degenerate")},
        "niter": 0,
        "attempts": [],
        "config": dict(settings),
    }

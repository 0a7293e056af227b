"""Samplers behind one protocol: each module runs one package and returns a `Draws`."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from villard.bayes.samplers.base import Draws, Run
from villard.bayes.samplers.checkpoint import Checkpoint
from villard.bayes.samplers.evidence import with_evidence
from villard.exceptions import FitSetupError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from villard.bayes.posterior import Posterior
    from villard.bayes.problem import Problem

__all__ = ["SAMPLERS", "Draws", "Run", "check_options", "run_sampler"]

#: Module of each sampler.
SAMPLERS = {
    "dynesty": "dynesty",
    "ultranest": "ultranest",
    "nautilus": "nautilus",
    "nuts": "nuts",
    "nss": "nss",
    "emcee": "emcee",
    "importance": "importance",
}

#: Options that may be zero, and what text they may have.
_MAY_BE_ZERO = ("n_burn", "bootstrap", "n_networks", "min_ess")
_CHOICES = {
    "bound": ("none", "single", "multi", "balls", "cubes"),
    "sample": ("auto", "unif", "rwalk", "slice", "rslice"),
}


def run_sampler(
    problem: Problem,
    sampler: str = "dynesty",
    *,
    random_state: Any = None,
    checkpoint: Any = None,
    progress: bool | None = None,
    check_prior: bool = True,
    refine_evidence: bool = True,
    **options: Any,
) -> Posterior:
    """Draw samples from a posterior; parameters and errors as for `villard.bayes.sample`."""
    from villard.bayes.posterior import Posterior

    module, settings = _module(sampler, options)
    if settings.get("nlive", math.inf) <= problem.n_dim:
        raise FitSetupError(
            f"sample, {sampler!r}: expected for nlive more than the {problem.n_dim} parameters, "
            f"found {settings['nlive']}"
        )
    kept = None
    if checkpoint is not None:
        recorded = settings | {"refine_evidence": refine_evidence}
        kept = Checkpoint(checkpoint, problem, sampler, recorded, random_state)
        if kept.is_finished:
            return Posterior.read(kept.result)
    start = time.perf_counter()
    try:
        run = Run(random_state, progress, kept)
        if check_prior:
            problem.check_prior()
        draws = module.run(problem, settings, run)
    except Exception:
        if kept is not None:
            kept.withdraw()
        raise
    if refine_evidence:
        draws = with_evidence(problem, draws, run.later_rng)
    posterior = Posterior.from_draws(problem, draws, sampler, time.perf_counter() - start)
    if kept is not None:
        posterior.write(kept.result, overwrite=True)
    return posterior


def check_options(sampler: str, options: Mapping[str, Any]) -> None:
    """Raise `FitSetupError` if a sampler or an option of it is unknown, without running it."""
    _module(sampler, options)


def _module(sampler: str, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the module of a sampler and all its settings."""
    if sampler not in SAMPLERS:
        raise FitSetupError(f"sample: no sampler {sampler!r}. {nearest(str(sampler), SAMPLERS)}")
    module = importlib.import_module(f"villard.bayes.samplers.{SAMPLERS[sampler]}")
    return module, _settings(sampler, module.DEFAULTS, options)


def _settings(sampler: str, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in defaults:
            raise FitSetupError(f"sample, {sampler!r}: no option {name!r}. {nearest(name, defaults)}")
    own = {name: _checked(f"sample, {sampler!r}", name, options[name], defaults[name]) for name in options}
    return {**defaults, **own}


def _checked(where: str, name: str, value: Any, default: Any) -> Any:
    """Return the value of an option, if it is of the kind of its default; whole numbers may be 1e4."""
    if isinstance(default, bool | str):
        good = isinstance(value, type(default))
        wanted = "text" if isinstance(default, str) else "true or false"
    elif value is None and default is None:
        return None
    else:
        whole, low = isinstance(default, int), ("from 0 on" if name in _MAY_BE_ZERO else "above 0")
        wanted = f"a {'whole ' if whole else ''}number {low}"
        good = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        good = good and (value > 0 or (value == 0 and name in _MAY_BE_ZERO))
        good = good and not (whole and value != int(value))
        value = int(value) if good and whole else value
    if name in _CHOICES:
        good, wanted = value in _CHOICES[name], f"one of {list(_CHOICES[name])}"
    if not good:
        raise FitSetupError(f"{where}: expected for {name} {wanted}, found {value!r}")
    return value

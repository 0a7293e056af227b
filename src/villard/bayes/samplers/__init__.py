"""Samplers behind one protocol: each module runs one package and returns a `Draws`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from villard.bayes.samplers.base import Draws, Run
from villard.bayes.samplers.checkpoint import Checkpoint
from villard.bayes.samplers.evidence import with_evidence
from villard.exceptions import FitSetupError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from villard.bayes.posterior import Posterior
    from villard.bayes.problem import Problem

__all__ = ["SAMPLERS", "Draws", "Run", "run_sampler"]

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

    if sampler not in SAMPLERS:
        raise FitSetupError(f"sample: no sampler {sampler!r}. {nearest(str(sampler), SAMPLERS)}")
    module = importlib.import_module(f"villard.bayes.samplers.{SAMPLERS[sampler]}")
    settings = _settings(sampler, module.DEFAULTS, options)
    kept = None
    if checkpoint is not None:
        recorded = settings | {"refine_evidence": refine_evidence}
        kept = Checkpoint(checkpoint, problem, sampler, recorded, random_state)
        if kept.is_finished:
            return Posterior.read(kept.result)
    if check_prior:
        problem.check_prior()
    run = Run(random_state, progress, kept)
    start = time.perf_counter()
    draws = module.run(problem, settings, run)
    if refine_evidence:
        draws = with_evidence(problem, draws, run.later_rng)
    posterior = Posterior.from_draws(problem, draws, sampler, time.perf_counter() - start)
    if kept is not None:
        posterior.write(kept.result, overwrite=True)
    return posterior


def _settings(sampler: str, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in defaults:
            raise FitSetupError(f"sample, {sampler!r}: no option {name!r}. {nearest(name, defaults)}")
    return {**defaults, **options}

"""Nested sampling by dynesty (Speagle 2020, MNRAS 493, 3132; Higson et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from villard.bayes.samplers.base import Draws, Run
from villard.exceptions import CheckpointError
from villard.utils.lazy import import_optional

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

DEFAULTS: dict[str, Any] = {
    "nlive": 500,
    "dlogz": 0.1,
    "bound": "multi",
    "sample": "auto",
    "bootstrap": 0,
    "walks": None,
    "slices": None,
    "checkpoint_every": 10.0,
}

#: The problem that is sampled, for functions that were pickled into a checkpoint.
_ACTIVE: dict[str, Any] = {}


class _Function:
    """A method of the problem that is being sampled, which isn't pickled with it."""

    def __init__(self, fingerprint: str, name: str) -> None:
        self.fingerprint, self.name = fingerprint, name
        self._method: Any = None

    def __call__(self, x: Any) -> Any:
        if self._method is None:
            self._method = getattr(_ACTIVE[self.fingerprint], self.name)
        return self._method(x)

    def __getstate__(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "name": self.name, "_method": None}


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Run dynesty's static nested sampler."""
    dynesty = import_optional("dynesty", "bayes")
    keep = run.checkpoint
    fingerprint = "none" if keep is None else problem.fingerprint
    _ACTIVE[fingerprint] = problem
    path = None if keep is None else str(keep.folder / "dynesty.pickle")
    try:
        resume = keep is not None and (keep.folder / "dynesty.pickle").exists()
        sampler = _restore(dynesty, path) if resume else _start(dynesty, problem, settings, run, fingerprint)
        # dynesty takes nothing of an integral of 1 for the logarithm of the rest: it may be negative.
        with np.errstate(all="ignore"), run.bar(1000, "dynesty") as bar:
            sampler.run_nested(
                dlogz=settings["dlogz"],
                print_progress=True,
                print_func=lambda results, niter, ncall, **more: _progress(
                    bar, results, niter, settings, more
                ),
                save_bounds=False,
                checkpoint_file=path,
                checkpoint_every=settings["checkpoint_every"],
                resume=resume,
            )
    finally:
        _ACTIVE.pop(fingerprint, None)
    return _draws(sampler.results)


def _start(dynesty: Any, problem: Problem, settings: dict[str, Any], run: Run, fingerprint: str) -> Any:
    names = ("nlive", "bound", "sample", "bootstrap", "walks", "slices")
    return dynesty.NestedSampler(
        _Function(fingerprint, "log_likelihood"),
        _Function(fingerprint, "prior_transform"),
        problem.n_dim,
        rstate=run.rng,
        **{name: settings[name] for name in names if settings[name] is not None},
    )


def _restore(dynesty: Any, path: str | None) -> Any:
    try:
        return dynesty.NestedSampler.restore(path)
    except Exception as error:
        raise CheckpointError(f"Checkpoint: can't read {path}: {error}") from error


def _progress(bar: Any, results: Any, niter: int, settings: dict[str, Any], more: dict[str, Any]) -> None:
    """Estimate how far it is: the remaining evidence falls by 1/nlive of its logarithm per iteration."""
    left = settings["nlive"] * max(float(results.delta_logz) - settings["dlogz"], 0.0)
    part = niter / (niter + left) if np.isfinite(left) and niter else 0.0
    bar.advance(max(int(1000 * part) - bar.completed, 0))


def _draws(results: Any) -> Draws:
    information = float(results.information[-1])
    return Draws(
        np.asarray(results.samples),
        np.asarray(results.logl),
        np.asarray(results.logwt),
        float(results.logz[-1]),
        float(results.logzerr[-1]),
        int(np.sum(results.ncall)),
        {"information": information, "efficiency": float(results.eff), "iterations": int(results.niter)},
    )

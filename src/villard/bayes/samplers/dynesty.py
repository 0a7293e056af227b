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
    "update_interval": None,
    "batch": 256,
    "checkpoint_every": 10.0,
}

#: Calls between updates of the bound, per live point, of uniform draws: twice dynesty's, as updates take
#: longer than calls in batches.
_UPDATE = 2.0
#: The problem that is sampled, for functions that were pickled into a checkpoint.
_ACTIVE: dict[str, Any] = {}


class _Function:
    """A method of the problem that is being sampled, which isn't pickled with it."""

    def __init__(self, fingerprint: str, name: str) -> None:
        self.fingerprint, self.name, self.n_calls = fingerprint, name, 0
        self._method: Any = None

    def __call__(self, x: Any) -> Any:
        if self._method is None:
            self._method = getattr(_ACTIVE[self.fingerprint], self.name)
        self.n_calls += 1 if np.ndim(x) == 1 else len(x)
        return self._method(x)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_method": None}


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
    return _draws(sampler)


def _start(dynesty: Any, problem: Problem, settings: dict[str, Any], run: Run, fingerprint: str) -> Any:
    from villard.bayes.samplers.batches import BatchedUniform

    names = ("nlive", "bound", "bootstrap", "slices")
    likelihood, prior = (_Function(fingerprint, name) for name in ("log_likelihood", "prior_transform"))
    proposal = _proposal(problem, settings, likelihood, prior)
    interval = settings["update_interval"]
    if interval is None and isinstance(proposal, BatchedUniform):
        interval = _UPDATE
    sampler = dynesty.NestedSampler(
        likelihood,
        prior,
        problem.n_dim,
        rstate=run.rng,
        sample=proposal,
        update_interval=None if interval is None else float(interval),
        live_points=_live_points(int(settings["nlive"]), problem.n_dim, likelihood, prior, run.rng),
        **{name: settings[name] for name in names if settings[name] is not None},
    )
    # dynesty starts with draws from the whole cube, one by one.
    sampler.internal_sampler = BatchedUniform(**_batches(problem, settings, likelihood, prior))
    return sampler


def _batches(problem: Problem, settings: dict[str, Any], likelihood: _Function, prior: _Function) -> Any:
    # What is left of a batch is lost when the bound changes.
    most = int(0.5 * (settings["update_interval"] or _UPDATE) * settings["nlive"])
    size = problem.batch_size(max(1, min(int(settings["batch"]), most)))
    return {"ndim": problem.n_dim, "prior_many": prior, "likelihood_many": likelihood, "size": size}


def _proposal(problem: Problem, settings: dict[str, Any], likelihood: _Function, prior: _Function) -> Any:
    """Return how new points are found: in batches where dynesty's own choice allows it."""
    from villard.bayes.samplers.batches import BatchedUniform, BatchedWalk

    batches = _batches(problem, settings, likelihood, prior)
    kind, n_dim = settings["sample"], problem.n_dim
    if kind == "auto":
        kind = "unif" if n_dim < 10 else "rwalk" if n_dim <= 20 else "rslice"
    if kind == "unif":
        return BatchedUniform(**batches)
    if kind == "rwalk":
        return BatchedWalk(ncdim=n_dim, walks=int(settings["walks"] or n_dim + 20), **batches)
    return kind


def _live_points(
    n: int, n_dim: int, likelihood: _Function, prior: _Function, rng: np.random.Generator
) -> Any:
    """Draw the first live points; dynesty has a way of its own with likelihoods of zero."""
    u = rng.random((n, n_dim))
    theta = prior(u)
    value = np.asarray(likelihood(theta))
    return (u, theta, value) if np.all(np.isfinite(value)) else None


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


def _draws(sampler: Any) -> Draws:
    results = sampler.results
    # Of batches some points weren't needed, which dynesty doesn't count.
    batches = getattr(sampler.internal_sampler, "input_kwargs", {}).get("likelihood_many")
    n_calls = int(np.sum(results.ncall)) if batches is None else batches.n_calls
    information = float(results.information[-1])
    return Draws(
        np.asarray(results.samples),
        np.asarray(results.logl),
        np.asarray(results.logwt),
        float(results.logz[-1]),
        float(results.logzerr[-1]),
        n_calls,
        {"information": information, "efficiency": float(results.eff), "iterations": int(results.niter)},
    )

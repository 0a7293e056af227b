"""Nested slice sampling by blackjax (Yallup, Kroupa & Handley 2026, arXiv:2601.23252)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.samplers.base import Draws, Run
from villard.bayes.samplers.real import evaluate, spread
from villard.exceptions import FitSetupError
from villard.utils.lazy import import_optional

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "nlive": 500,
    "dlogz": 0.05,
    "num_delete": 50,
    "inner_steps": None,
    "n_volumes": 100,
}


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Delete and replace many live points per step, until the rest of the evidence is small."""
    if settings["num_delete"] >= settings["nlive"]:
        raise FitSetupError(
            f"sample, 'nss': expected for num_delete less than nlive, found {settings['num_delete']} and "
            f"{settings['nlive']}"
        )
    with warnings.catch_warnings():
        # blackjax uses functions of JAX that newer versions give another name.
        warnings.simplefilter("ignore", DeprecationWarning)
        blackjax = import_optional("blackjax", "blackjax")
        return _run(blackjax, problem, settings, run)


def _run(blackjax: Any, problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    from villard._jax import jax

    start, step = _functions(blackjax, problem, settings)
    kept = None if run.checkpoint is None else run.checkpoint.load()
    if kept is None:
        z = _live_points(problem, int(settings["nlive"]), run.rng)
        kept = {"state": start(z, problem.device_data), "dead": [], "seed": run.seed}
    with run.bar(1000, "nss") as bar:
        while not _is_done(kept, settings, bar):
            key = jax.random.key(kept["seed"] + len(kept["dead"]))
            kept["state"], info = step(key, kept["state"], problem.device_data)
            kept["dead"].append(jax.tree_util.tree_map(np.asarray, info))
            if run.checkpoint is not None and len(kept["dead"]) % 10 == 0:
                run.checkpoint.save({**kept, "state": jax.tree_util.tree_map(np.asarray, kept["state"])})
    return _draws(blackjax, problem, kept, settings)


def _functions(blackjax: Any, problem: Problem, settings: dict[str, Any]) -> tuple[Any, Any]:
    kernels, n_dim = problem.kernels, problem.n_dim
    inner = int(settings["inner_steps"] or 5 * n_dim)
    key = ("nss", inner, settings["num_delete"])
    cache = kernels.__dict__.setdefault("_samplers", {})
    if key not in cache:
        from villard._jax import jax

        def algorithm(data: Any) -> Any:
            return blackjax.nss(
                logprior_fn=lambda z: kernels.real_density(z, data)[-1],
                loglikelihood_fn=lambda z: kernels.real_density(z, data)[-2],
                num_inner_steps=inner,
                num_delete=int(settings["num_delete"]),
            )

        cache[key] = (
            jax.jit(lambda z, data: algorithm(data).init(z)),
            jax.jit(lambda key, state, data: algorithm(data).step(key, state)),
        )
    return cache[key]


def _live_points(problem: Problem, n: int, rng: np.random.Generator) -> Array:
    """Draw from the prior on the real line, by importance resampling of logistic points."""
    z = spread(20 * n, problem.n_dim, rng)
    log_prior = evaluate(problem, z)[2]
    u = 1 / (1 + np.exp(-z))
    log_weight = log_prior - np.sum(np.log(u) + np.log1p(-u), axis=1)
    weight = np.exp(log_weight - np.max(log_weight))
    # For most priors the weights are equal, and this picks points without repetition.
    keys = rng.exponential(size=len(z)) / np.maximum(weight, 1e-300)
    return z[np.argsort(keys)[:n]]


def _log_volumes(n_dead: int, settings: dict[str, Any]) -> Array:
    """Expected logarithm of the volume inside each dead point: m of n points are taken away at a time."""
    n, m = int(settings["nlive"]), int(settings["num_delete"])
    steps = np.array([1 / (n - j) for j in range(m)])
    return -np.cumsum(np.tile(steps, -(-n_dead // m))[:n_dead])


def _is_done(kept: dict[str, Any], settings: dict[str, Any], bar: Any) -> bool:
    if not kept["dead"]:
        return False
    dead = np.concatenate([np.sort(np.asarray(d.particles.loglikelihood)) for d in kept["dead"]])
    log_volume = _log_volumes(len(dead), settings)
    width = np.log(-np.diff(np.concatenate([[1.0], np.exp(log_volume)])) + 1e-300)
    log_z = np.logaddexp.reduce(dead + width)
    live = np.asarray(kept["state"].particles.loglikelihood)
    log_rest = np.logaddexp.reduce(live) - np.log(len(live)) + log_volume[-1]
    left = np.logaddexp(log_z, log_rest) - log_z
    steps = max(left - settings["dlogz"], 0.0) * settings["nlive"] / settings["num_delete"]
    bar.advance(max(int(1000 * len(kept["dead"]) / (len(kept["dead"]) + steps)) - bar.completed, 0))
    return bool(left < settings["dlogz"])


def _draws(blackjax: Any, problem: Problem, kept: dict[str, Any], settings: dict[str, Any]) -> Draws:
    from villard._jax import jax

    utils = import_optional("blackjax.ns.utils", "blackjax")
    info = utils.finalise(kept["state"], kept["dead"], update_info=False)
    z = np.asarray(info.particles.position)
    log_weight = np.asarray(
        utils.log_weights(jax.random.key(kept["seed"]), info, shape=int(settings["n_volumes"]))
    )
    log_z = np.logaddexp.reduce(log_weight, axis=0)
    theta, log_likelihood, _ = evaluate(problem, z)
    mean = np.logaddexp.reduce(log_weight, axis=1) - np.log(log_weight.shape[1])
    evaluations = [
        np.sum(x)
        for d in kept["dead"]
        for x in jax.tree_util.tree_leaves(d.update_info)
        if x.dtype.kind in "iu"
    ]
    return Draws(
        theta,
        log_likelihood,
        mean,
        float(log_z.mean()),
        float(log_z.std()),
        int(np.sum(evaluations)) if evaluations else 0,
        {"iterations": len(kept["dead"])},
    )

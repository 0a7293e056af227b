"""No-U-turn sampling by blackjax (Hoffman & Gelman 2014, JMLR 15, 1593), on the real line."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.samplers.base import Draws, Run
from villard.bayes.samplers.real import evaluate, find_mode
from villard.exceptions import FitSetupError
from villard.utils.lazy import import_optional

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "n_warmup": 500,
    "n_samples": 1000,
    "chains": 4,
    "target_accept": 0.8,
    "batch": 100,
}


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Run chains together, compiled once per structure; batch by batch, each of which is kept."""
    problem.check_differentiable("nuts")
    if settings["target_accept"] >= 1:
        raise FitSetupError(
            f"sample, 'nuts': expected for target_accept a number below 1, found {settings['target_accept']}"
        )
    with warnings.catch_warnings():
        # blackjax uses functions of JAX that newer versions give another name.
        warnings.simplefilter("ignore", DeprecationWarning)
        blackjax = import_optional("blackjax", "blackjax")
        return _run(blackjax, problem, settings, run)


def _run(blackjax: Any, problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    from villard._jax import jax

    batch = int(settings["batch"])
    steps = -(-int(settings["n_samples"]) // batch)
    warm, sample = _functions(blackjax, problem, settings)
    state = None if run.checkpoint is None else run.checkpoint.load()
    with run.bar(steps + 1, "nuts") as bar:
        if state is None:
            start, covariance = find_mode(problem, run.rng)
            n = int(settings["chains"])
            around = run.rng.multivariate_normal(start, 0.5 * covariance, size=n)
            keys = jax.random.split(jax.random.key(run.seed), n)
            positions, parameters = warm(keys, around, problem.device_data)
            state = {"seed": run.seed, "position": positions, "parameters": parameters, "done": []}
            state["rng"] = run.rng.bit_generator.state
            _keep(run, state)
        run.rng.bit_generator.state = state["rng"]
        bar.advance(1 + len(state["done"]))
        for i in range(len(state["done"]), steps):
            keys = jax.random.split(jax.random.key(state["seed"] + 1 + i), int(settings["chains"]))
            position, info = sample(keys, state["position"], state["parameters"], problem.device_data)
            state["position"] = position[:, -1]
            state["done"].append(tuple(np.asarray(x) for x in (position, *info)))
            _keep(run, state)
            bar.advance()
    return _draws(problem, state["done"], int(settings["n_samples"]))


def _keep(run: Run, state: dict[str, Any]) -> None:
    if run.checkpoint is not None:
        from villard._jax import jax

        run.checkpoint.save(jax.tree_util.tree_map(np.asarray, state) | {"rng": state["rng"]})


def _functions(blackjax: Any, problem: Problem, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Return the compiled warm-up and batch, kept with the problem's other functions."""
    kernels = problem.kernels
    names = ("n_warmup", "target_accept", "batch")
    key = ("nuts", *(settings[name] for name in names))
    cache = kernels.__dict__.setdefault("_samplers", {})
    if key not in cache:
        from villard._jax import jax

        density = kernels.real_log_density
        warm = partial(_warm_up, blackjax, density, settings["n_warmup"], settings["target_accept"])
        sample = partial(_batch, blackjax, density, int(settings["batch"]))
        over = jax.vmap(warm, (0, 0, None))
        cache[key] = jax.jit(over), jax.jit(jax.vmap(sample, (0, 0, 0, None)))
    return cache[key]


def _warm_up(blackjax: Any, density: Any, n: int, target: float, key: Any, z: Any, data: Any) -> Any:
    adapt = blackjax.window_adaptation(
        blackjax.nuts, lambda x: density(x, data), target_acceptance_rate=target
    )
    (state, parameters), _ = adapt.run(key, z, n)
    return state.position, {k: parameters[k] for k in ("step_size", "inverse_mass_matrix")}


def _batch(blackjax: Any, density: Any, n: int, key: Any, z: Any, parameters: Any, data: Any) -> Any:
    from villard._jax import jax

    kernel = blackjax.nuts(lambda x: density(x, data), **parameters)

    def step(state: Any, key: Any) -> Any:
        state, info = kernel.step(key, state)
        more = (info.is_divergent, info.num_integration_steps, info.acceptance_rate)
        return state, (state.position, more)

    _, (positions, more) = jax.lax.scan(step, kernel.init(z), jax.random.split(key, n))
    return positions, more


def _draws(problem: Problem, done: list[Any], n: int) -> Draws:
    position, divergent, steps, acceptance = (
        np.concatenate([batch[k] for batch in done], axis=1)[:, :n] for k in range(4)
    )
    chains = len(position)
    z = position.reshape(-1, problem.n_dim)
    theta, log_likelihood, _ = evaluate(problem, z)
    return Draws(
        theta,
        log_likelihood,
        np.zeros(len(z)),
        n_calls=int(steps.sum()),
        diagnostics={"divergences": int(divergent.sum()), "acceptance": float(acceptance.mean())},
        chains=chains,
    )

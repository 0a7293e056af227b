"""Affine-invariant ensemble sampling by emcee (Foreman-Mackey et al. 2013, PASP 125, 306)."""

from __future__ import annotations

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

DEFAULTS: dict[str, Any] = {"walkers": None, "n_burn": 300, "n_samples": 1000, "thin": 1, "batch": 100}


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Run an ensemble, vectorised; batch by batch, each of which is kept."""
    emcee = import_optional("emcee", "emcee")
    least = 2 * problem.n_dim + 2
    walkers = int(settings["walkers"] or max(64, least))
    if walkers < least:
        raise FitSetupError(
            f"sample, 'emcee': expected at least {least} walkers for {problem.n_dim} parameters, "
            f"found {walkers}"
        )

    def density(z: Array) -> Array:
        _, log_likelihood, log_prior = evaluate(problem, z)
        total = log_likelihood + log_prior
        return np.where(np.isnan(total), -np.inf, total)

    state = None if run.checkpoint is None else run.checkpoint.load()
    if state is None:
        start, covariance = find_mode(problem, run.rng)
        position = run.rng.multivariate_normal(start, covariance, size=walkers)
        state = {"position": position, "seed": run.seed, "done": [], "accepted": []}
    sampler = emcee.EnsembleSampler(walkers, problem.n_dim, density, vectorize=True)
    total = int(settings["n_burn"]) + int(settings["n_samples"])
    batch = int(settings["batch"])
    steps = -(-total // batch)
    with run.bar(steps, "emcee") as bar:
        bar.advance(len(state["done"]))
        for i in range(len(state["done"]), steps):
            # It takes the state of the older generator.
            seeded = np.random.RandomState(state["seed"] + i)
            sampler.reset()
            end = sampler.run_mcmc(
                emcee.State(state["position"], random_state=seeded.get_state()), batch, progress=False
            )
            state["position"] = np.asarray(end.coords)
            state["done"].append(np.asarray(sampler.get_chain()))
            state["accepted"].append(float(np.mean(sampler.acceptance_fraction)))
            if run.checkpoint is not None:
                run.checkpoint.save(state)
            bar.advance()
    return _draws(emcee, problem, state, settings, walkers * total)


def _draws(
    emcee: Any, problem: Problem, state: dict[str, Any], settings: dict[str, Any], n_calls: int
) -> Draws:
    first = int(settings["n_burn"])
    chain = np.concatenate(state["done"])[first : first + int(settings["n_samples"])]
    tau = emcee.autocorr.integrated_time(chain, tol=0, quiet=True)
    chain = chain[:: int(settings["thin"])]
    z = np.swapaxes(chain, 0, 1).reshape(-1, problem.n_dim)
    theta, log_likelihood, _ = evaluate(problem, z)
    return Draws(
        theta,
        log_likelihood,
        np.zeros(len(z)),
        n_calls=n_calls,
        diagnostics={
            "acceptance": float(np.mean(state["accepted"])),
            "autocorrelation_time": float(np.max(tau)),
        },
        chains=chain.shape[1],
    )

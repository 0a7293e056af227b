"""Importance sampling from Student's t fitted to the posterior: no package needed, and an exact evidence.

The proposal is adapted in a few rounds, with a tempered likelihood until it is wide enough (population Monte
Carlo: Cappé et al. 2004, JCGS 13, 907). The mean weight is the evidence, without bias, and its scatter the
error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.samplers.base import Draws, Run, effective_size
from villard.bayes.samplers.proposals import WIDEN, StudentMixture
from villard.bayes.samplers.real import evaluate
from villard.exceptions import FitError

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

__all__ = ["draw_weighted", "mean_weight", "run"]

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "n_samples": 20_000,
    "n_adapt": 2000,
    "rounds": 30,
    "dof": 6.0,
    "min_ess": 0.05,
    "batch": 4096,
}

#: Part of the adaptation's draws that the weights must be spread over.
_SPREAD = 0.1
#: Rounds without tempering after which the proposal is good.
_GOOD = 4


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Adapt a proposal, and draw from it; rounds and batches are kept one by one."""
    n, rounds, batch = (int(settings[k]) for k in ("n_samples", "rounds", "batch"))
    state = None if run.checkpoint is None else run.checkpoint.load()
    if state is None:
        # The logistic distribution of the unit cube has the variance pi²/3.
        d = problem.n_dim
        start = StudentMixture.single(np.zeros(d), np.eye(d) * math.pi**2 / 3, settings["dof"])
        state = {"proposal": start, "round": 0, "good": 0, "done": [], "rng": run.rng.bit_generator.state}
    run.rng.bit_generator.state = state["rng"]
    sizes = [min(batch, n - first) for first in range(0, n, batch)]
    with run.bar(rounds + len(sizes), "importance") as bar:
        bar.advance(state["round"] + len(state["done"]))
        while state["round"] < rounds and state["good"] < _GOOD:
            _adapt(problem, settings, run, state)
            bar.advance()
        bar.advance(rounds + len(state["done"]) - bar.completed)
        for size in sizes[len(state["done"]) :]:
            state["done"].append(draw_weighted(problem, state["proposal"], size, run.rng))
            _keep(run, state)
            bar.advance()
    theta, log_likelihood, log_weight = (np.concatenate(parts) for parts in zip(*state["done"], strict=True))
    log_z, error, ess = mean_weight(log_weight)
    if ess < settings["min_ess"] * n:
        raise FitError(
            f"importance: only {ess:.0f} of {n} samples count: the posterior is too unlike a single bump. "
            "Use another sampler"
        )
    calls = n + state["round"] * int(settings["n_adapt"])
    return Draws(theta, log_likelihood, log_weight, log_z, error, calls, {"efficiency": 100 * ess / n})


def _keep(run: Run, state: dict[str, Any]) -> None:
    if run.checkpoint is not None:
        run.checkpoint.save(state | {"rng": run.rng.bit_generator.state})


def draw_weighted(
    problem: Problem, proposal: StudentMixture, n: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Draw θ (n, n_dim) from a proposal on the real line, with ln L and the logarithms of weights (n,)."""
    z, log_proposal = proposal.draw(n, rng)
    theta, log_likelihood, log_prior = evaluate(problem, z)
    log_weight = log_likelihood + log_prior - log_proposal
    return theta, log_likelihood, np.where(np.isnan(log_weight), -np.inf, log_weight)


def mean_weight(log_weight: Array) -> tuple[float, float, float]:
    """Return the logarithm of the mean weight, which is ln Z, its error, and the effective sample size."""
    top = np.max(log_weight)
    if not np.isfinite(top):
        raise FitError("importance: the posterior is zero at all samples")
    w = np.exp(log_weight - top)
    mean = float(w.mean())
    error = float(w.std(ddof=1) / math.sqrt(len(w)) / mean)
    return float(top) + math.log(mean), error, float(effective_size(log_weight))


def _adapt(problem: Problem, settings: dict[str, Any], run: Run, state: dict[str, Any]) -> None:
    """Draw from the proposal of a state, and put the next one in its place."""
    n = int(settings["n_adapt"])
    z, log_proposal = state["proposal"].draw(n, run.rng)
    _, log_likelihood, log_prior = evaluate(problem, z)
    beta, log_weight = _temper(log_likelihood + log_prior, log_proposal, _SPREAD * n)
    w = np.exp(log_weight - np.max(log_weight))
    w /= w.sum()
    center = w @ z
    covariance = (z - center).T @ ((z - center) * w[:, None]) * WIDEN
    state["proposal"] = StudentMixture.single(center, covariance, settings["dof"])
    state["round"] += 1
    state["good"] = state["good"] + 1 if beta >= 1 else 0
    _keep(run, state)


def _temper(log_target: Array, log_proposal: Array, size: float) -> tuple[float, Array]:
    """Return the largest exponent up to 1 of the weights at which enough of them count."""
    log_weight = np.where(np.isnan(log_target), -np.inf, log_target) - log_proposal
    finite = np.isfinite(log_weight)
    if finite.sum() < 4:
        raise FitError("importance: the posterior is zero at almost all samples of the prior")
    size = min(size, 0.5 * finite.sum())

    def weights(beta: float) -> Array:
        return np.where(finite, beta * np.where(finite, log_weight, 0.0), -np.inf)

    if effective_size(log_weight) >= size:
        return 1.0, log_weight
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective_size(weights(middle)) >= size else (low, middle)
    return low, weights(low)

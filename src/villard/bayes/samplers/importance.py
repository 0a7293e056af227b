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
from villard.bayes.samplers.real import evaluate, spread
from villard.exceptions import FitError

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

__all__ = ["fitted_evidence", "run"]

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {"n_samples": 20_000, "n_adapt": 2000, "rounds": 30, "dof": 6.0, "min_ess": 0.02}

#: Part of the adaptation's draws that the weights must be spread over.
_SPREAD = 0.1
#: Posteriors are narrower than the proposal by this factor of the covariance.
_WIDEN = 1.2


class _Proposal:
    """Multivariate t on the real line."""

    def __init__(self, center: Array, covariance: Array, dof: float) -> None:
        d = len(center)
        self.center, self.dof = center, dof
        jitter = 1e-10 * np.diag(np.maximum(np.diag(covariance), 1e-12))
        self._root = np.linalg.cholesky(covariance + jitter)
        self._log_norm = (
            math.lgamma(0.5 * (dof + d))
            - math.lgamma(0.5 * dof)
            - 0.5 * d * math.log(dof * math.pi)
            - float(np.sum(np.log(np.diag(self._root))))
        )

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return points and their log densities."""
        d = len(self.center)
        normal = rng.standard_normal((n, d)) / np.sqrt(rng.chisquare(self.dof, (n, 1)) / self.dof)
        log = self._log_norm - 0.5 * (self.dof + d) * np.log1p(np.sum(normal**2, axis=1) / self.dof)
        return self.center + normal @ self._root.T, log


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Adapt a proposal, and draw from it."""
    proposal, calls = _adapt(problem, settings, run)
    n = int(settings["n_samples"])
    state = None if run.checkpoint is None else run.checkpoint.load()
    if state is not None:
        proposal.center, proposal._root, proposal._log_norm = state["proposal"]
        run.rng.bit_generator.state = state["rng"]
    elif run.checkpoint is not None:
        kept = (proposal.center, proposal._root, proposal._log_norm)
        run.checkpoint.save({"proposal": kept, "rng": run.rng.bit_generator.state})
    z, log_proposal = proposal.draw(n, run.rng)
    theta, log_likelihood, log_prior = evaluate(problem, z)
    log_weight = log_likelihood + log_prior - log_proposal
    log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
    log_z, error, size = _evidence(log_weight)
    if size < settings["min_ess"] * n:
        raise FitError(
            f"importance: only {size:.0f} of {n} samples count: the posterior is too unlike a single bump. "
            "Use another sampler"
        )
    return Draws(theta, log_likelihood, log_weight, log_z, error, calls + n, {"efficiency": 100 * size / n})


def _evidence(log_weight: Array) -> tuple[float, float, float]:
    top = np.max(log_weight)
    if not np.isfinite(top):
        raise FitError("importance: the posterior is zero at all samples")
    w = np.exp(log_weight - top)
    mean = float(w.mean())
    error = float(w.std(ddof=1) / math.sqrt(len(w)) / mean)
    return float(top) + math.log(mean), error, float(effective_size(log_weight))


def _adapt(problem: Problem, settings: dict[str, Any], run: Run) -> tuple[_Proposal, int]:
    n, d = int(settings["n_adapt"]), problem.n_dim
    # The logistic distribution of the unit cube has the variance pi²/3.
    proposal = _Proposal(np.zeros(d), np.eye(d) * math.pi**2 / 3, settings["dof"])
    calls, good = 0, 0
    with run.bar(int(settings["rounds"]), "importance: adapting") as bar:
        for _ in range(int(settings["rounds"])):
            z, log_proposal = proposal.draw(n, run.rng)
            _, log_likelihood, log_prior = evaluate(problem, z)
            calls += n
            log_target = log_likelihood + log_prior
            beta, log_weight = _temper(log_target, log_proposal, _SPREAD * n)
            w = np.exp(log_weight - np.max(log_weight))
            w /= w.sum()
            center = w @ z
            covariance = (z - center).T @ ((z - center) * w[:, None]) * _WIDEN
            proposal = _Proposal(center, np.atleast_2d(covariance), settings["dof"])
            bar.advance()
            good = good + 1 if beta >= 1 else 0
            if good >= 4:
                break
        bar.advance(bar.total)
    return proposal, calls


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


def fitted_evidence(
    problem: Problem, z: Array, rng: np.random.Generator, n: int = 20_000, weights: Array | None = None
) -> tuple[float, float]:
    """Return ln Z and its error by importance sampling from samples' mean and covariance.

    Parameters
    ----------
    problem : `~villard.bayes.Problem`
        Posterior.
    z : array
        Samples on the real line, shape (n_samples, n_dim).
    rng : `~numpy.random.Generator`
        Random numbers.
    n : int
        Number of draws.
    weights : array, optional
        Weights of the samples.
    """
    w = np.full(len(z), 1 / len(z)) if weights is None else weights / np.sum(weights)
    center = w @ z
    covariance = (z - center).T @ ((z - center) * w[:, None]) * _WIDEN
    proposal = _Proposal(center, np.atleast_2d(covariance), 6.0)
    points, log_proposal = proposal.draw(n, rng)
    _, log_likelihood, log_prior = evaluate(problem, points)
    log_weight = log_likelihood + log_prior - log_proposal
    return _evidence(np.where(np.isnan(log_weight), -np.inf, log_weight))[:2]


def start_points(n: int, d: int, rng: np.random.Generator) -> Array:
    """Return points spread as the unit cube is on the real line."""
    return spread(n, d, rng)

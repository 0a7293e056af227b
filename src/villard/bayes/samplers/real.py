"""What samplers on the real line share: starts, chunks, evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

__all__ = ["evaluate", "find_mode", "spread"]

Array = NDArray[np.float64]


def evaluate(problem: Problem, z: Array) -> tuple[Array, Array, Array]:
    """Return θ (n, n_dim), ln L (n,) and ln p on the real line (n,) of points (n, n_dim)."""
    packed = problem.in_chunks(problem.kernels.real_many, np.atleast_2d(z))
    n = problem.n_dim
    return packed[:, :n], packed[:, n], packed[:, n + 1]


def spread(n: int, n_dim: int, rng: np.random.Generator, scale: float = 1.6) -> Array:
    """Return points that are spread about as widely as priors are on the real line, (n, n_dim)."""
    u = rng.random((n, n_dim))
    return np.asarray(scale / 1.6 * np.log(u / (1 - u)))


def find_mode(problem: Problem, rng: np.random.Generator, n: int = 1024) -> tuple[Array, Array]:
    """Return the highest point on the real line that is found, and the covariance around it.

    Points of the prior, then a Gaussian that is moved and narrowed five times (the cross-entropy method):
    needs no derivatives.
    """
    d = problem.n_dim
    z = spread(n, d, rng)
    best, best_value = z[0], -np.inf
    covariance = np.eye(d)
    center = np.zeros(d)
    for _ in range(12):
        _, log_likelihood, log_prior = evaluate(problem, z)
        value = np.nan_to_num(log_likelihood + log_prior, nan=-np.inf)
        order = np.argsort(-value)[: max(n // 10, 2 * d + 2)]
        order = order[np.isfinite(value[order])]
        if len(order) <= d + 1:
            z = spread(n, d, rng)
            continue
        if value[order[0]] > best_value:
            best, best_value = z[order[0]], value[order[0]]
        center = z[order].mean(axis=0)
        covariance = np.atleast_2d(np.cov(z[order].T)) + 1e-12 * np.eye(d)
        # The points that are kept are a tenth: narrower than what they were drawn from.
        z = rng.multivariate_normal(center, 1.5 * covariance, size=n)
    return best, covariance

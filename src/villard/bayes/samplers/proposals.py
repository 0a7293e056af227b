"""Distributions to draw from in importance sampling, and how far their weights can be trusted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["StudentMixture", "fit_mixture", "pareto_shape"]

Array = NDArray[np.float64]

#: Posteriors are narrower than the proposal by this factor of the covariance.
WIDEN = 1.2
#: A further component must raise the mean log density of points that weren't fitted by this.
_GAIN = 0.05


class StudentMixture:
    """Mixture of multivariate Student's t.

    Parameters
    ----------
    parts : array
        Parts of the components, shape (n,).
    centers : array
        Shape (n, d).
    covariances : array
        Scale matrices, shape (n, d, d).
    dof : float
        Degrees of freedom.
    """

    def __init__(self, parts: Array, centers: Array, covariances: Array, dof: float) -> None:
        self.parts, self.centers, self.dof = parts / np.sum(parts), centers, dof
        d = centers.shape[1]
        diagonal = np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 1e-12)
        self._roots = np.linalg.cholesky(covariances + 1e-10 * diagonal[:, None, :] * np.eye(d))
        log_roots = np.sum(np.log(np.diagonal(self._roots, axis1=1, axis2=2)), axis=1)
        self._log_norms = (
            math.lgamma(0.5 * (dof + d))
            - math.lgamma(0.5 * dof)
            - 0.5 * d * math.log(dof * math.pi)
            - log_roots
        )

    @classmethod
    def single(cls, center: Array, covariance: Array, dof: float) -> StudentMixture:
        """Make one component."""
        return cls(np.ones(1), center[None], np.atleast_2d(covariance)[None], dof)

    def log_density(self, z: Array) -> Array:
        """Return ln p of points (n, d)."""
        d = z.shape[1]
        logs = []
        for part, center, root, norm in zip(
            self.parts, self.centers, self._roots, self._log_norms, strict=True
        ):
            away = np.linalg.solve(root, (z - center).T)
            log = norm - 0.5 * (self.dof + d) * np.log1p(np.sum(away**2, axis=0) / self.dof)
            logs.append(log + math.log(part))
        return np.asarray(np.logaddexp.reduce(logs, axis=0))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return points (n, d) and their log densities."""
        d = self.centers.shape[1]
        normal = rng.standard_normal((n, d)) / np.sqrt(rng.chisquare(self.dof, (n, 1)) / self.dof)
        # As many of each component as are expected, to within one.
        upper = np.cumsum(self.parts)
        which = np.minimum(np.searchsorted(upper, (np.arange(n) + rng.random()) / n), len(upper) - 1)
        z = self.centers[which] + np.einsum("nij,nj->ni", self._roots[which], normal)
        return z, self.log_density(z)


def fit_mixture(
    z: Array, rng: np.random.Generator, dof: float = 6.0, most: int = 8, steps: int = 40
) -> StudentMixture:
    """Fit a mixture to samples of equal weight, with as many components as they call for.

    Expectation maximisation for Gaussians (Dempster, Laird & Rubin 1977), on two thirds of the samples, with
    1, 2, 4, … components, while the other third gets likelier. Tails are then made wider.

    Parameters
    ----------
    z : array
        Samples, shape (n, d).
    rng : `~numpy.random.Generator`
        Random numbers.
    dof : float
        Degrees of freedom of the result.
    most : int
        Largest number of components.
    steps : int
        Iterations.
    """
    n, d = z.shape
    center, covariance = z.mean(axis=0), np.atleast_2d(np.cov(z.T, bias=True)) + 1e-12 * np.eye(d)
    order = rng.permutation(n)
    fitted, others = z[order[: 2 * n // 3]], z[order[2 * n // 3 :]]
    best = np.ones(1), center[None], covariance[None]
    score, number = -np.inf, 1
    while number <= most and len(fitted) >= 10 * number * d:
        trial = _maximise(fitted, number, covariance, rng, steps)
        value = float(np.mean(np.logaddexp.reduce(_log_gaussians(others, *trial), axis=0)))
        if not value > score + _GAIN:
            break
        best, score, number = trial, value, 2 * number
    parts, centers, covariances = best
    return StudentMixture(parts, centers, covariances * WIDEN, dof)


def _log_gaussians(z: Array, parts: Array, centers: Array, covariances: Array) -> Array:
    """ln of part times density, shape (n_components, n)."""
    roots = np.linalg.cholesky(covariances)
    logs = []
    for part, center, root in zip(parts, centers, roots, strict=True):
        away = np.linalg.solve(root, (z - center).T)
        norm = math.log(part) - np.sum(np.log(np.diag(root))) - 0.5 * len(center) * math.log(2 * math.pi)
        logs.append(norm - 0.5 * np.sum(away**2, axis=0))
    return np.array(logs)


def _maximise(
    z: Array, number: int, pooled: Array, rng: np.random.Generator, steps: int
) -> tuple[Array, Array, Array]:
    n, d = z.shape
    # Far apart from each other, by the distance to the nearest that was chosen.
    scale = np.sqrt(np.diag(pooled))
    centers = z[rng.integers(n)][None]
    while len(centers) < number:
        away = np.min(np.sum(((z[:, None] - centers) / scale) ** 2, axis=2), axis=1)
        centers = np.vstack([centers, z[rng.choice(n, p=away / away.sum())] if away.sum() > 0 else z[0]])
    parts, covariances = np.full(number, 1 / number), np.repeat(pooled[None], number, axis=0)
    for _ in range(1 if number == 1 else steps):
        logs = _log_gaussians(z, parts, centers, covariances)
        shares = np.exp(logs - np.logaddexp.reduce(logs, axis=0))
        sizes = shares.sum(axis=1)
        parts = np.maximum(sizes / n, 1e-6)
        centers = (shares @ z) / np.maximum(sizes, 1e-12)[:, None]
        for k in range(number):
            x = z - centers[k]
            # Shrunk towards the covariance of all, as if some of its points were of the component.
            covariances[k] = (x.T @ (x * shares[k][:, None]) + d * pooled / number) / (sizes[k] + d)
    return parts, centers, covariances


def pareto_shape(log_weight: Array) -> float:
    r"""Return the shape :math:`\hat k` of the tail of importance weights.

    The largest weights are fitted with a generalised Pareto distribution (Zhang & Stephens 2009,
    Technometrics 51, 316). Below 0.7 means can be trusted; above, their errors can't (Vehtari et al. 2024,
    JMLR 25, 72).

    Parameters
    ----------
    log_weight : array
        Logarithms of weights.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bool(pareto_shape(rng.normal(size=4000)) < 0.5), bool(pareto_shape(rng.exponential(size=4000)) > 0.8)
    (True, True)
    """
    log = np.sort(log_weight[np.isfinite(log_weight)])
    m = min(len(log) // 5, int(3 * math.sqrt(len(log))))
    if m < 5:
        return math.inf
    x = np.exp(log[-m:] - log[-1]) - math.exp(log[-m - 1] - log[-1])
    if not x[-1] > 0 or not x[m // 4] > 0:
        return 0.0
    rows = np.arange(1, 31 + int(math.sqrt(m)))
    b = (1 - np.sqrt(len(rows) / (rows - 0.5))) / (3 * x[int(m / 4 + 0.5) - 1]) + 1 / x[-1]
    shape = np.mean(np.log1p(-b[:, None] * x), axis=1)
    log_likelihood = m * (np.log(-b / shape) - shape - 1)
    weight = np.exp(log_likelihood - np.logaddexp.reduce(log_likelihood))
    k = float(np.mean(np.log1p(-float(weight @ b) * x)))
    # A weak prior around 0.5, worth ten weights.
    return (m * k + 10 * 0.5) / (m + 10)

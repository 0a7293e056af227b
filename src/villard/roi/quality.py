"""What the exact derivatives say about the point where a fit ended: its quality, and what spoils it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.modeling.curvature import at_limits, invert_hessian

__all__ = ["Assessment", "assess", "correlation_of", "degenerate_pairs"]

Array = NDArray[np.float64]

#: Absolute correlation of two normalisations beyond which their sources are called degenerate.
_DEGENERATE = 0.99
#: Smallest eigenvalue of the scaled Hessian, relative to the largest, below which it is a saddle.
_SADDLE = -1e-6


@dataclass
class Assessment:
    """The end of a fit.

    Parameters
    ----------
    quality : int
        3: converged and the exact Hessian is positive definite on the parameters away from their
        limits; 2: converged, and forced positive definite; 1: only its diagonal is; 0: not converged.
    edm : float
        Estimated distance to the maximum, in ln L.
    message : str
        What it is, in a sentence.
    covariance : array
        Covariance of the scaled parameters, 0 for those that are held; shape (n_free, n_free).
    at_limit, idle : array of bool
        Which parameters are at a limit, and which change nothing because their source has no flux.
    hessian : array
        Hessian of -2 ln L, shape (n_free, n_free).
    pairs : list of tuple
        Names of two sources that can't be told apart, and the correlation of their normalisations.
    """

    quality: int
    edm: float
    message: str
    covariance: Array
    at_limit: NDArray[np.bool_]
    idle: NDArray[np.bool_]
    hessian: Array
    pairs: list[tuple[str, str, float]] = field(default_factory=list)


def assess(likelihood: Any, theta: Array, names: list[str], tol: float) -> Assessment:
    """Judge where a fit ended.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood.
    theta : array
        Scaled parameters, shape (n_free,).
    names : list of str
        Names of the free parameters, for messages.
    tol : float
        Largest estimated distance to the maximum in ln L that is converged.

    Returns
    -------
    `Assessment`
        Quality, covariance and messages.
    """
    nothing = np.zeros(likelihood.n_free, dtype=bool)
    empty = np.zeros((likelihood.n_free,) * 2)
    if not np.all(np.isfinite(theta)):
        return Assessment(
            0, np.inf, "The fit ended at values that aren't finite.", empty, nothing, nothing, empty
        )
    _, gradient, hessian = likelihood.derivatives(theta)
    if not (np.all(np.isfinite(hessian)) and np.all(np.isfinite(gradient))):
        text = "The derivatives of the likelihood aren't finite where the fit ended."
        return Assessment(0, np.inf, text, empty, nothing, nothing, hessian)
    limited = at_limits(likelihood, theta)
    # The shape of a source without flux.
    size = np.max(np.abs(hessian[:, ~limited]), axis=1, initial=0.0)
    idle = ~limited & (size <= 1e-12 * float(size.max(initial=0.0))) & (gradient == 0)
    moving = ~limited & ~idle
    edm, positive = _distance(hessian[np.ix_(moving, moving)], gradient[moving])
    inner = [name for name, is_free in zip(names, moving, strict=True) if is_free]
    covariance = np.zeros_like(hessian)
    if inner:
        inverse, quality, message = invert_hessian(hessian[np.ix_(moving, moving)], inner)
        covariance[np.ix_(moving, moving)] = 2 * inverse
    else:
        quality, message = 3, "All parameters are at a limit."
    if not edm <= tol:
        quality, message = 0, f"Not converged: ln L is estimated to be {edm:.3g} below its maximum."
    elif not positive:
        quality, message = 0, "Not converged: the likelihood has a saddle there."
    return Assessment(quality, edm, message, covariance, limited, idle, hessian)


def _distance(hessian: Array, gradient: Array) -> tuple[float, bool]:
    """Return the estimated distance in ln L, and whether no direction has a negative curvature."""
    if not len(gradient):
        return 0.0, True
    scale = np.sqrt(np.abs(np.diag(hessian)))
    scale[scale == 0] = 1.0
    eigenvalues, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    largest = max(float(np.max(np.abs(eigenvalues))), 1e-300)
    projected = vectors.T @ (gradient / scale)
    distance = 0.25 * float(np.sum(projected**2 / np.maximum(np.abs(eigenvalues), 1e-9 * largest)))
    return distance, bool(eigenvalues[0] > _SADDLE * largest)


def correlation_of(covariance: Array) -> Array:
    """Return the correlation matrix of a covariance; 0 beside a parameter without error, 1 on the diagonal.

    Examples
    --------
    >>> correlation_of(np.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    errors = np.sqrt(np.clip(np.diag(covariance), 0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.nan_to_num(covariance / np.outer(errors, errors), posinf=0.0, neginf=0.0)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def degenerate_pairs(covariance: Array, owners: list[str], is_norm: Any) -> list[tuple[str, str, float]]:
    """Return pairs of sources whose normalisations the data hardly tell apart.

    Parameters
    ----------
    covariance : array
        Covariance, shape (n, n).
    owners : list of str
        Source of each parameter.
    is_norm : array of bool
        Which parameters are normalisations.

    Returns
    -------
    list of tuple
        Two names and the correlation, the strongest first.
    """
    norms = np.flatnonzero(np.asarray(is_norm, dtype=bool) & (np.diag(covariance) > 0))
    correlation = correlation_of(covariance)
    pairs = [
        (owners[i], owners[j], float(correlation[i, j]))
        for k, i in enumerate(norms)
        for j in norms[k + 1 :]
        if owners[i] != owners[j] and abs(correlation[i, j]) > _DEGENERATE
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))

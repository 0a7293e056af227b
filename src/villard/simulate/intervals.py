"""Errors, pulls and coverage of many fits: plain functions of arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["at_limits", "binomial_error", "chi2_level", "covariances", "mean_and_width"]

Array = NDArray[np.float64]


def at_limits(theta: Array, bounds: tuple[Array, Array]) -> NDArray[np.bool_]:
    """Return which parameters ended at a limit, shape (n_toys, n_free)."""
    lower, upper = bounds
    slack = 1e-8 * np.maximum(np.abs(theta), 1e-3)
    return (theta - lower <= slack) | (upper - theta <= slack)


def covariances(hessian: Array, held: NDArray[np.bool_]) -> Array:
    """Return 2 H⁻¹ of each toy, where it is a covariance.

    Parameters
    ----------
    hessian : array
        Hessians of -2 ln L, shape (n_toys, n, n).
    held : array of bool
        Parameters without error because they are at a limit, shape (n_toys, n).

    Returns
    -------
    array
        Covariances, shape (n_toys, n, n). NaN in rows and columns of held parameters, and
        everywhere for toys whose Hessian isn't positive definite.

    Examples
    --------
    >>> covariances(np.array([[[4.0]]]), np.array([[False]])).tolist()
    [[[0.5]]]
    """
    n = hessian.shape[-1]
    if n == 0:
        return hessian
    free = ~held[:, :, np.newaxis] & ~held[:, np.newaxis, :]
    diagonal = np.einsum("tii->ti", hessian)
    scale = np.sqrt(np.where(held | ~(diagonal > 0), 1.0, diagonal))
    scaled = np.where(free, hessian / scale[:, :, np.newaxis] / scale[:, np.newaxis, :], 0.0)
    scaled = scaled + np.eye(n) * held[:, :, np.newaxis]
    result = np.full(hessian.shape, np.nan)
    finite = np.all(np.isfinite(scaled), axis=(1, 2))
    eigenvalues = np.full(held.shape, -1.0)
    eigenvalues[finite] = np.linalg.eigvalsh(scaled[finite])
    definite = eigenvalues[:, 0] > 1e-14 * np.abs(eigenvalues[:, -1])
    inverse = 2 * np.linalg.inv(scaled[definite])
    result[definite] = inverse / scale[definite, :, np.newaxis] / scale[definite, np.newaxis, :]
    return np.where(free, result, np.nan)


def mean_and_width(pulls: Array) -> dict[str, Array]:
    """Return mean and standard deviation of columns with their own errors, without NaN.

    The error of the width is that of a Gaussian sample, σ / √(2 (n - 1)).

    Parameters
    ----------
    pulls : array
        Shape (n_toys, n); a column with fewer than two numbers gives NaN.

    Returns
    -------
    dict of str to array
        ``mean``, ``mean_err``, ``width``, ``width_err`` and ``n``, each of shape (n,).
    """
    n = np.sum(np.isfinite(pulls), axis=0)
    enough = np.where(n > 1, n, np.nan)
    values = np.nan_to_num(pulls)
    mean = values.sum(axis=0) / enough
    width = np.sqrt(np.sum(np.where(np.isfinite(pulls), (values - mean) ** 2, 0), axis=0) / (enough - 1))
    return {
        "mean": mean,
        "mean_err": width / np.sqrt(enough),
        "width": width,
        "width_err": width / np.sqrt(2 * (enough - 1)),
        "n": n,
    }


def binomial_error(probability: Any, n: Any) -> Any:
    """Return the standard deviation of the observed share of n trials."""
    probability, n = np.asarray(probability, dtype=float), np.asarray(n)
    return np.sqrt(probability * (1 - probability) / np.where(n > 0, n, np.nan))


def chi2_level(level: Any, n_dof: int) -> Any:
    """Return the rise of -2 ln L that encloses a probability, for this many parameters.

    Examples
    --------
    >>> float(chi2_level(0.95, 1).round(3))
    3.841
    """
    from scipy.special import gammaincinv

    return 2 * gammaincinv(n_dof / 2, np.asarray(level, dtype=float))

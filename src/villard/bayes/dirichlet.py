r"""Dirichlet distributions by breaking a stick: weights as a function of the unit cube.

The first piece of a stick of length 1 is a fraction :math:`v_1 \sim \mathrm{Beta}(\alpha_1, \alpha_2 +
\dots + \alpha_n)` of it, the second one a fraction :math:`v_2 \sim \mathrm{Beta}(\alpha_2, \alpha_3 +
\dots)` of the rest, and so on (Sethuraman 1994, Statistica Sinica 4, 639; Connor & Mosimann 1969, JASA 64,
194). With the fractions from the quantile functions, the weights are a smooth function of n - 1 coordinates
in (0, 1): a sampler that moves by a little gets weights that differ by a little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ParameterError
from villard.utils.array import namespace, special

__all__ = ["break_stick", "check_alpha", "log_dirichlet", "stick_breaking", "sticks"]

Array = NDArray[np.float64]


def check_alpha(alpha: Any, n: int, where: str) -> Array:
    """Return the n concentrations of a Dirichlet distribution, given all or one for all.

    Raises
    ------
    ParameterError
        If they aren't positive numbers, or of another number.
    """
    try:
        values = np.asarray(alpha, dtype=float)
    except (TypeError, ValueError):
        values = np.full(n + 1, np.nan)
    if values.ndim == 0:
        values = np.full(n, float(values))
    if values.shape != (n,) or not np.all((values > 0) & np.isfinite(values)):
        raise ParameterError(f"{where}: expected {n} positive concentrations, or one, found {alpha!r}")
    return values


def stick_breaking(u: Any, alpha: Any) -> Array:
    """Turn points of the unit cube into weights with a Dirichlet distribution.

    Parameters
    ----------
    u : array
        Coordinates in [0, 1], shape (..., n - 1).
    alpha : array
        Concentrations, shape (n,).

    Returns
    -------
    array
        Weights that sum to 1, shape (..., n).

    Examples
    --------
    >>> stick_breaking([0.5], [1.0, 1.0])
    array([0.5, 0.5])
    >>> stick_breaking([0.19, 0.2], [1.0, 1.0, 1.0]).round(3)
    array([0.1 , 0.18, 0.72])
    """
    alpha = np.asarray(alpha, dtype=float)
    return np.asarray(break_stick(fractions(np.asarray(u, dtype=float), alpha)))


def rests(alpha: Array) -> Array:
    """Return the sums of the concentrations that come after each but the last, shape (n - 1,)."""
    return np.cumsum(alpha[::-1])[::-1][1:]


def fractions(u: Array, alpha: Array) -> Array:
    """Return the fractions that are broken off, by the quantile functions of the Beta distributions."""
    if np.all(alpha == 1):
        return -np.expm1(np.log1p(-np.minimum(u, 1 - 1e-16)) / rests(alpha))
    from scipy.special import betaincinv

    return np.asarray(betaincinv(alpha[:-1], rests(alpha), u))


def break_stick(v: Any) -> Any:
    """Return the pieces of a stick from the fractions that are broken off, shape (..., n)."""
    xp = namespace(v)
    left = xp.cumprod(1 - v, axis=-1)
    one = xp.ones(v.shape[:-1] + (1,))
    return xp.concatenate([v, one], axis=-1) * xp.concatenate([one, left], axis=-1)


def sticks(weights: Any) -> Any:
    """Return the fractions that are broken off to get weights: the inverse of `break_stick`."""
    xp = namespace(weights)
    before = xp.cumsum(weights, axis=-1)[..., :-1] - weights[..., :-1]
    return weights[..., :-1] / xp.maximum(1 - before, 1e-300)


def log_dirichlet(weights: Any, alpha: Any) -> Any:
    """Return the logarithm of the Dirichlet density of weights, by all of them but the last.

    Parameters
    ----------
    weights : array
        Weights, shape (..., n); minus infinity where one is negative.
    alpha : array
        Concentrations, shape (n,).

    Examples
    --------
    >>> float(log_dirichlet(np.array([0.2, 0.3, 0.5]), np.ones(3)).round(6))
    0.693147
    """
    xp = namespace(weights, alpha)
    inside = xp.all(weights >= 0, axis=-1)
    power = xp.asarray(alpha) - 1
    safe = xp.where(weights > 0, weights, 1.0)
    log = xp.where(weights > 0, xp.log(safe), xp.where(power > 0, -xp.inf, xp.where(power < 0, xp.inf, 0.0)))
    terms = xp.where(power == 0, 0.0, power * xp.where(xp.isfinite(log), log, 0.0))
    terms = xp.where((power != 0) & ~xp.isfinite(log), log, terms)
    gammaln = special(xp).gammaln
    norm = gammaln(xp.sum(power + 1)) - xp.sum(gammaln(power + 1))
    return xp.where(inside, xp.sum(terms, axis=-1) + norm, -xp.inf)

"""Statistics of weighted samples and of chains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["autocorrelation_time", "effective_size", "gelman_rubin", "shortest_interval", "weighted_quantile"]

Array = NDArray[np.float64]


def weighted_quantile(values: Array, weights: Array, q: Any) -> Any:
    """Return quantiles of weighted samples, interpolated between the middles of their steps.

    Examples
    --------
    >>> float(weighted_quantile(np.array([3.0, 1.0, 2.0]), np.ones(3), 0.5))
    2.0
    """
    order = np.argsort(values)
    x, w = values[order], weights[order]
    kept = w > 0
    x, w = x[kept], w[kept]
    middle = np.cumsum(w) - 0.5 * w
    return np.interp(q, middle / w.sum(), x)


def shortest_interval(values: Array, weights: Array, probability: float) -> tuple[float, float]:
    """Return the shortest interval that holds a probability.

    Examples
    --------
    >>> shortest_interval(np.array([0.0, 1.0, 1.1, 1.2, 5.0]), np.ones(5), 0.6)
    (1.0, 1.2)
    """
    order = np.argsort(values)
    x, w = values[order], weights[order] / np.sum(weights)
    upper = np.cumsum(w)
    lower = upper - w
    # For each left end the first right end that holds enough.
    end = np.searchsorted(upper, lower + probability * (1 - 1e-12), side="left")
    good = end < len(x)
    if not np.any(good):
        return float(x[0]), float(x[-1])
    widths = np.where(good, x[np.minimum(end, len(x) - 1)] - x, np.inf)
    i = int(np.argmin(widths))
    return float(x[i]), float(x[end[i]])


def autocorrelation_time(chains: Array) -> float:
    """Return the integrated autocorrelation time of chains (n_chains, n), by Sokal's window.

    Sokal 1996, "Monte Carlo methods in statistical mechanics": the sum ends where it is five times shorter
    than the window.
    """
    n = chains.shape[1]
    away = chains - chains.mean()
    size = 2 ** (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(away, size, axis=1)) ** 2
    function = np.fft.irfft(power, size, axis=1)[:, :n].mean(axis=0)
    if function[0] <= 0:
        return 1.0
    tau = 2 * np.cumsum(function / function[0]) - 1
    window = np.flatnonzero(np.arange(n) >= 5 * tau)
    return float(max(tau[window[0] if len(window) else -1], 1.0))


def effective_size(samples: Array, weights: Array, chains: int) -> float:
    """Return the effective size: Kish's of weights, or that of the slowest parameter of chains."""
    if chains > 1:
        n = len(samples)
        shaped = samples.reshape(chains, -1, samples.shape[1])
        return n / max(autocorrelation_time(shaped[:, :, i]) for i in range(samples.shape[1]))
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def gelman_rubin(chains: Array) -> float:
    """Return split R̂ of chains (n_chains, n): Gelman et al. 2013, Bayesian Data Analysis, eq. 11.4.

    Examples
    --------
    >>> gelman_rubin(np.random.default_rng(0).normal(size=(4, 1000))) < 1.01
    True
    """
    n = chains.shape[1] // 2
    halves = np.concatenate([chains[:, :n], chains[:, n : 2 * n]])
    within = halves.var(axis=1, ddof=1).mean()
    between = halves.mean(axis=1).var(ddof=1)
    return float(np.sqrt((n - 1) / n + between / within)) if within > 0 else 1.0

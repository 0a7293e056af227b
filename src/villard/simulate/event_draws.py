"""Random numbers from tabulated densities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["EnergyDensity", "draw_index"]

Array = NDArray[np.float64]


class EnergyDensity:
    """A density of energy, a power law between each two of its nodes.

    Parameters
    ----------
    energy : array
        Energies (TeV), increasing, shape (n,).
    density : array
        Density (TeV-1, times anything), not negative. Where one of two neighbours is zero it is constant in
        the logarithm of energy between them, with the mean of both.

    Examples
    --------
    >>> density = EnergyDensity(np.array([1.0, 10.0]), np.array([1.0, 0.01]))
    >>> round(density.total, 6)
    0.9
    """

    def __init__(self, energy: Array, density: Array) -> None:
        self._x = np.log(energy)
        value = density * energy
        low, high = value[:-1], value[1:]
        good = (low > 0) & (high > 0)
        self._slope = np.where(good, np.log(np.where(good, high, 1.0) / np.where(good, low, 1.0)), 0.0)
        small = np.abs(self._slope) < 1e-9
        mean = np.where(small, 1.0, np.expm1(self._slope) / np.where(small, 1.0, self._slope))
        self.parts = np.diff(self._x) * np.where(good, low * mean, 0.5 * (low + high))
        self._cumulative = np.cumsum(self.parts)

    @property
    def total(self) -> float:
        """Integral."""
        return float(self._cumulative[-1])

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw energies (TeV), shape (n,)."""
        return self.at(rng.random(n))

    def at(self, quantile: Array) -> Array:
        """Return the energies (TeV) below which parts of the integral lie."""
        target = quantile * self._cumulative[-1]
        k = np.minimum(np.searchsorted(self._cumulative, target, side="right"), len(self.parts) - 1)
        part = self.parts[k]
        below = np.divide(target - self._cumulative[k] + part, part, out=np.zeros(len(k)), where=part > 0)
        below, slope = np.clip(below, 0.0, 1.0), self._slope[k]
        small = np.abs(slope) < 1e-9
        safe = np.where(small, 1.0, slope)
        step = np.where(small, below, np.log1p(below * np.expm1(safe)) / safe)
        return np.asarray(np.exp(self._x[k] + step * (self._x[k + 1] - self._x[k])))


def draw_index(cumulative: Array, random: Array) -> NDArray[np.intp]:
    """Draw indices with probabilities proportional to the steps of a cumulative sum.

    Parameters
    ----------
    cumulative : array
        Cumulative sum of weights, shape (n,).
    random : array
        Uniform numbers between 0 and 1.
    """
    index = np.searchsorted(cumulative, random * cumulative[-1], side="right")
    return np.minimum(index, len(cumulative) - 1)

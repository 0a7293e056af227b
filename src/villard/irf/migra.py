"""Tables of migra = E / E_true, and the matrices that they make."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError

__all__ = ["gauss_table", "kernel_matrices"]

Array = NDArray[np.float64]


def gauss_table(edges: Array, sigma: ArrayLike, bias: ArrayLike, n_energies: int) -> Array:
    """Return the mean density of a Gaussian in bins of migra.

    Parameters
    ----------
    edges : `~numpy.ndarray`
        Edges of migra, shape (n_migra + 1,).
    sigma, bias : float or array-like
        Width, and mean less 1, the same or one per energy.
    n_energies : int
        Number of energies.

    Returns
    -------
    `~numpy.ndarray`
        Density, shape (n_energies, n_migra).
    """
    from scipy.special import ndtr

    widths, means = (np.asarray(value, dtype=float) for value in (sigma, bias))
    for name, values in (("sigma", widths), ("bias", means)):
        if values.shape not in {(), (n_energies,)} or not np.all(np.isfinite(values)):
            raise DataError(
                f"EDispMap: expected {name} as a number, or one for each of {n_energies} energies, "
                f"found {values}"
            )
    if np.any(widths <= 0):
        raise DataError(f"EDispMap: expected a positive sigma, found {widths.min()}")
    scale, shift = (np.broadcast_to(value, (n_energies,))[:, np.newaxis] for value in (widths, means))
    t = (edges - 1 - shift) / scale
    # Above the mean the difference of the upper tails keeps the digits.
    upper = t[:, :-1] > 0
    part = np.where(upper, ndtr(-t[:, :-1]) - ndtr(-t[:, 1:]), ndtr(t[:, 1:]) - ndtr(t[:, :-1]))
    return np.asarray(part / np.diff(edges))


def kernel_matrices(density: Array, migra_edges: Array, energy_true: Array, energy_edges: Array) -> Array:
    """Integrate densities of migra over bins of reconstructed energy.

    Parameters
    ----------
    density : `~numpy.ndarray`
        Density, shape (n_energy_true, n_migra, n).
    migra_edges : `~numpy.ndarray`
        Edges, shape (n_migra + 1,).
    energy_true, energy_edges : `~numpy.ndarray`
        True energies, shape (n_energy_true,), and edges of reconstructed energy in the same unit.

    Returns
    -------
    `~numpy.ndarray`
        Probabilities, shape (n_energy_true, n_energy, n).
    """
    density = np.asarray(density, dtype=float)
    steps = density * np.diff(migra_edges)[:, np.newaxis]
    total = np.cumsum(np.pad(steps, [(0, 0), (1, 0), (0, 0)]), axis=1)
    result = np.empty((len(energy_true), len(energy_edges) - 1, density.shape[2]))
    for i, energy in enumerate(energy_true):
        migra = np.clip(energy_edges / energy, migra_edges[0], migra_edges[-1])
        idx = np.clip(np.searchsorted(migra_edges, migra, side="right") - 1, 0, len(migra_edges) - 2)
        at = total[i, idx] + density[i, idx] * (migra - migra_edges[idx])[:, np.newaxis]
        # A sum that rises can't fall by more than rounding.
        result[i] = np.maximum(np.diff(at, axis=0), 0.0)
    return result

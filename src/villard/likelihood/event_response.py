"""Responses at events: densities of reconstructed energy, and values of a map at directions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MigraDensity", "cell_weights", "energy_nodes", "node_weights"]

Array = NDArray[np.float64]

#: Points at which responses are averaged over a bin of true energy.
_POINTS = 4


def energy_nodes(edges: Array) -> tuple[Array, Array]:
    """Return points in bins of true energy, and their shares in a spectrum that falls as E⁻².

    Parameters
    ----------
    edges : array
        Edges in TeV, shape (n + 1,).

    Returns
    -------
    array, array
        Energies in TeV and shares that sum to 1 in each bin, shape (n, n_points).
    """
    x, w = np.polynomial.legendre.leggauss(_POINTS)
    low, high = np.log(edges[:-1, None]), np.log(edges[1:, None])
    energy = np.exp(low + 0.5 * (high - low) * (x + 1))
    shares = w / energy
    return energy, shares / shares.sum(axis=1, keepdims=True)


class MigraDensity:
    """Probability density of E / E_true: linear between the centres of bins, with an integral of exactly 1.

    Parameters
    ----------
    edges : array
        Edges of the bins of migra, shape (n_migra + 1,).
    values : array
        Densities in them, shape (n_true, n_migra); those that are zero everywhere stay so.
    """

    def __init__(self, edges: Array, values: Array) -> None:
        center = 0.5 * (edges[1:] + edges[:-1])
        # Flat from the outermost centres to the edges.
        self._x = np.concatenate([edges[:1], center, edges[-1:]])
        y = np.concatenate([values[:, :1], values, values[:, -1:]], axis=1)
        steps = 0.5 * (y[:, 1:] + y[:, :-1]) * np.diff(self._x)
        total = steps.sum(axis=1, keepdims=True)
        scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        self._y = y * scale
        self._sum = np.concatenate([np.zeros_like(total), np.cumsum(steps * scale, axis=1)], axis=1)

    def repeated(self, n: int) -> "MigraDensity":
        """Return the same with each true energy ``n`` times."""
        new = MigraDensity.__new__(MigraDensity)
        new._x, new._y, new._sum = self._x, np.repeat(self._y, n, axis=0), np.repeat(self._sum, n, axis=0)
        return new

    def density(self, row: int, migra: Array) -> Array:
        """Return densities; zero beyond the table."""
        return np.interp(migra, self._x, self._y[row], left=0.0, right=0.0)

    def below(self, row: int, migra: Array) -> Array:
        """Return probabilities of smaller values."""
        x, y = self._x, self._y[row]
        migra = np.clip(migra, x[0], x[-1])
        i = np.clip(np.searchsorted(x, migra, side="right") - 1, 0, len(x) - 2)
        t = migra - x[i]
        slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
        return np.asarray(self._sum[row, i] + t * (y[i] + 0.5 * slope * t))

    def at_energies(self, nodes: Array, shares: Array, energy: Array) -> Array:
        """Return densities of reconstructed energies (TeV⁻¹), averaged over bins of true energy.

        Parameters
        ----------
        nodes, shares : array
            Points in the bins and their shares, shape (n_true, n_points).
        energy : array
            Reconstructed energies in TeV, shape (n,).

        Returns
        -------
        array
            Shape (n_true, n).
        """
        result = np.zeros((len(nodes), len(energy)))
        for row, (points, weights) in enumerate(zip(nodes, shares, strict=True)):
            for point, weight in zip(points, weights, strict=True):
                result[row] += weight / point * self.density(row, energy / point)
        return result

    def in_bins(self, nodes: Array, shares: Array, edges: Array) -> Array:
        """Return probabilities of bins of reconstructed energy, shape (n_true, n_bins)."""
        result = np.zeros((len(nodes), len(edges) - 1))
        for row, (points, weights) in enumerate(zip(nodes, shares, strict=True)):
            for point, weight in zip(points, weights, strict=True):
                result[row] += weight * np.diff(self.below(row, edges / point))
        return result


def cell_weights(position: Array, n: int) -> tuple[NDArray[np.intp], Array]:
    """Return the cells that give the value of a function at positions, from its means in cells.

    The cubic whose integrals over four neighbouring cells are theirs; exact for cubics.

    Parameters
    ----------
    position : array
        Positions in cells, 0 being the centre of the first; shape (m,).
    n : int
        Number of cells, at least 4.

    Returns
    -------
    array of int, array
        Cells and their weights, shape (m, 4).

    Examples
    --------
    >>> cells, weights = cell_weights(np.array([5.0]), 10)
    >>> bool(np.isclose(weights.sum(), 1))
    True
    """
    first = np.clip(np.floor(position).astype(np.intp) - 1, 0, n - 4)
    # Edges of the cells relative to the first centre, and derivatives of Lagrange's polynomials there.
    edges, x = np.arange(5) - 0.5, position - first
    slopes = np.zeros((len(position), 5))
    for k in range(5):
        others = np.delete(edges, k)
        for m in range(4):
            slopes[:, k] += np.prod(x[:, None] - np.delete(others, m), axis=1)
        slopes[:, k] /= np.prod(edges[k] - others)
    # The mean of a cell adds to the integral at all edges behind it.
    weights = np.cumsum(slopes[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return first[:, None] + np.arange(4), weights


def node_weights(values: Array, nodes: Array) -> tuple[NDArray[np.intp], Array]:
    """Return nodes and weights that interpolate by cubics (Lagrange), or lower powers if there are few.

    Parameters
    ----------
    values : array
        Where to interpolate, shape (m,).
    nodes : array
        Increasing nodes, shape (n,).

    Returns
    -------
    array of int, array
        Nodes and their weights, shape (m, min(n, 4)).
    """
    n = min(len(nodes), 4)
    first = np.clip(np.searchsorted(nodes, values) - n // 2, 0, len(nodes) - n)
    index = first[:, None] + np.arange(n)
    at = nodes[index]
    weights: Any = np.ones((len(values), n))
    for k in range(n):
        for m in range(n):
            if m != k:
                weights[:, k] *= (values - at[:, m]) / (at[:, k] - at[:, m])
    return index, weights

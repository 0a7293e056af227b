"""Integrals over energy: fixed rules for the likelihood, adaptive ones for single questions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.utils.array import namespace

__all__ = ["Rule", "adaptive_rule", "integrate", "integrate_split", "quadrature_order"]

Array = NDArray[np.float64]
Function = Callable[..., Any]

_MAX_HALVINGS = 24


@lru_cache(maxsize=64)
def _legendre(order: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(order)


def quadrature_order(energy_edges: Array) -> int:
    """Return the number of Gauss-Legendre nodes per bin that integrates smooth spectra to 1e-10."""
    width = float(np.max(np.diff(np.log(energy_edges)))) if len(energy_edges) > 1 else 0.0
    return int(np.clip(np.ceil(4 + 4 * width), 4, 40))


def integrate(function: Function, energy_min: Any, energy_max: Any, order: int) -> Any:
    """Integrate over energy by Gauss-Legendre quadrature in ln E.

    Parameters
    ----------
    function : callable
        Function of energy.
    energy_min, energy_max : array
        Bounds; any common shape.
    order : int
        Number of nodes per interval.

    Returns
    -------
    array
        Integral per interval.
    """
    xp = namespace(energy_min, energy_max)
    nodes, weights = _legendre(order)
    log_min, log_max = xp.log(energy_min), xp.log(energy_max)
    half = 0.5 * (log_max - log_min)
    energy = xp.exp(log_min[..., None] + half[..., None] * (nodes + 1))
    return xp.sum(function(energy) * energy * weights, axis=-1) * half


def integrate_split(function: Function, energy_min: Any, energy_max: Any, breaks: Any, order: int) -> Any:
    """Integrate over energy with each interval split at energies where the function isn't smooth.

    Parameters
    ----------
    function : callable
        Function of energy.
    energy_min, energy_max : array
        Bounds, shape (n,).
    breaks : array
        Energies of the breaks, in any order, shape (n_breaks,).
    order : int
        Number of nodes per part.

    Returns
    -------
    array
        Integral per interval, shape (n,).
    """
    xp = namespace(energy_min, energy_max, breaks)
    low, high = xp.asarray(energy_min)[..., None], xp.asarray(energy_max)[..., None]
    inside = xp.clip(xp.sort(xp.asarray(breaks)), low, high)
    edges = xp.concatenate([low, inside, high], axis=-1)
    return xp.sum(integrate(function, edges[..., :-1], edges[..., 1:], order), axis=-1)


@dataclass(frozen=True)
class Rule:
    """Nodes and weights that integrate over one or more intervals of energy.

    Parameters
    ----------
    energy, weight : array
        Nodes in TeV and their weights, shape (n_nodes,), those of an interval one after the other.
    start : array of int
        Position of the first node of each interval, shape (n_intervals,).
    """

    energy: Array
    weight: Array
    start: NDArray[np.intp]

    def sum(self, values: Any) -> Array:
        """Integrate, from values at the nodes, shape (n_nodes, ...); returns (n_intervals, ...)."""
        values = np.asarray(values)
        weight = self.weight.reshape(-1, *(1,) * (values.ndim - 1))
        return np.add.reduceat(values * weight, self.start, axis=0)


def adaptive_rule(
    function: Function,
    energy_min: Array,
    energy_max: Array,
    breaks: Array | None = None,
    rtol: float = 1e-10,
    order: int = 10,
) -> Rule:
    """Return a rule that integrates a function to a relative accuracy.

    Panels of half a unit in ln E, split at breaks, are halved until halving changes nothing: for smooth
    functions, what is left then is rounding.

    Parameters
    ----------
    function : callable
        Function of energy, in numpy.
    energy_min, energy_max : array
        Bounds, shape (n,).
    breaks : array, optional
        Energies where the function isn't smooth.
    rtol : float
        Largest accepted change, relative to the integral of the absolute value.
    order : int
        Number of nodes per panel.

    Returns
    -------
    `Rule`
        The rule.
    """
    low, high, owner = _panels(np.log(energy_min), np.log(energy_max), breaks)
    total = np.zeros(len(energy_min))
    values = _panel_values(function, low, high, order)
    np.add.at(total, owner, np.abs(values))
    done: list[tuple[Array, Array, NDArray[np.intp]]] = []
    # Noise that is larger than the tolerance would be refined without end.
    n_most = 4 * len(low) + 4000
    for level in range(_MAX_HALVINGS + 1):
        middle = 0.5 * (low + high)
        halves = np.stack([low, middle], axis=1).ravel(), np.stack([middle, high], axis=1).ravel()
        new = _panel_values(function, *halves, order)
        change = np.abs(new.reshape(-1, 2).sum(axis=1) - values)
        # Not "change <= …": what isn't a number will not become one by halving.
        more = change > rtol * total[owner]
        if level == _MAX_HALVINGS or 2 * np.sum(more) > n_most:
            more[:] = False
        ready = np.repeat(~more, 2)
        done.append((halves[0][ready], halves[1][ready], np.repeat(owner, 2)[ready]))
        if not np.any(more):
            break
        low, high, values = (array[~ready] for array in (*halves, new))
        owner = np.repeat(owner[more], 2)
    low, high, owner = (np.concatenate(parts) for parts in zip(*done, strict=True))
    order_of_panels = np.argsort(owner, kind="stable")
    low, high, owner = low[order_of_panels], high[order_of_panels], owner[order_of_panels]
    energy, weight = _nodes(low, high, order)
    return Rule(energy.ravel(), weight.ravel(), order * np.searchsorted(owner, np.arange(len(energy_min))))


def _panels(log_min: Array, log_max: Array, breaks: Array | None) -> tuple[Array, Array, NDArray[np.intp]]:
    """Cut intervals at breaks and into pieces of at most half a unit; also say whose piece each is."""
    cuts = np.empty(0) if breaks is None else np.unique(np.log(breaks))
    edges, owner = [], []
    for i, (low, high) in enumerate(zip(log_min, log_max, strict=True)):
        corners = np.concatenate([[low], cuts[(cuts > low) & (cuts < high)], [high]])
        n = np.maximum(1, np.ceil(2 * np.diff(corners))).astype(int)
        first = np.repeat(corners[:-1], n)
        step = np.repeat(np.diff(corners) / n, n)
        position = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        edges.append(np.stack([first + position * step, first + (position + 1) * step]))
        owner.append(np.full(n.sum(), i))
    low, high = np.concatenate(edges, axis=1)
    return low, high, np.concatenate(owner)


def _nodes(low: Array, high: Array, order: int) -> tuple[Array, Array]:
    nodes, weights = _legendre(order)
    half = 0.5 * (high - low)[:, None]
    energy = np.exp(low[:, None] + half * (nodes + 1))
    return energy, energy * weights * half


def _panel_values(function: Function, low: Array, high: Array, order: int) -> Array:
    energy, weight = _nodes(low, high, order)
    values = np.broadcast_to(function(energy.ravel()), energy.size).reshape(energy.shape)
    return np.sum(values * weight, axis=1)

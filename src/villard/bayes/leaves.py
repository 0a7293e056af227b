"""Marginal likelihoods of a component for each event: fixed, on a grid, or a function of a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from villard._jax import jnp
from villard.bayes.grids import ParameterGrid
from villard.exceptions import DataError
from villard.utils.array import namespace

__all__ = ["BackgroundTerm", "FixedLeaf", "GridLeaf", "Leaf", "SpectralLeaf", "SpectralTerm"]

Array = NDArray[np.float64]


class Leaf:
    """Densities of the events of one observation under a component, normalised to one event.

    ``values(parameters, data)`` is traced by JAX: ``parameters`` by name in their own units.
    """

    parameter_names: tuple[str, ...] = ()

    @property
    def key(self) -> Any:
        """What the compiled function depends on."""
        raise NotImplementedError

    @property
    def data(self) -> Any:
        """Arrays that the function needs."""
        raise NotImplementedError

    @property
    def n_events(self) -> int:
        """Number of events."""
        raise NotImplementedError

    def largest(self) -> Array:
        """Return the order of magnitude of the density of each event, (n_events,)."""
        raise NotImplementedError

    def scaled(self, factor: Array) -> Leaf:
        """Return the leaf with densities multiplied by a factor for each event."""
        raise NotImplementedError

    def values(self, parameters: dict[str, Any], data: Any) -> Any:
        """Return the densities, (n_events,)."""
        raise NotImplementedError


def _checked(values: Any, where: str) -> Array:
    array = np.asarray(values, dtype=float)
    if not np.all((array >= 0) & np.isfinite(array)):
        raise DataError(f"{where}: marginal likelihoods can't be negative, infinite or NaN")
    return array


@dataclass
class FixedLeaf(Leaf):
    """A component without free parameters.

    Parameters
    ----------
    density : array
        Densities, shape (n_events,).
    """

    density: Array

    def __post_init__(self) -> None:
        self.density = _checked(self.density, "FixedLeaf")
        if self.density.ndim != 1:
            raise DataError(
                f"FixedLeaf: expected one density per event, found an array of the shape {self.density.shape}"
            )

    @property
    def key(self) -> Any:
        """Kind."""
        return ("fixed",)

    @property
    def data(self) -> Any:
        """Densities."""
        return self.density

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.density)

    def largest(self) -> Array:
        """Return the densities."""
        return self.density

    def scaled(self, factor: Array) -> FixedLeaf:
        """Return the leaf with densities multiplied."""
        return FixedLeaf(self.density * factor)

    def values(self, parameters: dict[str, Any], data: Any) -> Any:
        """Return the densities."""
        return data


@dataclass
class GridLeaf(Leaf):
    """A component tabulated on a grid of one or more parameters.

    Parameters
    ----------
    table : array
        Densities, shape (*n_values, n_events), with one axis per parameter.
    grids : dict of `ParameterGrid`
        Grids by name of parameter, in the order of the axes.
    """

    table: Array
    grids: dict[str, ParameterGrid]

    def __post_init__(self) -> None:
        self.table = _checked(self.table, "GridLeaf")
        self.parameter_names = tuple(self.grids)
        expected = tuple(len(g.values) for g in self.grids.values())
        if self.table.shape[:-1] != expected:
            raise DataError(
                f"GridLeaf: expected a table of the shape {(*expected, 'n_events')}, found {self.table.shape}"
            )

    @property
    def key(self) -> Any:
        """Names and kinds of the grids."""
        kinds = tuple((n, g.scale, g.discrete, len(g.values)) for n, g in self.grids.items())
        return ("grid", kinds)

    @property
    def data(self) -> Any:
        """Table, and nodes on their scales."""
        nodes = [np.asarray(g.scaled(g.values)) for g in self.grids.values()]
        return {"table": self.table, "nodes": nodes}

    @property
    def n_events(self) -> int:
        """Number of events."""
        return self.table.shape[-1]

    def largest(self) -> Array:
        """Return the largest densities on the grid."""
        return np.asarray(self.table.reshape(-1, self.n_events).max(axis=0))

    def scaled(self, factor: Array) -> GridLeaf:
        """Return the leaf with densities multiplied."""
        return GridLeaf(self.table * factor, self.grids)

    def values(self, parameters: dict[str, Any], data: Any) -> Any:
        """Pick out a row of the table, or interpolate between neighbours: independent of its length."""
        corners: list[tuple[tuple[Any, ...], Any]] = [((), 1.0)]
        for (name, grid), nodes in zip(self.grids.items(), data["nodes"], strict=True):
            x = grid.scaled(parameters[name])
            if grid.discrete or len(grid.values) == 1:
                between = 0.5 * (nodes[1:] + nodes[:-1])
                index = jnp.searchsorted(between, x)
                corners = [((*at, index), weight) for at, weight in corners]
                continue
            index = jnp.clip(jnp.searchsorted(nodes, x, side="right") - 1, 0, len(grid.values) - 2)
            part = jnp.clip((x - nodes[index]) / (nodes[index + 1] - nodes[index]), 0.0, 1.0)
            corners = [((*at, index), w * (1 - part)) for at, w in corners] + [
                ((*at, index + 1), w * part) for at, w in corners
            ]
        return sum(weight * data["table"][at] for at, weight in corners)


@dataclass
class _Term:
    """What terms have in common: a spectrum as a pure function, and what it is evaluated on."""

    pure: Any
    values: Array
    names: dict[str, int]
    factors: Array

    @property
    def data(self) -> dict[str, Any]:
        """All arrays."""
        own = {k: v for k, v in vars(self).items() if k not in ("pure", "names")}
        return own | {"arrays": tuple(np.asarray(a) for a in self.pure.arrays)}

    def without_data(self) -> Self:
        """Return a copy that has the code, but no arrays."""
        arrays: dict[str, Any] = {
            f.name: np.zeros(0) for f in fields(self) if f.name not in ("pure", "names")
        }
        return replace(self, **arrays)


@dataclass
class SpectralTerm(_Term):
    """A source with free spectral parameters: kernels that become densities once the spectrum is known.

    Parameters
    ----------
    pure : `~villard.modeling.models.spectral.pure.PureSpectrum`
        Spectrum as a pure function.
    values : array
        Its parameters in the engine's units, shape (n_parameters,).
    names : dict
        Positions of the free parameters, by their names in the posterior.
    factors : array
        What free values are multiplied with to get the engine's units, one per name.
    kernel : array
        Shape (n_events, n_bins): per unit flux in each bin of true energy.
    detected : array
        Events per unit flux in each bin, shape (n_bins,).
    """

    kernel: Array
    detected: Array

    def scaled(self, factor: Array) -> Self:
        """Return the term with densities multiplied."""
        return replace(self, kernel=self.kernel * factor[:, None])

    def largest(self) -> Array:
        """Return the largest density that a unit of flux gives to each event."""
        return np.asarray(self.kernel.max(axis=1))

    def evaluate(self, own: Any, values: Any, arrays: Any, edges: Any, order: int) -> tuple[Any, Any]:
        """Return the densities of the events, and the number of events."""
        from villard.likelihood.predict import bin_flux

        flux = bin_flux(self.pure, edges[:-1], edges[1:], values, arrays, order)
        flux = namespace(flux, edges).broadcast_to(flux, edges[:-1].shape)
        return own["kernel"] @ flux, own["detected"] @ flux


@dataclass
class BackgroundTerm(_Term):
    """A background with free parameters: a rate of reconstructed events, times a factor of their energy.

    Parameters
    ----------
    pure : `~villard.modeling.models.spectral.pure.PureSpectrum`
        Factor as a pure function.
    values, names, factors
        As for `SpectralTerm`.
    rate : array
        Expected events per TeV and sr for a factor of 1, shape (n_events,).
    energy : array
        Reconstructed energies (TeV), shape (n_events,).
    nodes, numbers : array
        Energies (TeV) in narrow bins, and the expected events in each for a factor of 1, shape (n_bins,).
    """

    rate: Array
    energy: Array
    nodes: Array
    numbers: Array

    def scaled(self, factor: Array) -> Self:
        """Return the term with densities multiplied."""
        return replace(self, rate=self.rate * factor)

    def largest(self) -> Array:
        """Return the density of each event for a factor of 1."""
        return self.rate

    def evaluate(self, own: Any, values: Any, arrays: Any, edges: Any, order: int) -> tuple[Any, Any]:
        """Return the densities of the events, and the number of events."""
        number = (own["numbers"] * self.pure.evaluate(own["nodes"], values, arrays)).sum()
        return own["rate"] * self.pure.evaluate(own["energy"], values, arrays), number


@dataclass
class SpectralLeaf(Leaf):
    """A component whose spectra are evaluated in each call.

    Parameters
    ----------
    terms : list of `SpectralTerm` or `BackgroundTerm`
        Sources and backgrounds with free parameters.
    edges : array
        Edges of true energy (TeV), shape (n_bins + 1,).
    constant : array
        Sum over the other sources of the component, shape (n_events,).
    constant_detected : float
        Events of the other sources.
    """

    terms: Sequence[SpectralTerm | BackgroundTerm]
    edges: Array
    constant: Array
    constant_detected: float = 0.0
    order: int = field(default=3)

    def __post_init__(self) -> None:
        self.parameter_names = tuple(dict.fromkeys(n for t in self.terms for n in t.names))

    @property
    def key(self) -> Any:
        """Code of the spectra and which parameters are free."""
        kinds = tuple((type(t).__name__, t.pure.key, tuple(t.names.items())) for t in self.terms)
        return ("spectral", self.order, kinds)

    @property
    def data(self) -> Any:
        """Kernels and parameters."""
        return {
            "terms": [t.data for t in self.terms],
            "edges": self.edges,
            "constant": self.constant,
            "constant_detected": np.float64(self.constant_detected),
        }

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.constant)

    def largest(self) -> Array:
        """Return the densities at the present values."""
        density = np.asarray(self._evaluate({}, self.data, np))
        # Where the present spectrum has nothing, another one may.
        kernels = sum(t.largest() for t in self.terms)
        top = np.max(kernels) if np.any(kernels) else 1.0
        return np.where(density > 0, density, kernels / top * max(float(np.max(density)), 1e-300))

    def scaled(self, factor: Array) -> SpectralLeaf:
        """Return the leaf with densities multiplied."""
        terms = [t.scaled(factor) for t in self.terms]
        return SpectralLeaf(terms, self.edges, self.constant * factor, self.constant_detected, self.order)

    def values(self, parameters: dict[str, Any], data: Any) -> Any:
        """Return kernels times spectra, over the events that they give in all."""
        return self._evaluate(parameters, data, jnp)

    def _evaluate(self, parameters: dict[str, Any], data: Any, xp: Any) -> Any:
        edges = xp.asarray(data["edges"])
        total, detected = xp.asarray(data["constant"]), xp.asarray(data["constant_detected"])
        for term, own in zip(self.terms, data["terms"], strict=True):
            values = xp.asarray(own["values"])
            for i, (name, position) in enumerate(term.names.items()):
                if name in parameters:
                    values = values.at[position].set(parameters[name] * own["factors"][i])
            arrays = tuple(xp.asarray(a) for a in own["arrays"])
            density, number = term.evaluate(own, values, arrays, edges, self.order)
            total, detected = total + density, detected + number
        return total / detected

"""Responses of an observation as tables for events: energy dispersion, point spread function, area.

Between the nodes of the tables of an observation shapes are interpolated linearly, as simulated events are
drawn. Where a table has no shape, that of the nearest node takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from numbers import Real
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.irf.psf_table import RadialTable
from villard.simulate.event_field import FieldOfView

__all__ = ["EventResponse", "ResponseBounds", "containment_radii", "hat_weights"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Bins of true energy per decade: at least, at most, and per standard deviation of the dispersion.
_MIN_PER_DECADE, _MAX_PER_DECADE, _PER_SIGMA = 40, 200, 1.0
#: Parts of each bin of migra in which densities are tabulated.
_FINE = 6
#: Events whose truncation is computed at once.
_ROWS = 4096


@dataclass(frozen=True)
class ResponseBounds:
    """How far the integrals over true energy and direction reach.

    Parameters
    ----------
    containment : float
        Part of the point spread function and of the energy dispersion that is kept.
    dex : float, optional
        Largest distance of true from reconstructed energy in powers of ten, instead of the containment.
    angle : float, optional
        Largest angle between true and reconstructed direction (deg), instead of the containment.
    bin_size : float
        Size of pixels (deg) for morphologies.
    """

    containment: float = 0.9999
    dex: float | None = None
    angle: float | None = None
    bin_size: float = 0.05

    def __post_init__(self) -> None:
        if not (isinstance(self.containment, Real) and 0.5 < self.containment < 1):
            raise DataError(
                f"Marginalisation: expected a containment between 0.5 and 1, found {self.containment!r}"
            )
        for name in ("dex", "angle", "bin_size"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and 0 < value < np.inf):
                raise DataError(f"Marginalisation: expected a positive {name}, found {value!r}")


def hat_weights(nodes: Array, values: Array) -> tuple[Index, Array]:
    """Return the lower of two neighbouring nodes, and the weight of the upper one (0 to 1).

    Examples
    --------
    >>> [x.tolist() for x in hat_weights(np.array([0.0, 1.0, 3.0]), np.array([2.0, 9.0]))]
    [[1, 1], [0.5, 1.0]]
    """
    if len(nodes) == 1:
        return np.zeros(np.shape(values), dtype=np.intp), np.zeros(np.shape(values))
    i = np.clip(np.searchsorted(nodes, values, side="right") - 1, 0, len(nodes) - 2)
    return i, np.clip((values - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0, 1.0)


def _offset_nodes(irf: Any, largest: float) -> Array:
    """Nodes of offset (deg) with the ends of the axis, no further than needed."""
    axis = irf.axes["offset"]
    nodes = np.union1d(axis.center.to_value("deg"), np.clip(axis.bounds.to_value("deg"), 0, None))
    return nodes[: int(np.searchsorted(nodes, largest)) + 1]


def _filled(exists: NDArray[np.bool_]) -> tuple[Index, Index]:
    """Return for each node of energy and offset the nearest that exists: in offset first, then in energy."""
    every = np.indices(exists.shape)
    rows, columns = np.asarray(every[0]), np.asarray(every[1])
    good = np.argwhere(exists)
    for i, j in np.argwhere(~exists):
        distance = np.abs(good[:, 1] - j) + 1000 * np.abs(good[:, 0] - i)
        rows[i, j], columns[i, j] = good[int(np.argmin(distance))]
    return rows, columns


def containment_radii(table: RadialTable, fractions: Array) -> Array:
    """Return angles (rad) that contain fractions of a shape, from 500 of its values.

    Examples
    --------
    >>> theta = np.linspace(0, 0.01, 200)
    >>> table = RadialTable(theta, np.exp(-0.5 * (theta / 1e-3) ** 2)).normalized()
    >>> containment_radii(table, np.array([0.393469])).round(6)
    array([0.001])
    """
    theta = np.append(0.0, np.geomspace(1e-6, max(table.theta_max, 1e-5), 500))
    return np.asarray(np.interp(fractions, np.maximum.accumulate(1 - table.outside(theta)), theta))


@dataclass
class EventResponse:
    """Responses of one observation for events within a field of view.

    Parameters
    ----------
    observation : `~villard.data.Observation`
        Observation with the responses "aeff", "edisp" and "psf".
    field : `~villard.simulate.event_field.FieldOfView`
        Bounds of the events.
    bounds : `ResponseBounds`
        How far integrals reach.
    """

    observation: Any
    field: FieldOfView
    bounds: ResponseBounds = dataclass_field(default_factory=ResponseBounds)

    def __post_init__(self) -> None:
        for name in ("aeff", "edisp", "psf"):
            if getattr(self.observation, name) is None:
                raise DataError(f"Marginalisation: observation {self.observation.obs_id} has no {name}")
        self.aeff, self.edisp, self.psf = (getattr(self.observation, n) for n in ("aeff", "edisp", "psf"))
        self.livetime = float(self.observation.livetime.to_value("s"))
        self._set_energies()

    # True energies

    def _set_energies(self) -> None:
        low, high = self._energy_range()
        n = int(np.ceil(np.log10(high / low) * self._bins_per_decade(low, high)))
        self.edges = np.geomspace(low, high, n + 1)
        self.energy = np.sqrt(self.edges[1:] * self.edges[:-1])
        nodes = [np.array([low, high])]
        for irf in (self.psf, self.aeff):
            nodes.append(irf.axes["energy_true"].center.to_value("TeV"))
        every = np.unique(np.concatenate(nodes))
        #: Energies at which morphologies are folded with the point spread function: the nodes of the tables.
        self.nodes = every[(every >= low) & (every <= high)]
        self.nodes = self.nodes[np.append(True, np.diff(np.log(self.nodes)) > 1e-6)]

    def _energy_range(self) -> tuple[float, float]:
        """True energies whose events can be reconstructed within the bounds."""
        low, high = self._limits()
        e_min, e_max = self.field.energy_bounds
        if self.bounds.dex is not None:
            down, up = 10**-self.bounds.dex, 10**self.bounds.dex
            low, high = max(low, e_min * down), min(high, e_max * up)
        else:
            low, high = self._contained(low, high)
        if not low < high:
            raise DataError(
                f"Marginalisation: the responses have no true energies for reconstructed ones between "
                f"{e_min:g} and {e_max:g} TeV"
            )
        return float(low), float(high)

    def _limits(self) -> tuple[float, float]:
        """True energies (TeV) that all tables cover."""
        low, high = 0.0, np.inf
        for irf in (self.aeff, self.edisp, self.psf):
            first, last = irf.axes["energy_true"].bounds.to_value("TeV")
            low, high = max(low, float(first)), min(high, float(last))
        return low, high

    def _contained(self, low: float, high: float) -> tuple[float, float]:
        """Cut away energies of which less than what containment leaves is reconstructed within the bounds."""
        energies = np.geomspace(low, high, 400)
        detected = self._detected(self._densities(energies), energies).max(axis=1)
        good = np.flatnonzero(detected > 1 - self.bounds.containment)
        if not len(good):
            return high, low
        first, last = max(good[0] - 1, 0), min(good[-1] + 1, len(energies) - 1)
        return energies[first], energies[last]

    def _bins_per_decade(self, low: float, high: float) -> float:
        energies = np.geomspace(low, high, 20)
        density = self._densities(energies)[:, :, 0]
        widths = np.diff(self._migra_edges)
        total = np.cumsum(density * widths, axis=1)
        migra = 0.5 * (self._migra_edges[1:] + self._migra_edges[:-1])
        at = [np.interp([0.16, 0.84], t, migra) for t in total if t[-1] > 0.5]
        if not at:
            return _MIN_PER_DECADE
        sigma = min(0.5 * np.log10(max(b, 1e-3) / max(a, 1e-3)) for a, b in at)
        return float(np.clip(_PER_SIGMA / max(sigma, 1e-4), _MIN_PER_DECADE, _MAX_PER_DECADE))

    # Energy dispersion

    @cached_property
    def _migra_edges(self) -> Array:
        return np.asarray(self.edisp.axes["migra"].edges.value)

    @cached_property
    def edisp_offsets(self) -> Array:
        """Nodes of offset (deg) of the energy dispersion."""
        return _offset_nodes(self.edisp, self.field.half_diagonal)

    def _densities(self, energies: Array) -> Array:
        """Densities of migra, shape (n_energies, n_migra, n_offsets), with the integral 1."""
        values = self.edisp.densities(energies * u.TeV, self.edisp_offsets * u.deg)
        total = np.sum(values * np.diff(self._migra_edges)[:, np.newaxis], axis=1)
        exists = total > 1e-12
        if not np.any(exists):
            raise DataError("Marginalisation: the energy dispersion is zero at all energies")
        rows, columns = _filled(exists)
        values = np.moveaxis(values, 1, 2)[rows, columns] / total[rows, columns][..., np.newaxis]
        return np.moveaxis(values, 2, 1)

    def _detected(self, density: Array, energies: Array) -> Array:
        """Part that is reconstructed between the energies of the field, shape (n_energies, n_offsets)."""
        edges = self._migra_edges
        total = np.cumsum(density * np.diff(edges)[:, np.newaxis], axis=1)
        total = np.pad(total, [(0, 0), (1, 0), (0, 0)])
        low, high = (np.clip(e / energies, edges[0], edges[-1]) for e in self.field.energy_bounds)
        result = np.empty((len(energies), density.shape[2]))
        for j in range(density.shape[2]):
            for k in range(len(energies)):
                a, b = np.interp([low[k], high[k]], edges, total[k, :, j])
                result[k, j] = b - a
        return result

    @cached_property
    def _fine_edges(self) -> Array:
        """Edges of migra of `edisp_table`."""
        edges = self._migra_edges
        parts = np.arange(_FINE) / _FINE
        inner = edges[:-1, np.newaxis] + np.diff(edges)[:, np.newaxis] * parts
        return np.append(inner.ravel(), edges[-1])

    @cached_property
    def edisp_table(self) -> Array:
        """Density of reconstructed energy times true energy, shape (n_bins, n_offsets, n_fine_migra).

        Between the centres of the bins of the observation's table it is a straight line.
        """
        return np.ascontiguousarray(self._whole_table(self.energy) * self._kept_migra)

    @property
    def _kept_migra(self) -> Array:
        """1 in the fine bins of migra within the bounds, 0 in others."""
        at = 0.5 * (self._fine_edges[1:] + self._fine_edges[:-1])
        far = np.inf if self.bounds.dex is None else self.bounds.dex
        return np.asarray(np.abs(np.log10(at)) < far, dtype=float)

    def _whole_table(self, energies: Array) -> Array:
        """Return `edisp_table` without bounds, at any true energies (TeV)."""
        density = np.moveaxis(self._densities(energies), 1, 2)
        edges, fine = self._migra_edges, self._fine_edges
        migra, at = 0.5 * (edges[1:] + edges[:-1]), 0.5 * (fine[1:] + fine[:-1])
        i, b = hat_weights(migra, at)
        return np.asarray(density[..., i] * (1 - b) + density[..., np.minimum(i + 1, len(migra) - 1)] * b)

    @cached_property
    def detected(self) -> Array:
        """Part reconstructed within the energies of the field, shape (n_bins, n_offsets)."""
        return self._detected(self._densities(self.energy), self.energy)

    def detected_at(self, offset: Array) -> Array:
        """Part reconstructed within the energies of the field, shape (n_bins, *offset.shape)."""
        j, b = hat_weights(self.edisp_offsets, offset)
        right = np.minimum(j + 1, len(self.edisp_offsets) - 1)
        return self.detected[:, j] * (1 - b) + self.detected[:, right] * b

    def energy_density(self, energy: Array, offset: Array, bins: slice) -> Array:
        """Return the density (TeV-1) of reconstructed energies, shape (n_events, n_bins of the slice).

        Parameters
        ----------
        energy : array
            Reconstructed energies (TeV), shape (n_events,).
        offset : array
            True offsets (deg), shape (n_events,) or one for all.
        bins : slice
            Bins of true energy.
        """
        return self._density_of(self.edisp_table[bins], self.energy[bins], energy, offset)

    def _density_of(self, table: Array, true: Array, energy: Array, offset: Array) -> Array:
        """Look densities (TeV-1) up in a table like `edisp_table`, of other true energies."""
        edges = self._fine_edges
        migra = energy[:, np.newaxis] / true
        widths = np.diff(edges)
        if np.allclose(widths, widths[0], rtol=1e-6):
            m = ((migra - edges[0]) * (1 / widths[0])).astype(np.intp)
        else:
            m = np.searchsorted(edges, migra, side="right") - 1
        inside = (m >= 0) & (m < len(widths))
        m = np.where(inside, m, 0)
        n_offsets, n_migra = table.shape[1:]
        j, b = hat_weights(self.edisp_offsets, np.broadcast_to(offset, energy.shape))
        right = np.minimum(j + 1, n_offsets - 1)
        flat = table.ravel()
        row = np.arange(len(true)) * (n_offsets * n_migra) + m
        value = flat.take(row + (j * n_migra)[:, np.newaxis])
        value *= (1 - b)[:, np.newaxis]
        value += flat.take(row + (right * n_migra)[:, np.newaxis]) * b[:, np.newaxis]
        return np.where(inside, value / true, 0.0)

    def window(self, low: float, high: float) -> slice:
        """Return the bins of true energy from which reconstructed energies may come."""
        edges = self._fine_edges
        cumulative = np.cumsum(self.edisp_table.max(axis=1), axis=1)
        total = cumulative[:, -1:]
        # Far less than what the containment leaves, as each event sees another part.
        tiny = 0.01 * (1 - self.bounds.containment)
        first = edges[np.argmax(cumulative > tiny * total, axis=1)]
        last = edges[np.argmax(cumulative >= (1 - tiny) * total, axis=1) + 1]
        reached = np.flatnonzero((self.energy * first <= high) & (self.energy * last >= low))
        if not len(reached):
            return slice(0, len(self.energy))
        return slice(int(reached[0]), int(reached[-1]) + 1)

    # Effective area and point spread function

    def area(self, energy: Array, offset: Array) -> Array:
        """Return effective areas (cm2) at true energies (TeV) and offsets (deg), which broadcast."""
        values = self.aeff.evaluate(energy_true=energy * u.TeV, offset=offset * u.deg)
        return np.asarray(values.to_value("cm2"))

    @cached_property
    def psf_offsets(self) -> Array:
        """Nodes of offset (deg) of the point spread function."""
        return _offset_nodes(self.psf, self.field.half_diagonal + 1.0)

    @cached_property
    def psf_tables(self) -> list[list[RadialTable]]:
        """Shapes at `nodes` and `psf_offsets`, with the integral 1."""
        grid = np.meshgrid(self.nodes, self.psf_offsets, indexing="ij")
        flat = self.psf.radial_tables(grid[0].ravel() * u.TeV, grid[1].ravel() * u.deg)
        n = len(self.psf_offsets)
        exists = np.array([t.integral > 0.5 for t in flat]).reshape(-1, n)
        if not np.any(exists):
            raise DataError("Marginalisation: the point spread function is zero at all energies")
        rows, columns = _filled(exists)
        return [[flat[rows[i, j] * n + columns[i, j]] for j in range(n)] for i in range(len(self.nodes))]

    @cached_property
    def psf_radius(self) -> Array:
        """Angle (deg) at which shapes are cut off, shape (n_nodes, n_offsets)."""
        if self.bounds.angle is not None:
            return np.full((len(self.nodes), len(self.psf_offsets)), self.bounds.angle)
        found: dict[int, float] = {}
        for row in self.psf_tables:
            for table in row:
                if id(table) not in found:
                    kept = np.array([self.bounds.containment])
                    found[id(table)] = float(containment_radii(table, kept)[0])
        return np.degrees([[found[id(table)] for table in row] for row in self.psf_tables])

    @property
    def margin(self) -> float:
        """Angle (deg) around the field of view from which events may come."""
        return float(np.clip(self.psf_radius.max(), 2 * self.bounds.bin_size, 3.0))

    @property
    def truncation(self) -> dict[str, float]:
        """Largest parts of the responses that the bounds cut away.

        "angle": of the point spread function at any energy; "energy": of the dispersion at any energy.
        """
        angle = float(self._lost_angle.max())
        kept = np.sum(self.edisp_table * np.diff(self._fine_edges), axis=2)
        energy = max(float(1 - kept.min()), 1 - self.bounds.containment if self.bounds.dex is None else 0.0)
        return {"energy": energy, "angle": angle}

    def truncation_at(self, energy: Array, offset: Array, index: float = 2.0) -> dict[str, Array]:
        """Return the parts of the responses at events that the bounds cut away.

        They are those of the integral over all true energies and directions of a source that fills the sky
        with a power law.

        Parameters
        ----------
        energy, offset : array
            Reconstructed energies (TeV) and offsets (deg), shape (n,).
        index : float
            Index of the power law.

        Returns
        -------
        dict of array
            "energy": by the bounds of true energy; "angle": of the rest, by those of direction; shape (n,).
        """
        true, kept = self._all_energies()
        tables = self._whole_table(true)
        within = tables * self._kept_migra * kept[:, np.newaxis, np.newaxis]
        nodes = np.clip(true, self.nodes[0], self.nodes[-1])
        i, b = hat_weights(np.log(self.nodes), np.log(nodes))
        lost = self._lost_angle[i] * (1 - b)[:, np.newaxis]
        lost += self._lost_angle[np.minimum(i + 1, len(self.nodes) - 1)] * b[:, np.newaxis]
        result = {"energy": np.empty(len(energy)), "angle": np.empty(len(energy))}
        for start in range(0, len(energy), _ROWS):
            rows = slice(start, start + _ROWS)
            away = offset[rows]
            weight = self.area(true, away[:, np.newaxis]) * true ** (1 - index)
            whole = self._density_of(tables, true, energy[rows], away) * weight
            part = self._density_of(within, true, energy[rows], away) * weight
            j, c = hat_weights(self.psf_offsets, away)
            right = np.minimum(j + 1, len(self.psf_offsets) - 1)
            outside = lost[:, j] * (1 - c) + lost[:, right] * c
            total, left = whole.sum(axis=1), part.sum(axis=1)
            result["energy"][rows] = 1 - left / np.where(total > 0, total, np.nan)
            result["angle"][rows] = np.sum(part * outside.T, axis=1) / np.where(left > 0, left, np.nan)
        return result

    def _all_energies(self) -> tuple[Array, NDArray[np.bool_]]:
        """Centres of bins of true energy as far as the responses go, and which of them integrals cover."""
        low, high = self._limits()
        ratio = self.edges[1] / self.edges[0]
        below = int(np.floor(np.log(self.edges[0] / low * (1 + 1e-9)) / np.log(ratio)))
        above = int(np.floor(np.log(high / self.edges[-1] * (1 + 1e-9)) / np.log(ratio)))
        n = len(self.energy)
        steps = np.arange(-below, n + above)
        return self.energy[0] * ratio**steps, (steps >= 0) & (steps < n)

    @cached_property
    def _lost_angle(self) -> Array:
        """Part of the point spread function that is cut off, shape (n_nodes, n_offsets)."""
        return np.array(
            [
                [float(table.outside(np.radians(radius))) for table, radius in zip(*each, strict=True)]
                for each in zip(self.psf_tables, self.psf_radius, strict=True)
            ]
        )

    def to_bins(self, values: Array, log: bool = False) -> Array:
        """Interpolate values at `nodes`, along the first axis, to the bins of true energy."""
        x, nodes = np.log(self.energy), np.log(self.nodes)
        i, b = hat_weights(nodes, x)
        shape = (-1,) + (1,) * (values.ndim - 1)
        lower, upper, b = values[i], values[np.minimum(i + 1, len(nodes) - 1)], b.reshape(shape)
        if log:
            positive = (lower > 0) & (upper > 0)
            safe = [np.where(positive, v, 1.0) for v in (lower, upper)]
            power = np.exp((1 - b) * np.log(safe[0]) + b * np.log(safe[1]))
            return np.where(positive, power, (1 - b) * lower + b * upper)
        return np.asarray((1 - b) * lower + b * upper)

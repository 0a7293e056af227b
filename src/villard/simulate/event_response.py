"""Reconstructed energies and directions drawn from tables of responses.

Densities between the nodes of a table are interpolated linearly. A draw from them is a draw from one of the
four neighbouring nodes, chosen with the weight that it has in the interpolation.
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.simulate.event_field import FieldOfView, displaced

__all__ = ["ResponseSampler"]

Array = NDArray[np.float64]
Generator = np.random.Generator

#: Angles (rad) at which their cumulative distribution is tabulated, in steps of 3 %.
_MIN_ANGLE, _MAX_ANGLE, _N_ANGLES = 3e-6, 0.35, 400


class NodeTable:
    """Cumulative distributions at nodes of energy and offset.

    Parameters
    ----------
    energy, offset : array
        Nodes (TeV, deg), increasing.
    values : array
        Values of the variable, shape (n_values,), or for each node (n_energy, n_offset, n_values).
    cumulative : array
        Distributions, shape (n_energy, n_offset, n_values), that end in 1, or in 0 where there is none.
    """

    def __init__(self, energy: Array, offset: Array, values: Array, cumulative: Array) -> None:
        self.log_energy, self.offset = np.log(energy), offset
        self.exists = cumulative[..., -1] > 0.5
        n = cumulative.shape[-1]
        rows = np.arange(cumulative[..., 0].size)
        # One increasing array, in which each node has its own unit.
        self._flat = (np.minimum(cumulative, 1.0).reshape(-1, n) + 2 * rows[:, None]).ravel()
        self._values = np.broadcast_to(values, cumulative.shape).reshape(-1, n)

    def nodes(
        self, energy: Array, offset: Array, random: Array
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Choose a node for each energy and offset; also tell where there is none."""
        i, a = _neighbours(self.log_energy, np.log(energy))
        j, b = _neighbours(self.offset, offset)
        n = len(self.offset)
        up, right = min(1, len(self.log_energy) - 1), min(1, n - 1)
        index = np.stack([(i + k * up) * n + j + m * right for k in (0, 1) for m in (0, 1)])
        weight = np.stack([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b])
        weight *= self.exists.ravel()[index]
        total = np.cumsum(weight, axis=0)
        found = total[-1] > 0
        choice = np.sum(random * total[-1] >= total, axis=0)
        return np.take_along_axis(index, np.minimum(choice, 3)[None], axis=0)[0], found

    def draw(self, energy: Array, offset: Array, rng: Generator) -> tuple[Array, NDArray[np.bool_]]:
        """Draw a value for each energy (TeV) and offset (deg); also tell where there is none."""
        node, found = self.nodes(energy, offset, rng.random(len(energy)))
        return self.at(node, rng.random(len(energy))), found

    def at(self, node: NDArray[np.intp], quantile: Array) -> Array:
        """Return the values at quantiles of nodes."""
        n = self._values.shape[1]
        target = quantile + 2 * node
        k = np.clip(np.searchsorted(self._flat, target, side="right") - node * n, 1, n - 1)
        at = node * n + k
        low, high = self._flat[at - 1], self._flat[at]
        part = np.divide(target - low, high - low, out=np.zeros(len(at)), where=high > low)
        values = self._values.ravel()
        return np.asarray(values[at - 1] + np.clip(part, 0, 1) * (values[at] - values[at - 1]))


def _neighbours(nodes: Array, values: Array) -> tuple[NDArray[np.intp], Array]:
    if len(nodes) == 1:
        return np.zeros(len(values), dtype=np.intp), np.zeros(len(values))
    i = np.clip(np.searchsorted(nodes, values, side="right") - 1, 0, len(nodes) - 2)
    return i, np.clip((values - nodes[i]) / (nodes[i + 1] - nodes[i]), 0, 1)


def _table_nodes(irf: Any, energy_range: tuple[float, float]) -> tuple[Array, Array]:
    """Return the nodes of energy (TeV) that a range needs and of offset (deg), with the axes' ends."""
    energy, offset = irf.axes["energy_true"], irf.axes["offset"]
    values = np.union1d(energy.center.to_value("TeV"), energy.bounds.to_value("TeV"))
    first = max(np.searchsorted(values, energy_range[0], side="right") - 1, 0)
    last = np.searchsorted(values, energy_range[1]) + 1
    edges = np.clip(offset.bounds.to_value("deg"), 0, None)
    offsets = np.union1d(offset.center.to_value("deg"), edges)
    return values[first:last], offsets


class ResponseSampler:
    """Effective area, energy dispersion and point spread function of an observation, to draw events from.

    Parameters
    ----------
    observation : `~villard.data.Observation`
        Observation with the response "aeff"; without "edisp" or "psf" energies or directions are kept.
    field : `FieldOfView`
        Bounds of reconstructed events.
    """

    def __init__(self, observation: Any, field: FieldOfView) -> None:
        self.field, self.aeff = field, observation.aeff
        if self.aeff is None:
            raise DataError(
                "Simulated events of a source need an effective area, and the observation has none"
            )
        self._edisp, self._psf = observation.edisp, observation.psf
        self.livetime = float(observation.livetime.to_value("s"))
        self.energy_range = self._energy_range()
        self._energies = self._edisp and _edisp_table(self._edisp, self.energy_range)
        self._angles = self._psf and _psf_table(self._psf, self.energy_range)

    def _energy_range(self) -> tuple[float, float]:
        """Return the true energies that can be reconstructed within the bounds."""
        low, high = 0.0, np.inf
        for irf in (self.aeff, self._edisp, self._psf):
            if irf is not None:
                first, last = irf.axes["energy_true"].bounds.to_value("TeV")
                low, high = max(low, first), min(high, last)
        factors = (1.0, 1.0)
        if self._edisp is not None:
            factors = tuple(self._edisp.axes["migra"].bounds.value)
        low = max(low, self.field.energy_bounds[0] / factors[1])
        high = min(high, self.field.energy_bounds[1] / factors[0] if factors[0] > 0 else np.inf)
        if not low < high:
            raise DataError(
                f"Simulated events: the responses have no true energies for reconstructed ones between "
                f"{self.field.energy_bounds[0]:g} and {self.field.energy_bounds[1]:g} TeV"
            )
        return float(low), float(high)

    @property
    def margin(self) -> float:
        """Angle (deg) around the field of view from which events may come: 99.9 % of the PSF."""
        if self._angles is None:
            return 0.05
        table = self._angles
        quantiles = np.full(table.exists.sum(), 0.999)
        angles = table.at(np.flatnonzero(table.exists.ravel()), quantiles)
        return float(np.clip(np.degrees(angles.max()), 0.05, 3.0))

    def area(self, energy: Array, offset: Array) -> Array:
        """Return effective areas (cm2) at true energies (TeV) and offsets (deg)."""
        values = self.aeff.evaluate(energy_true=energy * u.TeV, offset=offset * u.deg)
        return np.asarray(values.to_value("cm2"))

    def largest_area(self, energy: Array, offsets: tuple[float, float]) -> Array:
        """Return the largest effective area (cm2) at any offset of a range (deg), for each energy."""
        nodes = self.aeff.axes["offset"].center.to_value("deg")
        first, last = offsets
        nodes = np.array([first, *nodes[(nodes > first) & (nodes < last)], last])
        # The table ends at its last edge, where the area jumps to zero.
        end = self.aeff.axes["offset"].bounds[1].to_value("deg")
        nodes = np.minimum(nodes, end) if first <= end else nodes
        return np.asarray(self.area(energy[:, None], nodes[None, :]).max(axis=1))

    def reconstruct(
        self, energy: Array, vectors: Array, rng: Generator, use_edisp: bool = True, use_psf: bool = True
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Draw reconstructed energies and directions.

        Parameters
        ----------
        energy, vectors : array
            True energies (TeV), shape (n,), and directions, shape (n, 3).
        rng : `~numpy.random.Generator`
            Random numbers.
        use_edisp, use_psf : bool
            Whether to apply the energy dispersion and the point spread function.

        Returns
        -------
        energy, vectors, found : array
            Also whether the tables have a response there.
        """
        offset, found = self.field.offset(vectors), np.ones(len(energy), dtype=bool)
        reco, direction = energy, vectors
        if use_edisp and self._energies is not None:
            migra, good = self._energies.draw(energy, offset, rng)
            # Also where none is found numbers stay usable; such events are dropped.
            reco, found = energy * np.where(good, migra, 1.0), found & good
        if use_psf and self._angles is not None:
            angle, good = self._angles.draw(energy, offset, rng)
            azimuth = rng.uniform(0, 2 * np.pi, len(energy))
            direction, found = displaced(vectors, np.where(good, angle, 0.0), azimuth), found & good
        return reco, direction, found & (reco > 0)


def _edisp_table(edisp: Any, energy_range: tuple[float, float]) -> NodeTable:
    energy, offset = _table_nodes(edisp, energy_range)
    density = edisp.densities(energy * u.TeV, offset * u.deg)
    edges = edisp.axes["migra"].edges.value
    total = np.cumsum(np.moveaxis(density, 1, 2) * np.diff(edges), axis=-1)
    norm = total[..., -1:]
    cumulative = np.divide(total, norm, out=np.zeros(total.shape), where=norm > 1e-12)
    return NodeTable(energy, offset, edges, np.pad(cumulative, [(0, 0), (0, 0), (1, 0)]))


def _psf_table(psf: Any, energy_range: tuple[float, float]) -> NodeTable:
    energy, offset = _table_nodes(psf, energy_range)
    grid = np.meshgrid(energy, offset, indexing="ij")
    tables = psf.radial_tables(grid[0].ravel() * u.TeV, grid[1].ravel() * u.deg)
    end = min(_MAX_ANGLE, max(table.theta_max for table in tables))
    theta = np.concatenate([[0.0], np.geomspace(_MIN_ANGLE, end, _N_ANGLES)])
    cumulative = np.zeros((len(tables), len(theta)))
    for row, table in enumerate(tables):
        if table.integral > 0.5:
            values = table.containment(theta)
            cumulative[row] = np.maximum.accumulate(values - values[0]) / (values[-1] - values[0])
    return NodeTable(energy, offset, theta, cumulative.reshape(len(energy), len(offset), len(theta)))

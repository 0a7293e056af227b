"""What the likelihood knows of a list of events."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError
from villard.likelihood.event_response import MigraDensity, cell_weights, energy_nodes, node_weights
from villard.likelihood.kept import source_key
from villard.likelihood.map_measurement import (
    _LOCAL,
    _SMALL,
    CompressedMeasurement,
    MapMeasurement,
    _is_background,
    _is_template,
)
from villard.likelihood.measurement import Response
from villard.likelihood.sky_grid import unit_vector

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.likelihood.source_setup import BoundSource

__all__ = ["CompressedEvents", "EventMeasurement"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EventMeasurement(MapMeasurement):
    """Events, and the pixels and energies among which they were selected.

    Parameters are as for `MapMeasurement`: the geometry and the mask say what is selected, the background is
    that of its bins. ``data["counts"]`` isn't used.

    Parameters
    ----------
    event_energy : array
        Reconstructed energies in TeV, shape (n_events,).
    event_sky : `~astropy.coordinates.SkyCoord`
        Reconstructed directions.
    event_background : array, optional
        Density of the given background at the events, in TeV⁻¹ sr⁻¹.
    """

    event_energy: Array = None  # type: ignore[assignment]
    event_sky: "SkyCoord" = None
    event_background: Array | None = None

    @property
    def n_kept(self) -> int:
        """Number of events."""
        return len(self.event_energy)

    @cached_property
    def event_pixels(self) -> tuple[Array, Array]:
        """Columns and rows of the events on the map."""
        x, y = self.geom.skydir_to_pix(self.event_sky)
        return np.asarray(x, dtype=float), np.asarray(y, dtype=float)

    def event_vectors(self, frame: str) -> Array:
        """Return unit vectors of the events in a frame, shape (n_events, 3)."""
        key = ("vectors", frame)
        if key not in self._sources:
            sky = self.event_sky.transform_to(frame).spherical
            self._sources[key] = unit_vector(sky.lon.deg, sky.lat.deg)
        return np.asarray(self._sources[key])

    def migra(self, position: "SkyCoord") -> MigraDensity:
        """Return the energy dispersion at a direction."""
        from villard.irf.position import interp_position

        values = interp_position(self.edisp.edisp_map, position, f"Dataset {self.name!r}: edisp")
        return MigraDensity(self.edisp.migra_axis.edges.value, values)

    def compressed(self, all_bins: bool = False) -> "CompressedEvents":
        """Return what the fit needs: the total in the selection, and all events."""
        n, n_true = len(self.event_energy), len(self.energy_edges_true) - 1
        first = np.append(1.0, np.zeros(n))
        return CompressedEvents(
            name=self.name,
            statistic=self.statistic,
            data={"counts": 1 - first, "share": first},
            mask=np.ones(n + 1, dtype=bool),
            energy_min=self.energy_edges_true[:-1],
            energy_max=self.energy_edges_true[1:],
            exposure=np.ones(n_true),
            edisp=np.broadcast_to(0.0, (n_true, n + 1)),
            cube=self,
            bins=np.arange(n),
            rest=self.mask,
            gti=self.gti,
        )


@dataclass(frozen=True, eq=False)
class CompressedEvents(CompressedMeasurement):
    """The total of a selection, and behind it all events."""

    cube: EventMeasurement = None  # type: ignore[assignment]

    #: Lists of events are padded to few different lengths.
    coarse = True

    def pack(self, cube: Array) -> Array:
        """Return the sum of a cube over the selection, and densities (TeV⁻¹ sr⁻¹) at the events."""
        total = np.sum(cube[..., self.rest], axis=-1, keepdims=True)
        return np.concatenate([total, self._density_of_cube(cube)], axis=-1)

    def _density_of_cube(self, cube: Array) -> Array:
        """Interpolate a cube of counts: bilinear between pixels, constant within bins of energy."""
        n_energies, rows, columns = self.cube.shape
        edges = self.cube.energy[0]
        area = np.nan_to_num(self.cube.geom.to_image().solid_angle().to_value("sr"))
        width = np.diff(edges)[:, None, None] * np.broadcast_to(area, (rows, columns))
        values = cube.reshape(n_energies, rows, columns)
        density = np.divide(values, width, out=np.zeros(values.shape), where=width > 0)
        energy = np.clip(np.searchsorted(edges, self.cube.event_energy, side="right") - 1, 0, n_energies - 1)
        x, y = (np.clip(p, 0, n - 1) for p, n in zip(self.cube.event_pixels, (columns, rows), strict=True))
        i, j = np.minimum(x.astype(int), max(columns - 2, 0)), np.minimum(y.astype(int), max(rows - 2, 0))
        i2, j2 = np.minimum(i + 1, columns - 1), np.minimum(j + 1, rows - 1)
        lower = density[energy, j, i] * (1 - (x - i)) + density[energy, j, i2] * (x - i)
        upper = density[energy, j2, i] * (1 - (x - i)) + density[energy, j2, i2] * (x - i)
        return np.asarray(lower * (1 - (y - j)) + upper * (y - j))

    def _background(self) -> Array:
        background = self.cube.background
        if background is None:
            return np.zeros(self.n_bins)
        packed = self.pack(background)
        if self.cube.event_background is not None:
            packed[1:] = self.cube.event_background
        return packed

    def background_of(self, models: Any) -> Array:
        """Return total and densities of the background that no model stands for."""
        if any(_is_background(m) for m in models if m.contributes_to(self.cube.name)):
            return np.zeros(self.n_bins)
        return self._background()

    def _template_response(self, model: Any) -> Response:
        cube = self.cube.template_cube(model)
        _, centers = self.cube.energy
        if _is_background(model):
            density = self._background()[1:]
            if model.spatial_model is not None:
                sky = self.cube.event_sky.transform_to(model.spatial_model.frame).spherical
                energy = self.cube.event_energy
                density = density * _factor(model.spatial_model, sky, energy)
        else:
            density = self._density_of_cube(cube)
        # Its spectrum is a smooth factor: that at an event follows from those at the centres of bins.
        index, weights = node_weights(np.log(self.cube.event_energy), np.log(centers))
        matrix = np.zeros((len(centers), self.n_bins))
        columns = np.arange(1, self.n_bins)
        for k in range(index.shape[1]):
            matrix[index[:, k], columns] += weights[:, k] * density
        matrix[:, 0] = np.where(self.rest, cube, 0.0).reshape(len(centers), -1).sum(axis=1)
        return Response(centers, centers, matrix, 0)

    # Sources

    def response(self, model: Any) -> Response:
        """Return the response to a model of fixed morphology."""
        if _is_template(model):
            return self._template_response(model)
        key = source_key(model)
        key = None if key is None else ("response", key)
        if key is None or key not in self.cube._sources:
            found = self._response(model)
            if key is None:
                return found
            self.cube._sources[key] = found
        return self.cube._sources[key]

    def _response(self, model: Any) -> Response:
        from villard.likelihood.event_shapes import densities

        if model.spatial_model is not None and model.spatial_model.is_point:
            source, image = self.cube.source(model), None
        else:
            source, image = self.cube.fixed_source(model)
        if source is None:
            edges = self.cube.energy_edges_true
            return Response(edges[:1], edges[1:2], np.zeros((1, self.n_bins)), 4)
        function, arrays, columns, edisp = self._event_map(source, model)
        if image is not None:
            prepared = function.from_image(image)
        else:
            values = np.array([p.engine_value for p in model.spatial_model.parameters])
            prepared = function.prepared(values, arrays)
        low, high, order = source.energies
        reached = len(columns)
        matrix = np.empty((len(low), reached + 1))
        matrix[:, 0] = np.asarray(function.total(prepared, arrays))
        matrix[:, 1:] = (np.asarray(densities(function, prepared, arrays))[:reached] * edisp[:reached]).T
        columns = np.append(0, columns)
        if self.n_bins > _SMALL and reached < _LOCAL * self.n_bins:
            return Response(low, high, matrix, order, columns)
        dense = np.zeros((len(low), self.n_bins))
        dense[:, columns] = matrix
        return Response(low, high, dense, order)

    def shape_function(self, source: "BoundSource", model: Any, pure: Any, n_columns: int) -> tuple[Any, Any]:
        """Return the function of a source whose position or shape is free, and its arrays."""
        from villard.likelihood.event_shapes import EventShapeFunction

        function, arrays, columns, edisp = self._event_map(source, model)
        return EventShapeFunction.bound(source, pure, function, arrays, edisp, columns, n_columns)

    def _event_map(self, source: "BoundSource", model: Any) -> tuple[Any, dict[str, Any], Any, Array]:
        """Return the function, its arrays, the columns of the events that a source reaches, and their
        densities of energy, padded, shape (n_padded, n_true)."""
        from villard.likelihood.event_shapes import EventMap
        from villard.likelihood.point_map import PointMap, padded_length, point_arrays

        self._check(source, model)
        events, x, y = self._reached(source)
        n = padded_length(len(events))
        nodes, shares, table = self._energies(source, model)
        edisp = np.zeros((n, len(source.energies[0])))
        edisp[: len(events)] = table.at_energies(nodes, shares, self.cube.event_energy[events]).T
        probability = table.in_bins(nodes, shares, self.cube.energy[0])
        if source.map.kind == "point":
            vectors = self.cube.event_vectors(source.cutout.frame)[events][:, np.newaxis]
            areas, selected = np.ones((len(events), 1)), self.empty(source.cutout)
            return PointMap(), point_arrays(source, vectors, areas, selected, probability), events + 1, edisp
        arrays = source.arrays | _pixel_shares(source, x, y, n)
        arrays["inside"] = probability @ self.empty(source.cutout)
        return EventMap(source.map), arrays, events + 1, edisp

    def _check(self, source: "BoundSource", model: Any) -> None:
        where = f"Dataset {self.cube.name!r}: model {model.name!r}"
        spatial = model.spatial_model
        if spatial.is_point and source.map.kind != "point" and self.cube.psf is None:
            raise ModelError(f"{where}: a point source needs a PSF, or its events would have no density")
        if min(source.cutout.shape) < 4:
            raise DataError(f"{where}: the map has too few pixels")

    def _reached(self, source: "BoundSource") -> tuple[NDArray[np.intp], Array, Array]:
        """Return the events on the cutout of a source, and their columns and rows there."""
        x, y = (p - o for p, o in zip(self.cube.event_pixels, source.cutout.origin, strict=True))
        rows, columns = source.cutout.shape
        on = (x > -0.5) & (x < columns - 0.5) & (y > -0.5) & (y < rows - 0.5)
        events = np.flatnonzero(on)
        return events, x[events], y[events]

    def _energies(self, source: "BoundSource", model: Any) -> tuple[Array, Array, Any]:
        """Return points in the bins of true energy, their shares, and the energy dispersion."""
        low, _, order = source.energies
        edges = self.cube.energy_edges_true
        if order == 0:
            # Energies of their own, several per bin.
            nodes, shares = low[:, None], np.ones((len(low), 1))
        else:
            nodes, shares = energy_nodes(edges)
        if self.cube.edisp is None or not model.apply_irf["edisp"]:
            return nodes, shares, _ExactEnergies(edges, len(nodes) // (len(edges) - 1))
        position = model.spatial_model.position
        center = self.cube.geom.center_skydir if position is None else position
        table = self.cube.migra(center)
        return nodes, shares, table.repeated(len(nodes) // (len(edges) - 1))


class _ExactEnergies:
    """Energies that are reconstructed exactly: spectra are interpolated between bins of true energy."""

    def __init__(self, edges: Array, repeats: int) -> None:
        self._edges, self._repeats = edges, repeats

    def at_energies(self, nodes: Array, shares: Array, energy: Array) -> Array:
        """Return densities of reconstructed energies (TeV⁻¹), shape (n_true, n)."""
        centers = np.sqrt(self._edges[1:] * self._edges[:-1])
        index, weights = node_weights(np.log(energy), np.log(centers))
        result = np.zeros((len(centers), len(energy)))
        for k in range(index.shape[1]):
            result[index[:, k], np.arange(len(energy))] += weights[:, k]
        # Flux in a bin, over its width, is that at the centre.
        result = result / np.diff(self._edges)[:, None]
        return np.repeat(result / self._repeats, self._repeats, axis=0)

    def in_bins(self, nodes: Array, shares: Array, edges: Array) -> Array:
        """Return probabilities of bins of reconstructed energy, shape (n_true, n_bins)."""
        low, high = self._edges[:-1, None], self._edges[1:, None]
        overlap = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
        result = np.clip(overlap, 0, None) / (high - low)
        return np.repeat(result, self._repeats, axis=0)


def _pixel_shares(source: "BoundSource", x: Array, y: Array, n: int) -> dict[str, Any]:
    """Return the pixels, and their weights (sr⁻¹), from which densities at events are interpolated."""
    rows, columns = source.cutout.shape
    (i, across), (j, up) = cell_weights(x, columns), cell_weights(y, rows)
    pixels = (j[:, :, None] * columns + i[:, None, :]).reshape(len(x), 16)
    shares = (up[:, :, None] * across[:, None, :]).reshape(len(x), 16)
    area = source.cutout.area.ravel()[pixels]
    shares = np.divide(shares, area, out=np.zeros(shares.shape), where=area > 0)
    result: dict[str, Any] = {"pixels": np.zeros((n, 16), dtype=int), "shares": np.zeros((n, 16))}
    result["pixels"][: len(x)], result["shares"][: len(x)] = pixels, shares
    return result


def _factor(spatial: Any, sky: Any, energy: Array) -> Array:
    import astropy.units as u

    if spatial.is_energy_dependent:
        return np.asarray(spatial(sky.lon, sky.lat, energy * u.TeV).value)
    return np.asarray(spatial(sky.lon, sky.lat).value)

"""True energies and directions of simulated events, drawn from sky models.

Events are proposed from the spectrum times the largest effective area within a source, and from the
morphology; each is accepted with the ratio of the area at its place to that largest one. So what is drawn
follows spectrum x morphology x area without a grid of their product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.simulate.event_draws import EnergyDensity, draw_index
from villard.simulate.event_field import FieldOfView, axes_at, displaced, rotation
from villard.simulate.event_response import ResponseSampler

if TYPE_CHECKING:
    from villard.modeling.models import SkyModel

__all__ = ["SourceSampler"]

Array = NDArray[np.float64]
Generator = np.random.Generator

#: Energies per decade at which spectra, and at which morphologies that depend on energy, are tabulated.
_PER_DECADE, _PLANES_PER_DECADE = 400, 16
#: Size of pixels (deg), and their largest number in one direction.
_BIN, _MAX_PIXELS = 0.02, 600
_FLUX = u.Unit("cm-2 s-1 TeV-1")


class SourceSampler:
    """Draws true events of one sky model.

    Parameters
    ----------
    model : `~villard.modeling.models.SkyModel`
        Source.
    response : `ResponseSampler`
        Responses.
    time_factor : float
        Mean of the temporal model.

    Raises
    ------
    ModelError
        If the model has no morphology, or the exposure isn't to be applied.
    """

    def __init__(self, model: SkyModel, response: ResponseSampler, time_factor: float = 1.0) -> None:
        where = f"Simulated events of {model.name!r}"
        if model.spatial_model is None:
            raise ModelError(f"{where}: it has no spatial_model, which says where events come from")
        if not model.apply_irf["exposure"]:
            raise ModelError(f"{where}: without exposure (apply_irf) there is no number of events")
        self.model, self.response = model, response
        self.sky = SkySampler(model.spatial_model, response)
        low, high = response.energy_range
        self.energy = _energies(model, low, high, response)
        flux = (model.spectral_model(self.energy * u.TeV) * self.sky.unit).to_value(_FLUX)
        if np.any(flux < 0) or not np.all(np.isfinite(flux)):
            raise ModelError(
                f"{where}: its flux is negative or not finite at an energy from {low} to {high} TeV"
            )
        self._largest = response.largest_area(self.energy, self.sky.offsets)
        flux = flux * self.sky.flux(self.energy) * self._largest * response.livetime * time_factor
        self.density = EnergyDensity(self.energy, flux)

    @property
    def n_proposed(self) -> float:
        """Expected number of proposals of the whole observation."""
        return self.density.total

    def propose(self, n: int, rng: Generator) -> tuple[Array, Array]:
        """Draw true events that the area accepts.

        Parameters
        ----------
        n : int
            Number of proposals.
        rng : `~numpy.random.Generator`
            Random numbers.

        Returns
        -------
        energy, vectors : array
            True energies (TeV), shape (m,) with m up to n, and local directions, shape (m, 3).
        """
        energy = self.density.draw(n, rng)
        vectors = self.sky.draw(energy, rng)
        weight = self.weight(energy, vectors)
        accepted = rng.random(n) < weight
        return energy[accepted], vectors[accepted]

    def weight(self, energy: Array, vectors: Array) -> Array:
        """Return the probabilities with which proposals are accepted."""
        area = self.response.area(energy, self.response.field.offset(vectors))
        largest = np.interp(np.log(energy), np.log(self.energy), self._largest)
        return np.divide(area, largest, out=np.zeros(len(area)), where=largest > 0)


def _energies(model: SkyModel, low: float, high: float, response: ResponseSampler) -> Array:
    """Return energies (TeV): equally spaced, nodes of the area, and both sides of the model's breaks."""
    n = max(2, int(np.ceil(np.log10(high / low) * _PER_DECADE)))
    nodes = [np.geomspace(low, high, n), response.aeff.axes["energy_true"].center.to_value("TeV")]
    pure = model.spectral_model.pure()
    if pure.breaks is not None:
        values = np.array([p.engine_value for p in model.spectral_model.parameters], dtype=float)
        breaks = np.asarray(pure.breaks(values, pure.arrays)).ravel()
        nodes += [breaks * (1 - 1e-9), breaks * (1 + 1e-9)]
    energies = np.unique(np.concatenate(nodes))
    return energies[(energies >= low) & (energies <= high)]


class SkySampler:
    """Draws directions from a morphology.

    A morphology is integrated over pixels of 0.02 deg (smaller for small sources), in which directions are
    uniform.

    Parameters
    ----------
    spatial : `~villard.modeling.models.SpatialModel`
        Morphology.
    response : `ResponseSampler`
        Responses, for the field of view and its margin.
    """

    def __init__(self, spatial: Any, response: ResponseSampler) -> None:
        self._field = response.field
        self.unit: u.UnitBase = u.dimensionless_unscaled
        self._log_energy = np.zeros(0)
        self._radial: tuple[Array, Array] | None = None
        if spatial.is_point:
            self._set_point(spatial)
        elif hasattr(spatial, "radial_distribution"):
            self._set_radial(spatial, response.margin)
        else:
            self._set_pixels(spatial, response)

    def _set_point(self, spatial: Any) -> None:
        vector = _center(self._field, spatial)
        self._point: Array | None = vector
        self._total = np.ones(1)
        offset = float(self._field.offset(vector))
        self.offsets = (offset, offset)

    def _set_radial(self, spatial: Any, margin: float) -> None:
        """Set up a round source by the integral within separations, out to the corners of the field."""
        vector = _center(self._field, spatial)
        offset = float(self._field.offset(vector))
        radius = min(offset + self._field.half_diagonal + margin, 180.0)
        extent = float(spatial.evaluation_radius.to_value("deg"))
        radius = min(radius, extent)
        self._point, self._radial = vector, spatial.radial_distribution(radius * u.deg)
        self._total = self._radial[1][-1:]
        self.offsets = max(offset - radius, 0.0), offset + radius

    def _set_pixels(self, spatial: Any, response: ResponseSampler) -> None:
        from astropy.coordinates import SkyCoord

        from villard.maps import WcsGeom

        self._point = None
        center, half = self._extent(spatial, response.margin)
        smallest = spatial.evaluation_bin_size_min
        wanted = _BIN if smallest is None else min(_BIN, 0.5 * float(smallest.to_value("deg")))
        if spatial.is_energy_dependent and smallest is not None:
            # A cube at many energies: no finer than half of its own pixels.
            wanted = max(wanted, 0.5 * float(smallest.to_value("deg")))
        npix = [int(np.clip(np.ceil(2 * h / wanted), 8, _MAX_PIXELS)) for h in half]
        self._bins = np.array([2 * h / n for h, n in zip(half, npix, strict=True)])
        self._npix = npix
        lon, lat = float(center.spherical.lon.deg), float(center.spherical.lat.deg)
        geom = WcsGeom.create(
            skydir=SkyCoord(lon, lat, unit="deg", frame=center.frame.name),
            npix=tuple(npix),
            binsz=tuple(self._bins),
            proj="TAN",
            frame=center.frame.name,
        )
        turn = axes_at(center) @ rotation(self._field.frame, center.frame.name)
        self._turn = self._field.axes @ turn.T
        self._set_planes(spatial, geom, response.energy_range)
        rows, columns = np.indices(npix[::-1]).reshape(2, -1)
        offset = self._field.offset(self._directions(columns, rows))
        lit = np.sum(self._planes, axis=0) > 0
        edge = float(np.hypot(*self._bins))
        if np.any(lit):
            self.offsets = max(float(offset[lit].min()) - edge, 0.0), float(offset[lit].max()) + edge
        else:
            self.offsets = 0.0, edge

    def _extent(self, spatial: Any, margin: float) -> tuple[Any, tuple[float, float]]:
        """Return centre and half widths (deg, on the tangential plane) of the pixels."""
        a, b = (np.radians(min(0.5 * width + margin, 80.0)) for width in self._field.width)
        field = float(np.degrees(np.tan(a) / np.cos(b))), float(np.degrees(np.tan(b) / np.cos(a)))
        radius, position = spatial.evaluation_radius, spatial.position
        if radius is None or position is None:
            return self._field.center, field
        size = float(np.degrees(np.tan(min(float(radius.to_value("rad")), 1.2))))
        if size > 0.7 * min(field):
            return self._field.center, field
        return position, (size, size)

    def _set_planes(self, spatial: Any, geom: Any, energy_range: tuple[float, float]) -> None:
        from villard.maps import MapAxis

        if spatial.is_energy_dependent:
            low, high = np.log(energy_range)
            n = max(2, int(np.ceil((high - low) / np.log(10) * _PLANES_PER_DECADE)))
            self._log_energy = np.linspace(low, high, n)
            nodes = np.exp(self._log_energy) * u.TeV
            axis = MapAxis.from_nodes(nodes, name="energy_true", interp="log")
            geom = geom.to_cube([axis])
        image = spatial.integrate_geom(geom).quantity
        self.unit = image.unit
        planes = np.maximum(image.value, 0.0).reshape(max(1, len(self._log_energy)), -1)
        self._planes = np.cumsum(planes, axis=1)
        self._total = self._planes[:, -1]

    def flux(self, energy: Array) -> Array:
        """Return the integral over the pixels at energies (TeV), in `unit`."""
        if not len(self._log_energy):
            return np.broadcast_to(self._total[0], energy.shape)
        x = np.log(energy)
        if np.all(self._total > 0):
            return np.asarray(np.exp(np.interp(x, self._log_energy, np.log(self._total))))
        return np.asarray(np.interp(x, self._log_energy, self._total))

    def draw(self, energy: Array, rng: Generator) -> Array:
        """Draw a local direction for each energy (TeV), shape (n, 3)."""
        n = len(energy)
        if self._radial is not None and self._point is not None:
            separation, integral = self._radial
            psi = np.interp(rng.random(n) * integral[-1], integral, separation)
            azimuth = rng.uniform(0, 2 * np.pi, n)
            return displaced(np.broadcast_to(self._point, (n, 3)), psi, azimuth)
        if self._point is not None:
            return np.broadcast_to(self._point, (n, 3))
        random = rng.random((3, n))
        pixel = self._pixels(energy, random[0], rng)
        row, column = np.divmod(pixel, self._npix[0])
        return self._directions(column + random[1] - 0.5, row + random[2] - 0.5)

    def _pixels(self, energy: Array, random: Array, rng: Generator) -> NDArray[np.intp]:
        if len(self._planes) == 1:
            return draw_index(self._planes[0], random)
        # One of the two neighbouring energies, with the weight that it has in the interpolation.
        at = np.interp(np.log(energy), self._log_energy, np.arange(len(self._log_energy)))
        node = np.floor(at + rng.random(len(at))).astype(np.intp)
        node = np.minimum(node, len(self._log_energy) - 1)
        result = np.zeros(len(energy), dtype=np.intp)
        order = np.argsort(node, kind="stable")
        for k, events in zip(*_groups(node, order), strict=True):
            if self._total[k] > 0:
                result[events] = draw_index(self._planes[k], random[events])
        return result

    def _directions(self, column: NDArray[Any], row: NDArray[Any]) -> Array:
        """Return local vectors of positions in pixels, by the gnomonic projection."""
        nx, ny = self._npix
        # Longitudes grow to the left.
        xi = -np.radians(self._bins[0]) * (column - 0.5 * (nx - 1))
        eta = np.radians(self._bins[1]) * (row - 0.5 * (ny - 1))
        vectors = np.stack([np.ones(len(xi)), xi, eta], axis=-1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors @ self._turn.T)


def _center(field: FieldOfView, spatial: Any) -> Array:
    """Return the local direction of the centre of a morphology."""
    lon, lat = spatial.position_lonlat
    return field.from_frame(lon, lat, spatial.frame)


def _groups(
    labels: NDArray[np.intp], order: NDArray[np.intp]
) -> tuple[NDArray[np.intp], list[NDArray[np.intp]]]:
    """Return the different labels, and the positions of each."""
    values, first = np.unique(labels[order], return_index=True)
    return values, np.split(order, first[1:])

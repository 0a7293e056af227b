"""Events of the residual background, drawn from the table of reconstructed rates itself."""

from __future__ import annotations

import hashlib
import itertools
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError
from villard.irf.fov import observation_frames
from villard.simulate.event_draws import EnergyDensity, draw_index
from villard.simulate.event_field import FieldOfView, axes_at, rotation

if TYPE_CHECKING:
    from villard.modeling.models import FoVBackgroundModel

__all__ = ["BackgroundSampler"]

Array = NDArray[np.float64]

#: Nodes of energy between two of the table, and size of pixels (deg).
_STEPS, _BIN = 6, 0.05
_MAX_PIXELS = 400


class BackgroundSampler:
    """Draws reconstructed energies and directions from `Background2D` or `Background3D`.

    Parameters
    ----------
    model : `~villard.modeling.models.IRFBackground` or `~villard.modeling.models.FoVBackgroundModel`
        Factor to the table.
    observation : `~villard.data.Observation`
        Observation with the response "bkg".
    field : `FieldOfView`
        Bounds of reconstructed events.

    Raises
    ------
    DataError
        If the observation has no background, or the orientation of its table isn't known.
    """

    def __init__(self, model: FoVBackgroundModel, observation: Any, field: FieldOfView) -> None:
        self.model, self.field, self._bkg = model, field, observation.bkg
        if self._bkg is None:
            raise DataError(
                f"Simulated events of {model.name!r}: the observation has no table of background rates (bkg)"
            )
        self._turns = _turns(observation, self._bkg, field)
        self._energy = _nodes(self._bkg, field.energy_bounds)
        self._npix = [int(np.clip(np.ceil(w / _BIN), 8, _MAX_PIXELS)) for w in field.width]
        # Pixels of equal steps of longitude and of the sine of latitude have equal solid angles.
        self._lon = 0.5 * field.width[0] * np.linspace(-1, 1, self._npix[0] + 1)
        top = np.sin(np.radians(0.5 * field.width[1]))
        self._sin_lat = top * np.linspace(-1, 1, self._npix[1] + 1)
        self.ontime = float(observation.ontime.to_value("s"))
        self._tabulate()

    def _tabulate(self) -> None:
        lon = 0.5 * (self._lon[1:] + self._lon[:-1])
        lat = np.degrees(np.arcsin(0.5 * (self._sin_lat[1:] + self._sin_lat[:-1])))
        vectors = self.field.from_local(lon, lat[:, None]).reshape(-1, 3)
        solid_angle = np.radians(np.diff(self._lon)[0]) * np.diff(self._sin_lat)[0]
        planes = self.rate(self._energy[:, None], vectors) * solid_angle
        self._planes = np.cumsum(planes, axis=1)
        self.density = EnergyDensity(self._energy, self._planes[:, -1] * self.ontime)

    @property
    def n_proposed(self) -> float:
        """Expected number of events of the whole observation; all proposals are accepted."""
        return self.density.total

    def rate(self, energy: Array, vectors: Array) -> Array:
        """Return the rate (s-1 TeV-1 sr-1) at energies (TeV) and local directions, which broadcast.

        Parameters
        ----------
        energy : array
            Energies, shape (n_energies, 1) or (n,).
        vectors : array
            Directions, shape (n, 3).
        """
        coords: dict[str, Any] = {"energy": energy * u.TeV}
        total: Any = 0.0
        for turn in self._turns:
            if turn is None:
                coords["offset"] = self.field.offset(vectors) * u.deg
            else:
                x, y, z = (vectors @ turn.T).T
                coords["fov_lon"] = np.degrees(np.arctan2(y, x)) * u.deg
                coords["fov_lat"] = np.degrees(np.arctan2(z, np.hypot(x, y))) * u.deg
            total = total + self._bkg.evaluate(**coords).to_value("s-1 TeV-1 sr-1")
        return np.asarray(total / len(self._turns) * self._factor(energy, vectors))

    def _factor(self, energy: Array, vectors: Array) -> Array:
        from astropy.coordinates import SkyCoord

        model: Any = self.model
        spatial = model.spatial_model
        if spatial is None:
            factor = model.evaluate(energy * u.TeV)
        else:
            lon, lat = self.field.to_frame(vectors, self.field.frame)
            sky = SkyCoord(lon, lat, unit="deg", frame=self.field.frame).transform_to(spatial.frame)
            factor = model.evaluate(energy * u.TeV, sky.spherical.lon, sky.spherical.lat)
        if np.any(factor < 0) or not np.all(np.isfinite(factor)):
            raise ModelError(f"Simulated events of {model.name!r}: the norm is negative or not finite")
        return np.asarray(factor)

    @property
    def fingerprint(self) -> bytes:
        """Bytes that differ between rates."""
        return hashlib.sha256(self._planes.tobytes() + self._energy.tobytes()).digest()

    def for_rates(self) -> Self:
        """Return a copy that has rates only, to be sent elsewhere."""
        new = copy(self)
        del new._planes, new.density
        return new

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw reconstructed energies (TeV), shape (n,), and local directions, shape (n, 3)."""
        energy = self.density.draw(n, rng)
        pixel = self._pixels(energy, rng)
        row, column = np.divmod(pixel, self._npix[0])
        lon = self._lon[column] + rng.random(n) * (self._lon[1] - self._lon[0])
        sin_lat = self._sin_lat[row] + rng.random(n) * (self._sin_lat[1] - self._sin_lat[0])
        return energy, self.field.from_local(lon, np.degrees(np.arcsin(sin_lat)))

    def _pixels(self, energy: Array, rng: np.random.Generator) -> NDArray[np.intp]:
        """Draw a pixel from the plane of one of the two neighbouring energies."""
        at = np.interp(np.log(energy), np.log(self._energy), np.arange(len(self._energy)))
        node = np.minimum(np.floor(at + rng.random(len(at))), len(self._energy) - 1).astype(np.intp)
        # Where a neighbour is empty the other one takes its place.
        empty = self._planes[:, -1] <= 0
        other = np.clip(2 * np.floor(at) + 1 - node, 0, len(self._energy) - 1).astype(np.intp)
        node = np.where(empty[node], other, node)
        random, result = rng.random(len(at)), np.zeros(len(at), dtype=np.intp)
        order = np.argsort(node, kind="stable")
        values, first = np.unique(node[order], return_index=True)
        for k, events in zip(values, np.split(order, first[1:]), strict=True):
            result[events] = draw_index(self._planes[k], random[events])
        return result


def _nodes(bkg: Any, bounds: tuple[float, float]) -> Array:
    """Return energies (TeV) within the bounds and the table's ends: its nodes and some between them."""
    axis = bkg.axes["energy"]
    first, last = axis.bounds.to_value("TeV")
    low, high = max(bounds[0], first), min(bounds[1], last)
    if not low < high:
        raise DataError(
            f"Simulated events: the background is known from {first:.4g} to {last:.4g} TeV, "
            f"not between {bounds[0]:g} and {bounds[1]:g} TeV"
        )
    centers = axis.center.to_value("TeV")
    nodes = np.unique(np.concatenate([[low, high], centers[(centers > low) & (centers < high)]]))
    parts = [np.geomspace(a, b, _STEPS, endpoint=False) for a, b in itertools.pairwise(nodes)]
    return np.concatenate([*parts, [high]])


def _turns(observation: Any, bkg: Any, field: FieldOfView) -> list[Array | None]:
    """Return matrices that turn local vectors into those along the axes of a table, each shape (3, 3).

    They are several for a field of view that turns in the course of the observation; `None` stands for a
    table of offsets.
    """
    if "offset" in bkg.required_axes:
        return [None]
    alignment = bkg.fov_alignment
    if alignment == "ALTAZ":
        start, stop = observation.tstart, observation.tstop
        frames = observation_frames(field.center, start, stop, observation.location)
        return [_turn_altaz(frame, field) for frame in frames]
    if alignment in ("RADEC", "REVERSE_LON_RADEC"):
        turn = axes_at(field.center.icrs) @ rotation(field.frame, "icrs") @ field.axes.T
        return [np.diag([1.0, 1.0 if alignment == "RADEC" else -1.0, 1.0]) @ turn]
    raise DataError(
        f"Simulated events: coordinates of the background's field of view are aligned with {alignment!r}, "
        "expected RADEC, REVERSE_LON_RADEC or ALTAZ"
    )


def _turn_altaz(frame: Any, field: FieldOfView) -> Array:
    """Return the matrix for axes along azimuth and altitude in a frame."""
    from astropy.coordinates import SkyCoord

    # Refraction and aberration shift all directions of the field of view alike.
    step = 0.1
    lon, lat = field.to_frame(field.from_local([0, step, 0], [0, 0, step]), field.frame)
    altaz = SkyCoord(lon, lat, unit="deg", frame=field.frame).transform_to(frame)
    east, north = (altaz[0].position_angle(altaz[i]).rad for i in (1, 2))
    # Position angles in the altazimuth system, from the zenith towards rising azimuth.
    turn = np.eye(3)
    turn[1:, 1:] = [[np.sin(east), np.sin(north)], [np.cos(east), np.cos(north)]]
    return turn

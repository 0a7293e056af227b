"""The field of view of simulated events: directions around the pointing, and their bounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["FieldOfView", "axes_at", "displaced", "rotation"]

Array = NDArray[np.float64]

_WIDTH_MAX = 120.0
_FRAMES = ("icrs", "galactic")


def rotation(frame: str, other: str) -> Array:
    """Return the matrix that turns unit vectors of one frame into those of another, shape (3, 3)."""
    from astropy.coordinates import SkyCoord

    if frame == other:
        return np.eye(3)
    axes = SkyCoord([0, 90, 0], [0, 0, 90], unit="deg", frame=frame).transform_to(other)
    return np.asarray(axes.cartesian.xyz.value)


def axes_at(center: SkyCoord) -> Array:
    """Return unit vectors towards a direction, to its east and to its north, in its frame: rows of (3, 3)."""
    lon, lat = float(center.spherical.lon.rad), float(center.spherical.lat.rad)
    return np.array(
        [
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)],
            [-np.sin(lon), np.cos(lon), 0.0],
            [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)],
        ]
    )


@dataclass(frozen=True)
class FieldOfView:
    """Bounds of reconstructed directions and energies.

    Directions are unit vectors with the components towards the pointing, to its east and to its north in a
    frame ("local" vectors, shape (..., 3)). The field of view are those whose longitude and latitude in these
    coordinates are within half the widths.

    Parameters
    ----------
    center : `~astropy.coordinates.SkyCoord`
        Pointing.
    width : (float, float)
        Full widths (deg) in longitude and latitude.
    energy_bounds : (float, float)
        Lowest and highest energy (TeV).
    """

    center: SkyCoord
    width: tuple[float, float]
    energy_bounds: tuple[float, float]

    @classmethod
    def create(
        cls, center: SkyCoord, width: Any, energy_bounds: Any, frame: str | None = None
    ) -> FieldOfView:
        """Make a field of view after checking its bounds.

        Parameters
        ----------
        center : `~astropy.coordinates.SkyCoord`
            Pointing.
        width : `~astropy.units.Quantity`
            One width, or those in longitude and latitude.
        energy_bounds : `~astropy.units.Quantity`
            Lowest and highest energy.
        frame : str, optional
            Frame to whose coordinates the sides are parallel; that of the pointing by default.
        """
        center = _in_frame(center, frame)
        try:
            widths = np.broadcast_to(u.Quantity(width).to_value("deg"), (2,)).astype(float)
            energies = np.asarray(u.Quantity(energy_bounds).to_value("TeV"), dtype=float)
        except (u.UnitConversionError, ValueError) as error:
            raise DataError(f"Simulated events: width or energy_bounds can't be used ({error})") from error
        if not np.all((widths > 0) & (widths <= _WIDTH_MAX)):
            raise DataError(
                f"Simulated events: expected widths up to {_WIDTH_MAX:g} deg, found {widths.tolist()} deg"
            )
        if energies.shape != (2,) or not 0 < energies[0] < energies[1] < np.inf:
            raise DataError(
                f"Simulated events: expected energy_bounds as lowest and highest energy, "
                f"found {energy_bounds}"
            )
        pair = (float(widths[0]), float(widths[1]))
        return cls(center, pair, (float(energies[0]), float(energies[1])))

    @property
    def frame(self) -> str:
        """Frame to whose coordinates the sides are parallel."""
        return str(self.center.frame.name)

    @cached_property
    def axes(self) -> Array:
        """Axes of the local vectors in the frame, shape (3, 3)."""
        return axes_at(self.center)

    @property
    def half_diagonal(self) -> float:
        """Angle between the pointing and the corners (deg), or a little more."""
        return 0.5 * float(np.hypot(*self.width))

    def to_frame(self, vectors: Array, frame: str) -> tuple[Array, Array]:
        """Return longitudes (from 0 to 360) and latitudes (deg) of local vectors in a frame."""
        x, y, z = (vectors @ (rotation(self.frame, frame) @ self.axes.T).T).T
        return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))

    def from_frame(self, lon: Any, lat: Any, frame: str) -> Array:
        """Return local vectors of longitudes and latitudes (deg) in a frame."""
        lon, lat = np.broadcast_arrays(np.radians(lon), np.radians(lat))
        vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        return np.asarray(vectors @ (self.axes @ rotation(frame, self.frame)).T)

    def local(self, vectors: Array) -> tuple[Array, Array]:
        """Return longitude and latitude (deg) in the coordinates around the pointing."""
        x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
        return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))

    def from_local(self, lon: Any, lat: Any) -> Array:
        """Return local vectors of longitudes and latitudes (deg) around the pointing."""
        lon, lat = np.broadcast_arrays(np.radians(lon), np.radians(lat))
        return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)

    def offset(self, vectors: Array) -> Array:
        """Return angles to the pointing (deg)."""
        return np.degrees(np.arctan2(np.hypot(vectors[..., 1], vectors[..., 2]), vectors[..., 0]))

    def contains(self, energy: Array, vectors: Array) -> NDArray[np.bool_]:
        """Tell which energies (TeV) and directions are within the bounds."""
        lon, lat = self.local(vectors)
        low, high = self.energy_bounds
        inside = (np.abs(lon) <= 0.5 * self.width[0]) & (np.abs(lat) <= 0.5 * self.width[1])
        return np.asarray(inside & (energy >= low) & (energy <= high))


def _in_frame(center: SkyCoord, frame: str | None) -> SkyCoord:
    if frame is None:
        frame = center.frame.name if center.frame.name in _FRAMES else "icrs"
    if frame not in _FRAMES:
        raise DataError(f"Simulated events: expected one of the frames {_FRAMES}, found {frame!r}")
    return center.transform_to(frame)


def displaced(vectors: Array, angle: Array, azimuth: Array) -> Array:
    """Return directions at angles (rad) from others, in the azimuths around them (rad)."""
    # Any vector that isn't parallel makes a basis.
    other = np.where(np.abs(vectors[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(vectors, other)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(vectors, first)
    across = np.cos(azimuth)[:, None] * first + np.sin(azimuth)[:, None] * second
    return np.asarray(np.cos(angle)[:, None] * vectors + np.sin(angle)[:, None] * across)

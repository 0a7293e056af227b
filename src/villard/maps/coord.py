"""Coordinates of the bins of a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import DataError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps.geom import Geom

__all__ = ["MapCoord"]


class MapCoord(Mapping[str, Any]):
    """Arrays of coordinates by axis name, that broadcast against each other.

    Parameters
    ----------
    coords : mapping
        Axis name to quantity, and optionally "skycoord" to directions.

    Examples
    --------
    >>> coord = MapCoord({"energy": [1, 10] * u.TeV})
    >>> coord["energy"], coord.shape
    (<Quantity [ 1., 10.] TeV>, (2,))
    """

    def __init__(self, coords: Mapping[str, Any]) -> None:
        self._coords = {
            name: value if name == "skycoord" else u.Quantity(value) for name, value in coords.items()
        }

    @classmethod
    def from_any(cls, coords: Mapping[str, Any] | Sequence[Any] | SkyCoord, geom: Geom) -> MapCoord:
        """Make coordinates of a dictionary, a tuple or directions.

        Parameters
        ----------
        coords : dict, `MapCoord`, tuple or `~astropy.coordinates.SkyCoord`
            Quantity per axis, and "skycoord" or "lon" and "lat" (deg, in the frame of the geometry); or
            a tuple of longitude, latitude (where the geometry has pixels) and the axes in order, with one
            `~astropy.coordinates.SkyCoord` for both if wanted; or that alone.
        geom : `Geom`
            Geometry that says which axes there are, and their units.
        """
        if isinstance(coords, MapCoord):
            return coords
        if hasattr(coords, "spherical"):
            coords = {"skycoord": coords}
        elif not isinstance(coords, Mapping):
            names = geom.axes.names if geom.is_region else geom.axes_names
            if len(coords) and hasattr(coords[0], "spherical"):
                names = ["skycoord", *geom.axes.names]
            if len(coords) != len(names):
                raise DataError(f"Expected one coordinate for each of {names}, found {len(coords)}")
            coords = dict(zip(names, coords, strict=True))
        coords = dict(coords)
        if "lon" in coords and "lat" in coords:
            from astropy.coordinates import SkyCoord

            lon, lat = (u.Quantity(coords.pop(name), "deg") for name in ("lon", "lat"))
            coords["skycoord"] = SkyCoord(lon, lat, frame=geom.frame or "icrs")
        for axis in geom.axes:
            if axis.name in coords and not hasattr(coords[axis.name], "unit"):
                coords[axis.name] = u.Quantity(coords[axis.name], axis.unit)
        return cls(coords)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all coordinates broadcast against each other."""
        return np.broadcast_shapes(*(value.shape for value in self._coords.values()))

    @property
    def skycoord(self) -> SkyCoord:
        """Directions."""
        return self["skycoord"]

    @property
    def lon(self) -> u.Quantity:
        """Longitudes of the directions (deg)."""
        return self.skycoord.spherical.lon.to("deg")

    @property
    def lat(self) -> u.Quantity:
        """Latitudes of the directions (deg)."""
        return self.skycoord.spherical.lat.to("deg")

    def __getitem__(self, name: str) -> Any:
        if name not in self._coords:
            raise DataError(f"No coordinate {name!r}. {nearest(name, self._coords)}")
        return self._coords[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._coords)

    def __len__(self) -> int:
        return len(self._coords)

    def __contains__(self, name: object) -> bool:
        return name in self._coords

    def __repr__(self) -> str:
        return f"MapCoord({', '.join(self._coords)}, shape={self.shape})"

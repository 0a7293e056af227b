"""Geometry of one region of the sky: what a spectrum has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.axes import MapAxes
from villard.maps.axis import MapAxis
from villard.maps.coord import MapCoord
from villard.maps.geom import Geom
from villard.maps.regions import SkyRegion, SkyRegionUnion, make_region

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["RegionGeom"]


class RegionGeom(Geom):
    """One pixel of any shape on the sky, with axes.

    Parameters
    ----------
    region : str, `SkyRegion`, ``regions.SkyRegion``, `~astropy.coordinates.SkyCoord`, list of these, or None
        Region; text in DS9 notation. `None` if it isn't known, as in many spectrum files.
    axes : list of `MapAxis`
        Axes.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
    >>> geom = RegionGeom.create("icrs;circle(83.63, 22.01, 0.11)", axes=[axis])
    >>> geom.data_shape
    (4, 1, 1)
    """

    is_region = True

    def __init__(self, region: Any = None, axes: Iterable[MapAxis] | MapAxis | None = None) -> None:
        super().__init__(axes)
        self._region = make_region(region)

    @classmethod
    def create(cls, region: Any = None, axes: Iterable[MapAxis] | MapAxis | None = None) -> RegionGeom:
        """Make a geometry; the same as the constructor."""
        return cls(region, axes=axes)

    @classmethod
    def from_regions(cls, regions: Sequence[Any], axes: Iterable[MapAxis] | None = None) -> RegionGeom:
        """Make a geometry of several regions taken together."""
        return cls(list(regions), axes=axes)

    @property
    def region(self) -> SkyRegion | SkyRegionUnion | None:
        """Region, or `None` if it isn't known."""
        return self._region

    @property
    def spatial_shape(self) -> tuple[int, int]:
        """Shape of the sky part of the data, always (1, 1)."""
        return (1, 1)

    @property
    def frame(self) -> str | None:
        """Frame of the region's coordinates, or `None` without region."""
        return None if self._region is None else self._region.frame

    @property
    def center_skydir(self) -> SkyCoord | None:
        """Centre of the region, or `None` without region."""
        return None if self._region is None else self._region.center

    def solid_angle(self) -> u.Quantity:
        """Return the solid angle of the region (sr).

        Raises
        ------
        DataError
            If there is no region.
        """
        if self._region is None:
            raise DataError("Solid angle: the geometry has no region")
        return self._region.solid_angle

    def contains(self, position: SkyCoord) -> NDArray[np.bool_]:
        """Return whether directions are inside the region."""
        if self._region is None:
            raise DataError("Position: the geometry has no region")
        return self._region.contains(position)

    def get_coord(self, sparse: bool = False) -> MapCoord:
        """Return the coordinates of all bin centres.

        Parameters
        ----------
        sparse : bool
            Whether arrays have only the extent that they need to broadcast.

        Returns
        -------
        `MapCoord`
            A quantity per axis and, if there is a region, "skycoord".
        """
        coords: dict[str, Any] = {axis.name: self._along(axis.center, axis.name) for axis in self.axes}
        if not sparse:
            coords = {
                name: np.broadcast_to(value, self.data_shape, subok=True) for name, value in coords.items()
            }
        if self._region is not None:
            coords["skycoord"] = self._region.center.reshape((1,) * self.ndim)
        return MapCoord(coords)

    def _with_axes(self, axes: MapAxes) -> Self:
        return type(self)(self._region, axes=axes)

    def _is_same_sky(self, other: Geom) -> bool:
        region = getattr(other, "region", None)
        if self._region is None or region is None or self._region == region:
            return self._region == region
        return self._region.is_allclose(region)

    def __repr__(self) -> str:
        return f"RegionGeom({str(self._region)!r}, axes={list(self.axes)!r})"

    def __str__(self) -> str:
        rows = {
            "region": "none" if self._region is None else str(self._region),
            "axes": ", ".join(self.axes_names),
            "shape": str(self.data_shape),
            "ndim": str(self.ndim),
        }
        return "RegionGeom\n" + "".join(f"\n  {key:7s}: {value}" for key, value in rows.items()) + "\n"

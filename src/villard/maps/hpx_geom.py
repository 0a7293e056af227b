"""Geometry of HEALPix pixels, which cover the whole sky with equal areas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.axes import MapAxes
from villard.maps.axis import MapAxis
from villard.maps.coord import MapCoord
from villard.maps.geom import Geom
from villard.utils.lazy import import_optional

__all__ = ["HpxGeom"]


class HpxGeom(Geom):
    """Pixels of equal area over the whole sky (Górski et al. 2005, ApJ 622, 759), and axes.

    It needs the package astropy-healpix (``pip install 'villard[healpix]'``).

    Parameters
    ----------
    nside : int
        Number of pixels along the side of each of the 12 base pixels: a power of two for "nested".
    nest : bool
        Whether pixels are counted in the order "nested", or in that of rings.
    frame : {"icrs", "galactic"}
        Frame of the coordinates.
    axes : list of `MapAxis`, optional
        Axes beside the sky.

    Examples
    --------
    >>> geom = HpxGeom(8, frame="galactic")
    >>> geom.data_shape
    (768,)
    """

    is_hpx = True

    def __init__(
        self,
        nside: int,
        nest: bool = False,
        frame: str = "icrs",
        axes: Iterable[MapAxis] | MapAxis | None = None,
    ) -> None:
        super().__init__(axes)
        if int(nside) != nside or nside < 1 or (nest and nside & (nside - 1)):
            raise DataError(f"HpxGeom: expected a positive integer (power of two) as nside, found {nside}")
        if frame not in {"icrs", "galactic"}:
            raise DataError(f"HpxGeom: expected the frame 'icrs' or 'galactic', found {frame!r}")
        self._nside, self._nest, self._frame = int(nside), bool(nest), frame

    @property
    def nside(self) -> int:
        """Number of pixels along the side of a base pixel."""
        return self._nside

    @property
    def nest(self) -> bool:
        """Whether pixels are counted in the order "nested"."""
        return self._nest

    @property
    def npix(self) -> int:
        """Number of pixels."""
        return 12 * self._nside**2

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of the sky part of the data: the number of pixels."""
        return (self.npix,)

    @property
    def frame(self) -> str:
        """Frame of the coordinates."""
        return self._frame

    @property
    def is_allsky(self) -> bool:
        """Always true."""
        return True

    @property
    def center_skydir(self) -> SkyCoord:
        """Direction of longitude and latitude 0."""
        return SkyCoord(0, 0, unit="deg", frame=self._frame)

    @cached_property
    def _healpix(self) -> Any:
        module = import_optional("astropy_healpix", "healpix")
        return module.HEALPix(self._nside, order="nested" if self._nest else "ring")

    def skydirs(self) -> SkyCoord:
        """Return the direction of each pixel's centre, shape `spatial_shape`."""
        lon, lat = self._healpix.healpix_to_lonlat(np.arange(self.npix))
        return SkyCoord(lon, lat, frame=self._frame)

    def skydir_to_idx(self, skydir: SkyCoord) -> NDArray[np.intp]:
        """Return the pixel that holds each direction."""
        coord = skydir.transform_to(self._frame).spherical
        return np.asarray(self._healpix.lonlat_to_healpix(coord.lon, coord.lat), dtype=np.intp)

    def neighbours(self, skydir: SkyCoord) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the four pixels, and their weights, between which directions are interpolated.

        Returns
        -------
        idx, weights : `~numpy.ndarray`
            Arrays of the shape (4, ...).
        """
        coord = skydir.transform_to(self._frame).spherical
        return self._healpix.bilinear_interpolation_weights(coord.lon, coord.lat)

    def contains(self, coords: SkyCoord | Mapping[str, Any] | MapCoord) -> NDArray[np.bool_]:
        """Return whether directions (always), or coordinates with those of the axes, are on the map."""
        if isinstance(coords, SkyCoord):
            return np.isfinite(coords.spherical.lon.deg)
        coord = MapCoord.from_any(coords, self)
        inside = np.isfinite(coord.skycoord.spherical.lon.deg)
        for axis in self.axes:
            inside = inside & (axis.coord_to_idx(coord[axis.name]) >= 0)
        return np.broadcast_to(inside, coord.shape)

    def solid_angle(self) -> u.Quantity:
        """Return the solid angle of a pixel (sr), the same for all."""
        return 4 * np.pi / self.npix * u.sr

    def get_coord(self, sparse: bool = False) -> MapCoord:
        """Return the coordinates of all bin centres: "skycoord" and a quantity per axis.

        Parameters
        ----------
        sparse : bool
            Whether arrays have only the extent that they need to broadcast.
        """
        coords: dict[str, Any] = {axis.name: self._along(axis.center, axis.name) for axis in self.axes}
        if not sparse:
            coords = {k: np.broadcast_to(v, self.data_shape, subok=True) for k, v in coords.items()}
        coords["skycoord"] = self.skydirs().reshape((1,) * len(self.axes) + self.spatial_shape)
        return MapCoord(coords)

    def _with_axes(self, axes: MapAxes) -> Self:
        return type(self)(self._nside, self._nest, self._frame, axes=axes)

    def _is_same_sky(self, other: Geom) -> bool:
        if not isinstance(other, HpxGeom):
            return False
        return (self._nside, self._nest, self._frame) == (other.nside, other.nest, other.frame)

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name}: {axis.nbin}" for axis in self.axes)
        order = "nested" if self._nest else "ring"
        return f"HpxGeom({self._frame}, nside={self._nside}, {order}, {axes or 'image'})"

"""Geometry of pixels on a world coordinate system."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.axes import MapAxes
from villard.maps.axis import MapAxis
from villard.maps.coord import MapCoord
from villard.maps.geom import Geom

__all__ = ["WcsGeom"]

Array = NDArray[np.float64]

_CTYPES = {"galactic": ("GLON", "GLAT"), "icrs": ("RA--", "DEC-")}
#: Relative and absolute tolerance within which two WCS are the same sky, in pixels.
_WCS_TOLERANCE = 1e-3


class WcsGeom(Geom):
    """Pixels on the sky, and axes such as energy.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial coordinate system.
    npix : tuple of int
        Number of pixels in longitude and latitude.
    axes : list of `MapAxis`, optional
        Axes beside the sky.

    Examples
    --------
    >>> geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.5, width=(10, 5), proj="TAN")
    >>> geom.npix, geom.projection, geom.frame
    ((20, 10), 'TAN', 'galactic')
    >>> round(float(geom.solid_angle().sum().to_value("deg2")), 1)
    49.9
    """

    def __init__(
        self, wcs: WCS, npix: Sequence[int], axes: Iterable[MapAxis] | MapAxis | None = None
    ) -> None:
        super().__init__(axes)
        if not wcs.has_celestial or wcs.naxis != 2:
            raise DataError(f"WcsGeom: expected a WCS with two celestial axes, found {wcs.naxis} axes")
        nx, ny = (int(n) for n in npix)
        if nx < 1 or ny < 1:
            raise DataError(f"WcsGeom: expected at least one pixel in each direction, found {nx} x {ny}")
        self._wcs, self._npix = wcs, (nx, ny)

    @classmethod
    def create(
        cls,
        npix: int | Sequence[int] | None = None,
        binsz: float | Sequence[float] | u.Quantity = 0.5,
        proj: str = "CAR",
        frame: str = "icrs",
        refpix: tuple[float, float] | None = None,
        axes: Iterable[MapAxis] | None = None,
        skydir: SkyCoord | tuple[float, float] | None = None,
        width: Any = None,
    ) -> WcsGeom:
        """Make a geometry around a direction.

        Parameters
        ----------
        npix : int or (int, int), optional
            Number of pixels in longitude and latitude.
        binsz : float or (float, float) or `~astropy.units.Quantity`
            Width of the pixels in longitude and latitude, in deg.
        proj : str
            FITS code of the projection.
        frame : {"icrs", "galactic"}
            Frame of the coordinates.
        refpix : (float, float), optional
            Reference pixel (FITS, from 1); the centre by default.
        axes : list of `MapAxis`, optional
            Axes beside the sky.
        skydir : `~astropy.coordinates.SkyCoord` or (lon, lat) in deg, optional
            Centre; (0, 0) by default.
        width : float, (float, float) or `~astropy.units.Quantity`, optional
            Width of the map in deg; the whole sky if neither it nor ``npix`` is given.

        Raises
        ------
        DataError
            If the frame, projection or sizes aren't allowed.
        """
        if frame not in _CTYPES:
            raise DataError(f"WcsGeom: expected the frame 'icrs' or 'galactic', found {frame!r}")
        cdelt = _pair(binsz, "binsz")
        if npix is None:
            size = np.array([360.0, 180.0]) if width is None else _pair(width, "width")
            npix = np.maximum(np.round(size / cdelt), 1).astype(int)
        npix = np.broadcast_to(np.asarray(npix, dtype=int), 2)
        lon, lat = _direction(skydir, frame)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = [f"{name}-{proj.upper()}" for name in _CTYPES[frame]]
        wcs.wcs.cdelt = [-cdelt[0], cdelt[1]]
        wcs.wcs.cunit = ["deg", "deg"]
        center = (npix + 1) / 2 if refpix is None else np.asarray(refpix, dtype=float)
        if proj.upper() == "CAR":
            # The plate carrée is defined around the equator: shift the pixels, not the pole.
            wcs.wcs.crval = [lon, 0.0]
            wcs.wcs.crpix = [center[0], center[1] - lat / cdelt[1]]
        else:
            wcs.wcs.crval = [lon, lat]
            wcs.wcs.crpix = center
        if frame == "icrs":
            wcs.wcs.radesys = "ICRS"
        try:
            wcs.wcs.set()
        except Exception as error:
            raise DataError(f"WcsGeom: no such projection {proj!r} ({error})") from error
        return cls(wcs, (int(npix[0]), int(npix[1])), axes=axes)

    @property
    def wcs(self) -> WCS:
        """World coordinate system."""
        return self._wcs

    @property
    def npix(self) -> tuple[int, int]:
        """Number of pixels in longitude and latitude."""
        return self._npix

    @property
    def spatial_shape(self) -> tuple[int, int]:
        """Shape of the sky part of the data: latitude, longitude."""
        return self._npix[1], self._npix[0]

    @property
    def projection(self) -> str:
        """FITS code of the projection."""
        return str(self._wcs.wcs.ctype[0])[-3:]

    @property
    def frame(self) -> str:
        """Frame of the coordinates: "icrs" or "galactic" (or another name of astropy's)."""
        name = wcs_to_celestial_frame(self._wcs).name
        return "icrs" if name in ("icrs", "fk5") else str(name)

    @property
    def pixel_scales(self) -> u.Quantity:
        """Width of the pixels in longitude and latitude (deg), at the reference pixel."""
        return u.Quantity(np.abs(self._wcs.wcs.cdelt), "deg")

    @property
    def width(self) -> u.Quantity:
        """Width of the map in longitude and latitude (deg)."""
        return self.pixel_scales * np.array(self._npix)

    @property
    def is_allsky(self) -> bool:
        """Whether longitudes go all the way round."""
        return bool(self.width[0] >= 360 * u.deg * (1 - 1e-9))

    @property
    def center_pix(self) -> tuple[float, float]:
        """Pixel coordinates (from 0) of the centre."""
        return (self._npix[0] - 1) / 2, (self._npix[1] - 1) / 2

    @property
    def center_skydir(self) -> SkyCoord:
        """Direction of the centre."""
        return self.pix_to_skydir(*self.center_pix)

    def pix_to_skydir(self, x: Any, y: Any) -> SkyCoord:
        """Return the directions of pixel coordinates (from 0); NaN where the projection has none."""
        lon, lat = self._wcs.wcs_pix2world(x, y, 0)
        return SkyCoord(lon, lat, unit="deg", frame=self.frame)

    def skydir_to_pix(self, skydir: SkyCoord) -> tuple[Array, Array]:
        """Return pixel coordinates (from 0) of directions; NaN where the projection has none.

        Longitudes are taken the way round that falls on the map, wherever the map begins.
        """
        coord = skydir.transform_to(self.frame)
        x, y = self._wcs.wcs_world2pix(coord.spherical.lon.deg, coord.spherical.lat.deg, 0)
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if self.projection == "CAR":
            period = 360.0 / self.pixel_scales[0].value
            x = self.center_pix[0] + (x - self.center_pix[0] + period / 2) % period - period / 2
        return x, y

    def contains(self, position: SkyCoord) -> NDArray[np.bool_]:
        """Return whether directions are on the map."""
        x, y = self.skydir_to_pix(position)
        nx, ny = self._npix
        with np.errstate(invalid="ignore"):
            return (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)

    def _pixels(self, edges: bool = False) -> tuple[Array, Array]:
        shift = 0.5 if edges else 0.0
        nx, ny = (n + int(edges) for n in self._npix)
        x, y = np.meshgrid(np.arange(nx) - shift, np.arange(ny) - shift)
        return x, y

    def skydirs(self) -> SkyCoord:
        """Return the direction of each pixel centre, shape `spatial_shape`."""
        return self.pix_to_skydir(*self._pixels())

    def separation(self, center: SkyCoord) -> u.Quantity:
        """Return the angle between each pixel centre and a direction (deg), shape `spatial_shape`."""
        return self.skydirs().separation(center.transform_to(self.frame)).to("deg")

    def solid_angle(self) -> u.Quantity:
        """Return the solid angle of each pixel (sr), shape `spatial_shape`; NaN off the sky.

        Each pixel is split in two spherical triangles (van Oosterom & Strackee 1983, eq. 8), which is
        exact for edges along great circles.
        """
        lon, lat = (np.radians(value) for value in self._wcs.wcs_pix2world(*self._pixels(edges=True), 0))
        vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        a, b = vectors[:-1, :-1], vectors[:-1, 1:]
        c, d = vectors[1:, 1:], vectors[1:, :-1]
        return u.Quantity(_triangle(a, b, c) + _triangle(a, c, d), "sr")

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

    # Derived geometries

    def cutout_slices(self, position: SkyCoord, width: Any) -> tuple[slice, slice]:
        """Return the rows and columns of a rectangle around a direction, clipped to the map.

        Raises
        ------
        DataError
            If the rectangle lies wholly outside.
        """
        x, y = (float(value) for value in self.skydir_to_pix(position))
        half = _pair(width, "width") / self.pixel_scales.value / 2
        bounds = []
        for center, extent, n in zip((x, y), half, self._npix, strict=True):
            first, last = round(center - extent + 0.5), round(center + extent + 0.5)
            last = max(last, first + 1)
            if last <= 0 or first >= n:
                raise DataError(f"Cutout at {position.to_string('decimal')}: lies wholly outside the map")
            bounds.append(slice(max(first, 0), min(last, n)))
        return bounds[1], bounds[0]

    def cutout(self, position: SkyCoord, width: Any) -> WcsGeom:
        """Return the geometry of a rectangle around a direction, clipped to the map.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord`
            Centre.
        width : float, (float, float) or `~astropy.units.Quantity`
            Width in longitude and latitude, in deg.
        """
        return self._slice(*self.cutout_slices(position, width))

    def _slice(self, rows: slice, columns: slice) -> WcsGeom:
        wcs = self._wcs.deepcopy()
        wcs.wcs.crpix = wcs.wcs.crpix - np.array([columns.start, rows.start])
        return WcsGeom(wcs, (columns.stop - columns.start, rows.stop - rows.start), axes=self.axes)

    def downsample(self, factor: int, axis_name: str | None = None) -> WcsGeom:
        """Return the geometry with ``factor`` × ``factor`` pixels, or bins of an axis, joined."""
        if axis_name is not None:
            return self.replace_axis(self.axes[axis_name].downsample(factor))  # type: ignore[return-value]
        if any(n % factor for n in self._npix):
            raise DataError(f"Downsample: {self._npix} pixels can't be joined by {factor}")
        return self._scaled(1 / factor, (self._npix[0] // factor, self._npix[1] // factor))

    def upsample(self, factor: int, axis_name: str | None = None) -> WcsGeom:
        """Return the geometry with each pixel, or bin of an axis, split by ``factor``."""
        if axis_name is not None:
            return self.replace_axis(self.axes[axis_name].upsample(factor))  # type: ignore[return-value]
        return self._scaled(factor, (self._npix[0] * factor, self._npix[1] * factor))

    def pad(self, pad_width: int | tuple[int, int]) -> WcsGeom:
        """Return the geometry with pixels added on every side."""
        px, py = np.broadcast_to(pad_width, 2)
        wcs = self._wcs.deepcopy()
        wcs.wcs.crpix = wcs.wcs.crpix + np.array([px, py])
        return WcsGeom(wcs, (self._npix[0] + 2 * int(px), self._npix[1] + 2 * int(py)), axes=self.axes)

    def _scaled(self, factor: float, npix: tuple[int, int]) -> WcsGeom:
        wcs = self._wcs.deepcopy()
        wcs.wcs.cdelt = wcs.wcs.cdelt / factor
        wcs.wcs.crpix = (wcs.wcs.crpix - 0.5) * factor + 0.5
        return WcsGeom(wcs, npix, axes=self.axes)

    def _with_axes(self, axes: MapAxes) -> WcsGeom:
        return WcsGeom(self._wcs, self._npix, axes=axes)

    def _is_same_sky(self, other: Geom) -> bool:
        if not isinstance(other, WcsGeom) or self._npix != other.npix:
            return False
        if (self.frame, self.projection) != (other.frame, other.projection):
            return False
        corners = np.array([[0, 0], [self._npix[0] - 1, self._npix[1] - 1], self.center_pix])
        x, y = other.skydir_to_pix(self.pix_to_skydir(corners[:, 0], corners[:, 1]))
        return bool(np.allclose(np.stack([x, y], axis=1), corners, atol=_WCS_TOLERANCE, equal_nan=True))

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name}: {axis.nbin}" for axis in self.axes)
        return (
            f"WcsGeom({self.frame}, {self.projection}, {self._npix[0]} x {self._npix[1]}, {axes or 'image'})"
        )

    def __str__(self) -> str:
        center, scales, width = self.center_skydir, self.pixel_scales.value, self.width.value
        rows = {
            "axes": ", ".join(self.axes_names),
            "shape": str(self.data_shape),
            "frame": self.frame,
            "projection": self.projection,
            "center": f"{center.spherical.lon.deg:.4f}, {center.spherical.lat.deg:.4f} deg",
            "pixels": f"{scales[0]:g} x {scales[1]:g} deg",
            "width": f"{width[0]:g} x {width[1]:g} deg",
        }
        return "WcsGeom\n" + "".join(f"\n  {key:10s}: {value}" for key, value in rows.items()) + "\n"


def _triangle(a: Array, b: Array, c: Array) -> Array:
    """Solid angle of spherical triangles with unit vectors as corners."""
    numerator = np.abs(np.sum(a * np.cross(b, c), axis=-1))
    denominator = 1 + np.sum(a * b, axis=-1) + np.sum(b * c, axis=-1) + np.sum(c * a, axis=-1)
    return 2 * np.arctan2(numerator, denominator)


def _pair(value: Any, where: str) -> Array:
    """Return an angle or a pair of angles as two positive numbers in deg."""
    if isinstance(value, str | u.Quantity) or (
        isinstance(value, Sequence) and any(isinstance(v, u.Quantity | str) for v in value)
    ):
        value = u.Quantity(value).to_value("deg")
    pair = np.broadcast_to(np.asarray(value, dtype=float), 2).copy()
    if not np.all(pair > 0):
        raise DataError(f"WcsGeom: {where} must be positive, found {value}")
    return pair


def _direction(skydir: SkyCoord | tuple[float, float] | None, frame: str) -> tuple[float, float]:
    if skydir is None:
        return 0.0, 0.0
    if isinstance(skydir, SkyCoord):
        coord = skydir.transform_to(frame)
        return float(coord.spherical.lon.deg), float(coord.spherical.lat.deg)
    lon, lat = skydir
    return float(u.Quantity(lon, "deg").value), float(u.Quantity(lat, "deg").value)

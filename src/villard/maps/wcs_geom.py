"""Geometry of pixels on a world coordinate system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.axes import MapAxes
from villard.maps.axis import MapAxis
from villard.maps.coord import MapCoord
from villard.maps.geom import Geom
from villard.maps.wcs_header import angle_pair, is_upright, make_wcs, sky_direction

if TYPE_CHECKING:
    from villard.maps.wcs_map import WcsNDMap

__all__ = ["WcsGeom"]

Array = NDArray[np.float64]

# Within how many pixels two coordinate systems agree to be the same.
_WCS_TOLERANCE = 1e-3
_EQUAL_AREA = {"AIT", "CEA", "MOL", "SFL", "ZEA"}


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
    49.8
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
        scale = angle_pair(binsz, "WcsGeom, binsz")
        if npix is None:
            size = np.array([360.0, 180.0]) if width is None else angle_pair(width, "WcsGeom, width")
            shape = np.maximum(np.round(size / scale), 1).astype(int)
        else:
            shape = np.broadcast_to(np.asarray(npix, dtype=int), 2)
        lon, lat = sky_direction(skydir, frame)
        center = (shape + 1) / 2 if refpix is None else np.asarray(refpix, dtype=float)
        wcs = make_wcs(lon, lat, frame, proj, scale, (float(center[0]), float(center[1])))
        return cls(wcs, (int(shape[0]), int(shape[1])), axes=axes)

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
        return u.Quantity(proj_plane_pixel_scales(self._wcs), "deg")

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

    @cached_property
    def _period(self) -> float | None:
        """Number of pixels once round the sky, for the projection that repeats itself along its rows."""
        if self.projection != "CAR" or not is_upright(self._wcs):
            return None
        return float(360.0 / self.pixel_scales[0].value)

    @cached_property
    def is_cyclic(self) -> bool:
        """Whether the last column of pixels is a neighbour of the first one."""
        return self._period is not None and abs(self._npix[0] - self._period) < _WCS_TOLERANCE

    def pix_to_skydir(self, x: Any, y: Any) -> SkyCoord:
        """Return the directions of pixel coordinates (from 0); NaN where the projection has none."""
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if self._period is not None:
            # wcslib knows only half a turn to either side of the reference pixel.
            reference = self._wcs.wcs.crpix[0] - 1
            x = reference + _wrap(x - reference, self._period)
        lon, lat = self._wcs.wcs_pix2world(x, y, 0)
        return SkyCoord(lon, lat, unit="deg", frame=self.frame)

    def skydir_to_pix(self, skydir: SkyCoord) -> tuple[Array, Array]:
        """Return pixel coordinates (from 0) of directions; NaN where the projection has none.

        Longitudes are taken the way round that falls on the map, wherever the map begins.
        """
        coord = skydir.transform_to(self.frame).spherical
        x, y = (np.asarray(v, dtype=float) for v in self._wcs.wcs_world2pix(coord.lon.deg, coord.lat.deg, 0))
        if self._period is not None:
            x = self.center_pix[0] + _wrap(x - self.center_pix[0], self._period)
        return x, y

    def contains(self, coords: SkyCoord | Mapping[str, Any] | MapCoord) -> NDArray[np.bool_]:
        """Return whether directions, or coordinates with those of the axes, are on the map.

        Parameters
        ----------
        coords : `~astropy.coordinates.SkyCoord`, dict or `MapCoord`
            Directions; or "skycoord", or "lon" and "lat", and a quantity per axis.
        """
        if isinstance(coords, SkyCoord):
            return self._contains_pix(*self.skydir_to_pix(coords))
        coord = MapCoord.from_any(coords, self)
        inside = self._contains_pix(*self.skydir_to_pix(coord.skycoord))
        for axis in self.axes:
            inside = inside & (axis.coord_to_idx(coord[axis.name]) >= 0)
        return np.broadcast_to(inside, coord.shape)

    def _contains_pix(self, x: Array, y: Array) -> NDArray[np.bool_]:
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
        """Return the solid angle of each pixel (sr), shape `spatial_shape`; NaN if not wholly on the sky.

        In the plate carrée the pixels are bounded by meridians and parallels (of the projection's own
        sphere), so that their solid angle is the width in longitude times the difference of the sines of
        latitude. In equal-area projections all are the same. In others each pixel is split in two spherical
        triangles (van Oosterom & Strackee 1983, IEEE Trans. Biom. Eng. 30, 125, eq. 8).
        """
        if self._period is not None:
            return self._solid_angle_car()
        lon, lat = (np.radians(value) for value in self._wcs.wcs_pix2world(*self._pixels(edges=True), 0))
        vectors = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        if self.projection in _EQUAL_AREA:
            missing = sum(np.isnan(lon[i : i - 1 or None, j : j - 1 or None]) for i in (0, 1) for j in (0, 1))
            area = np.radians(1) ** 2 * abs(np.linalg.det(self._wcs.pixel_scale_matrix))
            return u.Quantity(np.where(missing, np.nan, area), "sr")
        a, b = vectors[:-1, :-1], vectors[:-1, 1:]
        c, d = vectors[1:, 1:], vectors[1:, :-1]
        return u.Quantity(_triangle(a, b, c) + _triangle(a, c, d), "sr")

    def _solid_angle_car(self) -> u.Quantity:
        width, height = np.radians(self.pixel_scales.value)
        edges = (np.arange(self._npix[1] + 1) + 0.5 - self._wcs.wcs.crpix[1]) * height
        lower, upper = np.clip(edges[:-1], -np.pi / 2, np.pi / 2), np.clip(edges[1:], -np.pi / 2, np.pi / 2)
        # sin(b) - sin(a), in a form that keeps its digits for narrow pixels.
        area = 2 * width * np.cos((upper + lower) / 2) * np.sin((upper - lower) / 2)
        area[upper <= lower] = np.nan
        return u.Quantity(np.repeat(area[:, np.newaxis], self._npix[0], axis=1), "sr")

    def bin_volume(self) -> u.Quantity:
        """Return solid angle times the widths of the axes' bins, in the shape of the data."""
        volume = self.solid_angle()
        for axis in self.axes:
            volume = volume * self._along(axis.bin_width, axis.name)
        return volume

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

    @property
    def footprint(self) -> SkyCoord:
        """Directions of the four corners, from the first pixel's on, first along latitude."""
        right, top = self._npix[0] - 0.5, self._npix[1] - 0.5
        return self.pix_to_skydir([-0.5, -0.5, right, right], [-0.5, top, top, -0.5])

    def region_mask(self, regions: Any, inside: bool = True) -> WcsNDMap:
        """Return a map that is true for pixels with their centre in one of the regions.

        Parameters
        ----------
        regions : str, region or list of these
            Regions in DS9 notation, `SkyRegion`, objects of the package ``regions`` (any shape), or a
            regions file (``.reg``; ``.fits`` and ``.crtf`` need that package).
        inside : bool
            Whether pixels inside are true, or those outside.

        Examples
        --------
        >>> geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=2)
        >>> int(geom.region_mask("galactic;circle(0, 0, 0.3)").data.sum())
        32
        """
        from villard.maps.wcs_mask import region_mask

        return region_mask(self, regions, inside=inside)

    def boundary_mask(self, width: Any) -> WcsNDMap:
        """Return a map that is false within ``width`` (one or two angles) of the borders."""
        from villard.maps.wcs_mask import boundary_mask

        return boundary_mask(self, width)

    # Derived geometries

    def cutout_slices(
        self, position: SkyCoord, width: Any, mode: str = "trim", odd_npix: bool = False, min_npix: int = 1
    ) -> tuple[slice, slice]:
        """Return the rows and columns of a rectangle around a direction; parameters as for `cutout`.

        With the mode "partial" they may begin below 0 and end beyond the map.
        """
        if mode not in {"trim", "partial"}:
            raise DataError(f"Cutout: unknown mode {mode!r}, expected 'trim' or 'partial'")
        center = np.array([float(value) for value in self.skydir_to_pix(position)])
        where = f"Cutout at {position.to_string('decimal')} ({self.frame} map)"
        if not np.all(np.isfinite(center)):
            raise DataError(f"{where}: the projection {self.projection} doesn't show this direction")
        npix = np.maximum(np.round(angle_pair(width, "Cutout, width") / self.pixel_scales.value), min_npix)
        if odd_npix:
            npix += npix % 2 == 0
        first = np.ceil(center - npix / 2).astype(int)
        last = first + npix.astype(int)
        if np.any(last <= 0) or np.any(first >= self._npix):
            raise DataError(f"{where}: lies wholly outside the map")
        if mode == "trim":
            first, last = np.maximum(first, 0), np.minimum(last, self._npix)
        return slice(int(first[1]), int(last[1])), slice(int(first[0]), int(last[0]))

    def cutout(
        self, position: SkyCoord, width: Any, mode: str = "trim", odd_npix: bool = False, min_npix: int = 1
    ) -> WcsGeom:
        """Return the geometry of a rectangle around a direction.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord`
            Centre.
        width : float, (float, float) or `~astropy.units.Quantity`
            Width in longitude and latitude, in deg.
        mode : {"trim", "partial"}
            Whether the part that lies beyond the map is cut off, or kept.
        odd_npix : bool
            Whether even numbers of pixels are increased by one.
        min_npix : int
            Smallest number of pixels in each direction.

        Raises
        ------
        DataError
            If the rectangle lies wholly outside.
        """
        return self._slice(*self.cutout_slices(position, width, mode, odd_npix, min_npix))

    def _slice(self, rows: slice, columns: slice) -> WcsGeom:
        shift = (-columns.start, -rows.start)
        return self._moved(shift, (columns.stop - columns.start, rows.stop - rows.start))

    def _moved(self, shift: tuple[int, int], npix: tuple[int, int]) -> WcsGeom:
        wcs = self._wcs.deepcopy()
        wcs.wcs.crpix = wcs.wcs.crpix + np.array(shift)
        return WcsGeom(wcs, npix, axes=self.axes)

    def offset_of(self, other: WcsGeom) -> tuple[int, int]:
        """Return the column and row of this geometry at which the pixels of another one begin.

        Raises
        ------
        DataError
            If they don't have the same pixels.
        """
        corners = np.array([(0.0, 0.0), (other.npix[0] - 1.0, other.npix[1] - 1.0)])
        x, y = self.skydir_to_pix(other.pix_to_skydir(corners[:, 0], corners[:, 1]))
        first = np.round([x[0], y[0]])
        expected = corners + first
        same = (self.frame, self.projection) == (other.frame, other.projection)
        # Once round the sky is the same pixel again.
        difference = np.stack([x, y], axis=1) - expected
        if self._period is not None:
            difference[:, 0] = _wrap(difference[:, 0], self._period)
        if not same or not np.all(np.abs(difference) < 10 * _WCS_TOLERANCE):
            raise DataError(f"{other!r} doesn't have the pixels of {self!r}")
        return int(first[0]), int(first[1])

    def downsample(self, factor: int, axis_name: str | None = None) -> WcsGeom:
        """Return the geometry with ``factor`` × ``factor`` pixels, or bins of an axis, joined."""
        if axis_name is not None:
            return self.replace_axis(self.axes[axis_name].downsample(factor))
        if any(n % factor for n in self._npix):
            raise DataError(f"Downsample: {self._npix} pixels can't be joined by {factor}")
        return self._scaled(1 / factor, (self._npix[0] // factor, self._npix[1] // factor))

    def upsample(self, factor: int, axis_name: str | None = None) -> WcsGeom:
        """Return the geometry with each pixel, or bin of an axis, split by ``factor``."""
        if axis_name is not None:
            return self.replace_axis(self.axes[axis_name].upsample(factor))
        return self._scaled(factor, (self._npix[0] * factor, self._npix[1] * factor))

    def pad(self, pad_width: int | tuple[int, int], axis_name: str | None = None) -> WcsGeom:
        """Return the geometry with pixels, or bins of an axis, added on every side.

        Parameters
        ----------
        pad_width : int or (int, int)
            Number along longitude and latitude; or below and above the axis.
        axis_name : str, optional
            Axis.
        """
        if axis_name is not None:
            return self.replace_axis(self.axes[axis_name].pad(pad_width))
        px, py = (int(n) for n in np.broadcast_to(pad_width, 2))
        return self._moved((px, py), (self._npix[0] + 2 * px, self._npix[1] + 2 * py))

    def crop(self, crop_width: int | tuple[int, int]) -> WcsGeom:
        """Return the geometry with pixels removed on every side."""
        px, py = (int(n) for n in np.broadcast_to(crop_width, 2))
        return self._moved((-px, -py), (self._npix[0] - 2 * px, self._npix[1] - 2 * py))

    def to_binsz(self, binsz: Any) -> WcsGeom:
        """Return a geometry of the same centre and (nearly) the same width with other pixels."""
        return WcsGeom.create(
            skydir=self.center_skydir, binsz=binsz, width=self.width, proj=self.projection,
            frame=self.frame, axes=self.axes,
        )  # fmt: skip

    def _scaled(self, factor: float, npix: tuple[int, int]) -> WcsGeom:
        wcs = self._wcs.deepcopy()
        if wcs.wcs.has_cd():
            wcs.wcs.cd = wcs.wcs.cd / factor
        else:
            wcs.wcs.cdelt = wcs.wcs.cdelt / factor
        wcs.wcs.crpix = (wcs.wcs.crpix - 0.5) * factor + 0.5
        return WcsGeom(wcs, npix, axes=self.axes)

    def _with_axes(self, axes: MapAxes) -> Self:
        return type(self)(self._wcs, self._npix, axes=axes)

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


def _wrap(x: Array, period: float) -> Array:
    """Bring numbers between minus and plus half a period."""
    return (x + period / 2) % period - period / 2


def _triangle(a: Array, b: Array, c: Array) -> Array:
    """Solid angle of spherical triangles with unit vectors as corners."""
    numerator = np.abs(np.sum(a * np.cross(b, c), axis=-1))
    denominator = 1 + np.sum(a * b, axis=-1) + np.sum(b * c, axis=-1) + np.sum(c * a, axis=-1)
    return 2 * np.arctan2(numerator, denominator)

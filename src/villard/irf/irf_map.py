"""What maps of responses have in common: a response per pixel, weighted by exposure, in FITS files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError
from villard.irf.position import interp_position
from villard.maps.axis import MapAxis
from villard.maps.core import Map
from villard.maps.fits import open_fits, write_fits
from villard.maps.geom import Geom
from villard.maps.region_geom import RegionGeom
from villard.maps.wcs_map import WcsNDMap

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps.region_map import RegionNDMap

__all__ = ["IRFMap"]


class IRFMap:
    """A response for each pixel of a map; `PSFMap`, `EDispMap` and `EDispKernelMap` are made of it.

    Parameters
    ----------
    irf_map : `~villard.maps.Map`
        Response; its first two axes are `required_axes`.
    exposure_map : `~villard.maps.Map`, optional
        Exposure, by which responses are weighted when they are stacked, with the same axes, of which the
        first one has one bin. One without that axis is given it.

    Raises
    ------
    DataError
        If axes or pixels don't fit, or a value is negative, infinite or NaN.
    UnitsError
        If units don't fit.
    """

    tag: ClassVar[str] = "irf"
    required_axes: ClassVar[tuple[str, str]] = ("", "energy_true")
    _hdu: ClassVar[str] = "IRF"
    _unit: ClassVar[str] = ""
    _axis_units: ClassVar[Mapping[str, str]] = {"energy_true": "TeV"}

    def __init__(self, irf_map: Map, exposure_map: Map | None = None) -> None:
        where = type(self).__name__
        if not isinstance(irf_map, Map):
            raise DataError(f"{where}: expected a map, found {type(irf_map).__name__}")
        if irf_map.geom.is_hpx:
            raise DataError(f"{where}: expected a map of WCS pixels or of a region, found HEALPix")
        _check_axes(irf_map.geom, self.required_axes, where)
        for name, unit in self._axis_units.items():
            if name in irf_map.geom.axes.names:
                _check_unit(irf_map.geom.axes[name].unit, unit, f"{where}, axis {name!r}")
        _check_unit(irf_map.unit, self._unit, where)
        _check_values(irf_map, where)
        self._irf_map = irf_map
        self._exposure_map = None if exposure_map is None else self._fitting_exposure(exposure_map)

    def _fitting_exposure(self, exposure: Map) -> Map:
        where = f"{type(self).__name__}, exposure_map"
        _check_unit(exposure.unit, "cm2 s", where)
        _check_values(exposure, where)
        name = self.required_axes[0]
        geom = self._irf_map.geom.squash(name)
        if name not in exposure.geom.axes.names:
            axes = [geom.axes[name], *exposure.geom.axes]
            exposure = Map.from_geom(
                exposure.geom.to_image().to_cube(axes),
                data=np.expand_dims(exposure.data, len(exposure.geom.axes)),
                unit=exposure.unit,
                meta=exposure.meta,
            )
        if exposure.geom.data_shape != geom.data_shape or exposure.geom.axes.names != geom.axes.names:
            raise DataError(
                f"{where}: expected the axes {geom.axes.names} and the shape {geom.data_shape}, "
                f"found {exposure.geom.axes.names} and {exposure.geom.data_shape}"
            )
        return exposure

    # Content

    @property
    def irf_map(self) -> Map:
        """Response."""
        return self._irf_map

    @property
    def exposure_map(self) -> Map | None:
        """Exposure, or `None`."""
        return self._exposure_map

    @property
    def geom(self) -> Geom:
        """Geometry of the response."""
        return self._irf_map.geom

    @property
    def energy_axis_true(self) -> MapAxis:
        """True energies."""
        return self._irf_map.geom.axes["energy_true"]

    @property
    def has_single_spatial_bin(self) -> bool:
        """Whether there is one response for all positions."""
        return bool(np.prod(self._irf_map.geom.spatial_shape) == 1)

    @property
    def mask_safe_image(self) -> Map:
        """Image that is true where the response isn't all zero."""
        data = np.any(self._irf_map.data > 0, axis=(0, 1))
        return Map.from_geom(self._irf_map.geom.to_image(), data=data)

    def _at(self, position: SkyCoord | None) -> NDArray[np.float64]:
        """Return the response at a direction, shape (n_energy_true, n)."""
        return interp_position(self._irf_map, position, type(self).__name__)

    def _exposure_at(self, position: SkyCoord | None) -> NDArray[np.float64] | None:
        if self._exposure_map is None:
            return None
        return interp_position(self._exposure_map, position, type(self).__name__)[:, 0]

    # Derived maps

    def _new(self, irf_map: Map, exposure_map: Map | None) -> Self:
        return type(self)(irf_map, exposure_map)

    def _apply(self, name: str, *args: Any, **kwargs: Any) -> Self:
        maps = (self._irf_map, self._exposure_map)
        new = [None if item is None else getattr(item, name)(*args, **kwargs) for item in maps]
        return self._new(*new)  # type: ignore[arg-type]

    def copy(self) -> Self:
        """Return a copy."""
        return self._apply("copy")

    def cutout(self, position: SkyCoord, width: Any, mode: str = "trim", min_npix: int = 3) -> Self:
        """Return the responses of a rectangle around a direction.

        Parameters
        ----------
        position, width, mode
            As for `~villard.maps.WcsGeom.cutout`.
        min_npix : int
            Smallest number of pixels in each direction, so that there is something to interpolate between.
        """
        if not isinstance(self._irf_map, WcsNDMap):
            return self.copy()
        return self._apply("cutout", position, width, mode=mode, min_npix=min_npix)

    def slice_by_idx(self, slices: Mapping[str, slice]) -> Self:
        """Return the responses of some bins.

        Parameters
        ----------
        slices : dict
            Axis name to slice. Exposure doesn't depend on the first of `required_axes`.
        """
        for name, item in slices.items():
            if not isinstance(item, slice):
                raise DataError(
                    f"{type(self).__name__}: expected a slice of the axis {name!r}, found {item!r}"
                )
        irf_map = self._irf_map.slice_by_idx(slices)
        exposure = self._exposure_map
        if exposure is not None:
            others = {name: item for name, item in slices.items() if name != self.required_axes[0]}
            exposure = exposure.slice_by_idx(others)
            exposure = exposure.copy(geom=irf_map.geom.squash(self.required_axes[0]))
        return self._new(irf_map, exposure)

    def downsample(self, factor: int, weights: Map | None = None) -> Self:
        """Return the responses averaged over ``factor`` × ``factor`` pixels, weighted by exposure.

        Parameters
        ----------
        factor : int
            Number of pixels, which must divide that of the map.
        weights : `~villard.maps.Map`, optional
            Factors of the exposure, such as a mask.
        """
        if not isinstance(self._irf_map, WcsNDMap):
            return self.copy()
        exposure = self._exposure_map
        share = np.ones((1, 1, 1, 1)) if exposure is None else exposure.data
        if weights is not None:
            share = share * np.asarray(weights.data, dtype=float)
        share = np.broadcast_to(share, (self._irf_map.data.shape[0], 1, *self._irf_map.geom.spatial_shape))
        total = Map.from_geom(self._irf_map.geom.squash(self.required_axes[0]), data=share)
        sums = self._irf_map.copy(data=self._irf_map.data * share).downsample(factor)
        total_sums = total.downsample(factor).data  # type: ignore[attr-defined]
        data = np.divide(sums.data, total_sums, out=np.zeros(sums.data.shape), where=total_sums > 0)
        if exposure is not None:
            exposure = exposure.downsample(factor, preserve_counts=False)  # type: ignore[attr-defined]
        return self._new(sums.copy(data=data), exposure)

    def to_region_nd_map(self, region: Any = None) -> Self:
        """Return one response for all positions: that at a direction, or weighted by exposure in a region.

        Parameters
        ----------
        region : `~astropy.coordinates.SkyCoord`, str, region, optional
            Direction, at which maps are interpolated, or region of which the pixels are averaged; the
            whole map by default.
        """
        from astropy.coordinates import SkyCoord

        if not isinstance(self._irf_map, WcsNDMap):
            return self.copy()
        exposure = self._exposure_map
        if isinstance(region, SkyCoord):
            data = self._at(region)
            weight = None if exposure is None else self._exposure_at(region)
        else:
            data, weight = self._mean_in(region)
        geom = RegionGeom(region, axes=self._irf_map.geom.axes)
        irf_map = _region_map(geom, data, self._irf_map.unit)
        if exposure is None or weight is None:
            return self._new(irf_map, None)
        squashed = geom.squash(self.required_axes[0])
        return self._new(irf_map, _region_map(squashed, weight[:, np.newaxis], exposure.unit))

    def _mean_in(self, region: Any) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        data, geom = self._irf_map.data, self._irf_map.geom
        inside = np.ones(geom.spatial_shape, dtype=bool)
        if region is not None:
            inside = geom.to_image().region_mask(region).data  # type: ignore[attr-defined]
        if not inside.any():
            raise DataError(f"{type(self).__name__}: no pixel of {geom!r} has its centre in {region}")
        if self._exposure_map is None:
            return data[..., inside].mean(axis=-1), None
        weight = self._exposure_map.data[..., inside]
        total = weight.sum(axis=-1, keepdims=True)
        share = np.divide(weight, total, out=np.zeros(weight.shape), where=total > 0)
        return np.sum(data[..., inside] * share, axis=-1), weight.mean(axis=-1)[:, 0]

    # Stacking

    def stack(self, other: Self, weights: Map | None = None, nan_to_num: bool = True) -> None:
        """Average another response into this one, both weighted by their exposures.

        Parameters
        ----------
        other : `IRFMap`
            Response of the same kind, with the same axes, whose pixels may be a part of these.
        weights : `~villard.maps.Map`, optional
            Factors of the other's exposure, such as a mask: an image in the pixels of ``other``.
        nan_to_num : bool
            As for `~villard.maps.Map.stack`.

        Raises
        ------
        DataError
            If one has no exposure, or they don't fit.
        """
        where = type(self).__name__
        own, added = self._exposure_map, other.exposure_map
        if own is None or added is None:
            raise DataError(f"{where}: only responses with exposure_map can be stacked")
        if weights is not None:
            factors = np.broadcast_to(np.asarray(weights.data, dtype=float), added.data.shape)
            added = added.copy(data=added.data * factors)
        total = self._irf_map.copy(data=self._irf_map.data * own.data)
        scale = float(added.unit.to(own.unit))
        part = other.irf_map.copy(data=other.irf_map.data * added.data * scale)
        total.stack(part, nan_to_num=nan_to_num)
        exposure = own.copy(data=own.data.astype(float))
        exposure.stack(added, nan_to_num=nan_to_num)
        data = np.divide(total.data, exposure.data, out=np.zeros(total.data.shape), where=exposure.data > 0)
        self._irf_map = self._irf_map.copy(data=data)
        self._exposure_map = exposure

    # Files

    def to_hdulist(self, format: str = "gadf") -> fits.HDUList:
        """Return the response as FITS extensions, such as PSF, PSF_BANDS, PSF_EXPOSURE, PSF_EXPOSURE_BANDS.

        Parameters
        ----------
        format : {"gadf"}
            Layout.
        """
        if format != "gadf":
            raise DataError(f"{type(self).__name__}: unknown format {format!r} to write, expected 'gadf'")
        hdulist = fits.HDUList([fits.PrimaryHDU()])
        hdulist += _map_hdus(self._irf_map, self._hdu)
        if self._exposure_map is not None:
            hdulist += _map_hdus(self._exposure_map, f"{self._hdu}_EXPOSURE")
        return hdulist

    @classmethod
    def from_hdulist(
        cls,
        hdulist: fits.HDUList,
        hdu: str | None = None,
        exposure_hdu: str | None = None,
        format: str = "gadf",
        where: str = "FITS data",
    ) -> Self:
        """Make a response of FITS extensions; the inverse of `to_hdulist`.

        Parameters
        ----------
        hdulist : `~astropy.io.fits.HDUList`
            Extensions.
        hdu : str, optional
            Name of the response's extension: "PSF" or "EDISP" by default.
        exposure_hdu : str, optional
            That of the exposure; by default the name of the response with "_EXPOSURE", if it is there.
        format : {"gadf"}
            Layout.
        where : str
            File, for messages.
        """
        from villard.maps.map_io import map_from_hdulist

        if format != "gadf":
            raise DataError(f"{cls.__name__}: unknown format {format!r}, expected 'gadf'")
        hdu = cls._hdu if hdu is None else hdu
        irf_map = map_from_hdulist(hdulist, hdu=hdu, where=where)
        names = [str(item.name).upper() for item in hdulist]
        exposure = None
        if exposure_hdu is not None or f"{hdu}_EXPOSURE".upper() in names:
            exposure = map_from_hdulist(hdulist, hdu=exposure_hdu or f"{hdu}_EXPOSURE", where=where)
        try:
            return cls(irf_map, exposure)
        except (DataError, UnitsError) as error:
            raise FileFormatError(f"{where}, extension {hdu}: {error}") from error

    @classmethod
    def read(cls, path: str | os.PathLike[str], format: str = "gadf", hdu: str | None = None) -> Self:
        """Read a response from a FITS file.

        Parameters
        ----------
        path : str or path-like
            File.
        format, hdu
            As for `from_hdulist`.

        Raises
        ------
        FileFormatError
            If the file is damaged or has another layout.
        """
        with open_fits(path) as hdulist:
            return cls.from_hdulist(hdulist, hdu=hdu, format=format, where=str(path))

    def write(self, path: str | os.PathLike[str], overwrite: bool = False, format: str = "gadf") -> None:
        """Write the response to a FITS file.

        Parameters
        ----------
        path : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        format : {"gadf"}
            Layout.
        """
        write_fits(self.to_hdulist(format=format), path, overwrite=overwrite)

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name}: {axis.nbin}" for axis in self._irf_map.geom.axes)
        pixels = " x ".join(str(n) for n in self._irf_map.geom.spatial_shape[::-1])
        exposure = "no exposure" if self._exposure_map is None else "exposure"
        return f"{type(self).__name__}({axes}, {pixels} pixels, {exposure})"


def one_for_all(axes: Iterable[MapAxis], data: Any, unit: str) -> RegionNDMap:
    """Return a map of one response for all positions; ``data`` has the shape (n_energy_true, n)."""
    return _region_map(RegionGeom(None, axes=axes), data, u.Unit(unit))


def in_all_pixels(geom: Geom | None, axes: list[MapAxis], data: Any, unit: str) -> Map:
    """Return a map of the same response in all pixels of a geometry (only its sky counts)."""
    if geom is None:
        return one_for_all(axes, data, unit)
    geom = geom.to_image().to_cube(axes)
    values = np.broadcast_to(np.asarray(data)[..., np.newaxis, np.newaxis], geom.data_shape).copy()
    return Map.from_geom(geom, data=values, unit=unit)


def _region_map(geom: RegionGeom, data: Any, unit: u.UnitBase) -> RegionNDMap:
    from villard.maps.region_map import RegionNDMap

    return RegionNDMap(geom, data=np.asarray(data, dtype=float)[..., np.newaxis, np.newaxis], unit=unit)


def _map_hdus(item: Map, name: str) -> list[Any]:
    return list(item.to_hdulist(hdu=name))[1:]  # type: ignore[attr-defined]


def _check_axes(geom: Geom, required: tuple[str, ...], where: str) -> None:
    if tuple(geom.axes.names) != required:
        raise DataError(f"{where}: expected the axes {list(required)}, found {geom.axes.names}")


def _check_unit(unit: u.UnitBase, expected: str, where: str) -> None:
    if not unit.is_equivalent(u.Unit(expected)):
        raise UnitsError(
            f"{where}: expected a unit like {expected or 'no unit'}, found {str(unit) or 'no unit'}"
        )


def _check_values(item: Map, where: str) -> None:
    data = item.data
    # The minimum of numbers with NaN is NaN, so that this is false for these too.
    if data.size and not (data.min() >= 0 and np.isfinite(data.max())):
        bad = ~((data >= 0) & np.isfinite(data))
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{where}: values can't be negative, infinite or NaN, found {data[index]} at index {index} "
            f"(shape {data.shape}), and {int(bad.sum())} such values in all"
        )

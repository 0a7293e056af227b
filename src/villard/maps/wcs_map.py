"""Maps of pixels on a world coordinate system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.coord import MapCoord
from villard.maps.core import Map
from villard.maps.wcs_geom import WcsGeom

if TYPE_CHECKING:
    import os

    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from matplotlib.axes import Axes

    from villard.maps.axis import MapAxis
    from villard.maps.region_map import RegionNDMap

__all__ = ["WcsNDMap"]


class WcsNDMap(Map):
    """Numbers with a unit in pixels of the sky, along axes such as energy; parameters as for `Map`.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.coordinates import SkyCoord
    >>> counts = Map.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=(2, 1))
    >>> counts.data[5, 10] = 3
    >>> counts.smooth(0.2 * u.deg).data.sum().round(6)
    np.float64(3.0)
    >>> counts.cutout(SkyCoord(0, 0, unit="deg", frame="galactic"), 0.4 * u.deg).data.shape
    (4, 4)
    """

    _geom: WcsGeom

    @property
    def geom(self) -> WcsGeom:
        """Geometry."""
        return self._geom

    # Coordinates

    def _sky_index(self, coord: MapCoord) -> tuple[Any, Any, Any]:
        x, y = self._geom.skydir_to_pix(coord.skycoord)
        inside = self._geom._contains_pix(x, y)
        column, row = (np.floor(np.where(inside, value, 0) + 0.5).astype(int) for value in (x, y))
        return row, column, inside

    def interp_by_coord(
        self,
        coords: Mapping[str, Any] | Sequence[Any],
        fill_value: float | None = None,
        values_scale: str = "lin",
    ) -> NDArray[np.float64]:
        """Interpolate linearly between pixel centres, and bin centres on the scales of the axes.

        Parameters
        ----------
        coords : dict, `MapCoord` or tuple
            "skycoord", or "lon" and "lat", and a quantity per axis; arrays that broadcast against each
            other. Or a tuple of longitude, latitude and the axes.
        fill_value : float, optional
            Value outside the map and beyond the axes' outermost centres; by default NaN outside the
            map, and the slope goes on along the axes.
        values_scale : {"lin", "log", "sqrt"}
            Scale on which values are interpolated.

        Returns
        -------
        `~numpy.ndarray`
            Values in the unit of the map.

        Examples
        --------
        >>> import astropy.units as u
        >>> ramp = Map.create(binsz=1, width=4)
        >>> ramp.data += np.arange(4)
        >>> ramp.interp_by_coord({"lon": [0.0, -1.0, -5] * u.deg, "lat": [0, 0, 0] * u.deg})
        array([1.5, 2.5, nan])
        """
        from villard.maps.wcs_interp import interpolate

        coord = MapCoord.from_any(coords, self._geom)
        return interpolate(self, coord, fill_value=fill_value, values_scale=values_scale)

    def interp_to_geom(
        self, geom: WcsGeom, preserve_counts: bool = False, fill_value: float | None = 0, **kwargs: Any
    ) -> WcsNDMap:
        """Interpolate at the centres of another geometry's bins.

        Parameters
        ----------
        geom : `WcsGeom`
            Geometry with the same axes by name.
        preserve_counts : bool
            Whether values are counts, and so are scaled by the ratio of the pixels' solid angles.
        fill_value, **kwargs
            As for `interp_by_coord`.
        """
        from villard.maps.wcs_resample import interp_to_geom

        return interp_to_geom(self, geom, preserve_counts, fill_value=fill_value, **kwargs)

    def reproject_to_geom(
        self, geom: WcsGeom, preserve_counts: bool = False, precision_factor: int = 10
    ) -> WcsNDMap:
        """Return the map in the pixels of another geometry, from averages over those pixels.

        Parameters
        ----------
        geom : `WcsGeom`
            Geometry; its axes, if it has any, must be those of this map.
        preserve_counts : bool
            Whether values are counts, which are shared out; otherwise they are averaged.
        precision_factor : int
            Number of parts, in each direction, in which the new pixels are divided. What a new pixel gets
            of an old one is right to about one part.
        """
        from villard.maps.wcs_resample import reproject_to_geom

        return reproject_to_geom(self, geom, preserve_counts, precision_factor)

    # Pixels

    def cutout(
        self,
        position: SkyCoord,
        width: Any,
        mode: str = "trim",
        odd_npix: bool = False,
        min_npix: int = 1,
    ) -> WcsNDMap:
        """Return the map of a rectangle around a direction; parameters as for `WcsGeom.cutout`.

        With the mode "partial" what lies beyond the map is filled with 0.
        """
        rows, columns = self._geom.cutout_slices(position, width, mode, odd_npix, min_npix)
        (top, right), pads = self._geom.spatial_shape, []
        for item, n in ((rows, top), (columns, right)):
            pads.append((max(0, -item.start), max(0, item.stop - n)))
        data = self._data[..., max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
        data = np.pad(data, [(0, 0)] * (data.ndim - 2) + pads)
        return WcsNDMap(self._geom._slice(rows, columns), data=data, unit=self.unit, meta=self.meta)

    def downsample(
        self,
        factor: int,
        preserve_counts: bool = True,
        axis_name: str | None = None,
        weights: Map | None = None,
    ) -> WcsNDMap:
        """Join ``factor`` × ``factor`` pixels, or bins of an axis.

        Parameters
        ----------
        factor : int
            Number of pixels, which must divide that of the map.
        preserve_counts : bool
            Whether values are added, or averaged. Masks are true where one of the pixels is.
        axis_name : str, optional
            Axis.
        weights : `Map`, optional
            Factors, such as a mask.
        """
        from villard.maps.wcs_resample import downsample

        return downsample(self, factor, preserve_counts, axis_name, weights)

    def upsample(
        self, factor: int, order: int = 0, preserve_counts: bool = True, axis_name: str | None = None
    ) -> WcsNDMap:
        """Split each pixel, or bin of an axis, in ``factor`` parts in each direction.

        Parameters
        ----------
        factor : int
            Number of parts.
        order : int
            Order of the spline that interpolates; 0 repeats the values.
        preserve_counts : bool
            Whether values are shared out, or kept.
        axis_name : str, optional
            Axis.
        """
        from villard.maps.wcs_resample import upsample

        return upsample(self, factor, order, preserve_counts, axis_name)

    def pad(
        self,
        pad_width: int | tuple[int, int],
        axis_name: str | None = None,
        mode: str = "constant",
        cval: float = 0,
    ) -> WcsNDMap:
        """Add pixels, or bins of an axis, on every side.

        Parameters
        ----------
        pad_width, axis_name
            As for `WcsGeom.pad`.
        mode : {"constant", "edge"}
            Whether they are ``cval``, or like the outermost ones.
        cval : float
            Value.
        """
        from villard.maps.wcs_resample import pad

        return pad(self, pad_width, axis_name, mode, cval)

    def crop(self, crop_width: int | tuple[int, int]) -> WcsNDMap:
        """Remove pixels on every side."""
        geom = self._geom.crop(crop_width)
        px, py = (int(n) for n in np.broadcast_to(crop_width, 2))
        ny, nx = geom.spatial_shape
        data = self._data[..., py : py + ny, px : px + nx].copy()
        return WcsNDMap(geom, data=data, unit=self.unit, meta=self.meta)

    def stack(self, other: Map, weights: Map | None = None, nan_to_num: bool = True) -> None:
        """Add another map of the same pixels, which may be a cutout or lie partly outside.

        Parameters
        ----------
        other : `WcsNDMap`
            Map to add, with the same axes.
        weights, nan_to_num
            As for `Map.stack`.
        """
        if not isinstance(other, WcsNDMap) or other.geom.is_allclose(self._geom):
            super().stack(other, weights=weights, nan_to_num=nan_to_num)
            return
        column, row = self._geom.offset_of(other.geom)
        # A part of both maps, on which the pixels are the same ones.
        own: list[slice] = []
        theirs: list[slice] = []
        for first, n_own, n_other in zip(
            (row, column), self._geom.spatial_shape, other.geom.spatial_shape, strict=True
        ):
            start, stop = max(first, 0), min(first + n_other, n_own)
            if stop <= start:
                return
            own.append(slice(start, stop))
            theirs.append(slice(start - first, stop - first))
        rows, columns = own
        part = WcsNDMap(self._geom._slice(rows, columns), data=self._data[..., rows, columns], unit=self.unit)
        added = other._part(*theirs)
        factors = weights._part(*theirs) if isinstance(weights, WcsNDMap) else weights
        Map.stack(part, added, weights=factors, nan_to_num=nan_to_num)
        self._data[..., rows, columns] = part.data

    def _part(self, rows: slice, columns: slice) -> WcsNDMap:
        geom = self._geom._slice(rows, columns)
        return WcsNDMap(geom, data=self._data[..., rows, columns], unit=self.unit, meta=self.meta)

    # Images

    def iter_by_image(self, keepdims: bool = False) -> Iterator[WcsNDMap]:
        """Go through the images of all bins of the axes, with or without axes of one bin."""
        for index in np.ndindex(self._data.shape[:-2]):
            chosen = dict(zip(self._geom.axes.names, index[::-1], strict=True))
            yield self.slice_by_idx({name: slice(i, i + 1) if keepdims else i for name, i in chosen.items()})

    def get_image_by_idx(self, idx: Sequence[int]) -> WcsNDMap:
        """Return the image of one bin of each axis."""
        return self.slice_by_idx(dict(zip(self._geom.axes.names, idx, strict=True)))

    def get_image_by_coord(self, coords: Mapping[str, Any] | Sequence[Any]) -> WcsNDMap:
        """Return the image of the bins that hold a coordinate of each axis."""
        if not isinstance(coords, Mapping):
            coords = dict(zip(self._geom.axes.names, coords, strict=True))
        idx = [int(axis.coord_to_idx(coords[axis.name])) for axis in self._geom.axes]
        if min(idx, default=0) < 0:
            raise DataError(f"Image: the coordinates {dict(coords)} are outside the axes of {self!r}")
        return self.get_image_by_idx(idx)

    def to_cube(self, axes: Iterable[MapAxis]) -> WcsNDMap:
        """Return the map with further axes of one bin each."""
        return WcsNDMap(self._geom.to_cube(axes), data=self._data, unit=self.unit, meta=self.meta)

    def to_image(self) -> WcsNDMap:
        """Return the sum over all axes, without them."""
        return self.sum_over_axes(keepdims=False)

    # Neighbourhoods

    def smooth(self, width: Any, kernel: str = "gauss", **kwargs: Any) -> WcsNDMap:
        """Smooth each image.

        Parameters
        ----------
        width : `~astropy.units.Quantity`, str or float
            Standard deviation of the Gaussian, radius of the disk or width of the box, as an angle or
            in pixels.
        kernel : {"gauss", "disk", "box"}
            Shape.
        **kwargs
            For the functions of `scipy.ndimage`, such as ``truncate`` and ``mode``.
        """
        from villard.maps.wcs_filter import smooth

        return smooth(self, width, kernel, **kwargs)

    def convolve(self, kernel: Any, method: str = "fft", mode: str = "same") -> WcsNDMap:
        """Convolve with a kernel, taking values outside the map as 0.

        Parameters
        ----------
        kernel : `Map`, object with ``psf_kernel_map``, or array-like
            Image, or one image for each bin of the axes.
        method : {"fft", "direct"}
            How it is computed.
        mode : {"same", "full"}
            Whether the result has the pixels of this map, or all that are reached.
        """
        from villard.maps.wcs_filter import convolve

        return convolve(self, kernel, method, mode)

    def binary_erode(self, width: Any, kernel: str = "disk") -> WcsNDMap:
        """Return the mask without pixels that have a false one within a disk or box.

        Parameters
        ----------
        width : `~astropy.units.Quantity`, str or float
            Radius of the disk or half width of the box, as an angle or in pixels. Pixels outside the map
            count as false.
        kernel : {"disk", "box"}
            Shape.
        """
        from villard.maps.wcs_filter import binary_erode

        return binary_erode(self, width, kernel)

    def binary_dilate(self, width: Any, kernel: str = "disk") -> WcsNDMap:
        """Return the mask with all pixels that have a true one within a disk or box; see `binary_erode`."""
        from villard.maps.wcs_filter import binary_dilate

        return binary_dilate(self, width, kernel)

    # Regions and samples

    def to_region_nd_map(
        self,
        region: Any = None,
        func: Callable[..., Any] = np.nansum,
        weights: Map | None = None,
        method: str = "nearest",
    ) -> RegionNDMap:
        """Return a spectrum of one region.

        Parameters
        ----------
        region : str, region or `~astropy.coordinates.SkyCoord`, optional
            Region, as for `WcsGeom.region_mask`; the whole map by default. A direction, or a point, gives
            the value there.
        func : callable
            Function with an argument ``axis`` that reduces the pixels with their centre in the region.
        weights : `Map`, optional
            Factors, such as a mask.
        method : {"nearest", "linear"}
            How the value at a direction is found.
        """
        from villard.maps.wcs_mask import to_region_nd_map

        return to_region_nd_map(self, region, func, weights, method)

    def get_spectrum(
        self, region: Any = None, func: Callable[..., Any] = np.nansum, weights: Map | None = None
    ) -> RegionNDMap:
        """Return a spectrum of one region; parameters as for `to_region_nd_map`."""
        return self.to_region_nd_map(region, func=func, weights=weights)

    def sample_coord(self, n_events: int, random_state: int | np.random.Generator = 0) -> MapCoord:
        """Draw coordinates with probabilities proportional to the values, evenly within bins.

        Parameters
        ----------
        n_events : int
            Number.
        random_state : int or `~numpy.random.Generator`
            Seed or generator.
        """
        from villard.maps.wcs_resample import sample_coord

        return sample_coord(self, n_events, random_state)

    # Files

    def to_hdulist(
        self, hdu: str | None = None, hdu_bands: str | None = None, format: str = "gadf"
    ) -> fits.HDUList:
        """Return the map as FITS extensions.

        Parameters
        ----------
        hdu, hdu_bands : str, optional
            Names of the image and of the table of its axes; the primary extension by default.
        format : {"gadf", "fgst-ccube", "fgst-template", "fgst-bexpcube"}
            Layout: that of the open gamma-ray formats, or those of cubes of counts, diffuse models and
            exposures of the Fermi tools.
        """
        from villard.maps.wcs_io import map_to_hdulist

        return map_to_hdulist(self, hdu=hdu, hdu_bands=hdu_bands, format=format)

    @classmethod
    def from_hdulist(
        cls,
        hdulist: fits.HDUList,
        hdu: str | None = None,
        format: str | None = None,
        where: str = "FITS data",
    ) -> WcsNDMap:
        """Make a map of FITS extensions; the inverse of `to_hdulist`.

        Parameters
        ----------
        hdulist : `~astropy.io.fits.HDUList`
            Extensions.
        hdu : str, optional
            Name of the image; the first one of the sky by default.
        format : str, optional
            Layout; found out by default. Energies in ENERGIES without a unit are in MeV; values without
            a unit are exposures in cm2 s if CTYPE3 is log_Energy, else cm-2 s-1 MeV-1 sr-1.
        where : str
            File, for messages.
        """
        from villard.maps.wcs_io import map_from_hdulist

        return map_from_hdulist(hdulist, hdu=hdu, format=format, where=where)

    def write(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        hdu: str | None = None,
        hdu_bands: str | None = None,
        format: str = "gadf",
    ) -> None:
        """Write the map to a FITS file.

        Parameters
        ----------
        path : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        hdu, hdu_bands, format
            As for `to_hdulist`.
        """
        from villard.maps.fits import write_fits

        write_fits(self.to_hdulist(hdu=hdu, hdu_bands=hdu_bands, format=format), path, overwrite=overwrite)

    # Plots

    def plot(
        self, ax: Axes | None = None, add_cbar: bool = False, stretch: str = "linear", **kwargs: Any
    ) -> Axes:
        """Plot an image, with sky coordinates.

        Parameters
        ----------
        ax : `~astropy.visualization.wcsaxes.WCSAxes`, optional
            Where to plot; new axes of the current figure by default.
        add_cbar : bool
            Whether to add a scale of colours.
        stretch : {"linear", "sqrt", "log", "asinh"}
            Scale of the colours.
        **kwargs
            For `~matplotlib.axes.Axes.imshow`.
        """
        from villard.maps.wcs_plot import plot_image

        return plot_image(self, ax=ax, add_cbar=add_cbar, stretch=stretch, **kwargs)

    def plot_grid(self, figsize: tuple[float, float] | None = None, ncols: int = 3, **kwargs: Any) -> Any:
        """Plot the images of all bins of one axis; keywords as for `plot`. Returns the array of axes."""
        from villard.maps.wcs_plot import plot_grid

        return plot_grid(self, figsize=figsize, ncols=ncols, **kwargs)

    def plot_mask(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Outline where the (boolean) image is true; keywords: `~matplotlib.axes.Axes.contour`."""
        from villard.maps.wcs_plot import plot_mask

        return plot_mask(self, ax=ax, **kwargs)

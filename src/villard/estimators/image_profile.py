"""Profiles of images: sums or means of pixels along longitude, latitude or distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError, UnitsError
from villard.maps import WcsNDMap

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

__all__ = ["ImageProfile", "ImageProfileEstimator"]

Array = NDArray[np.float64]


class ImageProfile:
    """A profile of an image.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns ``x_min``, ``x_ref``, ``x_max`` (angles), ``profile`` and ``profile_err``.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    @property
    def x_ref(self) -> u.Quantity:
        """Middles of the bins."""
        return self.table["x_ref"].quantity

    @property
    def x_min(self) -> u.Quantity:
        """Lower edges of the bins."""
        return self.table["x_min"].quantity

    @property
    def x_max(self) -> u.Quantity:
        """Upper edges of the bins."""
        return self.table["x_max"].quantity

    @property
    def profile(self) -> u.Quantity:
        """Sums or means of the pixels."""
        return self.table["profile"].quantity

    @property
    def profile_err(self) -> u.Quantity | None:
        """Their errors, if those of the pixels were given."""
        return self.table["profile_err"].quantity if "profile_err" in self.table.colnames else None

    def normalize(self, mode: str = "peak") -> ImageProfile:
        """Return the profile divided by its highest value, or its sum.

        Parameters
        ----------
        mode : {"peak", "integral"}
            What becomes one.
        """
        if mode not in {"peak", "integral"}:
            raise ConfigError(f"ImageProfile: unknown mode {mode!r}, expected 'peak' or 'integral'")
        table = self.table.copy()
        norm = (np.nanmax if mode == "peak" else np.nansum)(self.profile)
        for name in ("profile", "profile_err"):
            if name in table.colnames:
                table[name] = table[name].quantity / norm
        return ImageProfile(table)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Plot the profile, with its errors if there are any.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        **kwargs
            For `~matplotlib.axes.Axes.errorbar`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        error = None if self.profile_err is None else self.profile_err.value
        style = {"drawstyle": "steps-mid"} | kwargs
        ax.errorbar(self.x_ref.value, self.profile.value, error, **style)
        ax.set_xlabel(f"{self.table.meta.get('axis', 'x')} [{self.x_ref.unit}]")
        unit = str(self.profile.unit)
        ax.set_ylabel(f"profile [{unit}]" if unit else "profile")
        return ax


class ImageProfileEstimator:
    """Sum or average the pixels of an image in bins of a coordinate.

    Parameters
    ----------
    x_edges : `~astropy.units.Quantity`, optional
        Edges of the bins; by default one bin per row or column of pixels.
    method : {"sum", "mean"}
        What is done with the pixels of a bin.
    axis : {"lon", "lat", "radial"}
        Coordinate: longitude (from -180 to 180 deg), latitude or the distance from a centre.
    center : `~astropy.coordinates.SkyCoord`, optional
        Centre of radial profiles.

    Examples
    --------
    >>> from villard.maps import Map
    >>> image = Map.create(npix=(4, 3), binsz=1)
    >>> image.data += [1, 2, 3, 4]
    >>> profile = ImageProfileEstimator(axis="lon").run(image)
    >>> profile.x_ref, profile.profile
    (<Quantity [-1.5, -0.5,  0.5,  1.5] deg>, <Quantity [12.,  9.,  6.,  3.]>)
    """

    tag = "ImageProfileEstimator"

    def __init__(
        self, x_edges: Any = None, method: str = "sum", axis: str = "lon", center: SkyCoord | None = None
    ) -> None:
        if method not in {"sum", "mean"}:
            raise ConfigError(f"{self.tag}: unknown method {method!r}, expected 'sum' or 'mean'")
        if axis not in {"lon", "lat", "radial"}:
            raise ConfigError(f"{self.tag}: unknown axis {axis!r}, expected 'lon', 'lat' or 'radial'")
        if axis == "radial" and center is None:
            raise ConfigError(f"{self.tag}: a radial profile needs a center")
        self.method, self.axis, self.center = method, axis, center
        self.x_edges = None if x_edges is None else _edges(x_edges)

    def run(
        self, image: WcsNDMap, image_err: WcsNDMap | None = None, mask: WcsNDMap | None = None
    ) -> ImageProfile:
        """Make the profile.

        Parameters
        ----------
        image : `~villard.maps.WcsNDMap`
            Image; axes beside the sky must have one bin. Pixels with NaN are left out.
        image_err : `~villard.maps.WcsNDMap`, optional
            Standard errors of the pixels, which are added in quadrature.
        mask : `~villard.maps.WcsNDMap`, optional
            Pixels to use.

        Returns
        -------
        `ImageProfile`
            Profile; NaN where a bin has no pixel and the mean is asked for.
        """
        values = _pixels(image, image, "image")
        coordinate = self._coordinate(image)
        edges = self._default_edges(image, coordinate) if self.x_edges is None else self.x_edges
        index = np.searchsorted(edges, coordinate, side="right") - 1
        inside = (coordinate >= edges[0]) & (coordinate < edges[-1]) & np.isfinite(values)
        if mask is not None:
            inside &= _pixels(mask, image, "mask").astype(bool)
        n_bins = len(edges) - 1
        number = np.bincount(index[inside], minlength=n_bins)

        def combine(weights: Array) -> Array:
            return np.asarray(np.bincount(index[inside], weights[inside], minlength=n_bins), dtype=float)

        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.where(number > 0, 1 / number, np.nan) if self.method == "mean" else np.ones(n_bins)
        profile = scale * combine(values)
        errors = None
        if image_err is not None:
            errors = scale * np.sqrt(combine(_pixels(image_err, image, "image_err") ** 2))
        return ImageProfile(self._make_table(edges, profile, errors, image))

    def _make_table(self, edges: Array, profile: Array, errors: Array | None, image: WcsNDMap) -> Table:
        from astropy.table import Table

        table = Table(meta={"axis": self.axis})
        table["x_min"], table["x_max"] = edges[:-1] * u.deg, edges[1:] * u.deg
        table["x_ref"] = 0.5 * (edges[:-1] + edges[1:]) * u.deg
        table["profile"] = u.Quantity(profile, image.unit)
        if errors is not None:
            table["profile_err"] = u.Quantity(errors, image.unit)
        return table

    def _coordinate(self, image: WcsNDMap) -> Array:
        geom = image.geom.to_image()
        if self.axis == "radial":
            return np.asarray(geom.separation(self.center).to_value("deg"))
        sky = geom.skydirs().spherical
        if self.axis == "lat":
            return np.asarray(sky.lat.deg)
        return np.asarray(sky.lon.wrap_at(180 * u.deg).deg)

    def _default_edges(self, image: WcsNDMap, coordinate: Array) -> Array:
        """Bins as wide as a pixel, around the centres of the pixels."""
        width, height = image.geom.pixel_scales.to_value("deg")
        step = width if self.axis == "lon" else height
        if self.axis == "radial":
            n = int(np.ceil(np.nanmax(coordinate) / step)) + 2
            return np.asarray(np.arange(n) * step, dtype=float)
        low, high = np.nanmin(coordinate), np.nanmax(coordinate)
        n = int(np.ceil((high - low) / step - 1e-6)) + 1
        return np.asarray(low + step * (np.arange(n + 1) - 0.5), dtype=float)


def _edges(x_edges: Any) -> Array:
    try:
        edges = np.atleast_1d(u.Quantity(x_edges).to_value("deg"))
    except u.UnitConversionError as error:
        raise UnitsError(f"ImageProfileEstimator: expected x_edges as angles, found {x_edges}") from error
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ConfigError(f"ImageProfileEstimator: expected two or more increasing x_edges, found {x_edges}")
    return np.asarray(edges)


def _pixels(item: Any, image: Any, name: str) -> Array:
    if not isinstance(item, WcsNDMap) or any(axis.nbin != 1 for axis in item.geom.axes):
        raise DataError(f"ImageProfileEstimator: expected {name} as an image of the sky, found {item!r}")
    if item.geom.to_image() != image.geom.to_image():
        raise DataError(f"ImageProfileEstimator: {name} has other pixels than the image: {item.geom!r}")
    return item.data.reshape(item.geom.spatial_shape).astype(float)

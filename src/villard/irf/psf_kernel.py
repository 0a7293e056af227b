"""Point spread functions integrated over the pixels around a source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.irf.psf_pixels import pixel_integrals
from villard.irf.psf_table import GaussShape, RadialShape
from villard.irf.weights import spectrum_weights
from villard.maps.axis import MapAxis, value_in
from villard.maps.core import Map
from villard.maps.wcs_geom import WcsGeom
from villard.maps.wcs_map import WcsNDMap

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PSFKernel"]

Array = NDArray[np.float64]


class PSFKernel:
    """Fraction of the photons of a source in the middle pixel that each pixel around it gets.

    Parameters
    ----------
    psf_kernel_map : `~villard.maps.WcsNDMap`
        Fractions, with odd numbers of pixels; an image, or with the axis "energy_true" (or "energy").
    normalize : bool
        Whether the sum over the pixels is made 1 for each energy, unless it is zero.

    Raises
    ------
    DataError
        If the numbers of pixels are even, or a value is negative, infinite or NaN.

    Examples
    --------
    >>> geom = WcsGeom.create(skydir=(83.63, 22.01), binsz=0.05, width=2, proj="TAN")
    >>> kernel = PSFKernel.from_gauss(geom, sigma=0.05 * u.deg, max_radius=0.2 * u.deg)
    >>> kernel.data.shape, kernel.data[4, 4].round(5)
    ((9, 9), np.float64(0.14663))
    """

    def __init__(self, psf_kernel_map: WcsNDMap, normalize: bool = True) -> None:
        if not isinstance(psf_kernel_map, WcsNDMap):
            raise DataError(f"PSFKernel: expected a map of WCS pixels, found {type(psf_kernel_map).__name__}")
        npix = psf_kernel_map.geom.npix
        if npix[0] % 2 == 0 or npix[1] % 2 == 0:
            raise DataError(f"PSFKernel: expected odd numbers of pixels, found {npix[0]} x {npix[1]}")
        data = psf_kernel_map.data
        bad = ~((data >= 0) & np.isfinite(data))
        if np.any(bad):
            raise DataError(
                f"PSFKernel: values can't be negative, infinite or NaN, found {data[bad][0]} "
                f"and {int(bad.sum())} such values in all"
            )
        self._psf_kernel_map = psf_kernel_map.copy(data=_normalized(data)) if normalize else psf_kernel_map

    # Making kernels

    @classmethod
    def from_shapes(
        cls,
        shapes: Sequence[RadialShape | None],
        geom: WcsGeom,
        max_radius: float,
        position: SkyCoord | None = None,
        normalize: bool = True,
    ) -> PSFKernel:
        """Integrate shapes that depend on the angle to the source alone over pixels.

        Parameters
        ----------
        shapes : list of `~villard.irf.psf_table.RadialShape` or None
            One for each bin of the geometry's axes; `None` for a kernel of zeros.
        geom : `~villard.maps.WcsGeom`
            Pixels.
        max_radius : float
            Angle (rad) that the kernel reaches at least.
        position : `~astropy.coordinates.SkyCoord`, optional
            Where the pixels have the size and shape that counts; the centre of the geometry by default.
        normalize : bool
            As for `PSFKernel`.
        """
        _check_geom(geom)
        matrix = pixel_matrix(geom, position)
        nx, ny = _reach(geom, matrix, max_radius)
        images: list[Array] = []
        for i, shape in enumerate(shapes):
            # Equal shapes of neighbouring energies are computed once.
            if i and shape is shapes[i - 1]:
                images.append(images[-1])
            elif shape is None:
                images.append(np.zeros((2 * ny + 1, 2 * nx + 1)))
            else:
                images.append(pixel_integrals(shape, matrix, nx, ny))
        kernel_geom = _kernel_geom(geom, nx, ny)
        return cls(WcsNDMap(kernel_geom, np.reshape(images, kernel_geom.data_shape)), normalize=normalize)

    @classmethod
    def from_gauss(cls, geom: WcsGeom, sigma: u.Quantity, max_radius: u.Quantity | None = None) -> PSFKernel:
        """Make the kernel of Gaussians.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom`
            Pixels, and an axis of energy or none.
        sigma : `~astropy.units.Quantity`
            Width, the same or one per energy.
        max_radius : `~astropy.units.Quantity`, optional
            Angle that the kernel reaches at least; five times the largest sigma by default.
        """
        n = int(np.prod(geom.axes.shape))
        widths = value_in(sigma, u.rad, "PSFKernel, sigma")
        if widths.shape not in {(), (n,)} or not np.all((widths > 0) & np.isfinite(widths)):
            raise DataError(
                f"PSFKernel: expected a positive sigma, or one for each of {n} energies, found {sigma}"
            )
        radius = 5 * float(widths.max()) if max_radius is None else _radius(max_radius)
        if widths.ndim == 0:
            shapes = [GaussShape(float(widths))] * n
        else:
            shapes = [GaussShape(width) for width in widths]
        return cls.from_shapes(shapes, geom, radius)

    @classmethod
    def from_spatial_model(
        cls, model: Any, geom: WcsGeom, max_radius: u.Quantity | None = None, rtol: float = 1e-5
    ) -> PSFKernel:
        """Integrate a spatial model over pixels.

        Parameters
        ----------
        model : `~villard.modeling.models.SpatialModel`
            Model; its position doesn't matter.
        geom : `~villard.maps.WcsGeom`
            Pixels, and an axis of energy or none.
        max_radius : `~astropy.units.Quantity`, optional
            Angle that the kernel reaches at least; the model's ``evaluation_radius`` by default.
        rtol : float
            Pixels are split until their integrals change by less than this fraction of the whole.
        """
        from villard.irf.model_kernel import model_images

        _check_geom(geom)
        if max_radius is None:
            max_radius = model.evaluation_radius
        if max_radius is None:
            raise DataError(f"PSFKernel: {type(model).__name__} has no end, so max_radius must be given")
        matrix = pixel_matrix(geom, None)
        kernel_geom = _kernel_geom(geom, *_reach(geom, matrix, _radius(max_radius)))
        data = model_images(model, kernel_geom, rtol)
        return cls(WcsNDMap(kernel_geom, _per_energy(data, kernel_geom)))

    @classmethod
    def read(cls, path: str | os.PathLike[str], hdu: str | None = None) -> PSFKernel:
        """Read a kernel from a FITS file; parameters as for `~villard.maps.Map.read`."""
        kernel_map = Map.read(path, hdu=hdu)
        return cls(kernel_map, normalize=False)  # type: ignore[arg-type]

    def write(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the kernel to a FITS file."""
        self._psf_kernel_map.write(path, overwrite=overwrite)

    # Content

    @property
    def psf_kernel_map(self) -> WcsNDMap:
        """Fractions."""
        return self._psf_kernel_map

    @property
    def data(self) -> Array:
        """Fractions, shape (n_energy, n_lat, n_lon) or (n_lat, n_lon)."""
        return self._psf_kernel_map.data

    def normalize(self) -> None:
        """Make the sum over the pixels 1 for each energy, unless it is zero."""
        self._psf_kernel_map = self._psf_kernel_map.copy(data=_normalized(self.data))

    def slice_by_idx(self, slices: Mapping[str, slice | int]) -> PSFKernel:
        """Return the kernel of some energies; slices by axis name."""
        return PSFKernel(self._psf_kernel_map.slice_by_idx(slices), normalize=False)

    def to_image(
        self, spectral_model: Any = None, exposure: ArrayLike | None = None, keepdims: bool = True
    ) -> PSFKernel:
        """Return the kernel for all energies together, weighted by a spectrum times exposure.

        Parameters
        ----------
        spectral_model : spectral model, optional
            Spectrum; a power law with the index 2 by default.
        exposure : array-like or `~villard.maps.Map`, optional
            Exposure, the same or one per energy; constant by default.
        keepdims : bool
            Whether the axis of energy stays, with one bin.
        """
        geom = self._psf_kernel_map.geom
        if geom.is_image:
            return PSFKernel(self._psf_kernel_map.copy(), normalize=False)
        axis: MapAxis = geom.axes[0]
        weights = spectrum_weights(axis, spectral_model)[:, np.newaxis, np.newaxis]
        if exposure is not None:
            values = np.asarray(getattr(exposure, "data", exposure), dtype=float)
            weights = weights * values.reshape(-1, 1, 1)
        image_map = self._psf_kernel_map.copy(data=self.data * weights)
        return PSFKernel(image_map.sum_over_axes(keepdims=keepdims))

    # Plots

    def plot_kernel(
        self, ax: Axes | None = None, energy: u.Quantity | None = None, add_cbar: bool = False, **kwargs: Any
    ) -> Axes:
        """Plot the kernel of one energy, or for all together.

        Parameters
        ----------
        ax, add_cbar, **kwargs
            As for `~villard.maps.WcsNDMap.plot`.
        energy : `~astropy.units.Quantity`, optional
            Energy; by default all together, as `to_image` gives them.
        """
        geom = self._psf_kernel_map.geom
        if energy is None or geom.is_image:
            image = self.to_image(keepdims=False).psf_kernel_map
        else:
            image = self._psf_kernel_map.get_image_by_coord({geom.axes[0].name: energy})
        return image.plot(ax=ax, add_cbar=add_cbar, **kwargs)

    def peek(self, figsize: tuple[float, float] = (12, 5)) -> Figure:
        """Plot the kernel, and what it contains against the angle for some energies."""
        from villard.irf.psf_plot import peek_kernel

        return peek_kernel(self, figsize=figsize)

    def __repr__(self) -> str:
        return f"PSFKernel({self._psf_kernel_map.geom!r})"


def pixel_matrix(geom: WcsGeom, position: SkyCoord | None) -> Array:
    """Return the offsets (rad) towards east and north of a step of one pixel in x and in y.

    Parameters
    ----------
    geom : `~villard.maps.WcsGeom`
        Pixels.
    position : `~astropy.coordinates.SkyCoord` or None
        Where; the centre of the geometry if `None`.

    Returns
    -------
    `~numpy.ndarray`
        Offsets, shape (2, 2); the columns belong to x and y.
    """
    x, y = geom.center_pix if position is None else (float(v) for v in geom.skydir_to_pix(position))
    ends = geom.pix_to_skydir([x + 0.5, x - 0.5, x, x], [y, y, y + 0.5, y - 0.5])
    if not np.all(np.isfinite(ends.spherical.lon.deg)):
        raise DataError(f"PSFKernel: no pixel of {geom!r} around the pixel coordinates ({x:.1f}, {y:.1f})")
    center = geom.pix_to_skydir(x, y)
    length, angle = center.separation(ends).rad, center.position_angle(ends).rad
    offset = np.array([length * np.sin(angle), length * np.cos(angle)])
    # Differences of both sides, in which the curvature of parallels cancels.
    matrix = offset[:, [0, 2]] - offset[:, [1, 3]]
    # Rounding in angles must not turn the pixels.
    return np.where(np.abs(matrix) < 1e-7 * np.abs(matrix).max(), 0.0, matrix)


def _reach(geom: WcsGeom, matrix: Array, radius: float) -> tuple[int, int]:
    """Return how many pixels on each side of the middle a radius (rad) reaches."""
    # Distances between opposite sides of the parallelogram.
    heights = abs(np.linalg.det(matrix)) / np.linalg.norm(matrix, axis=0)[::-1]
    reach = np.maximum(np.ceil(radius / heights - 0.5 - 1e-9), 0)
    if np.any(reach > 5000):
        raise DataError(
            f"PSFKernel: a radius of {np.degrees(radius):.3g} deg has more than 5000 pixels of {geom!r}"
        )
    return int(reach[0]), int(reach[1])


def _kernel_geom(geom: WcsGeom, nx: int, ny: int) -> WcsGeom:
    """Return pixels around the one in the middle of a geometry, in the same coordinate system."""
    x, y = (int(np.floor(value + 0.5)) for value in geom.center_pix)
    return geom._slice(slice(y - ny, y + ny + 1), slice(x - nx, x + nx + 1))


def _per_energy(data: Array, geom: WcsGeom) -> Array:
    """Repeat one image for all bins of the axes, if there are any."""
    return np.broadcast_to(data, geom.data_shape).copy() if len(geom.axes) else data[0]


def _check_geom(geom: Any) -> None:
    if not isinstance(geom, WcsGeom):
        raise DataError(f"PSFKernel: expected WCS pixels, found {type(geom).__name__}")
    if len(geom.axes) > 1 or not all(axis.is_energy_axis for axis in geom.axes):
        raise DataError(f"PSFKernel: expected an axis of energy or none, found {geom.axes.names}")


def _radius(max_radius: Any) -> float:
    radius = float(value_in(max_radius, u.rad, "PSFKernel, max_radius"))
    if not (np.isfinite(radius) and radius > 0):
        raise DataError(f"PSFKernel: expected a positive max_radius, found {max_radius}")
    return radius


def _normalized(data: Any) -> Array:
    values = np.asarray(data, dtype=float)
    total = values.sum(axis=(-2, -1), keepdims=True)
    return np.divide(values, total, out=np.zeros(values.shape), where=total > 0)

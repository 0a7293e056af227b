"""Smoothing, convolution and the morphology of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, UnitsError

if TYPE_CHECKING:
    from villard.maps.wcs_geom import WcsGeom
    from villard.maps.wcs_map import WcsNDMap

__all__ = ["binary_dilate", "binary_erode", "convolve", "smooth"]

Array = NDArray[np.float64]


def smooth(data_map: WcsNDMap, width: Any, kernel: str, **kwargs: Any) -> WcsNDMap:
    """Smooth each image; see `WcsNDMap.smooth`."""
    from scipy import ndimage

    pixels = _width_in_pixels(data_map.geom, width)
    data, images = data_map.data, np.empty(data_map.data.shape)
    for index in np.ndindex(data.shape[:-2]):
        image = data[index].astype(float)
        if kernel == "gauss":
            images[index] = ndimage.gaussian_filter(image, pixels, **kwargs)
        elif kernel == "disk":
            disk = structure(pixels, "disk").astype(float)
            images[index] = ndimage.convolve(image, disk / disk.sum(), **kwargs)
        elif kernel == "box":
            images[index] = ndimage.uniform_filter(image, np.round(pixels).astype(int), **kwargs)
        else:
            raise DataError(f"Smooth: unknown kernel {kernel!r}, expected 'gauss', 'disk' or 'box'")
    return data_map._make(images, data_map.unit)


def _width_in_pixels(geom: WcsGeom, width: Any) -> Array:
    """Return a width along latitude and longitude, which is the order of the data."""
    if isinstance(width, (str, u.Quantity)):
        try:
            pixels = (u.Quantity(width) / geom.pixel_scales[::-1]).to_value("")
        except u.UnitConversionError as error:
            raise UnitsError(f"Width: expected an angle or a number of pixels, found {width}") from error
    else:
        pixels = np.broadcast_to(np.asarray(width, dtype=float), 2)
    if not np.all(np.isfinite(pixels) & (pixels > 0)):
        raise DataError(f"Width: expected a positive angle or number of pixels, found {width}")
    return pixels


def structure(pixels: Array, kernel: str) -> NDArray[np.bool_]:
    """Return the pixels with their centre in an ellipse or box around the middle one.

    Parameters
    ----------
    pixels : `~numpy.ndarray`
        Radii or half widths along latitude and longitude, in pixels.
    kernel : {"disk", "box"}
        Shape.

    Examples
    --------
    >>> structure(np.array([1.0, 1.0]), "disk").astype(int)
    array([[0, 1, 0],
           [1, 1, 1],
           [0, 1, 0]])
    """
    if kernel not in {"disk", "box"}:
        raise DataError(f"Unknown kernel {kernel!r}, expected 'disk' or 'box'")
    # A pixel that is reached but for rounding belongs to the shape.
    reach = np.floor(pixels * (1 + 1e-9)).astype(int)
    y, x = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    if kernel == "box":
        return np.ones(x.shape, dtype=bool)
    return np.asarray((y / pixels[0]) ** 2 + (x / pixels[1]) ** 2 <= 1 + 1e-9)


def convolve(data_map: WcsNDMap, kernel: Any, method: str, mode: str) -> WcsNDMap:
    """Convolve with a kernel; see `WcsNDMap.convolve`."""
    from scipy import signal

    if method not in {"fft", "direct"} or mode not in {"same", "full"}:
        raise DataError(
            f"Convolve: expected the method 'fft' or 'direct' and the mode 'same' or 'full', "
            f"found {method!r} and {mode!r}"
        )
    data, values = data_map.data, _kernel_images(data_map, kernel)
    (ky, kx), (ny, nx) = values.shape[-2:], data.shape[-2:]
    geom = data_map.geom
    if mode == "full":
        geom = geom._moved(((kx - 1) // 2, (ky - 1) // 2), (nx + kx - 1, ny + ky - 1))
    result = np.empty(geom.data_shape)
    for index in np.ndindex(data.shape[:-2]):
        image, shape = data[index].astype(float), values[index]
        full = signal.convolve(image, shape, method=method, mode="full")
        if mode == "same":
            # Also where the kernel is larger than the map: scipy's "same" follows the larger one.
            y, x = (ky - 1) // 2, (kx - 1) // 2
            full = full[y : y + ny, x : x + nx]
        result[index] = full
    return type(data_map)(geom, data=result, unit=data_map.unit, meta=data_map.meta)


def _kernel_images(data_map: WcsNDMap, kernel: Any) -> Array:
    kernel = getattr(kernel, "psf_kernel_map", kernel)
    values = np.asarray(getattr(kernel, "data", kernel), dtype=float)
    axes_shape = data_map.data.shape[:-2]
    if values.ndim < 2:
        raise DataError(f"Convolve: expected a kernel of two or more dimensions, found {values.shape}")
    try:
        return np.broadcast_to(values, axes_shape + values.shape[-2:])
    except ValueError:
        raise DataError(
            f"Convolve: expected one kernel, or one for each of the {axes_shape} bins, found {values.shape}"
        ) from None


def binary_erode(mask: WcsNDMap, width: Any, kernel: str) -> WcsNDMap:
    """Shrink a mask; see `WcsNDMap.binary_erode`."""
    return _morphology(mask, width, kernel, "binary_erosion")


def binary_dilate(mask: WcsNDMap, width: Any, kernel: str) -> WcsNDMap:
    """Widen a mask; see `WcsNDMap.binary_dilate`."""
    return _morphology(mask, width, kernel, "binary_dilation")


def _morphology(mask: WcsNDMap, width: Any, kernel: str, name: str) -> WcsNDMap:
    from scipy import ndimage

    if not mask.is_mask:
        raise DataError(f"Expected a boolean map, found one of {mask.data.dtype}")
    shape = structure(_width_in_pixels(mask.geom, width), kernel)
    data = np.empty_like(mask.data)
    for index in np.ndindex(data.shape[:-2]):
        data[index] = getattr(ndimage, name)(mask.data[index], structure=shape)
    return mask._make(data, "")

"""Peaks in an image: the local maxima above a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, UnitsError

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.maps import WcsNDMap

__all__ = ["find_peaks"]

Array = NDArray[np.float64]


def find_peaks(
    image: WcsNDMap, threshold: float, min_distance: Any = 1, mask: WcsNDMap | None = None
) -> Table:
    """Find the pixels above a threshold that are the highest ones around.

    Of equal pixels within the distance from each other only the first one is a peak.

    Parameters
    ----------
    image : `~villard.maps.WcsNDMap`
        Image, for instance a map of significance; axes beside the sky must have one bin. NaN is allowed.
    threshold : float
        Peaks are higher than this.
    min_distance : float or `~astropy.units.Quantity`
        A peak is the highest pixel within this distance, in pixels or as an angle, along both axes of the
        image.
    mask : `~villard.maps.WcsNDMap`, optional
        Where it is false there are no peaks, and values don't matter.

    Returns
    -------
    `~astropy.table.Table`
        Columns ``value``, ``x`` and ``y`` (pixels from 0), ``ra`` and ``dec`` (deg), highest first; no rows
        if there are no peaks.

    Raises
    ------
    DataError
        If the map isn't an image, the mask has another geometry, or a setting isn't a number.

    Examples
    --------
    >>> from villard.maps import Map
    >>> image = Map.create(skydir=(83.6, 22), binsz=0.5, width=(4, 3))
    >>> image.data[1, 2], image.data[4, 6], image.data[4, 5] = 7, 9, 8
    >>> print(find_peaks(image, threshold=5)["value", "x", "y"])
    value  x   y
    ----- --- ---
      9.0   6   4
      7.0   2   1
    """
    values = _image(image, mask)
    threshold = _number(threshold, "threshold")
    size = _size(image, min_distance)
    y, x = _local_maxima(values, threshold, size)
    return _make_table(image, values, x, y)


def _image(image: Any, mask: Any) -> Array:
    """Values with minus infinity where there are none."""
    from villard.maps import WcsNDMap

    if not isinstance(image, WcsNDMap) or any(axis.nbin != 1 for axis in image.geom.axes):
        raise DataError(f"find_peaks: expected an image of the sky, found {image!r}")
    values = image.data.reshape(image.geom.spatial_shape).astype(float)
    valid = np.isfinite(values) | np.isposinf(values)
    if mask is not None:
        if mask.geom.to_image() != image.geom.to_image() or mask.data.size != values.size:
            raise DataError(
                f"find_peaks: expected a mask of the geometry {image.geom!r}, found {mask.geom!r}"
            )
        valid &= mask.data.reshape(values.shape).astype(bool)
    return np.where(valid, values, -np.inf)


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"find_peaks: expected a number as {name}, found {value!r}") from error
    if not np.isfinite(number):
        raise DataError(f"find_peaks: expected a finite {name}, found {number}")
    return number


def _size(image: WcsNDMap, min_distance: Any) -> tuple[int, int]:
    """Number of pixels to each side, along latitude and longitude."""
    if isinstance(min_distance, (str, u.Quantity)):
        try:
            pixels = (u.Quantity(min_distance) / image.geom.pixel_scales[::-1]).to_value("")
        except (u.UnitConversionError, TypeError) as error:
            raise UnitsError(
                f"find_peaks: expected an angle or a number as min_distance, found {min_distance}"
            ) from error
    else:
        pixels = np.full(2, _number(min_distance, "min_distance"))
    if not np.all(np.isfinite(pixels) & (pixels >= 0)):
        raise DataError(f"find_peaks: expected a min_distance of at least 0, found {min_distance}")
    rows, columns = np.round(pixels).astype(int)
    return int(rows), int(columns)


def _local_maxima(
    values: Array, threshold: float, size: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the maxima, highest first."""
    from scipy import ndimage

    highest = ndimage.maximum_filter(
        values, size=(2 * size[0] + 1, 2 * size[1] + 1), mode="constant", cval=-np.inf
    )
    y, x = np.nonzero((values == highest) & (values > threshold))
    order = np.argsort(-values[y, x], kind="stable")
    y, x = y[order], x[order]
    keep = np.ones(len(x), dtype=bool)
    # Equal pixels side by side are all maxima.
    for i in np.flatnonzero(np.append(values[y, x][1:] == values[y, x][:-1], False)):
        if keep[i]:
            same = values[y, x] == values[y[i], x[i]]
            near = (np.abs(y - y[i]) <= size[0]) & (np.abs(x - x[i]) <= size[1])
            keep[i + 1 :] &= ~(same & near)[i + 1 :]
    return y[keep], x[keep]


def _make_table(image: WcsNDMap, values: Array, x: NDArray[np.intp], y: NDArray[np.intp]) -> Table:
    from astropy.table import Table

    position = image.geom.to_image().pix_to_skydir(x, y).icrs
    table = Table()
    table["value"] = values[y, x]
    if str(image.unit):
        table["value"].unit = image.unit
    table["x"], table["y"] = x, y
    for name, angle in (("ra", position.ra), ("dec", position.dec)):
        table[name] = angle.deg
        table[name].unit = u.deg
        table[name].format = ".5f"
    return table

"""Interpolation in pixels of the sky and along the other axes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.maps import scale
from villard.maps.axis import value_in
from villard.maps.interpolation import _position

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps.coord import MapCoord
    from villard.maps.wcs_geom import WcsGeom
    from villard.maps.wcs_map import WcsNDMap

__all__ = ["SkyInterpolator", "interpolate"]

Array = NDArray[np.float64]
# Indices of the two neighbours, the weight of the second one, and where the point lies between them.
Neighbours = tuple[NDArray[np.intp], NDArray[np.intp], Array, NDArray[np.bool_]]


def interpolate(
    data_map: WcsNDMap, coord: MapCoord, fill_value: float | None = None, values_scale: str = "lin"
) -> Array:
    """Interpolate multilinearly; see `WcsNDMap.interp_by_coord`."""
    scale.check_scale(values_scale, "Interpolation")
    geom = data_map.geom
    x, y = geom.skydir_to_pix(coord.skycoord)
    contained = geom._contains_pix(x, y)
    neighbours = [_axis_neighbours(axis, coord[axis.name]) for axis in geom.axes][::-1]
    x, y = (np.where(contained, value, 0.0) for value in (x, y))
    neighbours.append(_pixel_neighbours(y, geom.npix[1]))
    neighbours.append(_pixel_neighbours(x, geom.npix[0], cyclic=geom.is_cyclic))
    values = _weighted_sum(_forward(values_scale, data_map.data), neighbours, coord.shape)
    values = scale.inverse(values_scale, values)
    if fill_value is None:
        return np.where(contained, values, np.nan)
    inside = np.broadcast_to(contained, values.shape)
    for item in neighbours[:-2]:
        inside = inside & item[3]
    return np.where(inside, values, fill_value)


class SkyInterpolator:
    """Linear interpolation of many images of one geometry at the same directions.

    Parameters
    ----------
    geom : `~villard.maps.WcsGeom`
        Pixels.
    skycoord : `~astropy.coordinates.SkyCoord`
        Directions, of any shape.
    """

    def __init__(self, geom: WcsGeom, skycoord: SkyCoord) -> None:
        x, y = geom.skydir_to_pix(skycoord)
        self.contained = geom._contains_pix(x, y)
        x, y = (np.where(self.contained, value, 0.0) for value in (x, y))
        (j, j2, t, _), (i, i2, s, _) = (
            _pixel_neighbours(y, geom.npix[1]),
            _pixel_neighbours(x, geom.npix[0], cyclic=geom.is_cyclic),
        )
        n_x = geom.npix[0]
        self._corners = [
            (row * n_x + column, weight_y * weight_x)
            for row, weight_y in ((j, 1 - t), (j2, t))
            for column, weight_x in ((i, 1 - s), (i2, s))
        ]

    def __call__(self, image: NDArray[Any]) -> Array:
        """Return the values of an image, shape ``geom.spatial_shape``; NaN outside of it."""
        flat = np.ascontiguousarray(image).reshape(-1)
        total = sum(weight * flat[index] for index, weight in self._corners)
        return np.where(self.contained, total, np.nan)


def _forward(values_scale: str, data: NDArray[Any]) -> NDArray[Any]:
    if values_scale == "log":
        data = np.maximum(data, np.finfo(float).tiny)
    return data if values_scale == "lin" else scale.forward(values_scale, data)


def _weighted_sum(data: NDArray[Any], neighbours: list[Neighbours], shape: tuple[int, ...]) -> Array:
    result = np.zeros(shape)
    for corner in product((0, 1), repeat=len(neighbours)):
        # A dimension of one pixel is constant: it has no second neighbour.
        if any(step and not item[2].any() for step, item in zip(corner, neighbours, strict=True)):
            continue
        weight = np.ones(())
        for step, item in zip(corner, neighbours, strict=True):
            weight = weight * (item[2] if step else 1 - item[2])
        index = tuple(item[step] for step, item in zip(corner, neighbours, strict=True))
        # A weight of 0 also wins over values that are not finite.
        result += np.where(weight == 0, 0.0, weight * data[index])
    return result


def _axis_neighbours(axis: Any, coord: Any) -> Neighbours:
    values = value_in(coord, axis.unit, f"Axis {axis.name!r}")
    lower, fraction, inside = _position(axis, values)
    return lower, np.minimum(lower + 1, axis.nbin - 1), fraction, inside


def _pixel_neighbours(pix: Array, n: int, cyclic: bool = False) -> Neighbours:
    if n == 1:
        lower = np.zeros(pix.shape, dtype=np.intp)
        return lower, lower, np.zeros(pix.shape), np.ones(pix.shape, dtype=bool)
    lower = np.floor(pix).astype(np.intp)
    if cyclic:
        return lower % n, (lower + 1) % n, pix - lower, np.ones(pix.shape, dtype=bool)
    # In the outer half of the outermost pixels the slope goes on.
    lower = np.clip(lower, 0, n - 2)
    return lower, lower + 1, pix - lower, (pix >= 0) & (pix <= n - 1)

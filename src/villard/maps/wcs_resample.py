"""Maps in larger, smaller or other pixels, and events drawn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.coord import MapCoord
from villard.maps.wcs_map import WcsNDMap

if TYPE_CHECKING:
    from villard.maps.core import Map
    from villard.maps.wcs_geom import WcsGeom

__all__ = ["downsample", "interp_to_geom", "pad", "reproject_to_geom", "sample_coord", "upsample"]


def _check_factor(factor: int) -> None:
    if int(factor) != factor or factor < 1:
        raise DataError(f"Expected a positive integer as factor, found {factor}")


def downsample(
    data_map: WcsNDMap, factor: int, preserve_counts: bool, axis_name: str | None, weights: Map | None
) -> WcsNDMap:
    """Join pixels or bins; see `WcsNDMap.downsample`."""
    _check_factor(factor)
    geom = data_map.geom.downsample(factor, axis_name=axis_name)
    data = data_map.data if weights is None else data_map.data * data_map._operand(weights)[0]
    func = np.any if data_map.is_mask else np.nansum if preserve_counts else np.nanmean
    data = func(_blocks(data_map, data, factor, axis_name), axis=_inner(data_map, axis_name))
    return WcsNDMap(geom, data=data, unit=data_map.unit, meta=data_map.meta)


def _blocks(data_map: WcsNDMap, data: NDArray[Any], factor: int, axis_name: str | None) -> NDArray[Any]:
    """Return a view in which the bins to be joined have dimensions of their own."""
    if axis_name is None:
        *axes, ny, nx = data.shape
        return data.reshape(*axes, ny // factor, factor, nx // factor, factor)
    i = data_map.geom.data_axis(axis_name)
    return data.reshape(*data.shape[:i], data.shape[i] // factor, factor, *data.shape[i + 1 :])


def _inner(data_map: WcsNDMap, axis_name: str | None) -> tuple[int, ...]:
    return (-3, -1) if axis_name is None else (data_map.geom.data_axis(axis_name) + 1,)


def upsample(
    data_map: WcsNDMap, factor: int, order: int, preserve_counts: bool, axis_name: str | None
) -> WcsNDMap:
    """Split pixels or bins; see `WcsNDMap.upsample`."""
    _check_factor(factor)
    geom = data_map.geom.upsample(factor, axis_name=axis_name)
    ndim = data_map.data.ndim
    dimensions = (ndim - 2, ndim - 1) if axis_name is None else (data_map.geom.data_axis(axis_name),)
    data = data_map.data
    if order and not data_map.is_mask:
        data = _spline(data.astype(float), factor, order, dimensions)
    else:
        for dimension in dimensions:
            data = np.repeat(data, factor, axis=dimension)
    if preserve_counts and not data_map.is_mask:
        data = data / factor ** len(dimensions)
    return WcsNDMap(geom, data=data, unit=data_map.unit, meta=data_map.meta)


def _spline(data: NDArray[Any], factor: int, order: int, dimensions: tuple[int, ...]) -> NDArray[Any]:
    from scipy import ndimage

    # Splines of several dimensions are splines along one after another.
    for dimension in dimensions:
        n = data.shape[dimension]
        points = (np.arange(n * factor) + 0.5) / factor - 0.5
        lines = np.moveaxis(data, dimension, -1)
        flat = lines.reshape(-1, n)
        result = [ndimage.map_coordinates(line, [points], order=order, mode="nearest") for line in flat]
        data = np.moveaxis(np.reshape(result, (*lines.shape[:-1], n * factor)), -1, dimension)
    return data


def pad(
    data_map: WcsNDMap, pad_width: int | tuple[int, int], axis_name: str | None, mode: str, cval: float
) -> WcsNDMap:
    """Add pixels or bins; see `WcsNDMap.pad`."""
    if mode not in {"constant", "edge"}:
        raise DataError(f"Pad: unknown mode {mode!r}, expected 'constant' or 'edge'")
    geom = data_map.geom.pad(pad_width, axis_name=axis_name)
    first, second = (int(n) for n in np.broadcast_to(pad_width, 2))
    widths = [(0, 0)] * data_map.data.ndim
    if axis_name is None:
        widths[-2:] = [(second, second), (first, first)]
    else:
        widths[data_map.geom.data_axis(axis_name)] = (first, second)
    options: dict[str, Any] = {"constant_values": cval} if mode == "constant" else {}
    data = np.pad(data_map.data, widths, mode=mode, **options)  # type: ignore[call-overload]
    return WcsNDMap(geom, data=data, unit=data_map.unit, meta=data_map.meta)


def interp_to_geom(
    data_map: WcsNDMap, geom: WcsGeom, preserve_counts: bool, fill_value: float | None, **kwargs: Any
) -> WcsNDMap:
    """Interpolate at other bins' centres; see `WcsNDMap.interp_to_geom`."""
    if sorted(geom.axes.names) != sorted(data_map.geom.axes.names):
        raise DataError(
            f"Interpolation: expected a geometry with the axes {data_map.geom.axes.names}, "
            f"found {geom.axes.names}"
        )
    coord = MapCoord(dict(geom.get_coord(sparse=True)))
    if data_map.is_mask:
        values = np.nan_to_num(data_map.get_by_coord(coord), nan=fill_value or 0).astype(bool)
        return WcsNDMap(geom, data=values, meta=data_map.meta)
    source = (
        data_map.copy(data=data_map.data / data_map.geom.solid_angle().value) if preserve_counts else data_map
    )
    # Outside the pixels, not between the outermost centres and the edge: there the slope goes on.
    values = source.interp_by_coord(coord, **kwargs)
    if preserve_counts:
        values = values * geom.solid_angle().value
    if fill_value is not None:
        outside = ~np.broadcast_to(data_map.geom.contains(coord.skycoord), values.shape)
        values[outside] = fill_value
    return WcsNDMap(geom, data=values, unit=data_map.unit, meta=data_map.meta)


def reproject_to_geom(
    data_map: WcsNDMap, geom: WcsGeom, preserve_counts: bool, precision_factor: int
) -> WcsNDMap:
    """Average over other pixels; see `WcsNDMap.reproject_to_geom`."""
    _check_factor(precision_factor)
    axes = data_map.geom.axes
    if len(geom.axes) and not axes.is_allclose(geom.axes):
        raise DataError(f"Reprojection: expected the axes {axes!r}, found {geom.axes!r}")
    target = geom.to_image().to_cube(axes)
    fine = geom.to_image().upsample(precision_factor)
    density = data_map.data.astype(float)
    if preserve_counts:
        density = density / data_map.geom.solid_angle().value
    x, y = data_map.geom.skydir_to_pix(fine.skydirs())
    inside = data_map.geom._contains_pix(x, y)
    column, row = (np.floor(np.where(inside, value, 0) + 0.5).astype(int) for value in (x, y))
    weights = fine.solid_angle().value if preserve_counts else np.ones(fine.spatial_shape)
    blocks = (target.npix[1], precision_factor, target.npix[0], precision_factor)
    covered = np.where(inside, weights, 0.0).reshape(blocks).sum(axis=(1, 3))
    data = np.empty(target.data_shape)
    for index in np.ndindex(data.shape[:-2]):
        shares = np.where(inside, density[index][row, column] * weights, 0.0)
        data[index] = shares.reshape(blocks).sum(axis=(1, 3))
    if not preserve_counts:
        data = np.divide(data, covered, out=np.zeros_like(data), where=covered > 0)
    values = data >= 0.5 if data_map.is_mask else data
    return WcsNDMap(target, data=values, unit=data_map.unit, meta=data_map.meta)


def sample_coord(data_map: WcsNDMap, n_events: int, random_state: int | np.random.Generator) -> MapCoord:
    """Draw coordinates; see `WcsNDMap.sample_coord`."""
    rng = np.random.default_rng(random_state)
    weights = data_map.data.astype(float).ravel()
    if not np.all(weights >= 0) or not weights.sum() > 0:
        raise DataError("Sample: expected a map of values above 0 and not NaN, with a positive sum")
    cumulative = np.cumsum(weights)
    # "right", so that bins with 0 are never chosen.
    flat = np.searchsorted(cumulative, rng.uniform(0, cumulative[-1], n_events), side="right")
    idx = np.unravel_index(np.minimum(flat, weights.size - 1), data_map.data.shape)
    pixels = [i + rng.uniform(-0.5, 0.5, n_events) for i in idx]
    geom = data_map.geom
    coords: dict[str, Any] = {
        axis.name: axis.pix_to_coord(pixels[geom.data_axis(axis.name)]) for axis in geom.axes
    }
    coords["skycoord"] = geom.pix_to_skydir(pixels[-1], pixels[-2])
    return MapCoord(coords)

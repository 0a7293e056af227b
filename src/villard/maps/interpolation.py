"""Interpolation on a grid of bin centres."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps import scale
from villard.maps.axis import MapAxis

__all__ = ["interpolate_grid"]

Array = NDArray[np.float64]


def interpolate_grid(
    axes: Sequence[MapAxis],
    data: Array,
    points: Sequence[Array],
    fill_value: float | None = None,
    values_scale: str = "lin",
) -> Array:
    """Interpolate multilinearly between bin centres, on the scales of axes and values.

    Parameters
    ----------
    axes : list of `MapAxis`
        Axes; those with one bin are constant.
    data : `~numpy.ndarray`
        Values, with one dimension per axis, in order.
    points : list of `~numpy.ndarray`
        Coordinates in the axes' units, all of one shape.
    fill_value : float, optional
        Value beyond the outermost centres; by default the slope goes on.
    values_scale : {"lin", "log", "sqrt"}
        Scale of values. On "log", values that aren't positive count as the smallest positive number; beyond
        the outermost centres no slope goes on that one of them is part of, but the outermost value.

    Returns
    -------
    `~numpy.ndarray`
        Values, in the shape of the points.

    Examples
    --------
    >>> axis = MapAxis.from_nodes([1.0, 2.0], name="x")
    >>> interpolate_grid([axis], np.array([10.0, 20.0]), [np.array([1.25, 3.0])])
    array([12.5, 30. ])
    """
    scale.check_scale(values_scale, "Interpolation")
    if data.shape != tuple(axis.nbin for axis in axes):
        raise DataError(f"Interpolation: expected one value per bin, found {data.shape}")
    shape = np.shape(points[0]) if points else ()
    values = np.asarray(data, dtype=float)
    if values_scale == "log":
        values = np.maximum(values, np.finfo(float).tiny)
    values = scale.forward(values_scale, values)
    inside = np.ones(shape, dtype=bool)
    lower, fractions = [], []
    for axis, point in zip(axes, points, strict=True):
        idx, fraction, within = _position(axis, point)
        lower.append(idx)
        fractions.append(fraction)
        inside &= within
    corners = list(product(*[(0, 1) if axis.nbin > 1 else (0,) for axis in axes]))
    if values_scale == "log" and not np.all(inside):
        fractions = _without_slopes(np.asarray(data) > 0, lower, fractions, corners)
    result = np.zeros(shape)
    for corner in corners:
        weight = np.ones(shape)
        for step, fraction in zip(corner, fractions, strict=True):
            weight = weight * (fraction if step else 1 - fraction)
        corner_values = values[tuple(idx + step for idx, step in zip(lower, corner, strict=True))]
        # A weight of 0 also wins over a value that is infinite on the scale.
        result += np.where(weight == 0, 0.0, weight * corner_values)
    result = scale.inverse(values_scale, result)
    return result if fill_value is None else np.where(inside, result, fill_value)


def _without_slopes(
    is_positive: NDArray[np.bool_],
    lower: Sequence[NDArray[np.intp]],
    fractions: list[Array],
    corners: Sequence[tuple[int, ...]],
) -> list[Array]:
    """Return fractions from 0 to 1 for points where a neighbour isn't positive, the others unchanged."""
    good = np.ones(np.shape(fractions[0]), dtype=bool)
    for corner in corners:
        good &= is_positive[tuple(idx + step for idx, step in zip(lower, corner, strict=True))]
    return [np.where(good, fraction, np.clip(fraction, 0.0, 1.0)) for fraction in fractions]


def _position(axis: MapAxis, point: Array) -> tuple[NDArray[np.intp], Array, NDArray[np.bool_]]:
    """Return the lower neighbour, the fraction of the way to the upper one, and whether it is between."""
    if axis.nbin == 1:
        return np.zeros(np.shape(point), dtype=int), np.zeros(np.shape(point)), np.isfinite(point)
    centers = scale.forward(axis.interp, axis.center.value)
    x = scale.forward(axis.interp, point)
    idx = np.clip(np.searchsorted(centers, x, side="right") - 1, 0, len(centers) - 2)
    fraction = (x - centers[idx]) / (centers[idx + 1] - centers[idx])
    return idx, fraction, (x >= centers[0]) & (x <= centers[-1])

"""Exposure on the pixels of a cutout, also beyond the edges of the map."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.likelihood.sky_grid import Cutout

if TYPE_CHECKING:
    from villard.likelihood.map_measurement import MapMeasurement

__all__ = ["exposure_on"]

Array = NDArray[np.float64]


def exposure_on(measurement: "MapMeasurement", cutout: Cutout) -> Array:
    """Return the exposure in cm² s at the centres of a cutout's pixels, shape (n_true, n_y, n_x).

    Beyond the edges of the exposure map its outermost values go on: flux from there may be scattered
    into the map.

    Raises
    ------
    DataError
        If the exposure is negative or NaN, or has other energies.
    """
    exposure = measurement.exposure
    assert exposure is not None
    cube = _cube(measurement)
    if exposure.geom.to_image() == measurement.geom.to_image():
        rows = np.clip(np.arange(cutout.shape[0]) + cutout.origin[1], 0, cube.shape[1] - 1)
        columns = np.clip(np.arange(cutout.shape[1]) + cutout.origin[0], 0, cube.shape[2] - 1)
        return np.ascontiguousarray(cube[:, rows[:, None], columns])
    x, y = exposure.geom.skydir_to_pix(cutout.centers(measurement.geom))
    return _interpolate(cube, np.nan_to_num(x, nan=-1.0), np.nan_to_num(y, nan=-1.0))


def _cube(measurement: "MapMeasurement") -> Array:
    """Exposure at the centres of the true energy bins."""
    key = "exposure"
    if key in measurement._sources:
        return np.asarray(measurement._sources[key])
    exposure = measurement.exposure
    assert exposure is not None
    cube = np.asarray(exposure.quantity.to_value("cm2 s"), dtype=float)
    if np.any(~np.isfinite(cube)) or np.any(cube < 0):
        bad = int(np.sum(~np.isfinite(cube) | (cube < 0)))
        raise DataError(f"Dataset {measurement.name!r}: exposure has {bad} negative or non-finite values")
    n_true = measurement.energy_true.nbin
    if len(cube) != n_true:
        raise DataError(f"Dataset {measurement.name!r}: exposure has {len(cube)} energies, expected {n_true}")
    measurement._sources[key] = cube
    return cube


def _interpolate(cube: Array, x: Array, y: Array) -> Array:
    """Interpolate bilinearly, constant beyond the outermost pixels."""
    rows, columns = cube.shape[1:]
    x, y = np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)
    i, j = np.minimum(x.astype(int), max(columns - 2, 0)), np.minimum(y.astype(int), max(rows - 2, 0))
    i2, j2 = np.minimum(i + 1, columns - 1), np.minimum(j + 1, rows - 1)
    tx, ty = x - i, y - j
    lower = cube[:, j, i] * (1 - tx) + cube[:, j, i2] * tx
    upper = cube[:, j2, i] * (1 - tx) + cube[:, j2, i2] * tx
    return np.asarray(lower * (1 - ty) + upper * ty)

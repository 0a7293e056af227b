"""What a fit of maps needs of the machine's memory, told before it is taken."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from villard.likelihood.map_measurement import MapMeasurement

__all__ = ["available_memory", "estimate_memory", "warn_of_memory"]

log = logging.getLogger(__name__)

_NUMBER = 8
#: What a process with the engine takes before any data.
_BASE = 300_000_000
#: Copies of the derivatives in all bins that one evaluation holds.
_COPIES = 4
#: Cubes of all bins that a measurement holds: counts, background, mask and what is summed of them.
_CUBES = 5
#: Share of the available memory from which on an estimate is a warning.
_NOTABLE = 0.8


def estimate_memory(measurements: Sequence[Any], models: Sequence[Any]) -> int:
    """Estimate the memory that binding and fitting takes, in bytes.

    Parameters
    ----------
    measurements : list of `~villard.likelihood.Measurement` or `MapMeasurement`
        Data and responses.
    models : list of models
        Models; their free parameters count.

    Returns
    -------
    int
        Bytes, right to about a factor of 2; that of the process without data included.

    Examples
    --------
    >>> estimate_memory([], [])
    300000000
    """
    maps = [m for m in measurements if isinstance(m, MapMeasurement)]
    return _BASE + sum(_of_map(m, [x for x in models if x.contributes_to(m.name)]) for m in maps)


def _of_map(measurement: MapMeasurement, models: Sequence[Any]) -> int:
    n_columns = measurement.n_kept
    n_pixels = int(np.prod(measurement.shape[1:]))
    n_true = len(measurement.energy_edges_true) - 1
    pixel = float(np.mean(measurement.geom.pixel_scales.to_value("deg")))
    reach = _psf_reach(measurement.psf)
    numbers, n_dense = _CUBES * measurement.n_bins, 0
    for model in models:
        share = min(_radius(model, reach) ** 2 * 4 / pixel**2 / n_pixels, 1.0)
        spectral = sum(not p.frozen for p in model.spectral_model.parameters)
        shape = _free_shape(model)
        if shape:
            n_dense += spectral + shape
            numbers += int(share * n_pixels * n_true * 4 * (shape + 2))
        elif share < 0.3:
            numbers += int(share * n_columns * (n_true + 4))
        else:
            n_dense += spectral
            numbers += n_columns * (n_true if spectral > 1 else 1)
    return _NUMBER * (numbers + _COPIES * (n_dense + 2) * n_columns)


def _free_shape(model: Any) -> int:
    spatial = getattr(model, "spatial_model", None)
    if spatial is None or getattr(model, "is_background", False):
        return 0
    return sum(not p.frozen for p in spatial.parameters)


def _radius(model: Any, psf_reach: float) -> float:
    """Radius of the part of the map that a source reaches, in deg; infinite for one that is everywhere."""
    spatial: Any = getattr(model, "spatial_model", None)
    radius = None if spatial is None else spatial.evaluation_radius
    if radius is None or spatial.position is None:
        return float("inf")
    return float(radius.to_value("deg")) + psf_reach


def _psf_reach(psf: Any) -> float:
    """Where the widest profile in the middle of the map has fallen to a thousandth of its peak, in deg."""
    if psf is None:
        return 0.0
    if not hasattr(psf, "radial_profile"):
        return float(np.max(psf.psf_kernel_map.geom.width.to_value("deg"))) / 2
    rad, values = psf.radial_profile(None)
    peak = values.max(axis=1, keepdims=True)
    return float(np.max(np.where(values > 1e-3 * peak, rad, 0.0)))


def available_memory() -> int | None:
    """Return the memory that is free now, in bytes; `None` where the system doesn't tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def warn_of_memory(measurements: Sequence[Any], models: Sequence[Any]) -> None:
    """Log what a fit needs; a warning where that is most of what there is."""
    if not any(isinstance(m, MapMeasurement) for m in measurements):
        return
    needed, available = estimate_memory(measurements, models), available_memory()
    text = f"This needs about {needed / 1e9:.1f} GB of memory"
    if available is not None and needed > _NOTABLE * available:
        log.warning(
            "%s; %.1f GB are free. Smaller cutouts or fewer free parameters need less.", text, available / 1e9
        )
    else:
        log.info("%s.", text)

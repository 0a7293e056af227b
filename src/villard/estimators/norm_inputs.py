"""What fits of a norm in bins of energy need of datasets: their bins, their lowest norms, their counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError

__all__ = [
    "bin_centers",
    "counts_of_fits",
    "energy_edges",
    "lowest_norms",
    "make_measurement",
    "snap_edges",
]

Array = NDArray[np.float64]


def energy_edges(dataset: Any) -> Array:
    """Edges of a dataset's bins in TeV."""
    if getattr(dataset, "counts", None) is not None:
        return np.asarray(dataset.counts.geom.axes["energy"].edges_engine)
    return np.asarray(dataset.data.energy_axis.edges_engine)


def make_measurement(dataset: Any) -> Any:
    """Return the measurement of a dataset; that of a cube with each bin of the fit apart.

    In selections of energies the bins without counts can't be one, as they are in a fit of all.
    """
    from villard.likelihood.map_measurement import MapMeasurement

    measurement = dataset.measurement()
    return measurement.compressed(all_bins=True) if isinstance(measurement, MapMeasurement) else measurement


def bin_centers(dataset: Any, measurement: Any) -> Array:
    """Return the energy in the middle of each bin of a measurement in TeV, 0 for bins that mean nothing."""
    if getattr(dataset, "counts", None) is None:
        return np.asarray(dataset.data.energy_ref.to_value(u.TeV))
    centers = np.asarray(dataset.counts.geom.axes["energy"].center_engine)
    if not hasattr(measurement, "cube"):
        return centers
    n_pixels = measurement.cube.n_bins // len(centers)
    # The first bin stands for those without counts, of which there are none.
    return np.append(0.0, centers[measurement.bins // n_pixels])


def snap_edges(wanted: Array, edges: list[Array]) -> Array:
    """Move edges to the nearest of the data's, on a logarithmic scale; those that meet become one."""
    available = np.unique(np.concatenate(edges))
    # Equal edges of several datasets differ in their last digits.
    available = available[np.append(True, np.diff(np.log(available)) > 1e-6)]
    nearest_edge = np.argmin(np.abs(np.log(wanted)[:, np.newaxis] - np.log(available)), axis=1)
    snapped = available[np.unique(nearest_edge)]
    if len(snapped) < 2:
        raise DataError(
            f"FluxPointsEstimator: no bin of the data, which reach from {available[0]:.4g} to "
            f"{available[-1]:.4g} TeV, lies between the edges {wanted[0]:.4g} and {wanted[-1]:.4g} TeV"
        )
    return np.asarray(snapped)


def lowest_norms(measurements: list[Any], masks: list[Any], models: Any, source: Any) -> Array:
    """Norms below which predicted counts would be negative somewhere in a bin, shape (n,).

    On/off data need none: there the background that is profiled makes up for a negative signal.
    """
    floor = np.full(len(masks[0]), -np.inf)
    others = [m for m in models if m is not source]
    for measurement, mask in zip(measurements, masks, strict=True):
        if measurement.statistic in ("cash", "cstat") and source.contributes_to(measurement.name):
            signal = _signal(measurement, [source]) / source.spectral_model.norm.value
            rest = _signal(measurement, others)
            rest = rest + measurement.background_of(models)
            lowest = np.where(signal > 0, -rest / np.where(signal > 0, signal, 1.0), -np.inf)
            floor = np.maximum(floor, np.where(mask, lowest, -np.inf).max(axis=1))
    return floor


def counts_of_fits(
    measurements: list[Any], masks: list[Any], likelihood: Any, fits: Any, models: Any, source: Any
) -> dict[str, Array]:
    """Counts, and predicted counts at the best fit, of each bin and dataset; NaN for data without counts."""
    shape = (fits.n, len(measurements))
    result = {name: np.full(shape, np.nan) for name in ("counts", "npred", "npred_excess")}
    values = likelihood.to_values(fits.theta)
    # These are copies of the user's models.
    for i in range(fits.n):
        for parameter, value in zip(likelihood.parameters, values[i], strict=True):
            parameter.min = parameter.max = float("nan")
            parameter.value = value
        for j, (measurement, mask) in enumerate(zip(measurements, masks, strict=True)):
            if "counts" in measurement.data:
                selected = mask[i]
                result["counts"][i, j] = measurement.data["counts"][selected].sum()
                result["npred"][i, j] = _npred(measurement, models)[selected].sum()
                own = [source] if source.contributes_to(measurement.name) else []
                result["npred_excess"][i, j] = _signal(measurement, own)[selected].sum()
    return result


def _signal(measurement: Any, models: Iterable[Any]) -> Array:
    from villard.likelihood.predict import predict

    own = [m for m in models if m.contributes_to(measurement.name)]
    if hasattr(measurement, "cube"):
        return np.asarray(measurement.pack(predict(measurement.cube, own)))
    return predict(measurement, own)


def _npred(measurement: Any, models: Any) -> Array:
    """Predicted counts, with the background that is given or, for on/off data, profiled."""
    from villard.likelihood.statistics import get_wstat_mu_bkg

    total = _signal(measurement, models)
    if measurement.statistic == "wstat":
        data = measurement.data
        background = get_wstat_mu_bkg(data["counts"], data["counts_off"], data["alpha"], total)
        return np.asarray(total + data["alpha"] * background)
    return np.asarray(total + measurement.background_of(models))

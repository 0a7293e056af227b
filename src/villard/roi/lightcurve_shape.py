"""Fits of the spectral shape of a source in one bin of time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from villard.modeling.models.gtlike import norm_parameter
from villard.roi.lightcurve_fit import bin_background
from villard.roi.nuisance import Nuisance
from villard.roi.time_bins import TimeBin

__all__ = ["fit_shape"]

log = logging.getLogger(__name__)

_SIGMA_UL = 1.6448536269514722


def fit_shape(
    roi: Any,
    source: Any,
    nuisances: Sequence[Nuisance],
    time_bin: TimeBin,
    row: Mapping[str, Any],
    free: Sequence[int],
) -> dict[str, Any] | None:
    """Fit parameters of a source in a bin of time, all else as in the fit of the norms.

    Parameters
    ----------
    roi, source, nuisances, time_bin :
        Region, source, other sources whose norms were fitted, and the bin.
    row : dict
        Fit of the norms.
    free : list of int
        Positions of the parameters that are fitted, among those of the source.

    Returns
    -------
    dict or None
        By the names of columns; `None` if the fit failed.
    """
    from villard.modeling.fit import Fit

    model = source.model.copy(name=source.name)
    for i, parameter in enumerate(model.parameters):
        parameter.frozen = i not in free
    norm = norm_parameter(model)
    value = norm.value * max(float(row["norm"]), 1e-6)
    norm.value = min(max(value, norm.bounds[0]), norm.bounds[1])
    datasets = [
        _dataset(own, counts, exposure, background, model)
        for own, counts, exposure, background in bin_background(roi, source, nuisances, time_bin, row["x"])
    ]
    fit = Fit()
    result = fit.run(datasets)
    if not result.success:
        log.warning("lightcurve: the fit of the shape failed in a bin of time: %s", result.message)
        return None
    return _values(roi, source, model, datasets, fit, norm)


def _dataset(own: Any, counts: Any, exposure: Any, background: Any, model: Any) -> Any:
    from villard.maps import WcsNDMap

    dataset = own.copy(name=own.name)
    shape = own.geom.data_shape
    dataset.counts = WcsNDMap(own.geom, data=np.reshape(counts, shape))
    dataset.exposure = exposure
    dataset.background = WcsNDMap(own.geom, data=np.reshape(background, shape))
    dataset.models = [model]
    return dataset


def _values(roi: Any, source: Any, model: Any, datasets: list[Any], fit: Any, norm: Any) -> dict[str, Any]:
    from villard.roi.lightcurve import band_fluxes

    spectrum = model.spectral_model
    interval = fit.confidence(datasets, norm, sigma=_SIGMA_UL)
    limit = 1 + (interval["errp"] if interval["success"] else np.nan) / norm.value
    stat = sum(d.stat_sum() for d in datasets)
    values: dict[str, Any] = {
        "loglike": -0.5 * stat,
        "npred": sum(float(d.npred_signal().data.sum()) for d in datasets),
        "values": [p.value for p in spectrum.parameters],
        "errors": [p.error for p in spectrum.parameters],
    }
    low, high = roi.energy_bounds
    for name, (value, unit) in band_fluxes(spectrum, roi.energy_bounds).items():
        band = name.lstrip("eflux")
        ends = (low, high) if not band else (f"{band} MeV", f"{10**5.5} MeV")
        error = spectrum.energy_flux_error if name.startswith("e") else spectrum.integral_error
        values[name], values[f"{name}_ul95"] = value, value * limit
        values[f"{name}_err"] = float(error(*ends)[1].to_value(unit))
    for dataset in datasets:
        dataset.models = []
    values["ts"] = float(sum(d.stat_sum() for d in datasets) - stat)
    return values

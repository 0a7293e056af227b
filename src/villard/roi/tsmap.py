"""TS maps of a region: a test source at each pixel, with all other sources as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from villard.exceptions import ConfigError
from villard.roi.kernel_source import kernel_name, kernel_source
from villard.roi.options import energy_range, options
from villard.roi.products import product_paths, write_maps, write_npy
from villard.roi.view import excluded

__all__ = ["DEFAULTS", "kernel_radius", "reference_amplitude", "run_tsmap"]

DEFAULTS: dict[str, Any] = {
    "model": None,
    "exclude": None,
    "loge_bounds": None,
    "max_kernel_radius": 3.0,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
    "executor": None,
    "downsampling_factor": None,
    "multithread": False,
    "nthread": None,
    "ra_format": "hour",
    "loglevel": None,
}
# Part of the counts of the test source that its neighbourhood holds, if it isn't limited further.
_CONTAINMENT = 0.99


def run_tsmap(roi: Any, prefix: str, given: dict[str, Any]) -> dict[str, Any]:
    """Make the map; see `villard.roi.ROI.tsmap`."""
    from villard.estimators import TSMapEstimator

    config = options(roi, "tsmap", DEFAULTS, given)
    source = kernel_source(config["model"], roi.skydir, "tsmap")
    kernel = kernel_name(config["model"])
    name = "_".join(part for part in (prefix, kernel) if part)
    files = product_paths(roi, prefix, kernel, "tsmap", settings=config)
    estimator = TSMapEstimator(
        kernel_model=source,
        kernel_width=2 * kernel_radius(roi, source, config["max_kernel_radius"], "tsmap"),
        sum_over_energy_groups=False,
        executor=config["executor"],
        downsampling_factor=config["downsampling_factor"],
    )
    with excluded(roi, config["exclude"], energy_range(roi, config["loge_bounds"], "tsmap")) as datasets:
        loglike = -0.5 * float(datasets.stat_sum())
        maps = estimator.run(datasets)
    result = _images(maps, source)
    result |= {
        "name": name,
        "src_dict": config["model"],
        "file": None,
        "loglike": loglike,
        "config": config,
        "maps": maps,
    }
    if "fits" in files:
        others = {"SQRT_TS_MAP": "sqrt_ts", "NPRED_MAP": "npred", "N_MAP": "amplitude"}
        layers = {hdu: result[key] for hdu, key in others.items()}
        write_maps(files["fits"], result["ts"], layers, config["overwrite"])
        result["file"] = str(files["fits"])
    if "npy" in files:
        plain = {key: value for key, value in result.items() if key != "maps"}
        write_npy(files["npy"], plain, config["overwrite"])
    if config["make_plots"]:
        from villard.roi.plots import plot_tsmap

        plot_tsmap(roi, result, prefix, config["overwrite"])
    return result


def _images(maps: Any, source: Any) -> dict[str, Any]:
    """Return images of what fermipy calls so; norms that would be negative are 0."""
    images = {}
    norm = maps["norm"].data[0]
    positive = np.where(np.isnan(norm), np.nan, np.maximum(norm, 0.0))
    ts = np.where(norm < 0, 0.0, np.maximum(maps["ts"].data[0], 0.0))
    images["ts"] = np.where(np.isnan(norm), np.nan, ts)
    images["sqrt_ts"] = np.sqrt(images["ts"])
    images["npred"] = np.where(norm < 0, 0.0, maps["npred_excess"].data[0])
    amplitude, unit = reference_amplitude(source)
    images["amplitude"] = positive * amplitude
    images["amplitude_err"] = maps["norm_err"].data[0] * amplitude
    geom = maps.geom.to_image()
    units = {"amplitude": unit, "amplitude_err": unit}
    return {key: _image(geom, data, units.get(key, "")) for key, data in images.items()}


def reference_amplitude(source: Any) -> tuple[float, str]:
    """Return the norm of a test source and its unit: per MeV, if it is a differential flux."""
    from villard.modeling.models.gtlike import norm_parameter

    quantity = norm_parameter(source).quantity
    unit = "cm-2 s-1 MeV-1"
    if quantity.unit.is_equivalent(unit):
        return float(quantity.to_value(unit)), unit
    return float(quantity.value), str(quantity.unit)


def _image(geom: Any, data: Any, unit: str) -> Any:
    from villard.maps import WcsNDMap

    return WcsNDMap(geom, data=data, unit=unit)


def kernel_radius(roi: Any, source: Any, largest: Any, where: str) -> float:
    """Return how far from the test source data are compared (deg)."""
    import astropy.units as u

    largest = float(u.Quantity(largest, "deg").value)
    if not largest > 0:
        raise ConfigError(f"{where}: expected a positive max_kernel_radius, found {largest}")
    reach = [_psf_radius(dataset) for dataset in roi.datasets]
    own = source.spatial_model.evaluation_radius
    size = 0.0 if own is None else float(own.to_value("deg"))
    smallest = 2 * float(max(roi.geom.pixel_scales.to_value("deg")))
    return max(min(largest, max(reach) + size), smallest)


def _psf_radius(dataset: Any) -> float:
    """Return the radius that holds most of the PSF at the lowest energy (deg); infinite if it isn't known."""
    psf = dataset.psf
    if not hasattr(psf, "containment_radius"):
        return 0.0 if psf is None else np.inf
    energy = dataset.geom.axes["energy"].center[0]
    radius = psf.containment_radius(
        fraction=_CONTAINMENT, energy_true=energy, position=dataset.geom.center_skydir
    )
    value = float(np.max(radius.to_value("deg")))
    return value if np.isfinite(value) else np.inf

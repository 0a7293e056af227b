"""PS maps of a region: its components added up, energies joined, and the map at its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError
from villard.roi.options import options
from villard.roi.products import product_paths, write_maps, write_npy
from villard.roi.psmap import disk_kernel, ps_map, psf_like_radius
from villard.roi.view import excluded

__all__ = ["DEFAULTS", "run_psmap"]

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "emin": None,
    "emax": None,
    "nbinloge": 20,
    "psfpar0": 4.0,
    "psfpar1": 100.0,
    "psfpar2": 0.9,
    "psfpar3": 0.1,
    "fixedradius": -1.0,
    "maxpoissoncount": 100.0,
    "prob_epsilon": 1e-7,
    "nbinpdf": 50,
    "scaleaxis": 20.0,
    "ipix": -1,
    "jpix": -1,
    "dpix": -1,
    "exclude": None,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
    "chatter": 1,
    "ra_format": "hour",
    "loglevel": None,
}
_PRECISION = ("maxpoissoncount", "prob_epsilon", "nbinpdf", "scaleaxis")


def run_psmap(roi: Any, prefix: str, given: dict[str, Any]) -> dict[str, Any]:
    """Make the map; see `villard.roi.ROI.psmap`."""
    config = options(roi, "psmap", DEFAULTS, given)
    files = product_paths(roi, prefix, "psmap", settings=config)
    with excluded(roi, config["exclude"]) as datasets:
        counts, npred, weights = _cubes(datasets)
    geom = roi.geom.to_image()
    edges = roi.energy_edges.to_value("MeV")
    bins = _energies(edges, config["emin"], config["emax"])
    low, high = edges[:-1][bins], edges[1:][bins]
    rows, columns, inner = _window(geom, config, low)
    maps = ps_map(
        counts[bins][:, rows, columns],
        npred[bins][:, rows, columns],
        _kernels(geom, low, config),
        None if weights is None else weights[bins][:, rows, columns],
        groups=(0.5 * np.log10(low * high), _wide_edges(low[0], high[-1], config["nbinloge"])),
        **{key: config[key] for key in _PRECISION},
    )
    result = _result(geom, maps, (rows, columns), inner)
    result |= {"name": prefix or "psmap", "file": None, "config": config}
    if "fits" in files:
        write_maps(files["fits"], result["psmap"], {"PS_SIGMA": result["psmapsigma"]}, config["overwrite"])
        result["file"] = str(files["fits"])
    if "npy" in files:
        write_npy(files["npy"], result, config["overwrite"])
    if config["make_plots"]:
        from villard.roi.plots import plot_psmap

        plot_psmap(roi, result, prefix, config["overwrite"])
    return result


def _cubes(datasets: Any) -> tuple[Array, Array, Array | None]:
    """Add up counts and predicted counts of all components; weights are averaged over 1 / weight."""
    from villard.estimators.map_data import MapData

    inputs = [MapData(dataset, "psmap") for dataset in datasets]
    first = inputs[0].geom
    for data in inputs[1:]:
        if not data.geom.is_allclose(first):
            raise DataError(
                f"psmap: dataset {data.name!r} has other bins than {inputs[0].name!r}, they can't be added up"
            )
    counts = np.sum([data.cube("counts") for data in inputs], axis=0)
    npred = np.sum([data.npred for data in inputs], axis=0)
    maps = [getattr(dataset, "weights", None) for dataset in datasets]
    if all(weights is None for weights in maps):
        return counts, npred, None
    inverse = np.zeros(first.data_shape)
    for data, weights in zip(inputs, maps, strict=True):
        own = np.ones(first.data_shape) if weights is None else np.asarray(weights.data, dtype=float)
        inverse += np.divide(data.cube("counts"), own, out=np.zeros_like(inverse), where=own > 0)
    return counts, npred, np.divide(counts, inverse, out=np.ones_like(inverse), where=inverse > 0)


def _energies(edges: Array, emin: float | None, emax: float | None) -> NDArray[np.bool_]:
    low = -np.inf if emin is None else float(emin)
    high = np.inf if emax is None else float(emax)
    bins = (edges[1:] > low * (1 + 1e-6)) & (edges[:-1] < high * (1 - 1e-6))
    if not bins.any():
        raise ConfigError(
            f"psmap: no bin of energy lies between emin={emin} and emax={emax} MeV; the data have "
            f"{edges[0]:.6g} to {edges[-1]:.6g} MeV"
        )
    return np.asarray(bins)


def _wide_edges(low: float, high: float, number: Any) -> Array:
    if int(number) != number or number < 1:
        raise ConfigError(f"psmap: expected a positive whole number as nbinloge, found {number!r}")
    return np.linspace(np.log10(low), np.log10(high), int(number) + 1)


def _radii(low: Array, config: dict[str, Any]) -> Array:
    if config["fixedradius"] > 0:
        return np.full(len(low), float(config["fixedradius"]))
    return psf_like_radius(low, *(float(config[f"psfpar{i}"]) for i in range(4)))


def _kernels(geom: Any, low: Array, config: dict[str, Any]) -> list[Array]:
    scales = geom.pixel_scales.to_value("deg")
    half = tuple((n - 1) // 2 for n in geom.spatial_shape)
    kernels = [disk_kernel(radius, scales, half) for radius in _radii(low, config)]
    if any(min(kernel.shape) < 1 for kernel in kernels):
        raise ConfigError("psmap: the radius is smaller than half a pixel: choose a larger psfpar3")
    return kernels


def _window(geom: Any, config: dict[str, Any], low: Array) -> tuple[slice, slice, tuple[slice, slice]]:
    """Return rows and columns to compute, with a margin, and the wanted ones among them."""
    n_y, n_x = geom.spatial_shape
    i, j, d = (int(config[key]) for key in ("ipix", "jpix", "dpix"))
    if i <= 0 or j <= 0:
        return slice(0, n_y), slice(0, n_x), (slice(0, n_y), slice(0, n_x))
    if i > n_x or j > n_y:
        raise ConfigError(f"psmap: pixel ({i}, {j}) is outside of the map, which has {n_x} x {n_y}")
    margin = int(np.ceil(_radii(low, config).max() / geom.pixel_scales.to_value("deg").min())) + 1
    d = max(d, 0)
    slices, inner = [], []
    for at, n in ((j - 1, n_y), (i - 1, n_x)):
        first, last = max(at - d, 0), min(at + d + 1, n)
        start, stop = max(first - margin, 0), min(last + margin, n)
        slices.append(slice(start, stop))
        inner.append(slice(first - start, last - start))
    return slices[0], slices[1], (inner[0], inner[1])


def _result(geom: Any, maps: dict[str, Array], window: tuple[slice, slice], inner: Any) -> dict[str, Any]:
    from villard.maps import WcsNDMap

    rows, columns = (
        slice(outer.start + part.start, outer.start + part.stop)
        for outer, part in zip(window, inner, strict=True)
    )
    images = {}
    for key, name in (("ps", "psmap"), ("sigma", "psmapsigma")):
        data = np.full(geom.spatial_shape, np.nan)
        data[rows, columns] = maps[key][inner]
        images[name] = WcsNDMap(geom, data=data)
    ps = images["psmap"].data
    if not np.any(np.isfinite(ps)):
        raise DataError("psmap: no counts are predicted anywhere")
    y, x = np.unravel_index(int(np.nanargmax(ps)), ps.shape)
    at = slice(None), y - window[0].start, x - window[1].start
    place = geom.pix_to_skydir(float(x), float(y)).spherical
    header = geom.wcs.wcs.ctype
    return {
        **images,
        "psmax": float(ps[y, x]),
        "psmax_sigma": float(images["psmapsigma"].data[y, x]),
        "coordname1": str(header[0]),
        "coordname2": str(header[1]),
        "coordx": float(place.lon.deg),
        "coordy": float(place.lat.deg),
        "ipix": int(x) + 1,
        "jpix": int(y) + 1,
        "datcts": maps["data"][at],
        "modcts": maps["model"][at],
    }

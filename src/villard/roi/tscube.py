"""TS cubes: a test source at each pixel, with all free norms refitted there, and its norm in each energy bin.

Predicted counts are linear in all norms, so that -ln L is convex and Newton's method safe. Many pixels are
solved together: their bins are rows of one matrix, and all that is needed are matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError, FitError
from villard.roi.kernel_source import kernel_name, kernel_source
from villard.roi.options import energy_range, options
from villard.roi.products import product_paths, write_npy
from villard.roi.tscube_bins import fit_bins
from villard.roi.tscube_fit import NormScan, PixelBins, fit_pixels
from villard.roi.tsmap import kernel_radius, reference_amplitude
from villard.roi.view import excluded
from villard.utils.progress import ProgressBar

__all__ = ["DEFAULTS", "run_tscube"]

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "model": None,
    "exclude": None,
    "do_sed": True,
    "nnorm": 10,
    "norm_sigma": 5.0,
    "cov_scale": -1.0,
    "cov_scale_bb": -1.0,
    "tol": 1e-3,
    "max_iter": 30,
    "loge_bounds": None,
    "max_kernel_radius": 3.0,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
    "init_lambda": 0,
    "remake_test_source": False,
    "st_scan_level": 0,
    "tol_type": 0,
    "ra_format": "hour",
    "loglevel": None,
}
_CHUNK = 64


@dataclass
class _Component:
    """Arrays of one dataset."""

    data: Any
    basis: Any
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    energy: NDArray[np.intp]


def run_tscube(roi: Any, prefix: str, given: dict[str, Any]) -> dict[str, Any]:
    """Make the cube; see `villard.roi.ROI.tscube`."""
    config = _checked(options(roi, "tscube", DEFAULTS, given))
    source = kernel_source(config["model"], roi.skydir, "tscube")
    parts = prefix, kernel_name(config["model"]), "tscube"
    files = product_paths(roi, *parts, settings=config)
    with excluded(roi, config["exclude"], energy_range(roi, config["loge_bounds"], "tscube")) as datasets:
        result = _run(roi, datasets, source, config)
    result |= {"name": "_".join(p for p in parts[:2] if p), "src_dict": config["model"], "file": None}
    result["config"] = config
    if "fits" in files:
        _write(files["fits"], result, config["overwrite"])
        result["file"] = str(files["fits"])
    if "npy" in files:
        write_npy(files["npy"], result, config["overwrite"])
    if config["make_plots"]:
        from villard.roi.plots import plot_tsmap

        plot_tsmap(roi, result, prefix, config["overwrite"], kind="tscube")
    return result


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    for key, least in (("nnorm", 0), ("max_iter", 1), ("norm_sigma", 0), ("tol", 0)):
        if not config[key] >= least:
            raise ConfigError(f"tscube: expected at least {least} as {key}, found {config[key]!r}")
    return config


def _run(roi: Any, datasets: Any, source: Any, config: dict[str, Any]) -> dict[str, Any]:
    components = _components(roi, datasets, source, config["max_kernel_radius"])
    scan, names = _norm_scan(roi, datasets, components, config)
    geom = roi.geom.to_image()
    shape = geom.spatial_shape
    with_sed = bool(config["do_sed"])
    n_energy = _n_energy(datasets) if with_sed else 0
    images = {key: np.full(shape, np.nan) for key in ("ts", "norm", "norm_err", "npred")}
    cubes = {
        key: np.full((n_energy, *shape), np.nan) for key in ("ts", "norm", "norm_err", "norm_ul", "npred")
    }
    points = int(config["nnorm"]) if with_sed else 0
    scans = {key: np.full((points, n_energy, *shape), np.nan) for key in ("norm_scan", "dloglike_scan")}
    seen = np.any([c.data.mask.any(axis=0) for c in components], axis=0)
    sums = _sums(components)
    weighted = any(dataset.weights is not None for dataset in datasets)
    counts = _sums(components, weighted=False) if weighted else sums
    total = np.sum([own.sum(axis=0) for own in sums], axis=0)
    usable = np.flatnonzero((seen & (total > 0)).ravel())
    with ProgressBar(len(usable), "TS cube") as bar:
        for pixels in _chunks(usable):
            y, x = np.unravel_index(pixels, shape)
            bins = _pixel_bins(components, y, x, total[y, x])
            fit = fit_pixels(scan, bins, float(config["tol"]), int(config["max_iter"]))
            images["ts"][y, x], images["norm"][y, x] = fit.ts, fit.norm
            images["norm_err"][y, x] = fit.error
            images["npred"][y, x] = fit.norm * np.sum([own[:, y, x] for own in counts], axis=(0, 1))
            if with_sed:
                per_energy = np.sum([own[:, y, x] for own in sums], axis=0).T
                sed = fit_bins(
                    scan,
                    bins,
                    fit,
                    per_energy,
                    n_energy,
                    points,
                    float(config["norm_sigma"]),
                    float(config["cov_scale"]),
                )
                sed["npred"] = sed["norm"] * np.sum([own[:, y, x] for own in counts], axis=0).T
                for key, cube in cubes.items():
                    cube[:, y, x] = sed[key].T
                for key, cube in scans.items():
                    cube[:, :, y, x] = np.moveaxis(sed[key], 0, -1)
            bar.advance(len(pixels))
    return _result(roi, geom, source, images, cubes, scans, names)


def _n_energy(datasets: Any) -> int:
    axes = [dataset.geom.axes["energy"] for dataset in datasets]
    for dataset, axis in zip(datasets, axes, strict=True):
        if not axis.is_allclose(axes[0]):
            raise DataError(
                f"tscube: dataset {dataset.name!r} has other energies than {datasets[0].name!r}. "
                "Pass do_sed=False"
            )
    return int(axes[0].nbin)


def _components(roi: Any, datasets: Any, source: Any, largest: Any) -> list[_Component]:
    from villard.estimators.map_data import MapData, as_datasets
    from villard.estimators.ts_kernels import SourceShape, make_basis

    radius = kernel_radius(roi, source, largest, "tscube")
    width, height = (max(round(radius / s), 1) for s in roi.geom.pixel_scales.to_value("deg"))
    components = []
    for dataset in as_datasets(list(datasets), "tscube"):
        data = MapData(dataset, "tscube")
        _, n_y, n_x = data.shape
        basis = make_basis(SourceShape(data, source, (height, width)), slice(0, n_y), slice(0, n_x))
        counts = data.cube("counts") * data.weights
        energy, rows, columns = np.nonzero(data.mask & (counts > 0))
        components.append(_Component(data, basis, rows, columns, energy))
    return components


def _norm_scan(
    roi: Any, datasets: Any, components: list[_Component], config: dict[str, Any]
) -> tuple[NormScan, list[str]]:
    """Collect counts, what is fixed and the templates of free norms, and fit these without a test source."""
    from villard.modeling.models.gtlike import norm_parameter
    from villard.roi.templates import Cube, frozen_copy

    present = {id(m) for m in datasets.models}
    free = [
        source
        for source in roi.sources
        if id(source.model) in present and not norm_parameter(source.model).frozen
    ]
    names = [source.name for source in free]
    counts, fixed, templates = [], [], []
    sums = np.zeros((len(free), max(len(component.data.mask) for component in components)))
    for dataset, component in zip(datasets, components, strict=True):
        cube, data = Cube(dataset), component.data
        index = component.energy, component.rows, component.columns
        weights = data.weights
        own = [cube.predict(frozen_copy(source.model)).reshape(data.shape) for source in free]
        rest = np.maximum(data.npred - sum(own), 0.0) if own else data.npred
        counts.append((data.cube("counts") * weights)[index])
        fixed.append(rest[index])
        templates.append(np.array([cube[index] for cube in own]).reshape(len(own), len(index[0])))
        for i, predicted in enumerate(own):
            sums[i, : len(weights)] += np.sum(predicted * weights, axis=(1, 2))
    scan = NormScan(
        np.concatenate(counts),
        np.concatenate(fixed),
        np.concatenate(templates, axis=1),
        sums.sum(axis=1),
        np.concatenate([c.energy for c in components]),
        float(config["cov_scale_bb"]),
        sums,
    )
    if not scan.success:
        raise FitError(f"tscube: the fit of the norms of {', '.join(names)} has not converged")
    return scan, names


def _sums(components: list[_Component], weighted: bool = True) -> list[Array]:
    """Counts of a test source of norm 1 at each pixel, where there is weight, shape (n_energy, n_y, n_x)."""
    from scipy.signal import fftconvolve

    result = []
    for component in components:
        data, basis = component.data, component.basis
        weights = data.weights if weighted else (data.weights > 0).astype(float)
        own = np.zeros(data.shape)
        for kernel, coefficient in zip(basis.kernels, basis.coefficients, strict=True):
            for e in range(len(own)):
                own[e] += coefficient * fftconvolve(weights[e], kernel[e, ::-1, ::-1], mode="same")
        own[own < 1e-10 * own.max(initial=0.0)] = 0.0
        result.append(own)
    return result


def _chunks(pixels: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    yield from np.split(pixels, np.arange(_CHUNK, len(pixels), _CHUNK))


def _pixel_bins(
    components: list[_Component], y: NDArray[np.intp], x: NDArray[np.intp], total: Array
) -> PixelBins:
    """Return the counts of the test source at some pixels in the bins that have counts."""
    parts: list[Array] = []
    used: list[NDArray[np.intp]] = []
    first = 0
    for component in components:
        kernels, coefficients = component.basis.kernels, component.basis.coefficients
        h, w = kernels.shape[2] // 2, kernels.shape[3] // 2
        near = (component.rows >= y.min() - h) & (component.rows <= y.max() + h)
        near &= (component.columns >= x.min() - w) & (component.columns <= x.max() + w)
        index = np.flatnonzero(near)
        dy = component.rows[index] - y[:, np.newaxis] + h
        dx = component.columns[index] - x[:, np.newaxis] + w
        inside = (dy >= 0) & (dy <= 2 * h) & (dx >= 0) & (dx <= 2 * w)
        dy, dx = np.where(inside, dy, 0), np.where(inside, dx, 0)
        own = np.zeros(inside.shape)
        for kernel, coefficient in zip(kernels, coefficients, strict=True):
            own += coefficient[y, x, np.newaxis] * kernel[component.energy[index], dy, dx]
        parts.append(np.where(inside, np.maximum(own, 0.0), 0.0))
        used.append(index + first)
        first += len(component.rows)
    return PixelBins(np.concatenate(parts, axis=1), np.concatenate(used), total)


def _result(
    roi: Any,
    geom: Any,
    source: Any,
    images: dict[str, Array],
    cubes: dict[str, Array],
    scans: dict[str, Array],
    names: list[str],
) -> dict[str, Any]:
    from villard.maps import WcsNDMap

    amplitude, unit = reference_amplitude(source)
    norm = images["norm"]
    plain = {
        "ts": images["ts"],
        "sqrt_ts": np.sqrt(images["ts"]),
        "npred": images["npred"],
        "norm": norm,
        "norm_err": images["norm_err"],
    }
    result: dict[str, Any] = {key: WcsNDMap(geom, data=data) for key, data in plain.items()}
    result["amplitude"] = WcsNDMap(geom, data=norm * amplitude, unit=unit)
    result["amplitude_err"] = WcsNDMap(geom, data=images["norm_err"] * amplitude, unit=unit)
    result |= {"free_norms": names, "sed": None}
    if len(cubes["ts"]):
        axis = roi.geom.axes["energy"]
        result["sed"] = {
            key: WcsNDMap(geom.to_cube([axis]), data=data) for key, data in cubes.items()
        } | scans
    return result


def _write(path: Any, result: dict[str, Any], overwrite: bool) -> None:
    from astropy.io import fits
    from astropy.table import Table

    from villard.roi.products import map_hdu
    from villard.utils.io import atomic_write

    layers = {"SQRT_TS_MAP": "sqrt_ts", "NPRED_MAP": "npred", "N_MAP": "amplitude"}
    hdus = [map_hdu(result["ts"]), *(map_hdu(result[key], name) for name, key in layers.items())]
    if result["sed"] is not None:
        sed = result["sed"]
        hdus += [
            map_hdu(sed[key], f"{key.upper()}_CUBE") for key in ("ts", "norm", "norm_err", "norm_ul", "npred")
        ]
        edges = sed["ts"].geom.axes["energy"].edges.to("MeV")
        hdus.append(fits.BinTableHDU(Table({"E_MIN": edges[:-1], "E_MAX": edges[1:]}), name="EBOUNDS"))
    with atomic_write(path, overwrite) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True)

"""Spectral energy distributions: the norm of a source in bins of energy, with its likelihood profiles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.castro import delta_stat
from villard.exceptions import ConfigError, ModelError
from villard.roi.nuisance import Nuisance, global_fit
from villard.roi.options import numbers_of, options
from villard.roi.sed_result import SED
from villard.roi.state import kept_state
from villard.roi.templates import Cube, frozen_copy, join_cubes, region_cubes

__all__ = ["SEDs", "check_source", "coupled", "energy_bins", "fit_norm", "result_files", "run_sed"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_DEFAULTS: dict[str, Any] = {
    "bin_index": 2.0,
    "use_local_index": False,
    "free_background": False,
    "free_radius": None,
    "free_pars": None,
    "ul_ts_threshold": 4.0,
    "ul_confidence": 0.95,
    "cov_scale": 3.0,
    "npts": 20,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
}
_DNDE = u.Unit("cm-2 s-1 MeV-1")
#: Predicted counts in a bin to which the reference is raised where it has less.
_LEAST = 1.0
#: Coupling below which a background norm stays at its best fit along a profile.
_COUPLED = 1e-4
_SIGMA = 0.6826894921370859


class SEDs:
    """Spectral energy distributions of a `villard.roi.ROI`."""

    def sed(
        self, name: str, loge_bins: Any = None, prefix: str = "", outfile: str | None = None, **kwargs: Any
    ) -> SED:
        """Measure the flux of a source in bins of energy.

        First the spectrum of the source is fitted to all energies. Then in each bin its norm is fitted with a
        power law as spectrum, together with the norms of the background; the profile of the norm has the
        background refitted at each of its points. The region is left as it was.

        Parameters
        ----------
        name : str
            Source.
        loge_bins : list of float, optional
            Edges, as log10(energy / MeV), which must be edges of the data's bins. All of these by default.
        prefix, outfile : str
            First part of the name of files, or the name itself; if either is given, files are written.
        bin_index : float
            Index of the power law within bins.
        use_local_index : bool
            Whether the index is that of the fitted spectrum in each bin instead.
        free_background : bool
            Whether what is free of other sources stays free: in the fit of all energies, and, of their norms,
            in bins without a prior. Otherwise their free norms are fitted with the prior of ``cov_scale``.
        free_radius : float, optional
            Also free the norms of sources within this distance from the source (deg).
        free_pars : list of str, optional
            Parameters of the source that are free in the fit of all energies; norm and shape by default.
        cov_scale : float or None
            Width of the normal prior on norms of the background in bins, in units of their errors in the fit
            of all energies; no prior if it is `None`.
        ul_ts_threshold, ul_confidence : float
            TS below which a point counts as an upper limit (``is_ul``), and confidence of the limits
            ``…_ul``. Limits ``…_ul95`` are of 95 %, one-sided.
        npts : int
            Values of each profile.
        make_plots, write_fits, write_npy, overwrite : bool
            Whether a plot, a FITS file (by default if there is a prefix or outfile) and fermipy's .npy file
            are written, and whether existing ones may be replaced.

        Returns
        -------
        `SED`
            ``len(sed)`` bins; ``sed["norm"]``, ``sed["e2dnde_ul95"]``, … are its columns, see `SED`.

        Examples
        --------
        >>> from villard.datasets import MapDataset
        >>> from villard.maps import MapAxis, WcsGeom, WcsNDMap
        >>> from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
        >>> from villard.roi import ROI
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
        >>> geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, npix=(5, 5), axes=[axis])
        >>> exposure = WcsNDMap(geom.as_energy_true(), data=np.full(geom.data_shape, 1e14), unit="cm2 s")
        >>> background = WcsNDMap(geom, data=np.ones(geom.data_shape))
        >>> dataset = MapDataset(exposure=exposure, background=background, name="cube")
        >>> place = PointSpatialModel(lon_0="0 deg", lat_0="0 deg", frame="galactic")
        >>> dataset.models = [SkyModel(PowerLawSpectralModel(index=2), place, name="source")]
        >>> dataset.counts = dataset.npred()
        >>> roi = ROI(dataset)
        >>> sed = roi.sed("source", free_pars="norm")
        >>> len(sed), sed["norm"].round(4).tolist()
        (2, [1.0, 1.0])
        """
        return run_sed(self, name, loge_bins, prefix, outfile, kwargs)


def run_sed(
    roi: Any, name: str, loge_bins: Any, prefix: str, outfile: str | None, given: dict[str, Any]
) -> SED:
    """Measure the flux of a source in bins of energy; see `SEDs.sed`."""
    settings = options(roi, "sed", _DEFAULTS, given)
    source = roi[name]
    check_source(source, "sed")
    edges, bins = energy_bins(roi, loge_bins, "sed")
    files = result_files(roi, (prefix, source.name, "sed"), outfile, settings)
    with kept_state(roi):
        fit, nuisances = global_fit(roi, source, settings, "sed")
        spectrum = source.spectral_model.copy()
        rows, meta = _fit_bins(roi, source, edges, bins, nuisances, settings)
        loglike = roi.loglike
        parameters = _parameters(source)
    meta |= {
        "name": source.name,
        "config": {**settings, "loge_bins": None if loge_bins is None else loge_bins},
    }
    meta |= {"fit_quality": fit.get("fit_quality"), "fit_success": fit.get("fit_success"), "loglike": loglike}
    sed = SED.from_rows(rows, edges, spectrum, meta | parameters)
    sed.write_files(files, settings["overwrite"])
    return sed


def _parameters(source: Any) -> dict[str, Any]:
    """Return the parameters of the fit of all energies, by the names of fermipy."""
    from villard.modeling.covariance import Covariance

    own = source.spectral_model.parameters
    return {
        "param_names": own.names,
        "param_values": np.array([p.value for p in own]),
        "param_errors": np.array([p.error for p in own]),
        "param_covariance": Covariance(own).data,
    }


def check_source(source: Any, where: str) -> None:
    """Raise `ModelError` if the spectrum of a source is no flux."""
    spectral = getattr(source.model, "spectral_model", None)
    if spectral is None or source.is_diffuse or not spectral.output_unit.is_equivalent(_DNDE):
        raise ModelError(
            f"{where}: the spectrum of {source.name!r} is no flux, but a factor on a template: its flux in "
            "bins isn't defined"
        )


def result_files(
    roi: Any, stem: tuple[str, ...], outfile: str | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the files to write by their suffixes, checked before any work."""
    from villard.roi.products import product_paths

    parts = (outfile.removesuffix(".fits"),) if outfile else stem
    return product_paths(roi, *parts, settings=settings, plot=True)


def energy_bins(roi: Any, loge_bins: Any, where: str) -> tuple[Array, list[list[NDArray[np.intp]]]]:
    """Return edges (MeV), and for each bin and dataset the bins of energy in it.

    Raises
    ------
    ConfigError
        If edges aren't those of the data.
    """
    data = [d.geom.axes["energy"].edges.to_value("MeV") for d in roi.datasets]
    if loge_bins is None:
        edges = np.array(sorted(data[0]))
        edges = edges[[all(_is_edge(d, e, 1e-4) for d in data) for e in edges]]
    else:
        edges = 10 ** numbers_of(loge_bins, f"{where}: loge_bins")
        if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
            raise ConfigError(f"{where}: expected increasing loge_bins, found {loge_bins!r}")
        for e in edges:
            for d in data:
                if not _is_edge(d, e, 1e-3):
                    raise ConfigError(
                        f"{where}: {np.log10(e):.4f} in loge_bins is no edge of the data, which has "
                        f"{np.round(np.log10(d), 4).tolist()}"
                    )
    if len(edges) < 2:
        raise ConfigError(f"{where}: the components have no bins of energy in common")
    bins = [
        [np.flatnonzero((d[:-1] > low * 0.999) & (d[1:] < high * 1.001)) for d in data]
        for low, high in pairwise(edges)
    ]
    for k, parts in enumerate(bins):
        if not any(len(part) for part in parts):
            raise ConfigError(f"{where}: no data between {edges[k]:g} and {edges[k + 1]:g} MeV")
    return edges, bins


def _is_edge(edges: Array, energy: float, tolerance: float) -> bool:
    """Whether an energy is an edge of the data, or outside of them."""
    inside = edges[0] < energy < edges[-1]
    return not inside or bool(np.any(np.isclose(edges, energy, rtol=tolerance)))


def _fit_bins(
    roi: Any,
    source: Any,
    edges: Array,
    bins: Sequence[Sequence[NDArray[np.intp]]],
    nuisances: list[Nuisance],
    settings: dict[str, Any],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Fit all bins; the templates of the sources are computed once."""
    cubes = region_cubes(roi)
    free = {id(n.source) for n in nuisances}
    others = [s for s in roi.sources if s is not source and id(s) not in free]
    fixed = [_fixed(cube, roi, others) for cube in cubes]
    templates = [[cube.pack(cube.predict(n.model)) for cube in cubes] for n in nuisances]
    spectra = _bin_spectra(source, edges, settings)
    shared: dict[float, list[Array]] = {}
    rows = []
    for k, energies in enumerate(bins):
        model, factor = spectra[k]
        index = round(model.index.value, 12)
        if index not in shared:
            unit = model.copy()
            unit.amplitude.value, unit.reference.quantity = 1.0, u.Quantity(1, "GeV")
            shared[index] = [cube.predict(frozen_copy(source.model, unit)) for cube in cubes]
        scale = factor(u.Quantity(1, "GeV"))
        own = [
            _scaled(cube.pack(cube_counts), scale)
            for cube, cube_counts in zip(cubes, shared[index], strict=True)
        ]
        npred = sum(part[1][e].sum() for part, e in zip(own, energies, strict=True))
        raise_by = 1.0 if npred >= _LEAST or npred == 0 else _LEAST / npred
        own = [_scaled(part, raise_by) for part in own]
        norms = join_cubes(cubes, energies, [own, *templates], fixed, **_limits(nuisances))
        model.amplitude.value *= raise_by
        row = fit_norm(norms, settings)
        row |= {"ref_npred": npred * raise_by, "model": model, "index": model.index.value}
        rows.append(row)
    return rows, {"nuisances": [n.name for n in nuisances]}


def _fixed(cube: Cube, roi: Any, others: Sequence[Any]) -> tuple[Array, Array]:
    total = cube.background(roi.models).copy()
    for source in others:
        total += cube.predict(frozen_copy(source.model))
    return cube.pack(total)


def _scaled(pair: tuple[Array, Array], factor: float) -> tuple[Array, Array]:
    return pair[0] * factor, pair[1] * factor


def _limits(nuisances: Sequence[Nuisance]) -> dict[str, Array]:
    """Limits and priors of the norms: that of the source can't be negative."""
    return {
        "lower": np.array([0.0, *(n.lower for n in nuisances)]),
        "upper": np.array([np.inf, *(n.upper for n in nuisances)]),
        "mean": np.array([0.0, *(n.mean for n in nuisances)]),
        "sigma": np.array([np.inf, *(n.sigma for n in nuisances)]),
    }


def _bin_spectra(source: Any, edges: Array, settings: dict[str, Any]) -> list[tuple[Any, Any]]:
    """For each bin the power law that norms refer to, and the amplitude at 1 GeV in the unit of templates."""
    from villard.modeling.models import PowerLawSpectralModel

    spectrum, result = source.spectral_model, []
    for energy in np.sqrt(edges[:-1] * edges[1:]) * u.MeV:
        index = float(settings["bin_index"])
        if settings["use_local_index"]:
            local = float(np.asarray(spectrum.spectral_index(energy)))
            index = local if np.isfinite(local) else index
        dnde = float(spectrum(energy).to_value(_DNDE))
        if not (np.isfinite(dnde) and dnde > 1e-60):
            dnde = 1e-13 * float((energy / u.GeV).to_value("")) ** -2
        model = PowerLawSpectralModel(index=index, amplitude=dnde * _DNDE, reference=energy)
        result.append((model, _amplitude_at(model)))
    return result


def _amplitude_at(model: Any) -> Any:
    return lambda energy: float(model(energy).to_value(_DNDE))


def fit_norm(norms: Any, settings: dict[str, Any], i: int = 0) -> dict[str, Any]:
    """Fit the norms of one bin: that numbered by ``i`` with errors, limits, TS and profile.

    Returns
    -------
    dict
        ``norm`` and the rest as in the columns of `SED`, ``stat``, ``success``.
    """
    if not norms.sums[i] > 0:
        return _unknown(norms, int(settings["npts"]))
    start = np.ones(norms.n_norms)
    best = norms.minimize(start)
    inner = coupled(norms, i, best)
    own, point = inner
    null = own.profile(0, [0.0], point.x)[0][0]
    error = own.curvature(0, point.x)
    up = own.crossing(0, point, delta_stat(_SIGMA, 2), 1)
    down = own.crossing(0, point, delta_stat(_SIGMA, 2), -1)
    ul95 = own.crossing(0, point, delta_stat(0.95), 1)
    ul = (
        ul95
        if settings["ul_confidence"] == 0.95
        else own.crossing(0, point, delta_stat(settings["ul_confidence"]), 1)
    )
    at_edge = point.x[0] <= own.lower[0]
    grid = _grid(float(point.x[0]), up, ul95, int(settings["npts"]))
    scan = own.profile(0, grid, point.x)[0]
    return {
        "norm": float(point.x[0]),
        "norm_err": float(np.sqrt(2 / error)) if error > 0 and not at_edge else up,
        "norm_errp": up,
        "norm_errn": down,
        "norm_ul95": float(point.x[0]) + ul95,
        "norm_ul": float(point.x[0]) + ul,
        "ts": max(null - point.stat, 0.0),
        "loglike": -0.5 * best.stat,
        "norm_scan": grid,
        "dloglike_scan": np.minimum(-0.5 * (scan - point.stat), 0.0),
        "success": best.success,
        "fit_quality": 3 if best.success and np.isfinite(ul95) else 0,
        "x": best.x,
    }


def _unknown(norms: Any, npts: int) -> dict[str, Any]:
    """The result where the source has no counts, because all its bins are masked."""
    keys = ("norm", "norm_err", "norm_errp", "norm_errn", "norm_ul95", "norm_ul", "ts", "loglike")
    scans = {key: np.full(npts, np.nan) for key in ("norm_scan", "dloglike_scan")}
    return {
        **dict.fromkeys(keys, np.nan),
        **scans,
        "success": False,
        "fit_quality": 0,
        "x": np.ones(norms.n_norms),
    }


def coupled(norms: Any, i: int, best: Any) -> tuple[Any, Any]:
    """Return the likelihood of the norm ``i``, as the first, and those that depend on it; the rest stay.

    Norms that have next to no correlation with it change its profile by less than rounding of files.
    """
    from villard.likelihood.linear import LinearFit, LinearNorms

    matrix = norms.hessian(best.x)
    size = np.sqrt(np.maximum(np.diag(matrix) * matrix[i, i], 1e-300))
    near = np.abs(matrix[i]) / size > _COUPLED
    near[i] = False
    keep = np.append(i, np.flatnonzero(near))
    rest = np.setdiff1d(np.arange(norms.n_norms), keep)
    reduced = LinearNorms(
        norms.counts,
        norms.templates[keep],
        norms.fixed + best.x[rest] @ norms.templates[rest],
        norms.sums[keep],
        norms.fixed_sum + float(norms.sums[rest] @ best.x[rest]),
        norms.lower[keep],
        norms.upper[keep],
        norms.mean[keep],
    )
    reduced.weight = norms.weight[keep]
    point = reduced.minimize(best.x[keep])
    return reduced, LinearFit(
        point.x, point.stat, point.gradient, best.success and point.success, best.n_steps
    )


def _grid(norm: float, errp: float, ul: float, n: int) -> Array:
    """Norms of a profile: 0, and values up to well beyond the upper limit, the best fit among them."""
    reach = ul if np.isfinite(ul) else 3 * errp if np.isfinite(errp) else max(norm, 1.0)
    high = norm + 2.5 * reach
    if norm <= 1e-6 * high:
        return np.linspace(0, high, n)
    low = max(norm - 2.5 * reach, 0.0)
    n_below = n // 2 if low == 0 else n // 2 - 1
    below = np.linspace(low, norm, n_below, endpoint=False)
    zero = [] if low == 0 else [0.0]
    return np.concatenate([zero, below, np.linspace(norm, high, n - n_below - len(zero))])

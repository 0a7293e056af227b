"""Light curves: the norm of a source in bins of time, and its variability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, ModelError
from villard.modeling.models.gtlike import norm_parameter
from villard.roi.fluxes import BANDS, HIGHEST
from villard.roi.lightcurve_fit import calc_ts_var, fit_constant, fit_time_bin, time_problems
from villard.roi.lightcurve_result import LightCurve
from villard.roi.nuisance import Nuisance, background_sources, nuisance_norms
from villard.roi.options import options
from villard.roi.state import kept_state
from villard.roi.time_bins import TimeBin, bins_from_datasets, bins_from_events

__all__ = ["LightCurves", "run_lightcurve"]

Array = NDArray[np.float64]

_DEFAULTS: dict[str, Any] = {
    "binsz": 86400.0,
    "nbins": None,
    "time_bins": None,
    "exposure": None,
    "free_background": False,
    "free_params": None,
    "free_radius": None,
    "free_sources": None,
    "max_free_sources": 5,
    "shape_ts_threshold": 16.0,
    "systematic": 0.02,
    "ul_confidence": 0.95,
    "npts": 20,
    "outdir": None,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
}


class LightCurves:
    """Light curves of a `villard.roi.ROI`."""

    def lightcurve(
        self,
        name: str,
        bins: Sequence[Any] | None = None,
        events: Any = None,
        prefix: str = "",
        outfile: str | None = None,
        executor: Any = None,
        **kwargs: Any,
    ) -> LightCurve:
        """Measure the flux of a source in bins of time.

        In each bin the norm of the source is fitted, in units of the present model, which should be that of a
        fit to the whole time. The region is left as it was.

        Parameters
        ----------
        name : str
            Source.
        bins : list, optional
            Data that are binned in time already. For each bin a dataset, a list of those of all components,
            or a dictionary with ``counts`` and ``exposure``, the files of all components (gtbin,
            gtexpcube2), or with ``datasets``; and perhaps ``tmin`` and ``tmax`` (s).
        events : path, `~villard.data.EventList`, or list of these, optional
            Events of each component (FT1 files) instead, to be sorted into bins of time.
        prefix, outfile : str
            First part of the name of files, or the name itself; if either is given, files are written.
        executor : optional
            What runs the fits, see `villard.parallel.map`.
        binsz, nbins, time_bins
            Length of bins (s), or their number, or their edges (s of the mission's time), for ``events``.
        exposure : array or list, optional
            Share of the region's exposure in each bin, shape (n_bins,) or (n_bins, n_components), for
            ``events``; that of the good time by default. Or for each bin the exposure map or its file, a
            list of these for several components.
        free_background : bool
            Whether the norms of other sources that are free now are fitted in each bin.
        free_radius : float, optional
            Also those of sources within this distance from the source (deg).
        free_sources : list of str, optional
            Also those of these sources.
        max_free_sources : int
            Most other sources that are fitted in a bin: those with the most predicted counts. Those of
            ``free_sources`` come first.
        free_params : list of str, optional
            Parameters of the source that are fitted in bins whose TS is at least ``shape_ts_threshold``; the
            norm alone by default. Norms of the background then are those of the fit of the norms.
        shape_ts_threshold : float
            See ``free_params``.
        systematic : float
            Relative systematic error of the flux in the test of variability.
        outdir : str, optional
            Folder in which finished bins are kept, so that an interrupted light curve goes on where it was.
        ul_confidence, npts
            As for `sed`.
        make_plots, write_fits, write_npy, overwrite : bool
            As for `sed`.

        Returns
        -------
        `LightCurve`
            ``len(lc)`` bins; ``lc["flux"]``, ``lc["ts"]``, … are its columns, ``lc["ts_var"]`` the test
            statistic of variability.

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
        >>> lc = roi.lightcurve("source", [dataset, dataset])
        >>> lc["norm"].round(4).tolist(), round(lc["ts_var"], 6)
        ([1.0, 1.0], 0.0)
        """
        inputs = {"bins": bins, "events": events, "prefix": prefix, "outfile": outfile, "executor": executor}
        return run_lightcurve(self, name, inputs, kwargs)


def run_lightcurve(roi: Any, name: str, inputs: Mapping[str, Any], given: dict[str, Any]) -> LightCurve:
    """Measure the flux of a source in bins of time; see `LightCurves.lightcurve`."""
    from villard import parallel
    from villard.roi.sed import check_source, result_files

    settings = options(roi, "lightcurve", _DEFAULTS, given)
    source = roi[name]
    check_source(source, "lightcurve")
    if not norm_parameter(source.model).value > 0:
        raise ModelError(
            f"lightcurve: the model of {source.name!r} has no flux; fit it to the whole time first"
        )
    stem = (inputs["prefix"], source.name, "lightcurve")
    files = result_files(roi, stem, inputs["outfile"], settings)
    bins = _time_bins(roi, inputs, settings)
    nuisances = _nuisances(roi, source, settings)
    with kept_state(roi):
        problems, npred = time_problems(roi, source, nuisances, bins)
        keys = ("ul_confidence", "npts")
        work = [(problem, {key: settings[key] for key in keys}) for problem in problems]
        rows = parallel.map(
            fit_time_bin,
            work,
            inputs["executor"],
            folder=settings["outdir"],
            description="Bins of time",
        )
        norm_const, loglike_const = fit_constant(problems, rows)
        shapes = _shapes(roi, source, nuisances, bins, rows, settings)
        table, meta = _table(roi, source, bins, rows, npred, shapes)
    table["loglike_const"] = loglike_const
    meta |= _variability(table, norm_const, settings)
    meta |= {"name": source.name, "nuisances": [n.name for n in nuisances]}
    meta["config"] = {key: value for key, value in settings.items() if key != "exposure"}
    result = LightCurve(table, meta)
    result.write_files(files, settings["overwrite"])
    return result


def _time_bins(roi: Any, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> list[TimeBin]:
    if (inputs["bins"] is None) == (inputs["events"] is None):
        raise ConfigError("lightcurve: expected either bins (data that are binned in time) or events")
    if inputs["events"] is not None:
        return bins_from_events(roi, inputs["events"], settings, settings["exposure"])
    return bins_from_datasets(roi, inputs["bins"])


def _nuisances(roi: Any, source: Any, settings: Mapping[str, Any]) -> list[Nuisance]:
    """Other sources whose norms are fitted, those with most counts first."""
    named = [roi[name] for name in settings["free_sources"] or []]
    found = background_sources(roi, source, settings["free_radius"], settings["free_background"])
    found = sorted((s for s in found if s not in named), key=lambda s: -np.nan_to_num(s["npred"]))
    chosen = [s for s in named if s is not source] + found
    return nuisance_norms(chosen[: int(settings["max_free_sources"])], None)


def _table(
    roi: Any,
    source: Any,
    bins: Sequence[TimeBin],
    rows: Sequence[Mapping[str, Any] | None],
    npred: Array,
    shapes: Mapping[int, Mapping[str, Any]],
) -> tuple[Any, dict[str, Any]]:
    """Return the columns, and the names of parameters."""
    from astropy.table import Table

    table = Table({"tmin": [b.tmin for b in bins], "tmax": [b.tmax for b in bins]})
    table["tmin"].unit = table["tmax"].unit = "s"
    for name in ("tmin", "tmax"):
        table[f"{name}_mjd"] = np.array([b.mjdref for b in bins]) + np.asarray(table[name]) / 86400
        table[f"{name}_mjd"].unit = "d"
    table["livetime"] = [b.livetime for b in bins]
    table["livetime"].unit = "s"
    table["counts"] = [float(sum(c.sum() for c in b.counts)) for b in bins]

    def column(key: str, empty: Any = np.nan) -> Array:
        return np.array([empty if row is None else row[key] for row in rows])

    for key in ("norm", "norm_err", "norm_errp", "norm_errn"):
        table[key] = column(key)
    table["norm_ul"] = column("norm_ul95")
    for key in ("ts", "loglike"):
        table[f"{key}_fixed"] = column(key)
    table["npred_fixed"] = column("norm") * npred
    table["fit_success"] = column("success", False).astype(bool)
    table["fit_quality"] = column("fit_quality", 0)
    for key in ("norm_scan", "dloglike_scan"):
        width = next((len(row[key]) for row in rows if row is not None), 1)
        table[key] = np.array([np.full(width, np.nan) if row is None else row[key] for row in rows])
    norms = {"": "norm", "_err": "norm_err", "_ul95": "norm_ul"}
    for name, (value, unit) in band_fluxes(source.spectral_model, roi.energy_bounds).items():
        for suffix, key in norms.items():
            table[f"{name}{suffix}_fixed"] = np.asarray(table[key]) * value
            table[f"{name}{suffix}_fixed"].unit = unit
    _with_shapes(table, source, shapes)
    return table, {"param_names": source.spectral_model.parameters.names}


def _with_shapes(table: Any, source: Any, shapes: Mapping[int, Mapping[str, Any]]) -> None:
    """Add the columns of the fits with shapes: where there is none, those of the fixed shape."""
    for name in [n for n in table.colnames if n.endswith("_fixed")]:
        column = table[name].copy()
        for k, shape in shapes.items():
            column[k] = shape[name.removesuffix("_fixed")]
        table[name.removesuffix("_fixed")] = column
    parameters = source.spectral_model.parameters
    values = np.tile([p.value for p in parameters], (len(table), 1))
    errors = np.zeros_like(values)
    norm = norm_parameter(source.model)
    index = next(i for i, p in enumerate(parameters) if p is norm)
    values[:, index] *= np.asarray(table["norm"])
    errors[:, index] = np.asarray(table["norm_err"]) * norm.value
    for k, shape in shapes.items():
        values[k], errors[k] = shape["values"], shape["errors"]
    table["param_values"], table["param_errors"] = values, errors
    table["shape_free"] = np.isin(np.arange(len(table)), list(shapes))


def band_fluxes(spectrum: Any, energy_bounds: Any) -> dict[str, tuple[float, str]]:
    """Return flux and energy flux of a spectrum, in the range and the bands of `flux_results`."""
    low, high = energy_bounds
    result = {}
    for band in BANDS:
        ends = (low, high) if not band else (float(band) * u.MeV, HIGHEST * u.MeV)
        result[f"flux{band}"] = (float(spectrum.integral(*ends).to_value("cm-2 s-1")), "cm-2 s-1")
        energy = float(spectrum.energy_flux(*ends).to_value("MeV cm-2 s-1"))
        result[f"eflux{band}"] = (energy, "MeV cm-2 s-1")
    return result


def _variability(table: Any, norm_const: float, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Test of a constant flux."""
    from scipy.stats import chi2

    good = np.asarray(table["fit_success"]) & np.isfinite(np.asarray(table["loglike_const"]))
    scale = float(
        np.nansum(np.asarray(table["flux_fixed"])) / max(np.nansum(np.asarray(table["norm"])), 1e-300)
    )
    constant = norm_const * scale
    error = np.nan_to_num(np.asarray(table["flux_err_fixed"]))
    ts_var = calc_ts_var(
        np.asarray(table["loglike_fixed"]),
        np.asarray(table["loglike_const"]),
        error,
        constant,
        settings["systematic"],
        good,
    )
    dof = max(int(good.sum()) - 1, 0)
    return {
        "norm_const": norm_const,
        "flux_const": constant,
        "ts_var": ts_var,
        "ts_var_dof": dof,
        "ts_var_pvalue": float(chi2.sf(ts_var, dof)) if dof else 1.0,
        "loglike_const_sum": float(np.sum(np.asarray(table["loglike_const"])[good])),
    }


def _shapes(
    roi: Any,
    source: Any,
    nuisances: Sequence[Nuisance],
    bins: Sequence[TimeBin],
    rows: Sequence[Mapping[str, Any] | None],
    settings: Mapping[str, Any],
) -> dict[int, dict[str, Any]]:
    """Fit shapes in bins where the source is bright enough."""
    from villard.roi.freeing import find_parameters
    from villard.roi.lightcurve_shape import fit_shape

    if not settings["free_params"]:
        return {}
    names = settings["free_params"]
    parameters = find_parameters(
        source, [names] if isinstance(names, str) and names not in ("norm", "shape", "index") else names
    )
    wanted = {id(p) for p in parameters} | {id(norm_parameter(source.model))}
    if len(wanted) == 1:
        return {}
    free = [i for i, p in enumerate(source.model.parameters) if id(p) in wanted]
    result = {}
    for k, row in enumerate(rows):
        if row is not None and row["ts"] >= settings["shape_ts_threshold"]:
            shape = fit_shape(roi, source, nuisances, bins[k], row, free)
            if shape is not None:
                result[k] = shape
    return result

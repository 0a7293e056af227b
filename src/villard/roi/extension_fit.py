"""The fits behind `villard.roi.ROI.extension`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from villard.exceptions import ConfigError
from villard.roi.kernel_source import R68, canonical_kind, spatial_model
from villard.roi.local_map import local_map
from villard.roi.options import options
from villard.roi.positions import LEVELS, position_results
from villard.roi.products import are_alike, product_paths, total_map, write_npy
from villard.roi.refit import Reduced, Refit, check_movable, nuisance_parameters, reduced
from villard.roi.round_source import RoundSpatialModel
from villard.roi.widths import WidthProfile, WidthResult

__all__ = ["RoundFits", "fit_extension"]

Array = NDArray[np.float64]

# Reach of a shape in units of its own parameter: beyond there is no light that matters.
_REACH = {"RadialGaussian": 4.5, "RadialDisk": 1.05}
# Gain in ln L below which width and position needn't be fitted in turns again.
_GAIN, _MAX_TURNS = 0.02, 4


class RoundFits:
    """Fits of a source as a round one, at any width and position.

    Parameters
    ----------
    small : `~villard.roi.refit.Reduced`
        Region.
    source : `~villard.roi.Source`
        Source.
    parameters : list of `~villard.modeling.Parameter`
        What is refitted.
    kind : {"RadialGaussian", "RadialDisk"}
        Shape.
    largest : float
        Largest width (68 % containment radius, deg).
    psf_scale : array, optional
        Factors by which the PSF is wider.
    """

    def __init__(
        self,
        small: Reduced,
        source: Any,
        parameters: list[Any],
        kind: str,
        largest: float,
        psf_scale: Array | None = None,
    ) -> None:
        self.small, self.source, self.parameters, self.kind = small, source, parameters, kind
        self.position: SkyCoord = source.skydir
        self.psf_scale = psf_scale
        self.reach = _REACH[kind] * largest / R68[kind]

    def reduced(self, width: float) -> tuple[Reduced, RoundSpatialModel]:
        """Return the region with the source as a round one."""
        from villard.modeling.models import SkyModel

        frame = self.position.frame.name
        lon, lat = self.position.spherical.lon.deg, self.position.spherical.lat.deg
        spatial = RoundSpatialModel(
            self.kind,
            width / R68[self.kind],
            self.reach,
            self.psf_scale,
            lon_0=f"{lon} deg",
            lat_0=f"{lat} deg",
            frame=frame,
        )
        own = self.source.model
        model = SkyModel(
            own.spectral_model,
            spatial,
            own.temporal_model,
            name=own.name,
            datasets_names=own.datasets_names,
            apply_irf=dict(own.apply_irf),
        )
        models = [model if m is own else m for m in self.small.models]
        return Reduced(self.small.datasets, models, self.small.offset), spatial

    def loglike(self, width: float) -> float:
        """Return ln L at a width, the spectrum refitted."""
        small, _ = self.reduced(width)
        with small.bound(self.parameters) as refit:
            return refit.maximize().loglike

    def fit(self, width: float) -> tuple[float, dict[int, float], dict[int, float]]:
        """Return ln L, values and errors by the ids of parameters, at a width."""
        small, _ = self.reduced(width)
        with small.bound(self.parameters) as refit:
            refit.maximize()
            return refit.loglike, refit.values(), refit.errors() if self.parameters else {}

    def move(self, width: float) -> tuple[float, Array]:
        """Fit the position at a width; return ln L and the covariance of the offsets (east, north; deg²)."""
        small, spatial = self.reduced(width)
        place = [spatial.lon_0, spatial.lat_0]
        with small.bound([*self.parameters, *place]) as refit:
            refit.maximize()
            values = refit.values()
            lon, lat = (values[id(p)] for p in place)
            covariance = _covariance(refit, place, lat)
            if refit.success:
                self.position = SkyCoord(lon, lat, unit="deg", frame=spatial.frame)
            return refit.loglike, covariance


def _covariance(refit: Refit, place: list[Any], lat: float) -> Array:
    from villard.roi.localize import position_covariance

    columns = [refit.column(p) for p in place]
    scale = refit.likelihood.to_values(np.eye(len(refit.theta)))[columns, columns]
    return position_covariance(refit, columns, scale * np.array([np.cos(np.radians(lat)), 1.0]))


def _widths(config: Mapping[str, Any]) -> Array:
    if config["width"] is not None:
        widths = np.unique(np.asarray(config["width"], dtype=float))
        widths = widths[widths != 0]
        if not len(widths) or not np.all(np.isfinite(widths)) or widths[0] < 0:
            raise ConfigError(f"extension: expected positive widths, found {config['width']!r}")
        return widths
    low, high, n = config["width_min"], config["width_max"], config["width_nstep"]
    if not (0 < low < high and n >= 3 and int(n) == n):
        raise ConfigError(
            f"extension: expected 0 < width_min < width_max and at least 3 as width_nstep, found {low!r}, "
            f"{high!r} and {n!r}"
        )
    return np.geomspace(low, high, int(n))


def _psf_scale(roi: Any, given: Any) -> Array | None:
    """Return the factors of the PSF's width at the true energies."""
    if given is None:
        return None
    try:
        log_energy, corrections = (np.asarray(part, dtype=float) for part in given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extension: expected two lists as psf_scale_fn, found {given!r}") from error
    if log_energy.shape != corrections.shape or log_energy.ndim != 1 or np.any(corrections <= -1):
        raise ConfigError(
            "extension: expected log10(E / MeV) and corrections above -1 of the same length as psf_scale_fn"
        )
    axes = [dataset.exposure.geom.axes["energy_true"] for dataset in roi.datasets]
    if any(axis.nbin != axes[0].nbin for axis in axes):
        raise ConfigError("extension: psf_scale_fn needs the same true energies in all datasets")
    return 1 + np.interp(np.log10(axes[0].center.to_value("MeV")), log_energy, corrections)


def fit_extension(
    roi: Any, name: str, given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Fit the extension of a source; see `villard.roi.ROI.extension`."""
    config = options(roi, "extension", defaults, given)
    kind = canonical_kind(config["spatial_model"], "extension")
    if kind not in R68:
        raise ConfigError(f"extension: expected one of {list(R68)} as spatial_model, found {kind!r}")
    source = check_movable(roi, name, "extension")
    widths, scale = _widths(config), _psf_scale(roi, config["psf_scale_fn"])
    files = product_paths(roi, config["prefix"], source.name, "ext", settings=config)
    settings = {key: config[key] for key in ("fix_shape", "free_background", "free_radius")}
    own, others, names = nuisance_parameters(roi, source.name, **settings)
    before = source.skydir
    with reduced(roi, [source.name, *names]) as small, small.bound([*own, *others]) as refit:
        loglike_init, loglike_base = refit.loglike, refit.maximize().loglike
    with reduced(roi, [source.name, *names], exact=True) as small:
        fits = RoundFits(small, source, [*own, *others], kind, float(widths[-1]), scale)
        found, covariance = _profile(fits, widths, config["fit_position"])
        _, values, errors = fits.fit(found.ext if found.ts > 0 else 0.0)
        search = local_map(roi, source.name, _map_radius(roi)) if config["make_tsmap"] else None
        maps = _model_maps(fits, found, values) if config["save_model_map"] else {}
    result = _result(found, fits.position, covariance, before)
    result |= {"loglike_init": loglike_init, "loglike_base": loglike_base, **maps}
    result["source_fit"] = {p.name: values[id(p)] for p in own}
    if config["fit_ebin"]:
        result |= _by_energy(roi, source, fits, names, widths)
    result |= {"name": source.name, "file": None, "config": config}
    result["tsmap"] = None if search is None else search.ts
    _write(result, files, config)
    threshold = config["sqrt_ts_threshold"]
    if config["update"] and (threshold is None or np.sqrt(result["ts_ext"]) >= threshold):
        _update(roi, source, kind, fits.position, result, (values, errors))
    if config["make_plots"]:
        from villard.roi.plots import plot_extension

        plot_extension(roi, result, config["prefix"], config["overwrite"])
    return result


def _profile(fits: RoundFits, widths: Array, fit_position: bool) -> tuple[WidthResult, Array | None]:
    """Return the profile, at the best position if that is fitted too."""
    if not fit_position:
        return WidthProfile(fits.loglike).solve(widths), None
    start = fits.position
    point, covariance = fits.move(0.0)
    at_point = fits.position
    fits.position = start
    found = WidthProfile(fits.loglike).solve(widths)
    last = found.loglike_ext
    for _ in range(_MAX_TURNS):
        loglike, covariance = fits.move(found.ext if found.ts > 0 else 0.0)
        if loglike - last < _GAIN:
            break
        found = WidthProfile(fits.loglike).solve(widths)
        last = found.loglike_ext
    if found.ts == 0:
        fits.position = at_point
    # The point source has its own best position.
    found.loglike = np.concatenate([[max(point, found.loglike[0])], found.loglike[1:]])
    return found, covariance


def _result(
    found: WidthResult, position: SkyCoord, covariance: Array | None, before: SkyCoord
) -> dict[str, Any]:
    if covariance is None:
        covariance = np.full((2, 2), np.nan)
        place = dict.fromkeys(position_results(position, np.eye(2), dict.fromkeys(LEVELS, 0.0)), np.nan)
        icrs, galactic = position.transform_to("icrs"), position.transform_to("galactic")
        place |= {"ra": float(icrs.ra.deg), "dec": float(icrs.dec.deg), "skydir": position}
        place |= {"glon": float(galactic.l.deg), "glat": float(galactic.b.deg)}
    else:
        area = float(np.linalg.det(covariance)) ** 0.25
        radii = {key: np.sqrt(level) * area for key, level in LEVELS.items()}
        place = position_results(position, covariance, radii)
    return {
        **place,
        "pos_offset": float(before.separation(position).deg),
        "width": found.width,
        "loglike": found.loglike,
        "dloglike": found.loglike - found.loglike_ext,
        "loglike_ptsrc": float(found.loglike[0]),
        "loglike_ext": found.loglike_ext,
        "ts_ext": found.ts,
        "ext": found.ext,
        "ext_err": found.err,
        "ext_err_hi": found.err_hi,
        "ext_err_lo": found.err_lo,
        "ext_ul95": found.ul95,
    }


def _by_energy(roi: Any, source: Any, fits: RoundFits, names: list[str], widths: Array) -> dict[str, Any]:
    """Fit the width in each bin of energy, with the norm of the source alone."""
    from villard.modeling.models.gtlike import norm_parameter

    edges = roi.energy_edges.to_value("MeV")
    columns: dict[str, list[Any]] = {}
    norm = [p for p in fits.parameters if p is norm_parameter(source.model)]
    # Every second width is enough to bracket a maximum.
    coarse = np.unique(np.concatenate([widths[::2], widths[-1:]]))
    for low, high in pairwise(edges):
        bins = [_bins_within(dataset, low, high) for dataset in roi.datasets]
        with reduced(roi, [source.name, *names], energies=bins, exact=True) as small:
            one = RoundFits(small, source, norm, fits.kind, float(widths[-1]), fits.psf_scale)
            one.position = fits.position
            found = WidthProfile(one.loglike).solve(coarse)
        row = _result(found, fits.position, None, fits.position)
        keys = ("ext", "ext_err", "ext_err_hi", "ext_err_lo", "ext_ul95", "ts_ext", "dloglike", "loglike")
        for key in (*keys, "loglike_ptsrc", "loglike_ext"):
            columns.setdefault(f"ebin_{key}", []).append(row[key])
    log_edges = np.log10(edges)
    return {
        **{key: np.array(value) for key, value in columns.items()},
        "ebin_width": np.concatenate([[0.0], coarse]),
        "ebin_e_min": edges[:-1],
        "ebin_e_max": edges[1:],
        "ebin_e_ctr": 10 ** (0.5 * (log_edges[:-1] + log_edges[1:])),
    }


def _bins_within(dataset: Any, low: float, high: float) -> NDArray[np.bool_]:
    center = dataset.geom.axes["energy"].center.to_value("MeV")
    return np.asarray((center > low) & (center < high))


def _map_radius(roi: Any) -> float:
    return max(1.0, 5 * float(roi.geom.pixel_scales.to_value("deg").max()))


def _model_maps(fits: RoundFits, found: WidthResult, values: dict[int, float]) -> dict[str, Any]:
    """Predicted counts of the source and of all else, extended and as a point.

    Of several components the sum, if their pixels and energies agree, and each by itself, with its number.
    """
    maps: dict[str, Any] = {}
    before = [(p, p.value) for p in fits.parameters]
    for prefix, width in (("ext", found.ext if found.ts > 0 else 0.0), ("ptsrc", 0.0)):
        own = values if prefix == "ext" else fits.fit(0.0)[1]
        small, _ = fits.reduced(width)
        models = small.datasets.models
        try:
            for p, _ in before:
                p.value = own[id(p)]
            small.datasets.models = small.models
            parts = [(d.npred(), d.npred_signal([fits.source.name])) for d in small.datasets]
        finally:
            small.datasets.models = models
            for p, value in before:
                p.value = value
        numbered = {f"_{i:02d}": part for i, part in enumerate(parts)} if len(parts) > 1 else {}
        if are_alike([total for total, _ in parts]):
            totals, sources = zip(*parts, strict=True)
            numbered[""] = total_map(totals, "extension"), total_map(sources, "extension")
        for end, (total, source) in numbered.items():
            maps[f"{prefix}_tot_map{end}"] = total
            maps[f"{prefix}_src_map{end}"] = source
            maps[f"{prefix}_bkg_map{end}"] = total - source
    return maps


def _update(roi: Any, source: Any, kind: str, position: SkyCoord, result: dict[str, Any], fit: Any) -> None:
    """Give the source its new shape and spectrum."""
    values, errors = fit
    width = float(result["ext"])
    spatial = spatial_model(kind, position, width, "extension")
    for parameter in spatial.parameters:
        parameter.frozen = True
    own = "sigma" if kind == "RadialGaussian" else "r_0"
    error = result["ext_err"] / R68[kind]
    spatial.parameters[own].error = error if np.isfinite(error) else 0.0
    for p in roi.parameters:
        if id(p) in values:
            low, high = p.bounds
            p.value = min(max(values[id(p)], low), high)
            p.error = errors[id(p)] if np.isfinite(errors[id(p)]) else p.error
    source.model.spatial_model = spatial
    roi._set_models(roi.models, {})
    kept = ("ext", "ext_err", "ext_err_hi", "ext_err_lo", "ext_ul95", "ts_ext")
    source.results |= {key: result[key] for key in kept}
    from villard.roi.derived import update_sources

    update_sources(roi, [source.name])


def _write(result: dict[str, Any], files: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    from astropy.io import fits
    from astropy.table import Table

    from villard.roi.products import map_hdu, row_hdu
    from villard.utils.io import atomic_write

    if "fits" in files:
        scan = Table({key: result[key] for key in ("width", "loglike", "dloglike")})
        scan["width"].unit = "deg"
        hdus = [fits.PrimaryHDU() if result["tsmap"] is None else map_hdu(result["tsmap"])]
        hdus += [row_hdu(result, "EXTENSION"), fits.BinTableHDU(scan, name="WIDTH_SCAN")]
        bins = {k: v for k, v in result.items() if k.startswith("ebin_") and np.ndim(v) and k != "ebin_width"}
        if bins:
            units = {k: "MeV" if "_e_" in k else "deg" if k.startswith("ebin_ext") else None for k in bins}
            hdus.append(fits.BinTableHDU(Table(bins, units=units), name="EBIN"))
        with atomic_write(files["fits"], config["overwrite"]) as temporary:
            fits.HDUList(hdus).writeto(temporary, overwrite=True)
        result["file"] = str(files["fits"])
    if "npy" in files:
        write_npy(files["npy"], result, config["overwrite"])

"""Positions of sources: fitted with exact derivatives, with errors from the likelihood's contours."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from villard.exceptions import ConfigError, FitError
from villard.roi.local_map import LocalMap, local_map
from villard.roi.options import options
from villard.roi.positions import LEVELS, contour_ellipse, position_results
from villard.roi.products import product_paths, write_npy
from villard.roi.refit import Refit, check_movable, nuisance_parameters, reduced

__all__ = ["DEFAULTS", "Localization", "position_covariance", "run_localize"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "dtheta_max": 0.5,
    "nstep": 5,
    "fix_shape": False,
    "free_background": False,
    "free_radius": None,
    "update": True,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
    "prefix": "",
    "tsmap_fitter": "tsmap",
    "ra_format": "hour",
    "loglevel": None,
}
# Gain in TS from which on the fit of a position starts at the peak of the map instead of where the source is.
_GAIN = 1.0


class Localization:
    """The fit of positions, for `villard.roi.ROI`."""

    def localize(self, name: str, **kwargs: Any) -> dict[str, Any]:
        """Fit the position of a source, and find its error ellipse.

        First the norm of the source is fitted at each pixel around it; from the peak of that map, or from its
        present place, the position is fitted with exact derivatives, together with the source's spectrum.
        The ellipse is that of the contour on which the profile likelihood has fallen by 1.15; the radii
        are those of the ellipses of the 68 %, 95 % and 99 % contours.

        Parameters
        ----------
        name : str
            Source, point-like or extended.
        dtheta_max : float
            Largest distance from the present place (deg), along each axis of the map that is searched too.
        fix_shape : bool
            Whether the shape of its spectrum stays; its norm is always fitted.
        free_background : bool
            Whether other parameters that are free now are refitted too.
        free_radius : float, optional
            Distance (deg) up to which the norms of other sources are refitted.
        update : bool
            Whether the source is moved.
        prefix, write_fits, write_npy, make_plots, overwrite
            As for `tsmap`; files are called ``<prefix>_<source>_loc``.
        nstep, tsmap_fitter
            Kept for scripts of fermipy; no grid is scanned.

        Returns
        -------
        dict
            ``skydir``, ``ra``, ``dec``, ``glon``, ``glat`` and their errors ``…_err`` (1 σ, deg, on the sky);
            ``pos_err`` (1 σ, geometric mean of ``pos_err_semimajor`` and ``pos_err_semiminor``),
            ``pos_angle`` (of the major axis, from celestial north to east), ``pos_r68``, ``pos_r95``,
            ``pos_r99``, ``pos_ecc``, ``pos_ecc2``, covariances and correlations of the offsets (east,
            north) ``pos_cel_cov``, ``pos_gal_cov``, ``pos_cel_corr``, ``pos_gal_corr``; ``pos_offset``,
            ``deltax``, ``deltay`` (deg, in the frame of the map), ``xpix``, ``ypix``; ``ra_preloc``, …;
            ``loglike_init`` (before), ``loglike_base`` (spectrum refitted), ``loglike_loc`` (position
            fitted), ``dloglike_loc``;
            ``tsmap``, ``tsmap_peak``, ``fit_init`` (peak of the map), ``fit_scan``, ``fit_success``,
            ``fit_inbounds``, ``name``, ``file``, ``config``.

        Raises
        ------
        FitError
            If the likelihood has no maximum within ``dtheta_max``; the source stays where it is.
        ModelError
            If the source has no position.
        """
        return run_localize(self, name, kwargs)


def run_localize(roi: Any, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Localise a source; see `Localization.localize`."""
    config = options(roi, "localize", DEFAULTS, given)
    largest = float(config["dtheta_max"])
    if not largest > 0:
        raise ConfigError(f"localize: expected a positive dtheta_max, found {config['dtheta_max']!r}")
    source = check_movable(roi, name, "localize")
    files = product_paths(roi, config["prefix"], source.name, "loc", settings=config)
    start = source.skydir
    result = _fit(roi, source, config)
    result |= _places(roi, start, result["skydir"])
    result |= {"name": source.name, "file": None, "config": config}
    _write(result, files, config)
    if config["update"]:
        from villard.roi.derived import update_sources

        roi._set_models(roi.models, {})
        # The position itself is the model's.
        source.results |= {k: v for k, v in result.items() if k.startswith("pos_") or "_err" in k}
        update_sources(roi, [source.name])
    if config["make_plots"]:
        from villard.roi.plots import plot_localization

        plot_localization(roi, result, config["prefix"], config["overwrite"])
    return result


def _fit(roi: Any, source: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Fit position and spectrum; the model keeps them if the region is to be updated."""
    settings = {key: config[key] for key in ("fix_shape", "free_background", "free_radius")}
    own, others, names = nuisance_parameters(roi, source.name, **settings)
    spatial = source.spatial_model
    place = [spatial.lon_0, spatial.lat_0]
    before = source.skydir
    largest = float(config["dtheta_max"])
    pixel = float(roi.geom.pixel_scales.to_value("deg").max())
    with reduced(roi, [source.name, *names]) as small:
        search = local_map(roi, source.name, max(largest, 2 * pixel))
        with small.bound([*own, *others]) as refit:
            loglike_init, loglike_base = refit.loglike, refit.maximize().loglike
        kept = [p.value for p in place]
        try:
            if search.gain > _GAIN:
                spatial.position = search.peak.transform_to(spatial.frame)
            with small.bound([*own, *others, *place]) as refit:
                refit.maximize()
                center = _position(refit, spatial)
                _check(source.name, refit, before, center, largest)
                result = _ellipses(refit, spatial, center, largest)
                result["loglike_loc"] = refit.loglike
                found, errors = refit.values(), refit.errors()
        finally:
            for p, value in zip(place, kept, strict=True):
                p.value = value
    if config["update"]:
        for p in [*own, *others, *place]:
            low, high = p.bounds
            p.value = min(max(found[id(p)], low), high)
            p.error = errors[id(p)] if np.isfinite(errors[id(p)]) else p.error
    result |= {"loglike_init": loglike_init, "loglike_base": loglike_base}
    result["dloglike_loc"] = result["loglike_loc"] - loglike_base
    peak = search.peak
    result["fit_init"] = {
        "skydir": peak,
        "offset": float(before.separation(peak).deg),
        "ts_gain": search.gain,
    }
    result |= {"tsmap": search.ts, "tsmap_peak": _around_peak(search)}
    return result


def _position(refit: Refit, spatial: Any) -> SkyCoord:
    values = refit.values()
    lon, lat = values[id(spatial.lon_0)], values[id(spatial.lat_0)]
    return SkyCoord(lon, lat, unit="deg", frame=spatial.frame)


def _check(name: str, refit: Refit, before: SkyCoord, center: SkyCoord, largest: float) -> None:
    """Raise if there is no maximum, or it is too far away."""
    offset = float(before.separation(center).deg)
    there = center.icrs.to_string("decimal", precision=4)
    if offset > largest:
        raise FitError(
            f"localize: the likelihood of {name!r} has its maximum {offset:.3f} deg from the source's place, "
            f"beyond dtheta_max={largest:g} deg, at {there} (RA, Dec). "
            "The source stays where it was; a larger dtheta_max lets it go there"
        )
    if not refit.success:
        raise FitError(f"localize: the fit of the position of {name!r} has not converged. {refit.message}")


def _ellipses(refit: Refit, spatial: Any, center: SkyCoord, largest: float) -> dict[str, Any]:
    """Find the contours of the profile likelihood around its maximum."""
    columns = [refit.column(p) for p in (spatial.lon_0, spatial.lat_0)]
    scale = refit.likelihood.to_values(np.eye(len(refit.theta)))[columns, columns]
    stretch = np.array([np.cos(center.spherical.lat.rad), 1.0])
    best = refit.theta[columns]
    points: list[tuple[float, float, float]] = []

    def rise(offset: Array) -> float:
        theta = best + offset / stretch / scale
        value = refit.at(dict(zip(columns, theta, strict=True)))[0] - refit.stat
        points.append((float(offset[0]), float(offset[1]), value))
        return value

    guess = position_covariance(refit, columns, scale * stretch)
    ellipses: dict[str, Array] = {}
    for key, level in LEVELS.items():
        found = contour_ellipse(rise, ellipses.get("68", guess), level, 3 * largest)
        if found is None:
            log.warning(
                "localize: the %s %% contour of the position isn't closed within %g deg of the maximum; its "
                "radius is that of a normal distribution",
                key,
                3 * largest,
            )
            found = guess if key == "68" else ellipses["68"]
        ellipses[key] = found
    radii = {
        key: float(np.sqrt(level) * np.linalg.det(ellipses[key]) ** 0.25) for key, level in LEVELS.items()
    }
    result = position_results(center, ellipses["68"], radii)
    x, y, values = np.array(points).T
    result["fit_scan"] = {"dlon": x, "dlat": y, "dloglike": -0.5 * values}
    return result | {"fit_success": True, "fit_inbounds": True}


def position_covariance(refit: Refit, columns: list[int], factor: Array) -> Array:
    """Return the covariance of the offsets (deg²) by the Hessian, or a round one where that is no use."""
    hessian = refit.hessian
    size = np.sqrt(np.abs(np.diag(hessian)))
    size[size == 0] = 1.0
    try:
        inverse = np.linalg.inv(hessian / np.outer(size, size)) / np.outer(size, size)
    except np.linalg.LinAlgError:
        inverse = np.full_like(hessian, np.nan)
    covariance = 2 * inverse[np.ix_(columns, columns)] * np.outer(factor, factor)
    if np.all(np.isfinite(covariance)) and np.linalg.eigvalsh(covariance)[0] > 0:
        return np.asarray(covariance)
    return np.eye(2) * 0.02**2


def _places(roi: Any, before: SkyCoord, after: SkyCoord) -> dict[str, Any]:
    icrs, galactic = before.transform_to("icrs"), before.transform_to("galactic")
    geom = roi.geom.to_image()
    x, y = geom.skydir_to_pix(after)
    own = before.transform_to(geom.frame)
    lon, lat = own.spherical_offsets_to(after.transform_to(geom.frame))
    return {
        "ra_preloc": float(icrs.ra.deg),
        "dec_preloc": float(icrs.dec.deg),
        "glon_preloc": float(galactic.l.deg),
        "glat_preloc": float(galactic.b.deg),
        "pos_offset": float(before.separation(after).deg),
        "deltax": float(lon.deg),
        "deltay": float(lat.deg),
        "xpix": float(np.squeeze(x)),
        "ypix": float(np.squeeze(y)),
    }


def _around_peak(search: LocalMap) -> Any:
    """Return the five by five pixels around the peak of the map."""
    scales = search.ts.geom.pixel_scales.to_value("deg")
    return search.ts.cutout(search.peak, width=(5 * scales[0], 5 * scales[1]), mode="trim")


def _write(result: dict[str, Any], files: dict[str, Any], config: dict[str, Any]) -> None:
    from astropy.io import fits

    from villard.roi.products import map_hdu, row_hdu
    from villard.utils.io import atomic_write

    if "fits" in files:
        hdus = [
            map_hdu(result["tsmap"]),
            row_hdu(result, "LOCALIZE"),
            map_hdu(result["tsmap_peak"], "TSMAP_PEAK"),
        ]
        with atomic_write(files["fits"], config["overwrite"]) as temporary:
            fits.HDUList(hdus).writeto(temporary, overwrite=True)
        result["file"] = str(files["fits"])
    if "npy" in files:
        write_npy(files["npy"], result, config["overwrite"])

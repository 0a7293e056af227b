"""New sources at the peaks of maps of test statistics: found, localised, fitted, named."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from villard.exceptions import ConfigError, FitError
from villard.roi.kernel_source import kernel_source
from villard.roi.limits import set_limits
from villard.roi.options import options
from villard.roi.refit import reduced

__all__ = ["DEFAULTS", "SourceFinding", "source_name"]

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    "model": None,
    "sqrt_ts_threshold": 5.0,
    "min_separation": 1.0,
    "max_iter": 5,
    "sources_per_iter": 4,
    "free_params": None,
    "search_skydir": None,
    "search_minmax_radius": None,
    "tsmap_fitter": "tsmap",
    "multithread": False,
    "nthread": None,
    "write_fits": None,
    "overwrite": False,
    "loglevel": None,
}


class SourceFinding:
    """The search for sources, for `villard.roi.ROI`."""

    def find_sources(self, prefix: str = "", **kwargs: Any) -> dict[str, Any]:
        """Add sources at the peaks of TS maps, until no peak is above the threshold.

        In each turn a TS map is made, the highest peaks become sources, their norms are fitted together,
        each is localised, and its spectrum is fitted. Other sources stay as they are. A source that can't be
        localised stays at the peak, and a message is logged.

        Parameters
        ----------
        prefix : str
            First part of file names. If it is given, the map of each turn is written.
        model : dict or `~villard.modeling.models.SkyModel`, optional
            What is sought, as for `tsmap`.
        sqrt_ts_threshold : float
            Peaks are at least as high as this.
        min_separation : float
            Least distance of two peaks of one turn (deg).
        max_iter : int
            Most turns.
        sources_per_iter : int
            Most sources of a turn.
        free_params : list of str, optional
            Parameters of new sources that are fitted in addition to the norm.
        search_skydir, search_minmax_radius
            Only peaks at distances (smallest, largest; deg) from a direction, by default the centre.
        write_fits, overwrite
            As for `tsmap`.

        Returns
        -------
        dict
            ``sources``: list of new `Source` objects in the order they were found, with free norms;
            ``peaks``: list of dictionaries with ``name``, ``skydir``, ``sqrt_ts``, ``iteration`` and
            ``localized``; ``loglike0`` and ``loglike1``: before and after; ``config``.
        """
        return _find(self, prefix, options(self, "sourcefind", DEFAULTS, kwargs))


def source_name(position: SkyCoord, prefix: str = "PS") -> str:
    """Return the name of a source by its position: minutes are cut off, not rounded.

    Parameters
    ----------
    position : `~astropy.coordinates.SkyCoord`
        Position.
    prefix : str
        First part.

    Examples
    --------
    >>> source_name(SkyCoord(83.6331, 22.0145, unit="deg"))
    'PS J0534.5+2200'
    >>> source_name(SkyCoord(359.99, -0.5, unit="deg"))
    'PS J2359.9-0030'
    """
    icrs = position.transform_to("icrs")
    # Tenths of minutes of right ascension, and minutes of declination; a guard against 0.29999….
    tenths = int(np.floor(icrs.ra.wrap_at(360 * _deg()).deg / 15 * 600 + 1e-9)) % 14400
    minutes = int(np.floor(abs(icrs.dec.deg) * 60 + 1e-9))
    sign = "-" if icrs.dec.deg < 0 else "+"
    hours, rest = divmod(tenths, 600)
    right_ascension = f"{hours:02d}{rest // 10:02d}.{rest % 10}"
    return f"{prefix} J{right_ascension}{sign}{minutes // 60:02d}{minutes % 60:02d}".strip()


def _deg() -> Any:
    import astropy.units as u

    return u.deg


def _find(roi: Any, prefix: str, config: dict[str, Any]) -> dict[str, Any]:
    _check(config)
    loglike = float(roi.loglike)
    sources: list[Any] = []
    peaks: list[dict[str, Any]] = []
    for turn in range(int(config["max_iter"])):
        part = f"{prefix}_sourcefind_{turn:02d}" if prefix else ""
        maps = roi.tsmap(
            part, model=config["model"], write_fits=config["write_fits"], overwrite=config["overwrite"]
        )
        found = _peaks(roi, maps, config)
        if not found:
            break
        new = [_add(roi, peak, config) for peak in found]
        _fit(roi, new, config["free_params"])
        for source, peak in zip(new, found, strict=True):
            peak |= {"name": source.name, "iteration": turn, "localized": _localize(roi, source)}
        _fit(roi, new, config["free_params"])
        sources += new
        peaks += found
        log.info("find_sources: turn %d, %s", turn, ", ".join(source.name for source in new))
    if sources:
        from villard.roi.derived import update_sources

        update_sources(roi, [source.name for source in sources])
    return {
        "sources": sources,
        "peaks": peaks,
        "loglike0": loglike,
        "loglike1": float(roi.loglike),
        "config": config,
    }


def _check(config: dict[str, Any]) -> None:
    for key in ("sqrt_ts_threshold", "min_separation", "max_iter", "sources_per_iter"):
        if not config[key] > 0:
            raise ConfigError(f"find_sources: expected a positive {key}, found {config[key]!r}")
    radii = config["search_minmax_radius"]
    if radii is not None and (np.ndim(radii) != 1 or len(radii) != 2):
        raise ConfigError(f"find_sources: expected two numbers as search_minmax_radius, found {radii!r}")


def _peaks(roi: Any, maps: dict[str, Any], config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the highest peaks, at the tops of parabolas through their pixels."""
    import astropy.units as u

    from villard.estimators import find_peaks
    from villard.roi.local_map import refined_peak

    image = maps["sqrt_ts"]
    separation = max(
        float(config["min_separation"]), 1.5 * float(image.geom.pixel_scales.to_value("deg").max())
    )
    table = find_peaks(image, float(config["sqrt_ts_threshold"]), separation * u.deg)
    center = roi.skydir if config["search_skydir"] is None else config["search_skydir"]
    low, high = (None, None) if config["search_minmax_radius"] is None else config["search_minmax_radius"]
    result = []
    for row in table:
        x, y = int(row["x"]), int(row["y"])
        place = image.geom.pix_to_skydir(*refined_peak(maps["ts"].data, y, x))
        distance = float(place.separation(center).deg)
        if (low is not None and distance < low) or (high is not None and distance > high):
            continue
        peak = {"skydir": place, "sqrt_ts": float(row["value"])}
        norm = maps["maps"]["norm"].data[0, y, x]
        result.append({**peak, "norm": float(norm)})
    return result[: int(config["sources_per_iter"])]


def _add(roi: Any, peak: dict[str, Any], config: dict[str, Any]) -> Any:
    """Add a source at a peak, with the flux of the map."""
    from villard.modeling.models.gtlike import norm_parameter

    place = peak["skydir"]
    name = _free_name(roi, source_name(place))
    model = kernel_source(config["model"], place, "find_sources", name)
    if model.spatial_model.position is not None:
        model.spatial_model.position = place.transform_to(model.spatial_model.frame)
    for parameter in model.parameters:
        parameter.frozen = True
    norm = norm_parameter(model)
    norm.value *= max(peak.pop("norm"), 1e-6)
    norm.frozen = False
    set_limits(model)
    roi._set_models([*roi.models, model], {})
    return roi[name]


def _free_name(roi: Any, name: str) -> str:
    """Return a name that no source has: with a letter, if need be."""
    candidates = [name, *(f"{name}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    taken = {source.name for source in roi.sources}
    for candidate in candidates:
        if candidate not in taken:
            return candidate
    raise FitError(f"find_sources: more than 26 sources are called {name!r}")


def _fit(roi: Any, sources: list[Any], free_params: Iterable[str] | None) -> None:
    """Fit the spectra of some sources together."""
    from villard.modeling.models.gtlike import find_parameter, norm_parameter

    parameters = [norm_parameter(source.model) for source in sources]
    names = [] if free_params is None else [p for p in free_params if p not in ("norm", "Prefactor")]
    for source in sources:
        parameters += [find_parameter(source.model, name) for name in names]
    with reduced(roi, [source.name for source in sources]) as small, small.bound(parameters) as refit:
        refit.maximize()
        values, errors, good = refit.values(), refit.errors(), refit.success
    if not good:
        log.warning("find_sources: the fit of %s has not converged", ", ".join(s.name for s in sources))
        return
    for p in parameters:
        low, high = p.bounds
        p.value = min(max(values[id(p)], low), high)
        p.error = errors[id(p)] if np.isfinite(errors[id(p)]) else p.error
        p.frozen = False


def _localize(roi: Any, source: Any) -> bool:
    """Localise a source and name it by its new position; tell whether that was possible."""
    try:
        result = roi.localize(source.name, update=True, fix_shape=True)
    except FitError as error:
        log.warning("find_sources: %s stays at the peak of the map. %s", source.name, error)
        return False
    name = source_name(result["skydir"])
    if name != source.name and name not in [other.name for other in roi.sources]:
        source.model.name = name
        # The region knows sources by their names.
        roi._set_models(roi.models, {})
    return True

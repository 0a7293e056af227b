"""The automatic fit of a region: norms of the largest sources, then the others, then shapes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from villard.exceptions import ConfigError
from villard.modeling.models.gtlike import shape_parameters
from villard.roi.derived import BoundRegion, norm_of
from villard.roi.fit import fit_settings
from villard.roi.fluxes import flux_results
from villard.roi.freeing import is_locked
from villard.roi.lines import Lines
from villard.roi.options import options
from villard.roi.view import free_only, names_of

__all__ = ["Optimizing", "optimize_region"]

log = logging.getLogger(__name__)

_DEFAULTS: dict[str, Any] = {
    "npred_frac": 0.95,
    "npred_threshold": 1.0,
    "shape_ts_threshold": 25.0,
    "max_free_sources": 5,
    "skip": None,
    "joint": False,
}


class Optimizing:
    """The automatic fit, for `villard.roi.ROI`."""

    def optimize(
        self,
        npred_frac: float | None = None,
        npred_threshold: float | None = None,
        shape_ts_threshold: float | None = None,
        max_free_sources: int | None = None,
        skip: Iterable[str] | None = None,
        optimizer: Mapping[str, Any] | None = None,
        joint: bool | None = None,
    ) -> dict[str, Any]:
        """Fit norms and shapes of all sources, whatever is free now, to start from good values.

        1. One fit of the norms of the largest sources, which make up ``npred_frac`` of the counts.
        2. The norm of each other source alone, by falling predicted counts.
        3. Norm and shape of each source above ``shape_ts_threshold``, alone, by falling TS.

        Parameters
        ----------
        npred_frac : float
            Share of the predicted counts of the sources of the first step (0.95).
        npred_threshold : float
            Sources with fewer predicted counts are left alone (1).
        shape_ts_threshold : float
            Lowest TS of a source whose shape is fitted (25).
        max_free_sources : int
            Most sources of the first step (5).
        skip : list of str, optional
            Sources to leave alone; they count for ``npred_frac``.
        optimizer : dict, optional
            Settings of the minimiser: ``tol`` and ``max_iter`` as for `fit`.
        joint : bool
            Follow these steps by one fit of all norms, and one of all norms with all shapes above the
            threshold. It never ends lower.

        Returns
        -------
        dict
            ``loglike0`` and ``loglike1``, ln L before and after, their difference ``dloglike``, ``config``.
            What is free afterwards is what was before; locked parameters stay. Values change, errors don't;
            sources have their TS, with the others held or raised as for `fit`, counts and fluxes.
        """
        given = {
            "npred_frac": npred_frac,
            "npred_threshold": npred_threshold,
            "shape_ts_threshold": shape_ts_threshold,
            "max_free_sources": max_free_sources,
            "skip": skip,
            "joint": joint,
        }
        settings = options(self, "roiopt", _DEFAULTS, {k: v for k, v in given.items() if v is not None})
        if not 0 < settings["npred_frac"] <= 1:
            raise ConfigError(f"optimize: npred_frac must be in (0, 1], found {settings['npred_frac']!r}")
        fitting = fit_settings(self, dict(optimizer or {}))
        return optimize_region(self, settings, fitting)


def optimize_region(roi: Any, settings: Mapping[str, Any], fitting: Mapping[str, Any]) -> dict[str, Any]:
    """Optimise a region; see `Optimizing.optimize`."""
    skipped = {roi[name].name for name in names_of(settings["skip"])}
    locked = {id(p) for s in roi.sources for p in s.model.parameters if is_locked(roi, s, p)}
    norms = {s.name: n for s in roi.sources if (n := norm_of(s)) is not None and id(n) not in locked}
    roi.update_npred()
    before = roi.loglike
    fitted = [s for s in roi.sources if s.name not in skipped and s.name in norms]
    ts = _fit_norms(roi, settings, fitting, skipped, fitted, norms)
    bright = [s for s in fitted if ts[s.name] >= settings["shape_ts_threshold"]]
    bright.sort(key=lambda s: -ts[s.name])
    shapes = {s.name: [p for p in shape_parameters(s.model) if id(p) not in locked] for s in bright}
    ts |= _fit_shapes(roi, fitting, bright, fitted, norms, shapes, settings["joint"])
    for source in fitted:
        source.forget()
        # Without errors: values have changed since they were computed.
        fluxes = flux_results(source, roi.energy_bounds)
        source.results |= {key: value for key, value in fluxes.items() if not key.endswith("_err")}
        source.results["ts"] = ts[source.name]
    roi.update_npred()
    after = roi.loglike
    for source in fitted:
        source.results["loglike"] = after
    config = {**settings, "optimizer": dict(fitting)}
    return {"loglike0": before, "loglike1": after, "dloglike": after - before, "config": config}


def _fit_norms(
    roi: Any,
    settings: Mapping[str, Any],
    fitting: Mapping[str, Any],
    skipped: set[str],
    fitted: list[Any],
    norms: Mapping[str, Any],
) -> dict[str, float]:
    """Fit the norms of the largest sources together, and the others alone; return the TS of all."""
    npred = {s.name: float(s["npred_wt"]) for s in roi.sources}
    large = _largest(npred, settings, skipped | {s.name for s in roi.sources if s.name not in norms})
    with free_only(roi, norms.values()):
        steps = _Steps(roi, fitting)
    steps.fit([norms[name] for name in large])
    # By falling counts, as they were at the start.
    for name in sorted((s.name for s in fitted), key=lambda name: -npred[name]):
        if name not in large and npred[name] >= settings["npred_threshold"]:
            steps.fit_alone(norms[name])
    steps.keep()
    sources = [s for s in roi.sources if s.name in norms]
    region = BoundRegion(roi, steps.likelihood, np.ones(steps.likelihood.n_free, dtype=bool))
    return dict(zip((s.name for s in sources), region.ts(sources), strict=True))


def _fit_shapes(
    roi: Any,
    fitting: Mapping[str, Any],
    bright: list[Any],
    fitted: list[Any],
    norms: Mapping[str, Any],
    shapes: Mapping[str, list[Any]],
    joint: bool,
) -> dict[str, float]:
    """Fit norm and shape of bright sources, one after the other, and at last all together; return TS."""
    every = [norms[s.name] for s in (fitted if joint else bright)] + [
        p for s in bright for p in shapes[s.name]
    ]
    if not any(shapes.values()) and not joint:
        return {}
    with free_only(roi, every):
        steps = _Steps(roi, fitting)
    for source in bright:
        if shapes[source.name]:
            steps.fit([norms[source.name], *shapes[source.name]])
    if joint:
        # From where the steps have led: never lower than they alone.
        steps.fit([norms[s.name] for s in fitted])
        steps.fit(every)
    steps.keep()
    changed = fitted if joint else bright
    region = BoundRegion(roi, steps.likelihood, np.ones(steps.likelihood.n_free, dtype=bool))
    return dict(zip((s.name for s in changed), region.ts(changed), strict=True))


def _largest(npred: Mapping[str, float], settings: Mapping[str, Any], skipped: set[str]) -> list[str]:
    """Return the sources of the first step: skipped ones count, but aren't fitted.

    Examples
    --------
    >>> settings = {"npred_frac": 0.9, "npred_threshold": 1, "max_free_sources": 5}
    >>> _largest({"a": 5, "iso": 80, "b": 15}, settings, {"iso"})
    ['b']
    """
    total = sum(max(value, 0.0) for value in npred.values())
    chosen: list[str] = []
    reached = 0.0
    for name, value in sorted(npred.items(), key=lambda item: -item[1]):
        small = value < settings["npred_threshold"] or reached > settings["npred_frac"] * total
        if small or len(chosen) >= settings["max_free_sources"]:
            break
        reached += value
        if name not in skipped:
            chosen.append(name)
    return chosen


class _Steps:
    """Fits of some parameters at a time, on one binding of all that may be fitted."""

    def __init__(self, roi: Any, fitting: Mapping[str, Any]) -> None:
        from villard.likelihood import bind

        self.roi, self.fitting = roi, fitting
        self.likelihood = bind(roi.datasets, roi.models)
        self.theta = self.likelihood.theta

    def _columns(self, parameters: Iterable[Any]) -> list[int]:
        wanted = {id(p) for p in parameters}
        return [i for i, p in enumerate(self.likelihood.parameters) if id(p) in wanted]

    def fit(self, parameters: Iterable[Any]) -> None:
        """Fit some parameters together; never ends lower."""
        active = np.zeros(self.likelihood.n_free, dtype=bool)
        active[self._columns(parameters)] = True
        if not active.any():
            return
        solution = self.likelihood.minimize(self.theta, active=active, max_iter=self.fitting["max_iter"])
        if np.all(np.isfinite(solution.theta)) and np.isfinite(solution.value):
            self.theta = solution.theta
            self.__dict__.pop("_lines", None)
        if not solution.success:
            log.info("optimize: %s", solution.status.message)

    def fit_alone(self, parameter: Any) -> None:
        """Fit one norm: the counts are a straight line in it, so that all that is needed is known."""
        column = self._columns([parameter])[0]
        if parameter.prior is not None:
            self.fit([parameter])
            return
        if not hasattr(self, "_lines"):
            self._lines = Lines(self.likelihood, self.theta)
        x = self._lines.minimize(column, self.likelihood.bounds[0][column], self.likelihood.bounds[1][column])
        self.theta = self.theta.copy()
        self.theta[column] = x

    def keep(self) -> None:
        """Give the values to the models."""
        self.likelihood.set_values(self.theta)

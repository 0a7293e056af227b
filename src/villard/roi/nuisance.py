"""Norms of the background that are fitted along with a source in bins of energy or time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from villard.modeling.models.gtlike import norm_parameter
from villard.roi.freeing import find_parameters, is_locked
from villard.roi.templates import frozen_copy
from villard.roi.view import free_only

__all__ = ["Nuisance", "global_fit", "nuisance_norms"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Nuisance:
    """The norm of a source of the background, in units of its value in the region.

    Parameters
    ----------
    source : `~villard.roi.Source`
        Source.
    model : model
        Copy of its model, frozen; the template of norm 1.
    lower, upper : float
        Limits of the norm.
    mean, sigma : float
        Normal prior; none where sigma is infinite.
    """

    source: Any
    model: Any
    lower: float
    upper: float
    mean: float = 1.0
    sigma: float = float("inf")

    @property
    def name(self) -> str:
        """Name of the source."""
        return str(self.source.name)


def global_fit(
    roi: Any, source: Any, settings: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[Nuisance]]:
    """Fit a source, with the background as the settings say, and return what bins need of the background.

    The caller puts the region back.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    source : `~villard.roi.Source`
        Source.
    settings : dict
        ``free_background``, ``free_radius``, ``free_pars``, ``cov_scale``.
    where : str
        Who asks, for messages.
    """
    background = background_sources(roi, source, settings["free_radius"])
    parameters = [p for p in find_parameters(source, settings["free_pars"]) if not is_locked(roi, source, p)]
    norms = [norm_parameter(s.model) for s in background]
    others = [p for s in roi.sources if s is not source for p in s.model.parameters if not p.frozen]
    wanted = [*parameters, *norms, *(others if settings["free_background"] else [])]
    result: dict[str, Any] = {"fit_quality": 3, "fit_success": True}
    if wanted:
        with free_only(roi, wanted):
            result = roi.fit(update=False, covar=True)
        if not result["fit_success"]:
            log.warning(
                "%s: the fit of all energies failed, bins start from present values. %s",
                where,
                result["fit_message"],
            )
    scale = None if settings["free_background"] else settings["cov_scale"]
    return result, nuisance_norms(background, scale)


def background_sources(roi: Any, source: Any, free_radius: float | None, take_free: bool = True) -> list[Any]:
    """Return the other sources whose norm is free, and, if a radius is given, those within it."""
    chosen = (
        []
        if not take_free
        else [
            s
            for s in roi.sources
            if s is not source and _norm(s) is not None and not norm_parameter(s.model).frozen
        ]
    )
    if free_radius is not None:
        near = roi.get_sources(skydir=source.skydir, distance=float(free_radius), exclude_diffuse=True)
        chosen += [s for s in near if s is not source and s not in chosen and _norm(s) is not None]
    return [s for s in chosen if not is_locked(roi, s, norm_parameter(s.model))]


def _norm(source: Any) -> Any:
    from villard.exceptions import VillardError

    try:
        return norm_parameter(source.model)
    except VillardError:
        return None


def nuisance_norms(sources: Iterable[Any], cov_scale: float | None) -> list[Nuisance]:
    """Return the norms of sources, with priors of ``cov_scale`` times their errors.

    Sources without any flux are left out: no norm changes them.
    """
    result = []
    for source in sources:
        parameter = norm_parameter(source.model)
        value, error = parameter.value, parameter.error
        if value == 0:
            continue
        low, high = sorted(bound / value for bound in parameter.bounds)
        mean, sigma = 1.0, float("inf")
        if cov_scale is not None and error > 0:
            sigma = float(cov_scale) * error / abs(value)
        elif parameter.prior is not None and {"mu", "sigma"} <= set(parameter.prior.values):
            mean, sigma = parameter.prior.mu / value, parameter.prior.sigma / abs(value)
        # Without a limit counts must still be positive.
        low = max(low, 0.0) if np.isinf(low) else low
        result.append(Nuisance(source, frozen_copy(source.model), low, high, mean, sigma))
    return result

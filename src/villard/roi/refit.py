"""Refits of few sources: all others are added up once, so that binding anew costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FitError, ModelError
from villard.roi.freeing import is_locked
from villard.roi.view import excluded

__all__ = ["Reduced", "Refit", "nuisance_parameters", "reduced"]

Array = NDArray[np.float64]

#: Distance to the minimum of -2 ln L on profiles: what it adds is less than that.
_PROFILE_TOL = 1e-4
#: Distance below which it is taken off by the curvature at the maximum.
_NEAR = 0.02


@dataclass
class Reduced:
    """A region in which all sources but a few are fixed counts.

    Parameters
    ----------
    datasets : `~villard.datasets.Datasets`
        Datasets of the region.
    models : list of models
        The few sources, and templates of the others.
    offset : float
        What the fixed sources' priors add to -2 ln L.
    """

    datasets: Any
    models: list[Any]
    offset: float = 0.0

    @contextmanager
    def bound(self, parameters: Iterable[Any]) -> Iterator[Refit]:
        """Bind with some parameters free; at the end each has its value and state of before."""
        from villard.likelihood import bind

        wanted = {id(p) for p in parameters}
        every = [p for model in self.models for p in model.parameters]
        before = [(p, p.value, p.frozen) for p in every]
        try:
            for p in every:
                p.frozen = id(p) not in wanted
            yield Refit(bind(self.datasets, self.models), self.offset)
        finally:
            for p, value, frozen in before:
                p.value, p.frozen = value, frozen


@contextmanager
def reduced(
    roi: Any, names: Iterable[str], energies: list[NDArray[np.bool_]] | None = None, exact: bool = False
) -> Iterator[Reduced]:
    """Add up the counts of all sources but some, for the time of a computation.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    names : list of str
        Sources that stay as they are.
    energies : list of array of bool, optional
        For each dataset which bins of energy enter the fit.
    exact : bool
        Whether PSFs are integrated over pixels, whatever the datasets say.
    """
    kept = {id(roi[name].model) for name in names}
    stays = [m for m in roi.models if id(m) in kept or getattr(m, "is_background", False)]
    others = [m for m in roi.models if id(m) not in {id(s) for s in stays}]
    templates = [_template(dataset, others) for dataset in roi.datasets]
    offset = sum(p.prior_stat_sum() for m in others for p in m.parameters if p.prior is not None)
    methods = [getattr(dataset, "psf_method", None) for dataset in roi.datasets]
    models = roi.models
    with excluded(roi, (), energies):
        try:
            if exact:
                for dataset in roi.datasets:
                    dataset.psf_method = "exact"
            roi.datasets.models = [*stays, *templates]
            yield Reduced(roi.datasets, [*stays, *templates], float(offset))
        finally:
            roi.datasets.models = models
            for dataset, method in zip(roi.datasets, methods, strict=True):
                if method is not None:
                    dataset.psf_method = method


def _template(dataset: Any, models: list[Any]) -> Any:
    """Add up the counts that models predict in a dataset."""
    from villard.maps import WcsNDMap
    from villard.modeling.models import TemplateNPredModel
    from villard.roi.templates import Cube

    cube = Cube(dataset)
    total = np.zeros(cube.measurement.n_bins)
    for model in models:
        total += cube.predict(model)
    counts = WcsNDMap(dataset.geom, data=total.reshape(dataset.geom.data_shape))
    return TemplateNPredModel(
        counts, name=f"others-{dataset.name}", datasets_names=[dataset.name], copy_data=False
    )


class Refit:
    """A bound likelihood with its maximum and profiles, in terms of ln L.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood.
    offset : float
        Added to -2 ln L.
    """

    def __init__(self, likelihood: Any, offset: float = 0.0) -> None:
        self.likelihood, self.offset = likelihood, offset
        self.theta: Array = likelihood.theta
        self.stat = float(likelihood.stat())
        self.success = False
        self.message = ""
        self._hessian_at: Array | None = None
        self._hessian: Array = np.zeros((0, 0))

    @property
    def loglike(self) -> float:
        """ln L at the last maximum."""
        return -0.5 * (self.stat + self.offset)

    def column(self, parameter: Any) -> int:
        """Return the position of a free parameter."""
        return int(self.likelihood.column(parameter))

    def values(self, theta: Array | None = None) -> dict[int, float]:
        """Return values of all free parameters by their ids."""
        values = self.likelihood.to_values(self.theta if theta is None else theta)
        return {id(p): float(v) for p, v in zip(self.likelihood.parameters, values, strict=True)}

    def maximize(self) -> Refit:
        """Fit all free parameters, and follow sources that move."""
        from villard.modeling.minimizers import Outcome
        from villard.modeling.minimizers.follow import follow_sources

        if self.likelihood.n_free == 0:
            self.stat, self.success = float(self.likelihood.stat()), True
            return self
        found = self.likelihood.minimize(self.theta)
        outcome = Outcome(
            found.theta, found.value, found.success, found.status.message, "", found.nfev, found.edm
        )
        follow_sources(self.likelihood, outcome)
        self.theta, self.stat, self.success = outcome.theta, float(outcome.stat), bool(outcome.success)
        self.message = outcome.message
        # A valley that is flat to rounding ends as stalled.
        self.success = self.success or (np.isfinite(outcome.edm) and outcome.edm < 1e-4)
        return self

    def at(self, fixed: dict[int, float]) -> tuple[float, Array]:
        """Refit with some columns held at scaled values; return -2 ln L and θ.

        The others start where a parabola has its minimum.
        """
        theta = self.theta.copy()
        active = np.ones(len(theta), dtype=bool)
        columns = list(fixed)
        active[columns] = False
        theta[columns] = list(fixed.values())
        if not active.any():
            return float(self.likelihood.stat(theta)), theta
        step = theta[columns] - self.theta[columns]
        inner = self.hessian[np.ix_(active, active)]
        low, high = (bound[active] for bound in self.likelihood.bounds)
        try:
            moved = theta[active] - np.linalg.solve(inner, self.hessian[np.ix_(active, ~active)] @ step)
            theta[active] = np.where((moved > low) & (moved < high), moved, theta[active])
            value, gradient = self.likelihood.value_and_gradient(theta)
            last = np.linalg.solve(inner, gradient[active])
            # What is left to the minimum, where it is so near that the curvature is the same.
            left = 0.5 * float(gradient[active] @ last)
            moved = theta[active] - last
            if 0 <= left < _NEAR and np.all((moved > low) & (moved < high)):
                theta[active] = moved
                return value - left, theta
        except np.linalg.LinAlgError:
            pass
        found = self.likelihood.minimize(theta, active=active, tol=_PROFILE_TOL)
        return float(found.value), found.theta

    @property
    def hessian(self) -> Array:
        """Exact Hessian of -2 ln L at the last maximum."""
        if self._hessian_at is None or not np.array_equal(self._hessian_at, self.theta):
            self._hessian_at = self.theta.copy()
            self._hessian = self.likelihood.hessian(self.theta)
        return self._hessian

    def errors(self) -> dict[int, float]:
        """Return standard errors by the ids of parameters; NaN where the curvature isn't positive."""
        scale = np.sqrt(np.abs(np.diag(self.hessian)))
        scale[scale == 0] = 1.0
        try:
            inverse = np.linalg.inv(self.hessian / np.outer(scale, scale)) / np.outer(scale, scale)
            variance = np.diag(self.likelihood.matrix_to_values(2 * inverse))
        except np.linalg.LinAlgError:
            variance = np.full(len(self.theta), np.nan)
        errors = np.sqrt(np.where(variance > 0, variance, np.nan))
        return {id(p): float(e) for p, e in zip(self.likelihood.parameters, errors, strict=True)}

    def apply(self) -> None:
        """Give the fitted values, and errors where they are known, to the parameters."""
        errors = self.errors()
        self.likelihood.set_values(self.theta)
        for p in self.likelihood.parameters:
            if np.isfinite(errors[id(p)]):
                p.error = errors[id(p)]


def nuisance_parameters(
    roi: Any,
    name: str,
    fix_shape: bool = False,
    free_background: bool = False,
    free_radius: float | None = None,
) -> tuple[list[Any], list[Any], list[str]]:
    """Return what is refitted with a source.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    name : str
        Source.
    fix_shape : bool
        Whether only its norm is refitted, not its spectral shape.
    free_background : bool
        Whether other parameters that are free now stay free.
    free_radius : float, optional
        Distance (deg) up to which the norms of other sources are refitted.

    Returns
    -------
    own, others : list of `~villard.modeling.Parameter`
        Parameters of the source, and of others.
    names : list of str
        The other sources.
    """
    from villard.modeling.models.gtlike import norm_parameter, shape_parameters

    source = roi[name]
    own = [norm_parameter(source.model)] + ([] if fix_shape else list(shape_parameters(source.model)))
    own = [p for p in own if not is_locked(roi, source, p)]
    others: dict[int, tuple[Any, str]] = {}
    for other in roi.sources:
        if other is source:
            continue
        if free_background:
            others |= {id(p): (p, other.name) for p in other.model.parameters if not p.frozen}
        near = free_radius is not None and not other.is_diffuse
        if near and other.skydir.separation(source.skydir).deg < free_radius:
            norm = norm_parameter(other.model)
            if not is_locked(roi, other, norm):
                others[id(norm)] = norm, other.name
    names = list(dict.fromkeys(name for _, name in others.values()))
    return own, [p for p, _ in others.values()], names


def check_movable(roi: Any, name: str, where: str) -> Any:
    """Return a source with a position, or raise."""
    source = roi[name]
    names = [] if source.is_diffuse else source.spatial_model.parameters.names
    if "lon_0" not in names:
        kind = "diffuse" if source.is_diffuse else type(source.spatial_model).__name__
        raise ModelError(f"{where}: {source.name!r} has no position that can be fitted ({kind})")
    return source


def check_finite(value: float, where: str) -> None:
    """Raise `FitError` if a likelihood isn't finite."""
    if not np.isfinite(value):
        raise FitError(f"{where}: the likelihood is not finite at the present values")

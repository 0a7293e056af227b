"""Fit: minimise, covariance, confidence intervals, profiles, contours and surfaces."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FitError, FitSetupError
from villard.modeling.curvature import check_distance, covariance_at, names_at_limits
from villard.modeling.fit_result import CovarianceResult, FitResult, OptimizeResult
from villard.modeling.minimizers import Objective, Outcome, get_backend, natural_units
from villard.modeling.minimizers.follow import follow_sources
from villard.modeling.models import Models
from villard.modeling.parameter import Parameter
from villard.utils.names import nearest

__all__ = ["Fit"]

Array = NDArray[np.float64]


class Fit:
    """Fit the models of datasets to their data.

    Parameters
    ----------
    backend : {"newton", "minuit", "scipy", "sherpa"}
        Minimiser; see the page "What to use when".
    optimize_opts : dict, optional
        Options of the minimiser.
    covariance_opts : dict, optional
        ``backend``: kept for Gammapy scripts; the covariance is always that of the exact Hessian.
    confidence_opts : dict, optional
        ``tol``: how exactly the statistic must meet its level (1e-6). ``backend``: kept for Gammapy
        scripts; refits are always those of the engine.
    store_trace : bool
        Whether each evaluation of the statistic is recorded in the result's ``trace``.
    keep_failed : bool
        Whether parameters keep the values of a fit that failed; by default they are put back.

    Examples
    --------
    See ``examples/`` for fits of data that come with the package.
    """

    def __init__(
        self,
        backend: str = "newton",
        optimize_opts: Mapping[str, Any] | None = None,
        covariance_opts: Mapping[str, Any] | None = None,
        confidence_opts: Mapping[str, Any] | None = None,
        store_trace: bool = False,
        keep_failed: bool = False,
    ) -> None:
        get_backend(backend)
        self.backend = backend
        self.optimize_opts = dict(optimize_opts or {})
        self.covariance_opts = dict(covariance_opts or {})
        self.confidence_opts = dict(confidence_opts or {})
        self.store_trace = store_trace
        self.keep_failed = keep_failed

    def run(self, datasets: Any) -> FitResult:
        """Minimise and compute the covariance; values and errors go to the datasets' models.

        Parameters
        ----------
        datasets : dataset, list of datasets or `~villard.datasets.Datasets`
            Data with their models.

        Returns
        -------
        `FitResult`
            The result, with copies of the models that later fits leave alone.

        Raises
        ------
        FitSetupError
            If no parameter is free, there are no models, a fit range is empty, or an option is unknown.
        FitError
            If the statistic isn't finite at the start values.
        """
        _options(self.covariance_opts, {"backend": None}, "covariance_opts")
        datasets = _as_list(datasets)
        likelihood, models = _bind(datasets)
        outcome, trace = self._minimize(likelihood, models)
        covariance = None
        if self._is_kept(outcome):
            likelihood.set_values(outcome.theta)
            covariance = covariance_at(likelihood, outcome.theta, models)
            _apply_covariance(likelihood, models, covariance)
        return FitResult(self._result(likelihood, models, outcome, trace), covariance)

    def optimize(self, datasets: Any) -> OptimizeResult:
        """Minimise only; values go to the datasets' models, errors are left alone.

        Parameters and exceptions are those of `run`.
        """
        likelihood, models = _bind(_as_list(datasets))
        outcome, trace = self._minimize(likelihood, models)
        if self._is_kept(outcome):
            likelihood.set_values(outcome.theta)
        return self._result(likelihood, models, outcome, trace)

    def covariance(self, datasets: Any, optimize_result: OptimizeResult | None = None) -> CovarianceResult:
        """Compute the covariance at the present values; errors go to the datasets' models.

        Parameters
        ----------
        datasets : datasets
            Data with their models, at a minimum.
        optimize_result : `OptimizeResult`, optional
            Kept for Gammapy scripts.

        Returns
        -------
        `CovarianceResult`
            Matrix and quality.
        """
        _options(self.covariance_opts, {"backend": None}, "covariance_opts")
        likelihood, models = _bind(_as_list(datasets))
        likelihood.check_free()
        result = covariance_at(likelihood, likelihood.theta, models)
        _apply_covariance(likelihood, models, result)
        return result

    def _minimize(self, likelihood: Any, models: Models) -> tuple[Outcome, Any]:
        likelihood.check_free()
        backend = get_backend(self.backend)
        objective = Objective(likelihood, self.store_trace)
        if self.backend != "newton":
            if not np.isfinite(likelihood.value_and_gradient()[0]):
                raise FitError(_not_finite(likelihood))
            objective.unit = natural_units(likelihood)
        outcome = backend(objective, self.optimize_opts)
        outcome.theta = objective.theta(outcome.theta)
        if not np.isfinite(outcome.stat) and outcome.nfev <= 1:
            raise FitError(_not_finite(likelihood))
        if self.backend != "newton":
            check_distance(likelihood, outcome)
        follow_sources(likelihood, outcome)
        trace = _trace_table(likelihood, models, objective.rows) if self.store_trace else None
        return outcome, trace

    def _is_kept(self, outcome: Outcome) -> bool:
        """Whether the models get the values where a minimiser ended."""
        return outcome.success or (self.keep_failed and bool(np.all(np.isfinite(outcome.theta))))

    def _interval_options(self) -> dict[str, Any]:
        options = _options(self.confidence_opts, {"backend": None, "tol": 1e-6}, "confidence_opts")
        return {"tol": options["tol"]}

    def _result(self, likelihood: Any, models: Models, outcome: Outcome, trace: Any) -> OptimizeResult:
        limits = names_at_limits(likelihood, outcome.theta, models)
        message = outcome.message
        if limits:
            message = f"{message.rstrip('.')}. At a limit: {', '.join(limits)}."
        if not self._is_kept(outcome):
            message = f"{message.rstrip('.')}. Parameters were left as they were."
        return OptimizeResult(
            models=models.copy(),
            backend=self.backend,
            method=outcome.method,
            success=outcome.success,
            message=message,
            nfev=outcome.nfev,
            total_stat=outcome.stat,
            edm=outcome.edm,
            at_limits=limits,
            trace=trace,
            minuit=outcome.minuit,
        )

    def confidence(
        self, datasets: Any, parameter: Parameter | str, sigma: float = 1, reoptimize: bool = True
    ) -> dict[str, Any]:
        """Find where the profile likelihood of a parameter has risen by sigma², on both sides.

        Parameters
        ----------
        datasets : datasets
            Data with their models.
        parameter : `Parameter` or str
            Parameter, or its name.
        sigma : float
            Number of standard deviations.
        reoptimize : bool
            Whether the other parameters are refitted; otherwise they stay.

        Returns
        -------
        dict
            ``success``, ``message``, ``errp``, ``errn`` (positive, in the parameter's unit), ``nfev``.
            An error that ends at a limit is the distance to it; one that wasn't found is NaN.
        """
        from villard.modeling.scan import confidence_interval

        _check_sigma(sigma)
        options = self._interval_options()
        likelihood, _, (own,) = _bind_scan(datasets, [parameter])
        return confidence_interval(likelihood, own, sigma, reoptimize, **options)

    def stat_profile(
        self, datasets: Any, parameter: Parameter | str, reoptimize: bool = False, values: Any = None
    ) -> dict[str, Any]:
        """Compute the fit statistic along a parameter's ``scan_values``.

        Parameters
        ----------
        datasets : datasets
            Data with their models.
        parameter : `Parameter` or str
            Parameter to scan, or its name. If it is a copy, as on a result, the scan is that of the copy.
        reoptimize : bool
            Whether the other parameters are refitted at each value, all in one batch.
        values : array-like, optional
            Values instead of the parameter's ``scan_values``, in its unit.

        Returns
        -------
        dict
            ``<unique name>_scan``: values; ``stat_scan``: statistic; ``fit_results``: table of the
            refitted parameters, empty if they weren't.
        """
        from villard.modeling.scan import scan

        likelihood, models, parameters = _bind_scan(datasets, [parameter])
        points = _scan_values(parameter, parameters[0]) if values is None else np.array(values, dtype=float)
        if points.ndim != 1 or not np.all(np.isfinite(points)):
            raise FitSetupError(f"values: expected finite numbers in one dimension, found {values!r}")
        return scan(likelihood, models, parameters, [points], reoptimize)

    def stat_surface(
        self, datasets: Any, x: Parameter | str, y: Parameter | str, reoptimize: bool = False
    ) -> dict[str, Any]:
        """Compute the fit statistic on the grid of two parameters' ``scan_values``.

        Parameters
        ----------
        datasets : datasets
            Data with their models.
        x, y : `Parameter` or str
            Parameters to scan, or their names.
        reoptimize : bool
            Whether the other parameters are refitted at each point, all in one batch.

        Returns
        -------
        dict
            ``<unique name>_scan`` of both, ``stat_scan`` of shape (n_x, n_y), ``fit_results``.
        """
        from villard.modeling.scan import scan

        likelihood, models, parameters = _bind_scan(datasets, [x, y])
        values = [_scan_values(given, own) for given, own in zip((x, y), parameters, strict=True)]
        return scan(likelihood, models, parameters, values, reoptimize)

    def stat_contour(
        self,
        datasets: Any,
        x: Parameter | str,
        y: Parameter | str,
        numpoints: int = 10,
        sigma: float = 1,
        reoptimize: bool = True,
    ) -> dict[str, Any]:
        """Trace the curve on which the refitted statistic is sigma² above its minimum.

        Points are evenly spread in angle around the minimum, in units of the covariance. If the minimum lies
        at a limit, they are spread over the side that is allowed, and the limit closes the curve.

        Parameters
        ----------
        datasets : datasets
            Data with their models.
        x, y : `Parameter` or str
            The two parameters, or their names.
        numpoints : int
            Number of points; the first is repeated at the end.
        sigma : float
            Square root of the rise of the statistic.
        reoptimize : bool
            Whether the other parameters are refitted; otherwise they stay, and the minimum is that of these
            two alone.

        Returns
        -------
        dict
            ``<unique name>`` of both: coordinates, shape (numpoints + 1,), NaN for points that weren't
            found; ``success``, ``message``, ``nfev``.
        """
        from villard.modeling.scan import contour

        _check_sigma(sigma)
        options = self._interval_options()
        likelihood, models, parameters = _bind_scan(datasets, [x, y])
        return contour(likelihood, models, parameters, numpoints, sigma, reoptimize, **options)


def _options(options: Mapping[str, Any], allowed: Mapping[str, Any], name: str) -> dict[str, Any]:
    for key in options:
        if key not in allowed:
            raise FitSetupError(f"{name}: no option {key!r}. {nearest(str(key), allowed)}")
    return {**allowed, **options}


def _check_sigma(sigma: float) -> None:
    if not 0 < sigma < np.inf:
        raise FitSetupError(f"sigma: expected a positive number of standard deviations, found {sigma!r}")


def _as_list(datasets: Any) -> list[Any]:
    if hasattr(datasets, "measurement"):
        return [datasets]
    if not isinstance(datasets, Iterable):
        raise FitSetupError(f"Expected a dataset or several, found {type(datasets).__name__}")
    datasets = list(datasets)
    if not datasets:
        raise FitSetupError("There are no datasets to fit")
    for dataset in datasets:
        if not hasattr(dataset, "measurement"):
            raise FitSetupError(f"Expected a dataset or several, found {type(dataset).__name__} among them")
    return datasets


def _models_of(datasets: list[Any]) -> Models:
    models = Models({id(m): m for d in datasets for m in (d.models or [])})
    if not models and any(d.models is not None for d in datasets):
        raise FitSetupError(
            f"No model contributes to the datasets {[d.name for d in datasets]}: check the models' "
            "datasets_names"
        )
    if not models:
        raise FitSetupError(f"No models: set datasets.models before fitting {[d.name for d in datasets]}")
    return models


def _bind(datasets: list[Any]) -> tuple[Any, Models]:
    from villard.likelihood import bind

    models = _models_of(datasets)
    return bind(datasets, models), models


def _find(parameter: Parameter | str, models: Models) -> Parameter:
    """Return a parameter of the models, given itself, a copy of it, or its name, short or complete."""
    if isinstance(parameter, str):
        names = models.parameters_unique_names
        return models.parameters[names.index(parameter) if parameter in names else parameter]
    if not isinstance(parameter, Parameter):
        raise FitSetupError(f"Expected a parameter or its name, found {type(parameter).__name__}")
    return parameter if parameter in models.parameters else models.parameters[parameter.name]


def _scan_values(given: Parameter | str, own: Parameter) -> Array:
    """Values of a scan, in the unit of the models' own parameter."""
    if isinstance(given, str) or given is own:
        return own.scan_values
    return given.scan_values * float(given.unit.to(own.unit))


def _bind_scan(datasets: Any, parameters: list[Parameter | str]) -> tuple[Any, Models, list[Parameter]]:
    """Bind with the scanned parameters free, whatever their state."""
    from villard.likelihood import bind

    datasets = _as_list(datasets)
    models = _models_of(datasets)
    own = [_find(p, models) for p in parameters]
    if len({id(p) for p in own}) < len(own):
        raise FitSetupError(f"Expected two parameters, found {own[0].name!r} twice")
    frozen = [p.frozen for p in own]
    try:
        for p in own:
            p.frozen = False
        likelihood = bind(datasets, models)
    finally:
        for p, state in zip(own, frozen, strict=True):
            p.frozen = state
    likelihood.check_free()
    return likelihood, models, own


def _apply_covariance(likelihood: Any, models: Models, result: CovarianceResult) -> None:
    """Give errors and correlations to all parameters; those of frozen ones become 0."""
    from villard.modeling.covariance import Covariance

    parameters = models.parameters.unique_parameters
    index = [parameters.index(p) for p in likelihood.parameters]
    full = np.zeros((len(parameters), len(parameters)))
    full[np.ix_(index, index)] = result.matrix
    Covariance(parameters, full).apply()


def _not_finite(likelihood: Any) -> str:
    values = ", ".join(f"{p.name}={p.value:.4g}" for p in likelihood.parameters)
    return f"The fit statistic is not finite at the start values ({values}): check values, limits and priors"


def _trace_table(likelihood: Any, models: Models, rows: list[Array]) -> Any:
    from astropy.table import Table

    data = np.array(rows).reshape(len(rows), 1 + likelihood.n_free)
    columns = [data[:, 0], *likelihood.to_values(data[:, 1:]).T]
    names = ["total_stat", *(models.unique_name(p) for p in likelihood.parameters)]
    return Table(columns, names=names)

"""Selection of models: nested ones by their likelihood ratio, others by information criteria."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import FitError, FitSetupError, ParameterError
from villard.modeling.covariance import Covariance
from villard.modeling.fit import Fit
from villard.modeling.fit_result import FitResult, OptimizeResult
from villard.modeling.models import Models
from villard.modeling.models.core import ModelBase
from villard.modeling.parameter import Parameter, Parameters

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["NestedModelSelection", "compare_models", "select_nested_models"]

#: Difference of -2 ln L at which a fit that should be better counts as worse.
_ROUNDING = 1e-6


def select_nested_models(
    datasets: Any,
    parameters: Any,
    null_values: Any,
    n_sigma: float = 2,
    n_free_parameters: int | None = None,
    fit: Fit | None = None,
) -> dict[str, Any]:
    """Test whether parameters improve the fit, and keep the simpler model if they don't.

    Parameters
    ----------
    datasets : dataset, list of datasets or `~villard.datasets.Datasets`
        Data with their models.
    parameters : list of `Parameter`
        Parameters that are free in the alternative, whatever their present state.
    null_values : list of float or of `Parameter`
        What the null hypothesis says of each: a value in the parameter's unit, or another parameter
        that it is linked to.
    n_sigma : float
        Significance at which the alternative is preferred.
    n_free_parameters : int, optional
        Degrees of freedom of the test; by default the number of parameters.
    fit : `Fit`, optional
        Fit of both hypotheses.

    Returns
    -------
    dict
        ``ts``: difference of -2 ln L; ``fit_results``, ``fit_results_null``: results of both fits;
        ``significance`` in sigma, ``p_value`` and ``n_free_parameters`` (Wilks' theorem); ``success``
        and ``message``. The models are left as the hypothesis that is preferred, or, if a fit failed,
        as they were.

    Raises
    ------
    ParameterError
        If a parameter isn't one of the models, a null value is outside its limits, or numbers differ.
    FitError
        If there are no data to fit.

    Examples
    --------
    See ``examples/`` for a test of spectral curvature.
    """
    return NestedModelSelection(parameters, null_values, n_sigma, n_free_parameters, fit).run(datasets)


class NestedModelSelection:
    """A test of two nested hypotheses, to be applied to datasets.

    Parameters
    ----------
    parameters, null_values, n_sigma, n_free_parameters, fit
        As for `select_nested_models`.

    Examples
    --------
    >>> test = NestedModelSelection([Parameter("beta", 0.1)], [0.0], n_sigma=3)
    >>> round(float(test.ts_threshold), 9)
    9.0
    """

    def __init__(
        self,
        parameters: Any,
        null_values: Any,
        n_sigma: float = 2,
        n_free_parameters: int | None = None,
        fit: Fit | None = None,
    ) -> None:
        self.parameters = Parameters([parameters] if isinstance(parameters, Parameter) else parameters)
        single = isinstance(null_values, Parameter) or np.ndim(null_values) == 0
        self.null_values = [null_values] if single else list(null_values)
        if not self.parameters or len(self.null_values) != len(self.parameters):
            raise ParameterError(
                f"Expected a null value of each of the parameters {self.parameters.names}, "
                f"found {len(self.null_values)}"
            )
        self.n_sigma = n_sigma
        self.n_free_parameters = len(self.parameters) if n_free_parameters is None else n_free_parameters
        self.fit = Fit() if fit is None else fit

    @property
    def ts_threshold(self) -> float:
        """Test statistic above which the alternative is preferred."""
        from villard.stats import sigma_to_ts

        return float(sigma_to_ts(self.n_sigma, self.n_free_parameters))

    def run(self, datasets: Any) -> dict[str, Any]:
        """Fit both hypotheses and leave the models as the preferred one.

        Parameters
        ----------
        datasets : datasets
            Data with their models.

        Returns
        -------
        dict
            As of `select_nested_models`.
        """
        from villard.stats import likelihood_ratio

        datasets, models = self._check(datasets)
        null, alternative = self._fit_both(datasets, models)
        success, message = null.success and alternative.success, ""
        if success:
            is_alternative = null.total_stat - alternative.total_stat > self.ts_threshold
            self._leave(models, is_alternative, alternative if is_alternative else null)
            message = f"The {'alternative' if is_alternative else 'null hypothesis'} is preferred."
        else:
            failed = [n for n, r in (("null", null), ("alternative", alternative)) if not r.success]
            message = f"Fit of the {' and the '.join(failed)} failed: the models were left as they were."
        ratio = likelihood_ratio(null.total_stat, alternative.total_stat, self.n_free_parameters)
        return {
            "ts": float(ratio.ts),
            "fit_results": alternative,
            "fit_results_null": null,
            "significance": float(ratio.significance),
            "p_value": float(ratio.p_value),
            "n_free_parameters": self.n_free_parameters,
            "success": success,
            "message": message,
        }

    def ts(self, datasets: Any) -> float:
        """Return the test statistic; the models are left as they were.

        Parameters
        ----------
        datasets : datasets
            Data with their models.
        """
        null, alternative = self._fit_both(*self._check(datasets))
        return null.total_stat - alternative.total_stat

    def ts_known_bkg(self, datasets: Any) -> float:
        """Return the test statistic if all other parameters were known: at the best fit, none refitted.

        Parameters
        ----------
        datasets : datasets
            Data with their models; the models are left as they were.
        """
        return self._ts_fixed(*self._check(datasets))

    def ts_asimov(self, datasets: Any) -> float:
        """Return `ts_known_bkg` of the data that the best fit of the alternative predicts.

        Parameters
        ----------
        datasets : datasets
            Data with their models; the models are left as they were.
        """
        # Simulation lies above the fit: it is only looked up where this is asked for.
        from villard.simulate import asimov

        datasets, models = self._check(datasets)
        with _unchanged(models):
            self._fit_alternative(datasets)
            return self._ts_fixed(datasets, models, list(asimov(datasets)))

    def _check(self, datasets: Any) -> tuple[list[Any], Models]:
        datasets = _as_list(datasets)
        models = Models({id(m): m for d in datasets for m in (d.models or [])}.values())
        if not models:
            raise FitSetupError(f"No models: set datasets.models before testing {[d.name for d in datasets]}")
        for value in [*self.parameters, *self.null_values]:
            if isinstance(value, Parameter) and value not in models.parameters:
                raise ParameterError(
                    f"Parameter {value.name!r} is not one of the models {', '.join(models.names)}"
                )
        return datasets, models

    # Hypotheses

    def _fit_both(self, datasets: list[Any], models: Models) -> tuple[FitResult, FitResult]:
        """Fit both hypotheses; the models are left as they were."""
        with _unchanged(models):
            self._set_null(models)
            null = self._run(datasets, models)
            end = models.parameters.value
        with _unchanged(models):
            alternative = self._fit_alternative(datasets)
            if alternative.success and alternative.total_stat <= null.total_stat + _ROUNDING:
                return null, alternative
        with _unchanged(models):
            # The alternative contains the null hypothesis: from there it can only become better.
            models.parameters.value = end
            again = self._fit_alternative(datasets)
        better = again.success and (not alternative.success or again.total_stat < alternative.total_stat)
        return null, again if better else alternative

    def _set_null(self, models: Models) -> None:
        for parameter, value in zip(self.parameters, self.null_values, strict=True):
            if isinstance(value, Parameter):
                for owner, name in _owners(models, parameter):
                    setattr(owner, name, value)
            else:
                parameter.value = value.to_value(parameter.unit) if hasattr(value, "to_value") else value
                parameter.frozen = True

    def _fit_alternative(self, datasets: list[Any]) -> FitResult:
        for parameter in self.parameters:
            parameter.frozen = False
        return self.fit.run(datasets)

    def _run(self, datasets: list[Any], models: Models) -> FitResult:
        if models.parameters.free_parameters:
            return self.fit.run(datasets)
        message = "No parameter is free: the statistic was evaluated at the present values."
        stat = _stat(datasets, models)
        return FitResult(OptimizeResult(models.copy(), self.fit.backend, "none", True, message, 1, stat))

    def _leave(self, models: Models, is_alternative: bool, result: FitResult) -> None:
        """Give the models the state of one hypothesis, with values and covariance of its fit."""
        if is_alternative:
            for parameter in self.parameters:
                parameter.frozen = False
        else:
            self._set_null(models)
        models.parameters.value = result.parameters.value
        Covariance(models.parameters, result.covariance.data).apply()

    def _ts_fixed(self, datasets: list[Any], models: Models, data: list[Any] | None = None) -> float:
        """Rise of the statistic where only the tested parameters go to their null values."""
        with _unchanged(models):
            if data is None:
                self._fit_alternative(datasets)
                data = datasets
            best = _stat(data, models)
            self._set_null(models)
            return _stat(data, models) - best


def _stat(datasets: list[Any], models: Models) -> float:
    """-2 ln L of data under models, which needn't be those of the datasets."""
    from villard.likelihood import bind

    return bind(datasets, models).stat()


def _owners(models: Models, parameter: Parameter) -> list[tuple[Any, str]]:
    """Models that have a parameter, and what they call it."""
    found: list[tuple[Any, str]] = []

    def visit(model: Any) -> None:
        for name, value in vars(model).items():
            if isinstance(value, ModelBase):
                visit(value)
            elif value is parameter:
                found.append((model, name))

    for model in models:
        visit(model)
    return found


@contextmanager
def _unchanged(models: Models) -> Iterator[None]:
    """Put values, errors, states and links of parameters back when the block ends."""
    parameters = models.parameters.unique_parameters
    owners = [(owner, name, p) for p in parameters for owner, name in _owners(models, p)]
    with parameters.restore_status():
        try:
            yield
        finally:
            for owner, name, parameter in owners:
                setattr(owner, name, parameter)


def compare_models(datasets: Any, results: Mapping[str, FitResult]) -> "Table":
    """Compare fits of different models to the same data by information criteria.

    Models needn't be nested. The weights are the relative probabilities that a model predicts new
    data best (Burnham & Anderson 2002, "Model Selection and Multimodel Inference", eq. 2.9).

    Parameters
    ----------
    datasets : dataset, list of datasets or `~villard.datasets.Datasets`
        Data that were fitted, with the same masks.
    results : dict of str to `FitResult`
        Results of the fits, by a name for each model.

    Returns
    -------
    `~astropy.table.Table`
        A row per model, best first: ``model``, ``n_free``, ``stat``, ``aic``, ``aicc`` (corrected for
        few data, NaN for too few), ``bic``, ``delta_aic`` and ``weight``.

    Raises
    ------
    FitError
        If there are no results, or a fit failed.
    """
    from astropy.table import Table

    from villard.stats import aic, bic

    if not results:
        raise FitSetupError("There are no fits to compare")
    failed = [name for name, result in results.items() if not result.success]
    if failed:
        raise FitError(f"Only fits that converged can be compared; failed: {', '.join(failed)}")
    n_data = _n_data(datasets)
    rows = []
    for name, result in results.items():
        n_free = len(result.parameters.free_parameters)
        corrected = aic(result.total_stat, n_free, n_data) if n_data > n_free + 1 else np.nan
        stat = result.total_stat
        rows.append((name, n_free, stat, aic(stat, n_free), corrected, bic(stat, n_free, n_data)))
    table = Table(rows=rows, names=("model", "n_free", "stat", "aic", "aicc", "bic"))
    table["delta_aic"] = table["aic"] - np.min(table["aic"])
    weight = np.exp(-0.5 * table["delta_aic"])
    table["weight"] = weight / np.sum(weight)
    table.meta["n_data"] = n_data
    for name in table.colnames[2:]:
        table[name].format = ".3f"
    table.sort("aic")
    return table


def _n_data(datasets: Any) -> int:
    """Number of bins in the fit ranges."""
    return sum(int(np.sum(d.measurement().mask)) for d in _as_list(datasets))


def _as_list(datasets: Any) -> list[Any]:
    if hasattr(datasets, "measurement"):
        return [datasets]
    if not isinstance(datasets, Iterable):
        raise FitSetupError(f"Expected a dataset or several, found {type(datasets).__name__}")
    return list(datasets)

"""Two models fitted to the same random data: how their likelihood ratio is distributed."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.modeling.models import Models
from villard.modeling.parameter import Parameter, Parameters
from villard.simulate.ensemble import ToyEnsemble, models_of
from villard.simulate.expectation import as_list, expectations
from villard.simulate.goodness import empirical_p_value
from villard.simulate.intervals import binomial_error
from villard.simulate.toys import Toys

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ToyComparison", "simulate_nested_toys"]

Array = NDArray[np.float64]

#: Difference of -2 ln L at which a fit that should be better counts as worse.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class ToyComparison:
    """Fits of two hypotheses to the same random data; made by `simulate_nested_toys`.

    Attributes
    ----------
    null, alternative : `ToyEnsemble`
        Fits of both hypotheses.
    n_dof : int
        Number of parameters that only the alternative has.
    """

    null: ToyEnsemble
    alternative: ToyEnsemble
    n_dof: int

    @cached_property
    def success(self) -> NDArray[np.bool_]:
        """Toys of which both fits converged, shape (n_toys,)."""
        return self.null.success & self.alternative.success

    @cached_property
    def ts(self) -> Array:
        """Difference of -2 ln L between the null hypothesis and the alternative, shape (n_success,)."""
        return (self.null.stat - self.alternative.stat)[self.success]

    def p_value(self, ts: float) -> float:
        """Return the probability of a test statistic at least as large if the null hypothesis is true.

        Parameters
        ----------
        ts : float
            Observed test statistic.
        """
        return empirical_p_value(self.ts, ts)

    def p_value_chi2(self, ts: float) -> float:
        """Return the same by Wilks' theorem."""
        from scipy.special import gammaincc

        return float(gammaincc(self.n_dof / 2, max(ts, 0.0) / 2))

    def ks_test(self) -> tuple[float, float]:
        """Compare the test statistics with χ² by the test of Kolmogorov and Smirnov.

        Returns
        -------
        distance, p_value : float
            Largest difference of the cumulative distributions, and its probability if they follow χ².
        """
        from scipy.stats import chi2, kstest

        result = kstest(np.maximum(self.ts, 0.0), chi2(self.n_dof).cdf)
        return float(result.statistic), float(result.pvalue)

    def plot(self, ax: "Axes | None" = None, **kwargs: Any) -> "Axes":
        """Plot how often the test statistic exceeds a value; see `~villard.visualization.plot_ts`."""
        from villard.visualization import plot_ts

        return plot_ts(self.ts, self.n_dof, ax=ax, **kwargs)

    def __str__(self) -> str:
        n = len(self.ts)
        distance, probability = self.ks_test()
        lines = [
            "ToyComparison",
            "",
            f"\ttoys       : {self.null.n_toys}, both fits converged in {n}",
            f"\tmore free  : {', '.join(x for x in self.alternative.names if x not in self.null.names)}",
            f"\tmean TS    : {np.mean(self.ts):.3f}, expected {self.n_dof} "
            f"+/- {np.sqrt(2 * self.n_dof / n):.3f}",
            f"\tKS of chi2 : distance {distance:.4f}, p-value {probability:.3g}",
            "\tfalse alarms of a test by chi2:",
        ]
        for level in (0.05, 0.01, 0.001):
            rate = float(np.mean([self.p_value_chi2(x) <= level for x in self.ts]))
            lines.append(f"\t\tat {level:<5g} : {rate:.4f} +/- {float(binomial_error(level, n)):.4f}")
        return "\n".join(lines)


def simulate_nested_toys(
    datasets: Any,
    parameters: Any,
    null_values: Any,
    n_toys: int = 1000,
    random_state: Any = "random-seed",
    npred_background: Any = None,
) -> ToyComparison:
    """Draw random data of a null hypothesis, and fit it and its alternative to each.

    Where Wilks' theorem holds the test statistic follows χ² with as many degrees of freedom as
    there are parameters. It doesn't where a null value is at a limit, or where other parameters
    have no meaning under the null hypothesis (the index of a source of no flux); then the toys tell.

    Give a flux that is tested against 0 the limit ``min = 0``: bins without on and off counts make
    a kink of wstat there, at which fits that may go below end without converging. Toys with such a
    fit are left out, and `ToyComparison` prints how many.

    Parameters
    ----------
    datasets : dataset, list of datasets or `~villard.datasets.Datasets`
        Responses and models. The other parameters have their present values as truth; for a test
        of real data fit the null hypothesis first.
    parameters : list of `~villard.modeling.Parameter`
        Parameters that the null hypothesis fixes.
    null_values : list of float
        Values that it fixes them to, in their units.
    n_toys, random_state, npred_background :
        As for `simulate_toys`.

    Returns
    -------
    `ToyComparison`
        Distribution of the test statistic.

    Raises
    ------
    DataError
        If the numbers of parameters and values differ, or the data can't be simulated.
    FitError
        If no parameter is free or a fit range is empty.
    """
    parameters = Parameters([parameters] if isinstance(parameters, Parameter) else parameters)
    values = np.atleast_1d(np.asarray(null_values, dtype=float))
    if len(values) != len(parameters) or not len(values):
        raise DataError(f"Expected a null value of each of {parameters.names}, found {null_values}")
    datasets = as_list(datasets)
    models = models_of(datasets)
    with models.parameters.unique_parameters.restore_status():
        present = parameters.value
        parameters.value = values
        parameters.freeze_all()
        toys = Toys.draw(expectations(datasets, npred_background), n_toys, random_state)
        null = ToyEnsemble(toys, models)
        parameters.value = present
        for parameter in parameters:
            parameter.frozen = False
        alternative = _alternative(toys, models, null, dict(zip(map(id, parameters), values, strict=True)))
    return ToyComparison(null, alternative, len(parameters))


def _alternative(toys: Toys, models: Models, null: ToyEnsemble, fixed: dict[int, float]) -> ToyEnsemble:
    """Fit the alternative, which can't be worse than the null hypothesis.

    It starts from the present values of the tested parameters: at their null values they may have no
    influence, or not even a scale. Where it ends above the null hypothesis, it is another minimum.
    """
    free = list(models.parameters.free_parameters)
    start, truth = np.empty((toys.n_toys, len(free))), np.empty(len(free))
    at_null = start.copy()
    for column, parameter in enumerate(free):
        if id(parameter) in fixed:
            start[:, column] = parameter.value
            at_null[:, column] = truth[column] = fixed[id(parameter)]
        else:
            own = null.index(parameter)
            start[:, column] = at_null[:, column] = null.values[:, own]
            truth[column] = null.truth[own]
    alternative = ToyEnsemble(toys, models, start, truth)
    alternative.check()
    alternative.improve(at_null, null.success & (alternative.stat > null.stat + _ROUNDING))
    return alternative

"""An ensemble of fits to random data: bias, errors, coverage and goodness of fit."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ParameterError
from villard.modeling.models import Models
from villard.modeling.parameter import Parameter
from villard.simulate import intervals
from villard.simulate.expectation import as_list, expectations
from villard.simulate.goodness import GoodnessOfFit
from villard.simulate.toys import BoundToys, Toys
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

    from villard.likelihood import BatchSolution

__all__ = ["ToyEnsemble", "simulate_toys"]

Array = NDArray[np.float64]

#: Probabilities of one and two standard deviations of a Gaussian.
LEVELS = (0.6826894921370859, 0.9544997361036416)


def simulate_toys(
    datasets: Any,
    n_toys: int = 1000,
    random_state: Any = "random-seed",
    npred_background: Any = None,
) -> "ToyEnsemble":
    """Draw random data many times from the present models, and fit the models to each.

    All fits run together. They start from the truth, so the ensemble tells about the minimum of
    the likelihood there, not about how hard it is to find. The datasets and models are left as
    they are.

    Fits to few counts are biased. With few off counts per bin so is wstat, because the background
    of each bin is fitted to them (XSPEC manual, appendix B), and intervals cover less than they
    promise, by a few per cent. Toys show it; wider bins help.

    Priors keep their centres: errors and pulls are then not those of a frequentist ensemble, for
    which the centres would fluctuate as well.

    Parameters
    ----------
    datasets : dataset, list of datasets or `~villard.datasets.Datasets`
        Responses, masks and models; the present values of the parameters are the truth, those that
        are free are fitted.
    n_toys : int
        Number of toys.
    random_state : int, generator or "random-seed"
        See `~villard.datasets.core.get_random_state`.
    npred_background : map, array or dict of these by name of dataset, optional
        True background counts in the on region of datasets with an off region. By default the most
        likely ones, given the measured counts and the models.

    Returns
    -------
    `ToyEnsemble`
        Fits, one per toy.

    Raises
    ------
    DataError
        If a dataset has no models, or its data can't be simulated.
    FitError
        If no parameter is free or a fit range is empty.
    """
    if n_toys < 1:
        raise DataError(f"n_toys must be at least 1, found {n_toys}")
    datasets = as_list(datasets)
    toys = Toys.draw(expectations(datasets, npred_background), int(n_toys), random_state)
    ensemble = ToyEnsemble(toys, models_of(datasets))
    ensemble.check()
    return ensemble


def models_of(datasets: list[Any]) -> Models:
    """Return the models of datasets, each once."""
    return Models({id(m): m for d in datasets for m in d.models}.values())


class ToyEnsemble:
    """Fits to random data, drawn from the same truth; made by `simulate_toys`.

    Attributes
    ----------
    names, units : list
        Unique names and units of the free parameters.
    truth : array
        True values, shape (n_free,).
    values : array
        Fitted values in their units, shape (n_toys, n_free).
    stat : array
        -2 ln L at each minimum, priors included, shape (n_toys,).
    success : array of bool
        Which fits converged, shape (n_toys,).
    at_limit : array of bool
        Which parameters ended at one of their limits, shape (n_toys, n_free).
    nfev : array
        Evaluations of each fit, shape (n_toys,).
    """

    def __init__(
        self, toys: Toys, models: Models, start: Array | None = None, truth: Array | None = None
    ) -> None:
        self._toys = toys
        self._bound = BoundToys(toys, models)
        likelihood = self._bound.likelihood
        self.names = self._bound.names
        self.units = self._bound.units
        present = np.array(likelihood.to_values(likelihood.theta))
        self.truth: Array = present if truth is None else truth
        theta = likelihood.theta if start is None else likelihood.to_theta(start)
        self._set(self._bound.fit(theta))

    def _set(self, solution: "BatchSolution") -> None:
        likelihood = self._bound.likelihood
        self._solution = solution
        self.values: Array = likelihood.to_values(solution.theta)
        self.stat = solution.value
        self.success = solution.success
        self.nfev = solution.nfev
        self.at_limit = intervals.at_limits(solution.theta, likelihood.bounds)
        self._profiles: dict[int, Array] = {}

    def improve(self, start: Array, where: NDArray[np.bool_]) -> None:
        """Repeat some of the fits from another start, and keep those that end lower.

        Parameters
        ----------
        start : array
            Starts in the units of the free parameters, shape (n_toys, n_free).
        where : array of bool
            Toys to repeat, shape (n_toys,).
        """
        if np.any(where):
            rows = np.flatnonzero(where)
            self._set(self._bound.again(self._solution, self._bound.likelihood.to_theta(start[rows]), rows))
            for name in ("covariance", "errors"):
                self.__dict__.pop(name, None)

    def check(self) -> None:
        """Raise `FitError` if there is nothing to fit."""
        self._bound.likelihood.check_free()

    @property
    def n_toys(self) -> int:
        """Number of toys."""
        return len(self.stat)

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        return len(self.names)

    @cached_property
    def covariance(self) -> Array:
        """Covariance of each fit from its exact Hessian, shape (n_toys, n_free, n_free).

        NaN for parameters at a limit, and for toys without a proper minimum.
        """
        hessian = self._bound.hessian(self._solution.theta)
        matrix = intervals.covariances(hessian, self.at_limit)
        matrix[~self.success] = np.nan
        factor = self._bound.likelihood.to_values(np.ones(self.n_free))
        return matrix * np.outer(factor, factor)

    @cached_property
    def errors(self) -> Array:
        """Standard errors of each fit, shape (n_toys, n_free); NaN where there are none."""
        return np.sqrt(np.einsum("tii->ti", self.covariance))

    @cached_property
    def stat_truth(self) -> Array:
        """-2 ln L of each toy at the true values, shape (n_toys,)."""
        return self._bound.stat(self._bound.likelihood.to_theta(self.truth))

    def pulls(self) -> Array:
        """Return (fitted - true value) / error, shape (n_toys, n_free); NaN where there is no error."""
        return (self.values - self.truth) / self.errors

    def ts_truth(self, parameter: Any = None) -> Array:
        """Return -2 ln L at the truth minus that at the minimum.

        Parameters
        ----------
        parameter : `~villard.modeling.Parameter`, str or int, optional
            Parameter that is held at its true value while the others are refitted. By default all
            are held, and none is refitted.

        Returns
        -------
        array
            Follows χ² of one degree of freedom (or n_free) for many counts, shape (n_toys,).
        """
        if parameter is None:
            return self.stat_truth - self.stat
        column = self.index(parameter)
        if column not in self._profiles:
            theta = self._solution.theta.copy()
            theta[:, column] = self._bound.likelihood.to_theta(self.truth)[column]
            active = np.arange(self.n_free) != column
            solution = self._bound.fit(theta, active, f"Toys, {self.names[column]} held")
            self._profiles[column] = np.where(solution.success, solution.value - self.stat, np.nan)
        return self._profiles[column]

    def index(self, parameter: Any) -> int:
        """Return the column of a parameter, given itself, its name, its unique name or its column."""
        if isinstance(parameter, int | np.integer):
            return int(parameter)
        if isinstance(parameter, Parameter):
            return self._bound.likelihood.column(parameter)
        found = [i for i, name in enumerate(self.names) if parameter in (name, name.split(".")[-1])]
        if len(found) != 1:
            reason = "several free parameters are called" if found else "no free parameter"
            raise ParameterError(f"{reason} {parameter!r}. {nearest(str(parameter), self.names)}")
        return found[0]

    def coverage(self, level: Any = LEVELS, method: str = "likelihood") -> "Table":
        """Compute how often confidence intervals contain the true value.

        Parameters
        ----------
        level : float or list of float
            Nominal probabilities; by default those of one and two standard deviations.
        method : {"likelihood", "wald"}
            Intervals in which the refitted -2 ln L rises by less than the quantile of χ², or value ±
            so many standard errors.

        Returns
        -------
        `~astropy.table.Table`
            Columns ``parameter``, ``level``, ``coverage``, ``error`` (expected statistical deviation
            from the nominal level) and ``n``, the number of toys that have such an interval. For
            "likelihood" also the region of all parameters together, called "all".
        """
        from astropy.table import Table

        levels = np.atleast_1d(np.asarray(level, dtype=float))
        if not np.all((levels > 0) & (levels < 1)):
            raise DataError(f"level: expected probabilities between 0 and 1, found {level}")
        rows = []
        for name, ts, n_dof in self._interval_ts(method):
            usable = self.success & np.isfinite(ts)
            for nominal in levels:
                n = int(np.sum(usable))
                inside = np.sum(ts[usable] <= intervals.chi2_level(nominal, n_dof))
                share = inside / n if n else np.nan
                rows.append((name, nominal, share, float(intervals.binomial_error(nominal, n)), n))
        table = Table(rows=rows, names=("parameter", "level", "coverage", "error", "n"))
        for key in ("level", "coverage", "error"):
            table[key].format = ".4f"
        table.meta.update({"method": method, "n_toys": self.n_toys})
        return table

    def _interval_ts(self, method: str) -> list[tuple[str, Array, int]]:
        """Name, rise of the statistic at the truth, and degrees of freedom of each kind of interval."""
        if method == "wald":
            squares = self.pulls() ** 2
            return [(name, squares[:, i], 1) for i, name in enumerate(self.names)]
        if method == "likelihood":
            single = [(name, self.ts_truth(i), 1) for i, name in enumerate(self.names)]
            return [*single, ("all", self.ts_truth(), self.n_free)]
        raise DataError(f"method: expected 'likelihood' or 'wald', found {method!r}")

    def goodness_of_fit(self, observed_stat: float | None = None) -> GoodnessOfFit:
        """Compare the statistic of the real data with those of the toys.

        Parameters
        ----------
        observed_stat : float, optional
            -2 ln L of the real data at the minimum, as `~villard.modeling.FitResult.total_stat` has
            it. By default the models are fitted to the data of the datasets.

        Returns
        -------
        `GoodnessOfFit`
            p-value and the distribution. Cash statistics are taken relative to a perfect prediction
            (as `cstat`): by itself the Cash statistic measures the counts more than the fit.
        """
        if observed_stat is None:
            solution = self._bound.likelihood.minimize()
            if not solution.success:
                raise DataError(f"The fit of the data failed: {solution.status.message}")
            observed_stat = solution.value
        stats = (self.stat - self._toys.saturated())[self.success]
        observed = float(observed_stat) - self._toys.saturated_data()
        return GoodnessOfFit(observed, stats, self._toys.n_bins - self.n_free)

    def refit(self, models: Any, start: Array | None = None) -> "ToyEnsemble":
        """Fit other models to the same random data.

        Parameters
        ----------
        models : model, list of models or `~villard.modeling.models.Models`
            Models, or the same with other free parameters.
        start : array, optional
            Start in the units of the free parameters, shape (n_free,) or (n_toys, n_free).

        Returns
        -------
        `ToyEnsemble`
            Its ``truth`` are the present values of these models.
        """
        ensemble = ToyEnsemble(self._toys, Models(models), start)
        ensemble.check()
        return ensemble

    # Tables and text

    def summary(self) -> "Table":
        """Return a table with a row per parameter: truth, mean, spread, errors and pulls."""
        from astropy.table import Table

        values = np.where(self.success[:, np.newaxis], self.values, np.nan)
        fitted = intervals.mean_and_width(values)
        pulls = intervals.mean_and_width(self.pulls())
        errors = intervals.mean_and_width(self.errors)
        columns = {
            "truth": self.truth,
            "mean": fitted["mean"],
            "spread": fitted["width"],
            "mean_error": errors["mean"],
            "pull_mean": pulls["mean"],
            "pull_mean_err": pulls["mean_err"],
            "pull_width": pulls["width"],
            "pull_width_err": pulls["width_err"],
            "n_pulls": pulls["n"],
            "n_at_limit": np.sum(self.at_limit, axis=0),
        }
        table = Table({"parameter": self.names, "unit": [u.to_string("fits") for u in self.units]} | columns)
        for name in ("truth", "mean", "spread", "mean_error"):
            table[name].format = ".4g"
        for name in ("pull_mean", "pull_mean_err", "pull_width", "pull_width_err"):
            table[name].format = ".3f"
        return table

    def to_table(self) -> "Table":
        """Return a table with a row per toy: values, errors, statistic and how the fit ended."""
        from astropy.table import Table

        table = Table({"toy": np.arange(self.n_toys)})
        for i, (name, unit) in enumerate(zip(self.names, self.units, strict=True)):
            table[name] = self.values[:, i] * unit
            table[f"{name}_err"] = self.errors[:, i] * unit
        table["stat"] = self.stat
        table["stat_truth"] = self.stat_truth
        table["success"] = self.success
        table["at_limit"] = np.any(self.at_limit, axis=1)
        table["nfev"] = self.nfev
        for name, value in zip(self.names, self.truth, strict=True):
            table.meta[f"truth {name}"] = float(value)
        return table

    def __str__(self) -> str:
        table = self.summary()
        for name in ("mean_error", "pull_mean_err", "pull_width_err", "n_pulls"):
            table.remove_column(name)
        failed = int(np.sum(~self.success))
        lines = [
            "ToyEnsemble",
            "",
            f"\ttoys       : {self.n_toys}",
            f"\tconverged  : {self.n_toys - failed}",
            f"\tfree       : {self.n_free}",
            f"\tmean stat  : {np.mean(self.stat[self.success]) if failed < self.n_toys else np.nan:.2f}",
            "",
            *table.pformat(max_lines=-1, max_width=-1, show_unit=False),
        ]
        return "\n".join(map(str, lines))

    def __repr__(self) -> str:
        return f"ToyEnsemble(n_toys={self.n_toys}, names={self.names})"

    # Plots

    def plot_pulls(self, axes: Any = None, **kwargs: Any) -> Any:
        """Plot a histogram of the pulls of each parameter; see `~villard.visualization.plot_pulls`."""
        from villard.visualization import plot_pulls

        return plot_pulls(self.pulls(), self.names, axes=axes, **kwargs)

    def plot_coverage(self, ax: "Axes | None" = None, method: str = "likelihood", **kwargs: Any) -> "Axes":
        """Plot actual against nominal coverage; see `~villard.visualization.plot_coverage`."""
        from villard.visualization import plot_coverage

        return plot_coverage(self.coverage(np.linspace(0.02, 0.98, 49), method), ax=ax, **kwargs)

    def plot_goodness_of_fit(
        self, observed_stat: float | None = None, ax: "Axes | None" = None, **kwargs: Any
    ) -> "Axes":
        """Plot the statistic of the toys and of the real data; see `goodness_of_fit`."""
        return self.goodness_of_fit(observed_stat).plot(ax=ax, **kwargs)

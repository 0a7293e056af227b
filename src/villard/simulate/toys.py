"""Random data of an ensemble, and fits of models to all of them at once."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.likelihood import BatchSolution, Likelihood, SolverStatus
from villard.modeling.models import Models
from villard.simulate.expectation import Expectation

__all__ = ["BoundToys", "Toys"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Toys:
    """Random measurements of several datasets, many times over.

    Attributes
    ----------
    expectations : list of `Expectation`
        What was expected of each dataset.
    draws : list of dict of str to array
        Random measurements of each dataset by name, each of shape (n_toys, n_bins).
    """

    expectations: list[Expectation]
    draws: list[dict[str, Array]]

    @classmethod
    def draw(cls, expectations: list[Expectation], n_toys: int, random_state: Any) -> "Toys":
        """Draw the measurements, dataset by dataset."""
        from villard.datasets.core import get_random_state

        rng = get_random_state(random_state)
        return cls(expectations, [e.draw(rng, n_toys) for e in expectations])

    @property
    def n_toys(self) -> int:
        """Number of toys."""
        return len(next(iter(self.draws[0].values())))

    @property
    def n_bins(self) -> int:
        """Number of bins in the fit ranges."""
        return sum(int(np.sum(e.measurement.mask)) for e in self.expectations)

    def saturated(self) -> Array:
        """Return the part of the statistic that no model changes, shape (n_toys,).

        The Cash statistic of a perfect prediction depends on the counts, the other statistics are 0
        for one. Less this part, a statistic measures the goodness of fit.
        """
        total = np.zeros(self.n_toys)
        for expectation, draw in zip(self.expectations, self.draws, strict=True):
            if expectation.measurement.statistic == "cash":
                total += saturated_cash(draw["counts"][:, expectation.measurement.mask])
        return total

    def saturated_data(self) -> float:
        """Return the same of the real data."""
        measurements = [e.measurement for e in self.expectations]
        counts = [m.data["counts"][m.mask] for m in measurements if m.statistic == "cash"]
        return float(sum(saturated_cash(n) for n in counts))


def saturated_cash(counts: Array) -> Array:
    """Return the Cash statistic of predictions that equal the counts, summed over the last axis."""
    return 2 * np.sum(counts - counts * np.log(np.where(counts > 0, counts, 1.0)), axis=-1)


def _record(measurement: Any) -> Any:
    """Return a cube as a record of all its bins, because each toy has counts in other ones."""
    return measurement.compressed(all_bins=True) if hasattr(measurement, "compressed") else measurement


def _as_in(record: Any, values: Array) -> Array:
    """Return random values of all bins in the order of a record."""
    if not hasattr(record, "bins"):
        return values
    # The first entry stands for bins that are left out, of which there are none.
    return np.concatenate([np.zeros((len(values), 1)), record.weigh(values[:, record.bins])], axis=1)


class BoundToys:
    """A likelihood of models, with the measurements of toys in the place of the data.

    Parameters
    ----------
    toys : `Toys`
        Random measurements.
    models : `~villard.modeling.models.Models`
        Models to fit; which of their parameters are free is taken now.
    """

    def __init__(self, toys: Toys, models: Models) -> None:
        self.toys = toys
        self._records = [_record(e.measurement) for e in toys.expectations]
        self.likelihood = Likelihood(self._records, models)
        self.names = [models.unique_name(p) for p in self.likelihood.parameters]
        self.units = [p.unit for p in self.likelihood.parameters]
        self._overrides = self._pack()

    def _pack(self) -> list[dict[str, Array]]:
        by_name = {
            record.name: {key: _as_in(record, values) for key, values in draw.items()}
            for record, draw in zip(self._records, self.toys.draws, strict=True)
        }
        return [
            {
                key: block.pack([by_name[m.name][key] for m in block.measurements])
                for key in by_name[block.measurements[0].name]
            }
            for block in self.likelihood.binding.blocks
        ]

    def fit(self, start: Array, active: Any = None, description: str = "Toys") -> BatchSolution:
        """Fit all toys; those that didn't converge are tried again from another start.

        Parameters
        ----------
        start : array
            Scaled parameters, shape (n_free,) or (n_toys, n_free).
        active : array of bool, optional
            Parameters that may move, shape (n_free,); the others stay.
        description : str
            Text of the progress bar.
        """
        start = np.broadcast_to(start, (self.toys.n_toys, self.likelihood.n_free))
        if self.likelihood.n_free == 0:
            return self._without_fit()
        solution = self.likelihood.minimize_batch(
            start, active=active, overrides=self._overrides, description=description
        )
        return self._stragglers(solution, start, active)

    def _without_fit(self) -> BatchSolution:
        """Return the statistic of a hypothesis that leaves nothing to fit."""
        n_toys = self.toys.n_toys
        nothing, once = np.empty((n_toys, 0)), np.ones(n_toys, dtype=int)
        return BatchSolution(
            nothing, self.stat(nothing), nothing, np.zeros(n_toys), once * int(SolverStatus.CONVERGED), once
        )

    def _stragglers(self, solution: BatchSolution, start: Array, active: Any) -> BatchSolution:
        """Repeat fits that failed, first from where they are, then from where the others went."""
        lost = np.flatnonzero(~solution.success)
        if len(lost):
            solution = self.again(solution, solution.theta[lost], lost, active)
            lost = np.flatnonzero(~solution.success)
        if len(lost) and np.any(solution.success):
            median = np.median(solution.theta[solution.success], axis=0)
            moving = np.ones(len(median), dtype=bool) if active is None else np.asarray(active)
            solution = self.again(solution, np.where(moving, median, start[lost]), lost, active)
        return solution

    def again(
        self, solution: BatchSolution, start: Array, rows: NDArray[np.intp], active: Any = None
    ) -> BatchSolution:
        """Repeat some of the fits, and put them in the place of the first ones where they are better.

        Parameters
        ----------
        solution : `~villard.likelihood.BatchSolution`
            First fits.
        start : array
            Scaled parameters, shape (n_rows, n_free).
        rows : array of int
            Which of the toys to repeat.
        active : array of bool, optional
            As for `fit`.
        """
        overrides = [{key: array[rows] for key, array in block.items()} for block in self._overrides]
        again = self.likelihood.minimize_batch(start, active=active, overrides=overrides, max_iter=500)
        lower = again.value < solution.value[rows]
        better = np.where(solution.success[rows], again.success & lower, again.success | lower)
        arrays = {f.name: np.array(getattr(solution, f.name)) for f in fields(BatchSolution)}
        for name, array in arrays.items():
            array[rows[better]] = getattr(again, name)[better]
        return BatchSolution(**arrays)

    def hessian(self, theta: Array) -> Array:
        """Return the exact Hessian of each toy, shape (n_toys, n_free, n_free)."""
        return self.likelihood.hessian_batch(theta, self._overrides)

    def stat(self, theta: Array) -> Array:
        """Return -2 ln L of each toy at given parameters, shape (n_toys,)."""
        return self.likelihood.stat_batch(
            np.broadcast_to(theta, (self.toys.n_toys, self.likelihood.n_free)), self._overrides
        )

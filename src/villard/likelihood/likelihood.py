"""Fits of the compiled likelihood that need no other tool: one, or many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax
from villard.likelihood.batch import BatchSolution, batch_solver, minimize_chunks, pack_solution
from villard.likelihood.exact_fit import fit_exactly
from villard.likelihood.function import LikelihoodFunction
from villard.likelihood.kernels import Kernels
from villard.likelihood.solver import SolverStatus, minimize

__all__ = ["BatchSolution", "Likelihood", "Solution", "bind"]

Array = NDArray[np.float64]

#: Default for the largest estimated distance to the minimum, in units of -2 ln L.
DEFAULT_TOL = 1e-8
#: Fisher scoring that hasn't converged after so many evaluations creeps: the exact Hessian does better.
_FISHER_ITERATIONS = 100
#: The same for events: their curvature is that of the events that happened to be seen.
_EVENT_ITERATIONS = 15
#: Number of free parameters beyond which the exact Hessian is used from the start.
_MANY = 40
#: Distance to the minimum at which a fit to softened point sources has served.
_SOFT_TOL = 1e-2
_NO_TRACE: Array = np.zeros((0, 0))


@dataclass(frozen=True)
class Solution:
    """Result of one minimisation, in scaled parameters."""

    theta: Array
    value: float
    gradient: Array
    edm: float
    status: SolverStatus
    nfev: int
    trace: Array

    @property
    def success(self) -> bool:
        """Whether it converged."""
        return self.status in (SolverStatus.CONVERGED, SolverStatus.CONVERGED_EXACTLY)


class Likelihood(LikelihoodFunction):
    """A likelihood that can be fitted; parameters and errors are those of `LikelihoodFunction`."""

    def minimize(
        self,
        theta: Any = None,
        active: Any = None,
        tol: float = DEFAULT_TOL,
        max_iter: int = 200,
        trace: bool = False,
        exact: bool = False,
    ) -> Solution:
        """Minimise by damped Fisher scoring within the parameters' limits.

        Where it creeps, because parameters are nearly degenerate, it is finished with the exact Hessian.
        Point sources with a free position on maps are first fitted with softened positions.

        Parameters
        ----------
        theta : array, optional
            Start; the parameters' values by default.
        active : array of bool, optional
            Parameters that may move; all by default.
        tol : float
            Largest estimated distance to the minimum, in units of -2 ln L.
        max_iter : int
            Most evaluations.
        trace : bool
            Whether each evaluation is recorded.
        exact : bool
            Whether steps take the exact Hessian from the start, as they do for more than 40 parameters; never
            for events, nor for point sources with a free position.

        Returns
        -------
        `Solution`
            Minimum and how it ended; no exception is raised where it didn't converge.
        """
        theta = self._start(theta)
        active = np.ones(self.n_free, dtype=bool) if active is None else np.asarray(active, dtype=bool)
        bounds = self.bounds
        if self._takes_exact_steps(int(np.sum(active)) > _MANY or exact):
            start = Solution(theta, np.inf, theta, np.inf, SolverStatus.RUNNING, 0, _NO_TRACE)
            return self._finish(start, bounds, active, tol, max_iter, trace)
        first = min(max_iter, self._fisher_iterations)
        function = _solver(self._kernels, _FISHER_ITERATIONS if trace else 0)
        n, before = self.n_free, 0
        if self._soft_data is not None:
            result = function(theta, *bounds, active, max(tol, _SOFT_TOL), first, self._soft_data)
            packed = np.asarray(result[0])
            before = int(packed[2 * n + 3])
            theta = packed[:n] if np.all(np.isfinite(packed[: 2 * n + 1])) else theta
        result = function(theta, *bounds, active, tol, first, self._device_data)
        packed, record = np.asarray(result[0]), np.asarray(result[1])
        solution = Solution(
            packed[:n],
            float(packed[2 * n]),
            packed[n : 2 * n],
            float(packed[2 * n + 1]),
            SolverStatus(int(packed[2 * n + 2])),
            before + int(packed[2 * n + 3]),
            record[: int(packed[2 * n + 3])],
        )
        left = max_iter - solution.nfev
        if solution.success or solution.status == SolverStatus.NOT_FINITE or left <= 0:
            return solution
        return self._finish(solution, bounds, active, tol, left, False)

    @property
    def _has_events(self) -> bool:
        return any(m.statistic == "unbinned" for m in self.binding.measurements)

    @property
    def _fisher_iterations(self) -> int:
        return _EVENT_ITERATIONS if self._has_events else _FISHER_ITERATIONS

    def _takes_exact_steps(self, wanted: bool) -> bool:
        """Whether steps take the exact Hessian from the start: of many, scoring would be held up by a few."""
        return wanted and self._soft_data is None and not self._has_events

    def _finish(
        self, solution: Solution, bounds: Any, active: Any, tol: float, left: int, trace: bool = True
    ) -> Solution:
        """Go on with the exact Hessian where Fisher scoring hasn't converged, or has not been tried."""
        end = fit_exactly(self, solution.theta, bounds, active, tol, left)
        if end.converged:
            status = SolverStatus.CONVERGED_EXACTLY
        elif not np.isfinite(end.value):
            status = SolverStatus.NOT_FINITE
        else:
            status = SolverStatus.RUNNING if len(end.rows) >= left else SolverStatus.STALLED
        rows = np.array(end.rows) if trace else _NO_TRACE
        if len(solution.trace):
            rows = np.concatenate([solution.trace, end.rows])
        nfev = solution.nfev + len(end.rows)
        return Solution(end.theta, end.value, end.gradient, end.edm, status, nfev, rows)

    def minimize_batch(
        self,
        theta: Any,
        active: Any = None,
        overrides: Sequence[dict[str, Any]] | None = None,
        tol: float = DEFAULT_TOL,
        max_iter: int = 200,
        bounds: tuple[Array, Array] | None = None,
        description: str = "Fits",
    ) -> BatchSolution:
        """Run many minimisations at once.

        Parameters
        ----------
        theta : array
            Starts, shape (n_batch, n_free).
        active : array of bool, optional
            Parameters that may move, shape (n_free,) or (n_batch, n_free). The others stay at ``theta``.
        overrides : list of dict, optional
            For each block of the binding arrays that differ from run to run: ``"mask"``,
            ``"background"`` or a name in its ``"data"``, each (n_batch, n_measurements, n_columns).
            `Block.pack` makes them.
        tol, max_iter :
            As in `minimize`.
        bounds : tuple of array, optional
            Limits of θ; those of the parameters by default.
        description : str
            Text of the progress bar, which appears where this takes long.

        Returns
        -------
        `BatchSolution`
            One row per run. Slow ones are finished apart, so that the others needn't wait for them.
        """
        theta = np.atleast_2d(np.asarray(theta, dtype=float))
        active = np.ones(self.n_free, dtype=bool) if active is None else np.asarray(active, dtype=bool)
        lower, upper = self.bounds if bounds is None else bounds
        function = batch_solver(self._kernels)

        def solve(theta: Any, active: Any, changes: Any, max_iter: int) -> Any:
            return function(theta, active, changes, lower, upper, tol, max_iter, self._device_data)

        active = np.broadcast_to(active, theta.shape)
        first = min(max_iter, _FISHER_ITERATIONS)
        packed = minimize_chunks(
            solve, theta, active, self._changes(overrides), first, description, self._batch_size
        )
        if not overrides:
            self._finish_batch(packed, (lower, upper), active, tol, max_iter)
        return BatchSolution.from_packed(packed)

    def _finish_batch(self, packed: Array, bounds: Any, active: Any, tol: float, max_iter: int) -> None:
        """Go on alone with the rows, as of `pack_solution`, that haven't converged."""
        n = self.n_free
        unfinished = (int(SolverStatus.RUNNING), int(SolverStatus.STALLED))
        for i in np.flatnonzero(np.isin(packed[:, -2], unfinished)):
            row = packed[i]
            solution = Solution(
                row[:n],
                row[2 * n],
                row[n : 2 * n],
                row[-3],
                SolverStatus(int(row[-2])),
                int(row[-1]),
                _NO_TRACE,
            )
            left = max_iter - solution.nfev
            if left <= 0:
                continue
            end = self._finish(solution, bounds, active[i], tol, left, False)
            if end.value <= solution.value:
                packed[i] = [*end.theta, *end.gradient, end.value, end.edm, end.status, end.nfev]


def _solver(kernels: Kernels, length: int) -> Any:
    """Compiled single minimisation, kept with the kernels."""
    cache = kernels.__dict__.setdefault("_solvers", {})
    if length not in cache:

        def solve(theta: Any, lower: Any, upper: Any, active: Any, tol: Any, max_iter: Any, data: Any) -> Any:
            def terms(theta: Any, far: Any) -> Any:
                return kernels.terms(theta, data, far)

            result = minimize(
                terms, theta, lower, upper, active, tol, max_iter, length, longest=data["longest"]
            )
            return pack_solution(result), result["trace"]

        cache[length] = jax.jit(solve)
    return cache[length]


def bind(datasets: Any, models: Any = None) -> Likelihood:
    """Bind datasets and models into a compiled likelihood.

    Parameters
    ----------
    datasets : iterable of datasets
        Each with a ``measurement()`` and ``models``.
    models : iterable of models, optional
        Models; by default those of the datasets, each once.

    Returns
    -------
    `Likelihood`
        The likelihood of the parameters that are free now.
    """
    datasets = list(datasets)
    if models is None:
        models = list({id(m): m for d in datasets for m in (d.models or [])}.values())
    return Likelihood([d.measurement() for d in datasets], list(models))

"""Many fits or evaluations of one likelihood at once, with data that differ from run to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax, jnp
from villard.likelihood.kernels import Kernels
from villard.likelihood.solver import SolverStatus, minimize
from villard.utils.progress import ProgressBar

__all__ = [
    "BatchSolution",
    "batch_kernel",
    "batch_size",
    "batch_solver",
    "minimize_chunks",
    "pack_solution",
    "run_chunks",
]

Array = NDArray[np.float64]
Overrides = Sequence[dict[str, Any]]

#: Rows that are computed together: one size only, because each is a compilation. On CPUs larger ones
#: are slower, since more rows wait for the slowest and less fits into the caches.
BATCH_SIZE = 64
#: Numbers that rows computed together may hold: what fits into the caches.
_BATCH_NUMBERS = 2_000_000
# Rows computed together wait for the slowest one. Those that need more than this many evaluations
# are few, and are finished apart.
_FIRST_ITERATIONS = 9


@dataclass(frozen=True)
class BatchSolution:
    """Results of many minimisations: arrays with one row each, in scaled parameters."""

    theta: Array
    value: Array
    gradient: Array
    edm: Array
    status: NDArray[np.int_]
    nfev: NDArray[np.int_]

    @property
    def success(self) -> NDArray[np.bool_]:
        """Which ones converged."""
        converged = (int(SolverStatus.CONVERGED), int(SolverStatus.CONVERGED_EXACTLY))
        return np.isin(self.status, converged)

    @classmethod
    def from_packed(cls, packed: Array) -> "BatchSolution":
        """Take apart rows of `pack_solution`."""
        n = (packed.shape[1] - 4) // 2
        return cls(
            packed[:, :n],
            packed[:, 2 * n],
            packed[:, n : 2 * n],
            packed[:, 2 * n + 1],
            packed[:, 2 * n + 2].astype(int),
            packed[:, 2 * n + 3].astype(int),
        )


def pack_solution(result: dict[str, Any]) -> Any:
    """Put the result of a minimisation in one vector: each extra output would cost 20 µs."""
    return jnp.concatenate(
        [
            result["theta"],
            result["gradient"],
            jnp.stack([result["value"], result["edm"]]),
            jnp.stack([result["status"], result["nfev"]]).astype(float),
        ]
    )


def _override(data: Any, changes: Any) -> Any:
    """Replace arrays of the blocks by those of one run."""
    blocks = []
    for block, change in zip(data["blocks"], changes, strict=True):
        own = {key: change.get(key, value) for key, value in block["data"].items()}
        rest = {key: change[key] for key in ("mask", "background") if key in change}
        blocks.append({**block, **rest, "data": own})
    return {**data, "blocks": blocks}


def batch_solver(kernels: Kernels) -> Any:
    """Compiled batch of minimisations, kept with the kernels."""

    def make() -> Any:
        def solve(
            theta: Any, active: Any, changes: Any, lower: Any, upper: Any, tol: Any, max_iter: Any, data: Any
        ) -> Any:
            def single(theta: Any, active: Any, changes: Any) -> Any:
                own = _override(data, changes)

                def terms(theta: Any, far: Any) -> Any:
                    return kernels.terms(theta, own, far)

                result = minimize(terms, theta, lower, upper, active, tol, max_iter, longest=data["longest"])
                return pack_solution(result)

            return jax.vmap(single)(theta, active, changes)

        return jax.jit(solve)

    return _cached(kernels, "minimize", make)


def batch_kernel(kernels: Kernels, name: str) -> Any:
    """Compiled batch of one of the kernels (``"hessian"``, ``"value_and_gradient"``), kept with them."""

    def make() -> Any:
        function = getattr(kernels, name)

        def evaluate(theta: Any, changes: Any, data: Any) -> Any:
            return jax.vmap(lambda t, c: function(t, _override(data, c)))(theta, changes)

        return jax.jit(evaluate)

    return _cached(kernels, name, make)


def _cached(kernels: Kernels, name: str, make: Callable[[], Any]) -> Any:
    cache = kernels.__dict__.setdefault("_batches", {})
    if name not in cache:
        cache[name] = make()
    return cache[name]


def batch_size(numbers: int) -> int:
    """Return how many rows are computed together: a power of 2 up to `BATCH_SIZE`.

    Parameters
    ----------
    numbers : int
        Numbers that one row holds.
    """
    fit = max(_BATCH_NUMBERS // max(numbers, 1), 1)
    return min(BATCH_SIZE, 2 ** (int(fit).bit_length() - 1))


def run_chunks(
    function: Callable[..., Any],
    rows: Sequence[NDArray[Any]],
    overrides: Overrides,
    progress: Callable[[int], None] | None = None,
    size: int = BATCH_SIZE,
) -> Array:
    """Call a compiled function on ``size`` rows at a time and join the results.

    Parameters
    ----------
    function : callable
        Takes chunks of ``rows`` and of ``overrides``.
    rows : list of array
        Arguments with one row per run.
    overrides : list of dict
        For each block arrays with one row per run.
    progress : callable, optional
        Told the number of rows after each call.
    size : int
        Rows per call.
    """
    n_rows = len(rows[0])
    parts = []
    for start in range(0, n_rows, size):
        # The last chunk is filled up with copies of its first row, so that one shape is compiled.
        index = np.arange(start, start + size)
        index = np.where(index < n_rows, index, start)
        chunk = [{k: v[index] for k, v in o.items()} for o in overrides]
        parts.append(np.asarray(function(*(array[index] for array in rows), chunk)))
        if progress is not None:
            progress(min(size, n_rows - start))
    return np.concatenate(parts)[:n_rows]


def minimize_chunks(
    solve: Callable[..., Any],
    theta: Array,
    active: NDArray[np.bool_],
    overrides: Overrides,
    max_iter: int,
    description: str,
    size: int = BATCH_SIZE,
) -> Array:
    """Run many minimisations, and finish apart those that the others would have to wait for.

    Parameters
    ----------
    solve : callable
        ``solve(theta, active, overrides, max_iter)`` for a chunk.
    theta, active : array
        Starts and moving parameters, shape (n_batch, n_free).
    overrides : list of dict
        For each block arrays with one row per run.
    max_iter : int
        Most evaluations of a run.
    description : str
        Text of the progress bar.
    size : int
        Rows computed together.

    Returns
    -------
    array
        Rows as of `pack_solution`.
    """
    n_batch = len(theta)
    first = max_iter if n_batch <= size or size == 1 else min(max_iter, _FIRST_ITERATIONS)
    with ProgressBar(n_batch, description) as bar:
        packed = run_chunks(
            lambda t, a, o: solve(t, a, o, first), [theta, active], overrides, bar.advance, size
        )
        running = np.flatnonzero(packed[:, -2] == int(SolverStatus.RUNNING))
        if first == max_iter or not len(running):
            return packed
        rest = [{k: v[running] for k, v in o.items()} for o in overrides]
        starts: list[NDArray[Any]] = [packed[running, : theta.shape[1]], active[running]]
        again = run_chunks(lambda t, a, o: solve(t, a, o, max_iter - first), starts, rest, size=size)
    again[:, -1] += packed[running, -1]
    packed[running] = again
    return packed

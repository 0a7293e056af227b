"""Nested sampling by UltraNest (Buchner 2021, JOSS 6, 3001), which is under the GPL."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.bayes.samplers.base import Draws, Run
from villard.exceptions import CheckpointError
from villard.utils.lazy import import_optional

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

DEFAULTS: dict[str, Any] = {
    "nlive": 400,
    "dlogz": 0.5,
    "dKL": 0.5,
    "min_ess": 400,
    "frac_remain": 0.01,
    "slice_steps": None,
    "max_ncalls": None,
}

#: Stands for ln L of minus infinity, which UltraNest can't take.
_LOWEST = -1e100


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Run UltraNest's reactive nested sampler; it keeps its points in a file of the checkpoint."""
    ultranest = import_optional("ultranest", "ultranest")
    keep = run.checkpoint
    store = None if keep is None else _points(keep.folder / "ultranest.tsv", problem.n_dim)
    # It draws from numpy's global generator, which is put back afterwards.
    state = np.random.get_state()  # noqa: NPY002 - what it draws from
    level = logging.getLogger("ultranest").level
    try:
        np.random.seed(run.seed)  # noqa: NPY002 - what it draws from
        logging.getLogger("ultranest").setLevel(logging.WARNING)
        sampler = ultranest.ReactiveNestedSampler(
            problem.names,
            lambda theta: np.maximum(problem.log_likelihood(theta), _LOWEST),
            problem.prior_transform,
            vectorized=True,
        )
        if store is not None:
            # Those that it makes itself: HDF5 files can't be read after a kill, and its text files never.
            sampler.pointstore, sampler.log_to_pointstore, sampler.ncall = store, True, store.ncalls
        # Making the sampler has set it back.
        sampler.logger.setLevel(logging.WARNING)
        if settings["slice_steps"]:
            steps = import_optional("ultranest.stepsampler", "ultranest")
            sampler.stepsampler = steps.SliceSampler(
                nsteps=settings["slice_steps"],
                generate_direction=steps.generate_mixture_random_direction,
            )
        names = ("dlogz", "dKL", "min_ess", "frac_remain", "max_ncalls")
        result = sampler.run(
            min_num_live_points=settings["nlive"],
            show_status=run.is_watched,
            viz_callback=False,
            **{name: settings[name] for name in names},
        )
    finally:
        if store is not None:
            store.close()
        logging.getLogger("ultranest").setLevel(level)
        np.random.set_state(state)  # noqa: NPY002 - what it draws from
    weighted = result["weighted_samples"]
    with np.errstate(divide="ignore"):
        log_weight = np.log(weighted["weights"])
    return Draws(
        np.asarray(weighted["points"]),
        np.asarray(weighted["logl"]),
        log_weight,
        float(result["logz"]),
        float(result["logzerr"]),
        int(result["ncall"]),
        {"information": float(result["H"]), "insertion_test_converged": _converged(result)},
    )


def _points(path: Path, n_dim: int) -> Any:
    """Return UltraNest's store of points in a text file, with those that are in it already."""
    store = import_optional("ultranest.store", "ultranest").TextPointStore
    if path.exists():
        # The last line may not be whole.
        text = path.read_bytes()
        with path.open("r+b") as stream:
            stream.truncate(text.rfind(b"\n") + 1)
        _check_lines(path, 3 + 2 * n_dim)
    return store(str(path), 3 + 2 * n_dim)


def _check_lines(path: Path, n_columns: int) -> None:
    try:
        rows = [[float(x) for x in line.split()] for line in path.read_text().splitlines()]
    except ValueError as error:
        raise CheckpointError(f"Checkpoint: can't read {path}: {error}") from error
    if any(len(row) != n_columns for row in rows):
        raise CheckpointError(f"Checkpoint: can't read {path}: expected {n_columns} columns")


def _converged(result: dict[str, Any]) -> bool:
    test = result.get("insertion_order_MWW_test") or {}
    return bool(test.get("converged", True))

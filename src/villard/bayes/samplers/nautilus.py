"""Importance nested sampling with neural networks by nautilus (Lange 2023, MNRAS 525, 3181)."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.bayes.samplers.base import Draws, Run, effective_size
from villard.exceptions import CheckpointError
from villard.utils.io import atomic_write
from villard.utils.lazy import import_optional

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

DEFAULTS: dict[str, Any] = {
    "nlive": 1000,
    "n_eff": 10_000,
    "n_networks": 4,
    "n_batch": 256,
    "discard_exploration": True,
    "f_live": 0.01,
}


def run(problem: Problem, settings: dict[str, Any], run: Run) -> Draws:
    """Run nautilus, vectorised; it keeps its state in an HDF5 file in the checkpoint."""
    nautilus = import_optional("nautilus", "nautilus")
    path = None
    if run.checkpoint is not None:
        import_optional("h5py", "nautilus")
        path = str(run.checkpoint.folder / "nautilus.hdf5")
    try:
        sampler = nautilus.Sampler(
            problem.prior_transform,
            problem.log_likelihood,
            n_dim=problem.n_dim,
            n_live=settings["nlive"],
            n_networks=settings["n_networks"],
            n_batch=settings["n_batch"],
            vectorized=True,
            pass_dict=False,
            seed=run.seed,
            filepath=path,
            resume=path is not None,
        )
    except (OSError, KeyError) as error:
        raise CheckpointError(f"Checkpoint: can't read {path}: {error}") from error
    if path is not None:
        _write_whole(sampler)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Its networks stop early by design.
        warnings.simplefilter("ignore")
        sampler.run(
            f_live=settings["f_live"],
            n_eff=settings["n_eff"],
            discard_exploration=settings["discard_exploration"],
            verbose=run.is_watched,
        )
    points, log_weight, log_likelihood = sampler.posterior()
    size = effective_size(log_weight)
    return Draws(
        np.asarray(points),
        np.asarray(log_likelihood),
        np.asarray(log_weight),
        float(sampler.log_z),
        # Importance sampling with so many effective samples; exact for constant weights.
        float(1 / np.sqrt(size)),
        int(sampler.n_like),
        {"efficiency": 100 * float(sampler.eta)},
    )


def _write_whole(sampler: Any) -> None:
    """Let the sampler write its file whole or not at all: it changes it in place, where a kill ruins it."""
    write, update = sampler.write, sampler.write_shell_update

    def write_whole(filepath: str, overwrite: bool = False) -> None:
        with atomic_write(filepath, overwrite=overwrite) as temporary:
            write(temporary, overwrite=True)

    def update_whole(filepath: str, shell: int) -> None:
        with atomic_write(filepath, overwrite=True) as temporary:
            shutil.copyfile(Path(filepath), temporary)
            update(temporary, shell)

    sampler.write, sampler.write_shell_update = write_whole, update_whole

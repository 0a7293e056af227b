"""A folder that keeps the state of a run, and knows which problem it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import CheckpointError
from villard.utils.io import atomic_write
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

__all__ = ["Checkpoint"]

_VERSION = 1


class Checkpoint:
    """Folder of a run.

    Parameters
    ----------
    folder : str or path-like
        Folder; it is made if it doesn't exist.
    problem : `~villard.bayes.Problem`
        What is sampled.
    sampler : str
        Name of the sampler.
    settings : dict
        Its settings.
    random_state : optional
        Seed.

    Raises
    ------
    CheckpointError
        If the folder holds a run of another problem, sampler, setting or seed, or something else.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        problem: Problem,
        sampler: str,
        settings: dict[str, Any],
        random_state: Any = None,
    ) -> None:
        self.folder = make_path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"Checkpoint: expected a folder, found a file: {self.folder}")
        mine = {
            "version": _VERSION,
            "problem": problem.fingerprint,
            "parameters": problem.names,
            "sampler": sampler,
            "settings": {name: repr(value) for name, value in settings.items()},
            "random_state": _seed_text(random_state),
        }
        path = self.folder / "run.json"
        if path.exists():
            self._compare(path, mine)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise CheckpointError(f"Checkpoint: {self.folder} holds files, but no run: choose another folder")
        else:
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(mine, indent=1))

    def _compare(self, path: Path, mine: dict[str, Any]) -> None:
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"Checkpoint: can't read {path}: {error}") from error
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            raise CheckpointError(f"Checkpoint: {path} isn't a run of this version")
        texts = {
            "sampler": "another sampler",
            "parameters": "another problem: its parameters are",
            "problem": "another problem: the same parameters with other data, components or priors",
            "settings": "other settings of the sampler",
            "random_state": "another random_state",
        }
        for key, text in texts.items():
            if found.get(key) != mine[key]:
                detail = "" if key == "problem" else f" ({found.get(key)}, now {mine[key]})"
                raise CheckpointError(
                    f"Checkpoint: {self.folder} belongs to {text}{detail}. "
                    "Choose another folder, or delete it"
                )

    def withdraw(self) -> None:
        """Give the folder of a run back that failed before it kept anything: a corrected one may take it."""
        if [path.name for path in self.folder.iterdir()] == ["run.json"]:
            (self.folder / "run.json").unlink()

    @property
    def result(self) -> Path:
        """File of the finished posterior."""
        return self.folder / "posterior.fits"

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended."""
        return self.result.exists()

    @property
    def state(self) -> Path:
        """File of the state."""
        return self.folder / "state.pickle"

    def save(self, state: Any) -> None:
        """Keep a state; the file is written whole or not at all."""
        with atomic_write(self.state, overwrite=True) as path, path.open("wb") as stream:
            pickle.dump(state, stream, protocol=4)

    def load(self) -> Any:
        """Return the state that was kept, or `None`.

        Raises
        ------
        CheckpointError
            If the file is damaged.
        """
        if not self.state.exists():
            return None
        try:
            with self.state.open("rb") as stream:
                return pickle.load(stream)
        except Exception as error:
            raise CheckpointError(f"Checkpoint: can't read {self.state}: {error}") from error


def _seed_text(random_state: Any) -> str:
    """Return what distinguishes seeds: a number, or the state of a generator."""
    if random_state is None or isinstance(random_state, int | np.integer):
        return repr(random_state if random_state is None else int(random_state))
    if isinstance(random_state, np.random.Generator):
        state = repr(random_state.bit_generator.state).encode()
        return f"generator {hashlib.sha256(state).hexdigest()[:16]}"
    return repr(random_state)

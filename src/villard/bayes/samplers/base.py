"""What samplers are given and what they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.samplers.checkpoint import Checkpoint
from villard.exceptions import FitSetupError
from villard.utils.progress import ProgressBar, is_watched

__all__ = ["Draws", "Run", "effective_size"]

Array = NDArray[np.float64]


@dataclass
class Draws:
    """Samples of θ as a sampler gives them.

    Parameters
    ----------
    theta : array
        Shape (n, n_dim).
    log_likelihood : array
        ln L of each, shape (n,).
    log_weight : array
        Logarithm of the weight of each, but for a constant; zeros for samples of equal weight.
    log_evidence, log_evidence_error : float
        ln Z and its error; NaN if the sampler has none.
    n_calls : int
        Evaluations of the likelihood.
    diagnostics : dict
        Numbers and text that tell how it went.
    chains : int
        Number of chains, for samples in the order chain by chain.
    """

    theta: Array
    log_likelihood: Array
    log_weight: Array
    log_evidence: float = float("nan")
    log_evidence_error: float = float("nan")
    n_calls: int = 0
    diagnostics: dict[str, Any] = field(default_factory=dict)
    chains: int = 1


class Run:
    """Random numbers, progress and checkpoint of one run.

    Parameters
    ----------
    random_state : int or `~numpy.random.Generator`, optional
        Seed.
    progress : bool, optional
        Force the progress bar on or off.
    checkpoint : `Checkpoint`, optional
        Where the state is kept.
    """

    def __init__(self, random_state: Any, progress: bool | None, checkpoint: Checkpoint | None) -> None:
        try:
            self.rng = np.random.default_rng(random_state)
        except (TypeError, ValueError) as error:
            raise FitSetupError(
                "sample: expected as random_state a whole number from 0 on, or a generator, "
                f"found {random_state!r}"
            ) from error
        #: For what comes after the run: the same, whether that was stopped in between or not.
        self.later_rng = self.rng.spawn(1)[0]
        self.progress = progress
        self.checkpoint = checkpoint

    @property
    def seed(self) -> int:
        """A seed for packages that take none but whole numbers."""
        return int(self.rng.integers(2**31 - 1))

    @property
    def is_watched(self) -> bool:
        """Whether packages with a display of their own should show it."""
        return is_watched(self.progress)

    def bar(self, total: int, description: str) -> ProgressBar:
        """Return a progress bar."""
        return ProgressBar(total, description, show=self.progress)


def effective_size(log_weight: Array) -> float:
    """Return (Σw)² / Σw² of weights given by their logarithms: Kish's effective sample size.

    Examples
    --------
    >>> round(effective_size(np.log([1.0, 1.0, 1e-9])), 3)
    2.0
    """
    w = np.exp(log_weight - np.max(log_weight))
    return float(w.sum() ** 2 / (w**2).sum())

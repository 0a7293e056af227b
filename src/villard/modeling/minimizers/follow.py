"""Sources that a fit moves far away: their pixels are cut out again, and the fit goes on."""

from typing import Any

import numpy as np

from villard.exceptions import ModelError
from villard.modeling.minimizers import Outcome

__all__ = ["follow_sources"]

#: Times that pixels are cut out again before a source is said to run away.
_MOST_CUTOUTS = 8


def follow_sources(likelihood: Any, outcome: Outcome) -> None:
    """Finish a fit on new cutouts, by Fisher scoring, if sources have left or outgrown theirs.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood; its cutouts follow the sources.
    outcome : `Outcome`
        Where a minimiser ended; changed in place.
    """
    for _ in range(_MOST_CUTOUTS):
        try:
            if not np.all(np.isfinite(outcome.theta)) or not likelihood.recut(outcome.theta):
                return
        except ModelError as error:
            # A source has left the map.
            outcome.success, outcome.message = False, str(error)
            return
        solution = likelihood.minimize(outcome.theta)
        outcome.theta, outcome.stat, outcome.edm = solution.theta, solution.value, solution.edm
        outcome.success, outcome.nfev = solution.success, outcome.nfev + solution.nfev
        outcome.message = f"{solution.status.message.rstrip('.')}, after a source had moved."
    outcome.success = False
    outcome.message = f"A source keeps moving or growing, after {_MOST_CUTOUTS} times of following it."

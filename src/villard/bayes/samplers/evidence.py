"""The evidence of any sampler's draws, by importance sampling around them.

The evidence of nested sampling has the scatter of the shrinking volumes, about √(H / nlive): 0.1 to 0.2 for
usual settings. A mixture of Student's t fitted to the draws covers the posterior, and the mean of likelihood
times prior over its density is the evidence without that scatter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.samplers.base import Draws, effective_size
from villard.bayes.samplers.importance import draw_weighted, mean_weight
from villard.bayes.samplers.proposals import fit_mixture, pareto_shape
from villard.exceptions import FitError

if TYPE_CHECKING:
    from villard.bayes.problem import Problem

__all__ = ["with_evidence"]

Array = NDArray[np.float64]

#: Errors of ln Z that need no improvement, if so many per cent of the samples count.
_GOOD, _EFFICIENT = 0.02, 30.0
#: Calls for it, as a part of those that the sampler took, and their limits.
_PART, _LEAST, _MOST = 0.2, 1000, 20_000
#: Draws that the mixture is fitted to, at most.
_FITTED = 3000
#: Limits of what is trusted: effective samples, shape of the weights' tail, and standard deviations from
#: the sampler's own result.
_MIN_SIZE, _MAX_SHAPE, _MAX_SIGMA = 100, 0.7, 5.0


def with_evidence(problem: Problem, draws: Draws, rng: np.random.Generator) -> Draws:
    """Return draws with the better of two evidences; the other one is in the diagnostics.

    Parameters
    ----------
    problem : `~villard.bayes.Problem`
        Posterior.
    draws : `Draws`
        What a sampler returned; its own evidence may be NaN.
    rng : `~numpy.random.Generator`
        Random numbers.
    """
    own, own_error = draws.log_evidence, draws.log_evidence_error
    z = _equal_weights(problem, draws, rng)
    is_good = own_error <= _GOOD and draws.diagnostics.get("efficiency", 100.0) >= _EFFICIENT
    if is_good or len(z) < 4 * problem.n_dim:
        return draws
    n = int(np.clip(_PART * draws.n_calls, _LEAST, _MOST))
    log_weight = draw_weighted(problem, fit_mixture(z, rng), n, rng)[2]
    try:
        log_z, error, size = mean_weight(log_weight)
    except FitError:
        return draws
    shape = pareto_shape(log_weight)
    sigma = abs(log_z - own) / np.hypot(error, own_error) if np.isfinite(own) else 0.0
    more: dict[str, Any] = {"evidence_ess": size, "evidence_shape": shape}
    calls = draws.n_calls + n
    if size < _MIN_SIZE or shape > _MAX_SHAPE or sigma > _MAX_SIGMA or error > own_error:
        more |= {"evidence": "own", "importance_log_evidence": log_z, "importance_log_evidence_error": error}
        return replace(draws, n_calls=calls, diagnostics=draws.diagnostics | more)
    more |= {"evidence": "importance"}
    if np.isfinite(own):
        more |= {"own_log_evidence": own, "own_log_evidence_error": own_error}
    return replace(
        draws,
        n_calls=calls,
        diagnostics=draws.diagnostics | more,
        log_evidence=log_z,
        log_evidence_error=error,
    )


def _equal_weights(problem: Problem, draws: Draws, rng: np.random.Generator) -> Array:
    """Pick draws of equal weight, as many as are different, and put them on the real line."""
    w = np.exp(draws.log_weight - np.max(draws.log_weight))
    n = max(min(_FITTED, int(effective_size(draws.log_weight))), 1)
    at = (np.arange(n) + rng.random()) / n
    index = np.minimum(np.searchsorted(np.cumsum(w) / w.sum(), at), len(w) - 1)
    z = problem.space.to_real(draws.theta[index], rng)
    return z[np.all(np.isfinite(z), axis=1)]

"""Simulation-based calibration: are true values spread in their posteriors as they should be?

Parameters are drawn from the prior, data from the model with these parameters, and a posterior is computed
of each data set. If all is right, the ranks of the true values among the samples of their posteriors are
uniform (Talts et al. 2018, arXiv:1804.06788).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard import parallel
from villard.exceptions import ParameterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from villard.bayes.posterior import Posterior

__all__ = ["Calibration", "rank_of", "simulation_based_calibration"]

Array = NDArray[np.float64]


@dataclass
class Calibration:
    """Ranks of true values in their posteriors.

    Parameters
    ----------
    names : list of str
        Parameters.
    ranks : array
        Ranks between 0 and 1, shape (n_data_sets, n_parameters).
    pulls : array
        (mean - truth) / standard deviation, of the same shape.
    """

    names: list[str]
    ranks: Array
    pulls: Array

    @property
    def p_values(self) -> dict[str, float]:
        """Probability of ranks at least as uneven (Kolmogorov-Smirnov), by parameter."""
        from scipy.stats import kstest

        return {n: float(kstest(self.ranks[:, i], "uniform").pvalue) for i, n in enumerate(self.names)}

    def __str__(self) -> str:
        lines = [f"Calibration with {len(self.ranks)} data sets"]
        for i, name in enumerate(self.names):
            pull = self.pulls[:, i]
            lines.append(
                f"{name:<12} p = {self.p_values[name]:.3f}, mean rank {self.ranks[:, i].mean():.3f}, "
                f"pull {pull.mean():+.2f} ± {pull.std():.2f}"
            )
        return "\n".join(lines)

    def plot(self, bins: int = 10) -> Figure:
        """Plot histograms of the ranks, with the band in which 95 % of the bins should be.

        Parameters
        ----------
        bins : int
            Number of bins.
        """
        import matplotlib.pyplot as plt
        from scipy.stats import binom

        n = len(self.names)
        figure, axes = plt.subplots(1, n, figsize=(2.6 * n, 2.6), sharey=True, squeeze=False)
        band = binom(len(self.ranks), 1 / bins).interval(0.95)
        for ax, name, ranks in zip(axes[0], self.names, self.ranks.T, strict=True):
            ax.axhspan(*band, color="0.9")
            ax.axhline(len(self.ranks) / bins, color="0.6", lw=1)
            ax.hist(ranks, bins=bins, range=(0, 1), histtype="step", color="#1d3557", lw=1.5)
            ax.set_xlabel(f"rank of {name}")
            ax.set_xlim(0, 1)
        axes[0, 0].set_ylabel("data sets")
        figure.tight_layout()
        return figure


def rank_of(posterior: Posterior, name: str, truth: float, rng: np.random.Generator) -> float:
    """Return the part of a posterior below a true value; at random among equal values.

    Examples
    --------
    >>> from villard.bayes import Posterior
    >>> posterior = Posterior(["x"], [[1.0], [2.0], [3.0], [4.0]])
    >>> rank_of(posterior, "x", 2.5, np.random.default_rng(0))
    0.5
    """
    x, w = posterior[name], posterior.weights
    same = np.isclose(x, truth, rtol=1e-9, atol=0)
    return float(np.sum(w[(x < truth) & ~same]) + rng.random() * np.sum(w[same]))


class _Trial:
    """One data set, from its seed."""

    def __init__(self, simulate: Any, sampler: str, options: Mapping[str, Any]) -> None:
        self.simulate, self.sampler, self.options = simulate, sampler, dict(options)
        # Ranks don't need it.
        self.options.setdefault("refine_evidence", False)

    @property
    def settings(self) -> str:
        """Text that differs between studies, for the pieces in a folder: settings, and what simulates."""
        function = self.simulate
        code = getattr(function, "__code__", None)
        name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        digest = (
            "" if code is None else hashlib.sha256(code.co_code + repr(code.co_names).encode()).hexdigest()
        )
        return repr((self.sampler, sorted(self.options.items()), name, digest))

    def __call__(self, item: tuple[str, int]) -> tuple[list[str], list[float], list[float]]:
        rng = np.random.default_rng(item[1])
        result = self.simulate(rng)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Mapping)):
            raise ParameterError(
                "simulation_based_calibration: simulate must return true values by name and a posterior, "
                f"found {result!r}"
            )
        truths, problem = result
        posterior = problem.sample(self.sampler, random_state=int(rng.integers(2**31)), **self.options)
        names = list(truths)
        ranks = [rank_of(posterior, name, truths[name], rng) for name in names]
        sd, mean = posterior.sd, posterior.mean
        pulls = [(mean[n] - truths[n]) / sd[n] if sd[n] > 0 else 0.0 for n in names]
        return names, ranks, pulls


def simulation_based_calibration(
    simulate: Callable[[np.random.Generator], tuple[Mapping[str, float], Any]],
    n: int = 200,
    sampler: str = "importance",
    random_state: int = 0,
    executor: Any = None,
    folder: Any = None,
    show_progress: bool | None = None,
    **options: Any,
) -> Calibration:
    """Simulate data sets with parameters drawn from the prior, and rank the true values in their posteriors.

    Parameters
    ----------
    simulate : callable
        ``simulate(rng)`` returns true values by name, drawn from the prior, and the posterior
        (`~villard.bayes.Problem`) of data simulated with them.
    n : int
        Number of data sets.
    sampler : str
        Sampler; see `villard.bayes.sample`.
    random_state : int
        Seed of the first data set; each has its own.
    executor, folder, show_progress :
        As for `villard.parallel.map`: where data sets are computed, and where finished ones are kept. A
        folder of other settings, or of another function, is an error.
    **options
        For the sampler.

    Returns
    -------
    `Calibration`
        Ranks.

    Raises
    ------
    ParameterError
        If ``n`` isn't positive.

    Examples
    --------
    >>> from villard.bayes import Mixture
    >>> def simulate(rng):
    ...     share = rng.random()
    ...     left = rng.random(60) < share
    ...     return {"a": share}, Mixture({"a": np.where(left, 0.9, 0.1), "b": np.where(left, 0.1, 0.9)})
    >>> len(simulation_based_calibration(simulate, n=3, n_samples=500, n_adapt=200).ranks)
    3
    """
    if n < 1:
        raise ParameterError(f"simulation_based_calibration: expected a positive number, found {n}")
    trial = _Trial(simulate, sampler, options)
    items = [(trial.settings, random_state + i) for i in range(n)]
    results = parallel.map(
        trial, items, executor, folder=folder, description="Calibration", show_progress=show_progress
    )
    names = results[0][0]
    return Calibration(names, np.array([r[1] for r in results]), np.array([r[2] for r in results]))

"""Samples of a posterior, and what can be asked of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.statistics import effective_size, gelman_rubin, shortest_interval, weighted_quantile
from villard.exceptions import FileFormatError, ParameterError
from villard.utils.io import atomic_write
from villard.utils.names import nearest
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

    from villard.bayes.problem import Problem
    from villard.bayes.samplers.base import Draws

__all__ = ["Posterior"]

Array = NDArray[np.float64]

_VERSION = 1
#: Probability of one standard deviation.
ONE_SIGMA = math.erf(1 / math.sqrt(2))


class Posterior:
    """Weighted samples of parameters, with the evidence.

    Parameters
    ----------
    names : list of str
        Names of the parameters.
    samples : array
        Shape (n_samples, n_parameters).
    weights : array, optional
        Weights, shape (n_samples,); equal by default. They are normalised.
    log_likelihood : array, optional
        ln L of each sample.
    log_evidence, log_evidence_error : float
        ln Z and its error; NaN if unknown.
    sampler : str
        What made them.
    n_calls : int
        Evaluations of the likelihood.
    seconds : float
        Time it took.
    diagnostics : dict
        What the sampler tells of how it went.
    chains : int
        Number of chains of equal lengths, one after the other.
    units : dict
        Units by name.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> posterior = Posterior(["x"], rng.normal(3, 2, (4000, 1)))
    >>> round(posterior.mean["x"], 1), round(posterior.sd["x"], 1)
    (3.0, 2.0)
    >>> [round(float(v)) for v in posterior.interval("x", 0.95)]
    [-1, 7]
    """

    def __init__(
        self,
        names: Sequence[str],
        samples: Any,
        weights: Any = None,
        log_likelihood: Any = None,
        log_evidence: float = math.nan,
        log_evidence_error: float = math.nan,
        sampler: str = "",
        n_calls: int = 0,
        seconds: float = math.nan,
        diagnostics: Mapping[str, Any] | None = None,
        chains: int = 1,
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.names = list(names)
        self.samples: Array = np.asarray(samples, dtype=float)
        n = len(self.samples)
        if self.samples.shape != (n, len(self.names)) or n == 0:
            raise ParameterError(
                f"Posterior: expected samples of {len(self.names)} parameters, found the shape "
                f"{self.samples.shape}"
            )
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
        if w.shape != (n,) or not np.all(w >= 0) or not 0 < w.sum() < np.inf:
            raise ParameterError(f"Posterior: expected {n} weights, not negative, found {w.shape}")
        self.weights: Array = w / w.sum()
        self.log_likelihood: Array = (
            np.full(n, np.nan) if log_likelihood is None else np.asarray(log_likelihood, dtype=float)
        )
        self.log_evidence, self.log_evidence_error = float(log_evidence), float(log_evidence_error)
        self.sampler, self.n_calls, self.seconds = sampler, int(n_calls), float(seconds)
        self.diagnostics = dict(diagnostics or {})
        self.chains = int(chains)
        self.units = dict(units or {})

    @classmethod
    def from_draws(cls, problem: Problem, draws: Draws, sampler: str, seconds: float) -> Posterior:
        """Make a posterior of what a sampler returned, with the parameters that follow from others."""
        top = np.max(draws.log_weight)
        return cls(
            problem.space.all_names,
            problem.space.with_derived(draws.theta),
            np.exp(draws.log_weight - top),
            draws.log_likelihood,
            draws.log_evidence,
            draws.log_evidence_error,
            sampler,
            draws.n_calls,
            seconds,
            draws.diagnostics,
            draws.chains,
            problem.space.units,
        )

    # Numbers

    def _column(self, name: str) -> int:
        if name not in self.names:
            raise ParameterError(f"Posterior: no parameter {name!r}. {nearest(str(name), self.names)}")
        return self.names.index(name)

    def __getitem__(self, name: str) -> Array:
        """Samples of a parameter, shape (n_samples,)."""
        return self.samples[:, self._column(name)]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def mean(self) -> dict[str, float]:
        """Means by name."""
        return self._named(self.weights @ self.samples)

    @property
    def sd(self) -> dict[str, float]:
        """Standard deviations by name."""
        return self._named(np.sqrt(np.diag(self.covariance)))

    @property
    def median(self) -> dict[str, float]:
        """Medians by name."""
        return {name: float(self.quantile(name, 0.5)) for name in self.names}

    @property
    def best(self) -> dict[str, float]:
        """Sample of the highest likelihood."""
        return self._named(self.samples[int(np.nanargmax(self.log_likelihood))])

    @property
    def covariance(self) -> Array:
        """Covariance, shape (n_parameters, n_parameters)."""
        away = self.samples - self.weights @ self.samples
        return np.asarray((away * self.weights[:, np.newaxis]).T @ away)

    def _named(self, values: Array) -> dict[str, float]:
        return {name: float(value) for name, value in zip(self.names, values, strict=True)}

    def quantile(self, name: str, q: Any) -> Any:
        """Return quantiles of a parameter.

        Parameters
        ----------
        name : str
            Parameter.
        q : float or array
            Probabilities.
        """
        if not np.all((np.asarray(q) >= 0) & (np.asarray(q) <= 1)):
            raise ParameterError(f"Expected probabilities between 0 and 1, found {q!r}")
        return weighted_quantile(self[name], self.weights, q)

    def interval(self, name: str, probability: float = ONE_SIGMA) -> tuple[float, float]:
        """Return the credible interval with equal probabilities on both sides.

        Parameters
        ----------
        name : str
            Parameter.
        probability : float
            Probability of the interval; by default that of one standard deviation, 68.27 %.
        """
        _check_probability(probability)
        low, high = self.quantile(name, [0.5 - 0.5 * probability, 0.5 + 0.5 * probability])
        return float(low), float(high)

    def hpd(self, name: str, probability: float = ONE_SIGMA) -> tuple[float, float]:
        """Return the shortest interval of a probability: of highest density, if there is one mode.

        Parameters are those of `interval`.
        """
        _check_probability(probability)
        return shortest_interval(self[name], self.weights, probability)

    @property
    def ess(self) -> float:
        """Effective sample size, (Σw)² / Σw² of the weights; for chains from their autocorrelation."""
        return effective_size(self.samples, self.weights, self.chains)

    @property
    def rhat(self) -> dict[str, float]:
        """Split R̂ of each parameter, 1 where chains agree (Gelman et al. 2013); NaN without chains."""
        if self.chains < 2:
            return dict.fromkeys(self.names, math.nan)
        return {name: gelman_rubin(self[name].reshape(self.chains, -1)) for name in self.names}

    def equal_weight_samples(self, n: int | None = None, random_state: Any = None) -> Array:
        """Draw samples of equal weight, by systematic resampling.

        Parameters
        ----------
        n : int, optional
            Number; by default the effective sample size.
        random_state : int or `~numpy.random.Generator`, optional
            Seed.

        Returns
        -------
        array
            Shape (n, n_parameters), in random order.
        """
        rng = np.random.default_rng(random_state)
        n = max(int(self.ess), 1) if n is None else int(n)
        if n < 1:
            raise ParameterError(f"Expected a positive number of samples, found {n}")
        at = (np.arange(n) + rng.random()) / n
        index = np.minimum(np.searchsorted(np.cumsum(self.weights), at), len(self) - 1)
        return self.samples[rng.permutation(index)]

    # Prints

    def summary(self) -> Table:
        """Return an `~astropy.table.Table` with a row per parameter."""
        from astropy.table import Table

        rows = []
        for name in self.names:
            low, high = self.interval(name)
            first, last = self.hpd(name, 0.95)
            rows.append(
                (name, self.units.get(name, ""), self.mean[name], self.sd[name], self.median[name])
                + (low, high, first, last)
            )
        columns = ("name", "unit", "mean", "sd", "median", "low_68", "high_68", "hpd_low_95", "hpd_high_95")
        table = Table(rows=rows, names=columns)
        for column in columns[2:]:
            table[column].format = ".4g"
        return table

    def __str__(self) -> str:
        lines = [str(line) for line in self.summary().pformat(max_lines=-1, max_width=-1)]
        if math.isfinite(self.log_evidence):
            lines.append(self._evidence_line())
        lines.append(f"{len(self)} samples, effective {self.ess:.0f}, {self.n_calls} likelihood calls")
        if self.sampler:
            took = f" in {self.seconds:.1f} s" if math.isfinite(self.seconds) else ""
            told = {k: v for k, v in self.diagnostics.items() if "evidence" not in k}
            more = ", ".join(f"{k.replace('_', ' ')} {_short(v)}" for k, v in told.items())
            lines.append(f"{self.sampler}{took}{': ' if more else ''}{more}")
        return "\n".join(lines)

    def _evidence_line(self) -> str:
        line, told = f"ln Z = {self.log_evidence:.3f} ± {self.log_evidence_error:.3f}", self.diagnostics
        if told.get("evidence") == "importance":
            line += f" (importance sampling, {told['evidence_ess']:.0f} effective"
            if "own_log_evidence" in told:
                own = told["own_log_evidence"], told["own_log_evidence_error"]
                line += f"; {self.sampler}: {own[0]:.3f} ± {own[1]:.3f}"
            line += ")"
        elif told.get("evidence") == "own":
            line += f" (importance sampling can't improve it: shape {told['evidence_shape']:.2f})"
        return line

    def __repr__(self) -> str:
        return f"Posterior({', '.join(self.names)}; {len(self)} samples)"

    # Other forms

    def to_inference_data(self) -> Any:
        """Return ArviZ's `InferenceData`: posterior, log likelihood and diagnostics.

        Weighted samples are resampled to equal weights, in one chain.

        Raises
        ------
        MissingDependencyError
            If ArviZ isn't installed.
        """
        from villard.bayes.exports import to_inference_data

        return to_inference_data(self)

    def plot_corner(
        self,
        truths: Mapping[str, float] | None = None,
        names: Sequence[str] | None = None,
        log_axes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Figure:
        """Plot all parameters against each other, with the package corner.

        Parameters
        ----------
        truths : mapping, optional
            True values by name, which are marked.
        names : list of str, optional
            Parameters; all by default.
        log_axes : list of str, optional
            Parameters on a logarithmic axis; by default positive ones that span more than a factor of 100.
        **kwargs
            For `corner.corner`.

        Raises
        ------
        MissingDependencyError
            If corner isn't installed.
        """
        from villard.bayes.exports import plot_corner

        return plot_corner(self, truths, names, log_axes, **kwargs)

    # Files

    def write(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write samples and all else to a FITS file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.

        Raises
        ------
        OverwriteError
            If the file exists and ``overwrite`` is false.
        """
        from astropy.io import fits

        columns = [fits.Column("weight", "D", array=self.weights)]
        columns.append(fits.Column("log_likelihood", "D", array=self.log_likelihood))
        columns += [fits.Column(f"x{i}", "D", array=self.samples[:, i]) for i in range(len(self.names))]
        hdu = fits.BinTableHDU.from_columns(columns, name="POSTERIOR")
        meta = {
            "version": _VERSION,
            "names": self.names,
            "units": self.units,
            "log_evidence": self.log_evidence,
            "log_evidence_error": self.log_evidence_error,
            "sampler": self.sampler,
            "n_calls": self.n_calls,
            "seconds": self.seconds,
            "diagnostics": {
                k: v if isinstance(v, int | float | str) else str(v) for k, v in self.diagnostics.items()
            },
            "chains": self.chains,
        }
        text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
        with atomic_write(path, overwrite=overwrite) as temporary:
            fits.HDUList([fits.PrimaryHDU(), hdu, fits.ImageHDU(text, name="META")]).writeto(
                temporary, overwrite=True
            )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Posterior:
        """Read a file that `write` made.

        Raises
        ------
        FileFormatError
            If it is damaged, or something else.
        """
        from villard.maps.fits import open_fits

        path = make_path(path)
        with open_fits(path) as hdulist:
            try:
                meta = json.loads(bytes(np.asarray(hdulist["META"].data, dtype=np.uint8)).decode())
                data = hdulist["POSTERIOR"].data
                samples = np.stack([data[f"x{i}"] for i in range(len(meta["names"]))], axis=1)
                weights, likelihood = np.array(data["weight"]), np.array(data["log_likelihood"])
                version = meta.pop("version")
            except (KeyError, ValueError, TypeError) as error:
                raise FileFormatError(
                    f"{path}: expected a posterior, found another file ({error})"
                ) from error
        if version != _VERSION:
            raise FileFormatError(f"{path}: expected version {_VERSION} of the format, found {version}")
        names = meta.pop("names")
        return cls(names, samples, weights, likelihood, **meta)


def _check_probability(probability: float) -> None:
    if not 0 < probability < 1:
        raise ParameterError(f"Expected a probability between 0 and 1, found {probability!r}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

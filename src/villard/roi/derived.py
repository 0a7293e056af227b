"""What follows from a fit for each source: TS, predicted counts, fluxes and limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, ParameterError
from villard.likelihood.contributions import Contribution, contributions
from villard.likelihood.statistics import STATISTICS
from villard.modeling.models.gtlike import norm_parameter
from villard.roi.fluxes import flux_results
from villard.roi.profiling import Profiler

__all__ = ["UPPER_LIMIT_95", "BoundRegion", "Derived", "bound_region", "update_sources"]

Array = NDArray[np.float64]

#: Rise of -2 ln L at a one-sided upper limit of 95 %: the square of 1.6449 standard deviations.
UPPER_LIMIT_95 = 2.7055434540954146
#: Shortest distance of the steps of a likelihood scan from zero, in errors.
_SCAN_WIDTH = 5.0


class Derived:
    """What follows from a fit for each source, for `villard.roi.ROI`."""

    def update_sources(self, names: Iterable[str] | None = None, reoptimize: bool = False) -> None:
        """Compute TS, predicted counts, fluxes, their errors and limits of sources, as a fit does.

        Parameters
        ----------
        names : list of str, optional
            Sources; all by default.
        reoptimize : bool
            Whether the other free parameters are refitted for the TS; otherwise the free norms of the
            others are only raised by a common factor that restores the number of counts, where this helps.
        """
        update_sources(self, names, reoptimize)

    def source_ts(self, name: str, reoptimize: bool = False) -> float:
        """Return the test statistic of a source, twice the fall of ln L where it is taken away.

        Parameters
        ----------
        name : str
            Source.
        reoptimize : bool
            As in `update_sources`.

        Returns
        -------
        float
            TS; never negative where the region has been fitted.
        """
        with bound_region(self, [name]) as region:
            return float(region.ts([self[name]], reoptimize)[0])  # type: ignore[index]


def norm_of(source: Any) -> Any:
    """Return the normalisation of a source, or `None` if it has none."""
    try:
        return norm_parameter(source.model)
    except (ModelError, ParameterError):
        return None


@dataclass
class BoundRegion:
    """A region bound once for questions about many of its sources.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    likelihood : `~villard.likelihood.Likelihood`
        Likelihood of the free parameters and of the normalisations of sources.
    active : array of bool
        Which of them are free in the region.
    """

    roi: Any
    likelihood: Any
    active: NDArray[np.bool_]

    @cached_property
    def profiler(self) -> Profiler:
        """Profiles around the present values."""
        return Profiler(self.likelihood, active=self.active)

    def column(self, source: Any) -> int:
        """Return the position of the normalisation of a source among the bound parameters; -1 for none."""
        norm = norm_of(source)
        found = [i for i, p in enumerate(self.likelihood.parameters) if p is norm]
        return found[0] if found else -1

    @cached_property
    def parts(self) -> dict[int, list[Contribution]]:
        """Contributions to the counts by the normalisation's column, where that is one."""
        theta = self.likelihood.theta.copy()
        # A source without flux has a shape too.
        unit = np.zeros(len(theta), dtype=bool)
        positions = {id(p): i for i, p in enumerate(self.likelihood.parameters)}
        for source in self.roi.sources:
            column = positions.get(id(norm_of(source)))
            if column is not None:
                unit[column] = True
        theta[unit] = 1.0
        own = [positions.get(id(p), -1) for p in self.likelihood.binding.parameters]
        result: dict[int, list[Contribution]] = {}
        for part in contributions(self.likelihood, theta):
            columns = [own[i] for i in part.parameters if own[i] >= 0 and unit[own[i]]]
            for column in dict.fromkeys(columns):
                result.setdefault(column, []).append(part)
        return result

    @cached_property
    def counts(self) -> list[Array]:
        """Predicted counts of the kept bins of each block, shape (n_measurements, n_columns)."""
        likelihood = self.likelihood
        blocks = likelihood._kernels.npred(likelihood.theta, likelihood._device_data)
        return [np.array(block) for block in blocks]

    def stat(self, counts: list[Array]) -> float:
        """Return -2 ln L of the data, without priors, where these counts are predicted."""
        total = 0.0
        for block, mu in zip(self.likelihood.binding.blocks, counts, strict=True):
            values = STATISTICS[block.structure.statistic].value(mu, block.arrays["data"])
            total += float(np.sum(np.where(block.arrays["mask"], values, 0.0)))
        return total

    def ts(self, sources: Sequence[Any], reoptimize: bool = False) -> Array:
        """Return the test statistics of sources, shape (n,)."""
        columns = np.array([self.column(source) for source in sources], dtype=int)
        result = np.full(len(sources), np.nan)
        known = columns >= 0
        if reoptimize and known.any():
            value, _, _ = self.profiler.values(columns[known], np.zeros(known.sum()))
            result[known] = value - self.profiler.value
            return result
        base = self.stat(self.counts)
        free = np.array([self._total(c) if self.active[c] else 0.0 for c in range(len(self.active))])
        together = self._free_norms()
        for i in np.flatnonzero(known):
            without = self._without(columns[i], base, together, free)
            result[i] = without - base + self._prior_change(columns[i])
        return result

    def _total(self, column: int) -> float:
        norm = self.likelihood.theta[column]
        return float(sum(norm * part.counts.sum() for part in self.parts.get(column, [])))

    def _free_norms(self) -> list[Array]:
        """Counts of all sources whose normalisation is free, as `counts`."""
        cubes = [np.zeros_like(c) for c in self.counts]
        for column, parts in self.parts.items():
            for part in parts if self.active[column] else []:
                part.add_to(cubes, self.likelihood.theta[column])
        return cubes

    def _without(self, column: int, base: float, together: list[Array], free: Array) -> float:
        """Return the statistic without a source; others are raised to the same counts if that is better."""
        norm = self.likelihood.theta[column]
        total = self._total(column)
        others = free.sum() - (total if self.active[column] else 0.0)
        factor = 1.0 + max(total, 0.0) / others if others > 0 else 1.0
        plain, raised = base, base
        touched = self._touched(column)
        if touched is not None:
            plain = base + self._local_change(column, norm)
        if factor > 1.0:
            cubes = [c + (factor - 1.0) * t for c, t in zip(self.counts, together, strict=True)]
            weight = norm * (factor if self.active[column] else 1.0)
            for part in self.parts.get(column, []):
                part.add_to(cubes, -weight)
            raised = self.stat([np.maximum(c, 0.0) for c in cubes])
            return min(plain, raised)
        return plain

    def _touched(self, column: int) -> list[Contribution] | None:
        return self.parts.get(column)

    def _local_change(self, column: int, norm: float) -> float:
        """Change of the statistic where a source is taken away, in the bins that it reaches."""
        change = 0.0
        by_row: dict[tuple[int, int], list[Contribution]] = {}
        for part in self.parts[column]:
            by_row.setdefault((part.block, part.row), []).append(part)
        for (i, row), parts in by_row.items():
            block = self.likelihood.binding.blocks[i]
            before = self.counts[i][row]
            after = before.copy()
            for part in parts:
                target = slice(None) if part.columns is None else part.columns
                after[target] -= norm * part.counts
            used = np.unique(np.concatenate([_columns(p, len(before)) for p in parts]))
            data = {key: value[..., row, used] for key, value in block.arrays["data"].items()}
            statistic = STATISTICS[block.structure.statistic].value
            new = statistic(np.maximum(after[used], 0.0), data) - statistic(before[used], data)
            change += float(np.sum(np.where(block.arrays["mask"][row, used], new, 0.0)))
        return change

    def _prior_change(self, column: int) -> float:
        """Change of -2 ln p of a prior on a normalisation where it is zero."""
        parameter = self.likelihood.parameters[column]
        if parameter.prior is None or not self.active[column]:
            return 0.0
        zero = parameter.copy()
        zero.min = min(zero.min, 0.0) if np.isfinite(zero.min) else zero.min
        zero.value = 0.0
        return float(zero.prior_stat_sum() - parameter.prior_stat_sum())

    def upper_limits(self, sources: Sequence[Any], rise: float = UPPER_LIMIT_95) -> Array:
        """Return upper limits of normalisations in their own units, all others refitted; shape (n,).

        NaN for a source whose normalisation isn't free, or whose limit wasn't found.
        """
        columns = np.array([self.column(source) for source in sources], dtype=int)
        known = np.array([c >= 0 and bool(self.active[c]) for c in columns], dtype=bool)
        result = np.full(len(sources), np.nan)
        if known.any():
            x, found = self.profiler.limits(columns[known], rise)
            factor = self.likelihood.to_values(np.ones(self.likelihood.n_free))[columns[known]]
            result[known] = np.where(found, x * factor, np.nan)
        return result

    def scan(self, source: Any, n_points: int) -> dict[str, Array]:
        """Return the likelihood along the normalisation of a source, the others held.

        Parameters
        ----------
        source : `~villard.roi.Source`
            Source.
        n_points : int
            Number of values.

        Returns
        -------
        dict
            ``norm`` (in its unit) and ``stat`` (-2 ln L relative to the present values), shape (n_points,).
        """
        column = self.column(source)
        if column < 0 or not self.parts.get(column):
            return {"norm": np.full(n_points, np.nan), "stat": np.full(n_points, np.nan)}
        theta = self.likelihood.theta[column]
        sigma = float(np.sqrt(2 / max(self.profiler.hessian[column, column], 1e-300)))
        low = max(theta - _SCAN_WIDTH * sigma, self.likelihood.bounds[0][column], 0.0)
        x = np.linspace(min(low, theta), theta + _SCAN_WIDTH * sigma, n_points)
        stat = np.array([self._local_change(column, theta - value) for value in x])
        factor = self.likelihood.to_values(np.ones(self.likelihood.n_free))[column]
        return {"norm": x * factor, "stat": stat}


def _columns(part: Contribution, n: int) -> Any:
    return np.arange(n) if part.columns is None else part.columns


@contextmanager
def bound_region(roi: Any, names: Iterable[str] | None = None) -> Iterator[BoundRegion]:
    """Bind a region with the normalisations of some sources as parameters besides the free ones.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    names : list of str, optional
        Sources; all by default.
    """
    from villard.likelihood import bind

    sources = roi.sources if names is None else [roi[name] for name in names]
    norms = [norm for norm in map(norm_of, sources) if norm is not None]
    before = [(norm, norm.frozen) for norm in norms]
    free = {id(p) for p in roi.parameters if not p.frozen}
    try:
        for norm in norms:
            norm.frozen = False
        likelihood = bind(roi.datasets, roi.models)
    finally:
        for norm, frozen in before:
            norm.frozen = frozen
    yield BoundRegion(roi, likelihood, np.array([id(p) in free for p in likelihood.parameters], dtype=bool))


def update_sources(roi: Any, names: Iterable[str] | None = None, reoptimize: bool = False) -> None:
    """Compute the results of sources, all on one binding; see `Derived.update_sources`."""
    sources = roi.sources if names is None else [roi[name] for name in names]
    names = [source.name for source in sources]
    roi.update_npred(names)
    free = [source for source in sources if source.free]
    limits = dict.fromkeys(names, np.nan)
    loglike = np.nan
    if free:
        with bound_region(roi, [source.name for source in free]) as region:
            ts = region.ts(free, reoptimize)
            limits |= dict(zip((s.name for s in free), region.upper_limits(free), strict=True))
            loglike = -0.5 * region.profiler.value
            n_points = int(_setting(roi, "gtlike", "llscan_npts", 20))
            for source, value in zip(free, ts, strict=True):
                source.results["ts"] = float(value)
                _store_scan(source, region.scan(source, n_points), roi, loglike)
    for source in sources:
        source.results["loglike"] = loglike
        source.results |= flux_results(source, roi.energy_bounds, limits[source.name])
        if source not in free:
            source.results["ts"] = np.nan


def _store_scan(source: Any, scan: dict[str, Array], roi: Any, loglike: float) -> None:
    norm = norm_of(source)
    results = source.results
    # The limits of a norm of 1 are fluxes per norm, also where the norm itself is 0.
    fluxes = flux_results(source, roi.energy_bounds, 1.0 if norm is not None else np.nan)
    results["norm_scan"] = scan["norm"]
    results["dloglike_scan"] = -0.5 * (scan["stat"] - np.min(scan["stat"]))
    results["loglike_scan"] = loglike - 0.5 * scan["stat"]
    results["flux_scan"] = scan["norm"] * fluxes["flux_ul95"]
    results["eflux_scan"] = scan["norm"] * fluxes["eflux_ul95"]


def _setting(roi: Any, section: str, key: str, default: Any) -> Any:
    from villard.roi.options import options

    return options(roi, section, {key: default}, {})[key]

"""Fits of bins of time: norms of each bin, the constant flux, variability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.linear import LinearNorms
from villard.roi.nuisance import Nuisance
from villard.roi.sed import coupled, fit_norm
from villard.roi.templates import Cube, frozen_copy
from villard.roi.time_bins import TimeBin

__all__ = ["bin_background", "calc_ts_var", "fit_constant", "fit_time_bin", "time_problems"]

Array = NDArray[np.float64]
Pair = tuple[Array, Array]

_MAX_STEPS = 60


def calc_ts_var(
    loglike: Any,
    loglike_const: Any,
    flux_err: Any,
    flux_const: float,
    systematic: float = 0.02,
    fit_success: Any = None,
) -> float:
    r"""Return the test statistic of variability.

    .. math:: TS_\mathrm{var} = 2 \sum_i w_i (\ln L_i - \ln L_{i,\mathrm{const}}), \quad
              w_i = \sigma_i^2 / (\sigma_i^2 + f^2 F_\mathrm{const}^2)

    (Nolan et al. 2012, ApJS 199, 31, eq. 4), in which f is the systematic error of the flux. Of a constant
    source it follows a χ² distribution with one degree of freedom less than bins.

    Parameters
    ----------
    loglike, loglike_const : array
        ln L of each bin at its own flux and at the constant one.
    flux_err : array
        Errors of the fluxes, in the unit of ``flux_const``.
    flux_const : float
        Constant flux.
    systematic : float
        Relative systematic error.
    fit_success : array of bool, optional
        Bins that count; all by default.

    Examples
    --------
    >>> round(calc_ts_var([10, 12], [9.5, 10], [1e-8, 2e-8], 5e-8), 5)
    4.98012
    """
    gain = np.asarray(loglike, dtype=float) - np.asarray(loglike_const, dtype=float)
    error = np.asarray(flux_err, dtype=float)
    weight = error**2 / (error**2 + (systematic * flux_const) ** 2)
    good = np.ones(len(gain), dtype=bool) if fit_success is None else np.asarray(fit_success, dtype=bool)
    return float(2 * np.sum((weight * gain)[good]))


def time_problems(
    roi: Any, source: Any, nuisances: Sequence[Nuisance], bins: Sequence[TimeBin]
) -> tuple[list[LinearNorms | None], Array]:
    """Return the likelihood of the norms in each bin of time, and the source's counts for the norm 1.

    Sources are convolved once for all bins whose exposure is proportional to that of the region.
    """
    target = frozen_copy(source.model)
    free = {id(n.source) for n in nuisances}
    others = [frozen_copy(s.model) for s in roi.sources if s is not source and id(s) not in free]
    models = [target, *(n.model for n in nuisances)]
    shared = _Shared(roi, models, others, bins)
    problems: list[LinearNorms | None] = []
    npred = np.zeros(len(bins))
    for k, time_bin in enumerate(bins):
        if not time_bin.has_exposure:
            problems.append(None)
            continue
        parts = (
            shared.parts(time_bin)
            if time_bin.factors is not None
            else _own_parts(roi, time_bin, models, others)
        )
        problems.append(_problem(parts, nuisances))
        npred[k] = problems[-1].sums[0]  # type: ignore[union-attr]
    return problems, npred


class _Shared:
    """Templates of the whole time, in those pixels that any bin of time has counts in."""

    def __init__(
        self, roi: Any, models: Sequence[Any], others: Sequence[Any], bins: Sequence[TimeBin]
    ) -> None:
        self.cubes: list[Cube] = []
        self.templates: list[list[Pair]] = []
        self.fixed: list[Pair] = []
        scaled = [b for b in bins if b.factors is not None and b.has_exposure]
        if not scaled:
            return
        for j, dataset in enumerate(roi.datasets):
            cube = Cube(dataset)
            cube.set_counts(np.sum([b.counts[j] for b in scaled], axis=0))
            self.cubes.append(cube)
            self.templates.append([cube.pack(cube.predict(model)) for model in models])
            total = cube.background(roi.models).copy()
            for model in others:
                total += cube.predict(model)
            self.fixed.append(cube.pack(total))

    def parts(self, time_bin: TimeBin) -> list[tuple[Array, list[Pair], Pair]]:
        """Return counts, templates and fixed counts of each component in a bin of time."""
        result = []
        for j, cube in enumerate(self.cubes):
            counts = time_bin.counts[j][cube.bins]
            if cube.weights is not None:
                counts = counts * cube.weights[cube.bins]
            seen = counts > 0
            factor = (time_bin.factors or [])[j]
            templates = [(values[seen] * factor, sums * factor) for values, sums in self.templates[j]]
            values, sums = self.fixed[j]
            result.append((counts[seen], templates, (values[seen] * factor, sums * factor)))
        return result


def _own_parts(
    roi: Any, time_bin: TimeBin, models: Sequence[Any], others: Sequence[Any]
) -> list[tuple[Array, list[Pair], Pair]]:
    """The same for a bin with responses of its own."""
    result = []
    for own, dataset in zip(roi.datasets, time_bin.datasets or [], strict=True):
        cube = Cube(dataset)
        ratio = np.repeat(_exposure_ratio(dataset, own), cube.n_pixels)

        def predict(model: Any, cube: Cube = cube, ratio: Array = ratio) -> Array:
            counts = cube.predict(model)
            # Predicted counts that are given are those of the whole time.
            return counts * ratio if getattr(model, "is_npred_template", False) else counts

        templates = [cube.pack(predict(model)) for model in models]
        total = cube.background(roi.models).copy()
        for model in others:
            total += predict(model)
        result.append((cube.counts, templates, cube.pack(total)))
    return result


def bin_background(
    roi: Any, source: Any, nuisances: Sequence[Nuisance], time_bin: TimeBin, x: Array
) -> list[tuple[Any, Array, Any, Array]]:
    """Return what the fit of one source in a bin of time needs: all others are its background.

    Parameters
    ----------
    roi, source, nuisances, time_bin :
        As for `time_problems`.
    x : array
        Norms of the source and of the nuisances in the bin.

    Returns
    -------
    list of (dataset, array, map, array)
        For each component a dataset with the responses, the counts, the exposure, and the background.
    """
    norms = {id(n.source): float(v) for n, v in zip(nuisances, x[1:], strict=True)}
    others = [(frozen_copy(s.model), norms.get(id(s), 1.0)) for s in roi.sources if s is not source]
    result = []
    for j, own in enumerate(roi.datasets):
        dataset, ratio = own, np.ones(1)
        factor = 1.0
        if time_bin.factors is not None:
            factor = time_bin.factors[j]
        elif time_bin.datasets is not None:
            dataset = time_bin.datasets[j]
        cube = Cube(dataset)
        if dataset is not own:
            ratio = np.repeat(_exposure_ratio(dataset, own), cube.n_pixels)
        total = cube.background(roi.models).copy()
        for model, norm in others:
            given = getattr(model, "is_npred_template", False)
            total += norm * cube.predict(model) * (ratio if given else 1.0)
        exposure = dataset.exposure.copy(data=dataset.exposure.data * factor)
        result.append((dataset, time_bin.counts[j], exposure, total * factor))
    return result


def _exposure_ratio(dataset: Any, own: Any) -> Array:
    """Exposure at the centre over that of the region, at the reconstructed energies; shape (n_energies,)."""
    import astropy.units as u

    center, energies = own.geom.center_skydir, own.geom.axes["energy"].center
    values = []
    for exposure in (dataset.exposure, own.exposure):
        axis = exposure.geom.axes["energy_true"].center
        clipped = u.Quantity(np.clip(energies.to_value("TeV"), *axis[[0, -1]].to_value("TeV")), "TeV")
        coords = {"skycoord": center, "energy_true": clipped}
        values.append(np.asarray(exposure.interp_by_coord(coords) * float(exposure.unit.to("cm2 s"))))
    return np.asarray(np.divide(values[0], values[1], out=np.zeros_like(values[0]), where=values[1] > 0))


def _problem(parts: Sequence[tuple[Array, list[Pair], Pair]], nuisances: Sequence[Nuisance]) -> LinearNorms:
    n = 1 + len(nuisances)
    counts = np.concatenate([c for c, _, _ in parts])
    templates = np.array([np.concatenate([t[i][0] for _, t, _ in parts]) for i in range(n)]).reshape(n, -1)
    return LinearNorms(
        counts,
        templates,
        np.concatenate([f[0] for _, _, f in parts]),
        np.array([sum(float(t[i][1].sum()) for _, t, _ in parts) for i in range(n)]),
        sum(float(f[1].sum()) for _, _, f in parts),
        lower=np.array([0.0, *(x.lower for x in nuisances)]),
        upper=np.array([np.inf, *(x.upper for x in nuisances)]),
        mean=np.array([0.0, *(x.mean for x in nuisances)]),
        sigma=np.array([np.inf, *(x.sigma for x in nuisances)]),
    )


def fit_time_bin(item: tuple[LinearNorms | None, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Fit one bin; a piece of work of `villard.parallel.map`. `None` for a bin without exposure."""
    problem, settings = item
    return None if problem is None else fit_norm(problem, dict(settings))


def fit_constant(
    problems: Sequence[LinearNorms | None], rows: Sequence[Mapping[str, Any] | None]
) -> tuple[float, Array]:
    """Fit one norm to all bins, with the backgrounds refitted in each.

    Returns
    -------
    norm : float
        Constant norm.
    loglike : array
        ln L of each bin there, NaN for bins without data; shape (n_bins,).
    """
    reduced = {}
    for k, (problem, row) in enumerate(zip(problems, rows, strict=True)):
        if problem is None or row is None:
            continue
        best = problem.minimize(np.asarray(row["x"]))
        own, point = coupled(problem, 0, best)
        reduced[k] = (own, point, best.stat - point.stat)

    def slopes(norm: float) -> tuple[float, dict[int, float]]:
        total, stats = 0.0, {}
        for k, (own, point, offset) in reduced.items():
            stat, slope, _ = own.profile(0, [norm], point.x)
            total += slope[0]
            stats[k] = float(stat[0]) + offset
        return total, stats

    norms = np.array([point.x[0] for _, point, _ in reduced.values()])
    low, high = (float(norms.min()), float(norms.max())) if len(norms) else (0.0, 0.0)
    # -2 ln L is convex, so its slope has one root, between the least and the greatest norm.
    f_low, stats = slopes(low)
    f_high, _ = slopes(high)
    side, norm = 0, low
    for _ in range(_MAX_STEPS):
        if f_low >= 0 or high - low <= 1e-9 * max(high, 1e-30):
            norm = low if f_low >= 0 else 0.5 * (low + high)
            break
        # Illinois: false position that halves the weight of an end that stays.
        norm = (f_high * low - f_low * high) / (f_high - f_low) if f_high != f_low else 0.5 * (low + high)
        value, stats = slopes(norm)
        if abs(value) * (high - low) < 1e-8:
            break
        if value > 0:
            high, f_high = norm, value
            f_low, side = (0.5 * f_low if side > 0 else f_low), 1
        else:
            low, f_low = norm, value
            f_high, side = (0.5 * f_high if side < 0 else f_high), -1
    _, stats = slopes(norm)
    loglike = np.full(len(problems), np.nan)
    for k, stat in stats.items():
        loglike[k] = -0.5 * stat
    return norm, loglike

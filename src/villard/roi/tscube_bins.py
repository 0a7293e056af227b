r"""Fits of a test source in each bin of energy at many pixels at once, with limits and profiles.

The norms of all other sources are those of the fit to all energies, or are refitted in each bin.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from villard.roi.tscube_fit import (
    Minimum,
    NormScan,
    PixelBins,
    PixelFit,
    minimize_pixels,
    source_errors,
    start_norms,
)

__all__ = ["fit_bins"]

Array = NDArray[np.float64]

_UPPER_95 = 1.3527717
_BIN_STEPS = 60


def fit_bins(
    scan: NormScan,
    bins: PixelBins,
    fit: PixelFit,
    totals: Array,
    n_energy: int,
    n_points: int = 0,
    n_sigma: float = 5.0,
    cov_scale: float = -1.0,
) -> dict[str, Array]:
    """Fit the norm of the test source in each bin of energy.

    Parameters
    ----------
    scan, bins, fit
        Data, test source, and its fit to all energies.
    totals : array
        Counts of the test source in each bin of energy, shape (n_pixels, n_energy).
    n_energy : int
        Number of bins of energy.
    n_points : int
        Points of the likelihood profiles.
    n_sigma : float
        Half width of the profiles, in errors.
    cov_scale : float
        Negative: all other norms are as the fit to all energies has them. Otherwise they are refitted in
        each bin, with a normal prior of the covariance of that fit times the square of this, 0 for none.

    Returns
    -------
    dict
        ``norm``, ``norm_err``, ``norm_ul`` (95 %), ``ts``, shape (n_pixels, n_energy), and
        ``norm_scan``, ``dloglike_scan``, shape (n_pixels, n_points, n_energy).
    """
    shape = (len(bins.total), n_energy)
    result = {key: np.full(shape, np.nan) for key in ("norm", "norm_err", "norm_ul", "ts")}
    for key in ("norm_scan", "dloglike_scan"):
        result[key] = np.full((shape[0], n_points, n_energy), np.nan)
    energy = scan.energy[bins.index]
    for e in range(n_energy):
        chosen = np.flatnonzero(energy == e)
        index = bins.index[chosen]
        one: _Bin
        if cov_scale < 0 or not len(scan.norms):
            background = np.maximum(scan.fixed[index] + fit.norms @ scan.templates[:, index], 1e-300)
            one = _OneBin(scan.counts[index], background, bins.kernel[:, chosen], totals[:, e])
        else:
            own = np.cumsum(scan.energy == e)[index] - 1
            part = PixelBins(bins.kernel[:, chosen], own, totals[:, e])
            one = _RefittedBin(scan.in_bin(e, cov_scale), part, fit.norms)
        norm = one.maximum()
        error = one.error(norm)
        result["norm"][:, e], result["norm_err"][:, e] = norm, error
        result["norm_ul"][:, e] = _limit(one, norm, error)
        result["ts"][:, e] = 2 * one.gain(norm)
        if n_points:
            width = np.where(np.isfinite(error), error, 1 / np.maximum(totals[:, e], 1e-300))
            low = np.maximum(norm - n_sigma * width, 0.0)
            points = low + np.linspace(0, 1, n_points)[:, None] * (norm + n_sigma * width - low)
            result["norm_scan"][:, :, e] = points.T
            gains = np.stack([one.gain(p) for p in points])
            result["dloglike_scan"][:, :, e] = (gains - one.gain(norm)).T
    return result


class _Bin(Protocol):
    """ln L of one norm per pixel."""

    total: Array

    def gain(self, a: Array) -> Array:
        """Return ln L minus that of norm 0."""

    def slope(self, a: Array) -> Array:
        """Return how steeply ln L falls."""

    def maximum(self) -> Array:
        """Return the norm of highest ln L, not negative; NaN where nothing is expected."""

    def error(self, a: Array) -> Array:
        """Return the standard error, NaN where the norm is 0."""


def _limit(one: _Bin, a: Array, error: Array) -> Array:
    """Return where ln L has fallen by what is 95 % for one side."""
    top = one.gain(a)
    total = np.where(one.total > 0, one.total, 1.0)
    width = np.where(np.isfinite(error), 1.6 * error, _UPPER_95 / total)
    for _ in range(_BIN_STEPS):
        fall, slope = top - one.gain(a + width), one.slope(a + width)
        root = np.sqrt(np.maximum(fall, 1e-12))
        good = (fall > 1e-9) & (slope > 0)
        step = np.where(good, (np.sqrt(_UPPER_95) - root) * 2 * root / np.where(good, slope, 1.0), width)
        width = np.clip(width + step, 0.3 * width, 3 * width)
        if np.all((np.abs(step) <= 1e-5 * width) | np.isnan(width)):
            break
    return np.where(one.total > 0, a + width, np.nan)


class _OneBin:
    """With all other norms fixed: ``sum n ln(1 + a k / B) - a S``."""

    def __init__(self, counts: Array, background: Array, kernel: Array, total: Array) -> None:
        self.counts, self.ratio, self.total = counts, kernel / background, total

    def gain(self, a: Array) -> Array:
        """Return ln L minus that of norm 0."""
        return np.asarray(np.log1p(a[:, None] * self.ratio) @ self.counts - a * self.total)

    def _slopes(self, a: Array) -> tuple[Array, Array]:
        part = self.ratio / (1 + a[:, None] * self.ratio)
        return part @ self.counts, part**2 @ self.counts

    def maximum(self) -> Array:
        a = np.zeros(len(self.total))
        known = self.total > 0
        total = np.where(known, self.total, 1.0)
        for _ in range(_BIN_STEPS):
            first, second = self._slopes(a)
            step = np.where(first > 0, (first / total - 1) * first / np.maximum(second, 1e-300), 0.0)
            new = np.maximum(a + step, 0.0)
            done = np.abs(new - a) <= 1e-6 * np.maximum(new, 1e-3 / total)
            a = new
            if np.all(done):
                break
        return np.where(known, a, np.nan)

    def error(self, a: Array) -> Array:
        _, second = self._slopes(a)
        return np.where((a > 0) & (second > 0), 1 / np.sqrt(np.where(second > 0, second, 1.0)), np.nan)

    def slope(self, a: Array) -> Array:
        return self.total - self._slopes(a)[0]


class _RefittedBin:
    """With all other norms refitted, near those of the fit to all energies."""

    def __init__(self, scan: NormScan, bins: PixelBins, center: Array) -> None:
        self.scan, self.bins, self.center, self.total = scan, bins, center, bins.total
        self._last = self._minimize(np.column_stack([center, np.zeros(len(center))]), hold=True)
        self._null = self._last.value

    def _minimize(self, theta: Array, hold: bool) -> Minimum:
        return minimize_pixels(self.scan, self.bins, theta, self.center, tol=1e-5, max_iter=60, hold=hold)

    def _at(self, a: Array) -> Minimum:
        a = np.nan_to_num(a)
        if not np.array_equal(self._last.theta[:, -1], a):
            self._last = self._minimize(np.column_stack([self._last.theta[:, :-1], a]), hold=True)
        return self._last

    def gain(self, a: Array) -> Array:
        return self._null - self._at(a).value

    def slope(self, a: Array) -> Array:
        return self._at(a).gradient[:, -1]

    def maximum(self) -> Array:
        start = np.column_stack([self._last.theta[:, :-1], start_norms(self.scan, self.bins)])
        known = self.total > 0
        start[~known, -1] = 0.0
        self._last = self._minimize(start, hold=False)
        return np.where(known, self._last.theta[:, -1], np.nan)

    def error(self, a: Array) -> Array:
        found, scan = self._at(a), self.scan
        x = found.theta[:, :-1]
        mu = scan.fixed + x @ scan.templates
        mu[:, self.bins.index] += found.theta[:, -1:] * self.bins.kernel
        second = scan.counts / np.maximum(mu, 1e-300) ** 2
        inner = (
            np.einsum("pb,ib,jb->pij", second, scan.templates, scan.templates, optimize=True) + scan.precision
        )
        return source_errors(inner, found.curvature, x, np.nan_to_num(a))

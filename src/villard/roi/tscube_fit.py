r"""Fits of a test source at many pixels at once, with the norms of other sources refitted in each.

With the counts n, what is fixed F, templates T with norms x, and the test source K with norm a,

.. math:: -\ln L = \sum_b (\mu_b - n_b \ln \mu_b), \quad \mu = F + x T + a K

The curvature in x hardly depends on the pixel, so that of the fit without test source serves for all;
gradients are exact, and so is the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.linear import LinearNorms

__all__ = ["NormScan", "PixelBins", "PixelFit", "fit_bins", "fit_pixels"]

Array = NDArray[np.float64]

_UPPER_95 = 1.3527717
_BIN_STEPS = 60


class NormScan:
    """Counts, fixed counts and templates of free norms, and the fit without a test source.

    Parameters
    ----------
    counts, fixed : array
        In the bins that have counts, shape (n_bins,).
    templates : array
        Counts of the free sources there, shape (n_norms, n_bins); their norms are 1 now.
    sums : array
        Their sums over all bins, shape (n_norms,).
    energy : array of int
        Bin of energy of each bin.
    cov_scale : float
        Norms get a normal prior of their covariance times the square of this, if it is positive.

    Examples
    --------
    >>> scan = NormScan(np.array([4.0, 6.0]), np.zeros(2), np.ones((1, 2)), np.array([2.0]), np.zeros(2, int))
    >>> scan.norms.round(6)
    array([5.])
    """

    def __init__(
        self,
        counts: Array,
        fixed: Array,
        templates: Array,
        sums: Array,
        energy: NDArray[np.intp],
        cov_scale: float = -1.0,
    ) -> None:
        self.counts, self.fixed, self.templates, self.sums = counts, fixed, templates, sums
        self.energy = energy
        n = len(sums)
        linear = LinearNorms(counts, templates, fixed, sums, 0.0, lower=np.zeros(n))
        found = linear.minimize(np.ones(n))
        self.norms, self.success = found.x, bool(found.success or n == 0)
        self.hessian = 0.5 * linear.hessian(self.norms)
        self.precision = self.hessian / cov_scale**2 if cov_scale > 0 else np.zeros((n, n))
        self.value = 0.5 * found.stat


@dataclass
class PixelBins:
    """The test source at some pixels.

    Parameters
    ----------
    kernel : array
        Its counts for norm 1 in the bins that it reaches, shape (n_pixels, n_reached).
    index : array of int
        Which bins these are.
    total : array
        Its counts in all bins, shape (n_pixels,).
    """

    kernel: Array
    index: NDArray[np.intp]
    total: Array


@dataclass
class PixelFit:
    """Results per pixel; ``norms`` are those of the other sources, shape (n_pixels, n_norms)."""

    norm: Array
    error: Array
    ts: Array
    norms: Array


def fit_pixels(scan: NormScan, bins: PixelBins, tol: float = 1e-3, max_iter: int = 30) -> PixelFit:
    """Fit the norm of the test source at each pixel together with all free norms; none is negative.

    Parameters
    ----------
    scan : `NormScan`
        Data and other sources.
    bins : `PixelBins`
        Test source.
    tol : float
        Estimated distance to the maximum of ln L at which a fit ends, times 1e-2.
    max_iter : int
        Most steps.
    """
    n_pixels, n = len(bins.total), len(scan.norms)
    theta = np.column_stack([np.tile(scan.norms, (n_pixels, 1)), _start(scan, bins)])
    matrix = np.zeros((n_pixels, n + 1, n + 1))
    matrix[:, :n, :n] = scan.hessian + scan.precision
    value, gradient, curvature = _evaluate(scan, bins, theta[:, :n], theta[:, n])
    rows = np.arange(n_pixels)
    for _ in range(max_iter):
        matrix[rows, n, n] = curvature[rows, n]
        matrix[rows, :n, n] = matrix[rows, n, :n] = curvature[rows, :n]
        step, distance = _steps(matrix[rows], gradient[rows], theta[rows])
        far = distance > 1e-2 * tol
        rows, step = rows[far], step[far]
        if not len(rows):
            break
        part = PixelBins(bins.kernel[rows], bins.index, bins.total[rows])
        theta[rows], value[rows], gradient[rows], curvature[rows] = _descend(
            scan, part, theta[rows], step, value[rows], gradient[rows], curvature[rows]
        )
    x, a = theta[:, :n], theta[:, n]
    ts = np.maximum(2 * (scan.value - value), 0.0)
    return PixelFit(a, _errors(matrix, curvature, x, a), np.where(a > 0, ts, 0.0), x)


def _start(scan: NormScan, bins: PixelBins) -> Array:
    """Return the norms of the test source with all others as they are without it."""
    background = (scan.fixed + scan.norms @ scan.templates)[bins.index]
    counts = scan.counts[bins.index]
    a = np.zeros(len(bins.total))
    for _ in range(8):
        ratio = counts * bins.kernel / np.maximum(background + a[:, None] * bins.kernel, 1e-300)
        first = ratio.sum(axis=1)
        second = np.sum(ratio**2 / np.maximum(counts, 1e-300), axis=1)
        # Newton's method on 1 / first - 1 / total: straight where one bin matters.
        step = (first / bins.total - 1) * first / np.maximum(second, 1e-300)
        a = np.maximum(a + np.where(first > 0, step, 0.0), 0.0)
    return a


def _evaluate(scan: NormScan, bins: PixelBins, x: Array, a: Array) -> tuple[Array, Array, Array]:
    """Return -ln L, its gradient, and the last row of its Hessian, per pixel."""
    mu = scan.fixed + x @ scan.templates
    mu[:, bins.index] += a[:, np.newaxis] * bins.kernel
    mu = np.maximum(mu, 1e-300)
    ratio = scan.counts / mu
    moved = x - scan.norms
    value = x @ scan.sums + a * bins.total - np.log(mu) @ scan.counts
    pull = moved @ scan.precision
    value += 0.5 * np.sum(moved * pull, axis=1)
    near = ratio[:, bins.index]
    by_norms = scan.sums - ratio @ scan.templates.T + pull
    by_source = bins.total - np.sum(near * bins.kernel, axis=1)
    weighted = bins.kernel * near / mu[:, bins.index]
    mixed = weighted @ scan.templates[:, bins.index].T
    own = np.sum(weighted * bins.kernel, axis=1)
    return value, np.column_stack([by_norms, by_source]), np.column_stack([mixed, own])


def _steps(matrix: Array, gradient: Array, theta: Array) -> tuple[Array, Array]:
    """Newton steps of what isn't held at 0, and the estimated distances to the maximum."""
    held = (theta <= 0) & (gradient >= 0)
    size = matrix.shape[-1]
    # The curvature of the source alone may be more than that of the norms knows of.
    scale = np.sqrt(np.maximum(np.einsum("pii->pi", matrix), 1e-300))
    scaled = matrix / (scale[:, :, None] * scale[:, None, :])
    scaled = np.where(held[:, :, None] | held[:, None, :], 0.0, scaled)
    scaled[:, np.arange(size), np.arange(size)] = 1.0 + 1e-9
    side = np.where(held, 0.0, gradient / scale)
    # Where the test source is (nearly) one of the others the matrix may not be positive.
    values, vectors = np.linalg.eigh(scaled)
    values = np.maximum(np.abs(values), 1e-6)
    solution = np.einsum("pij,pj->pi", vectors, np.einsum("pji,pj->pi", vectors, side) / values)
    return -solution / scale, 0.5 * np.sum(side * solution, axis=1)


def _descend(
    scan: NormScan,
    bins: PixelBins,
    theta: Array,
    step: Array,
    value: Array,
    gradient: Array,
    curvature: Array,
) -> tuple[Array, Array, Array, Array]:
    """Shorten steps until they lower -ln L; none goes below 0."""
    size = np.ones(len(theta))
    todo = np.any(step != 0, axis=1)
    for _ in range(12):
        trial = np.maximum(theta + size[:, None] * step, 0.0)
        new = _evaluate(scan, bins, trial[:, :-1], trial[:, -1])
        good = todo & (new[0] <= value + 1e-9)
        theta = np.where(good[:, None], trial, theta)
        value = np.where(good, new[0], value)
        gradient = np.where(good[:, None], new[1], gradient)
        curvature = np.where(good[:, None], new[2], curvature)
        todo &= ~good
        if not todo.any():
            break
        step = np.where(todo[:, None], step, 0.0)
        size = np.where(todo, 0.35 * size, size)
    return theta, value, gradient, curvature


def _errors(matrix: Array, curvature: Array, x: Array, a: Array) -> Array:
    """Standard errors of the test source's norm, with the others refitted; NaN where it is 0."""
    n = x.shape[1]
    own, mixed = curvature[:, n], np.where(x > 0, curvature[:, :n], 0.0)
    inner = matrix[0, :n, :n]
    if n:
        scale = np.sqrt(np.maximum(np.diag(inner), 1e-300))
        inverse = np.linalg.pinv(inner / np.outer(scale, scale), hermitian=True)
        own = own - np.einsum("pi,ij,pj->p", mixed / scale, inverse, mixed / scale)
    return np.where((a > 0) & (own > 0), 1 / np.sqrt(np.where(own > 0, own, 1.0)), np.nan)


def fit_bins(
    scan: NormScan,
    bins: PixelBins,
    fit: PixelFit,
    totals: Array,
    n_energy: int,
    n_points: int = 0,
    n_sigma: float = 5.0,
) -> dict[str, Array]:
    """Fit the norm of the test source in each bin of energy, with all others as the fit to all has them.

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
        background = np.maximum(scan.fixed[index] + fit.norms @ scan.templates[:, index], 1e-300)
        one = _OneBin(scan.counts[index], background, bins.kernel[:, chosen], totals[:, e])
        norm = one.maximum()
        error = one.error(norm)
        result["norm"][:, e], result["norm_err"][:, e] = norm, error
        result["norm_ul"][:, e] = one.limit(norm, error)
        result["ts"][:, e] = 2 * one.gain(norm)
        if n_points:
            width = np.where(np.isfinite(error), error, 1 / np.maximum(totals[:, e], 1e-300))
            low = np.maximum(norm - n_sigma * width, 0.0)
            points = low + np.linspace(0, 1, n_points)[:, None] * (norm + n_sigma * width - low)
            result["norm_scan"][:, :, e] = points.T
            gains = np.stack([one.gain(p) for p in points])
            result["dloglike_scan"][:, :, e] = (gains - one.gain(norm)).T
    return result


class _OneBin:
    """ln L of one norm per pixel: ``sum n ln(1 + a k / B) - a S``."""

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

    def limit(self, a: Array, error: Array) -> Array:
        """Return where ln L has fallen by what is 95 % for one side."""
        top = self.gain(a)
        total = np.where(self.total > 0, self.total, 1.0)
        width = np.where(np.isfinite(error), 1.6 * error, _UPPER_95 / total)
        for _ in range(_BIN_STEPS):
            fall = top - self.gain(a + width)
            slope = self.total - self._slopes(a + width)[0]
            root = np.sqrt(np.maximum(fall, 1e-12))
            good = (fall > 1e-9) & (slope > 0)
            step = np.where(good, (np.sqrt(_UPPER_95) - root) * 2 * root / np.where(good, slope, 1.0), width)
            width = np.clip(width + step, 0.3 * width, 3 * width)
            if np.all(np.abs(step) <= 1e-5 * width):
                break
        return np.where(self.total > 0, a + width, np.nan)

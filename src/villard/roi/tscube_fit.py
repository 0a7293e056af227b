r"""Fits of a test source at many pixels at once, with the norms of other sources refitted in each.

With the counts n, what is fixed F, templates T with norms x, and the test source K with norm a,

.. math:: -\ln L = \sum_b (\mu_b - n_b \ln \mu_b), \quad \mu = F + x T + a K

The curvature in x hardly depends on the pixel, so that of the fit without test source serves for all;
gradients are exact, and so is the result.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.linear import LinearNorms

__all__ = [
    "Minimum",
    "NormScan",
    "PixelBins",
    "PixelFit",
    "fit_pixels",
    "minimize_pixels",
    "source_errors",
    "start_norms",
]

Array = NDArray[np.float64]


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
    energy_sums : array, optional
        The sums in each bin of energy, shape (n_norms, n_energy), for `in_bin`.

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
        energy_sums: Array | None = None,
    ) -> None:
        self.counts, self.fixed, self.templates, self.sums = counts, fixed, templates, sums
        self.energy, self.energy_sums = energy, energy_sums
        n = len(sums)
        linear = LinearNorms(counts, templates, fixed, sums, 0.0, lower=np.zeros(n))
        found = linear.minimize(np.ones(n))
        self.norms, self.success = found.x, bool(found.success or n == 0)
        self.hessian = 0.5 * linear.hessian(self.norms)
        self.precision = self.hessian / cov_scale**2 if cov_scale > 0 else np.zeros((n, n))
        self.value = 0.5 * found.stat

    def in_bin(self, e: int, cov_scale: float) -> NormScan:
        """Return one bin of energy, with a prior of the covariance of all bins times ``cov_scale``²."""
        if self.energy_sums is None:
            raise ValueError("in_bin needs energy_sums")
        part = copy.copy(self)
        chosen = self.energy == e
        part.counts, part.fixed, part.energy = self.counts[chosen], self.fixed[chosen], self.energy[chosen]
        part.templates, part.sums = self.templates[:, chosen], self.energy_sums[:, e]
        mu = np.maximum(part.fixed + self.norms @ part.templates, 1e-300)
        part.hessian = (part.templates * (part.counts / mu**2)) @ part.templates.T
        # Where there are hardly any counts steps need a scale.
        least = part.sums**2 / (part.counts.sum() + 1.0)
        part.hessian += np.diag(np.maximum(least - np.diag(part.hessian), 0.0))
        known = self.hessian + self.precision
        part.precision = known / cov_scale**2 if cov_scale > 0 else np.zeros_like(known)
        return part


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
    n = len(scan.norms)
    center = np.tile(scan.norms, (len(bins.total), 1))
    found = minimize_pixels(
        scan, bins, np.column_stack([center, start_norms(scan, bins)]), center, tol, max_iter
    )
    x, a = found.theta[:, :n], found.theta[:, n]
    ts = np.maximum(2 * (scan.value - found.value), 0.0)
    inner = scan.hessian + scan.precision
    return PixelFit(a, source_errors(inner, found.curvature, x, a), np.where(a > 0, ts, 0.0), x)


@dataclass
class Minimum:
    """Norms, that of the test source last; -ln L there, its gradient, and the last row of its Hessian."""

    theta: Array
    value: Array
    gradient: Array
    curvature: Array


def minimize_pixels(
    scan: NormScan,
    bins: PixelBins,
    theta: Array,
    center: Array,
    tol: float = 1e-3,
    max_iter: int = 30,
    hold: bool = False,
) -> Minimum:
    """Minimise -ln L in all norms at each pixel.

    Parameters
    ----------
    scan, bins
        Data, other sources and test source.
    theta : array
        Norms at the start, that of the test source last, shape (n_pixels, n_norms + 1).
    center : array
        Where the priors of the norms have their maximum, shape (n_pixels, n_norms).
    tol, max_iter
        As for `fit_pixels`.
    hold : bool
        Whether the norm of the test source stays what it is.
    """
    n_pixels, n = center.shape
    theta = theta.copy()
    matrix = np.zeros((n_pixels, n + 1, n + 1))
    matrix[:, :n, :n] = scan.hessian + scan.precision
    value, gradient, curvature = _evaluate(scan, bins, theta[:, :n], theta[:, n], center)
    rows = np.arange(n_pixels)
    for _ in range(max_iter):
        matrix[rows, n, n] = curvature[rows, n]
        matrix[rows, :n, n] = matrix[rows, n, :n] = curvature[rows, :n]
        step, distance = _steps(matrix[rows], gradient[rows], theta[rows], hold)
        far = distance > 1e-2 * tol
        rows, step = rows[far], step[far]
        if not len(rows):
            break
        part = PixelBins(bins.kernel[rows], bins.index, bins.total[rows])
        theta[rows], value[rows], gradient[rows], curvature[rows] = _descend(
            scan, part, theta[rows], step, value[rows], gradient[rows], curvature[rows], center[rows]
        )
    return Minimum(theta, value, gradient, curvature)


def start_norms(scan: NormScan, bins: PixelBins) -> Array:
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


def _evaluate(
    scan: NormScan, bins: PixelBins, x: Array, a: Array, center: Array
) -> tuple[Array, Array, Array]:
    """Return -ln L, its gradient, and the last row of its Hessian, per pixel."""
    mu = scan.fixed + x @ scan.templates
    mu[:, bins.index] += a[:, np.newaxis] * bins.kernel
    mu = np.maximum(mu, 1e-300)
    ratio = scan.counts / mu
    moved = x - center
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


def _steps(matrix: Array, gradient: Array, theta: Array, hold: bool) -> tuple[Array, Array]:
    """Newton steps of what isn't held at 0, and the estimated distances to the maximum."""
    held = (theta <= 0) & (gradient >= 0)
    held[:, -1] |= hold
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
    center: Array,
) -> tuple[Array, Array, Array, Array]:
    """Shorten steps until they lower -ln L; none goes below 0."""
    size = np.ones(len(theta))
    todo = np.any(step != 0, axis=1)
    for _ in range(12):
        trial = np.maximum(theta + size[:, None] * step, 0.0)
        new = _evaluate(scan, bins, trial[:, :-1], trial[:, -1], center)
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


def source_errors(inner: Array, curvature: Array, x: Array, a: Array) -> Array:
    """Standard errors of the test source's norm, with the others refitted; NaN where it is 0.

    Parameters
    ----------
    inner : array
        Hessian of the other norms, of shape (n_norms, n_norms) or per pixel.
    curvature : array
        Last row of the Hessian, per pixel.
    x, a : array
        Norms of the others and of the test source.
    """
    n = x.shape[1]
    own, mixed = curvature[:, n], np.where(x > 0, curvature[:, :n], 0.0)
    if n:
        inner = np.broadcast_to(inner, (len(a), n, n))
        scale = np.sqrt(np.maximum(np.einsum("pii->pi", inner), 1e-300))
        first = inner[:1] if inner.strides[0] == 0 else inner
        inverse = np.linalg.pinv(
            first / (scale[: len(first), :, None] * scale[: len(first), None, :]), hermitian=True
        )
        own = own - np.einsum(
            "pi,pij,pj->p", mixed / scale, np.broadcast_to(inverse, inner.shape), mixed / scale
        )
    return np.where((a > 0) & (own > 0), 1 / np.sqrt(np.where(own > 0, own, 1.0)), np.nan)

r"""Fits of the norm of one source shape, centred on each pixel in turn, to Poisson counts.

For a source at one pixel the predicted counts are :math:`\mu_b = B_b + n k_b`, with the background
:math:`B_b`, the norm :math:`n` and the counts :math:`k_b` predicted for unit norm, and

.. math:: -2 \ln L = 2 [n S - \sum_b N_b \ln(q_b + n)] + const, \quad S = \sum_b k_b, \quad q_b = B_b / k_b

Only bins with counts need a logarithm; the sum of the others, S, is a correlation of the mask with the
kernel. Weights of the likelihood multiply :math:`N_b` and, in S, :math:`k_b`. Many pixels are solved at
once, as rows of small matrices that fit into the processor's caches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.count_statistics import TRUNCATION

__all__ = ["NormMapSolution", "PixelProblem", "solve_norms"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# Matrix elements that are worked on together: they should stay in the cache of one core.
_CHUNK = 1 << 16
_MAX_ROOT_STEPS = 100
# Convergence is quadratic: after a step of this part the error is one of rounding.
_ROOT_TOLERANCE = 1e-6
# Smaller parts of a kernel's sum are rounding errors of the Fourier transform.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class PixelProblem:
    """Counts, background and the source shape, which may change in shape from pixel to pixel.

    The counts predicted for unit norm at the pixel (y, x) in the bin (r, y + dy, x + dx) are
    ``sum_j coefficients[j, y, x] * kernels[j, r, dy + h, dx + w]``.

    Parameters
    ----------
    counts, background : array
        Shape (n_planes, n_y, n_x): a plane is an energy bin of a dataset.
    mask : array of bool
        Bins that enter the fit, of the same shape.
    kernels : array
        Shape (n_basis, n_planes, 2 h + 1, 2 w + 1).
    coefficients : array
        Shape (n_basis, n_y, n_x).
    weights : array, optional
        Factors of each bin's part of ln L, of the shape of the counts; positive inside the mask.
    """

    counts: Array
    background: Array
    mask: NDArray[np.bool_]
    kernels: Array
    coefficients: Array
    weights: Array | None = None


@dataclass
class NormMapSolution:
    """Results per pixel, flat arrays; NaN where the data say nothing.

    ``norm_errn``, ``norm_errp`` and ``norm_ul`` are `None` unless asked for.
    """

    norm: Array
    norm_err: Array
    ts: Array
    npred: Array
    niter: NDArray[np.int_]
    success: NDArray[np.bool_]
    norm_errn: Array | None = None
    norm_errp: Array | None = None
    norm_ul: Array | None = None


def solve_norms(
    problem: PixelProblem,
    pixels: Index,
    tol: float = 1e-3,
    max_iter: int = 100,
    errn_errp: float | None = None,
    upper_limit: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> NormMapSolution:
    """Fit the norm of a source at each of some pixels.

    Parameters
    ----------
    problem : `PixelProblem`
        Data and shape.
    pixels : array of int
        Flat indices of the pixels at which the source is put.
    tol : float
        The search ends where a step is smaller than this part of the error. As convergence is quadratic
        or better, the distance from the minimum is then about the square of it.
    max_iter : int
        Most steps.
    errn_errp : float, optional
        Number of sigma of asymmetric errors.
    upper_limit : float, optional
        Number of sigma of upper limits.
    progress : callable, optional
        Told the number of pixels after each chunk.

    Returns
    -------
    `NormMapSolution`
        Results in the order of the pixels.
    """
    sums = kernel_sums(problem).reshape(-1)[pixels]
    bins = _Bins(problem)
    lengths = bins.lengths(pixels)
    floors = _Floors(problem)
    usable = sums > 0
    n = len(pixels)
    norm, error, ts, npred, errn, errp, limit = np.full((7, n), np.nan)
    result = NormMapSolution(norm, error, ts, npred, np.zeros(n, dtype=int), np.zeros(n, dtype=bool))
    if errn_errp is not None:
        result.norm_errn, result.norm_errp = errn, errp
    if upper_limit is not None:
        result.norm_ul = limit

    # In the order of the number of bins with counts, so that the rows of a matrix are equally long.
    order = np.flatnonzero(usable)
    order = order[np.argsort(lengths[order], kind="stable")]

    def work(rows: Index) -> int:
        q, counts = bins.terms(pixels[rows])
        terms = _Terms(q, counts, sums[rows])
        norm, niter, converged = terms.minimize(tol, max_iter)
        norm = floors.raise_to_floor(norm, pixels[rows], lengths[rows] == 0)
        _, curvature = terms.derivatives(norm)
        result.norm[rows], result.niter[rows], result.success[rows] = norm, niter, converged
        with np.errstate(divide="ignore"):
            error = 1 / np.sqrt(curvature)
        result.norm_err[rows] = np.where(np.isfinite(error), error, np.nan)
        result.ts[rows] = -terms.rise(norm, np.zeros_like(norm))
        if result.norm_errn is not None and result.norm_errp is not None and errn_errp is not None:
            floor = np.maximum(floors.floor(pixels[rows]), -q.min(axis=1, initial=np.inf))
            result.norm_errn[rows] = terms.crossing_below(norm, error, errn_errp, floor)
            result.norm_errp[rows] = terms.crossing_above(norm, error, errn_errp)
        if result.norm_ul is not None and upper_limit is not None:
            result.norm_ul[rows] = norm + terms.crossing_above(norm, error, upper_limit)
        return len(rows)

    for done in _in_threads(work, list(_chunks(order, lengths))):
        if progress is not None:
            progress(done)
    if problem.weights is not None:
        sums = kernel_sums(problem, weighted=False).reshape(-1)[pixels]
    result.npred = result.norm * sums
    return result


def _chunks(order: Index, lengths: Index) -> Iterator[Index]:
    """Split pixels, which are in the order of their lengths, so that each part is one small matrix."""
    start = 0
    while start < len(order):
        # The last row is the longest: with as many rows as the first allows, halve until it fits.
        rows = max(1, _CHUNK // max(int(lengths[order[start]]), 16))
        stop = min(start + rows, len(order))
        while stop > start + 1 and (stop - start) * int(lengths[order[stop - 1]]) > 2 * _CHUNK:
            stop = (start + stop) // 2
        yield order[start:stop]
        start = stop


def _in_threads(work: Callable[[Index], int], parts: list[Index]) -> Iterator[int]:
    """Run the parts in threads: numpy lets others run while it computes."""
    n_threads = min(os.cpu_count() or 1, 8, len(parts))
    if n_threads <= 1:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(n_threads) as executor:
        try:
            yield from executor.map(work, parts)
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise


def kernel_sums(problem: PixelProblem, weighted: bool = True) -> Array:
    """Return the counts predicted inside the mask for unit norm at each pixel, shape (n_y, n_x)."""
    from scipy import fft

    kernels, mask = problem.kernels, problem.mask.astype(float)
    if weighted and problem.weights is not None:
        mask = mask * problem.weights
    n_y, n_x = mask.shape[1:]
    h, w = (n // 2 for n in kernels.shape[-2:])
    shape = [fft.next_fast_len(n + 2 * m, real=True) for n, m in ((n_y, h), (n_x, w))]
    # Planes with the same mask need one transform.
    groups: dict[bytes, list[int]] = {}
    for plane, inside in enumerate(mask):
        if inside.any():
            groups.setdefault(inside.tobytes(), []).append(plane)
    total = np.zeros((n_y, n_x))
    for planes in groups.values():
        transformed = fft.rfft2(mask[planes[0]], shape, workers=-1)
        for summed, coefficient in zip(kernels[:, planes].sum(axis=1), problem.coefficients, strict=True):
            image = fft.irfft2(
                transformed * fft.rfft2(summed[::-1, ::-1], shape, workers=-1), shape, workers=-1
            )[h : h + n_y, w : w + n_x]
            image[np.abs(image) < _ROUNDING * np.abs(summed).sum()] = 0.0
            total += coefficient * image
    return np.maximum(total, 0.0)


class _Bins:
    """Bins with counts, in the order of rows and columns, and what each pixel sees of them."""

    def __init__(self, problem: PixelProblem) -> None:
        n_y, n_x = problem.counts.shape[1:]
        n_basis, _, k_y, k_x = problem.kernels.shape
        self._half = k_y // 2, k_x // 2
        self._shape = n_y, n_x
        some = np.moveaxis(problem.mask & (problem.counts > 0), 0, -1)
        y, x, plane = np.nonzero(some)
        self.counts = problem.counts[plane, y, x]
        if problem.weights is not None:
            self.counts = self.counts * problem.weights[plane, y, x]
        self.background = np.maximum(problem.background[plane, y, x], TRUNCATION)
        # Where a kernel's element for a bin and a pixel is: at the difference of two numbers.
        self._offset = (plane * k_y + y) * k_x + x
        self._k_x = k_x
        # Number of the first bin of each row at or after each column.
        per_pixel = some.sum(axis=-1)
        self._first = np.zeros((n_y, n_x + 1), dtype=np.intp)
        self._first[:, 1:] = np.cumsum(per_pixel, axis=1)
        self._first[1:] += np.cumsum(self._first[:-1, -1])[:, np.newaxis]
        self._per_pixel = per_pixel
        self._kernels = problem.kernels.reshape(n_basis, -1)
        self._coefficients = problem.coefficients.reshape(n_basis, -1)

    def lengths(self, pixels: Index) -> Index:
        """Return the number of bins with counts that the source at a pixel reaches."""
        (h, w), (n_y, n_x) = self._half, self._shape
        total = np.zeros((n_y + 1, n_x + 1), dtype=np.intp)
        total[1:, 1:] = self._per_pixel.cumsum(axis=0).cumsum(axis=1)
        y, x = np.divmod(pixels, n_x)
        top, bottom = np.minimum(y + h + 1, n_y), np.maximum(y - h, 0)
        right, left = np.minimum(x + w + 1, n_x), np.maximum(x - w, 0)
        return np.asarray(total[top, right] - total[bottom, right] - total[top, left] + total[bottom, left])

    def terms(self, pixels: Index) -> tuple[Array, Array]:
        """Return q and the counts of the bins that each pixel sees, in rows filled up with q = inf."""
        (h, w), (n_y, n_x) = self._half, self._shape
        y, x = np.divmod(pixels, n_x)
        rows = y[:, np.newaxis] + np.arange(-h, h + 1)
        inside = (rows >= 0) & (rows < n_y)
        rows = np.clip(rows, 0, n_y - 1)
        start = self._first[rows, np.maximum(x - w, 0)[:, np.newaxis]]
        stop = self._first[rows, np.minimum(x + w + 1, n_x)[:, np.newaxis]]
        size = np.where(inside, stop - start, 0)
        length = size.sum(axis=1)
        flat_size = size.ravel()
        before = np.cumsum(flat_size) - flat_size
        bins = np.arange(flat_size.sum()) + np.repeat(start.ravel() - before, flat_size)
        element = self._offset[bins] - np.repeat((y - h) * self._k_x + (x - w), length)
        kernel = self._kernels[0][element]
        if len(self._kernels) == 1:
            kernel *= np.repeat(self._coefficients[0, pixels], length)
        else:
            kernel *= np.repeat(self._coefficients[0, pixels], length)
            for table, coefficient in zip(self._kernels[1:], self._coefficients[1:], strict=True):
                kernel += table[element] * np.repeat(coefficient[pixels], length)
        q = np.full((len(pixels), int(length.max(initial=0))), np.inf)
        counts = np.zeros_like(q)
        filled = np.arange(q.shape[1]) < length[:, np.newaxis]
        with np.errstate(divide="ignore"):
            q[filled] = self.background[bins] / np.maximum(kernel, 0.0)
        counts[filled] = self.counts[bins]
        return q, counts


class _Terms:
    """The function ``n S - sum_b N_b ln(q_b + n)`` of many pixels at once, half of -2 ln L."""

    def __init__(self, q: Array, counts: Array, sums: Array) -> None:
        self.q, self.counts, self.sums = q, counts, sums

    def derivatives(self, norm: Array) -> tuple[Array, Array]:
        """Return ``sum N / (q + n)`` and ``sum N / (q + n)²``."""
        distance = self.q + norm[:, np.newaxis]
        ratio = np.divide(self.counts, distance)
        first = ratio.sum(axis=1)
        ratio /= distance
        return first, ratio.sum(axis=1)

    def minimize(self, tol: float, max_iter: int) -> tuple[Array, NDArray[np.int_], NDArray[np.bool_]]:
        r"""Return the norms without slope, the number of steps, and which converged.

        The root of :math:`1 / A - 1 / S` with :math:`A = \sum N / (q + n)` is sought by Newton's method.
        The function is concave and grows, so that after one step from anywhere all steps go upwards
        and none too far; where one bin matters it is a straight line. No term of A exceeds S at the root,
        which gives a lower bound. Without counts the norm is 0.
        """
        lower = np.max(self.counts / self.sums[:, np.newaxis] - self.q, axis=1, initial=-np.inf)
        some = lower > -np.inf
        norm = np.where(some, np.maximum(lower, 0.0), 0.0)
        niter, done = np.zeros(len(norm), dtype=int), ~some
        rows = np.flatnonzero(some)
        terms = self if len(rows) == len(norm) else self._some(rows)
        for _ in range(max_iter):
            if not len(rows):
                break
            first, second = terms.derivatives(norm[rows])
            with np.errstate(divide="ignore", invalid="ignore"):
                step = first * (first / terms.sums - 1) / second
                small = np.abs(step) <= tol / np.sqrt(second)
            niter[rows] += ~done[rows]
            norm[rows] = np.maximum(norm[rows] + step, lower[rows])
            done[rows] |= small
            if np.mean(done[rows]) > 0.3:
                left = ~done[rows]
                rows, terms = rows[left], terms._some(left)
        return norm, niter, done

    def rise(self, norm: Array, start: Array) -> Array:
        """Return -2 ln L at a norm, less that at another one."""
        low = self.q + start[:, np.newaxis]
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log1p((norm - start)[:, np.newaxis] / low)
            logs *= self.counts
        return 2 * ((norm - start) * self.sums - logs.sum(axis=1))

    def _some(self, rows: NDArray[Any]) -> _Terms:
        return _Terms(self.q[rows], self.counts[rows], self.sums[rows])

    def crossing_above(self, best: Array, error: Array, n_sigma: float) -> Array:
        """Return how far above the minimum -2 ln L has risen by n_sigma².

        It is convex and grows: from the second step on Newton's method comes down from above.
        """
        level = n_sigma**2
        distance = np.where(np.isfinite(error), n_sigma * error, level / (2 * self.sums))
        rows, some = np.arange(len(best)), self
        for _ in range(_MAX_ROOT_STEPS):
            start, at = best[rows], distance[rows]
            value = some.rise(start + at, start) - level
            slope = 2 * (some.sums - some.derivatives(start + at)[0])
            with np.errstate(divide="ignore", invalid="ignore"):
                # Far above: at first -2 ln L may hardly rise.
                step = np.minimum(np.where(slope > 0, -value / slope, at), 9 * at)
            distance[rows] = at + step
            left = np.abs(step) > _ROOT_TOLERANCE * distance[rows]
            if not left.any():
                break
            if np.mean(left) < 0.7:
                rows, some = rows[left], some._some(left)
        return distance

    def crossing_below(self, best: Array, error: Array, n_sigma: float, floor: Array) -> Array:
        """Return how far below the minimum -2 ln L has risen by n_sigma²; NaN if it never does."""
        level = n_sigma**2
        with np.errstate(invalid="ignore", divide="ignore"):
            at_floor = self.rise(floor, best)
        rows = np.flatnonzero((at_floor >= level) | np.isnan(at_floor))
        result = np.full(len(best), np.nan)
        some = self._some(rows)
        low, high = np.zeros(len(rows)), (best - floor)[rows]
        distance = np.minimum(np.where(np.isfinite(error), n_sigma * error, np.inf)[rows], high / 2)
        for _ in range(_MAX_ROOT_STEPS):
            if not len(rows):
                break
            start = best[rows]
            value = some.rise(start - distance, start) - level
            slope = 2 * (some.derivatives(start - distance)[0] - some.sums)
            beyond = ~(value < 0)
            high, low = np.where(beyond, distance, high), np.where(beyond, low, distance)
            with np.errstate(divide="ignore", invalid="ignore"):
                new = distance - value / slope
            new = np.where((new > low) & (new < high), new, (low + high) / 2)
            left = np.abs(new - distance) > _ROOT_TOLERANCE * new
            result[rows], distance = new, new
            if not left.all() and np.mean(left) < 0.7:
                rows, some = rows[left], some._some(left)
                low, high, distance = low[left], high[left], distance[left]
        return result


class _Floors:
    """Norms below which predictions would be negative in some bin without counts, ``-min(B / k)``."""

    def __init__(self, problem: PixelProblem) -> None:
        from scipy import ndimage

        n_basis, n_planes, k_y, k_x = problem.kernels.shape
        self._half, self._shape = (k_y // 2, k_x // 2), problem.counts.shape[1:]
        self._coefficients = problem.coefficients.reshape(n_basis, -1)
        # Where there are counts their logarithm keeps predictions positive.
        free = problem.mask & (problem.counts == 0)
        self._inverse = np.where(free, 1 / np.maximum(problem.background, TRUNCATION), 0.0)
        # The largest value that any part of a kernel can meet around each pixel.
        self._largest = np.stack(
            [
                ndimage.maximum_filter(plane, size=(k_y, k_x), mode="constant").ravel()
                for plane in self._inverse
            ]
        )
        self._kernels = problem.kernels.reshape(n_basis, n_planes, -1)
        size = np.abs(self._kernels).max(axis=0)
        self._order = np.argsort(-size, axis=-1)
        # Largest element among those that are left, per basis.
        ordered = np.take_along_axis(np.abs(self._kernels), self._order[np.newaxis], axis=-1)
        self._rest = np.maximum.accumulate(ordered[..., ::-1], axis=-1)[..., ::-1]

    def raise_to_floor(self, norm: Array, pixels: Index, empty: NDArray[np.bool_]) -> Array:
        """Return norms that are nowhere below the floor; those of pixels without counts are at it."""
        norm = norm.copy()
        rows = np.flatnonzero((norm < 0) | empty)
        if len(rows):
            with np.errstate(divide="ignore"):
                limit = np.where(empty[rows], 0.0, -1 / norm[rows])
            ratio = self._ratio(pixels[rows], limit)
            with np.errstate(divide="ignore"):
                floor = np.where(ratio > limit, -1 / ratio, -np.inf)
            norm[rows] = np.where(empty[rows], floor, np.maximum(norm[rows], floor))
        return norm

    def floor(self, pixels: Index) -> Array:
        """Return the floors."""
        with np.errstate(divide="ignore"):
            return -1 / self._ratio(pixels, np.zeros(len(pixels)))

    def _ratio(self, pixels: Index, start: Array) -> Array:
        """Return the largest k / B around each pixel, or the start where that is larger."""
        ratio = start.copy()
        (h, w), (n_y, n_x) = self._half, self._shape
        y, x = np.divmod(pixels, n_x)
        coefficients = self._coefficients[:, pixels]
        sizes = np.abs(coefficients)
        for plane, inverse in enumerate(self._inverse):
            largest = self._largest[plane, pixels]
            left = np.arange(len(pixels))
            for i, element in enumerate(self._order[plane]):
                bound = largest[left] * (self._rest[:, plane, i] @ sizes[:, left])
                left = left[bound > ratio[left]]
                if not len(left):
                    break
                dy, dx = divmod(int(element), 2 * w + 1)
                row, column = y[left] + dy - h, x[left] + dx - w
                inside = (row >= 0) & (row < n_y) & (column >= 0) & (column < n_x)
                kernel = self._kernels[:, plane, element] @ coefficients[:, left]
                met = np.zeros(len(left))
                met[inside] = kernel[inside] * inverse[row[inside], column[inside]]
                ratio[left] = np.maximum(ratio[left], met)
        return ratio

"""Data around a tile of a map of test statistics, as images that are fitted together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from villard.estimators.map_data import MapData
from villard.estimators.norm_map import PixelProblem
from villard.estimators.ts_kernels import ShapeBasis
from villard.likelihood.count_statistics import cash

__all__ = ["Planes"]

Array = NDArray[np.float64]


@dataclass
class Planes:
    """Data around a tile, as images that are fitted together."""

    problem: PixelProblem
    origin: tuple[int, int]
    tile: tuple[slice, slice]

    @classmethod
    def make(
        cls,
        inputs: list[MapData],
        bins: list[slice],
        bases: list[ShapeBasis],
        tile: tuple[slice, slice],
        add_up: bool,
    ) -> Planes:
        """Cut out the data that sources on a tile reach.

        Parameters
        ----------
        inputs : list of `~villard.estimators.map_data.MapData`
            Datasets.
        bins : list of slice
            Energy bins of each dataset.
        bases : list of `~villard.estimators.ts_kernels.ShapeBasis`
            Shapes of the source in each dataset.
        tile : (slice, slice)
            Rows and columns of the map.
        add_up : bool
            Whether energies of the same mask and weights are added up.
        """
        half = max(b.kernels.shape[2] // 2 for b in bases), max(b.kernels.shape[3] // 2 for b in bases)
        window = tuple(
            slice(max(part.start - h, 0), min(part.stop + h, n))
            for part, h, n in zip(tile, half, inputs[0].shape[1:], strict=True)
        )
        n_basis = sum(len(basis.kernels) for basis in bases)
        shape = tuple(part.stop - part.start for part in window)
        coefficients = np.zeros((n_basis, *shape))
        y, x = (slice(t.start - w.start, t.stop - w.start) for t, w in zip(tile, window, strict=True))
        counts, background, weights, kernels = [], [], [], []
        first = 0
        for data, part, basis in zip(inputs, bins, bases, strict=True):
            own = slice(first, first + len(basis.kernels))
            first = own.stop
            coefficients[own, y, x] = basis.coefficients
            observed, expected, weight = (
                cube[part][:, window[0], window[1]]
                for cube in (data.cube("counts"), data.npred, data.weights)
            )
            for members in _alike(weight) if add_up else [[i] for i in range(len(weight))]:
                counts.append(observed[members].sum(axis=0))
                background.append(expected[members].sum(axis=0))
                weights.append(weight[members[0]])
                kernels.append(np.zeros((n_basis, 2 * half[0] + 1, 2 * half[1] + 1)))
                kernels[-1][own] = _padded(basis.kernels[:, part][:, members].sum(axis=1), half)
        factors = np.stack(weights)
        mask = factors > 0
        problem = PixelProblem(
            np.where(mask, counts, 0.0),
            np.where(mask, background, 0.0),
            mask,
            np.stack(kernels, axis=1),
            coefficients,
            None if np.all(factors[mask] == 1) else factors,
        )
        return cls(problem, (window[0].start, window[1].start), tile)

    def pixels(self, factor: int) -> NDArray[np.intp]:
        """Return the flat indices of the pixels to be fitted: those of the tile that aren't masked."""
        known = np.asarray(self.problem.mask.any(axis=0))
        rows, columns = (np.arange(part.start, part.stop) for part in self.tile)
        rows, columns = (index[index % factor == factor // 2] for index in (rows, columns))
        y, x = np.meshgrid(rows - self.origin[0], columns - self.origin[1], indexing="ij")
        # Between pixels that are far from each other a mask can't be interpolated.
        chosen = known[y, x] if factor == 1 else np.ones(y.shape, dtype=bool)
        return np.ravel_multi_index((y[chosen], x[chosen]), known.shape)

    def on_map(self, pixels: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return rows and columns of the map."""
        y, x = np.unravel_index(pixels, self.problem.mask.shape[1:])
        return y + self.origin[0], x + self.origin[1]

    def null(self, pixels: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return -2 ln L without the source, and the predicted counts, around each pixel."""
        problem = self.problem
        stat = np.where(problem.mask, cash(problem.counts, problem.background), 0.0)
        stat = (stat if problem.weights is None else stat * problem.weights).sum(axis=0)
        h, w = (n // 2 for n in problem.kernels.shape[2:])
        npred = problem.background.sum(axis=0)
        return _box_sum(stat, h, w).ravel()[pixels], _box_sum(npred, h, w).ravel()[pixels]


def _padded(images: Array, half: tuple[int, int]) -> Array:
    """Add zeros around images, so that they reach as far as asked."""
    dy, dx = (h - n // 2 for h, n in zip(half, images.shape[1:], strict=True))
    return np.pad(images, ((0, 0), (dy, dy), (dx, dx)))


def _alike(weights: Array) -> list[list[int]]:
    """Group the planes that have the same weights, which are 0 outside the mask."""
    groups: dict[bytes, list[int]] = {}
    for i, plane in enumerate(weights):
        groups.setdefault(plane.tobytes(), []).append(i)
    return list(groups.values())


def _box_sum(image: Array, h: int, w: int) -> Array:
    """Return the sum over 2 h + 1 rows and 2 w + 1 columns around each pixel."""
    total = np.zeros(tuple(n + 1 for n in image.shape))
    total[1:, 1:] = image.cumsum(axis=0).cumsum(axis=1)
    y, x = (np.arange(n) for n in image.shape)
    top, bottom = np.minimum(y + h + 1, len(y)), np.maximum(y - h, 0)
    right, left = np.minimum(x + w + 1, len(x)), np.maximum(x - w, 0)
    rows = total[top] - total[bottom]
    return np.asarray(rows[:, right] - rows[:, left])

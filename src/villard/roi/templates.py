"""Predicted counts of a region's sources as templates, for likelihoods that are linear in the norms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.likelihood.linear import LinearNorms

__all__ = ["Cube", "frozen_copy", "join_cubes", "region_cubes"]

Array = NDArray[np.float64]
Pair = tuple[Array, Array]


class Cube:
    """The bins of one dataset that have counts, and what else its likelihood needs.

    Parameters
    ----------
    dataset : `~villard.datasets.MapDataset`
        Data; their statistic must be "cash" or "cstat".
    energies : array of bool, optional
        Bins of energy that are used; all by default.
    """

    def __init__(self, dataset: Any, energies: NDArray[np.bool_] | None = None) -> None:
        measurement = dataset.measurement()
        if measurement.statistic not in ("cash", "cstat"):
            raise DataError(
                f"Dataset {dataset.name!r}: expected the statistic 'cash' or 'cstat', found "
                f"{measurement.statistic!r}"
            )
        self.measurement = measurement
        self.n_energies = measurement.shape[0]
        self.n_pixels = measurement.n_bins // self.n_energies
        self.weights = measurement.weights
        mask = measurement.mask
        if energies is not None:
            mask = mask & np.repeat(energies, self.n_pixels)
        self.mask = mask
        self.set_counts(measurement.data["counts"])

    def set_counts(self, counts: Array) -> None:
        """Take other counts, flat, shape (n_bins,): the bins that have some change with them."""
        weighted = counts if self.weights is None else counts * self.weights
        self.bins = np.flatnonzero(self.mask & (weighted > 0))
        self.counts = weighted[self.bins]
        self.energy_of = self.bins // self.n_pixels

    def pack(self, cube: Array) -> Pair:
        """Return the bins with counts of a flat cube, and its weighted sums over the bins of each energy.

        Shapes are (n,) and (n_energies,).
        """
        weighted = cube if self.weights is None else cube * self.weights
        sums = np.where(self.mask, weighted, 0.0).reshape(self.n_energies, -1).sum(axis=1)
        return cube[self.bins], sums

    def predict(self, model: Any) -> Array:
        """Return the counts that a model predicts in all bins, flat; its source map is kept."""
        if not model.contributes_to(self.measurement.name):
            return np.zeros(self.measurement.n_bins)
        if not any(getattr(model, key, False) for key in ("is_background", "is_npred_template")):
            self.measurement.fixed_source(model)
        return np.maximum(self.measurement.predict(model), 0.0)

    def background(self, models: Iterable[Any]) -> Array:
        """Return the counts expected from no model, flat."""
        return np.asarray(self.measurement.background_of(models))


def region_cubes(roi: Any, energies: Sequence[NDArray[np.bool_]] | None = None) -> list[Cube]:
    """Return the cubes of a region."""
    chosen = [None] * len(roi.datasets) if energies is None else energies
    return [Cube(dataset, e) for dataset, e in zip(roi.datasets, chosen, strict=True)]


def frozen_copy(model: Any, spectral_model: Any = None) -> Any:
    """Return a copy of a model whose parameters are frozen, optionally with another spectrum."""
    copy = model.copy(name=model.name)
    if spectral_model is not None:
        from villard.modeling.models import SkyModel

        copy = SkyModel(
            spectral_model,
            copy.spatial_model,
            copy.temporal_model,
            name=model.name,
            datasets_names=model.datasets_names,
            apply_irf=dict(model.apply_irf),
        )
    for parameter in copy.parameters:
        parameter.frozen = True
    return copy


def join_cubes(
    cubes: Sequence[Cube],
    energies: Sequence[Any],
    templates: Sequence[Sequence[Pair]],
    fixed: Sequence[Pair],
    **kwargs: Any,
) -> LinearNorms:
    """Return the likelihood of norms in some bins of energy of several cubes.

    Parameters
    ----------
    cubes : list of `Cube`
        Data.
    energies : list of array of int
        Bins of energy of each.
    templates : list of list of (array, array)
        For each norm and cube what `Cube.pack` gives of its template.
    fixed : list of (array, array)
        For each cube the same of what is fixed.
    **kwargs
        Limits and priors, for `LinearNorms`.
    """
    chosen = [np.isin(cube.energy_of, index) for cube, index in zip(cubes, energies, strict=True)]

    def columns(parts: Sequence[Pair]) -> Array:
        return np.concatenate([part[0][c] for part, c in zip(parts, chosen, strict=True)])

    def total(parts: Sequence[Pair]) -> float:
        return float(sum(part[1][index].sum() for part, index in zip(parts, energies, strict=True)))

    counts = np.concatenate([cube.counts[c] for cube, c in zip(cubes, chosen, strict=True)])
    matrix = np.array([columns(t) for t in templates]).reshape(len(templates), len(counts))
    sums = np.array([total(t) for t in templates])
    return LinearNorms(counts, matrix, columns(fixed), sums, total(fixed), **kwargs)

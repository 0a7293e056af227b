"""What each source of a bound likelihood contributes to the predicted counts of the bins that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax
from villard.likelihood.folding import fold_flux, take_rows

if TYPE_CHECKING:
    from villard.likelihood.likelihood import Likelihood

__all__ = ["Contribution", "contributions"]


@dataclass(frozen=True)
class Contribution:
    """Counts of one source in one measurement.

    Parameters
    ----------
    parameters : tuple of int
        Positions of its spectral parameters, or of its norm alone, among all parameters of the binding.
    block, row : int
        Block of the binding, and row of the measurement in it.
    columns : array of int or None
        Kept bins that it reaches; all where `None`.
    counts : array
        Predicted counts there. The first bin of a map stands for all that have no counts.
    """

    parameters: tuple[int, ...]
    block: int
    row: int
    columns: NDArray[np.intp] | None
    counts: NDArray[np.float64]

    def add_to(self, cubes: list[NDArray[np.float64]], factor: float = 1.0) -> None:
        """Add its counts, times a factor, to arrays of each block, shape (n_measurements, n_columns)."""
        target = cubes[self.block][self.row]
        if self.columns is None:
            target += factor * self.counts
        else:
            target[self.columns] += factor * self.counts


def contributions(likelihood: Likelihood, theta: Any = None) -> list[Contribution]:
    """Return the counts of each source that has a free parameter, in each measurement.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Bound likelihood.
    theta : array, optional
        Scaled parameters, shape (n_free,); the present ones by default.

    Returns
    -------
    list of `Contribution`
        In the order of the binding.
    """
    theta = likelihood.theta if theta is None else np.asarray(theta, dtype=float)
    kernels = likelihood._kernels
    cache = kernels.__dict__.setdefault("_contributions", {})
    if "function" not in cache:
        cache["function"] = jax.jit(lambda t, data: _evaluate(kernels, t, data))
    found = cache["function"](theta, likelihood._device_data)
    result = []
    for i, (block, parts) in enumerate(zip(likelihood.binding.blocks, found, strict=True)):
        arrays = block.arrays
        groups = []
        if "norms" in arrays:
            norms = arrays["norms"]
            groups.append((norms["index"][:, None], norms["row"], None))
        groups += [(g["index"], arrays["row"][g["response_row"]], None) for g in arrays["groups"]]
        groups += [(g["index"], g["row"], None) for g in arrays["shapes"]]
        groups += [(g["index"], g["row"], g["columns"]) for g in arrays["local"]]
        for (index, row, columns), counts in zip(groups, parts, strict=True):
            result += _split(i, block.n_columns, index, row, columns, np.asarray(counts))
    return result


def _split(block: int, n_columns: int, index: Any, row: Any, columns: Any, counts: Any) -> list[Contribution]:
    result = []
    for k, values in enumerate(counts):
        inside = None if columns is None else columns[k] < n_columns
        result.append(
            Contribution(
                tuple(int(i) for i in np.atleast_1d(index[k])),
                block,
                int(row[k]),
                None if inside is None else columns[k][inside],
                values if inside is None else values[inside],
            )
        )
    return result


def _evaluate(kernels: Any, theta: Any, data: Any) -> list[list[Any]]:
    full = kernels.parameters(theta, data)
    result = []
    for block, structure in zip(data["blocks"], kernels._blocks, strict=True):
        parts = []
        if "norms" in block:
            norms = block["norms"]
            parts.append(full[norms["index"]][:, None] * norms["template"])
        for function, arguments, group in kernels._block_groups(block, structure, full):
            flux = jax.vmap(function)(*arguments)
            parts.append(fold_flux(flux, take_rows(block["response"], group["response_row"])))
        for shape, group in zip(structure[3], block["shapes"], strict=True):
            parts.append(kernels._map_sources(shape.counts, full[group["index"]], group))
        for local, group in zip(structure[4], block["local"], strict=True):
            parts.append(local.counts(full, group))
        result.append(parts)
    return result

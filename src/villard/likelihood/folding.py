"""Folding of fluxes with responses, most of whose entries may be zero.

The counts of a bin of a map come from the few true energies that energy dispersion brings there; only
the first bin, the sum of all that have no counts, comes from all. Where that saves half the numbers,
a response is kept as a *band*: for each bin the first true energy and what follows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax, jnp

__all__ = [
    "band_width",
    "fold_adjoint",
    "fold_flux",
    "fold_jacobian",
    "stack_bands",
    "stack_matrices",
    "take_rows",
]

Array = NDArray[np.float64]


def _ranges(matrix: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First true energy of each bin, and the number of those that matter (0 for the first bin)."""
    some = matrix != 0
    some[:, 0] = False
    first = np.argmax(some, axis=0)
    last = len(matrix) - np.argmax(some[::-1], axis=0)
    return first, np.where(some.any(axis=0), last - first, 0)


def band_width(matrices: Sequence[Array]) -> int:
    """Return the width of the band of responses (n_true, n_bins); 0 where a band saves too little.

    Examples
    --------
    >>> band_width([np.eye(4), np.ones((4, 4))])
    0
    >>> band_width([np.eye(4)])
    1
    """
    if not len(matrices):
        return 0
    width = max(1, *(int(_ranges(matrix)[1].max(initial=0)) for matrix in matrices))
    return width if 2 * width <= max(len(matrix) for matrix in matrices) else 0


def stack_bands(
    matrices: Sequence[Array], n_true: int, n_columns: int, width: int
) -> dict[str, NDArray[Any]]:
    """Stack responses as bands, padded to one shape.

    Parameters
    ----------
    matrices : list of array
        Responses, shape (n_true, n_bins).
    n_true, n_columns : int
        Shape to pad to.
    width : int
        Width of the band.

    Returns
    -------
    dict
        ``band`` (n, width, n_columns), ``first`` (n, n_columns), ``total`` (n, n_true) for the first bin.
    """
    n = len(matrices)
    band, total = np.zeros((n, width, n_columns)), np.zeros((n, n_true))
    first = np.zeros((n, n_columns), dtype=np.int32)
    steps = np.arange(width)[:, None]
    for i, matrix in enumerate(matrices):
        rows, size = matrix.shape
        start = np.minimum(_ranges(matrix)[0], max(rows - width, 0))
        index = np.minimum(start + steps, rows - 1)
        values = np.take_along_axis(matrix, index, axis=0)
        values[start + steps >= rows] = 0.0
        values[:, 0] = 0.0
        band[i, :, :size], first[i, :size], total[i, :rows] = values, start, matrix[:, 0]
    return {"band": band, "first": first, "total": total}


def stack_matrices(matrices: Sequence[Array], n_true: int, n_columns: int) -> dict[str, NDArray[Any]]:
    """Stack responses as they are, padded to one shape: ``matrix`` (n, n_true, n_columns)."""
    stacked = np.zeros((len(matrices), n_true, n_columns))
    for i, matrix in enumerate(matrices):
        stacked[i, : matrix.shape[0], : matrix.shape[1]] = matrix
    return {"matrix": stacked}


def take_rows(response: Any, rows: Any) -> dict[str, Any]:
    """Return some of stacked responses."""
    return {key: response[key][rows] for key in ("matrix", "band", "first", "total") if key in response}


def fold_flux(flux: Any, response: Any) -> Any:
    """Counts of fluxes (n, n_true), one per response; shape (n, n_columns)."""
    if "matrix" in response:
        return jnp.einsum("pt,ptb->pb", flux, response["matrix"])
    return fold_jacobian(flux[:, :, None], response)[:, 0]


def fold_jacobian(fluxes: Any, response: Any) -> Any:
    """Counts of several fluxes (n, n_true, n_kinds) for each response; shape (n, n_kinds, n_columns)."""
    if "matrix" in response:
        return jnp.einsum("ptk,ptb->pkb", fluxes, response["matrix"])

    def single(fluxes: Any, band: Any, first: Any, total: Any) -> Any:
        kinds = fluxes.T
        counts = sum(jnp.take(kinds, first + i, axis=1, mode="clip") * band[i] for i in range(band.shape[0]))
        return counts.at[:, 0].add(kinds @ total)

    return jax.vmap(single)(fluxes, response["band"], response["first"], response["total"])


def fold_adjoint(weights: Any, response: Any) -> Any:
    """Sums over bins of responses with weights (n, n_columns), for each true energy; shape (n, n_true)."""
    if "matrix" in response:
        return jnp.einsum("ptb,pb->pt", response["matrix"], weights)

    def single(weights: Any, band: Any, first: Any, total: Any) -> Any:
        sums = total * weights[0]
        for i in range(band.shape[0]):
            sums = sums.at[first + i].add(band[i] * weights, mode="drop")
        return sums

    return jax.vmap(single)(weights, response["band"], response["first"], response["total"])

"""Sources of fixed morphology that reach only few of a map's bins: kept and differentiated there alone.

Of their derivatives nothing is stored but those bins, and products of two sources are summed only
where both reach. What a hundred sources need thereby grows with their own sizes, not with the map's.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax, jnp
from villard.likelihood.folding import (
    band_width,
    fold_adjoint,
    fold_flux,
    fold_jacobian,
    stack_bands,
    stack_matrices,
)
from villard.likelihood.measurement import Response
from villard.likelihood.predict import bin_flux
from villard.modeling.models.spectral.core import PureSpectrum

__all__ = ["LocalGroup", "LocalSource", "prefers_dense", "stack_local"]

_PAD = 16
#: Numbers that all derivatives in all bins may be at most: 400 MB.
_DENSE_NUMBERS = 50_000_000
#: Multiplications in a product of matrices that take as long as picking one number out of many.
_PER_PICK = 20


@dataclass(frozen=True)
class LocalSource:
    """One source in one measurement.

    Parameters
    ----------
    row : int
        Row of the measurement in its block.
    response : `Response`
        Response in the bins that it reaches. If only the norm is free, its matrix is the prediction for a
        norm of 1, of shape (1, n_local).
    pure : `PureSpectrum` or None
        Spectrum; `None` if only its norm is free.
    index : list of int
        Positions of its parameters, or of the norm, among all parameters.
    """

    row: int
    response: Response
    pure: PureSpectrum | None
    index: list[int]

    @property
    def key(self) -> Hashable:
        """Sources of equal keys are stacked."""
        assert self.response.columns is not None
        # Each group is compiled apart, and so are their pairs: few groups, though some are padded much.
        size = int(np.log2(len(self.response.columns) + 1)) // 3
        if self.pure is None:
            return "norm", size
        shapes = tuple(np.shape(a) for a in self.pure.arrays)
        return self.pure.key, shapes, self.response.order == 0, size


@dataclass(frozen=True)
class LocalGroup:
    """Predictions and derivatives of stacked sources: what is compiled for them.

    Parameters
    ----------
    pure : `PureSpectrum` or None
        Spectrum; `None` if only norms are free.
    order : int
        Order of quadrature over true energies.
    """

    pure: PureSpectrum | None
    order: int

    @property
    def key(self) -> Hashable:
        """Groups of equal keys share compiled functions."""
        return None if self.pure is None else self.pure.key, self.order

    def _flux(self, values: Any, low: Any, high: Any, arrays: Any) -> Any:
        if self.pure is None:
            return values
        return jnp.broadcast_to(bin_flux(self.pure, low, high, values, arrays, self.order), low.shape)

    def _arguments(self, full: Any, group: Any) -> tuple[Any, ...]:
        return full[group["index"]], group["energy_min"], group["energy_max"], group["arrays"]

    def counts(self, full: Any, group: Any) -> Any:
        """Predicted counts in the bins of each source, shape (n_sources, n_local)."""
        flux = jax.vmap(self._flux)(*self._arguments(full, group))
        return fold_flux(flux, group)

    def add_counts(self, mu: Any, full: Any, group: Any) -> Any:
        """Add the predicted counts to all measurements' bins, shape (n_rows, n_columns)."""
        counts = self.counts(full, group)
        return mu.at[group["row"][:, None], group["columns"]].add(counts)

    def jacobian(self, full: Any, full_scale: Any, group: Any) -> Any:
        """Derivatives by the scaled parameters, shape (n_sources, n_parameters, n_local)."""
        local = jax.vmap(jax.jacfwd(self._flux))(*self._arguments(full, group))
        folded = fold_jacobian(local, group)
        return folded * full_scale[group["index"]][:, :, None]

    def curvature(self, full: Any, full_scale: Any, group: Any, first: Any) -> Any:
        """Second derivatives weighted with ``first``, shape (n_sources, n_parameters, n_parameters)."""
        adjoint = fold_adjoint(take(first, group), group)

        def scalar(values: Any, low: Any, high: Any, arrays: Any, weight: Any) -> Any:
            return jnp.sum(weight * self._flux(values, low, high, arrays))

        local = jax.vmap(jax.jacfwd(jax.jacrev(scalar)))(*self._arguments(full, group), adjoint)
        scale = full_scale[group["index"]]
        return local * scale[:, :, None] * scale[:, None, :]


def prefers_dense(n_free: int, shape: tuple[int, int], local: Sequence[tuple[int, int, int]]) -> bool:
    """Tell whether products of derivatives are summed faster over all bins than where both sources reach.

    Where sources reach far, most of the bins are common to most pairs.

    Parameters
    ----------
    n_free : int
        Number of free parameters.
    shape : tuple of int
        Numbers of measurements and of bins.
    local : list of tuple
        Shapes of the derivatives of stacked sources (n_sources, n_parameters, n_local).

    Examples
    --------
    >>> prefers_dense(240, (1, 30000), [(240, 1, 16384)]), prefers_dense(240, (1, 30000), [(240, 1, 256)])
    (True, False)
    """
    n_bins = shape[0] * shape[1]
    sources = sum(n for n, _, _ in local)
    picks = sources * sum(n * size for n, _, size in local)
    return n_free * n_bins <= _DENSE_NUMBERS and n_free**2 * n_bins <= _PER_PICK * picks


def take(values: Any, group: Any) -> Any:
    """Take the bins of each source from (n_rows, n_columns), 0 where it has none; (n_sources, n_local)."""
    return values.at[group["row"][:, None], group["columns"]].get(mode="fill", fill_value=0.0)


def squares_with_dense(local: Any, group: Any, weighted: Any) -> Any:
    """Products of local derivatives with dense ones, shape (n_sources, n_parameters, n_dense).

    ``weighted`` are the dense derivatives times the weights, shape (n_rows, n_dense, n_columns).
    """

    def single(each: Any) -> Any:
        derivatives, row, columns = each
        there = weighted[row].at[:, columns].get(mode="fill", fill_value=0.0)
        return derivatives @ there.T

    return jax.lax.map(single, (local, group["row"], group["columns"]))


def squares_of_pairs(first: Any, group: Any, second: Any, other: Any, weight: Any) -> Any:
    """Products of the derivatives of two groups, shape (n_first, n_parameters, n_second, n_parameters)."""
    n_columns = weight.shape[1]

    def single(each: Any) -> Any:
        derivatives, row, columns = each
        scale = weight[row].at[columns].get(mode="fill", fill_value=0.0)
        spread = jnp.zeros((derivatives.shape[0], n_columns)).at[:, columns].add(derivatives * scale)
        there = spread.at[:, other["columns"]].get(mode="fill", fill_value=0.0)
        there = jnp.where((other["row"] == row)[:, None], there, 0.0)
        return jnp.einsum("kqb,qmb->kqm", there, second)

    return jax.lax.map(single, (first, group["row"], group["columns"]))


def stack_local(
    sources: Sequence[LocalSource], n_columns: int
) -> tuple[list[LocalGroup], list[dict[str, NDArray[Any]]]]:
    """Stack sources that share their code and about their number of bins."""
    grouped: dict[Hashable, list[LocalSource]] = {}
    for source in sources:
        grouped.setdefault(source.key, []).append(source)
    return (
        [LocalGroup(m[0].pure, max(s.response.order for s in m)) for m in grouped.values()],
        [_stack(members, n_columns) for members in grouped.values()],
    )


def _padded(size: int) -> int:
    return max(_PAD, 2 ** int(size - 1).bit_length())


def _stack(members: list[LocalSource], n_columns: int) -> dict[str, Any]:
    responses = [m.response for m in members]
    n_local = _padded(max(len(r.columns) for r in responses if r.columns is not None))
    n_true = max(len(r.matrix) for r in responses)
    pure = members[0].pure
    stacked: dict[str, Any] = {
        "row": np.array([m.row for m in members]),
        "index": np.array([m.index for m in members], dtype=int),
        # What lies beyond the last column is dropped.
        "columns": np.full((len(members), n_local), n_columns),
        "energy_min": np.full((len(members), n_true), 1.0),
        "energy_max": np.full((len(members), n_true), 1.1),
        "arrays": ()
        if pure is None
        else tuple(
            np.stack([np.asarray(m.pure.arrays[i]) for m in members if m.pure is not None])
            for i in range(len(pure.arrays))
        ),
    }
    matrices = [r.matrix for r in responses]
    # Of a single norm there is nothing to save.
    width = band_width(matrices) if n_true > 1 else 0
    if width:
        stacked |= stack_bands(matrices, n_true, n_local, width)
    else:
        stacked |= stack_matrices(matrices, n_true, n_local)
    for i, response in enumerate(responses):
        assert response.columns is not None
        n, m = response.matrix.shape
        stacked["columns"][i, :m] = response.columns
        stacked["energy_min"][i, :n] = response.energy_min
        stacked["energy_max"][i, :n] = response.energy_max
    return stacked

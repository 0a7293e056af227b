"""Norms where the data see a source, instead of where its spectrum is defined.

Catalogues give norms at an energy that may lie far outside of the data: with each change of the shape the
norm there must change by orders of magnitude, along a bent valley in which Newton's method creeps. In its
place a fit moves the norm times the size of what the source brings to the data,

.. math:: M = N\\,e^{\\ell(s)},\\quad \\ell = \\frac12 \\ln \\sum_t q_t F_t(s)^2 ,

with fluxes F of unit norm in true energies, and q what they weigh in the data's curvature. Predictions are
linear in M, its limit at zero is that of N, and the valley is straight.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax, jnp
from villard.likelihood.predict import bin_flux
from villard.modeling.models.spectral.core import PureSpectrum

if TYPE_CHECKING:
    from villard.likelihood.likelihood import Likelihood

__all__ = ["NormCoordinates"]

Array = NDArray[np.float64]

#: Fluxes of unit norm below this one are nothing beside those in other energies.
_TINY = 1e-200
#: Shares of the way between a shape's limits that sources without flux are tried with.
_TRIED = (0.1, 0.25, 0.4, 0.55, 0.7, 0.9)
#: Expected fall of the statistic for which that is worth a new start.
_LEAST_GAIN = 0.05


@dataclass
class _Group:
    """Sources of one spectral class: columns of θ, and the arguments of the size of their spectra.

    Index and arguments are filled up with the last source, so that few numbers of sources are compiled.
    """

    function: Any
    norm: NDArray[np.intp]
    index: NDArray[np.intp]
    columns: NDArray[np.intp]
    scale: Array
    arguments: tuple[Any, ...]


class NormCoordinates:
    """Coordinates of a likelihood in which norms of fitted spectra are replaced; see this module.

    Norms with a limit other than zero, and those that several sources share, stay as they are.

    Parameters
    ----------
    likelihood : `~villard.likelihood.Likelihood`
        Bound likelihood.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        self._full, self._free = likelihood.data["full"], likelihood.data["free_index"]
        self._scale = likelihood.scale
        self._groups = _groups(likelihood)
        self._zero: list[Array] | None = None

    def start_at(self, theta: Array) -> None:
        """Let the coordinates be the parameters at given ones, shape (n_free,)."""
        self._zero = [size for _, size, _, _ in self._sizes(theta, relative=False)]

    def __bool__(self) -> bool:
        return bool(self._groups)

    def _sizes(self, theta: Array, relative: bool = True) -> list[tuple[_Group, Array, Array, Array]]:
        """ℓ of each source, less that at the start, and its derivatives by its scaled parameters."""
        full = self._full.copy()
        full[self._free] = theta * self._scale
        result = []
        for i, group in enumerate(self._groups):
            found = group.function(full[group.index], *group.arguments)
            size, first, second = (np.asarray(array)[: len(group.norm)] for array in found)
            zero = self._zero[i] if relative and self._zero is not None else 0.0
            scale = group.scale
            result.append((group, size - zero, first * scale, second * scale[:, :, None] * scale[:, None, :]))
        return result

    def theta(self, z: Array) -> Array:
        """Return the parameters."""
        theta = z.copy()
        # The sizes depend on shapes alone, which are the same in both.
        with np.errstate(over="ignore", invalid="ignore"):
            for group, size, _, _ in self._sizes(z):
                theta[group.norm] = z[group.norm] * np.exp(-size)
        return theta

    def pull(self, z: Array, gradient: Array, matrix: Array) -> tuple[Array, Array]:
        """Turn gradient and Hessian by θ into those by z."""
        n = len(z)
        jacobian, added = np.eye(n, n + 1), np.zeros((n + 1, n + 1))
        for group, size, first, second in self._sizes(z):
            factor, slope = np.exp(-size), gradient[group.norm]
            norm, columns = group.norm, group.columns
            value = z[norm] * factor
            jacobian[norm, norm] = factor
            jacobian[norm[:, None], columns] -= value[:, None] * first
            curvature = value[:, None, None] * (first[:, :, None] * first[:, None, :] - second)
            np.add.at(added, (columns[:, :, None], columns[:, None, :]), slope[:, None, None] * curvature)
            mixed = -(slope * factor)[:, None] * first
            np.add.at(added, (norm[:, None], columns), mixed)
            np.add.at(added, (columns, norm[:, None]), mixed)
        jacobian = jacobian[:, :n]
        return jacobian.T @ gradient, jacobian.T @ matrix @ jacobian + added[:n, :n]

    def other_shapes(
        self, theta: Array, bounds: tuple[Array, Array], active: NDArray[np.bool_], gradient_at: Any
    ) -> Array | None:
        """Give sources without flux a shape with which they would have some; `None` if there is none.

        A norm may be at its limit of zero only because the shape was poor when it got there, and without flux
        a shape can't improve. All such sources are tried with other values of their first free shape
        parameter at once: without flux these change nothing but the slopes in the norms.

        Parameters
        ----------
        theta : array
            Minimum, shape (n_free,).
        bounds : tuple of array
            Limits of θ.
        active : array of bool
            Parameters that may move.
        gradient_at : callable
            θ ↦ gradient.
        """
        lower, upper = bounds
        idle = np.array(
            [
                (norm, next(k for k in row if k < len(theta)))
                for group in self._groups
                for norm, row in zip(group.norm, group.columns, strict=True)
                if theta[norm] == 0 == lower[norm]
            ],
            dtype=int,
        ).reshape(-1, 2)
        idle = idle[np.all(active[idle], axis=1)]
        if not len(idle):
            return None
        norm, shape = idle.T
        best, value = np.full(len(idle), _LEAST_GAIN), theta[shape]
        low, high = lower[shape], upper[shape]
        limited = np.isfinite(low) & np.isfinite(high)
        low, high = (np.where(limited, a, theta[shape] + b) for a, b in ((low, -1.0), (high, 1.0)))
        for share in _TRIED:
            trial = theta.copy()
            trial[shape] = low + share * (high - low)
            sizes = np.full(len(theta), np.inf)
            for group, size, _, _ in self._sizes(trial, relative=False):
                sizes[group.norm] = size
            # In these units the data's curvature is about 2.
            slope = gradient_at(trial)[norm] / self._scale[norm] * np.exp(-sizes[norm])
            gain = np.where(slope < 0, 0.25 * slope**2, 0.0)
            value = np.where(gain > best, trial[shape], value)
            best = np.maximum(best, gain)
        if np.all(best <= _LEAST_GAIN):
            return None
        result = theta.copy()
        result[shape] = value
        return result


def _size(pure: PureSpectrum, order: int, values: Any, low: Any, high: Any, weight: Any, arrays: Any) -> Any:
    """ℓ of one source."""
    flux = bin_flux(pure, low, high, values.at[pure.norm_index].set(1.0), arrays, order)
    flux = jnp.broadcast_to(flux, low.shape)
    # Far below these numbers derivatives of logarithms overflow.
    used = (weight > 0) & (flux > _TINY)
    logs = jnp.log(jnp.where(used, flux, 1.0))
    largest = jax.lax.stop_gradient(jnp.max(jnp.where(used, logs, -jnp.inf)))
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    total = jnp.sum(jnp.where(used, weight, 0.0) * jnp.exp(2 * (logs - largest)))
    return largest + 0.5 * jnp.log(total)


def _with_derivatives(pure: PureSpectrum, order: int) -> Any:
    function = partial(_size, pure, order)

    def all_three(*arguments: Any) -> Any:
        gradient = jax.grad(function)
        return function(*arguments), gradient(*arguments), jax.jacfwd(gradient)(*arguments)

    return jax.jit(jax.vmap(all_three))


def _groups(likelihood: Likelihood) -> list[_Group]:
    """Stack all sources whose norm and shape are free, each once."""
    members: dict[Hashable, list[tuple[Any, ...]]] = {}
    column, n_free = likelihood.data["column"], likelihood.n_free
    lower, upper = likelihood.bounds
    rows_of: dict[int, set[tuple[int, ...]]] = {}
    entries = [entry for block in likelihood.binding.blocks for entry in _entries(block)]
    for pure, _, index, *_ in entries:
        rows_of.setdefault(int(index[pure.norm_index]), set()).add(tuple(index.tolist()))
    seen: set[int] = set()
    for pure, order, index, low, high, weight, arrays in entries:
        norm = int(index[pure.norm_index])
        at = int(column[norm])
        shapes = [i for i in column[index] if i < n_free and i != at]
        if at == n_free or not shapes or norm in seen or len(rows_of[norm]) > 1 or not np.any(weight > 0):
            continue
        if lower[at] not in (0.0, -np.inf) or upper[at] != np.inf:
            continue
        seen.add(norm)
        key = pure.key, order, len(low), tuple(np.shape(a) for a in arrays)
        members.setdefault(key, []).append((pure, order, index, low, high, weight, arrays))
    cache = likelihood._kernels.__dict__.setdefault("_norm_sizes", {})
    result = []
    for kind, found in members.items():
        pure, order = found[0][:2]
        if kind not in cache:
            cache[kind] = _with_derivatives(pure, order)
        filled = found + found[-1:] * (_filled(len(found)) - len(found))
        index, at = np.array([entry[2] for entry in filled]), pure.norm_index
        columns = column[index[: len(found)]]
        scale = likelihood.data["full_scale"][index[: len(found)]]
        norm = columns[:, at].copy()
        # Of the norm itself the size doesn't depend.
        columns[:, at], scale[:, at] = n_free, 0.0
        arguments = [np.array([entry[i] for entry in filled]) for i in (3, 4, 5)]
        arrays = tuple(np.stack([entry[6][k] for entry in filled]) for k in range(len(found[0][6])))
        result.append(_Group(cache[kind], norm, index, columns, scale, (*arguments, arrays)))
    return result


def _filled(n: int) -> int:
    """Return the next power of two: derivatives of spectra are soon computed, but not soon compiled."""
    return 1 << (n - 1).bit_length()


def _entries(block: Any) -> list[tuple[Any, ...]]:
    """Spectrum, order, parameters, true energies, weights and data of each source that is evaluated."""
    arrays = block.arrays
    counts = arrays["data"].get("counts")
    if counts is None:
        return []
    inverse = np.where(arrays["mask"] & (counts > 0), 1 / np.where(counts > 0, counts, 1.0), 0.0)
    result = []
    for function, group in zip(block.local, arrays["local"], strict=True):
        if function.pure is None or function.pure.norm_index is None:
            continue
        padded = np.pad(inverse, ((0, 0), (0, 1)))
        for k, row in enumerate(group["row"]):
            weight = _weights(group, k, padded[row][group["columns"][k]])
            own = tuple(a[k] for a in group["arrays"])
            low, high = group["energy_min"][k], group["energy_max"][k]
            result.append((function.pure, function.order, group["index"][k], low, high, weight, own))
    for pure, (_, order), group in zip(block.pures, block.structure.groups, arrays["groups"], strict=True):
        if pure.norm_index is None:
            continue
        for k, row in enumerate(group["response_row"]):
            weight = _weights(arrays["response"], row, inverse[arrays["row"][row]])
            own = tuple(a[k] for a in group["arrays"])
            low, high = arrays["energy_min"][row], arrays["energy_max"][row]
            result.append((pure, order, group["index"][k], low, high, weight, own))
    return result


def _weights(response: Any, row: int, inverse: Array) -> Array:
    """What a unit of flux in each true energy weighs in the curvature of the data, shape (n_true,)."""
    if "matrix" in response:
        return np.asarray(response["matrix"][row] ** 2 @ inverse)
    band, first, total = (response[key][row] for key in ("band", "first", "total"))
    weight = np.zeros(len(total) + len(band))
    for i, values in enumerate(band):
        weight += np.bincount(first + i, values**2 * inverse, len(weight))
    return weight[: len(total)]

"""Compiled functions of a bound likelihood: value, gradient, Fisher matrix, Hessian.

They take all data as arguments and are kept by structure: the second likelihood of the same
structure and shapes compiles nothing. Predictions are additive over sources, so Jacobians and
second derivatives are taken per source, over its own few parameters, and scattered.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

from villard._jax import jax, jnp
from villard.likelihood.binding import Binding
from villard.likelihood.folding import fold_adjoint, fold_flux, fold_jacobian, take_rows
from villard.likelihood.local import prefers_dense, squares_of_pairs, squares_with_dense, take
from villard.likelihood.predict import bin_flux
from villard.likelihood.statistics import STATISTICS, Statistic

__all__ = ["Kernels", "clear_kernels", "kernels_for"]

# Data where few counts are expected have zero curvature in most bins; this share of the expected
# curvature keeps the Fisher matrix positive definite and slows convergence by as little.
_EXPECTED_SHARE = 1e-3
# Counts that are added to the variance expected in a bin without counts.
_EMPTY_VARIANCE = 1e-2


def _expected_curvature(statistic: Statistic, mu: Any, data: Any) -> Any:
    """Expected second derivative, finite in bins without counts where none are predicted either.

    There it would be 2 / μ, though the statistic is a straight line: a fit that starts from a source
    without flux would be held there by the empty bins.
    """
    expected = statistic.fisher(mu, data)
    if "counts" not in statistic.data_names:
        return expected
    limited = expected / (1.0 + 0.5 * _EMPTY_VARIANCE * expected)
    return jnp.where(data["counts"] > 0, expected, limited)


@dataclass(frozen=True)
class _Derivatives:
    """Derivatives of the predicted counts of a block by the scaled free parameters.

    Parameters
    ----------
    dense : array
        Those in all bins, shape (n_rows, n_dense, n_columns).
    rows : array of int
        Free parameters that these belong to, shape (n_dense,).
    local : list of (array, array, dict)
        Those of local sources, shape (n_sources, n_parameters, n_local); their free parameters; the group.
    """

    dense: Any
    rows: Any
    local: list[tuple[Any, Any, Any]]

    def gradient(self, first: Any, n_free: int) -> Any:
        """Gradient of the statistic, from its derivatives by the counts; shape (n_free,)."""
        total = jnp.zeros(n_free + 1).at[self.rows].add(jnp.einsum("rnb,rb->n", self.dense, first))
        for derivatives, columns, group in self.local:
            total = total.at[columns].add(jnp.einsum("pkb,pb->pk", derivatives, take(first, group)))
        return total[:n_free]

    def square(self, weight: Any, n_free: int) -> Any:
        """JᵀWJ, shape (n_free, n_free)."""
        n_local = [derivatives.shape for derivatives, _, _ in self.local]
        if self.local and prefers_dense(n_free, weight.shape, n_local):
            matrix = self._matrix(n_free, weight.shape)
            return (matrix * weight.ravel()) @ matrix.T
        weighted = self.dense * weight[:, None]
        left, right = jnp.moveaxis(weighted, 1, 0), jnp.moveaxis(self.dense, 1, 0)
        flat = (left.shape[0], left.shape[1] * left.shape[2])
        total = jnp.zeros((n_free + 1, n_free + 1))
        total = total.at[self.rows[:, None], self.rows].add(left.reshape(flat) @ right.reshape(flat).T)
        for i, (derivatives, columns, group) in enumerate(self.local):
            mixed = squares_with_dense(derivatives, group, weighted)
            total = total.at[columns[:, :, None], self.rows].add(mixed)
            total = total.at[self.rows, columns[:, :, None]].add(mixed)
            for j, (others, other_columns, other) in enumerate(self.local[i:]):
                pairs = squares_of_pairs(derivatives, group, others, other, weight)
                here, there = columns[:, :, None, None], other_columns[None, None]
                total = total.at[here, there].add(pairs)
                if j:
                    total = total.at[there, here].add(pairs)
        return total[:n_free, :n_free]

    def _matrix(self, n_free: int, shape: tuple[int, int]) -> Any:
        """All derivatives in all bins, shape (n_free, n_rows * n_columns)."""
        n_rows, n_columns = shape
        matrix = jnp.zeros((n_free + 1, n_rows * n_columns))
        dense = jnp.moveaxis(self.dense, 1, 0).reshape(self.dense.shape[1], -1)
        matrix = matrix.at[self.rows].add(dense)
        for derivatives, columns, group in self.local:
            bins = group["row"][:, None] * n_columns + group["columns"]
            bins = jnp.where(group["columns"] < n_columns, bins, n_rows * n_columns)
            matrix = matrix.at[columns[:, :, None], bins[:, None, :]].add(derivatives, mode="drop")
        return matrix[:n_free]


class Kernels:
    """The functions of one structure; `jax.jit` compiles each when it is first called."""

    def __init__(self, binding: Binding) -> None:
        self._blocks = [
            (b.structure.statistic, b.structure.groups, b.pures, b.shapes, b.local) for b in binding.blocks
        ]
        self._compressed = [b.structure.compressed for b in binding.blocks]
        self._priors = [prior for prior, _, _ in binding.priors]
        self.value_and_gradient = jax.jit(self._value_and_gradient)
        self.fisher = jax.jit(self._packed_fisher)
        self.hessian = jax.jit(self._hessian)
        self.curved = jax.jit(self._packed_curved)
        self.npred = jax.jit(self._npred)
        self.residuals = jax.jit(self._residuals)

    def parameters(self, theta: Any, data: Any) -> Any:
        """All parameters in the engine's units, from the scaled free ones."""
        return data["full"].at[data["free_index"]].set(theta * data["scale"])

    def _group_flux(self, pure: Any, order: int, values: Any, arrays: Any, low: Any, high: Any) -> Any:
        flux = bin_flux(pure, low, high, values, arrays, order)
        return jnp.broadcast_to(flux, low.shape)

    def _block_groups(self, block: Any, structure: Any, full: Any) -> Any:
        """Yield for each group its flux function and the stacked arguments."""
        _, orders, pures, _, _ = structure
        for pure, (_, order), group in zip(pures, orders, block["groups"], strict=True):
            function = partial(self._group_flux, pure, order)
            row = group["response_row"]
            arguments = (
                full[group["index"]],
                group["arrays"],
                block["energy_min"][row],
                block["energy_max"][row],
            )
            yield function, arguments, group

    def _signal(self, block: Any, structure: Any, full: Any) -> Any:
        """Predicted counts, shape (n_measurements, n_columns)."""
        mu = block["background"]
        if "norms" in block:
            norms = block["norms"]
            mu = mu.at[norms["row"]].add(full[norms["index"]][:, None] * norms["template"])
        if block["groups"]:
            flux = jnp.zeros(block["energy_min"].shape)
            for function, arguments, group in self._block_groups(block, structure, full):
                flux = flux.at[group["response_row"]].add(jax.vmap(function)(*arguments))
            mu = mu.at[block["row"]].add(fold_flux(flux, block["response"]))
        for shape, group in zip(structure[3], block["shapes"], strict=True):
            counts = self._map_sources(shape.counts, full[group["index"]], group)
            mu = mu.at[group["row"]].add(counts)
        for local, group in zip(structure[4], block["local"], strict=True):
            mu = local.add_counts(mu, full, group)
        return mu

    def _map_sources(self, function: Any, *arguments: Any) -> Any:
        """Call a function for each source of a group, one after the other: their maps take memory."""
        values, *more, group = arguments
        return jax.lax.map(lambda each: function(*each), (values, group["source"], *more))

    def _prediction(self, block: Any, structure: Any, full: Any, data: Any) -> tuple[Any, "_Derivatives"]:
        """Predicted counts and their derivatives; sources whose shape is fitted give both at once."""
        fixed = (*structure[:3], (), structure[4])
        mu = self._signal({**block, "shapes": []}, fixed, full)
        row_of = block["dense_of"][data["column"]]
        jacobian = self._jacobian(block, structure, full, data, row_of)
        for shape, group in zip(structure[3], block["shapes"], strict=True):
            index = group["index"]
            counts, local = self._map_sources(shape.counts_and_jacobian, full[index], group)
            mu = mu.at[group["row"]].add(counts)
            local = local * data["full_scale"][index][:, :, None]
            jacobian = jacobian.at[group["row"][:, None], row_of[index]].add(local)
        parts = [
            (local.jacobian(full, data["full_scale"], group), data["column"][group["index"]], group)
            for local, group in zip(structure[4], block["local"], strict=True)
        ]
        return mu, _Derivatives(jacobian[:, : block["dense_rows"].shape[0]], block["dense_rows"], parts)

    def _jacobian(self, block: Any, structure: Any, full: Any, data: Any, row_of: Any) -> Any:
        """Derivatives of the counts of the sources that are neither local nor of a fitted shape.

        Shape (n_measurements, n_dense + 1, n_columns): the last row takes what frozen parameters would add.
        """
        n_rows, n_columns = block["background"].shape
        jacobian = jnp.zeros((n_rows, block["dense_rows"].shape[0] + 1, n_columns))
        if "norms" in block:
            norms = block["norms"]
            factor = data["full_scale"][norms["index"]][:, None]
            jacobian = jacobian.at[norms["row"], row_of[norms["index"]]].add(factor * norms["template"])
        for function, arguments, group in self._block_groups(block, structure, full):
            local = jax.vmap(jax.jacfwd(function))(*arguments)
            row = group["response_row"]
            folded = fold_jacobian(local, take_rows(block["response"], row))
            folded = folded * data["full_scale"][group["index"]][:, :, None]
            jacobian = jacobian.at[block["row"][row][:, None], row_of[group["index"]]].add(folded)
        return jacobian

    def _prior_terms(self, theta: Any, data: Any) -> tuple[Any, Any, Any]:
        """Value, gradient and curvature of the priors' -2 ln p in the scaled parameters."""
        value, gradient = data["constant"], jnp.zeros_like(theta)
        curvature = jnp.zeros_like(theta)
        for prior, (index, rows) in zip(self._priors, data["priors"], strict=True):

            def function(x: Any, scale: Any, row: Any, prior: Any = prior) -> Any:
                values = (row[i] for i in range(row.shape[0] - 2))
                return row[-2] * prior.evaluate(x * scale * row[-1], *values)

            arguments = (theta[index], data["scale"][index], rows)
            value = value + jnp.sum(jax.vmap(function)(*arguments))
            gradient = gradient.at[index].add(jax.vmap(jax.grad(function))(*arguments))
            curvature = curvature.at[index].add(jax.vmap(jax.grad(jax.grad(function)))(*arguments))
        return value, gradient, curvature

    def terms(self, theta: Any, data: Any, far: Any = False) -> tuple[Any, Any, Any]:
        """Return -2 ln L, its gradient and its Fisher-like matrix JᵀWJ.

        W is d²stat/dμ² made positive, or, where ``far``, its expectation.
        """
        full = self.parameters(theta, data)
        value, gradient, curvature = self._prior_terms(theta, data)
        fisher = jnp.diag(jnp.maximum(curvature, 0.0))
        blocks = zip(data["blocks"], self._blocks, self._compressed, strict=True)
        for block, structure, compressed in blocks:
            statistic = STATISTICS[structure[0]]
            mu, jacobian = self._prediction(block, structure, full, data)
            stat, first, second = statistic.derivatives(mu, block["data"])
            expected = _expected_curvature(statistic, mu, block["data"])
            mask = block["mask"]
            # Where bins without counts are summed up, the expected curvature lacks theirs.
            distant = jnp.maximum(second, expected) if compressed else expected
            weight = jnp.where(far, distant, jnp.maximum(second, _EXPECTED_SHARE * expected))
            weight = jnp.where(mask, weight, 0.0)
            value = value + jnp.sum(jnp.where(mask, stat, 0.0))
            gradient = gradient + jacobian.gradient(jnp.where(mask, first, 0.0), theta.shape[0])
            fisher = fisher + jacobian.square(weight, theta.shape[0])
        return value, gradient, fisher

    def _packed_fisher(self, theta: Any, data: Any) -> Any:
        value, gradient, fisher = self.terms(theta, data)
        return jnp.concatenate([value[None], gradient, fisher.ravel()])

    def _value_and_gradient(self, theta: Any, data: Any) -> Any:
        """One packed vector: -2 ln L and its gradient. Each extra output would cost 20 µs."""
        full = self.parameters(theta, data)
        value, gradient, _ = self._prior_terms(theta, data)
        for block, structure in zip(data["blocks"], self._blocks, strict=True):
            statistic = STATISTICS[structure[0]]
            mu, jacobian = self._prediction(block, structure, full, data)
            stat, first, _ = statistic.derivatives(mu, block["data"])
            value = value + jnp.sum(jnp.where(block["mask"], stat, 0.0))
            gradient = gradient + jacobian.gradient(jnp.where(block["mask"], first, 0.0), theta.shape[0])
        return jnp.concatenate([value[None], gradient])

    def _hessian(self, theta: Any, data: Any) -> Any:
        """Exact Hessian of -2 ln L."""
        return self._curved(theta, data)[2]

    def _packed_curved(self, theta: Any, data: Any, far: Any) -> Any:
        value, gradient, curvature = self._curved(theta, data, far)
        return jnp.concatenate([value[None], gradient, curvature.ravel()])

    def _curved(self, theta: Any, data: Any, far: Any = False) -> tuple[Any, Any, Any]:
        """Return -2 ln L, its gradient and its exact Hessian.

        The Hessian is JᵀWJ and one small block per source from its second derivatives. Where ``far``, W is
        the larger one of the data's curvature and its expectation.
        """
        full = self.parameters(theta, data)
        n_free = theta.shape[0]
        value, gradient, curvature = self._prior_terms(theta, data)
        hessian = jnp.zeros((n_free + 1, n_free + 1))
        hessian = hessian.at[:n_free, :n_free].set(jnp.diag(curvature))
        for block, structure in zip(data["blocks"], self._blocks, strict=True):
            statistic = STATISTICS[structure[0]]
            mu, jacobian = self._prediction(block, structure, full, data)
            stat, first, second = statistic.derivatives(mu, block["data"])
            second = jnp.where(
                far, jnp.maximum(second, _expected_curvature(statistic, mu, block["data"])), second
            )
            first = jnp.where(block["mask"], first, 0.0)
            second = jnp.where(block["mask"], second, 0.0)
            value = value + jnp.sum(jnp.where(block["mask"], stat, 0.0))
            gradient = gradient + jacobian.gradient(first, n_free)
            hessian = hessian.at[:n_free, :n_free].add(jacobian.square(second, n_free))
            for function, arguments, group in self._block_groups(block, structure, full):
                row = group["response_row"]
                adjoint = fold_adjoint(first[block["row"][row]], take_rows(block["response"], row))

                def scalar(
                    values: Any, arrays: Any, low: Any, high: Any, weight: Any, f: Any = function
                ) -> Any:
                    return jnp.sum(weight * f(values, arrays, low, high))

                local = jax.vmap(jax.jacfwd(jax.jacrev(scalar)))(*arguments, adjoint)
                scale = data["full_scale"][group["index"]]
                local = local * scale[:, :, None] * scale[:, None, :]
                column = data["column"][group["index"]]
                hessian = hessian.at[column[:, :, None], column[:, None, :]].add(local)
            for part, group in zip(structure[4], block["local"], strict=True):
                local = part.curvature(full, data["full_scale"], group, first)
                column = data["column"][group["index"]]
                hessian = hessian.at[column[:, :, None], column[:, None, :]].add(local)
            for shape, group in zip(structure[3], block["shapes"], strict=True):
                index = group["index"]
                local = self._map_sources(shape.curvature, full[index], first[group["row"]], group)
                scale, column = data["full_scale"][index], data["column"][index]
                local = local * scale[:, :, None] * scale[:, None, :]
                hessian = hessian.at[column[:, :, None], column[:, None, :]].add(local)
        return value, gradient, hessian[:n_free, :n_free]

    def _residuals(self, theta: Any, data: Any) -> Any:
        """Signed square roots of the bins' statistics, with the constant that makes `cash` a distance."""
        full = self.parameters(theta, data)
        parts = []
        for block, structure in zip(data["blocks"], self._blocks, strict=True):
            statistic = STATISTICS["cstat" if structure[0] == "cash" else structure[0]]
            mu = self._signal(block, structure, full)
            stat = jnp.maximum(statistic.value(mu, block["data"]), 0.0)
            parts.append(jnp.where(block["mask"], jnp.sqrt(stat), 0.0).ravel())
        return jnp.concatenate(parts)

    def _npred(self, theta: Any, data: Any) -> Any:
        full = self.parameters(theta, data)
        return [self._signal(b, s, full) for b, s in zip(data["blocks"], self._blocks, strict=True)]


_KERNELS: dict[Hashable, Kernels] = {}


def kernels_for(binding: Binding) -> Kernels:
    """Return the compiled functions for a binding's structure, made once per process."""
    key = binding.key
    if key not in _KERNELS:
        _KERNELS[key] = Kernels(binding)
    return _KERNELS[key]


def clear_kernels() -> None:
    """Forget all compiled functions, to give their memory back. Those in use go on working."""
    _KERNELS.clear()

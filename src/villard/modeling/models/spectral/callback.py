"""Models written in plain numpy, which JAX can't trace, with derivatives by finite differences."""

from functools import partial
from typing import Any

import numpy as np

__all__ = ["traced_by_callback"]

#: Relative step of the differences. With five points the truncation error is of order step⁴, and rounding
#: adds 1e-13 to first and 1e-10 to second derivatives of a function that is exact to rounding.
_STEP = 1e-3
_OFFSETS = np.array([-2.0, -1.0, 1.0, 2.0])
_WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0


def traced_by_callback(function: Any, free: tuple[int, ...]) -> Any:
    """Return a function that JAX can trace, of one that only takes numpy arrays.

    Its derivatives are central differences of fourth order, second derivatives those of first ones.

    Parameters
    ----------
    function : callable
        ``f(energy, parameters)`` of arrays, of any shape and of shape (k,), returning the energies' shape.
    free : tuple of int
        Positions of the parameters by which it may be differentiated; others count as constant, which
        saves their evaluations.

    Examples
    --------
    >>> from villard._jax import jax, jnp
    >>> f = traced_by_callback(lambda energy, p: energy ** p[0], (0,))
    >>> energy = jnp.array([1.0, 2.0])
    >>> jax.jacfwd(f, argnums=1)(energy, jnp.array([2.0])).round(6).tolist()
    [[0.0], [2.772589]]
    """
    from villard._jax import jax, jnp

    @partial(jax.custom_jvp)
    def traced(energy: Any, parameters: Any) -> Any:
        shape = jax.ShapeDtypeStruct(energy.shape, jnp.float64)
        host = partial(_on_host, function, energy.ndim)
        return jax.pure_callback(host, shape, energy, parameters, vmap_method="expand_dims")

    def jvp(primals: Any, tangents: Any) -> Any:
        energy, parameters = primals
        d_energy, d_parameters = (_dense(t) for t in tangents)
        tangent = jnp.zeros(energy.shape)
        if d_parameters is not None and free:
            tangent = tangent + _difference_parameters(traced, energy, parameters, d_parameters, free)
        if d_energy is not None:
            # Energies are constant in fits; in the local index they are what is differentiated by.
            values = jnp.stack([traced(energy * (1 + _STEP * o), parameters) for o in _OFFSETS])
            tangent = tangent + d_energy * jnp.tensordot(_WEIGHTS, values, 1) / (_STEP * energy)
        return traced(energy, parameters), tangent

    traced.defjvp(jvp, symbolic_zeros=True)
    return traced


def _dense(tangent: Any) -> Any:
    from jax.custom_derivatives import SymbolicZero

    return None if isinstance(tangent, SymbolicZero) else tangent


def _difference_parameters(
    traced: Any, energy: Any, parameters: Any, d_parameters: Any, free: tuple[int, ...]
) -> Any:
    """Sum over parameters of the derivative times the tangent; all evaluations in one callback."""
    from villard._jax import jax, jnp

    index = np.array(free)
    steps = _STEP * jnp.where(parameters[index] == 0, 1.0, jnp.abs(parameters[index]))
    direction = jnp.zeros((len(free), parameters.shape[0])).at[np.arange(len(free)), index].set(steps)
    shifted = parameters + _OFFSETS[:, None, None] * direction
    values = jax.vmap(jax.vmap(traced, (None, 0)), (None, 0))(energy, shifted)
    slopes = jnp.tensordot(_WEIGHTS, values, 1) / steps.reshape(-1, *(1,) * energy.ndim)
    return jnp.tensordot(d_parameters[index], slopes, 1)


def _on_host(function: Any, n_dim: int, energy: Any, parameters: Any) -> np.ndarray:
    """Call the function for each element of the leading (batch) dimensions."""
    energy, parameters = np.asarray(energy), np.asarray(parameters)
    batch = np.broadcast_shapes(energy.shape[: energy.ndim - n_dim], parameters.shape[:-1])
    shape = energy.shape[energy.ndim - n_dim :]
    energies = np.broadcast_to(energy, batch + shape).reshape(-1, *shape)
    rows = np.broadcast_to(parameters, batch + parameters.shape[-1:]).reshape(-1, parameters.shape[-1])
    values = [np.broadcast_to(function(e, p), shape) for e, p in zip(energies, rows, strict=True)]
    return np.reshape(np.array(values, dtype=float), batch + shape)

"""Models written in plain numpy, which JAX can't trace, with derivatives by finite differences."""

from typing import Any

import numpy as np

__all__ = ["traced_by_callback"]

#: Relative step of central differences: truncation 1e-8, rounding 1e-12, and 1e-8 for second derivatives.
_STEP = 1e-4


def traced_by_callback(function: Any) -> Any:
    """Return a function that JAX can trace, of one that only takes numpy arrays.

    Its derivatives by the parameters are central differences, and so, of these, are second
    derivatives: accurate to about 1e-8 and 1e-6 where the function itself is accurate to rounding.

    Parameters
    ----------
    function : callable
        ``f(energy, parameters)`` of arrays (n,) and (k,), returning (n,).
    """
    from villard._jax import jax, jnp

    def call(energy: Any, parameters: Any) -> Any:
        return np.asarray(function(np.asarray(energy), np.asarray(parameters)), dtype=float)

    @jax.custom_jvp
    def traced(energy: Any, parameters: Any) -> Any:
        shape = jax.ShapeDtypeStruct(energy.shape, jnp.float64)
        return jax.pure_callback(call, shape, energy, parameters, vmap_method="sequential")

    @traced.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        energy, parameters = primals
        d_energy, d_parameters = tangents
        steps = jnp.diag(_STEP * jnp.where(parameters == 0, 1.0, jnp.abs(parameters)))
        result = traced(energy, parameters)
        tangent = jnp.zeros_like(result)
        for step, d in zip(steps, d_parameters, strict=True):
            difference = traced(energy, parameters + step) - traced(energy, parameters - step)
            tangent = tangent + d * difference / (2 * jnp.sum(step))
        # Energies are constant in fits; in the local index they are what is differentiated by.
        width = _STEP * energy
        slope = (traced(energy + width, parameters) - traced(energy - width, parameters)) / (2 * width)
        return result, tangent + d_energy * slope

    return traced

"""Compiled functions of posteriors, kept by structure: a second problem like the first compiles nothing."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from villard._jax import jax, jnp
from villard.bayes.coordinates import Space

__all__ = ["PosteriorKernels", "clear_kernels", "kernels_of"]


class PosteriorKernels:
    """Functions of θ and the data; `jax.jit` compiles each when it is first called.

    Those on the real line take z, from which `Space.from_real` makes θ.
    """

    def __init__(self, log_likelihood: Callable[[Any, Any], Any], space: Space) -> None:
        self._space = space
        self._likelihood = log_likelihood
        self.pure_log_likelihood = self._where_allowed
        self.pure_log_posterior = lambda theta, data: (
            self._where_allowed(theta, data) + self._space.log_prior(theta)
        )
        self.log_likelihood = jax.jit(self._where_allowed)
        self.log_prior = jax.jit(lambda theta, data: space.log_prior(theta))
        self.log_posterior = jax.jit(self.pure_log_posterior)
        over = (0, None)
        self.log_likelihood_many = jax.jit(jax.vmap(self._where_allowed, over))
        self.log_prior_many = jax.jit(jax.vmap(lambda theta, data: space.log_prior(theta), over))
        self.log_posterior_many = jax.jit(jax.vmap(self.pure_log_posterior, over))
        self.gradient = jax.jit(jax.vmap(jax.grad(self.pure_log_posterior), over))
        self.real_many = jax.jit(jax.vmap(self.real_density, over))
        self.real_gradient = jax.jit(jax.value_and_grad(self.real_log_density))

    def _where_allowed(self, theta: Any, data: Any) -> Any:
        """ln L, minus infinity where the prior is zero: there models may be undefined."""
        # Plus infinity is allowed: Dirichlet densities with concentrations below 1, where a share is 0.
        allowed = self._space.log_prior(theta) > -jnp.inf
        value = self._likelihood(theta, data)
        return jnp.where(allowed, jnp.where(jnp.isnan(value), -jnp.inf, value), -jnp.inf)

    def real_log_density(self, z: Any, data: Any) -> Any:
        """ln L + ln p at a point of the real line, p being the density there."""
        theta, log_prior = self._space.from_real(z)
        return self._likelihood(theta, data) + log_prior

    def real_density(self, z: Any, data: Any) -> Any:
        """θ, ln L and ln p (on the real line) in one vector, shape (n_dim + 2,)."""
        theta, log_prior = self._space.from_real(z)
        value = self._likelihood(theta, data)
        value = jnp.where(jnp.isnan(value), -jnp.inf, value)
        return jnp.concatenate([theta, jnp.stack([value, log_prior])])


_KERNELS: dict[Hashable, PosteriorKernels] = {}


def kernels_of(
    key: Hashable, make: Callable[[], Callable[[Any, Any], Any]], space: Space
) -> PosteriorKernels:
    """Return the functions of a structure, made once per process."""
    if key not in _KERNELS:
        _KERNELS[key] = PosteriorKernels(make(), space)
    return _KERNELS[key]


def clear_kernels() -> None:
    """Forget all compiled functions of posteriors, to give their memory back."""
    _KERNELS.clear()

"""Errors of spectra: exact derivatives times the covariance, or draws from it."""

from collections.abc import Hashable
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel, order_for, spectral_function

__all__ = ["linear_errors", "local_index", "local_index_error", "pivot_energy", "sampled_errors"]

Array = NDArray[np.float64]
_JACOBIANS: dict[Hashable, Any] = {}


def _values(model: SpectralModel) -> Array:
    return np.array([p.engine_value for p in model.parameters])


def _covariance(model: SpectralModel) -> Array:
    factor = np.array([p.engine_factor for p in model.parameters])
    return model.covariance.data * np.outer(factor, factor)


def _compiled(pure: PureSpectrum, kind: str, order: int) -> Any:
    """Value and Jacobian in the parameters, compiled once per code, kind and quadrature."""
    key = (pure.key, kind, order)
    if key not in _JACOBIANS:
        from villard._jax import jax, jnp

        function = _log_slope(pure) if kind == "index" else spectral_function(pure, kind, order)

        def value_and_jacobian(energies: Any, parameters: Any, arrays: Any) -> Any:
            def f(p: Any) -> Any:
                shape = jnp.broadcast_shapes(*(e.shape for e in energies))
                return jnp.broadcast_to(function(*energies, p, arrays), shape)

            return f(parameters), jax.jacfwd(f)(parameters)

        _JACOBIANS[key] = jax.jit(value_and_jacobian)
    return _JACOBIANS[key]


def _log_slope(pure: PureSpectrum) -> Any:
    """Local index -d ln(flux) / d ln(energy) as a function of energies, parameters, arrays."""

    def function(energy: Any, parameters: Any, arrays: Any) -> Any:
        from villard._jax import jax, jnp

        def log_flux(log_energy: Any) -> Any:
            return jnp.log(pure.evaluate(jnp.exp(log_energy), parameters, arrays))

        log_energy = jnp.log(energy)
        slope = jax.jvp(log_flux, (log_energy,), (jnp.ones_like(log_energy),))[1]
        return -slope

    return function


def _jacobian(model: SpectralModel, kind: str, energies: tuple[Array, ...]) -> tuple[Array, Array]:
    import villard._jax  # noqa: F401 - sets JAX to 64 bit before arrays are made

    pure = model.pure()
    function = _compiled(pure, kind, order_for(energies))
    value, jacobian = function(
        tuple(np.asarray(e, dtype=float) for e in energies), _values(model), pure.arrays
    )
    return np.asarray(value), np.asarray(jacobian)


def linear_errors(model: SpectralModel, kind: str, energies: tuple[Array, ...]) -> Array:
    """Return value and (twice) its standard error, by first-order propagation; shape (3, ...)."""
    value, jacobian = _jacobian(model, kind, energies)
    variance = np.einsum("...i,ij,...j->...", jacobian, _covariance(model), jacobian)
    error = np.sqrt(np.clip(variance, 0, None))
    return np.stack([value, error, error])


def sampled_errors(
    model: SpectralModel, kind: str, energies: tuple[Array, ...], n_samples: int, random_state: Any
) -> Array:
    """Return median and distances to the 16 % and 84 % quantiles, for draws from the covariance."""
    rng = np.random.default_rng(random_state)
    pure = model.pure()
    draws = rng.multivariate_normal(_values(model), _covariance(model), size=n_samples, method="eigh")
    function = spectral_function(pure, kind, order_for(energies))
    with np.errstate(all="ignore"):
        samples = np.stack(
            [np.broadcast_to(function(*energies, p, pure.arrays), energies[0].shape) for p in draws]
        )
    low, median, high = np.nanquantile(samples, [0.15865525393145707, 0.5, 0.8413447460685429], axis=0)
    return np.stack([median, median - low, high - median])


def local_index(model: SpectralModel, energy: Array) -> Any:
    """Return the local index."""
    return _jacobian(model, "index", (energy,))[0][()]


def local_index_error(model: SpectralModel, energy: Array) -> Array:
    """Return the local index and (twice) its standard error; shape (3, ...)."""
    return linear_errors(model, "index", (energy,))


def pivot_energy(model: SpectralModel) -> u.Quantity:
    """Return the energy of smallest relative error, between 10⁻³ and 10³ reference energies."""
    from scipy.optimize import minimize_scalar

    references = [p for p in model.parameters if p.name in {"reference", "ebreak"}]
    center = np.log(references[0].engine_value) if references else 0.0
    if not np.any(np.diag(_covariance(model)) > 0):
        return np.nan * u.TeV

    def relative(log_energy: Any) -> Any:
        value, error, _ = linear_errors(model, "evaluate", (np.exp(np.atleast_1d(log_energy)),))
        return np.log(error / value)

    grid = center + np.linspace(-np.log(1e3), np.log(1e3), 301)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(relative(grid), nan=np.inf)
    best = int(np.argmin(values))
    if best in (0, len(grid) - 1):
        return np.nan * u.TeV
    found = minimize_scalar(
        lambda x: float(relative(x)[0]), bounds=(grid[best - 1], grid[best + 1]), method="bounded"
    )
    return np.exp(found.x) * u.TeV

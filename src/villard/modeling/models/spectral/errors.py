"""Errors of spectra: exact derivatives times the covariance, or draws from it."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.modeling.models.spectral.core import SpectralModel, closed_form, engine_values, rule_for
from villard.modeling.models.spectral.pure import PureSpectrum

__all__ = [
    "draw_parameters",
    "linear_errors",
    "local_index",
    "pivot_energy",
    "value_and_jacobian",
    "with_errors",
]

Array = NDArray[np.float64]

_COMPILED: OrderedDict[Hashable, Any] = OrderedDict()
_MAX_COMPILED = 200
_N_SAMPLES = 10_000
_ONE_SIGMA = (0.15865525393145707, 0.5, 0.8413447460685429)
#: Parameters times energies that are evaluated at once for draws: some hundred megabytes.
_CHUNK = 10_000_000


def with_errors(
    model: SpectralModel,
    kind: str,
    energies: tuple[Array, ...],
    n_samples: int | None = None,
    random_state: Any = None,
    samples: Any = None,
    method: str | None = None,
) -> Array:
    """Return value, negative and positive error, shape (3, ...); see `SpectralModel.evaluate_error`."""
    given = n_samples is not None or random_state is not None or samples is not None
    if method is None:
        method = "sampling" if given else "linear"
    if method == "linear":
        if given:
            raise ModelError("method 'linear' takes no n_samples, random_state or samples")
        return linear_errors(model, kind, energies)
    if method != "sampling":
        raise ModelError(f"method must be 'linear' or 'sampling', found {method!r}")
    draws = (
        draw_parameters(model, _N_SAMPLES if n_samples is None else n_samples, random_state)
        if samples is None
        else _complete(model, samples)
    )
    return sampled_errors(model, kind, energies, draws)


def _compiled(pure: PureSpectrum, kind: str, what: str) -> Any:
    """Return a compiled ``f(energies, parameters, arrays)``, kept once per code."""
    key = (pure.key, kind, what)
    if key in _COMPILED:
        _COMPILED.move_to_end(key)
        return _COMPILED[key]
    from villard._jax import jax, jnp

    function = _log_slope(pure) if kind == "index" else closed_form(pure, kind)
    assert function is not None

    def value(energies: Any, parameters: Any, arrays: Any) -> Any:
        return jnp.broadcast_to(function(*energies, parameters, arrays), energies[0].shape)

    def value_and_jacobian(energies: Any, parameters: Any, arrays: Any) -> Any:
        def both(p: Any) -> Any:
            result = value(energies, p, arrays)
            return result, result

        jacobian, result = jax.jacfwd(both, has_aux=True)(parameters)
        return result, jacobian

    if what == "jacobian":
        compiled = jax.jit(value_and_jacobian)
    else:
        compiled = jax.jit(jax.vmap(value, (None, 0, None)))
    _COMPILED[key] = compiled
    if len(_COMPILED) > _MAX_COMPILED:
        _COMPILED.popitem(last=False)
    return compiled


def _log_slope(pure: PureSpectrum) -> Any:
    """Local index -d ln(flux) / d ln(energy) as a function of energies, parameters, arrays."""

    def function(energy: Any, parameters: Any, arrays: Any) -> Any:
        from villard._jax import jax, jnp

        def flux(e: Any) -> Any:
            return jnp.broadcast_to(pure.evaluate(e, parameters, arrays), e.shape)

        value, slope = jax.jvp(flux, (energy,), (energy,))
        return -slope / value

    return function


def _padded(energies: tuple[Array, ...]) -> tuple[tuple[Array, ...], int]:
    """Flatten energies and repeat the last ones up to a power of two, so that few lengths are compiled."""
    n = energies[0].size
    length = 1 << max(3, (n - 1).bit_length())
    return tuple(np.append(e.ravel(), np.full(length - n, e.ravel()[-1])) for e in energies), n


def value_and_jacobian(model: SpectralModel, kind: str, energies: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return values and their derivatives by the parameters in the engine's units, shape (..., n)."""
    pure = model.pure()
    if kind in ("integral", "energy_flux") and closed_form(pure, kind) is None:
        rule = rule_for(model, kind, *(e.ravel() for e in energies))
        value, jacobian = (rule.sum(a) for a in value_and_jacobian(model, "evaluate", (rule.energy,)))
    elif energies[0].size == 0:
        value, jacobian = np.empty(0), np.empty((0, pure.n_parameters))
    else:
        function = _compiled(pure, kind, "jacobian")
        flat, n = _padded(energies)
        value, jacobian = (np.asarray(a)[:n] for a in function(flat, engine_values(model), pure.arrays))
    shape = energies[0].shape
    return value.reshape(shape), jacobian.reshape(*shape, pure.n_parameters)


def _scaled_covariance(model: SpectralModel) -> tuple[Array, Array]:
    """Return standard errors in the engine's units, and the correlation matrix.

    Taken apart because variances of 1e-26 beside those of 0.01 drown in rounding.
    """
    covariance = model.covariance.data
    errors = np.sqrt(np.clip(np.diag(covariance), 0, None))
    safe = np.where(errors > 0, errors, 1.0)
    factor = np.array([p.engine_factor for p in model.parameters], dtype=float)
    return errors * factor, covariance / np.outer(safe, safe)


def linear_errors(
    model: SpectralModel, kind: str, energies: tuple[Array, ...], known: NDArray[np.bool_] | None = None
) -> Array:
    """Return value and (twice) its standard error, by first-order propagation; shape (3, ...).

    Parameters
    ----------
    model : `SpectralModel`
        Spectrum.
    kind : str
        "evaluate", "integral", "energy_flux" or "index".
    energies : tuple of array
        Energies, or the ends of ranges (TeV).
    known : array of bool, optional
        Parameters whose errors don't count.
    """
    value, jacobian = value_and_jacobian(model, kind, energies)
    errors, correlation = _scaled_covariance(model)
    if known is not None:
        errors = np.where(known, 0.0, errors)
    # A parameter without error doesn't matter, not even where the derivative by it is infinite.
    scaled = np.where(errors > 0, jacobian, 0.0) * errors
    variance = np.einsum("...i,ij,...j->...", scaled, correlation, scaled)
    error = np.sqrt(np.clip(variance, 0, None))
    return np.stack([value, error, error])


def draw_parameters(model: SpectralModel, n_samples: int, random_state: Any) -> Array:
    """Return draws of all parameters in their own units, shape (n_samples, n_parameters).

    Raises
    ------
    ModelError
        If the covariance isn't one: it has a direction of negative variance.
    """
    errors, correlation = _scaled_covariance(model)
    values, vectors = np.linalg.eigh(correlation)
    if values.size and values[0] < -1e-6:
        raise ModelError(
            f"{type(model).__name__}: can't draw from the covariance, its correlation matrix has the "
            f"eigenvalue {values[0]:.3g}, expected none below 0"
        )
    rng = np.random.default_rng(random_state)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    draws = rng.standard_normal((int(n_samples), len(values))) @ root.T
    factor = np.array([p.engine_factor for p in model.parameters], dtype=float)
    return model.parameters.value + draws * errors / factor


def _complete(model: SpectralModel, samples: Any) -> Array:
    """Return draws with a column per parameter, of draws that may lack those of the frozen ones."""
    samples = np.asarray(samples, dtype=float)
    free = np.array([not p.frozen for p in model.parameters], dtype=bool)
    if samples.ndim != 2 or samples.shape[1] not in (len(free), free.sum()):
        raise ModelError(
            f"{type(model).__name__}: expected samples of shape (n, {len(free)}), or (n, {free.sum()}) for "
            f"the free parameters, found {samples.shape}"
        )
    if samples.shape[1] == len(free):
        return samples
    result = np.tile(model.parameters.value, (len(samples), 1))
    result[:, free] = samples
    return result


def sampled_errors(model: SpectralModel, kind: str, energies: tuple[Array, ...], draws: Array) -> Array:
    """Return median and distances to the quantiles of one standard deviation, for draws of parameters."""
    values = _sampled_values(model, kind, energies, draws)
    low, median, high = np.nanquantile(values, _ONE_SIGMA, axis=0)
    return np.stack([median, median - low, high - median])


def _sampled_values(model: SpectralModel, kind: str, energies: tuple[Array, ...], draws: Array) -> Array:
    pure = model.pure()
    shape = energies[0].shape
    if closed_form(pure, kind) is None:
        rule = rule_for(model, kind, *(e.ravel() for e in energies))
        step = max(1, _CHUNK // rule.energy.size)
        chunks = [draws[i : i + step] for i in range(0, len(draws), step)]
        parts = [rule.sum(_sampled_values(model, "evaluate", (rule.energy,), c).T).T for c in chunks]
        return np.concatenate(parts).reshape(len(draws), *shape)
    factor = np.array([p.engine_factor for p in model.parameters], dtype=float)
    if not model.traceable:
        rows = [pure.evaluate(energies[0], row, pure.arrays) for row in draws * factor]
        return np.stack([np.broadcast_to(row, shape) for row in rows])
    flat, n = _padded(energies)
    values = _compiled(pure, kind, "samples")(flat, draws * factor, pure.arrays)
    return np.asarray(values)[:, :n].reshape(len(draws), *shape)


def local_index(model: SpectralModel, energy: Array) -> Any:
    """Return the local index."""
    return value_and_jacobian(model, "index", (energy,))[0][()]


def pivot_energy(model: SpectralModel) -> u.Quantity:
    """Return the energy of smallest relative error, between 10⁻³ and 10³ reference energies."""
    from scipy.optimize import minimize_scalar

    references = [p for p in model.parameters if p.name in {"reference", "ebreak"}]
    center = np.log(references[0].engine_value) if references else 0.0
    unit = references[0].unit if references else u.TeV
    if not np.any(_scaled_covariance(model)[0] > 0):
        return np.nan * unit

    def relative(log_energy: Any) -> Any:
        value, error, _ = linear_errors(model, "evaluate", (np.exp(np.atleast_1d(log_energy)),))
        return error / value

    grid = center + np.linspace(-np.log(1e3), np.log(1e3), 301)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(relative(grid), nan=np.inf)
    best = int(np.argmin(values))
    if best in (0, len(grid) - 1) or np.ptp(values) == 0:
        return np.nan * unit
    found = minimize_scalar(
        lambda x: float(relative(x)[0]),
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return u.Quantity(np.exp(found.x), "TeV").to(unit)

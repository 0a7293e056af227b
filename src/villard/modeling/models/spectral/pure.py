"""A spectral model as pure functions of arrays: what the likelihood compiles."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.utils.array import namespace

__all__ = ["PureSpectrum", "by_callback", "unpack"]

Function = Callable[..., Any]


@dataclass(frozen=True)
class PureSpectrum:
    """A spectral model as pure functions of arrays: what the likelihood knows of it.

    Functions are called as ``evaluate(energy, parameters, arrays)`` and
    ``integral(energy_min, energy_max, parameters, arrays)``, with ``parameters`` indexable by
    position, all in the engine's units, in numpy or in JAX.

    Parameters
    ----------
    key : hashable
        Identifies the code: models with equal keys are compiled and evaluated together.
    n_parameters : int
        Number of parameters.
    evaluate : callable
        Differential flux.
    integral : callable or None
        Integral in closed form, if there is one.
    energy_flux : callable or None
        Integral of energy times flux in closed form, if there is one.
    arrays : tuple of arrays
        Data of the model (tables); equal shapes are needed within a key.
    norm_index : int or None
        Position of the parameter that the model is proportional to.
    breaks : callable or None
        ``breaks(parameters, arrays)``: energies at which the flux or its slope jumps, shape
        (n_breaks,). Integrals are split there.
    """

    key: Hashable
    n_parameters: int
    evaluate: Function
    integral: Function | None = None
    energy_flux: Function | None = None
    arrays: tuple[NDArray[np.float64], ...] = ()
    norm_index: int | None = None
    breaks: Function | None = None


def unpack(function: Function | None, n: int) -> Any:
    """Turn ``f(energy, ..., *parameters)`` into ``f(energy, ..., parameters, arrays)``, or leave `None`.

    Raises
    ------
    ModelError
        When the result is called, if the function can't be traced by JAX.
    """
    if function is None:
        return None

    def wrapped(*args: Any) -> Any:
        *energies, parameters, _ = args
        try:
            return function(*energies, *(parameters[i] for i in range(n)))
        except Exception as error:
            if not any(word in type(error).__name__ for word in ("Tracer", "Concretization")):
                raise
            name = getattr(function, "__qualname__", "evaluate")
            raise ModelError(
                f"{name} can't be differentiated: it turns its arguments into numpy arrays or asks for their "
                "values. Use jax.numpy, or villard.utils.array.namespace, in it instead of numpy, or set "
                "traceable = False on the model for finite differences"
            ) from error

    return wrapped


def by_callback(evaluate: Function, free: tuple[int, ...]) -> Function:
    """Wrap a function that only takes numpy arrays so that JAX can trace and differentiate it.

    Parameters
    ----------
    evaluate : callable
        ``f(energy, parameters)``.
    free : tuple of int
        Positions of the parameters by which it may be differentiated.
    """
    traced: list[Function] = []

    def wrapped(energy: Any, parameters: Any, arrays: Any) -> Any:
        xp = namespace(energy, parameters)
        if xp is np:
            return evaluate(np.asarray(energy), np.asarray(parameters))
        if not traced:
            from villard.modeling.models.spectral.callback import traced_by_callback

            traced.append(traced_by_callback(evaluate, free))
        return traced[0](xp.asarray(energy), xp.asarray(parameters))

    return wrapped

"""Base class of spectral models and the pure functions that the likelihood compiles."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.modeling.models.core import ModelBase
from villard.utils.array import namespace
from villard.utils.units import canonical_unit

__all__ = ["PureSpectrum", "SpectralModel"]

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
    """

    key: Hashable
    n_parameters: int
    evaluate: Function
    integral: Function | None = None
    energy_flux: Function | None = None
    arrays: tuple[NDArray[np.float64], ...] = ()
    norm_index: int | None = None


class SpectralModel(ModelBase):
    """Base class of spectral models.

    A subclass declares `Parameter` attributes and a static method ``evaluate(energy, ...)`` of
    plain arrays in TeV, cm, s that takes the parameters in the order of declaration. It may add
    ``evaluate_integral(energy_min, energy_max, ...)`` and ``evaluate_energy_flux(...)``.
    """

    kind: ClassVar[str] = "spectral"

    @staticmethod
    def evaluate(energy: Any, *parameters: Any) -> Any:
        """Differential flux as a pure function of arrays; subclasses define it."""
        raise NotImplementedError

    evaluate_integral: ClassVar[Function | None] = None
    evaluate_energy_flux: ClassVar[Function | None] = None

    @property
    def output_unit(self) -> u.UnitBase:
        """Unit of the flux that ``evaluate`` returns, in the engine's units."""
        for parameter in self.parameters:
            if parameter.is_norm:
                return canonical_unit(parameter.unit)
        return u.Unit("cm-2 s-1 TeV-1")

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions of arrays."""
        cls = type(self)
        n = len(self.default_parameters)
        norms = [i for i, p in enumerate(self.parameters) if p.is_norm]
        return PureSpectrum(
            key=(cls,),
            n_parameters=n,
            evaluate=_unpack(cls.evaluate, n),
            integral=_unpack(cls.evaluate_integral, n),
            energy_flux=_unpack(cls.evaluate_energy_flux, n),
            norm_index=norms[0] if len(norms) == 1 else None,
        )


def _unpack(function: Function | None, n: int) -> Any:
    """Turn ``f(energy, ..., *parameters)`` into ``f(energy, ..., parameters, arrays)``."""
    if function is None:
        return None

    def wrapped(*args: Any) -> Any:
        *energies, parameters, _ = args
        return function(*energies, *(parameters[i] for i in range(n)))

    return wrapped


def quadrature_order(energy_edges: NDArray[np.float64]) -> int:
    """Return the number of Gauss-Legendre nodes per bin that integrates smooth spectra to 1e-10."""
    width = float(np.max(np.diff(np.log(energy_edges)))) if len(energy_edges) > 1 else 0.0
    return int(np.clip(np.ceil(4 + 4 * width), 4, 40))


def integrate(function: Function, energy_min: Any, energy_max: Any, order: int) -> Any:
    """Integrate over energy by Gauss-Legendre quadrature in ln E.

    Parameters
    ----------
    function : callable
        Function of energy.
    energy_min, energy_max : array
        Bounds; any common shape.
    order : int
        Number of nodes per interval.

    Returns
    -------
    array
        Integral per interval.
    """
    xp = namespace(energy_min, energy_max)
    nodes, weights = np.polynomial.legendre.leggauss(order)
    log_min, log_max = xp.log(energy_min), xp.log(energy_max)
    half = 0.5 * (log_max - log_min)
    energy = xp.exp(log_min[..., None] + half[..., None] * (nodes + 1))
    return xp.sum(function(energy) * energy * weights, axis=-1) * half

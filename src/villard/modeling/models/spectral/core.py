"""Base class of spectral models and the pure functions that the likelihood compiles."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.core import ModelBase
from villard.utils.array import namespace
from villard.utils.units import canonical_unit, to_canonical, unit_text

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
    #: Set to False where ``evaluate`` only works on numpy arrays: derivatives are then finite differences.
    traceable: ClassVar[bool] = True

    @staticmethod
    def evaluate(energy: Any, *parameters: Any) -> Any:
        """Differential flux as a pure function of arrays; subclasses define it."""
        raise NotImplementedError

    def __call__(self, energy: Any) -> u.Quantity:
        """Return the differential flux.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Energies, of any shape.

        Returns
        -------
        `~astropy.units.Quantity`
            Flux in the unit of the amplitude, of the same shape.
        """
        return self._quantity("evaluate", to_canonical(_energy(energy)))

    def integral(self, energy_min: Any, energy_max: Any) -> u.Quantity:
        """Return the flux integrated between energies; arrays broadcast."""
        return self._quantity("integral", *_bounds(energy_min, energy_max))

    def energy_flux(self, energy_min: Any, energy_max: Any) -> u.Quantity:
        """Return energy times flux integrated between energies; arrays broadcast."""
        return self._quantity("energy_flux", *_bounds(energy_min, energy_max))

    def _quantity(self, kind: str, *energies: NDArray[np.float64]) -> u.Quantity:
        parameters = np.array([p.engine_value for p in self.parameters])
        with np.errstate(over="ignore", under="ignore"):
            values = spectral_function(self.pure(), kind, order_for(energies))(
                *energies, parameters, self.pure().arrays
            )
        shape = np.broadcast_shapes(*(np.shape(e) for e in energies))
        return u.Quantity(np.broadcast_to(values, shape).copy(), self._engine_unit(kind)).to(
            self.unit_of(kind)
        )

    def _engine_unit(self, kind: str) -> u.UnitBase:
        return self.output_unit * u.TeV ** {"evaluate": 0, "integral": 1, "energy_flux": 2}[kind]

    def unit_of(self, kind: str) -> u.UnitBase:
        """Return the unit of results: of ``"evaluate"``, ``"integral"`` or ``"energy_flux"``."""
        return self._engine_unit(kind)

    def evaluate_error(
        self,
        energy: Any,
        method: str = "linear",
        n_samples: int = 10_000,
        random_state: Any = None,
    ) -> u.Quantity:
        """Return the differential flux and its errors.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Energies, of any shape.
        method : {"linear", "sampling"}
            ``"linear"``: covariance times exact derivatives. ``"sampling"``: median and 68 % quantiles
            for parameters drawn from their covariance.
        n_samples : int
            Number of draws.
        random_state : int or `~numpy.random.Generator`, optional
            Seed of the draws.

        Returns
        -------
        `~astropy.units.Quantity`
            Flux, negative and positive error: shape (3, ...).
        """
        return self._with_error("evaluate", (to_canonical(_energy(energy)),), method, n_samples, random_state)

    def integral_error(
        self,
        energy_min: Any,
        energy_max: Any,
        method: str = "linear",
        n_samples: int = 10_000,
        random_state: Any = None,
    ) -> u.Quantity:
        """Return the integral flux and its errors; parameters as for `evaluate_error`."""
        bounds = _bounds(energy_min, energy_max)
        return self._with_error("integral", bounds, method, n_samples, random_state)

    def energy_flux_error(
        self,
        energy_min: Any,
        energy_max: Any,
        method: str = "linear",
        n_samples: int = 10_000,
        random_state: Any = None,
    ) -> u.Quantity:
        """Return the energy flux and its errors; parameters as for `evaluate_error`."""
        bounds = _bounds(energy_min, energy_max)
        return self._with_error("energy_flux", bounds, method, n_samples, random_state)

    def _with_error(
        self,
        kind: str,
        energies: tuple[NDArray[np.float64], ...],
        method: str,
        n_samples: int,
        random_state: Any,
    ) -> u.Quantity:
        from villard.modeling.models.spectral.errors import linear_errors, sampled_errors

        if method == "linear":
            result = linear_errors(self, kind, energies)
        elif method == "sampling":
            result = sampled_errors(self, kind, energies, n_samples, random_state)
        else:
            raise ModelError(f"method must be 'linear' or 'sampling', found {method!r}")
        return u.Quantity(result, self._engine_unit(kind)).to(self.unit_of(kind))

    def spectral_index(self, energy: Any, epsilon: float | None = None) -> Any:
        """Return the local index -d ln(flux) / d ln(energy), by exact differentiation.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Energies.
        epsilon : float, optional
            Kept for Gammapy scripts, whose step it is.
        """
        from villard.modeling.models.spectral.errors import local_index

        return local_index(self, to_canonical(_energy(energy)))

    def spectral_index_error(self, energy: Any, epsilon: float | None = None) -> Any:
        """Return the local index and its error (twice); shape (3, ...)."""
        from villard.modeling.models.spectral.errors import local_index_error

        return local_index_error(self, to_canonical(_energy(energy)))

    def inverse(self, value: Any, energy_min: Any = "0.1 TeV", energy_max: Any = "100 TeV") -> u.Quantity:
        """Return the energy at which the flux has a value; NaN where it has not between the bounds.

        Parameters
        ----------
        value : `~astropy.units.Quantity`
            Differential fluxes.
        energy_min, energy_max : `~astropy.units.Quantity`
            Bounds; the crossing of lowest energy is returned.
        """
        from villard.modeling.models.spectral.inverse import inverse_all

        value = u.Quantity(value)
        found = [inverse_all(self, v, energy_min, energy_max) for v in value.ravel()]
        energies = [energy[0].to_value("TeV") if len(energy) else np.nan for energy in found]
        return u.Quantity(np.reshape(energies, value.shape), "TeV")

    def inverse_all(self, values: Any, energy_min: Any = "0.1 TeV", energy_max: Any = "100 TeV") -> Any:
        """Return all energies at which the flux has a value, or a list of them for several values."""
        from villard.modeling.models.spectral.inverse import inverse_all

        values = u.Quantity(values)
        if values.isscalar:
            return inverse_all(self, values, energy_min, energy_max)
        return [inverse_all(self, v, energy_min, energy_max) for v in values.ravel()]

    @property
    def e_peak(self) -> u.Quantity:
        """Energy at which E² dN/dE is highest, between 1e-6 and 1e6 TeV; NaN if it has no maximum there."""
        from villard.modeling.models.spectral.inverse import peak_energy

        return peak_energy(self)

    def __add__(self, other: Any) -> "SpectralModel":
        return self._combine(self, other, "add")

    def __radd__(self, other: Any) -> "SpectralModel":
        return self._combine(other, self, "add")

    def __sub__(self, other: Any) -> "SpectralModel":
        return self._combine(self, other, "sub")

    def __rsub__(self, other: Any) -> "SpectralModel":
        return self._combine(other, self, "sub")

    def __mul__(self, other: Any) -> "SpectralModel":
        return self._combine(self, other, "mul")

    def __rmul__(self, other: Any) -> "SpectralModel":
        return self._combine(other, self, "mul")

    def __truediv__(self, other: Any) -> "SpectralModel":
        return self._combine(self, other, "truediv")

    @staticmethod
    def _combine(first: Any, second: Any, operator: str) -> "SpectralModel":
        from villard.modeling.models.spectral.compound import CompoundSpectralModel

        return CompoundSpectralModel(first, second, operator)

    # Otherwise numpy takes a quantity that stands on the left apart into its elements.
    __array_ufunc__ = None

    @property
    def pivot_energy(self) -> u.Quantity:
        """Energy at which the relative error of the flux is smallest; NaN without errors."""
        from villard.modeling.models.spectral.errors import pivot_energy

        return pivot_energy(self)

    def plot(
        self,
        energy_bounds: Any,
        ax: Any = None,
        sed_type: str = "dnde",
        energy_power: float = 0,
        n_points: int = 100,
        **kwargs: Any,
    ) -> Any:
        """Plot the spectrum.

        Parameters
        ----------
        energy_bounds : tuple of `~astropy.units.Quantity`
            Lowest and highest energy, or a `~villard.maps.MapAxis`.
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot.
        sed_type : {"dnde", "e2dnde", "flux", "eflux", "norm"}
            What to plot.
        energy_power : float
            Power of energy to multiply with.
        n_points : int
            Number of energies.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        from villard.modeling.models.spectral.plot import plot_spectrum

        return plot_spectrum(self, energy_bounds, ax, sed_type, energy_power, n_points, **kwargs)

    def plot_error(
        self,
        energy_bounds: Any,
        ax: Any = None,
        sed_type: str = "dnde",
        energy_power: float = 0,
        n_points: int = 100,
        **kwargs: Any,
    ) -> Any:
        """Plot the one-sigma band of the spectrum; parameters as for `plot`, keywords for fill_between."""
        from villard.modeling.models.spectral.plot import plot_spectrum_error

        return plot_spectrum_error(self, energy_bounds, ax, sed_type, energy_power, n_points, **kwargs)

    evaluate_integral: ClassVar[Function | None] = None
    evaluate_energy_flux: ClassVar[Function | None] = None

    @property
    def output_unit(self) -> u.UnitBase:
        """Unit of the flux that ``evaluate`` returns, in the engine's units."""
        for parameter, declared in zip(self.parameters, self.default_parameters, strict=False):
            # A parameter that is linked to another model's may be something else there.
            if declared.is_norm:
                return canonical_unit(parameter.unit)
        return u.Unit("cm-2 s-1 TeV-1")

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions of arrays."""
        cls = type(self)
        n = len(self.default_parameters)
        norms = [i for i, p in enumerate(self.default_parameters) if p.is_norm]
        evaluate = _unpack(cls.evaluate, n)
        if not self.traceable:
            evaluate = _by_callback(evaluate)
        return PureSpectrum(
            key=(cls,),
            n_parameters=n,
            evaluate=evaluate,
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
        try:
            return function(*energies, *(parameters[i] for i in range(n)))
        except Exception as error:
            if "Tracer" not in type(error).__name__:
                raise
            name = getattr(function, "__qualname__", "evaluate")
            raise ModelError(
                f"{name} can't be differentiated: it turns its arguments into numpy arrays. Use jax.numpy in "
                "it instead of numpy, or set traceable = False on the model for finite differences"
            ) from error

    return wrapped


def _by_callback(evaluate: Function) -> Function:
    """Wrap a function of numpy arrays so that it can be traced."""
    traced: list[Function] = []

    def wrapped(energy: Any, parameters: Any, arrays: Any) -> Any:
        xp = namespace(energy, parameters)
        if xp is np:
            return evaluate(energy, parameters, arrays)
        if not traced:
            from villard.modeling.models.spectral.callback import traced_by_callback

            traced.append(traced_by_callback(lambda e, p: evaluate(e, p, ())))
        return traced[0](xp.asarray(energy), xp.asarray(parameters))

    return wrapped


def spectral_function(pure: PureSpectrum, kind: str, order: int) -> Function:
    """Return ``f(*energies, parameters, arrays)`` for "evaluate", "integral" or "energy_flux"."""
    if kind == "evaluate":
        return pure.evaluate
    closed = pure.integral if kind == "integral" else pure.energy_flux
    if closed is not None:
        return closed
    power = 0 if kind == "integral" else 1

    def quadrature(energy_min: Any, energy_max: Any, parameters: Any, arrays: Any) -> Any:
        def integrand(energy: Any) -> Any:
            return pure.evaluate(energy, parameters, arrays) * energy**power

        return integrate_panels(integrand, energy_min, energy_max, order)

    return quadrature


def order_for(energies: tuple[Any, ...]) -> int:
    """Return how many panels an integral between the given energies needs: one per third of a decade."""
    if len(energies) < 2:
        return 0
    width = float(np.max(np.log(energies[1] / energies[0]), initial=0.0))
    return max(1, int(np.ceil(width / 0.75)))


def integrate_panels(function: Function, energy_min: Any, energy_max: Any, n_panels: int) -> Any:
    """Integrate over wide ranges of energy: panels of equal width in ln E, 12 nodes in each."""
    xp = namespace(energy_min, energy_max)
    low, high = xp.asarray(energy_min, dtype=float), xp.asarray(energy_max, dtype=float)
    step = (xp.log(high) - xp.log(low))[..., None] / n_panels
    first = xp.log(low)[..., None] + step * np.arange(n_panels)
    return xp.sum(integrate(function, xp.exp(first), xp.exp(first + step), 12), axis=-1)


def _energy(energy: Any) -> u.Quantity:
    energy = u.Quantity(energy)
    if not energy.unit.is_equivalent(u.TeV):
        raise UnitsError(f"Expected an energy, found {unit_text(energy.unit)}")
    return energy


def _bounds(energy_min: Any, energy_max: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.broadcast_arrays(to_canonical(_energy(energy_min)), to_canonical(_energy(energy_max)))
    if not np.all((low > 0) & (high >= low)):
        raise ModelError("Integral: energies must be positive and energy_max must not be below energy_min")
    return low, high


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

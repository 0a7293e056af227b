"""Base class of spectral models: what can be asked of a spectrum, with units."""

from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.core import ModelBase, check_signature
from villard.modeling.models.spectral.pure import Function, PureSpectrum, by_callback, unpack
from villard.modeling.models.spectral.quadrature import Rule, adaptive_rule, integrate, quadrature_order
from villard.utils.units import canonical_unit, to_canonical, unit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PureSpectrum", "SpectralModel", "integrate", "quadrature_order"]

Array = NDArray[np.float64]

#: Powers of energy that come on top of the flux's unit.
_POWERS = {"evaluate": 0, "integral": 1, "energy_flux": 2}


class SpectralModel(ModelBase):
    """Base class of spectral models.

    A subclass declares `Parameter` attributes and a static method ``evaluate(energy, ...)`` of
    plain arrays in TeV, cm, s that takes the parameters in the order of declaration. It may add
    closed forms ``evaluate_integral(energy_min, energy_max, ...)`` and
    ``evaluate_energy_flux(energy_min, energy_max, ...)``, and ``evaluate_breaks(...)``, the energies
    where the flux or its slope jumps.

    Examples
    --------
    >>> from villard.modeling import Parameter
    >>> class Line(SpectralModel):
    ...     amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", is_norm=True)
    ...     slope = Parameter("slope", 0.1)
    ...
    ...     @staticmethod
    ...     def evaluate(energy, amplitude, slope):
    ...         return amplitude * (1 - slope * energy)
    >>> Line(slope=0.2).integral("1 TeV", "2 TeV")
    <Quantity 7.e-13 1 / (s cm2)>
    """

    kind: ClassVar[str] = "spectral"
    #: Set to False where ``evaluate`` only works on numpy arrays: derivatives are then finite differences.
    traceable: ClassVar[bool] = True
    evaluate_integral: ClassVar[Function | None] = None
    evaluate_energy_flux: ClassVar[Function | None] = None
    evaluate_breaks: ClassVar[Function | None] = None

    # Otherwise numpy takes a quantity that stands on the left apart into its elements.
    __array_ufunc__ = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, n_energies in (("evaluate", 1), ("evaluate_integral", 2), ("evaluate_energy_flux", 2)):
            if cls.__dict__.get(name) is not None:
                check_signature(cls, name, n_energies, cls.default_parameters.names)

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
        return self._quantity("evaluate", _energy(energy))

    def integral(self, energy_min: Any, energy_max: Any) -> u.Quantity:
        """Return the flux integrated between energies.

        In closed form where there is one, otherwise by adaptive quadrature to a relative 1e-10.

        Parameters
        ----------
        energy_min, energy_max : `~astropy.units.Quantity`
            Bounds; arrays broadcast.

        Returns
        -------
        `~astropy.units.Quantity`
            Integral flux, in the shape of the bounds.

        Raises
        ------
        ModelError
            If bounds aren't positive, finite and in order.
        """
        return self._quantity("integral", *_bounds(energy_min, energy_max))

    def energy_flux(self, energy_min: Any, energy_max: Any) -> u.Quantity:
        """Return energy times flux integrated between energies; as `integral`."""
        return self._quantity("energy_flux", *_bounds(energy_min, energy_max))

    def _quantity(self, kind: str, *energies: Array) -> u.Quantity:
        pure = self.pure()
        function = closed_form(pure, kind)
        shape = np.shape(energies[0])
        with np.errstate(over="ignore", under="ignore"):
            if function is not None:
                values = function(*energies, engine_values(self), pure.arrays)
            else:
                rule = rule_for(self, kind, *(e.ravel() for e in energies))
                flux = pure.evaluate(rule.energy, engine_values(self), pure.arrays)
                values = rule.sum(np.broadcast_to(flux, rule.energy.shape)).reshape(shape)
        values = np.broadcast_to(values, shape).copy()
        return u.Quantity(values, self._engine_unit(kind)).to(self.unit_of(kind))

    def evaluate_error(
        self,
        energy: Any,
        n_samples: int | None = None,
        random_state: Any = None,
        samples: Any = None,
        method: str | None = None,
    ) -> u.Quantity:
        """Return the differential flux and its errors.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Energies, of any shape.
        n_samples : int, optional
            Number of draws (10,000).
        random_state : int or `~numpy.random.Generator`, optional
            Seed of the draws.
        samples : array, optional
            Draws, as `sample_parameters_from_covariance` gives them.
        method : {"linear", "sampling"}, optional
            ``"linear"``: covariance times exact derivatives. ``"sampling"``: median and distances to the
            quantiles of one standard deviation, for parameters drawn from their covariance. By default
            linear, unless one of the settings of draws is given.

        Returns
        -------
        `~astropy.units.Quantity`
            Flux, negative and positive error: shape (3, ...).

        Raises
        ------
        ModelError
            If the method is unknown, or settings of draws are given for the linear one.

        Examples
        --------
        >>> from villard.modeling.models import PowerLawSpectralModel
        >>> model = PowerLawSpectralModel()
        >>> model.amplitude.error = 1e-13
        >>> dnde, errn, errp = model.evaluate_error("1 TeV")
        >>> print(dnde, errn)
        1e-12 1 / (TeV s cm2) 1e-13 1 / (TeV s cm2)
        """
        return self._with_error("evaluate", (_energy(energy),), n_samples, random_state, samples, method)

    def integral_error(
        self,
        energy_min: Any,
        energy_max: Any,
        n_samples: int | None = None,
        random_state: Any = None,
        samples: Any = None,
        method: str | None = None,
    ) -> u.Quantity:
        """Return the integral flux and its errors; parameters as for `evaluate_error`."""
        bounds = _bounds(energy_min, energy_max)
        return self._with_error("integral", bounds, n_samples, random_state, samples, method)

    def energy_flux_error(
        self,
        energy_min: Any,
        energy_max: Any,
        n_samples: int | None = None,
        random_state: Any = None,
        samples: Any = None,
        method: str | None = None,
    ) -> u.Quantity:
        """Return the energy flux and its errors; parameters as for `evaluate_error`."""
        bounds = _bounds(energy_min, energy_max)
        return self._with_error("energy_flux", bounds, n_samples, random_state, samples, method)

    def _with_error(self, kind: str, energies: tuple[Array, ...], *options: Any) -> u.Quantity:
        from villard.modeling.models.spectral.errors import with_errors

        return u.Quantity(with_errors(self, kind, energies, *options), self._engine_unit(kind)).to(
            self.unit_of(kind)
        )

    def sample_parameters_from_covariance(
        self, n_samples: int = 10_000, random_state: Any = None, free_only: bool = True
    ) -> Array:
        """Draw parameters from the covariance, as a multivariate normal distribution.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        random_state : int or `~numpy.random.Generator`, optional
            Seed.
        free_only : bool
            Whether the frozen parameters are left out of the columns.

        Returns
        -------
        array
            Draws in the parameters' units, shape (n_samples, n_parameters).
        """
        from villard.modeling.models.spectral.errors import draw_parameters

        draws = draw_parameters(self, n_samples, random_state)
        return draws[:, [not (free_only and p.frozen) for p in self.parameters]]

    def spectral_index(self, energy: Any, epsilon: float | None = None) -> Any:
        """Return the local index -d ln(flux) / d ln(energy).

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            Energies, of any shape.
        epsilon : float, optional
            Relative step of a finite difference; by default the derivative is exact.
        """
        if epsilon is not None:
            low, high = self._quantity("evaluate", _energy(energy)), self(u.Quantity(energy) * (1 + epsilon))
            return -np.log((high / low).value) / np.log(1 + epsilon)
        from villard.modeling.models.spectral.errors import local_index

        return local_index(self, _energy(energy))

    def spectral_index_error(self, energy: Any) -> Array:
        """Return the local index and (twice) its error by exact derivatives; shape (3, ...)."""
        from villard.modeling.models.spectral.errors import linear_errors

        return linear_errors(self, "index", (_energy(energy),))

    def inverse(self, value: Any, energy_min: Any = "0.1 TeV", energy_max: Any = "100 TeV") -> u.Quantity:
        """Return the energy at which the flux has a value; NaN where it has not between the bounds.

        Parameters
        ----------
        value : `~astropy.units.Quantity`
            Differential fluxes, of any shape.
        energy_min, energy_max : `~astropy.units.Quantity`
            Bounds; the crossing of lowest energy is returned.
        """
        value = u.Quantity(value)
        found = [self.inverse_all(v, energy_min, energy_max) for v in value.ravel()]
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

    @property
    def pivot_energy(self) -> u.Quantity:
        """Energy at which the relative error of the flux is smallest; NaN without errors."""
        from villard.modeling.models.spectral.errors import pivot_energy

        return pivot_energy(self)

    def reference_fluxes(self, energy_axis: Any) -> dict[str, u.Quantity]:
        """Return energies and the fluxes of all kinds in the bins of an energy axis.

        Parameters
        ----------
        energy_axis : `~villard.maps.MapAxis`
            Axis with edges.
        """
        low, high, center = energy_axis.edges_min, energy_axis.edges_max, energy_axis.center
        dnde = self(center)
        return {
            "e_ref": center,
            "e_min": low,
            "e_max": high,
            "ref_dnde": dnde,
            "ref_flux": self.integral(low, high),
            "ref_eflux": self.energy_flux(low, high),
            "ref_e2dnde": dnde * center**2,
        }

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

    def __rtruediv__(self, other: Any) -> "SpectralModel":
        return self._combine(other, self, "truediv")

    @staticmethod
    def _combine(first: Any, second: Any, operator: str) -> "SpectralModel":
        from villard.modeling.models.spectral.compound import CompoundSpectralModel

        return CompoundSpectralModel(first, second, operator)

    def plot(
        self,
        energy_bounds: Any,
        ax: "Axes | None" = None,
        sed_type: str = "dnde",
        energy_power: float = 0,
        n_points: int = 100,
        **kwargs: Any,
    ) -> "Axes":
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
            Number of energies, or of bins for fluxes.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.

        Returns
        -------
        `~matplotlib.axes.Axes`
            The axes.
        """
        from villard.modeling.models.spectral.plot import plot_spectrum

        return plot_spectrum(self, energy_bounds, ax, sed_type, energy_power, n_points, **kwargs)

    def plot_error(
        self,
        energy_bounds: Any,
        ax: "Axes | None" = None,
        sed_type: str = "dnde",
        energy_power: float = 0,
        n_points: int = 100,
        **kwargs: Any,
    ) -> "Axes":
        """Plot the one-sigma band of the spectrum.

        Parameters are those of `plot`, besides ``method``, ``n_samples``, ``random_state`` and ``samples``
        of `evaluate_error`; other keywords are for `~matplotlib.axes.Axes.fill_between`.
        """
        from villard.modeling.models.spectral.plot import plot_spectrum_error

        return plot_spectrum_error(self, energy_bounds, ax, sed_type, energy_power, n_points, **kwargs)

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the differential flux: that of the amplitude, or without one TeV⁻¹ cm⁻² s⁻¹."""
        for parameter, declared in zip(self.parameters, self.default_parameters, strict=False):
            # A parameter that is linked to another model's may be something else there.
            if declared.is_norm:
                return parameter.unit
        flux = u.Unit("TeV-1 cm-2 s-1")
        units = [p.unit for p in self.parameters if p.unit.is_equivalent(flux)]
        return units[0] if len(units) == 1 else flux

    @property
    def output_unit(self) -> u.UnitBase:
        """Unit of the flux that the pure functions return: `flux_unit` in the engine's units."""
        return canonical_unit(self.flux_unit)

    def unit_of(self, kind: str) -> u.UnitBase:
        """Return the unit of results: of ``"evaluate"``, ``"integral"`` or ``"energy_flux"``."""
        unit = self.flux_unit
        return unit * _energy_unit(unit) ** _POWERS[kind]

    def _engine_unit(self, kind: str) -> u.UnitBase:
        return self.output_unit * u.TeV ** _POWERS[kind]

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions of arrays."""
        cls = type(self)
        n = len(self.default_parameters)
        norms = [i for i, p in enumerate(self.default_parameters) if p.is_norm]
        norm_index = norms[0] if len(norms) == 1 else None
        evaluate = unpack(cls.evaluate, n)
        if not self.traceable:
            free = tuple(i for i, p in enumerate(self.parameters) if not p.frozen or p.error > 0)
            called = by_callback(lambda energy, parameters: evaluate(energy, parameters, ()), free)
            return PureSpectrum((cls, free), n, called, norm_index=norm_index)
        return PureSpectrum(
            key=(cls,),
            n_parameters=n,
            evaluate=evaluate,
            integral=unpack(cls.evaluate_integral, n),
            energy_flux=unpack(cls.evaluate_energy_flux, n),
            norm_index=norm_index,
            breaks=unpack(cls.evaluate_breaks, n),
        )


def closed_form(pure: PureSpectrum, kind: str) -> Function | None:
    """Return the function for "evaluate", or the closed form for "integral" or "energy_flux" if any."""
    return {"evaluate": pure.evaluate, "integral": pure.integral, "energy_flux": pure.energy_flux}[kind]


def rule_for(model: SpectralModel, kind: str, low: Array, high: Array) -> Rule:
    """Return the quadrature rule for an integral without closed form, its weights with the power of energy.

    Parameters
    ----------
    model : `SpectralModel`
        Model.
    kind : {"integral", "energy_flux"}
        What to integrate.
    low, high : array
        Bounds in TeV, shape (n,).
    """
    pure, values = model.pure(), engine_values(model)
    power = _POWERS[kind] - 1
    breaks = None if pure.breaks is None else np.asarray(pure.breaks(values, pure.arrays))
    # Of functions that are integrals themselves, as those of naima, rounding is not all that limits them.
    accuracy: dict[str, Any] = {} if model.traceable else {"rtol": 1e-7, "order": 6}
    rule = adaptive_rule(
        lambda energy: pure.evaluate(energy, values, pure.arrays) * energy**power,
        low,
        high,
        breaks,
        **accuracy,
    )
    return Rule(rule.energy, rule.weight * rule.energy**power, rule.start)


def engine_values(model: SpectralModel) -> Array:
    """Return the values of the parameters in the engine's units."""
    return np.array([p.engine_value for p in model.parameters], dtype=float)


def _energy_unit(unit: u.UnitBase) -> u.UnitBase:
    """Return the energy unit that a flux is per, TeV if it is per none."""
    for base, power in zip(unit.bases, unit.powers, strict=True):
        if power < 0 and base.is_equivalent(u.TeV):
            return base
    return u.TeV


def _energy(energy: Any) -> Array:
    """Return energies in TeV."""
    energy = u.Quantity(energy)
    if not energy.unit.is_equivalent(u.TeV):
        raise UnitsError(f"Expected an energy, found {unit_text(energy.unit)}")
    return to_canonical(energy)


def _bounds(energy_min: Any, energy_max: Any) -> tuple[Array, Array]:
    low, high = np.broadcast_arrays(_energy(energy_min), _energy(energy_max))
    if not np.all((low > 0) & (high >= low) & np.isfinite(high)):
        raise ModelError(
            "Integral: energies must be positive and finite, and energy_max must not be below energy_min"
        )
    return low, high

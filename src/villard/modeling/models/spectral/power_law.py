"""Power laws, by amplitude, by factor and by integral flux."""

from typing import Any

import astropy.units as u
import numpy as np

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace
from villard.utils.units import convert

__all__ = [
    "PowerLaw2SpectralModel",
    "PowerLawNormSpectralModel",
    "PowerLawSpectralModel",
    "exponential_integral",
]


def exponential_integral(slope: Any, low: Any, high: Any) -> Any:
    r"""Return :math:`\int e^{s x} dx` between two bounds, smooth through s = 0.

    A power law is an exponential in x = ln E; its integral flux has s = 1 - index.
    """
    xp = namespace(slope, low, high)
    half = 0.5 * (high - low)
    z = slope * half
    small = xp.abs(z) < 1e-2
    safe = xp.where(small, 1.0, z)
    series = 1 + z**2 / 6 * (1 + z**2 / 20 * (1 + z**2 / 42))
    return xp.exp(slope * 0.5 * (low + high)) * 2 * half * xp.where(small, series, xp.sinh(safe) / safe)


def _moment(power: int, energy_min: Any, energy_max: Any, index: Any, reference: Any) -> Any:
    """Integral of E^power (E/E0)^-index dE."""
    xp = namespace(energy_min, index, reference)
    low, high = xp.log(energy_min / reference), xp.log(energy_max / reference)
    return reference ** (power + 1) * exponential_integral(power + 1 - index, low, high)


class PowerLawSpectralModel(SpectralModel):
    r"""Power law, :math:`\phi(E) = \phi_0 (E / E_0)^{-\Gamma}`.

    Examples
    --------
    >>> model = PowerLawSpectralModel(index=2, amplitude="1e-11 cm-2 s-1 TeV-1")
    >>> model.integral("1 TeV", "10 TeV")
    <Quantity 9.e-12 1 / (s cm2)>
    """

    tag = ["PowerLawSpectralModel", "pl"]
    index = Parameter("index", 2.0)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)

    @staticmethod
    def evaluate(energy: Any, index: Any, amplitude: Any, reference: Any) -> Any:
        """Differential flux."""
        return amplitude * (energy / reference) ** (-index)

    @staticmethod
    def evaluate_integral(
        energy_min: Any, energy_max: Any, index: Any, amplitude: Any, reference: Any
    ) -> Any:
        """Integral flux."""
        return amplitude * _moment(0, energy_min, energy_max, index, reference)

    @staticmethod
    def evaluate_energy_flux(
        energy_min: Any, energy_max: Any, index: Any, amplitude: Any, reference: Any
    ) -> Any:
        """Energy flux."""
        return amplitude * _moment(1, energy_min, energy_max, index, reference)

    @property
    def e_peak(self) -> u.Quantity:
        """Energy at which E² dN/dE is highest: a power law has none, so NaN."""
        return float("nan") * self.reference.unit

    @property
    def pivot_energy(self) -> u.Quantity:
        r"""Energy at which the relative error of the flux is smallest; NaN without errors.

        The relative variance is quadratic in :math:`\ln E`, with its minimum at
        :math:`\ln(E / E_0) = \mathrm{cov}(\Gamma, \phi_0) / (\phi_0 \mathrm{var}(\Gamma))`.
        """
        names = ["index", "amplitude"]
        covariance = self.covariance.get_subcovariance([self.parameters[name] for name in names]).data
        if not covariance[0, 0] > 0 or self.amplitude.value == 0:
            return float("nan") * self.reference.unit
        return self.reference.quantity * np.exp(covariance[0, 1] / covariance[0, 0] / self.amplitude.value)

    def inverse(self, value: Any, energy_min: Any = None, energy_max: Any = None) -> u.Quantity:
        """Return the energy at which the flux has a value, in closed form; NaN where it has nowhere.

        Parameters
        ----------
        value : `~astropy.units.Quantity`
            Differential fluxes, of any shape.
        energy_min, energy_max : `~astropy.units.Quantity`, optional
            Bounds; none by default.
        """
        ratio = convert(value, self.amplitude.unit, "Flux") / self.amplitude.value
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            energy = self.reference.quantity * np.power(np.asarray(ratio), -1 / np.float64(self.index.value))
        inside = np.isfinite(energy) & (ratio > 0)
        for bound, sign in ((energy_min, 1), (energy_max, -1)):
            if bound is not None:
                inside &= sign * energy >= sign * u.Quantity(bound)
        return np.where(inside, energy, np.nan)

    def inverse_all(self, values: Any, energy_min: Any = None, energy_max: Any = None) -> Any:
        """Return all energies at which the flux has a value, or a list of them for several values."""
        found = self.inverse(values, energy_min, energy_max)
        all_found = [u.Quantity([e] if np.isfinite(e) else [], found.unit) for e in np.ravel(found)]
        return all_found[0] if np.ndim(found) == 0 else all_found


class PowerLawNormSpectralModel(SpectralModel):
    r"""Power law as a factor, :math:`f(E) = k (E / E_0)^{-t}`."""

    tag = ["PowerLawNormSpectralModel", "pl-norm"]
    tilt = Parameter("tilt", 0.0, frozen=True)
    norm = Parameter("norm", 1.0, interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)

    @staticmethod
    def evaluate(energy: Any, tilt: Any, norm: Any, reference: Any) -> Any:
        """Factor."""
        return norm * (energy / reference) ** (-tilt)

    @staticmethod
    def evaluate_integral(energy_min: Any, energy_max: Any, tilt: Any, norm: Any, reference: Any) -> Any:
        """Integral of the factor."""
        return norm * _moment(0, energy_min, energy_max, tilt, reference)

    @staticmethod
    def evaluate_energy_flux(energy_min: Any, energy_max: Any, tilt: Any, norm: Any, reference: Any) -> Any:
        """Integral of the factor times energy."""
        return norm * _moment(1, energy_min, energy_max, tilt, reference)


class PowerLaw2SpectralModel(SpectralModel):
    r"""Power law whose amplitude is the flux between two energies.

    .. math:: \phi(E) = F \, E^{-\Gamma} / \int_{E_1}^{E_2} E'^{-\Gamma} dE'

    Examples
    --------
    >>> model = PowerLaw2SpectralModel(amplitude="1e-11 cm-2 s-1", emin="1 TeV", emax="10 TeV")
    >>> model.integral("1 TeV", "10 TeV")
    <Quantity 1.e-11 1 / (s cm2)>
    """

    tag = ["PowerLaw2SpectralModel", "pl-2"]
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1", interp="log", is_norm=True)
    index = Parameter("index", 2.0)
    emin = Parameter("emin", "0.1 TeV", frozen=True)
    emax = Parameter("emax", "100 TeV", frozen=True)

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the differential flux: that of the amplitude per that of ``emin``."""
        return self.amplitude.unit / self.emin.unit

    @staticmethod
    def evaluate(energy: Any, amplitude: Any, index: Any, emin: Any, emax: Any) -> Any:
        """Differential flux."""
        return amplitude * (energy / emin) ** (-index) / _moment(0, emin, emax, index, emin)

    @staticmethod
    def evaluate_integral(
        energy_min: Any, energy_max: Any, amplitude: Any, index: Any, emin: Any, emax: Any
    ) -> Any:
        """Integral flux."""
        total = _moment(0, emin, emax, index, emin)
        return amplitude * _moment(0, energy_min, energy_max, index, emin) / total

    @staticmethod
    def evaluate_energy_flux(
        energy_min: Any, energy_max: Any, amplitude: Any, index: Any, emin: Any, emax: Any
    ) -> Any:
        """Energy flux."""
        total = _moment(0, emin, emax, index, emin)
        return amplitude * _moment(1, energy_min, energy_max, index, emin) / total

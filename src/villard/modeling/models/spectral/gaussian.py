"""A line with a Gaussian profile."""

import math
from typing import Any

import astropy.units as u

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace, special

__all__ = ["GaussianSpectralModel"]


class GaussianSpectralModel(SpectralModel):
    r"""Gaussian line, :math:`\phi(E) = F / (\sqrt{2 \pi} \sigma) \, e^{-(E - \mu)^2 / (2 \sigma^2)}`.

    The amplitude F is the integral flux of the whole line.

    Examples
    --------
    >>> line = GaussianSpectralModel(amplitude="1e-12 cm-2 s-1", mean="5 TeV", sigma="0.1 TeV")
    >>> line.integral("1 TeV", "10 TeV")
    <Quantity 1.e-12 1 / (s cm2)>
    """

    tag = ["GaussianSpectralModel", "gauss"]
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1", interp="log", is_norm=True)
    mean = Parameter("mean", "1 TeV")
    sigma = Parameter("sigma", "2 TeV")

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the differential flux: that of the amplitude per that of the mean."""
        return self.amplitude.unit / self.mean.unit

    @staticmethod
    def evaluate(energy: Any, amplitude: Any, mean: Any, sigma: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, mean, sigma)
        norm = amplitude / (math.sqrt(2 * math.pi) * sigma)
        return norm * xp.exp(-0.5 * ((energy - mean) / sigma) ** 2)

    @staticmethod
    def evaluate_integral(energy_min: Any, energy_max: Any, amplitude: Any, mean: Any, sigma: Any) -> Any:
        """Integral flux."""
        xp = namespace(energy_min, amplitude, mean, sigma)
        erfc = special(xp).erfc
        low, high = ((e - mean) / (math.sqrt(2) * sigma) for e in (energy_min, energy_max))
        # Each tail by the function that is small there, so that fluxes far from the line keep their digits.
        left = high < -low
        a, b = xp.where(left, -high, low), xp.where(left, -low, high)
        return 0.5 * amplitude * (erfc(a) - erfc(b))

    @staticmethod
    def evaluate_energy_flux(energy_min: Any, energy_max: Any, amplitude: Any, mean: Any, sigma: Any) -> Any:
        """Energy flux: mean times the flux inside, plus what the bounds cut off unevenly."""
        xp = namespace(energy_min, amplitude, mean, sigma)
        inside = GaussianSpectralModel.evaluate_integral(energy_min, energy_max, amplitude, mean, sigma)
        low, high = (xp.exp(-0.5 * ((e - mean) / sigma) ** 2) for e in (energy_min, energy_max))
        return mean * inside + amplitude * sigma / math.sqrt(2 * math.pi) * (low - high)

"""Spectra of cosmic rays at Earth, the background of Cherenkov telescopes."""

import math
from typing import Any

import astropy.units as u

from villard.exceptions import ModelError
from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.models.spectral.power_law import PowerLawSpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace, special
from villard.utils.names import nearest

__all__ = ["LogGaussianSpectralModel", "create_cosmic_ray_spectral_model"]


class LogGaussianSpectralModel(SpectralModel):
    r"""Gaussian in the logarithm of energy.

    .. math:: \phi(E) = \frac{L}{\sqrt{2 \pi} w E} \exp\left(-\frac{\ln^2(E / E_p)}{2 w^2}\right)

    ``L`` is the integral flux of the whole bump.

    Examples
    --------
    >>> bump = LogGaussianSpectralModel(L="1e-2 m-2 s-1", Ep="0.1 TeV", w=0.7)
    >>> bump.integral("1e-9 TeV", "1e9 TeV")
    <Quantity 0.01 1 / (s m2)>
    """

    tag = ["LogGaussianSpectralModel"]
    L = Parameter("L", "1e-12 cm-2 s-1", interp="log", is_norm=True)
    Ep = Parameter("Ep", "0.107 TeV")
    w = Parameter("w", 0.776)

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the differential flux: that of ``L`` per that of ``Ep``."""
        return self.L.unit / self.Ep.unit

    @staticmethod
    def evaluate(energy: Any, L: Any, Ep: Any, w: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, L, Ep, w)
        return L / (energy * w * math.sqrt(2 * math.pi)) * xp.exp(-0.5 * (xp.log(energy / Ep) / w) ** 2)

    @staticmethod
    def evaluate_integral(energy_min: Any, energy_max: Any, L: Any, Ep: Any, w: Any) -> Any:
        """Integral flux."""
        xp = namespace(energy_min, L, Ep, w)
        erf = special(xp).erf
        low, high = (xp.log(e / Ep) / (math.sqrt(2) * w) for e in (energy_min, energy_max))
        return 0.5 * L * (erf(high) - erf(low))

    @staticmethod
    def evaluate_energy_flux(energy_min: Any, energy_max: Any, L: Any, Ep: Any, w: Any) -> Any:
        """Energy flux: times energy, the bump is one at a higher energy."""
        xp = namespace(energy_min, L, Ep, w)
        scaled = LogGaussianSpectralModel.evaluate_integral(energy_min, energy_max, L, Ep * xp.exp(w**2), w)
        return scaled * Ep * xp.exp(0.5 * w**2)


def create_cosmic_ray_spectral_model(particle: str = "proton") -> SpectralModel:
    """Return the spectrum of cosmic rays at Earth, integrated over the whole sky.

    Protons are a power law, electrons (with positrons) a power law with a bump near 100 GeV, with the
    numbers that Gammapy's function of this name has.

    Parameters
    ----------
    particle : {"proton", "electron"}
        Particle.

    Raises
    ------
    ModelError
        If it is another.

    Examples
    --------
    >>> print(f"{create_cosmic_ray_spectral_model('proton')('1 TeV'):.4f}")
    1.2064 1 / (TeV s m2)
    """
    sky = 4 * math.pi
    if particle == "proton":
        return PowerLawSpectralModel(index=2.7, amplitude=sky * 0.096 * u.Unit("m-2 s-1 TeV-1"))
    if particle == "electron":
        law = PowerLawSpectralModel(index=3.21, amplitude=sky * 6.85e-5 * u.Unit("m-2 s-1 TeV-1"))
        bump = LogGaussianSpectralModel(L=sky * 3.19e-3 * u.Unit("m-2 s-1"), Ep="0.107 TeV", w=0.776)
        return law + bump
    raise ModelError(f"No cosmic rays {particle!r}. {nearest(particle, ['proton', 'electron'])}")

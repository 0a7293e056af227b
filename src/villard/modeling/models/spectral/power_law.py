"""Power laws."""

from typing import Any

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["PowerLawSpectralModel"]


class PowerLawSpectralModel(SpectralModel):
    r"""Power law, :math:`\phi(E) = \phi_0 (E / E_0)^{-\Gamma}`."""

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
        """Integral flux, stable also at index 1: a (e^{g l1} - e^{g l0}) / g with g = 1 - index."""
        xp = namespace(energy_min, index, amplitude)
        power = 1.0 - index
        log_min, log_max = xp.log(energy_min / reference), xp.log(energy_max / reference)
        return amplitude * reference * _power_integral(xp, power, log_min, log_max)


def _power_integral(xp: Any, power: Any, log_min: Any, log_max: Any) -> Any:
    """Integral of e^{power x} dx between two bounds, smooth through power = 0."""
    half = 0.5 * (log_max - log_min)
    z = power * half
    small = xp.abs(z) < 1e-3
    safe = xp.where(small, 1.0, z)
    sinhc = xp.where(small, 1 + z**2 / 6 + z**4 / 120, xp.sinh(safe) / safe)
    return xp.exp(power * 0.5 * (log_min + log_max)) * 2 * half * sinhc

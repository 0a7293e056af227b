"""Power law that is absorbed above an energy, gtlike's ExpCutoff."""

from typing import Any

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["EBLCutoffPowerLawSpectralModel"]


class EBLCutoffPowerLawSpectralModel(SpectralModel):
    r"""Power law with an absorption that begins at an energy, gtlike's ExpCutoff.

    .. math:: \phi_0 (E / E_0)^{-\Gamma}
              \exp\left[-\left(\frac{E - E_b}{p_1} + p_2 \ln\frac{E}{E_b}
              + p_3 \ln^2\frac{E}{E_b}\right)\right] \text{ for } E > E_b

    and the power law below. It describes blazars behind the extragalactic background light.

    Examples
    --------
    >>> model = EBLCutoffPowerLawSpectralModel(ebreak="1 TeV", p1="1 TeV", index=0)
    >>> print(f"{model('0.5 TeV'):.4g}, {model('2 TeV'):.4g}")
    1e-12 1 / (TeV s cm2), 3.679e-13 1 / (TeV s cm2)
    """

    tag = ["EBLCutoffPowerLawSpectralModel", "ebl-cutoff"]
    index = Parameter("index", 2.0)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    ebreak = Parameter("ebreak", "0.1 TeV")
    p1 = Parameter("p1", "1 TeV")
    p2 = Parameter("p2", 0.0, frozen=True)
    p3 = Parameter("p3", 0.0, frozen=True)

    @staticmethod
    def evaluate(
        energy: Any, index: Any, amplitude: Any, reference: Any, ebreak: Any, p1: Any, p2: Any, p3: Any
    ) -> Any:
        """Differential flux."""
        xp = namespace(energy, index, amplitude, reference, ebreak, p1, p2, p3)
        above = xp.maximum(energy, ebreak)
        x = xp.log(above / ebreak)
        absorption = (above - ebreak) / p1 + p2 * x + p3 * x**2
        return amplitude * (energy / reference) ** (-index) * xp.exp(-absorption)

    @staticmethod
    def evaluate_breaks(
        index: Any, amplitude: Any, reference: Any, ebreak: Any, p1: Any, p2: Any, p3: Any
    ) -> Any:
        """Energy where the absorption begins."""
        xp = namespace(index, amplitude, reference, ebreak, p1, p2, p3)
        return xp.stack([xp.asarray(ebreak)])

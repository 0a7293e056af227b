"""Power laws that are absorbed above an energy, gtlike's ExpCutoff and BPLExpCutoff."""

from typing import Any

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["EBLCutoffBrokenPowerLawSpectralModel", "EBLCutoffPowerLawSpectralModel"]


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


class EBLCutoffBrokenPowerLawSpectralModel(SpectralModel):
    r"""Broken power law with an absorption that begins at an energy, gtlike's BPLExpCutoff.

    .. math:: \phi_0 (E / E_b)^{-\Gamma} e^{-\max(E - E_{abs}, 0) / p_1}, \quad
              \Gamma = \Gamma_1 \text{ for } E < E_b, \quad \Gamma_2 \text{ above}

    Examples
    --------
    >>> model = EBLCutoffBrokenPowerLawSpectralModel(index1=0, index2=0, eabs="1 TeV", p1="1 TeV")
    >>> print(f"{model('0.5 TeV'):.4g}, {model('2 TeV'):.4g}")
    1e-12 1 / (TeV s cm2), 3.679e-13 1 / (TeV s cm2)
    """

    tag = ["EBLCutoffBrokenPowerLawSpectralModel", "ebl-cutoff-bpl"]
    index1 = Parameter("index1", 2.0)
    index2 = Parameter("index2", 2.0)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    ebreak = Parameter("ebreak", "1 TeV")
    eabs = Parameter("eabs", "0.1 TeV")
    p1 = Parameter("p1", "1 TeV")

    @staticmethod
    def evaluate(
        energy: Any, index1: Any, index2: Any, amplitude: Any, ebreak: Any, eabs: Any, p1: Any
    ) -> Any:
        """Differential flux."""
        xp = namespace(energy, index1, index2, amplitude, ebreak, eabs, p1)
        law = (energy / ebreak) ** (-xp.where(energy < ebreak, index1, index2))
        return amplitude * law * xp.exp(-xp.maximum(energy - eabs, 0.0) / p1)

    @staticmethod
    def evaluate_breaks(index1: Any, index2: Any, amplitude: Any, ebreak: Any, eabs: Any, p1: Any) -> Any:
        """Energies of the break and where the absorption begins, the lower one first."""
        xp = namespace(index1, index2, amplitude, ebreak, eabs, p1)
        return xp.stack([xp.minimum(ebreak, eabs), xp.maximum(ebreak, eabs)])

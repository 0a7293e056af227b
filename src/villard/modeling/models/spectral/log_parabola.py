"""Log-parabolas."""

from typing import Any

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["LogParabolaSpectralModel"]


class LogParabolaSpectralModel(SpectralModel):
    r"""Log-parabola, :math:`\phi(E) = \phi_0 (E / E_0)^{-\alpha - \beta \ln(E / E_0)}`."""

    tag = ["LogParabolaSpectralModel", "lp"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "10 TeV", frozen=True)
    alpha = Parameter("alpha", 2.0)
    beta = Parameter("beta", 1.0)

    @staticmethod
    def evaluate(energy: Any, amplitude: Any, reference: Any, alpha: Any, beta: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, alpha, beta)
        x = xp.log(energy / reference)
        return amplitude * xp.exp(-(alpha + beta * x) * x)

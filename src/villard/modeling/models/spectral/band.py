"""Band function: the spectrum of gamma-ray bursts."""

from typing import Any

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["BandSpectralModel"]


class BandSpectralModel(SpectralModel):
    r"""Two power laws that an exponential cutoff joins smoothly, gtlike's BandFunction.

    .. math:: \phi_0 (E / E_0)^{\alpha} e^{-E / E_f} \text{ for } E < E_b = (\alpha - \beta) E_f, \quad
              \phi_0 (E / E_0)^{\beta} (E_b / E_0)^{\alpha - \beta} e^{\beta - \alpha} \text{ above}

    (Band et al. 1993, ApJ 413, 281, eq. 1). Its indices have signs as there: they are negative where the
    spectrum falls. :math:`E^2 \phi` peaks at :math:`(2 + \alpha) E_f`, if :math:`\beta < -2`. Where beta
    isn't below alpha there is no cutoff: it is the second power law, with the flux :math:`\phi_0` at
    :math:`E_0`.

    Examples
    --------
    >>> band = BandSpectralModel(alpha=-1, beta=-2.5, efold="200 keV", amplitude="0.01 cm-2 s-1 keV-1")
    >>> band("200 keV").to("cm-2 s-1 keV-1").round(7)
    <Quantity 0.0018394 1 / (keV s cm2)>
    """

    tag = ["BandSpectralModel", "band"]
    alpha = Parameter("alpha", -1.0)
    beta = Parameter("beta", -2.3)
    amplitude = Parameter("amplitude", "1e-2 keV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "100 keV", frozen=True)
    efold = Parameter("efold", "300 keV")

    @staticmethod
    def evaluate(energy: Any, alpha: Any, beta: Any, amplitude: Any, reference: Any, efold: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, alpha, beta, amplitude, reference, efold)
        joined = alpha > beta
        step = xp.where(joined, alpha - beta, 1.0)
        edge = step * efold
        below = alpha * xp.log(energy / reference) - xp.minimum(energy, edge) / efold
        above = beta * xp.log(energy / reference) + xp.where(
            joined, step * (xp.log(edge / reference) - 1), 0.0
        )
        return amplitude * xp.exp(xp.where(joined & (energy < edge), below, above))

    @staticmethod
    def evaluate_breaks(alpha: Any, beta: Any, amplitude: Any, reference: Any, efold: Any) -> Any:
        """Energy where the second power law begins; the reference where there is no cutoff."""
        xp = namespace(alpha, beta, amplitude, reference, efold)
        return xp.stack([xp.where(alpha > beta, (alpha - beta) * efold, xp.asarray(reference))])

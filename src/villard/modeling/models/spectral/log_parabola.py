"""Log-parabolas."""

import math
from typing import Any, Self

import astropy.units as u

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["LogParabola2SpectralModel", "LogParabolaNormSpectralModel", "LogParabolaSpectralModel"]


class LogParabolaSpectralModel(SpectralModel):
    r"""Log-parabola, :math:`\phi(E) = \phi_0 (E / E_0)^{-\alpha - \beta \ln(E / E_0)}`.

    Examples
    --------
    >>> model = LogParabolaSpectralModel(reference="1 TeV", alpha=2.3, beta=0.5)
    >>> print(f"{model.e_peak:.5f}")
    0.74082 TeV
    """

    tag = ["LogParabolaSpectralModel", "lp"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "10 TeV", frozen=True)
    alpha = Parameter("alpha", 2.0)
    beta = Parameter("beta", 1.0)

    @classmethod
    def from_log10(cls, amplitude: Any, reference: Any, alpha: Any, beta: float) -> Self:
        r"""Make the model from a curvature that goes with the decimal logarithm.

        Parameters
        ----------
        amplitude, reference, alpha
            As for the model.
        beta : float
            Curvature of :math:`(E / E_0)^{-\alpha - \beta \log_{10}(E / E_0)}`.
        """
        return cls(amplitude=amplitude, reference=reference, alpha=alpha, beta=beta / math.log(10))

    @staticmethod
    def evaluate(energy: Any, amplitude: Any, reference: Any, alpha: Any, beta: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, alpha, beta)
        x = xp.log(energy / reference)
        return amplitude * xp.exp(-(alpha + beta * x) * x)

    @property
    def e_peak(self) -> u.Quantity:
        """Energy at which E² dN/dE is highest; NaN if it is lowest or flat there."""
        alpha, beta = self.alpha.value, self.beta.value
        if beta <= 0:
            return float("nan") * self.reference.unit
        return self.reference.quantity * math.exp((2 - alpha) / (2 * beta))


class LogParabolaNormSpectralModel(SpectralModel):
    r"""Log-parabola as a factor, :math:`f(E) = k (E / E_0)^{-\alpha - \beta \ln(E / E_0)}`."""

    tag = ["LogParabolaNormSpectralModel", "lp-norm"]
    norm = Parameter("norm", 1.0, interp="log", is_norm=True)
    reference = Parameter("reference", "10 TeV", frozen=True)
    alpha = Parameter("alpha", 0.0)
    beta = Parameter("beta", 0.0)

    @classmethod
    def from_log10(cls, norm: Any, reference: Any, alpha: Any, beta: float) -> Self:
        """Make the model from a curvature that goes with the decimal logarithm."""
        return cls(norm=norm, reference=reference, alpha=alpha, beta=beta / math.log(10))

    @staticmethod
    def evaluate(energy: Any, norm: Any, reference: Any, alpha: Any, beta: Any) -> Any:
        """Factor."""
        return LogParabolaSpectralModel.evaluate(energy, norm, reference, alpha, beta)


class LogParabola2SpectralModel(SpectralModel):
    r"""Log-parabola whose curvature has an energy of its own.

    .. math:: \phi(E) = \phi_0 (E / E_0)^{-\alpha - \beta \ln(E / E_s)}
    """

    tag = ["LogParabola2SpectralModel", "lp2"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "10 TeV", frozen=True)
    alpha = Parameter("alpha", 2.0)
    beta = Parameter("beta", 1.0)
    escale = Parameter("escale", "1 TeV", frozen=True)

    @staticmethod
    def evaluate(energy: Any, amplitude: Any, reference: Any, alpha: Any, beta: Any, escale: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, alpha, beta, escale)
        exponent = alpha + beta * xp.log(energy / escale)
        return amplitude * xp.exp(-exponent * xp.log(energy / reference))

"""Power laws with exponential and super-exponential cutoffs."""

import math
from typing import Any

import astropy.units as u

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = [
    "ExpCutoffPowerLaw3FGLSpectralModel",
    "ExpCutoffPowerLawNormSpectralModel",
    "ExpCutoffPowerLawSpectralModel",
    "SuperExpCutoffPowerLaw3FGLSpectralModel",
    "SuperExpCutoffPowerLaw4FGLDR3SpectralModel",
    "SuperExpCutoffPowerLaw4FGLSpectralModel",
]

_MEV_PER_TEV = 1e6


def _odd_power(z: Any, alpha: Any) -> Any:
    """Return z |z|^(alpha - 1): z^alpha for positive z, with finite derivatives at and below z = 0.

    A fit that has no cutoff in its data runs through a cutoff of 0 to slightly negative ones.
    """
    xp = namespace(z, alpha)
    nonzero = xp.abs(z) > 1e-150
    log_z = xp.where(nonzero, xp.log(xp.abs(xp.where(nonzero, z, 1.0))), -345.0)
    return z * xp.exp((alpha - 1.0) * log_z)


class ExpCutoffPowerLawSpectralModel(SpectralModel):
    r"""Power law with exponential cutoff, :math:`\phi_0 (E / E_0)^{-\Gamma} e^{-(\lambda E)^\alpha}`.

    Examples
    --------
    >>> model = ExpCutoffPowerLawSpectralModel(index=1.6, lambda_="0.1 TeV-1")
    >>> print(f"{model.e_peak:.3f}")
    4.000 TeV
    """

    tag = ["ExpCutoffPowerLawSpectralModel", "ecpl"]
    index = Parameter("index", 1.5)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    lambda_ = Parameter("lambda_", "0.1 TeV-1")
    alpha = Parameter("alpha", 1.0, frozen=True)

    @staticmethod
    def evaluate(energy: Any, index: Any, amplitude: Any, reference: Any, lambda_: Any, alpha: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, index, amplitude, reference, lambda_, alpha)
        power = (energy / reference) ** (-index)
        return amplitude * power * xp.exp(-_odd_power(lambda_ * energy, alpha))

    @property
    def e_peak(self) -> u.Quantity:
        """Energy at which E² dN/dE is highest; NaN if it rises or falls throughout."""
        index, lambda_, alpha = self.index.value, self.lambda_.quantity, self.alpha.value
        if index >= 2 or lambda_ <= 0 or alpha <= 0:
            return float("nan") * self.reference.unit
        return (((2 - index) / alpha) ** (1 / alpha) / lambda_).to(self.reference.unit)


class ExpCutoffPowerLawNormSpectralModel(SpectralModel):
    r"""Power law with cutoff as a factor, :math:`k (E / E_0)^{-\Gamma} e^{-(\lambda E)^\alpha}`."""

    tag = ["ExpCutoffPowerLawNormSpectralModel", "ecpl-norm"]
    index = Parameter("index", 0.0)
    norm = Parameter("norm", 1.0, interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    lambda_ = Parameter("lambda_", "0.1 TeV-1")
    alpha = Parameter("alpha", 1.0, frozen=True)

    @staticmethod
    def evaluate(energy: Any, index: Any, norm: Any, reference: Any, lambda_: Any, alpha: Any) -> Any:
        """Factor."""
        return ExpCutoffPowerLawSpectralModel.evaluate(energy, index, norm, reference, lambda_, alpha)


class ExpCutoffPowerLaw3FGLSpectralModel(SpectralModel):
    r"""Power law with exponential cutoff of 3FGL, :math:`\phi_0 (E / E_0)^{-\Gamma} e^{(E_0 - E) / E_c}`."""

    tag = ["ExpCutoffPowerLaw3FGLSpectralModel", "ecpl-3fgl"]
    index = Parameter("index", 1.5)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    ecut = Parameter("ecut", "10 TeV")

    @staticmethod
    def evaluate(energy: Any, index: Any, amplitude: Any, reference: Any, ecut: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, index, amplitude, reference, ecut)
        return amplitude * (energy / reference) ** (-index) * xp.exp((reference - energy) / ecut)

    @property
    def e_peak(self) -> u.Quantity:
        """Energy at which E² dN/dE is highest; NaN if it falls throughout."""
        index = self.index.value
        return (2 - index) * self.ecut.quantity if index < 2 else float("nan") * self.ecut.unit


class SuperExpCutoffPowerLaw3FGLSpectralModel(SpectralModel):
    r"""Super-exponential cutoff of 3FGL.

    .. math:: \phi_0 (E / E_0)^{-\Gamma_1}
              \exp\left((E_0 / E_c)^{\Gamma_2} - (E / E_c)^{\Gamma_2}\right)

    Acero et al. 2015, ApJS 218, 23, eq. 4.
    """

    tag = ["SuperExpCutoffPowerLaw3FGLSpectralModel", "secpl-3fgl"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    ecut = Parameter("ecut", "10 TeV")
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 2.0)

    @staticmethod
    def evaluate(energy: Any, amplitude: Any, reference: Any, ecut: Any, index_1: Any, index_2: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, ecut, index_1, index_2)
        exponent = (reference / ecut) ** index_2 - (energy / ecut) ** index_2
        return amplitude * (energy / reference) ** (-index_1) * xp.exp(exponent)


class SuperExpCutoffPowerLaw4FGLSpectralModel(SpectralModel):
    r"""Super-exponential cutoff of 4FGL (before DR3), energies in the exponent in MeV.

    .. math:: \phi_0 (E / E_0)^{-\Gamma_1} \exp\left(a (E_0^{\Gamma_2} - E^{\Gamma_2})\right)

    Abdollahi et al. 2020, ApJS 247, 33, eq. 4.
    """

    tag = ["SuperExpCutoffPowerLaw4FGLSpectralModel", "secpl-4fgl"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    expfactor = Parameter("expfactor", 1e-14)
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 2.0)

    @staticmethod
    def evaluate(
        energy: Any, amplitude: Any, reference: Any, expfactor: Any, index_1: Any, index_2: Any
    ) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, expfactor, index_1, index_2)
        difference = (reference * _MEV_PER_TEV) ** index_2 - (energy * _MEV_PER_TEV) ** index_2
        return amplitude * (energy / reference) ** (-index_1) * xp.exp(expfactor * difference)


class SuperExpCutoffPowerLaw4FGLDR3SpectralModel(SpectralModel):
    r"""Super-exponential cutoff of 4FGL-DR3 (PLSuperExpCutoff4), with y = ln(E / E0).

    .. math:: \phi_0 \exp\left[(d / b - \Gamma_1) y + d / b^2 (1 - e^{b y})\right]

    and its series where b y is small. Abdollahi et al. 2022, ApJS 260, 53, eqs. 2 and 3.
    ``expfactor`` is d, ``index_1`` is the local index at the reference, ``index_2`` is b.
    """

    tag = ["SuperExpCutoffPowerLaw4FGLDR3SpectralModel", "secpl-4fgl-dr3"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    expfactor = Parameter("expfactor", 1e-2)
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 2.0)

    @staticmethod
    def evaluate(
        energy: Any, amplitude: Any, reference: Any, expfactor: Any, index_1: Any, index_2: Any
    ) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, expfactor, index_1, index_2)
        y = xp.log(energy / reference)
        by = index_2 * y
        small = xp.abs(by) < 1e-2
        safe = xp.where(small, 1.0, by)
        # (e^z - 1 - z) / z², of which the series is 1/2 + z/6 + z²/24 + ...
        series = 0.5 + by / 6 * (1 + by / 4 * (1 + by / 5 * (1 + by / 6)))
        closed = (xp.expm1(xp.minimum(safe, 230.0)) - safe) / safe**2
        curvature = xp.where(small, series, closed)
        return amplitude * xp.exp(-index_1 * y - expfactor * y**2 * curvature)

    @property
    def e_peak(self) -> u.Quantity:
        """Energy at which E² dN/dE is highest; NaN if there is none."""
        d, index, b = self.expfactor.value, self.index_1.value, self.index_2.value
        if d <= 0 or index >= 2 or b <= 0:
            return float("nan") * self.reference.unit
        return self.reference.quantity * math.exp(math.log1p((2 - index) * b / d) / b)

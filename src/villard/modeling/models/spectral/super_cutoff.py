"""Power laws with super-exponential cutoffs in the forms that gtlike has besides those of the catalogues."""

from typing import Any

from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = [
    "SuperExpCutoffPowerLaw2SpectralModel",
    "SuperExpCutoffPowerLaw3SpectralModel",
    "SuperExpCutoffPowerLawSpectralModel",
]

_MEV_PER_TEV = 1e6
#: Beyond exp(-exp(40)) nothing is left.
_FAR = 40.0


class SuperExpCutoffPowerLawSpectralModel(SpectralModel):
    r"""Super-exponential cutoff, gtlike's PLSuperExpCutoff.

    .. math:: \phi_0 (E / E_0)^{-\Gamma_1} \exp\left(-(E / E_c)^{\Gamma_2}\right)

    The amplitude is that of the power law, not the flux at the reference, unlike in
    `SuperExpCutoffPowerLaw3FGLSpectralModel`.

    Examples
    --------
    >>> model = SuperExpCutoffPowerLawSpectralModel(index_1=1.5, ecut="1 TeV", index_2=1)
    >>> print(f"{model('1 TeV'):.4g}")
    3.679e-13 1 / (TeV s cm2)
    """

    tag = ["SuperExpCutoffPowerLawSpectralModel", "secpl"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    ecut = Parameter("ecut", "10 TeV")
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 1.0)

    @staticmethod
    def evaluate(energy: Any, amplitude: Any, reference: Any, ecut: Any, index_1: Any, index_2: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, ecut, index_1, index_2)
        exponent = xp.exp(xp.minimum(index_2 * xp.log(energy / ecut), _FAR))
        return amplitude * xp.exp(-index_1 * xp.log(energy / reference) - exponent)


class SuperExpCutoffPowerLaw2SpectralModel(SpectralModel):
    r"""Super-exponential cutoff, gtlike's PLSuperExpCutoff2: energies in the exponent in MeV.

    .. math:: \phi_0 (E / E_0)^{-\Gamma_1} \exp\left(-a (E / \mathrm{MeV})^{\Gamma_2}\right)

    The amplitude is that of the power law, not the flux at the reference, unlike in
    `SuperExpCutoffPowerLaw4FGLSpectralModel`.

    Examples
    --------
    >>> model = SuperExpCutoffPowerLaw2SpectralModel(expfactor=1e-6, index_2=1)
    >>> print(f"{model('1 TeV'):.4g}")
    3.679e-13 1 / (TeV s cm2)
    """

    tag = ["SuperExpCutoffPowerLaw2SpectralModel", "secpl-2"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    expfactor = Parameter("expfactor", 1e-4)
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 0.667)

    @staticmethod
    def evaluate(
        energy: Any, amplitude: Any, reference: Any, expfactor: Any, index_1: Any, index_2: Any
    ) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, expfactor, index_1, index_2)
        exponent = expfactor * xp.exp(index_2 * xp.log(energy * _MEV_PER_TEV))
        return amplitude * xp.exp(-index_1 * xp.log(energy / reference) - exponent)


class SuperExpCutoffPowerLaw3SpectralModel(SpectralModel):
    r"""Super-exponential cutoff by the local index, gtlike's PLSuperExpCutoff3; y = ln(E / E0).

    .. math:: \phi_0 \exp\left[(c b - \Gamma_1) y + c (1 - e^{b y})\right]

    ``expfactor`` is c, ``index_1`` is the local index at the reference, ``index_2`` is b. With
    :math:`c = d / b^2` it is `SuperExpCutoffPowerLaw4FGLDR3SpectralModel`.

    Examples
    --------
    >>> from villard.modeling.models import SuperExpCutoffPowerLaw4FGLDR3SpectralModel
    >>> same = SuperExpCutoffPowerLaw4FGLDR3SpectralModel(expfactor=0.1 * 0.5**2, index_2=0.5)
    >>> model = SuperExpCutoffPowerLaw3SpectralModel(expfactor=0.1, index_2=0.5)
    >>> abs(float(model("3 TeV") / same("3 TeV")) - 1) < 1e-14
    True
    """

    tag = ["SuperExpCutoffPowerLaw3SpectralModel", "secpl-3"]
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    reference = Parameter("reference", "1 TeV", frozen=True)
    expfactor = Parameter("expfactor", 0.1)
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 0.667)

    @staticmethod
    def evaluate(
        energy: Any, amplitude: Any, reference: Any, expfactor: Any, index_1: Any, index_2: Any
    ) -> Any:
        """Differential flux."""
        xp = namespace(energy, amplitude, reference, expfactor, index_1, index_2)
        y = xp.log(energy / reference)
        by = index_2 * y
        return amplitude * xp.exp(-index_1 * y - expfactor * (xp.expm1(xp.minimum(by, 230.0)) - by))

"""Published spectra of the Crab Nebula."""

from typing import Any

import astropy.units as u

from villard.exceptions import ModelError
from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace
from villard.utils.names import nearest

__all__ = ["MeyerCrabSpectralModel", "create_crab_spectral_model"]

#: log10(E² dN/dE / (erg cm⁻² s⁻¹)) as a polynomial in log10(E / TeV), highest power first.
_MEYER = (-0.00449161, 0.0, 0.0473174, -0.179475, -0.53616, -10.2708)
_TEV_PER_ERG = 0.62415090744607646


class MeyerCrabSpectralModel(SpectralModel):
    """Spectrum of the Crab Nebula from a synchrotron self-Compton model, times a factor.

    Meyer, Horns & Zechlin 2010, A&A 523, A2, a polynomial in the logarithms fitted to their model.

    Examples
    --------
    >>> print(f"{MeyerCrabSpectralModel()('1 TeV'):.4g}")
    3.346e-11 1 / (TeV s cm2)
    """

    tag = ["MeyerCrabSpectralModel"]
    norm = Parameter("norm", 1.0, frozen=True, is_norm=True)

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the differential flux."""
        return u.Unit("TeV-1 cm-2 s-1")

    @staticmethod
    def evaluate(energy: Any, norm: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, norm)
        x = xp.log10(energy)
        log_flux = 0.0 * x
        for coefficient in _MEYER:
            log_flux = log_flux * x + coefficient
        return norm * 10**log_flux * _TEV_PER_ERG / energy**2


def _references() -> dict[str, Any]:
    from villard.modeling.models.spectral.cutoff import ExpCutoffPowerLawSpectralModel
    from villard.modeling.models.spectral.log_parabola import LogParabolaSpectralModel
    from villard.modeling.models.spectral.power_law import PowerLawSpectralModel

    unit = "cm-2 s-1 TeV-1"
    return {
        "meyer": MeyerCrabSpectralModel,
        # Aharonian et al. 2004, ApJ 614, 897
        "hegra": lambda: PowerLawSpectralModel(index=2.62, amplitude=f"2.83e-11 {unit}"),
        # Aharonian et al. 2006, A&A 457, 899
        "hess_pl": lambda: PowerLawSpectralModel(index=2.63, amplitude=f"3.45e-11 {unit}"),
        "hess_ecpl": lambda: ExpCutoffPowerLawSpectralModel(
            index=2.39, amplitude=f"3.76e-11 {unit}", lambda_=f"{1 / 14.3} TeV-1"
        ),
        # Aleksić et al. 2015, JHEAp 5, 30
        "magic_lp": lambda: LogParabolaSpectralModel.from_log10(
            amplitude=f"3.23e-11 {unit}", reference="1 TeV", alpha=2.47, beta=0.24
        ),
        "magic_ecpl": lambda: ExpCutoffPowerLawSpectralModel(
            index=2.21, amplitude=f"3.80e-11 {unit}", lambda_=f"{1 / 6.0} TeV-1"
        ),
    }


def create_crab_spectral_model(reference: str = "meyer") -> SpectralModel:
    """Return a published spectrum of the Crab Nebula.

    Parameters
    ----------
    reference : {"meyer", "hegra", "hess_pl", "hess_ecpl", "magic_lp", "magic_ecpl"}
        Publication.

    Raises
    ------
    ModelError
        If there is none of this name.

    Examples
    --------
    >>> create_crab_spectral_model("hegra").index.value
    2.62
    """
    references = _references()
    if reference not in references:
        raise ModelError(f"No Crab spectrum {reference!r}. {nearest(reference, references)}")
    return references[reference]()

"""Dark matter: density profiles, J-factors, and spectra of annihilation and decay."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "BurkertProfile": "profiles",
    "DMProfile": "profiles",
    "EinastoProfile": "profiles",
    "GeneralizedNFWProfile": "profiles",
    "IsothermalProfile": "profiles",
    "MooreProfile": "profiles",
    "NFWProfile": "profiles",
    "ZhaoProfile": "profiles",
    "JFactory": "jfactor",
    "cone_integral": "jfactor",
    "line_of_sight_integral": "jfactor",
    "DarkMatterAnnihilationSpectralModel": "spectral",
    "DarkMatterDecaySpectralModel": "spectral",
    "PrimaryFlux": "spectral",
    "ScalarSingletSpectralModel": "singlet_spectral",
    "singlet": "singlet",
    "HaloSpatialModel": "villard.modeling.models.spatial.halo",
    "profiles": "profiles",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

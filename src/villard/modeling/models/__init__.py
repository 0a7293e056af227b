"""Models: spectral, spatial and temporal models, sky models, and collections of them."""

import importlib

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "ConstantSpectralModel": "spectral.constant",
    "ScaleSpectralModel": "spectral.constant",
    "PowerLaw2SpectralModel": "spectral.power_law",
    "PowerLawNormSpectralModel": "spectral.power_law",
    "BrokenPowerLawSpectralModel": "spectral.broken",
    "PiecewiseNormSpectralModel": "spectral.broken",
    "SmoothBrokenPowerLawSpectralModel": "spectral.broken",
    "LogParabola2SpectralModel": "spectral.log_parabola",
    "LogParabolaNormSpectralModel": "spectral.log_parabola",
    "ExpCutoffPowerLaw3FGLSpectralModel": "spectral.cutoff",
    "ExpCutoffPowerLawNormSpectralModel": "spectral.cutoff",
    "ExpCutoffPowerLawSpectralModel": "spectral.cutoff",
    "SuperExpCutoffPowerLaw3FGLSpectralModel": "spectral.cutoff",
    "SuperExpCutoffPowerLaw4FGLDR3SpectralModel": "spectral.cutoff",
    "SuperExpCutoffPowerLaw4FGLSpectralModel": "spectral.cutoff",
    "BandSpectralModel": "spectral.band",
    "EBLCutoffBrokenPowerLawSpectralModel": "spectral.ebl_cutoff",
    "EBLCutoffPowerLawSpectralModel": "spectral.ebl_cutoff",
    "SuperExpCutoffPowerLaw2SpectralModel": "spectral.super_cutoff",
    "SuperExpCutoffPowerLaw3SpectralModel": "spectral.super_cutoff",
    "SuperExpCutoffPowerLawSpectralModel": "spectral.super_cutoff",
    "GaussianSpectralModel": "spectral.gaussian",
    "TemplateSpectralModel": "spectral.template",
    "CompoundSpectralModel": "spectral.compound",
    "EBLAbsorptionNormSpectralModel": "spectral.ebl",
    "EBL_DATA_BUILTIN": "spectral.ebl",
    "MeyerCrabSpectralModel": "spectral.crab",
    "create_crab_spectral_model": "spectral.crab",
    "NaimaSpectralModel": "spectral.naima",
    "create_cosmic_ray_spectral_model": "spectral.cosmic_ray",
    "LogGaussianSpectralModel": "spectral.cosmic_ray",
    "TemplateNDSpectralModel": "spectral.template_nd",
    "ConstantSpatialModel": "spatial.constant",
    "DiskSpatialModel": "spatial.disk",
    "GaussianSpatialModel": "spatial.gaussian",
    "GeneralizedGaussianSpatialModel": "spatial.gaussian",
    "PointSpatialModel": "spatial.point",
    "Shell2SpatialModel": "spatial.shell",
    "ShellSpatialModel": "spatial.shell",
    "SpatialModel": "spatial.core",
    "PiecewiseNormSpatialModel": "spatial.piecewise",
    "create_fermi_isotropic_diffuse_model": "fermi",
    "TemplateSpatialModel": "spatial.template",
    "ConstantTemporalModel": "temporal.simple",
    "ExpDecayTemporalModel": "temporal.simple",
    "GaussianTemporalModel": "temporal.pulse",
    "GeneralizedGaussianTemporalModel": "temporal.pulse",
    "LinearTemporalModel": "temporal.simple",
    "PowerLawTemporalModel": "temporal.simple",
    "SineTemporalModel": "temporal.simple",
    "TemporalModel": "temporal.core",
    "LightCurveTemplateTemporalModel": "temporal.light_curve",
    "TemplatePhaseCurveTemporalModel": "temporal.phase",
    "DatasetModels": "collection",
    "GaussianPrior": "villard.modeling.prior",
    "GeneralizedGaussianPrior": "villard.modeling.prior",
    "LogParabolaSpectralModel": "spectral.log_parabola",
    "LogUniformPrior": "villard.modeling.prior",
    "ModelBase": "core",
    "Models": "collection",
    "PowerLawSpectralModel": "spectral.power_law",
    "Prior": "villard.modeling.prior",
    "FoVBackgroundModel": "background",
    "IRFBackground": "irf_background",
    "DarkMatterAnnihilationSpectralModel": "villard.astro.darkmatter.spectral",
    "DarkMatterDecaySpectralModel": "villard.astro.darkmatter.spectral",
    "PrimaryFlux": "villard.astro.darkmatter.spectral",
    "ScalarSingletSpectralModel": "villard.astro.darkmatter.singlet_spectral",
    "extend_template": "extended_template",
    "DMProfile": "villard.astro.darkmatter.profiles",
    "HaloSpatialModel": "spatial.halo",
    "TemplateNPredModel": "npred_template",
    "SkyModel": "sky",
    "SpectralModel": "spectral.core",
    "UniformPrior": "villard.modeling.prior",
}

__all__ = sorted([*_EXPORTS, "load_all"])

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)


def load_all(kind: str = "") -> None:
    """Import the modules that define the models of a kind, so that each is known by its tag."""
    modules = {module for module in _EXPORTS.values() if not kind or _has_kind(module, kind)}
    for module in sorted(modules):
        importlib.import_module(module if module.startswith("villard") else f"{__name__}.{module}")


def _has_kind(module: str, kind: str) -> bool:
    # Models with a name of their own are directly in this package.
    return "." not in module if kind == "model" else kind in module

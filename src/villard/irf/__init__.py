"""Responses of instruments: effective areas, energy dispersion, point spread functions."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "Background2D": "background",
    "Background3D": "background",
    "EDispKernel": "edisp_kernel",
    "EDispKernelMap": "edisp_kernel_map",
    "EDispMap": "edisp_map",
    "EffectiveAreaTable2D": "effective_area",
    "EnergyDependentMultiGaussPSF": "psf_parametric",
    "EnergyDispersion2D": "energy_dispersion",
    "FermiEffectiveArea": "fermi_caldb",
    "FermiEnergyDispersion": "fermi_caldb",
    "FermiLivetime": "fermi_average",
    "FermiPSF": "fermi_caldb",
    "FermiResponse": "fermi_average",
    "IRF": "table",
    "IRFMap": "irf_map",
    "PSF3D": "psf_3d",
    "PSFKernel": "psf_kernel",
    "PSFKing": "psf_parametric",
    "PSFMap": "psf_map",
    "ParametricPSF": "psf_parametric",
    "RadMax2D": "rad_max",
    "RadialTable": "psf_table",
    "arf_to_hdulist": "io",
    "io": "io",
    "load_irf_dict_from_file": "load",
    "make_analytic_irfs": "analytic",
    "make_edisp_kernel_map": "reduce",
    "make_edisp_map": "reduce",
    "make_map_background_irf": "reduce",
    "make_map_exposure_true_energy": "reduce",
    "make_psf_map": "reduce",
    "read_arf": "io",
    "read_rmf": "io",
    "rmf_to_hdulist": "io",
    "write_arf": "io",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

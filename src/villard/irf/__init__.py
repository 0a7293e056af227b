"""Responses of instruments: effective areas, energy dispersion, point spread functions."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "EDispKernel": "edisp_kernel",
    "EDispKernelMap": "edisp_kernel_map",
    "EDispMap": "edisp_map",
    "IRFMap": "irf_map",
    "PSFKernel": "psf_kernel",
    "PSFMap": "psf_map",
    "arf_to_hdulist": "io",
    "io": "io",
    "read_arf": "io",
    "read_rmf": "io",
    "rmf_to_hdulist": "io",
    "write_arf": "io",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

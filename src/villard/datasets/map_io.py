"""PSF and energy dispersion of cubes as FITS extensions; maps are in `villard.datasets.gadf`."""

from __future__ import annotations

from typing import Any

from astropy.io import fits

from villard.datasets.map_response import kernel_map_of
from villard.exceptions import DataError

__all__ = ["irf_hdus", "read_irfs"]


def read_irfs(hdulist: fits.HDUList, where: str) -> dict[str, Any]:
    """Return the PSF and the energy dispersion that are among FITS extensions.

    Parameters
    ----------
    hdulist : `~astropy.io.fits.HDUList`
        Extensions, of which PSF and EDISP are read.
    where : str
        File, for messages.
    """
    from villard.irf import EDispKernelMap, EDispMap, PSFMap

    parts: dict[str, Any] = {}
    if "PSF" in hdulist:
        parts["psf"] = PSFMap.from_hdulist(hdulist, where=where)
    if "EDISP" in hdulist:
        bands = hdulist["EDISP_BANDS"].columns.names if "EDISP_BANDS" in hdulist else []
        kind: Any = EDispMap if any("MIGRA" in str(name).upper() for name in bands) else EDispKernelMap
        parts["edisp"] = kind.from_hdulist(hdulist, where=where)
    return parts


def irf_hdus(dataset: Any) -> list[Any]:
    """Return the PSF and the energy dispersion of a dataset as FITS extensions."""
    hdus: list[Any] = []
    if dataset.psf is not None:
        if not hasattr(dataset.psf, "psf_map"):
            raise DataError(
                f"Dataset {dataset.name!r}: a {type(dataset.psf).__name__} can't be written to the file of a "
                "dataset, which needs a PSFMap"
            )
        hdus += dataset.psf.to_hdulist()[1:]
    if dataset.edisp is not None:
        edisp = dataset.edisp
        hdus += (kernel_map_of(dataset) if hasattr(edisp, "pdf_matrix") else edisp).to_hdulist()[1:]
    return hdus

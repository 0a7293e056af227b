"""All responses of one file."""

from __future__ import annotations

import os
from typing import Any

from astropy.io import fits

from villard.irf.background import Background2D, Background3D
from villard.irf.effective_area import EffectiveAreaTable2D
from villard.irf.energy_dispersion import EnergyDispersion2D
from villard.irf.psf_3d import PSF3D
from villard.irf.psf_parametric import EnergyDependentMultiGaussPSF, PSFKing
from villard.maps.fits import open_fits

__all__ = ["load_irf_dict_from_file"]

# By HDUCLAS4, and the spellings of early files, which have it in another keyword.
_CLASSES: dict[str, tuple[str, Any]] = {
    "AEFF_2D": ("aeff", EffectiveAreaTable2D),
    "EDISP_2D": ("edisp", EnergyDispersion2D),
    "PSF_TABLE": ("psf", PSF3D),
    "PSF_3GAUSS": ("psf", EnergyDependentMultiGaussPSF),
    "PSF_KING": ("psf", PSFKing),
    "PSF_2D_KING": ("psf", PSFKing),
    "BKG_2D": ("bkg", Background2D),
    "BKG_3D": ("bkg", Background3D),
}
# By HDUCLAS2 and dimension, as the files of the first CTA data challenge have it.
_EARLY = {
    ("EFF_AREA", "2D"): "AEFF_2D",
    ("RPSF", "3GAUSS"): "PSF_3GAUSS",
    ("EDISP", "2D"): "EDISP_2D",
    ("BKG", "2D"): "BKG_2D",
    ("BKG", "3D"): "BKG_3D",
}


def load_irf_dict_from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read all tables of responses of a file.

    Parameters
    ----------
    path : str or path-like
        FITS file in the GADF layout.

    Returns
    -------
    dict
        Tables by "aeff", "psf", "edisp" and "bkg", as far as the file has them.
    """
    result: dict[str, Any] = {}
    with open_fits(path) as hdulist:
        for hdu in hdulist:
            if not isinstance(hdu, fits.BinTableHDU):
                continue
            hduclas2, hduclas4 = (str(hdu.header.get(f"HDUCLAS{i}", "")).strip().upper() for i in (2, 4))
            name = _EARLY.get((hduclas2, hduclas4), hduclas4 if hduclas4 in _CLASSES else hduclas2)
            if name in _CLASSES:
                key, cls = _CLASSES[name]
                result[key] = cls.from_hdulist(hdulist, hdu=hdu.name, where=str(path))
    return result

"""All responses of one file."""

from __future__ import annotations

import os
from typing import Any

from astropy.io import fits

from villard.exceptions import FileFormatError
from villard.irf.background import Background2D, Background3D
from villard.irf.effective_area import EffectiveAreaTable2D
from villard.irf.energy_dispersion import EnergyDispersion2D
from villard.irf.gadf import table_class
from villard.irf.psf_3d import PSF3D
from villard.irf.psf_parametric import EnergyDependentMultiGaussPSF, PSFKing
from villard.irf.rad_max import RadMax2D
from villard.maps.fits import open_fits

__all__ = ["find_irf_hdus", "load_irf_dict_from_file"]

# By HDUCLAS4.
_CLASSES: dict[str, tuple[str, Any]] = {
    "AEFF_2D": ("aeff", EffectiveAreaTable2D),
    "EDISP_2D": ("edisp", EnergyDispersion2D),
    "PSF_TABLE": ("psf", PSF3D),
    "PSF_3GAUSS": ("psf", EnergyDependentMultiGaussPSF),
    "PSF_KING": ("psf", PSFKing),
    "BKG_2D": ("bkg", Background2D),
    "BKG_3D": ("bkg", Background3D),
    "RAD_MAX_2D": ("rad_max", RadMax2D),
}


def find_irf_hdus(hdulist: fits.HDUList) -> list[tuple[str, str, str]]:
    """Return what responses a file has.

    Parameters
    ----------
    hdulist : `~astropy.io.fits.HDUList`
        Extensions.

    Returns
    -------
    list of tuple
        Name of the response (such as "aeff"), its class (such as "aeff_2d"), and name of the extension.
    """
    tables = [hdu for hdu in hdulist if isinstance(hdu, fits.BinTableHDU)]
    found = [(table_class(hdu), hdu.name) for hdu in tables]
    return [(_CLASSES[name][0], _CLASSES[name][1].tag, hdu) for name, hdu in found if name in _CLASSES]


def load_irf_dict_from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read all tables of responses of a file.

    Parameters
    ----------
    path : str or path-like
        FITS file in the GADF layout.

    Returns
    -------
    dict
        Tables by "aeff", "psf", "edisp", "bkg" and "rad_max", as far as the file has them.

    Raises
    ------
    FileFormatError
        If the file is damaged, or has no response.
    """
    classes = {cls.tag: cls for _, cls in _CLASSES.values()}
    result: dict[str, Any] = {}
    with open_fits(path) as hdulist:
        for key, tag, hdu in find_irf_hdus(hdulist):
            result[key] = classes[tag].from_hdulist(hdulist, hdu=hdu, where=str(path))
        if not result:
            found = ", ".join(hdu.name or "(no name)" for hdu in hdulist)
            raise FileFormatError(f"{path}: expected responses, found the extensions {found}")
    return result

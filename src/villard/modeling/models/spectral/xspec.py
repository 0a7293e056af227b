"""Table models of XSPEC (OGIP memo 92-009)."""

import os

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FileFormatError
from villard.utils.paths import make_path

__all__ = ["read_table_model"]

_COLUMNS = {"ENERGIES": ("ENERG_LO", "ENERG_HI"), "SPECTRA": ("PARAMVAL", "INTPSPEC")}


def read_table_model(
    filename: str | os.PathLike[str],
) -> tuple[u.Quantity, NDArray[np.float64], NDArray[np.float64]]:
    """Read a table model of one parameter.

    Parameters
    ----------
    filename : str or path-like
        FITS file with extensions ENERGIES and SPECTRA; energies without unit are in keV.

    Returns
    -------
    energy : `~astropy.units.Quantity`
        Geometric centres of the energy bins in TeV, shape (n_energy,).
    param : array
        Values of the parameter, increasing, shape (n_param,).
    spectra : array
        Values, shape (n_param, n_energy).

    Raises
    ------
    FileFormatError
        If an extension or a column is missing, or there is more than one parameter; the message names the
        file.
    """
    from villard.maps.fits import open_fits

    path = make_path(filename)
    with open_fits(filename) as hdulist:
        names = [hdu.name for hdu in hdulist]
        for name, columns in _COLUMNS.items():
            if name not in names:
                raise FileFormatError(f"{path}: expected an extension {name}, found {names}")
            for column in columns:
                if column not in hdulist[name].columns.names:
                    found = hdulist[name].columns.names
                    raise FileFormatError(f"{path}[{name}]: expected a column {column}, found {found}")
        energies, spectra = hdulist["ENERGIES"].data, hdulist["SPECTRA"].data
        unit = hdulist["ENERGIES"].columns["ENERG_LO"].unit or "keV"
        low, high = (np.asarray(energies[name], dtype=float) for name in _COLUMNS["ENERGIES"])
        param = np.asarray(spectra["PARAMVAL"], dtype=float)
        data = np.asarray(spectra["INTPSPEC"], dtype=float)
    if param.size != len(spectra):
        raise FileFormatError(f"{path}: expected one parameter, found {param.size // max(len(spectra), 1)}")
    # One of the published tables of EBL absorption has its first redshift twice.
    param, first = np.unique(param.ravel(), return_index=True)
    return u.Quantity(np.sqrt(low * high), unit).to("TeV"), param, data[first]

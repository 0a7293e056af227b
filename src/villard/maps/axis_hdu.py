"""Energy axes in the tables of OGIP files."""

from __future__ import annotations

import astropy.units as u
from astropy.io import fits

from villard.maps.axis import MapAxis
from villard.maps.axis_io import axis_from_bounds
from villard.maps.fits import column, column_unit

__all__ = ["axis_of_ebounds", "axis_of_response"]


def axis_of_response(hdu: fits.BinTableHDU, where: str) -> MapAxis:
    """Return the axis "energy_true" of the columns ENERG_LO and ENERG_HI of an ARF or RMF.

    Parameters
    ----------
    hdu : `~astropy.io.fits.BinTableHDU`
        Extension; energies are in keV where it states no unit.
    where : str
        File, for messages.

    Raises
    ------
    FileFormatError
        If the columns are missing or aren't the bounds of adjacent bins above 0.
    """
    return _axis(hdu, "ENERG_LO", "ENERG_HI", "energy_true", where)


def axis_of_ebounds(hdu: fits.BinTableHDU, where: str) -> MapAxis:
    """Return the axis "energy" of an EBOUNDS extension; otherwise like `axis_of_response`."""
    return _axis(hdu, "E_MIN", "E_MAX", "energy", where)


def _axis(hdu: fits.BinTableHDU, lower: str, upper: str, name: str, where: str) -> MapAxis:
    e_min, e_max = column(hdu, lower, where), column(hdu, upper, where)
    unit, other = column_unit(hdu, lower, u.keV, where), column_unit(hdu, upper, u.keV, where)
    if unit != other:
        e_max = e_max * other.to(unit)
    place = f"{where}, extension {hdu.name}, columns {lower} and {upper}"
    return axis_from_bounds(e_min, e_max, unit, name, "log", place)

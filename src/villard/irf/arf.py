"""Effective areas in OGIP files (ARF).

Format: George et al., "The calibration requirements for spectral analysis", OGIP memo CAL/GEN/92-002.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.io import fits

from villard.exceptions import DataError, UnitsError
from villard.maps.axis import MapAxis
from villard.maps.axis_hdu import axis_of_response
from villard.maps.fits import column, column_unit, find_table, fits_unit, open_fits, write_fits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["arf_from_hdulist", "arf_to_hdulist", "read_arf", "write_arf"]

_HEADER = {
    "TELESCOP": "unknown",
    "INSTRUME": "unknown",
    "FILTER": "none",
    "HDUCLASS": "OGIP",
    "HDUCLAS1": "RESPONSE",
    "HDUCLAS2": "SPECRESP",
    "HDUVERS": "1.1.0",
}


def arf_from_hdulist(
    hdulist: fits.HDUList, hdu: str | None = None, where: str = "ARF"
) -> tuple[MapAxis, u.Quantity]:
    """Read an effective area from FITS extensions; see `read_arf`."""
    table = find_table(hdulist, ["SPECRESP"] if hdu is None else [hdu], where, () if hdu else ("SPECRESP",))
    axis = axis_of_response(table, where)
    area = column(table, "SPECRESP", where)
    unit = column_unit(table, "SPECRESP", u.cm**2, where)
    _check_area(area, f"{where}, extension {table.name}, column SPECRESP")
    return axis, u.Quantity(area, unit, copy=False)


def _check_area(area: Any, where: str) -> None:
    bad = ~(np.isfinite(area) & (area >= 0))
    if np.any(bad):
        i = int(np.argmax(bad))
        raise DataError(f"{where}: an effective area can't be negative or NaN, found {area[i]} in bin {i}")


def read_arf(path: str | os.PathLike[str], hdu: str | None = None) -> tuple[MapAxis, u.Quantity]:
    """Read the effective area from an ARF file.

    Units are those of the file; where it states none, those that OGIP asks for, keV and cm2. A lowest
    energy of 0 is an error, because the axis is logarithmic.

    Parameters
    ----------
    path : str or path-like
        File, possibly gzipped.
    hdu : str, optional
        Name of the extension; by default SPECRESP, or the one whose HDUCLAS2 is SPECRESP.

    Returns
    -------
    axis : `~villard.maps.MapAxis`
        Axis "energy_true".
    area : `~astropy.units.Quantity`
        Effective area, shape (n_energy_true,).

    Raises
    ------
    FileFormatError
        If the file is damaged or has another layout.
    DataError
        If the file is missing, or an area negative or NaN.
    """
    with open_fits(path) as hdulist:
        return arf_from_hdulist(hdulist, hdu=hdu, where=str(path))


def arf_to_hdulist(
    energy_axis_true: MapAxis, area: u.Quantity, format: str = "ogip", **header: Any
) -> fits.HDUList:
    """Return an effective area as FITS extensions of the OGIP standard.

    Parameters
    ----------
    energy_axis_true : `~villard.maps.MapAxis`
        Axis "energy_true".
    area : `~astropy.units.Quantity`
        Effective area, shape (n_energy_true,) or (n_energy_true, 1, 1).
    format : {"ogip", "ogip-sherpa"}
        Whether units stay, or become keV and cm2, which sherpa and XSPEC take for granted.
    **header
        Keywords, such as ``TELESCOP="HESS"``.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    >>> arf_to_hdulist(axis, [1e9, 2e9] * u.cm**2)["SPECRESP"].columns.names
    ['ENERG_LO', 'ENERG_HI', 'SPECRESP']
    """
    if format not in {"ogip", "ogip-sherpa"}:
        raise DataError(f"Unknown ARF format {format!r}, expected 'ogip' or 'ogip-sherpa'")
    sherpa = format == "ogip-sherpa"
    area = u.Quantity(area)
    if not area.unit.is_equivalent(u.cm**2):
        raise UnitsError(f"ARF: expected an effective area with a unit like cm2, found {area.unit!r}")
    if energy_axis_true.name != "energy_true" or area.size != energy_axis_true.nbin:
        raise DataError(
            f"ARF: expected an axis 'energy_true' and one area per bin, "
            f"found the axis {energy_axis_true!r} and areas of shape {area.shape}"
        )
    if sherpa:
        area = area.to("cm2")
    values = _plain(area.value)
    _check_area(values, "ARF")
    edges = energy_axis_true.edges.to("keV") if sherpa else energy_axis_true.edges
    unit = fits_unit(edges.unit)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("ENERG_LO", "D", unit=unit, array=edges.value[:-1]),
            fits.Column("ENERG_HI", "D", unit=unit, array=edges.value[1:]),
            fits.Column("SPECRESP", "D", unit=fits_unit(area.unit), array=values),
        ],
        name="SPECRESP",
    )
    table.header.update(_HEADER | header)
    return fits.HDUList([fits.PrimaryHDU(), table])


def write_arf(
    path: str | os.PathLike[str],
    energy_axis_true: MapAxis,
    area: u.Quantity,
    overwrite: bool = False,
    format: str = "ogip",
    **header: Any,
) -> None:
    """Write an effective area to an ARF file; parameters as for `arf_to_hdulist`."""
    write_fits(arf_to_hdulist(energy_axis_true, area, format=format, **header), path, overwrite=overwrite)


def _plain(values: ArrayLike) -> Any:
    return np.asarray(values, dtype=float).reshape(-1)

"""FITS files opened, checked and written; any damage becomes a `FileFormatError` that names the file."""

from __future__ import annotations

import gzip
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError, VillardError
from villard.utils.io import atomic_write
from villard.utils.paths import make_path
from villard.utils.units import parse_unit

__all__ = [
    "column",
    "column_unit",
    "find_table",
    "fits_unit",
    "integer_keyword",
    "open_fits",
    "table_data",
    "write_fits",
]

# Spellings that OGIP files use, other than those of the FITS standard.
_UNITS = {
    **{text.lower(): u.Unit(text) for text in ("eV", "keV", "MeV", "GeV", "TeV", "PeV", "erg")},
    **dict.fromkeys(("cm**2", "cm^2", "cm2", "cm*cm"), u.cm**2),
    **dict.fromkeys(("m**2", "m^2", "m2"), u.m**2),
}


@contextmanager
def open_fits(path: str | os.PathLike[str]) -> Iterator[fits.HDUList]:
    """Open a (possibly gzipped) FITS file; what goes wrong while it is read becomes a named error.

    Parameters
    ----------
    path : str or path-like
        File; ``$VAR`` is expanded.

    Yields
    ------
    `~astropy.io.fits.HDUList`
        Extensions, read into memory when used.

    Raises
    ------
    DataError
        If the file doesn't exist.
    FileFormatError
        If it isn't a whole FITS file, or the code in the block stumbles over its content.
    """
    path = make_path(path)
    if not path.is_file():
        raise DataError(f"File not found: {path}")
    try:
        with warnings.catch_warnings():
            # astropy only warns of a file that ends too early, and goes on with what there is.
            warnings.filterwarnings("error", message=".*truncated.*")
            warnings.filterwarnings("error", message=".*Error validating header.*")
            # From memory, because astropy leaves a file open when it fails while opening it.
            with fits.open(io.BytesIO(_content(path)), lazy_load_hdus=False) as hdulist:
                yield hdulist
    except VillardError:
        raise
    # astropy meets damaged files with exceptions of any kind, from OSError to TypeError.
    except Exception as error:
        raise FileFormatError(
            f"{path}: expected a FITS file, but it can't be read ({type(error).__name__}: {error})"
        ) from error


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def write_fits(hdulist: fits.HDUList, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write extensions to a FITS file, whole or not at all."""
    with atomic_write(path, overwrite=overwrite) as temporary:
        hdulist.writeto(temporary, overwrite=True)


def find_table(
    hdulist: fits.HDUList, names: Sequence[str], where: str, hduclas2: Sequence[str] = ()
) -> fits.BinTableHDU:
    """Return the first table with one of the names or, if there is none, one of the OGIP classes.

    Parameters
    ----------
    hdulist : `~astropy.io.fits.HDUList`
        Extensions.
    names : list of str
        Names (EXTNAME) in order of preference.
    where : str
        File, for messages.
    hduclas2 : list of str
        Values of HDUCLAS2.

    Raises
    ------
    FileFormatError
        If there is none.
    """
    tables = [hdu for hdu in hdulist if isinstance(hdu, fits.BinTableHDU)]
    for name in names:
        for hdu in tables:
            if hdu.name == name.upper():
                return hdu
    for hdu in tables:
        if str(hdu.header.get("HDUCLAS2", "")).strip().upper() in hduclas2:
            return hdu
    found = ", ".join(hdu.name or "(no name)" for hdu in hdulist)
    raise FileFormatError(f"{where}: expected a table {' or '.join(names)}, found the extensions {found}")


def table_data(hdu: fits.BinTableHDU, where: str) -> fits.FITS_rec:
    """Return the rows of a table.

    Raises
    ------
    FileFormatError
        If they can't be read, or there are none.
    """
    try:
        data = hdu.data
        n_rows = 0 if data is None else len(data)
    # See `open_fits`.
    except Exception as error:
        raise FileFormatError(
            f"{where}, extension {hdu.name}: the table can't be read ({type(error).__name__}: {error})"
        ) from error
    if not n_rows:
        raise FileFormatError(f"{where}, extension {hdu.name}: the table has no rows")
    return data


def raw_column(hdu: fits.BinTableHDU, name: str, where: str) -> Any:
    """Return a column as astropy gives it, which for variable-length arrays is an array of arrays."""
    data = table_data(hdu, where)
    names = {str(column_name).upper(): column_name for column_name in data.names}
    if name.upper() not in names:
        raise FileFormatError(
            f"{where}, extension {hdu.name}: expected a column {name}, found {', '.join(names)}"
        )
    try:
        return data.field(names[name.upper()])
    # See `open_fits`.
    except Exception as error:
        raise FileFormatError(
            f"{where}, extension {hdu.name}: column {name} can't be read ({type(error).__name__}: {error})"
        ) from error


def column(hdu: fits.BinTableHDU, name: str, where: str) -> NDArray[np.float64]:
    """Return a column of one real number per row.

    Parameters
    ----------
    hdu : `~astropy.io.fits.BinTableHDU`
        Table.
    name : str
        Name, in upper or lower case.
    where : str
        File, for messages.

    Returns
    -------
    `~numpy.ndarray`
        Values, shape (n_rows,).

    Raises
    ------
    FileFormatError
        If the column is missing or holds something else.
    """
    values = np.asarray(raw_column(hdu, name, where))
    if values.dtype.kind not in "iufb" or values.size != len(values):
        raise FileFormatError(
            f"{where}, extension {hdu.name}: expected one number per row in column {name}, "
            f"found {values.dtype} of shape {values.shape[1:]}"
        )
    return np.array(values.reshape(len(values)), dtype=float)


def column_unit(hdu: fits.BinTableHDU, name: str, default: u.UnitBase, where: str) -> u.UnitBase:
    """Return the unit of a column, which must be convertible to ``default``.

    ``default`` is taken only if the file states no unit (keyword TUNIT absent or blank).

    Raises
    ------
    FileFormatError
        If the unit is unknown or of another kind.
    """
    index = [str(item).upper() for item in hdu.columns.names].index(name.upper()) + 1
    text = str(hdu.header.get(f"TUNIT{index}", "")).strip()
    if not text:
        return default
    place = f"{where}, extension {hdu.name}, column {name}"
    unit = _UNITS.get(text.lower())
    if unit is None:
        try:
            unit = parse_unit(_one_slash(text), place)
        except UnitsError as error:
            raise FileFormatError(str(error)) from error
    if not unit.is_equivalent(default):
        raise FileFormatError(f"{place}: expected a unit like {default}, found {text!r}")
    return unit


def _one_slash(text: str) -> str:
    """Write "1/s/MeV/sr", which some files have and FITS doesn't know, as "1/(s.MeV.sr)"."""
    first, *rest = text.split("/")
    return text if len(rest) < 2 or "(" in text else f"{first or 1}/({'.'.join(rest)})"


def fits_unit(unit: u.UnitBase) -> str:
    """Return the text for the keyword TUNIT."""
    try:
        return str(unit.to_string("fits"))
    except ValueError as error:
        raise UnitsError(f"The unit {unit} has no form in FITS") from error


def integer_keyword(hdu: fits.BinTableHDU, name: str, where: str) -> int | None:
    """Return an integer of the header, or `None` if the keyword is absent.

    Raises
    ------
    FileFormatError
        If its value isn't an integer.
    """
    value = hdu.header.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise FileFormatError(
            f"{where}, extension {hdu.name}: expected an integer as {name}, found {value!r}"
        )
    return int(value)

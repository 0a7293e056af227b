"""Tables of catalogues as files have them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import FileFormatError
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Row", "column_unit", "open_catalog", "read_table", "table_from_hdu"]

#: Units of counts, which fluxes of models don't have.
_COUNTS = (u.ph,)


class Row(Mapping[str, Any]):
    """A row of a table: column to value, with a unit where the column has one.

    Values are taken from the table when they are asked for.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Table.
    index : int
        Position of the row.

    Examples
    --------
    >>> from astropy.table import Table
    >>> row = Row(Table({"name": ["A", "B"], "flux": [1.0, 2.0] * u.Unit("cm-2 s-1")}), 1)
    >>> row["name"], row["flux"]
    ('B', <Quantity 2. 1 / (s cm2)>)
    """

    def __init__(self, table: Table, index: int) -> None:
        self._table, self._index = table, index
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = _value(self._table.columns[name], self._index)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._table.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.colnames)

    def __len__(self) -> int:
        return len(self._table.colnames)

    def __repr__(self) -> str:
        return f"Row({dict(self)!r})"


def _value(column: Any, index: int) -> Any:
    value = column[index]
    if np.ma.is_masked(value):
        # What isn't there.
        value = np.nan if column.dtype.kind == "f" else None
    if column.unit is not None and value is not None:
        return u.Quantity(getattr(value, "value", value), column.unit)
    if isinstance(value, str | np.str_):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def column_unit(text: str | None, where: str) -> u.UnitBase | None:
    """Return the unit of a column without photons; `None` if there is none.

    Examples
    --------
    >>> column_unit("photon/cm**2/MeV/s", "column")
    Unit("1 / (MeV s cm2)")
    """
    if not text or text.strip() in ("", "_", "None"):
        return None
    try:
        # Several slashes, as in 3FGL, are against the standard, which astropy warns of.
        first, *divisors = text.strip().split("/")
        unit = u.Unit(first)
        for divisor in divisors:
            unit = unit / u.Unit(divisor)
    except ValueError as error:
        raise FileFormatError(f"{where}: unknown unit {text!r}") from error
    bases = [(b, p) for b, p in zip(unit.bases, unit.powers, strict=True) if b not in _COUNTS]
    result = u.CompositeUnit(unit.scale, [b for b, _ in bases], [p for _, p in bases])
    return None if result == u.dimensionless_unscaled else result


def table_from_hdu(hdu: Any, where: str) -> Table:
    """Return a table of FITS: text without trailing spaces, numbers in the machine's order."""
    from astropy.table import Column, Table

    columns = []
    for definition in hdu.columns:
        data = np.asarray(hdu.data[definition.name])
        unit = column_unit(definition.unit, f"{where}: column {definition.name}")
        if data.dtype.kind in "SU":
            data, unit = np.char.strip(data.astype(str)), None
        elif data.dtype.byteorder == ">":
            data = data.astype(data.dtype.newbyteorder("="))
        columns.append(Column(data, name=definition.name, unit=unit))
    table = Table(columns)
    table.meta.update({key: value for key, value in hdu.header.items() if key and key != "COMMENT"})
    return table


def open_catalog(filename: str | os.PathLike[str]) -> Any:
    """Open a FITS file, raising `FileFormatError` if it isn't there or isn't one.

    A file that is missing is looked for with and without ``.gz``.
    """
    from astropy.io import fits

    path = make_path(filename)
    if not path.is_file():
        other = path.with_name(path.name[:-3] if path.name.endswith(".gz") else f"{path.name}.gz")
        if not other.is_file():
            raise FileFormatError(f"Catalogue not found: {path}")
        path = other
    try:
        return fits.open(path)
    except OSError as error:
        raise FileFormatError(f"{path}: not a FITS file: {error}") from error


def read_table(filename: str | os.PathLike[str], hdu: Any = 1) -> Table:
    """Read a table of a FITS or ECSV file."""
    from astropy.table import Table

    path = make_path(filename)
    if path.suffix == ".ecsv":
        if not path.is_file():
            raise FileFormatError(f"Catalogue not found: {path}")
        table = Table.read(path, format="ascii.ecsv")
        for name in table.colnames:
            table[name].unit = column_unit(str(table[name].unit or ""), f"{path}: column {name}")
        return table
    with open_catalog(filename) as hdus:
        try:
            return table_from_hdu(hdus[hdu], str(filename))
        except (KeyError, IndexError) as error:
            names = ", ".join(item.name for item in hdus)
            raise FileFormatError(f"{filename}: no table {hdu!r}, found {names}") from error

"""Tables of events: what is checked, read from FITS files and said about time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.time import Time

__all__ = ["check_events", "events_of_hdu", "read_events", "time_keywords", "time_reference"]

_REQUIRED = {"ENERGY": u.TeV, "RA": u.deg, "DEC": u.deg}


def check_events(table: Any) -> Table:
    """Return a table whose columns can be used; see `~villard.data.EventList`."""
    from astropy.table import Table

    if not isinstance(table, Table):
        raise DataError(f"EventList: expected an astropy table, found {type(table).__name__}")
    missing = [name for name in _REQUIRED if name not in table.colnames]
    if missing:
        raise DataError(
            f"EventList: expected the columns {', '.join(_REQUIRED)}; {', '.join(missing)} isn't among "
            f"{', '.join(map(str, table.colnames)) or 'no columns'}"
        )
    table = Table(table, copy=False)
    for name, unit in _REQUIRED.items():
        _check_unit(table, name, unit)
        _check_values(name, table[name], _is_possible(name, table[name]))
    if "TIME" in table.colnames:
        _check_time(table)
    return table


def _check_unit(table: Table, name: str, unit: u.UnitBase) -> None:
    found = getattr(table[name], "unit", None)
    if found is None or not u.Unit(found).is_equivalent(unit):
        raise UnitsError(f"EventList, column {name}: expected a unit like {unit}, found {found}")


def _is_possible(name: str, column: Any) -> NDArray[np.bool_]:
    # Masked values are missing ones.
    values = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    good = np.isfinite(values)
    if name == "ENERGY":
        return good & (values > 0)
    if name == "DEC":
        # In single precision a declination of 90 deg may be a little more.
        return good & (np.abs(u.Quantity(np.where(good, values, 0), column.unit).to_value("deg")) < 90.0001)
    return np.asarray(good)


def _check_values(name: str, column: Any, good: NDArray[np.bool_]) -> None:
    if good.ndim != 1:
        raise DataError(f"EventList, column {name}: expected one number per event, found {good.shape[1:]}")
    if not np.all(good):
        i = int(np.argmin(good))
        raise DataError(
            f"EventList, column {name}: {int((~good).sum())} of {len(good)} values can't be used, "
            f"the first one is {column[i]} in row {i}"
        )


def _check_time(table: Table) -> None:
    from astropy.time import Time

    column = table["TIME"]
    if isinstance(column, Time):
        reference = column[0] if len(column) else Time("2000-01-01", scale="tt")
        if {"MJDREFI", "MJDREF"} & set(table.meta):
            reference = time_reference(table.meta, "EventList")
        seconds = (column - reference).to("s")
        table.meta = dict(table.meta) | time_keywords(reference)
        table.replace_column("TIME", seconds)
        column = table["TIME"]
    _check_unit(table, "TIME", u.s)
    _check_values("TIME", column, np.isfinite(np.ma.filled(np.ma.asarray(column).astype(float), np.nan)))


def time_reference(meta: Mapping[str, Any], where: str) -> Time:
    """Return the reference time in the keywords MJDREFI, MJDREFF (or MJDREF) and TIMESYS."""
    from astropy.time import Time

    try:
        if "MJDREFI" in meta:
            days = float(meta["MJDREFI"]), float(meta.get("MJDREFF", 0.0))
        else:
            days = float(meta["MJDREF"]), 0.0
        return Time(*days, format="mjd", scale=str(meta.get("TIMESYS", "tt")).strip().lower())
    except KeyError as error:
        raise DataError(
            f"{where}: the reference time isn't known, there is no keyword MJDREF or MJDREFI"
        ) from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: the keywords of the reference time can't be used ({error})") from error


def time_keywords(reference: Time) -> dict[str, Any]:
    """Return the keywords of a reference time."""
    days = int(np.floor(reference.mjd))
    rest = float((reference.jd1 - 2400000.5 - days) + reference.jd2)
    return {"MJDREFI": days, "MJDREFF": rest, "TIMESYS": reference.scale.upper(), "TIMEUNIT": "s"}


def read_events(filename: str | os.PathLike[str], hdu: str) -> Table:
    """Read the table of events of a FITS file; see `~villard.data.EventList.read`."""
    from villard.maps.fits import find_table, open_fits

    with open_fits(filename) as hdulist:
        where = f"{filename}"
        return events_of_hdu(find_table(hdulist, [hdu], where), where)


def events_of_hdu(item: Any, where: str) -> Table:
    """Return the checked table of events of an extension.

    Parameters
    ----------
    item : `~astropy.io.fits.BinTableHDU`
        Extension.
    where : str
        File, for messages.
    """
    from astropy.table import Table

    from villard.irf.gadf import read_meta
    from villard.maps.fits import column_unit

    hduclas1 = str(item.header.get("HDUCLAS1", "EVENTS")).strip().upper()
    place = f"{where}, extension {item.name}"
    if hduclas1 != "EVENTS":
        raise FileFormatError(f"{place}: expected events (HDUCLAS1 = EVENTS), found {hduclas1}")
    columns: dict[str, Any] = {}
    units = _REQUIRED | {"TIME": u.s}
    for name in item.columns.names:
        # In memory and in native byte order.
        values = np.asarray(item.data[name])
        values = values.astype(values.dtype.newbyteorder("="))
        key = name.upper() if name.upper() in units else name
        columns[key] = values
        if key in units:
            columns[key] = u.Quantity(values, column_unit(item, name, units[key], where), dtype=values.dtype)
    table = Table(columns, meta=read_meta(item))
    for name, unit in _other_units(item).items():
        if name in table.colnames and table[name].unit is None:
            table[name].unit = unit
    try:
        return check_events(table)
    except (DataError, UnitsError) as error:
        raise FileFormatError(f"{place}: {error}") from error


def _other_units(item: Any) -> dict[str, u.UnitBase]:
    result = {}
    for column in item.columns:
        if column.unit:
            try:
                result[column.name] = u.Unit(column.unit)
            except ValueError:
                # The unit of a column that nothing here uses.
                continue
    return result

"""Maps of a region in tables and FITS files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.io import fits

from villard.exceptions import DataError, FileFormatError
from villard.maps.axis import MapAxis
from villard.maps.axis_hdu import axis_of_ebounds, axis_of_response
from villard.maps.bands import axes_from_bands, axes_keywords, axes_to_bands
from villard.maps.fits import column, column_unit, find_table, fits_unit, raw_column
from villard.maps.region_geom import RegionGeom
from villard.maps.region_hdu import region_from_hdu, region_to_hdu
from villard.maps.region_map import RegionNDMap
from villard.utils.units import parse_unit

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["map_from_hdulist", "map_from_table", "map_to_hdulist", "map_to_table"]

_FORMATS = ("gadf", "ogip", "ogip-arf")
_CODES = {"b1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}


def _check_format(format: str) -> None:
    if format not in _FORMATS:
        raise DataError(f"Unknown map format {format!r}, expected one of {', '.join(_FORMATS)}")


# Tables


def map_to_table(spectrum: RegionNDMap, format: str) -> Table:
    """Return a map as a table; see `RegionNDMap.to_table`."""
    from astropy.table import QTable, Table

    _check_format(format)
    table = QTable()
    axes = spectrum.geom.axes
    if format == "gadf":
        table["CHANNEL"] = np.arange(spectrum.data.size)
        table["DATA"] = spectrum.quantity.ravel() if str(spectrum.unit) else spectrum.data.ravel()
        return Table(table)
    axes.assert_names(["energy" if format == "ogip" else "energy_true"])
    if format == "ogip":
        if not np.allclose(spectrum.data, np.round(spectrum.data)):
            raise DataError("Format 'ogip': expected whole counts, found fractions. Use the format 'gadf'")
        table["CHANNEL"] = np.arange(axes[0].nbin, dtype=np.int16 if axes[0].nbin < 2**15 else np.int32)
        table["COUNTS"] = np.round(spectrum.data.ravel()).astype(np.int32)
    else:
        table = QTable(axes[0].to_table("ogip-arf"))
        table["SPECRESP"] = spectrum.quantity.ravel()
    return Table(table)


def map_from_table(table: Table, format: str, axes: Sequence[MapAxis] | None) -> RegionNDMap:
    """Make a map from a table; see `RegionNDMap.from_table`."""
    _check_format(format)
    name = {"gadf": "DATA", "ogip": "COUNTS", "ogip-arf": "SPECRESP"}[format]
    if name not in table.colnames:
        raise FileFormatError(f"Table: expected a column {name}, found {', '.join(table.colnames)}")
    if format == "ogip-arf":
        axes = [MapAxis.from_table(table, format="ogip-arf")]
    if axes is None:
        raise DataError(f"Table in the format {format!r}: the axes must be given")
    values, unit = np.asarray(getattr(table[name], "value", table[name])), table[name].unit or ""
    return RegionNDMap(RegionGeom(None, axes=axes), data=values, unit=unit)


# FITS


def map_to_hdulist(spectrum: RegionNDMap, format: str, hdu: str) -> fits.HDUList:
    """Return a map as FITS extensions; see `RegionNDMap.to_hdulist`."""
    _check_format(format)
    hdulist = fits.HDUList([fits.PrimaryHDU()])
    if format == "ogip-arf":
        table = fits.BinTableHDU(spectrum.to_table("ogip-arf"), name="SPECRESP")
        table.header.update({"HDUCLASS": "OGIP", "HDUCLAS1": "RESPONSE", "HDUCLAS2": "SPECRESP"})
        return fits.HDUList([*hdulist, table])
    if format == "ogip":
        table = fits.BinTableHDU(spectrum.to_table("ogip"), name="SPECTRUM")
        n = spectrum.geom.axes["energy"].nbin
        table.header.update(
            {"HDUCLASS": "OGIP", "HDUCLAS1": "SPECTRUM", "HDUVERS": "1.2.1", "CHANTYPE": "PHA", "DETCHANS": n}
            | {"TELESCOP": "unknown", "INSTRUME": "unknown", "FILTER": "none", "POISSERR": True}
            | {
                "EXPOSURE": 0.0,
                "BACKSCAL": 1.0,
                "AREASCAL": 1.0,
                "CORRSCAL": 0.0,
                "QUALITY": 0,
                "GROUPING": 0,
            }
            | {"TLMIN1": 0, "TLMAX1": n - 1}
        )
        hdulist += [table, spectrum.geom.axes["energy"].to_table_hdu("ogip")]
        region_name = "REGION"
    else:
        hdulist += _gadf_hdus(spectrum, hdu)
        region_name = f"{hdu}_REGION"
    if spectrum.geom.region is not None:
        hdulist.append(region_to_hdu(spectrum.geom.region, region_name))
    return hdulist


def _gadf_hdus(spectrum: RegionNDMap, hdu: str) -> list[fits.BinTableHDU]:
    data = spectrum.data
    inner = data.shape[1:]
    # FITS has these types of numbers, others are widened.
    code = _CODES.get(data.dtype.str[1:], "D")
    n = int(np.prod(inner))
    shape = f"({','.join(map(str, inner[::-1]))})"
    unit = fits_unit(spectrum.unit)
    columns = [
        fits.Column("CHANNEL", "J", array=np.arange(len(data), dtype=np.int32)),
        fits.Column("DATA", f"{n}{code}", unit=unit or None, dim=shape, array=data),
    ]
    table = fits.BinTableHDU.from_columns(columns, name=hdu)
    table.header.update(axes_keywords(spectrum.geom.axes))
    return [table, axes_to_bands(spectrum.geom.axes, f"{hdu}_BANDS")]


def map_from_hdulist(
    hdulist: fits.HDUList, hdu: str | None = None, format: str | None = None, where: str = "FITS data"
) -> RegionNDMap:
    """Make a map of FITS extensions; see `RegionNDMap.from_hdulist`."""
    tables = [item.name for item in hdulist if isinstance(item, fits.BinTableHDU)]
    if not tables:
        raise FileFormatError(f"{where}: expected a table, found none")
    table = find_table(hdulist, [tables[0] if hdu is None else hdu], where)
    if format is None:
        names = [str(name).upper() for name in table.columns.names]
        format = "ogip" if "COUNTS" in names else "ogip-arf" if "SPECRESP" in names else "gadf"
    _check_format(format)
    if format == "ogip-arf":
        axis, area = axis_of_response(table, where), column(table, "SPECRESP", where)
        unit = column_unit(table, "SPECRESP", u.cm**2, where)
        return RegionNDMap(RegionGeom(None, axes=[axis]), data=area, unit=unit)
    if format == "ogip":
        return _counts_from_hdulist(hdulist, table, where)
    return _gadf_from_hdulist(hdulist, table, where)


def _counts_from_hdulist(hdulist: fits.HDUList, table: fits.BinTableHDU, where: str) -> RegionNDMap:
    axis = axis_of_ebounds(find_table(hdulist, ["EBOUNDS"], where, ("EBOUNDS",)), where)
    counts = column(table, "COUNTS", where)
    if len(counts) != axis.nbin:
        raise FileFormatError(
            f"{where}, extension {table.name}: expected {axis.nbin} channels as in EBOUNDS, "
            f"found {len(counts)}"
        )
    return RegionNDMap(RegionGeom(region_from_hdu(hdulist, "REGION", where), axes=[axis]), data=counts)


def _gadf_from_hdulist(hdulist: fits.HDUList, table: fits.BinTableHDU, where: str) -> RegionNDMap:
    bands = find_table(hdulist, [f"{table.name}_BANDS", "BANDS"], where)
    axes = axes_from_bands(bands, table.header, where)
    geom = RegionGeom(region_from_hdu(hdulist, f"{table.name}_REGION", where), axes=axes)
    values = np.asarray(raw_column(table, "DATA", where))
    if values.dtype.kind not in "biuf" or values.size != np.prod(geom.data_shape):
        raise FileFormatError(
            f"{where}, extension {table.name}: expected {geom.data_shape} numbers in column DATA, "
            f"found {values.dtype} of shape {values.shape}"
        )
    values = values.reshape(geom.data_shape).astype(values.dtype.newbyteorder("="))
    index = [str(name).upper() for name in table.columns.names].index("DATA") + 1
    unit = parse_unit(str(table.header.get(f"TUNIT{index}", "")), f"{where}, column DATA")
    return RegionNDMap(geom, data=values, unit=unit)

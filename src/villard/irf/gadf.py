"""Tables of responses in FITS files of the open gamma-ray data formats (GADF).

Each is a table of one row, with the columns ``…_LO`` and ``…_HI`` of each axis and one or more of values.
The dimensions of values are in the order of the axes' columns (in FITS, which counts them in reverse);
where a file has them in the reverse order, the lengths tell. Background with the columns DETX, DETY, ENERG
and equal numbers of both coordinates is ambiguous: its array has the order ENERG, DETX, DETY.

Format: https://gamma-astro-data-formats.readthedocs.io, v0.3, section "IRFs".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError
from villard.maps.axis import MapAxis
from villard.maps.axis_io import axis_from_bounds
from villard.maps.fits import column_unit, find_table, fits_unit, raw_column

if TYPE_CHECKING:
    from villard.irf.table import IRF

__all__ = ["find_irf_table", "read_axes", "read_table", "read_values", "table_hdu"]

T = TypeVar("T", bound="IRF")
Array = NDArray[np.float64]

log = logging.getLogger(__name__)

#: Negative values up to this part of the sum are taken as rounding of an extrapolation.
_MOST_NEGATIVE = 0.01

# Prefixes of columns by axis, the first one for writing, and the unit if a file states none.
_PREFIXES: dict[str, tuple[tuple[str, ...], u.UnitBase, str]] = {
    "energy_true": (("ENERG", "ETRUE"), u.TeV, "log"),
    "energy": (("ENERG",), u.TeV, "log"),
    "offset": (("THETA",), u.deg, "lin"),
    "rad": (("RAD",), u.deg, "lin"),
    "migra": (("MIGRA",), u.dimensionless_unscaled, "lin"),
    "fov_lon": (("DETX",), u.deg, "lin"),
    "fov_lat": (("DETY",), u.deg, "lin"),
}
# By class: HDUCLAS2 and HDUCLAS4, names of the extension, columns of values.
_CLASSES: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "aeff_2d": ("EFF_AREA", "AEFF_2D", ("AEFF", "EFFECTIVE AREA", "AEFF_2D"), ("EFFAREA",)),
    "edisp_2d": ("EDISP", "EDISP_2D", ("EDISP", "ENERGY DISPERSION", "EDISP_2D"), ("MATRIX",)),
    "psf_table": ("RPSF", "PSF_TABLE", ("PSF", "PSF_TABLE", "POINT SPREAD FUNCTION"), ("RPSF",)),
    "psf_3gauss": ("RPSF", "PSF_3GAUSS", ("PSF", "POINT SPREAD FUNCTION", "PSF_3GAUSS"), ()),
    "psf_king": ("RPSF", "PSF_KING", ("PSF", "PSF_2D_KING", "PSF_KING"), ()),
    "bkg_2d": ("BKG", "BKG_2D", ("BKG", "BACKGROUND", "BKG_2D"), ("BKG",)),
    "bkg_3d": ("BKG", "BKG_3D", ("BKG", "BACKGROUND", "BKG_3D"), ("BKG", "BGD")),
    "rad_max_2d": ("RAD_MAX", "RAD_MAX_2D", ("RAD_MAX", "RAD_MAX_2D"), ("RAD_MAX",)),
}
# HDUCLAS2 and HDUCLAS4 of early files, such as those of the first CTA data challenge.
_EARLY = {
    ("EFF_AREA", "2D"): "AEFF_2D",
    ("RPSF", "3GAUSS"): "PSF_3GAUSS",
    ("EDISP", "2D"): "EDISP_2D",
    ("BKG", "2D"): "BKG_2D",
    ("BKG", "3D"): "BKG_3D",
    ("PSF_2D_KING", ""): "PSF_KING",
    ("RPSF", "PSF_2D_KING"): "PSF_KING",
}


def find_irf_table(hdulist: fits.HDUList, tag: str, hdu: str | None, where: str) -> fits.BinTableHDU:
    """Return the extension of a name or, if there is none, the one for a class of tables."""
    _, hduclas4, names, _ = _CLASSES[tag]
    if hdu is not None:
        table = find_table(hdulist, [hdu], where)
        found = table_class(table)
        if found not in ("", hduclas4):
            raise FileFormatError(
                f"{where}, extension {table.name}: expected a table of the class {hduclas4}, found {found}"
            )
        return table
    for item in hdulist:
        if str(item.header.get("HDUCLAS4", "")).strip().upper() == hduclas4:
            return item
    return find_table(hdulist, names, where)


def table_class(table: fits.BinTableHDU) -> str:
    """Return the class of a table (HDUCLAS4 of the present format), or nothing if it states none."""
    hduclas2, hduclas4 = (str(table.header.get(f"HDUCLAS{i}", "")).strip().upper() for i in (2, 4))
    known = {item[1] for item in _CLASSES.values()}
    name = _EARLY.get((hduclas2, hduclas4), hduclas4 if hduclas4 in known else hduclas2)
    return name if name in known else hduclas4


def read_axes(table: fits.BinTableHDU, names: Sequence[str], where: str) -> list[MapAxis]:
    """Return the axes of a table.

    Where lower and upper bounds are equal, as for offsets at which a response was simulated, they are
    the centres.
    """
    return [_read_axis(table, name, where) for name in names]


def _read_axis(table: fits.BinTableHDU, name: str, where: str) -> MapAxis:
    prefixes, default, interp = _PREFIXES[name]
    columns = [str(item).upper() for item in table.columns.names]
    prefix = next((item for item in prefixes if f"{item}_LO" in columns), prefixes[0])
    labels = f"{prefix}_LO", f"{prefix}_HI"
    lower, upper = (np.atleast_1d(np.asarray(raw_column(table, label, where))[0]) for label in labels)
    unit = column_unit(table, labels[0], default, where)
    if column_unit(table, labels[1], default, where) != unit:
        raise FileFormatError(f"{where}, extension {table.name}: {labels[0]} and {labels[1]} differ in unit")
    place = f"{where}, extension {table.name}, columns {', '.join(labels)}"
    try:
        lower, upper = lower.astype(float), upper.astype(float)
        if lower.shape == upper.shape and np.all(lower == upper):
            return MapAxis(lower, interp=interp, name=name, node_type="center", unit=unit)
        if interp == "log" and lower[0] <= 0:
            # A logarithmic axis can't begin at 0: the first bin gets the ratio of the second one.
            lower = np.concatenate([[upper[0] ** 2 / upper[1]], lower[1:]])
    except (TypeError, ValueError, IndexError) as error:
        raise FileFormatError(f"{place}: {error}") from error
    return axis_from_bounds(lower, upper, unit, name, interp, place)


def read_values(
    table: fits.BinTableHDU, columns: Sequence[str], axes: Sequence[MapAxis], unit: u.UnitBase, where: str
) -> u.Quantity:
    """Return the values of a column, with the dimensions in the order of ``axes``.

    Parameters
    ----------
    table : `~astropy.io.fits.BinTableHDU`
        Table.
    columns : list of str
        Possible names of the column.
    axes : list of `~villard.maps.MapAxis`
        Axes.
    unit : `~astropy.units.UnitBase`
        Unit if the file states none.
    where : str
        File, for messages.
    """
    found = [str(item).upper() for item in table.columns.names]
    name = next((item for item in columns if item in found), columns[0])
    values = np.asarray(raw_column(table, name, where))[0]
    place = f"{where}, extension {table.name}, column {name}"
    if values.dtype.kind not in "iuf":
        raise FileFormatError(f"{place}: expected numbers, found {values.dtype}")
    # In the array that FITS' order makes, the axis of the first column comes last.
    order = sorted(range(len(axes)), key=lambda i: found.index(_column_of(axes[i], found)))
    in_file = [axes[i].nbin for i in order]
    if values.ndim == 1 and values.size == np.prod(in_file):
        values = values.reshape(in_file[::-1])
    if list(values.shape) == in_file[::-1]:
        in_array = order[::-1]
        if [axes[i].name for i in order] == ["fov_lon", "fov_lat", "energy"] and in_file[0] == in_file[1]:
            # Files of this kind, such as those of H.E.S.S., have latitude as the last dimension of the array,
            # whatever the order of their columns: so say the events, and so does Gammapy read them.
            in_array = [in_array[0], in_array[2], in_array[1]]
        values = values.transpose(np.argsort(in_array))
    elif list(values.shape) == in_file:
        values = values.transpose(np.argsort(order))
    else:
        raise FileFormatError(
            f"{place}: expected the shape {tuple(in_file[::-1])} of the axes "
            f"{', '.join(axes[i].name for i in order[::-1])}, found {values.shape}"
        )
    return u.Quantity(values.astype(float), column_unit(table, name, unit, where))


def _column_of(axis: MapAxis, columns: Sequence[str]) -> str:
    return next(f"{item}_LO" for item in _PREFIXES[axis.name][0] if f"{item}_LO" in columns)


def read_table(cls: type[T], hdulist: fits.HDUList, hdu: str | None, where: str) -> T:
    """Read a table; see `IRF.from_hdulist`."""
    table = find_irf_table(hdulist, cls.tag, hdu, where)
    place = f"{where}, extension {table.name}"
    axes = read_axes(table, cls.required_axes, where)
    data = read_values(table, _CLASSES[cls.tag][3], axes, cls.default_unit, where)
    meta = read_meta(table)
    if str(table.header.get("HDUCLAS3", "")).strip().upper() == "POINT-LIKE":
        meta["HDUCLAS3"] = "POINT-LIKE"
    try:
        return cls(axes, _without_negatives(data, place), meta=meta)
    except (DataError, UnitsError) as error:
        raise FileFormatError(f"{place}: {error}") from error


def _without_negatives(data: u.Quantity, place: str) -> u.Quantity:
    """Return values with small negative ones set to zero, and say so.

    Tables that were extrapolated to the zenith angle of an observation have some, such as those of a third
    of the public H.E.S.S. runs. Larger ones are left, to be an error.
    """
    values = data.value
    negative = values < 0
    if not np.any(negative) or not np.all(np.isfinite(values)):
        return data
    part = -values[negative].sum() / max(values[~negative].sum(), 1e-300)
    if part > _MOST_NEGATIVE:
        return data
    log.warning("%s: %d negative values (%.1g of the sum) count as zero", place, negative.sum(), part)
    return u.Quantity(np.where(negative, 0.0, values), data.unit)


def read_meta(table: fits.BinTableHDU) -> dict[str, Any]:
    """Return the keywords of the header that aren't about the layout of the table."""
    layout: tuple[str, ...] = (
        "XTENSION",
        "BITPIX",
        "NAXIS",
        "PCOUNT",
        "GCOUNT",
        "TFIELDS",
        "CHECKSUM",
        "DATASUM",
        "COMMENT",
    )
    layout += (
        "TTYPE",
        "TFORM",
        "TUNIT",
        "TDIM",
        "TNULL",
        "TZERO",
        "TSCAL",
        "TDISP",
        "THEAP",
        "HISTORY",
        "EXTNAME",
        "HDUCLAS",
        "HDUVERS",
        "HDUDOC",
    )
    return {key: value for key, value in table.header.items() if key and not key.startswith(layout)}


def table_hdu(irf: IRF, name: str | None = None) -> fits.BinTableHDU:
    """Return a table as a FITS extension; see `IRF.to_table_hdu`."""
    columns = axis_columns(irf.axes)
    columns.append(value_column(_CLASSES[irf.tag][3][0], irf.quantity))
    return make_hdu(columns, irf.tag, name, irf.meta)


def axis_columns(axes: Sequence[MapAxis]) -> list[fits.Column]:
    """Return the columns of axes."""
    columns = []
    for axis in axes:
        prefix = _PREFIXES[axis.name][0][0]
        is_edges = axis.node_type == "edges"
        bounds = (axis.edges_min, axis.edges_max) if is_edges else (axis.center, axis.center)
        for label, values in zip((f"{prefix}_LO", f"{prefix}_HI"), bounds, strict=True):
            unit = fits_unit(axis.unit) or None
            columns.append(fits.Column(label, f"{axis.nbin}D", unit=unit, array=values.value[np.newaxis]))
    return columns


def value_column(name: str, values: u.Quantity) -> fits.Column:
    """Return a column of values whose dimensions are in the order of the axes' columns."""
    array = np.asarray(values.value).T
    return fits.Column(
        name,
        f"{array.size}D",
        unit=fits_unit(values.unit) or None,
        dim=f"({','.join(str(n) for n in array.shape[::-1])})",
        array=array[np.newaxis],
    )


def make_hdu(
    columns: list[fits.Column], tag: str, name: str | None, meta: dict[str, Any]
) -> fits.BinTableHDU:
    """Return columns as an extension with the keywords of its class."""
    hduclas2, hduclas4, names, _ = _CLASSES[tag]
    hdu = fits.BinTableHDU.from_columns(columns, name=name or names[0])
    kind = str(meta.get("HDUCLAS3", "FULL-ENCLOSURE"))
    for key, value in meta.items():
        if isinstance(value, (str, int, float, bool)) and len(key) <= 8:
            hdu.header[key] = value
    hdu.header.update({"HDUCLASS": "GADF", "HDUCLAS1": "RESPONSE", "HDUCLAS2": hduclas2})
    hdu.header.update({"HDUCLAS3": kind, "HDUCLAS4": hduclas4, "HDUVERS": "0.3"})
    return hdu

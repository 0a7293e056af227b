"""Axes in tables: OGIP and GADF layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError
from villard.utils.units import parse_unit

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.maps.axis import MapAxis

__all__ = ["axis_from_bands", "axis_from_bounds", "axis_from_table", "axis_to_table", "band_axis_name"]

# Bins whose bounds were rounded to 32 bit floats still count as adjacent.
_ADJACENT = 1e-5

_COLUMNS = {
    "ogip": ("E_MIN", "E_MAX"),
    "ogip-sherpa": ("E_MIN", "E_MAX"),
    "ogip-arf": ("ENERG_LO", "ENERG_HI"),
}
_GADF_NAMES = {
    "THETA": "offset",
    "ENERG": "energy_true",
    "ETRUE": "energy_true",
    "MIGRA": "migra",
    "RAD": "rad",
    "DETX": "fov_lon",
    "DETY": "fov_lat",
}


def axis_from_bounds(
    lower: ArrayLike,
    upper: ArrayLike,
    unit: Any,
    name: str,
    interp: str,
    where: str,
) -> MapAxis:
    """Make an axis from the lower and upper bounds of bins as a file has them.

    Parameters
    ----------
    lower, upper : array-like
        Bounds, shape (nbin,).
    unit : str or `~astropy.units.UnitBase`
        Their unit.
    name, interp : str
        As for `MapAxis`.
    where : str
        File, extension and columns, for messages.

    Raises
    ------
    FileFormatError
        If the bounds are not those of increasing, adjacent bins.
    """
    from villard.maps.axis import MapAxis

    lower, upper = (_numbers(values, where) for values in (lower, upper))
    if lower.shape != upper.shape or lower.ndim != 1 or not len(lower):
        raise FileFormatError(
            f"{where}: expected as many lower as upper bounds, found {lower.shape}, {upper.shape}"
        )
    if not (np.all(np.isfinite(lower)) and np.all(np.isfinite(upper))):
        raise FileFormatError(f"{where}: bin bounds must be finite numbers")
    # Where an edge is meant to be 0, the width of the bin is the measure.
    size = np.maximum(np.abs(upper[:-1]), np.abs(upper[:-1] - lower[:-1]))
    gap = np.abs(lower[1:] - upper[:-1]) > _ADJACENT * size
    if np.any(gap):
        i = int(np.argmax(gap))
        raise FileFormatError(
            f"{where}: bins must be adjacent, but bin {i} ends at {upper[i]:g} "
            f"and bin {i + 1} begins at {lower[i + 1]:g}"
        )
    edges = np.append(lower, upper[-1])
    try:
        return MapAxis(edges, interp=interp, name=name, unit=parse_unit(unit, where))
    except (DataError, UnitsError) as error:
        raise FileFormatError(f"{where}: {error}") from error


def _numbers(values: ArrayLike, where: str) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{where}: expected numbers, found {np.asarray(values).dtype}") from error


def axis_to_table(axis: MapAxis, format: str) -> Table:
    """Return an axis as a table; see `MapAxis.to_table`."""
    from astropy.table import QTable, Table

    expected = {"ogip": "energy", "ogip-sherpa": "energy", "ogip-arf": "energy_true"}.get(format)
    if expected is not None and axis.name != expected:
        raise DataError(f"Format {format!r}: expected an axis of the name {expected!r}, found {axis.name!r}")
    table = QTable()
    if format in {"ogip", "ogip-sherpa"}:
        edges = axis.edges.to(u.keV) if format == "ogip-sherpa" else axis.edges
        table["CHANNEL"] = np.arange(axis.nbin, dtype=np.int16 if axis.nbin < 32768 else np.int32)
        table["E_MIN"], table["E_MAX"] = edges[:-1], edges[1:]
    elif format == "ogip-arf":
        table["ENERG_LO"], table["ENERG_HI"] = axis.edges_min, axis.edges_max
    elif format == "gadf-dl3":
        prefix = _gadf_prefix(axis.name)
        table[f"{prefix}_LO"], table[f"{prefix}_HI"] = axis.edges_min[np.newaxis], axis.edges_max[np.newaxis]
    elif format == "gadf":
        return Table(_to_bands(axis))
    else:
        raise DataError(
            f"Unknown axis format {format!r}, expected one of {', '.join([*_COLUMNS, 'gadf', 'gadf-dl3'])}"
        )
    return Table(table)


def _gadf_prefix(name: str) -> str:
    return {"energy": "ENERG", **{value: key for key, value in _GADF_NAMES.items() if key != "ETRUE"}}.get(
        name, name.upper()
    )


def _to_bands(axis: MapAxis) -> Table:
    from astropy.table import QTable

    prefix = "E" if axis.name == "energy" else axis.name.upper()
    table = QTable({"CHANNEL": np.arange(axis.nbin)})
    table["ENERGY" if axis.name == "energy" else axis.name.upper()] = axis.center
    if axis.node_type == "edges":
        table[f"{prefix}_MIN"], table[f"{prefix}_MAX"] = axis.edges_min, axis.edges_max
    columns = f"{prefix}_MIN,{prefix}_MAX" if axis.node_type == "edges" else table.colnames[1]
    table.meta.update({"AXCOLS1": columns, "INTERP1": axis.interp})
    return table


def axis_from_table(table: Table, format: str, idx: int = 0) -> MapAxis:
    """Make an axis from a table; see `MapAxis.from_table`."""
    meta = {str(key).upper(): value for key, value in table.meta.items()}
    if format in _COLUMNS:
        name = "energy_true" if format == "ogip-arf" else "energy"
        return _from_columns(table, *_COLUMNS[format], name=name, interp="log")
    if format == "gadf":
        return _from_bands(table, meta, idx)
    if format == "gadf-dl3":
        return _from_dl3(table, idx)
    raise DataError(
        f"Unknown axis format {format!r}, expected one of {', '.join([*_COLUMNS, 'gadf', 'gadf-dl3'])}"
    )


def _from_columns(
    table: Table, lower: str, upper: str, name: str, interp: str, row: int | None = None
) -> MapAxis:
    for column in (lower, upper):
        if column not in table.colnames:
            raise FileFormatError(f"Axis {name!r}: no column {column}, found {', '.join(table.colnames)}")
    values = [np.asarray(getattr(table[c], "value", table[c])) for c in (lower, upper)]
    if row is not None:
        values = [np.atleast_1d(v[row]) for v in values]
    return axis_from_bounds(
        values[0],
        values[1],
        table[lower].unit or "",
        name,
        interp,
        f"Axis {name!r}, columns {lower}, {upper}",
    )


def _from_dl3(table: Table, idx: int) -> MapAxis:
    lower = [name for name in table.colnames if name.endswith("_LO")]
    if idx >= len(lower):
        raise FileFormatError(
            f"Expected at least {idx + 1} columns that end with _LO, found {', '.join(lower) or 'none'}"
        )
    prefix = lower[idx][:-3]
    name = _GADF_NAMES.get(prefix, prefix.lower())
    if prefix == "ENERG" and "THETA_LO" not in table.colnames and "DETX_LO" not in table.colnames:
        name = "energy"
    interp = "log" if name in {"energy", "energy_true"} else "lin"
    return _from_columns(table, f"{prefix}_LO", f"{prefix}_HI", name, interp, row=0)


def _from_bands(table: Table, meta: Mapping[str, Any], idx: int) -> MapAxis:
    key = f"AXCOLS{idx + 1}"
    if key not in meta:
        raise FileFormatError(f"Axis {idx}: no keyword {key}")
    columns = [column.strip() for column in str(meta[key]).split(",")]
    where = f"Axis {idx}, columns {', '.join(columns)}"
    missing = [column for column in columns if column not in table.colnames]
    if missing:
        raise FileFormatError(f"{where}: the table has only the columns {', '.join(table.colnames)}")
    values = [np.asarray(getattr(table[column], "value", table[column])) for column in columns]
    interp = str(meta.get(f"INTERP{idx + 1}", "lin"))
    return axis_from_bands(columns, values, table[columns[0]].unit or "", interp, where)


def axis_from_bands(
    columns: Sequence[str], values: Sequence[ArrayLike], unit: Any, interp: str, where: str
) -> MapAxis:
    """Make an axis from the columns of a BANDS extension, which has a row per bin of all axes together.

    Parameters
    ----------
    columns : list of str
        Names of the columns with the bounds, ``…_MIN`` and ``…_MAX``, or of the one with the centres.
    values : list of array-like
        The columns.
    unit : str or `~astropy.units.UnitBase`
        Unit.
    interp : str
        Scale.
    where : str
        File, extension and columns, for messages.
    """
    from villard.maps.axis import MapAxis

    if len(columns) not in {1, 2}:
        raise FileFormatError(f"{where}: expected one or two columns")
    name = band_axis_name(columns[0])
    arrays = [_numbers(value, where) for value in values]
    # The bins of one axis are repeated for each bin of the others.
    _, first = np.unique(arrays[0], return_index=True)
    arrays = [array[np.sort(first)] for array in arrays]
    interp = interp.strip().lower()
    if len(arrays) == 2:
        return axis_from_bounds(arrays[0], arrays[1], unit, name, interp, where)
    try:
        return MapAxis(arrays[0], interp=interp, name=name, node_type="center", unit=parse_unit(unit, where))
    except (DataError, UnitsError) as error:
        raise FileFormatError(f"{where}: {error}") from error


def band_axis_name(column: str) -> str:
    """Return the name of the axis that a column of a BANDS extension belongs to.

    Examples
    --------
    >>> band_axis_name("E_MIN"), band_axis_name("ENERGY_TRUE_MIN")
    ('energy', 'energy_true')
    """
    prefix = column.strip().upper().removesuffix("_MIN")
    # Early files of PSF maps call the distance to the source theta.
    return {"E": "energy", "THETA": "rad"}.get(prefix, prefix.lower())

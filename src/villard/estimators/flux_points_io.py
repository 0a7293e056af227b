"""Flux points in tables and files: the SED format of GADF.

The format is that of *gamma-astro-data-formats*, section "SED"
(https://gamma-astro-data-formats.readthedocs.io, v0.3), with the names that Gammapy adds for
profiles and counts. Columns that mean nothing here are kept and written back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.reference import EnergyBins, ReferenceSpectrum
from villard.estimators.sed_types import (
    PER_DATASET,
    PLAIN,
    SED_TYPES,
    SED_UNITS,
    SUFFIXES,
    check_sed_type,
    confidence_level,
    in_unit,
    n_sigma_of,
    prefix_of,
)
from villard.exceptions import DataError, FileFormatError, UnitsError

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.table import Table

    from villard.estimators.flux_points import FluxPoints

__all__ = ["make_table", "parse_table", "read_table", "write_table"]

Array = NDArray[Any]

_ENERGIES = ("e_ref", "e_min", "e_max")
_REFERENCES = ("dnde", "flux", "eflux")
_FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fts")
# Keywords of the header that say how the table is laid out or are written from elsewhere.
_LAYOUT = {"SED_TYPE", "UL_CONF", "N_SIGMA", "EXTNAME", "CHECKSUM", "DATASUM"}


class _Columns:
    """Columns of a table by lower-case name, as plain arrays; remembers which were used."""

    def __init__(self, table: Table, where: str) -> None:
        self.where = where
        # "dfde" is what the first version of the format called "dnde".
        self.table = {str(name).lower().replace("dfde", "dnde"): table[name] for name in table.colnames}
        self.used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.table

    @property
    def names(self) -> str:
        return ", ".join(self.table)

    def raw(self, name: str) -> Array:
        """Values as they are, masked numbers as NaN."""
        self.used.add(name)
        column = self.table[name]
        values: Any = np.ma.asarray(getattr(column, "value", column))
        if values.dtype.kind in "iuf":
            values = values.astype(float).filled(np.nan)
        return np.array(values)

    def get(self, name: str, unit: u.UnitBase, needs_unit: bool = True) -> Array:
        """Values in a unit."""
        values = self.raw(name)
        where = f"{self.where}, column {name}"
        if values.dtype.kind not in "f":
            raise FileFormatError(f"{where}: expected numbers, found {values.dtype}")
        found = getattr(self.table[name], "unit", None)
        if isinstance(found, u.UnrecognizedUnit):
            raise UnitsError(f"{where}: unknown unit {str(found)!r}")
        if found is None or (found == u.dimensionless_unscaled and unit != u.dimensionless_unscaled):
            if needs_unit and unit != u.dimensionless_unscaled:
                raise UnitsError(f"{where}: expected a unit like {unit}, found none")
            return values
        return in_unit(values, found, unit, where)

    def rest(self) -> dict[str, Any]:
        """Columns that nobody asked for."""
        return {name: column for name, column in self.table.items() if name not in self.used}


def parse_table(
    table: Table, sed_type: str | None, format: str | None, reference_model: Any, where: str
) -> dict[str, Any]:
    """Return the parts of flux points that a table holds; see `FluxPoints.from_table`."""
    _check_format(format, where)
    columns = _Columns(table, where)
    if len(table) == 0:
        raise FileFormatError(f"{where}: the table has no rows")
    sed_type = _find_sed_type(columns, table.meta, sed_type)
    energies = _parse_energies(columns)
    reference = _parse_reference(columns, energies, reference_model)
    arrays = _parse_norms(columns, sed_type, reference)
    for name in (*PLAIN, *PER_DATASET):
        if name in columns and name not in arrays:
            arrays[name] = _parse_plain(columns, name)
    arrays |= _parse_profiles(columns, sed_type, reference, arrays)
    return {
        "energies": energies,
        "arrays": arrays,
        "reference": reference,
        "sed_type_init": sed_type,
        "meta": _parse_meta(table.meta),
        "extra": columns.rest(),
    }


def _check_format(format: str | None, where: str) -> None:
    if format not in (None, "gadf-sed"):
        raise DataError(f"{where}: unknown format {format!r} of flux points, expected 'gadf-sed'")


def _find_sed_type(columns: _Columns, meta: dict[str, Any], sed_type: str | None) -> str:
    """Return the representation asked for, declared or, failing that, the first that there is."""
    declared = {str(key).upper(): value for key, value in meta.items()}.get("SED_TYPE")
    wanted = declared if sed_type is None else sed_type
    if wanted is not None:
        wanted = check_sed_type(str(wanted).strip().lower(), columns.where)
        if prefix_of(wanted) not in columns:
            raise FileFormatError(
                f"{columns.where}: expected a column {prefix_of(wanted)} for sed_type {wanted!r}, "
                f"found {columns.names}"
            )
        return wanted
    for candidate in SED_TYPES:
        if prefix_of(candidate) in columns:
            return candidate
    expected = ", ".join(prefix_of(candidate) for candidate in SED_TYPES)
    raise FileFormatError(f"{columns.where}: expected one of the columns {expected}; found {columns.names}")


def _parse_energies(columns: _Columns) -> EnergyBins:
    has_bins = "e_min" in columns and "e_max" in columns
    if "e_ref" not in columns and not has_bins:
        raise FileFormatError(
            f"{columns.where}: expected a column e_ref, or e_min and e_max; found {columns.names}"
        )
    first = "e_ref" if "e_ref" in columns else "e_min"
    unit = getattr(columns.table[first], "unit", None)
    unit = unit if isinstance(unit, u.UnitBase) and unit.is_equivalent(u.TeV) else u.TeV
    values = {name: columns.get(name, unit) for name in _ENERGIES if name in columns}
    low, high = (values["e_min"], values["e_max"]) if has_bins else (None, None)
    ref = values["e_ref"] if "e_ref" in values else np.sqrt(values["e_min"] * values["e_max"])
    try:
        return EnergyBins(ref, low, high, unit)
    except DataError as error:
        raise FileFormatError(f"{columns.where}: {error}") from error


def _parse_reference(columns: _Columns, energies: EnergyBins, reference_model: Any) -> ReferenceSpectrum:
    """The model given, or else the columns of the table, or else the default."""
    found = {key: columns.get(f"ref_{key}", SED_UNITS[key]) for key in _REFERENCES if f"ref_{key}" in columns}
    if "ref_e2dnde" in columns:
        columns.used.add("ref_e2dnde")
    if reference_model is None and "dnde" in found:
        return ReferenceSpectrum.from_columns(energies, found)
    return ReferenceSpectrum.from_model(reference_model, energies)


def _parse_norms(columns: _Columns, sed_type: str, reference: ReferenceSpectrum) -> dict[str, Array]:
    """Values, errors and limits as norms; other representations of the same things are left out."""
    scale = reference.values(sed_type)
    prefix = prefix_of(sed_type)
    arrays = {}
    for suffix in SUFFIXES:
        if prefix + suffix not in columns:
            continue
        values = columns.get(prefix + suffix, SED_UNITS[sed_type])
        if values.ndim != 1:
            raise FileFormatError(
                f"{columns.where}, column {prefix + suffix}: expected one number per row, "
                f"found shape {values.shape}"
            )
        arrays["norm" + suffix] = values / scale
    return arrays


def _parse_plain(columns: _Columns, name: str) -> Array:
    values = columns.raw(name)
    if name in ("is_ul", "success"):
        # Masked and missing flags are false.
        return np.nan_to_num(values.astype(float)).astype(bool)
    if values.dtype.kind != "f":
        raise FileFormatError(f"{columns.where}, column {name}: expected numbers, found {values.dtype}")
    if name in PER_DATASET:
        return values.reshape(len(values), -1)
    return values.reshape(len(values)) if values.size == len(values) else values


def _parse_profiles(
    columns: _Columns, sed_type: str, reference: ReferenceSpectrum, arrays: dict[str, Array]
) -> dict[str, Array]:
    """Profiles, absolute as Gammapy writes them or relative as GADF has them."""
    result: dict[str, Array] = {}
    scan = f"{prefix_of(sed_type)}_scan"
    if "norm_scan" in columns:
        result["norm_scan"] = columns.raw("norm_scan")
    elif scan in columns:
        result["norm_scan"] = (
            columns.get(scan, SED_UNITS[sed_type]) / reference.values(sed_type)[:, np.newaxis]
        )
    if "loglike" in columns and "stat" not in arrays:
        result["stat"] = -2 * columns.raw("loglike")
    if "loglike_null" in columns and "stat_null" not in arrays:
        result["stat_null"] = -2 * columns.raw("loglike_null")
    if "stat_scan" in columns:
        result["stat_scan"] = columns.raw("stat_scan")
    elif "dloglike_scan" in columns:
        result["stat_scan"] = _absolute_profile(columns.raw("dloglike_scan"), {**arrays, **result})
    if {"stat_scan", "norm_scan"} <= set(result):
        shapes = result["stat_scan"].shape, result["norm_scan"].shape
        if shapes[0] != shapes[1] or len(shapes[0]) != 2:
            raise FileFormatError(
                f"{columns.where}: expected profiles of the same shape, found stat_scan {shapes[0]} and "
                f"norm_scan {shapes[1]}"
            )
    elif "stat_scan" in result:
        raise FileFormatError(
            f"{columns.where}: expected a column norm_scan beside the profile, found {columns.names}"
        )
    return result


def _absolute_profile(dloglike: Array, arrays: dict[str, Array]) -> Array:
    """Return -2 ln L from differences of ln L.

    GADF gives them relative to no source, fermipy relative to the best fit: only then none is positive.
    """
    relative_to_best = not np.any(dloglike > 1e-6)
    if relative_to_best:
        offset = arrays.get("stat")
    else:
        offset = arrays.get("stat_null")
        if offset is None and {"stat", "ts"} <= set(arrays):
            offset = arrays["stat"] + arrays["ts"]
    profile = -2 * dloglike
    return profile if offset is None else profile + offset[:, np.newaxis]


def _parse_meta(meta: dict[str, Any]) -> dict[str, Any]:
    upper = {str(key).upper(): value for key, value in meta.items()}
    result = {key: value for key, value in meta.items() if str(key).upper() not in _LAYOUT}
    if upper.get("UL_CONF") is not None:
        result["n_sigma_ul"] = n_sigma_of(upper["UL_CONF"])
    if upper.get("N_SIGMA") is not None:
        result["n_sigma"] = float(upper["N_SIGMA"])
    return result


def make_table(points: FluxPoints, sed_type: str, format: str, formatted: bool) -> Table:
    """Return flux points as a table; see `FluxPoints.to_table`."""
    from astropy.table import Table

    check_sed_type(sed_type)
    _check_format(format, "Flux points")
    table = Table()
    table["e_ref"] = points.energy_ref
    if points.is_convertible_to_flux_sed_type:
        table["e_min"], table["e_max"] = points.energy_min, points.energy_max
    # With the reference beside them fluxes can be converted again as they were measured.
    if sed_type == "likelihood" or not points._reference.assumed:
        for key in _REFERENCES:
            if key == "dnde" or points.is_convertible_to_flux_sed_type:
                table[f"ref_{key}"] = points.reference(key)
    for name in points.all_quantities(sed_type):
        if points.has(name) and (name not in ("is_ul",) or points.has_ul):
            quantity = points.quantity(name)
            table[name] = quantity if quantity.unit != u.dimensionless_unscaled else quantity.value
    for name, column in points._extra.items():
        if name not in table.colnames:
            table[name] = column
    table.meta = _make_meta(points, sed_type)
    if formatted:
        for name in table.colnames:
            if table[name].dtype.kind == "f":
                table[name].info.format = ".4g"
    return table


def _make_meta(points: FluxPoints, sed_type: str) -> dict[str, Any]:
    meta = {key: value for key, value in points.meta.items() if key not in ("n_sigma", "n_sigma_ul")}
    meta["SED_TYPE"] = sed_type
    if points.n_sigma_ul is not None:
        meta["UL_CONF"] = confidence_level(points.n_sigma_ul)
    if points.n_sigma != 1:
        # No keyword of GADF, which knows errors of one sigma only; better told than lost.
        meta["N_SIGMA"] = points.n_sigma
    return meta


def read_table(
    filename: str | os.PathLike[str], table_format: str = "ascii.ecsv", **kwargs: Any
) -> tuple[Table, Any, str]:
    """Return the table of a file, its good time intervals and its name."""
    from villard.utils.paths import make_path

    path = make_path(filename)
    if not path.is_file():
        raise DataError(f"File of flux points not found: {path}")
    if path.name.lower().endswith(_FITS_SUFFIXES):
        return *_read_fits(path), str(path)
    return _read_text(path, table_format, kwargs), None, str(path)


def _read_fits(path: Path) -> tuple[Table, Any]:
    from astropy.io import fits
    from astropy.table import Table

    from villard.data.gti import GTI
    from villard.maps.fits import open_fits

    with open_fits(path) as hdulist:
        tables = [hdu for hdu in hdulist if isinstance(hdu, fits.BinTableHDU)]
        named = [hdu for hdu in tables if hdu.name in ("FLUXPOINTS", "SED")]
        others = [hdu for hdu in tables if hdu.name != "GTI"]
        if not others:
            raise FileFormatError(f"{path}: expected a table of flux points, found none")
        table = Table.read((named or others)[0])
        intervals = [hdu for hdu in tables if hdu.name == "GTI"]
        gti = GTI.from_table_hdu(intervals[0], where=str(path)) if intervals else None
    return table, gti


def _read_text(path: Path, table_format: str, kwargs: dict[str, Any]) -> Table:
    from astropy.table import Table

    try:
        return Table.read(path, format=table_format, **kwargs)
    # Damaged text fails in the reader, in YAML or in numpy, each with its own exceptions.
    except Exception as error:
        raise FileFormatError(
            f"{path}: expected a table in the format {table_format}, but it can't be read "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        ) from error


def write_table(
    table: Table, gti: Any, filename: str | os.PathLike[str], overwrite: bool, checksum: bool
) -> None:
    """Write a table of flux points by the suffix of the file."""
    from villard.utils.io import atomic_write

    name = os.fspath(filename).lower()
    if name.endswith(_FITS_SUFFIXES):
        hdulist = _to_hdulist(table, gti)
        with atomic_write(filename, overwrite=overwrite) as temporary:
            hdulist.writeto(temporary, overwrite=True, checksum=checksum)
    elif name.endswith(".ecsv"):
        with atomic_write(filename, overwrite=overwrite) as temporary:
            table.write(temporary, format="ascii.ecsv", overwrite=True)
    else:
        raise DataError(
            f"Flux points: expected a file name that ends in .fits, .fits.gz or .ecsv, found {filename!r}"
        )


def _to_hdulist(table: Table, gti: Any) -> Any:
    from astropy.io import fits

    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(_with_plain_meta(table), name="FLUXPOINTS")]
    if gti is not None:
        hdus.append(gti.to_table_hdu())
    return fits.HDUList(hdus)


def _with_plain_meta(table: Table) -> Table:
    """Return the table with a meta that FITS headers can hold."""
    table = table.copy(copy_data=False)
    table.meta = {
        key: value
        for key, value in table.meta.items()
        if len(str(key)) <= 8 and isinstance(value, str | bool | int | float | np.number)
    }
    return table

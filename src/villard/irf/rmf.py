"""Redistribution matrices in OGIP files (RMF).

Format: George et al., OGIP memo CAL/GEN/92-002, section 3.2 (MATRIX and EBOUNDS extensions), with its
addendum CAL/GEN/92-002a. Rows are kept compressed: groups of adjacent channels, each with its first
channel, F_CHAN, and their number, N_CHAN; the keyword TLMIN of the column F_CHAN tells the number of
the first channel.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError, FileFormatError
from villard.maps.axis import MapAxis
from villard.maps.axis_hdu import axis_of_ebounds, axis_of_response
from villard.maps.fits import (
    column,
    find_table,
    fits_unit,
    integer_keyword,
    open_fits,
    raw_column,
)

__all__ = ["RMF", "check_matrix", "expand_rows", "read_rmf", "rmf_from_hdulist", "rmf_to_hdulist"]


class RMF(NamedTuple):
    """Content of an RMF file."""

    energy_axis_true: MapAxis
    energy_axis: MapAxis
    matrix: NDArray[np.float64]
    header: dict[str, Any]


def read_rmf(path: str | os.PathLike[str], hdu: str | None = None, hdu_ebounds: str | None = None) -> RMF:
    """Read a redistribution matrix from an RMF file.

    Variable-length and fixed arrays, scalar and vector F_CHAN and N_CHAN, any number of groups and of
    the first channel are understood. The first channel is TLMIN of the column F_CHAN, or the first
    CHANNEL of EBOUNDS where there is no TLMIN, or 1 where neither is. Units are those of the file, or
    keV where it states none. Values stay as they are: rows needn't add up to one.

    Parameters
    ----------
    path : str or path-like
        File, possibly gzipped.
    hdu : str, optional
        Extension of the matrix; by default MATRIX or SPECRESP MATRIX, or the one whose HDUCLAS2 is
        RSP_MATRIX.
    hdu_ebounds : str, optional
        Extension of the channel energies; by default EBOUNDS.

    Returns
    -------
    `RMF`
        Axes "energy_true" and "energy", matrix of shape (n_energy_true, n_energy), header of the matrix.

    Raises
    ------
    FileFormatError
        If the file is damaged or has another layout.
    DataError
        If the file is missing, or a value negative or NaN.
    """
    with open_fits(path) as hdulist:
        return rmf_from_hdulist(hdulist, hdu=hdu, hdu_ebounds=hdu_ebounds, where=str(path))


def rmf_from_hdulist(
    hdulist: fits.HDUList, hdu: str | None = None, hdu_ebounds: str | None = None, where: str = "RMF"
) -> RMF:
    """Read a redistribution matrix from FITS extensions; see `read_rmf`."""
    names = ["MATRIX", "SPECRESP MATRIX"] if hdu is None else [hdu]
    table = find_table(hdulist, names, where, () if hdu else ("RSP_MATRIX",))
    ebounds = find_table(
        hdulist,
        ["EBOUNDS"] if hdu_ebounds is None else [hdu_ebounds],
        where,
        () if hdu_ebounds else ("EBOUNDS",),
    )
    axis_true, axis = axis_of_response(table, where), axis_of_ebounds(ebounds, where)
    first = _first_channel(table, ebounds, where)
    place = f"{where}, extension {table.name}"
    matrix = expand_rows(
        column(table, "N_GRP", where),
        raw_column(table, "F_CHAN", where),
        raw_column(table, "N_CHAN", where),
        raw_column(table, "MATRIX", where),
        first_channel=first,
        n_channels=axis.nbin,
        where=place,
    )
    check_matrix(matrix, f"{place}, column MATRIX")
    keys = ("TELESCOP", "INSTRUME", "FILTER", "HDUCLAS3", "CHANTYPE")
    return RMF(axis_true, axis, matrix, {key: table.header[key] for key in keys if key in table.header})


def _first_channel(table: fits.BinTableHDU, ebounds: fits.BinTableHDU, where: str) -> int:
    names = [str(name).upper() for name in table.columns.names]
    if "F_CHAN" not in names:
        raise FileFormatError(
            f"{where}, extension {table.name}: expected a column F_CHAN, found {', '.join(names)}"
        )
    first = integer_keyword(table, f"TLMIN{names.index('F_CHAN') + 1}", where)
    if first is not None:
        return first
    if "CHANNEL" in [str(name).upper() for name in ebounds.columns.names]:
        return int(column(ebounds, "CHANNEL", where)[0])
    return 1


def expand_rows(
    n_grp: NDArray[np.float64],
    f_chan: Any,
    n_chan: Any,
    values: Any,
    first_channel: int,
    n_channels: int,
    where: str,
) -> NDArray[np.float64]:
    """Return the matrix of its compressed rows."""
    matrix = np.zeros((len(n_grp), n_channels))
    for i, (row, groups) in enumerate(zip(matrix, n_grp, strict=True)):
        place = f"{where}, row {i}"
        if not (groups >= 0 and groups == int(groups)):
            raise FileFormatError(f"{place}: expected a number of groups as N_GRP, found {groups}")
        if not groups:
            continue
        start = _integers(f_chan[i], int(groups), f"{place}, column F_CHAN") - first_channel
        number = _integers(n_chan[i], int(groups), f"{place}, column N_CHAN")
        _fill_row(row, start, number, _vector(values[i], f"{place}, column MATRIX"), place, first_channel)
    return matrix


def _fill_row(
    row: NDArray[np.float64],
    start: NDArray[np.int64],
    number: NDArray[np.int64],
    values: NDArray[np.float64],
    where: str,
    first_channel: int,
) -> None:
    if np.any(number < 0) or number.sum() > len(values):
        raise FileFormatError(
            f"{where}: N_CHAN asks for {number.tolist()} values, but column MATRIX has {len(values)}"
        )
    if np.any(start < 0) or np.any(start + number > len(row)):
        raise FileFormatError(
            f"{where}: expected channels from {first_channel} to {first_channel + len(row) - 1}, "
            f"found F_CHAN={(start + first_channel).tolist()} with N_CHAN={number.tolist()}"
        )
    used = 0
    for a, n in zip(start, number, strict=True):
        if np.any(row[a : a + n]):
            raise FileFormatError(f"{where}: two groups hold the channel {a + first_channel} or one after it")
        row[a : a + n] = values[used : used + n]
        used += n


def _vector(values: ArrayLike, where: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iufb":
        raise FileFormatError(f"{where}: expected numbers, found {array.dtype}")
    return array.reshape(-1).astype(float)


def _integers(values: ArrayLike, number: int, where: str) -> NDArray[np.int64]:
    array = np.asarray(values).reshape(-1)
    if array.dtype.kind not in "iuf":
        raise FileFormatError(f"{where}: expected integers, found {array.dtype}")
    if len(array) < number:
        raise FileFormatError(f"{where}: expected one number for each of {number} groups, found {len(array)}")
    array = array[:number]
    if array.dtype.kind == "f" and not np.all((np.abs(array) < 2**31) & (array == np.round(array))):
        raise FileFormatError(f"{where}: expected integers, found {array.tolist()}")
    return array.astype(np.int64)


def check_matrix(matrix: NDArray[np.float64], where: str) -> None:
    """Raise `DataError` if a value is negative, infinite or NaN."""
    bad = ~(np.isfinite(matrix) & (matrix >= 0))
    if np.any(bad):
        i, j = (int(k) for k in np.argwhere(bad)[0])
        raise DataError(
            f"{where}: a probability can't be negative or NaN, "
            f"found {matrix[i, j]} at energy bin {i}, channel {j}"
        )


def rmf_to_hdulist(
    energy_axis_true: MapAxis,
    energy_axis: MapAxis,
    matrix: NDArray[np.float64],
    format: str = "ogip",
    **header: Any,
) -> fits.HDUList:
    """Return a redistribution matrix as the extensions MATRIX and EBOUNDS of the OGIP standard.

    Channels are numbered from 0. Values are written with 64 bit, so that they come back as they were.

    Parameters
    ----------
    energy_axis_true, energy_axis : `~villard.maps.MapAxis`
        Axes.
    matrix : `~numpy.ndarray`
        Matrix, shape (n_energy_true, n_energy).
    format : {"ogip", "ogip-sherpa"}
        Whether energies keep their units, or become keV, which sherpa and XSPEC take for granted.
    **header
        Keywords for both extensions, such as ``TELESCOP="HESS"``.
    """
    if format not in {"ogip", "ogip-sherpa"}:
        raise DataError(f"Unknown RMF format {format!r}, expected 'ogip' or 'ogip-sherpa'")
    true, reco = (
        axis.edges.to("keV") if format == "ogip-sherpa" else axis.edges
        for axis in (energy_axis_true, energy_axis)
    )
    groups = [_groups(row) for row in matrix]
    kind = "I" if energy_axis.nbin < 2**15 else "J"
    integer = np.int16 if kind == "I" else np.int32
    columns = [
        fits.Column("ENERG_LO", "D", unit=fits_unit(true.unit), array=true.value[:-1]),
        fits.Column("ENERG_HI", "D", unit=fits_unit(true.unit), array=true.value[1:]),
        fits.Column("N_GRP", kind, array=np.array([len(start) for start, _ in groups], dtype=integer)),
        fits.Column("F_CHAN", f"P{kind}()", array=_ragged([start for start, _ in groups], integer)),
        fits.Column("N_CHAN", f"P{kind}()", array=_ragged([stop - start for start, stop in groups], integer)),
        fits.Column("MATRIX", "PD()", array=_ragged([row[row != 0] for row in matrix], np.float64)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="MATRIX")
    common: dict[str, Any] = {
        "TELESCOP": "unknown",
        "INSTRUME": "unknown",
        "FILTER": "none",
        "CHANTYPE": "PHA",
    }
    common |= {"DETCHANS": energy_axis.nbin, "HDUCLASS": "OGIP", "HDUCLAS1": "RESPONSE"}
    table.header.update(
        common
        | {"HDUCLAS2": "RSP_MATRIX", "HDUCLAS3": "REDIST", "HDUVERS": "1.3.0", "LO_THRES": 0.0}
        | {"NUMGRP": sum(len(start) for start, _ in groups), "NUMELT": int(np.count_nonzero(matrix))}
        | {"TLMIN4": 0, "TLMAX4": energy_axis.nbin - 1}
        | header
    )
    bounds = [
        fits.Column("CHANNEL", kind, array=np.arange(energy_axis.nbin, dtype=integer)),
        fits.Column("E_MIN", "D", unit=fits_unit(reco.unit), array=reco.value[:-1]),
        fits.Column("E_MAX", "D", unit=fits_unit(reco.unit), array=reco.value[1:]),
    ]
    ebounds = fits.BinTableHDU.from_columns(bounds, name="EBOUNDS")
    ebounds.header.update(
        common
        | {"HDUCLAS2": "EBOUNDS", "HDUVERS": "1.2.0", "TLMIN1": 0, "TLMAX1": energy_axis.nbin - 1}
        | header
    )
    return fits.HDUList([fits.PrimaryHDU(), table, ebounds])


def _groups(row: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where runs of values other than 0 begin and end."""
    step = np.diff(np.concatenate([[0], (row != 0).astype(int), [0]]))
    return np.flatnonzero(step == 1), np.flatnonzero(step == -1)


def _ragged(rows: list[NDArray[Any]], dtype: Any) -> NDArray[np.object_]:
    array = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        array[i] = np.asarray(row, dtype=dtype)
    return array

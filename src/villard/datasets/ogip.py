"""Spectra read from OGIP files: PHA, background PHA, ARF and RMF.

Formats: Arnaud, George & Tennant, "The OGIP spectral file format", OGIP memo OGIP/92-007, and for
responses CAL/GEN/92-002.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError
from villard.irf import EDispKernel
from villard.irf.arf import arf_from_hdulist
from villard.irf.rmf import rmf_from_hdulist
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.maps.axis_hdu import axis_of_ebounds
from villard.maps.fits import column, find_table, open_fits
from villard.maps.region_hdu import region_from_hdu
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from villard.data.gti import GTI
    from villard.datasets.onoff import SpectrumDatasetOnOff

__all__ = ["PHA", "find_file", "read_onoff", "read_pha"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_LINKS = ("BACKFILE", "ANCRFILE", "RESPFILE")
# Keywords that are kept as `meta` of the dataset.
_META = ("OBS_ID", "TELESCOP", "INSTRUME", "OBJECT", "RA_OBJ", "DEC_OBJ", "DATE-OBS", "DATE-END")
# Largest relative error of rates kept with 32 bit, times exposure.
_RATE_TOLERANCE = 1e-5


@dataclass
class PHA:
    """Content of a PHA file.

    Scalars of the header are spread over the channels; ``quality`` is true where a channel is good,
    ``starts`` are the first channels of groups, `None` without grouping.
    """

    path: Path
    counts: Array
    good: NDArray[np.bool_]
    starts: NDArray[np.intp] | None
    backscal: Array
    areascal: Array
    exposure: float
    axis: MapAxis | None
    gti: GTI | None
    region: Any
    header: dict[str, Any]

    def linked(self, keyword: str) -> Path | None:
        """Path of the file that a keyword names, or `None` if it names none."""
        value = str(self.header.get(keyword, "")).strip()
        if value.upper() in {"", "NONE"}:
            return None
        path = make_path(value)
        path = path if path.is_absolute() else self.path.parent / path
        try:
            return find_file(path)
        except DataError:
            raise DataError(
                f"{self.path}: keyword {keyword} names {value!r}, but there is no file {path}"
            ) from None

    def required(self, keyword: str, what: str) -> Path:
        """Path of the file that a keyword names; `DataError` if it names none."""
        path = self.linked(keyword)
        if path is None:
            found = self.header.get(keyword, "no such keyword")
            raise DataError(f"{self.path}: expected the name of the {what} as {keyword}, found {found!r}")
        return path


def find_file(path: str | os.PathLike[str]) -> Path:
    """Return the expanded path of a file, or of its gzipped (or unzipped) twin if only that exists."""
    path = make_path(path)
    twin = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    for candidate in (path, twin):
        if candidate.is_file():
            return candidate
    raise DataError(f"File not found: {path}")


def read_onoff(
    cls: type[SpectrumDatasetOnOff],
    filename: str | os.PathLike[str],
    name: str | None = None,
    format: str | None = None,
    grouping: bool = True,
) -> Any:
    """Read an on/off dataset; see `SpectrumDatasetOnOff.read`."""
    if format not in {None, "ogip", "ogip-sherpa", "gadf"}:
        raise DataError(f"Unknown format {format!r} of a {cls.tag}, expected 'ogip', 'ogip-sherpa' or 'gadf'")
    path = find_file(filename)
    with open_fits(path) as hdulist:
        if format == "gadf" or (format is None and "SPECTRUM" not in hdulist and "COUNTS" in hdulist):
            from villard.datasets.gadf import gadf_from_hdulist

            return gadf_from_hdulist(cls, hdulist, name, str(path))
        pha = read_pha(hdulist, path)
    background = _read_background(pha)
    dataset = _make_dataset(cls, pha, background, _default_name(pha) if name is None else name)
    if grouping and pha.starts is not None:
        idx = np.append(pha.starts, len(pha.counts))
        dataset = dataset._joined(idx, dataset.name)
    return dataset


def _default_name(pha: PHA) -> str:
    name = str(pha.header.get("OBS_ID", "")).strip()
    return name or pha.path.name.split(".")[0]


def _read_background(pha: PHA) -> PHA:
    path = pha.required("BACKFILE", "background spectrum")
    with open_fits(path) as hdulist:
        background = read_pha(hdulist, path)
    if len(background.counts) != len(pha.counts):
        raise DataError(
            f"{path}: expected {len(pha.counts)} channels as in {pha.path}, found {len(background.counts)}"
        )
    return background


def _make_dataset(cls: type[SpectrumDatasetOnOff], pha: PHA, background: PHA, name: str) -> Any:
    exposure, edisp = _read_response(pha)
    geom = RegionGeom(pha.region, axes=[edisp.axes["energy"]])

    def as_map(values: Any) -> RegionNDMap:
        return RegionNDMap(geom, data=np.reshape(values, geom.data_shape))

    # What the off counts tell of the on region goes with exposure and area, too (OGIP/92-007, 3.1.1).
    scale = background.exposure * background.areascal / (pha.exposure * pha.areascal)
    return cls(
        counts=as_map(pha.counts),
        counts_off=as_map(background.counts),
        acceptance=as_map(pha.backscal),
        acceptance_off=as_map(background.backscal * scale),
        exposure=exposure,
        edisp=edisp,
        mask_safe=as_map(pha.good & background.good),
        gti=pha.gti,
        name=name,
        meta={key: pha.header[key] for key in _META if key in pha.header},
    )


def _read_response(pha: PHA) -> tuple[RegionNDMap, EDispKernel]:
    """Return exposure and energy dispersion, checked against each other and the channels."""
    rmf_path = pha.required("RESPFILE", "redistribution matrix")
    with open_fits(rmf_path) as hdulist:
        rmf = rmf_from_hdulist(hdulist, where=str(rmf_path))
    axis = rmf.energy_axis if pha.axis is None else pha.axis
    if rmf.energy_axis.nbin != len(pha.counts):
        raise DataError(
            f"{rmf_path}: expected {len(pha.counts)} channels as in {pha.path}, found {rmf.energy_axis.nbin}"
        )
    if not axis.is_aligned_with(rmf.energy_axis):
        raise DataError(
            f"{rmf_path}: its channels are {rmf.energy_axis!r}, but those of {pha.path} are {axis!r}"
        )
    axis_true, area, matrix = rmf.energy_axis_true, None, rmf.matrix
    full = str(rmf.header.get("HDUCLAS3", "")).strip().upper() == "FULL"
    arf_path = pha.linked("ANCRFILE") if full else pha.required("ANCRFILE", "effective area")
    if arf_path is not None:
        with open_fits(arf_path) as hdulist:
            axis_true, area = arf_from_hdulist(hdulist, where=str(arf_path))
        if not axis_true.is_aligned_with(rmf.energy_axis_true):
            raise DataError(
                f"{rmf_path}: its true energies are {rmf.energy_axis_true!r}, "
                f"but those of {arf_path} are {axis_true!r}"
            )
    else:
        # A matrix of this class has the effective area (cm2) in it.
        total = matrix.sum(axis=1)
        area = u.Quantity(total, u.cm**2)
        matrix = np.divide(
            matrix, total[:, np.newaxis], out=np.zeros_like(matrix), where=total[:, np.newaxis] > 0
        )
    return _fold_areascal(pha, axis_true, axis, area, matrix, rmf.header)


def _fold_areascal(
    pha: PHA, axis_true: MapAxis, axis: MapAxis, area: u.Quantity, matrix: Array, meta: dict[str, Any]
) -> tuple[RegionNDMap, EDispKernel]:
    """Multiply with AREASCAL: the exposure if it is the same in all channels, else the matrix."""
    unit = area.unit if area.unit in (u.cm**2, u.m**2) else u.m**2
    values = area.to_value(unit) * pha.exposure
    if np.all(pha.areascal == pha.areascal[0]):
        values = values * pha.areascal[0]
    else:
        matrix = matrix * pha.areascal
    exposure = RegionNDMap(
        RegionGeom(pha.region, axes=[axis_true]),
        data=values.reshape(-1, 1, 1),
        unit=unit * u.s,
        meta={"livetime": u.Quantity(pha.exposure, u.s)},
    )
    return exposure, EDispKernel([axis_true, axis], matrix, meta=meta)


# One PHA file


def read_pha(hdulist: fits.HDUList, path: Path) -> PHA:
    """Read the first spectrum of a PHA file.

    Parameters
    ----------
    hdulist : `~astropy.io.fits.HDUList`
        Extensions.
    path : `~pathlib.Path`
        File, for messages and to find the files that it names.

    Raises
    ------
    DataError
        If counts are negative or not whole, or the exposure isn't positive.
    FileFormatError
        If columns or keywords aren't what the format asks for.
    """
    where = str(path)
    hdu = find_table(hdulist, ["SPECTRUM"], where, ("TOTAL", "BKG"))
    if str(hdu.header.get("HDUCLAS2", "")).strip().upper() == "NET":
        raise DataError(f"{where}: expected counts with their background, but HDUCLAS2 is 'NET'")
    exposure = _number(hdu, "EXPOSURE", where)
    if not exposure > 0:
        raise DataError(f"{where}, extension {hdu.name}: expected a positive EXPOSURE, found {exposure}")
    counts = _counts(hdu, exposure, where)
    names = [str(name).upper() for name in hdu.columns.names]
    if "CHANNEL" in names and np.any(np.diff(column(hdu, "CHANNEL", where)) != 1):
        raise FileFormatError(f"{where}, extension {hdu.name}: expected adjacent channels in column CHANNEL")
    axis = None
    if "EBOUNDS" in hdulist:
        axis = axis_of_ebounds(find_table(hdulist, ["EBOUNDS"], where), where)
        if axis.nbin != len(counts):
            raise DataError(f"{where}: expected {axis.nbin} channels as in EBOUNDS, found {len(counts)}")
    return PHA(
        path=path,
        counts=counts,
        good=_column_or_keyword(hdu, "QUALITY", len(counts), where, default=0) == 0,
        starts=_group_starts(hdu, len(counts), where),
        backscal=_scale(hdu, "BACKSCAL", len(counts), where, default=None),
        areascal=_scale(hdu, "AREASCAL", len(counts), where, default=1.0),
        exposure=exposure,
        axis=axis,
        gti=_gti(hdulist, where),
        region=region_from_hdu(hdulist, "REGION", where),
        header=_header(hdu),
    )


def _header(hdu: fits.BinTableHDU) -> dict[str, Any]:
    """Return the keywords that are needed once the file is closed; damaged cards are found here."""
    keys = {key for key in (*_LINKS, *_META) if key in hdu.header}
    # Stacked files have one OBS_ID for each of their observations, none of which is that of the stack.
    if "OBS_ID" in keys and hdu.header.count("OBS_ID") > 1:
        keys.remove("OBS_ID")
    values = {key: hdu.header[key] for key in keys}
    return {key: value for key, value in values.items() if isinstance(value, str | int | float)}


def _counts(hdu: fits.BinTableHDU, exposure: float, where: str) -> Array:
    names = [str(name).upper() for name in hdu.columns.names]
    place = f"{where}, extension {hdu.name}"
    if "COUNTS" not in names and "RATE" in names:
        counts = column(hdu, "RATE", where) * exposure
        whole = np.round(counts)
        if not np.all(np.abs(counts - whole) <= _RATE_TOLERANCE * np.maximum(np.abs(counts), 1.0)):
            raise DataError(
                f"{place}: column RATE times EXPOSURE doesn't give whole counts, as Poisson data need"
            )
        place, counts = f"{place}, column RATE", whole
    else:
        counts = column(hdu, "COUNTS", where)
        place = f"{place}, column COUNTS"
    bad = ~(np.isfinite(counts) & (counts >= 0) & (counts == np.round(counts)))
    if np.any(bad):
        i = int(np.argmax(bad))
        raise DataError(f"{place}: expected whole counts that aren't negative, found {counts[i]} in row {i}")
    if hdu.header.get("POISSERR") is False:
        log.info("%s: POISSERR is false; its whole counts are taken as Poisson data all the same", where)
    return counts


def _number(hdu: fits.BinTableHDU, name: str, where: str) -> float:
    value = hdu.header.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = "no such keyword" if name not in hdu.header else repr(value)
        raise FileFormatError(
            f"{where}, extension {hdu.name}: expected a number as keyword {name}, found {found}"
        )
    return float(value)


def _column_or_keyword(
    hdu: fits.BinTableHDU, name: str, n_channels: int, where: str, default: float | None
) -> Array:
    """Return a value per channel, from a column or, one for all, from a keyword."""
    if name in [str(column_name).upper() for column_name in hdu.columns.names]:
        values = column(hdu, name, where)
    elif name in hdu.header:
        values = np.full(n_channels, _number(hdu, name, where))
    elif default is None:
        raise FileFormatError(
            f"{where}, extension {hdu.name}: expected a column or keyword {name}, found neither"
        )
    else:
        values = np.full(n_channels, float(default))
    return values


def _scale(hdu: fits.BinTableHDU, name: str, n_channels: int, where: str, default: float | None) -> Array:
    values = _column_or_keyword(hdu, name, n_channels, where, default)
    bad = ~(np.isfinite(values) & (values >= 0))
    if np.any(bad):
        i = int(np.argmax(bad))
        raise DataError(
            f"{where}, extension {hdu.name}: expected {name} of at least 0, found {values[i]} in row {i}"
        )
    return values


def _group_starts(hdu: fits.BinTableHDU, n_channels: int, where: str) -> NDArray[np.intp] | None:
    """Return the first channel of each group: where GROUPING isn't -1; `None` if each is one channel."""
    values = _column_or_keyword(hdu, "GROUPING", n_channels, where, default=0)
    if not np.any(values == -1):
        if np.any((values != 0) & (values != 1)):
            raise FileFormatError(
                f"{where}, extension {hdu.name}: expected GROUPING of -1, 0 or 1, found {values}"
            )
        return None
    if values[0] == -1 or np.any(~np.isin(values, (-1, 0, 1))):
        raise FileFormatError(
            f"{where}, extension {hdu.name}: expected a column GROUPING of -1, 0 or 1 that begins a group, "
            f"found {values[:8]}"
        )
    return np.flatnonzero(values != -1)


def _gti(hdulist: fits.HDUList, where: str) -> GTI | None:
    from villard.data.gti import GTI

    for hdu in hdulist:
        if isinstance(hdu, fits.BinTableHDU) and (
            hdu.name in {"GTI", "STDGTI"} or str(hdu.header.get("HDUCLAS1", "")).strip().upper() == "GTI"
        ):
            return GTI.from_table_hdu(hdu, where)
    return None

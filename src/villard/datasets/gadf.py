"""Datasets of counts in one FITS file: each map as an extension, in Gammapy's layout."""

from __future__ import annotations

import os
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table

from villard.exceptions import DataError, FileFormatError
from villard.irf import EDispKernel
from villard.maps import RegionGeom, RegionNDMap
from villard.maps.fits import open_fits, write_fits

__all__ = ["gadf_from_hdulist", "kernel_hdus", "read_gadf", "read_kernel", "to_gadf", "write_gadf"]


#: Settings of datasets and their keywords.
_SETTINGS = {"stat_type": "STATTYPE", "psf_method": "PSFMETH"}


def read_gadf(cls: type[Any], filename: str | os.PathLike[str], name: str | None) -> Any:
    """Read a dataset of a class from a file; see `CountsDataset.read`."""
    from villard.datasets.ogip import find_file

    path = find_file(filename)
    with open_fits(path) as hdulist:
        return gadf_from_hdulist(cls, hdulist, name, str(path))


def gadf_from_hdulist(cls: type[Any], hdulist: fits.HDUList, name: str | None, where: str) -> Any:
    """Make a dataset of a class from FITS extensions.

    Parameters
    ----------
    cls : type
        A subclass of `~villard.datasets.counts.CountsDataset`.
    hdulist : `~astropy.io.fits.HDUList`
        Extensions.
    name : str, optional
        Name; that of the keyword NAME by default.
    where : str
        File, for messages.
    """
    header = hdulist[0].header
    if "COUNTS" not in hdulist:
        found = ", ".join(hdu.name or "(no name)" for hdu in hdulist)
        raise FileFormatError(f"{where}: expected an extension COUNTS, found {found}")
    parts: dict[str, Any] = {}
    for key in (*cls._map_names, "exposure"):
        if key.upper() in hdulist:
            parts[key] = cls._map_class.from_hdulist(hdulist, hdu=key.upper(), format="gadf", where=where)
            if key.startswith("mask"):
                parts[key] = parts[key].copy(data=parts[key].data.astype(bool))
    if "exposure" in parts:
        _read_livetime(parts["exposure"].meta, header, where)
    parts |= cls._from_files(hdulist, where)
    if "GTI" in hdulist:
        from villard.data.gti import GTI

        parts["gti"] = GTI.from_table_hdu(hdulist["GTI"], where)
    if "META_TABLE" in hdulist:
        parts["meta_table"] = Table.read(hdulist["META_TABLE"])
    for key, name_in_file in _SETTINGS.items():
        if name_in_file in header and hasattr(cls, key):
            parts[key] = str(header[name_in_file]).strip()
    name = str(header.get("NAME", "")).strip() or None if name is None else name
    try:
        return cls(**parts, name=name)
    except DataError as error:
        raise type(error)(f"{where}: {error}") from error


def _read_livetime(meta: dict[str, Any], header: fits.Header, where: str) -> None:
    """Bring the livetime to the exposure's meta, where Gammapy has it as text."""
    if "LIVETIME" in header:
        meta["livetime"] = u.Quantity(_number(header, "LIVETIME", where), "s")
    elif "livetime" in meta:
        try:
            meta["livetime"] = u.Quantity(meta["livetime"], "s")
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{where}, extension EXPOSURE: expected a time as livetime, found {meta['livetime']!r}"
            ) from error


def _number(header: fits.Header, key: str, where: str) -> float:
    value = header[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FileFormatError(f"{where}: expected a number as keyword {key}, found {value!r}")
    return float(value)


def read_kernel(hdulist: fits.HDUList, where: str) -> EDispKernel:
    """Return the energy dispersion of the extension EDISP."""
    edisp = RegionNDMap.from_hdulist(hdulist, hdu="EDISP", format="gadf", where=where)
    if edisp.geom.axes.names != ["energy", "energy_true"]:
        raise FileFormatError(
            f"{where}, extension EDISP: expected the axes energy and energy_true, "
            f"found {edisp.geom.axes.names}"
        )
    return EDispKernel([edisp.geom.axes["energy_true"], edisp.geom.axes["energy"]], edisp.data[:, :, 0, 0])


def to_gadf(dataset: Any) -> fits.HDUList:
    """Return a dataset as FITS extensions."""
    hdulist = fits.HDUList([fits.PrimaryHDU()])
    header = hdulist[0].header
    header["NAME"] = _ascii(dataset.name, dataset.name)
    for key, name_in_file in _SETTINGS.items():
        if hasattr(dataset, key):
            header[name_in_file] = getattr(dataset, key)
    if np.isfinite(dataset.livetime.value):
        header["LIVETIME"] = (float(dataset.livetime.to_value("s")), "s")
    for key in (*dataset._map_names, "exposure"):
        value = getattr(dataset, key)
        if value is not None:
            value = value.copy(meta=_plain_meta(value.meta))
            hdulist += value.to_hdulist(format="gadf", hdu=key.upper())[1:]
    hdulist += dataset._to_files()
    if dataset.gti is not None:
        hdulist.append(dataset.gti.to_table_hdu())
    if dataset.meta_table is not None:
        hdulist.append(fits.table_to_hdu(dataset.meta_table, name="META_TABLE"))
    return hdulist


def _plain_meta(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value}" if isinstance(value, u.Quantity) else value for key, value in meta.items()}


def _ascii(text: str, name: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise DataError(f"Dataset {name!r}: FITS files need names of plain (ASCII) characters")
    return text


def kernel_hdus(dataset: Any) -> list[Any]:
    """Return the energy dispersion of a dataset as extensions."""
    kernel = dataset.edisp
    axis_true, axis = kernel.axes
    geom = RegionGeom(dataset._geom.region, axes=[axis, axis_true])
    matrix = RegionNDMap(geom, data=kernel.pdf_matrix[:, :, np.newaxis, np.newaxis])
    hdus = list(matrix.to_hdulist(format="gadf", hdu="EDISP")[1:])
    if dataset.exposure is not None:
        # Gammapy needs these weights to stack the energy dispersion.
        squashed = geom.squash("energy")
        weights = RegionNDMap(squashed, data=dataset.exposure.data[:, np.newaxis], unit=dataset.exposure.unit)
        hdus += list(weights.to_hdulist(format="gadf", hdu="EDISP_EXPOSURE")[1:])
    return hdus


def write_gadf(dataset: Any, filename: str | os.PathLike[str], overwrite: bool) -> None:
    """Write a dataset to a file; see `CountsDataset.write`."""
    write_fits(to_gadf(dataset), filename, overwrite=overwrite)

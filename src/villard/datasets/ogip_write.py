"""Spectra written to OGIP files: PHA, background PHA, ARF and RMF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits

from villard.exceptions import DataError
from villard.irf.arf import arf_to_hdulist
from villard.maps.fits import write_fits
from villard.maps.region_hdu import region_to_hdu
from villard.utils.io import check_overwrite

__all__ = ["ogip_paths", "write_onoff"]

_INT32_MAX = 2**31 - 1


def ogip_paths(filename: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the paths of the files that belong to a PHA file: ``pha``, ``bkg``, ``arf``, ``rmf``.

    Examples
    --------
    >>> {key: path.name for key, path in ogip_paths("pha_obs1.fits").items()}
    {'pha': 'pha_obs1.fits', 'bkg': 'bkg_obs1.fits', 'arf': 'arf_obs1.fits', 'rmf': 'rmf_obs1.fits'}
    >>> ogip_paths("crab.fits.gz")["arf"].name
    'crab_arf.fits.gz'
    """
    path = Path(filename)
    stem, dot, suffix = path.name.partition(".")
    paths = {"pha": path}
    for kind in ("bkg", "arf", "rmf"):
        name = f"{kind}{stem[3:]}" if stem.lower().startswith("pha") else f"{stem}_{kind}"
        paths[kind] = path.with_name(f"{name}{dot}{suffix}")
    return paths


def write_onoff(
    dataset: Any, filename: str | os.PathLike[str], overwrite: bool = False, format: str = "ogip"
) -> None:
    """Write an on/off dataset; see `SpectrumDatasetOnOff.write`."""
    if format not in {"ogip", "ogip-sherpa"}:
        raise DataError(f"Unknown format {format!r} of a dataset, expected 'ogip', 'ogip-sherpa' or 'gadf'")
    parts = ("counts", "counts_off", "acceptance", "acceptance_off", "exposure")
    dataset._require(*parts)
    livetime = float(dataset.livetime.to_value("s"))
    if not (np.isfinite(livetime) and livetime > 0):
        raise DataError(
            f"Dataset {dataset.name!r}: OGIP files need the livetime, "
            f"found exposure.meta['livetime'] = {dataset.exposure.meta.get('livetime')}"
        )
    kernel = dataset.edisp
    if kernel is None:
        from villard.datasets.transform import diagonal

        kernel = diagonal(dataset)
    paths = {key: check_overwrite(path, overwrite) for key, path in ogip_paths(filename).items()}
    area = dataset.exposure.quantity.reshape(-1) / (livetime * u.s)
    header = {key: dataset.meta[key] for key in ("TELESCOP", "INSTRUME") if key in dataset.meta}
    files = {
        "bkg": _spectrum(dataset, "counts_off", "acceptance_off", livetime, format),
        "arf": arf_to_hdulist(
            dataset.exposure.geom.axes["energy_true"], _tidy(area), format=format, **header
        ),
        "rmf": kernel.to_hdulist(format=format, **header),
        "pha": _spectrum(dataset, "counts", "acceptance", livetime, format),
    }
    links = {"BACKFILE": "bkg", "ANCRFILE": "arf", "RESPFILE": "rmf"}
    for keyword, kind in links.items():
        files["pha"]["SPECTRUM"].header[keyword] = paths[kind].name
    # The file that names the others comes last: where it is, they are.
    for kind, hdulist in files.items():
        write_fits(hdulist, paths[kind], overwrite=overwrite)


def _tidy(area: u.Quantity) -> u.Quantity:
    """Return the area in cm2 or m2, whatever the units of the exposure were."""
    return area.to("cm2") if area.unit == u.cm**2 else area.to("m2")


def _counts(dataset: Any, name: str) -> Any:
    values = getattr(dataset, name).data.reshape(-1)
    bad = ~(np.isfinite(values) & (values == np.round(values)) & (values <= _INT32_MAX))
    if np.any(bad):
        i = int(np.argmax(bad))
        raise DataError(
            f"Dataset {dataset.name!r}: OGIP files hold whole counts, found {name} of {values[i]} "
            f"in bin {i}. Use format='gadf'"
        )
    return np.round(values).astype(np.int32)


def _spectrum(dataset: Any, counts: str, acceptance: str, livetime: float, format: str) -> fits.HDUList:
    axis = dataset._geom.axes["energy"]
    n = axis.nbin
    safe = np.ones(n, bool) if dataset.mask_safe is None else dataset.mask_safe.data.reshape(-1)
    backscal = getattr(dataset, acceptance).data.reshape(-1).astype(float)
    kind = "I" if n < 2**15 else "J"
    columns = [
        fits.Column("CHANNEL", kind, array=np.arange(n)),
        fits.Column("COUNTS", "J", array=_counts(dataset, counts)),
        fits.Column("QUALITY", "I", array=np.where(safe, 0, 1)),
        fits.Column("BACKSCAL", "D", array=backscal),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    background = counts == "counts_off"
    table.header.update(
        {"HDUCLASS": "OGIP", "HDUCLAS1": "SPECTRUM", "HDUCLAS2": "BKG" if background else "TOTAL"}
        | {"HDUCLAS3": "COUNT", "HDUCLAS4": "TYPE:I", "HDUVERS": "1.2.1"}
        | {"TELESCOP": dataset.meta.get("TELESCOP", "unknown")}
        | {"INSTRUME": dataset.meta.get("INSTRUME", "unknown"), "FILTER": "none"}
        | {"EXPOSURE": livetime, "AREASCAL": 1.0, "CORRSCAL": 0.0, "CORRFILE": "none"}
        | {"BACKFILE": "none", "RESPFILE": "none", "ANCRFILE": "none"}
        | {"POISSERR": True, "CHANTYPE": "PHA", "DETCHANS": n, "GROUPING": 0}
        | {"TLMIN1": 0, "TLMAX1": n - 1}
    )
    for key, value in dataset.meta.items():
        if key in {"OBJECT", "RA_OBJ", "DEC_OBJ", "DATE-OBS", "DATE-END"}:
            table.header[key] = value
    if not (dataset.name.isascii() and dataset.name.isprintable()):
        raise DataError(f"Dataset {dataset.name!r}: FITS files need names of plain (ASCII) characters")
    table.header["OBS_ID"] = dataset.name
    hdulist = fits.HDUList([fits.PrimaryHDU(), table, axis.to_table_hdu(format)])
    if dataset._geom.region is not None:
        hdulist.append(region_to_hdu(dataset._geom.region, "REGION"))
    if dataset.gti is not None and not background:
        hdulist.append(dataset.gti.to_table_hdu())
    return hdulist

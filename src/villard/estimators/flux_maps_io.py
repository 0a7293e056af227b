"""Maps of fluxes in FITS files, with their reference model in a YAML file beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astropy.io import fits

from villard.estimators.reference import EnergyBins, ReferenceSpectrum
from villard.estimators.sed_types import SED_UNITS, SUFFIXES, check_sed_type, in_unit, prefix_of
from villard.exceptions import DataError, FileFormatError
from villard.maps import WcsNDMap
from villard.maps.fits import open_fits, write_fits
from villard.utils.io import check_overwrite
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from villard.estimators.flux_maps import FluxMaps

__all__ = ["read_maps", "to_norms", "write_maps"]

# What is kept, by the keyword of the primary header.
_META = {"N_SIGMA": "n_sigma", "NSIGMAUL": "n_sigma_ul", "TSTHRESH": "sqrt_ts_threshold_ul"}
_BOOLEAN = ("is_ul", "success", "mask")


def _model_path(path: Path) -> Path:
    return path.with_name(path.name + "_model.yaml")


def write_maps(maps: FluxMaps, filename: str | os.PathLike[str], sed_type: str, overwrite: bool) -> None:
    """Write maps; see `FluxMaps.write`."""
    from villard.modeling.models import Models

    path = check_overwrite(filename, overwrite)
    model_path = check_overwrite(_model_path(path), overwrite)
    primary = fits.PrimaryHDU()
    primary.header["SED_TYPE"] = check_sed_type(sed_type, maps.tag)
    # Gammapy opens this path as it is; `read_maps` looks beside the file, too.
    primary.header["MODEL"] = str(model_path)
    for keyword, name in _META.items():
        if maps.meta.get(name) is not None:
            primary.header[keyword] = float(maps.meta[name])
    hdus: list[Any] = [primary]
    for name, item in maps.to_maps(sed_type).items():
        # Gammapy's reader knows numbers only.
        data = item.data.astype(int) if item.is_mask else item.data
        hdus += item.copy(data=data).to_hdulist(hdu=name.upper(), hdu_bands=f"{name.upper()}_BANDS")[1:]
    if maps.gti is not None:
        hdus.append(maps.gti.to_table_hdu())
    write_fits(fits.HDUList(hdus), path, overwrite=overwrite)
    Models([maps.reference_model]).write(model_path, overwrite=overwrite, write_covariance=False)


def read_maps(filename: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the arguments of `FluxMaps` from a file."""
    from villard.data.gti import GTI

    path = make_path(filename)
    with open_fits(path) as hdulist:
        header = hdulist[0].header
        sed_type = str(header.get("SED_TYPE", ""))
        if sed_type not in SED_UNITS:
            raise FileFormatError(
                f"{path}: expected as keyword SED_TYPE one of {', '.join(SED_UNITS)}, found {sed_type!r}"
            )
        names = [hdu.name for hdu in hdulist[1:] if hdu.is_image]
        maps = {name.lower(): WcsNDMap.from_hdulist(hdulist, hdu=name, where=str(path)) for name in names}
        model = _read_model(path, str(header.get("MODEL", "")))
        meta = {key: float(header[keyword]) for keyword, key in _META.items() if keyword in header}
        gti = GTI.from_table_hdu(hdulist["GTI"], where=str(path)) if "GTI" in hdulist else None
    if not maps:
        raise FileFormatError(f"{path}: expected images of the sky, found none")
    for name in _BOOLEAN:
        if name in maps:
            maps[name] = maps[name].copy(data=maps[name].data == 1)
    try:
        data = to_norms(maps, sed_type, model, str(path))
    except DataError as error:
        raise FileFormatError(f"{path}: {error}") from error
    # Both follow from others, and Gammapy writes them always.
    for name, needed in (("sqrt_ts", {"ts", "norm"}), ("is_ul", set())):
        if needed <= set(data):
            data.pop(name, None)
    return {"data": data, "reference_model": model, "meta": meta, "gti": gti}


def _read_model(path: Path, name: str) -> Any:
    from villard.modeling.models import Models

    if not name:
        return None
    for candidate in (make_path(name), path.with_name(Path(name).name), _model_path(path)):
        if candidate.exists():
            models = Models.read(candidate)
            if len(models) != 1:
                raise FileFormatError(f"{candidate}: expected one reference model, found {len(models)}")
            return models[0]
    raise FileFormatError(f"{path}: its reference model {name} is not there")


def to_norms(maps: dict[str, WcsNDMap], sed_type: str, model: Any, where: str) -> dict[str, WcsNDMap]:
    """Turn fluxes of one representation into norms."""
    if sed_type == "likelihood":
        return maps
    prefix, unit = prefix_of(sed_type), SED_UNITS[sed_type]
    energies = EnergyBins.from_axis(next(iter(maps.values())).geom.axes["energy"])
    reference = ReferenceSpectrum.from_model(model, energies).values(sed_type).reshape(-1, 1, 1)
    result = {}
    for name, item in maps.items():
        if name.startswith(prefix) and name.removeprefix(prefix) in SUFFIXES:
            values = in_unit(item.data, item.unit, unit, f"{where}, {name}")
            result["norm" + name.removeprefix(prefix)] = item.copy(data=values / reference, unit="")
        else:
            result[name] = item
    return result

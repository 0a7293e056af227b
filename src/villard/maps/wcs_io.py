"""Maps on a world coordinate system in FITS files: GADF layout, and the cubes of the Fermi tools.

The Fermi tools' cubes have their energies in a table EBOUNDS (bins of counts) or ENERGIES (points of an
exposure or a template), without a keyword for the unit of the values.
"""

from __future__ import annotations

import json
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError
from villard.maps.axes import MapAxes
from villard.maps.axis import MapAxis
from villard.maps.axis_hdu import axis_of_ebounds
from villard.maps.bands import axes_from_bands, axes_keywords, axes_to_bands
from villard.maps.fits import column, column_unit, find_table, fits_unit
from villard.maps.wcs_geom import WcsGeom
from villard.maps.wcs_header import wcs_from_header
from villard.maps.wcs_map import WcsNDMap
from villard.utils.units import parse_unit

__all__ = ["find_image", "map_from_hdulist", "map_to_hdulist"]

_BANDS = {"gadf": None, "fgst-ccube": "EBOUNDS", "fgst-template": "ENERGIES", "fgst-bexpcube": "ENERGIES"}
_FERMI_UNITS = {
    "fgst-ccube": "",
    "fgst-bexpcube": "cm2 s",
    "fgst-template": "cm-2 s-1 MeV-1 sr-1",
}
# Counts have no unit here, whatever a file calls it.
_COUNTS = {"count", "counts", "ct", "photon", "photons", "ph"}

_Image = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU


def _check_format(format: str) -> None:
    if format not in _BANDS:
        raise DataError(f"Unknown map format {format!r}, expected one of {', '.join(_BANDS)}")


def find_image(hdulist: fits.HDUList, hdu: str | None) -> Any:
    """Return the extension of a name, or the first one, that holds an image of the sky; or `None`."""
    for item in hdulist:
        is_wanted = hdu is None or str(item.name).upper() == hdu.upper()
        if is_wanted and item.is_image and item.header.get("NAXIS", 0) >= 2 and item.header.get("CTYPE1"):
            return item
    return None


# Reading


def map_from_hdulist(
    hdulist: fits.HDUList, hdu: str | None = None, format: str | None = None, where: str = "FITS data"
) -> WcsNDMap:
    """Make a map of FITS extensions; see `WcsNDMap.from_hdulist`."""
    image = find_image(hdulist, hdu)
    if image is None:
        raise FileFormatError(f"{where}: expected an image of the sky{'' if hdu is None else f' {hdu}'}")
    where = f"{where}, extension {image.name or 'PRIMARY'}"
    if format is None:
        format = _guess_format(hdulist, image)
    _check_format(format)
    data = _native(image.data)
    axes = _axes(hdulist, image, format, where)
    wcs = wcs_from_header(image.header, where)
    geom = WcsGeom(wcs, (data.shape[-1], data.shape[-2]), axes=axes)
    # Axes of length one that no table describes mean nothing.
    squeezed = data.reshape(geom.data_shape) if data.size == np.prod(geom.data_shape) else data
    if squeezed.shape != geom.data_shape:
        raise FileFormatError(
            f"{where}: expected an image of the shape {geom.data_shape}, as its axes "
            f"{', '.join(geom.axes_names)} have it, found {data.shape}"
        )
    unit = _unit(image.header, format, where)
    if _is_mask(image, squeezed, unit):
        squeezed = squeezed.astype(bool)
    return WcsNDMap(geom, data=squeezed, unit=unit, meta=_meta(image.header))


def _guess_format(hdulist: fits.HDUList, image: Any) -> str:
    names = {str(item.name).upper() for item in hdulist}
    bands = str(image.header.get("BANDSHDU", "")).strip().upper()
    if bands in {"EBOUNDS", "ENERGIES"}:
        names = {bands}
    elif bands or image.header.get("NAXIS") == 2:
        return "gadf"
    if "EBOUNDS" in names:
        return "fgst-ccube"
    if "ENERGIES" in names:
        # gtexpcube2 names the axis log_Energy, the diffuse models have "photon energy" or nothing.
        is_exposure = str(image.header.get("CTYPE3", "")).strip().lower() == "log_energy"
        return "fgst-bexpcube" if is_exposure else "fgst-template"
    return "gadf"


def _axes(hdulist: fits.HDUList, image: Any, format: str, where: str) -> list[MapAxis]:
    if format == "fgst-ccube":
        return [axis_of_ebounds(find_table(hdulist, ["EBOUNDS"], where), where)]
    if format in {"fgst-template", "fgst-bexpcube"}:
        return [_energy_points(find_table(hdulist, ["ENERGIES"], where), where)]
    name = str(image.header.get("BANDSHDU", "")).strip()
    if name:
        return axes_from_bands(find_table(hdulist, [name], where), image.header, where)
    if all(n == 1 for n in image.shape[:-2]):
        return []
    raise FileFormatError(
        f"{where}: expected a table of its axes (keyword BANDSHDU, or an extension EBOUNDS or ENERGIES), "
        f"for an image of the shape {image.shape}"
    )


def _energy_points(table: fits.BinTableHDU, where: str) -> MapAxis:
    energy = column(table, "ENERGY", where)
    unit = column_unit(table, "ENERGY", u.MeV, where)
    try:
        return MapAxis(energy, unit=unit, name="energy_true", interp="log", node_type="center")
    except DataError as error:
        raise FileFormatError(f"{where}, extension {table.name}: {error}") from error


def _native(data: Any) -> NDArray[Any]:
    """Return an array in the byte order of this machine, because compiled code takes no other."""
    array = np.asarray(data)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _unit(header: fits.Header, format: str, where: str) -> u.UnitBase:
    text = str(header.get("BUNIT", header.get("UNIT", ""))).strip()
    if text.lower() in _COUNTS:
        text = ""
    if not text:
        return u.Unit(_FERMI_UNITS.get(format, ""))
    try:
        return parse_unit(text, f"{where}, keyword BUNIT")
    except UnitsError as error:
        raise FileFormatError(str(error)) from error


def _is_mask(image: Any, data: NDArray[Any], unit: u.UnitBase) -> bool:
    # FITS has no booleans in images. Masks are known by the name of their extension.
    if unit != u.dimensionless_unscaled or data.dtype.kind not in "iu":
        return False
    is_named = "MASK" in str(image.name).upper() or bool(image.header.get("LOGICAL", False))
    return is_named and bool(np.all((data == 0) | (data == 1)))


def _meta(header: fits.Header) -> dict[str, Any]:
    try:
        meta = json.loads(str(header.get("META", "{}")))
    except ValueError:
        return {"META": str(header["META"])}
    return meta if isinstance(meta, dict) else {"META": meta}


# Writing


def map_to_hdulist(
    data_map: WcsNDMap, hdu: str | None = None, hdu_bands: str | None = None, format: str = "gadf"
) -> fits.HDUList:
    """Return a map as FITS extensions; see `WcsNDMap.to_hdulist`."""
    _check_format(format)
    axes = data_map.geom.axes
    if format != "gadf":
        axes.assert_names(["energy" if format == "fgst-ccube" else "energy_true"])
    is_primary = hdu is None or hdu.upper() == "PRIMARY"
    bands_name = _BANDS[format] or hdu_bands or f"{'PRIMARY' if is_primary else hdu}_BANDS".upper()
    header = _header(data_map, bands_name if len(axes) else None, format)
    values = data_map.data.astype(np.uint8) if data_map.is_mask else data_map.data
    if is_primary:
        hdus: list[Any] = [fits.PrimaryHDU(values, header=header)]
    else:
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(values, header=header, name=hdu)]
    if len(axes):
        hdus.append(_bands_hdu(axes, bands_name, format))
    return fits.HDUList(hdus)


def _bands_hdu(axes: MapAxes, name: str, format: str) -> fits.BinTableHDU:
    if format == "gadf":
        return axes_to_bands(axes, name)
    axis = axes[0]
    if format == "fgst-ccube":
        edges = axis.edges.to_value("keV")
        columns = [
            fits.Column("CHANNEL", "J", array=np.arange(1, axis.nbin + 1)),
            fits.Column("E_MIN", "D", unit="keV", array=edges[:-1]),
            fits.Column("E_MAX", "D", unit="keV", array=edges[1:]),
        ]
    else:
        columns = [fits.Column("Energy", "D", unit="MeV", array=axis.center.to_value("MeV"))]
    return fits.BinTableHDU.from_columns(columns, name=name)


def _header(data_map: WcsNDMap, bands: str | None, format: str) -> fits.Header:
    geom = data_map.geom
    header = geom.wcs.to_header()
    if bands is not None and format == "gadf":
        header.update(axes_keywords(geom.axes))
        header["BANDSHDU"] = bands
    header["WCSSHAPE"] = f"({','.join(str(n) for n in (*geom.npix, *geom.axes.shape))})"
    if data_map.is_mask:
        header["LOGICAL"] = (True, "values 0 and 1 mean false and true")
    try:
        header["META"] = json.dumps(data_map.meta)
    except (TypeError, ValueError) as error:
        raise DataError(f"Map meta can't be written: expected what JSON can hold ({error})") from error
    header["BUNIT"] = _unit_text(data_map.unit, format)
    if format == "fgst-bexpcube":
        # This is how the Fermi tools mark an exposure.
        header["CTYPE3"], header["CRPIX3"] = "log_Energy", 1.0
        points = np.log(geom.axes[0].center.to_value("MeV"))
        header["CRVAL3"] = points[0]
        header["CDELT3"] = points[1] - points[0] if len(points) > 1 else 1.0
    return header


def _unit_text(unit: u.UnitBase, format: str) -> str:
    expected = _FERMI_UNITS.get(format)
    if expected is not None and unit != u.Unit(expected):
        raise DataError(
            f"Format {format!r}: expected a map in {expected or 'no unit'}, found {str(unit) or 'no unit'}. "
            "Use to_unit first"
        )
    return fits_unit(unit)

"""Regions in FITS files: the ASC region table, in pixels of a world coordinate system in its header.

Centres are counted from 0, unlike other pixels in FITS, because the files that exist do so.
"""

from __future__ import annotations

import warnings

import numpy as np
from astropy.io import fits

from villard.exceptions import DataError, FileFormatError
from villard.maps.fits import column, raw_column
from villard.maps.regions import SkyRegion, SkyRegionUnion, make_region

__all__ = ["region_from_hdu", "region_to_hdu"]

_PIXEL = 0.1  # deg
_CTYPES = {"galactic": ("GLON-TAN", "GLAT-TAN"), "other": ("RA---TAN", "DEC--TAN")}
_N_SIZES = {"point": 0, "circle": 1, "annulus": 2, "ellipse": 2, "box": 2, "rotbox": 2}


def region_to_hdu(region: SkyRegion | SkyRegionUnion, name: str) -> fits.BinTableHDU:
    """Return a region as a FITS table with a row per part.

    Parameters
    ----------
    region : `SkyRegion` or `SkyRegionUnion`
        Region.
    name : str
        Name of the extension.
    """
    from astropy.wcs.utils import skycoord_to_pixel

    parts = region.parts if isinstance(region, SkyRegionUnion) else (region,)
    header = _header(region)
    wcs = _wcs(header)
    width = max(1, *(len(part.sizes) for part in parts))
    x, y, sizes = [], [], np.zeros((len(parts), width))
    for i, part in enumerate(parts):
        xp, yp = skycoord_to_pixel(part.center, wcs, origin=0)
        x.append(float(xp))
        y.append(float(yp))
        sizes[i, : len(part.sizes)] = np.array(part.sizes) / _scale(wcs, x[-1], y[-1])
    shapes = ["rotbox" if part.shape == "box" else part.shape for part in parts]
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("SHAPE", f"{max(map(len, shapes))}A", array=np.array(shapes)),
            fits.Column("X", "D", unit="pix", array=x),
            fits.Column("Y", "D", unit="pix", array=y),
            fits.Column(
                "R",
                f"{width}D" if width > 1 else "D",
                unit="pix",
                array=sizes.squeeze(-1) if width == 1 else sizes,
            ),
            fits.Column("ROTANG", "D", unit="deg", array=[part.angle for part in parts]),
        ],
        name=name,
    )
    table.header.update(header)
    return table


def region_from_hdu(hdulist: fits.HDUList, name: str, where: str) -> SkyRegion | SkyRegionUnion | None:
    """Return the region of the extension of this name, or `None` if there is no such extension.

    Raises
    ------
    FileFormatError
        If the extension isn't a table of points, circles, annuli, ellipses and boxes on the sky.
    """
    table = next((hdu for hdu in hdulist if hdu.name == name.upper()), None)
    if table is None:
        return None
    place = f"{where}, extension {name}"
    if not isinstance(table, fits.BinTableHDU):
        raise FileFormatError(f"{place}: expected a table")
    shapes = [str(shape).strip().lower().removeprefix("+") for shape in raw_column(table, "SHAPE", where)]
    x, y = column(table, "X", where), column(table, "Y", where)
    columns = [str(item).upper() for item in table.columns.names]
    sizes = np.asarray(raw_column(table, "R", where), dtype=float).reshape(len(x), -1)
    angles = column(table, "ROTANG", where) if "ROTANG" in columns else np.zeros(len(x))
    frame = "galactic" if str(table.header.get("CTYPE1", "")).startswith("GLON") else "icrs"
    try:
        wcs = _wcs(table.header)
        parts = [
            _part(wcs, frame, shape, *row) for shape, *row in zip(shapes, x, y, sizes, angles, strict=True)
        ]
        return make_region(parts)
    # The library behind astropy.wcs has exceptions of its own for each kind of damage.
    except Exception as error:
        raise FileFormatError(
            f"{place}: expected regions on the sky ({type(error).__name__}: {error})"
        ) from error


def _part(
    wcs: object, frame: str, shape: str, x: float, y: float, sizes: np.ndarray, angle: float
) -> SkyRegion:
    if shape not in _N_SIZES:
        raise DataError(f"unknown shape {shape!r}")
    center = wcs.pixel_to_world(x, y).transform_to(frame)  # type: ignore[attr-defined]
    scaled = tuple(float(size) for size in sizes[: _N_SIZES[shape]] * _scale(wcs, x, y))
    lon, lat = float(center.spherical.lon.deg), float(center.spherical.lat.deg)
    name = "box" if shape == "rotbox" else shape
    return SkyRegion(name, lon, lat, scaled, float(angle), frame)


def _header(region: SkyRegion | SkyRegionUnion) -> dict[str, object]:
    center = region.center if region.frame in {"galactic", "icrs"} else region.center.icrs
    ctype = _CTYPES.get(region.frame, _CTYPES["other"])
    header: dict[str, object] = {
        "WCSAXES": 2,
        "CRPIX1": 1.0,
        "CRPIX2": 1.0,
        "CDELT1": -_PIXEL,
        "CDELT2": _PIXEL,
    }
    header |= {"CUNIT1": "deg", "CUNIT2": "deg", "CTYPE1": ctype[0], "CTYPE2": ctype[1]}
    header |= {"CRVAL1": float(center.spherical.lon.deg), "CRVAL2": float(center.spherical.lat.deg)}
    if region.frame != "galactic":
        header["RADESYS"] = "ICRS"
    return header | {"WCSSHAPE": "(1,1)"}


def _wcs(header: object) -> object:
    from astropy.wcs import WCS, FITSFixedWarning

    keys = (
        "WCSAXES",
        "CRPIX",
        "CDELT",
        "CUNIT",
        "CTYPE",
        "CRVAL",
        "LONPOLE",
        "LATPOLE",
        "RADESYS",
        "PC",
        "CD",
    )
    cards = {key: value for key, value in dict(header).items() if key.startswith(keys)}  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(fits.Header(cards), naxis=2)


def _scale(wcs: object, x: float, y: float) -> float:
    """Return the length (deg) of a pixel at this place."""
    here, there = wcs.pixel_to_world([x, x], [y, y + 1])  # type: ignore[attr-defined]
    return float(here.separation(there).deg)

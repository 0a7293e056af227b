"""World coordinate systems: made of a few numbers, or read from the header of an image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError

__all__ = ["angle_pair", "is_upright", "make_wcs", "sky_direction", "wcs_from_header"]

Array = NDArray[np.float64]

_CTYPES = {"galactic": ("GLON", "GLAT"), "icrs": ("RA--", "DEC-")}


def make_wcs(
    lon: float, lat: float, frame: str, projection: str, pixel_widths: Array, center: Sequence[float]
) -> WCS:
    """Make a world coordinate system with the reference direction at a pixel.

    Parameters
    ----------
    lon, lat : float
        Reference direction (deg).
    frame : {"icrs", "galactic"}
        Frame.
    projection : str
        FITS code of the projection, see Calabretta & Greisen 2002, A&A 395, 1077.
    pixel_widths : `~numpy.ndarray`
        Widths in longitude and latitude (deg).
    center : (float, float)
        Reference pixel, counted from 1.

    Raises
    ------
    DataError
        If there is no such frame or projection.

    Examples
    --------
    >>> wcs = make_wcs(83.63, 22.01, "icrs", "TAN", np.array([0.02, 0.02]), (50.5, 50.5))
    >>> str(wcs.wcs.ctype[0])
    'RA---TAN'
    """
    if frame not in _CTYPES:
        raise DataError(f"WcsGeom: expected the frame 'icrs' or 'galactic', found {frame!r}")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{name}-{projection.upper()}" for name in _CTYPES[frame]]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.cdelt = [-pixel_widths[0], pixel_widths[1]]
    wcs.wcs.crval = [lon, lat]
    wcs.wcs.crpix = list(center)
    if frame == "icrs":
        wcs.wcs.radesys = "ICRS"
    try:
        wcs.wcs.set()
    # wcslib has an error class for each of its many complaints.
    except Exception as error:
        raise DataError(f"WcsGeom: can't make the projection {projection!r} ({error})") from error
    if not wcs.has_celestial:
        raise DataError(f"WcsGeom: unknown projection {projection!r}, expected e.g. 'CAR', 'TAN' or 'AIT'")
    return wcs


def wcs_from_header(header: fits.Header, where: str) -> WCS:
    """Return the celestial coordinate system of an image's header.

    Raises
    ------
    FileFormatError
        If there is none.
    """
    try:
        with warnings.catch_warnings():
            # Many files state dates in a way that astropy repairs; maps don't need them.
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header).celestial
    # See `make_wcs`.
    except Exception as error:
        raise FileFormatError(f"{where}: the header has no valid sky coordinates ({error})") from error
    if not wcs.has_celestial:
        found = ", ".join(str(header.get(f"CTYPE{i}")) for i in (1, 2))
        raise FileFormatError(f"{where}: expected sky coordinates, found CTYPE {found}")
    return wcs


def is_upright(wcs: WCS) -> bool:
    """Whether pixel columns and rows go along the projection's axes."""
    matrix = wcs.pixel_scale_matrix
    return bool(np.allclose(matrix, np.diag(np.diag(matrix)), rtol=0, atol=1e-10 * np.abs(matrix).max()))


def angle_pair(value: Any, where: str) -> Array:
    """Return an angle, or a pair of angles, as two positive numbers (deg).

    Examples
    --------
    >>> angle_pair("30 arcmin", "width")
    array([0.5, 0.5])
    """
    try:
        if isinstance(value, (list, tuple)):
            value = [u.Quantity(item, "deg").value if _is_angle(item) else item for item in value]
        elif _is_angle(value):
            value = u.Quantity(value).to_value("deg")
        pair = np.broadcast_to(np.asarray(value, dtype=float).squeeze(), 2).copy()
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise UnitsError(f"{where}: expected one or two angles, found {value!r}") from error
    if not np.all((pair > 0) & np.isfinite(pair)):
        raise DataError(f"{where}: expected positive angles, found {value}")
    return pair


def _is_angle(value: Any) -> bool:
    return isinstance(value, (str, u.Quantity))


def sky_direction(skydir: SkyCoord | tuple[Any, Any] | None, frame: str) -> tuple[float, float]:
    """Return longitude and latitude (deg) of a direction; (0, 0) for `None`."""
    if skydir is None:
        return 0.0, 0.0
    if isinstance(skydir, SkyCoord):
        coord = skydir.transform_to(frame).spherical
        return float(coord.lon.deg), float(coord.lat.deg)
    lon, lat = skydir
    return float(u.Quantity(lon, "deg").value), float(u.Quantity(lat, "deg").value)

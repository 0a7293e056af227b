"""Coordinates in the field of view, and background rates at directions on the sky.

Longitude and latitude in the field of view are those of the frame whose origin is the pointing: longitude
rises with right ascension or azimuth, as in the open gamma-ray data formats (GADF v0.3, "Coordinate
systems"). Files with the keyword FOVALIGN = REVERSE_LON_RADEC have the opposite sign of longitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError

if TYPE_CHECKING:
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time

    from villard.irf.background import Background2D, Background3D

__all__ = ["background_rate", "field_of_view", "observation_frames"]

Array = NDArray[np.float64]

#: Largest turn of the field of view between two times at which rates are averaged (deg).
_STEP = 1.0


def field_of_view(
    directions: SkyCoord, pointing: SkyCoord, frame: Any = None
) -> tuple[u.Quantity, u.Quantity]:
    """Return longitudes and latitudes in the field of view (deg).

    Parameters
    ----------
    directions, pointing : `~astropy.coordinates.SkyCoord`
        Directions, and the one at the origin.
    frame : `~astropy.coordinates.AltAz`, optional
        Frame to which the field of view is aligned; right ascension and declination by default.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> lon, lat = field_of_view(SkyCoord(11, 0, unit="deg"), SkyCoord(10, 0, unit="deg"))
    >>> print(f"{lon.value:.3f} {abs(lat.value):.3f}")
    1.000 0.000
    """
    system = "icrs" if frame is None else frame
    center = pointing.transform_to(system)
    lon, lat = center.spherical_offsets_to(directions.transform_to(system))
    return lon.to("deg"), lat.to("deg")


def observation_frames(
    pointing: SkyCoord, start: Time, stop: Time, location: EarthLocation | None
) -> list[Any]:
    """Return altazimuth frames at times between which the field of view turns by less than a degree.

    Parameters
    ----------
    pointing : `~astropy.coordinates.SkyCoord`
        Pointing.
    start, stop : `~astropy.time.Time`
        Bounds of the observation.
    location : `~astropy.coordinates.EarthLocation`
        Site.

    Raises
    ------
    DataError
        If the site isn't known.
    """
    from astropy.coordinates import AltAz, SkyCoord

    if location is None:
        raise DataError(
            "Background: its coordinates are those of the altazimuth system (FOVALIGN = ALTAZ), and the "
            "location of the telescope isn't known (keywords GEOLON, GEOLAT)"
        )
    icrs = pointing.icrs
    north = SkyCoord(icrs.ra, icrs.dec + np.sign(-icrs.dec.deg or 1.0) * 0.1 * u.deg)
    duration = stop - start
    # Fine steps to measure the turn, then as many as it needs.
    at = start + duration * np.linspace(0, 1, 9)
    system = AltAz(obstime=at, location=location)
    angle = icrs.transform_to(system).position_angle(north.transform_to(system)).deg
    turn = float(np.sum(np.abs((np.diff(angle) + 180) % 360 - 180)))
    n = max(1, int(np.ceil(turn / _STEP)))
    middles = (np.arange(n) + 0.5) / n
    return [AltAz(obstime=start + duration * t, location=location) for t in middles]


def background_rate(
    bkg: Background2D | Background3D,
    pointing: SkyCoord,
    energy: u.Quantity,
    directions: SkyCoord,
    frames: Any = None,
) -> Array:
    """Return rates of background (s-1 TeV-1 sr-1), averaged over frames if there are several.

    Parameters
    ----------
    bkg : `Background2D` or `Background3D`
        Rates.
    pointing : `~astropy.coordinates.SkyCoord`
        Pointing.
    energy : `~astropy.units.Quantity`
        Reconstructed energies.
    directions : `~astropy.coordinates.SkyCoord`
        Directions, which broadcast against the energies.
    frames : list of `~astropy.coordinates.AltAz`, optional
        See `observation_frames`; needed by tables that are aligned with altitude and azimuth.

    Raises
    ------
    DataError
        If the alignment of the table is unknown, or frames are needed.
    """
    unit = "s-1 TeV-1 sr-1"
    if "offset" in bkg.required_axes:
        offset = directions.separation(pointing.transform_to(directions.frame))
        return np.asarray(bkg.evaluate(energy=energy, offset=offset).to_value(unit))
    alignment = bkg.fov_alignment  # type: ignore[union-attr]
    if alignment == "ALTAZ" and not frames:
        raise DataError(
            "Background: coordinates of the field of view are aligned with ALTAZ, so time and location are "
            "needed; or average over directions with to_2d()"
        )
    if alignment not in ("ALTAZ", "RADEC", "REVERSE_LON_RADEC"):
        raise DataError(
            f"Background: expected FOVALIGN = RADEC, REVERSE_LON_RADEC or ALTAZ, found {alignment!r}"
        )
    systems = frames if alignment == "ALTAZ" else [None]
    sign = -1 if alignment == "REVERSE_LON_RADEC" else 1
    total: Any = 0.0
    for frame in systems:
        lon, lat = field_of_view(directions, pointing, frame)
        total = total + bkg.evaluate(energy=energy, fov_lon=sign * lon, fov_lat=lat).to_value(unit)
    return np.asarray(total / len(systems))

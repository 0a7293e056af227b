"""Where a telescope points."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import DataError

if TYPE_CHECKING:
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time

__all__ = ["FixedPointingInfo", "PointingMode"]


class PointingMode(enum.Enum):
    """How a telescope points: at a fixed direction on the sky, or at a fixed direction of the site."""

    POINTING = "pointing"
    DRIFT = "drift"


class FixedPointingInfo:
    """A pointing at one direction, on the sky or (as observations by drift) in the altazimuth system.

    Parameters
    ----------
    fixed_icrs : `~astropy.coordinates.SkyCoord`, optional
        Direction on the sky.
    fixed_altaz : `~astropy.coordinates.SkyCoord`, optional
        Direction in the altazimuth system; in pointed observations its mean over the observation.
    location : `~astropy.coordinates.EarthLocation`, optional
        Site.

    Raises
    ------
    DataError
        If there is no direction.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> pointing = FixedPointingInfo(SkyCoord(0, 0, unit="deg", frame="galactic"))
    >>> pointing.fixed_icrs.to_string(precision=2)
    '266.40 -28.94'
    """

    def __init__(
        self,
        fixed_icrs: SkyCoord | None = None,
        fixed_altaz: SkyCoord | None = None,
        location: EarthLocation | None = None,
    ) -> None:
        if fixed_icrs is None and fixed_altaz is None:
            raise DataError("FixedPointingInfo: expected fixed_icrs or fixed_altaz")
        if fixed_icrs is not None and (fixed_icrs.size != 1 or not np.all(np.isfinite(fixed_icrs.icrs.ra))):
            raise DataError(f"FixedPointingInfo: expected one direction, found {fixed_icrs}")
        self._icrs = None if fixed_icrs is None else fixed_icrs.icrs.reshape(())
        #: Frame in which the direction was given, to whose coordinates fields of view are parallel.
        self.frame = "icrs" if fixed_icrs is None else str(fixed_icrs.frame.name)
        self.fixed_altaz, self.location = fixed_altaz, location

    @classmethod
    def from_any(cls, pointing: Any, where: str = "Pointing") -> FixedPointingInfo:
        """Return the pointing itself, or that of a direction on the sky."""
        from astropy.coordinates import SkyCoord

        if isinstance(pointing, cls):
            return pointing
        if isinstance(pointing, SkyCoord):
            return cls(fixed_icrs=pointing)
        raise DataError(f"{where}: expected a direction or FixedPointingInfo, found {pointing!r}")

    @classmethod
    def from_fits_header(cls, header: Mapping[str, Any], where: str = "Header") -> FixedPointingInfo:
        """Read the pointing of the keywords of events.

        Parameters
        ----------
        header : mapping
            Keywords: OBS_MODE, RA_PNT and DEC_PNT, ALT_PNT and AZ_PNT, GEOLON, GEOLAT and ALTITUDE.
        where : str
            What has them, for messages.
        """
        from astropy.coordinates import AltAz, SkyCoord

        location = location_of(header)
        altaz = None
        alt, az = (_number(header, name, where) for name in ("ALT_PNT", "AZ_PNT"))
        if alt is not None and az is not None:
            altaz = SkyCoord(az, alt, unit="deg", frame=AltAz())
        if str(header.get("OBS_MODE", "POINTING")).strip().upper() == "DRIFT":
            return cls(fixed_altaz=altaz, location=location)
        ra, dec = (_number(header, name, where) for name in ("RA_PNT", "DEC_PNT"))
        if ra is None or dec is None:
            raise DataError(f"{where}: the pointing isn't known, there is no keyword RA_PNT or DEC_PNT")
        return cls(SkyCoord(ra, dec, unit="deg", frame="icrs"), altaz, location)

    def to_fits_header(self) -> dict[str, Any]:
        """Return the keywords of the pointing."""
        keywords: dict[str, Any] = {"OBS_MODE": self.mode.name}
        if self._icrs is not None:
            keywords.update({"RA_PNT": float(self._icrs.ra.deg), "DEC_PNT": float(self._icrs.dec.deg)})
        if self.fixed_altaz is not None:
            keywords["ALT_PNT"] = float(self.fixed_altaz.alt.deg)
            keywords["AZ_PNT"] = float(self.fixed_altaz.az.deg)
        if self.location is not None:
            place = self.location.geodetic
            keywords.update({"GEOLON": float(place.lon.deg), "GEOLAT": float(place.lat.deg)})
            keywords["ALTITUDE"] = float(place.height.to_value("m"))
        return keywords

    @property
    def mode(self) -> PointingMode:
        """Whether the direction is fixed on the sky or at the site."""
        return PointingMode.DRIFT if self._icrs is None else PointingMode.POINTING

    @property
    def fixed_icrs(self) -> SkyCoord:
        """Direction on the sky (ICRS)."""
        if self._icrs is None:
            raise DataError("FixedPointingInfo: an observation by drift has no fixed direction on the sky")
        return self._icrs

    def get_icrs(self, obstime: Time | None = None, location: EarthLocation | None = None) -> SkyCoord:
        """Return the direction on the sky at times.

        Parameters
        ----------
        obstime : `~astropy.time.Time`, optional
            Times; needed only by observations by drift.
        location : `~astropy.coordinates.EarthLocation`, optional
            Site; by default that of the pointing.
        """
        from astropy.coordinates import SkyCoord

        if self._icrs is not None:
            if obstime is None or obstime.isscalar:
                return self._icrs
            shape = obstime.shape
            return SkyCoord(np.full(shape, self._icrs.ra.deg), np.full(shape, self._icrs.dec.deg), unit="deg")
        altaz = self.fixed_altaz
        if obstime is None or altaz is None:
            raise DataError("FixedPointingInfo: an observation by drift points elsewhere at each time")
        frame = self._altaz_frame(obstime, location)
        return SkyCoord(altaz.az, altaz.alt, frame=frame).icrs

    def get_altaz(self, obstime: Time, location: EarthLocation | None = None) -> SkyCoord:
        """Return the direction in the altazimuth system at times; parameters as for `get_icrs`."""
        from astropy.coordinates import SkyCoord

        frame = self._altaz_frame(obstime, location)
        if self._icrs is None:
            assert self.fixed_altaz is not None
            return SkyCoord(self.fixed_altaz.az, self.fixed_altaz.alt, frame=frame)
        return self._icrs.transform_to(frame)

    def _altaz_frame(self, obstime: Time, location: EarthLocation | None) -> AltAz:
        from astropy.coordinates import AltAz

        location = self.location if location is None else location
        if location is None:
            raise DataError("FixedPointingInfo: the location of the telescope isn't known")
        return AltAz(obstime=obstime, location=location)

    def __repr__(self) -> str:
        if self._icrs is not None:
            return f"FixedPointingInfo({self._icrs.to_string(precision=4)} deg, ICRS)"
        return f"FixedPointingInfo({self.fixed_altaz}, drift)"


def location_of(header: Mapping[str, Any], where: str = "Header") -> EarthLocation | None:
    """Return the site in the keywords GEOLON, GEOLAT and ALTITUDE, or `None`."""
    from astropy.coordinates import EarthLocation

    lon, lat, height = (_number(header, name, where) for name in ("GEOLON", "GEOLAT", "ALTITUDE"))
    if lon is None or lat is None:
        return None
    # Files of the first CTA data challenge have it in km.
    height = 0.0 if height is None else height * (1000.0 if 0 < height < 10 else 1.0)
    return EarthLocation.from_geodetic(lon, lat, height)


def _number(header: Mapping[str, Any], name: str, where: str) -> float | None:
    value = header.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(f"{where}, keyword {name}: expected a number, found {value!r}")
    return number

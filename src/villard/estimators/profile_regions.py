"""Regions side by side, for profiles along a line or with the distance from a centre."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from villard.estimators.settings import positive_angle
from villard.exceptions import ConfigError
from villard.maps import SkyRegion

__all__ = ["make_concentric_annulus_sky_regions", "make_orthogonal_rectangle_sky_regions"]

_FRAMES = ("icrs", "galactic")


def _number(nbin: Any, where: str) -> int:
    if isinstance(nbin, bool) or int(nbin) != nbin or nbin < 1:
        raise ConfigError(f"{where}: expected a positive number as nbin, found {nbin!r}")
    return int(nbin)


def _in_known_frame(position: SkyCoord) -> SkyCoord:
    return position if position.frame.name in _FRAMES else position.icrs


def _lon_lat(position: SkyCoord) -> tuple[float, float]:
    return float(position.spherical.lon.deg), float(position.spherical.lat.deg)


def make_orthogonal_rectangle_sky_regions(
    start_pos: SkyCoord, end_pos: SkyCoord, wcs: Any = None, height: Any = "0.1 deg", nbin: int = 1
) -> list[SkyRegion]:
    """Make rectangles side by side along a line, a great circle.

    Parameters
    ----------
    start_pos, end_pos : `~astropy.coordinates.SkyCoord`
        Ends of the line.
    wcs : optional
        Kept for Gammapy scripts: rectangles are made on the sphere.
    height : `~astropy.units.Quantity` or float
        Extent across the line; numbers are in deg.
    nbin : int
        Number of rectangles.

    Returns
    -------
    list of `~villard.maps.SkyRegion`
        Boxes, in the frame of the start.

    Raises
    ------
    ConfigError
        If the ends are the same, or a number isn't positive.

    Examples
    --------
    >>> start, end = (SkyCoord(lon, 0, unit="deg", frame="galactic") for lon in (2, 358))
    >>> [region.to_ds9() for region in make_orthogonal_rectangle_sky_regions(start, end, nbin=2)]
    ['galactic;box(1, 0, 2, 0.1, 0)', 'galactic;box(359, 0, 2, 0.1, 0)']
    """
    where = "make_orthogonal_rectangle_sky_regions"
    nbin = _number(nbin, where)
    across = float(positive_angle(height, "height", where).to_value("deg"))
    start = _in_known_frame(start_pos)
    end = end_pos.transform_to(start.frame)
    length = float(start.separation(end).deg)
    if not length > 0:
        raise ConfigError(f"{where}: the two ends are the same, {start.to_string('decimal')}")
    bearing = start.position_angle(end)
    regions = []
    for i in range(nbin):
        center = start.directional_offset_by(bearing, length * (i + 0.5) / nbin * u.deg)
        lon, lat = _lon_lat(center)
        # East of north, to the direction of decreasing longitude towards north.
        angle = float((center.position_angle(end).deg + 90 + 180) % 360 - 180)
        regions.append(
            SkyRegion(
                "box", round(lon % 360, 10), lat, (round(length / nbin, 12), across), angle, start.frame.name
            )
        )
    return [_rounded(region) for region in regions]


def _rounded(region: SkyRegion) -> SkyRegion:
    """Return a region without the digits that come from rounding on the sphere."""
    lat, angle = round(region.lat, 10) + 0.0, round(region.angle, 8) + 0.0
    return SkyRegion(region.shape, region.lon, lat, region.sizes, angle, region.frame)


def make_concentric_annulus_sky_regions(
    center: SkyCoord, radius_max: Any, radius_min: Any = "1e-5 deg", nbin: int = 10
) -> list[SkyRegion]:
    """Make rings around a direction, each next to the one before.

    Parameters
    ----------
    center : `~astropy.coordinates.SkyCoord`
        Centre.
    radius_max, radius_min : `~astropy.units.Quantity` or float
        Outer and inner radius of all; numbers are in deg.
    nbin : int
        Number of rings. (In Gammapy 2.1 it is the number of their radii, one more.)

    Returns
    -------
    list of `~villard.maps.SkyRegion`
        Annuli, from the inside.

    Raises
    ------
    ConfigError
        If radii or their number aren't possible.

    Examples
    --------
    >>> center = SkyCoord(83.6, 22, unit="deg")
    >>> [region.sizes for region in make_concentric_annulus_sky_regions(center, 1, 0.5, nbin=2)]
    [(0.5, 0.75), (0.75, 1.0)]
    """
    where = "make_concentric_annulus_sky_regions"
    nbin = _number(nbin, where)
    high = float(positive_angle(radius_max, "radius_max", where).to_value("deg"))
    low = float(positive_angle(radius_min, "radius_min", where).to_value("deg"))
    if not low < high:
        raise ConfigError(f"{where}: expected radius_min below radius_max, found {low:g} and {high:g} deg")
    position = _in_known_frame(center)
    lon, lat = _lon_lat(position)
    radii = np.linspace(low, high, nbin + 1)
    return [
        SkyRegion("annulus", lon, lat, (float(a), float(b)), frame=position.frame.name)
        for a, b in pairwise(radii)
    ]

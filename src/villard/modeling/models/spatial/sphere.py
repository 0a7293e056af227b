"""Distances and directions on the sphere, exact near zero and with finite derivatives everywhere.

All functions take plain arrays of numpy or JAX. Longitudes are unbounded: 359.9 deg and -0.1 deg
are the same direction, so that a fit may cross zero.
"""

import math
from typing import Any, NamedTuple

from villard.utils.array import namespace

__all__ = ["Offset", "angle", "angle_squared", "offset"]

#: Below this haversine (a separation of 11 deg) the squared angle is a series.
_SERIES = 1e-2
#: Haversines closer to 0 or 1 than this are taken for the centre and its antipode.
_TINY = 1e-30
_TURN = 1e-14


class Offset(NamedTuple):
    """Where a direction lies as seen from a centre.

    Parameters
    ----------
    haversine : array
        sin²(r / 2), with the separation r.
    east, north : array
        sin(r) times sine and cosine of the position angle.
    """

    haversine: Any
    east: Any
    north: Any


def offset(lon: Any, lat: Any, lon_0: Any, lat_0: Any) -> Offset:
    r"""Return separation and direction of points from a centre.

    .. math::
        \sin^2 \tfrac r 2 &= \sin^2 \tfrac{b - b_0} 2 + \cos b \cos b_0 \sin^2 \tfrac{l - l_0} 2 \\
        \sin r \sin p &= \cos b \sin(l - l_0) \\
        \sin r \cos p &= \sin(b - b_0) + 2 \cos b \sin b_0 \sin^2 \tfrac{l - l_0} 2

    None of them subtracts numbers of nearly the same size, so they hold at any small separation.

    Parameters
    ----------
    lon, lat, lon_0, lat_0 : array
        Directions and centre (deg); they broadcast.

    Examples
    --------
    >>> east = offset(359.0, 0.0, 358.0, 0.0).east
    >>> bool(abs(east - math.sin(math.radians(1))) < 1e-15)
    True
    """
    xp = namespace(lon, lat, lon_0, lat_0)
    turn = lon - lon_0
    turn = turn - 360.0 * xp.round(turn / 360.0)
    d_lon, d_lat = xp.deg2rad(turn), xp.deg2rad(lat - lat_0)
    b, b_0 = xp.deg2rad(lat), xp.deg2rad(lat_0)
    half_lon = xp.sin(0.5 * d_lon) ** 2
    haversine = xp.sin(0.5 * d_lat) ** 2 + xp.cos(b) * xp.cos(b_0) * half_lon
    east = xp.cos(b) * xp.sin(d_lon)
    north = xp.sin(d_lat) + 2 * xp.cos(b) * xp.sin(b_0) * half_lon
    return Offset(haversine, east, north)


def angle(haversine: Any) -> Any:
    """Return the separation (rad); at the centre and its antipode its derivative is taken as zero."""
    xp = namespace(haversine)
    return 2 * xp.arcsin(xp.sqrt(xp.clip(haversine, _TINY, 1 - _TURN)))


def angle_squared(haversine: Any) -> Any:
    r"""Return the squared separation (rad²), smooth at zero.

    With h = sin²(r / 2), :math:`r^2 = 2 \sum_n (4 h)^n / (n^2 \binom{2 n}{n})`.

    Examples
    --------
    >>> round(float(angle_squared(math.sin(0.05) ** 2)), 15)
    0.01
    """
    xp = namespace(haversine)
    small = haversine < _SERIES
    h = xp.where(small, haversine, 0.0)
    series = h * 0.0
    for n in range(9, 0, -1):
        series = (series + 2 * 4**n / (n**2 * math.comb(2 * n, n))) * h
    return xp.where(small, series, angle(xp.where(small, 0.5, haversine)) ** 2)

"""Error ellipses of positions: from profile likelihoods on the sky to fermipy's quantities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

__all__ = ["LEVELS", "contour_ellipse", "position_results", "tangent_offset"]

Array = NDArray[np.float64]

#: Rise of -2 ln L on the contours that contain 68 %, 95 % and 99 % for two parameters.
LEVELS = {"68": 2.30, "95": 5.99, "99": 9.21}
_N_DIRECTIONS = 8
_MAX_STEPS = 12


def contour_ellipse(
    rise: Callable[[Array], float], covariance: Array, level: float, largest: float, tol: float = 0.02
) -> Array | None:
    """Fit an ellipse to the contour on which a function of the offset has risen by a level.

    In each of eight directions the square root of the function, which is nearly linear, is brought to that
    of the level by secants.

    Parameters
    ----------
    rise : callable
        Rise of -2 ln L at an offset (east, north) from the minimum, shape (2,), deg.
    covariance : array
        First guess, shape (2, 2), deg².
    level : float
        Rise on the contour.
    largest : float
        Offsets beyond which the contour isn't sought (deg).
    tol : float
        How exactly the level is met, as a part of it.

    Returns
    -------
    array or `None`
        The covariance of the normal distribution with this contour; `None` if it isn't closed.

    Examples
    --------
    >>> found = contour_ellipse(lambda p: p[0] ** 2 / 0.04 + p[1] ** 2 / 0.01, np.eye(2) * 0.02, 2.3, 3)
    >>> np.abs(found.round(3))
    array([[0.04, 0.  ],
           [0.  , 0.01]])
    """
    values, vectors = np.linalg.eigh(covariance)
    points = []
    for angle in np.arange(_N_DIRECTIONS) * 2 * np.pi / _N_DIRECTIONS:
        direction = vectors @ (np.sqrt(level * values) * np.array([np.cos(angle), np.sin(angle)]))
        along = partial(_along, rise, direction)
        factor = _crossing(along, level, largest / np.hypot(*direction), tol)
        if factor is None:
            return None
        points.append(factor * direction)
    x, y = np.array(points).T
    quadratic, *_ = np.linalg.lstsq(np.stack([x * x, 2 * x * y, y * y], axis=1), np.ones(len(x)), rcond=None)
    matrix = np.array([[quadratic[0], quadratic[1]], [quadratic[1], quadratic[2]]]) * level
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        return None
    return np.asarray(np.linalg.inv(matrix))


def _along(function: Callable[[Array], float], direction: Array, t: float) -> float:
    return function(t * direction)


def _crossing(function: Callable[[float], float], level: float, largest: float, tol: float) -> float | None:
    """Return where a function that starts at 0 and rises has the value of the level."""
    low, high = 0.0, np.inf
    t = min(1.0, largest)
    for _ in range(_MAX_STEPS):
        value = function(t)
        if abs(value - level) <= tol * level:
            return t
        if value < level:
            if t >= largest:
                return None
            low = t
        else:
            high = t
        guess = t * np.sqrt(level / value) if value > 0 else 2 * t
        middle = 0.5 * (low + high) if np.isfinite(high) else 2 * t
        t = min(guess if low < guess < min(high, 3 * t) else middle, largest)
    return t if np.isfinite(high) else None


def tangent_offset(center: SkyCoord, position: SkyCoord) -> tuple[float, float]:
    """Return the offset of a position from a centre to the east and north of its frame (deg).

    Examples
    --------
    >>> offset = tangent_offset(SkyCoord(10, 60, unit="deg"), SkyCoord(10.02, 60.01, unit="deg"))
    >>> [round(v, 4) for v in offset]
    [0.01, 0.01]
    """
    lon, lat = center.spherical_offsets_to(position.transform_to(center.frame))
    return float(lon.deg), float(lat.deg)


def _rotated(covariance: Array, position: SkyCoord, frame: str) -> Array:
    """Return a covariance (east, north) in the directions of another frame."""
    if position.frame.name == frame:
        return covariance
    north = position.directional_offset_by(0 * _deg(), 1e-3 * _deg()).transform_to(frame)
    angle = position.transform_to(frame).position_angle(north).rad
    # The old north points there in the new frame; angles count from north through east.
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(rotation @ covariance @ rotation.T)


def _deg() -> Any:
    import astropy.units as u

    return u.deg


def _correlation(covariance: Array) -> Array:
    sigma = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(sigma, sigma))


def position_results(position: SkyCoord, covariance: Array, radii: dict[str, float]) -> dict[str, Any]:
    """Return a position and its errors with fermipy's names.

    Parameters
    ----------
    position : `~astropy.coordinates.SkyCoord`
        Position.
    covariance : array
        Covariance of the offsets to the east and north of the position's frame, shape (2, 2), deg².
    radii : dict
        Containment radii "68", "95", "99" (deg).

    Examples
    --------
    >>> found = position_results(SkyCoord(83.6, 22, unit="deg"), np.diag([0.04, 0.01]), {"68": 0.2})
    >>> round(found["pos_err"], 4), round(found["pos_angle"], 1), round(found["ra_err"], 4)
    (0.1414, 90.0, 0.2)
    """
    icrs, galactic = position.transform_to("icrs"), position.transform_to("galactic")
    celestial, in_galactic = (_rotated(covariance, position, frame) for frame in ("icrs", "galactic"))
    values, vectors = np.linalg.eigh(celestial)
    minor, major = np.sqrt(np.maximum(values, 0.0))
    east, north = vectors[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = {"pos_cel_corr": _correlation(celestial), "pos_gal_corr": _correlation(in_galactic)}
        ecc, ecc2 = np.sqrt(1 - (minor / major) ** 2), np.sqrt((major / minor) ** 2 - 1)
    return {
        "skydir": position,
        "ra": float(icrs.ra.deg),
        "dec": float(icrs.dec.deg),
        "glon": float(galactic.l.deg),
        "glat": float(galactic.b.deg),
        "ra_err": float(np.sqrt(celestial[0, 0])),
        "dec_err": float(np.sqrt(celestial[1, 1])),
        "glon_err": float(np.sqrt(in_galactic[0, 0])),
        "glat_err": float(np.sqrt(in_galactic[1, 1])),
        "pos_cel_cov": celestial,
        "pos_gal_cov": in_galactic,
        **correlations,
        "pos_err": float(np.sqrt(major * minor)),
        "pos_err_semimajor": float(major),
        "pos_err_semiminor": float(minor),
        "pos_angle": float(np.degrees(np.arctan2(east, north)) % 180),
        "pos_ecc": float(ecc),
        "pos_ecc2": float(ecc2),
        **{f"pos_r{name}": float(radius) for name, radius in radii.items()},
    }

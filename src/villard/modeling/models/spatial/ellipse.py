"""Elongated shapes: the extent of an ellipse in each direction, and integrals over directions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from villard.modeling.models.spatial.sphere import Offset
from villard.utils.array import namespace

__all__ = ["Ellipse", "direction_mean", "ellipse", "extent_squared", "scaled_squared", "slope"]

#: Smallest axis (deg) and ratio of the axes: what is thinner has the same finite density.
_MIN_AXIS = 1e-6
_MIN_RATIO_SQUARED = 1e-8
_ECCENTRIC = (np.arange(8) + 0.5) * np.pi / 16


class Ellipse(NamedTuple):
    """Half axes (rad) of an ellipse, and sine and cosine of the position angle of the major one."""

    major: Any
    minor: Any
    sin: Any
    cos: Any


def ellipse(major: Any, e: Any, phi: Any) -> Ellipse:
    """Make an ellipse from its half major axis (deg), eccentricity and position angle (deg)."""
    xp = namespace(major, e, phi)
    ratio = xp.sqrt(xp.maximum(1 - e * e, _MIN_RATIO_SQUARED))
    a = xp.deg2rad(xp.maximum(major, _MIN_AXIS))
    return Ellipse(a, a * ratio, xp.sin(xp.deg2rad(phi)), xp.cos(xp.deg2rad(phi)))


def _components(shape: Ellipse, at: Offset) -> tuple[Any, Any]:
    return (
        at.north * shape.cos + at.east * shape.sin,
        at.east * shape.cos - at.north * shape.sin,
    )


def extent_squared(shape: Ellipse, at: Offset) -> Any:
    r"""Return the squared radius of the ellipse in the direction of each point (rad²).

    .. math:: 1 / R^2 = \cos^2(p - \phi) / a^2 + \sin^2(p - \phi) / b^2

    At the centre, which has no direction, it is that of a diagonal.
    """
    xp = namespace(at.haversine, shape.major, shape.sin)
    along, across = _components(shape, at)
    total = along**2 + across**2
    somewhere = total > 1e-40
    cos2 = xp.where(somewhere, along**2, 0.5) / xp.where(somewhere, total, 1.0)
    return 1 / (cos2 / shape.major**2 + (1 - cos2) / shape.minor**2)


def scaled_squared(shape: Ellipse, at: Offset) -> Any:
    """Return 4 sin²(r/2) / R², with R the radius of the ellipse in that direction; smooth at the centre."""
    xp = namespace(at.haversine, shape.major, shape.sin)
    along, across = _components(shape, at)
    near = at.haversine < 0.5
    form = (along / shape.major) ** 2 + (across / shape.minor) ** 2
    core = form / (1 - xp.where(near, at.haversine, 0.0))
    return xp.where(near, core, 4 * at.haversine / extent_squared(shape, at))


def slope(shape: Ellipse, at: Offset) -> Any:
    r"""Return how fast r / R grows across the ellipse's outline, in the direction of each point (rad⁻¹).

    .. math:: |\nabla (r / R)| = \sqrt{x^2 / a^4 + y^2 / b^4} \, / \, \sqrt{x^2 / a^2 + y^2 / b^2}
    """
    xp = namespace(at.haversine, shape.major, shape.sin)
    along, across = (component**2 for component in _components(shape, at))
    somewhere = along + across > 1e-40
    along, across = xp.where(somewhere, along, 1.0), xp.where(somewhere, across, 1.0)
    a2, b2 = shape.major**2, shape.minor**2
    return xp.sqrt((along / a2**2 + across / b2**2) / (along / a2 + across / b2))


def direction_mean(shape: Ellipse, function: Callable[[Any], Any]) -> Any:
    r"""Return the mean of :math:`f(R^2)` over R² times a b: the mean of f over position angles.

    With R the ellipse's radius in each direction. In terms of the eccentric angle t,
    :math:`R^2 = a^2 \cos^2 t + b^2 \sin^2 t` and :math:`dp = a b / R^2 \, dt`, so that eight nodes
    are exact to rounding for functions that hardly differ from R².

    Parameters
    ----------
    shape : `Ellipse`
        Ellipse.
    function : callable
        :math:`f(R^2) / R^2` as a function of the radius R (rad).
    """
    xp = namespace(shape.major, shape.minor)
    cos2 = np.cos(_ECCENTRIC) ** 2
    squared = shape.major**2 * cos2 + shape.minor**2 * (1 - cos2)
    return shape.major * shape.minor * xp.mean(function(xp.sqrt(squared)))

"""Shells: the projection of the volume between two spheres that shines evenly."""

import math
from typing import Any

import astropy.units as u
import numpy as np

from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spatial.sphere import angle_squared, offset
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["Shell2SpatialModel", "ShellSpatialModel"]

_MIN_RADIUS = 1e-6


def _chord(xp: Any, radius: Any, squared: Any) -> Any:
    """Half the length of the line of sight within a sphere; its derivative is zero outside."""
    inside = squared < radius * radius
    return xp.where(inside, xp.sqrt(xp.where(inside, radius * radius - squared, 1.0)), 0.0)


def _shell(lon: Any, lat: Any, lon_0: Any, lat_0: Any, inner: Any, outer: Any) -> Any:
    """Density (sr-1) of a shell between two radii (deg)."""
    xp = namespace(lon, lat, lon_0, lat_0, inner, outer)
    r_in, r_out = xp.deg2rad(inner), xp.deg2rad(xp.maximum(outer, _MIN_RADIUS))
    squared = angle_squared(offset(lon, lat, lon_0, lat_0).haversine)
    s_in, s_out = _chord(xp, r_in, squared), _chord(xp, r_out, squared)
    # Inside the inner sphere the difference of the chords is divided by that of the cubes such that a
    # shell without thickness has its finite limit.
    within = s_in > 0
    squares = r_out**2 + r_out * r_in + r_in**2
    thin = (r_out + r_in) / (xp.where(within, s_in + s_out, 1.0) * squares)
    volume = xp.where(within, 1.0, (r_out - r_in) * squares)
    rim = s_out / xp.where(volume > 0, volume, 1.0)
    return 1.5 / math.pi * xp.where(within, thin, rim)


class ShellSpatialModel(SpatialModel):
    r"""Projected shell between two spheres.

    .. math:: f = \frac{3}{2 \pi (R_2^3 - R_1^3)} \left(\sqrt{R_2^2 - r^2} - \sqrt{R_1^2 - r^2}\right)

    with R₁ = ``radius``, R₂ = ``radius + width``; a root of a negative number is zero. The integral is
    that of a flat sky: on the sphere it is less by about :math:`R_2^2 / 15`, 2e-5 for 1 deg.

    Parameters
    ----------
    lon_0, lat_0 : `~astropy.units.Quantity`
        Centre.
    radius : `~astropy.units.Quantity`
        Inner radius.
    width : `~astropy.units.Quantity`
        Thickness.
    frame : str
        Frame of the coordinates.

    Examples
    --------
    >>> model = ShellSpatialModel(lon_0="1 deg", lat_0="45 deg", radius="2 deg", width="2 deg")
    >>> print(f"{model('2 deg', '45 deg'):.6f}")
    57.831651 1 / sr
    """

    tag = ["ShellSpatialModel", "shell"]
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90)
    radius = Parameter("radius", "1 deg")
    width = Parameter("width", "0.2 deg")

    @staticmethod
    def evaluate(lon: Any, lat: Any, lon_0: Any, lat_0: Any, radius: Any, width: Any) -> Any:
        """Density (sr-1)."""
        return _shell(lon, lat, lon_0, lat_0, radius, radius + width)

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Outer radius."""
        return self.radius.quantity + self.width.quantity

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Size of pixels that resolve the shape: the thickness."""
        return self.width.quantity

    def _annulus(self) -> tuple[u.Quantity, u.Quantity]:
        return self.radius.quantity, self.radius.quantity + self.width.quantity


class Shell2SpatialModel(SpatialModel):
    r"""Projected shell between two spheres, by outer radius and relative thickness.

    As `ShellSpatialModel`, with R₂ = ``r_0`` and R₁ = ``r_0 (1 - eta)``.

    Parameters
    ----------
    lon_0, lat_0 : `~astropy.units.Quantity`
        Centre.
    r_0 : `~astropy.units.Quantity`
        Outer radius.
    eta : float
        Thickness as a fraction of the outer radius; 1 is a full sphere.
    frame : str
        Frame of the coordinates.
    """

    tag = ["Shell2SpatialModel", "shell2"]
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90)
    r_0 = Parameter("r_0", "1 deg")
    eta = Parameter("eta", 0.2, min=0.02, max=1)

    @staticmethod
    def evaluate(lon: Any, lat: Any, lon_0: Any, lat_0: Any, r_0: Any, eta: Any) -> Any:
        """Density (sr-1)."""
        return _shell(lon, lat, lon_0, lat_0, r_0 * (1 - eta), r_0)

    @property
    def r_in(self) -> u.Quantity:
        """Inner radius."""
        return self.r_0.quantity * (1 - self.eta.value)

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Outer radius."""
        return self.r_0.quantity

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Size of pixels that resolve the shape: the thickness."""
        return self.r_0.quantity * float(np.clip(self.eta.value, 0, 1))

    def _annulus(self) -> tuple[u.Quantity, u.Quantity]:
        return self.r_in, self.r_0.quantity

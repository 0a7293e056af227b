"""Disk of constant brightness with a soft edge, round or elongated."""

import math
from functools import partial
from typing import Any, Self

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError
from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spatial.ellipse import Ellipse, direction_mean, ellipse, extent_squared, slope
from villard.modeling.models.spatial.sphere import Offset, angle, offset
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace, special

__all__ = ["DiskSpatialModel"]

#: The error function falls from 0.9 to -0.9, 95 % to 5 % of the brightness, over this length.
_EDGE = 2 * 1.1630871536766743
_SHARPEST = 1e-8


def _flux_per_square(edge: Any, radius: Any) -> Any:
    r"""Return :math:`2 \int_0^\infty f(r) \sin r \, dr / R^2` for the soft-edged profile f.

    By parts this is the mean of 1 - cos r over the normal distribution of mean R and standard
    deviation s that -df/dr is: :math:`1 - \cos R \, e^{-s^2/2}`.
    """
    xp = namespace(radius, edge)
    variance = 0.5 * (edge * radius) ** 2
    flux = 2 * xp.sin(0.5 * radius) ** 2 - xp.cos(radius) * xp.expm1(-0.5 * variance)
    return 2 * flux / radius**2


def _disk(shape: Ellipse, at: Offset, edge: Any, normal_edge: Any) -> Any:
    """Density of a disk with an edge, normalised as if it had another."""
    xp = namespace(at.haversine, shape.major, edge)
    distance = angle(at.haversine) / xp.sqrt(extent_squared(shape, at))
    profile = 0.5 * special(xp).erfc((distance - 1) / edge)
    return profile / (math.pi * direction_mean(shape, partial(_flux_per_square, normal_edge)))


class DiskSpatialModel(SpatialModel):
    r"""Disk of constant brightness, round or elongated, whose edge may be soft.

    .. math:: f = \frac N 2 \left[1 - \mathrm{erf}\left(\frac{r - R_p}{w R_p / 2.326}\right)\right]

    with :math:`R_p` the radius of the ellipse at position angle p. The brightness falls from 95 % to
    5 % over the fraction w = ``edge_width`` of the radius. N makes the integral over the sphere 1,
    the soft edge included, to 1e-5. (Gammapy leaves the edge out, so that the integral is
    :math:`1 + 0.092 w^2` there: 1.09 for w = 1, 1.00001 for the default.)

    Parameters
    ----------
    lon_0, lat_0 : `~astropy.units.Quantity`
        Centre.
    r_0 : `~astropy.units.Quantity`
        Radius along the major axis.
    e : float
        Eccentricity, 0 for a round shape.
    phi : `~astropy.units.Quantity`
        Position angle of the major axis, from north towards east.
    edge_width : float
        Width of the edge as a fraction of the radius.
    frame : str
        Frame of the coordinates.

    Examples
    --------
    >>> import astropy.units as u
    >>> DiskSpatialModel(r_0="1 deg", edge_width=0)([0, 2] * u.deg, 0 * u.deg)
    <Quantity [1044.97624186,    0.        ] 1 / sr>
    """

    tag = ["DiskSpatialModel", "disk"]
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90)
    r_0 = Parameter("r_0", "1 deg", min=0)
    e = Parameter("e", 0.0, min=0, max=1, frozen=True)
    phi = Parameter("phi", "0 deg", min=-180, max=180, frozen=True)
    edge_width = Parameter("edge_width", 0.01, min=0, max=1, frozen=True)

    @staticmethod
    def evaluate(
        lon: Any, lat: Any, lon_0: Any, lat_0: Any, r_0: Any, e: Any, phi: Any, edge_width: Any
    ) -> Any:
        """Density (sr-1)."""
        shape, at = ellipse(r_0, e, phi), offset(lon, lat, lon_0, lat_0)
        edge = namespace(edge_width, r_0).maximum(edge_width, _SHARPEST) / _EDGE
        return _disk(shape, at, edge, edge)

    @staticmethod
    def evaluate_cells(
        lon: Any, lat: Any, lon_0: Any, lat_0: Any, r_0: Any, e: Any, phi: Any, edge_width: Any, size: Any
    ) -> Any:
        """Mean density (sr-1) of cells of a size (deg) around directions.

        The mean over a square smears an edge by the variance size² / 12, whatever the edge's direction.
        """
        xp = namespace(lon, lat, lon_0, lat_0, r_0, e, phi, edge_width)
        shape, at = ellipse(r_0, e, phi), offset(lon, lat, lon_0, lat_0)
        edge = xp.maximum(edge_width, _SHARPEST) / _EDGE
        across = xp.minimum(xp.deg2rad(size) * slope(shape, at), 1.0)
        return _disk(shape, at, xp.sqrt(edge**2 + across**2 / 6), edge)

    @classmethod
    def from_region(cls, region: Any, **kwargs: Any) -> Self:
        """Make a disk of the extent of a circle or an ellipse.

        Parameters
        ----------
        region : `~villard.maps.SkyRegion`, region of the package ``regions`` or str
            Region.
        **kwargs
            Further parameters.

        Raises
        ------
        ModelError
            If the region is of another shape.
        """
        from villard.maps.regions import SkyRegion, make_region

        shape = make_region(region)
        if not isinstance(shape, SkyRegion) or shape.shape not in ("circle", "ellipse"):
            raise ModelError(f"DiskSpatialModel: expected a circle or an ellipse, found {region}")
        width, height = shape.sizes if shape.shape == "ellipse" else shape.sizes * 2
        major, minor = max(width, height), min(width, height)
        # The region's angle is the position angle of its height.
        phi = shape.angle if height >= width else shape.angle + 90
        settings = {
            "lon_0": shape.lon * u.deg,
            "lat_0": shape.lat * u.deg,
            "r_0": major * u.deg,
            "e": math.sqrt(1 - (minor / major) ** 2),
            "phi": ((phi + 90) % 180 - 90) * u.deg,
            "frame": shape.frame,
        }
        return cls(**{**settings, **kwargs})

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Radius that contains the disk and its edge."""
        return self.r_0.quantity * (1 + self.edge_width.value) * 1.1

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Size of pixels that resolve the shape."""
        return self.r_0.quantity * (1 - self.edge_width.value) * 0.1

    def _half_axes(self) -> tuple[u.Quantity, u.Quantity]:
        return self.r_0.quantity * float(np.sqrt(1 - self.e.value**2)), self.r_0.quantity

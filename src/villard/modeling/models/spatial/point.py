"""A source without extent."""

from typing import TYPE_CHECKING, Any

import astropy.units as u

from villard.exceptions import ModelError
from villard.modeling.models.spatial.core import PureSpatial, SpatialModel
from villard.modeling.parameter import Parameter

if TYPE_CHECKING:
    from villard.maps.regions import SkyRegion

__all__ = ["PointSpatialModel"]


class PointSpatialModel(SpatialModel):
    """Point source: all flux comes from one direction, so there is a position but no density.

    Parameters
    ----------
    lon_0, lat_0 : `~astropy.units.Quantity`
        Position.
    frame : str
        Frame of the coordinates.

    Examples
    --------
    >>> model = PointSpatialModel(lon_0="0 deg", lat_0="0 deg", frame="galactic")
    >>> print(model.position.icrs.to_string(precision=3))
    266.405 -28.936
    """

    tag = ["PointSpatialModel", "point"]
    is_point = True
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90)

    def pure(self) -> PureSpatial:
        """Return what the likelihood knows of it: a position and no density."""
        return PureSpatial(key=(type(self),), n_parameters=2, evaluate=None, position=(0, 1))

    def __call__(self, lon: Any, lat: Any, energy: Any = None) -> u.Quantity:
        """Raise: a point has no density."""
        raise ModelError(
            "PointSpatialModel: a point source has no density per solid angle; use its position, "
            "or its integral over pixels"
        )

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Zero."""
        return 0 * u.deg

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Zero."""
        return 0 * u.deg

    def to_region(self, size_factor: float = 1.0) -> "SkyRegion":
        """Return the position as a region."""
        from villard.maps.regions import SkyRegion

        return SkyRegion("point", *self.position_lonlat, (), 0.0, self.frame)

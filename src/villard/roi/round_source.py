"""A round source as the likelihood sees it while its width is sought: a point with a wider PSF."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np

from villard.modeling.models import PointSpatialModel
from villard.modeling.models.spatial.core import PureSpatial

__all__ = ["RoundSpatialModel"]

_SHAPES = {"RadialGaussian": "gauss", "RadialDisk": "disk"}


class RoundSpatialModel(PointSpatialModel):
    """Gaussian or disk, convolved with the PSF as a radial profile; for datasets with exact PSFs.

    All widths have the same pixels, so that they share compiled functions.

    Parameters
    ----------
    kind : {"RadialGaussian", "RadialDisk"}
        Shape.
    width : float
        Standard deviation or radius (deg); 0 for a point.
    reach : float
        Distance up to which pixels are lit, besides the reach of the PSF (deg).
    psf_scale : array, optional
        Factors by which the PSF is wider than it is said to be, one per true energy.

    Examples
    --------
    >>> model = RoundSpatialModel("RadialDisk", 0.2, 1.0, lon_0="0 deg", lat_0="0 deg")
    >>> model.evaluation_radius
    <Quantity 1. deg>
    """

    tag = ["RoundSpatialModel"]
    _settable = (*PointSpatialModel._settable, "kind", "width", "reach", "psf_scale")

    def __init__(self, kind: str, width: float, reach: float, psf_scale: Any = None, **kwargs: Any) -> None:
        self.kind, self.width, self.reach = kind, float(width), float(reach)
        self.psf_scale = None if psf_scale is None else tuple(float(f) for f in psf_scale)
        super().__init__(**kwargs)

    def pure(self) -> PureSpatial:
        """Return what the likelihood knows of it: a position and no density."""
        key = (type(self), self.kind, self.width, self.reach, self.psf_scale)
        return PureSpatial(key=key, n_parameters=2, evaluate=None, position=(0, 1))

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Distance up to which pixels are lit."""
        return self.reach * u.deg

    def broadened(self, profiles: Any) -> Any:
        """Return the PSF of the source."""
        from villard.likelihood.psf_broadened import broadened_splines

        scale = None if self.psf_scale is None else np.array(self.psf_scale)
        radius = profiles.radius_max + self.reach
        return broadened_splines(profiles, _SHAPES[self.kind], self.width, radius, scale)

"""Gaussian and generalised Gaussian shapes, round or elongated."""

import math
from typing import Any

import astropy.units as u
import numpy as np

from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spatial.ellipse import direction_mean, ellipse, extent_squared, scaled_squared
from villard.modeling.models.spatial.sphere import angle_squared, offset
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace, special

__all__ = ["GaussianSpatialModel", "GeneralizedGaussianSpatialModel"]

#: Of the profile of a generalised Gaussian, this squared distance from the centre is smoothed.
_CUSP = 1e-8
#: Beyond exp(-exp(7)) there is nothing left.
_FAR = 7.0


def _flux_per_variance(sigma: Any) -> Any:
    """Integral of the Gaussian over distances, per unit of position angle, over σ²."""
    xp = namespace(sigma)
    a = 2 * xp.sin(0.5 * sigma) ** 2
    return -2 * a * xp.expm1(-1 / a) / sigma**2


class GaussianSpatialModel(SpatialModel):
    r"""Gaussian on the sphere, round or elongated.

    .. math:: f = N \exp\left(-\frac{1 - \cos r}{2 (1 - \cos \sigma_p)}\right)

    with the separation r from the centre and, at position angle p,
    :math:`\sigma_p^{-2} = \cos^2(p - \phi) / \sigma^2 + \sin^2(p - \phi) / (\sigma^2 (1 - e^2))`.
    For small sigma this is the bivariate normal distribution; for e = 0 it is the distribution of
    Fisher (1953). N makes the integral over the whole sphere 1 (to 1e-9 up to 20 deg, 1e-7 at 60 deg; for
    e = 0 :math:`1 / N = 4 \pi a (1 - e^{-1/a})`, a = 1 - cos σ). Gammapy takes the flat sky's
    :math:`1 / N = 2 \pi \sigma^2 \sqrt{1 - e^2}` as soon as e isn't zero: 1.7e-5 less for 1 deg, e = 0.8.

    Parameters
    ----------
    lon_0, lat_0 : `~astropy.units.Quantity`
        Centre.
    sigma : `~astropy.units.Quantity`
        Standard deviation along the major axis.
    e : float
        Eccentricity, 0 for a round shape; the minor axis is :math:`\sigma \sqrt{1 - e^2}`.
    phi : `~astropy.units.Quantity`
        Position angle of the major axis, from north towards east.
    frame : str
        Frame of the coordinates.

    Examples
    --------
    >>> model = GaussianSpatialModel(lon_0="0 deg", lat_0="0 deg", sigma="0.2 deg", frame="galactic")
    >>> print(f"{model('0.2 deg', '0 deg'):.4f}")
    7922.4335 1 / sr
    """

    tag = ["GaussianSpatialModel", "gauss"]
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90)
    sigma = Parameter("sigma", "1 deg", min=0)
    e = Parameter("e", 0.0, min=0, max=1, frozen=True)
    phi = Parameter("phi", "0 deg", min=-180, max=180, frozen=True)

    @staticmethod
    def evaluate(lon: Any, lat: Any, lon_0: Any, lat_0: Any, sigma: Any, e: Any, phi: Any) -> Any:
        """Density (sr-1)."""
        xp = namespace(lon, lat, lon_0, lat_0, sigma, e, phi)
        shape, at = ellipse(sigma, e, phi), offset(lon, lat, lon_0, lat_0)
        half = 0.5 * xp.sqrt(extent_squared(shape, at))
        exponent = 0.5 * scaled_squared(shape, at) * (half / xp.sin(half)) ** 2
        return xp.exp(-exponent) / (2 * math.pi * direction_mean(shape, _flux_per_variance))

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Radius that contains all but 4e-6 of the flux: 5 sigma."""
        return 5 * self.sigma.quantity

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Size of pixels that resolve the shape."""
        return self.sigma.quantity * _ratio(self.e.value) / 3

    def _half_axes(self) -> tuple[u.Quantity, u.Quantity]:
        return self.sigma.quantity * _ratio(self.e.value), self.sigma.quantity


class GeneralizedGaussianSpatialModel(SpatialModel):
    r"""Generalised Gaussian: from a disk (eta → 0) through a Gaussian (0.5) to an exponential cusp (1).

    .. math:: f = N \exp\left(-(r / r_p)^{1 / \eta}\right), \quad
        1 / N = 2 \pi r_0^2 \sqrt{1 - e^2} \, \eta \, \Gamma(2 \eta)

    with :math:`r_p` the radius of the ellipse at position angle p. The integral is that of a flat sky:
    on the sphere it is less by :math:`\approx r_0^2 \Gamma(4 \eta) / (6 \Gamma(2 \eta))`, 3e-4 for
    r_0 = 1 deg and eta = 1. The cusp of eta > 0.5 is rounded within 1e-4 r_0 of the centre.

    Parameters
    ----------
    lon_0, lat_0 : `~astropy.units.Quantity`
        Centre.
    r_0 : `~astropy.units.Quantity`
        Scale along the major axis.
    eta : float
        Shape.
    e : float
        Eccentricity, 0 for a round shape.
    phi : `~astropy.units.Quantity`
        Position angle of the major axis, from north towards east.
    frame : str
        Frame of the coordinates.
    """

    tag = ["GeneralizedGaussianSpatialModel", "gauss-general"]
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90)
    r_0 = Parameter("r_0", "1 deg")
    eta = Parameter("eta", 0.5, min=0.01, max=1)
    e = Parameter("e", 0.0, min=0, max=1, frozen=True)
    phi = Parameter("phi", "0 deg", min=-180, max=180, frozen=True)

    @staticmethod
    def evaluate(lon: Any, lat: Any, lon_0: Any, lat_0: Any, r_0: Any, eta: Any, e: Any, phi: Any) -> Any:
        """Density (sr-1)."""
        xp = namespace(lon, lat, lon_0, lat_0, r_0, eta, e, phi)
        shape, at = ellipse(xp.abs(r_0), e, phi), offset(lon, lat, lon_0, lat_0)
        # Scaled 4 sin²(r/2) is smooth at the centre, its ratio to r² is close to 1.
        far = at.haversine > 1e-16
        chord = xp.where(far, 4 * at.haversine, 1.0)
        ratio = xp.where(far, angle_squared(xp.where(far, at.haversine, 0.25)) / chord, 1.0)
        q = scaled_squared(shape, at) * ratio
        power = 0.5 / eta
        core = q < _CUSP
        outer = xp.exp(xp.minimum(power * xp.log(xp.where(core, 1.0, q)), _FAR))
        inner = q * xp.exp((power - 1) * math.log(_CUSP))
        log_norm = special(xp).gammaln(2 * eta) + xp.log(2 * math.pi * eta * shape.major * shape.minor)
        return xp.exp(-xp.where(core, inner, outer) - log_norm)

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Radius that contains all but 4e-6 of the flux, and at least (1 + 8 eta) r_0."""
        from scipy.special import gammainccinv

        eta = self.eta.value
        return abs(self.r_0.quantity) * max(1 + 8 * eta, float(gammainccinv(2 * eta, 4e-6)) ** eta)

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Size of pixels that resolve the shape: finer for cuspy and elongated ones."""
        return abs(self.r_0.quantity) * _ratio(self.e.value) / (3 + 8 * self.eta.value)

    def _half_axes(self) -> tuple[u.Quantity, u.Quantity]:
        return abs(self.r_0.quantity) * _ratio(self.e.value), abs(self.r_0.quantity)


def _ratio(e: float) -> float:
    return float(np.sqrt(1 - e**2))

"""J-factors (annihilation) and D-factors (decay): along lines of sight, in cones, and as maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.astro.darkmatter import line_of_sight as los
from villard.astro.darkmatter.profiles import DMProfile
from villard.exceptions import ModelError, UnitsError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps import WcsGeom

__all__ = ["JFactory", "cone_integral", "line_of_sight_integral"]

#: Radius of a halo in units of r_s, unless it is given.
RADIUS_MAX = 100.0


def engine_unit(annihilation: bool) -> u.UnitBase:
    """Return the unit of integrals of arrays in TeV and cm."""
    return u.Unit("TeV2 cm-5") if annihilation else u.Unit("TeV cm-2")


def output_unit(annihilation: bool) -> u.UnitBase:
    """Return the unit in which integrals are told."""
    return u.Unit("GeV2 cm-5") if annihilation else u.Unit("GeV cm-2")


def _length(value: Any, name: str) -> float:
    value = u.Quantity(value)
    if not value.unit.is_equivalent(u.cm) or not value.isscalar or not value > 0:
        raise UnitsError(f"J-factor: expected {name} as one positive length, found {value}")
    return float(value.to_value("cm"))


def _radian(value: Any, name: str) -> Any:
    value = u.Quantity(value)
    if not value.unit.is_equivalent(u.rad):
        raise UnitsError(f"J-factor: expected {name} as an angle, found {value}")
    return value.to_value("rad")


def _setting(profile: DMProfile, distance: Any, radius_max: Any) -> tuple[Any, float, float]:
    if not isinstance(profile, DMProfile):
        raise ModelError(f"J-factor: expected a profile, found {type(profile).__name__}")
    values = profile.engine_values
    end = profile.parameters["r_s"].quantity * RADIUS_MAX if radius_max is None else radius_max
    length = profile.DISTANCE_GC if distance is None else distance
    return (
        lambda radius: type(profile).evaluate(radius, *values),
        _length(length, "distance"),
        _length(end, "radius_max"),
    )


def line_of_sight_integral(
    profile: DMProfile,
    separation: Any,
    distance: Any = None,
    annihilation: bool = True,
    radius_max: Any = None,
) -> u.Quantity:
    """Return the integral of the density, or its square, along lines of sight.

    Parameters
    ----------
    profile : `DMProfile`
        Profile.
    separation : `~astropy.units.Quantity`
        Angles to the centre, of any shape. Within 1e-5 deg the mean of the cusp there is returned.
    distance : `~astropy.units.Quantity`, optional
        Distance of the centre; by default that of the Galactic centre.
    annihilation : bool
        Whether the square is integrated (J), or the density (D).
    radius_max : `~astropy.units.Quantity`, optional
        Radius of the halo; 100 r_s by default.

    Returns
    -------
    `~astropy.units.Quantity`
        GeV2 cm-5 sr-1 (J) or GeV cm-2 sr-1 (D), in the shape of the separations.

    Examples
    --------
    >>> from villard.astro.darkmatter import NFWProfile
    >>> print(f"{line_of_sight_integral(NFWProfile(), 1 * u.deg):.3e}")
    1.249e+24 GeV2 / (sr cm5)
    """
    density, length, end = _setting(profile, distance, radius_max)
    angle = _radian(separation, "separation")
    if not np.all((angle >= 0) & (angle <= np.pi)):
        raise ModelError(f"J-factor: expected separations from 0 to 180 deg, found {separation}")
    psi = np.maximum(angle, los.MIN_SEPARATION)
    values = los.line_of_sight(density, psi, length, end, annihilation)
    if np.any(angle < los.MIN_SEPARATION):
        two = los.MIN_SEPARATION * np.array([1.0, 1.1])
        core = los.core_value(np.log(two), np.log(los.line_of_sight(density, two, length, end, annihilation)))
        values = np.where(angle < los.MIN_SEPARATION, core, values)
    return u.Quantity(values, engine_unit(annihilation) / u.sr).to(output_unit(annihilation) / u.sr)


def cone_integral(
    profile: DMProfile,
    radius: Any,
    distance: Any = None,
    annihilation: bool = True,
    radius_max: Any = None,
    inner_radius: Any = None,
) -> u.Quantity:
    """Return the J- or D-factor of a cone (or an annulus) around the centre.

    Parameters
    ----------
    profile, distance, annihilation, radius_max
        As for `line_of_sight_integral`.
    radius : `~astropy.units.Quantity`
        Half opening angle.
    inner_radius : `~astropy.units.Quantity`, optional
        Inner radius of an annulus.

    Returns
    -------
    `~astropy.units.Quantity`
        GeV2 cm-5 (J) or GeV cm-2 (D).

    Examples
    --------
    >>> from villard.astro.darkmatter import EinastoProfile
    >>> print(f"{cone_integral(EinastoProfile(), 1 * u.deg):.3e}")
    2.648e+21 GeV2 / cm5
    """
    density, length, end = _setting(profile, distance, radius_max)
    outer = float(_radian(radius, "radius"))
    inner = None if inner_radius is None else float(_radian(inner_radius, "inner_radius"))
    if not (los.MIN_SEPARATION if inner is None else inner) < outer <= np.pi:
        raise ModelError(f"J-factor: expected a radius up to 180 deg above the inner one, found {radius}")
    value = los.cumulative(density, outer, length, end, annihilation, inner or None)
    return u.Quantity(value, engine_unit(annihilation)).to(output_unit(annihilation))


class JFactory:
    """J- or D-factors as maps.

    Parameters
    ----------
    geom : `~villard.maps.WcsGeom`
        Image.
    profile : `DMProfile`
        Profile.
    distance : `~astropy.units.Quantity`
        Distance of the centre.
    annihilation : bool
        Whether J-factors are wanted, or D-factors.
    center : `~astropy.coordinates.SkyCoord`, optional
        Centre of the halo; that of the image by default.
    radius_max : `~astropy.units.Quantity`, optional
        Radius of the halo; 100 r_s by default.

    Examples
    --------
    >>> from villard.astro.darkmatter import NFWProfile
    >>> from villard.maps import WcsGeom
    >>> geom = WcsGeom.create(npix=20, binsz=0.1, frame="galactic")
    >>> factory = JFactory(geom, NFWProfile(), 8.33 * u.kpc)
    >>> print(f"{factory.compute_jfactor().sum():.2e}")
    2.77e+21 GeV2 / cm5
    """

    def __init__(
        self,
        geom: WcsGeom,
        profile: DMProfile,
        distance: Any,
        annihilation: bool = True,
        center: SkyCoord | None = None,
        radius_max: Any = None,
    ) -> None:
        if not hasattr(geom, "to_image") or geom.is_region:
            raise ModelError(f"JFactory: expected a WcsGeom, found {type(geom).__name__}")
        _setting(profile, distance, radius_max)
        self.geom = geom.to_image()
        self.profile, self.distance, self.annihilation = profile, u.Quantity(distance), bool(annihilation)
        self.center = geom.center_skydir if center is None else center
        self.radius_max = radius_max

    def compute_differential_jfactor(self, ndecade: Any = None) -> u.Quantity:
        """Return the factor per solid angle at the centres of pixels (GeV2 cm-5 sr-1 or GeV cm-2 sr-1).

        Parameters
        ----------
        ndecade : float, optional
            Not needed: integrals are exact. It is there for Gammapy's scripts.
        """
        return line_of_sight_integral(
            self.profile,
            self.geom.separation(self.center),
            self.distance,
            self.annihilation,
            self.radius_max,
        )

    def compute_jfactor(self, ndecade: Any = None) -> u.Quantity:
        """Return the factor of each pixel, integrated over it (GeV2 cm-5 or GeV cm-2); as above."""
        from villard.modeling.models.spatial.halo import HaloSpatialModel

        model = HaloSpatialModel.at(
            self.center, self.profile, self.distance, self.annihilation, radius_max=self.radius_max
        )
        return model.integrate_geom(self.geom).quantity * model.reference_factor

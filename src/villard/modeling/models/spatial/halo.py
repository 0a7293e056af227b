"""Morphology of a halo of dark matter: its J- or D-factor per solid angle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.modeling.models.core import get_model_class
from villard.modeling.models.spatial.core import PureSpatial, SpatialModel
from villard.modeling.models.spatial.sphere import angle, offset
from villard.modeling.parameter import Parameter, Parameters

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.astro.darkmatter.profiles import DMProfile

__all__ = ["JFACTOR_UNIT", "HaloSpatialModel"]

#: J- and D-factor (GeV2 cm-5, GeV cm-2) that stand for 1: the models of spectra have it by default.
JFACTOR_UNIT = 1e22
_OWN = ("lon_0", "lat_0", "distance")


class HaloSpatialModel(SpatialModel):
    r"""Halo of dark matter: the integral of the density, or its square, along each line of sight.

    Its values are :math:`\mathrm{d}J / \mathrm{d}\Omega` in units of 1e22 GeV² cm⁻⁵ sr⁻¹ (or
    :math:`\mathrm{d}D / \mathrm{d}\Omega` in 1e22 GeV cm⁻² sr⁻¹), which is the J-factor that spectra of
    dark matter have unless they are told another one. So their product is the flux, whatever the field of
    view, and the parameters of the profile, which are parameters of this model, too, change flux and
    morphology together. All are frozen unless they are freed.

    Parameters
    ----------
    profile : `~villard.astro.darkmatter.DMProfile`
        Density profile.
    distance : `~astropy.units.Quantity`, optional
        Distance of the centre; by default that of the Galactic centre.
    annihilation : bool
        Whether the square of the density is integrated, as for annihilation, or the density, for decay.
    radius_max : `~astropy.units.Quantity`, optional
        Radius at which the halo ends; 100 r_s by default.
    frame : str
        Frame of the coordinates; Galactic by default.
    **kwargs
        ``lon_0`` and ``lat_0`` of the centre, by default those of the Galactic centre.

    Examples
    --------
    >>> from villard.astro.darkmatter import NFWProfile
    >>> halo = HaloSpatialModel(NFWProfile())
    >>> halo.parameters.names
    ['lon_0', 'lat_0', 'distance', 'r_s', 'rho_s']
    >>> print(f"{halo.jfactor(1 * u.deg):.2e}")
    2.47e+21 GeV2 / cm5
    """

    tag = ["HaloSpatialModel", "halo"]
    yaml_keys = ("frame", "profile", "annihilation", "radius_max")
    lon_0 = Parameter("lon_0", "0 deg", frozen=True)
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90, frozen=True)
    distance = Parameter("distance", "8.33 kpc", min=0, frozen=True)

    def __init__(
        self,
        profile: DMProfile,
        distance: Any = None,
        annihilation: bool = True,
        radius_max: Any = None,
        frame: str = "galactic",
        **kwargs: Any,
    ) -> None:
        from villard.astro.darkmatter.profiles import DMProfile

        if not isinstance(profile, DMProfile):
            raise ModelError(f"HaloSpatialModel: expected a profile, found {type(profile).__name__}")
        self._profile, self._annihilation = profile, bool(annihilation)
        self._radius_max = None if radius_max is None else u.Quantity(radius_max).to("kpc")
        distance = profile.DISTANCE_GC if distance is None else distance
        super().__init__(frame=frame, distance=distance, **kwargs)

    @classmethod
    def at(
        cls,
        center: SkyCoord,
        profile: DMProfile,
        distance: Any = None,
        annihilation: bool = True,
        radius_max: Any = None,
    ) -> Self:
        """Make a halo around a direction, in the frame of that; other parameters as for the class."""
        frame = center.frame.name if center.frame.name in ("icrs", "galactic") else "icrs"
        model = cls(profile, distance, annihilation, radius_max, frame)
        model.position = center
        return model

    @property
    def profile(self) -> DMProfile:
        """Density profile."""
        return self._profile

    @property
    def annihilation(self) -> bool:
        """Whether the square of the density is integrated."""
        return self._annihilation

    @property
    def radius_max(self) -> u.Quantity:
        """Radius at which the halo ends."""
        return self._end * self._profile.parameters["r_s"].quantity.to("kpc")

    @property
    def _end(self) -> float:
        """Radius at which the halo ends, in units of r_s."""
        from villard.astro.darkmatter.jfactor import RADIUS_MAX

        if self._radius_max is None:
            return RADIUS_MAX
        return float((self._radius_max / self._profile.parameters["r_s"].quantity).to_value(""))

    @property
    def reference_factor(self) -> u.Quantity:
        """J- or D-factor that stands for 1."""
        from villard.astro.darkmatter.jfactor import output_unit

        return JFACTOR_UNIT * output_unit(self._annihilation)

    @property
    def parameters(self) -> Parameters:
        """Position and distance, and the parameters of the profile."""
        own = Parameters([self.__dict__[name] for name in _OWN], _OWN)
        return Parameters.join([own, self._profile.parameters])

    @property
    def parameters_unique_names(self) -> list[str]:
        """Names of the parameters."""
        return self.parameters.names

    def pure(self) -> PureSpatial:
        """Return the model as a pure function of arrays."""
        from villard.astro.darkmatter import line_of_sight as los
        from villard.astro.darkmatter.jfactor import engine_unit

        cls, squared = type(self._profile), self._annihilation
        radius_index = len(_OWN) + self._profile.parameters.names.index("r_s")
        n = len(self.parameters)
        factor = float((1 * engine_unit(squared) / self.reference_factor).to_value(""))

        def evaluate(lon: Any, lat: Any, parameters: Any, arrays: Any) -> Any:
            lon_0, lat_0, distance, *shape = (parameters[i] for i in range(n))
            end = arrays[0] if is_absolute else arrays[0] * parameters[radius_index]
            table = los.radial_table(lambda r: cls.evaluate(r, *shape), distance, end, squared)
            separation = angle(offset(lon, lat, lon_0, lat_0).haversine)
            return factor * los.table_value(*table, separation)

        is_absolute = self._radius_max is not None
        end = self._end if self._radius_max is None else self._radius_max.to_value("cm")
        key = (type(self), cls, squared, is_absolute)
        return PureSpatial(key, n, evaluate, (np.array(float(end)),), (0, 1))

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Radius beyond which the halo is neglected: that of 20 r_s (for decay of all of it)."""
        length = self.radius_max
        if self._annihilation:
            length = min(length, 20 * self._profile.parameters["r_s"].quantity.to("kpc"))
        ratio = float((length / self.distance.quantity).to_value(""))
        return 180 * u.deg if ratio >= 0.9 else np.degrees(np.arcsin(ratio)) * u.deg

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Size of pixels that resolve the shape, but for the cusp: 0.04 deg, or a fifth of r_s."""
        ratio = float((self._profile.parameters["r_s"].quantity / self.distance.quantity).to_value(""))
        return min(0.04, np.degrees(ratio) / 5) * u.deg

    def jfactor(self, radius: Any, inner_radius: Any = None) -> u.Quantity:
        """Return the J- or D-factor of a cone or an annulus around the centre.

        Parameters
        ----------
        radius, inner_radius : `~astropy.units.Quantity`
            Angles.
        """
        from villard.astro.darkmatter.jfactor import cone_integral

        return cone_integral(
            self._profile, radius, self.distance.quantity, self._annihilation, self.radius_max, inner_radius
        )

    def radial_distribution(self, radius: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return separations from the centre and the integrals of the model within them.

        Parameters
        ----------
        radius : `~astropy.units.Quantity`
            Largest separation.

        Returns
        -------
        separation, integral : array
            Separations (rad) and integrals over the cones, shape (n,).
        """
        from villard.astro.darkmatter.line_of_sight import MIN_SEPARATION

        end = float(u.Quantity(radius).to_value("rad"))
        psi = np.geomspace(MIN_SEPARATION, end, 3000)
        # Along a meridian of the model.
        values = self(*self._meridian(psi)).to_value("sr-1") * np.sin(psi) * psi
        steps = 0.5 * (values[1:] + values[:-1]) * np.diff(np.log(psi))
        core = float(self(*self._meridian(np.zeros(1)))[0].to_value("sr-1")) * 0.5 * MIN_SEPARATION**2
        total = 2 * np.pi * np.cumsum(np.concatenate([[core], steps]))
        return np.concatenate([[0.0], psi]), np.concatenate([[0.0], total])

    def _meridian(self, separation: NDArray[np.float64]) -> tuple[u.Quantity, u.Quantity]:
        """Return directions at separations (rad) from the centre."""
        position = self.position
        assert position is not None
        sky = position.directional_offset_by(0 * u.deg, separation * u.rad).spherical
        return sky.lon, sky.lat

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of YAML."""
        own = Parameters([self.__dict__[name] for name in _OWN], _OWN)
        entries = [{**p.to_dict(), "name": name} for p, name in zip(own, _OWN, strict=True)]
        result: dict[str, Any] = {"type": self.tag[0], "frame": self.frame, "parameters": entries}
        result |= {"profile": self._profile.to_dict(full_output), "annihilation": self._annihilation}
        if self._radius_max is not None:
            result["radius_max"] = str(self._radius_max)
        return result

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(data.get("profile"), dict) or "type" not in data["profile"]:
            raise ModelError("HaloSpatialModel: 'profile' with its 'type' is missing")
        profile = get_model_class("profile", data["profile"]["type"]).from_dict(data["profile"])
        arguments = {"profile": profile, "annihilation": data.get("annihilation", True)}
        arguments |= {name: data[name] for name in ("frame", "radius_max") if data.get(name) is not None}
        return arguments

    def __repr__(self) -> str:
        return f"HaloSpatialModel({self._profile!r}, distance={self.distance.quantity:.4g})"

r"""Density profiles of halos of dark matter.

The default scale radii and shapes are those that Cirelli et al. 2011, JCAP 03, 051 (table 2) give for the
Milky Way. Unless ``rho_s`` is given, densities are scaled such that the one at the Sun is
`DMProfile.LOCAL_DENSITY` at `DMProfile.DISTANCE_GC`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import astropy.units as u

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.core import ModelBase
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace
from villard.utils.units import to_canonical, unit_text

__all__ = [
    "BurkertProfile",
    "DMProfile",
    "EinastoProfile",
    "GeneralizedNFWProfile",
    "IsothermalProfile",
    "MooreProfile",
    "NFWProfile",
    "ZhaoProfile",
]

_DENSITY = u.Unit("TeV cm-3")


class DMProfile(ModelBase):
    """Base class of profiles.

    A subclass declares `Parameter` attributes, with the density ``rho_s`` as the last one, and a static
    method ``evaluate(radius, ...)`` of plain arrays.

    Parameters
    ----------
    *args, **kwargs
        Parameters, in the order of declaration or by name. Without ``rho_s`` the density is scaled to the
        local one, see `scale_to_local_density`.
    """

    kind: ClassVar[str] = "profile"
    #: Density of dark matter at the Sun, and distance of the Sun from the Galactic centre.
    LOCAL_DENSITY: ClassVar[u.Quantity] = 0.3 * u.Unit("GeV cm-3")
    DISTANCE_GC: ClassVar[u.Quantity] = 8.33 * u.kpc

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = self.default_parameters.names
        if len(args) > len(names):
            raise ModelError(f"{type(self).__name__}: expected at most the {len(names)} parameters {names}")
        given = dict(zip(names, args, strict=False))
        both = sorted(set(given) & set(kwargs))
        if both:
            raise ModelError(f"{type(self).__name__}: {both[0]!r} is given twice")
        values = {name: value for name, value in (given | kwargs).items() if value is not None}
        super().__init__(**values)
        if "rho_s" not in values and type(self) is not DMProfile:
            self.scale_to_local_density()

    @staticmethod
    def evaluate(radius: Any, *parameters: Any) -> Any:
        """Density as a pure function of arrays (cm, TeV cm-3); subclasses define it."""
        raise NotImplementedError

    def __call__(self, radius: Any) -> u.Quantity:
        """Return the density.

        Parameters
        ----------
        radius : `~astropy.units.Quantity`
            Distance from the centre.

        Returns
        -------
        `~astropy.units.Quantity`
            Density in the unit of ``rho_s``.
        """
        radius = u.Quantity(radius)
        if not radius.unit.is_equivalent(u.cm):
            raise UnitsError(f"{type(self).__name__}: expected a length, found {unit_text(radius.unit)}")
        values = self.evaluate(to_canonical(radius), *self.engine_values)
        return u.Quantity(values, _DENSITY).to(self.parameters["rho_s"].unit)

    @property
    def engine_values(self) -> list[float]:
        """Values of the parameters in cm and TeV cm-3."""
        return [p.engine_value for p in self.parameters]

    def scale_to_local_density(
        self, density: u.Quantity | None = None, distance: u.Quantity | None = None
    ) -> None:
        """Set ``rho_s`` such that the density at the Sun is the local one.

        Parameters
        ----------
        density : `~astropy.units.Quantity`, optional
            Density; `LOCAL_DENSITY` by default.
        distance : `~astropy.units.Quantity`, optional
            Distance from the centre; `DISTANCE_GC` by default.

        Examples
        --------
        >>> profile = NFWProfile()
        >>> profile.scale_to_local_density(0.39 * u.Unit("GeV cm-3"), 8.5 * u.kpc)
        >>> profile(8.5 * u.kpc)
        <Quantity 0.39 GeV / cm3>
        """
        density = self.LOCAL_DENSITY if density is None else u.Quantity(density)
        distance = self.DISTANCE_GC if distance is None else u.Quantity(distance)
        rho_s = self.parameters["rho_s"]
        rho_s.quantity = (rho_s.quantity * (density / self(distance)).to_value("")).to(rho_s.unit)


class EinastoProfile(DMProfile):
    r"""Einasto's profile, :math:`\rho_s \exp\{-\frac 2 \alpha [(r / r_s)^\alpha - 1]\}`.

    Source: Navarro et al. 2010, MNRAS 402, 21, eq. 5.

    Examples
    --------
    >>> EinastoProfile()([1, 8.33] * u.kpc).round(3)
    <Quantity [5.393, 0.3  ] GeV / cm3>
    """

    tag = ["EinastoProfile", "einasto"]
    r_s = Parameter("r_s", "28.44 kpc", min=0, frozen=True)
    alpha = Parameter("alpha", 0.17, min=0.01, frozen=True)
    rho_s = Parameter("rho_s", "1 GeV cm-3", min=0, frozen=True)

    @staticmethod
    def evaluate(radius: Any, r_s: Any, alpha: Any, rho_s: Any) -> Any:
        """Density."""
        xp = namespace(radius, r_s, alpha, rho_s)
        return rho_s * xp.exp(-2 / alpha * ((radius / r_s) ** alpha - 1))


class NFWProfile(DMProfile):
    r"""Profile of Navarro, Frenk & White, :math:`\rho_s / [(r / r_s) (1 + r / r_s)^2]`.

    Source: Navarro, Frenk & White 1997, ApJ 490, 493, eq. 3.
    """

    tag = ["NFWProfile", "nfw"]
    r_s = Parameter("r_s", "24.42 kpc", min=0, frozen=True)
    rho_s = Parameter("rho_s", "1 GeV cm-3", min=0, frozen=True)

    @staticmethod
    def evaluate(radius: Any, r_s: Any, rho_s: Any) -> Any:
        """Density."""
        x = radius / r_s
        return rho_s / (x * (1 + x) ** 2)


class GeneralizedNFWProfile(DMProfile):
    r"""NFW profile with another inner slope, :math:`\rho_s / [(r / r_s)^\gamma (1 + r / r_s)^{3 - \gamma}]`.

    Source: Zhao 1996, MNRAS 278, 488, with α = 1 and β = 3.
    """

    tag = ["GeneralizedNFWProfile", "gnfw"]
    r_s = Parameter("r_s", "24.42 kpc", min=0, frozen=True)
    gamma = Parameter("gamma", 1.26, min=0, max=1.45, frozen=True)
    rho_s = Parameter("rho_s", "1 GeV cm-3", min=0, frozen=True)

    @staticmethod
    def evaluate(radius: Any, r_s: Any, gamma: Any, rho_s: Any) -> Any:
        """Density."""
        x = radius / r_s
        return rho_s * x**-gamma * (1 + x) ** (gamma - 3)


class ZhaoProfile(DMProfile):
    r"""Zhao's profile, :math:`\rho_s x^{-\gamma} [1 + x^{1 / \alpha}]^{(\gamma - \beta) \alpha}`.

    Here x = r / r_s.

    Source: Zhao 1996, MNRAS 278, 488, eq. 1.
    """

    tag = ["ZhaoProfile", "zhao"]
    r_s = Parameter("r_s", "24.42 kpc", min=0, frozen=True)
    alpha = Parameter("alpha", 1.0, min=0.01, frozen=True)
    beta = Parameter("beta", 3.0, frozen=True)
    gamma = Parameter("gamma", 1.0, min=0, max=1.45, frozen=True)
    rho_s = Parameter("rho_s", "1 GeV cm-3", min=0, frozen=True)

    @staticmethod
    def evaluate(radius: Any, r_s: Any, alpha: Any, beta: Any, gamma: Any, rho_s: Any) -> Any:
        """Density."""
        x = radius / r_s
        return rho_s * x**-gamma * (1 + x ** (1 / alpha)) ** ((gamma - beta) * alpha)


class BurkertProfile(DMProfile):
    r"""Burkert's profile, :math:`\rho_s / [(1 + r / r_s) (1 + (r / r_s)^2)]`.

    Source: Burkert 1995, ApJ 447, L25, eq. 2.
    """

    tag = ["BurkertProfile", "burkert"]
    r_s = Parameter("r_s", "12.67 kpc", min=0, frozen=True)
    rho_s = Parameter("rho_s", "1 GeV cm-3", min=0, frozen=True)

    @staticmethod
    def evaluate(radius: Any, r_s: Any, rho_s: Any) -> Any:
        """Density."""
        x = radius / r_s
        return rho_s / ((1 + x) * (1 + x**2))


class IsothermalProfile(DMProfile):
    r"""Isothermal sphere with a core, :math:`\rho_s / [1 + (r / r_s)^2]`.

    Source: Begeman, Broeils & Sanders 1991, MNRAS 249, 523.
    """

    tag = ["IsothermalProfile", "isothermal"]
    r_s = Parameter("r_s", "4.38 kpc", min=0, frozen=True)
    rho_s = Parameter("rho_s", "1 GeV cm-3", min=0, frozen=True)

    @staticmethod
    def evaluate(radius: Any, r_s: Any, rho_s: Any) -> Any:
        """Density."""
        return rho_s / (1 + (radius / r_s) ** 2)


class MooreProfile(DMProfile):
    r"""Moore's profile, :math:`\rho_s (r / r_s)^{-1.16} (1 + r / r_s)^{-1.84}`.

    Source: Diemand, Moore & Stadel 2004, MNRAS 353, 624.
    """

    tag = ["MooreProfile", "moore"]
    r_s = Parameter("r_s", "30.28 kpc", min=0, frozen=True)
    rho_s = Parameter("rho_s", "1 GeV cm-3", min=0, frozen=True)

    @staticmethod
    def evaluate(radius: Any, r_s: Any, rho_s: Any) -> Any:
        """Density."""
        x = radius / r_s
        return rho_s * x**-1.16 * (1 + x) ** -1.84

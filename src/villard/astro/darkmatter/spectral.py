r"""Spectra of gamma rays from the annihilation and decay of dark matter.

Tables of :math:`\mathrm{d}N / \mathrm{d}\log_{10} x`, x = E / m, are interpolated linearly in the logarithms
of mass and x, so that spectra are continuous functions of mass and energy with exact derivatives, and
their integrals over energy are closed forms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.astro.darkmatter.tables import ChannelTable, load_table, mixed_table
from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.spatial.halo import JFACTOR_UNIT
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace
from villard.utils.units import unit_text

__all__ = [
    "DarkMatterAnnihilationSpectralModel",
    "DarkMatterDecaySpectralModel",
    "PrimaryFlux",
    "per_energy",
    "per_log_x",
]

Array = NDArray[np.float64]

_LN10 = math.log(10)


def locate(log_mass: Any, log_x: Any, mass: Any, energy: Any) -> tuple[Any, ...]:
    """Return cells and positions in them: i, j, a, b, and whether the energy is within the table."""
    xp = namespace(log_mass, log_x, mass, energy)
    log_mass = xp.asarray(log_mass)
    at_mass = xp.log(mass)
    i = xp.clip(xp.searchsorted(log_mass, at_mass, side="right") - 1, 0, len(log_mass) - 2)
    a = (at_mass - log_mass[i]) / (log_mass[i + 1] - log_mass[i])
    step = log_x[1] - log_x[0]
    at = (xp.log10(energy / mass) - log_x[0]) / step
    # Rounding mustn't cut the end off, at which spectra may be highest.
    inside = (at >= -1e-9) & (at <= len(log_x) - 1 + 1e-9)
    j = xp.clip(xp.floor(at), 0, len(log_x) - 2).astype(int)
    return i, j, xp.clip(a, 0.0, 1.0), xp.clip(at - j, 0.0, 1.0), inside


def per_log_x(mass: Any, energy: Any, arrays: Any) -> Any:
    """Return dN / dlog10(x); ``arrays``: logarithms of masses, log10(x), and the table of both."""
    log_mass, log_x, table = arrays[:3]
    i, j, a, b, inside = locate(log_mass, log_x, mass, energy)
    table = namespace(i, table).asarray(table)
    low = (1 - b) * table[i, j] + b * table[i, j + 1]
    high = (1 - b) * table[i + 1, j] + b * table[i + 1, j + 1]
    return namespace(low, a).where(inside, (1 - a) * low + a * high, 0.0)


def per_energy(mass: Any, energy: Any, arrays: Any) -> Any:
    """Return dN / dE (TeV-1); parameters as for `per_log_x`."""
    return per_log_x(mass, energy, arrays) / (energy * _LN10)


def number_below(mass: Any, energy: Any, arrays: Any) -> Any:
    """Return the number of photons with less energy, of those in the table; as `per_log_x`."""
    log_mass, log_x, table = arrays[:3]
    xp = namespace(mass, energy, table)
    table = xp.asarray(table)
    step = log_x[1] - log_x[0]
    cells = 0.5 * step * (table[:, 1:] + table[:, :-1])
    total = xp.cumsum(cells, axis=1) - cells
    limited = xp.clip(energy, mass * 10 ** log_x[0], mass)
    i, j, a, b, _ = locate(log_mass, log_x, mass, limited)

    def at(row: Any) -> Any:
        first, second = table[row, j], table[row, j + 1]
        return total[row, j] + step * b * (first + 0.5 * b * (second - first))

    return (1 - a) * at(i) + a * at(i + 1)


def table_arrays(table: ChannelTable, channel: str | Mapping[str, float]) -> tuple[Array, Array, Array]:
    """Return the arrays that `per_log_x` needs."""
    return np.log(table.mass), table.log_x, mixed_table(table, channel)


class PrimaryFlux(SpectralModel):
    """Number of gamma rays per annihilation and energy, at the source.

    Parameters
    ----------
    mDM : `~astropy.units.Quantity`
        Mass, between those of the table (5 GeV to 100 TeV).
    channel : str or dict
        Channel, one of `allowed_channels`, or ratios by channel with a sum of at most 1.
    source : {"pppc4", "cosmixs", "analytic"}, optional
        Where spectra come from: PPPC 4 DM ID (by default, if its table is in ``$GAMMAPY_DATA``), CosmiXs, or
        the built-in parametrisation, see `villard.astro.darkmatter.analytic`.

    Raises
    ------
    ModelError
        If the channel or source is unknown.
    DataError
        If the table isn't there.

    Examples
    --------
    >>> flux = PrimaryFlux("1 TeV", channel="b", source="analytic")
    >>> print(f"{flux('100 GeV'):.3f}")
    0.011 1 / GeV
    """

    tag = ["PrimaryFlux", "dm-pf"]
    yaml_keys = ("channel", "source")
    mDM = Parameter("mDM", "1 TeV", min=5e-3, max=100, frozen=True)
    _settable = ("channel",)

    def __init__(self, mDM: Any = None, channel: Any = "b", source: str | None = None) -> None:
        self._table = load_table(source)
        self._set_channel(channel)
        super().__init__(**({} if mDM is None else {"mDM": mDM}))

    @property
    def channel(self) -> Any:
        """Channel, or ratios by channel."""
        return self._channel

    @channel.setter
    def channel(self, channel: Any) -> None:
        self._set_channel(channel)

    def _set_channel(self, channel: Any) -> None:
        self._arrays = table_arrays(self._table, channel)
        self._channel = channel if isinstance(channel, str) else dict(channel)

    @property
    def source(self) -> str:
        """Where the spectra come from."""
        return self._table.source

    @property
    def allowed_channels(self) -> list[str]:
        """Channels of the table."""
        return self._table.allowed_channels

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the spectrum."""
        return u.Unit("GeV-1")

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the table is data."""
        return PureSpectrum(
            key=(type(self), self._arrays[2].shape),
            n_parameters=1,
            evaluate=lambda energy, p, arrays: per_energy(p[0], energy, arrays),
            integral=lambda low, high, p, arrays: (
                number_below(p[0], high, arrays) - number_below(p[0], low, arrays)
            ),
            arrays=self._arrays,
            breaks=lambda p, arrays: p[0] * 10 ** arrays[1],
        )

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of YAML."""
        return {**super().to_dict(full_output), "channel": self._channel, "source": self.source}

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {key: data[key] for key in ("channel", "source") if key in data}


class _DarkMatterSpectralModel(SpectralModel):
    """What annihilation and decay have in common: a table of spectra, a J- or D-factor, and a redshift."""

    yaml_keys: ClassVar[tuple[str, ...]] = ("mass", "channel", "jfactor", "z", "k", "source")
    _jfactor_unit: ClassVar[u.UnitBase] = u.Unit("GeV2 cm-5")
    _norm: ClassVar[str] = "sigmav"

    def _prepare(self, mass: Any, channel: Any, jfactor: Any, z: Any, source: str | None) -> None:
        self._flux = PrimaryFlux(mass, channel, source)
        self._jfactor = self._checked_jfactor(jfactor)
        self._z = float(z)
        if not self._z >= 0:
            raise ModelError(f"{type(self).__name__}: expected a redshift z from 0 on, found {z!r}")

    def _start(self, mass: Any, scale: Any, norm: Any) -> None:
        """Set the parameters; a scale that is given is what is fitted, as in Gammapy."""
        values = {"mass": mass} | ({} if norm is None else {self._norm: norm})
        values |= {} if scale is None else {"scale": scale}
        SpectralModel.__init__(self, **values)
        if scale is not None and norm is None:
            self.__dict__["scale"].frozen, self.__dict__[self._norm].frozen = False, True

    def _checked_jfactor(self, jfactor: Any) -> u.Quantity:
        if jfactor is None:
            return JFACTOR_UNIT * self._jfactor_unit
        value = u.Quantity(jfactor)
        if not value.unit.is_equivalent(self._jfactor_unit):
            raise UnitsError(
                f"{type(self).__name__}: expected jfactor in a unit like {self._jfactor_unit}, found "
                f"{unit_text(value.unit)}"
            )
        if not value.isscalar or not (np.isfinite(value.value) and value.value >= 0):
            raise ModelError(
                f"{type(self).__name__}: expected one jfactor that isn't negative, found {jfactor}"
            )
        return value

    @property
    def jfactor(self) -> u.Quantity:
        """J-factor (annihilation) or D-factor (decay) that multiplies the spectrum."""
        return self._jfactor

    @jfactor.setter
    def jfactor(self, jfactor: Any) -> None:
        self._jfactor = self._checked_jfactor(jfactor)

    @property
    def channel(self) -> Any:
        """Channel, or ratios by channel."""
        return self._flux.channel

    @property
    def source(self) -> str:
        """Where the spectra come from."""
        return self._flux.source

    @property
    def z(self) -> float:
        """Redshift."""
        return self._z

    @property
    def primary_flux(self) -> PrimaryFlux:
        """Spectrum of one annihilation, at the present mass."""
        flux = self._flux.copy()
        flux.mDM.value = self.parameters["mass"].quantity.to_value(flux.mDM.unit) * self._mass_factor
        return flux

    #: Part of the mass that goes into the pair of particles, over two.
    _mass_factor: ClassVar[float] = 1.0

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the flux."""
        return u.Unit("cm-2 s-1 TeV-1")

    def _pure(self, norm: Any) -> PureSpectrum:
        """Return the pure functions; ``norm(p, jfactor)`` is the flux per photon of one annihilation."""
        factor, mass_index = self._mass_factor, self.default_parameters.names.index("mass")

        def evaluate(energy: Any, p: Any, arrays: Any) -> Any:
            mass, shifted = factor * p[mass_index], energy * (1 + arrays[4])
            return norm(p, arrays[3]) * per_energy(mass, shifted, arrays)

        def integral(low: Any, high: Any, p: Any, arrays: Any) -> Any:
            mass, shift = factor * p[mass_index], 1 + arrays[4]
            number = number_below(mass, high * shift, arrays) - number_below(mass, low * shift, arrays)
            return norm(p, arrays[3]) * number / shift

        factor_unit = u.Unit("TeV2 cm-5") if self._norm == "sigmav" else u.Unit("TeV cm-2")
        constants = np.array(self._jfactor.to_value(factor_unit)), np.array(self._z)
        return PureSpectrum(
            key=(type(self), self._flux._arrays[2].shape),
            n_parameters=len(self.default_parameters),
            evaluate=evaluate,
            integral=integral,
            arrays=(*self._flux._arrays, *constants),
            norm_index=self.default_parameters.names.index(self._norm),
            breaks=lambda p, arrays: factor * p[mass_index] / (1 + arrays[4]) * 10 ** arrays[1],
        )

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of YAML."""
        return {
            **super().to_dict(full_output),
            "channel": self.channel,
            "jfactor": {"data": float(self._jfactor.value), "unit": str(self._jfactor.unit)},
            "z": self._z,
            "source": self.source,
        }

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        result = {key: data[key] for key in cls.yaml_keys if data.get(key) is not None}
        for key in ("mass", "jfactor"):
            if isinstance(result.get(key), Mapping):
                result[key] = result[key]["data"] * u.Unit(result[key]["unit"])
        result.setdefault("mass", "1 TeV")
        return result


class DarkMatterAnnihilationSpectralModel(_DarkMatterSpectralModel):
    r"""Gamma rays from the annihilation of dark matter.

    .. math:: \frac{\mathrm{d}\phi}{\mathrm{d}E} = \mathrm{scale}\,
        \frac{\langle \sigma v \rangle}{4 \pi k m^2}\,\frac{\mathrm{d}N}{\mathrm{d}E}\,J

    Source: Cirelli et al. 2011, JCAP 03, 051, eq. 52.

    Parameters
    ----------
    mass : `~astropy.units.Quantity`
        Mass of the particle; the parameter ``mass``, which is frozen unless it is freed.
    channel : str or dict
        Channel such as "b", "tau" or "W", or ratios by channel; see `PrimaryFlux`.
    scale : float, optional
        Factor to the cross-section. If it is given, it is free and ``sigmav`` frozen, as in Gammapy;
        otherwise ``sigmav`` is free and ``scale`` frozen at 1.
    jfactor : `~astropy.units.Quantity`, optional
        J-factor (GeV2 cm-5) of the whole source. By default it is that which stands for 1 in
        `~villard.modeling.models.HaloSpatialModel`, so that the flux with a halo is right.
    z : float
        Redshift.
    k : int
        2 for particles that are their own antiparticles (Majorana), 4 for others (Dirac).
    source : str, optional
        Source of spectra, see `PrimaryFlux`.
    sigmav : `~astropy.units.Quantity`, optional
        ⟨σv⟩; the parameter ``sigmav``, 3e-26 cm3 s-1 by default.

    Examples
    --------
    >>> model = DarkMatterAnnihilationSpectralModel(
    ...     mass="5 TeV", channel="b", jfactor="3.41e19 GeV2 cm-5", source="analytic"
    ... )
    >>> print(f"{model('1 TeV'):.1e}")
    3.0e-16 1 / (TeV s cm2)
    """

    tag = ["DarkMatterAnnihilationSpectralModel", "dm-annihilation"]
    sigmav = Parameter("sigmav", "3e-26 cm3 s-1", is_norm=True, interp="log")
    mass = Parameter("mass", "1 TeV", min=5e-3, max=100, frozen=True, interp="log")
    scale = Parameter("scale", 1.0, frozen=True)
    #: Cross-section with which dark matter would have frozen out with today's density.
    THERMAL_RELIC_CROSS_SECTION: ClassVar[u.Quantity] = 3e-26 * u.Unit("cm3 s-1")

    def __init__(
        self,
        mass: Any,
        channel: Any,
        scale: Any = None,
        jfactor: Any = None,
        z: float = 0,
        k: int = 2,
        source: str | None = None,
        sigmav: Any = None,
    ) -> None:
        self._prepare(mass, channel, jfactor, z, source)
        if k not in (2, 4):
            raise ModelError(f"{type(self).__name__}: expected k = 2 (Majorana) or 4 (Dirac), found {k!r}")
        self._k = int(k)
        self._start(mass, scale, sigmav)

    @property
    def k(self) -> int:
        """2 for Majorana particles, 4 for Dirac particles."""
        return self._k

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the table is data."""
        k = self._k
        pure = self._pure(lambda p, jfactor: p[2] * p[0] * jfactor / (4 * math.pi * k * p[1] ** 2))
        return _with_key(pure, k)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of YAML."""
        return {**super().to_dict(full_output), "k": self._k}


class DarkMatterDecaySpectralModel(_DarkMatterSpectralModel):
    r"""Gamma rays from the decay of dark matter into pairs of particles.

    .. math:: \frac{\mathrm{d}\phi}{\mathrm{d}E} = \mathrm{scale}\,
        \frac{\Gamma}{4 \pi m}\,\frac{\mathrm{d}N}{\mathrm{d}E}\left(\frac m 2\right) D

    The pair has the energy m, which is that of annihilation at half the mass. Source: Cirelli et al. 2011,
    JCAP 03, 051, eq. 52.

    Parameters
    ----------
    mass : `~astropy.units.Quantity`
        Mass of the particle; the parameter ``mass``, which is frozen unless it is freed.
    channel, z, source
        As for `DarkMatterAnnihilationSpectralModel`.
    scale : float, optional
        Factor to the rate of decay. If it is given, it is free and ``decay_rate`` frozen; otherwise it is
        the other way round.
    jfactor : `~astropy.units.Quantity`, optional
        D-factor (GeV cm-2) of the whole source; by default that which stands for 1 in a
        `~villard.modeling.models.HaloSpatialModel` of decay.
    decay_rate : `~astropy.units.Quantity`, optional
        Γ, the inverse of the lifetime; by default that of the age of the universe.

    Examples
    --------
    >>> model = DarkMatterDecaySpectralModel("5 TeV", "b", jfactor="3.41e19 GeV cm-2", source="analytic")
    >>> print(f"{model('1 TeV'):.1e} {model.lifetime:.2g}")
    2.3e-05 1 / (TeV s cm2) 4.3e+17 s
    """

    tag = ["DarkMatterDecaySpectralModel", "dm-decay"]
    decay_rate = Parameter("decay_rate", f"{1 / 4.3e17!r} s-1", is_norm=True, interp="log")
    mass = Parameter("mass", "1 TeV", min=1e-2, max=200, frozen=True, interp="log")
    scale = Parameter("scale", 1.0, frozen=True)
    LIFETIME_AGE_OF_UNIVERSE: ClassVar[u.Quantity] = 4.3e17 * u.s
    _jfactor_unit = u.Unit("GeV cm-2")
    _norm = "decay_rate"
    _mass_factor = 0.5
    yaml_keys = ("mass", "channel", "jfactor", "z", "source")

    def __init__(
        self,
        mass: Any,
        channel: Any,
        scale: Any = None,
        jfactor: Any = None,
        z: float = 0,
        source: str | None = None,
        decay_rate: Any = None,
    ) -> None:
        self._prepare(0.5 * u.Quantity(mass), channel, jfactor, z, source)
        self._start(mass, scale, decay_rate)

    @property
    def lifetime(self) -> u.Quantity:
        """Lifetime, the inverse of the rate of decay times the scale."""
        return 1 / (self.parameters["decay_rate"].quantity * self.parameters["scale"].value)

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the table is data."""
        return self._pure(lambda p, jfactor: p[2] * p[0] * jfactor / (4 * math.pi * p[1]))


def _with_key(pure: PureSpectrum, extra: Any) -> PureSpectrum:
    from dataclasses import replace

    return replace(pure, key=(*pure.key, extra))  # type: ignore[misc]

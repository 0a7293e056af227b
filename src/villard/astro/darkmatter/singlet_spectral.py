"""Spectra of gamma rays from the annihilation of scalar singlets."""

from __future__ import annotations

import math
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.astro.darkmatter import singlet
from villard.astro.darkmatter.spectral import (
    DarkMatterAnnihilationSpectralModel,
    number_below,
    per_energy,
)
from villard.astro.darkmatter.tables import load_table
from villard.modeling.models.spectral.core import PureSpectrum
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = ["ScalarSingletSpectralModel"]

Array = NDArray[np.float64]

#: Channels of the tables: bosons apart by their polarisation.
_SPECTRA = ("mu", "tau", "c", "b", "t", "WL", "WT", "ZL", "ZT", "h")
_BOSON_MASS = {"W": 0.080377, "Z": 0.0911876}


def spectral_fractions(mass: Any, coupling: Any, log_mass: Any, widths: Any) -> list[Any]:
    """Return the part of annihilations that goes into each channel of the tables.

    A Higgs boson decays into transverse bosons with the part 8 x² / (1 - 4 x + 12 x²), x = M² / s; below the
    threshold of real ones that of the threshold, two thirds, is taken.
    """
    xp = namespace(mass, coupling, log_mass, widths)
    rates = dict(zip(singlet.CHANNELS, singlet.relative_rates(mass, coupling, log_mass, widths), strict=True))
    total = sum(rates.values())
    result = {name: rate / total for name, rate in rates.items()}
    for name, boson_mass in _BOSON_MASS.items():
        x = xp.minimum((0.5 * boson_mass / mass) ** 2, 0.25)
        transverse = 8 * x**2 / (1 - 4 * x + 12 * x**2)
        result[f"{name}T"] = result[name] * transverse
        result[f"{name}L"] = result[name] * (1 - transverse)
    return [result[name] for name in _SPECTRA]


class ScalarSingletSpectralModel(DarkMatterAnnihilationSpectralModel):
    r"""Gamma rays from the annihilation of scalar singlets with a Z2 symmetry.

    The shape follows from mass and portal coupling, by the theory at tree level, see
    `villard.astro.darkmatter.singlet`. ⟨σv⟩ is a parameter of its own, for which `tree_level_sigmav` tells
    what the theory has.

    Parameters
    ----------
    mass : `~astropy.units.Quantity`
        Mass of the particle, 5 GeV to 100 TeV; the parameter ``mass``, which is free.
    coupling : float
        Portal coupling; the parameter ``coupling``, which is frozen unless it is freed.
    scale, jfactor, z, source, sigmav
        As for `DarkMatterAnnihilationSpectralModel`.

    Examples
    --------
    >>> model = ScalarSingletSpectralModel(mass=1 * u.TeV, coupling=0.1, source="analytic")
    >>> model.parameters.free_parameters.names
    ['sigmav', 'mass']
    >>> print(f"{model.fractions['W']:.2f} {model.tree_level_sigmav:.1e}")
    0.49 2.4e-27 cm3 / s
    """

    tag = ["ScalarSingletSpectralModel", "dm-scalar-singlet"]
    yaml_keys = ("mass", "coupling", "jfactor", "z", "source", "channel", "k")
    sigmav = Parameter("sigmav", "3e-26 cm3 s-1", is_norm=True, interp="log")
    mass = Parameter("mass", "1 TeV", min=5e-3, max=100, interp="log")
    scale = Parameter("scale", 1.0, frozen=True)
    coupling = Parameter("coupling", 0.1, min=0, max=4 * math.pi, frozen=True, interp="log")

    def __init__(
        self,
        mass: Any,
        coupling: Any = None,
        scale: Any = None,
        jfactor: Any = None,
        z: float = 0,
        source: str | None = None,
        sigmav: Any = None,
    ) -> None:
        super().__init__(mass, "h", scale, jfactor, z, 2, source, sigmav)
        if coupling is not None:
            self._assign({"coupling": coupling})
        table = load_table(source)
        self._spectra = np.stack([table.channel(name) for name in _SPECTRA])

    @property
    def fractions(self) -> dict[str, float]:
        """Part of annihilations that goes into each channel."""
        return singlet.fractions(self._mass_tev, self.parameters["coupling"].value)

    @property
    def channel(self) -> dict[str, float]:
        """Ratios by channel, as `fractions`."""
        return self.fractions

    @property
    def tree_level_sigmav(self) -> u.Quantity:
        """Cross-section times velocity that the theory has at rest for the present mass and coupling."""
        return singlet.sigma_v(self._mass_tev, self.parameters["coupling"].value) * u.Unit("cm3 s-1")

    @property
    def _mass_tev(self) -> float:
        return float(self.parameters["mass"].quantity.to_value("TeV"))

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the tables are data."""

        def norm(p: Any, arrays: Any) -> Any:
            return p[2] * p[0] * arrays[3] / (8 * math.pi * p[1] ** 2)

        def mixed(p: Any, arrays: Any, function: Any) -> Any:
            parts = spectral_fractions(p[1], p[3], arrays[5], arrays[6])
            return sum(part * function((arrays[0], arrays[1], arrays[2][k])) for k, part in enumerate(parts))

        def evaluate(energy: Any, p: Any, arrays: Any) -> Any:
            shifted = energy * (1 + arrays[4])
            return norm(p, arrays) * mixed(p, arrays, lambda table: per_energy(p[1], shifted, table))

        def integral(low: Any, high: Any, p: Any, arrays: Any) -> Any:
            shift = 1 + arrays[4]
            return (norm(p, arrays) / shift) * mixed(
                p,
                arrays,
                lambda table: (
                    number_below(p[1], high * shift, table) - number_below(p[1], low * shift, table)
                ),
            )

        log_mass, log_x, _ = self._flux._arrays
        constants = np.array(self._jfactor.to_value("TeV2 cm-5")), np.array(self._z)
        return PureSpectrum(
            key=(type(self), self._spectra.shape),
            n_parameters=4,
            evaluate=evaluate,
            integral=integral,
            arrays=(log_mass, log_x, self._spectra, *constants, *singlet.width_table()),
            norm_index=0,
            breaks=lambda p, arrays: p[1] / (1 + arrays[4]) * 10 ** arrays[1],
        )

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of YAML."""
        data = super().to_dict(full_output)
        return {key: value for key, value in data.items() if key not in ("channel", "k")}

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        result = super()._init_arguments(data)
        return {key: value for key, value in result.items() if key not in ("channel", "k")}

"""Annihilation of dark matter as gtlike has it (DMFitFunction)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u

from villard.exceptions import ModelError

if TYPE_CHECKING:
    from villard.modeling.models.gtlike.build import Setting

__all__ = ["CHANNELS", "build_dmfit", "channel_mix"]

#: gtlike's numbers of channels.
CHANNELS = {
    1: "e", 2: "mu", 3: "tau", 4: "b", 5: "t", 6: "g", 7: "W", 8: "Z", 9: "c", 10: "u", 11: "d", 12: "s",
}  # fmt: skip
_NAMES = ("norm", "sigmav", "mass", "bratio", "channel0", "channel1")
#: Table of spectra that gtlike reads.
TABLE = "$(FERMI_DIR)/refdata/fermi/genericSources/gammamc_dif.dat"


def build_dmfit(settings: Mapping[str, Setting]) -> Any:
    """Return the spectrum of a DMFitFunction: cross-section and mass are parameters, the J-factor is fixed.

    gtlike's spectra of photons are those of DMFIT; here they are those of
    `~villard.astro.darkmatter.PrimaryFlux`.

    Parameters
    ----------
    settings : mapping of str to Setting
        norm (J-factor, GeV2 cm-5), sigmav (cm3 s-1), mass (GeV), bratio, channel0, channel1.

    Raises
    ------
    ModelError
        If a parameter is missing or unknown, a channel has another number, or a constant is free.
    """
    from villard.astro.darkmatter import DarkMatterAnnihilationSpectralModel
    from villard.modeling.models.gtlike.build import _check_names, apply_setting
    from villard.modeling.models.gtlike.table import Conversion

    entries = tuple(Conversion(name, None) for name in _NAMES)
    _check_names("DMFitFunction", settings, entries, {"bratio": 1.0, "channel1": 4.0})
    for name in ("norm", "bratio", "channel0", "channel1"):
        if name in settings and settings[name].free:
            raise ModelError(f"DMFitFunction: {name} can't be free; free sigmav or mass")
    model = DarkMatterAnnihilationSpectralModel(
        mass=settings["mass"].value * u.GeV,
        channel=_channel(settings),
        jfactor=u.Quantity(settings["norm"].value, "GeV2 cm-5"),
    )
    apply_setting(model, Conversion("sigmav", "sigmav", "cm3 s-1"), settings["sigmav"])
    apply_setting(model, Conversion("mass", "mass", "GeV"), settings["mass"])
    return model


def _channel(settings: Mapping[str, Setting]) -> str | dict[str, float]:
    first = _name(settings, "channel0")
    ratio = settings["bratio"].value if "bratio" in settings else 1.0
    if not 0 <= ratio <= 1:
        raise ModelError(f"DMFitFunction: bratio must be between 0 and 1, found {ratio:g}")
    if ratio == 1 or "channel1" not in settings:
        return first
    second = _name(settings, "channel1")
    return first if second == first else {first: ratio, second: 1 - ratio}


def _name(settings: Mapping[str, Setting], key: str) -> str:
    number = settings[key].value
    if number not in CHANNELS:
        known = ", ".join(f"{n} ({name})" for n, name in CHANNELS.items())
        raise ModelError(f"DMFitFunction: {key} must be one of {known}; found {number:g}")
    return CHANNELS[int(number)]


def channel_mix(model: Any) -> tuple[float, int, int]:
    """Return gtlike's branching ratio and numbers of channels of a spectrum.

    Raises
    ------
    ModelError
        If gtlike can't express it.
    """
    channel = model.channel
    ratios = {channel: 1.0} if isinstance(channel, str) else dict(channel)
    numbers = {name: number for number, name in CHANNELS.items()}
    if not set(ratios) <= set(numbers) or len(ratios) > 2 or abs(sum(ratios.values()) - 1) > 1e-9:
        raise ModelError(f"DMFitFunction: gtlike has no mixture of channels like {channel!r}")
    if model.z != 0 or model.k != 2:
        raise ModelError("DMFitFunction: gtlike has Majorana particles (k = 2) at redshift 0 only")
    names = [*ratios, *ratios]
    return float(ratios[names[0]]), numbers[names[0]], numbers[names[1]]

"""Labels of plots."""

from __future__ import annotations

import astropy.units as u

__all__ = ["label_with_unit"]

_NAMES = {"energy": "Energy", "energy_true": "True energy", "migra": "Migra", "rad": "Radius"}


def label_with_unit(name: str, unit: u.UnitBase | str) -> str:
    """Return a label like "Energy [TeV]".

    Examples
    --------
    >>> label_with_unit("energy_true", "TeV")
    'True energy [TeV]'
    """
    name = _NAMES.get(name, name.replace("_", " ").capitalize())
    text = u.Unit(unit).to_string() if str(unit) else ""
    return f"{name} [{text}]" if text else name

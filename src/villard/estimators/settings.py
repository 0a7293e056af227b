"""Checks of the settings that estimators of maps have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np

from villard.exceptions import ConfigError
from villard.utils.names import nearest

__all__ = ["energy_edges_or_none", "positive", "positive_angle", "selection"]


def positive(value: Any, name: str, where: str) -> float:
    """Return a setting as a number above 0, or raise `ConfigError`."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: expected a number as {name}, found {value!r}") from error
    if not (number > 0 and np.isfinite(number)):
        raise ConfigError(f"{where}: expected a positive {name}, found {number:g}")
    return number


def positive_angle(value: Any, name: str, where: str) -> u.Quantity:
    """Return a setting as an angle above 0, or raise `ConfigError`; plain numbers are in deg."""
    try:
        angle = u.Quantity(value) if isinstance(value, (str, u.Quantity)) else float(value) * u.deg
        degrees = float(angle.to_value("deg"))
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise ConfigError(f"{where}: expected an angle as {name}, found {value!r}") from error
    if not (degrees > 0 and np.isfinite(degrees)):
        raise ConfigError(f"{where}: expected a positive {name}, found {value}")
    return angle


def selection(value: Any, known: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the names of what is to be computed: `None` is nothing, "all" everything."""
    if value is None:
        return ()
    wanted = known if value == "all" else [value] if isinstance(value, str) else value
    for name in wanted:
        if name not in known:
            raise ConfigError(f"{where}: unknown selection_optional {name!r}. {nearest(str(name), known)}")
    return tuple(wanted)


def energy_edges_or_none(value: Any, where: str) -> u.Quantity | None:
    """Return edges of energy bins, or `None`, or raise `ConfigError`."""
    if value is None:
        return None
    try:
        edges = u.Quantity(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: expected energy_edges as a quantity, found {value!r}") from error
    if not edges.unit.is_equivalent("TeV"):
        raise ConfigError(f"{where}: expected energy_edges in a unit of energy, found {str(edges.unit)!r}")
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges.value) > 0) or not edges[0].value > 0:
        raise ConfigError(f"{where}: expected two or more positive, increasing energy_edges, found {edges}")
    return edges

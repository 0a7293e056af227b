"""Conversion to the units of the engine: TeV, cm, s, deg, sr."""

from functools import lru_cache
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import UnitsError

_ENGINE_UNITS = [u.TeV, u.cm, u.s, u.deg, u.sr, u.cm**2, u.cm**3]


def parse_unit(unit: Any, where: str = "unit") -> u.UnitBase:
    """Turn a string into a unit.

    Parameters
    ----------
    unit : str or `~astropy.units.UnitBase`
        Unit; FITS spellings are understood.
    where : str
        Object and keyword, for the message.

    Raises
    ------
    UnitsError
        If astropy doesn't know the unit.
    """
    try:
        return u.Unit(unit)
    except (ValueError, TypeError) as error:
        raise UnitsError(f"{where}: unknown unit {unit!r}") from error


def unit_text(unit: u.UnitBase) -> str:
    """Return a unit as text for messages, in which nothing would be seen of none.

    Examples
    --------
    >>> unit_text(u.dimensionless_unscaled)
    'no unit'
    """
    return str(unit) or "no unit"


@lru_cache(maxsize=1024)
def canonical_unit(unit: u.UnitBase) -> u.UnitBase:
    """Return the engine's unit for quantities of this unit.

    Each factor of a composite unit is replaced by the engine's unit of the same kind; factors
    that the engine has no unit for (counts, gauss, …) stay.

    Examples
    --------
    >>> import astropy.units as u
    >>> canonical_unit(u.Unit("erg-1 m-2 s-1"))
    Unit("1 / (TeV s cm2)")
    """
    unit = u.Unit(unit)
    result = u.dimensionless_unscaled
    for base, power in zip(unit.bases, unit.powers, strict=True):
        engine = next((e for e in _ENGINE_UNITS if base.is_equivalent(e)), base)
        result = result * engine**power
    return result


@lru_cache(maxsize=1024)
def canonical_factor(unit: u.UnitBase) -> float:
    """Return the factor that converts values in ``unit`` to the engine's unit."""
    return float(unit.to(canonical_unit(unit)))


def to_canonical(quantity: Any) -> NDArray[np.float64]:
    """Return the value of a quantity in the engine's unit as a plain array.

    Examples
    --------
    >>> import astropy.units as u
    >>> float(to_canonical(500 * u.GeV))
    0.5
    """
    quantity = u.Quantity(quantity)
    return np.asarray(quantity.value, dtype=float) * canonical_factor(quantity.unit)


def convert(value: Any, unit: Any, where: str) -> NDArray[np.float64]:
    """Return a quantity's value in ``unit``; raise `UnitsError` naming ``where`` if it doesn't fit."""
    try:
        return np.asarray(u.Quantity(value).to_value(unit), dtype=float)
    except (u.UnitConversionError, TypeError) as error:
        wanted = unit_text(u.Unit(unit))
        raise UnitsError(f"{where}: expected a quantity in {wanted}, found {value!r}") from error

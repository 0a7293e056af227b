"""Names, units and confidence levels of the quantities that describe a measured spectrum."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.utils.names import nearest

__all__ = [
    "SED_TYPES",
    "SED_UNITS",
    "SUFFIXES",
    "check_sed_type",
    "confidence_level",
    "n_sigma_of",
    "quantity_names",
]

#: Units in which each type is kept; "likelihood" is the norm in units of the reference model.
SED_UNITS: dict[str, u.UnitBase] = {
    "likelihood": u.dimensionless_unscaled,
    "dnde": u.Unit("cm-2 s-1 TeV-1"),
    "e2dnde": u.Unit("erg cm-2 s-1"),
    "flux": u.Unit("cm-2 s-1"),
    "eflux": u.Unit("erg cm-2 s-1"),
}
SED_TYPES = tuple(SED_UNITS)

#: What is proportional to the norm: the value itself, its errors, limits and sensitivity.
SUFFIXES = ("", "_err", "_errn", "_errp", "_ul", "_sensitivity")

#: Quantities of one number per energy that don't depend on the reference model.
PLAIN = ("ts", "sqrt_ts", "stat", "stat_null", "is_ul", "success", "niter", "n_dof")
#: Quantities of one number per energy and dataset.
PER_DATASET = ("counts", "npred", "npred_excess")
#: Likelihood profiles: one number per energy and value of the norm.
PROFILES = ("stat_scan", "norm_scan")


def check_sed_type(sed_type: str, where: str = "Flux points") -> str:
    """Return ``sed_type`` if it is a known one.

    Raises
    ------
    DataError
        If it isn't; the message lists the known ones.
    """
    if sed_type not in SED_TYPES:
        raise DataError(f"{where}: unknown sed_type {sed_type!r}. {nearest(str(sed_type), SED_TYPES)}")
    return sed_type


def prefix_of(sed_type: str) -> str:
    """Return the name of the column that holds the values of a type."""
    return "norm" if sed_type == "likelihood" else sed_type


def quantity_names(sed_type: str) -> list[str]:
    """Return the names of all quantities in the representation of one type.

    Examples
    --------
    >>> quantity_names("dnde")[:5]
    ['dnde', 'dnde_err', 'dnde_errn', 'dnde_errp', 'dnde_ul']
    """
    prefix = prefix_of(check_sed_type(sed_type))
    return [prefix + suffix for suffix in SUFFIXES] + [*PLAIN, *PER_DATASET, *PROFILES]


def confidence_level(n_sigma: float) -> float:
    """Return the probability within ``n_sigma`` standard deviations of a normal distribution.

    Upper limits are given where the statistic has risen by n_sigma², the upper end of the two-sided
    interval; this is the convention of the keyword ``UL_CONF`` too.

    Examples
    --------
    >>> round(confidence_level(2), 7)
    0.9544997
    """
    return 1 - 2 * NormalDist().cdf(-n_sigma)


def n_sigma_of(confidence: float) -> float:
    """Return the number of standard deviations that hold a probability; inverse of `confidence_level`.

    It is rounded to four digits, because files hold rounded confidence levels.

    Raises
    ------
    DataError
        If it isn't a probability.

    Examples
    --------
    >>> n_sigma_of(0.95), n_sigma_of(0.9973002)
    (1.96, 3.0)
    """
    try:
        value = float(confidence)
    except (TypeError, ValueError) as error:
        raise DataError(f"UL_CONF: expected a number between 0 and 1, found {confidence!r}") from error
    if not 0 < value < 1:
        raise DataError(f"UL_CONF: expected a probability between 0 and 1, found {value:g}")
    return round(-NormalDist().inv_cdf((1 - value) / 2), 4)


def without_photons(unit: u.UnitBase) -> u.UnitBase:
    """Return a unit without "ph": photons are counted, and models count none.

    Examples
    --------
    >>> without_photons(u.Unit("ph cm-2 s-1"))
    Unit("1 / (s cm2)")
    """
    unit = u.Unit(unit)
    for base, power in zip(unit.bases, unit.powers, strict=True):
        if base == u.ph:
            unit = unit / u.ph**power
    return unit


def in_unit(values: Any, unit: u.UnitBase, target: u.UnitBase, where: str) -> NDArray[np.float64]:
    """Return plain values converted between units, photons left out; `DataError` if they don't fit."""
    unit = without_photons(unit)
    if not unit.is_equivalent(target):
        from villard.exceptions import UnitsError

        raise UnitsError(f"{where}: expected a unit like {target}, found {str(unit)!r}")
    return np.asarray(values, dtype=float) * float(unit.to(target))

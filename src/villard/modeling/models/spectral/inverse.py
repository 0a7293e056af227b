"""Energies at which a spectrum has a given flux."""

from typing import Any

import astropy.units as u
import numpy as np

from villard.utils.units import convert

__all__ = ["inverse_all", "peak_energy"]

_N_GRID = 400


def inverse_all(model: Any, value: Any, energy_min: Any, energy_max: Any) -> u.Quantity:
    """Return all energies between two bounds at which the flux is ``value``, increasing."""
    from scipy.optimize import brentq

    target = float(convert(value, model.output_unit, "Flux"))
    low, high = (float(convert(e, u.TeV, "Bound of the energy")) for e in (energy_min, energy_max))

    def difference(log_energy: Any) -> Any:
        flux = model(np.exp(log_energy) * u.TeV).to_value(model.output_unit)
        with np.errstate(divide="ignore", invalid="ignore"):
            # On the logarithm, where the flux is positive, roots are found to the same relative accuracy.
            return np.log(flux / target) if target > 0 else flux - target

    grid = np.linspace(np.log(low), np.log(high), _N_GRID)
    values = difference(grid)
    roots = [grid[i] for i in np.flatnonzero(values == 0)]
    for i in np.flatnonzero(values[:-1] * values[1:] < 0):
        roots.append(brentq(difference, grid[i], grid[i + 1], xtol=1e-14, rtol=1e-13))
    return u.Quantity(np.exp(np.sort(roots)), "TeV")


def peak_energy(model: Any) -> u.Quantity:
    """Return the energy at which E² dN/dE is highest, between 1e-6 and 1e6 TeV; NaN at the ends."""
    from scipy.optimize import minimize_scalar

    def negative_log_sed(log_energy: Any) -> Any:
        with np.errstate(divide="ignore"):
            return -2 * log_energy - np.log(model(np.exp(log_energy) * u.TeV).value)

    grid = np.log(np.geomspace(1e-6, 1e6, 1201))
    values = np.nan_to_num(negative_log_sed(grid), nan=np.inf)
    best = int(np.argmin(values))
    if best in (0, len(grid) - 1):
        return np.nan * u.TeV
    found = minimize_scalar(
        lambda x: float(negative_log_sed(x)), bounds=(grid[best - 1], grid[best + 1]), method="bounded"
    )
    return np.exp(found.x) * u.TeV

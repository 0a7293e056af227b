"""Plots of spectra and of their error bands."""

from typing import Any

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError

__all__ = ["plot_spectrum", "plot_spectrum_error"]

_LABELS = {
    "dnde": r"$\mathrm{d}N/\mathrm{d}E$",
    "e2dnde": r"$E^2\,\mathrm{d}N/\mathrm{d}E$",
    "flux": "Flux",
    "eflux": "Energy flux",
    "norm": "Norm",
}


_ERROR_OPTIONS = ("method", "n_samples", "random_state", "samples")
#: Units of plots, the same for all spectra and flux points, so that they can share axes.
_UNITS = {"dnde": "TeV-1 cm-2 s-1", "e2dnde": "erg cm-2 s-1", "flux": "cm-2 s-1", "eflux": "erg cm-2 s-1"}


def _edges(energy_bounds: Any, n_points: int) -> u.Quantity:
    if hasattr(energy_bounds, "edges"):
        return energy_bounds.edges
    low, high = (u.Quantity(e) for e in energy_bounds)
    unit = low.unit
    return np.geomspace(low.to_value(unit), high.to_value(unit), n_points + 1) * unit


def _curve(
    model: Any, energy_bounds: Any, sed_type: str, energy_power: float, n_points: int, error: Any
) -> tuple[u.Quantity, u.Quantity]:
    """Return energies and values (or value and errors), in the units in which they are plotted."""
    if sed_type not in _LABELS:
        raise ModelError(f"sed_type must be one of {list(_LABELS)}, found {sed_type!r}")
    edges = _edges(energy_bounds, n_points)
    if sed_type in ("flux", "eflux"):
        energy = np.sqrt(edges[:-1] * edges[1:])
        name = {"flux": "integral", "eflux": "energy_flux"}[sed_type]
        function = getattr(model, name if error is None else f"{name}_error")
        values = function(edges[:-1], edges[1:], **(error or {}))
    else:
        energy = edges
        values = model(energy) if error is None else model.evaluate_error(energy, **error)
        if sed_type == "e2dnde":
            values = energy**2 * values
    target = u.Unit(_UNITS.get(sed_type, ""))
    if values.unit.is_equivalent(target):
        values = values.to(target)
    return energy, values * energy**energy_power


def _prepare(ax: Any, energy: u.Quantity, values: u.Quantity, sed_type: str, energy_power: float) -> Any:
    """Return axes with scales and labels, and the energies in the unit of what they show already."""
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    unit = ax.xaxis.get_units()
    if not isinstance(unit, u.UnitBase):
        unit = energy.unit
        ax.xaxis.set_units(unit)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(f"Energy [{unit.to_string('latex_inline')}]")
    label = _LABELS[sed_type] if energy_power == 0 else rf"$E^{{{energy_power:g}}}$ × {_LABELS[sed_type]}"
    y_unit = values.unit.to_string("latex_inline") if str(values.unit) else ""
    ax.set_ylabel(f"{label} [{y_unit}]" if y_unit else label)
    return ax, energy.to_value(unit)


def plot_spectrum(
    model: Any,
    energy_bounds: Any,
    ax: Any = None,
    sed_type: str = "dnde",
    energy_power: float = 0,
    n_points: int = 100,
    **kwargs: Any,
) -> Any:
    """Plot a spectrum; see `SpectralModel.plot`."""
    energy, values = _curve(model, energy_bounds, sed_type, energy_power, n_points, None)
    ax, x = _prepare(ax, energy, values, sed_type, energy_power)
    ax.plot(x, values.value, **kwargs)
    return ax


def plot_spectrum_error(
    model: Any,
    energy_bounds: Any,
    ax: Any = None,
    sed_type: str = "dnde",
    energy_power: float = 0,
    n_points: int = 100,
    **kwargs: Any,
) -> Any:
    """Plot the one-sigma band of a spectrum; see `SpectralModel.plot_error`."""
    error = {name: kwargs.pop(name) for name in _ERROR_OPTIONS if name in kwargs}
    energy, values = _curve(model, energy_bounds, sed_type, energy_power, n_points, error)
    ax, x = _prepare(ax, energy, values[0], sed_type, energy_power)
    value, errn, errp = values.value
    # A lower edge at or below zero has no place on a logarithmic axis: end the band far below the curve.
    low = np.maximum(value - errn, 1e-3 * value)
    ax.fill_between(x, low, value + errp, **{"alpha": 0.3, "lw": 0, "color": "k", **kwargs})
    return ax

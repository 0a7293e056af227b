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


def _edges(energy_bounds: Any, n_points: int) -> u.Quantity:
    if hasattr(energy_bounds, "edges"):
        return energy_bounds.edges
    low, high = (u.Quantity(e) for e in energy_bounds)
    unit = low.unit
    return np.geomspace(low.to_value(unit), high.to_value(unit), n_points + 1) * unit


def _curve(model: Any, energy_bounds: Any, sed_type: str, n_points: int, error: bool) -> Any:
    """Energies and values (or value and errors), in the units in which they are plotted."""
    if sed_type not in _LABELS:
        raise ModelError(f"sed_type must be one of {list(_LABELS)}, found {sed_type!r}")
    edges = _edges(energy_bounds, n_points)
    energy = np.sqrt(edges[:-1] * edges[1:]) if sed_type in ("flux", "eflux") else edges
    if sed_type == "flux":
        values = (
            model.integral_error(edges[:-1], edges[1:]) if error else model.integral(edges[:-1], edges[1:])
        )
    elif sed_type == "eflux":
        function = model.energy_flux_error if error else model.energy_flux
        values = function(edges[:-1], edges[1:])
    else:
        values = model.evaluate_error(energy) if error else model(energy)
        if sed_type == "e2dnde":
            values = energy**2 * values
            if values.unit.is_equivalent("erg cm-2 s-1"):
                values = values.to("erg cm-2 s-1")
    return energy, values


def _axes(ax: Any, energy: u.Quantity, values: u.Quantity, sed_type: str, energy_power: float) -> Any:
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(f"Energy [{energy.unit.to_string('latex_inline')}]")
    label = _LABELS[sed_type] if energy_power == 0 else rf"$E^{{{energy_power:g}}}$ × {_LABELS[sed_type]}"
    unit = values.unit.to_string("latex_inline") if str(values.unit) else ""
    ax.set_ylabel(f"{label} [{unit}]" if unit else label)
    return ax


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
    energy, values = _curve(model, energy_bounds, sed_type, n_points, error=False)
    values = values * energy**energy_power
    ax = _axes(ax, energy, values, sed_type, energy_power)
    ax.plot(energy.value, values.value, **kwargs)
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
    energy, values = _curve(model, energy_bounds, sed_type, n_points, error=True)
    values = values * energy**energy_power
    ax = _axes(ax, energy, values, sed_type, energy_power)
    value, errn, errp = values.value
    # A lower edge at or below zero has no place on a logarithmic axis: end the band far below the curve.
    low = np.maximum(value - errn, 1e-3 * value)
    ax.fill_between(energy.value, low, value + errp, **{"alpha": 0.3, "lw": 0, "color": "k", **kwargs})
    return ax

"""Plots of flux points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.sed_types import check_sed_type, prefix_of
from villard.exceptions import DataError, ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from villard.estimators.flux_points import FluxPoints

__all__ = ["plot_points", "plot_profiles", "plot_with_model"]

_LABELS = {
    "norm": "Norm",
    "dnde": r"$\mathrm{d}N/\mathrm{d}E$",
    "e2dnde": r"$E^2\,\mathrm{d}N/\mathrm{d}E$",
    "flux": "Flux",
    "eflux": "Energy flux",
}


def _current(ax: Axes | None) -> Axes:
    import matplotlib.pyplot as plt

    return plt.gca() if ax is None else ax


def _prefix(sed_type: str) -> str:
    """Return the name of the quantity to plot; "norm" is accepted for "likelihood"."""
    return prefix_of("likelihood" if sed_type == "norm" else check_sed_type(sed_type, "Plot of flux points"))


def _label_axes(ax: Axes, energy: u.Quantity, values: u.Quantity, prefix: str, energy_power: float) -> None:
    ax.set_xscale("log")
    ax.set_xlabel(f"Energy [{energy.unit.to_string('latex_inline')}]")
    label = _LABELS[prefix] if energy_power == 0 else rf"$E^{{{energy_power:g}}}$ × {_LABELS[prefix]}"
    unit = values.unit.to_string("latex_inline") if str(values.unit) else ""
    ax.set_ylabel(f"{label} [{unit}]" if unit else label)


def _errors(points: FluxPoints, prefix: str) -> NDArray[np.float64]:
    """Return lower and upper errors, shape (2, n): asymmetric ones where there are, else symmetric ones."""
    errors = np.full((2, len(points)), np.nan)
    for row, suffix in enumerate(("_errn", "_errp")):
        if points.has(prefix + suffix):
            errors[row] = points.quantity(prefix + suffix).value
        if points.has(prefix + "_err"):
            symmetric = points.quantity(prefix + "_err").value
            errors[row] = np.where(errors[row] >= 0, errors[row], symmetric)
    return np.where(errors >= 0, errors, 0.0)


def plot_points(
    points: FluxPoints, ax: Axes | None, sed_type: str, energy_power: float, **kwargs: Any
) -> Axes:
    """Plot flux points; see `FluxPoints.plot`."""
    prefix = _prefix(sed_type)
    ax = _current(ax)
    energy = points.energy_ref
    factor = energy**energy_power
    flux = points.quantity(prefix)
    values, errors = (flux * factor).value, _errors(points, prefix) * factor.value
    is_ul = points.quantity("is_ul").value.astype(bool)
    limits = values
    if points.has_ul:
        limits = (points.quantity(f"{prefix}_ul") * factor).value
    values = np.where(is_ul, limits, values)
    # Arrows as long on a logarithmic axis for all limits.
    errors = np.where(is_ul, np.stack([0.4 * np.abs(limits), np.zeros(len(points))]), errors)
    xerr = None
    if points.is_convertible_to_flux_sed_type:
        xerr = np.stack([(energy - points.energy_min).value, (points.energy_max - energy).value])
    options: dict[str, Any] = {"fmt": "o", "ms": 4, "capsize": 2, "lw": 1, "uplims": is_ul} | kwargs
    if "marker" in kwargs:
        options["fmt"] = ""
        options.setdefault("ls", "none")
    ax.errorbar(energy.value, values, yerr=errors, xerr=xerr, **options)
    _label_axes(ax, energy, flux * factor, prefix, energy_power)
    if np.any(values > 0) and not np.any(values[np.isfinite(values)] <= 0):
        ax.set_yscale("log", nonpositive="clip")
    return ax


def plot_profiles(
    points: FluxPoints, ax: Axes | None, sed_type: str, add_cbar: bool, n_values: int = 300, **kwargs: Any
) -> Axes:
    """Plot likelihood profiles as an image; see `FluxPoints.plot_ts_profiles`."""
    from villard.likelihood.profile_statistic import profile, profile_roots

    if not points.has_stat_profiles:
        raise DataError("Plot of flux points: there are no likelihood profiles (stat_scan)")
    prefix = _prefix(sed_type)
    ax = _current(ax)
    reference = points.reference("likelihood" if prefix == "norm" else prefix)
    stat, norm = points.quantity("stat_scan").value, points.norm_scan
    best_stat = points.quantity("stat").value if points.has("stat") else np.full(len(points), np.nan)
    data = profile_roots(norm, stat, points.quantity("norm").value, best_stat)
    axis = points.energy_axis
    flux = norm * reference.value[:, np.newaxis]
    positive = flux[np.isfinite(flux) & (flux > 0)]
    edges = np.geomspace(positive.min(), positive.max(), n_values + 1)
    centers = np.sqrt(edges[:-1] * edges[1:])
    image = np.full((n_values, len(points)), np.nan)
    for i in range(len(points)):
        columns = {name: np.repeat(values[:, i : i + 1], n_values, axis=1) for name, values in data.items()}
        image[:, i] = profile(centers / reference.value[i], **columns)
        image[(centers < flux[i].min()) | (centers > flux[i].max()), i] = np.nan
    options: dict[str, Any] = {"vmin": 0, "vmax": 9, "cmap": "Blues_r", "zorder": -10} | kwargs
    mesh = ax.pcolormesh(axis.edges.value, edges, np.ma.masked_invalid(image), **options)
    _label_axes(ax, points.energy_ref, reference, prefix, 0)
    ax.set_yscale("log")
    if add_cbar:
        ax.figure.colorbar(mesh, ax=ax, label="Fit statistic difference")
    return ax


def plot_with_model(
    points: FluxPoints,
    model: Any,
    ax: Axes | None,
    sed_type: str,
    kwargs_fp: dict[str, Any],
    kwargs_model: dict[str, Any],
) -> Axes:
    """Plot flux points, a model and its error band; see `FluxPoints.plot_with_model`."""
    if sed_type not in ("dnde", "e2dnde"):
        raise DataError(
            f"Plot of flux points with a model: sed_type must be 'dnde' or 'e2dnde', found {sed_type!r}"
        )
    ax = _current(ax)
    spectrum = _spectrum(points.reference_model if model is None else model)
    points_options: dict[str, Any] = {"energy_power": 0, "label": "Flux points", "color": "k"}
    plot_points(points, ax, sed_type, **(points_options | kwargs_fp))
    energy_bounds = kwargs_model.pop("energy_bounds", (points.energy_min[0], points.energy_max[-1]))
    options = {"label": "Model", "color": "tab:blue"} | kwargs_model
    limits = ax.get_ylim()
    _plot_model(spectrum, ax, sed_type, energy_bounds, options)
    # A band or a cutoff that leaves the range of the points must not squeeze them.
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, limits[0] / 10), min(high, limits[1] * 10))
    ax.legend()
    return ax


def _plot_model(spectrum: Any, ax: Axes, sed_type: str, energy_bounds: Any, options: dict[str, Any]) -> None:
    unit = energy_bounds[0].unit
    energy = np.geomspace(energy_bounds[0].value, energy_bounds[1].to_value(unit), 200) * unit
    factor = {"dnde": lambda e: 1.0, "e2dnde": lambda e: e**2}[sed_type](energy)
    target = u.Unit("cm-2 s-1 TeV-1") if sed_type == "dnde" else u.Unit("erg cm-2 s-1")
    ax.plot(energy.value, (spectrum(energy) * factor).to_value(target), **options)
    if any(p.error > 0 for p in spectrum.parameters):
        value, errn, errp = ((item * factor).to_value(target) for item in spectrum.evaluate_error(energy))
        low = np.maximum(value - errn, 1e-3 * value)
        ax.fill_between(energy.value, low, value + errp, alpha=0.25, lw=0, color=options.get("color"))


def _spectrum(model: Any) -> Any:
    spectrum = getattr(model, "spectral_model", model)
    if not hasattr(spectrum, "evaluate_error"):
        raise ModelError(
            f"Plot of flux points: expected a model with a spectrum, found {type(model).__name__}"
        )
    return spectrum

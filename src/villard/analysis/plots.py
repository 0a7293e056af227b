"""Plots of an analysis, one figure each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.analysis.run import AnalysisResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figures"]

Draw = Callable[[Any], None]


def figures(result: AnalysisResult) -> Iterator[tuple[str, Draw]]:
    """Give the name of each plot and the function that draws it into an empty figure."""
    for dataset in result.datasets:
        name = f"_{dataset.name}" if len(result.datasets) > 1 else ""
        if hasattr(dataset, "plot_counts"):
            yield f"counts{name}", partial(_counts, dataset)
        yield f"fit{name}", partial(_fit, dataset)
    if not result.fit.success:
        return
    yield "correlation", partial(_correlation, result)
    for model in result.fit.models:
        if getattr(model, "spectral_model", None) is not None:
            yield f"butterfly_{model.name}", partial(_butterfly, result, model)
    if result.profiles:
        yield "profiles", partial(_profiles, result)
    pairs = dict.fromkeys((contour["x"], contour["y"]) for contour in result.contours)
    for x, y in pairs:
        yield f"contour_{x}_{y}", partial(_contours, result, x, y)
    for surface in result.surfaces:
        yield f"surface_{surface['x']}_{surface['y']}", partial(_surface, result, surface)
    if result.flux_points is not None:
        yield "flux_points", partial(_flux_points, result)


def _counts(dataset: Any, figure: Figure) -> None:
    dataset.plot_counts(ax=figure.add_subplot())


def _fit(dataset: Any, figure: Figure) -> None:
    spectrum, residuals = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    dataset.plot_fit(spectrum, residuals)


def _correlation(result: AnalysisResult, figure: Figure) -> None:
    result.fit.models.covariance.plot_correlation(ax=figure.add_subplot())


def _energy_bounds(result: AnalysisResult) -> u.Quantity:
    low, high = result.datasets.energy_ranges
    return u.Quantity([np.nanmin(low), np.nanmax(high)])


def _butterfly(result: AnalysisResult, model: Any, figure: Figure) -> None:
    ax = figure.add_subplot()
    options = {"energy_bounds": _energy_bounds(result), "sed_type": "e2dnde", "ax": ax}
    model.spectral_model.plot(**options, label=model.name)
    model.spectral_model.plot_error(**options)
    ax.legend()


def _profiles(result: AnalysisResult, figure: Figure) -> None:
    panels = figure.subplots(1, len(result.profiles), sharey=True, squeeze=False)[0]
    figure.set_size_inches(4 * len(result.profiles), 4)
    for ax, (name, profile) in zip(panels, result.profiles.items(), strict=True):
        ax.plot(profile[f"{name}_scan"], profile["stat_scan"] - result.fit.total_stat)
        for sigma in (1, 2, 3):
            ax.axhline(sigma**2, color="0.8", zorder=0)
        ax.axvline(_value(result, name), color="0.5", linestyle=":")
        ax.set_xlabel(_label(result, name))
    panels[0].set_ylabel("Δ fit statistic")
    panels[0].set_ylim(bottom=0)


def _contours(result: AnalysisResult, x: str, y: str, figure: Figure) -> None:
    from villard.visualization import plot_contour_line

    ax = figure.add_subplot()
    for contour in result.contours:
        if (contour["x"], contour["y"]) == (x, y):
            plot_contour_line(ax, contour[x], contour[y], label=f"{contour['sigma']:g} σ")
    _mark_best(result, x, y, ax)
    ax.legend()


def _surface(result: AnalysisResult, surface: dict[str, Any], figure: Figure) -> None:
    x, y = surface["x"], surface["y"]
    ax = figure.add_subplot()
    # Rounding may leave a point at the minimum a little below it.
    rise = np.sqrt(np.maximum(surface["stat_scan"].T - result.fit.total_stat, 0))
    axes = (surface[f"{x}_scan"], surface[f"{y}_scan"])
    mesh = ax.pcolormesh(*axes, rise, shading="auto")
    levels = [level for level in (1, 2, 3) if rise.min() < level < rise.max()]
    if levels:
        ax.clabel(ax.contour(*axes, rise, levels=levels, colors="white"), fmt="%d σ")
    figure.colorbar(mesh, label="√(Δ fit statistic)")
    _mark_best(result, x, y, ax)


def _flux_points(result: AnalysisResult, figure: Figure) -> None:
    assert result.flux_points is not None
    ax = figure.add_subplot()
    options = {"energy_bounds": _energy_bounds(result), "sed_type": "e2dnde", "ax": ax}
    spectrum = result.flux_points.reference_spectral_model
    spectrum.plot(**options, label="fit")
    spectrum.plot_error(**options)
    result.flux_points.plot(ax=ax, sed_type="e2dnde", label="flux points")
    ax.legend()


def _mark_best(result: AnalysisResult, x: str, y: str, ax: Any) -> None:
    ax.plot(_value(result, x), _value(result, y), "+", color="black")
    ax.set_xlabel(_label(result, x))
    ax.set_ylabel(_label(result, y))


def _parameter(result: AnalysisResult, name: str) -> Any:
    models = result.fit.models
    return next(p for p in models.parameters if models.unique_name(p) == name)


def _value(result: AnalysisResult, name: str) -> float:
    return float(_parameter(result, name).value)


def _label(result: AnalysisResult, name: str) -> str:
    """Return the short name of a parameter where it says enough, with the unit."""
    models = result.fit.models
    short = name.rsplit(".", 1)[-1]
    is_clear = [p.name for p in models.parameters.free_unique_parameters].count(short) == 1
    unit = _parameter(result, name).unit
    label = short if is_clear else name
    return label if unit == "" else f"{label} [{unit.to_string('unicode')}]"

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
    """Return where there is something to see: the range of the flux points, or of the fit."""
    if result.flux_points is not None:
        return u.Quantity([result.flux_points.energy_min.min(), result.flux_points.energy_max.max()])
    low, high = result.datasets.energy_ranges
    return u.Quantity([np.nanmin(low), np.nanmax(high)])


def _butterfly(result: AnalysisResult, model: Any, figure: Figure) -> None:
    ax = figure.add_subplot()
    options = {"energy_bounds": _energy_bounds(result), "sed_type": "e2dnde", "ax": ax}
    model.spectral_model.plot(**options, label=model.name)
    model.spectral_model.plot_error(**options)
    ax.legend()


def _profiles(result: AnalysisResult, figure: Figure) -> None:
    from villard.visualization import plot_stat_profile

    panels = figure.subplots(1, len(result.profiles), sharey=True, squeeze=False)[0]
    figure.set_size_inches(4 * len(result.profiles), 4)
    for ax, (name, profile) in zip(panels, result.profiles.items(), strict=True):
        parameter = _parameter(result, name)
        plot_stat_profile(
            profile, ax=ax, parameter=parameter, stat_min=result.fit.total_stat, sigma=(1, 2, 3), marker=""
        )
        ax.axvline(parameter.value, color="0.5", linestyle=":")
        ax.set_xlabel(_label(result, name))
        ax.label_outer()


def _contours(result: AnalysisResult, x: str, y: str, figure: Figure) -> None:
    from villard.visualization import plot_contour_line

    ax = figure.add_subplot()
    for contour in result.contours:
        if (contour["x"], contour["y"]) == (x, y):
            plot_contour_line(ax, contour[x], contour[y], label=f"{contour['sigma']:g} σ")
    _mark_best(result, x, y, ax)
    ax.legend()


def _surface(result: AnalysisResult, surface: dict[str, Any], figure: Figure) -> None:
    from villard.visualization import plot_stat_surface

    ax = plot_stat_surface(surface, ax=figure.add_subplot(), stat_min=result.fit.total_stat)
    _mark_best(result, surface["x"], surface["y"], ax)


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
    ax.plot(_parameter(result, x).value, _parameter(result, y).value, "+", color="black")
    ax.set_xlabel(_label(result, x))
    ax.set_ylabel(_label(result, y))


def _parameter(result: AnalysisResult, name: str) -> Any:
    models = result.fit.models
    return next(p for p in models.parameters if models.unique_name(p) == name)


def _label(result: AnalysisResult, name: str) -> str:
    """Return the short name of a parameter where it says enough, with the unit."""
    from villard.visualization.helpers import parameter_label

    free = result.fit.models.parameters.free_unique_parameters
    short = name.rsplit(".", 1)[-1]
    is_clear = [parameter.name for parameter in free].count(short) == 1
    return parameter_label(short if is_clear else name, _parameter(result, name).unit)

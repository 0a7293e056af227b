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
        if hasattr(dataset, "plot_residuals_spatial"):
            yield f"counts{name}", partial(_counts_image, dataset)
            yield f"residuals{name}", partial(_residuals_image, dataset)
            yield f"fit{name}", partial(_counts_spectrum, dataset)
            continue
        if hasattr(dataset, "plot_counts"):
            yield f"counts{name}", partial(_counts, dataset)
        yield f"fit{name}", partial(_fit, dataset)
    if not result.fit.success:
        return
    yield "correlation", partial(_correlation, result)
    for model in result.fit.models:
        # The spectrum of a background model is a factor, and no flux.
        is_background = getattr(model, "is_background", False)
        if getattr(model, "spectral_model", None) is not None and not is_background:
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


def _in_fit(dataset: Any, data: Any) -> Any:
    """Bins of the fit, and zero elsewhere."""
    return data if dataset.mask is None else data * dataset.mask.data


def _counts_image(dataset: Any, figure: Figure) -> None:
    """Counts and what is predicted, added up over the energies of the fit, with the same colours."""
    width, height = dataset.geom.to_image().data_shape[::-1]
    figure.set_size_inches(11, min(11 * 0.45 * height / width + 1.5, 10))
    images = {
        "Counts": dataset.counts.copy(data=_in_fit(dataset, dataset.counts.data)).sum_over_axes(),
        "Predicted": dataset.npred().copy(data=_in_fit(dataset, dataset.npred().data)).sum_over_axes(),
    }
    largest = max(float(image.data.max()) for image in images.values())
    for i, (title, image) in enumerate(images.items()):
        ax = figure.add_subplot(1, 2, i + 1, projection=image.geom.wcs)
        image.plot(ax=ax, stretch="sqrt", vmin=0, vmax=largest, add_cbar=True)
        ax.set_title(title)


def _residuals_image(dataset: Any, figure: Figure) -> None:
    ax = figure.add_subplot(projection=dataset.geom.to_image().wcs)
    dataset.plot_residuals_spatial(ax, method="diff/sqrt(model)")


def _counts_spectrum(dataset: Any, figure: Figure) -> None:
    """Counts and predictions of the whole image in each energy, and residuals."""
    spectrum, residuals = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = dataset.counts.geom.axes["energy"].edges
    energy = np.sqrt(edges[:-1] * edges[1:]).value
    counts, npred = (
        _in_fit(dataset, m.data).reshape(len(energy), -1).sum(axis=1)
        for m in (dataset.counts, dataset.npred())
    )
    parts = {"Predicted": npred}
    for model in dataset.models or ():
        if not getattr(model, "is_background", False):
            values = _in_fit(dataset, dataset.npred_signal([model.name]).data)
            parts[model.name] = values.reshape(len(energy), -1).sum(axis=1)
    for name, values in parts.items():
        style = "-" if name == "Predicted" else ":"
        spectrum.stairs(values, edges.value, label=name, linestyle=style, baseline=None)
    spectrum.errorbar(energy, counts, np.sqrt(counts), fmt="o", color="black", markersize=3, label="Counts")
    spectrum.set_xscale("log")
    spectrum.set_yscale("log")
    positive = np.concatenate([values[values > 0] for values in parts.values()])
    if positive.size:
        spectrum.set_ylim(bottom=max(0.3, 0.5 * float(positive.min())))
    spectrum.set_ylabel("Counts")
    spectrum.legend()
    shown = npred > 0
    sigma = np.sqrt(npred[shown])
    residuals.errorbar(
        energy[shown],
        (counts - npred)[shown] / sigma,
        np.ones(sigma.size),
        fmt="o",
        color="black",
        markersize=3,
    )
    residuals.axhline(0, color="0.6", linewidth=1)
    residuals.set_xlabel(f"Energy [{edges.unit}]")
    residuals.set_ylabel("(data - model)\n/ √model")


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

"""Plots of spectra."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import DataError
from villard.maps.labels import label_with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from villard.maps.region_map import RegionNDMap

__all__ = ["plot_map", "plot_map_hist", "plot_map_mask"]


def _axes(ax: Axes | None) -> Axes:
    import matplotlib.pyplot as plt

    return plt.gca() if ax is None else ax


def _single_axis(spectrum: RegionNDMap, axis_name: str | None) -> str:
    names = spectrum.geom.axes.names
    if axis_name is None:
        if len(names) != 1:
            raise DataError(f"Plot: expected axis_name to be one of {names}, found None")
        axis_name = names[0]
    spectrum.geom.axes.index(axis_name)
    return axis_name


def plot_map(
    spectrum: RegionNDMap, ax: Axes | None = None, axis_name: str | None = None, **kwargs: Any
) -> Axes:
    """Plot values as points with the widths of their bins; see `RegionNDMap.plot`."""
    name = _single_axis(spectrum, axis_name)
    ax, axis = _axes(ax), spectrum.geom.axes[name]
    others = [other for other in spectrum.geom.axes if other.name != name]
    options: dict[str, Any] = {"fmt": ".", "capsize": 2, "lw": 1} | kwargs
    xerr = [error.value for error in axis.as_plot_xerr]
    for indices in product(*(range(other.nbin) for other in others)):
        chosen = dict(zip((other.name for other in others), indices, strict=True))
        values = spectrum.slice_by_idx(chosen).data.ravel() if chosen else spectrum.data.ravel()
        label = ", ".join(other.as_plot_labels[i] for other, i in zip(others, indices, strict=True))
        extra = {"label": label} if label and "label" not in kwargs else {}
        ax.errorbar(axis.as_plot_center.value, values.astype(float), xerr=xerr, **(extra | options))
    axis.format_plot_xaxis(ax)
    ax.set_ylabel(label_with_unit("Data", spectrum.unit))
    _set_yscale(ax, spectrum.data)
    if others:
        ax.legend()
    return ax


def plot_map_hist(spectrum: RegionNDMap, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Plot values as steps; see `RegionNDMap.plot_hist`."""
    ax, axis = _axes(ax), spectrum.geom.axes[_single_axis(spectrum, None)]
    ax.stairs(spectrum.data.ravel().astype(float), axis.as_plot_edges.value, **kwargs)
    axis.format_plot_xaxis(ax)
    ax.set_ylabel(label_with_unit("Data", spectrum.unit))
    _set_yscale(ax, spectrum.data)
    return ax


def _set_yscale(ax: Axes, data: Any) -> None:
    if np.any(np.asarray(data) > 0) and not np.any(np.asarray(data) < 0):
        ax.set_yscale("log", nonpositive="mask")


def plot_map_mask(mask: RegionNDMap, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Shade the bins where the map is true; see `RegionNDMap.plot_mask`."""
    if not mask.is_mask:
        raise DataError(f"Plot: expected a boolean map, found one of {mask.data.dtype}")
    ax, axis = _axes(ax), mask.geom.axes[_single_axis(mask, None)]
    options: dict[str, Any] = {"color": "k", "alpha": 0.05, "lw": 0} | kwargs
    step = np.diff(np.concatenate([[0], mask.data.ravel().astype(int), [0]]))
    edges = axis.as_plot_edges.value
    for start, stop in zip(np.flatnonzero(step == 1), np.flatnonzero(step == -1), strict=True):
        ax.axvspan(edges[start], edges[stop], **options)
        # One entry in the legend for all ranges.
        options.pop("label", None)
    axis.format_plot_xaxis(ax)
    return ax

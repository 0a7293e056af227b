"""Plots of the fit statistic along parameters, and of the way of a minimiser."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.visualization.helpers import add_colorbar, make_axes, parameter_label

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

__all__ = ["plot_stat_profile", "plot_stat_surface", "plot_trace"]

Array = NDArray[np.float64]

_RISE = r"$\Delta(-2\,\ln L)$"


def _scans(result: Mapping[str, Any], n_dim: int) -> list[tuple[str, Array]]:
    """Names and values of the scanned parameters in the result of a scan."""
    found = [(key, values) for key, values in result.items() if key.endswith("_scan") and key != "stat_scan"]
    if "stat_scan" not in result or len(found) != n_dim:
        raise DataError(
            f"Expected the result of a scan of {n_dim} parameter{'s' * (n_dim > 1)}, "
            f"found the keys {', '.join(result)}"
        )
    return [(key.removesuffix("_scan"), np.asarray(getattr(v, "value", v), dtype=float)) for key, v in found]


def _unit(parameter: Any) -> Any:
    return "" if parameter is None else parameter.unit


def plot_stat_profile(
    profile: Mapping[str, Any],
    ax: "Axes | None" = None,
    parameter: Any = None,
    stat_min: float | None = None,
    sigma: Sequence[float] = (1, 2),
    **kwargs: Any,
) -> "Axes":
    """Plot the rise of the fit statistic along a parameter.

    Parameters
    ----------
    profile : dict
        Result of `~villard.modeling.Fit.stat_profile`.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw on.
    parameter : `~villard.modeling.Parameter`, optional
        Parameter, for the unit of its axis.
    stat_min : float, optional
        Statistic at the minimum; by default the lowest of the profile.
    sigma : list of float
        Levels to mark, as numbers of standard deviations; their squares are the rise.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.plot`.

    Returns
    -------
    `~matplotlib.axes.Axes`
        The axes.

    Raises
    ------
    DataError
        If it isn't the result of a profile.
    """
    import matplotlib.pyplot as plt

    ((name, values),) = _scans(profile, 1)
    stat = np.asarray(profile["stat_scan"], dtype=float)
    rise = stat - (np.nanmin(stat) if stat_min is None else stat_min)
    ax = plt.gca() if ax is None else ax
    ax.plot(values, rise, **{"marker": "o", "markersize": 4, **kwargs})
    highest = np.nanmax(rise)
    for level in sigma:
        if level**2 <= 1.1 * highest:
            ax.axhline(level**2, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
            ax.annotate(
                rf"{level:g}$\,\sigma$",
                (0.995, level**2),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color="0.4",
                fontsize="small",
            )
    ax.set_xlabel(parameter_label(name, _unit(parameter)))
    ax.set_ylabel(_RISE)
    ax.set_ylim(bottom=min(0.0, np.nanmin(rise)))
    return ax


def plot_stat_surface(
    surface: Mapping[str, Any],
    ax: "Axes | None" = None,
    x: Any = None,
    y: Any = None,
    stat_min: float | None = None,
    sigma: Sequence[float] = (1, 2, 3),
    **kwargs: Any,
) -> "Axes":
    """Plot the rise of the fit statistic on the grid of two parameters, with contours.

    Parameters
    ----------
    surface : dict
        Result of `~villard.modeling.Fit.stat_surface`.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw on.
    x, y : `~villard.modeling.Parameter`, optional
        The two parameters, for the units of their axes.
    stat_min : float, optional
        Statistic at the minimum; by default the lowest of the surface.
    sigma : list of float
        Contours to draw; their squares are the rise.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.pcolormesh`.

    Returns
    -------
    `~matplotlib.axes.Axes`
        The axes.

    Raises
    ------
    DataError
        If it isn't the result of a surface.
    """
    import matplotlib.pyplot as plt

    (name_x, values_x), (name_y, values_y) = _scans(surface, 2)
    stat = np.asarray(surface["stat_scan"], dtype=float).T
    rise = stat - (np.nanmin(stat) if stat_min is None else stat_min)
    ax = plt.gca() if ax is None else ax
    # Beyond a few sigma only the shape matters: the root keeps the valley visible.
    options: dict[str, Any] = {"shading": "nearest", "cmap": "Blues_r", "rasterized": True}
    if "norm" not in kwargs:
        from matplotlib.colors import PowerNorm

        options["norm"] = PowerNorm(0.5, vmin=0.0, vmax=float(np.nanmax(rise)))
    mesh = ax.pcolormesh(values_x, values_y, rise, **{**options, **kwargs})
    levels = [level**2 for level in sorted(sigma) if np.nanmin(rise) < level**2 < np.nanmax(rise)]
    if levels:
        lines = ax.contour(values_x, values_y, rise, levels=levels, colors="C1", linewidths=1.2)
        ax.clabel(lines, fmt=lambda rise: rf"{np.sqrt(rise):g}$\,\sigma$", fontsize="small")
    add_colorbar(mesh, ax, label=_RISE)
    ax.set_xlabel(parameter_label(name_x, _unit(x)))
    ax.set_ylabel(parameter_label(name_y, _unit(y)))
    return ax


def plot_trace(trace: "Table", axes: Any = None, **kwargs: Any) -> Any:
    """Plot statistic and parameters at each evaluation of a fit.

    Parameters
    ----------
    trace : `~astropy.table.Table`
        ``trace`` of a `~villard.modeling.FitResult`, of a fit with ``store_trace=True``.
    axes : array of `~matplotlib.axes.Axes`, optional
        Axes to draw on, one for the statistic and one per parameter.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.plot`.

    Returns
    -------
    array of `~matplotlib.axes.Axes`
        The axes.

    Raises
    ------
    DataError
        If there is no trace.
    """
    if trace is None or "total_stat" not in trace.colnames or not len(trace):
        raise DataError("There is no trace: fit with Fit(store_trace=True)")
    names = [name for name in trace.colnames if name != "total_stat"]
    panels = make_axes(axes, 1 + len(names), 1, (7.0, 1.6))
    options = {"marker": ".", "linewidth": 1, **kwargs}
    evaluation = np.arange(1, len(trace) + 1)
    stat = np.asarray(trace["total_stat"], dtype=float)
    lowest = np.nanmin(stat)
    # A logarithm shows the last digits; the minimum itself has none.
    above = np.where(stat > lowest, stat - lowest, np.nan)
    panels[0].plot(evaluation, above, **options)
    if np.any(np.isfinite(above)):
        panels[0].set_yscale("log")
    panels[0].set_ylabel(_RISE)
    for panel, name in zip(panels[1:], names, strict=True):
        panel.plot(evaluation, np.asarray(trace[name], dtype=float), **options)
        panel.set_ylabel(name.rsplit(".", 1)[-1])
    for panel in panels[:-1]:
        panel.sharex(panels[-1])
        panel.tick_params(labelbottom=False)
    panels[-1].set_xlabel("Evaluation")
    return panels

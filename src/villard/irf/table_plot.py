"""Plots of tables of responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BackgroundPlots", "panels", "plot_against_offset"]


def panels(plots: Sequence[Callable[[Axes], Any]], figsize: tuple[float, float]) -> Figure:
    """Return a figure with plots side by side.

    Parameters
    ----------
    plots : list of callable
        Each plots into the axes that it is given.
    figsize : tuple of float
        Size (inch).
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(plots), figsize=figsize, layout="constrained", squeeze=False)
    for ax, plot in zip(axes[0], plots, strict=True):
        plot(ax)
    return figure


def plot_against_offset(ax: Axes, axis: Any, energies: u.Quantity, values: Any, label: str) -> Axes:
    """Plot rows of values, one per energy, against the centres of an axis of offsets."""
    marker = "o" if axis.nbin == 1 else None
    for energy, row in zip(energies, values, strict=True):
        ax.plot(axis.center.to_value("deg"), row, marker=marker, label=f"{energy:.3g}")
    ax.set_xlabel("Offset [deg]")
    ax.set_ylabel(label)
    ax.legend()
    return ax


def some(axis: Any, n: int = 5) -> u.Quantity:
    """Return the centres of some bins of an axis."""
    return axis.center[np.unique(np.linspace(0, axis.nbin - 1, n + 2).round().astype(int))[1:-1]]


def default_offset(axes: Any, wanted: float) -> u.Quantity:
    """Return an offset (deg), or the one of a table that is nearest to it."""
    low, high = axes["offset"].bounds.to_value("deg")
    return u.Quantity(min(max(wanted, low), high), "deg")


class BackgroundPlots:
    """Plots of background rates, as methods."""

    def _rate(self: Any, energy: u.Quantity, offset: u.Quantity) -> Any:
        """Return rates (s-1 TeV-1 sr-1) at offsets along the longitude."""
        if "offset" in self.required_axes:
            return self.evaluate(energy=energy, offset=offset).to_value("s-1 TeV-1 sr-1")
        values = self.evaluate(energy=energy, fov_lon=offset, fov_lat=0 * u.deg)
        return values.to_value("s-1 TeV-1 sr-1")

    def _reach(self: Any) -> Any:
        name = "offset" if "offset" in self.required_axes else "fov_lon"
        return self.axes[name].bounds[1]

    def plot_spectrum(self: Any, ax: Axes | None = None, offset: Any = None, **kwargs: Any) -> Axes:
        """Plot the rate against energy.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        offset : `~astropy.units.Quantity`, optional
            Offsets; four within the table by default.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        axis = self.axes["energy"]
        offsets = np.linspace(0, 0.75, 4) * self._reach() if offset is None else u.Quantity(offset)
        for value in np.atleast_1d(offsets):
            rate = self._rate(axis.center, value)
            shown = np.where(rate > 1e-30, rate, np.nan)
            ax.plot(axis.as_plot_center.value, shown, **({"label": f"offset {value:.3g}"} | kwargs))
        axis.format_plot_xaxis(ax)
        ax.set_yscale("log")
        ax.set_ylabel("Rate [s$^{-1}$ TeV$^{-1}$ sr$^{-1}$]")
        ax.legend()
        return ax

    def plot_offset_dependence(self: Any, ax: Axes | None = None, energy: Any = None) -> Axes:
        """Plot the rate against the offset, relative to that at the pointing.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        energy : `~astropy.units.Quantity`, optional
            Energies; some of those of the table by default.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        offsets = np.linspace(0, 1, 60) * self._reach()
        for value in np.atleast_1d(some(self.axes["energy"]) if energy is None else u.Quantity(energy)):
            rate = self._rate(value, offsets)
            if rate[0] > 1e-30:
                ax.plot(offsets.to_value("deg"), rate / rate[0], label=f"{value:.3g}")
        ax.set_xlabel("Offset [deg]")
        ax.set_ylabel("Rate relative to the pointing")
        ax.legend()
        return ax

    def peek(self: Any, figsize: tuple[float, float] = (11, 4)) -> Figure:
        """Plot rates against energy and offset."""
        return panels([self.plot_spectrum, self.plot_offset_dependence], figsize)

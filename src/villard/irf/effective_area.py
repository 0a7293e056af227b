"""Effective areas as tables of true energy and offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.irf.table import IRF
from villard.irf.table_plot import panels, plot_against_offset, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EffectiveAreaTable2D"]


class EffectiveAreaTable2D(IRF):
    """Effective area with the axes "energy_true" and "offset" (from the pointing); parameters as for `IRF`.

    Examples
    --------
    >>> from villard.maps import MapAxis
    >>> energy = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2, name="energy_true")
    >>> offset = MapAxis.from_nodes([0, 2] * u.deg, name="offset")
    >>> aeff = EffectiveAreaTable2D([energy, offset], [[1e5, 0], [2e5, 1e5]] * u.m**2)
    >>> aeff.evaluate(energy_true=10 * u.TeV, offset=1 * u.deg)
    <Quantity 100000. m2>
    """

    tag = "aeff_2d"
    required_axes = ("energy_true", "offset")
    default_unit = u.m**2

    def plot_energy_dependence(
        self, ax: Axes | None = None, offset: u.Quantity | None = None, **kwargs: Any
    ) -> Axes:
        """Plot the area against energy.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        offset : `~astropy.units.Quantity`, optional
            Offsets; by default some of those of the table.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        axis, offsets = self.axes["energy_true"], self.axes["offset"]
        for value in np.atleast_1d(offsets.center[:6] if offset is None else u.Quantity(offset)):
            area = self.evaluate(energy_true=axis.center, offset=value).to_value("m2")
            shown = np.where(area > 0, area, np.nan)
            ax.plot(axis.as_plot_center.value, shown, **({"label": f"offset {value:.3g}"} | kwargs))
        axis.format_plot_xaxis(ax)
        ax.set_yscale("log")
        ax.set_ylabel("Effective area [m$^2$]")
        ax.legend()
        return ax

    def plot_offset_dependence(self, ax: Axes | None = None, energy: u.Quantity | None = None) -> Axes:
        """Plot the area against the offset.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        energy : `~astropy.units.Quantity`, optional
            Energies; some of those of the table by default.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        axis = self.axes["offset"]
        energies = np.atleast_1d(some(self.axes["energy_true"]) if energy is None else u.Quantity(energy))
        area = self.evaluate(energy_true=energies[:, np.newaxis], offset=axis.center).to_value("m2")
        return plot_against_offset(ax, axis, energies, area, "Effective area [m$^2$]")

    def peek(self, figsize: tuple[float, float] = (11, 4)) -> Figure:
        """Plot the area against energy and offset."""
        return panels([self.plot_energy_dependence, self.plot_offset_dependence], figsize)

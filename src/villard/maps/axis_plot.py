"""What plots need to know of an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["AxisPlot", "label_with_unit"]

_NAMES = {"energy": "Energy", "energy_true": "True energy", "migra": "Migra", "rad": "Radius"}


def label_with_unit(name: str, unit: u.UnitBase | str) -> str:
    """Return a label like "Energy [TeV]".

    Examples
    --------
    >>> label_with_unit("energy_true", "TeV")
    'True energy [TeV]'
    """
    name = _NAMES.get(name, name.replace("_", " ").capitalize())
    text = u.Unit(unit).to_string() if str(unit) else ""
    return f"{name} [{text}]" if text else name


class AxisPlot:
    """Plotting helpers of `MapAxis`."""

    name: str
    interp: str
    unit: u.UnitBase
    edges: u.Quantity
    edges_min: u.Quantity
    edges_max: u.Quantity
    center: u.Quantity

    @property
    def as_plot_center(self) -> u.Quantity:
        """Positions of points."""
        return self.center

    @property
    def as_plot_edges(self) -> u.Quantity:
        """Edges of steps."""
        return self.edges

    @property
    def as_plot_xerr(self) -> tuple[u.Quantity, u.Quantity]:
        """Distances from the centre to the lower and upper edge, for ``xerr``."""
        return self.center - self.edges_min, self.edges_max - self.center

    @property
    def as_plot_labels(self) -> list[str]:
        """One text per bin."""
        return [
            f"{lo:.2e} - {hi:.2e} {self.unit}".rstrip()
            for lo, hi in zip(self.edges_min.value, self.edges_max.value, strict=True)
        ]

    @property
    def as_plot_scale(self) -> str:
        """Scale of matplotlib that fits."""
        return {"lin": "linear", "log": "log", "sqrt": "linear"}[self.interp]

    @property
    def as_plot_label(self) -> str:
        """Label like "Energy [TeV]"."""
        return label_with_unit(self.name, self.unit)

    def format_plot_xaxis(self, ax: Axes) -> Axes:
        """Set scale and label of the x axis of a plot."""
        ax.set_xscale(self.as_plot_scale)
        ax.set_xlabel(self.as_plot_label)
        return ax

    def format_plot_yaxis(self, ax: Axes) -> Axes:
        """Set scale and label of the y axis of a plot."""
        ax.set_yscale(self.as_plot_scale)
        ax.set_ylabel(self.as_plot_label)
        return ax

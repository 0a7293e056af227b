"""Cuts on directions of responses for point sources, as tables of energy and offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.irf.table import IRF, is_on_axis
from villard.irf.table_plot import panels
from villard.maps.axis import MapAxis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from villard.irf.effective_area import EffectiveAreaTable2D

__all__ = ["RadMax2D"]


class RadMax2D(IRF):
    """Radius within which events were counted as those of a point source, when its response was made.

    It has the axes "energy" (reconstructed) and "offset" (from the pointing); parameters are as for `IRF`.
    Such responses have no point spread function: their effective area includes the cut. The cut was made in
    bins of energy, so the radius is the same throughout a bin; between offsets it is interpolated.

    Examples
    --------
    >>> energy = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    >>> offset = MapAxis.from_nodes([0, 1] * u.deg, name="offset")
    >>> rad_max = RadMax2D([energy, offset], [[0.2, 0.3], [0.1, 0.15]] * u.deg)
    >>> rad_max.evaluate(energy=[2, 9] * u.TeV, offset=0.5 * u.deg)
    <Quantity [0.25, 0.25] deg>
    """

    tag = "rad_max_2d"
    required_axes = ("energy", "offset")
    default_unit = u.deg

    @classmethod
    def from_irf(cls, irf: EffectiveAreaTable2D) -> RadMax2D:
        """Return the one radius in the keyword RAD_MAX of a response for point sources.

        Parameters
        ----------
        irf : `EffectiveAreaTable2D`
            Response.

        Raises
        ------
        DataError
            If there is no such keyword, or it isn't a positive number.
        """
        from villard.exceptions import DataError

        value = irf.meta.get("RAD_MAX")
        if not isinstance(value, (int, float)) or not (np.isfinite(value) and value > 0):
            raise DataError(
                f"{type(irf).__name__}: expected a radius (deg) in the keyword RAD_MAX, found {value!r}"
            )
        energy = MapAxis.from_energy_edges(irf.axes["energy_true"].bounds, name="energy")
        offset = MapAxis.from_edges(u.Quantity([0, 90], "deg"), name="offset")
        return cls([energy, offset], [[value]] * u.deg)

    def _interpolate(self, points: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        energy, offset = points
        axis = self.axes["energy"]
        idx = axis.coord_to_idx(energy * axis.unit, clip=True)
        return super()._interpolate(
            [np.where(is_on_axis(axis, energy), axis.center.value[idx], -1.0), offset]
        )

    @property
    def is_fixed_rad_max(self) -> bool:
        """Whether the radius is the same for all energies and offsets."""
        return bool(np.all(self.data == self.data.flat[0]))

    def plot_rad_max_vs_energy(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Plot the radius against energy, for each offset.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        axis = self.axes["energy"]
        for offset, values in zip(self.axes["offset"].center, self.quantity.to_value("deg").T, strict=True):
            options = {"label": f"offset {offset:.3g}", "drawstyle": "steps-mid"} | kwargs
            ax.plot(axis.as_plot_center.value, values, **options)
        axis.format_plot_xaxis(ax)
        ax.set_ylim(bottom=0)
        ax.set_ylabel("Radius [deg]")
        ax.legend()
        return ax

    def peek(self, figsize: tuple[float, float] = (6, 4)) -> Figure:
        """Plot the radius against energy."""
        return panels([self.plot_rad_max_vs_energy], figsize)

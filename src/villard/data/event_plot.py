"""Plots of lists of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import DataError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from villard.maps.wcs_map import WcsNDMap

__all__ = ["EventPlots"]


class EventPlots:
    """Plots, as methods of `~villard.data.EventList`."""

    def _pyplot_axes(self: Any, ax: Axes | None) -> Axes:
        import matplotlib.pyplot as plt

        return plt.gca() if ax is None else ax

    def plot_energy(
        self: Any, ax: Axes | None = None, energy_edges: u.Quantity | None = None, **kwargs: Any
    ) -> Axes:
        """Plot how many events there are in bins of energy.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        energy_edges : `~astropy.units.Quantity`, optional
            Edges of bins; by default ten per decade.
        **kwargs
            For `~matplotlib.axes.Axes.hist`.
        """
        ax = self._pyplot_axes(ax)
        values = self.energy.to_value("TeV")
        if energy_edges is None:
            if not len(values):
                raise DataError("EventList: there are no events to plot")
            low, high = np.floor(10 * np.log10(values.min())), np.ceil(10 * np.log10(values.max()))
            edges = 10 ** (np.arange(low, max(high, low + 1) + 1) / 10)
        else:
            edges = u.Quantity(energy_edges).to_value("TeV")
        ax.hist(values, bins=list(edges), **_options(kwargs, {"histtype": "step"}))
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("Energy [TeV]")
        ax.set_ylabel("Events")
        return ax

    def plot_time(self: Any, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Plot how many events there are in steps of time; parameters as for `plot_energy`."""
        ax = self._pyplot_axes(ax)
        seconds = self._seconds().value
        start = seconds.min() if len(seconds) else 0.0
        ax.hist(seconds - start, **_options(kwargs, {"bins": 20, "histtype": "step"}))
        ax.set_xlabel("Time after the first event [s]")
        ax.set_ylabel("Events")
        return ax

    def plot_offset2_distribution(
        self: Any, ax: Axes | None = None, center: SkyCoord | None = None, **kwargs: Any
    ) -> Axes:
        """Plot how many events there are in steps of the squared angle to a direction.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        center : `~astropy.coordinates.SkyCoord`, optional
            Direction; the pointing by default.
        **kwargs
            For `~matplotlib.axes.Axes.hist`.
        """
        ax = self._pyplot_axes(ax)
        center = self.pointing_radec if center is None else center
        squared = self.radec.separation(center).deg ** 2
        # A few events far out mustn't push all others into one bin.
        reach = min(1.5 * np.quantile(squared, 0.99), squared.max()) if len(squared) else 1.0
        options = {"bins": 30, "histtype": "step", "range": (0, max(reach, 1e-6))}
        ax.hist(squared, **_options(kwargs, options))
        ax.set_xlabel("Offset$^2$ [deg$^2$]")
        ax.set_ylabel("Events")
        return ax

    def plot_energy_offset(
        self: Any, ax: Axes | None = None, center: SkyCoord | None = None, **kwargs: Any
    ) -> Axes:
        """Plot how many events there are in bins of energy and angle to a direction.

        Parameters
        ----------
        ax, center
            As for `plot_offset2_distribution`.
        **kwargs
            For `~matplotlib.axes.Axes.pcolormesh`.
        """
        ax = self._pyplot_axes(ax)
        center = self.pointing_radec if center is None else center
        energy, offset = self.energy.to_value("TeV"), self.radec.separation(center).deg
        if not len(energy):
            raise DataError("EventList: there are no events to plot")
        edges = np.geomspace(energy.min(), energy.max() * 1.001, 30), np.linspace(0, offset.max() * 1.001, 30)
        counts, _, _ = np.histogram2d(energy, offset, bins=edges)
        ax.pcolormesh(*edges, np.log10(np.where(counts > 0, counts, np.nan)).T, **kwargs)
        ax.set_xscale("log")
        ax.set_xlabel("Energy [TeV]")
        ax.set_ylabel("Offset [deg]")
        return ax

    def to_image(self: Any, width: u.Quantity | None = None, binsz: u.Quantity | None = None) -> WcsNDMap:
        """Return an image of the numbers of events.

        Parameters
        ----------
        width, binsz : `~astropy.units.Quantity`, optional
            Width of the image, by default such that it shows 99 % of the events, and of its pixels.
        """
        from villard.maps import WcsGeom, WcsNDMap

        center = self._center()
        if width is None:
            far = np.quantile(self.radec.separation(center).deg, 0.99) if len(self.energy) else 1.0
            width = float(np.clip(2.1 * far, 0.2, 40)) * u.deg
        binsz = u.Quantity(width) / 80 if binsz is None else binsz
        geom = WcsGeom.create(skydir=center, width=u.Quantity(width), binsz=u.Quantity(binsz), proj="TAN")
        image = WcsNDMap(geom)
        image.fill_by_coord({"skycoord": self.radec})
        return image

    def _center(self: Any) -> SkyCoord:
        """Return the pointing or, where there is none, the mean of the events' directions."""
        from astropy.coordinates import SkyCoord

        try:
            return self.pointing_radec
        except DataError:
            if not len(self.energy):
                raise
            mean = SkyCoord(self.radec.cartesian.mean(), frame="icrs").spherical
            return SkyCoord(mean.lon, mean.lat, frame="icrs")

    def plot_image(self: Any, ax: Axes | None = None, width: u.Quantity | None = None, **kwargs: Any) -> Axes:
        """Plot an image of the numbers of events, smoothed a little.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; its projection must be that of the sky.
        width : `~astropy.units.Quantity`, optional
            Width of the image; see `to_image`.
        **kwargs
            For `~villard.maps.WcsNDMap.plot`.
        """
        image = self.to_image(width)
        return image.smooth(1.0 * image.geom.pixel_scales[0]).plot(
            ax=ax, **_options(kwargs, {"stretch": "sqrt"})
        )

    def peek(self: Any, figsize: tuple[float, float] = (11, 8)) -> Figure:
        """Plot energies, directions, offsets and times.

        Parameters
        ----------
        figsize : tuple of float
            Size of the figure (inch).
        """
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=figsize, layout="constrained")
        image = self.to_image()
        self.plot_energy(figure.add_subplot(2, 2, 1))
        self.plot_image(figure.add_subplot(2, 2, 2, projection=image.geom.wcs))
        self.plot_offset2_distribution(figure.add_subplot(2, 2, 3), center=self._center())
        last = figure.add_subplot(2, 2, 4)
        if "TIME" in self.table.colnames:
            self.plot_time(last)
        else:
            self.plot_energy_offset(last, center=self._center())
        return figure


def _options(given: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    return default | given

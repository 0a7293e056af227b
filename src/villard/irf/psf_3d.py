"""Point spread functions as tables of true energy, offset and angle to the source."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.irf.psf_table import RadialTable, values_of_means
from villard.irf.table import IRF
from villard.maps.axis import value_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PSF3D", "OffsetPSF"]

Array = NDArray[np.float64]


class OffsetPSF:
    """What point spread functions of energy and offset have in common: containment and plots."""

    axes: Any

    def radial_tables(self, energy_true: u.Quantity, offset: u.Quantity) -> list[RadialTable]:
        """Return the shapes at energies and offsets (arrays of one shape); subclasses define it."""
        raise NotImplementedError

    def _tables(
        self, values: ArrayLike, energy_true: u.Quantity, offset: u.Quantity
    ) -> tuple[list[RadialTable], Array]:
        energy, place, other = np.broadcast_arrays(
            u.Quantity(energy_true), u.Quantity(offset), np.asarray(values, dtype=float), subok=True
        )
        return self.radial_tables(energy.ravel(), place.ravel()), np.asarray(other)

    def containment(self, rad: u.Quantity, energy_true: u.Quantity, offset: u.Quantity) -> u.Quantity:
        """Return the fraction of photons within angles; NaN where there is no point spread function.

        Parameters
        ----------
        rad, energy_true, offset : `~astropy.units.Quantity`
            Angles, energies and offsets, which broadcast against each other.
        """
        tables, theta = self._tables(value_in(rad, u.rad, "PSF, rad"), energy_true, offset)
        values = [float(table.containment(a)) for table, a in zip(tables, theta.ravel(), strict=True)]
        return u.Quantity(np.reshape(values, theta.shape))

    def containment_radius(
        self, fraction: ArrayLike, energy_true: u.Quantity, offset: u.Quantity
    ) -> u.Quantity:
        """Return angles that contain fractions of the photons (deg).

        Parameters
        ----------
        fraction : float or array-like
            Fractions between 0 and 1.
        energy_true, offset : `~astropy.units.Quantity`
            Energies and offsets; all broadcast against each other.
        """
        tables, fractions = self._tables(fraction, energy_true, offset)
        if not np.all((fractions >= 0) & (fractions <= 1)):
            raise DataError(f"PSF: expected fractions between 0 and 1, found {fractions}")
        pairs = zip(tables, fractions.ravel(), strict=True)
        values = [np.degrees(float(table.containment_radius(item))) for table, item in pairs]
        return u.Quantity(np.reshape(values, fractions.shape), "deg")

    def plot_containment_radius_vs_energy(
        self,
        ax: Axes | None = None,
        fraction: ArrayLike = (0.68, 0.95),
        offset: u.Quantity | None = None,
        **kwargs: Any,
    ) -> Axes:
        """Plot containment radii against energy.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        fraction : float or array-like
            Fractions.
        offset : `~astropy.units.Quantity`, optional
            Offset; by default 0, or the least one of the table.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        import matplotlib.pyplot as plt

        from villard.irf.table_plot import default_offset

        ax = plt.gca() if ax is None else ax
        axis = self.axes["energy_true"]
        offset = default_offset(self.axes, 0.0) if offset is None else offset
        for value in np.atleast_1d(np.asarray(fraction, dtype=float)):
            radius = self.containment_radius(value, axis.center, offset).to_value("deg")
            label = f"{100 * value:g} %, offset {u.Quantity(offset):.3g}"
            ax.plot(axis.as_plot_center.value, radius, **({"label": label} | kwargs))
        axis.format_plot_xaxis(ax)
        ax.set_ylabel("Containment radius [deg]")
        ax.legend()
        return ax

    def plot_psf_vs_rad(
        self, ax: Axes | None = None, offset: u.Quantity | None = None, energy_true: u.Quantity | None = None
    ) -> Axes:
        """Plot shapes against the angle to the source.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        offset : `~astropy.units.Quantity`, optional
            Offset; by default 0.5 deg, or the one of the table that is nearest to it.
        energy_true : `~astropy.units.Quantity`, optional
            True energies; some of those of the table by default.
        """
        import matplotlib.pyplot as plt

        from villard.irf.table_plot import default_offset, some

        ax = plt.gca() if ax is None else ax
        offset = default_offset(self.axes, 0.5) if offset is None else offset
        energies = np.atleast_1d(
            some(self.axes["energy_true"]) if energy_true is None else u.Quantity(energy_true)
        )
        tables, _ = self._tables(0.0, energies, offset)
        known = [table for table in tables if table.integral > 0]
        reach = max((float(table.containment_radius(0.99)) for table in known), default=0.01)
        theta, top = np.linspace(0, reach, 200), 0.0
        for energy, table in zip(energies, tables, strict=True):
            if table.integral > 0:
                values = table.evaluate(theta)
                top = max(top, float(values.max()))
                ax.plot(np.degrees(theta), values, label=f"{energy:.3g}")
        ax.set_yscale("log")
        if top > 0:
            # Far out Gaussians fall to nothing, and simulated tables are noise.
            ax.set_ylim(1e-6 * top, 3 * top)
        ax.set_xlabel("Angle to the source [deg]")
        ax.set_ylabel("PSF [sr$^{-1}$]")
        ax.legend()
        return ax

    def peek(self, figsize: tuple[float, float] = (11, 4)) -> Figure:
        """Plot containment radii against energy, and some shapes."""
        from villard.irf.table_plot import panels

        return panels([self.plot_containment_radius_vs_energy, self.plot_psf_vs_rad], figsize)


class PSF3D(OffsetPSF, IRF):
    """Probability per solid angle with the axes "energy_true", "offset" and "rad".

    Parameters are as for `IRF`.
    """

    tag = "psf_table"
    required_axes = ("energy_true", "offset", "rad")
    default_unit = u.Unit("sr-1")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first = self.axes["rad"].center[0]
        if first.value < 0:
            raise DataError(f"PSF3D: expected angles 'rad' from 0 on, found a first one of {first}")

    def radial_tables(self, energy_true: u.Quantity, offset: u.Quantity) -> list[RadialTable]:
        """Return the shapes at energies and offsets.

        Parameters
        ----------
        energy_true, offset : `~astropy.units.Quantity`
            Energies and offsets, shape (n,).

        Returns
        -------
        list of `~villard.irf.psf_table.RadialTable`
            Shapes, with the integral 1, or 0 where there is none.
        """
        values = self._at_middles.evaluate(
            energy_true=u.Quantity(energy_true)[:, np.newaxis],
            offset=u.Quantity(offset)[:, np.newaxis],
            rad=self.axes["rad"].center,
        ).to_value("sr-1")
        theta, end = self._theta
        return [RadialTable(theta, row, theta_max=end).normalized() for row in values]

    @property
    def _theta(self) -> tuple[Array, float]:
        """Middles of the bins, and the end of the table (rad)."""
        rad = self.axes["rad"]
        return rad.center.to_value("rad"), float(rad.edges[-1].to_value("rad"))

    @cached_property
    def _at_middles(self) -> PSF3D:
        """Table of values at the middles of bins, between which shapes are interpolated.

        Files have means over bins, or values at their middles: it is what has the integral 1.
        """
        theta, end = self._theta
        edges = self.axes["rad"].edges.to_value("rad")
        data = self.data * float(self.unit.to("sr-1"))
        for index in np.ndindex(data.shape[:2]):
            row = data[index]
            by_means = np.pi * np.sum(np.diff(4 * np.sin(edges / 2) ** 2) * row)
            by_values = RadialTable(theta, row, theta_max=end).integral
            if abs(by_means - 1) < abs(by_values - 1):
                data[index] = values_of_means(edges, row)
        return PSF3D(self.axes, data, "sr-1", self.meta)

    def normalized(self) -> PSF3D:
        """Return values at the middles of bins with the integral 1, or 0 where the table is all zero."""
        theta, end = self._theta
        data = self._at_middles.data.copy()
        for index in np.ndindex(data.shape[:2]):
            data[index] /= RadialTable(theta, data[index], theta_max=end).integral or 1.0
        return PSF3D(self.axes, data, "sr-1", self.meta)

    def to_psf3d(self, rad_axis: Any = None) -> PSF3D:
        """Return the table as values at other angles.

        Parameters
        ----------
        rad_axis : `~villard.maps.MapAxis`, optional
            Angles; the table itself is returned by default.
        """
        if rad_axis is None:
            return self
        theta, end = self._theta
        edges = rad_axis.edges.to_value("rad")
        areas = np.pi * np.diff(4 * np.sin(edges / 2) ** 2)
        data = np.zeros((*self.data.shape[:2], rad_axis.nbin))
        for index in np.ndindex(data.shape[:2]):
            table = RadialTable(theta, self._at_middles.data[index], theta_max=end)
            # Wide bins hold as much as there is in them.
            data[index] = values_of_means(edges, np.maximum(-np.diff(table.outside(edges)), 0.0) / areas)
        axes = [self.axes["energy_true"], self.axes["offset"], rad_axis]
        return PSF3D(axes, data, "sr-1", self.meta)

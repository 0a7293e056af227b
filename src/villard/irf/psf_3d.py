"""Point spread functions as tables of true energy, offset and angle to the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.irf.psf_table import RadialTable
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
        rad = self.axes["rad"]
        values = self.evaluate(
            energy_true=u.Quantity(energy_true)[:, np.newaxis],
            offset=u.Quantity(offset)[:, np.newaxis],
            rad=rad.center,
        ).to_value("sr-1")
        theta, end = rad.center.to_value("rad"), float(rad.edges[-1].to_value("rad"))
        return [RadialTable(theta, row, theta_max=end).normalized() for row in values]

    def normalized(self) -> PSF3D:
        """Return the table with the integral 1 for each energy and offset, unless it is all zero."""
        rad = self.axes["rad"]
        theta, end = rad.center.to_value("rad"), float(rad.edges[-1].to_value("rad"))
        data, factor = self.data.copy(), float(self.unit.to("sr-1"))
        for index in np.ndindex(data.shape[:2]):
            data[index] /= RadialTable(theta, data[index] * factor, theta_max=end).integral or 1.0
        return PSF3D(self.axes, data, self.unit, self.meta)

    def to_psf3d(self, rad_axis: Any = None) -> PSF3D:
        """Return the table at other angles.

        Parameters
        ----------
        rad_axis : `~villard.maps.MapAxis`, optional
            Angles; those of the table by default.
        """
        if rad_axis is None:
            return self
        rad = self.axes["rad"]
        theta, end = rad.center.to_value("rad"), float(rad.edges[-1].to_value("rad"))
        at, factor = rad_axis.center.to_value("rad"), float(self.unit.to("sr-1"))
        data = np.zeros((*self.data.shape[:2], rad_axis.nbin))
        for index in np.ndindex(data.shape[:2]):
            data[index] = RadialTable(theta, self.data[index] * factor, theta_max=end).evaluate(at)
        axes = [self.axes["energy_true"], self.axes["offset"], rad_axis]
        return PSF3D(axes, data, "sr-1", self.meta)

"""Energy dispersion as a table of true energy, ratio of energies, and offset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.irf.edisp_kernel import EDispKernel
from villard.irf.migra import gauss_table, kernel_matrices
from villard.irf.table import IRF, is_on_axis
from villard.irf.table_plot import default_offset, panels
from villard.maps.axis import MapAxis, value_in
from villard.maps.interpolation import interpolate_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EnergyDispersion2D"]


def _one_bin(axis: MapAxis) -> MapAxis:
    return MapAxis.from_edges(axis.bounds, name=axis.name)


def _on_product(
    axes: Sequence[MapAxis], data: NDArray[np.float64], points: Sequence[NDArray[np.float64]]
) -> Any:
    """Interpolate on a product of coordinates: at the nodes of offset first, between which it is linear."""
    *others, last = axes
    nodes = last.center.value
    grid = np.meshgrid(*points[:2], nodes, indexing="ij")
    at_nodes = interpolate_grid([*others, last], data, grid)
    weights = np.stack([interpolate_grid([last], row, [points[2]]) for row in np.eye(len(nodes))])
    return at_nodes @ weights


class EnergyDispersion2D(IRF):
    """Probability density of migra = E / E_true with the axes "energy_true", "migra" and "offset".

    Parameters are as for `IRF`. Files of some observatories have other densities than those with the
    integral 1, so they are normalised (see `normalized`) wherever they are used, other than in `evaluate`.
    """

    tag = "edisp_2d"
    required_axes = ("energy_true", "migra", "offset")

    @classmethod
    def from_gauss(
        cls,
        energy_axis_true: MapAxis,
        migra_axis: MapAxis,
        offset_axis: MapAxis,
        sigma: ArrayLike,
        bias: ArrayLike = 0.0,
    ) -> EnergyDispersion2D:
        """Make a table in which migra has a Gaussian distribution, the same for all offsets.

        Parameters
        ----------
        energy_axis_true, migra_axis, offset_axis : `~villard.maps.MapAxis`
            Axes.
        sigma, bias : float or array-like
            Width, and mean less 1, the same or one per true energy.

        Examples
        --------
        >>> true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
        >>> migra = MapAxis.from_bounds(0, 3, nbin=100, name="migra")
        >>> offset = MapAxis.from_nodes([0, 2] * u.deg, name="offset")
        >>> edisp = EnergyDispersion2D.from_gauss(true, migra, offset, sigma=0.2)
        >>> edisp.to_edisp_kernel(offset=1 * u.deg).pdf_matrix.round(2)
        array([[0.99, 0.  ],
               [0.01, 0.99]])
        """
        data = gauss_table(migra_axis.edges.value, sigma, bias, energy_axis_true.nbin)
        data = np.repeat(data[..., np.newaxis], offset_axis.nbin, axis=-1)
        return cls([energy_axis_true, migra_axis, offset_axis], data)

    @cached_property
    def normalized(self) -> EnergyDispersion2D:
        """The table with the integral 1 over migra for each energy and offset, unless it is all zero."""
        widths = self.axes["migra"].bin_width.value[:, np.newaxis]
        total = np.sum(self.data * widths, axis=1, keepdims=True)
        data = np.divide(self.data, total, out=np.zeros(self.data.shape), where=total > 0)
        return EnergyDispersion2D(self.axes, data, meta=self.meta)

    @cached_property
    def _is_there(self) -> EnergyDispersion2D:
        """The table with 1 where there is a distribution, and 0 where all densities are zero."""
        data = np.broadcast_to(np.any(self.data > 0, axis=1, keepdims=True), self.data.shape)
        return EnergyDispersion2D(self.axes, data.astype(float))

    def evaluate_normalized(
        self, energy_true: u.Quantity, migra: ArrayLike, offset: u.Quantity
    ) -> NDArray[np.float64]:
        """Return densities with the integral 1 over migra, also between energies that have none and others.

        Distributions of neighbouring energies and offsets are mixed; those that are zero everywhere, because
        no event was simulated there, don't count.

        Parameters
        ----------
        energy_true, migra, offset : `~astropy.units.Quantity`
            Coordinates, which broadcast against each other.

        Returns
        -------
        `~numpy.ndarray`
            Densities; zero where all neighbours are zero, and beyond the axes of the table.
        """
        coords = {"energy_true": energy_true, "migra": migra, "offset": offset}
        values = self.normalized.evaluate(**coords).value
        share = self._is_there.evaluate(**coords).value
        return np.asarray(np.divide(values, share, out=np.zeros(values.shape), where=share > 0))

    def densities(self, energy_true: u.Quantity, offset: u.Quantity) -> NDArray[np.float64]:
        """Return normalised densities at the centres of migra.

        Parameters
        ----------
        energy_true, offset : `~astropy.units.Quantity`
            True energies, shape (n,), and offsets, shape (m,).

        Returns
        -------
        `~numpy.ndarray`
            Densities, shape (n, n_migra, m); zero beyond the axes of the table.
        """
        return self.evaluate_grid(energy_true, self.axes["migra"].center, offset)

    def evaluate_grid(
        self, energy_true: u.Quantity, migra: ArrayLike, offset: u.Quantity
    ) -> NDArray[np.float64]:
        """Return what `evaluate_normalized` does for all combinations of coordinates, only faster.

        Parameters
        ----------
        energy_true, migra, offset : `~astropy.units.Quantity`
            True energies, shape (n,), values of migra, shape (k,), and offsets, shape (m,).

        Returns
        -------
        `~numpy.ndarray`
            Densities, shape (n, k, m).
        """
        where = type(self).__name__
        coords = (energy_true, migra, offset)
        points = [value_in(c, a.unit, f"{where}, {a.name}") for c, a in zip(coords, self.axes, strict=True)]
        inside = [is_on_axis(axis, point) for axis, point in zip(self.axes, points, strict=True)]
        near = [np.clip(p, *axis.bounds.value) for p, axis in zip(points, self.axes, strict=True)]
        values = np.maximum(_on_product(self.axes, self.normalized.data, near), 0.0)
        # Where there is a distribution doesn't depend on migra.
        there = self._is_there.data[:, :1]
        axes = [self.axes["energy_true"], _one_bin(self.axes["migra"]), self.axes["offset"]]
        share = np.maximum(_on_product(axes, there, [near[0], near[1][:1], near[2]]), 0.0)
        result = np.divide(values, share, out=np.zeros(values.shape), where=share > 0)
        for k, good in enumerate(inside):
            if not np.all(good):
                result *= np.expand_dims(good, [i for i in range(3) if i != k])
        return result

    def to_edisp_kernel(
        self, offset: u.Quantity, energy_axis_true: MapAxis | None = None, energy_axis: MapAxis | None = None
    ) -> EDispKernel:
        """Return the matrix at an offset.

        Parameters
        ----------
        offset : `~astropy.units.Quantity`
            Offset from the pointing.
        energy_axis_true : `~villard.maps.MapAxis`, optional
            True energies; those of the table by default.
        energy_axis : `~villard.maps.MapAxis`, optional
            Reconstructed energies; the edges of the true energies by default.
        """
        true = self.axes["energy_true"] if energy_axis_true is None else energy_axis_true
        if energy_axis is None:
            energy_axis = true.to_node_type("edges")
        density = self.densities(true.center, np.atleast_1d(u.Quantity(offset)))
        migra = self.axes["migra"].edges.value
        matrix = kernel_matrices(density, migra, true.center_engine, energy_axis.edges_engine)
        return EDispKernel([true, energy_axis.rename("energy")], matrix[..., 0])

    def plot_migration(
        self,
        ax: Axes | None = None,
        offset: u.Quantity | None = None,
        energy_true: u.Quantity | None = None,
        **kwargs: Any,
    ) -> Axes:
        """Plot densities against migra.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        offset : `~astropy.units.Quantity`, optional
            Offset; by default 1 deg, or the one of the table that is nearest to it.
        energy_true : `~astropy.units.Quantity`, optional
            True energies; by default some of those of the table that have a distribution.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        axis = self.axes["energy_true"]
        offset = default_offset(self.axes, 1.0) if offset is None else offset
        if energy_true is None:
            there = self.densities(axis.center, np.atleast_1d(u.Quantity(offset))).any(axis=(1, 2))
            shown = np.flatnonzero(there) if there.any() else np.arange(axis.nbin)
            # The outermost ones have few events.
            energy_true = axis.center[shown[np.linspace(0, len(shown) - 1, 7).round().astype(int)[1:-1]]]
        energies = np.unique(np.atleast_1d(u.Quantity(energy_true)))
        rows = self.densities(energies, np.atleast_1d(u.Quantity(offset)))[..., 0]
        for energy, row in zip(energies, rows, strict=True):
            ax.plot(self.axes["migra"].center.value, row, **({"label": f"{energy:.3g}"} | kwargs))
        ax.set_xlabel("Energy / true energy")
        ax.set_ylabel("Probability density")
        ax.legend()
        return ax

    def plot_bias(self, ax: Axes | None = None, offset: u.Quantity | None = None, **kwargs: Any) -> Axes:
        """Plot the mean of E / E_true - 1 and its spread against true energy.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        offset : `~astropy.units.Quantity`, optional
            Offset; by default 1 deg, or the one of the table that is nearest to it.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        offset = default_offset(self.axes, 1.0) if offset is None else offset
        axis, migra = self.axes["energy_true"], self.axes["migra"]
        density = self.densities(axis.center, np.atleast_1d(u.Quantity(offset)))[..., 0]
        share = density * migra.bin_width.value
        total = share.sum(axis=1)
        known, x = total > 0, migra.center.value
        mean = np.divide(share @ x, total, out=np.full(total.shape, np.nan), where=known)
        square = np.divide(share @ x**2, total, out=np.full(total.shape, np.nan), where=known)
        energy = axis.as_plot_center.value
        ax.plot(energy, mean - 1, **({"label": "bias"} | kwargs))
        ax.plot(
            energy, np.sqrt(np.maximum(square - mean**2, 0)), **({"label": "standard deviation"} | kwargs)
        )
        axis.format_plot_xaxis(ax)
        ax.set_ylabel("Bias and spread of E / E$_{true}$")
        ax.legend()
        return ax

    def peek(self, figsize: tuple[float, float] = (11, 4)) -> Figure:
        """Plot densities at some energies, and the bias and spread of all."""
        return panels([self.plot_migration, self.plot_bias], figsize)

"""Plots of point spread functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from villard.irf.psf_kernel import PSFKernel
    from villard.irf.psf_map import PSFMap

__all__ = ["peek_kernel", "peek_map", "plot_containment_radius_vs_energy", "plot_psf_vs_rad"]


def plot_containment_radius_vs_energy(
    psf: PSFMap, ax: Axes | None = None, fraction: ArrayLike = (0.68, 0.95), **kwargs: Any
) -> Axes:
    """Plot containment radii; see `PSFMap.plot_containment_radius_vs_energy`."""
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    axis = psf.energy_axis_true
    for value in np.atleast_1d(np.asarray(fraction, dtype=float)):
        radius = psf.containment_radius(value, axis.center).to_value("deg")
        ax.plot(axis.as_plot_center.value, radius, **({"label": f"{100 * value:g} %"} | kwargs))
    axis.format_plot_xaxis(ax)
    ax.set_ylabel("Containment radius [deg]")
    ax.set_ylim(bottom=0)
    ax.legend()
    return ax


def plot_psf_vs_rad(
    psf: PSFMap, ax: Axes | None = None, energy_true: u.Quantity | None = None, **kwargs: Any
) -> Axes:
    """Plot profiles; see `PSFMap.plot_psf_vs_rad`."""
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    axis = psf.energy_axis_true
    if energy_true is None:
        energy_true = axis.center[np.unique(np.linspace(0, axis.nbin - 1, 4).round().astype(int))]
    energy_true = np.atleast_1d(u.Quantity(energy_true))
    rad, values = psf.radial_profile(energy_true=energy_true)
    for energy, row in zip(energy_true, values, strict=True):
        # A logarithmic scale has no place for zero.
        shown = np.where(row > 0, row, np.nan)
        ax.plot(rad, shown, **({"label": f"{energy.to(axis.as_plot_unit):.3g}"} | kwargs))
    ax.set_yscale("log")
    ax.set_xlabel("Angle to the source [deg]")
    ax.set_ylabel("PSF [sr$^{-1}$]")
    ax.legend()
    return ax


def peek_map(psf: PSFMap, figsize: tuple[float, float] = (12, 5)) -> Figure:
    """Plot containment radii and profiles side by side."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=figsize, layout="constrained")
    plot_containment_radius_vs_energy(psf, ax=left)
    plot_psf_vs_rad(psf, ax=right)
    return figure


def peek_kernel(kernel: PSFKernel, figsize: tuple[float, float] = (12, 5)) -> Figure:
    """Plot the kernel, and the fraction that it contains against the angle for some energies."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=figsize, layout="constrained")
    geom = kernel.psf_kernel_map.geom
    left = figure.add_subplot(1, 2, 1, projection=geom.wcs)
    kernel.plot_kernel(ax=left, add_cbar=True)
    right = figure.add_subplot(1, 2, 2)
    distance = geom.to_image().separation(geom.center_skydir).to_value("deg").ravel()
    order = np.argsort(distance)
    images = kernel.data.reshape(-1, distance.size)
    for i in np.unique(np.linspace(0, len(images) - 1, 4).round().astype(int)):
        label = None if geom.is_image else f"{geom.axes[0].as_plot_center[i]:.3g}"
        right.plot(distance[order], np.cumsum(images[i][order]), label=label)
    right.set_xlabel("Angle to the source [deg]")
    right.set_ylabel("Fraction contained")
    if not geom.is_image:
        right.legend()
    return figure

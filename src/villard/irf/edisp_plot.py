"""Plots of energy dispersion kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from villard.irf.edisp_kernel import EDispKernel

__all__ = ["peek", "plot_bias", "plot_matrix"]


def plot_matrix(kernel: EDispKernel, ax: Axes | None = None, add_cbar: bool = False, **kwargs: Any) -> Axes:
    """Plot the matrix, true energy to the right, reconstructed energy upwards.

    Parameters
    ----------
    kernel : `EDispKernel`
        Kernel.
    ax : `~matplotlib.axes.Axes`, optional
        Where to plot; the current axes by default.
    add_cbar : bool
        Whether to add a colour bar.
    **kwargs
        For `~matplotlib.axes.Axes.pcolormesh`.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import PowerNorm

    ax = plt.gca() if ax is None else ax
    true, reco = kernel.axes["energy_true"], kernel.axes["energy"]
    # A square root shows the tails beside the peak.
    options: dict[str, Any] = {"cmap": "GnBu", "edgecolors": "face"} | kwargs
    if not options.keys() & {"norm", "vmin", "vmax"}:
        options["norm"] = PowerNorm(gamma=0.5)
    values = np.ma.masked_equal(kernel.pdf_matrix.T, 0)
    mesh = ax.pcolormesh(true.as_plot_edges.value, reco.as_plot_edges.value, values, **options)
    if add_cbar:
        ax.figure.colorbar(mesh, ax=ax, label="Probability per bin")
    true.format_plot_xaxis(ax)
    reco.format_plot_yaxis(ax)
    return ax


def plot_bias(kernel: EDispKernel, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Plot the relative bias as a line and the relative resolution as a band around it.

    Parameters
    ----------
    kernel : `EDispKernel`
        Kernel.
    ax : `~matplotlib.axes.Axes`, optional
        Where to plot; the current axes by default.
    **kwargs
        For `~matplotlib.axes.Axes.plot`.
    """
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    true = kernel.axes["energy_true"]
    energy, bias, resolution = (
        true.as_plot_center,
        kernel.get_bias(true.center),
        kernel.get_resolution(true.center),
    )
    (line,) = ax.plot(energy.value, bias, **({"label": "bias"} | kwargs))
    ax.fill_between(
        energy.value,
        bias - resolution,
        bias + resolution,
        color=line.get_color(),
        alpha=0.2,
        lw=0,
        label="± resolution",
    )
    ax.axhline(0, color="0.5", lw=0.8, ls=":")
    true.format_plot_xaxis(ax)
    ax.set_ylabel(r"$E / E_\mathrm{true} - 1$")
    ax.legend()
    return ax


def peek(kernel: EDispKernel, figsize: tuple[float, float] = (12, 5)) -> Figure:
    """Plot matrix and bias side by side."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=figsize, layout="constrained")
    plot_matrix(kernel, ax=left, add_cbar=True)
    plot_bias(kernel, ax=right)
    return figure

"""Plots of spectrum datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SpectrumPlots", "poisson_interval"]

Array = NDArray[np.float64]

_LABELS = {
    "diff": "data - model\n[counts]",
    "diff/sqrt(model)": "(data - model)\n" r"/ $\sqrt{\mathrm{model}}$",
    "diff/model": "(data - model)\n/ model",
}


def poisson_interval(counts: Any) -> tuple[Array, Array]:
    """Return the bounds of the central 68 % confidence interval of Poisson means.

    Source: Garwood 1936, Biometrika 28, 437.

    Parameters
    ----------
    counts : array
        Observed counts.

    Returns
    -------
    low, high : array
        Bounds, of the shape of ``counts``; the lower one is 0 where there are no counts.

    Examples
    --------
    >>> [float(bound.round(3)) for bound in poisson_interval(3)]
    [1.367, 5.918]
    """
    from scipy.special import gammaincinv, ndtr

    counts = np.asarray(counts, dtype=float)
    some = counts > 0
    low = np.where(some, gammaincinv(np.where(some, counts, 1.0), ndtr(-1)), 0.0)
    return low, gammaincinv(counts + 1, ndtr(1))


class SpectrumPlots:
    """Methods of `SpectrumDataset` that plot."""

    def plot_counts(
        self: Any,
        ax: Axes | None = None,
        kwargs_counts: dict[str, Any] | None = None,
        kwargs_background: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Axes:
        """Plot counts and background.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        kwargs_counts, kwargs_background : dict, optional
            For `~matplotlib.axes.Axes.errorbar`.
        **kwargs
            For both.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            Axes.
        """
        (counts,) = self._require("counts")
        ax = _current(ax)
        self._errorbar(
            ax, counts, self._counts_errors(), {"label": "Counts"} | kwargs | (kwargs_counts or {})
        )
        background = self.background
        if background is not None:
            options = {"label": "Background"} | kwargs | (kwargs_background or {})
            self._errorbar(ax, background, self._background_errors(), options)
        ax.set_ylabel("Counts")
        ax.legend()
        return ax

    def plot_excess(
        self: Any,
        ax: Axes | None = None,
        kwargs_excess: dict[str, Any] | None = None,
        kwargs_npred_signal: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Axes:
        """Plot the excess and, if there are models, their predicted counts.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        kwargs_excess : dict, optional
            For `~matplotlib.axes.Axes.errorbar`.
        kwargs_npred_signal : dict, optional
            For `~matplotlib.axes.Axes.stairs`.
        **kwargs
            For both.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            Axes.
        """
        ax = _current(ax)
        errors = self._excess_errors()
        self._errorbar(ax, self.excess, errors, {"label": "Excess"} | kwargs | (kwargs_excess or {}))
        if self.models:
            options = {"label": "Predicted signal"} | kwargs | (kwargs_npred_signal or {})
            self._stairs(ax, self.npred_signal(), options)
        ax.set_ylabel("Excess counts")
        ax.legend()
        return ax

    def plot_residuals(self: Any, ax: Axes | None = None, method: str = "diff", **kwargs: Any) -> Axes:
        """Plot residuals in the fit range.

        Error bars are the square root of the predicted counts, in the units of the residuals.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        method : {"diff", "diff/sqrt(model)", "diff/model"}
            See `SpectrumDataset.residuals`.
        **kwargs
            For `~matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            Axes.
        """
        ax = _current(ax)
        residuals = self.residuals(method=method)
        model = self.npred().data.reshape(-1)
        errors = np.sqrt(np.abs(model))
        if method != "diff":
            scale = np.sqrt(np.abs(model)) if method == "diff/sqrt(model)" else np.abs(model)
            errors = np.divide(errors, scale, out=np.zeros_like(errors), where=scale > 0)
        selected = self._mask_array()
        shown = residuals.copy(data=np.where(selected.reshape(residuals.data.shape), residuals.data, np.nan))
        self._errorbar(ax, shown, [errors, errors], {"color": "black"} | kwargs)
        ax.axhline(0, color="black", lw=0.5)
        values = np.abs(residuals.data.reshape(-1)) + errors
        top = 1.1 * np.max(values[selected], initial=0.0) or 1.0
        ax.set_ylim(-top, top)
        ax.set_ylabel(_LABELS[method])
        return ax

    def plot_residuals_spectral(
        self: Any, ax: Axes | None = None, method: str = "diff", **kwargs: Any
    ) -> Axes:
        """Plot residuals; the same as `plot_residuals`."""
        return self.plot_residuals(ax=ax, method=method, **kwargs)

    def plot_masks(
        self: Any,
        ax: Axes | None = None,
        kwargs_fit: dict[str, Any] | None = None,
        kwargs_safe: dict[str, Any] | None = None,
    ) -> Axes:
        """Shade the ranges of `mask_fit` and `mask_safe`.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        kwargs_fit, kwargs_safe : dict, optional
            For `~matplotlib.axes.Axes.axvspan`.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            Axes.
        """
        ax = _current(ax)
        if self.mask_fit is not None:
            options = {"color": "tab:green", "alpha": 0.12, "label": "Fit range"} | (kwargs_fit or {})
            self.mask_fit.plot_mask(ax=ax, **options)
        if self.mask_safe is not None:
            options = {"color": "tab:gray", "alpha": 0.15, "label": "Safe range"} | (kwargs_safe or {})
            self.mask_safe.plot_mask(ax=ax, **options)
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
        return ax

    def plot_fit(
        self: Any,
        ax_spectrum: Axes | None = None,
        ax_residuals: Axes | None = None,
        kwargs_spectrum: dict[str, Any] | None = None,
        kwargs_residuals: dict[str, Any] | None = None,
    ) -> tuple[Axes, Axes]:
        """Plot excess, predicted signal and masks and, below, residuals.

        Parameters
        ----------
        ax_spectrum, ax_residuals : `~matplotlib.axes.Axes`, optional
            Where to plot; two panels of the current figure by default.
        kwargs_spectrum : dict, optional
            For `plot_excess`.
        kwargs_residuals : dict, optional
            For `plot_residuals`, such as ``{"method": "diff/model"}``.

        Returns
        -------
        ax_spectrum, ax_residuals : `~matplotlib.axes.Axes`
            Axes.
        """
        import matplotlib.pyplot as plt

        if ax_spectrum is None or ax_residuals is None:
            figure = plt.gcf()
            grid = figure.add_gridspec(7, 1, hspace=0.1)
            ax_spectrum = figure.add_subplot(grid[:5]) if ax_spectrum is None else ax_spectrum
            if ax_residuals is None:
                ax_residuals = figure.add_subplot(grid[5:], sharex=ax_spectrum)
                ax_spectrum.tick_params(labelbottom=False)
        self.plot_excess(ax_spectrum, **(kwargs_spectrum or {}))
        self._log_scale(ax_spectrum)
        self.plot_masks(ax_spectrum)
        self.plot_residuals(ax_residuals, **({"method": "diff/sqrt(model)"} | (kwargs_residuals or {})))
        if ax_spectrum.get_shared_x_axes().joined(ax_spectrum, ax_residuals):
            ax_spectrum.set_xlabel("")
        low, high = (bound.data.item() for bound in self.energy_range_safe)
        if high > low:
            margin = (high / low) ** 0.05
            ax_residuals.set_xlim(low / margin, high * margin)
        return ax_spectrum, ax_residuals

    def peek(self: Any, figsize: tuple[float, float] = (16, 4)) -> Figure:
        """Plot counts, exposure and energy dispersion side by side.

        Parameters
        ----------
        figsize : tuple of float
            Size of the figure (inches).

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            Figure.
        """
        import matplotlib.pyplot as plt

        figure, panels = plt.subplots(1, 3, figsize=figsize, layout="constrained")
        if self.counts is not None:
            panels[0].set_title("Counts")
            self.plot_counts(panels[0])
            self._log_scale(panels[0])
            self.plot_masks(panels[0])
        if self.exposure is not None:
            panels[1].set_title("Exposure")
            self.exposure.plot_hist(ax=panels[1])
            panels[1].set_ylabel(f"Exposure [{self.exposure.unit:latex}]")
        if self.edisp is not None:
            panels[2].set_title("Energy dispersion")
            self.edisp.plot_matrix(ax=panels[2])
        return figure

    # Errors and elements of plots

    def _counts_errors(self: Any) -> list[Array]:
        counts = self.counts.data.reshape(-1)
        low, high = poisson_interval(counts)
        return [counts - low, high - counts]

    def _background_errors(self: Any) -> list[Array] | None:
        return None

    def _excess_errors(self: Any) -> list[Array]:
        return self._counts_errors()

    def _errorbar(self: Any, ax: Axes, values: Any, yerr: Any, options: dict[str, Any]) -> None:
        axis = values.geom.axes["energy"]
        xerr = [error.value for error in axis.as_plot_xerr]
        arguments = {"fmt": ".", "capsize": 0, "lw": 1, "xerr": xerr, "yerr": yerr} | options
        ax.errorbar(axis.as_plot_center.value, values.data.reshape(-1).astype(float), **arguments)
        axis.format_plot_xaxis(ax)

    def _stairs(self: Any, ax: Axes, values: Any, options: dict[str, Any]) -> None:
        axis = values.geom.axes["energy"]
        ax.stairs(values.data.reshape(-1), axis.as_plot_edges.value, **({"lw": 1.5} | options))
        axis.format_plot_xaxis(ax)

    def _log_scale(self: Any, ax: Axes) -> None:
        """Use a logarithmic axis of counts that shows from a fraction of a count upwards."""
        counts = self.counts.data if self.counts is not None else np.zeros(1)
        ax.set_yscale("log", nonpositive="mask")
        ax.set_ylim(0.05, max(3.0 * float(np.max(counts, initial=0.0)), 1.0))


def _current(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.gca()

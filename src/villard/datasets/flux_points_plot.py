"""Plots of flux point datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FluxPointsPlots"]


class FluxPointsPlots:
    """Methods of `FluxPointsDataset` that plot."""

    def plot_spectrum(
        self: Any,
        ax: Axes | None = None,
        kwargs_fp: Mapping[str, Any] | None = None,
        kwargs_model: Mapping[str, Any] | None = None,
        axis_name: str = "energy",
    ) -> Axes:
        """Plot the points and the models with their error bands.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        kwargs_fp : dict, optional
            For `~villard.estimators.FluxPoints.plot`; ``sed_type`` ("dnde" or "e2dnde") holds for the
            models too.
        kwargs_model : dict, optional
            For `~matplotlib.axes.Axes.plot` of the models.
        axis_name : str
            Kept for Gammapy scripts.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            Axes.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        options = dict(kwargs_fp or {})
        sed_type = options.pop("sed_type", "e2dnde")
        if not self.models:
            self.data.plot(ax, sed_type=sed_type, **({"label": self.name} | options))
            ax.legend()
            return ax
        for i, model in enumerate(self.models):
            label = {"label": f"Model {model.name}", "color": f"C{i}"}
            points = {"label": self.name if i == 0 else None} | options
            self.data.plot_with_model(
                model, ax, sed_type, kwargs_fp=points, kwargs_model=label | dict(kwargs_model or {})
            )
        return ax

    def plot_residuals(self: Any, ax: Axes | None = None, method: str = "diff", **kwargs: Any) -> Axes:
        """Plot the residuals of the points in the fit, with their errors.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        method : {"diff", "diff/model"}
            See `FluxPointsDataset.residuals`.
        **kwargs
            For `~matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            Axes.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        residuals = self.residuals(method=method)
        mask = self.mask.data.reshape(-1) & ~self.data.quantity("is_ul").value.astype(bool)
        errors = np.stack(self._asymmetric_errors())
        if method == "diff/model":
            errors = errors / self._prediction()
        values = residuals.data.reshape(-1)
        energy = self.data.energy_ref
        xerr = np.stack([(energy - self.data.energy_min).value, (self.data.energy_max - energy).value])
        options: dict[str, Any] = {"fmt": "o", "ms": 4, "capsize": 0, "lw": 1, "color": "k"} | kwargs
        ax.errorbar(energy.value[mask], values[mask], yerr=errors[:, mask], xerr=xerr[:, mask], **options)
        ax.axhline(0, color="tab:gray", lw=0.8)
        ax.set_xscale("log")
        ax.set_xlabel(f"Energy [{energy.unit.to_string('latex_inline')}]")
        unit = f" [{residuals.unit.to_string('latex_inline')}]" if str(residuals.unit) else ""
        ax.set_ylabel(f"data - model{unit}" if method == "diff" else "(data - model)\n/ model")
        largest = 1.4 * np.max(np.abs(values[mask]) + errors.max(axis=0)[mask], initial=0.0)
        if largest > 0:
            ax.set_ylim(-largest, largest)
        return ax

    def plot_fit(
        self: Any,
        ax_spectrum: Axes | None = None,
        ax_residuals: Axes | None = None,
        kwargs_spectrum: Mapping[str, Any] | None = None,
        kwargs_residuals: Mapping[str, Any] | None = None,
    ) -> tuple[Axes, Axes]:
        """Plot the points with the models and, below, residuals.

        Parameters
        ----------
        ax_spectrum, ax_residuals : `~matplotlib.axes.Axes`, optional
            Where to plot; two panels of the current figure by default.
        kwargs_spectrum : dict, optional
            For `plot_spectrum`: ``kwargs_fp`` and ``kwargs_model``.
        kwargs_residuals : dict, optional
            For `plot_residuals`.

        Returns
        -------
        ax_spectrum, ax_residuals : `~matplotlib.axes.Axes`
            Axes.
        """
        import matplotlib.pyplot as plt

        if ax_spectrum is None or ax_residuals is None:
            grid = plt.gcf().add_gridspec(7, 1, hspace=0.1)
            ax_spectrum = plt.gcf().add_subplot(grid[:5]) if ax_spectrum is None else ax_spectrum
            if ax_residuals is None:
                ax_residuals = plt.gcf().add_subplot(grid[5:], sharex=ax_spectrum)
                ax_spectrum.tick_params(labelbottom=False)
        self.plot_spectrum(ax_spectrum, **dict(kwargs_spectrum or {}))
        self.plot_residuals(ax_residuals, **({"method": "diff/model"} | dict(kwargs_residuals or {})))
        if ax_spectrum.get_shared_x_axes().joined(ax_spectrum, ax_residuals):
            ax_spectrum.set_xlabel("")
        return ax_spectrum, ax_residuals

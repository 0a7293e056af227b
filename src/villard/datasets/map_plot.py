"""Plots of cubes of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.core import RESIDUAL_METHODS
from villard.exceptions import DataError
from villard.maps import RegionGeom, RegionNDMap, WcsNDMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MapPlots"]

_LABELS = {
    "diff": "data - model [counts]",
    "diff/sqrt(model)": r"(data - model) / $\sqrt{\mathrm{model}}$",
    "diff/model": "(data - model) / model",
}


class MapPlots:
    """Methods of `MapDataset` that plot."""

    def plot_residuals(
        self: Any,
        ax_spatial: Axes | None = None,
        ax_spectral: Axes | None = None,
        kwargs_spatial: dict[str, Any] | None = None,
        kwargs_spectral: dict[str, Any] | None = None,
    ) -> tuple[Axes, Axes]:
        """Plot residuals as an image and, beside it, as a spectrum.

        Parameters
        ----------
        ax_spatial, ax_spectral : `~matplotlib.axes.Axes`, optional
            Where to plot; two panels of the current figure by default.
        kwargs_spatial, kwargs_spectral : dict, optional
            For `plot_residuals_spatial` and `plot_residuals_spectral`. The region of the spectrum is
            outlined in the image.

        Returns
        -------
        ax_spatial, ax_spectral : `~matplotlib.axes.Axes`
            Axes.
        """
        import matplotlib.pyplot as plt

        kwargs_spectral = dict(kwargs_spectral or {})
        if ax_spatial is None or ax_spectral is None:
            figure = plt.gcf()
            if figure.get_layout_engine() is None:
                figure.set_layout_engine("constrained")
            if ax_spatial is None:
                ax_spatial = figure.add_subplot(1, 2, 1, projection=self._geom.wcs)
            ax_spectral = figure.add_subplot(1, 2, 2) if ax_spectral is None else ax_spectral
        self.plot_residuals_spatial(ax_spatial, **(kwargs_spatial or {}))
        self.plot_residuals_spectral(ax_spectral, **kwargs_spectral)
        region = kwargs_spectral.get("region")
        if region is not None:
            mask = self._geom.to_image().region_mask(region)
            mask.plot_mask(ax_spatial, colors="black", linewidths=1)
        return ax_spatial, ax_spectral

    def plot_residuals_spatial(
        self: Any,
        ax: Axes | None = None,
        method: str = "diff",
        smooth_kernel: str = "gauss",
        smooth_radius: Any = "0.1 deg",
        **kwargs: Any,
    ) -> Axes:
        """Plot an image of the residuals in the fit range, summed over energies.

        Counts and predicted counts are smoothed alike, before they are compared.

        Parameters
        ----------
        ax : `~astropy.visualization.wcsaxes.WCSAxes`, optional
            Where to plot; new axes of the current figure by default.
        method : {"diff", "diff/sqrt(model)", "diff/model"}
            See `MapDataset.residuals`.
        smooth_kernel : {"gauss", "disk", "box"}
            Shape of the kernel.
        smooth_radius : `~astropy.units.Quantity`, str, float or None
            Its width, as an angle or in pixels; `None` or 0 not to smooth.
        **kwargs
            For `~villard.maps.WcsNDMap.plot`.

        Returns
        -------
        ax : `~astropy.visualization.wcsaxes.WCSAxes`
            Axes.
        """
        residuals = self._residuals_image(method, smooth_kernel, smooth_radius)
        inside = residuals.data[self.mask_image.data]
        top = float(np.max(np.abs(inside), initial=0.0)) or 1.0
        options = {"cmap": "coolwarm", "vmin": -top, "vmax": top} | kwargs
        add_cbar = options.pop("add_cbar", True)
        shown = residuals.copy(data=np.where(self.mask_image.data, residuals.data, np.nan))
        ax = shown.plot(ax=ax, **options)
        if add_cbar:
            ax.figure.colorbar(ax.images[-1], ax=ax, label=_LABELS[method], shrink=0.8)
        return ax

    def _residuals_image(self: Any, method: str, kernel: str, radius: Any) -> WcsNDMap:
        if method not in RESIDUAL_METHODS:
            raise DataError(f"Unknown method of residuals {method!r}, expected one of {RESIDUAL_METHODS}")
        (counts,) = self._require("counts")
        selected = self._mask_array().reshape(self.data_shape)
        images = []
        for cube in (counts, self.npred()):
            image = np.where(selected, cube.data.astype(float), 0.0).sum(axis=0)
            images.append(_smoothed(WcsNDMap(self._geom.to_image(), data=image), radius, kernel))
        return self._compute_residuals(*images, method)

    def plot_residuals_spectral(
        self: Any,
        ax: Axes | None = None,
        method: str = "diff",
        region: Any = None,
        kwargs_fit: dict[str, Any] | None = None,
        kwargs_safe: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Axes:
        """Plot the residuals in the fit range, summed over the pixels of a region.

        Error bars are the square root of the predicted counts, in the units of the residuals.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        method : {"diff", "diff/sqrt(model)", "diff/model"}
            See `MapDataset.residuals`.
        region : str or region, optional
            Region, as for `~villard.maps.WcsGeom.region_mask`; the whole map by default.
        kwargs_fit, kwargs_safe : dict, optional
            For `~matplotlib.axes.Axes.axvspan`, which shades the ranges of the masks.
        **kwargs
            For `~matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        ax : `~matplotlib.axes.Axes`
            Axes.
        """
        spectrum = self._residuals_spectrum(region)
        ax = spectrum.plot_residuals(ax=ax, method=method, **kwargs)
        spectrum.plot_masks(ax, kwargs_fit=kwargs_fit, kwargs_safe=kwargs_safe)
        ax.set_ylabel(_LABELS[method])
        return ax

    def _residuals_spectrum(self: Any, region: Any) -> Any:
        """Return a spectrum of the counts in the fit range, with the predicted counts as background."""
        from villard.datasets.spectrum import SpectrumDataset

        (counts,) = self._require("counts")
        geom = RegionGeom(None, axes=[self._geom.axes["energy"]])
        image = self._geom.to_image()
        inside = np.ones(image.data_shape, bool) if region is None else image.region_mask(region).data
        selected = self._mask_array().reshape(self.data_shape) & inside

        def spectrum(data: NDArray[Any]) -> RegionNDMap:
            return RegionNDMap(geom, data=data.sum(axis=(1, 2)).reshape(-1, 1, 1))

        def ranges(mask: Any) -> RegionNDMap | None:
            if mask is None:
                return None
            return RegionNDMap(geom, data=(mask.data & inside).any(axis=(1, 2)).reshape(-1, 1, 1))

        return SpectrumDataset(
            counts=spectrum(np.where(selected, counts.data.astype(float), 0.0)),
            background=spectrum(np.where(selected, self.npred().data, 0.0)),
            mask_safe=ranges(self.mask_safe),
            mask_fit=ranges(self.mask_fit),
            name=self.name,
        )

    def peek(self: Any, figsize: tuple[float, float] = (15, 8)) -> Figure:
        """Plot counts, background, excess, exposure, PSF and energy dispersion.

        Images are sums over all energies in `mask_safe`, the excess smoothed. The exposure is that at the
        middle of its energies; PSF and energy dispersion are those of the centre of the map.

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

        figure = plt.figure(figsize=figsize, layout="constrained")
        panels = [("Counts", "counts"), ("Background", "background"), ("Excess (smoothed)", "excess")]
        for place, (title, key) in enumerate(panels, start=1):
            image = self._safe_image(key)
            if image is not None:
                if key == "excess":
                    image = _smoothed(image, "0.1 deg", "gauss")
                self._panel(figure, place, title, image)
        if self.exposure is not None:
            axis = self.exposure.geom.axes["energy_true"]
            idx = axis.nbin // 2
            image = self.exposure.slice_by_idx({"energy_true": idx})
            self._panel(figure, 4, f"Exposure at {axis.center[idx]:.3g}", image)
        if hasattr(self.psf, "containment_radius"):
            self._plot_containment(figure.add_subplot(2, 3, 5))
        if self.edisp is not None:
            self._plot_edisp(figure.add_subplot(2, 3, 6))
        return figure

    def _safe_image(self: Any, key: str) -> WcsNDMap | None:
        if self.counts is None and key == "excess":
            return None
        value = getattr(self, key)
        if value is None:
            return None
        data = np.where(self._safe_array(), value.data.astype(float), 0.0).sum(axis=0)
        return WcsNDMap(self._geom.to_image(), data=data, unit=value.unit)

    def _panel(self: Any, figure: Figure, place: int, title: str, image: WcsNDMap) -> None:
        ax = figure.add_subplot(2, 3, place, projection=image.geom.wcs)
        stretch = "sqrt" if place == 1 else "linear"
        image.plot(ax=ax, cmap="viridis", stretch=stretch)
        label = "" if image.unit == u.dimensionless_unscaled else f"{image.unit:latex}"
        figure.colorbar(ax.images[-1], ax=ax, shrink=0.7, label=label)
        ax.set_title(title)

    def _plot_containment(self: Any, ax: Axes) -> None:
        position = self._geom.center_skydir
        axis = self.psf.energy_axis_true
        for fraction in (0.68, 0.95):
            radius = self.psf.containment_radius(fraction, axis.center, position).to_value("deg")
            ax.plot(axis.center.value, radius, label=f"{100 * fraction:.0f} %")
        axis.format_plot_xaxis(ax)
        ax.set_yscale("log")
        ax.set_ylabel("Containment radius [deg]")
        ax.set_title("Point spread function")
        ax.legend()

    def _plot_edisp(self: Any, ax: Axes) -> None:
        kernel = self.edisp
        if not hasattr(kernel, "pdf_matrix"):
            axis = self._geom.axes["energy"]
            kernel = kernel.get_edisp_kernel(energy_axis=axis, position=self._geom.center_skydir)
        kernel.plot_matrix(ax=ax)
        ax.set_title("Energy dispersion")


def _smoothed(image: WcsNDMap, radius: Any, kernel: str) -> WcsNDMap:
    width = u.Quantity(radius) if isinstance(radius, str) else radius
    is_none = width is None or (np.isscalar(width) and width == 0)
    return image if is_none else image.smooth(width, kernel)

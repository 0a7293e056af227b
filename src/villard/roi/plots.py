"""Plots of a region: maps with its sources, counts against energy, and what its methods find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import ConfigError
from villard.roi.options import energy_range, options
from villard.roi.plot_maps import draw_map, draw_spectrum, save
from villard.roi.products import product_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Plots",
    "plot_extension",
    "plot_localization",
    "plot_psmap",
    "plot_residmap",
    "plot_tsmap",
]

_STYLE: dict[str, Any] = {
    "catalogs": None,
    "cmap": "magma",
    "cmap_resid": "RdBu_r",
    "figsize": (8.0, 6.0),
    "format": "png",
    "graticule_radii": None,
    "interactive": False,
    "label_source": None,
    "label_ts_threshold": 0.0,
    "loge_bounds": None,
    "ra_format": "hour",
}
_DEFAULTS: dict[str, Any] = {**_STYLE, "sed": None, "tsmap": False, "overwrite": False, "loglevel": None}


class Plots:
    """The plots of a `villard.roi.ROI`."""

    def make_plots(self, prefix: str = "roi", mcube_map: Any = None, **kwargs: Any) -> list[Path]:
        """Write plots of counts, model and residuals on the sky, and of counts against energy.

        Parameters
        ----------
        prefix : str
            First part of file names.
        mcube_map : `~villard.maps.WcsNDMap`, optional
            Predicted counts instead of those of the region as it is now.
        loge_bounds : (float, float), optional
            log10(energy / MeV) of the maps.
        sed : list of str, optional
            Sources whose spectral energy distributions are computed and plotted too.
        tsmap : bool
            Whether a TS map of a point source is made and plotted too.
        label_source : str or list of str, optional
            Sources that are named in maps; by default those above ``label_ts_threshold`` (and those whose TS
            isn't known), as far as there is room.
        label_ts_threshold : float, optional
            Least TS of sources that are named; `None` for no names.
        graticule_radii : list of float, optional
            Radii of circles around the centre (deg).
        cmap, cmap_resid, figsize, format
            Colours of maps and of residuals, size (inches) and format of files.
        overwrite : bool
            Whether existing files may be replaced.

        Returns
        -------
        list of `~pathlib.Path`
            Files: ``<prefix>_counts_map_<low>_<high>.png``, the same with ``model_map`` and ``residual_map``,
            and ``<prefix>_counts_spectrum.png``; with more for ``sed`` and ``tsmap``.

        Raises
        ------
        OverwriteError
            If one of the files exists; then none is written.
        """
        config = options(self, "plotting", _DEFAULTS, kwargs)
        _check_looks(config)
        return _make_plots(self, prefix, mcube_map, config)


def _check_looks(config: dict[str, Any]) -> None:
    """Raise `ConfigError` if matplotlib doesn't know the format or the colours."""
    from matplotlib import colormaps
    from matplotlib.backend_bases import FigureCanvasBase

    from villard.utils.names import suggestion

    for key in ("cmap", "cmap_resid"):
        if config[key] not in colormaps:
            hint = suggestion(str(config[key]), sorted(colormaps))
            raise ConfigError(f"plotting: {key}: matplotlib has no {config[key]!r}. {hint}".rstrip())
    known = FigureCanvasBase.get_supported_filetypes()
    if config["format"] not in known:
        raise ConfigError(f"plotting: format: expected one of {sorted(known)}, found {config['format']!r}")


def _make_plots(roi: Any, prefix: str, model: Any, config: dict[str, Any]) -> list[Path]:
    images = _images(roi, model, config["loge_bounds"])
    low, high = _bounds(roi, config["loge_bounds"])
    titles = {
        "counts": "Counts per pixel",
        "model": "Predicted counts per pixel",
        "residual": "Residuals (σ, smoothed)",
    }
    names = {key: f"{key}_map_{low:.3f}_{high:.3f}" for key in images}
    paths = {key: _path(roi, prefix, name, config) for key, name in names.items()}
    spectrum = _path(roi, prefix, "counts_spectrum", config)
    written = []
    top = float(np.nanmax(images["counts"].data))
    for key, image in images.items():
        signed = key == "residual"
        figure = draw_map(roi, image, titles[key], config, signed=signed, vmax=None if signed else top)
        written.append(save(figure, paths[key], config["overwrite"]))
    written.append(save(draw_spectrum(roi, model, config["figsize"]), spectrum, config["overwrite"]))
    for name in [config["sed"]] if isinstance(config["sed"], str) else config["sed"] or []:
        written.append(_plot_sed(roi, prefix, name, config))
    if config["tsmap"]:
        written.append(plot_tsmap(roi, roi.tsmap(), prefix, config["overwrite"]))
    return written


def _bounds(roi: Any, loge_bounds: Any) -> tuple[float, float]:
    edges = np.log10(roi.energy_bounds.to_value("MeV"))
    low, high = (None, None) if loge_bounds is None else loge_bounds
    return float(edges[0] if low is None else low), float(edges[-1] if high is None else high)


def _path(roi: Any, prefix: str, name: str, config: dict[str, Any]) -> Path:
    return product_path(roi, prefix, name, suffix=f".{config['format']}", overwrite=config["overwrite"])


def _images(roi: Any, model: Any, loge_bounds: Any) -> dict[str, Any]:
    """Add up counts and predicted counts over components and energies; compare them smoothed."""
    from villard.estimators.map_data import MapData
    from villard.maps import WcsNDMap
    from villard.roi.residmap import residual_maps

    chosen = energy_range(roi, loge_bounds, "make_plots")
    inputs = [MapData(dataset, "make_plots") for dataset in roi.datasets]
    geom = roi.geom.to_image()
    if any(data.geom.to_image() != geom for data in inputs):
        raise ConfigError("make_plots: the components have different pixels, they can't be added up")
    bins: list[Any] = [slice(None)] * len(inputs) if chosen is None else list(chosen)
    counts = [data.cube("counts")[part] for data, part in zip(inputs, bins, strict=True)]
    if model is None:
        npred = [data.npred[part] for data, part in zip(inputs, bins, strict=True)]
    else:
        npred = [np.asarray(model.data)[bins[0]], *(np.zeros_like(c) for c in counts[1:])]
    total = {"counts": sum(c.sum(axis=0) for c in counts), "model": sum(m.sum(axis=0) for m in npred)}
    y, x = np.mgrid[-6:7, -6:7]
    kernel = np.exp(-(x**2 + y**2) / (2 * 2.0**2))[np.newaxis]
    sigma = residual_maps(
        [total["counts"][np.newaxis]], [total["model"][np.newaxis]], [_fitting(kernel, geom)]
    )["sigma"]
    total["residual"] = sigma
    return {key: WcsNDMap(geom, data=data) for key, data in total.items()}


def _fitting(kernel: Any, geom: Any) -> Any:
    """Cut a kernel that is larger than the map."""
    half = [min(n // 2, (m - 1) // 2) for n, m in zip(kernel.shape[1:], geom.spatial_shape, strict=True)]
    middle = kernel.shape[1] // 2, kernel.shape[2] // 2
    return kernel[
        :, middle[0] - half[0] : middle[0] + half[0] + 1, middle[1] - half[1] : middle[1] + half[1] + 1
    ]


def _plot_sed(roi: Any, prefix: str, name: str, config: dict[str, Any]) -> Path:
    from villard.roi.plot_maps import new_figure

    path = _path(roi, prefix, f"{roi[name].name}_sed", config)
    figure = new_figure(config["figsize"])
    axes = figure.add_subplot()
    roi.sed(name).plot(ax=axes)
    axes.set_title(roi[name].name)
    return save(figure, path, config["overwrite"])


def _style(roi: Any, prefix: str, name: str, overwrite: bool) -> tuple[dict[str, Any], Path]:
    config = options(roi, "plotting", {**_STYLE, "loglevel": None}, {})
    config["overwrite"] = overwrite
    return config, _path(roi, prefix, name, config)


def plot_tsmap(
    roi: Any, result: dict[str, Any], prefix: str = "", overwrite: bool = False, kind: str = "tsmap"
) -> Path:
    """Plot the significance of a test source.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    result : dict
        Of `villard.roi.ROI.tsmap` or `~villard.roi.ROI.tscube`.
    prefix : str
        First part of the file name.
    overwrite : bool
        Whether an existing file may be replaced.
    kind : str
        Last part but one of the file name.
    """
    name = result["name"].removeprefix(prefix).lstrip("_")
    config, path = _style(roi, prefix, f"{name}_{kind}_sqrt_ts", overwrite)
    figure = draw_map(roi, result["sqrt_ts"], "√TS of a test source", config, levels=(3, 5, 7))
    return save(figure, path, overwrite)


def plot_residmap(roi: Any, result: dict[str, Any], prefix: str = "", overwrite: bool = False) -> Path:
    """Plot the significance of residuals; parameters are those of `plot_tsmap`."""
    name = result["name"].removeprefix(prefix).lstrip("_")
    config, path = _style(roi, prefix, f"{name}_residmap_sigma", overwrite)
    figure = draw_map(
        roi, result["sigma"], "Residuals (σ)", config, signed=True, levels=(-7, -5, -3, 3, 5, 7)
    )
    return save(figure, path, overwrite)


def plot_psmap(roi: Any, result: dict[str, Any], prefix: str = "", overwrite: bool = False) -> Path:
    """Plot PS; parameters are those of `plot_tsmap`."""
    config, path = _style(roi, prefix, "psmap", overwrite)
    return save(
        draw_map(roi, result["psmap"], "PS = ∓log₁₀ p", config, signed=True, levels=(-4.2, 4.2)),
        path,
        overwrite,
    )


def plot_localization(roi: Any, result: dict[str, Any], prefix: str = "", overwrite: bool = False) -> Path:
    """Plot the TS around a source with its error ellipses; parameters are those of `plot_tsmap`."""
    config, path = _style(roi, prefix, f"{result['name']}_localize", overwrite)
    # The ellipse, and a few pixels around it.
    scale = float(result["tsmap"].geom.pixel_scales.to_value("deg").max())
    image = result["tsmap"].cutout(
        result["skydir"], width=max(12 * result["pos_r99"], 6 * scale), mode="trim"
    )
    # It is in the title, and its name would cover the ellipses.
    config["label_source"] = [source.name for source in roi.sources if source.name != result["name"]]
    figure = draw_map(roi, image, f"TS of {result['name']}", config)
    _ellipses(figure, result)
    return save(figure, path, overwrite)


def _ellipses(figure: Figure, result: dict[str, Any]) -> None:
    """Draw the ellipses of 68 % and 95 %, and where the source was."""
    axes: Any = figure.axes[0]
    place = result["skydir"].icrs
    transform = axes.get_transform("icrs")
    angle = np.linspace(0, 2 * np.pi, 100)
    values, vectors = np.linalg.eigh(result["pos_cel_cov"])
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for level, style, label in ((2.30, "-", "68 %"), (5.99, "--", "95 %")):
        x, y = vectors @ (np.sqrt(level * values)[:, np.newaxis] * circle)
        lon = place.ra.deg + x / np.cos(place.dec.rad)
        axes.plot(lon, place.dec.deg + y, style, color="lime", lw=1.5, label=label, transform=transform)
    axes.plot(
        result["ra_preloc"], result["dec_preloc"], "x", color="cyan", transform=transform, label="before"
    )
    axes.legend(loc="upper right", fontsize=8)


def plot_extension(roi: Any, result: dict[str, Any], prefix: str = "", overwrite: bool = False) -> Path:
    """Plot the profile likelihood of the width; parameters are those of `plot_tsmap`."""
    from villard.roi.plot_maps import new_figure

    config, path = _style(roi, prefix, f"{result['name']}_extension", overwrite)
    figure = new_figure(config["figsize"])
    axes = figure.add_subplot()
    width, fall = result["width"], 2 * (result["loglike"] - result["loglike_ptsrc"])
    shown = fall > min(-10.0, -0.5 * result["ts_ext"])
    axes.plot(width[shown], fall[shown], "o-", color="C0", ms=4)
    axes.axvline(result["ext"], color="C1", label=f"width {result['ext']:.3g} deg, TS {result['ts_ext']:.1f}")
    if np.isfinite(result["ext_err_hi"]):
        low = result["ext"] - np.nan_to_num(result["ext_err_lo"], nan=result["ext"])
        axes.axvspan(low, result["ext"] + result["ext_err_hi"], color="C1", alpha=0.2)
    if np.isfinite(result["ext_ul95"]):
        axes.axvline(
            result["ext_ul95"], color="C3", ls="--", label=f"95 % limit {result['ext_ul95']:.3g} deg"
        )
    axes.axhline(0, color="0.7", lw=0.8)
    axes.set(xlabel="Radius of 68 % containment (deg)", ylabel="2 Δ ln L to a point source")
    axes.set_title(result["name"])
    axes.legend()
    return save(figure, path, overwrite)

"""Drawing of maps with sources, and of counts against energy; no window is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.utils.io import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_map", "draw_spectrum", "new_figure", "save"]

# Significance beyond which residuals have the same colour.
_MOST_SIGMA = 5.0
_DPI = 120


def new_figure(figsize: Any) -> Figure:
    """Return a figure that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=tuple(figsize), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, overwrite: bool = False) -> Path:
    """Write a figure whole or not at all."""
    with atomic_write(path, overwrite) as temporary:
        figure.savefig(temporary, dpi=_DPI)
    return path


def draw_map(
    roi: Any,
    image: Any,
    title: str,
    config: dict[str, Any],
    signed: bool = False,
    levels: tuple[float, ...] = (),
    vmax: float | None = None,
) -> Figure:
    """Draw an image of the sky with the sources of a region.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    image : `~villard.maps.WcsNDMap`
        Image.
    title : str
        Title.
    config : dict
        Settings of the section "plotting".
    signed : bool
        Whether positive and negative values have different colours.
    levels : tuple of float
        Contours.
    vmax : float, optional
        Value of the brightest colour.
    """
    from matplotlib.colors import Normalize, PowerNorm

    figure = new_figure(_figsize(image, config["figsize"]))
    axes: Any = figure.add_subplot(projection=image.geom.wcs)
    data = np.asarray(image.data, dtype=float)
    if signed:
        most = min(max(float(np.nanmax(np.abs(data))), 1e-3), _MOST_SIGMA)
        norm, cmap = Normalize(-most, most), config["cmap_resid"]
    else:
        top = float(np.nanmax(data)) if vmax is None else vmax
        norm, cmap = PowerNorm(0.5, vmin=0.0, vmax=max(top, 1e-6)), config["cmap"]
    drawn = axes.imshow(data, origin="lower", norm=norm, cmap=cmap, interpolation="nearest")
    # What reaches beyond the image doesn't make the axes larger.
    axes.autoscale(False)
    inside = [level for level in levels if np.nanmin(data) < level < np.nanmax(data)]
    if inside:
        axes.contour(data, levels=inside, colors="w" if not signed else "k", linewidths=0.7)
    figure.colorbar(drawn, ax=axes, shrink=0.85)
    axes.set_title(title)
    _name_axes(axes, image.geom)
    _circles(axes, roi, config["graticule_radii"])
    _sources(axes, roi, image.geom, config, "w" if not signed else "k")
    return figure


def _figsize(image: Any, figsize: Any) -> tuple[float, float]:
    """Keep the width; wide maps need less height."""
    rows, columns = image.geom.spatial_shape
    width, height = figsize
    return float(width), float(np.clip(width * rows / columns * 0.85 + 1.0, 0.45 * height, 1.3 * height))


def _name_axes(axes: Any, geom: Any) -> None:
    galactic = geom.frame == "galactic"
    lon, lat = axes.coords[0], axes.coords[1]
    if galactic:
        lon.set_major_formatter("d.d")
        lat.set_major_formatter("d.d")
    lon.set_axislabel("Galactic longitude" if galactic else "Right ascension")
    lat.set_axislabel("Galactic latitude" if galactic else "Declination")


def _circles(axes: Any, roi: Any, radii: Any) -> None:
    from astropy.coordinates import SkyCoord

    center = roi.skydir.icrs
    for radius in radii or []:
        angle = np.linspace(0, 360, 181)
        ring = center.directional_offset_by(angle * _deg(), radius * _deg())
        ring = SkyCoord(ring)
        axes.plot(ring.ra.deg, ring.dec.deg, ":", color="0.6", lw=1, transform=axes.get_transform("icrs"))


def _deg() -> Any:
    import astropy.units as u

    return u.deg


def _sources(axes: Any, roi: Any, geom: Any, config: dict[str, Any], color: str) -> None:
    """Mark the sources on the map, and name those that are wanted and find room."""
    rows, columns = geom.spatial_shape
    threshold = config["label_ts_threshold"]
    wanted = config["label_source"]
    named = (
        None if wanted is None else {roi[n].name for n in ([wanted] if isinstance(wanted, str) else wanted)}
    )
    places = []
    for source in sorted(roi.sources, key=lambda s: -np.nan_to_num(s.results.get("npred", 0.0))):
        if source.is_diffuse:
            continue
        x, y = (float(np.squeeze(v)) for v in geom.skydir_to_pix(source.skydir))
        if -0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5:
            places.append((source, x, y))
    # Markers aren't written over, either.
    half = 0.006 * columns
    taken = [(x - half, y - half, x + half, y + half) for _, x, y in places]
    for source, x, y in places:
        axes.plot(x, y, "+" if not source.extended else "o", color=color, ms=6, mfc="none", mew=1, alpha=0.8)
        _extent(axes, geom, source, x, y, color)
        ts = source.results.get("ts", np.nan)
        known = threshold is not None and not (np.isfinite(ts) and ts < threshold)
        if (source.name in named) if named is not None else known:
            _label(axes, source.name, x, y, (rows, columns), taken, color)


def _extent(axes: Any, geom: Any, source: Any, x: float, y: float, color: str) -> None:
    """Draw the size of an extended source as a circle."""
    if not source.extended:
        return
    from matplotlib.patches import Circle

    spatial = source.spatial_model
    sizes = [
        spatial.parameters[n].quantity.to_value("deg")
        for n in ("sigma", "r_0")
        if n in spatial.parameters.names
    ]
    if sizes:
        radius = sizes[0] / float(geom.pixel_scales.to_value("deg").mean())
        circle = Circle((x, y), radius, fill=False, color=color, lw=0.8, ls="--", alpha=0.8)
        circle.set_in_layout(False)
        axes.add_patch(circle)


def _label(
    axes: Any,
    name: str,
    x: float,
    y: float,
    shape: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
    color: str,
) -> None:
    """Write a name beside a source, on the side where there is room, if there is any."""
    from matplotlib.patheffects import withStroke

    rows, columns = shape
    width, height = 0.0105 * columns * len(name), 0.035 * max(rows, 0.5 * columns)
    gap = 0.012 * columns
    for dx, align in ((gap, "left"), (-gap - width, "right")):
        for dy in (0.0, height, -height):
            box = x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2
            if box[0] < -0.5 or box[2] > columns - 0.5 or box[1] < -0.5 or box[3] > rows - 0.5:
                continue
            if any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
                continue
            at = box[0] if align == "left" else box[2]
            text = axes.text(at, y + dy, name, color=color, fontsize=7, ha=align, va="center", clip_on=True)
            # Legible on bright and on dark pixels.
            other = "k" if color == "w" else "w"
            text.set_path_effects([withStroke(linewidth=1.5, foreground=other, alpha=0.6)])
            # One that is clipped needs no room.
            text.set_in_layout(False)
            taken.append(box)
            return


def draw_spectrum(roi: Any, model: Any, figsize: Any) -> Figure:
    """Draw counts in bins of energy, with the predicted counts of all and of the strongest sources."""
    from villard.estimators.map_data import MapData

    inputs = [MapData(dataset, "make_plots") for dataset in roi.datasets]
    edges = roi.energy_edges.to_value("GeV")
    same = all(data.geom.axes["energy"].is_allclose(roi.geom.axes["energy"]) for data in inputs)
    used = inputs if same else inputs[:1]
    counts = sum(data.cube("counts").sum(axis=(1, 2)) for data in used)
    if model is None:
        total = sum(data.npred.sum(axis=(1, 2)) for data in used)
    else:
        total = np.asarray(model.data).sum(axis=(1, 2))
    center = np.sqrt(edges[1:] * edges[:-1])
    figure = new_figure(figsize)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bars = {"xerr": [center - edges[:-1], edges[1:] - center], "fmt": "ko", "ms": 3, "capsize": 0}
    upper.errorbar(center, counts, yerr=np.sqrt(counts), label="counts", **bars)
    upper.stairs(total, edges, color="k", lw=1.5, label="model")
    for color, (name, own) in enumerate(_strongest(roi, used)):
        upper.stairs(own, edges, color=f"C{color}", lw=1, label=name)
    positive = np.concatenate([counts[counts > 0], total[total > 0]])
    upper.set(yscale="log", ylabel="Counts", ylim=(0.3 * positive.min(), 3 * positive.max()))
    upper.legend(fontsize=7, ncols=2)
    error = np.sqrt(np.maximum(total, 1e-9))
    lower.errorbar(center, (counts - total) / error, yerr=1.0, **bars)
    lower.axhline(0, color="0.5", lw=0.8)
    lower.set(xscale="log", xlabel="Energy (GeV)", ylabel="Residuals (σ)")
    return figure


def _strongest(roi: Any, inputs: list[Any], most: int = 8) -> list[tuple[str, Any]]:
    """Return the predicted counts of the sources with most of them, per bin of energy."""
    from villard.roi.templates import Cube

    ordered = sorted(roi.sources, key=lambda s: -np.nan_to_num(s.results.get("npred", 0.0)))[:most]
    cubes = [Cube(data.dataset) for data in inputs]
    return [
        (
            source.name,
            sum(
                np.where(data.mask, cube.predict(source.model).reshape(data.shape), 0.0).sum(axis=(1, 2))
                for cube, data in zip(cubes, inputs, strict=True)
            ),
        )
        for source in ordered
    ]

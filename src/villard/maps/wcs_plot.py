"""Plots of images of the sky."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.labels import label_with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from villard.maps.wcs_geom import WcsGeom
    from villard.maps.wcs_map import WcsNDMap

__all__ = ["plot_grid", "plot_image", "plot_mask"]

_LABELS = {
    "galactic": ("Galactic longitude", "Galactic latitude"),
    "icrs": ("Right ascension", "Declination"),
}


def _sky_axes(
    geom: WcsGeom, ax: Any, figure: Figure | None = None, place: tuple[int, int, int] = (1, 1, 1)
) -> Any:
    import matplotlib.pyplot as plt

    if ax is None:
        ax = (figure or plt.gcf()).add_subplot(*place, projection=geom.wcs)
    if not hasattr(ax, "coords"):
        raise DataError("Plot: expected axes with sky coordinates, such as plt.subplot(projection=geom.wcs)")
    lon, lat = _LABELS.get(geom.frame, ("Longitude", "Latitude"))
    ax.coords[0].set_axislabel(lon)
    ax.coords[1].set_axislabel(lat)
    return ax


def _image(data_map: WcsNDMap) -> NDArray[Any]:
    if any(n != 1 for n in data_map.data.shape[:-2]):
        raise DataError(
            f"Plot: expected an image, found {data_map!r}. Use plot_grid, sum_over_axes or slice_by_idx"
        )
    return data_map.data.reshape(data_map.geom.spatial_shape)


def plot_image(
    data_map: WcsNDMap, ax: Axes | None = None, add_cbar: bool = False, stretch: str = "linear", **kwargs: Any
) -> Axes:
    """Plot an image; see `WcsNDMap.plot`."""
    from astropy.visualization import simple_norm

    image = _image(data_map).astype(float)
    ax = _sky_axes(data_map.geom, ax)
    options: dict[str, Any] = {"origin": "lower", "interpolation": "nearest", "cmap": "afmhot"} | kwargs
    if "norm" not in options:
        limits = {f"v{end}": options.pop(f"v{end}", None) for end in ("min", "max")}
        finite = image[np.isfinite(image)]
        if finite.size:
            low, high = float(finite.min()), float(finite.max())
            # A range of no width has no scale of colours.
            limits["vmin"] = low if limits["vmin"] is None else limits["vmin"]
            limits["vmax"] = max(high, limits["vmin"] + 1e-30) if limits["vmax"] is None else limits["vmax"]
        options["norm"] = simple_norm(np.nan_to_num(image), stretch, **limits)
    artist = ax.imshow(image, **options)
    if add_cbar:
        ax.figure.colorbar(artist, ax=ax, label=label_with_unit("", data_map.unit))
    return ax


def plot_grid(
    data_map: WcsNDMap, figsize: tuple[float, float] | None = None, ncols: int = 3, **kwargs: Any
) -> NDArray[Any]:
    """Plot the images along one axis; see `WcsNDMap.plot_grid`."""
    import matplotlib.pyplot as plt

    axes = [axis for axis in data_map.geom.axes if axis.nbin > 1] or list(data_map.geom.axes)
    if len(axes) != 1:
        raise DataError(f"Plot: expected one axis beside the sky, found {data_map.geom.axes.names}")
    axis = axes[0]
    ncols = min(ncols, axis.nbin)
    nrows = -(-axis.nbin // ncols)
    figure = plt.figure(figsize=figsize or (4 * ncols, 4 * nrows))
    panels = []
    for i, (image, label) in enumerate(zip(data_map.iter_by_image(), axis.as_plot_labels, strict=True)):
        ax = _sky_axes(data_map.geom, None, figure, (nrows, ncols, i + 1))
        panels.append(plot_image(image, ax=ax, **kwargs))
        ax.set_title(label)
    return np.array(panels, dtype=object)


def plot_mask(mask: WcsNDMap, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Outline a mask; see `WcsNDMap.plot_mask`."""
    if not mask.is_mask:
        raise DataError(f"Plot: expected a boolean map, found one of {mask.data.dtype}")
    image = _image(mask).astype(float)
    sky: Any = _sky_axes(mask.geom, ax)
    options: dict[str, Any] = {"levels": [0.5], "colors": "tab:blue"} | kwargs
    if image.min() < image.max():
        # In pixels of the mask, whatever the axes show.
        sky.contour(image, transform=sky.get_transform(mask.geom.wcs), **options)
    return sky

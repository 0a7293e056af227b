"""Histograms of the values of maps."""

from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import DataError
from villard.visualization.helpers import make_axes, parameter_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["plot_distribution"]


def plot_distribution(
    wcs_map: Any,
    mask: Any = None,
    ax: Any = None,
    ncols: int = 3,
    func: Any = None,
    kwargs_hist: dict[str, Any] | None = None,
    kwargs_axes: dict[str, Any] | None = None,
    kwargs_fit: dict[str, Any] | None = None,
) -> tuple["NDArray[Any]", list[dict[str, Any]]]:
    """Plot a histogram of the values of each image of a map, and fit a function to it.

    Parameters
    ----------
    wcs_map : map
        Map, such as one of significances; not finite values are left out.
    mask : map of bool, optional
        Pixels to use.
    ax : array of `~matplotlib.axes.Axes`, optional
        Axes to draw on, one per image.
    ncols : int
        Panels in a row.
    func : "norm" or callable, optional
        Density to fit: a Gaussian, or ``func(x, *parameters)``.
    kwargs_hist : dict, optional
        Passed to `~matplotlib.axes.Axes.hist`.
    kwargs_axes : dict, optional
        Passed to `~matplotlib.axes.Axes.set`.
    kwargs_fit : dict, optional
        Passed to `~scipy.optimize.curve_fit`, such as the start ``p0``.

    Returns
    -------
    axes : array of `~matplotlib.axes.Axes`
        The axes.
    result : list of dict
        For each image: ``axis_edges``, ``param``, ``covar`` and ``info_dict`` of the fit; empty
        without ``func``.

    Raises
    ------
    DataError
        If a function is unknown or an image has no values.
    """
    if not (func is None or func == "norm" or callable(func)):
        raise DataError(f"func: expected 'norm' or a function, found {func!r}")
    data = np.asarray(wcs_map.data, dtype=float)
    inside = np.ones(data.shape, dtype=bool) if mask is None else np.broadcast_to(mask.data, data.shape)
    images = data.reshape(-1, *data.shape[-2:])
    insides = inside.reshape(images.shape)
    panels = make_axes(ax, len(images), ncols, (4.2, 3.4))
    edges = [axis.edges for axis in wcs_map.geom.axes]
    results = []
    for i, (panel, image, selected) in enumerate(zip(panels, images, insides, strict=True)):
        values = image[selected & np.isfinite(image)]
        if not len(values):
            raise DataError(f"The map has no values to plot in image {i}")
        options = {"bins": "auto", "color": "C0", "alpha": 0.6, "density": True, **(kwargs_hist or {})}
        density, bins, _ = panel.hist(values, **options)
        if func is not None:
            result = _fit(panel, values, density, bins, func, kwargs_fit or {})
            index = np.unravel_index(i, data.shape[:-2])
            result["axis_edges"] = [e[k : k + 2] for e, k in zip(edges, reversed(index), strict=False)]
            results.append(result)
        label = "Density" if options["density"] else "Number of pixels"
        panel.set(
            **{"xlabel": parameter_label("Value", wcs_map.unit), "ylabel": label, **(kwargs_axes or {})}
        )
    return panels, results


def _fit(
    panel: Any, values: Any, density: Any, bins: Any, func: Any, options: dict[str, Any]
) -> dict[str, Any]:
    """Fit a function to a histogram, draw it, and return parameters and covariance."""
    from scipy.optimize import curve_fit
    from scipy.stats import norm

    function = norm.pdf if func == "norm" else func
    start = {"p0": (np.mean(values), np.std(values))} if func == "norm" else {}
    center = 0.5 * (bins[:-1] + bins[1:])
    parameters, covariance, info, message, _ = curve_fit(
        function, center, density, full_output=True, **{**start, **options}
    )
    x = np.linspace(bins[0], bins[-1], 300)
    label = None
    if func == "norm":
        label = rf"$\mu$ = {parameters[0]:.2f}" + "\n" + rf"$\sigma$ = {parameters[1]:.2f}"
    panel.plot(x, function(x, *parameters), color="C3", label=label)
    if label:
        panel.legend(frameon=False, fontsize="small")
    return {"param": parameters, "covar": covariance, "info_dict": {**info, "message": message}}

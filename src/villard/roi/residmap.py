r"""Residual maps: counts and predicted counts, smoothed by the shape of a test source, and compared.

With the counts p that a test source predicts around it, in all energies and components, with the sum one,
and the kernel :math:`k = p / \sum p^2`, the smoothed counts :math:`c = \sum k n` and :math:`m = \sum k \mu`
differ by the counts of a source, if there is one. They aren't Poisson distributed where the background
is not flat; dividing by the variance over the mean, :math:`\sum k^2 \mu / \sum k \mu`, makes up for that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.roi.kernel_source import kernel_name, kernel_source
from villard.roi.options import energy_range, options
from villard.roi.products import product_paths, write_maps, write_npy
from villard.roi.view import excluded

__all__ = ["DEFAULTS", "residual_maps", "run_residmap"]

Array = NDArray[np.float64]

DEFAULTS: dict[str, Any] = {
    "model": None,
    "exclude": None,
    "loge_bounds": None,
    "use_weights": False,
    "max_kernel_radius": 3.0,
    "make_plots": False,
    "write_fits": None,
    "write_npy": False,
    "overwrite": False,
    "ra_format": "hour",
    "loglevel": None,
}


def residual_maps(
    counts: list[Array], npred: list[Array], kernels: list[Array], weights: list[Array] | None = None
) -> dict[str, Array]:
    """Compare smoothed counts with smoothed predicted counts.

    Parameters
    ----------
    counts, npred : list of array
        Cubes of each component, shape (n_energy, n_lat, n_lon).
    kernels : list of array
        Counts that the test source predicts around it, shape (n_energy, 2 h + 1, 2 w + 1); the sums of
        the components tell how much each of them counts.
    weights : list of array, optional
        Weights of the likelihood, of the shape of the counts.

    Returns
    -------
    dict
        ``sigma``, ``excess``, ``data`` and ``model``, each of shape (n_lat, n_lon).

    Examples
    --------
    >>> counts = np.ones((1, 7, 7)); counts[0, 3, 3] = 6
    >>> maps = residual_maps([counts], [np.ones((1, 7, 7))], [np.ones((1, 3, 3))])
    >>> maps["excess"][3, 3].round(6), maps["data"][3, 3].round(6), maps["sigma"][3, 3].round(3)
    (np.float64(5.0), np.float64(14.0), np.float64(1.54))
    """
    from scipy.signal import fftconvolve

    total = sum(kernel.sum() for kernel in kernels)
    shapes = [kernel / total for kernel in kernels]
    square = sum(np.sum(shape**2) for shape in shapes)
    data, model, variance = (np.zeros(counts[0].shape[1:]) for _ in range(3))
    for i, shape in enumerate(shapes):
        weight = 1.0 if weights is None else weights[i]
        n, mu = counts[i] * weight, npred[i] * weight
        for own, observed, expected in zip(shape / square, n, mu, strict=True):
            # The kernel is centred on the test source: a correlation.
            own = own[::-1, ::-1]
            data += fftconvolve(observed, own, mode="same")
            model += fftconvolve(expected, own, mode="same")
            variance += fftconvolve(expected, own**2, mode="same")
    data, model, variance = (np.maximum(image, 0.0) for image in (data, model, variance))
    known = model > 1e-9 * model.max(initial=0.0)
    ratio = np.divide(variance, model, out=np.ones_like(model), where=known)
    logarithm = np.log(np.where(data > 0, data, 1.0) / np.where(known, model, 1.0))
    ts = 2 * np.where(data > 0, data * logarithm + model - data, model) / ratio
    sigma = np.sign(data - model) * np.sqrt(np.maximum(ts, 0.0))
    maps = {"sigma": sigma, "excess": data - model, "data": data, "model": model}
    return {name: np.where(known, image, np.nan) for name, image in maps.items()}


def run_residmap(roi: Any, prefix: str, given: dict[str, Any]) -> dict[str, Any]:
    """Make the maps; see `villard.roi.ROI.residmap`."""
    from villard.estimators.map_data import MapData
    from villard.maps import WcsNDMap

    config = options(roi, "residmap", DEFAULTS, given)
    source = kernel_source(config["model"], roi.skydir, "residmap")
    parts = prefix, kernel_name(config["model"]), "residmap"
    files = product_paths(roi, *parts, settings=config)
    with excluded(roi, config["exclude"], energy_range(roi, config["loge_bounds"], "residmap")) as datasets:
        inputs = [MapData(dataset, "residmap") for dataset in datasets]
        kernels = _kernels(roi, inputs, source, config["max_kernel_radius"])
        weights = [data.weights for data in inputs] if config["use_weights"] else None
        maps = residual_maps([d.cube("counts") for d in inputs], [d.npred for d in inputs], kernels, weights)
    geom = roi.geom.to_image()
    seen = np.any([data.mask.any(axis=0) for data in inputs], axis=0)
    result: dict[str, Any] = {
        key: WcsNDMap(geom, data=np.where(seen, image, np.nan)) for key, image in maps.items()
    }
    name = "_".join(part for part in parts[:2] if part)
    result |= {"name": name, "src_dict": config["model"], "file": None, "config": config}
    if "fits" in files:
        layers = {"DATA_MAP": "data", "MODEL_MAP": "model", "EXCESS_MAP": "excess"}
        write_maps(
            files["fits"],
            result["sigma"],
            {hdu: result[key] for hdu, key in layers.items()},
            config["overwrite"],
        )
        result["file"] = str(files["fits"])
    if "npy" in files:
        write_npy(files["npy"], result, config["overwrite"])
    if config["make_plots"]:
        from villard.roi.plots import plot_residmap

        plot_residmap(roi, result, prefix, config["overwrite"])
    return result


def _kernels(roi: Any, inputs: list[Any], source: Any, largest: Any) -> list[Array]:
    """Return the counts that the test source predicts around the centre of the map, per component."""
    from villard.estimators.ts_kernels import SourceShape, make_basis
    from villard.roi.tsmap import kernel_radius

    radius = kernel_radius(roi, source, largest, "residmap")
    width, height = (max(round(radius / s), 1) for s in inputs[0].geom.pixel_scales.to_value("deg"))
    n_y, n_x = inputs[0].geom.spatial_shape
    y, x = n_y // 2, n_x // 2
    kernels = []
    for data in inputs:
        basis = make_basis(SourceShape(data, source, (height, width)), slice(y, y + 1), slice(x, x + 1))
        own = np.tensordot(basis.coefficients[:, 0, 0], basis.kernels, axes=1)
        # Energies that aren't used don't count for the norm of the kernel.
        kernels.append(np.maximum(own, 0.0) * data.mask.any(axis=(1, 2))[:, np.newaxis, np.newaxis])
    return kernels

"""Integrals of spatial models over the pixels around their position."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.maps.wcs_geom import WcsGeom

__all__ = ["model_images"]

Array = NDArray[np.float64]

_X, _W = np.polynomial.legendre.leggauss(4)
_X, _W = 0.5 * _X, 0.5 * _W
_MAX_DEPTH = 10


def model_images(model: Any, geom: WcsGeom, rtol: float) -> Array:
    """Integrate a model, moved to the middle pixel, over pixels.

    Pixels are split in four until the sum over the parts agrees with the whole.

    Parameters
    ----------
    model : `~villard.modeling.models.SpatialModel`
        Model.
    geom : `~villard.maps.WcsGeom`
        Pixels, with an axis of energy or none.
    rtol : float
        Change by which an integral may still differ, as a fraction of the largest pixel and of the total.

    Returns
    -------
    `~numpy.ndarray`
        Integrals, shape (n_energy, n_lat, n_lon), with n_energy = 1 for a shape that doesn't depend on it.
    """
    ny, nx = geom.spatial_shape
    energies: list[Any] = [None]
    if getattr(model, "is_energy_dependent", False) and len(geom.axes):
        energies = list(geom.axes[0].center)
    images = np.zeros((len(energies), ny, nx))
    if getattr(model, "is_point", False):
        images[:, ny // 2, nx // 2] = 1
        return images
    centered = model.copy()
    centered.position = geom.center_skydir
    area = geom.to_image().solid_angle().to_value("sr")
    for image, energy in zip(images, energies, strict=True):
        image[:] = _integrate(centered, geom, energy, rtol) * area
    return images


def _integrate(model: Any, geom: WcsGeom, energy: u.Quantity | None, rtol: float) -> Array:
    """Return mean densities (sr-1) of pixels."""
    ny, nx = geom.spatial_shape
    rows, columns = (part.ravel().astype(float) for part in np.indices((ny, nx)))
    index, size = np.arange(nx * ny), 1.0
    whole = _means(model, geom, energy, columns, rows, size)
    result = np.zeros(nx * ny)
    scale = max(float(np.sum(whole)), 1e-300)
    for _ in range(_MAX_DEPTH):
        parts = [(dx * size / 4, dy * size / 4) for dx in (-1, 1) for dy in (-1, 1)]
        finer = np.array([_means(model, geom, energy, columns + dx, rows + dy, size / 2) for dx, dy in parts])
        both = finer.mean(axis=0)
        # Contributions are weighted by the area that is left of the pixel.
        rest = np.abs(both - whole) * size**2 > rtol * scale / np.sqrt(nx * ny)
        np.add.at(result, index[~rest], both[~rest] * size**2)
        if not np.any(rest):
            return result.reshape(ny, nx)
        whole = finer[:, rest].ravel()
        columns = np.concatenate([columns[rest] + dx for dx, _ in parts])
        rows = np.concatenate([rows[rest] + dy for _, dy in parts])
        index, size = np.tile(index[rest], 4), size / 2
    np.add.at(result, index, whole * size**2)
    return result.reshape(ny, nx)


def _means(model: Any, geom: WcsGeom, energy: u.Quantity | None, x: Array, y: Array, size: float) -> Array:
    dx, dy = (part.ravel() * size for part in np.meshgrid(_X, _X))
    weights = np.outer(_W, _W).ravel()
    directions = geom.pix_to_skydir(x[:, np.newaxis] + dx, y[:, np.newaxis] + dy)
    place = directions.transform_to(model.frame).spherical
    values = model(place.lon, place.lat) if energy is None else model(place.lon, place.lat, energy)
    return np.asarray(values.to_value("sr-1")) @ weights

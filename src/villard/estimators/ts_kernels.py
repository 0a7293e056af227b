"""Source shapes for maps of test statistics: counts that a source at one pixel makes in its neighbours.

The shape at a pixel is the morphology convolved with the PSF, for each true energy, folded with the energy
dispersion with the weights spectrum times exposure. As the exposure depends on the pixel, so does the
shape in measured energy: it is a sum of a few fixed shapes with coefficients that are maps, which a
singular value decomposition of the weights gives. Where PSF or projection change over the map, it is
divided into tiles, each with its own shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from villard.estimators.map_data import MapData
from villard.exceptions import ModelError
from villard.maps import WcsGeom, WcsNDMap

__all__ = ["ShapeBasis", "SourceShape", "make_basis", "split_in_tiles"]

Array = NDArray[np.float64]

_MIN_TILE = 4
# Part of a shape that may be missed by the sum of few fixed ones.
_RANK_TOLERANCE = 1e-3
_MAX_PIXELS = 2000
# Width of a PSF over the size of a pixel, for which the middle of kernels is integrated.
_FINE_RATIO = 0.4


class SourceShape:
    """Images of a source model at any pixel, for one dataset.

    Parameters
    ----------
    data : `~villard.estimators.map_data.MapData`
        Dataset.
    model : `~villard.modeling.models.SkyModel`
        Model; its position doesn't matter.
    half : (int, int) or None
        Rows and columns to either side that the shape may reach; `None` for all that it reaches.
    """

    def __init__(self, data: MapData, model: Any, half: tuple[int, int] | None) -> None:
        self.data, self.half = data, half
        self.model = _movable(model, data.where)
        if self.model.spatial_model.is_point:
            # No transformations between frames.
            self.model.spatial_model.frame = data.geom.frame
        self._measurement = _unit_measurement(data)

    def at(self, x: float, y: float) -> tuple[Array, Array, Array]:
        """Return the shape of a source in the middle of a pixel.

        Returns
        -------
        images : array
            Counts per exposure and flux in true energies, shape (n, 2 h + 1, 2 w + 1).
        flux : array
            Flux in these energies (cm⁻² s⁻¹), shape (n,).
        edisp : array
            Probabilities of measured energies, shape (n, n_energy).
        """
        from villard.likelihood.predict import bin_flux

        spatial = self.model.spatial_model
        position = self.data.geom.pix_to_skydir(x, y).transform_to(spatial.frame).spherical
        spatial.lon_0.value, spatial.lat_0.value = float(position.lon.deg), float(position.lat.deg)
        source = self._measurement_at(x, y).source(self.model)
        low, high, order = source.energies
        pure = self.model.spectral_model.pure()
        values = np.array([p.engine_value for p in self.model.spectral_model.parameters])
        flux = np.broadcast_to(bin_flux(pure, low, high, values, pure.arrays, order), low.shape)
        at = round(y) - source.cutout.origin[1], round(x) - source.cutout.origin[0]
        if source.map.kind == "point":
            images = _point_images(source, at, self.half)
        elif source.map.kind == "shared":
            images = _centred(_kernel_images(source, at), at, self.half)
        else:
            images = np.asarray(source.evaluate(self.model)).reshape(-1, *source.cutout.shape)
            images = _centred(np.maximum(images, 0.0), at, self.half)
        return images, np.asarray(flux), source.edisp

    def _measurement_at(self, x: float, y: float) -> Any:
        """Return the measurement with an exposure of 1 cm² s at the energies that are seen at a pixel.

        At others there may be no PSF.
        """
        seen = self.data.exposure[:, round(y), round(x)] > 0
        exposure = self._measurement.exposure
        unit = exposure.copy(data=seen.astype(float).reshape(exposure.data.shape))
        return replace(self._measurement, exposure=unit, _sources={})

    @cached_property
    def _share(self) -> Array:
        """Share of each true energy in the counts of a source, in the mean over the map, shape (n_true,)."""
        from villard.likelihood.predict import bin_flux

        low, high, order = self.data.measurement.true_energies(False)
        pure = self.model.spectral_model.pure()
        values = np.array([p.engine_value for p in self.model.spectral_model.parameters])
        flux = np.broadcast_to(bin_flux(pure, low, high, values, pure.arrays, order), low.shape)
        counts = flux * self.data.exposure.mean(axis=(1, 2)) * self.data.edisp_matrix().sum(axis=1)
        return np.asarray(counts / counts.sum()) if counts.sum() > 0 else counts

    @property
    def is_constant(self) -> bool:
        """Whether the PSF is the same at all positions."""
        psf = self.data.dataset.psf
        if not hasattr(psf, "radial_profile") or not self.model.apply_irf["psf"]:
            return True
        return bool(np.prod(psf.psf_map.geom.data_shape[-2:]) == 1)

    def is_seen(self, x: int, y: int) -> bool:
        """Whether there is exposure at a pixel."""
        return bool(self.data.exposure[:, y, x].any())

    def psf_at(self, positions: SkyCoord) -> Array:
        """Return the part of the counts in each ring around sources, shape (n, n_energy_true, n_rad)."""
        psf_map = self.data.dataset.psf.psf_map
        n_y, n_x = psf_map.geom.data_shape[-2:]
        x, y = psf_map.geom.skydir_to_pix(positions)
        j, i = (np.clip(np.round(v), 0, n - 1).astype(int) for v, n in ((y, n_y), (x, n_x)))
        rings = np.moveaxis(psf_map.data[:, :, j, i], -1, 0) * self._rings
        total = rings.sum(axis=2, keepdims=True)
        return np.asarray(rings / np.where(total > 0, total, 1.0) * self._psf_share[:, np.newaxis])

    @cached_property
    def _rings(self) -> Array:
        axes = self.data.dataset.psf.psf_map.geom.axes
        return np.asarray(np.diff(axes["rad"].edges.to_value("deg") ** 2))

    @cached_property
    def _psf_share(self) -> Array:
        """Share of each energy of the PSF."""
        axes = self.data.dataset.psf.psf_map.geom.axes
        own, given = (np.log(a.center.to_value("TeV")) for a in (self._axis, axes["energy_true"]))
        share = np.interp(given, own, self._share)
        return np.asarray(share / (share.sum() or 1.0))

    @property
    def _axis(self) -> Any:
        return self.data.measurement.energy_true


def _point_images(source: Any, at: tuple[int, int], half: tuple[int, int] | None) -> Array:
    """Return the PSF integrated over pixels, without compiling anything."""
    from villard.likelihood.psf_kernel import integrate_kernel
    from villard.likelihood.psf_profiles import PSFSplines

    cutout = source.cutout
    if half is None:
        half = tuple(max(i, n - 1 - i) for i, n in zip(at, cutout.shape, strict=True))
    assert half is not None
    rows, columns = (
        slice(max(i - h, 0), min(i + h + 1, n)) for i, h, n in zip(at, half, cutout.shape, strict=True)
    )
    corners = cutout.corners[rows.start : rows.stop + 1, columns.start : columns.stop + 1]
    table = PSFSplines(np.asarray(source.arrays["psf"]), np.asarray(source.arrays["psf_scale"]))
    # At least as many nodes as in a fit: kernels are made once for many pixels.
    core = source.map.core[1]
    ratio = min(3.5 / core if core else 1.0, _FINE_RATIO)
    images = integrate_kernel(table, corners, cutout.area[rows, columns], cutout.basis[0], ratio)
    inside = at[0] - rows.start, at[1] - columns.start
    return _centred(images, inside, half)


def _kernel_images(source: Any, at: tuple[int, int]) -> Array:
    """Return the kernel around a pixel: in the middle of one a source needn't be shared with others."""
    (n_y, n_x), (y, x) = source.cutout.shape, at
    kernel = np.asarray(source.arrays["kernel"])
    images = kernel[:, n_y - y : 2 * n_y - y, n_x - x : 2 * n_x - x]
    return np.broadcast_to(images, (len(source.energies[0]), n_y, n_x))


def _movable(model: Any, where: str) -> Any:
    """Return a copy of a model of which nothing is free, and which has a position."""
    from villard.modeling.models import SkyModel

    if not isinstance(model, SkyModel):
        raise ModelError(f"{where}: expected a SkyModel, found {type(model).__name__}")
    spatial = model.spatial_model
    if spatial is None or model.spectral_model is None:
        raise ModelError(f"{where}: the model {model.name!r} needs a spatial_model and a spectral_model")
    if "lon_0" not in spatial.parameters.names:
        raise ModelError(
            f"{where}: expected a morphology with a position that can be moved to each pixel, found "
            f"{type(spatial).__name__}"
        )
    copy = model.copy(name=model.name)
    for parameter in copy.parameters:
        parameter.frozen = True
    for name in ("lon_0", "lat_0"):
        parameter = getattr(copy.spatial_model, name)
        parameter.min = parameter.max = np.nan
    copy.datasets_names = None
    return copy


def _unit_measurement(data: MapData) -> Any:
    """Return a measurement with the responses of a dataset and an exposure of 1 cm² s at all energies."""
    from villard.likelihood.map_measurement import MapMeasurement

    geom = data.geom
    axis = data.measurement.energy_true
    point = WcsGeom.create(skydir=geom.center_skydir, npix=1, binsz=1, frame=geom.frame, axes=[axis])
    return MapMeasurement(
        name=data.name,
        statistic="cash",
        geom=geom,
        data={},
        mask=np.ones(int(np.prod(geom.data_shape)), dtype=bool),
        energy_true=axis,
        exposure=WcsNDMap(point, data=np.ones(point.data_shape), unit="cm2 s"),
        psf=data.dataset.psf,
        edisp=data.dataset.edisp,
        psf_method="exact",
    )


def _centred(images: Array, at: tuple[int, int], half: tuple[int, int] | None) -> Array:
    """Cut images so that one pixel is in their middle, and fill them up with zeros."""
    if half is None:
        lit = images.sum(axis=0)
        rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
        half = tuple(  # type: ignore[assignment]
            int(np.abs(index - middle).max(initial=0))
            for index, middle in zip((rows, columns), at, strict=True)
        )
    assert half is not None
    result = np.zeros((len(images), 2 * half[0] + 1, 2 * half[1] + 1))
    source, target = [], []
    for middle, h, n in zip(at, half, images.shape[1:], strict=True):
        start, stop = max(middle - h, 0), min(middle + h + 1, n)
        source.append(slice(start, stop))
        target.append(slice(start - middle + h, stop - middle + h))
    result[:, target[0], target[1]] = images[:, source[0], source[1]]
    return result


@dataclass(frozen=True)
class ShapeBasis:
    """Fixed shapes in measured energy, and how much of each there is at a pixel.

    Parameters
    ----------
    kernels : array
        Shape (n_basis, n_energy, 2 h + 1, 2 w + 1).
    coefficients : array
        Shape (n_basis, n_lat, n_lon) of the tile.
    """

    kernels: Array
    coefficients: Array


def make_basis(shape: SourceShape, rows: slice, columns: slice) -> ShapeBasis:
    """Make the shapes of a tile of the map.

    Parameters
    ----------
    shape : `SourceShape`
        Model and dataset.
    rows, columns : slice
        Tile.
    """
    exposure = shape.data.exposure[:, rows, columns]
    if not exposure.any():
        n_energy = shape.data.shape[0]
        return ShapeBasis(np.zeros((1, n_energy, 1, 1)), np.zeros((1, *exposure.shape[1:])))
    images, flux, edisp = shape.at(*_reference_pixel(exposure, rows, columns))
    if not shape.model.apply_irf["exposure"]:
        exposure = np.ones_like(exposure)
    n_true, *size = exposure.shape
    weights = np.repeat(exposure.reshape(n_true, -1), len(flux) // n_true, axis=0) * flux[:, np.newaxis]
    vectors = _few_vectors(weights)
    folded = np.einsum("nj,nr->jrn", vectors, edisp)
    kernels = np.tensordot(folded, images, axes=1)
    return ShapeBasis(kernels, (vectors.T @ weights).reshape(-1, *size))


def _few_vectors(weights: Array) -> Array:
    """Return orthonormal vectors, shape (n, n_basis), of which sums make all columns of the weights."""
    step = -(-weights.shape[1] // _MAX_PIXELS)
    sample = weights[:, ::step]
    total = sample.sum(axis=0)
    sample = sample[:, total > 0] / total[total > 0]
    if not sample.shape[1]:
        return np.zeros((len(weights), 1))
    vectors, _, _ = np.linalg.svd(sample, full_matrices=False)
    # The first one is the mean shape, but for its sign.
    vectors[:, 0] *= 1 if vectors[:, 0].sum() > 0 else -1
    for n in range(1, vectors.shape[1] + 1):
        some = vectors[:, :n]
        if np.abs(sample - some @ (some.T @ sample)).sum(axis=0).max() < _RANK_TOLERANCE:
            break
    return np.asarray(some)


def _reference_pixel(exposure: Array, rows: slice, columns: slice) -> tuple[int, int]:
    """Return the middle of a tile or, where that has no exposure at an energy, a pixel that has more."""
    number = np.count_nonzero(exposure > 0, axis=0)
    y, x = _middle(rows) - rows.start, _middle(columns) - columns.start
    if number[y, x] < number.max():
        total = np.where(number == number.max(), exposure.sum(axis=0), -1.0)
        y, x = (int(i) for i in np.unravel_index(int(np.argmax(total)), total.shape))
    return columns.start + x, rows.start + y


def _middle(part: slice) -> int:
    return int(part.start + part.stop - 1) // 2


def split_in_tiles(shapes: list[SourceShape], tolerance: float) -> Iterator[tuple[slice, slice]]:
    """Divide a map so that PSF and pixels are (nearly) the same all over each tile.

    Parameters
    ----------
    shapes : list of `SourceShape`
        Model in each dataset.
    tolerance : float
        Largest part of the counts of a source that may be elsewhere at the corner of a tile than in its
        middle. Tiles of few pixels aren't divided.
    """
    geom = shapes[0].data.geom
    n_y, n_x = geom.spatial_shape
    parts = [(slice(0, n_y), slice(0, n_x))]
    while parts:
        rows, columns = parts.pop()
        if not any(shape.data.exposure[:, rows, columns].any() for shape in shapes):
            continue
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if max(height, width) <= _MIN_TILE or _is_uniform(shapes, geom, rows, columns, tolerance):
            yield rows, columns
            continue
        bands = _halves(rows) if 2 * height > width else [rows]
        parts += [(r, c) for r in bands for c in (_halves(columns) if 2 * width > height else [columns])]


def _halves(part: slice) -> list[slice]:
    middle = (part.start + part.stop) // 2
    return [slice(part.start, middle), slice(middle, part.stop)]


def _is_uniform(
    shapes: list[SourceShape], geom: WcsGeom, rows: slice, columns: slice, tolerance: float
) -> bool:
    y = np.array([_middle(rows), rows.start, rows.start, rows.stop - 1, rows.stop - 1])
    x = np.array([_middle(columns), columns.start, columns.stop - 1, columns.start, columns.stop - 1])
    steps = _steps(geom, x, y)
    known = np.asarray(np.isfinite(steps).all(axis=0))
    if not known[0]:
        return max(rows.stop - rows.start, columns.stop - columns.start) <= _MIN_TILE
    # A Gaussian that is wider by a small part in one direction has half of that part elsewhere.
    if 0.5 * np.abs(steps[:, known] / steps[:, :1] - 1).max() > tolerance:
        return False
    centers = geom.pix_to_skydir(x, y)
    for shape in shapes:
        seen = known & [shape.is_seen(int(i), int(j)) for i, j in zip(x, y, strict=True)]
        if shape.is_constant or np.sum(seen) < 2:
            continue
        profiles = shape.psf_at(centers[seen])
        # Half of the sum of the differences is the part that is elsewhere.
        if 0.5 * np.abs(profiles[1:] - profiles[0]).sum(axis=(1, 2)).max() > tolerance:
            return False
    return True


def _steps(geom: WcsGeom, x: Array, y: Array) -> Array:
    """Return the sizes of pixels along columns, rows and both diagonals (deg), shape (4, n)."""
    dx, dy = np.array([(0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, -0.5)]).T[:, :, np.newaxis]
    sky = geom.pix_to_skydir(x + np.stack([-dx, dx]), y + np.stack([-dy, dy]))
    return np.asarray(sky[0].separation(sky[1]).deg)

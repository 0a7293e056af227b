"""Morphologies folded with the point spread function: the integral over directions, shared by all events.

For each node of true energy, a morphology times the effective area is convolved with the point spread
function, which changes with the offset: one convolution for each node of offset, of the part of the
morphology that belongs to it. An event then needs one interpolation per energy, whatever the number of
pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.response import EventResponse, containment_radii, hat_weights
from villard.exceptions import DataError, ModelError

__all__ = ["FoldedSource", "SkyPixels", "fold_maps", "fold_point", "morphology"]

Array = NDArray[np.float64]

#: Pixels that fit into memory, with some 20 nodes of energy.
_MAX_PIXELS = 10_000_000
#: Points per pixel and direction at which the point spread function, and the field of view, are sampled.
_SAMPLES = 5
#: Rings and points of a ring around a point source, to tell how much of it is in the field of view.
_RINGS = 32


@dataclass
class FoldedSource:
    """A morphology times effective area, folded with the point spread function.

    Parameters
    ----------
    area : array
        Effective area (cm2) at the bins of true energy, shape (n_bins,).
    detected : array
        Part of the flux times area that is reconstructed within the field of view, shape (n_bins,).
    image : array, optional
        Density (sr-1) at nodes of energy, per flux times area: shape (n_pixels, n_nodes). `None` for a point.
    point : tuple, optional
        Of a point source: local direction, offset (deg), and its shapes at the nodes of energy.
    """

    area: Array
    detected: Array
    image: Array | None = None
    point: tuple[Array, float, Any] | None = None

    @property
    def fingerprint(self) -> bytes:
        """Bytes that differ between sources."""
        digest = hashlib.sha256((self.area * self.detected).tobytes())
        if self.image is not None:
            digest.update(self.image.tobytes())
        if self.point is not None:
            vector, _, (shapes, b) = self.point
            digest.update(np.append(vector, b).tobytes())
            angles = np.geomspace(1e-5, 0.1, 20)
            for pair in shapes:
                digest.update(np.concatenate([table.evaluate(angles) for table in pair]).tobytes())
        return digest.digest()


class SkyPixels:
    """Pixels of the tangential plane at the pointing, which cover the field of view and its margin.

    Parameters
    ----------
    response : `EventResponse`
        Responses and field of view.
    """

    def __init__(self, response: EventResponse) -> None:
        self.response, field = response, response.field
        bin_size, margin = response.bounds.bin_size, response.margin
        a, b = (np.radians(min(0.5 * width + margin, 80.0)) for width in field.width)
        half = np.degrees(np.tan(a) / np.cos(b)), np.degrees(np.tan(b) / np.cos(a))
        self.npix = tuple(int(2 * np.ceil(h / bin_size)) for h in half)
        if self.npix[0] * self.npix[1] > _MAX_PIXELS:
            raise DataError(
                f"Marginalisation: a bin_size of {bin_size:g} deg makes {self.npix[0]} x {self.npix[1]} "
                f"pixels of the field of view, expected at most {_MAX_PIXELS}"
            )
        self.step = np.radians(bin_size)
        rows, columns = np.indices(self.npix[::-1])
        self.vectors = self._vectors(columns, rows)
        self.offset = field.offset(self.vectors)
        #: Solid angle of each pixel.
        self.solid_angle = self.step**2 * self.vectors[..., 0] ** 3
        self.coverage = self._coverage()
        self.kernels: dict[tuple[int, int], NDArray[np.complex128]] = {}

    @property
    def fft_shape(self) -> tuple[int, int]:
        """Shape with room for the widest kernel."""
        from scipy.fft import next_fast_len

        reach = int(np.ceil(np.radians(self.response.psf_radius.max()) / self.step)) + 1
        nx, ny = self.npix
        return next_fast_len(ny + 2 * reach, real=True), next_fast_len(nx + 2 * reach, real=True)

    @cached_property
    def area(self) -> tuple[Array, Array]:
        """Largest effective area (cm2) at the nodes of energy, and area over it in all pixels."""
        nodes = self.response.nodes
        area = self.response.area(nodes[:, np.newaxis, np.newaxis], self.offset)
        largest = area.reshape(len(area), -1).max(axis=1)
        # Relative to the largest one it changes little from node to node.
        return largest, area / np.where(largest > 0, largest, 1.0)[:, np.newaxis, np.newaxis]

    @property
    def geom(self) -> Any:
        """The pixels as `~villard.maps.WcsGeom`."""
        from villard.maps import WcsGeom

        center = self.response.field.center
        size = self.response.bounds.bin_size
        return WcsGeom.create(
            skydir=center, npix=self.npix, binsz=(size, size), proj="TAN", frame=center.frame.name
        )

    def _vectors(self, column: Any, row: Any) -> Array:
        nx, ny = self.npix
        xi = -self.step * (column - 0.5 * (nx - 1))
        eta = self.step * (row - 0.5 * (ny - 1))
        vectors = np.stack([np.ones(xi.shape), xi, eta], axis=-1)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))

    def _coverage(self) -> Array:
        """Part of each pixel that is in the field of view."""
        field = self.response.field
        rows, columns = np.indices(self.npix[::-1])
        shifts = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
        energy = np.sqrt(np.prod(field.energy_bounds))
        inside = np.zeros(rows.shape)
        for dx in shifts:
            for dy in shifts:
                inside += field.contains(energy, self._vectors(columns + dx, rows + dy))
        return inside / _SAMPLES**2

    def corners(self, vectors: Array) -> tuple[list[NDArray[np.intp]], list[Array]]:
        """Return the four pixels around directions, as flat indices, and their weights."""
        nx, ny = self.npix
        x = 0.5 * (nx - 1) - vectors[:, 1] / vectors[:, 0] / self.step
        y = 0.5 * (ny - 1) + vectors[:, 2] / vectors[:, 0] / self.step
        i = np.clip(np.floor(x), 0, nx - 2).astype(np.intp)
        j = np.clip(np.floor(y), 0, ny - 2).astype(np.intp)
        a, b = np.clip(x - i, 0, 1), np.clip(y - j, 0, 1)
        at = j * nx + i
        return [at, at + 1, at + nx, at + nx + 1], [(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b]


def fold_maps(maps: Array, pixels: SkyPixels) -> FoldedSource:
    """Fold images with effective area and point spread function.

    Parameters
    ----------
    maps : array
        Parts of the flux in pixels, shape (1 or n_nodes, ny, nx).
    pixels : `SkyPixels`
        Pixels.
    """
    response = pixels.response
    largest, relative = pixels.area
    images = np.empty((pixels.offset.size, len(response.nodes)))
    for k in range(len(response.nodes)):
        shape = maps[min(k, len(maps) - 1)]
        images[:, k] = _convolved(shape * relative[k], k, pixels).ravel()
    inside = (images * pixels.coverage.reshape(-1, 1)).T
    images /= pixels.solid_angle.reshape(-1, 1)
    return FoldedSource(response.to_bins(largest), _detected(inside, pixels), images)


def fold_point(spatial: Any, pixels: SkyPixels) -> FoldedSource | None:
    """Return a point source, or `None` if it is out of reach of the field of view."""
    response = pixels.response
    field = response.field
    lon, lat = spatial.position_lonlat
    vector = field.from_frame(lon, lat, spatial.frame)
    if vector[0] <= 0:
        return None
    offset = float(field.offset(vector))
    if offset > field.half_diagonal + response.margin:
        return None
    area = response.area(response.energy, np.array(offset))
    j, b = hat_weights(response.psf_offsets, np.array(offset))
    shapes = [(tables[int(j)], tables[min(int(j) + 1, len(tables) - 1)]) for tables in response.psf_tables]
    parts = np.array([_part_inside(field, vector, pair, float(b)) for pair in shapes])
    if not np.any(parts > 0) or not np.any(area > 0):
        return None
    detected = response.to_bins(parts) * response.detected_at(np.array(offset))
    return FoldedSource(area, detected, point=(vector, offset, (shapes, float(b))))


def _part_inside(field: Any, vector: Array, pair: tuple[Any, Any], b: float) -> float:
    """Part of a point source that is reconstructed in the field of view, by rings of equal probability."""
    from villard.simulate.event_field import displaced

    azimuth = 2 * np.pi * (np.arange(_RINGS) + 0.5) / _RINGS
    energy = np.sqrt(np.prod(field.energy_bounds))
    result = 0.0
    for table, weight in zip(pair, (1 - b, b), strict=True):
        if weight <= 0:
            continue
        angle = containment_radii(table, (np.arange(_RINGS) + 0.5) / _RINGS)
        angles, turns = (x.ravel() for x in np.meshgrid(angle, azimuth))
        around = displaced(np.broadcast_to(vector, (len(angles), 3)), angles, turns)
        result += weight * float(np.mean(field.contains(energy, around)))
    return result


def _detected(inside: Array, pixels: SkyPixels) -> Array:
    """Sum over the field of view of what is reconstructed within the energies, shape (n_bins,).

    ``inside`` has the contents of pixels at the nodes of energy, (n_nodes, n_pixels).
    """
    response = pixels.response
    offsets = response.edisp_offsets
    j, b = hat_weights(offsets, pixels.offset.ravel())
    sums = np.zeros((len(inside), len(offsets)))
    for node, row in enumerate(inside):
        sums[node] = np.bincount(j, row * (1 - b), minlength=len(offsets))[: len(offsets)]
        right = np.minimum(j + 1, len(offsets) - 1)
        sums[node] += np.bincount(right, row * b, minlength=len(offsets))[: len(offsets)]
    return np.sum(response.to_bins(sums) * response.detected, axis=1)


def morphology(spatial: Any, pixels: SkyPixels, name: str) -> tuple[Array, Any]:
    """Return integrals over pixels, shape (1 or n_nodes, ny, nx), and their unit.

    Parameters
    ----------
    spatial : `~villard.modeling.models.SpatialModel`
        Morphology at its present values.
    pixels : `SkyPixels`
        Pixels.
    name : str
        Name of the source, for messages.
    """
    from villard.maps import MapAxis

    geom = pixels.geom
    if spatial.is_energy_dependent:
        axis = MapAxis.from_nodes(pixels.response.nodes, name="energy_true", unit="TeV", interp="log")
        geom = geom.to_cube([axis])
    image = spatial.integrate_geom(geom).quantity
    values = np.asarray(image.value, dtype=float)
    if np.any(values < 0) or not np.all(np.isfinite(values)):
        raise ModelError(f"{name}: the morphology is negative or not finite in the field of view")
    return values.reshape(-1, *pixels.npix[::-1]), image.unit


def _convolved(image: Array, node: int, pixels: SkyPixels) -> Array:
    """Convolve an image with the point spread function at a node of energy."""
    from scipy import fft

    response = pixels.response
    offsets = response.psf_offsets
    j, b = hat_weights(offsets, pixels.offset)
    shape = pixels.fft_shape
    total: Any = 0.0
    for index in range(len(offsets)):
        weight = np.where(j == index, 1 - b, 0.0) + np.where((j + 1 == index), b, 0.0)
        part = image * weight
        if not np.any(part):
            continue
        if (node, index) not in pixels.kernels:
            table, radius = response.psf_tables[node][index], response.psf_radius[node, index]
            kernel = _kernel(table, radius, pixels.step)
            n = len(kernel) // 2
            padded = np.zeros(shape)
            padded[: len(kernel), : len(kernel)] = kernel
            # With its middle at the first pixel.
            transform = fft.rfft2(np.roll(padded, (-n, -n), axis=(0, 1)))
            pixels.kernels[node, index] = transform * _sharpening(shape)
        total = total + fft.rfft2(part, shape) * pixels.kernels[node, index]
    if np.ndim(total) == 0:
        return np.zeros(image.shape)
    return np.maximum(fft.irfft2(total, shape)[: image.shape[0], : image.shape[1]], 0.0)


def _sharpening(shape: tuple[int, int]) -> Array:
    """Return the factor that takes back the blur of pixels, to second order.

    Morphology and kernel are means over pixels (a variance of 1/12 pixel² each), and the image is
    interpolated linearly (1/6): less a sixth of the second differences, the image is as if it weren't.
    """
    ky = 2 * np.pi * np.fft.fftfreq(shape[0])[:, np.newaxis]
    kx = 2 * np.pi * np.fft.rfftfreq(shape[1])
    return np.asarray(1 + (4 - 2 * np.cos(kx) - 2 * np.cos(ky)) / 6)


def _kernel(table: Any, radius: float, step: float) -> Array:
    """Return integrals of a shape over pixels, cut off at a radius (deg)."""
    reach = np.radians(radius)
    n = max(int(np.ceil(reach / step)), 1)
    width = float(containment_radii(table, np.array([0.3]))[0])
    samples = int(np.clip(np.ceil(2 * step / max(width, 1e-9)), _SAMPLES, 41)) | 1
    fine = (np.arange((2 * n + 1) * samples) + 0.5) / samples - n - 0.5
    distance = step * np.hypot(fine[:, np.newaxis], fine)
    values = np.where(distance <= reach, table.evaluate(distance), 0.0)
    kernel = values.reshape(2 * n + 1, samples, 2 * n + 1, samples).sum(axis=(1, 3))
    total = kernel.sum()
    if total <= 0:
        kernel[n, n] = total = 1.0
    return kernel / total * float(1 - table.outside(reach))

"""Source maps: exposure times morphology, convolved with the point spread function, for each true energy.

One pure function of a source's position and shape, for sources whose morphology is fitted and for
those where it is fixed. A point source is shared by the pixels nearest to it, each of which has the
PSF's kernel around it, or takes the PSF around its exact position, integrated over pixels; extended
ones are convolved by FFT on cells that resolve them.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from villard._jax import jax, jnp
from villard.likelihood.psf_profiles import PSFSplines
from villard.likelihood.sky_grid import pixel_of, unit_vector
from villard.modeling.models.spatial.core import PureSpatial

__all__ = ["SourceMap"]


@dataclass(frozen=True)
class SourceMap:
    """What is compiled for source maps of one kind: everything that isn't an array.

    Parameters
    ----------
    kind : str
        "shared": a direction shared by the nearest pixels, with a kernel around each; "point": PSF around
        the direction itself; "shape": a morphology on the pixels; "image": one that is given.
    spatial : `PureSpatial` or None
        The morphology.
    shape : (int, int)
        Rows and columns of the cutout.
    nodes : int
        Gauss-Legendre nodes per pixel and direction for a point source.
    core : (int, int)
        Half width, in pixels, and nodes of the finer grid around a point source; (0, 0) for none.
    factor : int
        Cells per pixel and direction in which an extended source is convolved.
    samples : int
        Points per cell and direction at which its morphology is evaluated.
    fft_shape : (int, int) or None
        Size of the Fourier transforms; `None` without PSF.
    """

    kind: str
    spatial: PureSpatial | None
    shape: tuple[int, int]
    nodes: int = 2
    core: tuple[int, int] = (0, 0)
    factor: int = 1
    samples: int = 1
    fft_shape: tuple[int, int] | None = None

    @property
    def key(self) -> Hashable:
        """Source maps of equal keys share their compiled functions."""
        spatial = None if self.spatial is None or self.kind in ("point", "shared") else self.spatial.key
        return (
            self.kind, spatial, self.shape, self.nodes, self.core, self.factor, self.samples, self.fft_shape,
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceMap) and self.key == other.key

    def __call__(self, values: Any, arrays: dict[str, Any]) -> Any:
        """Return the source map, in cm² s, shape (n_true, n_y * n_x).

        Parameters
        ----------
        values : array
            Parameters of the morphology in the engine's units.
        arrays : dict of str to array
            Those that `villard.likelihood.source_arrays` makes.
        """
        if self.kind == "point":
            return self._point(values, arrays)
        if self.kind == "shared":
            return self._shared(values, arrays)
        image = self._morphology(values, arrays) if self.kind == "shape" else arrays["image"]
        exposure = arrays["exposure"]
        if self.factor > 1:
            exposure = jnp.repeat(jnp.repeat(exposure, self.factor, axis=-2), self.factor, axis=-1)
        return self._sum_cells(self._convolve(image * exposure, arrays)).reshape(exposure.shape[0], -1)

    # Point sources

    def _point(self, values: Any, arrays: dict[str, Any]) -> Any:
        source = unit_vector(values[0], values[1], jnp)
        x, y = pixel_of(source, arrays["to_pixel"], arrays["basis"], jnp)
        table = PSFSplines(arrays["psf"], arrays["psf_scale"])
        psf = _integrate_pixels(table, source, arrays["corners"], self.nodes) * arrays["area"][..., None]
        if self.core[0]:
            psf = self._refine_core(psf, table, source, (x, y), arrays)
        exposure = _bilinear(arrays["exposure"], x, y)
        return exposure[:, None] * psf.reshape(-1, psf.shape[-1]).T

    def _refine_core(
        self, psf: Any, table: PSFSplines, source: Any, pixel: tuple[Any, Any], arrays: dict[str, Any]
    ) -> Any:
        """Integrate the pixels around the source on a finer grid."""
        half, nodes = self.core
        size = 2 * half + 1
        first = [
            jnp.clip(jnp.round(jax.lax.stop_gradient(at)).astype(int) - half, 0, n - size)
            for at, n in zip(pixel[::-1], self.shape, strict=True)
        ]
        corners = jax.lax.dynamic_slice(arrays["corners"], (*first, 0), (size + 1, size + 1, 3))
        area = jax.lax.dynamic_slice(arrays["area"], tuple(first), (size, size))
        core = _integrate_pixels(table, source, corners, nodes) * area[..., None]
        return jax.lax.dynamic_update_slice(psf, core, (*first, 0))

    def _shared(self, values: Any, arrays: dict[str, Any]) -> Any:
        """Sum kernels around the nearest pixels, weighted so that their centre is the source's position."""
        source = unit_vector(values[0], values[1], jnp)
        x, y = pixel_of(source, arrays["to_pixel"], arrays["basis"], jnp)
        rows, columns = self.shape
        i, j = (
            jnp.clip(jnp.round(jax.lax.stop_gradient(at)).astype(int), 1, n - 2)
            for at, n in ((x, columns), (y, rows))
        )
        exposure, kernel = arrays["exposure"], arrays["kernel"]
        total: Any = 0.0
        for b in (-1, 0, 1):
            for a in (-1, 0, 1):
                weight = _share(y - j - b, arrays["softness"]) * _share(x - i - a, arrays["softness"])
                there = jax.lax.dynamic_slice(exposure, (0, j + b, i + a), (exposure.shape[0], 1, 1))
                # The middle of the padded kernel comes to lie on the pixel.
                first = (0, rows - j - b, columns - i - a)
                window = jax.lax.dynamic_slice(kernel, first, (kernel.shape[0], rows, columns))
                total = total + weight * there * window
        return total.reshape(exposure.shape[0], -1)

    # Extended sources

    def _morphology(self, values: Any, arrays: dict[str, Any]) -> Any:
        """Flux in each cell, shape (n_y * factor, n_x * factor)."""
        assert self.spatial is not None
        assert self.spatial.evaluate is not None
        place = arrays["lon"], arrays["lat"], values, arrays["spatial"]
        if self.spatial.evaluate_cells is None:
            density = self.spatial.evaluate(*place)
        else:
            density = self.spatial.evaluate_cells(*place, arrays["cell"])
        rows, columns = (n * self.factor for n in self.shape)
        density = density.reshape(rows, self.samples, columns, self.samples).mean(axis=(1, 3))
        area = jnp.repeat(jnp.repeat(arrays["area"], self.factor, axis=0), self.factor, axis=1)
        flux = density * area / self.factor**2
        # A shape that lies wholly on the cells has all its flux, whatever its edges do to the sum.
        total = jnp.sum(flux)
        whole = flux / jnp.where(total > 0, total, 1.0)
        if self.spatial.position is not None:
            # One that has shrunk to nothing between the points is a point.
            whole = jnp.where(total > 0, whole, self._cells_at(values, arrays))
        return jnp.where(arrays["whole"], whole, flux)

    def _cells_at(self, values: Any, arrays: dict[str, Any]) -> Any:
        """Shares that the cells have in a point at the position of a shape, which sum to 1."""
        assert self.spatial is not None
        assert self.spatial.position is not None
        lon, lat = (values[i] for i in self.spatial.position)
        pixel = pixel_of(unit_vector(lon, lat, jnp), arrays["to_pixel"], arrays["basis"], jnp)
        across, up = (
            jnp.maximum(1 - jnp.abs((at + 0.5) * self.factor - 0.5 - jnp.arange(n * self.factor)), 0.0)
            for at, n in zip(pixel, self.shape[::-1], strict=True)
        )
        return up[:, None] * across

    def _convolve(self, image: Any, arrays: dict[str, Any]) -> Any:
        if self.fft_shape is None:
            return image
        rows, columns = image.shape[-2:]
        transform = jnp.fft.rfft2(image, s=self.fft_shape) * arrays["psf_transform"]
        return jnp.fft.irfft2(transform, s=self.fft_shape)[..., :rows, :columns]

    def _sum_cells(self, image: Any) -> Any:
        if self.factor == 1:
            return image
        n, (rows, columns) = image.shape[0], self.shape
        return image.reshape(n, rows, self.factor, columns, self.factor).sum(axis=(2, 4))


def _share(distance: Any, softness: Any) -> Any:
    """Share of a pixel at a distance, in pixels: 1 - |distance|, its corners rounded over ``softness``.

    The shares of all pixels sum to 1, and their centre is the source's position. With a softness of 1
    they are a quadratic spline.
    """

    def ramp(t: Any) -> Any:
        bend = (t + 0.5 * softness) ** 2 / (2 * softness)
        return jnp.where(jnp.abs(t) < 0.5 * softness, bend, jnp.maximum(t, 0.0))

    return ramp(distance + 1) - 2 * ramp(distance) + ramp(distance - 1)


def _integrate_pixels(table: PSFSplines, source: Any, corners: Any, n: int) -> Any:
    """Mean density of the PSF in pixels, shape (n_y, n_x, n_energies): Gauss-Legendre in both directions."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    t = 0.5 * (nodes + 1)
    pairs = jnp.asarray([(a, b, 0.25 * u * v) for a, u in zip(t, weights) for b, v in zip(t, weights)])  # noqa: B905

    def add(total: Any, pair: Any) -> tuple[Any, None]:
        a, b, weight = pair
        rows = corners[:-1] * (1 - a) + corners[1:] * a
        point = rows[:, :-1] * (1 - b) + rows[:, 1:] * b
        # The middle of a chord lies below the sphere.
        point = point / jnp.sqrt(jnp.maximum(jnp.sum(point**2, axis=-1, keepdims=True), 1e-300))
        v = jnp.sum((point - source) ** 2, axis=-1)
        return total + weight * table.evaluate(v), None

    shape = (corners.shape[0] - 1, corners.shape[1] - 1, table.coefficients.shape[-1])
    return jax.lax.scan(add, jnp.zeros(shape), pairs)[0]


def _bilinear(cube: Any, x: Any, y: Any) -> Any:
    """Interpolate a cube at one position in pixels, shape (n_energies,); constant beyond the edges."""
    rows, columns = cube.shape[-2:]
    x, y = jnp.clip(x, 0, columns - 1), jnp.clip(y, 0, rows - 1)
    i = jnp.clip(jnp.floor(x).astype(int), 0, columns - 2)
    j = jnp.clip(jnp.floor(y).astype(int), 0, rows - 2)
    block = jax.lax.dynamic_slice(cube, (0, j, i), (cube.shape[0], 2, 2))
    across = block[..., 0] * (1 - (x - i)) + block[..., 1] * (x - i)
    return across[:, 0] * (1 - (y - j)) + across[:, 1] * (y - j)

"""Point spread functions as kernels on a regular grid, and their Fourier transforms."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.likelihood.psf_profiles import PSFProfiles, PSFSplines
from villard.likelihood.sky_grid import Cutout

if TYPE_CHECKING:
    from villard.likelihood.map_measurement import MapMeasurement

__all__ = ["integrate_kernel", "kernel_transform", "padded_kernel", "quadrature_nodes"]

Array = NDArray[np.float64]

#: Points per radius of 68 % containment at which the method "kernel" samples a PSF.
_SAMPLES = 6
#: Most points per pixel and direction at which it does.
_MAX_SAMPLES = 4
#: Half width, in pixels, of the finer grid in the middle of a PSF that is narrower than a pixel.
_CORE = 4


def quadrature_nodes(ratio: float) -> tuple[int, tuple[int, int]]:
    """Return the Gauss-Legendre nodes per pixel and direction that integrate a PSF to better than 1e-3.

    Parameters
    ----------
    ratio : float
        Width of the narrowest core (39 % containment) over the size of a pixel.

    Returns
    -------
    int, (int, int)
        Nodes everywhere; half width in pixels and nodes of a finer grid in the middle, or (0, 0).
    """
    if ratio >= 1.2:
        return 2, (0, 0)
    if ratio >= 0.7:
        return 3, (0, 0)
    return 3, (_CORE, int(np.clip(np.ceil(3.5 / ratio), 5, 48)))


def integrate_kernel(splines: PSFSplines, corners: Array, area: Array, center: Array, ratio: float) -> Array:
    """Integrate a PSF around a direction over pixels, shape (n_energies, n_y, n_x)."""
    nodes, (half, fine) = quadrature_nodes(ratio)
    kernel = _integrate(splines, corners, center, nodes) * area[..., None]
    if half:
        rows, columns = (n // 2 for n in area.shape)
        j, i = max(rows - half, 0), max(columns - half, 0)
        window = slice(j, rows + half + 1), slice(i, columns + half + 1)
        inner = corners[j : rows + half + 2, i : columns + half + 2]
        kernel[window] = _integrate(splines, inner, center, fine) * area[window][..., None]
    return np.moveaxis(kernel, -1, 0)


def _integrate(splines: PSFSplines, corners: Array, center: Array, n: int) -> Array:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    t = 0.5 * (nodes + 1)
    total: Any = 0.0
    for a, u in zip(t, weights, strict=True):
        rows = corners[:-1] * (1 - a) + corners[1:] * a
        for b, v in zip(t, weights, strict=True):
            point = rows[:, :-1] * (1 - b) + rows[:, 1:] * b
            point = point / np.sqrt(np.maximum(np.sum(point**2, axis=-1, keepdims=True), 1e-300))
            total = total + 0.25 * u * v * splines.evaluate(np.sum((point - center) ** 2, axis=-1))
    return np.asarray(total)


def kernel_transform(
    measurement: "MapMeasurement", profiles: PSFProfiles | None, given: Any, cutout: Cutout, factor: int
) -> tuple[NDArray[np.complex128], tuple[int, int]]:
    """Return the Fourier transform of the PSF on the cells of a cutout, and its size.

    Parameters
    ----------
    measurement : `MapMeasurement`
        Keeps kernels, which sources at equal places share.
    profiles : `PSFProfiles` or None
        PSF around any direction.
    given : `~villard.irf.PSFKernel` or None
        Kernel on the pixels of the map, where there are no profiles.
    cutout : `Cutout`
        Pixels.
    factor : int
        Cells per pixel and direction.
    """
    from scipy.fft import next_fast_len, rfft2

    if profiles is not None:
        kernel = _kernel_at(measurement, profiles, cutout, factor)
    else:
        kernel = _given_kernel(measurement, given)
        factor = 1
    half = [n // 2 for n in kernel.shape[1:]]
    shape = tuple(next_fast_len(n * factor + h, real=True) for n, h in zip(cutout.shape, half, strict=True))
    # A kernel that reaches beyond the cells is cut there: nothing lies that far from any source on them.
    half = [min(h, n - 1 - h if n - 1 - h >= 0 else 0) for h, n in zip(half, shape, strict=True)]
    middle = [n // 2 for n in kernel.shape[1:]]
    kernel = kernel[
        :, middle[0] - half[0] : middle[0] + half[0] + 1, middle[1] - half[1] : middle[1] + half[1] + 1
    ]
    padded = np.zeros((len(kernel), *shape))
    padded[:, : kernel.shape[1], : kernel.shape[2]] = kernel
    padded = np.roll(padded, (-half[0], -half[1]), axis=(1, 2))
    return rfft2(padded), (shape[0], shape[1])


def padded_kernel(
    measurement: "MapMeasurement", profiles: PSFProfiles | None, given: Any, cutout: Cutout
) -> Array:
    """Return the PSF's kernel on the pixels of a cutout, in the middle of twice as many.

    Returns
    -------
    array
        Probability per pixel, shape (n_true, 2 n_y + 1, 2 n_x + 1); 1 in the middle without PSF.
    """
    if profiles is not None:
        kernel = _kernel_at(measurement, profiles, cutout, 1)
    elif given is not None:
        kernel = _given_kernel(measurement, given)
    else:
        kernel = np.ones((measurement.energy_true.nbin, 1, 1))
    padded = np.zeros((len(kernel), *(2 * n + 1 for n in cutout.shape)))
    source, target = [slice(None)], [slice(None)]
    for n, m in zip(cutout.shape, kernel.shape[1:], strict=True):
        half = min(m // 2, n)
        source.append(slice(m // 2 - half, m // 2 + half + 1))
        target.append(slice(n - half, n + half + 1))
    padded[tuple(target)] = kernel[tuple(source)]
    return padded


def _kernel_at(measurement: "MapMeasurement", profiles: PSFProfiles, cutout: Cutout, factor: int) -> Array:
    """PSF integrated over cells around the middle of a cutout, each energy with the sum 1."""
    corners = _corners_around(measurement, cutout, factor, profiles.radius_max)
    first, second = corners[1:, 1:] - corners[:-1, :-1], corners[1:, :-1] - corners[:-1, 1:]
    area = 0.5 * np.linalg.norm(np.cross(first, second), axis=-1)
    rows, columns = (n // 2 for n in area.shape)
    center = corners[rows : rows + 2, columns : columns + 2].sum(axis=(0, 1))
    center /= np.linalg.norm(center)
    size = float(np.degrees(np.sqrt(area[rows, columns])))
    key = (
        "kernel",
        id(profiles),
        area.shape,
        round(size, 9),
        round(float(area[rows, 0] / area[rows, columns]), 9),
    )
    if key not in measurement._sources:
        if measurement.psf_method == "kernel" and factor == 1:
            kernel = _sample_kernel(profiles, corners, center, size)
        else:
            kernel = integrate_kernel(profiles.splines, corners, area, center, profiles.core / size)
        total = kernel.sum(axis=(1, 2), keepdims=True)
        measurement._sources[key] = kernel / np.where(total > 0, total, 1.0)
    return np.asarray(measurement._sources[key])


def _sample_kernel(profiles: PSFProfiles, corners: Array, center: Array, size: float) -> Array:
    """Mean of a PSF at points of each pixel, as in Gammapy, shape (n_energies, n_y, n_x).

    The narrower the PSF of an energy, the more points a pixel gets.
    """
    kernel = np.zeros((len(profiles.values), corners.shape[0] - 1, corners.shape[1] - 1))
    with np.errstate(divide="ignore"):
        samples = np.clip(np.ceil(_SAMPLES * size / profiles.radius_68), 1, _MAX_SAMPLES).astype(int)
    for n in np.unique(samples):
        chosen = np.flatnonzero(samples == n)
        t = (np.arange(n) + 0.5) / n
        for a in t:
            rows = corners[:-1] * (1 - a) + corners[1:] * a
            for b in t:
                point = rows[:, :-1] * (1 - b) + rows[:, 1:] * b
                distance = np.linalg.norm(point - center, axis=-1)
                r = np.degrees(2 * np.arcsin(np.minimum(distance / 2, 1)))
                for i in chosen:
                    kernel[i] += np.interp(r, profiles.rad, profiles.values[i], right=0.0)
    return kernel


def _corners_around(measurement: "MapMeasurement", cutout: Cutout, factor: int, radius: float) -> Array:
    """Unit vectors of the corners of cells around the source, or the middle of the map for large cutouts."""
    geom = measurement.geom
    center = cutout.basis[0]
    from astropy.coordinates import CartesianRepresentation, SkyCoord

    sky = SkyCoord(CartesianRepresentation(*center), frame=cutout.frame)
    x, y = (float(np.ravel(v)[0]) for v in geom.skydir_to_pix(sky))
    half = []
    here = geom.pix_to_skydir(x, y)
    for dx, dy, n in ((0.5, 0.0, cutout.shape[1]), (0.0, 0.5, cutout.shape[0])):
        size = 2 * float(here.separation(geom.pix_to_skydir(x + dx, y + dy)).deg) / factor
        half.append(int(min(np.ceil(radius / size) + 1, n * factor)))
    i = (np.arange(-half[0], half[0] + 2) - 0.5) / factor
    j = (np.arange(-half[1], half[1] + 2) - 0.5) / factor
    grid = geom.pix_to_skydir(*np.meshgrid(x + i, y + j))
    corners = np.moveaxis(grid.cartesian.xyz.value, 0, -1)
    return np.where(np.isfinite(corners), corners, -center)


def _given_kernel(measurement: "MapMeasurement", given: Any) -> Array:
    kernel_map = given.psf_kernel_map
    data = np.asarray(kernel_map.data, dtype=float)
    n_true = measurement.energy_true.nbin
    if data.shape[0] not in (1, n_true):
        raise DataError(
            f"Dataset {measurement.name!r}: the PSF kernel has {data.shape[0]} true energies, "
            f"expected {n_true}"
        )
    ours, its = measurement.geom.pixel_scales, kernel_map.geom.pixel_scales
    if not np.allclose(ours.to_value("deg"), its.to_value("deg"), rtol=1e-3):
        raise DataError(
            f"Dataset {measurement.name!r}: the PSF kernel has pixels of {its}, the counts of {ours}"
        )
    if data.shape[1] % 2 == 0 or data.shape[2] % 2 == 0:
        raise DataError(
            f"Dataset {measurement.name!r}: the PSF kernel needs odd numbers of pixels, "
            f"found {data.shape[1:]}"
        )
    return np.broadcast_to(data, (n_true, *data.shape[1:]))

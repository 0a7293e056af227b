"""The PSF of a round source: convolved with a Gaussian or a disk, it is a radial profile again.

So a narrow extended source is as exact as a point source, however small it is beside the pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.likelihood.psf_profiles import PSFProfiles, PSFSplines, _cubics, _knots, _normalised

__all__ = ["broadened_splines"]

Array = NDArray[np.float64]

# Rings into which the PSF is divided: closer than the narrowest widths that matter.
_N_RINGS = 3000
# Widths below this part of the PSF's core are none: they add its square to the square of the core.
_SMALLEST = 0.01


def broadened_splines(
    profiles: PSFProfiles, shape: str, width: float, radius: float, scale: Array | None = None
) -> PSFSplines:
    """Convolve profiles with a round shape; both are taken as flat.

    Parameters
    ----------
    profiles : `~villard.likelihood.psf_profiles.PSFProfiles`
        PSF.
    shape : {"gauss", "disk"}
        Shape.
    width : float
        Standard deviation of the Gaussian, or radius of the disk (deg); 0 gives the PSF itself.
    radius : float
        Largest radius of the result (deg).
    scale : array, optional
        Factors by which the PSF itself is wider than it is said to be, shape (n_energies,).

    Returns
    -------
    `~villard.likelihood.psf_profiles.PSFSplines`
        Profiles with an integral of 1 each.

    Examples
    --------
    A Gaussian of 0.3 deg, convolved with one of 0.4 deg, is one of 0.5 deg:

    >>> from villard.likelihood.psf_profiles import make_psf_profiles
    >>> rad = np.linspace(0, 3, 300)
    >>> psf = make_psf_profiles(rad, np.exp(-0.5 * (rad[np.newaxis] / 0.3) ** 2), "toy", 0.9999)
    >>> table = broadened_splines(psf, "gauss", 0.4, 4)
    >>> r = np.radians([0, 0.5, 1.0])
    >>> (table.evaluate(r**2)[:, 0] * 2 * np.pi * np.radians(0.5) ** 2).round(2)
    array([1.  , 0.61, 0.14])
    """
    if shape not in ("gauss", "disk"):
        raise ModelError(f"Expected 'gauss' or 'disk' as the shape of a source, found {shape!r}")
    if width < _SMALLEST * profiles.core:
        width = 0.0
        if scale is None:
            return profiles.splines
    factors = np.ones(len(profiles.values)) if scale is None else np.asarray(scale, dtype=float)
    if factors.shape != (len(profiles.values),):
        raise ModelError(
            f"Expected a scale of the PSF at {len(profiles.values)} true energies, found {factors.shape}"
        )
    sigma = np.radians(width)
    core = float(np.hypot(np.radians(profiles.core), sigma if shape == "gauss" else 0.5 * sigma))
    knots, knot_scale = _knots(np.radians(radius), core)
    r = 2 * np.arcsin(np.sqrt(knots) / 2)
    rings, masses = _rings(profiles)
    at_knots = np.zeros((len(factors), len(knots)))
    for factor in np.unique(factors):
        chosen = np.flatnonzero(factors == factor)
        if width <= 0:
            density: Any = profiles.splines.evaluate((r / factor) ** 2)
            at_knots[chosen] = np.asarray(density).T[chosen]
            continue
        kernel = (_gauss if shape == "gauss" else _disk)(r[:, None], rings * factor, sigma)
        at_knots[chosen] = (kernel @ masses[:, chosen]).T
    used = np.flatnonzero(masses.sum(axis=0) > 0)
    return _normalised(PSFSplines(_cubics(at_knots), knot_scale), used)


def _rings(profiles: PSFProfiles) -> tuple[Array, Array]:
    """Radii of rings (rad), dense in the core, and the part of the PSF in each, shape (n, n_energies)."""
    v_max, scale = float(profiles.splines.scale[2]), 0.3 * np.radians(profiles.core)
    outer = np.arcsinh(np.sqrt(v_max) / scale)
    edges = scale * np.sinh(np.linspace(0, outer, _N_RINGS + 1))
    middle = np.sqrt(0.5 * (edges[1:] ** 2 + edges[:-1] ** 2))
    density: Any = profiles.splines.evaluate(middle**2)
    return middle, np.asarray(density) * np.pi * np.diff(edges**2)[:, np.newaxis]


def _gauss(r: Array, ring: Array, sigma: float) -> Array:
    """Density at r of a ring that is smeared out by a Gaussian."""
    from scipy.special import i0e

    exponent = -0.5 * ((r - ring) / sigma) ** 2
    return np.asarray(np.exp(exponent) * i0e(r * ring / sigma**2) / (2 * np.pi * sigma**2))


def _disk(r: Array, ring: Array, radius: float) -> Array:
    """Density at r of a ring of disks: the share of the ring that is nearer to r than the radius."""
    product = np.maximum(2 * r * ring, 1e-300)
    cosine = np.clip((r**2 + ring**2 - radius**2) / product, -1, 1)
    return np.asarray(np.arccos(cosine) / (np.pi * np.pi * radius**2))

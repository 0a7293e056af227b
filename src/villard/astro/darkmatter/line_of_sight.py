r"""Integrals of a density (or its square) along lines of sight, in numpy and JAX.

For an observer at the distance d of the centre, a line of sight at the separation ψ passes the centre at
:math:`b = d \sin\psi`. With s the distance to that point on the line,

.. math:: \int \rho^n(r)\,\mathrm{d}l =
    \int_{-d\cos\psi}^{s_1} \rho^n\left(\sqrt{b^2 + s^2}\right)\mathrm{d}s, \quad
    s = b \sinh t, \quad r = b \cosh t

In t the integrand is smooth also for cusps at any small b, so that Gauss-Legendre quadrature is exact to
1e-8. The lines end where r reaches ``radius_max``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.utils.array import namespace

__all__ = ["MIN_SEPARATION", "core_value", "cumulative", "line_of_sight", "radial_table", "table_value"]

#: Separation (rad) within which the integral is replaced by its mean: 1e-5 deg.
MIN_SEPARATION = 1e-5 * math.pi / 180
#: Panels and nodes of the quadrature along the line, and over separations.
_PANELS, _ORDER = 4, 24
_N_TABLE = 256

Density = Callable[[Any], Any]


@lru_cache(maxsize=8)
def _rule(panels: int, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights on (0, 1)."""
    x, w = np.polynomial.legendre.leggauss(order)
    nodes = (np.arange(panels)[:, None] + 0.5 * (x + 1)) / panels
    return nodes.ravel(), np.tile(0.5 * w / panels, panels)


def line_of_sight(
    density: Density, separation: Any, distance: Any, radius_max: Any, squared: bool = True
) -> Any:
    """Return the integral along lines of sight.

    Parameters
    ----------
    density : callable
        Density as a function of the distance from the centre.
    separation : array
        Angles to the centre (rad), at least `MIN_SEPARATION`, up to π.
    distance, radius_max : float or array
        Distance of the centre, and radius at which the halo ends, in the same unit of length.
    squared : bool
        Whether the square of the density is integrated.

    Returns
    -------
    array
        Integrals, in the shape of the separations.

    Examples
    --------
    >>> near = line_of_sight(lambda r: 1 / r, np.array([0.1]), 8.0, 1e6)
    >>> exact = (math.pi - 0.1) / (8 * math.sin(0.1))
    >>> bool(abs(near[0] / exact - 1) < 1e-5)
    True
    """
    xp = namespace(separation, distance, radius_max, density(1.0))
    nodes, weights = _rule(_PANELS, _ORDER)
    sine, cosine = xp.sin(separation), xp.cos(separation)
    b = distance * xp.maximum(sine, 1e-12)
    end = xp.sqrt(xp.maximum(radius_max**2 - b**2, 0.0))
    # From the point next to the centre to the end of the halo, and back to the observer.
    far = xp.arcsinh(end / b)
    near = xp.arcsinh(xp.minimum(distance * xp.abs(cosine), end) / b)

    def part(t: Any) -> Any:
        scale = b[..., None] * xp.cosh(t[..., None] * nodes)
        value = density(scale)
        value = value**2 if squared else value
        return t * xp.sum(value * scale * weights, axis=-1)

    # A line that ends before it comes near the observer, who is outside of the halo, has both parts.
    outside = (cosine < 0) & (distance > radius_max)
    total = part(far) + xp.where(cosine > 0, 1.0, -1.0) * part(near)
    return xp.where(outside | (b >= radius_max), 0.0, xp.maximum(total, 0.0))


def radial_table(density: Density, distance: Any, radius_max: Any, squared: bool = True) -> tuple[Any, Any]:
    """Return logarithms of separations (rad) in equal steps up to π, and of the integrals there."""
    log_psi = np.linspace(math.log(MIN_SEPARATION), math.log(math.pi), _N_TABLE)
    values = line_of_sight(density, np.exp(log_psi), distance, radius_max, squared)
    xp = namespace(values)
    # Where a halo has ended there is nothing; its logarithm must be finite.
    return log_psi, xp.log(xp.maximum(values, 1e-250))


def table_value(log_psi: Any, log_value: Any, separation: Any) -> Any:
    """Return the integral at separations (rad) by cubic interpolation in a `radial_table`.

    Within `MIN_SEPARATION` it is the mean of the cusp there, so that no flux is lost.
    """
    xp = namespace(log_value, separation)
    log_value = xp.asarray(log_value)
    step = log_psi[1] - log_psi[0]
    at = (xp.log(xp.maximum(separation, MIN_SEPARATION)) - log_psi[0]) / step
    i = xp.clip(xp.floor(at), 1, len(log_psi) - 3).astype(int)
    t = at - i
    before, first, second, after = (log_value[i + k] for k in (-1, 0, 1, 2))
    # Lagrange's polynomial through the four neighbours.
    value = (
        -t * (t - 1) * (t - 2) / 6 * before
        + (t + 1) * (t - 1) * (t - 2) / 2 * first
        - (t + 1) * t * (t - 2) / 2 * second
        + (t + 1) * t * (t - 1) / 6 * after
    )
    core = core_value(log_psi, log_value)
    return xp.where(separation < MIN_SEPARATION, core, xp.exp(value))


def core_value(log_psi: Any, log_value: Any) -> Any:
    """Return the mean within `MIN_SEPARATION`, of a power law with the slope of the first two values."""
    xp = namespace(log_value)
    slope = (log_value[0] - log_value[1]) / (log_psi[1] - log_psi[0])
    return xp.exp(log_value[0]) * 2 / (2 - xp.clip(slope, 0.0, 1.95))


def cumulative(
    density: Density, radius: Any, distance: Any, radius_max: Any, squared: bool = True, inner: Any = None
) -> Any:
    """Return the integral over a cone, or an annulus, around the centre.

    Parameters
    ----------
    density, distance, radius_max, squared
        As for `line_of_sight`.
    radius : float
        Half opening angle (rad).
    inner : float, optional
        Inner radius of an annulus (rad).
    """
    nodes, weights = _rule(8, _ORDER)
    low = MIN_SEPARATION if inner is None else inner
    xp = namespace(density(1.0), distance)
    span = math.log(radius / low)
    psi = low * np.exp(span * nodes)
    values = line_of_sight(density, psi, distance, radius_max, squared)
    total = 2 * math.pi * span * xp.sum(values * np.sin(psi) * psi * weights)
    if inner is None:
        log_psi = np.log(MIN_SEPARATION * np.array([1.0, 1.1]))
        core = line_of_sight(density, np.exp(log_psi), distance, radius_max, squared)
        total = total + math.pi * MIN_SEPARATION**2 * core_value(log_psi, xp.log(core))
    return total

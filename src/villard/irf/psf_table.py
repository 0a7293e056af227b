r"""Radial shapes of point spread functions: a table of values, and shapes with a closed form.

Angles are measured on the sphere by :math:`t = 4 \sin^2(\theta / 2)`, which is :math:`\theta^2` for small
angles. A ring then has the solid angle :math:`\pi\,\mathrm{d}t` exactly. The logarithm of a table is
interpolated in t by cubic polynomials that don't overshoot (Fritsch & Butland 1984, SIAM J. Sci. Stat.
Comput. 5, 300), in steps of an eighth of its own, and linearly within these. That is exact for Gaussians,
close for all that is smooth, never negative, and has a closed integral: in a step from :math:`f_1` to
:math:`f_2`

.. math:: \pi \int f\,\mathrm{d}t = \pi\,(t_2 - t_1)\,\frac{f_2 - f_1}{\ln f_2 - \ln f_1}.

Beside a value of zero, the table is interpolated linearly in t.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError

__all__ = ["GaussShape", "KingShape", "RadialShape", "RadialTable", "values_of_means"]

Array = NDArray[np.float64]

_STEPS = 8
#: Most corrections of values to the means of their bins, and how well integrals agree then.
_CORRECTIONS, _TOLERANCE = 8, 1e-4


class RadialShape(Protocol):
    """A shape that depends on the angle to the source alone."""

    theta_max: float

    def evaluate(self, theta: Array) -> Array:
        """Return the value (sr-1) at angles (rad)."""

    def outside(self, theta: Array) -> Array:
        """Return the integral beyond angles (rad), up to `theta_max`."""


def _t(theta: ArrayLike) -> Array:
    return 4 * np.sin(np.asarray(theta, dtype=float) / 2) ** 2


class RadialTable:
    """Values of one point spread function at increasing angles.

    Parameters
    ----------
    theta : array-like
        Angles (rad), shape (n,), from 0 or above.
    values : array-like
        Values (sr-1), shape (n,), not negative.
    theta_max : float, optional
        Angle (rad) beyond which it is zero; the last angle by default.

    Examples
    --------
    >>> theta = np.radians(np.linspace(0, 1, 50))
    >>> table = RadialTable(theta, np.exp(-0.5 * (theta / np.radians(0.2)) ** 2)).normalized()
    >>> bool(abs(table.containment_radius(0.68) / np.radians(0.2) / 1.5096 - 1) < 1e-4)
    True
    """

    def __init__(self, theta: ArrayLike, values: ArrayLike, theta_max: float | None = None) -> None:
        theta, values = np.asarray(theta, dtype=float), np.asarray(values, dtype=float)
        if theta.ndim != 1 or theta.shape != values.shape or len(theta) < 1:
            raise DataError(
                f"Radial table: expected as many angles as values, found {theta.shape}, {values.shape}"
            )
        if theta[0] < 0 or np.any(np.diff(theta) <= 0):
            raise DataError("Radial table: expected increasing angles from 0 or above")
        self.theta_max = float(theta[-1] if theta_max is None else theta_max)
        if self.theta_max < theta[-1]:
            raise DataError("Radial table: expected theta_max beyond the last angle")
        self._t, self._f = _refined(*_with_ends(_t(theta), values, float(_t(self.theta_max))))
        self._slope = _slopes(self._t, self._f)
        rings = np.pi * _integral(np.diff(self._t), self._f[:-1], self._f[1:], self._slope)
        # Sums from the outside keep the digits of faint tails.
        self._beyond = np.append(np.cumsum(rings[::-1])[::-1], 0.0)

    @property
    def integral(self) -> float:
        """Integral over all solid angle."""
        return float(self._beyond[0])

    def normalized(self) -> RadialTable:
        """Return the table with the integral 1, or itself if it is zero everywhere."""
        if not self.integral > 0:
            return self
        new = RadialTable.__new__(RadialTable)
        new.theta_max, new._t, new._slope = self.theta_max, self._t, self._slope
        new._f, new._beyond = self._f / self.integral, self._beyond / self.integral
        return new

    def _segment(self, t: Array) -> NDArray[np.intp]:
        return np.clip(np.searchsorted(self._t, t, side="right") - 1, 0, len(self._slope) - 1)

    def _between(self, t: Array, i: NDArray[np.intp]) -> Array:
        dt, slope = t - self._t[i], self._slope[i]
        log = np.isfinite(slope)
        f1, f2 = self._f[i], self._f[i + 1]
        linear = f1 + (f2 - f1) * dt / (self._t[i + 1] - self._t[i])
        return np.where(log, f1 * np.exp(np.where(log, slope * dt, 0.0)), linear)

    def evaluate(self, theta: ArrayLike) -> Array:
        """Return the value (sr-1) at angles (rad)."""
        t = _t(theta)
        values = self._between(t, self._segment(t))
        return np.where(t > self._t[-1], 0.0, np.maximum(values, 0.0))

    def outside(self, theta: ArrayLike) -> Array:
        """Return the integral beyond angles (rad)."""
        t = np.minimum(_t(theta), self._t[-1])
        i = self._segment(t)
        rest = np.pi * _integral(self._t[i + 1] - t, self._between(t, i), self._f[i + 1], self._slope[i])
        return self._beyond[i + 1] + rest

    def containment(self, theta: ArrayLike) -> Array:
        """Return the fraction of the integral within angles (rad); NaN if the table is zero."""
        if not self.integral > 0:
            return np.full(np.shape(theta), np.nan)
        return 1 - self.outside(theta) / self.integral

    def containment_radius(self, fraction: ArrayLike) -> Array:
        """Return the angles (rad) that contain fractions of the integral; NaN if the table is zero."""
        fraction = np.asarray(fraction, dtype=float)
        if not self.integral > 0:
            return np.full(fraction.shape, np.nan)
        wanted = (1 - fraction) * self.integral
        lower, upper = np.zeros(fraction.shape), np.full(fraction.shape, self.theta_max)
        # Bisection, because the fraction is monotonic but may be constant over a part of the table.
        for _ in range(60):
            middle = 0.5 * (lower + upper)
            is_below = self.outside(middle) > wanted
            lower, upper = np.where(is_below, middle, lower), np.where(is_below, upper, middle)
        return 0.5 * (lower + upper)


def values_of_means(edges: ArrayLike, means: ArrayLike) -> Array:
    """Return values at the middles of bins, whose `RadialTable` has given means over the bins.

    Between the middles of wide bins a cusp is far from what the means of the bins are, taken as values.

    Parameters
    ----------
    edges : array-like
        Edges of bins (rad), shape (n + 1,).
    means : array-like
        Means over solid angle (sr-1), shape (n,).

    Examples
    --------
    >>> edges = np.linspace(0, 0.01, 11)
    >>> integrals = -np.diff(np.exp(-edges / 0.001))
    >>> means = integrals / np.pi / np.diff(edges**2)
    >>> values = values_of_means(edges, means)
    >>> table = RadialTable(0.5 * (edges[1:] + edges[:-1]), values, edges[-1])
    >>> bool(np.allclose(-np.diff(table.outside(edges)), integrals, rtol=1e-3))
    True
    """
    edges, means = np.asarray(edges, dtype=float), np.asarray(means, dtype=float)
    wanted = np.pi * np.diff(_t(edges)) * means
    middle, values = 0.5 * (edges[1:] + edges[:-1]), means.copy()
    best, least = values, np.inf
    for _ in range(_CORRECTIONS):
        found = -np.diff(RadialTable(middle, values, edges[-1]).outside(edges))
        wrong = float(np.sum(np.abs(found - wanted)))
        # Beside empty bins it doesn't converge.
        if wrong >= least:
            break
        best, least = values, wrong
        if wrong <= _TOLERANCE * wanted.sum():
            break
        ratio = np.divide(wanted, found, out=np.ones(len(means)), where=(found > 0) & (wanted > 0))
        values = values * np.clip(ratio, 0.5, 2)
    return best


def _with_ends(t: Array, f: Array, t_max: float) -> tuple[Array, Array]:
    """Add points at 0 and at the end, where the slope of the logarithm goes on if it falls."""
    if t[0] > 0:
        inner = f[0]
        if len(t) > 1 and f[0] > 0 and f[1] > 0:
            # A bin of the table can't say more than a factor of e about its own middle.
            inner *= np.exp(np.clip(np.log(f[0] / f[1]) * t[0] / (t[1] - t[0]), -1, 1))
        t, f = np.insert(t, 0, 0.0), np.insert(f, 0, inner)
    if t_max > t[-1]:
        outer = f[-1]
        if len(t) > 1 and f[-1] > 0 and f[-2] > f[-1]:
            outer *= np.exp(-np.log(f[-2] / f[-1]) * (t_max - t[-1]) / (t[-1] - t[-2]))
        t, f = np.append(t, t_max), np.append(f, outer)
    if len(t) == 1:
        raise DataError("Radial table: expected at least two angles, or theta_max")
    return t, f


def _refined(t: Array, f: Array) -> tuple[Array, Array]:
    """Split each step between points, on a cubic in t of ln f."""
    h, secant = np.diff(t), _slopes(t, f)
    slope = _node_slopes(h, secant)
    x = np.arange(_STEPS)[:, np.newaxis] / _STEPS
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(f)
        # Hermite's cubic, less the line between the points.
        bend = x * (1 - x) * h * ((1 - x) * (slope[:-1] - secant) - x * (slope[1:] - secant))
        curved = np.exp(log[:-1] + x * (log[1:] - log[:-1]) + bend)
    fine = np.where(np.isfinite(secant), curved, f[:-1] + x * (f[1:] - f[:-1]))
    fine[0] = f[:-1]
    return np.append((t[:-1] + x * h).T.ravel(), t[-1]), np.append(fine.T.ravel(), f[-1])


def _node_slopes(h: Array, secant: Array) -> Array:
    """Return slopes at points: weighted harmonic means of those on both sides, or 0 at extrema."""
    left, right = secant[:-1], secant[1:]
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(left * right > 0, (w1 + w2) / (w1 / left + w2 / right), 0.0)
    # Beside a step that is linear, only the other one counts.
    inner = np.where(np.isfinite(left), np.where(np.isfinite(right), inner, left), right)
    return np.concatenate([secant[:1], inner, secant[-1:]])


def _slopes(t: Array, f: Array) -> Array:
    """Return d ln f / dt between points, and NaN where a value is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.diff(np.log(f)) / np.diff(t)
    return np.where(np.isfinite(slope), slope, np.nan)


def _integral(dt: Array, f1: Array, f2: Array, slope: Array) -> Array:
    """Integrate over t between two points."""
    x = np.where(np.isfinite(slope), slope * dt, 0.0)
    small = np.abs(x) < 1e-5
    mean = np.where(small, 1 + x / 2 + x * x / 6, np.expm1(x) / np.where(small, 1.0, x))
    return np.where(np.isfinite(slope), f1 * mean, 0.5 * (f1 + f2)) * dt


class GaussShape:
    r"""Gaussian :math:`\exp(-t / 2\sigma^2)`, normalised on the sphere.

    Parameters
    ----------
    sigma : float
        Width (rad).
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = float(sigma)
        self.theta_max = float(np.pi)

    def evaluate(self, theta: ArrayLike) -> Array:
        """Return the value (sr-1) at angles (rad)."""
        norm = 1 / (2 * np.pi * self.sigma**2 * -np.expm1(-2 / self.sigma**2))
        return norm * np.exp(-0.5 * _t(theta) / self.sigma**2)

    def outside(self, theta: ArrayLike) -> Array:
        """Return the integral beyond angles (rad)."""
        return np.exp(-0.5 * _t(theta) / self.sigma**2)


class KingShape:
    r"""King's profile :math:`\frac{1}{2\pi\sigma^2} (1 - 1/\gamma) (1 + t / 2\gamma\sigma^2)^{-\gamma}`.

    It is normalised on the sphere. King 1962, AJ 67, 471, in the notation of the GADF formats.

    Parameters
    ----------
    sigma : float
        Width (rad).
    gamma : float
        Power, above 1.
    """

    def __init__(self, sigma: float, gamma: float) -> None:
        self.sigma, self.gamma = float(sigma), float(gamma)
        self.theta_max = float(np.pi)
        self._norm = 1 - self._beyond(np.asarray(4.0))

    def _beyond(self, t: Array) -> Array:
        return (1 + t / (2 * self.gamma * self.sigma**2)) ** (1 - self.gamma)

    def evaluate(self, theta: ArrayLike) -> Array:
        """Return the value (sr-1) at angles (rad)."""
        base = 1 + _t(theta) / (2 * self.gamma * self.sigma**2)
        scale = (1 - 1 / self.gamma) / (2 * np.pi * self.sigma**2 * self._norm)
        return np.asarray(scale * base**-self.gamma)

    def outside(self, theta: ArrayLike) -> Array:
        """Return the integral beyond angles (rad)."""
        return np.asarray((self._beyond(_t(theta)) - 1 + self._norm) / self._norm)

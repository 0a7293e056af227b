"""Power laws between the points of a table: values and closed-form integrals, in numpy and JAX."""

from typing import Any

from villard.modeling.models.spectral.power_law import exponential_integral
from villard.utils.array import namespace

__all__ = ["Segments", "interpolate", "lin_lin_moment", "log_log_moment", "safe_log", "segments"]

#: Below this, values count as this: a power law can't reach zero.
TINY = 1e-300
#: The first and the last segment of a table go on this far, whether in ln E or in TeV.
_FAR = 1e6

#: Lower and upper edges, anchors, values at the anchors, and slopes; each of shape (n_segments,).
Segments = tuple[Any, Any, Any, Any, Any]


def safe_log(xp: Any, values: Any, tiny: float = TINY) -> Any:
    """Return ln of values, those below ``tiny`` taken as ``tiny``, with finite derivatives."""
    positive = values > tiny
    return xp.where(positive, xp.log(xp.where(positive, values, 1.0)), xp.log(tiny))


def interpolate(x: Any, y: Any, at: Any) -> Any:
    """Return the straight lines through points (x, y), the outer ones continued, at positions ``at``."""
    xp = namespace(x, y, at)
    i = xp.clip(xp.searchsorted(x, at) - 1, 0, len(x) - 2)
    return y[i] + (y[i + 1] - y[i]) / (x[i + 1] - x[i]) * (at - x[i])


def segments(x: Any, y: Any, constant_beyond: bool) -> Segments:
    """Return the straight lines through points (x, y), the outer ones continued or made constant."""
    xp = namespace(x, y)
    slope = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
    if not constant_beyond:
        low = xp.concatenate([x[:1] - _FAR, x[1:-1]])
        high = xp.concatenate([x[1:-1], x[-1:] + _FAR])
        return low, high, x[:-1], y[:-1], slope
    zero = xp.zeros(1)
    low = xp.concatenate([x[:1] - _FAR, x])
    high = xp.concatenate([x, x[-1:] + _FAR])
    return (
        low,
        high,
        xp.concatenate([x[:1], x]),
        xp.concatenate([y[:1], y]),
        xp.concatenate([zero, slope, zero]),
    )


def log_log_moment(power: int, energy_min: Any, energy_max: Any, parts: Segments) -> Any:
    """Integrate E^power times power laws, each over its overlap with each interval.

    Parameters
    ----------
    power : int
        Power of energy.
    energy_min, energy_max : array
        Intervals in TeV, any common shape.
    parts : tuple of arrays
        `segments` of ln flux over ln energy.
    """
    low, high, x, y, slope = parts
    xp = namespace(energy_min, energy_max, low, y)
    a = xp.clip(xp.log(energy_min)[..., None], low, high)
    b = xp.clip(xp.log(energy_max)[..., None], low, high)
    value = xp.exp(xp.where(b > a, y + slope * (a - x) + (power + 1) * a, -745.0))
    integral = value * exponential_integral(slope + power + 1, 0.0 * a, b - a)
    return xp.sum(xp.where(b > a, integral, 0.0), axis=-1)


def lin_lin_moment(power: int, energy_min: Any, energy_max: Any, parts: Segments) -> Any:
    """Do the same for `segments` of flux over energy, for power 0 or 1 (Simpson's rule is exact)."""
    low, high, x, y, slope = parts
    xp = namespace(energy_min, energy_max, low, y)
    a = xp.clip(xp.asarray(energy_min)[..., None], low, high)
    b = xp.clip(xp.asarray(energy_max)[..., None], low, high)

    def integrand(energy: Any) -> Any:
        return (y + slope * (energy - x)) * energy**power

    simpson = integrand(a) + 4 * integrand(0.5 * (a + b)) + integrand(b)
    return xp.sum((b - a) / 6 * simpson, axis=-1)

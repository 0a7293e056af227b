"""Lines through the points of a table over time: values and exact integrals, in numpy and JAX."""

from typing import Any

from villard.utils.array import namespace

__all__ = ["line", "line_integral", "log_line", "log_line_integral"]


def _segment(x: Any, at: Any) -> Any:
    """Return which segment holds each position; those beyond the table belong to the outermost ones."""
    xp = namespace(x, at)
    return xp.clip(xp.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)


def line(x: Any, y: Any, at: Any) -> Any:
    """Return straight lines through points, constant beyond them."""
    xp = namespace(x, y, at)
    at = xp.clip(at, x[0], x[-1])
    i = _segment(x, at)
    return y[i] + (y[i + 1] - y[i]) / (x[i + 1] - x[i]) * (at - x[i])


def log_line(x: Any, y: Any, at: Any) -> Any:
    """Return exponentials through points (x, exp y), constant beyond them."""
    return namespace(x, y, at).exp(line(x, y, at))


def _relative_slope_integral(xp: Any, z: Any) -> Any:
    """Return (exp(z) - 1) / z, smooth through zero."""
    small = xp.abs(z) < 1e-3
    safe = xp.where(small, 1.0, z)
    return xp.where(small, 1 + z / 2 * (1 + z / 3 * (1 + z / 4)), xp.expm1(safe) / safe)


def _primitive(x: Any, y: Any, at: Any, log: bool) -> Any:
    """Return the integral from the first point."""
    xp = namespace(x, y, at)
    widths = x[1:] - x[:-1]
    slopes = (y[1:] - y[:-1]) / widths
    values = xp.exp(y) if log else y

    def part(i: Any, step: Any) -> Any:
        if log:
            return values[i] * step * _relative_slope_integral(xp, slopes[i] * step)
        return step * (y[i] + 0.5 * slopes[i] * step)

    whole = part(xp.arange(len(x) - 1), widths)
    sums = xp.concatenate([xp.zeros(1), xp.cumsum(whole)])
    inside = xp.clip(at, x[0], x[-1])
    i = _segment(x, inside)
    beyond = xp.where(at < x[0], (at - x[0]) * values[0], (at - inside) * values[-1])
    return sums[i] + part(i, inside - x[i]) + beyond


def line_integral(x: Any, y: Any, start: Any, stop: Any) -> Any:
    """Return the integral of `line` between two positions."""
    return _primitive(x, y, stop, False) - _primitive(x, y, start, False)


def log_line_integral(x: Any, y: Any, start: Any, stop: Any) -> Any:
    """Return the integral of `log_line` between two positions."""
    return _primitive(x, y, stop, True) - _primitive(x, y, start, True)

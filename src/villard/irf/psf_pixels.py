r"""Integrals of point spread functions over pixels.

A pixel is a polygon in the plane around the source, in which directions have the polar coordinates angle to
the source :math:`\theta` and position angle :math:`\varphi`. A shape that depends on :math:`\theta` alone,
with the integral :math:`D(\theta)` beyond :math:`\theta`, has by Green's theorem the integral

.. math:: \frac{1}{2\pi} \oint [D(0) - D(\theta)]\,\mathrm{d}\varphi

along the border of the polygon: a smooth one-dimensional integral for each side, however narrow the shape
is. Each side belongs to two pixels and is computed once. Sides are halved until the quadrature agrees
with itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from villard.irf.psf_table import RadialShape

__all__ = ["pixel_integrals"]

Array = NDArray[np.float64]

_RTOL, _ATOL, _MAX_DEPTH = 1e-7, 1e-13, 30
_X, _W = np.polynomial.legendre.leggauss(6)
_X, _W = 0.5 * (_X + 1), 0.5 * _W


def pixel_integrals(shape: RadialShape, matrix: Array, nx: int, ny: int) -> Array:
    """Integrate a shape over the pixels around the one in whose middle the source is.

    Parameters
    ----------
    shape : `~villard.irf.psf_table.RadialShape`
        Shape.
    matrix : `~numpy.ndarray`
        Offsets (rad) per pixel: columns are those of a step in x and in y, shape (2, 2).
    nx, ny : int
        Number of pixels on each side of the middle.

    Returns
    -------
    `~numpy.ndarray`
        Integrals, shape (2 ny + 1, 2 nx + 1).

    Examples
    --------
    >>> from villard.irf.psf_table import GaussShape
    >>> pixel_integrals(GaussShape(1e-3), np.eye(2) * 1e-3, 0, 0).round(5)  # erf(0.5 / sqrt(2))²
    array([[0.14663]])
    """
    # If steps in x and y are perpendicular, a quarter is enough.
    is_upright = abs(matrix[:, 0] @ matrix[:, 1]) <= 1e-9 * np.linalg.norm(matrix) ** 2
    first = (0, 0) if is_upright else (-nx, -ny)
    x, y = np.arange(first[0], nx + 2) - 0.5, np.arange(first[1], ny + 2) - 0.5
    corners = np.moveaxis(np.tensordot(matrix, np.stack(np.meshgrid(x, y)), axes=1), 0, -1)
    sign = np.sign(np.linalg.det(matrix))
    # What lies beyond the sides, seen from the source.
    along_x = _side_integrals(shape, corners[:, :-1], corners[:, 1:]) * sign
    along_y = _side_integrals(shape, corners[:-1], corners[1:]) * sign
    values = -(along_x[:-1] + along_y[:, 1:] - along_x[1:] - along_y[:, :-1])
    values[-first[1], -first[0]] += shape.outside(np.zeros(1))[0]
    values = np.maximum(values, 0.0)
    if is_upright:
        values = np.concatenate([values[:0:-1], values])
        values = np.concatenate([values[:, :0:-1], values], axis=1)
    return values


def _side_integrals(shape: RadialShape, start: Array, stop: Array) -> Array:
    """Integrate D dφ / 2π along lines from ``start`` to ``stop``, shape (..., 2)."""
    a, b = start.reshape(-1, 2), stop.reshape(-1, 2)
    result = np.zeros(len(a))
    index = np.arange(len(a))
    whole = _quadrature(shape, a, b)
    for _ in range(_MAX_DEPTH):
        middle = 0.5 * (a + b)
        left, right = _quadrature(shape, a, middle), _quadrature(shape, middle, b)
        both = left + right
        done = np.abs(both - whole) <= _RTOL * np.abs(both) + _ATOL
        np.add.at(result, index[done], both[done])
        if np.all(done):
            break
        rest = ~done
        a, b = np.concatenate([a[rest], middle[rest]]), np.concatenate([middle[rest], b[rest]])
        index, whole = np.tile(index[rest], 2), np.concatenate([left[rest], right[rest]])
    else:
        np.add.at(result, index, whole)
    return result.reshape(start.shape[:-1])


def _quadrature(shape: RadialShape, a: Array, b: Array) -> Array:
    step = b - a
    cross = a[:, 0] * step[:, 1] - a[:, 1] * step[:, 0]
    points = a[:, np.newaxis] + _X[:, np.newaxis] * step[:, np.newaxis]
    r2 = np.sum(points**2, axis=-1)
    # A line through the source has no angle.
    rate = np.divide(cross[:, np.newaxis], r2, out=np.zeros(r2.shape), where=r2 > 0)
    return (shape.outside(np.sqrt(r2)) * rate) @ _W / (2 * np.pi)

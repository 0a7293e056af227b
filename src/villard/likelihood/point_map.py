"""A point source at chosen directions alone: its PSF there, and its share of what is selected.

Where few pixels have counts, or the data are events, the PSF needn't be known anywhere else: only its
integral over what is selected. With C(v) the share of the PSF within v = 4 sin²(r/2), and φ the angle
around the source, that is an integral along the border of the selection (Green's theorem),

.. math:: \\int_S p\\,d\\Omega = \\frac{1}{2\\pi} \\oint_{\\partial S} C(v)\\,d\\phi .
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jnp
from villard.likelihood.psf_profiles import PSFSplines, _cubics
from villard.likelihood.sky_grid import Cutout, pixel_of, unit_vector
from villard.likelihood.source_map import _bilinear

__all__ = [
    "CHUNK",
    "PointMap",
    "border_arrays",
    "n_border",
    "numbers_of",
    "padded_length",
    "pixel_nodes",
    "point_arrays",
]

if TYPE_CHECKING:
    from villard.likelihood.source_setup import BoundSource

Array = NDArray[np.float64]

#: Arrays of a source map that the PSF around a point source needs.
_POINT_ARRAYS = ("basis", "psf", "psf_scale")
#: Shortest array of directions: below this, padding costs less than another compilation.
_PAD = 512
#: Columns that are computed at once.
CHUNK = 2048
#: Sizes of windows are multiples of this.
_STEP = 16
#: Nodes between two knots of the integral of a PSF.
_FINE = 8


@dataclass(frozen=True)
class PointMap:
    """What a point source makes of its flux at chosen directions, as a function of its position.

    Its arrays are "exposure", "to_pixel", "basis", "psf" and "psf_scale" as for the source map; "vectors",
    shape (n, n_nodes, 3), and "areas", their shares of a column, shape (n, n_nodes); and those of
    `border_arrays`.

    Parameters
    ----------
    n_nodes : int
        Directions per column: 1 for events, more for the integral over a pixel.
    rest : bool
        Whether the columns are parts of the total, so that the first one stands for what they leave over.
    """

    n_nodes: int = 1
    rest: bool = False
    #: Arrays of which each column has its own row.
    by_column = ("vectors", "areas")

    @property
    def key(self) -> Hashable:
        """Maps of equal keys share their compiled functions."""
        return ("directions", self.n_nodes, self.rest)

    def prepared(self, values: Any, arrays: dict[str, Any]) -> Any:
        """Return what all columns need: the direction of the source and the exposure there."""
        source = unit_vector(values[0], values[1], jnp)
        x, y = pixel_of(source, arrays["to_pixel"], arrays["basis"], jnp)
        return source, _bilinear(arrays["exposure"], x, y)

    def total(self, prepared: Any, arrays: dict[str, Any]) -> Any:
        """Return the total per unit of flux (cm² s), shape (n_true,)."""
        source, exposure = prepared
        return exposure * _selected(source, arrays)

    def density(self, prepared: Any, arrays: dict[str, Any], part: dict[str, Any]) -> Any:
        """Return what some columns have per unit of flux (cm² s, times areas per sr), shape (n, n_true)."""
        source, exposure = prepared
        table = PSFSplines(arrays["psf"], arrays["psf_scale"])
        psf = table.evaluate(jnp.sum((part["vectors"] - source) ** 2, axis=-1))
        return exposure * jnp.einsum("nkt,nk->nt", psf, part["areas"])


def _selected(source: Any, arrays: dict[str, Any]) -> Any:
    """Share of the PSF that is selected, shape (n_true,)."""
    v = jnp.sum((arrays["border"] - source) ** 2, axis=-1)
    turn = (arrays["border_steps"] @ source) / (2 * jnp.pi * (1 - 0.25 * v))
    table = PSFSplines(arrays["enclosed"], arrays["psf_scale"])
    # Beyond the last knot all of a PSF is enclosed.
    inside = (v < arrays["psf_scale"][2])[:, None]
    ratio = jnp.where(inside, table.evaluate(v), arrays["whole"] / jnp.where(v > 0, v, 1.0)[:, None])
    share = arrays["selected"] + jnp.einsum("tq,q,qt->t", arrays["jumps"], turn, ratio)
    return jnp.maximum(share, 0.0)


def numbers_of(arrays: dict[str, Any]) -> int:
    """Return about how many numbers one evaluation of a stacked source map or `PointMap` holds."""
    n_true, *pixels = arrays["exposure"].shape[1:]
    if "border" not in arrays:
        return 8 * int(n_true * np.prod(pixels))
    directions = int(np.prod(arrays["vectors"].shape[1:3])) + arrays["border"].shape[1]
    return 6 * n_true * directions


def padded_length(n: int) -> int:
    """Return a length to which arrays are padded, so that few different ones are compiled.

    Examples
    --------
    >>> [padded_length(n) for n in (3, 1500, 5000, 100_000)]
    [512, 2048, 6144, 106496]
    """
    if n <= CHUNK:
        return max(_PAD, 2 ** int(max(n, 1) - 1).bit_length())
    # A multiple of the chunks, and of an eighth of the next lower power of 2.
    step = max(CHUNK, 2 ** (n.bit_length() - 4))
    return -(-n // step) * step


def point_arrays(
    source: "BoundSource", vectors: Array, areas: Array, selected: Array, probability: Array
) -> dict[str, Any]:
    """Return the arrays of a `PointMap`.

    Parameters
    ----------
    source : `~villard.likelihood.source_setup.BoundSource`
        Source of the kind "point".
    vectors, areas : array
        Directions and their shares of a column, shape (n, n_nodes, 3) and (n, n_nodes); they are padded.
    selected, probability : array
        As for `border_arrays`.
    """
    n = padded_length(len(areas))
    splines = PSFSplines(source.arrays["psf"], source.arrays["psf_scale"])
    arrays = {key: source.arrays[key] for key in _POINT_ARRAYS} | _window(source)
    arrays["vectors"] = np.pad(vectors, ((0, n - len(areas)), (0, 0), (0, 0)))
    arrays["areas"] = np.pad(areas, ((0, n - len(areas)), (0, 0)))
    return arrays | border_arrays(selected, probability, source.cutout, splines)


def _window(source: "BoundSource") -> dict[str, Any]:
    """Return the exposure in as many pixels as a source may move to, twice as far as it should."""
    exposure, to_pixel = source.arrays["exposure"], np.array(source.arrays["to_pixel"])
    margin = source.reach[0] if np.isfinite(source.reach[0]) else 0.0
    size = np.degrees(np.sqrt(np.median(source.cutout.area[source.cutout.area > 0])))
    width = _STEP * int(np.ceil((4 * margin / size + 8) / _STEP))
    slices = [slice(None)]
    for axis, n in ((1, exposure.shape[1]), (0, exposure.shape[2])):
        # The first coefficient is the pixel of the middle of the tangent plane: of the source.
        first = int(np.clip(round(float(to_pixel[axis, 0])) - width // 2, 0, max(n - width, 0)))
        to_pixel[axis, 0] -= first
        slices.append(slice(first, first + width))
    return {"exposure": np.ascontiguousarray(exposure[tuple(slices)]), "to_pixel": to_pixel}


def pixel_nodes(cutout: Cutout, pixels: NDArray[np.intp], n: int) -> tuple[Array, Array]:
    """Return n × n Gauss-Legendre directions in pixels of a cutout, and their solid angles (sr).

    Returns
    -------
    array, array
        Shape (n_pixels, n², 3) and (n_pixels, n²).
    """
    x, w = np.polynomial.legendre.leggauss(n)
    t, (j, i) = 0.5 * (x + 1), np.divmod(pixels, cutout.shape[1])
    c = cutout.corners
    vectors, weights = [], []
    for a, u in zip(t, w, strict=True):
        left, right = c[j, i] * (1 - a) + c[j + 1, i] * a, c[j, i + 1] * (1 - a) + c[j + 1, i + 1] * a
        for b, v in zip(t, w, strict=True):
            vectors.append(_on_sphere(left * (1 - b) + right * b))
            weights.append(0.25 * u * v * cutout.area.ravel()[pixels])
    return np.stack(vectors, axis=1), np.stack(weights, axis=1)


def _on_sphere(points: Array) -> Array:
    return points / np.sqrt(np.maximum(np.sum(points**2, axis=-1, keepdims=True), 1e-300))


def border_arrays(selected: Array, probability: Array, cutout: Cutout, splines: PSFSplines) -> dict[str, Any]:
    """Return the arrays from which a `PointMap` knows the share of the PSF that is selected.

    Parameters
    ----------
    selected : array
        Selected share of each pixel's events, shape (n_energies, n_pixels).
    probability : array
        Probability of each reconstructed energy, shape (n_true, n_energies).
    cutout : `Cutout`
        Pixels, beyond which the PSF doesn't reach.
    splines : `PSFSplines`
        PSF.

    Returns
    -------
    dict
        "selected", the share without any border, shape (n_true,); "border", shape (n, 3),
        "border_steps", shape (n, 3), and "jumps", shape (n_true, n): nodes on the edges of pixels between
        which the selection differs; "enclosed", the spline of C(v) / v; "whole", 1 for each PSF that isn't
        zero, shape (n_true,).
    """
    base, edges = _edges(selected, cutout)
    enclosed, whole = _enclosed(splines)
    # The scale of the knots is 0.3 of the PSF's core.
    ratio = np.sqrt(splines.scale[0] / np.median(cutout.area[cutout.area > 0])) / 0.3
    x, w = np.polynomial.legendre.leggauss(2 if ratio >= 1.2 else int(np.clip(np.ceil(3.5 / ratio), 3, 16)))
    points, steps, jumps = [], [], []
    for start, end, jump in edges:
        cross = np.cross(start, end)
        for t, weight in zip(0.5 * (x + 1), 0.5 * w, strict=True):
            point = start * (1 - t) + end * t
            points.append(_on_sphere(point))
            steps.append(weight * cross / np.sum(point**2, axis=-1, keepdims=True))
            jumps.append(probability @ jump)
    n = padded_length(sum(len(p) for p in points))

    def padded(parts: list[Array], axis: int) -> Array:
        array = np.concatenate(parts, axis=axis)
        widths = [(0, n - array.shape[k]) if k == axis else (0, 0) for k in range(2)]
        return np.pad(array, widths)

    return {
        "selected": (probability @ base) * whole,
        "border": padded(points, 0),
        "border_steps": padded(steps, 0),
        "jumps": padded(jumps, 1),
        "enclosed": enclosed,
        "whole": whole,
    }


def n_border(selected: Array, cutout: Cutout) -> int:
    """Return the number of edges of pixels between which the selection differs."""
    return sum(len(start) for start, _, _ in _edges(selected, cutout)[1])


def _edges(selected: Array, cutout: Cutout) -> tuple[Array, list[tuple[Array, Array, Array]]]:
    """Share that is selected everywhere, and where it differs: start, end and jump of the edges of pixels.

    What lies beyond the cutout never matters: it is taken as selected or not, whichever has fewer edges.
    """
    rows, columns = cutout.shape
    # Beyond 90 degrees from the middle edges would have two sides: no light goes there.
    facing = (cutout.corners @ cutout.basis[0]) > 0
    seen = facing[1:, 1:] & facing[1:, :-1] & facing[:-1, 1:] & facing[:-1, :-1] & (cutout.area > 0)
    weight = np.where(seen, selected.reshape(-1, rows, columns), 0.0)
    none = np.zeros(len(weight))
    found = [(none, _jumps(weight, cutout))]
    if seen.all():
        found.append((none + 1, _jumps(weight - 1, cutout)))
    return min(found, key=lambda each: sum(len(start) for start, _, _ in each[1]))


def _jumps(weight: Array, cutout: Cutout) -> list[tuple[Array, Array, Array]]:
    corners = cutout.corners
    padded = np.pad(weight, ((0, 0), (1, 1), (1, 1)))
    # Around a pixel, from its first column to the next, counterclockwise if the axes are right-handed.
    across = np.cross(corners[:-1, 1:] - corners[:-1, :-1], corners[1:, :-1] - corners[:-1, :-1])
    inside = cutout.area > 0
    sign = np.sign(np.median(np.sum(across * corners[:-1, :-1], axis=-1)[inside]))
    upwards = sign * (padded[:, 1:-1, :-1] - padded[:, 1:-1, 1:])
    along = sign * (padded[:, 1:, 1:-1] - padded[:, :-1, 1:-1])
    result = []
    for jump, start, end in ((upwards, corners[:-1], corners[1:]), (along, corners[:, :-1], corners[:, 1:])):
        where = np.any(jump != 0, axis=0)
        result.append((start[where], end[where], jump[:, where]))
    return result


def _enclosed(splines: PSFSplines) -> tuple[Array, Array]:
    """Spline of the share of the PSF within v, over v; and 1 for each energy with a PSF, 0 for others."""
    v_0, density, _ = splines.scale
    n = len(splines.coefficients)
    x, w = np.polynomial.legendre.leggauss(_FINE)
    u = np.arange(n)[:, None] + 0.5 * (x + 1)
    v = v_0 * np.expm1(u / density)
    values: Any = splines.evaluate(np.minimum(v, splines.scale[2] * (1 - 1e-12)))
    # dΩ = π dv, dv = (v_0 + v) du / density
    steps = np.einsum("ukt,uk->ut", values, np.pi * (v_0 + v) / density * 0.5 * w)
    total = np.cumsum(steps, axis=0)
    whole = (total[-1] > 0).astype(float)
    at_knots = np.empty((steps.shape[1], n + 1))
    knots = v_0 * np.expm1(np.arange(1, n + 1) / density)
    scale = np.where(whole > 0, total[-1], 1.0)
    at_knots[:, 1:] = (total / scale).T / knots
    at_knots[:, 0] = np.pi * np.asarray(splines.evaluate(np.zeros(1)))[0] / scale
    return _cubics(at_knots), whole

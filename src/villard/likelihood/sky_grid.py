"""Pixels of a map around a source: directions as unit vectors, solid angles, and where a direction falls."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps import WcsGeom

__all__ = ["Cutout", "make_cutout", "unit_vector"]

Array = NDArray[np.float64]

#: Powers of the two tangent-plane coordinates in the polynomials for pixel coordinates.
_POWERS = [(i, j) for i in range(5) for j in range(5 - i)]


@dataclass(frozen=True)
class Cutout:
    """A rectangle of pixels, which may reach beyond the map.

    Parameters
    ----------
    origin : (int, int)
        Column and row of the first pixel on the map; negative if it lies outside.
    shape : (int, int)
        Numbers of rows and columns.
    corners : array
        Unit vectors of the corners of the pixels in the frame of the source, shape (n_y + 1, n_x + 1, 3).
    area : array
        Solid angles in sr, shape (n_y, n_x); 0 for pixels outside the projection.
    to_pixel : array
        Coefficients that turn a direction near the centre into a position in pixels relative to the first
        one, shape (2, n_powers); see `pixel_of`.
    basis : array
        Centre and the two axes of its tangent plane, shape (3, 3).
    frame : str
        Frame of the vectors.
    """

    origin: tuple[int, int]
    shape: tuple[int, int]
    corners: Array
    area: Array
    to_pixel: Array
    basis: Array
    frame: str

    def nodes(self, n: int) -> tuple[Array, Array]:
        """Return longitudes and latitudes (deg) of n × n points in each pixel, shape (n_y, n, n_x, n)."""
        t = (np.arange(n) + 0.5) / n
        rows = self.corners[:-1, None] * (1 - t)[:, None, None] + self.corners[1:, None] * t[:, None, None]
        vectors = rows[:, :, :-1, None] * (1 - t)[:, None] + rows[:, :, 1:, None] * t[:, None]
        x, y, z = np.moveaxis(vectors, -1, 0)
        return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))

    def pixel_index(self, map_shape: tuple[int, int]) -> NDArray[np.intp]:
        """Return for each pixel of the map its index in the cutout, or -1; shape ``map_shape``."""
        (x0, y0), (ny, nx) = self.origin, self.shape
        y = np.arange(map_shape[0])[:, None] - y0
        x = np.arange(map_shape[1])[None, :] - x0
        inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        return np.where(inside, y * nx + x, -1)

    def centers(self, geom: "WcsGeom") -> "SkyCoord":
        """Return the directions of the pixel centres, shape (n_y, n_x)."""
        y, x = np.indices(self.shape)
        return geom.pix_to_skydir(x + self.origin[0], y + self.origin[1])


def unit_vector(lon: Any, lat: Any, xp: Any = np) -> Any:
    """Return unit vectors of directions in deg, shape (..., 3)."""
    lon, lat = xp.deg2rad(lon), xp.deg2rad(lat)
    return xp.stack([xp.cos(lat) * xp.cos(lon), xp.cos(lat) * xp.sin(lon), xp.sin(lat)], axis=-1)


def pixel_of(vector: Any, to_pixel: Any, basis: Any, xp: Any) -> tuple[Any, Any]:
    """Return column and row, from the first pixel's centre, of a direction near the cutout's centre."""
    depth = vector @ basis[0]
    east, north = vector @ basis[1] / depth, vector @ basis[2] / depth
    terms = xp.stack([east**i * north**j for i, j in _POWERS])
    x, y = to_pixel @ terms
    return x, y


def make_cutout(
    geom: "WcsGeom", frame: str, center: "SkyCoord", origin: tuple[int, int], shape: tuple[int, int]
) -> Cutout:
    """Make a cutout of a map's image geometry.

    Parameters
    ----------
    geom : `~villard.maps.WcsGeom`
        Pixels.
    frame : str
        Frame of the source.
    center : `~astropy.coordinates.SkyCoord`
        Direction around which positions are turned into pixels.
    origin : (int, int)
        Column and row of the first pixel.
    shape : (int, int)
        Rows and columns.
    """
    y, x = np.indices((shape[0] + 1, shape[1] + 1))
    with np.errstate(invalid="ignore"):
        sky = geom.pix_to_skydir(x - 0.5 + origin[0], y - 0.5 + origin[1])
        corners = np.moveaxis(sky.transform_to(frame).cartesian.xyz.value, 0, -1)
    ok = np.all(np.isfinite(corners), axis=-1)
    corners = np.where(ok[..., None], corners, 0.0)
    whole = ok[1:, 1:] & ok[1:, :-1] & ok[:-1, 1:] & ok[:-1, :-1]
    # Half the product of the diagonals; a pixel's curvature is negligible, or it is cut by the projection.
    first, second = corners[1:, 1:] - corners[:-1, :-1], corners[1:, :-1] - corners[:-1, 1:]
    area = np.where(whole, 0.5 * np.linalg.norm(np.cross(first, second), axis=-1), 0.0)
    basis = _tangent_basis(center.transform_to(frame))
    to_pixel = _fit_pixels(corners, ok, basis, geom)
    return Cutout(origin, shape, np.ascontiguousarray(corners), area, to_pixel, basis, frame)


def _tangent_basis(center: "SkyCoord") -> Array:
    vector = np.asarray(center.cartesian.xyz.value, dtype=float)
    pole = np.array([0.0, 0.0, 1.0]) if abs(vector[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    east = np.cross(pole, vector)
    east /= np.linalg.norm(east)
    return np.stack([vector, east, np.cross(vector, east)])


def _fit_pixels(corners: Array, ok: NDArray[np.bool_], basis: Array, geom: "WcsGeom") -> Array:
    """Fit the pixel coordinates by polynomials in the tangent plane, over the pixels near its centre."""
    depth = corners @ basis[0]
    radius = max(1.0, 12 * float(np.max(geom.pixel_scales.to_value("deg"))))
    near = ok & (depth > np.cos(np.radians(min(radius, 60.0))))
    if np.sum(near) < 3 * len(_POWERS):
        near = ok & (depth > 0.1)
    if np.sum(near) < len(_POWERS):
        raise DataError(f"A source lies too far from the pixels of {geom!r}")
    y, x = np.nonzero(near)
    scale = np.radians(radius)
    east, north = (corners[near] @ axis / depth[near] / scale for axis in basis[1:])
    design = np.stack([east**i * north**j for i, j in _POWERS], axis=-1)
    solution, *_ = np.linalg.lstsq(design, np.stack([x - 0.5, y - 0.5], axis=-1), rcond=None)
    return np.asarray(solution.T / np.array([scale ** (i + j) for i, j in _POWERS]))

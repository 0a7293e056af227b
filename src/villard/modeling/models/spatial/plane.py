"""Images that move on the sky: smooth functions of their position.

The image is copied to Lambert's equal-area plane around its centre, on pixels half as wide, and interpolated
by cubic B-splines there (Unser 1999, IEEE Signal Process. Mag. 16, 22): between linear pieces the derivatives
that a fit needs would jump.
"""

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.modeling.models.spatial.sphere import offset
from villard.utils.array import namespace
from villard.utils.units import to_canonical

if TYPE_CHECKING:
    from villard.modeling.models.spatial.template import TemplateSpatialModel

__all__ = ["evaluate", "plane"]

Array = NDArray[np.float64]

#: Side of the largest copy.
_MOST_PIXELS = 4000
#: Rows and columns of zeros around it.
_MARGIN = 4


def plane(model: "TemplateSpatialModel") -> tuple[Array, Array, Array]:
    """Return coefficients of the splines, the first pixel's coordinate (rad) and the width of pixels (rad).

    Raises
    ------
    ModelError
        If the image has too many pixels.
    """
    from scipy.ndimage import spline_filter

    step = 0.5 * float(model.evaluation_bin_size_min.to_value("rad"))
    reach = 2 * np.sin(0.5 * min(float(model.evaluation_radius.to_value("rad")), 0.99 * np.pi))
    half = int(np.ceil(reach / step)) + _MARGIN
    if 2 * half > _MOST_PIXELS:
        raise ModelError(
            f"{type(model).__name__}: the position of a template of more than {_MOST_PIXELS // 2} pixels "
            "from side to side can't be fitted; freeze lon_0 and lat_0"
        )
    x = np.arange(-half, half + 1) * step
    east, north = np.meshgrid(x, x)
    distance = 2 * np.arcsin(np.clip(0.5 * np.hypot(east, north), 0, 1))
    sky = model.map_center.directional_offset_by(np.arctan2(east, north) * u.rad, distance * u.rad)
    sky_lon, sky_lat = sky.spherical.lon, sky.spherical.lat
    still = model.copy()
    still.position = model.map_center
    values = to_canonical(still(sky_lon, sky_lat))
    return spline_filter(values, order=3), np.array(-half * step), np.array(step)


def _weights(t: Any) -> list[Any]:
    """Return the four cubic B-splines at the fraction t of a pixel."""
    s = 1 - t
    return [s**3 / 6, 2 / 3 - t**2 * (2 - t) / 2, 2 / 3 - s**2 * (2 - s) / 2, t**3 / 6]


def evaluate(lon: Any, lat: Any, parameters: Any, arrays: Any) -> Any:
    """Return the image around a position; zero outside, and where the splines fall below it."""
    coefficients, start, step = arrays
    xp = namespace(lon, lat, parameters, coefficients)
    coefficients = xp.asarray(coefficients)
    at = offset(lon, lat, parameters[0], parameters[1])
    # sin(r) towards east and north over cos(r/2) is 2 sin(r/2), the distance on the plane.
    scale = xp.sqrt(xp.maximum(1 - at.haversine, 1e-9)) * step
    column, row = at.east / scale - start / step, at.north / scale - start / step
    last = coefficients.shape[0] - 3
    inside = (column >= 1) & (column < last) & (row >= 1) & (row < last)
    column, row = xp.where(inside, column, 1.0), xp.where(inside, row, 1.0)
    i, j = xp.floor(row).astype(int), xp.floor(column).astype(int)
    total = 0.0
    for m, in_row in enumerate(_weights(row - i)):
        for n, in_column in enumerate(_weights(column - j)):
            total = total + in_row * in_column * coefficients[i + m - 1, j + n - 1]
    return xp.where(inside & (total > 0), total, 0.0)

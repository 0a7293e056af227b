"""Values of a map at one direction, or for all directions."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.core import Map
from villard.maps.wcs_geom import WcsGeom

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["interp_position"]


def interp_position(data_map: Map, position: SkyCoord | None, where: str) -> NDArray[np.float64]:
    """Return the values of all bins of a map's axes at a direction, bilinear between pixels.

    Beyond the centres of the outermost pixels the values are those of these pixels.

    Parameters
    ----------
    data_map : `~villard.maps.Map`
        Map of WCS pixels, or of a region, which has the same values everywhere.
    position : `~astropy.coordinates.SkyCoord` or None
        Direction; the centre of the map if `None`.
    where : str
        Object, for messages.

    Returns
    -------
    `~numpy.ndarray`
        Values, in the shape of the data without the dimensions of the sky.

    Raises
    ------
    DataError
        If the projection doesn't show the direction, or there are several.
    """
    geom, data = data_map.geom, data_map.data
    if not isinstance(geom, WcsGeom) or geom.npix == (1, 1):
        return np.asarray(data[..., 0, 0], dtype=float)
    if position is None:
        x, y = geom.center_pix
    else:
        if position.size != 1:
            raise DataError(f"{where}: expected one position, found {position.shape}")
        x, y = (float(np.ravel(value)[0]) for value in geom.skydir_to_pix(position))
        if not (np.isfinite(x) and np.isfinite(y)):
            raise DataError(
                f"{where}: the projection {geom.projection} doesn't show the position "
                f"{position.to_string('decimal')}"
            )
    columns = _neighbours(x, geom.npix[0], geom.is_cyclic)
    rows = _neighbours(y, geom.npix[1], False)
    result: Any = 0.0
    for (row, row_weight), (column, column_weight) in product(rows, columns):
        result = result + row_weight * column_weight * data[..., row, column].astype(float)
    return np.asarray(result)


def _neighbours(pix: float, n: int, cyclic: bool) -> list[tuple[int, float]]:
    """Return the pixels on both sides of a pixel coordinate and their weights, if these aren't 0."""
    if not cyclic:
        pix = min(max(pix, 0.0), n - 1.0)
    lower = int(np.floor(pix))
    fraction = pix - lower
    both = [(lower % n, 1 - fraction), ((lower + 1) % n, fraction)]
    return [(index, weight) for index, weight in both if weight > 0]

"""Maps of point spread functions made of analytic shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike

from villard.exceptions import DataError
from villard.irf.irf_map import in_all_pixels
from villard.irf.psf_table import KingShape, RadialShape
from villard.maps.axis import MapAxis, value_in

if TYPE_CHECKING:
    from villard.irf.psf_map import PSFMap
    from villard.maps.geom import Geom

__all__ = ["default_rad_axis", "king_shapes", "psf_map_from_shapes"]

_MAX_BINS = 1000


def default_rad_axis(step: float, reach: float) -> MapAxis:
    """Return angles from 0 in equal steps.

    Parameters
    ----------
    step, reach : float
        Width of the bins and last edge (rad). There are at most 1000 bins.
    """
    reach = min(reach, np.pi)
    nbin = int(np.clip(np.ceil(reach / step), 2, _MAX_BINS))
    return MapAxis.from_bounds(0 * u.deg, np.degrees(reach) * u.deg, nbin=nbin, name="rad")


def psf_map_from_shapes(
    shapes: Sequence[RadialShape],
    energy_axis_true: MapAxis,
    rad_axis: MapAxis | None,
    step: float,
    reach: float,
    geom: Geom | None = None,
) -> PSFMap:
    """Return the map of shapes, one per energy, the same for all positions.

    Parameters
    ----------
    shapes : list of `~villard.irf.psf_table.RadialShape`
        Shapes.
    energy_axis_true : `~villard.maps.MapAxis`
        True energies.
    rad_axis : `~villard.maps.MapAxis`, optional
        Angles; made by `default_rad_axis` of ``step`` and ``reach`` (rad) by default.
    geom : `~villard.maps.Geom`, optional
        Pixels; one response for all positions by default.
    """
    from villard.irf.psf_map import PSFMap

    rad_axis = default_rad_axis(step, reach) if rad_axis is None else rad_axis
    theta = rad_axis.center.to_value("rad")
    values = np.array([shape.evaluate(theta) for shape in shapes])
    return PSFMap(in_all_pixels(geom, [rad_axis, energy_axis_true], values, "sr-1"))


def king_shapes(sigma: u.Quantity, gamma: ArrayLike, n_energies: int) -> tuple[list[KingShape], float, float]:
    """Return King's profiles, and the step and reach (rad) of a table of them; see `PSFMap.from_king`."""
    widths, powers = value_in(sigma, u.rad, "PSFMap, sigma"), np.asarray(gamma, dtype=float)
    for name, values, limit in (("sigma", widths, 0.0), ("gamma", powers, 1.0)):
        good = np.isfinite(values) & (values > limit)
        if values.shape not in {(), (n_energies,)} or not np.all(good):
            raise DataError(
                f"PSFMap: expected {name} above {limit:g}, the same or one for each of {n_energies} "
                f"energies, found {values}"
            )
    pairs = zip(np.broadcast_to(widths, n_energies), np.broadcast_to(powers, n_energies), strict=True)
    shapes = [KingShape(width, power) for width, power in pairs]
    theta = np.geomspace(1e-6, np.radians(20), 2000)
    inside = np.array([shape.outside(theta) < 1e-4 for shape in shapes])
    reach = max(theta[row.argmax()] if row.any() else theta[-1] for row in inside)
    return shapes, float(reach) / _MAX_BINS, float(reach)

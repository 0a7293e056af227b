"""Maps of point spread functions made of analytic shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from villard.irf.irf_map import in_all_pixels
from villard.irf.psf_table import RadialShape
from villard.maps.axis import MapAxis

if TYPE_CHECKING:
    from villard.irf.psf_map import PSFMap
    from villard.maps.geom import Geom

__all__ = ["default_rad_axis", "psf_map_from_shapes"]

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

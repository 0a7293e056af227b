"""Parts of empty cubes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import astropy.units as u

from villard.exceptions import DataError
from villard.maps import MapAxis, WcsGeom, WcsNDMap

__all__ = ["empty_parts"]

#: Angles of a PSF that nothing is known of: 66 bins up to 0.66 deg.
_RAD = (0.0, 0.66, 66)


def empty_parts(
    names: Iterable[str],
    geom: WcsGeom,
    energy_axis_true: MapAxis | None,
    migra_axis: MapAxis | None,
    rad_axis: MapAxis | None,
    binsz_irf: Any,
) -> dict[str, Any]:
    """Return the arguments of an empty dataset; parameters as for `MapDataset.create`."""
    from villard.irf import EDispKernelMap, EDispMap, PSFMap

    if geom.axes.names != ["energy"]:
        raise DataError(f"geom: expected the axis 'energy' alone, found {geom.axes.names}")
    axis = geom.axes["energy"]
    axis_true = axis.copy(name="energy_true") if energy_axis_true is None else energy_axis_true
    _check_name(axis_true, "energy_true", "energy_axis_true")
    if rad_axis is None:
        rad_axis = MapAxis.from_bounds(*_RAD, unit="deg", name="rad")
    _check_name(rad_axis, "rad", "rad_axis")
    image = geom.to_image()
    coarse = image.to_binsz(binsz_irf)
    first = axis
    if migra_axis is not None:
        _check_name(migra_axis, "migra", "migra_axis")
        first = migra_axis
    edisp_class: Any = EDispKernelMap if migra_axis is None else EDispMap
    parts: dict[str, Any] = {
        name: WcsNDMap(geom, dtype=bool if name.startswith("mask") else float)
        for name in names
        if name not in ("mask_fit", "weights")
    }
    exposure = WcsNDMap(image.to_cube([axis_true]), unit="m2 s", meta={"livetime": 0 * u.s})
    return parts | {
        "exposure": exposure,
        "psf": PSFMap.from_geom(coarse.to_cube([rad_axis, axis_true])),
        "edisp": edisp_class.from_geom(coarse.to_cube([first, axis_true])),
    }


def _check_name(axis: MapAxis, name: str, where: str) -> None:
    if axis.name != name:
        raise DataError(f"{where}: expected the name {name!r}, found {axis.name!r}")

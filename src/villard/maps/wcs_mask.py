"""Masks of regions, and spectra of the pixels inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps.coord import MapCoord
from villard.maps.region_geom import RegionGeom
from villard.maps.region_map import RegionNDMap
from villard.maps.regions import SkyRegion, SkyRegionUnion, make_region
from villard.maps.wcs_header import angle_pair
from villard.maps.wcs_map import WcsNDMap
from villard.utils.lazy import import_optional
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from villard.maps.core import Map
    from villard.maps.wcs_geom import WcsGeom

__all__ = ["boundary_mask", "read_regions", "region_mask", "to_region_nd_map"]

_SUFFIXES = {".reg": "ds9", ".crtf": "crtf", ".fits": "fits"}


def read_regions(path: str) -> list[Any]:
    """Read a regions file.

    Parameters
    ----------
    path : str
        File: DS9 (``.reg``), CASA (``.crtf``) or FITS.

    Returns
    -------
    list
        A `SkyRegion` or `SkyRegionUnion` where the file is in DS9 notation and has only shapes that it
        knows; otherwise objects of the package ``regions``, which must be installed.
    """
    place = make_path(path)
    if not place.is_file():
        raise DataError(f"File not found: {place}")
    if place.suffix.lower() == ".reg":
        try:
            return [SkyRegion.parse(_without_header(place))]
        except DataError:
            # A shape that only the package knows.
            pass
    regions = import_optional("regions", "regions")
    try:
        return list(regions.Regions.read(str(place), format=_SUFFIXES[place.suffix.lower()]))
    # The package raises whatever its readers stumble over.
    except Exception as error:
        raise DataError(f"{place}: the regions can't be read ({type(error).__name__}: {error})") from error


def _without_header(place: Path) -> str:
    lines = place.read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("#", "global")))


def _region_list(regions: Any) -> list[Any]:
    if isinstance(regions, (str, Path)) and Path(regions).suffix.lower() in _SUFFIXES:
        return read_regions(str(regions))
    is_many = isinstance(regions, Iterable) and not isinstance(regions, (str, SkyRegionUnion))
    items = list(regions) if is_many and not hasattr(regions, "transform_to") else [regions]
    return [item for part in items for item in (read_regions(part) if _is_file(part) else [part])]


def _is_file(item: Any) -> bool:
    return isinstance(item, str) and Path(item).suffix.lower() in _SUFFIXES


def region_mask(geom: WcsGeom, regions: Any, inside: bool = True) -> WcsNDMap:
    """Return the mask of regions; see `WcsGeom.region_mask`."""
    directions, image = geom.skydirs(), np.zeros(geom.spatial_shape, dtype=bool)
    for region in _region_list(regions):
        image |= _contains(region, directions, geom)
    data = np.broadcast_to(image if inside else ~image, geom.data_shape).copy()
    return WcsNDMap(geom, data=data)


def _contains(region: Any, directions: Any, geom: WcsGeom) -> NDArray[np.bool_]:
    try:
        own = make_region(region)
    except DataError:
        # Other shapes of the package "regions", such as polygons, know it themselves.
        if not hasattr(region, "contains"):
            raise
        return np.asarray(region.contains(directions, geom.wcs), dtype=bool)
    if own is None:
        raise DataError("Region mask: expected a region, found None")
    return np.asarray(own.contains(directions))


def boundary_mask(geom: WcsGeom, width: Any) -> WcsNDMap:
    """Return the mask of the inner part; see `WcsGeom.boundary_mask`."""
    nx, ny = np.ceil(angle_pair(width, "Boundary mask, width") / geom.pixel_scales.value - 1e-9).astype(int)
    data = np.zeros(geom.data_shape, dtype=bool)
    data[..., ny : geom.npix[1] - ny, nx : geom.npix[0] - nx] = True
    return WcsNDMap(geom, data=data)


def to_region_nd_map(
    data_map: WcsNDMap, region: Any, func: Callable[..., Any], weights: Map | None, method: str
) -> RegionNDMap:
    """Return the spectrum of a region; see `WcsNDMap.to_region_nd_map`."""
    if method not in {"nearest", "linear"}:
        raise DataError(f"Unknown method {method!r}, expected 'nearest' or 'linear'")
    geom = data_map.geom
    if region is None:
        own: Any = _rectangle(geom)
        mask = np.ones(geom.spatial_shape, dtype=bool)
    else:
        parts = _region_list(region)
        own = make_region(parts[0] if len(parts) == 1 else parts)
        mask = _contains(own, geom.skydirs(), geom)
    values = data_map.data if weights is None else data_map.data * data_map._operand(weights)[0]
    target = RegionGeom(own, axes=geom.axes)
    if own.shape == "point":
        return _at_point(data_map._make(values, data_map.unit), target, method)
    if not mask.any():
        raise DataError(f"Spectrum: no pixel of the map has its centre in the region {own}")
    data = np.asarray(func(values[..., mask], axis=-1)).reshape(target.data_shape)
    return RegionNDMap(target, data=data, unit=data_map.unit, meta=data_map.meta)


def _at_point(data_map: WcsNDMap, target: RegionGeom, method: str) -> RegionNDMap:
    coords = MapCoord(dict(target.get_coord(sparse=True)))
    values = data_map.interp_by_coord(coords) if method == "linear" else data_map.get_by_coord(coords)
    if not np.all(data_map.geom.contains(coords.skycoord)):
        raise DataError(f"Spectrum: the map doesn't contain the direction {target.region}")
    return RegionNDMap(target, data=values, unit=data_map.unit, meta=data_map.meta)


def _rectangle(geom: WcsGeom) -> SkyRegion:
    center = geom.center_skydir.spherical
    width = geom.width.to_value(u.deg)
    sizes = (float(width[0]), float(width[1]))
    return SkyRegion("box", float(center.lon.deg), float(center.lat.deg), sizes, frame=geom.frame)

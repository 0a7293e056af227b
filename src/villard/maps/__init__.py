"""Energy and other axes, geometries, and the maps of numbers on them."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "Geom": "geom",
    "HpxGeom": "hpx_geom",
    "HpxNDMap": "hpx_map",
    "Map": "core",
    "MapAxes": "axes",
    "MapAxis": "axis",
    "MapCoord": "coord",
    "RegionGeom": "region_geom",
    "RegionNDMap": "region_map",
    "SkyRegion": "regions",
    "SkyRegionUnion": "regions",
    "WcsGeom": "wcs_geom",
    "WcsNDMap": "wcs_map",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

"""Data reduction: from events and responses of observations to datasets."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "DatasetsMaker": "collection",
    "FoVBackgroundMaker": "fov",
    "Maker": "core",
    "MapDatasetMaker": "map",
    "ReflectedRegionsBackgroundMaker": "reflected",
    "ReflectedRegionsFinder": "regions",
    "RingBackgroundMaker": "ring",
    "SafeMaskMaker": "safe",
    "SpectrumDatasetMaker": "spectrum",
    "WobbleRegionsFinder": "regions",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

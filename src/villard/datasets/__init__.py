"""Datasets: what a fit needs of measurements, read, stacked, masked, faked, written and plotted."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "Dataset": "core",
    "Datasets": "collection",
    "EventDataset": "events",
    "FluxPointsDataset": "flux_points",
    "MapDataset": "map",
    "MapDatasetOnOff": "map_onoff",
    "SourceMapSpatialModel": "source_maps",
    "SourceMaps": "source_maps",
    "SpectrumDataset": "spectrum",
    "SpectrumDatasetOnOff": "onoff",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

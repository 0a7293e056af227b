"""Measured data: events, observations, the sets that come with the package and those to download."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "DataStore": "data_store",
    "EventList": "event_list",
    "FixedPointingInfo": "pointing",
    "GTI": "gti",
    "Observation": "observation",
    "ObservationTable": "obs_table",
    "Observations": "observation",
    "PointingMode": "pointing",
    "PublicData": "registry",
    "demo_path": "demo",
    "download": "registry",
    "public_data": "registry",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

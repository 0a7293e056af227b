"""Regions of interest: many sources in one or several cubes, selected, freed, fitted and written by rule."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "ROI": "core",
    "Source": "source",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

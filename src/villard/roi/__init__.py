"""Regions of interest: many sources in one or several cubes, selected, freed, fitted and written by rule."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "LightCurve": "lightcurve_result",
    "ROI": "core",
    "SED": "sed_result",
    "Source": "source",
    "calc_ts_var": "lightcurve_fit",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

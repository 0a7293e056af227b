"""Plots of results: contours, likelihood scans, traces, distributions and toys."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "add_colorbar": "helpers",
    "plot_contour_line": "contours",
    "plot_coverage": "toys",
    "plot_distribution": "distribution",
    "plot_goodness_of_fit": "toys",
    "plot_pulls": "toys",
    "plot_stat_profile": "scans",
    "plot_stat_surface": "scans",
    "plot_trace": "scans",
    "plot_ts": "toys",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

"""Plots that don't belong to one object: contours of the likelihood."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {"plot_contour_line": "contours"}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

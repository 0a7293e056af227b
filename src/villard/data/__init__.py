"""Measured data: the sets that come with the package and those that can be downloaded."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "GTI": "gti",
    "PublicData": "registry",
    "demo_path": "demo",
    "download": "registry",
    "public_data": "registry",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

"""Villard: one differentiable likelihood for gamma-ray astronomy.

Subpackages are imported when they are used, so that ``import villard`` is fast.
"""

from villard.utils.lazy import lazy_exports

__version__ = "0.1.0"

_ROOMS = [
    "data",
    "datasets",
    "estimators",
    "exceptions",
    "irf",
    "likelihood",
    "maps",
    "modeling",
    "simulate",
    "stats",
    "visualization",
]

__all__ = ["__version__", *_ROOMS]

__getattr__, __dir__ = lazy_exports(__name__, {room: f"villard.{room}" for room in _ROOMS})

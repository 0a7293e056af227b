"""What follows from a fit for each source: TS, predicted counts, fluxes and limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["update_sources"]


def update_sources(roi: Any, names: Iterable[str] | None = None, reoptimize: bool = False) -> None:
    """Compute the results of sources."""
    roi.update_npred(names)

"""The state of a region's parameters, to be put back after a computation that changes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["kept_state"]


@contextmanager
def kept_state(roi: Any) -> Iterator[None]:
    """Put values, errors, limits, priors and states of all parameters back at the end.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region; results of its sources, such as predicted counts, are put back too.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> spectrum = PowerLawSpectralModel(index=2)
    >>> with kept_state(SimpleNamespace(parameters=spectrum.parameters, sources=[])):
    ...     spectrum.index.value = 3
    >>> spectrum.index.value
    2.0
    """
    before = [(p, p.__getstate__()) for p in roi.parameters]
    results = [(source, dict(source.results)) for source in roi.sources]
    try:
        yield
    finally:
        for parameter, state in before:
            parameter.__setstate__(state)
        for source, values in results:
            source.results.clear()
            source.results.update(values)

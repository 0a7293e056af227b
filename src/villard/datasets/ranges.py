"""Ranges of energy that the masks of datasets leave."""

from __future__ import annotations

from typing import Any

import numpy as np

from villard.maps import Map

__all__ = ["EnergyRanges"]


class EnergyRanges:
    """Properties of datasets of counts: lower and upper bounds in each pixel, as maps without axes."""

    def _energy_range(self: Any, mask: Map | None) -> tuple[Map, Map]:
        geom = self._geom
        axis, image = geom.axes["energy"], geom.to_image()
        inside = np.ones(geom.data_shape, dtype=bool) if mask is None else mask.data
        edges = geom._along(axis.edges.value[:-1], "energy"), geom._along(axis.edges.value[1:], "energy")
        low = np.where(inside, edges[0], np.inf).min(axis=0)
        high = np.where(inside, edges[1], -np.inf).max(axis=0)
        bounds = (np.where(np.isfinite(value), value, np.nan) for value in (low, high))
        first, last = (Map.from_geom(image, data=value, unit=axis.unit) for value in bounds)
        return first, last

    @property
    def energy_range(self: Any) -> tuple[Map, Map]:
        """Lower and upper bound of the fit range, as maps without axes; NaN where it is empty."""
        return self._energy_range(self.mask)

    @property
    def energy_range_safe(self: Any) -> tuple[Map, Map]:
        """Lower and upper bound of `mask_safe`."""
        return self._energy_range(self.mask_safe)

    @property
    def energy_range_fit(self: Any) -> tuple[Map, Map]:
        """Lower and upper bound of `mask_fit`."""
        return self._energy_range(self.mask_fit)

    @property
    def energy_range_total(self: Any) -> tuple[Map, Map]:
        """Lower and upper bound of the axis."""
        return self._energy_range(None)

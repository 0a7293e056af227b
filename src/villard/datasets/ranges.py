"""Ranges of energy that masks of spectrum datasets leave."""

from __future__ import annotations

from typing import Any

import numpy as np

from villard.maps import RegionNDMap

__all__ = ["EnergyRanges"]


class EnergyRanges:
    """Properties of `SpectrumDataset`: lower and upper bounds, as maps without axes."""

    def _energy_range(self: Any, mask: RegionNDMap | None) -> tuple[RegionNDMap, RegionNDMap]:
        geom = self._geom
        axis, image = geom.axes["energy"], geom.to_image()
        inside = np.ones(axis.nbin, dtype=bool) if mask is None else mask.data.reshape(-1)
        edges = axis.edges.value
        bounds = [np.nan, np.nan]
        if np.any(inside):
            bounds = [edges[:-1][inside].min(), edges[1:][inside].max()]
        low, high = (RegionNDMap(image, data=np.full((1, 1), b), unit=axis.unit) for b in bounds)
        return low, high

    @property
    def energy_range(self: Any) -> tuple[RegionNDMap, RegionNDMap]:
        """Lower and upper bound of the fit range, as maps without axes; NaN if it is empty."""
        return self._energy_range(self.mask)

    @property
    def energy_range_safe(self: Any) -> tuple[RegionNDMap, RegionNDMap]:
        """Lower and upper bound of `mask_safe`."""
        return self._energy_range(self.mask_safe)

    @property
    def energy_range_fit(self: Any) -> tuple[RegionNDMap, RegionNDMap]:
        """Lower and upper bound of `mask_fit`."""
        return self._energy_range(self.mask_fit)

    @property
    def energy_range_total(self: Any) -> tuple[RegionNDMap, RegionNDMap]:
        """Lower and upper bound of the axis."""
        return self._energy_range(None)

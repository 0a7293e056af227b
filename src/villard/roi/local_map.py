"""The map of test statistics around one source: a search for its maximum before positions are fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from villard.roi.view import excluded

__all__ = ["LocalMap", "local_map", "refined_peak"]


@dataclass
class LocalMap:
    """Images of a source's TS and norm around its position, without and with negative norms."""

    ts: Any
    norm: Any
    peak: SkyCoord
    center: SkyCoord

    @property
    def gain(self) -> float:
        """TS at the peak minus TS at the centre."""
        x, y = self.ts.geom.skydir_to_pix(self.center)
        n_y, n_x = self.ts.data.shape
        column, row = int(np.clip(np.round(x), 0, n_x - 1)), int(np.clip(np.round(y), 0, n_y - 1))
        return float(np.nanmax(self.ts.data) - np.nan_to_num(self.ts.data[row, column]))


def local_map(roi: Any, name: str, radius: float, model: Any = None) -> LocalMap:
    """Fit the norm of a source at each pixel around it; all else stays as it is.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    name : str
        Source.
    radius : float
        Half width of the map (deg).
    model : `~villard.modeling.models.SkyModel`, optional
        What is put at each pixel instead of the source.
    """
    from villard.estimators.map_data import EnergyGroups, MapData
    from villard.estimators.norm_map import solve_norms
    from villard.estimators.ts_kernels import SourceShape, make_basis
    from villard.estimators.ts_planes import Planes
    from villard.maps import WcsNDMap
    from villard.roi.tsmap import kernel_radius

    source = roi[name]
    kernel = source.model if model is None else model
    geom = roi.geom.to_image()
    tile = geom.cutout_slices(source.skydir, 2 * radius, mode="trim")
    reach = kernel_radius(roi, kernel, 3.0, "localize")
    width, height = (max(round(reach / s), 1) for s in geom.pixel_scales.to_value("deg"))
    with excluded(roi, [name]) as datasets:
        groups = EnergyGroups.make(list(datasets), None, "localize")
        inputs = [MapData(dataset, "localize") for dataset in datasets]
        bases = [make_basis(SourceShape(data, kernel, (height, width)), *tile) for data in inputs]
        planes = Planes.make(inputs, [s[0] for s in groups.slices], bases, tile, False)
    pixels = planes.pixels(1)
    solution = solve_norms(planes.problem, pixels)
    y, x = planes.on_map(pixels)
    image = geom.cutout(source.skydir, 2 * radius, mode="trim")
    ts, norm = (np.full(image.data_shape, np.nan) for _ in range(2))
    at = y - tile[0].start, x - tile[1].start
    norm[at] = solution.norm
    ts[at] = np.where(solution.norm > 0, solution.ts, 0.0)
    row, column = np.unravel_index(int(np.nanargmax(ts)), ts.shape)
    peak = image.pix_to_skydir(*refined_peak(ts, int(row), int(column)))
    return LocalMap(WcsNDMap(image, data=ts), WcsNDMap(image, data=norm), peak, source.skydir)


def refined_peak(image: Any, row: int, column: int) -> tuple[float, float]:
    """Return the top (x, y) of the parabolas through a pixel and its neighbours."""
    result = []
    for at, line in ((column, image[row]), (row, image[:, column])):
        shift = 0.0
        if 0 < at < len(line) - 1:
            left, middle, right = line[at - 1 : at + 2]
            curvature = left - 2 * middle + right
            if np.isfinite(curvature) and curvature < 0:
                shift = float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5))
        result.append(at + shift)
    return result[0], result[1]

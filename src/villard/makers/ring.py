"""The background of maps, measured in rings around each pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.makers.core import Maker
from villard.makers.fov import _exclusion_on
from villard.maps import Map

if TYPE_CHECKING:
    from villard.data.observation import Observation
    from villard.datasets import MapDatasetOnOff
    from villard.maps import WcsGeom, WcsNDMap

__all__ = ["RingBackgroundMaker"]


class RingBackgroundMaker(Maker):
    """Sums counts and acceptance in a ring around each pixel, outside of exclusions.

    The acceptance is the dataset's background. Off counts of neighbouring pixels have events in common; use
    the result for images of excess and significance, not for fits (Berge, Funk & Hinton 2007, A&A 466, 1219,
    section 4.1).

    Parameters
    ----------
    r_in : `~astropy.units.Quantity`
        Inner radius.
    width : `~astropy.units.Quantity`
        Width.
    exclusion_mask : `~villard.maps.WcsNDMap`, optional
        Image that is false where there may be sources.

    Examples
    --------
    >>> maker = RingBackgroundMaker(r_in=0.3 * u.deg, width=0.3 * u.deg)
    >>> maker.r_in
    <Quantity 0.3 deg>
    """

    tag: ClassVar[str] = "RingBackgroundMaker"

    def __init__(
        self, r_in: u.Quantity | str, width: u.Quantity | str, exclusion_mask: WcsNDMap | None = None
    ) -> None:
        self.r_in, self.width, self.exclusion_mask = u.Quantity(r_in), u.Quantity(width), exclusion_mask
        if not (self.r_in >= 0 * u.deg and self.width > 0 * u.deg):
            raise DataError(f"{self.tag}: expected positive angles, found {r_in} and {width}")

    def kernel(self, geom: WcsGeom) -> NDArray[np.float64]:
        """Return the ring in pixels, 1 where their centre lies in it."""
        scale = float(np.mean(geom.pixel_scales.to_value("deg")))
        inner = self.r_in.to_value("deg") / scale
        outer = inner + self.width.to_value("deg") / scale
        half = int(np.ceil(outer))
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        radius = np.hypot(x, y)
        ring = ((radius >= inner) & (radius <= outer)).astype(float)
        if not ring.any():
            raise DataError(f"{self.tag}: no pixel of {scale:.3g} deg has its centre in the ring")
        return ring

    def run(self, dataset: Any, observation: Observation | None = None) -> MapDatasetOnOff:
        """Return the dataset with off counts and acceptances.

        Parameters
        ----------
        dataset : `~villard.datasets.MapDataset`
            Dataset with counts and background.
        observation : `~villard.data.Observation`, optional
            Not used.

        Raises
        ------
        DataError
            If there is no background, or the ring is narrower than a pixel.
        """
        from villard.datasets import MapDatasetOnOff

        if dataset.background is None:
            raise DataError(f"{self.tag}: dataset {dataset.name!r} has no background")
        geom = dataset.counts.geom
        used = np.ones(geom.data_shape, dtype=bool)
        if self.exclusion_mask is not None:
            used &= _exclusion_on(self.exclusion_mask, geom)
        if dataset.mask_safe is not None:
            used &= dataset.mask_safe.data
        acceptance = dataset.npred_background()
        counts_off = np.rint(self._sum(np.where(used, dataset.counts.data, 0.0), geom))
        acceptance_off = self._sum(np.where(used, acceptance.data, 0.0), geom)
        return MapDatasetOnOff.from_map_dataset(
            dataset,
            acceptance=acceptance,
            acceptance_off=Map.from_geom(geom, data=acceptance_off),
            counts_off=Map.from_geom(geom, data=counts_off),
            name=dataset.name,
        )

    def _sum(self, data: NDArray[np.float64], geom: WcsGeom) -> NDArray[np.float64]:
        from scipy.signal import fftconvolve

        kernel = self.kernel(geom)[np.newaxis]
        total = fftconvolve(data, kernel, mode="same", axes=(1, 2))
        # Transforms leave traces of rounding.
        return np.where(total > 1e-10 * max(float(data.max(initial=0.0)), 1e-300), total, 0.0)

"""Off counts of reflected regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from villard.exceptions import ConfigError, DataError
from villard.makers.core import Maker
from villard.makers.regions import ReflectedRegionsFinder
from villard.makers.spectrum import events_in
from villard.maps import RegionGeom, RegionNDMap

if TYPE_CHECKING:
    from villard.data.observation import Observation
    from villard.datasets import SpectrumDatasetOnOff
    from villard.maps import MapAxis, WcsNDMap

__all__ = ["ReflectedRegionsBackgroundMaker"]


class ReflectedRegionsBackgroundMaker(Maker):
    """Measures the background of a spectrum in regions at the same offset from the pointing.

    Parameters
    ----------
    region_finder : `ReflectedRegionsFinder` or `WobbleRegionsFinder`, optional
        How regions are found.
    exclusion_mask : `~villard.maps.WcsNDMap`, optional
        Image that is false where off regions mustn't be.
    **kwargs
        For `ReflectedRegionsFinder`, if no finder is given.

    Examples
    --------
    >>> maker = ReflectedRegionsBackgroundMaker(min_distance_input="0.2 rad")
    >>> maker.region_finder.min_distance_input
    0.2
    """

    tag: ClassVar[str] = "ReflectedRegionsBackgroundMaker"

    def __init__(
        self, region_finder: Any = None, exclusion_mask: WcsNDMap | None = None, **kwargs: Any
    ) -> None:
        if region_finder is not None and kwargs:
            raise ConfigError(f"{self.tag}: {sorted(kwargs)} are arguments of the finder, and one is given")
        self.region_finder = ReflectedRegionsFinder(**kwargs) if region_finder is None else region_finder
        self.exclusion_mask = exclusion_mask

    def run(self, dataset: Any, observation: Observation | None = None) -> SpectrumDatasetOnOff:
        """Return the dataset with off counts.

        Parameters
        ----------
        dataset : `~villard.datasets.SpectrumDataset`
            Spectrum of the region of interest.
        observation : `~villard.data.Observation`
            Observation.

        Raises
        ------
        DataError
            If there is no room for an off region.
        """
        from villard.datasets import SpectrumDatasetOnOff

        assert observation is not None
        geom = dataset.counts.geom
        axis, region, pointing = geom.axes["energy"], geom.region, observation.pointing_radec
        size = 0.0
        if observation.rad_max is not None:
            offset = region.center.separation(pointing)
            radii = observation.rad_max.evaluate(energy=_inside(axis, observation.rad_max), offset=offset)
            size = float(radii.to_value("deg").max())
        regions = self.region_finder.run(region, pointing, self.exclusion_mask, size)
        if not regions:
            raise DataError(
                f"{self.tag}: observation {observation.obs_id} has no room for an off region of {region} at "
                f"{region.center.separation(pointing).deg:.3g} deg from the pointing"
            )
        if region.shape == "point":
            parts = [RegionGeom(item.center).region for item in regions]
        else:
            parts = list(regions)
        energies = np.concatenate([events_in(part, observation) for part in parts])
        counts = np.histogram(energies, axis.edges.to_value("TeV"))[0]
        off_geom = RegionGeom.from_regions(parts, axes=[axis])
        counts_off = RegionNDMap(off_geom, data=counts.astype(float))
        return SpectrumDatasetOnOff.from_spectrum_dataset(
            dataset, acceptance=1, acceptance_off=len(parts), counts_off=counts_off
        )


def _inside(axis: MapAxis, rad_max: Any) -> Any:
    """Return the centres of the bins of a table of radii that events of an axis may fall into."""
    table, bounds = rad_max.axes["energy"], axis.bounds
    is_used = (table.edges[1:] > bounds[0]) & (table.edges[:-1] < bounds[1])
    return table.center[is_used]

"""Several steps of data reduction for several observations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import astropy.units as u

from villard.exceptions import DataError
from villard.makers.core import Maker

__all__ = ["DatasetsMaker"]


class DatasetsMaker:
    """Runs makers one after the other on each of several observations.

    Parameters
    ----------
    makers : list of `Maker`
        Steps.
    stack_datasets : bool
        Whether all observations are stacked into one dataset.
    cutout_width : `~astropy.units.Quantity`, optional
        Width of the cutout of maps around each pointing; by default twice the largest offset of a
        `SafeMaskMaker` among the makers, or the whole map.
    cutout_mode : {"trim", "partial"}
        How cutouts at the edge are made.

    Examples
    --------
    >>> from villard.makers import SafeMaskMaker, SpectrumDatasetMaker
    >>> DatasetsMaker([SpectrumDatasetMaker(), SafeMaskMaker()])
    DatasetsMaker(SpectrumDatasetMaker, SafeMaskMaker)
    """

    tag: ClassVar[str] = "DatasetsMaker"

    def __init__(
        self,
        makers: Sequence[Maker],
        stack_datasets: bool = True,
        cutout_width: u.Quantity | None = None,
        cutout_mode: str = "trim",
    ) -> None:
        self.makers = list(makers)
        for maker in self.makers:
            if not isinstance(maker, Maker):
                raise DataError(f"DatasetsMaker: expected makers, found {type(maker).__name__}")
        self.stack_datasets, self.cutout_mode = stack_datasets, cutout_mode
        self.cutout_width = cutout_width

    def _width(self) -> u.Quantity | None:
        from villard.makers.safe import SafeMaskMaker

        if self.cutout_width is not None:
            return u.Quantity(self.cutout_width)
        limits = [
            maker.offset_max
            for maker in self.makers
            if isinstance(maker, SafeMaskMaker) and "offset-max" in maker.methods
        ]
        return 2 * min(limits) if limits else None

    def make_dataset(self, dataset: Any, observation: Any) -> Any:
        """Return the dataset of one observation.

        Parameters
        ----------
        dataset : dataset
            Empty dataset with the geometries.
        observation : `~villard.data.Observation`
            Observation.
        """
        from villard.datasets import MapDataset

        name, width = str(observation.obs_id), self._width()
        if isinstance(dataset, MapDataset) and width is not None:
            made = dataset.cutout(observation.pointing_radec, width, mode=self.cutout_mode, name=name)
        else:
            made = dataset.copy(name=name)
        for maker in self.makers:
            made = maker.run(made, observation)
        return made

    def run(self, dataset: Any, observations: Iterable[Any]) -> Any:
        """Return the datasets of observations.

        Parameters
        ----------
        dataset : dataset
            Empty dataset with the geometries.
        observations : list of `~villard.data.Observation`
            Observations.

        Returns
        -------
        `~villard.datasets.Datasets`
            One dataset per observation, or the stacked one, which is called as ``dataset``.
        """
        from villard.datasets import Datasets

        made = [self.make_dataset(dataset, observation) for observation in observations]
        if not made:
            raise DataError("DatasetsMaker: expected at least one observation")
        if not self.stack_datasets:
            return Datasets(made)
        stacked = self._empty(dataset, made[0])
        for item in made:
            stacked.stack(item)
        return Datasets([stacked])

    @staticmethod
    def _empty(dataset: Any, made: Any) -> Any:
        """Return the empty dataset, of the class that the makers lead to."""
        if type(dataset) is type(made):
            empty = dataset.copy(name=dataset.name)
        else:
            cls, counts = type(made), dataset.counts.copy()
            make = getattr(cls, "from_map_dataset", None) or cls.from_spectrum_dataset
            empty = make(dataset, 0, 0, counts, name=dataset.name)
        if empty.gti is None and made.gti is not None:
            start = made.gti.time_ref
            empty.gti = made.gti.select_time(start, start)
        return empty

    def __repr__(self) -> str:
        return f"DatasetsMaker({', '.join(type(maker).__name__ for maker in self.makers)})"

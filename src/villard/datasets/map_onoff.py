"""Cubes of counts whose background is measured by off counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from villard.datasets.map import MapDataset
from villard.datasets.onoff_counts import OnOffCounts
from villard.maps import WcsNDMap

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.data.gti import GTI

__all__ = ["MapDatasetOnOff"]


class MapDatasetOnOff(OnOffCounts, MapDataset):  # type: ignore[misc]
    """Counts in bins of energy and direction, and off counts that measure the background of each bin.

    The acceptances say how much background is collected: without source, the expected counts are α
    times the expected off counts, α = acceptance / acceptance_off. Counts are compared by the wstat
    statistic, in which the background of each bin is the most likely one. Off counts of neighbouring
    pixels usually have events in common, as those of a ring around each pixel; the statistic takes them
    for independent, so that the sum over pixels isn't that of a likelihood.

    Parameters
    ----------
    counts, counts_off : `~villard.maps.WcsNDMap`
        Counts and off counts along the axis "energy".
    acceptance, acceptance_off : `~villard.maps.WcsNDMap`, float or array-like
        Relative acceptances for background; numbers per energy or per bin.
    models, exposure, psf, edisp, mask_safe, mask_fit, gti, meta_table, name, meta
        As for `MapDataset`.

    Examples
    --------
    >>> from villard.maps import MapAxis, WcsGeom
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    >>> geom = WcsGeom.create(skydir=(0, 0), binsz=0.5, width=1, axes=[axis])
    >>> dataset = MapDatasetOnOff(
    ...     counts=WcsNDMap(geom, data=[[5.0, 2], [3, 0]]),
    ...     counts_off=WcsNDMap(geom, data=[[10.0, 4], [20, 10]]),
    ...     acceptance=1,
    ...     acceptance_off=5,
    ... )
    >>> dataset.excess.data.ravel().tolist()
    [3.0, 1.2, -1.0, -2.0]
    """

    tag: ClassVar[str] = "MapDatasetOnOff"
    _stat_types: ClassVar[tuple[str, ...]] = ("wstat",)
    _map_names: ClassVar[tuple[str, ...]] = (
        "counts",
        "counts_off",
        "acceptance",
        "acceptance_off",
        "mask_safe",
        "mask_fit",
    )
    _stack_required: ClassVar[tuple[str, ...]] = ("counts_off", "acceptance", "acceptance_off")

    def __init__(
        self,
        models: Any = None,
        counts: WcsNDMap | None = None,
        counts_off: WcsNDMap | None = None,
        acceptance: Any = None,
        acceptance_off: Any = None,
        exposure: WcsNDMap | None = None,
        mask_fit: WcsNDMap | None = None,
        psf: Any = None,
        edisp: Any = None,
        name: str | None = None,
        mask_safe: WcsNDMap | None = None,
        gti: GTI | None = None,
        meta_table: Table | None = None,
        meta: Mapping[str, Any] | None = None,
        stat_type: str | None = None,
        psf_method: str = "kernel",
    ) -> None:
        super(MapDataset, self).__init__(name=name, models=models)
        self.stat_type = self._stat_types[0] if stat_type is None else stat_type
        self.psf_method = psf_method
        maps = {"counts": counts, "mask_safe": mask_safe, "mask_fit": mask_fit}
        self._set_parts(maps, exposure, {"psf": psf, "edisp": edisp}, gti, meta_table, meta)
        self._set_off(counts_off, acceptance, acceptance_off)

    @classmethod
    def from_map_dataset(
        cls,
        dataset: MapDataset,
        acceptance: Any,
        acceptance_off: Any,
        counts_off: WcsNDMap | None = None,
        name: str | None = None,
    ) -> Self:
        """Make an on/off dataset of one with a background.

        Parameters
        ----------
        dataset : `MapDataset`
            Dataset.
        acceptance, acceptance_off : `~villard.maps.WcsNDMap`, float or array-like
            Acceptances.
        counts_off : `~villard.maps.WcsNDMap`, optional
            Off counts; by default the background over α.
        name : str, optional
            Name; that of ``dataset`` by default.
        """
        return cls._with_off(dataset, acceptance, acceptance_off, counts_off, name)

    def to_map_dataset(self, name: str | None = None) -> MapDataset:
        """Return a dataset whose background is the scaled off counts.

        Parameters
        ----------
        name : str, optional
            Name; random by default.

        Returns
        -------
        `MapDataset`
            Dataset without models. Its likelihood takes the background for known exactly.
        """
        return self._without_off(MapDataset, name)

    def _spectrum_class(self) -> Any:
        from villard.datasets.onoff import SpectrumDatasetOnOff

        return SpectrumDatasetOnOff

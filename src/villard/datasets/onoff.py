"""Spectra whose background is measured in an off region."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from villard.datasets.onoff_counts import OnOffCounts
from villard.datasets.spectrum import SpectrumDataset
from villard.exceptions import ConfigError
from villard.irf import EDispKernel
from villard.maps import RegionNDMap

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.data.gti import GTI

__all__ = ["SpectrumDatasetOnOff"]

Array = NDArray[np.float64]


class SpectrumDatasetOnOff(OnOffCounts, SpectrumDataset):  # type: ignore[misc]
    r"""Counts of an on region, and of an off region that measures its background.

    The acceptances say how much background each region collects: without source, the expected on
    counts are α times the expected off counts, α = acceptance / acceptance_off. Counts are compared
    by the wstat statistic, in which the background of each bin is the most likely one.

    Parameters
    ----------
    counts, counts_off : `~villard.maps.RegionNDMap`
        Counts of both regions along the axis "energy".
    acceptance, acceptance_off : `~villard.maps.RegionNDMap`, float or array-like
        Relative acceptances for background.
    exposure, edisp, mask_safe, mask_fit, gti, meta_table, models, name, meta
        As for `SpectrumDataset`.

    Examples
    --------
    >>> from villard.maps import MapAxis, RegionGeom
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    >>> geom = RegionGeom(None, axes=[axis])
    >>> dataset = SpectrumDatasetOnOff(
    ...     counts=RegionNDMap(geom, data=[5.0, 2.0]),
    ...     counts_off=RegionNDMap(geom, data=[10.0, 4.0]),
    ...     acceptance=1,
    ...     acceptance_off=5,
    ... )
    >>> dataset.excess.data.ravel().round(2).tolist()
    [3.0, 1.2]
    """

    tag: ClassVar[str] = "SpectrumDatasetOnOff"
    _stat_types: ClassVar[tuple[str, ...]] = ("wstat",)
    _map_names: ClassVar[tuple[str, ...]] = (
        "counts",
        "counts_off",
        "acceptance",
        "acceptance_off",
        "mask_safe",
        "mask_fit",
    )
    _yaml_keys: ClassVar[tuple[str, ...]] = ("mask_fit",)
    _stack_required: ClassVar[tuple[str, ...]] = ("counts_off", "acceptance", "acceptance_off")

    def __init__(
        self,
        counts: RegionNDMap | None = None,
        counts_off: RegionNDMap | None = None,
        acceptance: Any = None,
        acceptance_off: Any = None,
        exposure: RegionNDMap | None = None,
        edisp: EDispKernel | None = None,
        mask_safe: RegionNDMap | None = None,
        mask_fit: RegionNDMap | None = None,
        gti: GTI | None = None,
        meta_table: Table | None = None,
        models: Any = None,
        name: str | None = None,
        meta: Mapping[str, Any] | None = None,
        stat_type: str | None = None,
    ) -> None:
        super(SpectrumDataset, self).__init__(name=name, models=models)
        self.stat_type = self._stat_types[0] if stat_type is None else stat_type
        maps = {"counts": counts, "mask_safe": mask_safe, "mask_fit": mask_fit}
        self._set_parts(maps, exposure, {"edisp": edisp}, gti, meta_table, meta)
        self._set_off(counts_off, acceptance, acceptance_off)

    # Making others

    @classmethod
    def from_spectrum_dataset(
        cls,
        dataset: SpectrumDataset,
        acceptance: Any,
        acceptance_off: Any,
        counts_off: RegionNDMap | None = None,
        name: str | None = None,
    ) -> Self:
        """Make an on/off dataset of one with a background.

        Parameters
        ----------
        dataset : `SpectrumDataset`
            Dataset.
        acceptance, acceptance_off : `~villard.maps.RegionNDMap`, float or array-like
            Acceptances.
        counts_off : `~villard.maps.RegionNDMap`, optional
            Off counts; by default the background over α.
        name : str, optional
            Name; that of ``dataset`` by default.
        """
        return cls._with_off(dataset, acceptance, acceptance_off, counts_off, name)

    def to_spectrum_dataset(self, name: str | None = None) -> SpectrumDataset:
        """Return a dataset whose background is the scaled off counts.

        Parameters
        ----------
        name : str, optional
            Name; random by default.

        Returns
        -------
        `SpectrumDataset`
            Dataset without models. Its likelihood takes the background for known exactly.
        """
        return self._without_off(SpectrumDataset, name)

    # Files

    @property
    def _filename(self) -> str:
        return f"pha_obs{self._name_in_files}.fits"

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the dataset in a YAML file.

        OGIP files have no place for `mask_fit`; it goes to ``mask_fit``, a list of the first bin and the
        bin behind the last of each range.
        """
        entry = super().to_dict()
        if self.mask_fit is not None:
            inside = np.concatenate([[False], self.mask_fit.data.reshape(-1), [False]])
            entry["mask_fit"] = np.flatnonzero(np.diff(inside)).reshape(-1, 2).tolist()
        return entry

    @classmethod
    def from_dict(cls, data: dict[str, Any], folder: str | os.PathLike[str] = ".") -> Self:
        """Read the dataset that an entry of a YAML file names, and set its `mask_fit`."""
        dataset = super().from_dict(data, folder)
        if data.get("mask_fit") is not None:
            dataset.mask_fit = dataset._mask_of_ranges(data["mask_fit"])
        return dataset

    def _mask_of_ranges(self, ranges: Any) -> RegionNDMap:
        n = self.data_shape[0]
        inside = np.zeros(n, dtype=bool)
        try:
            for start, stop in ranges:
                if not 0 <= start < stop <= n:
                    raise ValueError(f"[{start}, {stop}]")
                inside[start:stop] = True
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"Dataset {self.name!r}: mask_fit must be ranges of bins such as [[0, {n}]], found {ranges!r}"
            ) from error
        return self._as_map(inside)

    def _paths(self, path: Path) -> list[Path]:
        from villard.datasets.ogip_write import ogip_paths

        return list(ogip_paths(path).values())

    @classmethod
    def read(
        cls,
        filename: str | os.PathLike[str],
        name: str | None = None,
        format: str | None = None,
        grouping: bool = True,
    ) -> Self:
        """Read a dataset from an OGIP PHA file and the files that it names, or from one GADF file.

        Background, effective area and energy dispersion are those that the keywords BACKFILE,
        ANCRFILE and RESPFILE of the PHA file name, in the same folder. Channels whose QUALITY isn't 0,
        in the PHA or the background file, are outside `mask_safe`. BACKSCAL, EXPOSURE and AREASCAL of
        both files give the acceptances; AREASCAL of the PHA file scales the predicted counts, too.

        Parameters
        ----------
        filename : str or path-like
            File, possibly gzipped.
        name : str, optional
            Name; by default the keyword OBS_ID, or else the name of the file.
        format : {"ogip", "ogip-sherpa", "gadf"}, optional
            Layout; found out from the file by default.
        grouping : bool
            Whether channels are joined as the column GROUPING of the PHA file says, if there is one.
            Channels of bad QUALITY don't count in their group.

        Raises
        ------
        DataError
            If a file is missing, files don't belong together, or counts are negative or not whole.
        FileFormatError
            If a file is damaged or has another layout.
        """
        from villard.datasets.ogip import read_onoff

        return read_onoff(cls, filename, name=name, format=format, grouping=grouping)

    def write(self, filename: str | os.PathLike[str], overwrite: bool = False, format: str = "ogip") -> None:
        """Write the dataset to an OGIP PHA file and, beside it, its background, ARF and RMF.

        Models aren't written, nor is `mask_fit`, for which OGIP files have no place (GADF files have;
        `Datasets.write` keeps it in its YAML file).

        Parameters
        ----------
        filename : str or path-like
            PHA file. The others are called after it: ``pha_obs1.fits`` has ``bkg_obs1.fits``,
            ``arf_obs1.fits`` and ``rmf_obs1.fits``; ``x.fits`` has ``x_bkg.fits`` and so on.
        overwrite : bool
            Whether existing files may be replaced. If not, and one exists, nothing is written.
        format : {"ogip", "ogip-sherpa", "gadf"}
            OGIP with the units of the dataset, or those that sherpa and XSPEC need (keV, cm2); or
            everything in one GADF file.
        """
        if format == "gadf":
            super().write(filename, overwrite=overwrite)
            return
        from villard.datasets.ogip_write import write_onoff

        write_onoff(self, filename, overwrite=overwrite, format=format)

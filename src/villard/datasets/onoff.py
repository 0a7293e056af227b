"""Spectra whose background is measured in an off region."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from villard.datasets.core import get_random_state
from villard.datasets.plot import poisson_interval
from villard.datasets.slots import CountsMap
from villard.datasets.spectrum import SpectrumDataset
from villard.exceptions import ConfigError, DataError
from villard.irf import EDispKernel
from villard.likelihood.measurement import Measurement
from villard.likelihood.predict import stat_array
from villard.likelihood.statistics import get_wstat_mu_bkg
from villard.maps import RegionNDMap

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.data.gti import GTI

__all__ = ["SpectrumDatasetOnOff"]

Array = NDArray[np.float64]


class SpectrumDatasetOnOff(SpectrumDataset):
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

    counts_off = CountsMap("energy", "Counts of the off region along the axis `energy`.")
    acceptance = CountsMap("energy", "Relative acceptance of the on region for background.")
    acceptance_off = CountsMap("energy", "Relative acceptance of the off region for background.")

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
        maps = {"counts": counts, "counts_off": counts_off, "mask_safe": mask_safe, "mask_fit": mask_fit}
        self._set_parts(maps, exposure, {"edisp": edisp}, gti, meta_table, meta)
        self.acceptance = self._acceptance_map(acceptance)
        self.acceptance_off = self._acceptance_map(acceptance_off)

    def _acceptance_map(self, value: Any) -> Any:
        """Make a map of a number or array."""
        if value is None or isinstance(value, RegionNDMap):
            return value
        return self._as_map(np.broadcast_to(np.asarray(value, dtype=float).reshape(-1), self.data_shape[:1]))

    # Content

    @property
    def alpha(self) -> RegionNDMap:
        """Acceptance over off acceptance; 0 where both are 0, infinite where there is no off region."""
        return self._as_map(self._alpha_array())

    def _alpha_array(self) -> Array:
        on, off = self._plain("acceptance"), self._plain("acceptance_off")
        return np.divide(on, off, out=np.where(on > 0, np.inf, 0.0), where=off > 0)

    @property
    def background(self) -> RegionNDMap | None:
        """Off counts scaled to the on region, α times `counts_off`; it can't be set."""
        return None if self.counts_off is None else self._as_map(self._background_of_off())

    @background.setter
    def background(self, background: Any) -> None:
        raise DataError(f"Dataset {self.name!r}: the background of an on/off dataset follows from counts_off")

    @property
    def counts_off_normalised(self) -> RegionNDMap | None:
        """The same as `background`."""
        return self.background

    def _background_of_off(self) -> Array:
        off, alpha = self._plain("counts_off"), self._alpha_array()
        # Without off region and off counts the product isn't defined, but there is nothing to scale.
        return np.where(off > 0, np.where(off > 0, alpha, 0.0) * off, 0.0)

    # Likelihood

    def _data_arrays(self) -> dict[str, Array]:
        self._require("counts", "counts_off", "acceptance", "acceptance_off")
        return {
            "counts": self._plain("counts"),
            "counts_off": self._plain("counts_off"),
            "alpha": self._alpha_array(),
        }

    def _background_array(self) -> Array | None:
        return None

    def _stat(self, measurement: Measurement) -> Array:
        with np.errstate(invalid="ignore"):
            return stat_array(measurement, self._signal(measurement))

    def npred_background(self) -> RegionNDMap:
        """Return the most likely background counts of the on region, for the models' signal.

        In each bin they maximise the likelihood of the on and off counts (see
        `~villard.likelihood.statistics.get_wstat_mu_bkg`).
        """
        return self._as_map(self._mu_bkg() * self._alpha_array())

    def npred_off(self) -> RegionNDMap:
        """Return the most likely counts of the off region, for the models' signal."""
        return self._as_map(self._mu_bkg())

    def _mu_bkg(self) -> Array:
        data = self._data_arrays()
        signal = self._signal(self._response_measurement())
        with np.errstate(invalid="ignore"):
            return np.asarray(get_wstat_mu_bkg(data["counts"], data["counts_off"], data["alpha"], signal))

    def fake(self, npred_background: RegionNDMap, random_state: Any = "random-seed") -> None:  # type: ignore[override]
        """Replace the counts by random ones.

        Parameters
        ----------
        npred_background : `~villard.maps.RegionNDMap`
            Expected background counts of the on region; those of the off region are 1/α times these.
        random_state : int, generator or "random-seed"
            See `~villard.datasets.core.get_random_state`.
        """
        rng = get_random_state(random_state)
        background = np.asarray(npred_background.data, dtype=float).reshape(-1)
        alpha = self._alpha_array()
        if np.any((background > 0) & ~((alpha > 0) & np.isfinite(alpha))):
            raise DataError(
                f"Dataset {self.name!r}: there is background in bins without on or off acceptance"
            )
        expected = np.divide(background, alpha, out=np.zeros_like(background), where=background > 0)
        signal = self.npred_signal().data.reshape(-1)
        self.counts = self._as_map(rng.poisson(signal + background).astype(float))
        self.counts_off = self._as_map(rng.poisson(expected).astype(float))

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
        parts = dataset._parts()
        background = parts.pop("background", None)
        parts.pop("stat_type")
        name = dataset.name if name is None else name
        new = cls(**parts, acceptance=acceptance, acceptance_off=acceptance_off, name=name)
        if counts_off is None and background is not None:
            inverse = ratio(new._plain("acceptance_off"), new._plain("acceptance"))
            counts_off = new._as_map(background.data.reshape(-1) * inverse)
        new.counts_off = counts_off
        new.models = dataset.models
        return new

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
        parts = self._parts()
        for key in ("counts_off", "acceptance", "acceptance_off", "stat_type"):
            parts.pop(key)
        return SpectrumDataset(**parts, background=self.background, name=name)

    # Rebinning and stacking

    def _regrouped(
        self, total: Callable[[Array], Array], anywhere: Callable[[Any], Any]
    ) -> dict[str, NDArray[Any]]:
        arrays = super()._regrouped(total, anywhere)
        if "acceptance_off" in arrays and "counts_off" in arrays:
            scaled = self._background_of_off().reshape(self.data_shape)
            background = total(np.where(self._safe_array(), scaled, 0.0))
            off, acceptance = arrays["counts_off"], arrays["acceptance"]
            alpha = ratio(background, off, default=ratio(acceptance, arrays["acceptance_off"]))
            arrays["acceptance_off"] = ratio(acceptance, alpha, default=arrays["acceptance_off"])
        return arrays

    def _stack_maps(self, other: Any) -> None:
        """Add up maps so that the scaled off counts of the stack are the sum of those of the datasets.

        The off acceptance of the stack is its acceptance over α = Σ αᵢ nᵢ / Σ nᵢ, nᵢ the off counts.
        In bins without off counts, α is that of all bins together, as in Gammapy; if no bin has any,
        the ratio of the summed acceptances.
        """
        if self.counts_off is None:
            super()._stack_maps(other)
            return
        scaled = self._as_map(self._background_of_off())
        scaled.stack(other._as_map(other._background_of_off()), nan_to_num=False)
        background = scaled.data.reshape(-1)
        super()._stack_maps(other)
        off, acceptance = self._plain("counts_off"), self._plain("acceptance")
        acceptance_off = self._plain("acceptance_off")
        total = ratio(np.sum(background), np.sum(off), default=ratio(acceptance, acceptance_off))
        alpha = ratio(background, off, default=total)
        self.acceptance_off = self._as_map(ratio(acceptance, alpha, default=acceptance_off))

    # Plots

    def _background_errors(self) -> list[Array]:
        low, high = poisson_interval(self.counts_off.data.reshape(-1))
        alpha, off = self._alpha_array(), self.counts_off.data.reshape(-1)
        alpha = np.where(np.isfinite(alpha), alpha, 0.0)
        return [alpha * (off - low), alpha * (high - off)]

    def _excess_errors(self) -> list[Array]:
        # Upwards fluctuations of the background lower the excess.
        on, off = self._counts_errors(), self._background_errors()
        return [np.hypot(on[0], off[1]), np.hypot(on[1], off[0])]

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


def ratio(a: Any, b: Any, default: Any = 0.0) -> Array:
    """Return a / b, and ``default`` where b is 0."""
    a, b, default = np.broadcast_arrays(
        np.asarray(a, float), np.asarray(b, float), np.asarray(default, float)
    )
    return np.divide(a, b, out=default.copy(), where=b > 0)

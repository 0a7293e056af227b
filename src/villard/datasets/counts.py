"""What datasets of counts in bins have in common, spectra and cubes alike."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.core import Dataset, get_random_state
from villard.datasets.slots import CountsMap, ExposureMap, MaskMap, check_not_negative
from villard.exceptions import DataError, ModelError
from villard.likelihood.predict import predict, stat_array
from villard.maps import Map, MapAxis
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.data.gti import GTI
    from villard.maps import Geom

__all__ = ["CountsDataset"]

Array = NDArray[np.float64]


class CountsDataset(Dataset):
    """Base class of datasets of counts, with exposure, background, masks and a fit statistic.

    A subclass says how responses become a measurement, see `_response_measurement`.
    """

    _stat_types: ClassVar[tuple[str, ...]] = ("cash", "cstat")
    # Kind of maps that the dataset holds.
    _map_class: ClassVar[type[Map]] = Map
    # Maps along the axis "energy" that can be cut and copied alike.
    _map_names: ClassVar[tuple[str, ...]] = ("counts", "background", "mask_safe", "mask_fit")
    # Parts that all datasets of a stack must have, or none.
    _stack_required: ClassVar[tuple[str, ...]] = ()
    # Reduced responses besides the exposure.
    _irf_names: ClassVar[tuple[str, ...]] = ("edisp",)

    counts = CountsMap("energy", "Counts along the axis `energy`.")
    background = CountsMap("energy", "Predicted background counts along the axis `energy`, or `None`.")
    exposure = ExposureMap("energy_true", "Effective area times livetime along the axis `energy_true`.")
    mask_safe = MaskMap("energy", "Bins where the response is reliable, or `None` for all.")
    mask_fit = MaskMap("energy", "Bins that the user selects for the fit, or `None` for all.")

    def _set_parts(
        self,
        maps: Mapping[str, Any],
        exposure: Any,
        irfs: Mapping[str, Any],
        gti: GTI | None,
        meta_table: Table | None,
        meta: Mapping[str, Any] | None,
    ) -> None:
        self._gti, self._meta_table, self._meta = gti, meta_table, dict(meta or {})
        for key, value in maps.items():
            setattr(self, key, value)
        self.exposure = exposure
        for key, value in irfs.items():
            setattr(self, key, value)

    # To be defined by subclasses

    def _irf_axis(self, name: str, ignore: str) -> MapAxis | None:
        """Axis of one of the reduced responses that are set, other than one."""
        raise NotImplementedError

    def _check_sky(self, name: str, value: Map, where: str) -> None:
        """Raise `DataError` if a map that is being set isn't for the sky of the others."""

    def _response_measurement(self) -> Any:
        """Record that predicts counts even where there are no data yet."""
        raise NotImplementedError

    @staticmethod
    def _from_files(hdulist: Any, where: str) -> dict[str, Any]:
        """Read the reduced responses that are among FITS extensions."""
        raise NotImplementedError

    def _to_files(self) -> list[Any]:
        """Return the reduced responses as FITS extensions."""
        raise NotImplementedError

    # Content

    @property
    def stat_type(self) -> str:
        """Name of the fit statistic."""
        return self._stat_type

    @stat_type.setter
    def stat_type(self, value: str) -> None:
        if value not in self._stat_types:
            raise DataError(
                f"Dataset {self.name!r}: stat_type {value!r}. {nearest(str(value), self._stat_types)}"
            )
        self._stat_type = value

    @property
    def gti(self) -> GTI | None:
        """Good time intervals, or `None`."""
        return self._gti

    @gti.setter
    def gti(self, gti: GTI | None) -> None:
        self._gti = gti

    @property
    def meta_table(self) -> Table | None:
        """Table about the observations, or `None`."""
        return self._meta_table

    @meta_table.setter
    def meta_table(self, table: Table | None) -> None:
        self._meta_table = table

    @property
    def meta(self) -> dict[str, Any]:
        """Anything about the dataset."""
        return self._meta

    @meta.setter
    def meta(self, meta: Mapping[str, Any]) -> None:
        self._meta = dict(meta)

    def _axis(self, name: str, ignore: str = "") -> MapAxis | None:
        """Axis of one of the parts that are set, other than one."""
        keys = ("exposure",) if name == "energy_true" else self._map_names
        for key in keys:
            value = self.__dict__.get(f"_{key}")
            if value is not None and key != ignore:
                return value.geom.axes[0]
        return self._irf_axis(name, ignore)

    def _require(self, *names: str) -> tuple[Any, ...]:
        values = tuple(getattr(self, name) for name in names)
        for name, value in zip(names, values, strict=True):
            if value is None:
                raise DataError(f"Dataset {self.name!r}: {name} is needed here, but not set")
        return values

    @property
    def _geom(self) -> Any:
        for key in self._map_names:
            value = self.__dict__.get(f"_{key}")
            if value is not None:
                return value.geom
        return self._geom_without_maps()

    def _geom_without_maps(self) -> Geom:
        raise DataError(f"Dataset {self.name!r}: there is no map along the axis 'energy'")

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the counts, (n_energy, …)."""
        return self._geom.data_shape

    @property
    def mask(self) -> Any:
        """Bins that enter the fit: those in `mask_safe` and `mask_fit`; `None` if neither is set."""
        if self.mask_safe is None or self.mask_fit is None:
            return self.mask_fit if self.mask_safe is None else self.mask_safe
        return self.mask_safe & self.mask_fit

    @property
    def excess(self) -> Any:
        """Counts minus background."""
        (counts,) = self._require("counts")
        return counts.copy(data=counts.data - (0 if self.background is None else self.background.data))

    @property
    def livetime(self) -> u.Quantity:
        """Livetime (s), NaN if it isn't known."""
        meta = {} if self.exposure is None else self.exposure.meta
        return u.Quantity(meta.get("livetime", np.nan), u.s)

    # Likelihood

    def _mask_array(self) -> NDArray[np.bool_]:
        masks = [m.data.reshape(-1) for m in (self.mask_safe, self.mask_fit) if m is not None]
        if not masks:
            return np.ones(np.prod(self.data_shape), dtype=bool)
        return masks[0] & masks[-1]

    def _plain(self, name: str) -> Array:
        """Values of a map that can't be negative, flat."""
        (value,) = self._require(name)
        data = value.data.reshape(-1)
        check_not_negative(data, f"Dataset {self.name!r}: {name}")
        return data.astype(float)

    def _data_arrays(self) -> dict[str, Array]:
        return {"counts": self._plain("counts")}

    def _background_array(self) -> Array | None:
        return None if self.background is None else self._plain("background")

    @property
    def _source_models(self) -> list[Any]:
        return [m for m in self.models or () if not getattr(m, "is_background", False)]

    @property
    def background_model(self) -> Any:
        """Model of the background, or `None`; more than one is an error."""
        models = [m for m in self.models or () if getattr(m, "is_background", False)]
        if len(models) > 1:
            names = ", ".join(m.name for m in models)
            raise ModelError(f"Dataset {self.name!r}: expected one background model, found {names}")
        return models[0] if models else None

    def _signal(self, measurement: Any, models: Iterable[Any] | None = None) -> Array:
        return predict(measurement, self._source_models if models is None else models)

    def _total(self, measurement: Any) -> Array:
        """Predicted counts of the models and the background, flat."""
        model = self.background_model
        if model is not None:
            return self._signal(measurement, [*self._source_models, model])
        total = self._signal(measurement)
        return total if measurement.background is None else total + measurement.background

    def _as_map(self, values: Any) -> Any:
        geom = self._geom
        return Map.from_geom(geom, data=np.reshape(values, geom.data_shape))

    def npred_signal(self, model_names: str | list[str] | None = None) -> Any:
        """Return the predicted counts of models.

        Parameters
        ----------
        model_names : str or list of str, optional
            Names of the models; all by default.

        Returns
        -------
        `~villard.maps.Map`
            Counts along the axis "energy".
        """
        selected = self._source_models
        if model_names is not None:
            names = [model_names] if isinstance(model_names, str) else list(model_names)
            available = [m.name for m in selected]
            for name in names:
                if name not in available:
                    raise DataError(f"Dataset {self.name!r}: no model {name!r}. {nearest(name, available)}")
            selected = [m for m in selected if m.name in names]
        return self._as_map(self._signal(self._response_measurement(), selected))

    def npred_background(self) -> Any:
        """Return the predicted background counts, which a background model changes if there is one."""
        model = self.background_model
        if model is not None:
            return self._as_map(self._signal(self._response_measurement(), [model]))
        background = self._background_array()
        return self._as_map(np.zeros(np.prod(self.data_shape)) if background is None else background)

    def npred(self) -> Any:
        """Return the predicted counts: those of the models and the background."""
        return self.npred_signal() + self.npred_background()

    def _stat(self, measurement: Any) -> Array:
        """Statistic per bin, flat."""
        return stat_array(measurement, self._total(measurement))

    def stat_array(self) -> Array:
        """Return -2 ln L per bin, in the shape of the data, whether or not the bin enters the fit."""
        return self._stat(self.measurement()).reshape(self.data_shape)

    def _stat_sum_data(self) -> float:
        measurement = self.measurement()
        return float(np.sum(self._stat(measurement)[measurement.mask]))

    def residuals(self, method: str = "diff") -> Any:
        """Return counts minus predicted counts.

        Parameters
        ----------
        method : {"diff", "diff/sqrt(model)", "diff/model"}
            Whether the difference is divided by the (square root of the) prediction.

        Returns
        -------
        `~villard.maps.Map`
            Residuals in all bins, also those outside the masks.
        """
        (counts,) = self._require("counts")
        return self._compute_residuals(counts, self.npred(), method)

    def fake(self, random_state: Any = "random-seed") -> None:
        """Replace the counts by random ones around the predicted counts.

        Parameters
        ----------
        random_state : int, generator or "random-seed"
            See `~villard.datasets.core.get_random_state`.
        """
        rng = get_random_state(random_state)
        npred = self.npred()
        self.counts = npred.copy(data=rng.poisson(self._means(npred.data)).astype(float))

    def _means(self, npred: Array) -> Array:
        """Return predicted counts as the means of random ones, which can't be negative or NaN."""
        # Convolutions leave traces of rounding on both sides of 0.
        if not np.all(npred >= -1e-12 * np.max(npred, initial=0.0)):
            bad = ~(npred >= 0)
            raise DataError(
                f"Dataset {self.name!r}: expected predicted counts from 0 on, found {npred[bad][0]:g} and "
                f"{np.sum(bad)} such values in all"
            )
        return np.maximum(npred, 0.0)

    # Text and tables

    def info_dict(self, in_safe_data_range: bool = True) -> dict[str, Any]:
        """Return a summary: counts, significance, exposure, rates, statistic.

        Parameters
        ----------
        in_safe_data_range : bool
            Whether only the bins of `mask_safe` count.

        Returns
        -------
        dict
            Keys as in Gammapy; ``sqrt_ts`` is the significance of the counts above the background,
            for measured backgrounds after Li & Ma 1983, ApJ 272, 317, eq. 17.
        """
        from villard.datasets.info import info_dict

        return info_dict(self, in_safe_data_range)

    def __str__(self) -> str:
        from villard.datasets.info import describe

        return describe(self)

    # Files

    @classmethod
    def read(cls, filename: str | os.PathLike[str], name: str | None = None, format: str = "gadf") -> Self:
        """Read a dataset from one FITS file.

        Parameters
        ----------
        filename : str or path-like
            File, possibly gzipped.
        name : str, optional
            Name; that in the file by default.
        format : {"gadf"}
            Layout.

        Raises
        ------
        FileFormatError
            If the file is damaged or has another layout.
        """
        from villard.datasets.gadf import read_gadf

        if format != "gadf":
            raise DataError(f"Unknown format {format!r} of a {cls.tag}, expected 'gadf'")
        return read_gadf(cls, filename, name)

    def write(self, filename: str | os.PathLike[str], overwrite: bool = False, format: str = "gadf") -> None:
        """Write the dataset, without models, to one FITS file that Gammapy reads too.

        Parameters
        ----------
        filename : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        format : {"gadf"}
            Layout.
        """
        from villard.datasets.gadf import write_gadf

        if format != "gadf":
            raise DataError(f"Unknown format {format!r} of a {self.tag}, expected 'gadf'")
        write_gadf(self, filename, overwrite)

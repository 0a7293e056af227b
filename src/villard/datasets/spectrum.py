"""Spectra with a background that is known or modelled."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.core import Dataset, get_random_state
from villard.datasets.plot import SpectrumPlots
from villard.datasets.ranges import EnergyRanges
from villard.datasets.slots import CountsMap, ExposureMap, MaskMap, check_axis, check_not_negative
from villard.datasets.transform import SpectrumTransforms
from villard.exceptions import DataError
from villard.irf import EDispKernel
from villard.likelihood.measurement import Measurement
from villard.likelihood.predict import predict, stat_array
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.utils.names import nearest
from villard.utils.units import canonical_factor

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.data.gti import GTI

__all__ = ["SpectrumDataset"]

Array = NDArray[np.float64]


class SpectrumDataset(SpectrumTransforms, SpectrumPlots, EnergyRanges, Dataset):
    """Counts of one region in bins of energy, with exposure, energy dispersion and background.

    Predicted counts are the model's flux in each bin of true energy, times exposure, folded with
    the energy dispersion, plus the background. They are compared by the Cash statistic.

    Parameters
    ----------
    counts : `~villard.maps.RegionNDMap`
        Counts along the axis "energy".
    exposure : `~villard.maps.RegionNDMap`
        Effective area times livetime along the axis "energy_true". Its ``meta["livetime"]`` is the
        livetime (s).
    background : `~villard.maps.RegionNDMap`, optional
        Predicted background counts along the axis "energy".
    edisp : `~villard.irf.EDispKernel`, optional
        Energy dispersion; without it measured and true energies are the same.
    mask_safe, mask_fit : `~villard.maps.RegionNDMap`, optional
        Bins where the response is reliable, and bins that the user selects; both limit the fit.
    gti : `~villard.data.GTI`, optional
        Good time intervals.
    meta_table : `~astropy.table.Table`, optional
        Anything about the observations.
    models : model, list of models or `~villard.modeling.models.Models`, optional
        Models.
    name : str, optional
        Name; random by default.
    meta : dict, optional
        Anything about the dataset, such as header keywords.
    stat_type : {"cash", "cstat"}
        Fit statistic.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel, SkyModel
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    >>> dataset = SpectrumDataset.create(RegionGeom(None, axes=[axis]), name="toy")
    >>> dataset.mask_safe.data[...] = True
    >>> dataset.exposure.quantity = np.full(3, 1e12) * u.Unit("cm2 s")
    >>> dataset.models = SkyModel(PowerLawSpectralModel(index=2), name="source")
    >>> dataset.npred().data.ravel().round(3).tolist()
    [0.536, 0.249, 0.115]
    """

    tag: ClassVar[str] = "SpectrumDataset"
    _stat_types: ClassVar[tuple[str, ...]] = ("cash", "cstat")
    # Maps along the axis "energy" that can be cut and copied alike.
    _map_names: ClassVar[tuple[str, ...]] = ("counts", "background", "mask_safe", "mask_fit")
    # Parts that all datasets of a stack must have, or none.
    _stack_required: ClassVar[tuple[str, ...]] = ()

    counts = CountsMap("energy", "Counts along the axis `energy`.")
    background = CountsMap("energy", "Predicted background counts along the axis `energy`, or `None`.")
    exposure = ExposureMap("energy_true", "Effective area times livetime along the axis `energy_true`.")
    mask_safe = MaskMap("energy", "Bins where the response is reliable, or `None` for all.")
    mask_fit = MaskMap("energy", "Bins that the user selects for the fit, or `None` for all.")

    def __init__(
        self,
        counts: RegionNDMap | None = None,
        exposure: RegionNDMap | None = None,
        background: RegionNDMap | None = None,
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
        super().__init__(name=name, models=models)
        self.stat_type = self._stat_types[0] if stat_type is None else stat_type
        maps = {"counts": counts, "background": background, "mask_safe": mask_safe, "mask_fit": mask_fit}
        self._set_parts(maps, exposure, edisp, gti, meta_table, meta)

    def _set_parts(
        self,
        maps: Mapping[str, RegionNDMap | None],
        exposure: RegionNDMap | None,
        edisp: EDispKernel | None,
        gti: GTI | None,
        meta_table: Table | None,
        meta: Mapping[str, Any] | None,
    ) -> None:
        self._edisp: EDispKernel | None = None
        self._gti, self._meta_table, self._meta = gti, meta_table, dict(meta or {})
        for key, value in maps.items():
            setattr(self, key, value)
        self.exposure = exposure
        self.edisp = edisp

    @classmethod
    def create(
        cls,
        geom: RegionGeom,
        energy_axis_true: MapAxis | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make an empty dataset: zeros everywhere, no bin safe, diagonal energy dispersion.

        Parameters
        ----------
        geom : `~villard.maps.RegionGeom`
            Geometry with the axis "energy".
        energy_axis_true : `~villard.maps.MapAxis`, optional
            True energies; the same bins as "energy" by default.
        name : str, optional
            Name.
        **kwargs
            Further arguments of the class, such as ``models``.
        """
        geom = RegionGeom(geom.region, axes=[geom.axes["energy"]])
        axis = geom.axes["energy"]
        axis_true = axis.copy(name="energy_true") if energy_axis_true is None else energy_axis_true
        if axis_true.name != "energy_true":
            raise DataError(f"energy_axis_true: expected the name 'energy_true', found {axis_true.name!r}")
        exposure = RegionNDMap(
            RegionGeom(geom.region, axes=[axis_true]), unit="m2 s", meta={"livetime": 0 * u.s}
        )
        maps = {key: RegionNDMap(geom) for key in cls._map_names if not key.startswith("mask")}
        arguments: dict[str, Any] = {
            **maps,
            "exposure": exposure,
            "mask_safe": RegionNDMap(geom, dtype=bool),
            "edisp": EDispKernel.from_diagonal_response(axis_true, axis),
            "name": name,
        }
        return cls(**(arguments | kwargs))

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
    def edisp(self) -> EDispKernel | None:
        """Energy dispersion, or `None`."""
        return self._edisp

    @edisp.setter
    def edisp(self, edisp: EDispKernel | None) -> None:
        where = f"Dataset {self.name!r}: edisp"
        if edisp is not None:
            if not isinstance(edisp, EDispKernel):
                raise DataError(f"{where}: expected an EDispKernel, found {type(edisp).__name__}")
            for name in ("energy_true", "energy"):
                check_axis(edisp.axes[name], self._axis(name, ignore="edisp"), f"{where}, axis {name}")
        self._edisp = edisp

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
        if self._edisp is not None and ignore != "edisp":
            return self._edisp.axes[name]
        return None

    def _require(self, *names: str) -> tuple[Any, ...]:
        values = tuple(getattr(self, name) for name in names)
        for name, value in zip(names, values, strict=True):
            if value is None:
                raise DataError(f"Dataset {self.name!r}: {name} is needed here, but not set")
        return values

    @property
    def _geom(self) -> RegionGeom:
        for key in self._map_names:
            value = self.__dict__.get(f"_{key}")
            if value is not None:
                return value.geom
        axis = self._axis("energy")
        if axis is None:
            raise DataError(f"Dataset {self.name!r}: there is no map along the axis 'energy'")
        return RegionGeom(None if self.exposure is None else self.exposure.geom.region, axes=[axis])

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the counts, (n_energy, 1, 1)."""
        return self._geom.data_shape

    @property
    def mask(self) -> RegionNDMap | None:
        """Bins that enter the fit: those in `mask_safe` and `mask_fit`; `None` if neither is set."""
        if self.mask_safe is None or self.mask_fit is None:
            return self.mask_fit if self.mask_safe is None else self.mask_safe
        return self.mask_safe & self.mask_fit

    @property
    def excess(self) -> RegionNDMap:
        """Counts minus background."""
        (counts,) = self._require("counts")
        return counts.copy(data=counts.data - (0 if self.background is None else self.background.data))

    @property
    def livetime(self) -> u.Quantity:
        """Livetime (s), NaN if it isn't known."""
        meta = {} if self.exposure is None else self.exposure.meta
        return u.Quantity(meta.get("livetime", np.nan), u.s)

    # Likelihood

    def measurement(self) -> Measurement:
        """Return what the likelihood needs to know, as plain arrays in TeV, cm, s.

        Raises
        ------
        DataError
            If a part is missing, or has negative values or NaN.
        """
        mask = self._mask_array()
        exposure, energy, edisp = self._response_arrays()
        return Measurement(
            name=self.name,
            statistic=self.stat_type,
            data=self._data_arrays(),
            mask=mask,
            energy_min=energy[:-1],
            energy_max=energy[1:],
            exposure=exposure,
            edisp=edisp,
            background=self._background_array(),
        )

    def _mask_array(self) -> NDArray[np.bool_]:
        masks = [m.data.reshape(-1) for m in (self.mask_safe, self.mask_fit) if m is not None]
        if not masks:
            return np.ones(self.data_shape[0], dtype=bool)
        return masks[0] & masks[-1]

    def _response_arrays(self) -> tuple[Array, Array, Array | None]:
        """Exposure (cm² s), true energy edges (TeV) and energy dispersion."""
        if self.exposure is None:
            if self.models:
                self._require("exposure")
            edges = self._geom.axes["energy"].edges_engine
            return np.zeros(len(edges) - 1), edges, None
        exposure = self.exposure.data.reshape(-1) * canonical_factor(self.exposure.unit)
        edges = self.exposure.geom.axes["energy_true"].edges_engine
        return exposure, edges, None if self.edisp is None else self.edisp.pdf_matrix

    def _plain(self, name: str) -> Array:
        """Values of a map that can't be negative, shape (n_energy,)."""
        (value,) = self._require(name)
        data = value.data.reshape(-1)
        check_not_negative(data, f"Dataset {self.name!r}: {name}")
        return data.astype(float)

    def _data_arrays(self) -> dict[str, Array]:
        return {"counts": self._plain("counts")}

    def _background_array(self) -> Array | None:
        return None if self.background is None else self._plain("background")

    def _signal(self, measurement: Measurement, models: Iterable[Any] | None = None) -> Array:
        return predict(measurement, self.models or () if models is None else models)

    def _as_map(self, values: Any) -> RegionNDMap:
        geom = self._geom
        return RegionNDMap(geom, data=np.reshape(values, geom.data_shape))

    def npred_signal(self, model_names: str | list[str] | None = None) -> RegionNDMap:
        """Return the predicted counts of models.

        Parameters
        ----------
        model_names : str or list of str, optional
            Names of the models; all by default.

        Returns
        -------
        `~villard.maps.RegionNDMap`
            Counts along the axis "energy".
        """
        models = self.models
        if model_names is not None:
            names = [model_names] if isinstance(model_names, str) else list(model_names)
            available = [] if models is None else models.names
            for name in names:
                if name not in available:
                    raise DataError(f"Dataset {self.name!r}: no model {name!r}. {nearest(name, available)}")
            selected = [] if models is None else [m for m in models if m.name in names]
        else:
            selected = list(models or ())
        return self._as_map(self._signal(self._response_measurement(), selected))

    def _response_measurement(self) -> Measurement:
        """Record that predicts counts even where there are no data yet."""
        exposure, energy, edisp = self._response_arrays()
        mask = np.ones(self.data_shape[0], dtype=bool)
        return Measurement(self.name, self.stat_type, {}, mask, energy[:-1], energy[1:], exposure, edisp)

    def npred_background(self) -> RegionNDMap:
        """Return the predicted background counts."""
        background = self._background_array()
        return self._as_map(np.zeros(self.data_shape[0]) if background is None else background)

    def npred(self) -> RegionNDMap:
        """Return the predicted counts: those of the models and the background."""
        return self.npred_signal() + self.npred_background()

    def _stat(self, measurement: Measurement) -> Array:
        """Statistic per bin, shape (n_energy,)."""
        total = self._signal(measurement)
        if measurement.background is not None:
            total = total + measurement.background
        return stat_array(measurement, total)

    def stat_array(self) -> Array:
        """Return -2 ln L per bin, shape (n_energy, 1, 1), whether or not the bin enters the fit."""
        return self._stat(self.measurement()).reshape(self.data_shape)

    def _stat_sum_data(self) -> float:
        measurement = self.measurement()
        return float(np.sum(self._stat(measurement)[measurement.mask]))

    def residuals(self, method: str = "diff") -> RegionNDMap:
        """Return counts minus predicted counts.

        Parameters
        ----------
        method : {"diff", "diff/sqrt(model)", "diff/model"}
            Whether the difference is divided by the (square root of the) prediction.

        Returns
        -------
        `~villard.maps.RegionNDMap`
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
        self.counts = npred.copy(data=rng.poisson(npred.data).astype(float))

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
        """Write the dataset to one FITS file that Gammapy reads too.

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

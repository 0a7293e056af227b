"""Spectra with a background that is known or modelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.counts import CountsDataset
from villard.datasets.plot import SpectrumPlots
from villard.datasets.ranges import EnergyRanges
from villard.datasets.slots import check_axis
from villard.datasets.transform import SpectrumTransforms
from villard.exceptions import DataError
from villard.irf import EDispKernel
from villard.likelihood.measurement import Measurement
from villard.maps import Map, MapAxis, RegionGeom, RegionNDMap
from villard.utils.units import canonical_factor

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

    from villard.data.gti import GTI

__all__ = ["SpectrumDataset"]

Array = NDArray[np.float64]


class SpectrumDataset(SpectrumTransforms, SpectrumPlots, EnergyRanges, CountsDataset):
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
    _map_class: ClassVar[type[Map]] = RegionNDMap

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
        self._set_parts(maps, exposure, {"edisp": edisp}, gti, meta_table, meta)

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

    # Response

    @property
    def edisp(self) -> EDispKernel | None:
        """Energy dispersion, or `None`."""
        return self.__dict__.get("_edisp")

    @edisp.setter
    def edisp(self, edisp: EDispKernel | None) -> None:
        where = f"Dataset {self.name!r}: edisp"
        if edisp is not None:
            if not isinstance(edisp, EDispKernel):
                raise DataError(f"{where}: expected an EDispKernel, found {type(edisp).__name__}")
            for name in ("energy_true", "energy"):
                check_axis(edisp.axes[name], self._axis(name, ignore="edisp"), f"{where}, axis {name}")
        self._edisp = edisp

    def _irf_axis(self, name: str, ignore: str) -> MapAxis | None:
        return None if self.edisp is None or ignore == "edisp" else self.edisp.axes[name]

    def _geom_without_maps(self) -> RegionGeom:
        axis = self._axis("energy")
        if axis is None:
            raise DataError(f"Dataset {self.name!r}: there is no map along the axis 'energy'")
        return RegionGeom(None if self.exposure is None else self.exposure.geom.region, axes=[axis])

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
            gti=self.gti,
        )

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

    def _response_measurement(self) -> Measurement:
        """Record that predicts counts even where there are no data yet."""
        exposure, energy, edisp = self._response_arrays()
        mask = np.ones(self.data_shape[0], dtype=bool)
        return Measurement(
            self.name, self.stat_type, {}, mask, energy[:-1], energy[1:], exposure, edisp, gti=self.gti
        )

    # Files

    @staticmethod
    def _from_files(hdulist: fits.HDUList, where: str) -> dict[str, Any]:
        from villard.datasets.gadf import read_kernel

        return {"edisp": read_kernel(hdulist, where)} if "EDISP" in hdulist else {}

    def _to_files(self) -> list[Any]:
        from villard.datasets.gadf import kernel_hdus

        return [] if self.edisp is None else kernel_hdus(self)

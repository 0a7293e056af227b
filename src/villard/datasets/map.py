"""Cubes of counts in energy and direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.counts import CountsDataset
from villard.datasets.map_check import (
    check_coverage,
    check_edisp,
    check_fit_range,
    check_psf,
    check_sky,
    check_weighted,
)
from villard.datasets.map_plot import MapPlots
from villard.datasets.map_transform import MapTransforms
from villard.datasets.ranges import EnergyRanges
from villard.datasets.slots import WeightsMap
from villard.exceptions import DataError
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

    from villard.data.gti import GTI

__all__ = ["MapDataset"]

Array = NDArray[np.float64]


class MapDataset(MapTransforms, MapPlots, EnergyRanges, CountsDataset):
    """Counts in bins of energy and direction, with exposure, background, PSF and energy dispersion.

    Predicted counts are, for each model, its flux in each bin of true energy and pixel, times
    exposure, convolved with the PSF and folded with the energy dispersion; plus the background, which
    a `~villard.modeling.models.FoVBackgroundModel` of this dataset may change. They are compared by the
    Cash statistic.

    Parameters
    ----------
    models : model, list of models or `~villard.modeling.models.Models`, optional
        Models.
    counts : `~villard.maps.WcsNDMap`
        Counts along the axis "energy".
    exposure : `~villard.maps.WcsNDMap`
        Effective area times livetime along the axis "energy_true", in pixels of any size. Its
        ``meta["livetime"]`` is the livetime (s).
    background : `~villard.maps.WcsNDMap`, optional
        Predicted background counts along the axis "energy".
    psf : `~villard.irf.PSFMap` or `~villard.irf.PSFKernel`, optional
        Point spread function; without it directions are measured exactly.
    edisp : `~villard.irf.EDispKernelMap`, `~villard.irf.EDispMap` or `~villard.irf.EDispKernel`, optional
        Energy dispersion; without it energies are measured exactly.
    mask_safe, mask_fit : `~villard.maps.WcsNDMap`, optional
        Bins where the response is reliable, and bins that the user selects; both limit the fit.
    gti : `~villard.data.GTI`, optional
        Good time intervals.
    meta_table : `~astropy.table.Table`, optional
        Anything about the observations.
    name : str, optional
        Name; random by default.
    meta : dict, optional
        Anything about the dataset.
    stat_type : {"cash", "cstat"}
        Fit statistic.
    psf_method : {"kernel", "exact"}
        How sources are convolved. "kernel": as in Gammapy, with a kernel sampled at up to 4 × 4 points of
        each pixel; point sources are shared by the nearest pixels. "exact": the PSF is integrated over
        pixels, around the very position of a point source. With pixels much smaller than the PSF both agree.
    weights : `~villard.maps.WcsNDMap`, optional
        Weights of the bins in the fit statistic, which then is the sum of w × 2 (μ - n ln μ); of Fermi-LAT
        data, to allow for what isn't known of diffuse emission. 1 by default.

    Raises
    ------
    DataError
        If a map has another geometry than the others, or values that it can't have; the message names
        the dataset and the map.
    UnitsError
        If the unit of a map doesn't fit.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    >>> geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=2, axes=[axis])
    >>> counts = WcsNDMap(geom, data=np.full(geom.data_shape, 2.0))
    >>> background = WcsNDMap(geom, data=np.full(geom.data_shape, 2.0))
    >>> dataset = MapDataset(counts=counts, background=background, name="toy")
    >>> float(dataset.npred().data.sum())
    2400.0
    """

    tag: ClassVar[str] = "MapDataset"
    _map_class: ClassVar[type[Map]] = WcsNDMap
    _map_names: ClassVar[tuple[str, ...]] = (*CountsDataset._map_names, "weights")
    _irf_names: ClassVar[tuple[str, ...]] = ("psf", "edisp")
    weights = WeightsMap("energy", "Weights of the bins in the fit statistic, or `None` for 1.")
    _psf_method: str = "kernel"

    def __init__(
        self,
        models: Any = None,
        counts: WcsNDMap | None = None,
        exposure: WcsNDMap | None = None,
        background: WcsNDMap | None = None,
        psf: Any = None,
        edisp: Any = None,
        mask_safe: WcsNDMap | None = None,
        mask_fit: WcsNDMap | None = None,
        gti: GTI | None = None,
        meta_table: Table | None = None,
        name: str | None = None,
        meta: Mapping[str, Any] | None = None,
        stat_type: str | None = None,
        psf_method: str = "kernel",
        weights: WcsNDMap | None = None,
    ) -> None:
        super().__init__(name=name, models=models)
        self.stat_type = self._stat_types[0] if stat_type is None else stat_type
        self.psf_method = psf_method
        maps = {"counts": counts, "background": background, "mask_safe": mask_safe, "mask_fit": mask_fit}
        maps["weights"] = weights
        self._set_parts(maps, exposure, {"psf": psf, "edisp": edisp}, gti, meta_table, meta)

    @property
    def psf_method(self) -> str:
        """How sources are convolved with the PSF: "kernel" or "exact"."""
        return self._psf_method

    @psf_method.setter
    def psf_method(self, value: str) -> None:
        if value not in ("kernel", "exact"):
            raise DataError(f"Dataset {self.name!r}: psf_method {value!r}, expected 'kernel' or 'exact'")
        self._psf_method = value

    def _parts(self) -> dict[str, Any]:
        return super()._parts() | {"psf_method": self.psf_method}

    @classmethod
    def create(
        cls,
        geom: WcsGeom,
        energy_axis_true: MapAxis | None = None,
        migra_axis: MapAxis | None = None,
        rad_axis: MapAxis | None = None,
        binsz_irf: Any = 0.2,
        reference_time: Any = "2000-01-01",
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make an empty dataset: zeros everywhere, no bin safe, responses without content.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom`
            Geometry with the axis "energy".
        energy_axis_true : `~villard.maps.MapAxis`, optional
            True energies; the same bins as "energy" by default.
        migra_axis : `~villard.maps.MapAxis`, optional
            Axis "migra" of the energy dispersion; by default that is a map of kernels.
        rad_axis : `~villard.maps.MapAxis`, optional
            Axis "rad" of the PSF; 66 bins up to 0.66 deg by default.
        binsz_irf : float or `~astropy.units.Quantity`
            Size of the pixels of PSF and energy dispersion, in deg.
        reference_time : `~astropy.time.Time` or str
            Reference time of the (no) good time intervals.
        name : str, optional
            Name.
        **kwargs
            Further arguments of the class, such as ``models``.
        """
        from villard.data.gti import GTI
        from villard.datasets.map_create import empty_parts

        parts = empty_parts(cls._map_names, geom, energy_axis_true, migra_axis, rad_axis, binsz_irf)
        parts["gti"] = GTI.create([] * u.s, [] * u.s, reference_time)
        return cls(**(parts | {"name": name} | kwargs))

    # Response

    @property
    def psf(self) -> Any:
        """Point spread function, or `None`."""
        return self.__dict__.get("_psf")

    @psf.setter
    def psf(self, psf: Any) -> None:
        check_psf(psf, f"Dataset {self.name!r}: psf")
        self._psf = psf

    @property
    def edisp(self) -> Any:
        """Energy dispersion, or `None`."""
        return self.__dict__.get("_edisp")

    @edisp.setter
    def edisp(self, edisp: Any) -> None:
        axes = {name: self._axis(name, ignore="edisp") for name in ("energy_true", "energy")}
        check_edisp(edisp, axes, f"Dataset {self.name!r}: edisp")
        self._edisp = edisp

    def _irf_axis(self, name: str, ignore: str) -> MapAxis | None:
        if self.edisp is None or ignore == "edisp":
            return None
        axes = check_edisp(self.edisp, {}, "")
        return axes[name] if name in axes.names else None

    # Geometry

    def _check_sky(self, name: str, value: Map, where: str) -> None:
        if name == "exposure":
            return
        others = [key for key in self._map_names if key != name]
        check_sky(value, {key: self.__dict__.get(f"_{key}") for key in others}, where)

    @property
    def geom(self) -> WcsGeom:
        """Geometry of counts, background and masks."""
        return self._geom

    @property
    def geoms(self) -> dict[str, Any]:
        """Geometries of the parts that are set: "geom", "geom_exposure", "geom_psf", "geom_edisp"."""
        parts = {
            "geom": self._geom,
            "geom_exposure": None if self.exposure is None else self.exposure.geom,
            "geom_psf": getattr(getattr(self.psf, "psf_map", None), "geom", None),
            "geom_edisp": getattr(getattr(self.edisp, "edisp_map", None), "geom", None),
        }
        return {key: value for key, value in parts.items() if value is not None}

    @property
    def mask_safe_image(self) -> WcsNDMap | None:
        """Image that is true where a bin of any energy is in `mask_safe`; `None` without that."""
        return self._any_energy(self.mask_safe)

    @property
    def mask_fit_image(self) -> WcsNDMap | None:
        """Image that is true where a bin of any energy is in `mask_fit`; `None` without that."""
        return self._any_energy(self.mask_fit)

    def _any_energy(self, mask: WcsNDMap | None) -> WcsNDMap | None:
        return None if mask is None else WcsNDMap(self._geom.to_image(), data=mask.data.any(axis=0))

    @property
    def mask_image(self) -> WcsNDMap:
        """Image that is true where a bin of any energy enters the fit."""
        data = self._mask_array().reshape(self.data_shape).any(axis=0)
        return WcsNDMap(self._geom.to_image(), data=data)

    # Likelihood

    def measurement(self) -> Any:
        """Return what the likelihood needs to know.

        Returns
        -------
        `~villard.likelihood.map_measurement.MapMeasurement`
            Record of arrays.

        Raises
        ------
        DataError
            If a part is missing, no bin is in the fit range, there is NaN in it, or the exposure doesn't
            cover a source.
        """
        mask, data, background = self._mask_array(), self._data_arrays(), self._background_array()
        check_fit_range(mask, data | ({} if background is None else {"background": background}), self.name)
        check_weighted(self.weights, mask, self.name)
        if self.exposure is not None:
            check_coverage(self.exposure, self._geom, self._source_models, self.name)
        return self._record(data, mask, background)

    def _response_measurement(self) -> Any:
        """Record that predicts counts even where there are no data yet."""
        return self._record({}, np.ones(np.prod(self.data_shape), dtype=bool), self._background_array())

    def _record(self, data: dict[str, Array], mask: NDArray[np.bool_], background: Array | None) -> Any:
        from villard.likelihood.kept import kept_sources
        from villard.likelihood.map_measurement import MapMeasurement

        exposure = self._exposure_map()
        if background is not None:
            # What is outside the fit range may be anything, but it must not spoil sums.
            background = np.where(np.isfinite(background), background, 0.0)
        return MapMeasurement(
            name=self.name,
            statistic=self.stat_type,
            geom=self._geom,
            data=data,
            mask=mask,
            energy_true=exposure.geom.axes["energy_true"],
            exposure=exposure,
            psf=self.psf,
            edisp=self.edisp,
            background=background,
            psf_method=self.psf_method,
            gti=self.gti,
            weights=None if self.weights is None else self.weights.data.reshape(-1).astype(float),
            _sources=kept_sources(self, (exposure, self.psf, self.edisp, self._geom, self.psf_method)),
        )

    def _exposure_map(self) -> WcsNDMap:
        """Exposure in cm2 s; zeros for a dataset that has none and needs none."""
        if self.exposure is not None:
            return self.exposure if self.exposure.unit == u.Unit("cm2 s") else self.exposure.to_unit("cm2 s")
        if self._source_models:
            self._require("exposure")
        return WcsNDMap(self._geom.as_energy_true(), unit="cm2 s")

    # Files

    @staticmethod
    def _from_files(hdulist: fits.HDUList, where: str) -> dict[str, Any]:
        from villard.datasets.map_io import read_irfs

        return read_irfs(hdulist, where)

    def _to_files(self) -> list[Any]:
        from villard.datasets.map_io import irf_hdus

        return irf_hdus(self)

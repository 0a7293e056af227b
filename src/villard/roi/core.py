"""The region of interest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np

from villard.datasets import Datasets
from villard.exceptions import DataError, ModelError
from villard.modeling.models import Models
from villard.modeling.parameter import Parameters
from villard.roi.derived import Derived
from villard.roi.edit import Editing
from villard.roi.extension import Extension
from villard.roi.find_sources import SourceFinding
from villard.roi.fit import Fitting
from villard.roi.freeing import Freeing
from villard.roi.io import Files
from villard.roi.lightcurve import LightCurves
from villard.roi.localize import Localization
from villard.roi.optimize import Optimizing
from villard.roi.plots import Plots
from villard.roi.printing import Printing
from villard.roi.profiles import Profiles
from villard.roi.sed import SEDs
from villard.roi.selection import Selection
from villard.roi.setting import Setting
from villard.roi.simulation import Simulation
from villard.roi.skymaps import SkyMaps
from villard.roi.source import Source, find_source

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps import WcsGeom

__all__ = ["ROI"]

log = logging.getLogger(__name__)


class ROI(
    Selection,
    Freeing,
    Setting,
    Fitting,
    Optimizing,
    Derived,
    Profiles,
    Printing,
    SkyMaps,
    SEDs,
    Localization,
    Extension,
    SourceFinding,
    Plots,
    Simulation,
    Editing,
    Files,
    LightCurves,
):
    """A region of the sky in one or several cubes of counts, and the sources in it.

    The cubes ("components", such as the PSF classes of Fermi-LAT data) share the sources. Sources are
    ordered by their distance from the centre, diffuse emission is last.

    Parameters
    ----------
    datasets : `~villard.datasets.Datasets`, list of datasets or dataset
        Cubes.
    models : `~villard.modeling.models.Models` or list of models, optional
        Sources; those that the datasets have by default.
    config : `~villard.roi.ROIConfig`, optional
        Configuration; default settings without it.
    skydir : `~astropy.coordinates.SkyCoord`, optional
        Centre; that of the first cube by default.
    catalog : dict, optional
        Entries of catalogues by the names of sources.

    Examples
    --------
    >>> from villard.maps import MapAxis, WcsGeom, WcsNDMap
    >>> from villard.datasets import MapDataset
    >>> from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    >>> geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=1, axes=[axis])
    >>> counts = WcsNDMap(geom, data=np.ones(geom.data_shape))
    >>> exposure = WcsNDMap(geom.as_energy_true(), data=np.full(geom.data_shape, 1e11), unit="cm2 s")
    >>> dataset = MapDataset(counts=counts, exposure=exposure, name="cube")
    >>> place = PointSpatialModel(lon_0="0.1 deg", lat_0="0 deg", frame="galactic")
    >>> roi = ROI(dataset, [SkyModel(PowerLawSpectralModel(), place, name="PSR B1259-63")])
    >>> roi["psrb1259-63"].name
    'PSR B1259-63'
    """

    def __init__(
        self,
        datasets: Any,
        models: Any = None,
        config: Any = None,
        skydir: SkyCoord | None = None,
        catalog: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.datasets = datasets if isinstance(datasets, Datasets) else Datasets(datasets)
        if not len(self.datasets):
            raise DataError("ROI: expected at least one dataset, found none")
        self.config = config
        self.locked: set[tuple[str, str]] = set()
        self._scales: dict[tuple[str, str], float] = {}
        self._zeroed: dict[str, tuple[float, float, list[str]]] = {}
        self._skydir = self.geom.center_skydir if skydir is None else skydir
        self._sources: list[Source] = []
        self._set_models(self.datasets.models if models is None else models, catalog or {})

    @classmethod
    def from_config(cls, config: str | os.PathLike[str] | Mapping[str, Any]) -> Self:
        """Make a region of interest as a configuration says.

        Parameters
        ----------
        config : path or dict
            YAML file or its content.
        """
        from villard.roi.inputs import build

        return cls(**build(config))

    @property
    def roi(self) -> Self:
        """The region itself: in fermipy's scripts it is an attribute of the analysis."""
        return self

    def setup(self, **kwargs: Any) -> None:
        """Do nothing, for scripts of fermipy: data and models are read when the region is made."""

    # Models

    def _set_models(self, models: Any, catalog: Mapping[str, Mapping[str, Any]]) -> None:
        """Order models, give them to the datasets, and make the list of sources anew."""
        known = {id(s.model): s for s in self._sources}
        sources = [known.get(id(m)) or Source(m, self._skydir, catalog.get(m.name)) for m in Models(models)]
        before = self._sources
        try:
            self._take(sources)
            for source in self._sources:
                # Of the values at the start: later ones would change what a bound means.
                self.parameter_scale(source.name, self._norm_name(source.name))
            self.update_npred([source.name for source in sources if id(source.model) not in known])
        except Exception:
            if before:
                self._take(before)
            raise
        self._tell_unseen([source for source in sources if id(source.model) not in known])

    def _take(self, sources: list[Source]) -> None:
        self._sources = sorted(sources, key=lambda source: (source.is_diffuse, source.offset))
        self.models = Models([source.model for source in self._sources])
        self.datasets.models = self.models

    def _tell_unseen(self, sources: list[Source]) -> None:
        """Warn of sources that can't have any counts: they lie outside of all cubes, beyond the PSF."""
        for source in sources:
            norm = source.model.parameters[self._norm_name(source.name)]
            if norm.value > 0 and source["npred"] == 0 and not source.is_diffuse:
                log.warning(
                    "%s, %.2f deg from the centre, has no predicted counts: it lies outside of all cubes",
                    source.name,
                    source.offset,
                )

    @property
    def sources(self) -> list[Source]:
        """Sources by their distance from the centre, diffuse emission last."""
        return list(self._sources)

    def __getitem__(self, name: str) -> Source:
        return find_source(self._sources, name)

    def __contains__(self, name: object) -> bool:
        try:
            find_source(self._sources, str(name))
        except ModelError:
            return False
        return True

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self._sources)

    @property
    def parameters(self) -> Parameters:
        """All parameters of all sources, in their order."""
        return self.models.parameters

    def update_npred(self, names: Iterable[str] | None = None) -> None:
        """Compute the predicted counts of sources, the results ``npred`` and ``npred_wt``.

        Parameters
        ----------
        names : list of str, optional
            Sources; all by default.
        """
        # Made once: it checks that the exposure covers all sources.
        measurements = [dataset.measurement() for dataset in self.datasets]
        sources = self.sources if names is None else [self[name] for name in names]
        for measurement in measurements:
            if hasattr(measurement, "keep_sources"):
                seen = [s.model for s in sources if s.model.contributes_to(measurement.name)]
                measurement.keep_sources(seen)
        for source in sources:
            source.results["npred"], source.results["npred_wt"] = self._npred(source, measurements)

    def _npred(self, source: Source, measurements: list[Any] | None = None) -> tuple[float, float]:
        """Return the predicted counts of a source in the fit range, plain and weighted."""
        measurements = measurements or [dataset.measurement() for dataset in self.datasets]
        counts = sum((_npred(measurement, source.model) for measurement in measurements), np.zeros(2))
        return float(counts[0]), float(counts[1])

    # Data

    @property
    def geom(self) -> WcsGeom:
        """Geometry of the first cube."""
        return self.datasets[0].geom

    @property
    def skydir(self) -> SkyCoord:
        """Centre of the region."""
        return self._skydir

    @property
    def energy_edges(self) -> u.Quantity:
        """Edges of the bins of energy of the first cube."""
        return self.geom.axes["energy"].edges

    @property
    def energy_bounds(self) -> u.Quantity:
        """Lowest and highest energy of all cubes."""
        edges = [dataset.geom.axes["energy"].edges for dataset in self.datasets]
        unit = edges[0].unit
        low = min(e[0].to_value(unit) for e in edges)
        high = max(e[-1].to_value(unit) for e in edges)
        return u.Quantity(np.array([low, high]), unit)

    @property
    def loglike(self) -> float:
        """Natural logarithm of the likelihood at the present values, without ln n!, with priors."""
        return -0.5 * float(self.datasets.stat_sum())

    def __repr__(self) -> str:
        return f"ROI(datasets={self.datasets.names}, sources={len(self)})"


def _npred(measurement: Any, model: Any) -> Any:
    """Return the counts that a model predicts in the fit range of a dataset, plain and weighted."""
    if not model.contributes_to(measurement.name):
        return np.zeros(2)
    counts = measurement.predict(model)[measurement.mask]
    weights = 1.0 if measurement.weights is None else measurement.weights[measurement.mask]
    return np.array([counts.sum(), np.sum(counts * weights)])

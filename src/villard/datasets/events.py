"""Lists of events, fitted without bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.datasets.map import MapDataset
from villard.exceptions import DataError
from villard.irf import EDispMap
from villard.maps import MapAxis, WcsGeom, WcsNDMap

if TYPE_CHECKING:
    from astropy.io import fits

    from villard.data.event_list import EventList
    from villard.data.observation import Observation

__all__ = ["EventDataset"]

Array = NDArray[np.float64]

#: Column of the density of background at each event.
BACKGROUND_COLUMN = "BKG_DENSITY"


class EventDataset(MapDataset):
    r"""Events with exposure, background, PSF and energy dispersion, compared with models event by event.

    The statistic is that of the extended likelihood,

    .. math:: -2 \ln L = 2 \mu - 2 \sum_i \ln \frac{dN}{dE\,d\Omega}(E_i, \Omega_i),

    with densities in TeV⁻¹ sr⁻¹ (Barlow 1990, NIM A 297, 496). Pixels and bins of energy say which events are
    selected, and serve to predict the total number μ, to convolve extended sources and to plot; densities are
    those at the events' own energies and directions. Everything else is as for `MapDataset`.

    Parameters
    ----------
    events : `~villard.data.EventList`
        Events. Those outside the geometry are left out; ``n_outside`` says how many. The column BKG_DENSITY
        (TeV-1 sr-1), if there is one, is the density of ``background`` at the event; it is interpolated from
        the map otherwise.
    counts : `~villard.maps.WcsNDMap`, optional
        The geometry; its values aren't used.
    models, exposure, background, psf, edisp, mask_safe, mask_fit, gti, meta_table, name, meta
        As for `MapDataset`. The PSF must be a `~villard.irf.PSFMap` and the energy dispersion an
        `~villard.irf.EDispMap`. Events in bins outside the masks don't enter the fit.

    Raises
    ------
    DataError
        If a part doesn't fit.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from villard.data import EventList
    >>> from villard.datasets import EventDataset
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    >>> geom = WcsGeom.create(skydir=(0, 0), binsz=0.1, width=2, axes=[axis])
    >>> table = Table({"ENERGY": [2, 20] * u.TeV, "RA": [0, 0] * u.deg, "DEC": [0.01, 0] * u.deg})
    >>> dataset = EventDataset(events=EventList(table), counts=WcsNDMap(geom), name="toy")
    >>> dataset.n_events, dataset.n_outside
    (1, 1)
    """

    tag: ClassVar[str] = "EventDataset"
    _stat_types: ClassVar[tuple[str, ...]] = ("unbinned",)

    def __init__(
        self,
        models: Any = None,
        events: EventList | None = None,
        counts: WcsNDMap | None = None,
        n_outside: int = 0,
        **kwargs: Any,
    ) -> None:
        where = f"EventDataset {kwargs.get('name')!r}"
        if events is None or counts is None:
            raise DataError(f"{where}: expected events, and counts for the geometry")
        if getattr(events, "energy", None) is None:
            raise DataError(f"{where}: expected events as EventList, found {type(events).__name__}")
        kwargs["psf_method"] = "exact"
        selected = (
            counts.geom.contains(events.map_coord(counts.geom)) if len(events) else np.zeros(0, dtype=bool)
        )
        self._n_outside = int(n_outside) + int(np.sum(~selected))
        self._events = events.select_mask(np.asarray(selected))
        binned = WcsNDMap(counts.geom, data=np.zeros(counts.geom.data_shape))
        if len(self._events):
            binned.fill_by_coord(self._events.map_coord(counts.geom))
        super().__init__(models=models, counts=binned, **kwargs)
        self._check_irfs(where)

    def _check_irfs(self, where: str) -> None:
        if self.edisp is not None and not isinstance(self.edisp, EDispMap):
            raise DataError(
                f"{where}: edisp must be an EDispMap, from which densities follow, found "
                f"{type(self.edisp).__name__}; make the dataset with a migra_axis"
            )
        if self.psf is not None and not hasattr(self.psf, "radial_profile"):
            raise DataError(f"{where}: psf must be a PSFMap, found {type(self.psf).__name__}")
        if self.weights is not None:
            raise DataError(f"{where}: bins can't have weights where there are none in the fit")

    @classmethod
    def from_observation(
        cls,
        observation: Observation,
        geom: WcsGeom,
        energy_axis_true: MapAxis | None = None,
        binsz_irf: Any = 0.5,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a dataset of an observation.

        Parameters
        ----------
        observation : `~villard.data.Observation`
            Events and responses.
        geom : `~villard.maps.WcsGeom`
            Pixels and energies. Extended sources are resolved if the pixels are smaller than the PSF.
        energy_axis_true : `~villard.maps.MapAxis`, optional
            True energies; by default 24 bins per decade over all energies of the effective area.
        binsz_irf : float or `~astropy.units.Quantity`
            Size of the pixels of PSF and energy dispersion, in deg.
        name : str, optional
            Name; the identifier of the observation by default.
        **kwargs
            Further arguments of the class, such as ``models``.
        """
        from villard.makers.events import event_dataset

        name = str(observation.obs_id) if name is None else name
        return event_dataset(cls, observation, geom, energy_axis_true, binsz_irf, name, **kwargs)

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Self:
        """Not for events: see `from_observation`."""
        raise DataError("EventDataset: there is no empty one; use from_observation, or MapDataset.create")

    # Content

    @property
    def events(self) -> EventList:
        """Events of the geometry, in the masks or not."""
        return self._events

    @property
    def n_outside(self) -> int:
        """Number of events that were outside of the geometry."""
        return self._n_outside

    @property
    def mask_events(self) -> NDArray[np.bool_]:
        """Which events enter the fit: those in bins of the masks."""
        if not len(self._events):
            return np.zeros(0, dtype=bool)
        mask = self._mask_array().reshape(self.data_shape)
        if mask.all():
            return np.ones(len(self._events), dtype=bool)
        inside = WcsNDMap(self._geom, data=mask)
        return np.asarray(inside.get_by_coord(self._events.map_coord(self._geom)) > 0)

    @property
    def n_events(self) -> int:
        """Number of events that enter the fit."""
        return int(np.sum(self.mask_events))

    def to_map_dataset(self, name: str | None = None) -> MapDataset:
        """Return the dataset of counts in the bins of the geometry.

        Parameters
        ----------
        name : str, optional
            Name; random by default.
        """
        parts = self._parts()
        for key in ("events", "n_outside", "stat_type", "psf_method"):
            parts.pop(key, None)
        return MapDataset(**parts, name=name)

    def _parts(self) -> dict[str, Any]:
        parts = super()._parts()
        parts.pop("psf_method", None)
        return parts | {"events": self._events, "n_outside": self._n_outside}

    def stack(self, other: Any, nan_to_num: bool = True) -> None:
        """Not for events: those of several observations have responses of their own."""
        raise DataError(
            f"Dataset {self.name!r}: events of different observations have their own responses; put the "
            "datasets into Datasets, which are fitted together"
        )

    def fake(self, random_state: Any = "random-seed") -> None:
        """Not for events: see `~villard.simulate.simulate_events`."""
        raise DataError(f"Dataset {self.name!r}: events are drawn by villard.simulate.simulate_events")

    # Likelihood

    def _record(self, data: dict[str, Array], mask: NDArray[np.bool_], background: Array | None) -> Any:
        from villard.likelihood.event_measurement import EventMeasurement
        from villard.likelihood.kept import kept_sources

        exposure = self._exposure_map()
        events = self._events.select_mask(self.mask_events)
        density = None
        if background is not None:
            background = np.where(np.isfinite(background), background, 0.0)
            density = self._background_density(events)
        if background is None or density is not None:
            self._check_seen(events, density, exposure)
        arrays = {
            "energy": events.energy.to_value("TeV"),
            "lon": events.radec.ra.deg,
            "lat": events.radec.dec.deg,
        }
        parts = (exposure, self.psf, self.edisp, self._geom, mask, *arrays.values())
        return EventMeasurement(
            name=self.name,
            statistic="unbinned",
            geom=self._geom,
            data={},
            mask=mask,
            energy_true=exposure.geom.axes["energy_true"],
            exposure=exposure,
            psf=self.psf,
            edisp=self.edisp,
            background=background,
            psf_method="exact",
            gti=self.gti,
            event_energy=arrays["energy"],
            event_sky=events.radec,
            event_background=density,
            _sources=kept_sources(self, parts),
        )

    def _check_seen(self, events: EventList, density: Array | None, exposure: Any) -> None:
        """Raise `DataError` if there are events where the responses say that nothing can be seen."""
        dark = np.arange(len(events)) if density is None else np.flatnonzero(~(density > 0))
        if not len(dark):
            return
        total = WcsNDMap(exposure.geom.to_image(), data=exposure.data.max(axis=0))
        seen = total.get_by_coord({"skycoord": events.radec[dark]}) > 0
        if np.all(seen):
            return
        first = int(dark[np.argmin(seen)])
        place = events.radec[first]
        raise DataError(
            f"Dataset {self.name!r}: {int(np.sum(~seen))} of {len(events)} events of the fit are outside of "
            f"the responses, where there is neither exposure nor background; the first one at "
            f"{events.energy[first]:.3g}, ra {place.ra.deg:.4f} deg, dec {place.dec.deg:.4f} deg. Leave them "
            "out by mask_safe, as with SafeMaskMaker(['offset-max']), or by mask_fit"
        )

    @staticmethod
    def _background_density(events: EventList) -> Array | None:
        if BACKGROUND_COLUMN not in events.table.colnames:
            return None
        return np.asarray(u.Quantity(events.table[BACKGROUND_COLUMN]).to_value("TeV-1 sr-1"), dtype=float)

    def event_densities(self) -> u.Quantity:
        """Return the predicted density at each event of the fit (TeV-1 sr-1), models and background."""
        return u.Quantity(self._predictions()[1:], "TeV-1 sr-1")

    def _predictions(self) -> Array:
        """Predicted total, and densities at the events."""
        from villard.likelihood.flux import flux_of
        from villard.likelihood.predict import fold

        measurement = self.measurement().compressed()
        models = list(self.models or [])
        total = measurement.background_of(models)
        for model in [part for item in models for part in item.linear_parts()]:
            response = measurement.response(model)
            pure, parameters = flux_of(model, measurement)
            values = np.array([p.engine_value for p in parameters])
            total = total + response.spread(fold(response, pure, values), measurement.n_bins)
        return np.asarray(total)

    def stat_array(self) -> Array:
        """Return the statistic: that of the total, and behind it those of the events of the fit."""
        from villard.likelihood.statistics import STATISTICS

        measurement = self.measurement().compressed()
        return np.asarray(STATISTICS["unbinned"].value(self._predictions(), measurement.data))

    def _stat_sum_data(self) -> float:
        return float(np.sum(self.stat_array()))

    # Files

    @staticmethod
    def _from_files(hdulist: fits.HDUList, where: str) -> dict[str, Any]:
        from villard.data.event_list import EventList
        from villard.data.event_table import events_of_hdu
        from villard.datasets.map_io import read_irfs
        from villard.maps.fits import find_table

        events = EventList(events_of_hdu(find_table(hdulist, ["EVENTS"], where), where))
        outside = int(hdulist["EVENTS"].header.get("NOUTSIDE", 0))
        return read_irfs(hdulist, where) | {"events": events, "n_outside": outside}

    def _to_files(self) -> list[Any]:
        hdu = self._events.to_table_hdu()
        hdu.header["NOUTSIDE"] = self._n_outside
        return [*super()._to_files(), hdu]

    def __str__(self) -> str:
        lines = [
            "",
            "",
            f"  Events in the fit               : {self.n_events}",
            f"  Events outside the geometry     : {self.n_outside}",
        ]
        return super().__str__().rstrip("\n") + "\n".join(lines) + "\n"

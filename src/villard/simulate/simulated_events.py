"""Simulated events: what was recorded, and what is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.data.event_list import EventList
from villard.exceptions import DataError
from villard.simulate.event_field import FieldOfView

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    from matplotlib.figure import Figure

    from villard.data import Observation
    from villard.simulate.event_streams import Batch

__all__ = ["SimulatedEvents"]

Array = NDArray[np.float64]

_TRUE = ("ENERGY_TRUE", "RA_TRUE", "DEC_TRUE")


class SimulatedEvents(EventList):
    """Simulated events: an `~villard.data.EventList` whose table also has what is true.

    Columns beside those of events are ``ENERGY_TRUE``, ``RA_TRUE`` and ``DEC_TRUE`` (NaN for residual
    background, which only has reconstructed ones) and ``MC_ID``, the number of the model from 1 on. Keywords
    tell the name (``MMN00001``) and component (``MCL00001``) of each model, and the bounds of the simulation.
    """

    @classmethod
    def from_batches(
        cls,
        batches: list[tuple[Batch, Array, int]],
        labels: list[tuple[str, str]],
        observation: Observation,
        field: FieldOfView,
    ) -> Self:
        """Make the list of what was drawn.

        Parameters
        ----------
        batches : list of (`Batch`, array, int)
            Events, their times (s), and the number of models before those of the batch.
        labels : list of (str, str)
            Component and name of each model.
        observation : `~villard.data.Observation`
            Observation.
        field : `FieldOfView`
            Bounds.
        """
        from astropy.table import Table

        from villard.simulate.event_streams import Batch

        events = Batch.join([batch for batch, _, _ in batches])
        times = np.concatenate([time for _, time, _ in batches])
        number = np.concatenate([batch.model + first + 1 for batch, _, first in batches])
        order = np.argsort(times, kind="stable")
        events, times, number = events.select(order), times[order], number[order]
        table = Table()
        table["EVENT_ID"] = np.arange(1, len(events) + 1)
        columns = {"TIME": (times, u.s), "ENERGY": (events.energy, u.TeV)}
        ra, dec = field.to_frame(events.vectors, "icrs")
        ra_true, dec_true = field.to_frame(events.vectors_true, "icrs")
        columns |= {"RA": (ra, u.deg), "DEC": (dec, u.deg), "ENERGY_TRUE": (events.energy_true, u.TeV)}
        columns |= {"RA_TRUE": (ra_true, u.deg), "DEC_TRUE": (dec_true, u.deg)}
        for name, (values, unit) in columns.items():
            table[name] = values
            table[name].unit = unit
        table["MC_ID"] = number.astype(np.int32)
        table.meta.update(_keywords(observation, field, labels))
        return cls(table)

    @property
    def field(self) -> FieldOfView:
        """Bounds of energy and direction within which events were kept."""
        from astropy.coordinates import SkyCoord

        center = SkyCoord(self.meta["RA_PNT"], self.meta["DEC_PNT"], unit="deg")
        width = (self.meta["FOV_LON"], self.meta["FOV_LAT"]) * u.deg
        bounds = (self.meta["E_MIN"], self.meta["E_MAX"]) * u.TeV
        return FieldOfView.create(center, width, bounds, self.meta["FOVFRAME"])

    @property
    def is_cut(self) -> bool:
        """Whether events were selected by their directions since: then `field` isn't where they can be."""
        return bool(self.meta.get("FOVCUT", False))

    def select_energy(self, energy_range: u.Quantity) -> Self:
        """Return the events with energies of a range, which becomes that of `field`."""
        low, high = self.field.energy_bounds
        first, last = u.Quantity(energy_range).to_value("TeV")
        new = super().select_energy(energy_range)
        new.meta.update({"E_MIN": max(low, float(first)), "E_MAX": min(high, float(last))})
        return new

    def select_offset(self, offset_band: u.Quantity) -> Self:
        """Return the events at offsets (from the pointing) of a range."""
        return self._marked(super().select_offset(offset_band))

    def select_cone(self, center: SkyCoord, radius: u.Quantity) -> Self:
        """Return the events within an angle of a direction."""
        return self._marked(super().select_cone(center, radius))

    def select_region(self, regions: Any, wcs: Any = None) -> Self:
        """Return the events in regions."""
        return self._marked(super().select_region(regions, wcs))

    def select_map_mask(self, mask: Any) -> Self:
        """Return the events in pixels that a map marks."""
        return self._marked(super().select_map_mask(mask))

    def _marked(self, new: Self) -> Self:
        new.meta["FOVCUT"] = True
        return new

    @property
    def true(self) -> Table:
        """True energies and directions, in the order of the events."""
        return self.table[[*_TRUE, "MC_ID"]]

    def _names(self, key: str) -> list[str]:
        names: list[str] = []
        while f"{key}{len(names) + 1:05d}" in self.meta:
            names.append(str(self.meta[f"{key}{len(names) + 1:05d}"]))
        if not names:
            raise DataError(f"SimulatedEvents: there are no keywords {key}00001, … that name the models")
        return names

    @property
    def components(self) -> list[str]:
        """Names of the components."""
        return list(dict.fromkeys(self._names("MCL")))

    @property
    def component(self) -> NDArray[Any]:
        """Name of the component of each event, shape (n,)."""
        return np.array(self._names("MCL"))[np.asarray(self.table["MC_ID"]) - 1]

    @property
    def model_name(self) -> NDArray[Any]:
        """Name of the model of each event, shape (n,)."""
        return np.array(self._names("MMN"))[np.asarray(self.table["MC_ID"]) - 1]

    @property
    def numbers(self) -> dict[str, int]:
        """Numbers of events by component."""
        names = self._names("MCL")
        counts = np.bincount(np.asarray(self.table["MC_ID"]), minlength=len(names) + 1)[1:]
        result = dict.fromkeys(names, 0)
        for name, count in zip(names, counts, strict=True):
            result[name] += int(count)
        return result

    def select_component(self, name: str) -> Self:
        """Return the events of a component.

        Parameters
        ----------
        name : str
            Name of the component.
        """
        from villard.utils.names import nearest

        if name not in self.components:
            raise DataError(
                f"SimulatedEvents: no component is called {name!r}. {nearest(name, self.components)}"
            )
        return self.select_mask(self.component == name)

    def peek(self, figsize: tuple[float, float] = (14, 4.2)) -> Figure:
        """Plot energies and directions by component.

        Parameters
        ----------
        figsize : tuple of float
            Size of the figure (inch).

        Returns
        -------
        `~matplotlib.figure.Figure`
            Energies, all events on the sky, and those of each component.
        """
        from villard.simulate.event_plots import peek

        return peek(self, figsize)

    def __str__(self) -> str:
        rows = [f"  {name:<20} {number:>9}" for name, number in self.numbers.items()]
        return "\n".join([f"{type(self).__name__}: {len(self)} events", "", *rows])


def _keywords(observation: Observation, field: FieldOfView, labels: list[tuple[str, str]]) -> dict[str, Any]:
    from villard.data.event_table import time_keywords

    gti = observation.gti
    center = field.center.icrs
    keywords: dict[str, Any] = {"OBS_ID": observation.obs_id}
    keywords |= observation.pointing.to_fits_header()
    keywords |= {"RA_PNT": float(center.ra.deg), "DEC_PNT": float(center.dec.deg)}
    keywords |= time_keywords(gti.time_ref)
    keywords |= {
        "TSTART": float(gti.met_start.to_value("s").min()),
        "TSTOP": float(gti.met_stop.to_value("s").max()),
        "ONTIME": float(observation.ontime.to_value("s")),
        "LIVETIME": float(observation.livetime.to_value("s")),
        "DEADC": float(observation.livetime / observation.ontime),
    }
    keywords |= {"E_MIN": field.energy_bounds[0], "E_MAX": field.energy_bounds[1], "FOVFRAME": field.frame}
    keywords |= {"FOV_LON": field.width[0], "FOV_LAT": field.width[1]}
    for i, (label, name) in enumerate(labels, start=1):
        keywords |= {f"MID{i:05d}": i, f"MMN{i:05d}": name, f"MCL{i:05d}": label}
    return keywords

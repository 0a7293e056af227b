"""Datasets of events, of an observation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import DataError
from villard.irf.fov import background_rate
from villard.makers.core import need
from villard.makers.map import MapDatasetMaker, background_frames
from villard.maps import MapAxis, WcsGeom

if TYPE_CHECKING:
    from villard.data.event_list import EventList
    from villard.data.observation import Observation

__all__ = ["background_density", "event_dataset", "true_axis"]

_BINS_PER_DECADE = 24


def true_axis(observation: Observation) -> MapAxis:
    """Return fine bins over the true energies at which there is effective area."""
    aeff = need(observation, "aeff", "EventDataset")
    axis = aeff.axes["energy_true"]
    seen = np.flatnonzero(np.any(aeff.data > 0, axis=1))
    if not len(seen):
        raise DataError(f"EventDataset: observation {observation.obs_id} has no effective area")
    edges = axis.edges
    # From the bin before, into which interpolation reaches.
    low, high = edges[max(seen[0] - 1, 0)], edges[min(seen[-1] + 2, axis.nbin)]
    for irf in (observation.psf, observation.edisp):
        if irf is not None:
            bounds = irf.axes["energy_true"].bounds
            low, high = max(low, bounds[0]), min(high, bounds[1])
    return MapAxis.from_energy_bounds(low, high, nbin=_BINS_PER_DECADE, per_decade=True, name="energy_true")


def background_density(events: EventList, observation: Observation) -> Any:
    """Return the density of background at events (TeV-1 sr-1): the table's rate times the ontime."""
    import astropy.units as u

    bkg = need(observation, "bkg", "EventDataset")
    frames = background_frames(observation)
    rate = background_rate(bkg, observation.pointing_radec, events.energy, events.radec, frames)
    return u.Quantity(rate * observation.ontime.to_value("s"), "TeV-1 sr-1")


def event_dataset(
    cls: Any,
    observation: Observation,
    geom: WcsGeom,
    energy_axis_true: MapAxis | None,
    binsz_irf: Any,
    name: str,
    **kwargs: Any,
) -> Any:
    """Make a dataset of an observation; see `~villard.datasets.EventDataset.from_observation`."""
    from villard.datasets import MapDataset

    need(observation, "events", "EventDataset")
    edisp, psf = observation.edisp, observation.psf
    true = true_axis(observation) if energy_axis_true is None else energy_axis_true
    options: dict[str, Any] = {"energy_axis_true": true, "binsz_irf": binsz_irf}
    if edisp is not None:
        options["migra_axis"] = edisp.axes["migra"]
    if psf is not None and "rad" in getattr(psf, "required_axes", ()):
        options["rad_axis"] = psf.axes["rad"]
    empty = MapDataset.create(geom, name=name, **options)
    available = {"exposure": observation.aeff, "psf": psf, "edisp": edisp, "background": observation.bkg}
    selection = [key for key, value in available.items() if value is not None]
    made = MapDatasetMaker(selection).run(empty, observation)
    if not np.any(made.exposure.data > 0):
        offset = geom.center_skydir.separation(observation.pointing_radec).deg
        raise DataError(
            f"EventDataset: observation {observation.obs_id} has no exposure anywhere in the geometry, whose "
            f"centre is {offset:.3g} deg off the pointing"
        )
    parts = made._parts()
    for key in ("psf", "edisp", "background"):
        if key not in selection:
            parts[key] = None
    for key in ("stat_type", "psf_method"):
        parts.pop(key, None)
    events = observation.events
    # Only those of the geometry need be looked up.
    inside = np.asarray(geom.contains(events.map_coord(geom))) if len(events) else np.zeros(0, dtype=bool)
    n_outside = int(np.sum(~inside))
    events = events.select_mask(inside).copy()
    if "background" in selection and len(events):
        events.table["BKG_DENSITY"] = background_density(events, observation)
    return cls(**(parts | {"events": events, "n_outside": n_outside, "name": name} | kwargs))

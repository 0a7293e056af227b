"""Event lists drawn from models through the responses of an observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError
from villard.simulate.event_components import Component, flatten_components
from villard.simulate.event_field import FieldOfView
from villard.simulate.event_response import ResponseSampler
from villard.simulate.event_streams import Batch, Stream
from villard.simulate.simulated_events import SimulatedEvents
from villard.utils.names import nearest

if TYPE_CHECKING:
    from villard.data import Observation

__all__ = ["simulate_events"]

Array = NDArray[np.float64]


def simulate_events(
    observation: Observation,
    models: Any,
    random_state: Any = None,
    n_events: Mapping[str, int] | None = None,
    energy_bounds: Any = (0.1, 100) * u.TeV,
    width: Any = 6 * u.deg,
    frame: str | None = None,
) -> SimulatedEvents:
    """Draw events of models as an observation would record them.

    True energies and directions are drawn from flux x effective area x livetime, and reconstructed ones
    through energy dispersion and point spread function. Those within the bounds are kept. Residual background
    (`~villard.modeling.models.IRFBackground`) is drawn from its table of reconstructed rates itself.

    Parameters
    ----------
    observation : `~villard.data.Observation`
        Pointing, good time intervals and responses.
    models : model, list of models, `~villard.modeling.models.Models` or nested dict
        Components: `~villard.modeling.models.SkyModel` with a morphology, or
        `~villard.modeling.models.IRFBackground`. Of a list each model is a component. In a dictionary each
        key is one, also if it stands for several models, or for a dictionary of further components.
    random_state : int, `~numpy.random.SeedSequence` or `~numpy.random.Generator`, optional
        Seed. Each component has a stream of random numbers of its own.
    n_events : dict, optional
        Numbers of events (within the bounds) by the names of components; Poisson numbers for others.
    energy_bounds : `~astropy.units.Quantity`
        Lowest and highest reconstructed energy.
    width : `~astropy.units.Quantity`
        Width of the field of view, or widths in longitude and latitude, around the pointing.
    frame : {"icrs", "galactic"}, optional
        Frame to whose coordinates the sides are parallel; by default that in which the pointing was given.

    Returns
    -------
    `SimulatedEvents`
        Events in the order of time, with their true energies and directions and the component of each.

    Raises
    ------
    ModelError
        If a component has no events in the field of view, or a name isn't one of a component.
    DataError
        If a response is missing, or bounds can't be used.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from villard.data import Observation
    >>> from villard.irf import make_analytic_irfs
    >>> from villard.modeling.models import IRFBackground, SkyModel
    >>> pointing = SkyCoord(0, 0, unit="deg", frame="galactic")
    >>> observation = Observation.create(pointing, livetime=1 * u.h, irfs=make_analytic_irfs())
    >>> source = SkyModel.create("pl", "point", name="source")
    >>> source.spatial_model.position = pointing
    >>> components = {"source": source, "CCR": IRFBackground()}
    >>> events = simulate_events(observation, components, 1, {"source": 30, "CCR": 70})
    >>> len(events), events.numbers
    (100, {'source': 30, 'CCR': 70})
    """
    center = observation.pointing.fixed_icrs
    frame = getattr(observation.pointing, "frame", None) if frame is None else frame
    field = FieldOfView.create(center, width, energy_bounds, frame)
    components = flatten_components(models)
    numbers = _check_numbers(n_events, components)
    needs_response = any(not m.is_background for c in components for m in c.models)
    response = ResponseSampler(observation, field) if needs_response else None
    seeds = _seeds(random_state, len(components))
    batches, labels = [], []
    first = 0
    for component, seed in zip(components, seeds, strict=True):
        rng = np.random.default_rng(seed)
        number = numbers.get(component.label)
        batch = Batch.empty()
        if number != 0:
            batch = Stream(component, observation, field, response).draw(number, rng)
        times = _times(component, observation, batch, rng)
        batches.append((batch, times, first))
        labels += [(component.label, model.name) for model in component.models]
        first += len(component.models)
    return SimulatedEvents.from_batches(batches, labels, observation, field)


def _check_numbers(n_events: Mapping[str, int] | None, components: list[Component]) -> dict[str, int]:
    """Return numbers of events by the labels of components."""
    labels = [component.label for component in components]
    if n_events is not None and not isinstance(n_events, Mapping):
        raise DataError(f"Simulated events: expected n_events as numbers by component, found {n_events!r}")
    result = {}
    for name, number in (n_events or {}).items():
        if name not in labels:
            raise ModelError(f"Simulated events: no component is called {name!r}. {nearest(name, labels)}")
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or number < 0:
            raise DataError(f"Simulated events: expected a number of events of {name!r}, found {number!r}")
        result[name] = int(number)
    return result


def _seeds(random_state: Any, n: int) -> list[np.random.SeedSequence]:
    if isinstance(random_state, np.random.Generator):
        random_state = np.random.SeedSequence(random_state.integers(0, 2**63, 2).tolist())
    elif not isinstance(random_state, np.random.SeedSequence):
        try:
            random_state = np.random.SeedSequence(random_state)
        except (TypeError, ValueError) as error:
            raise DataError(f"random_state: expected a seed, found {random_state!r}") from error
    return random_state.spawn(n)


def _times(component: Component, observation: Observation, batch: Batch, rng: np.random.Generator) -> Array:
    """Draw times (s after the reference of the good time intervals)."""
    gti = observation.gti
    start, stop = gti.met_start.to_value("s"), gti.met_stop.to_value("s")
    times = np.zeros(len(batch))
    for number, model in enumerate(component.models):
        chosen = np.flatnonzero(batch.model == number)
        temporal = getattr(model, "temporal_model", None)
        weight = stop - start
        if temporal is not None:
            weight = np.ravel(temporal.integral(gti.time_start, gti.time_stop).to_value(""))
        interval = rng.choice(len(start), size=len(chosen), p=weight / weight.sum())
        times[chosen] = rng.uniform(start[interval], stop[interval])
        if temporal is not None:
            for i in np.unique(interval):
                here = chosen[interval == i]
                drawn = temporal.sample_time(len(here), gti.time_start[i], gti.time_stop[i], random_state=rng)
                times[here] = rng.permutation((drawn - gti.time_ref).to_value("s"))
    return times

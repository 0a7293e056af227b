"""Mixtures of components of events: from observations, responses and models to a posterior."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table, vstack
from numpy.typing import NDArray

from villard import parallel
from villard.bayes.coordinates import Continuous
from villard.bayes.event_leaves import expected_of_free, make_leaf
from villard.bayes.event_work import ChunkWork, FreeParameter, LeafPlan, is_sky_model, plan_leaf
from villard.bayes.grids import ParameterGrid
from villard.bayes.images import SkyPixels
from villard.bayes.leaves import Leaf
from villard.bayes.mixture import Mixture, ObservedLeaves
from villard.bayes.response import EventResponse, ResponseBounds
from villard.bayes.tree import MixtureTree
from villard.exceptions import DataError, ModelError, ParameterError, UnitsError
from villard.modeling.prior import Prior
from villard.simulate.event_field import FieldOfView

__all__ = ["EventMixture"]

Array = NDArray[np.float64]

#: Events per chunk.
CHUNK = 16_384


class EventMixture(Mixture):
    """Posterior of a mixture of components, given events and the responses of their observation.

    For each event and component true energy and direction are integrated out: morphology times effective
    area is folded with the point spread function, then energy dispersion with the spectrum. Densities are
    normalised to one event within the bounds, so that what is lost at edges counts.

    Parameters
    ----------
    events : `~villard.data.EventList` or list of such
        Events of one or several observations.
    observation : `~villard.data.Observation`, list of such or `~villard.data.Observations`
        Observations with responses.
    components : mapping
        A tree: by name a `~villard.modeling.models.SkyModel`, an `~villard.modeling.models.IRFBackground`, a
        list of models that make one component together, or a mapping of such. Free parameters that have a
        prior are sampled; all others stay at their values.
    grids : mapping of `ParameterGrid`, optional
        Grids by name of parameter: densities are tabulated at their values. Spectral parameters
        without one are continuous, and spectra are evaluated in each call. Others need one.
    alpha : float or mapping
        Concentrations of the Dirichlet priors, see `MixtureTree`.
    total : `~villard.modeling.prior.Prior`, optional
        Prior of the expected number of events; adds the Poisson term.
    separate : list of str
        Names of nodes or parameters that each observation has for itself.
    energy_bounds, width, frame : optional
        Bounds within which events were selected: lowest and highest energy, width of the field of view (or
        in longitude and latitude) around the pointing. Simulated events know theirs.
    outside : {"raise", "drop"}
        What happens to events outside these bounds. Dropped ones are counted in `n_outside` and printed.
    containment : float
        Part of the responses that integrals over true energy and direction cover.
    dex, angle : float and `~astropy.units.Quantity`, optional
        Bounds of the integrals in powers of ten and in angle, instead of the containment.
    bin_size : `~astropy.units.Quantity`
        Pixels of morphologies.
    executor : optional
        What runs chunks of events, see `villard.parallel.map`.
    folder : str or path-like, optional
        Where finished chunks are kept, so that the work can go on after a kill.
    show_progress : bool, optional
        Force the progress bar on or off.
    name : str
        Name, for messages.

    Raises
    ------
    DataError
        If events have NaN or lie outside the bounds, or a response is missing.
    ModelError
        If the tree names no models, or a component has no events in the field of view.
    ParameterError
        If a grid or prior can't be used.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from villard.data import Observation
    >>> from villard.irf import make_analytic_irfs
    >>> from villard.modeling.models import IRFBackground, SkyModel
    >>> from villard.modeling.prior import UniformPrior
    >>> from villard.simulate import simulate_events
    >>> pointing = SkyCoord(0, 0, unit="deg", frame="galactic")
    >>> observation = Observation.create(pointing, livetime=1 * u.h, irfs=make_analytic_irfs())
    >>> source = SkyModel.create("pl", "point", name="source")
    >>> source.spatial_model.position = pointing
    >>> source.spectral_model.index.prior = UniformPrior(min=1, max=4)
    >>> components = {"source": source, "CCR": IRFBackground()}
    >>> events = simulate_events(observation, components, 1, {"source": 60, "CCR": 40}, width=3 * u.deg)
    >>> mixture = EventMixture(events, observation, components)
    >>> mixture.names
    ['source', 'index']
    >>> 0.5 < mixture.sample("importance", random_state=1).mean["source"] < 0.7
    True
    """

    def __init__(
        self,
        events: Any,
        observation: Any,
        components: Mapping[str, Any],
        *,
        grids: Mapping[str, ParameterGrid] | None = None,
        alpha: Any = 1.0,
        total: Prior | None = None,
        separate: Sequence[str] = (),
        energy_bounds: Any = None,
        width: Any = None,
        frame: str | None = None,
        outside: str = "raise",
        containment: float = 0.9999,
        dex: float | None = None,
        angle: u.Quantity | None = None,
        bin_size: u.Quantity = 0.05 * u.deg,
        executor: Any = None,
        folder: str | os.PathLike[str] | None = None,
        show_progress: bool | None = None,
        name: str = "EventMixture",
    ) -> None:
        self._units: dict[str, str] = {}
        self._limits: dict[str, tuple[float, float]] = {}
        observations, lists = _pairs(events, observation, name)
        if not isinstance(components, Mapping):
            raise ModelError(
                f"{name}: expected components by name, as {{'source': model, 'bkg': IRFBackground()}}, "
                f"found {type(components).__name__}"
            )
        self.components = dict(components)
        tree = MixtureTree(components, alpha)
        models = {key: _models(leaf, key) for key, leaf in tree.leaves.items()}
        self.free = _free_parameters(models, name)
        for f in self.free:
            p = f.parameter
            self._units[f.name] = p.unit.to_string()
            self._limits[f.name] = _or(p.min, -np.inf), _or(p.max, np.inf)
        self.grids = _in_units(grids or {}, self.free, name)
        bounds = ResponseBounds(
            containment,
            dex,
            None if angle is None else _degrees(angle, "angle", name),
            _degrees(bin_size, "bin_size", name),
        )
        self._options = {"alpha": alpha, "total": total, "separate": list(separate), "outside": outside}
        self._observations = observations
        self._works = []
        for own, list_ in zip(observations, lists, strict=True):
            field = _field(list_, own, energy_bounds, width, frame, name)
            pixels = SkyPixels(EventResponse(own, field, bounds))
            self._works.append(ChunkWork(pixels, self._plans(models, pixels, own)))
        self._fill(tree, lists, name, executor, folder, show_progress)

    def _fill(
        self,
        tree: MixtureTree,
        lists: Sequence[Any],
        name: str,
        executor: Any,
        folder: Any,
        show: bool | None,
    ) -> None:
        """Compute the densities of events."""
        if folder is not None and os.path.isfile(folder):
            raise DataError(f"{name}: expected a folder, found a file: {os.fspath(folder)}")
        self.n_outside, self._lists = 0, list(lists)
        observed = []
        ids = [str(own.obs_id) for own in self._observations]
        labels = ids if len(set(ids)) == len(ids) else [str(k) for k in range(len(ids))]
        for k, (work, list_) in enumerate(zip(self._works, lists, strict=True)):
            selected = self._select(list_, work.pixels.response.field, self._options["outside"], name)
            where = None if folder is None else os.path.join(os.fspath(folder), f"observation-{k}")
            leaves = self._leaves(work, selected, executor, where, show)
            observed.append(ObservedLeaves(leaves, selected[2], labels[k]))
        options = self._options
        self._setup(tree, observed, self._make_priors(), options["total"], options["separate"], name)

    def with_events(self, events: Any) -> EventMixture:
        """Return the mixture of other events of the same observations: morphologies aren't folded again.

        Parameters
        ----------
        events : `~villard.data.EventList` or list of such
            Events, within the same bounds.
        """
        new = copy(self)
        for name in ("kernels", "device_data", "fingerprint"):
            new.__dict__.pop(name, None)
        observations = self._observations if isinstance(events, list | tuple) else self._observations[0]
        _, lists = _pairs(events, observations, self.name)
        new._fill(MixtureTree(self.components, self._options["alpha"]), lists, self.name, None, None, None)
        return new

    @property
    def plans(self) -> list[list[LeafPlan]]:
        """Components of each observation, folded."""
        return [work.plans for work in self._works]

    @property
    def responses(self) -> list[EventResponse]:
        """Responses of each observation."""
        return [work.pixels.response for work in self._works]

    def _plans(self, models: Mapping[str, list[Any]], pixels: SkyPixels, observation: Any) -> list[LeafPlan]:
        plans = []
        for key, own in models.items():
            mine = [f for f in self.free if any(p is f.parameter for m in own for p in m.parameters)]
            plans.append(plan_leaf(key, own, pixels, observation, mine, self.grids))
        return plans

    def _select(self, events: Any, field: FieldOfView, outside: str, name: str) -> tuple[Array, Array, Array]:
        """Return energies (TeV), local directions and numbers of unique events within the bounds."""
        if outside not in ("raise", "drop"):
            raise DataError(f"{name}: expected outside='raise' or 'drop', found {outside!r}")
        energy, vectors, inside = _located(events, field, name)
        if not np.all(inside):
            n, first = int(np.sum(~inside)), int(np.flatnonzero(~inside)[0])
            if outside == "raise":
                away = field.offset(vectors)[first]
                raise DataError(
                    f"{name}: {n} of {len(energy)} events are outside the bounds "
                    f"({field.energy_bounds[0]:g} to {field.energy_bounds[1]:g} TeV, {field.width[0]:g} x "
                    f"{field.width[1]:g} deg), the first is event {first} at {energy[first]:g} TeV and "
                    f"{away:.3g} deg from the pointing: widen the bounds, select events, or set "
                    "outside='drop'"
                )
            self.n_outside += n
            if n == len(energy):
                raise DataError(f"{name}: all {n} events are outside the bounds")
        rows = np.column_stack([energy, vectors])[inside]
        unique, numbers = np.unique(rows, axis=0, return_counts=True)
        return unique[:, 0], unique[:, 1:], numbers.astype(float)

    def _leaves(
        self,
        work: ChunkWork,
        events: tuple[Array, Array, Array],
        executor: Any,
        folder: str | None,
        show_progress: bool | None,
    ) -> dict[str, Leaf]:
        energy, vectors, _ = events
        # Unique events come in the order of energy: a chunk needs few bins of true energy.
        fingerprint = "" if folder is None else work.fingerprint
        starts = range(0, len(energy), CHUNK)
        chunks = [(fingerprint, energy[i : i + CHUNK], vectors[i : i + CHUNK]) for i in starts]
        parts = parallel.map(
            work,
            chunks,
            executor,
            folder=folder,
            description=f"Marginalising {len(energy)} events",
            show_progress=show_progress,
        )
        result: dict[str, Leaf] = {}
        for k, plan in enumerate(work.plans):
            table = np.concatenate([part[k]["table"] for part in parts], axis=1)
            kernels = _joined(parts, k, "kernels")
            rates = _joined(parts, k, "rates")
            result[plan.name] = make_leaf(plan, work.pixels.response, energy, table, kernels, rates)
        return result

    def _make_priors(self) -> dict[str, Any]:
        """Priors of what is sampled, cut off at the limits of the parameters."""
        priors: dict[str, Any] = {}
        for f in self.free:
            p = f.parameter
            prior = p.prior.in_unit(p.unit, f"Parameter {f.name!r}")
            grid, unit = self.grids.get(f.name), self._units[f.name]
            if grid is None:
                priors[f.name] = Continuous(f.name, prior, (p.min, p.max), unit)
            else:
                low, high = self._limits[f.name]
                limits = (max(grid.values[0], low), min(grid.values[-1], high))
                priors[f.name] = Continuous(f.name, prior, limits, unit) if not grid.discrete else prior
        return priors

    @property
    def truncation(self) -> dict[str, float]:
        """Largest parts of the responses that the bounds cut away, by "energy" and "angle"."""
        every = [response.truncation for response in self.responses]
        return {key: max(each[key] for each in every) for key in ("energy", "angle")}

    def event_truncation(self, index: float = 2.0) -> Table:
        """Return, event by event, what the bounds of the integrals cut away of the responses.

        It is the missing part of the integral over true energies and directions of a source that fills the
        sky with a power law: a measure of how far an event's likelihoods may be off.

        Parameters
        ----------
        index : float
            Index of the power law.

        Returns
        -------
        `~astropy.table.Table`
            "observation", "event" (row in its list), "energy", "offset", "cut_energy" and "cut_angle": parts
            that the bounds of energy, and those of direction, leave out. Dropped events aren't in it.
        """
        tables = []
        for k, (response, list_) in enumerate(zip(self.responses, self._lists, strict=True)):
            energy, vectors, inside = _located(list_, response.field, self.name)
            rows = np.flatnonzero(inside)
            offset = response.field.offset(vectors[rows])
            cut = response.truncation_at(energy[rows], offset, index)
            columns = {"observation": np.full(len(rows), k), "event": rows, "energy": energy[rows] * u.TeV}
            columns |= {"offset": offset * u.deg, "cut_energy": cut["energy"], "cut_angle": cut["angle"]}
            tables.append(Table(columns))
        return vstack(tables)

    def expected(self, name: str, observation: int = 0) -> float:
        """Return the expected number of events of a component within the bounds, at its present values.

        With a grid it is that of the value nearest to the present one.

        Parameters
        ----------
        name : str
            Component.
        observation : int
            Number of the observation.
        """
        plan = next((p for p in self.plans[observation] if p.name == name), None)
        if plan is None:
            raise ModelError(f"{self.name}: there is no component {name!r}")
        values = plan.expected()
        if plan.grids:
            present = {f.name: f.parameter.value for f in self.free}
            index = [int(np.argmin(np.abs(g.values - present[n]))) for n, g in plan.grids.items()]
            shape = [len(g.values) for g in plan.grids.values()]
            return float(values.reshape(shape)[tuple(index)])
        response = self.responses[observation]
        return float(values[0]) + expected_of_free(plan, response)

    def __str__(self) -> str:
        lines = [super().__str__()]
        if self.n_outside:
            lines.append(f"{self.n_outside} events outside the bounds were left out")
        cut = self.truncation
        lines.append(
            f"Integrals cut away {cut['energy']:.1e} of the energy dispersion, {cut['angle']:.1e} of the PSF"
        )
        return "\n".join(lines)


def _degrees(value: Any, what: str, name: str) -> float:
    try:
        return float(u.Quantity(value).to_value("deg"))
    except (u.UnitConversionError, TypeError, ValueError) as error:
        raise UnitsError(f"{name}: expected {what} as an angle, found {value!r}") from error


def _or(value: float, other: float) -> float:
    return other if np.isnan(value) else value


def _pairs(events: Any, observation: Any, name: str) -> tuple[list[Any], list[Any]]:
    from villard.data import EventList
    from villard.data.observation import Observation

    lists = list(events) if isinstance(events, list | tuple) else [events]
    observations = list(observation) if hasattr(observation, "__iter__") else [observation]
    for each in observations:
        if not isinstance(each, Observation):
            raise DataError(f"{name}: expected an Observation or several, found {type(each).__name__}")
    for each in lists:
        if not isinstance(each, EventList):
            raise DataError(f"{name}: expected an EventList or several, found {type(each).__name__}")
    if len(lists) != len(observations) or not lists:
        raise DataError(
            f"{name}: expected as many event lists as observations, found {len(lists)} and "
            f"{len(observations)}"
        )
    return observations, lists


def _models(leaf: Any, name: str) -> list[Any]:
    models = [leaf] if hasattr(leaf, "parameters") and not _is_collection(leaf) else None
    if models is None:
        try:
            models = list(leaf)
        except TypeError:
            models = [leaf]
    if not models:
        raise ModelError(f"Component {name!r}: expected models, found none")
    for model in models:
        if getattr(model, "is_background", False) or is_sky_model(model):
            continue
        raise ModelError(
            f"Component {name!r}: expected a SkyModel with a spatial model or an IRFBackground, "
            f"found {type(model).__name__}"
        )
    return models


def _is_collection(leaf: Any) -> bool:
    return hasattr(leaf, "__len__") and hasattr(leaf, "__iter__")


def _free_parameters(models: Mapping[str, list[Any]], name: str) -> list[FreeParameter]:
    """Free parameters with a prior, named by themselves where that is unique, else with the component."""
    found: list[tuple[str, str, Any]] = []
    for leaf, own in models.items():
        for model in own:
            for parameter in model.parameters:
                if parameter.prior is None or parameter.frozen:
                    continue
                if not any(p is parameter for _, _, p in found):
                    label = f"{leaf}.{parameter.name}"
                    if len(own) > 1:
                        label = f"{leaf}.{model.name}.{parameter.name}"
                    found.append((parameter.name, label, parameter))
    names = [short for short, _, _ in found]
    return [FreeParameter(s if names.count(s) == 1 else label, p) for s, label, p in found]


def _in_units(
    grids: Mapping[str, ParameterGrid], free: Sequence[FreeParameter], name: str
) -> dict[str, ParameterGrid]:
    known = {f.name: f.parameter for f in free}
    result = {}
    for key, grid in grids.items():
        if key not in known:
            raise ParameterError(
                f"{name}: a grid of {key!r}, which is no free parameter with a prior: {list(known)}"
            )
        if not isinstance(grid, ParameterGrid):
            raise ParameterError(f"{name}: {key}: expected a ParameterGrid, found {type(grid).__name__}")
        result[key] = grid.in_unit(known[key].unit, key)
    return result


def _field(
    events: Any, observation: Any, energy_bounds: Any, width: Any, frame: str | None, name: str
) -> FieldOfView:
    known = None if getattr(events, "is_cut", False) else getattr(events, "field", None)
    if energy_bounds is None and width is None and known is not None:
        return known
    if known is None and (energy_bounds is None or width is None):
        raise DataError(
            f"{name}: expected energy_bounds and width, within which the events were selected "
            "(simulated events know theirs, other than after cuts on directions)"
        )
    if known is not None:
        width = known.width * u.deg if width is None else width
        energy_bounds = known.energy_bounds * u.TeV if energy_bounds is None else energy_bounds
        frame = known.frame if frame is None else frame
    frame = getattr(observation.pointing, "frame", None) if frame is None else frame
    return FieldOfView.create(observation.pointing.fixed_icrs, width, energy_bounds, frame)


def _located(events: Any, field: FieldOfView, name: str) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return energies (TeV), local directions, and whether they are within the bounds."""
    if not len(events):
        raise DataError(f"{name}: there are no events")
    energy = np.asarray(events.energy.to_value("TeV"), dtype=float)
    sky = events.radec.icrs
    lon, lat = np.asarray(sky.ra.deg, dtype=float), np.asarray(sky.dec.deg, dtype=float)
    bad = np.flatnonzero(~(np.isfinite(energy) & np.isfinite(lon) & np.isfinite(lat)))
    if len(bad):
        raise DataError(
            f"{name}: {len(bad)} of {len(energy)} events have an energy or direction that is NaN or "
            f"infinite, the first is event {bad[0]}"
        )
    vectors = field.from_frame(lon, lat, "icrs")
    return energy, vectors, field.contains(energy, vectors) | _on_edge(field, energy, vectors)


def _on_edge(field: FieldOfView, energy: Array, vectors: Array) -> NDArray[np.bool_]:
    """Events that are outside by rounding only, as of files in single precision."""
    lon, lat = field.local(vectors)
    low, high = field.energy_bounds
    slack = 1 + 1e-6
    inside = (np.abs(lon) <= 0.5 * field.width[0] * slack) & (np.abs(lat) <= 0.5 * field.width[1] * slack)
    return np.asarray(inside & (energy >= low / slack) & (energy <= high * slack))


def _joined(parts: Sequence[Any], component: int, key: str) -> list[Array]:
    """Join arrays of events, of which each chunk has a list."""
    lists = [part[component][key] for part in parts]
    return [np.concatenate(arrays) for arrays in zip(*lists, strict=True)]

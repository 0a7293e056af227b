"""Streams of simulated events: from proposals to events within the field of view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.simulate.event_background import BackgroundSampler
from villard.simulate.event_components import Component
from villard.simulate.event_field import FieldOfView
from villard.simulate.event_response import ResponseSampler
from villard.simulate.event_sources import SourceSampler

__all__ = ["Batch", "Stream"]

Array = NDArray[np.float64]
Generator = np.random.Generator

_CHUNK = 500_000
#: Proposals without a single event after which a component counts as one without events.
_PATIENCE = 20_000_000


@dataclass(frozen=True)
class Batch:
    """Events: reconstructed and true energies (TeV) and local directions, and the number of the model.

    True values are NaN where there are none, as for residual background.
    """

    energy: Array
    vectors: Array
    energy_true: Array
    vectors_true: Array
    model: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.energy)

    def select(self, index: Any) -> Batch:
        """Return some of the events."""
        return Batch(*(getattr(self, name)[index] for name in _FIELDS))

    @classmethod
    def join(cls, batches: list[Batch]) -> Batch:
        """Return all events of batches."""
        return cls(*(np.concatenate([getattr(b, name) for b in batches]) for name in _FIELDS))

    @classmethod
    def empty(cls) -> Batch:
        """Return no events."""
        none, vectors = np.zeros(0), np.zeros((0, 3))
        return cls(none, vectors, none, vectors, np.zeros(0, dtype=np.intp))


_FIELDS = ("energy", "vectors", "energy_true", "vectors_true", "model")

#: What is certainly more than was meant, and than memory can hold.
_MOST_EVENTS = 2e9


class Stream:
    """Draws events of one component.

    Parameters
    ----------
    component : `Component`
        Component.
    observation : `~villard.data.Observation`
        Observation.
    field : `FieldOfView`
        Bounds of reconstructed events.
    response : `ResponseSampler` or None
        Responses; not needed by backgrounds.

    Raises
    ------
    ModelError
        If no events of the component can be expected in the field of view.
    """

    def __init__(
        self, component: Component, observation: Any, field: FieldOfView, response: ResponseSampler | None
    ) -> None:
        self.component, self.field, self.response = component, field, response
        self.samplers: list[tuple[int, Any]] = []
        for number, model in enumerate(component.models):
            sampler = self._sampler(model, observation)
            if sampler is not None and sampler.n_proposed > 0:
                self.samplers.append((number, sampler))
        if not self.samplers:
            raise self._no_events()
        self._rates = np.array([sampler.n_proposed for _, sampler in self.samplers])

    def _sampler(self, model: Any, observation: Any) -> Any:
        if model.is_background:
            return BackgroundSampler(model, observation, self.field)
        assert self.response is not None
        if model.spatial_model is not None and not self._is_near(model.spatial_model):
            return None
        factor = float(np.mean(model.temporal_factor(observation.gti)))
        return SourceSampler(model, self.response, factor)

    def _is_near(self, spatial: Any) -> bool:
        """Tell whether a morphology reaches the field of view and its margin."""
        radius, position = spatial.evaluation_radius, spatial.position
        if position is None or (radius is None and not spatial.is_point):
            return True
        extent = 0.0 if radius is None else float(radius.to_value("deg"))
        distance = float(position.separation(self.field.center).deg)
        assert self.response is not None
        return distance <= extent + self.field.half_diagonal + self.response.margin

    def _no_events(self) -> ModelError:
        return ModelError(
            f"Simulated events: component {self.component.label!r} has no events in the field of view of "
            f"{self.field.width[0]:g} x {self.field.width[1]:g} deg around "
            f"{self.field.center.to_string('decimal', precision=3)} deg ({self.field.frame}) from "
            f"{self.field.energy_bounds[0]:g} to {self.field.energy_bounds[1]:g} TeV: its flux, or the "
            "exposure there, is zero"
        )

    def draw(self, n_events: int | None, rng: Generator) -> Batch:
        """Draw events.

        Parameters
        ----------
        n_events : int or None
            Number of events; `None` for a Poisson number.
        rng : `~numpy.random.Generator`
            Random numbers.
        """
        if n_events is None:
            return self._draw_poisson(rng)
        batches, found, tried = [Batch.empty()], 0, 0
        efficiency = 1.0
        while found < n_events:
            n = int(np.clip(1.1 * (n_events - found) / efficiency + 50, 1, _CHUNK))
            batch = self._propose(rng.multinomial(n, self._rates / self._rates.sum()), rng)
            batches.append(batch)
            found, tried = found + len(batch), tried + n
            if not found and tried > _PATIENCE:
                raise self._no_events()
            efficiency = max(found, 0.5) / tried
        joined = Batch.join(batches)
        # Proposals come sorted by model; which ones are too many mustn't depend on that.
        return joined.select(np.sort(rng.permutation(len(joined))[:n_events]))

    def _draw_poisson(self, rng: Generator) -> Batch:
        if self._rates.sum() > _MOST_EVENTS:
            raise ModelError(
                f"Simulated events: component {self.component.label!r} is expected to have up to "
                f"{self._rates.sum():.2g} events, more than {_MOST_EVENTS:.2g}: is its unit right? "
                "Set n_events otherwise"
            )
        numbers = rng.poisson(self._rates)
        batches = [Batch.empty()]
        while np.any(numbers > 0):
            part = np.minimum(numbers, _CHUNK)
            batches.append(self._propose(part, rng))
            numbers = numbers - part
        return Batch.join(batches)

    def _propose(self, numbers: NDArray[np.int64], rng: Generator) -> Batch:
        """Return the events of numbers of proposals per model."""
        batches = [Batch.empty()]
        for (model, sampler), n in zip(self.samplers, numbers, strict=True):
            if n > 0:
                batches.append(self._events(model, sampler, int(n), rng))
        return Batch.join(batches)

    def _events(self, model: int, sampler: Any, n: int, rng: Generator) -> Batch:
        if isinstance(sampler, BackgroundSampler):
            energy, vectors = sampler.draw(n, rng)
            unknown = np.full(n, np.nan)
            return Batch(energy, vectors, unknown, np.full((n, 3), np.nan), np.full(n, model))
        assert self.response is not None
        true, directions = sampler.propose(n, rng)
        flags = sampler.model.apply_irf
        energy, vectors, found = self.response.reconstruct(
            true, directions, rng, use_edisp=flags["edisp"], use_psf=flags["psf"]
        )
        keep = np.flatnonzero(found & self.field.contains(energy, vectors))
        return Batch(energy, vectors, true, directions, np.full(len(true), model)).select(keep)

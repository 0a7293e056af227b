"""Components of an observation as what their events' densities are made of, and chunks of events."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.bayes.grids import ParameterGrid
from villard.bayes.images import FoldedSource, SkyPixels, fold_maps, fold_point, morphology
from villard.bayes.portable import portable_pixels, portable_plan
from villard.bayes.response import EventResponse
from villard.exceptions import ModelError
from villard.likelihood.predict import bin_flux
from villard.modeling.models import SkyModel

__all__ = ["ChunkWork", "LeafPlan", "plan_leaf"]

Array = NDArray[np.float64]

_FLUX = u.Unit("cm-2 s-1 TeV-1")
#: Gauss-Legendre nodes per bin of true energy, for spectra without a closed form.
ORDER = 5


@dataclass
class Term:
    """A folded source, and its fluxes in bins of true energy (cm-2 s-1) for some of the leaf's grid values.

    Parameters
    ----------
    source : `FoldedSource`
        Source.
    flux : array, optional
        Shape (n_bins, n_columns); `None` where the spectrum is evaluated in each call.
    columns : array of int
        Columns of the leaf's table that the fluxes belong to.
    """

    source: FoldedSource
    flux: Array | None
    columns: NDArray[np.intp]


@dataclass
class LeafPlan:
    """What is to be computed for the events of one component.

    Parameters
    ----------
    name : str
        Component.
    terms : list of `Term`
        Sources.
    backgrounds : list
        Of each a sampler of `villard.simulate`, the expected number of events of its whole field, and the
        columns of the grid that have it.
    grids : dict of `ParameterGrid`
        Grids by name, if the component is tabulated.
    free : list of dict
        Of terms whose spectrum is evaluated in each call: what `SpectralTerm` needs of the model.
    livetime : float
        Livetime (s).
    free_backgrounds : list of dict
        Of backgrounds with free parameters: what `BackgroundTerm` needs of the model, and a sampler of the
        rate for a factor of 1.
    """

    name: str
    livetime: float
    terms: list[Term] = field(default_factory=list)
    backgrounds: list[tuple[Any, float, NDArray[np.intp]]] = field(default_factory=list)
    grids: dict[str, ParameterGrid] = field(default_factory=dict)
    free: list[dict[str, Any]] = field(default_factory=list)
    free_backgrounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def n_columns(self) -> int:
        """Number of values of the grid; 1 without."""
        return int(np.prod([len(g.values) for g in self.grids.values()], dtype=int))

    def expected(self) -> Array:
        """Return the expected numbers of events that don't depend on free spectra, shape (n_columns,)."""
        total = np.zeros(self.n_columns)
        for _, number, columns in self.backgrounds:
            total[columns] += number
        for term in self.terms:
            if term.flux is not None:
                rate = (term.source.area * term.source.detected) @ term.flux
                np.add.at(total, term.columns, self.livetime * rate)
        return total


@dataclass(frozen=True)
class FreeParameter:
    """A parameter that is sampled: which model's, and its name in the posterior."""

    name: str
    parameter: Any


def plan_leaf(
    name: str,
    models: Sequence[Any],
    pixels: SkyPixels,
    observation: Any,
    free: Sequence[FreeParameter],
    grids: Mapping[str, ParameterGrid],
) -> LeafPlan:
    """Fold the sources of a component.

    Parameters
    ----------
    name : str
        Component.
    models : list of models
        What it is the sum of.
    pixels : `SkyPixels`
        Pixels and responses.
    observation : `~villard.data.Observation`
        Observation.
    free : list of `FreeParameter`
        Parameters of these models that are sampled.
    grids : mapping of `ParameterGrid`
        Grids by name, in the units of the parameters.

    Raises
    ------
    ModelError
        If the component has no events in the field of view, or a parameter that is sampled can't be.
    """
    own = {f.name: grids[f.name] for f in free if f.name in grids}
    plan = LeafPlan(name, pixels.response.livetime, grids=own)
    if own and len(own) < len(free):
        rest = [f.name for f in free if f.name not in own]
        raise ModelError(f"Component {name!r}: {rest} need grids too, as {list(own)} have")
    if own:
        _plan_grid(plan, models, pixels, observation, free)
    else:
        _plan_free(plan, models, pixels, observation, free)
    # What is left open may have nothing at the present values, and something at others.
    is_open = (plan.free or plan.free_backgrounds) and not _has_norm_of_zero(models)
    if not is_open and not np.all(plan.expected() > 0):
        _raise_nothing(plan, pixels)
    return plan


def _has_norm_of_zero(models: Sequence[Any]) -> bool:
    spectra = [m.spectral_model for m in models if m.spectral_model is not None]
    return len(models) == 1 and any(p.is_norm and p.value == 0 for s in spectra for p in s.parameters)


def _raise_nothing(plan: LeafPlan, pixels: SkyPixels) -> None:
    field = pixels.response.field
    where = ""
    if plan.grids:
        bad = np.flatnonzero(~(plan.expected() > 0))[0]
        values = list(product(*[g.values for g in plan.grids.values()]))[int(bad)]
        at = ", ".join(f"{n}={v:.4g}" for n, v in zip(plan.grids, values, strict=True))
        where = f" at {at}"
    raise ModelError(
        f"Component {plan.name!r} has a rate of zero{where} in the field of view of {field.width[0]:g} x "
        f"{field.width[1]:g} deg from {field.energy_bounds[0]:g} to {field.energy_bounds[1]:g} TeV"
    )


def _plan_free(
    plan: LeafPlan, models: Sequence[Any], pixels: SkyPixels, observation: Any, free: Sequence[FreeParameter]
) -> None:
    """Sources without free parameters are added up; spectra of the others are left open."""
    fixed = []
    for model in models:
        mine = [f for f in free if any(p is f.parameter for p in model.parameters)]
        if not mine:
            fixed.append(model)
            continue
        spectral = model.spectral_model
        for f in mine:
            if not any(p is f.parameter for p in spectral.parameters):
                raise ModelError(
                    f"Component {plan.name!r}: {f.name!r} is no parameter of the spectrum: "
                    + ("it can't be sampled" if model.is_background else "give it a grid")
                )
        _check_norm(plan.name, models, mine)
        spectrum = {
            "pure": spectral.pure(),
            "values": np.array([p.engine_value for p in spectral.parameters]),
            "names": {f.name: [p is f.parameter for p in spectral.parameters].index(True) for f in mine},
            "factors": np.array([f.parameter.engine_factor for f in mine]),
        }
        if model.is_background:
            plan.free_backgrounds.append(spectrum | {"sampler": _unscaled(model, pixels, observation)})
            continue
        for source, scale in _fold(model, pixels, observation):
            plan.terms.append(Term(source, None, np.zeros(1, dtype=np.intp)))
            plan.free.append(spectrum | {"scale": scale})
    _add_fixed(plan, fixed, pixels, observation, np.arange(1))


def _plan_grid(
    plan: LeafPlan, models: Sequence[Any], pixels: SkyPixels, observation: Any, free: Sequence[FreeParameter]
) -> None:
    """Tabulate: spectra for all values at once, morphologies and backgrounds value by value."""
    every = np.array(list(product(*[g.values for g in plan.grids.values()])))
    parameters = [next(f.parameter for f in free if f.name == name) for name in plan.grids]
    _check_norm(plan.name, models, list(free))
    spectral = [p for m in models if not m.is_background for p in m.spectral_model.parameters]
    is_spectral = np.array([any(p is q for q in spectral) for p in parameters])
    others = every[:, ~is_spectral]
    columns = np.arange(len(every))
    groups = [columns]
    if others.shape[1]:
        _, inverse = np.unique(others, axis=0, return_inverse=True)
        groups = [np.flatnonzero(inverse == k) for k in range(inverse.max() + 1)]
    kept = [(p, p._value) for p in parameters]
    varying = [m for m in models if any(p is q for p in parameters for q in m.parameters)]
    fixed = [m for m in models if not any(m is v for v in varying)]
    try:
        for group in groups:
            for p, value in zip(parameters, every[group[0]], strict=True):
                p._value = float(value)
            for model in varying:
                if model.is_background:
                    # Rates are asked for later, when the parameters have other values.
                    _add_background(plan, model.copy(name=model.name), pixels, observation, group)
                    continue
                for source, scale in _fold(model, pixels, observation):
                    flux = _fluxes(model, pixels.response, parameters, every[group]) * scale
                    plan.terms.append(Term(source, flux, group))
    finally:
        for p, value in kept:
            p._value = value
    _add_fixed(plan, fixed, pixels, observation, columns)


def _check_norm(name: str, models: Sequence[Any], free: Sequence[FreeParameter]) -> None:
    """The norm of the only source of a component cancels: its weight is the share in the mixture."""
    for f in free:
        if f.parameter.is_norm and len(models) == 1:
            raise ModelError(
                f"Component {name!r}: {f.name!r} scales the whole component, whose share is sampled already: "
                "remove its prior, or freeze it"
            )


def _fluxes(model: Any, response: EventResponse, parameters: Sequence[Any], every: Array) -> Array:
    """Return fluxes in bins of true energy for each row of values, shape (n_bins, n_rows)."""
    spectral = model.spectral_model
    pure = spectral.pure()
    values = np.array([p.engine_value for p in spectral.parameters])
    result = np.empty((len(response.energy), len(every)))
    positions = [
        (i, k, p.engine_factor)
        for k, p in enumerate(parameters)
        for i, q in enumerate(spectral.parameters)
        if p is q
    ]
    for column, row in enumerate(every):
        for i, k, factor in positions:
            values[i] = row[k] * factor
        result[:, column] = _bin_flux(pure, values, response)
    return result


def _bin_flux(pure: Any, values: Array, response: EventResponse) -> Array:
    low, high = response.edges[:-1], response.edges[1:]
    with np.errstate(over="ignore", under="ignore"):
        flux = bin_flux(pure, low, high, values, pure.arrays, ORDER)
    return np.broadcast_to(np.asarray(flux, dtype=float), low.shape)


def _fold(model: Any, pixels: SkyPixels, observation: Any) -> list[tuple[FoldedSource, Array]]:
    """Return a source and what its spectrum is to be multiplied with, (n_bins, 1); nothing out of reach."""
    spatial = model.spatial_model
    time = float(np.mean(model.temporal_factor(observation.gti)))
    n = len(pixels.response.energy)
    if spatial.is_point:
        source = fold_point(spatial, pixels)
        return [] if source is None else [(source, np.full((n, 1), time))]
    maps, unit = morphology(spatial, pixels, f"Source {model.name!r}")
    total = maps.reshape(len(maps), -1).sum(axis=1)
    if not np.any(total > 0):
        return []
    shapes = maps / np.where(total > 0, total, 1.0)[:, np.newaxis, np.newaxis]
    factor = (model.spectral_model.output_unit * unit).to(_FLUX) * time
    scale = pixels.response.to_bins(total, log=True) if len(total) > 1 else np.full(n, total[0])
    return [(fold_maps(shapes, pixels), (factor * scale)[:, np.newaxis])]


def _add_fixed(
    plan: LeafPlan, models: Sequence[Any], pixels: SkyPixels, observation: Any, columns: NDArray[np.intp]
) -> None:
    """Add sources without free parameters: extended ones are folded together."""
    response = pixels.response
    together = [m for m in models if not m.is_background and not m.spatial_model.is_point]
    for model in models:
        if model.is_background:
            _add_background(plan, model, pixels, observation, columns)
        elif model.spatial_model.is_point or len(together) == 1:
            for source, scale in _fold(model, pixels, observation):
                values = np.array([p.engine_value for p in model.spectral_model.parameters])
                flux = _bin_flux(model.spectral_model.pure(), values, response)[:, np.newaxis] * scale
                plan.terms.append(Term(source, np.repeat(flux, len(columns), axis=1), columns))
    if len(together) > 1:
        source_flux = _fold_together(together, pixels, observation)
        if source_flux is not None:
            source, flux = source_flux
            plan.terms.append(Term(source, np.repeat(flux[:, np.newaxis], len(columns), axis=1), columns))


def _fold_together(
    models: Sequence[Any], pixels: SkyPixels, observation: Any
) -> tuple[FoldedSource, Array] | None:
    """Fold the sum of extended sources, with the weights that their spectra have at each node of energy."""
    response = pixels.response
    cube = np.zeros((len(response.nodes), *pixels.npix[::-1]))
    flux = np.zeros(len(response.energy))
    for model in models:
        maps, unit = morphology(model.spatial_model, pixels, f"Source {model.name!r}")
        total = maps.reshape(len(maps), -1).sum(axis=1)
        if not np.any(total > 0):
            continue
        pure = model.spectral_model.pure()
        values = np.array([p.engine_value for p in model.spectral_model.parameters])
        factor = (model.spectral_model.output_unit * unit).to(_FLUX)
        factor *= float(np.mean(model.temporal_factor(observation.gti)))
        at = np.broadcast_to(pure.evaluate(response.nodes, values, pure.arrays), response.nodes.shape)
        cube += maps * (factor * at)[:, np.newaxis, np.newaxis]
        scale = response.to_bins(total, log=True) if len(total) > 1 else total[0]
        flux += _bin_flux(pure, values, response) * factor * scale
    total = cube.reshape(len(cube), -1).sum(axis=1)
    if not np.any(flux > 0):
        return None
    cube /= np.where(total > 0, total, 1.0)[:, np.newaxis, np.newaxis]
    return fold_maps(cube, pixels), flux


def _unscaled(model: Any, pixels: SkyPixels, observation: Any) -> Any:
    """Return the rates of a background without its factor of energy."""
    from villard.modeling.models.background import default_norm
    from villard.simulate.event_background import BackgroundSampler

    plain = model.copy(name=model.name)
    plain.spectral_model = default_norm()
    return BackgroundSampler(plain, observation, pixels.response.field)


def _add_background(
    plan: LeafPlan, model: Any, pixels: SkyPixels, observation: Any, columns: NDArray[np.intp]
) -> None:
    from villard.simulate.event_background import BackgroundSampler

    sampler = BackgroundSampler(model, observation, pixels.response.field)
    plan.backgrounds.append((sampler, sampler.n_proposed, columns))


class ChunkWork:
    """Computes densities of chunks of events, to be called by `villard.parallel.map`.

    Parameters
    ----------
    pixels : `SkyPixels`
        Pixels and responses.
    plans : list of `LeafPlan`
        Components.
    """

    def __init__(self, pixels: SkyPixels, plans: Sequence[LeafPlan]) -> None:
        self.pixels, self.plans = pixels, list(plans)

    def __getstate__(self) -> dict[str, Any]:
        """Return what workers in other processes need: tables and images, but no models and files."""
        return {"pixels": portable_pixels(self.pixels), "plans": [portable_plan(p) for p in self.plans]}

    @property
    def fingerprint(self) -> str:
        """Text that differs between sets of components and responses."""
        response = self.pixels.response
        digest = hashlib.sha256(response.edges.tobytes())
        digest.update(response.edisp_table.tobytes())
        digest.update(response.psf_radius.tobytes())
        digest.update(repr((response.field.width, response.field.energy_bounds, self.pixels.npix)).encode())
        for plan in self.plans:
            digest.update(repr((plan.name, plan.livetime, list(plan.grids))).encode())
            digest.update(plan.expected().tobytes())
            for sampler in [s for s, *_ in plan.backgrounds] + [f["sampler"] for f in plan.free_backgrounds]:
                digest.update(sampler.fingerprint)
            for term in plan.terms:
                digest.update(term.source.fingerprint)
                digest.update(b"" if term.flux is None else np.ascontiguousarray(term.flux).tobytes())
        return digest.hexdigest()

    def __call__(self, chunk: tuple[str, Array, Array]) -> list[dict[str, Any]]:
        """Return for each component the densities of a chunk of events.

        Parameters
        ----------
        chunk : tuple
            Fingerprint, energies (TeV), shape (n,), and local directions, shape (n, 3).

        Returns
        -------
        list of dict
            "table": expected events per TeV and sr, shape (n_columns, n); "kernels": for each free spectrum,
            shape (n, n_bins); "rates": for each free background, shape (n,).
        """
        _, energy, vectors = chunk
        response = self.pixels.response
        bins = response.window(float(energy.min()), float(energy.max()))
        offset = response.field.offset(vectors)
        dispersion = response.energy_density(energy, offset, bins)
        corners = self.pixels.corners(vectors)
        result = []
        for plan in self.plans:
            table = np.zeros((plan.n_columns, len(energy)))
            for sampler, _, columns in plan.backgrounds:
                table[columns] += sampler.rate(energy, vectors) * sampler.ontime
            kernels = []
            for term in plan.terms:
                rows, kernel = self._kernel(term.source, energy, vectors, bins, dispersion, corners)
                kernel *= plan.livetime * term.source.area[bins]
                if term.flux is None:
                    full = np.zeros((len(energy), len(response.energy)))
                    full[rows, bins] = kernel
                    kernels.append(full)
                elif len(term.columns) == plan.n_columns and isinstance(rows, slice):
                    table += (kernel @ term.flux[bins]).T
                else:
                    index = np.arange(len(energy))[rows]
                    table[np.ix_(term.columns, index)] += (kernel @ term.flux[bins]).T
            rates = [f["sampler"].rate(energy, vectors) * f["sampler"].ontime for f in plan.free_backgrounds]
            result.append({"table": table, "kernels": kernels, "rates": rates})
        return result

    def _kernel(
        self,
        source: FoldedSource,
        energy: Array,
        vectors: Array,
        bins: slice,
        dispersion: Array,
        corners: Any,
    ) -> tuple[Any, Array]:
        """Return events and their densities per flux times area in bins of true energy."""
        response = self.pixels.response
        nodes, matrix = _node_matrix(response, bins)
        if source.point is None:
            assert source.image is not None
            image = source.image[:, nodes]
            at, weights = corners
            density = sum(w[:, np.newaxis] * image[i] for i, w in zip(at, weights, strict=True))
            return slice(None), (density @ matrix) * dispersion
        vector, offset, (shapes, b) = source.point
        reach = np.radians(float(response.psf_radius[nodes].max()))
        chord = np.linalg.norm(vectors - vector, axis=1)
        near = np.flatnonzero(chord < 2 * np.sin(0.5 * min(reach, np.pi)))
        if not len(near):
            return near, np.zeros((0, bins.stop - bins.start))
        angle = 2 * np.arcsin(0.5 * np.minimum(chord[near], 2.0))
        density = np.empty((len(near), nodes.stop - nodes.start))
        for k, (left, right) in enumerate(shapes[nodes]):
            density[:, k] = (1 - b) * left.evaluate(angle) + (b * right.evaluate(angle) if b > 0 else 0.0)
            cut = float(np.radians(response.psf_radius[nodes.start + k].max()))
            density[angle > cut, k] = 0.0
        return near, (density @ matrix) * response.energy_density(energy[near], np.array(offset), bins)


def _node_matrix(response: EventResponse, bins: slice) -> tuple[slice, Array]:
    """Return the nodes of energy around bins, and the matrix that interpolates from them to the bins."""
    from villard.bayes.response import hat_weights

    i, b = hat_weights(np.log(response.nodes), np.log(response.energy[bins]))
    last = min(int(i.max()) + 2, len(response.nodes))
    nodes = slice(int(i.min()), last)
    matrix = np.zeros((last - nodes.start, len(i)))
    column = np.arange(len(i))
    matrix[i - nodes.start, column] = 1 - b
    right = np.minimum(i + 1, last - 1)
    matrix[right - nodes.start, column] += b
    return nodes, matrix


def is_sky_model(model: Any) -> bool:
    """Whether a model is a source on the sky with a morphology."""
    return isinstance(model, SkyModel) and model.spatial_model is not None

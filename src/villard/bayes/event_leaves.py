"""From what was computed for the events of a component to its densities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.event_work import ORDER, LeafPlan, _bin_flux
from villard.bayes.leaves import BackgroundTerm, FixedLeaf, GridLeaf, Leaf, SpectralLeaf, SpectralTerm
from villard.bayes.response import EventResponse

__all__ = ["expected_of_free", "make_leaf"]

Array = NDArray[np.float64]


def make_leaf(
    plan: LeafPlan,
    response: EventResponse,
    energy: Array,
    table: Array,
    kernels: Sequence[Array],
    rates: Sequence[Array],
) -> Leaf:
    """Make the leaf of a component.

    Parameters
    ----------
    plan : `LeafPlan`
        Component.
    response : `EventResponse`
        Responses.
    energy : array
        Reconstructed energies (TeV), shape (n_events,).
    table, kernels, rates
        What `ChunkWork` returns, of all events; ``table`` is overwritten.
    """
    expected = plan.expected()
    if plan.free or plan.free_backgrounds:
        terms: list[SpectralTerm | BackgroundTerm] = []
        open_terms = [t for t in plan.terms if t.flux is None]
        for free, term, kernel in zip(plan.free, open_terms, kernels, strict=True):
            scale = free["scale"][:, 0]
            detected = plan.livetime * term.source.area * term.source.detected * scale
            terms.append(SpectralTerm(*_spectrum(free), kernel * scale, detected))
        for free, rate in zip(plan.free_backgrounds, rates, strict=True):
            terms.append(BackgroundTerm(*_spectrum(free), rate, energy, *_numbers(free["sampler"])))
        return SpectralLeaf(terms, response.edges, table[0], float(expected[0]), ORDER)
    if plan.grids:
        shape = tuple(len(g.values) for g in plan.grids.values())
        # In place: of many events the table is the largest thing there is.
        table /= expected[:, np.newaxis]
        return GridLeaf(table.reshape(*shape, -1), plan.grids)
    return FixedLeaf(table[0] / expected[0])


def _spectrum(free: dict[str, Any]) -> tuple[Any, Array, dict[str, int], Array]:
    return free["pure"], free["values"], free["names"], free["factors"]


def _numbers(sampler: Any) -> tuple[Array, Array]:
    """Return the median energies (TeV) of narrow bins, and the expected events in each."""
    density = sampler.density
    below = np.cumsum(density.parts)
    return density.at((below - 0.5 * density.parts) / below[-1]), density.parts


def expected_of_free(plan: LeafPlan, response: EventResponse) -> float:
    """Return the expected number of events of what is left open, at the present values."""
    total = 0.0
    for term, free in zip(plan.terms, plan.free, strict=False):
        flux = _bin_flux(free["pure"], free["values"], response) * free["scale"][:, 0]
        total += plan.livetime * float((term.source.area * term.source.detected) @ flux)
    for free in plan.free_backgrounds:
        nodes, numbers = _numbers(free["sampler"])
        total += float(numbers @ free["pure"].evaluate(nodes, free["values"], free["pure"].arrays))
    return total

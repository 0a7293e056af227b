"""What chunks of events need in other processes: tables and images, but no models and files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from villard.bayes.images import SkyPixels
from villard.bayes.response import EventResponse

if TYPE_CHECKING:
    from villard.bayes.event_work import LeafPlan

__all__ = ["portable_pixels", "portable_plan"]


def portable_pixels(pixels: SkyPixels) -> SkyPixels:
    """Return pixels to interpolate in, with the tables that are needed to do so only."""
    response = pixels.response
    kept = ("edges", "energy", "nodes", "field", "bounds", "livetime")
    tables = ("edisp_offsets", "_migra_edges", "_fine_edges", "edisp_table", "psf_radius")
    slim = object.__new__(EventResponse)
    slim.__dict__.update({name: getattr(response, name) for name in kept + tables})
    result = object.__new__(SkyPixels)
    result.__dict__.update({"response": slim, "npix": pixels.npix, "step": pixels.step})
    return result


def portable_plan(plan: LeafPlan) -> LeafPlan:
    """Return a plan without the spectra that are left open, which are compiled functions."""
    backgrounds = [(sampler.for_rates(), number, columns) for sampler, number, columns in plan.backgrounds]
    rates = [{"sampler": f["sampler"].for_rates()} for f in plan.free_backgrounds]
    return replace(plan, free=[], backgrounds=backgrounds, free_backgrounds=rates)

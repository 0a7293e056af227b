"""Annihilation of dark matter as gtlike has it (DMFitFunction)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from villard.exceptions import ModelError

__all__ = ["build_dmfit"]


def build_dmfit(settings: Mapping[str, Any]) -> Any:
    """Return the spectrum of a DMFitFunction.

    Raises
    ------
    ModelError
        Always: this version has no such spectrum.
    """
    raise ModelError(
        "the spectrum 'DMFitFunction' can't be read; make it with the models of villard.astro.darkmatter"
    )

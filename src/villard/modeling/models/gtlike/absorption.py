"""Spectra behind the extragalactic background light, gtlike's EblAtten::PowerLaw and the like."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from villard.exceptions import ModelError
from villard.modeling.models.gtlike.table import Conversion, Spectrum

__all__ = ["PREFIX", "absorbed", "absorption_entries", "read_absorption"]

PREFIX = "EblAtten::"
#: Numbers of the models of which there are tables (README_EBLmodels.txt of the Fermi tools).
_MODELS = {4: "franceschini", 5: "finke", 10: "dominguez"}
_NAMES = {4: "Franceschini et al. 2008", 5: "Finke et al. 2010", 10: "Domínguez et al. 2011"}
_TAU, _REDSHIFT = Conversion("tau_norm", "alpha_norm"), Conversion("redshift", "redshift")


def absorption_entries() -> tuple[Conversion, ...]:
    """Return the parameters of the absorption that have a counterpart of ours."""
    return _TAU, _REDSHIFT


def read_absorption(settings: Mapping[str, Any]) -> Any:
    """Return the transmission that ``redshift`` and ``ebl_model`` tell.

    Raises
    ------
    ModelError
        If a parameter is missing, or there is no table of the model.
    """
    from villard.modeling.models import EBLAbsorptionNormSpectralModel

    for name in ("tau_norm", "redshift", "ebl_model"):
        if name not in settings:
            raise ModelError(f"EblAtten: the parameter {name!r} is missing")
    number = settings["ebl_model"].value
    if number not in _MODELS:
        known = ", ".join(f"{key} ({name})" for key, name in _NAMES.items())
        raise ModelError(f"EblAtten: ebl_model {number:g}: there are tables of {known}")
    if settings["ebl_model"].free:
        raise ModelError("EblAtten: ebl_model is a number of a table, it can't be free")
    return EBLAbsorptionNormSpectralModel.read_builtin(_MODELS[int(number)])


def absorbed(entry: Spectrum | None, absorption: Any) -> Spectrum | None:
    """Return gtlike's form of a spectrum times an absorption, `None` if gtlike has none."""
    from villard.modeling.models.spectral.ebl import EBL_DATA_BUILTIN

    file = PurePath(str(absorption._filename or "")).name
    for number, name in _MODELS.items():
        if entry is not None and file == PurePath(EBL_DATA_BUILTIN[name]).name:
            kind = Conversion("ebl_model", None, value=float(number))
            return dataclasses.replace(
                entry, type=PREFIX + entry.type, parameters=(*entry.parameters, _TAU, _REDSHIFT, kind)
            )
    return None

"""Spectra of the rows of Fermi-LAT catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import astropy.units as u

from villard.catalog.core import finite, set_errors
from villard.exceptions import ModelError

__all__ = ["spectrum_2fhl", "spectrum_3fgl", "spectrum_3fhl", "spectrum_4fgl"]


def _unknown(data: Mapping[str, Any], kind: str) -> ModelError:
    return ModelError(f"{data['Source_Name']}: the catalogue has the unknown spectrum {kind!r}")


def _power_law(data: Mapping[str, Any], flux: str, index: str) -> Any:
    from villard.modeling.models import PowerLawSpectralModel

    model = PowerLawSpectralModel(index=data[index], amplitude=data[flux], reference=data["Pivot_Energy"])
    return set_errors(model, index=data[f"Unc_{index}"], amplitude=data[f"Unc_{flux}"])


def _log_parabola(data: Mapping[str, Any], flux: str, index: str, beta: str) -> Any:
    from villard.modeling.models import LogParabolaSpectralModel

    model = LogParabolaSpectralModel(
        amplitude=data[flux], reference=data["Pivot_Energy"], alpha=data[index], beta=data[beta]
    )
    errors = {"amplitude": f"Unc_{flux}", "alpha": f"Unc_{index}", "beta": f"Unc_{beta}"}
    return set_errors(model, **{name: data[column] for name, column in errors.items()})


def spectrum_3fgl(data: Mapping[str, Any]) -> Any:
    """Return the spectrum of a row of 3FGL (Acero et al. 2015, ApJS 218, 23)."""
    from villard.modeling.models import (
        ExpCutoffPowerLaw3FGLSpectralModel,
        SuperExpCutoffPowerLaw3FGLSpectralModel,
    )

    kind = data["SpectrumType"]
    if kind == "PowerLaw":
        return _power_law(data, "Flux_Density", "Spectral_Index")
    if kind == "LogParabola":
        return _log_parabola(data, "Flux_Density", "Spectral_Index", "beta")
    common = {
        "amplitude": data["Flux_Density"],
        "reference": data["Pivot_Energy"],
        "ecut": data["Cutoff"],
    }
    errors = {"amplitude": data["Unc_Flux_Density"], "ecut": data["Unc_Cutoff"]}
    index, index_error = data["Spectral_Index"], data["Unc_Spectral_Index"]
    if kind == "PLExpCutoff":
        model: Any = ExpCutoffPowerLaw3FGLSpectralModel(index=index, **common)
        return set_errors(model, index=index_error, **errors)
    if kind == "PLSuperExpCutoff":
        model = SuperExpCutoffPowerLaw3FGLSpectralModel(index_1=index, index_2=data["Exp_Index"], **common)
        set_errors(model, index_1=index_error, index_2=data["Unc_Exp_Index"], **errors)
        return _fixed_exponent(model, data["Unc_Exp_Index"])
    raise _unknown(data, kind)


def _fixed_exponent(model: Any, error: Any) -> Any:
    """Freeze the exponent of the cutoff where the catalogue's fit did, which gives it no error."""
    model.index_2.frozen = not finite(error) or error <= 0
    return model


def spectrum_4fgl(data: Mapping[str, Any]) -> Any:
    """Return the spectrum of a row of 4FGL, in any release, or of FL16Y.

    Up to DR2 cutoffs are PLSuperExpCutoff2, from DR3 on PLSuperExpCutoff4 (Abdollahi et al. 2020, ApJS 247,
    33; 2022, ApJS 260, 53).
    """
    from villard.modeling.models import (
        SuperExpCutoffPowerLaw4FGLDR3SpectralModel,
        SuperExpCutoffPowerLaw4FGLSpectralModel,
    )

    kind = data["SpectrumType"]
    if kind == "PowerLaw":
        return _power_law(data, "PL_Flux_Density", "PL_Index")
    if kind == "LogParabola":
        return _log_parabola(data, "LP_Flux_Density", "LP_Index", "LP_beta")
    if not kind.startswith("PLSuperExpCutoff"):
        raise _unknown(data, kind)
    new = "PLEC_IndexS" in data
    names = ("PLEC_IndexS", "PLEC_ExpfactorS") if new else ("PLEC_Index", "PLEC_Expfactor")
    columns = {
        "amplitude": "PLEC_Flux_Density",
        "index_1": names[0],
        "expfactor": names[1],
        "index_2": "PLEC_Exp_Index",
    }
    values = {name: data[column] for name, column in columns.items()}
    cls: Any = SuperExpCutoffPowerLaw4FGLDR3SpectralModel if new else SuperExpCutoffPowerLaw4FGLSpectralModel
    model = cls(reference=data["Pivot_Energy"], **values)
    set_errors(model, **{name: data[f"Unc_{column}"] for name, column in columns.items()})
    return _fixed_exponent(model, data["Unc_PLEC_Exp_Index"])


def spectrum_3fhl(data: Mapping[str, Any]) -> Any:
    """Return the spectrum of a row of 3FHL (Ajello et al. 2017, ApJS 232, 18)."""
    kind = data["SpectrumType"]
    if kind == "PowerLaw":
        # The index of the power law has a column of its own; Spectral_Index is the local one.
        return _power_law(data, "Flux_Density", "PowerLaw_Index")
    if kind == "LogParabola":
        return _log_parabola(data, "Flux_Density", "Spectral_Index", "beta")
    raise _unknown(data, kind)


def spectrum_2fhl(data: Mapping[str, Any]) -> Any:
    """Return the spectrum of a row of 2FHL, by flux from 50 GeV to 2 TeV (Ackermann et al. 2016)."""
    from villard.modeling.models import PowerLaw2SpectralModel

    model = PowerLaw2SpectralModel(
        amplitude=data["Flux50"], index=data["Spectral_Index"], emin=0.05 * u.TeV, emax=2 * u.TeV
    )
    return set_errors(model, amplitude=data["Unc_Flux50"], index=data["Unc_Spectral_Index"])

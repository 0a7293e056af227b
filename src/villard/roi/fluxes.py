"""Fluxes of a source with errors and limits, by the names of fermipy."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.modeling.models.gtlike import norm_parameter
from villard.modeling.models.spectral.errors import linear_errors, value_and_jacobian

__all__ = ["BANDS", "HIGHEST", "flux_keys", "flux_results", "held_parameters"]

#: Lower ends of the bands (MeV), as names of results have them; the first is the range of the region.
BANDS = ("", "100", "1000", "10000", "100000")
#: Upper end of the others (MeV), that of fermipy.
HIGHEST = 10**5.5
_TO_TEV = 1e-6
_TO_MEV = 1e6


def flux_keys() -> list[str]:
    """Return the names of all results about fluxes.

    Examples
    --------
    >>> flux_keys()[:3]
    ['flux', 'flux_err', 'flux_ul95']
    """
    keys = []
    for kind in ("flux", "eflux"):
        for band in BANDS:
            keys += [f"{kind}{band}", f"{kind}{band}_err", f"{kind}{band}_ul95"]
    for band in BANDS:
        keys += [f"dnde{band}", f"dnde{band}_err", f"dnde{band}_index"]
    return [*keys, "pivot_energy"]


def flux_results(source: Any, energy_bounds: Any, norm_ul: float = np.nan) -> dict[str, float]:
    """Return fluxes, energy fluxes and differential fluxes of a source.

    Parameters
    ----------
    source : `~villard.roi.Source`
        Source; its covariance gives the errors.
    energy_bounds : `~astropy.units.Quantity`
        Range of the region.
    norm_ul : float
        Upper limit of the normalisation in its unit; NaN for none.

    Returns
    -------
    dict
        ``flux`` (cm-2 s-1), ``eflux`` (MeV cm-2 s-1) in the range, and from 100 MeV, 1, 10 and 100 GeV to
        10^5.5 MeV; ``dnde`` (cm-2 s-1 MeV-1) at the pivot energy, 100 MeV, 1, 10 and 100 GeV; with ``_err``,
        ``_ul95``, and ``_index``. Diffuse emission has the fluxes of its spectrum, NaN where that is only a
        factor. Errors are those of the free parameters, as in the fit; where none is free, of all.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from villard.modeling.models import SkyModel
    >>> from villard.roi import Source
    >>> source = Source(SkyModel.create("pl", "point"), SkyCoord(0, 0, unit="deg"))
    >>> results = flux_results(source, [1, 10] * u.TeV)
    >>> float(round(results["flux"] * 1e13, 6)), float(round(results["dnde_index"], 6))
    (9.0, 2.0)
    """
    spectrum = source.model.spectral_model
    results = dict.fromkeys(flux_keys(), np.nan)
    if not spectrum.unit_of("integral").is_equivalent("cm-2 s-1"):
        return results
    low, high = (u.Quantity(e).to_value("TeV") for e in energy_bounds)
    first = np.array([low, *(float(b) * _TO_TEV for b in BANDS[1:])])
    last = np.array([high, *[HIGHEST * _TO_TEV] * (len(BANDS) - 1)])
    held = held_parameters(spectrum)
    norm = norm_parameter(source.model)
    column = spectrum.parameters.index(norm)
    for kind, name, factor in (("integral", "flux", 1.0), ("energy_flux", "eflux", _TO_MEV)):
        value, error, _ = linear_errors(spectrum, kind, (first, last), held) * factor
        # The flux is proportional to the norm.
        limit = factor * value_and_jacobian(spectrum, kind, (first, last))[1][:, column]
        limit = limit * norm_ul * norm.engine_factor
        for i, band in enumerate(BANDS):
            results[f"{name}{band}"] = float(value[i])
            results[f"{name}{band}_err"] = float(error[i])
            results[f"{name}{band}_ul95"] = float(limit[i])
    pivot = _pivot(spectrum, energy_bounds, held)
    energies = np.array([pivot, *first[1:]])
    value, error, _ = linear_errors(spectrum, "evaluate", (energies,), held) / _TO_MEV
    # The logarithmic slope doesn't depend on the norm, but can't be told without.
    slope = np.full(len(energies), np.nan)
    if np.any(value > 0):
        slope = np.asarray(spectrum.spectral_index(energies * u.TeV), dtype=float)
    for i, band in enumerate(BANDS):
        results[f"dnde{band}"] = float(value[i])
        results[f"dnde{band}_err"] = float(error[i])
        results[f"dnde{band}_index"] = float(slope[i])
    results["pivot_energy"] = pivot / _TO_TEV
    return results


def held_parameters(spectrum: Any) -> NDArray[np.bool_] | None:
    """Return which parameters have no part in errors: those held in a fit of others; `None` for no fit.

    Errors that a catalogue gives to a parameter that is held belong to another fit.
    """
    frozen = np.array([p.frozen for p in spectrum.parameters], dtype=bool)
    return None if frozen.all() else frozen


def _pivot(spectrum: Any, energy_bounds: Any, held: NDArray[np.bool_] | None) -> float:
    """Energy (TeV) of the smallest relative error within the range, or the reference without errors."""
    low, high = (u.Quantity(e).to_value("TeV") for e in energy_bounds)
    energy = np.geomspace(low, high, 201)
    counts = spectrum.parameters if held is None else [p for p in spectrum.parameters if not p.frozen]
    if any(p.error > 0 and not p.is_norm for p in counts):
        with np.errstate(all="ignore"):
            value, error, _ = linear_errors(spectrum, "evaluate", (energy,), held)
            relative = np.nan_to_num(error / value, nan=np.inf)
        if np.any(np.isfinite(relative)):
            return float(energy[int(np.argmin(relative))])
    names = spectrum.parameters.names
    if "reference" in names:
        return float(spectrum.parameters["reference"].engine_value)
    return float(np.sqrt(low * high))

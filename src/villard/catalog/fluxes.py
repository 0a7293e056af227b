"""Flux points and light curves that catalogues have, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

__all__ = ["flux_points_fermi", "flux_points_gammacat", "flux_points_hgps", "light_curve_fermi"]

#: Of errors and limits of the Fermi catalogues.
_META = {"sed_type_init": "flux", "n_sigma": 1, "n_sigma_ul": 2, "sqrt_ts_threshold_ul": 1}
_E2DNDE = u.Unit("erg cm-2 s-1")


def _clean(values: Any) -> Any:
    """Return values with NaN for everything that isn't finite."""
    quantity = u.Quantity(values, dtype=float)
    return np.where(np.isfinite(quantity), quantity, np.nan)


def flux_points_fermi(edges: u.Quantity, flux: Any, errors: Any, nufnu: Any, sqrt_ts: Any) -> Table:
    """Return flux points of a Fermi catalogue, in the GADF format.

    Where the lower error isn't given, the point is an upper limit: the flux plus twice the upper error.

    Parameters
    ----------
    edges : `~astropy.units.Quantity`
        Edges of the bands, shape (n + 1,).
    flux, errors : `~astropy.units.Quantity`
        Flux, shape (n,), and its negative and positive errors, shape (n, 2).
    nufnu : `~astropy.units.Quantity`
        Energy squared times differential flux, shape (n,).
    sqrt_ts : array
        Significances, shape (n,).
    """
    flux, errors = _clean(flux), _clean(errors)
    e2dnde = _clean(nufnu).to(_E2DNDE)
    table = Table(meta=dict(_META, SED_TYPE="flux"))
    table["e_min"], table["e_max"] = edges[:-1], edges[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = e2dnde / flux
    for name, values, factor in (("flux", flux, 1.0), ("e2dnde", e2dnde, ratio)):
        table[name] = values
        table[f"{name}_errn"] = np.abs(errors[:, 0]) * factor
        table[f"{name}_errp"] = errors[:, 1] * factor
    is_ul = np.isnan(errors[:, 0]) & np.isfinite(errors[:, 1])
    table["is_ul"] = is_ul
    for name in ("flux", "e2dnde"):
        limit = table[name].quantity + 2 * table[f"{name}_errp"].quantity
        table[f"{name}_ul"] = np.where(is_ul, limit, np.nan)
    table["sqrt_ts"] = np.where(np.isfinite(sqrt_ts), sqrt_ts, np.nan).astype(float)
    return table


def light_curve_fermi(start: Any, bounds: u.Quantity, flux: Any, errors: Any, sqrt_ts: Any | None) -> Table:
    """Return a light curve of a Fermi catalogue, in the GADF format.

    Parameters
    ----------
    start : array
        Bounds of the intervals (s of the mission's time), shape (n + 1,).
    bounds : `~astropy.units.Quantity`
        Energies.
    flux, errors : `~astropy.units.Quantity`
        Flux, shape (n,), and its errors, shape (n, 2).
    sqrt_ts : array, optional
        Significances, shape (n,).
    """
    from astropy.time import Time

    # The mission's time counts from 2001-01-01 UTC (TT 51910 + 7.428703703703703e-4 d).
    mjd = 51910 + 7.428703703703703e-4 + np.asarray(start, dtype=float) / 86400
    times = Time(mjd, format="mjd", scale="tt")
    table = Table(meta={"SED_TYPE": "flux", "TIMESYS": "tt", "n_sigma": 1, "n_sigma_ul": 2})
    table["time_min"], table["time_max"] = times[:-1].mjd, times[1:].mjd
    n = len(mjd) - 1
    table["e_min"], table["e_max"] = np.repeat(bounds[:1], n), np.repeat(bounds[1:], n)
    table["e_ref"] = np.sqrt(table["e_min"].quantity * table["e_max"].quantity)
    flux, errors = _clean(flux), _clean(errors)
    table["flux"], table["flux_errp"] = flux, errors[:, 1]
    table["flux_errn"] = np.abs(errors[:, 0])
    table["flux_ul"] = flux + 2 * errors[:, 1]
    table["is_ul"] = np.isnan(errors[:, 0]) & np.isfinite(errors[:, 1])
    if sqrt_ts is not None:
        table["sqrt_ts"] = np.asarray(sqrt_ts, dtype=float)
        table["ts"] = table["sqrt_ts"] ** 2
    return table


def flux_points_hgps(data: Mapping[str, Any]) -> Table:
    """Return the flux points of a row of the H.E.S.S. survey."""
    n = int(data["N_Flux_Points"])
    table = Table(meta={"SED_TYPE": "dnde", "n_sigma": 1, "n_sigma_ul": 2})
    columns = {
        "e_ref": "Energy",
        "e_min": "Energy_Min",
        "e_max": "Energy_Max",
        "dnde": "Flux",
        "dnde_errn": "Flux_Err_Lo",
        "dnde_errp": "Flux_Err_Hi",
        "dnde_ul": "Flux_UL",
    }
    for name, column in columns.items():
        table[name] = _clean(data[f"Flux_Points_{column}"][:n])
    table["is_ul"] = np.asarray(data["Flux_Points_Flux_Is_UL"][:n]).astype(bool)
    return table


def flux_points_gammacat(data: Mapping[str, Any]) -> Table | None:
    """Return the flux points of a row of gamma-cat; `None` if there are none."""
    n = int(data["sed_n_points"])
    if n < 1:
        return None
    table = Table(meta={"SED_TYPE": "dnde", "reference_id": data["sed_reference_id"]})
    for name in ("e_ref", "e_min", "e_max", "dnde", "dnde_err", "dnde_errn", "dnde_errp", "dnde_ul"):
        values = _clean(data[f"sed_{name}"][:n])
        if np.any(np.isfinite(values)):
            table[name] = values
    if "dnde_ul" in table.colnames:
        table["is_ul"] = np.isnan(table["dnde"].quantity) & np.isfinite(table["dnde_ul"].quantity)
    return table

"""Files of likelihood profiles: SEDs of GADF and fermipy, tables of several targets, YAML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.flux_points import FluxPoints
from villard.estimators.reference import EnergyBins, ReferenceSpectrum
from villard.estimators.sed_types import SED_UNITS
from villard.exceptions import DataError, FileFormatError
from villard.utils.names import nearest
from villard.utils.paths import make_path

__all__ = ["read_targets", "select_target", "write_sed"]

Array = NDArray[np.float64]
Target = tuple[FluxPoints, str]

_MEV_UNITS = {"dnde": "MeV-1 cm-2 s-1", "flux": "cm-2 s-1", "eflux": "MeV cm-2 s-1"}


def read_targets(filename: str | os.PathLike[str]) -> list[Target]:
    """Return the flux points with profiles of all targets of a file, with their names."""
    path = make_path(filename)
    if not path.is_file():
        raise DataError(f"File of likelihood profiles not found: {path}")
    if path.name.lower().endswith((".yaml", ".yml")):
        return [(_read_yaml(path), path.stem)]
    if ".fit" in path.name.lower():
        from villard.maps.fits import open_fits

        with open_fits(path) as hdulist:
            if "SCANDATA" in [hdu.name for hdu in hdulist]:
                return _read_scandata(hdulist, path)
    points = FluxPoints.read(path)
    if not points.has_stat_profiles:
        raise FileFormatError(
            f"{path}: expected likelihood profiles (columns norm_scan and dloglike_scan or stat_scan), found "
            f"{', '.join(points.available_quantities)}"
        )
    return [(points, path.stem)]


def select_target(
    targets: list[Target], target: str | int | None, filename: str | os.PathLike[str]
) -> Target:
    """Return one of the targets."""
    names = [name for _, name in targets]
    if target is None:
        if len(targets) > 1:
            raise DataError(f"{filename}: there are {len(targets)} targets; name one of {', '.join(names)}")
        return targets[0]
    if isinstance(target, str):
        if target not in names:
            raise DataError(f"{filename}: no target {target!r}. {nearest(target, names)}")
        return targets[names.index(target)]
    if not -len(targets) <= target < len(targets):
        raise DataError(f"{filename}: no target number {target}; there are {len(targets)}")
    return targets[target]


def _read_scandata(hdulist: Any, path: Path) -> list[Target]:
    """Tables of fermipy and its dark-matter pipeline: a row per target, bins in another table."""
    from astropy.table import Table

    if "EBOUNDS" not in [hdu.name for hdu in hdulist]:
        raise FileFormatError(f"{path}: expected a table EBOUNDS beside SCANDATA")
    bounds, scan = Table.read(hdulist["EBOUNDS"]), Table.read(hdulist["SCANDATA"])
    energies, reference = _bounds(bounds, path)
    columns = {name.lower(): name for name in scan.colnames}
    for name in ("norm_scan", "dloglike_scan"):
        if name not in columns:
            raise FileFormatError(f"{path}: SCANDATA has no column {name}, only {', '.join(scan.colnames)}")
    n = len(energies.ref)
    targets = []
    for i, row in enumerate(scan):
        arrays = {}
        for name in ("norm", "norm_err", "norm_errp", "norm_errn", "norm_ul", "ts"):
            if name in columns and np.shape(row[columns[name]]) == (n,):
                arrays[name] = np.asarray(row[columns[name]], dtype=float)
        norm, dloglike = (
            np.asarray(row[columns[x]], dtype=float).reshape(n, -1) for x in ("norm_scan", "dloglike_scan")
        )
        arrays |= {"norm_scan": norm, "stat_scan": -2 * dloglike, "stat": np.zeros(n)}
        arrays.setdefault("norm", norm[np.arange(n), np.argmax(dloglike, axis=1)])
        points = FluxPoints._make(energies, arrays, reference, "likelihood", {"n_sigma_ul": 1.6449}, None)
        name = str(row[columns["target"]]).strip() if "target" in columns else f"row {i}"
        targets.append((points, name))
    return targets


def _bounds(table: Any, path: Path) -> tuple[EnergyBins, ReferenceSpectrum]:
    columns = {name.lower().replace("dfde", "dnde"): table[name] for name in table.colnames}
    missing = [name for name in ("e_min", "e_max", "ref_flux", "ref_eflux") if name not in columns]
    if missing:
        raise FileFormatError(f"{path}: EBOUNDS has no column {', '.join(missing)}")
    low, high = (
        (np.asarray(columns[x], dtype=float) * (columns[x].unit or u.MeV)).to_value(u.MeV)
        for x in ("e_min", "e_max")
    )
    # Edges in single precision: neighbours shall meet.
    low[1:] = np.where(np.isclose(low[1:], high[:-1], rtol=1e-5), high[:-1], low[1:])
    ref = np.sqrt(low * high)
    energies = EnergyBins(ref, low, high, u.MeV)
    values = {
        key: _in_units(columns[f"ref_{key}"], key)
        for key in ("flux", "eflux", "dnde")
        if f"ref_{key}" in columns
    }
    if "dnde" not in values:
        values["dnde"] = values["flux"] / ((1 / low - 1 / high) * ref**2 * float(u.MeV.to(u.TeV)))
    return energies, ReferenceSpectrum.from_columns(energies, values)


def _in_units(column: Any, key: str) -> Array:
    """Values in the units of SEDs; columns without a unit are in MeV, as fermipy writes them."""
    from villard.estimators.sed_types import in_unit

    unit = getattr(column, "unit", None) or u.Unit(_MEV_UNITS[key])
    return in_unit(np.asarray(column, dtype=float), unit, SED_UNITS[key], f"EBOUNDS, column ref_{key}")


# YAML


def _read_yaml(path: Path) -> FluxPoints:
    """A list of bins with edges in MeV and tables of flux, eflux and logLike, as fermipy's tools write it."""
    bins = _load_yaml(path)
    needed = ("emin", "emax", "eflux", "logLike")
    if not isinstance(bins, list) or not all(isinstance(b, dict) and set(needed) <= set(b) for b in bins):
        raise FileFormatError(f"{path}: expected a list of bins, each with {', '.join(needed)}")
    low, high = (np.array([float(b[key]) for b in bins]) for key in ("emin", "emax"))
    eflux, loglike = (np.array([b[key] for b in bins], dtype=float) for key in ("eflux", "logLike"))
    order = np.argsort(low)
    low, high, eflux, loglike = low[order], high[order], eflux[order], loglike[order]
    ref = np.sqrt(low * high)
    energies = EnergyBins(ref, low, high, u.MeV)
    # Norms are relative to the greatest flux in the table; other fluxes follow from an index of 2.
    scale = eflux[:, -1]
    flux = scale * (1 / low - 1 / high) / np.log(high / low)
    if all("flux" in b for b in bins):
        flux = np.array([b["flux"] for b in bins], dtype=float)[order][:, -1]
    values = {"eflux": scale, "flux": flux, "dnde": scale / (np.log(high / low) * ref**2)}
    columns = {key: v * float(u.Unit(_MEV_UNITS[key]).to(SED_UNITS[key])) for key, v in values.items()}
    stat = -2 * loglike
    norm = eflux / scale[:, None]
    arrays = {
        "norm_scan": norm,
        "stat_scan": stat,
        "norm": norm[np.arange(len(norm)), np.argmin(stat, axis=1)],
    }
    # The table's best value need not be the best fit.
    inner = np.argmin(stat, axis=1) > 0
    arrays["norm"][inner] = np.nan
    reference = ReferenceSpectrum.from_columns(energies, columns)
    return FluxPoints._make(energies, arrays, reference, "likelihood", {}, None)


def _load_yaml(path: Path) -> Any:
    """Read YAML whose numbers are pickled numpy arrays, without running anything that it asks for."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def sequence(loader: Any, node: Any) -> Any:
        return tuple(loader.construct_sequence(node, deep=True))

    def apply(loader: Any, suffix: str, node: Any) -> Any:
        kind = suffix.rsplit(".", 1)[-1]
        if isinstance(node, yaml.SequenceNode):
            args, state = loader.construct_sequence(node, deep=True), None
        else:
            content = loader.construct_mapping(node, deep=True)
            args, state = content.get("args", []), content.get("state")
        if kind == "dtype":
            return np.dtype(str(args[0])).newbyteorder(state[1] if state and state[1] in "<>" else "=")
        if kind == "scalar":
            # Bytes that happen to be text are written as such by Python 2.
            raw = args[1].encode() if isinstance(args[1], str) else args[1]
            return float(np.frombuffer(raw, dtype=args[0])[0])
        if kind == "_reconstruct" and state is not None:
            return np.frombuffer(state[4], dtype=state[2]).reshape(state[1]).astype(float)
        raise FileFormatError(f"{path}: can't read an object of the kind {suffix!r}")

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", sequence)
    for kind in ("str", "unicode"):
        Loader.add_constructor(f"tag:yaml.org,2002:python/{kind}", lambda loader, node: node.value)
    Loader.add_multi_constructor("tag:yaml.org,2002:python/object/apply:", apply)
    Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)
    try:
        with path.open() as stream:
            return yaml.load(stream, Loader=Loader)
    except yaml.YAMLError as error:
        raise FileFormatError(f"{path}: expected YAML, but it can't be read ({error})") from error


def write_sed(points: FluxPoints, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write flux points with profiles as GADF's ``likelihood`` SED."""
    points.write(filename, sed_type="likelihood", overwrite=overwrite)

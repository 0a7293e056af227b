"""Sources and parameters of a region of interest as tables, with fermipy's names of columns."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import VillardError
from villard.modeling.models.gtlike import (
    gtlike_name,
    gtlike_parameters,
    norm_parameter,
    spatial_type,
    spectrum_type,
)
from villard.roi.products import is_angle

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.roi.source import Source

__all__ = ["catalog_table", "params_table", "roi_table", "sources_table"]

#: Parameters per source that have room in the table of the catalogue.
_N_PARAMS = 10
_FLUX, _EFLUX, _DNDE = "ph cm-2 s-1", "MeV cm-2 s-1", "ph cm-2 s-1 MeV-1"
_NAN = float("nan")


def catalog_table(roi: Any) -> Table:
    """Return a table with a row per source: position, spectrum, TS, counts, fluxes, profiles.

    Columns are named as those of fermipy; energies are in MeV. Results that have other forms than numbers and
    lists of numbers aren't in it.
    """
    from astropy.table import Table

    rows = [_row(source) for source in roi.sources]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = Table()
    for key in keys:
        values = [row.get(key) for row in rows]
        column = _column(values)
        if column is not None:
            table[key] = column
            unit = _unit(key)
            if unit:
                table[key].unit = unit
    table.meta["EXTNAME"] = "CATALOG"
    return table


def _column(values: list[Any]) -> Any:
    """Return numbers, texts or lists of equal length (filled with NaN); `None` for anything else."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in known):
        return np.array(["" if value is None else value for value in values], dtype=str)
    if all(isinstance(value, bool | np.bool_) for value in known):
        return np.array([bool(value) for value in values])
    try:
        arrays = [np.asarray(value) for value in known]
    except ValueError:
        return None
    if any(array.dtype.kind == "U" for array in arrays):
        length = max(array.size for array in arrays)
        texts = [[] if value is None else [str(v) for v in np.ravel(value)] for value in values]
        return np.array([text + [""] * (length - len(text)) for text in texts], dtype=str)
    if any(array.dtype.kind not in "iuf" or array.ndim > 1 for array in arrays):
        return None
    if all(array.ndim == 0 for array in arrays):
        return np.array([_NAN if value is None else value for value in values], dtype=float)
    length = max(array.size for array in arrays)
    data = np.full((len(values), length), np.nan)
    for i, value in enumerate(values):
        if value is not None and np.ndim(value) == 1:
            data[i, : np.size(value)] = value
    return data


def _unit(key: str) -> str:
    base = key.removesuffix("_err").removesuffix("_ul95").rstrip("0123456789")
    if key.endswith("_index"):
        return ""
    if is_angle(key):
        return "deg"
    if base in ("RAJ", "DEJ") or key in ("GLON", "GLAT") or key.startswith(("offset", "Conf_")):
        return "deg"
    if key in ("pivot_energy", "Pivot_Energy", "Cutoff"):
        return "MeV"
    if key == "Flux_Density":
        return _DNDE
    units = {"flux": _FLUX, "eflux": _EFLUX, "dnde": _DNDE, "flux_scan": _FLUX, "eflux_scan": _EFLUX}
    return units.get(base, "")


def _row(source: Source) -> dict[str, Any]:
    row: dict[str, Any] = {
        "Source_Name": source.name,
        "name": source.name,
        "class": str(source.get("CLASS", source.get("CLASS1", ""))).strip(),
        "SpectrumType": spectrum_type(source.model),
        "SpatialType": spatial_type(source.model),
        "SpatialModel": _spatial_model(source),
        "SourceType": "DiffuseSource" if source.is_diffuse or source.extended else "PointSource",
    }
    row |= _position(source)
    row |= _spectrum(source)
    for key, value in source.results.items():
        row.setdefault(key, value)
    names, values, errors = _parameters(source)
    row |= {"param_names": names, "param_values": values, "param_errors": errors}
    for level in ("68", "95"):
        for key in ("PosAng", "SemiMajor", "SemiMinor"):
            value = source.catalog.get(f"Conf_{level}_{key}")
            row[f"Conf_{level}_{key}"] = _NAN if value is None else float(getattr(value, "value", value))
    return row


def _spatial_model(source: Source) -> str:
    kind = spatial_type(source.model)
    return "PointSource" if kind == "SkyDirFunction" else kind


def _position(source: Source) -> dict[str, float]:
    position = source.skydir
    offsets = ("offset_ra", "offset_dec", "offset_glon", "offset_glat")
    keys = ("RAJ2000", "DEJ2000", "GLON", "GLAT", *offsets)
    if position is None:
        return {**dict.fromkeys(keys, _NAN), "offset": 0.0}
    equatorial, galactic = position.icrs, position.galactic
    result = {
        "RAJ2000": equatorial.ra.deg,
        "DEJ2000": equatorial.dec.deg,
        "GLON": galactic.l.deg,
        "GLAT": galactic.b.deg,
        "offset": source.offset,
    }
    return {key: float(value) for key, value in (result | {key: source[key] for key in offsets}).items()}


def _spectrum(source: Source) -> dict[str, float]:
    """Return the columns of spectra as the catalogues of the Fermi-LAT collaboration have them."""
    keys = ("Flux_Density", "Spectral_Index", "Pivot_Energy", "beta", "Exp_Index", "Cutoff", "Expfactor")
    result = dict.fromkeys(keys, _NAN)
    if source.is_diffuse:
        return result
    with contextlib.suppress(VillardError):
        found = {p.name: p.value for p in gtlike_parameters(source.model)}
        indices = {key: -found[key] for key in ("Index", "Index1", "IndexS") if key in found}
        result["Spectral_Index"] = next(iter(indices.values()), found.get("alpha", _NAN))
        result["beta"] = found.get("beta", _NAN)
        result["Exp_Index"] = found.get("Index2", _NAN) if "Index1" not in found or len(found) > 4 else _NAN
        result["Cutoff"] = found.get("Cutoff", _NAN)
        result["Expfactor"] = found.get("ExpfactorS", found.get("Expfactor", _NAN))
    names = source.spectral_model.parameters.names
    if "reference" in names:
        pivot = source.spectral_model.parameters["reference"].quantity
        result["Pivot_Energy"] = float(pivot.to_value("MeV"))
        result["Flux_Density"] = float(source.spectral_model(pivot).to_value("cm-2 s-1 MeV-1"))
    return result


def _parameters(source: Source) -> tuple[list[str], list[float], list[float]]:
    try:
        entries = [(p.name, p.value, p.error) for p in gtlike_parameters(source.model)]
    except VillardError:
        spectral = source.spectral_model.parameters
        entries = [(n, p.value, p.error) for n, p in zip(spectral.names, spectral, strict=True)]
    # A table of fixed width, as fermipy's; PARAMS has all.
    entries = entries[:_N_PARAMS] + [("", _NAN, _NAN)] * (_N_PARAMS - len(entries))
    names, values, errors = (list(column) for column in zip(*entries, strict=True))
    return names, values, errors


def params_table(roi: Any) -> Table:
    """Return a table with a row per parameter, by our names and those of gtlike."""
    from astropy.table import Table

    rows = []
    for source in roi.sources:
        spectral = source.spectral_model.parameters
        norm = norm_parameter(source.model)
        for name, parameter in zip(source.model.parameters.names, source.model.parameters, strict=True):
            group = "norm" if parameter is norm else "shape" if parameter in spectral else "spatial"
            rows.append(
                (
                    source.name,
                    name,
                    gtlike_name(source.model, parameter),
                    group,
                    "spectral" if parameter in spectral else "spatial",
                    parameter.value,
                    parameter.error,
                    roi.parameter_scale(source.name, name),
                    parameter.min,
                    parameter.max,
                    not parameter.frozen,
                    (source.name, name) in roi.locked,
                    parameter.unit.to_string("fits"),
                    "all" if source.model.datasets_names is None else ",".join(source.model.datasets_names),
                )
            )
    names = ["source_name", "name", "gtlike_name", "group", "type", "value", "error", "scale", "min", "max"]
    names += ["free", "locked", "unit", "component"]
    table = Table(rows=rows, names=names)
    table.meta["EXTNAME"] = "PARAMS"
    return table


def sources_table(roi: Any) -> Table:
    """Return a table of the files and types of the sources."""
    from astropy.table import Table

    rows = [
        (
            source.name,
            spectrum_type(source.model),
            spatial_type(source.model),
            source["Spectrum_Filename"] or "",
            source["Spatial_Filename"] or str(getattr(source.model, "filename", "") or ""),
            "all" if source.model.datasets_names is None else ",".join(source.model.datasets_names),
            1.0,
        )
        for source in roi.sources
    ]
    names = ("source_name", "spectrum_type", "spatialModel_type", "spectrum_file", "spatialModel_file")
    table = Table(rows=rows, names=(*names, "component", "expscale"))
    table.meta["EXTNAME"] = "SOURCES"
    return table


def roi_table(roi: Any) -> Table:
    """Return a table with a row per component and bin of energy: counts, and those that are predicted."""
    from astropy.table import Table

    rows = []
    for dataset in roi.datasets:
        edges = dataset.geom.axes["energy"].edges.to_value("MeV")
        mask = dataset._mask_array().reshape(dataset.data_shape)
        weights = 1.0 if dataset.weights is None else dataset.weights.data
        npred = dataset.npred().data
        for i in range(len(edges) - 1):
            inside = mask[i]
            weight = np.broadcast_to(weights, npred.shape)[i][inside]
            rows.append(
                (
                    dataset.name,
                    edges[i],
                    edges[i + 1],
                    float(dataset.counts.data[i][inside].sum()),
                    float(npred[i][inside].sum()),
                    float((npred[i][inside] * weight).sum()),
                )
            )
    names = ("component", "e_min", "e_max", "counts", "model_counts", "model_counts_wt")
    table = Table(rows=rows, names=names, units={"e_min": "MeV", "e_max": "MeV"})
    table.meta["EXTNAME"] = "ROI"
    return table

"""Models of a region as XML files of gtlike, one per component."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from villard.exceptions import FileFormatError, ModelError, VillardError
from villard.roi.source import file_of
from villard.utils.io import atomic_write
from villard.utils.paths import make_path

__all__ = ["link_norm", "read_xml", "write_xml"]

log = logging.getLogger(__name__)


def write_xml(roi: Any, paths: list[Path], overwrite: bool) -> list[Path]:
    """Write models for gtlike; spectra that are tables in no file go beside them."""
    from villard.modeling.models.gtlike import write_gtlike_xml

    written: list[Path] = []
    told: set[str] = set()
    with _tables_in_files(roi, paths[0], overwrite) as tables:
        for dataset, path in zip(roi.datasets, paths, strict=True):
            models = []
            for model in roi.models:
                if not model.contributes_to(dataset.name):
                    continue
                try:
                    write_gtlike_xml([model], _scratch(path), overwrite=True)
                    models.append(model)
                except VillardError as error:
                    if model.name not in told:
                        log.warning("%s: left out, gtlike doesn't have it: %s", path, error)
                    told.add(model.name)
                finally:
                    _scratch(path).unlink(missing_ok=True)
            write_gtlike_xml(models, path, overwrite=overwrite)
            written.append(path)
    return [*written, *tables]


@contextmanager
def _tables_in_files(roi: Any, xml: Path, overwrite: bool) -> Iterator[list[Path]]:
    """Write spectra that are tables in no file for gtlike's FileFunction; they have names meanwhile."""
    stem = xml.name.rsplit("_", 1)[0]
    found: list[tuple[Any, Path]] = []
    for model in roi.models:
        spectral = getattr(model, "spectral_model", None)
        parts = [spectral, *(getattr(spectral, name, None) for name in ("model1", "model2"))]
        for part in parts:
            meta = getattr(part, "meta", None)
            if isinstance(meta, dict) and not meta.get("filename"):
                safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in model.name)
                found.append((part, xml.with_name(f"{stem}_{safe}.txt")))
    try:
        for table, path in found:
            energy, values = table.energy.to_value("MeV"), table.values
            factor = str(values.unit) == ""
            flux = values.value if factor else values.to_value("cm-2 s-1 MeV-1")
            with atomic_write(path, overwrite) as temporary:
                np.savetxt(temporary, np.column_stack([energy, flux]), fmt="%.17g")
            table.meta["filename"] = str(path)
        yield [path for _, path in found]
    finally:
        for table, _ in found:
            table.meta.pop("filename", None)


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def read_xml(roi: Any, name: str | os.PathLike[str]) -> list[Any]:
    """Return the models of XML files for a region; see `villard.roi.ROI.load_xml`."""
    from villard.modeling.models.gtlike import read_gtlike_xml

    paths = _xml_paths(name, len(roi.datasets))
    libraries = [{model.name: model for model in read_gtlike_xml(path)} for path in paths]
    if len(paths) == 1:
        found = libraries[0]
        _as_before(roi, found, paths[0])
    else:
        found = _joined(roi, dict(zip(paths, libraries, strict=True)))
    _link(roi, found)
    kept = [m for m in roi.models if getattr(m, "is_npred_template", False) and m.name not in found]
    return [*found.values(), *kept]


def _joined(roi: Any, libraries: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """Return the models of all components: those that all of them have are one."""
    found: dict[str, Any] = {}
    paths = list(libraries)
    for name in dict.fromkeys(name for library in libraries.values() for name in library):
        own = {i: libraries[path][name] for i, path in enumerate(paths) if name in libraries[path]}
        leader = next(iter(own.values()))
        for i, model in own.items():
            _check_same(leader, model, paths[i])
        datasets = [roi.datasets[i].name for i in own]
        if len({file_of(model.spectral_model) for model in own.values()}) > 1:
            # Isotropic emission of each component, with one norm, as fermipy writes it.
            for dataset, model in zip(datasets, own.values(), strict=True):
                model.name, model.datasets_names = f"{name}_{dataset}", [dataset]
                found[model.name] = model
                if model is not leader:
                    link_norm(model, leader)
            continue
        leader.datasets_names = None if len(own) == len(paths) else datasets
        found[name] = leader
    return found


def _xml_paths(name: str | os.PathLike[str], number: int) -> list[Path]:
    path = make_path(name)
    stem = path.with_name(path.name.removesuffix(".xml"))
    each = [stem.with_name(f"{stem.name}_{i:02d}.xml") for i in range(number)]
    for candidates in ([path], [stem.with_name(f"{stem.name}.xml")], each):
        if all(candidate.is_file() for candidate in candidates):
            return candidates
    missing = next(candidate for candidate in each if not candidate.is_file())
    raise FileFormatError(f"{path}: no such XML file, nor is there {missing}")


def _check_same(first: Any, other: Any, path: Path) -> None:
    """Raise `ModelError` if a source that components share differs from file to file."""
    one, two = (dict(zip(m.parameters.names, m.parameters.value, strict=True)) for m in (first, other))
    if list(one) != list(two):
        raise ModelError(f"{path}: source {first.name!r} isn't of the kind that it is of in another file")
    for key, value in one.items():
        if value != two[key]:
            raise ModelError(
                f"{path}: source {first.name!r} has {key} = {two[key]:g}, but {value:g} in another file; "
                "components share their sources"
            )


def _as_before(roi: Any, found: dict[str, Any], path: Path) -> None:
    """Let models of one file contribute where those of their names do; keep what other components have."""
    for source in roi.sources:
        where = source.model.datasets_names
        if where is None:
            continue
        if source.name in found:
            found[source.name].datasets_names = list(where)
        elif not getattr(source.model, "is_npred_template", False):
            log.warning("%s: it hasn't %r, which stays as it is", path, source.name)
            found[source.name] = source.model


def _link(roi: Any, found: dict[str, Any]) -> None:
    """Let models share the norms that those of their names share."""
    from villard.modeling.models.gtlike import norm_parameter

    first: dict[int, Any] = {}
    for source in roi.sources:
        new = found.get(source.name)
        if new is None or not hasattr(new.spectral_model, "model1"):
            continue
        leader = first.setdefault(id(norm_parameter(source.model)), new)
        if leader is not new:
            link_norm(new, leader)


def link_norm(model: Any, other: Any) -> None:
    """Give two models whose spectra are products, such as isotropic ones, one norm."""
    for part in (model.spectral_model.model1, model.spectral_model.model2):
        if hasattr(part, "norm"):
            part.norm = next(
                p.norm
                for p in (other.spectral_model.model1, other.spectral_model.model2)
                if hasattr(p, "norm")
            )

"""XML files of source models of the Fermi tools: reading."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from villard.exceptions import FileFormatError, ModelError, VillardError
from villard.modeling.models.gtlike.build import (
    MissingFileError,
    Setting,
    build_spatial,
    build_spectrum,
    expand,
)
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from villard.modeling.models import Models, SkyModel

__all__ = ["read_gtlike_xml", "source_from_element"]

log = logging.getLogger(__name__)
_SOURCES = ("PointSource", "DiffuseSource")


def read_gtlike_xml(
    path: str | os.PathLike[str], missing_files: str = "error", folder: str | os.PathLike[str] | None = None
) -> Models:
    """Read the sources of an XML file of the Fermi tools.

    Values are true ones (value times scale) in our conventions: the index of a falling spectrum is positive.
    Limits are kept, except those of positions. Files that it names are looked for where it says (``$VAR`` and
    ``$(VAR)`` are expanded) and beside the XML file.

    Parameters
    ----------
    path : str or path-like
        File.
    missing_files : {"error", "skip"}
        What happens with sources whose maps or spectra aren't there: an error, or they are left out and a
        warning is logged that names them.
    folder : str or path-like, optional
        Another folder in which files are looked for.

    Returns
    -------
    `~villard.modeling.models.Models`
        Sources, in the order of the file.

    Raises
    ------
    FileFormatError
        If the file isn't there, or isn't a source library.
    ModelError
        If a source has an unknown spectrum or morphology; the message names both.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "model.xml"
    >>> _ = file.write_text('''<source_library><source name="A" type="PointSource"><spectrum type="PowerLaw">
    ...   <parameter name="Prefactor" value="2" scale="1e-12" min="0.01" max="100" free="1"/>
    ...   <parameter name="Index" value="2.2" scale="-1" min="0" max="5" free="1"/>
    ...   <parameter name="Scale" value="1000" scale="1" min="1" max="1e5" free="0"/></spectrum>
    ...   <spatialModel type="SkyDirFunction"><parameter name="RA" value="83.6" scale="1" free="0"/>
    ...   <parameter name="DEC" value="22" scale="1" free="0"/></spatialModel></source></source_library>''')
    >>> model = read_gtlike_xml(file)["A"]
    >>> model.spectral_model.index.value, model.spectral_model.amplitude.quantity
    (2.2, <Quantity 2.e-12 1 / (MeV s cm2)>)
    """
    from villard.modeling.models import Models

    if missing_files not in ("error", "skip"):
        raise ModelError(f"missing_files must be 'error' or 'skip', found {missing_files!r}")
    path = make_path(path)
    root = _parsed(path)
    folders = [path.parent] if folder is None else [make_path(folder), path.parent]
    models, missing = [], []
    for element in root.findall("source"):
        try:
            models.append(source_from_element(element, folders))
        except MissingFileError as error:
            missing.append(str(error))
        except VillardError as error:
            raise type(error)(f"{path}: {error}") from error
    if missing and missing_files == "error":
        raise MissingFileError(f"{path}: {'; '.join(missing)}")
    for message in missing:
        log.warning("%s: left out: %s", path, message)
    return Models(models)


def _parsed(path: Path) -> Any:
    if not path.is_file():
        raise FileFormatError(f"XML file of sources not found: {path}")
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise FileFormatError(f"{path}: not an XML file: {error}") from error
    if root.tag != "source_library":
        raise FileFormatError(f"{path}: expected a source_library, found {root.tag!r}")
    unknown = [child.tag for child in root if child.tag != "source"]
    if unknown:
        raise FileFormatError(f"{path}: expected sources, found {unknown[0]!r}")
    return root


def source_from_element(element: Any, folders: list[Path]) -> SkyModel:
    """Return the model of one ``source`` of an XML file."""
    name = element.get("name")
    if not name:
        raise FileFormatError("a source has no name")
    kind = element.get("type")
    try:
        if kind not in _SOURCES:
            raise ModelError(f"unknown type {kind!r}, expected one of {', '.join(_SOURCES)}")
        return _sky_model(name, element, folders)
    except VillardError as error:
        raise type(error)(f"source {name!r}: {error}") from error


def _sky_model(name: str, element: Any, folders: list[Path]) -> SkyModel:
    from villard.modeling.models import SkyModel

    spectrum, spatial = _child(element, "spectrum"), _child(element, "spatialModel")
    spatial_type = spatial.get("type", "")
    model = build_spatial(spatial_type, _settings(spatial), _file(spatial, folders))
    factor = spatial_type == "MapCubeFunction"
    kind = spectrum.get("type", "")
    # The table of photon spectra of gtlike isn't needed.
    file = None if kind == "DMFitFunction" else _file(spectrum, folders)
    spectral = build_spectrum(kind, _settings(spectrum), file, factor)
    apply_irf = {"edisp": spectrum.get("apply_edisp", "true").strip().lower() not in ("false", "0", "no")}
    if spatial_type == "ConstantValue":
        # The PSF leaves it as it is.
        apply_irf["psf"] = False
    return SkyModel(spectral, model, name=name, apply_irf=apply_irf)


def _child(element: Any, tag: str) -> Any:
    found = element.findall(tag)
    if len(found) != 1:
        raise FileFormatError(f"expected one {tag!r}, found {len(found)}")
    return found[0]


def _file(element: Any, folders: list[Path]) -> Path | None:
    name = element.get("file")
    if name is None:
        return None
    for folder in folders[:-1]:
        try:
            return expand(name, folder)
        except MissingFileError:
            continue
    return expand(name, folders[-1])


def _settings(element: Any) -> dict[str, Setting]:
    return {item.get("name", ""): _setting(item) for item in element.findall("parameter")}


def _setting(item: Any) -> Setting:
    name = item.get("name", "")
    scale = _number(item, "scale", name, 1.0)
    value = _number(item, "value", name, None) * scale
    limits = [_number(item, key, name, math.nan) * scale for key in ("min", "max")]
    if scale < 0:
        limits.reverse()
    error = abs(_number(item, "error", name, 0.0) * scale)
    free = str(item.get("free", "0")).strip().lower() in ("1", "true", "yes")
    return Setting(value, error if math.isfinite(error) else 0.0, limits[0], limits[1], free)


def _number(item: Any, key: str, name: str, default: float | None) -> float:
    text = item.get(key)
    if text is None and default is not None:
        return default
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"parameter {name!r}: {key} must be a number, found {text!r}") from error

"""XML files of source models of the Fermi tools: writing."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from villard.exceptions import ModelError
from villard.modeling.models.gtlike.dark_matter import TABLE
from villard.modeling.models.gtlike.names import GtlikeParameter, gtlike_parameters, resolve, spatial_type
from villard.utils.io import atomic_write, check_overwrite

__all__ = ["write_gtlike_xml"]

_FALLING = ("Index", "Index1", "Index2", "IndexS")
_SIZES = {"RadialDisk": ("Radius", "r_0"), "RadialGaussian": ("Sigma", "sigma")}
#: Limits, in units of the scale, of parameters that have none of their own; gtlike wants some.
_WIDE = {"norm": (-1e5, 1e5), "index": (-10.0, 10.0), "energy": (1e-3, 1e9), "other": (-1e3, 1e3)}
_ENERGIES = (
    *("Scale", "Eb", "LowerLimit", "UpperLimit", "BreakValue", "Cutoff", "Ebreak", "Eabs", "Ep", "P1"),
    *("Mean", "Sigma"),
)


def write_gtlike_xml(models: Iterable[Any], path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write sources as an XML file of the Fermi tools.

    Normalisations get a power of ten as scale, indices of falling spectra the scale -1. Where a parameter has
    no limits, wide ones are written, since gtlike wants some.

    Parameters
    ----------
    models : iterable of `~villard.modeling.models.SkyModel`
        Sources.
    path : str or path-like
        File.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ModelError
        If gtlike can't express a source; the message names it, and nothing is written.
    OverwriteError
        If the file exists and ``overwrite`` is false.

    Examples
    --------
    >>> import tempfile
    >>> from villard.modeling.models import Models, SkyModel
    >>> from villard.modeling.models.gtlike import read_gtlike_xml
    >>> file = f"{tempfile.mkdtemp()}/model.xml"
    >>> write_gtlike_xml(Models([SkyModel.create("lp", "point", name="A")]), file)
    >>> read_gtlike_xml(file)["A"].spectral_model.tag[1]
    'lp'
    """
    path = check_overwrite(path, overwrite)
    root = ElementTree.Element("source_library", title="source library")
    for model in models:
        root.append(_source(model))
    ElementTree.indent(root)
    with atomic_write(path, overwrite) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def _source(model: Any) -> Any:
    where = f"source {model.name!r}"
    spatial = getattr(model, "spatial_model", None)
    if getattr(model, "is_npred_template", False) or getattr(model, "is_background", False):
        raise ModelError(f"{where}: a template of counts can't be written as a source of gtlike")
    if spatial is None:
        raise ModelError(f"{where}: it has no spatial model, which gtlike needs")
    if getattr(model, "temporal_model", None) is not None:
        raise ModelError(f"{where}: gtlike has no sources that vary with time")
    kind = spatial_type(model)
    source = ElementTree.Element(
        "source", name=model.name, type="PointSource" if kind == "SkyDirFunction" else "DiffuseSource"
    )
    source.append(_spectrum(model, where))
    source.append(_morphology(kind, spatial, where))
    return source


def _spectrum(model: Any, where: str) -> Any:
    spectrum, spectral = resolve(model)
    if spectrum is None:
        raise ModelError(f"{where}: gtlike has no spectrum like {type(spectral).__name__}")
    element = ElementTree.Element("spectrum", type=spectrum.type)
    if not model.apply_irf.get("edisp", True):
        element.set("apply_edisp", "false")
    if spectrum.type == "FileFunction":
        element.set("file", _spectrum_file(model.spectral_model, where))
    if spectrum.type == "DMFitFunction":
        element.set("file", TABLE)
    for parameter in gtlike_parameters(model):
        _parameter(element, parameter, _kind(parameter.name, spectrum.norm))
    return element


def _kind(name: str, norm: str) -> str:
    if name == norm:
        return "norm"
    if name in _FALLING:
        return "index"
    return "energy" if name in _ENERGIES else "other"


def _spectrum_file(spectral: Any, where: str) -> str:
    parts = [spectral, *(getattr(spectral, name, None) for name in ("model1", "model2", "model"))]
    for part in parts:
        filename = getattr(part, "meta", {}).get("filename") if hasattr(part, "meta") else None
        if filename:
            return str(filename)
    raise ModelError(
        f"{where}: the table of its spectrum has no file: set meta['filename'] of the TemplateSpectralModel"
    )


def _parameter(element: Any, parameter: GtlikeParameter, kind: str) -> None:
    value = parameter.value
    scale = _scale(parameter.name, value, kind)
    low, high = sorted(bound * math.copysign(1, scale) for bound in _WIDE[kind])
    low, high = low * abs(scale), high * abs(scale)
    if parameter.parameter is None and kind == "other":
        low, high = min(value, 0.0), max(10 * value, 1.0)
    bounds = [
        own if math.isfinite(own) else wide
        for own, wide in ((parameter.min, min(low, value)), (parameter.max, max(high, value)))
    ]
    scaled = [bound / scale for bound in bounds]
    attributes = {
        "name": parameter.name,
        "value": repr(float(value / scale)),
        "scale": repr(float(scale)),
        "min": repr(float(min(scaled))),
        "max": repr(float(max(scaled))),
        "free": "1" if parameter.free else "0",
    }
    if parameter.error > 0 and math.isfinite(parameter.error):
        attributes["error"] = repr(float(parameter.error / abs(scale)))
    ElementTree.SubElement(element, "parameter", attributes)


def _scale(name: str, value: float, kind: str) -> float:
    if kind == "norm":
        return 10.0 ** math.floor(math.log10(abs(value))) if value else 1.0
    # The exponent of a cutoff has the name of an index, but falls when it is positive.
    return -1.0 if kind == "index" and value < 0 else 1.0


def _morphology(kind: str, spatial: Any, where: str) -> Any:
    element = ElementTree.Element("spatialModel", type=kind)
    if kind in ("SpatialMap", "MapCubeFunction"):
        if spatial.filename is None:
            raise ModelError(f"{where}: its template has no file: write the template first")
        if not spatial.normalize and kind == "SpatialMap":
            raise ModelError(f"{where}: maps of gtlike are normalised, its template isn't")
        element.set("file", str(spatial.filename))
        _fixed(element, "Prefactor" if kind == "SpatialMap" else "Normalization", 1.0, 0.0, 1e3)
    elif kind == "ConstantValue":
        _fixed(element, "Value", float(spatial.value.quantity.to_value("sr-1")), 0.0, 1e3)
    elif kind == "SkyDirFunction" or kind in _SIZES:
        _centre(element, spatial)
        if kind in _SIZES:
            name, ours = _SIZES[kind]
            if spatial.e.value != 0:
                raise ModelError(
                    f"{where}: gtlike's {kind} is round, found the eccentricity {spatial.e.value:g}"
                )
            size = spatial.parameters[ours].quantity.to_value("deg")
            _fixed(element, name, float(size), 0.0, 180.0, not spatial.parameters[ours].frozen)
    else:
        raise ModelError(f"{where}: gtlike has no morphology like {type(spatial).__name__}")
    return element


def _centre(element: Any, spatial: Any) -> None:
    position = spatial.position.icrs
    free = not (spatial.lon_0.frozen and spatial.lat_0.frozen)
    _fixed(element, "RA", float(position.ra.deg), -360.0, 360.0, free)
    _fixed(element, "DEC", float(position.dec.deg), -90.0, 90.0, free)


def _fixed(element: Any, name: str, value: float, low: float, high: float, free: bool = False) -> None:
    attributes = {"name": name, "value": repr(value), "scale": "1.0", "min": repr(low), "max": repr(high)}
    ElementTree.SubElement(element, "parameter", {**attributes, "free": "1" if free else "0"})

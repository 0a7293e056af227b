"""Parameters of sources by the names that they have in gtlike and fermipy."""

import math
from dataclasses import dataclass
from typing import Any

from villard.exceptions import ModelError, ParameterError
from villard.modeling.models.gtlike.absorption import absorbed
from villard.modeling.models.gtlike.table import SPECTRA, Conversion, Spectrum
from villard.modeling.parameter import Parameter
from villard.utils.names import nearest

__all__ = [
    "GtlikeParameter",
    "find_parameter",
    "gtlike_name",
    "gtlike_parameters",
    "gtlike_value",
    "index_parameters",
    "norm_parameter",
    "set_gtlike_value",
    "shape_parameters",
    "spatial_type",
    "spectrum_type",
]

_BY_CLASS = {spectrum.model: spectrum for spectrum in SPECTRA}
_NORMALIZATION = (Conversion("Normalization", "norm"),)
_FILE_FUNCTION = Spectrum("FileFunction", "CompoundSpectralModel", _NORMALIZATION, "Normalization")
_SPATIAL = {
    "PointSpatialModel": ("SkyDirFunction", {"RA": "lon_0", "DEC": "lat_0"}),
    "GaussianSpatialModel": ("RadialGaussian", {"RA": "lon_0", "DEC": "lat_0", "Sigma": "sigma"}),
    "DiskSpatialModel": ("RadialDisk", {"RA": "lon_0", "DEC": "lat_0", "Radius": "r_0"}),
    "ConstantSpatialModel": ("ConstantValue", {"Value": "value"}),
}


@dataclass(frozen=True)
class GtlikeParameter:
    """A parameter as gtlike has it, with true values (value times scale of the XML).

    ``parameter`` is ours, or `None` for a constant of the model; limits are NaN where there are none.
    """

    name: str
    value: float
    error: float
    min: float
    max: float
    free: bool
    parameter: Parameter | None


def resolve(model: Any) -> tuple[Spectrum | None, Any]:
    """Return the table's entry for a model, and the spectral model that holds its parameters.

    A table times a factor is gtlike's FileFunction. The entry is `None` for spectra unknown to gtlike.
    """
    spectral = getattr(model, "spectral_model", model)
    kind = type(spectral).__name__
    if kind == "CompoundSpectralModel" and spectral._operator == "mul":
        parts = {type(part).__name__: part for part in (spectral.model1, spectral.model2)}
        norm = parts.get("PowerLawNormSpectralModel")
        if "TemplateSpectralModel" in parts and norm is not None and norm.tilt.frozen:
            return (_FILE_FUNCTION, norm) if norm.tilt.value == 0 else (None, spectral)
        absorption = parts.pop("EBLAbsorptionNormSpectralModel", None)
        if absorption is not None and len(parts) == 1:
            return absorbed(_BY_CLASS.get(next(iter(parts))), absorption), spectral
    if kind == "ScaleSpectralModel" and type(spectral.model).__name__ == "TemplateSpectralModel":
        return _FILE_FUNCTION, spectral
    return _BY_CLASS.get(kind), spectral


def spectrum_type(model: Any) -> str:
    """Return gtlike's name of a spectrum.

    Parameters
    ----------
    model : `~villard.modeling.models.SkyModel` or `~villard.modeling.models.SpectralModel`
        Source or spectrum.

    Returns
    -------
    str
        Such as "PowerLaw"; for a spectrum that gtlike doesn't have our class's name without "SpectralModel".

    Examples
    --------
    >>> from villard.modeling.models import SuperExpCutoffPowerLaw4FGLDR3SpectralModel
    >>> spectrum_type(SuperExpCutoffPowerLaw4FGLDR3SpectralModel())
    'PLSuperExpCutoff4'
    """
    spectrum, spectral = resolve(model)
    return type(spectral).__name__.removesuffix("SpectralModel") if spectrum is None else spectrum.type


def spatial_type(model: Any) -> str:
    """Return gtlike's name of a morphology: SkyDirFunction, RadialDisk, RadialGaussian, SpatialMap, …

    Examples
    --------
    >>> from villard.modeling.models import SkyModel
    >>> spatial_type(SkyModel.create("pl", "gauss"))
    'RadialGaussian'
    """
    if getattr(model, "is_npred_template", False):
        return "MapCubeFunction"
    spatial = getattr(model, "spatial_model", model)
    if spatial is None:
        return ""
    kind = type(spatial).__name__
    if kind == "TemplateSpatialModel":
        return "MapCubeFunction" if spatial.is_energy_dependent else "SpatialMap"
    return _SPATIAL[kind][0] if kind in _SPATIAL else kind.removesuffix("SpatialModel")


def _spatial_names(model: Any) -> dict[str, Parameter]:
    spatial = getattr(model, "spatial_model", None)
    if spatial is None:
        return {}
    names = _SPATIAL.get(type(spatial).__name__, ("", {}))[1]
    if getattr(spatial, "frame", "icrs") == "galactic":
        names = {{"RA": "GLON", "DEC": "GLAT"}.get(key, key): value for key, value in names.items()}
    return {name: spatial.parameters[ours] for name, ours in names.items()}


def find_parameter(model: Any, name: str) -> Parameter:
    """Return a parameter of a source by our name for it or gtlike's.

    Parameters
    ----------
    model : `~villard.modeling.models.SkyModel` or `~villard.modeling.models.SpectralModel`
        Source or spectrum.
    name : str
        Name: "amplitude", "index", "lon_0", … or "Prefactor", "Index", "RA", …; upper or lower case.

    Raises
    ------
    ParameterError
        If there is none; the message offers the nearest.

    Examples
    --------
    >>> from villard.modeling.models import SkyModel
    >>> find_parameter(SkyModel.create("pl", name="crab"), "Prefactor").name
    'amplitude'
    """
    names = _all_names(model)
    if name in names:
        found = names[name]
    else:
        lower = {key.lower(): parameter for key, parameter in reversed(names.items())}
        found = lower.get(name.lower(), _MISSING)
    where = f"{getattr(model, 'name', type(model).__name__)}"
    if found is _MISSING:
        raise ParameterError(f"{where}: no parameter {name!r}. {nearest(name, names)}")
    if found is None:
        raise ParameterError(f"{where}: {name!r} is a constant of {spectrum_type(model)} as it is given here")
    return found


_MISSING: Any = object()


def _all_names(model: Any) -> dict[str, Parameter | None]:
    """Our names, first, then those of gtlike and those with the part of the model."""
    spectrum, spectral = resolve(model)
    names: dict[str, Parameter | None] = dict(
        zip(spectral.parameters.names, spectral.parameters, strict=True)
    )
    for entry in () if spectrum is None else spectrum.parameters:
        names.setdefault(entry.name, None if entry.ours is None else spectral.parameters[entry.ours])
    for name, parameter in zip(model.parameters.names, model.parameters, strict=True):
        names.setdefault(name, parameter)
    for name, parameter in _spatial_names(model).items():
        names.setdefault(name, parameter)
    for name, parameter in zip(model.parameters_unique_names, model.parameters, strict=True):
        names.setdefault(name, parameter)
    return names


def gtlike_name(model: Any, parameter: Parameter) -> str:
    """Return gtlike's name of a parameter of a source; ours where gtlike has none.

    Examples
    --------
    >>> from villard.modeling.models import SkyModel
    >>> model = SkyModel.create("lp", name="crab")
    >>> gtlike_name(model, model.spectral_model.reference)
    'Eb'
    """
    spectrum, spectral = resolve(model)
    for entry in () if spectrum is None else spectrum.parameters:
        if entry.ours is not None and spectral.parameters[entry.ours] is parameter:
            return entry.name
    for name, own in _spatial_names(model).items():
        if own is parameter:
            return name
    return model.parameters.names[model.parameters.index(parameter)]


def norm_parameter(model: Any) -> Parameter:
    """Return the parameter to which the flux of a source is proportional.

    Raises
    ------
    ModelError
        If there is none.

    Examples
    --------
    >>> from villard.modeling.models import SkyModel
    >>> norm_parameter(SkyModel.create("pl-2")).name
    'amplitude'
    """
    spectrum, spectral = resolve(model)
    if spectrum is not None:
        return _of_table(spectrum, spectral, spectrum.norm)
    index = spectral.pure().norm_index
    if index is None:
        where = getattr(model, "name", "")
        raise ModelError(f"{where}: the spectrum {type(spectral).__name__} has no normalisation")
    return spectral.parameters[index]


def _of_table(spectrum: Spectrum, spectral: Any, name: str) -> Parameter:
    # By the entry itself: the part of a table that has the norm is another spectrum of gtlike.
    entry = next(entry for entry in spectrum.parameters if entry.name == name)
    if entry.ours is None:
        raise ParameterError(f"{spectrum.type}: {name!r} is a constant as it is given here")
    found: Parameter = spectral.parameters[entry.ours]
    return found


def shape_parameters(model: Any) -> list[Parameter]:
    """Return the parameters that fermipy frees as shape of a source.

    Of spectra unknown to gtlike: those that are neither norm nor frozen by default.

    Examples
    --------
    >>> from villard.modeling.models import SkyModel
    >>> [p.name for p in shape_parameters(SkyModel.create("lp"))]
    ['alpha', 'beta']
    """
    return _group(model, "shape")


def index_parameters(model: Any) -> list[Parameter]:
    """Return the parameters that fermipy frees as index of a source.

    Examples
    --------
    >>> from villard.modeling.models import SkyModel
    >>> [p.name for p in index_parameters(SkyModel.create("secpl-4fgl-dr3"))]
    ['index_1', 'index_2']
    """
    return _group(model, "index")


def _group(model: Any, which: str) -> list[Parameter]:
    spectrum, spectral = resolve(model)
    if spectrum is not None:
        return [_of_table(spectrum, spectral, name) for name in getattr(spectrum, which)]
    norm = spectral.pure().norm_index
    free = _frozen_by_default(spectral)
    return [p for i, p in enumerate(spectral.parameters) if i != norm and not free[i]]


def _frozen_by_default(spectral: Any) -> list[bool]:
    if hasattr(spectral, "model1") and hasattr(spectral, "model2"):
        return _frozen_by_default(spectral.model1) + _frozen_by_default(spectral.model2)
    return [p.frozen for p in spectral.default_parameters]


def gtlike_parameters(model: Any) -> list[GtlikeParameter]:
    """Return the spectral parameters of a source as gtlike has them.

    Raises
    ------
    ModelError
        If gtlike doesn't have the spectrum.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> model = PowerLawSpectralModel(index=2.5, amplitude="3e-12 cm-2 s-1 MeV-1", reference="1 GeV")
    >>> [(p.name, float(f"{p.value:.6g}")) for p in gtlike_parameters(model)]
    [('Prefactor', 3e-12), ('Index', -2.5), ('Scale', 1000.0)]
    """
    spectrum, spectral = resolve(model)
    if spectrum is None:
        raise ModelError(
            f"{getattr(model, 'name', '')}: gtlike has no spectrum like {type(spectral).__name__}"
        )
    return [_converted(entry, spectral) for entry in spectrum.parameters]


def _converted(entry: Conversion, spectral: Any) -> GtlikeParameter:
    if entry.ours is None:
        constant = entry.to_gtlike(spectral, math.nan)
        return GtlikeParameter(entry.name, constant, 0.0, math.nan, math.nan, False, None)
    own = spectral.parameters[entry.ours]
    value = entry.to_gtlike(spectral, own.value)
    limits = [entry.to_gtlike(spectral, limit) for limit in (own.min, own.max)]
    if entry.inverse:
        # Of an inverse, limits on the other side of zero are none.
        limits = [limit if limit * value > 0 else math.nan for limit in limits]
    if entry.inverse or entry.slope(spectral) < 0:
        limits.reverse()
    if entry.inverse:
        error = abs(value * own.error / own.value) if own.value else math.inf
    else:
        error = abs(entry.to_gtlike(spectral, own.error))
    return GtlikeParameter(entry.name, value, error, limits[0], limits[1], not own.frozen, own)


def gtlike_value(model: Any, name: str) -> float:
    """Return the true value (in MeV, cm, s) that gtlike would have for a parameter.

    Parameters
    ----------
    model : `~villard.modeling.models.SkyModel` or `~villard.modeling.models.SpectralModel`
        Source or spectrum.
    name : str
        gtlike's name.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> gtlike_value(PowerLawSpectralModel(index=2.2), "Index")
    -2.2
    """
    found = {p.name: p.value for p in gtlike_parameters(model)}
    if name not in found:
        raise ParameterError(f"{spectrum_type(model)} has no parameter {name!r}. {nearest(name, found)}")
    return found[name]


def set_gtlike_value(model: Any, name: str, value: float) -> None:
    """Set a parameter to a true value (in MeV, cm, s) as gtlike has it.

    Raises
    ------
    ParameterError
        If there is no such parameter, the model has it as another constant, or the value is outside limits.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> model = PowerLawSpectralModel()
    >>> set_gtlike_value(model, "Index", -2.4)
    >>> model.index.value
    2.4
    """
    spectrum, spectral = resolve(model)
    entries = {entry.name: entry for entry in (() if spectrum is None else spectrum.parameters)}
    if name not in entries:
        raise ParameterError(f"{spectrum_type(model)} has no parameter {name!r}. {nearest(name, entries)}")
    entry = entries[name]
    if entry.ours is None:
        constant = entry.to_gtlike(spectral, math.nan)
        if value != constant:
            raise ParameterError(
                f"{type(spectral).__name__}: {name} is fixed to {constant:g}, found {value:g}"
            )
        return
    spectral.parameters[entry.ours].value = entry.from_gtlike(spectral, value)

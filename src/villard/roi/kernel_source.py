"""The source that maps put at each pixel, given as fermipy's dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from villard.exceptions import ConfigError
from villard.utils.names import nearest

__all__ = ["R68", "canonical_kind", "kernel_name", "kernel_source", "spatial_model", "width_parameter"]

#: 68 % containment radius of each morphology, in units of its own parameter.
R68 = {"RadialGaussian": 1.5095921854516636, "RadialDisk": 0.8246211251235321}
_PARAMETER = {"RadialGaussian": "sigma", "RadialDisk": "r_0"}
_ALIASES = {
    "PointSource": "PointSource",
    "SkyDirFunction": "PointSource",
    "Gaussian": "RadialGaussian",
    "GaussianSource": "RadialGaussian",
    "RadialGaussian": "RadialGaussian",
    "Disk": "RadialDisk",
    "DiskSource": "RadialDisk",
    "RadialDisk": "RadialDisk",
}
_OWN_KEYS = ("Index", "SpatialModel", "SpatialWidth", "SpectrumType", "Scale")
_DEFAULTS = {"Index": 2.0, "SpatialModel": "PointSource", "SpatialWidth": 0.3, "SpectrumType": "PowerLaw"}


def kernel_source(model: Any, skydir: Any, where: str = "tsmap", name: str = "testsource") -> Any:
    """Return the model of a source of which only shape and spectrum matter.

    Parameters
    ----------
    model : dict or `~villard.modeling.models.SkyModel`, optional
        Source dictionary of fermipy: ``Index`` (positive: falling; 2 by default), ``SpatialModel``
        ("PointSource", "RadialGaussian" or "RadialDisk"), ``SpatialWidth`` (68 % containment radius, deg),
        ``Scale`` (reference energy, MeV; 1000); with another ``SpectrumType`` the parameters of that.
    skydir : `~astropy.coordinates.SkyCoord`
        Position.
    where : str
        Who asks, for messages.
    name : str
        Name of the source.

    Raises
    ------
    ConfigError
        If a key or a morphology isn't known.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> place = SkyCoord(0, 0, unit="deg", frame="galactic")
    >>> source = kernel_source({"SpatialModel": "RadialGaussian", "SpatialWidth": 0.3}, place)
    >>> round(source.spatial_model.sigma.value, 4), source.spectral_model.index.value
    (0.1987, 2.0)
    """
    from villard.modeling.models import SkyModel

    if isinstance(model, SkyModel):
        return model.copy(name=name)
    given = dict(model or {})
    settings = {**_DEFAULTS, **given}
    spatial = spatial_model(settings["SpatialModel"], skydir, settings["SpatialWidth"], where)
    if settings["SpectrumType"] == "PowerLaw":
        spectral = _power_law(given, where)
    else:
        spectral = _other_spectrum(settings, where)
    source = SkyModel(spectral, spatial, name=name)
    for parameter in source.parameters:
        parameter.frozen = True
    return source


def _power_law(given: Mapping[str, Any], where: str) -> Any:
    from villard.modeling.models import PowerLawSpectralModel

    for key in given:
        if key not in _OWN_KEYS:
            raise ConfigError(f"{where}: no key {key!r} in the model. {nearest(str(key), _OWN_KEYS)}")
    index = abs(_number(given.get("Index", _DEFAULTS["Index"]), "Index", where))
    reference = _number(given.get("Scale", 1000.0), "Scale", where)
    # About one count per year and m²: a number of the order of what is fitted.
    amplitude = 1e-13 * (1000.0 / reference) ** 2
    return PowerLawSpectralModel(
        index=index, amplitude=f"{amplitude} cm-2 s-1 MeV-1", reference=f"{reference} MeV"
    )


def _number(value: Any, name: str, where: str) -> float:
    """Return a number, or the value of fermipy's dictionary of a parameter."""
    if isinstance(value, Mapping):
        value = value.get("value", 1.0) * value.get("scale", 1.0)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: expected a number as {name} of the model, found {value!r}") from error


def _other_spectrum(settings: Mapping[str, Any], where: str) -> Any:
    """Return a spectrum of gtlike, made as that of any source."""
    from villard.modeling.models import gtlike

    make = getattr(gtlike, "model_from_dict", None)
    if make is None:
        raise ConfigError(
            f"{where}: expected SpectrumType 'PowerLaw' in the model, found {settings['SpectrumType']!r}. "
            "Give another spectrum as a SkyModel"
        )
    place = {"SpatialModel": "PointSource", "glon": 0.0, "glat": 0.0}
    rest = {key: value for key, value in settings.items() if key not in ("SpatialModel", "SpatialWidth")}
    if settings["SpectrumType"] != "PowerLaw" and "Index" not in settings:
        rest.pop("Index", None)
    return make({"name": "testsource", **rest, **place}).spectral_model


def spatial_model(kind: str, skydir: Any, width: float, where: str) -> Any:
    """Return a morphology by its name in fermipy.

    Parameters
    ----------
    kind : {"PointSource", "RadialGaussian", "RadialDisk"}
        Morphology.
    skydir : `~astropy.coordinates.SkyCoord`
        Centre; its frame becomes that of the model, if it is "icrs" or "galactic".
    width : float
        68 % containment radius (deg).
    where : str
        Who asks, for messages.
    """
    from villard.modeling.models import DiskSpatialModel, GaussianSpatialModel, PointSpatialModel

    kind = canonical_kind(kind, where)
    frame = skydir.frame.name if skydir.frame.name in ("icrs", "galactic") else "icrs"
    place = skydir.transform_to(frame)
    if kind == "PointSource":
        return PointSpatialModel.from_position(place)
    width = _number(width, "SpatialWidth", where)
    if not width > 0:
        raise ConfigError(f"{where}: expected a positive SpatialWidth, found {width}")
    own = f"{width / R68[kind]} deg"
    if kind == "RadialGaussian":
        return GaussianSpatialModel.from_position(place, sigma=own)
    return DiskSpatialModel.from_position(place, r_0=own)


def canonical_kind(kind: Any, where: str) -> str:
    """Return the name of a morphology without aliases, or raise `ConfigError`."""
    if kind not in _ALIASES:
        raise ConfigError(f"{where}: no SpatialModel {kind!r}. {nearest(str(kind), _ALIASES)}")
    return _ALIASES[kind]


def width_parameter(spatial: Any, kind: str) -> tuple[Any, float]:
    """Return the parameter of the width of a morphology, and R68 in units of it."""
    kind = canonical_kind(kind, "extension")
    return spatial.parameters[_PARAMETER[kind]], R68[kind]


def kernel_name(model: Any) -> str:
    """Return the part of fermipy's file names that tells the source of a map.

    Examples
    --------
    >>> kernel_name({"Index": 2, "SpatialModel": "PointSource"})
    'pointsource_powerlaw_2.00'
    >>> kernel_name({"SpatialModel": "RadialGaussian", "SpatialWidth": 0.5})
    'radialgaussian_s0.50_powerlaw_2.00'
    """
    if not isinstance(model, Mapping) and model is not None:
        return str(model.name).replace(" ", "_").lower()
    settings = {**_DEFAULTS, **(model or {})}
    parts = [str(settings["SpatialModel"]).lower()]
    if _ALIASES.get(settings["SpatialModel"]) in R68:
        parts.append(f"s{float(settings['SpatialWidth']):04.2f}")
    if settings["SpectrumType"] == "PowerLaw":
        parts.append(f"powerlaw_{abs(_number(settings['Index'], 'Index', 'model')):04.2f}")
    else:
        parts.append(str(settings["SpectrumType"]).lower())
    return "_".join(parts)

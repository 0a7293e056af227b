"""Sources as the dictionaries that fermipy's configurations have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import astropy.units as u

from villard.exceptions import ModelError, VillardError
from villard.modeling.models.gtlike.absorption import PREFIX
from villard.modeling.models.gtlike.build import Setting, build_spatial, build_spectrum, expand
from villard.modeling.models.gtlike.table import SPECTRA
from villard.modeling.parameter import Parameter
from villard.utils.names import nearest

__all__ = ["model_from_dict"]

#: Radius of 68 % containment in units of the width: of a Gaussian, and of a disk.
_R68 = {"RadialGaussian": ("Sigma", 1.5095921854516636), "RadialDisk": ("Radius", 0.8246211251235321)}
_ALIAS = {
    "PointSource": "SkyDirFunction",
    "PointSpatialModel": "SkyDirFunction",
    "DiskSource": "RadialDisk",
    "GaussianSource": "RadialGaussian",
    "DiffuseSource": "SpatialMap",
}
#: What parameters have where the dictionary doesn't say (values of fermipy's templates).
_DEFAULTS = {
    "Prefactor": 1e-12,
    "norm": 1e-12,
    "Integral": 1e-9,
    "Normalization": 1.0,
    "Value": 1.0,
    "Scale": 1e3,
    "Eb": 1e3,
    "LowerLimit": 100.0,
    "UpperLimit": 1e5,
    "BreakValue": 1e3,
    "Cutoff": 1e4,
    "Expfactor": 1e-3,
    "Expfactor2": 1.0,
    "ExpfactorS": 0.1,
    "Index": -2.0,
    "Index1": -2.0,
    "IndexS": -2.0,
    "alpha": 2.0,
    "beta": 0.1,
    "Beta": 0.1,
    "Ebreak": 1e5,
    "P1": 1e5,
    "P2": 0.0,
    "P3": 0.0,
    "Mean": 1e4,
    "Sigma": 1e3,
}
_CUTOFF_EXPONENT = {"PLSuperExpCutoff2": 2 / 3, "PLSuperExpCutoff3": 2 / 3, "PLSuperExpCutoff4": 2 / 3}
#: Parameters that are fixed unless the dictionary says otherwise.
_FIXED = (
    "Scale",
    "Eb",
    "LowerLimit",
    "UpperLimit",
    "Value",
    "P1",
    "P2",
    "P3",
    "Ebreak",
    "Beta",
    "redshift",
    "ebl_model",
)
#: Of DMFitFunction, whose norm is the J-factor.
_DM_CONSTANTS = ("norm", "bratio", "channel0", "channel1")
_PLACE = ("ra", "dec", "glon", "glat", "RA", "DEC", "RAJ2000", "DEJ2000", "GLON", "GLAT", "skydir")
_KEYS = (
    "name",
    "SpatialModel",
    "SpatialType",
    "SpatialWidth",
    "SpectrumType",
    "Spatial_Filename",
    "Spectrum_Filename",
    "spectral_pars",
    "spatial_pars",
    "SourceType",
    *_PLACE,
)


def model_from_dict(data: Mapping[str, Any]) -> Any:
    """Make a source from a dictionary as in fermipy's ``model: sources``.

    Parameters
    ----------
    data : mapping
        ``name``; ``ra`` and ``dec``, or ``glon`` and ``glat`` (deg), or ``skydir``; ``SpatialModel``
        (PointSource, RadialDisk, RadialGaussian, SpatialMap, MapCubeFunction, ConstantValue) with
        ``SpatialWidth``, the radius (deg) of 68 % containment, or ``Spatial_Filename``; ``SpectrumType``
        with ``Spectrum_Filename`` for a FileFunction; parameters by gtlike's names, in MeV, cm and s:
        numbers, or dictionaries with ``value``, ``scale``, ``min``, ``max``, ``free`` (of scaled values),
        here or below ``spectral_pars``. A number for an index is that of a falling spectrum, whatever its
        sign.

    Returns
    -------
    `~villard.modeling.models.SkyModel`
        Source.

    Raises
    ------
    ModelError
        If a key, spectrum or morphology is unknown, or the position is missing; the message names the source.

    Examples
    --------
    >>> model = model_from_dict({"name": "A", "ra": 83.6, "dec": 22, "SpectrumType": "PowerLaw", "Index": 2.3,
    ...                          "Prefactor": {"value": 2, "scale": 1e-12}, "SpatialModel": "PointSource"})
    >>> print(model.spectral_model.index.value, model.spectral_model.amplitude.quantity)
    2.3 2e-12 1 / (MeV s cm2)
    """
    name = data.get("name")
    if not name:
        raise ModelError(f"a source has no name: {dict(data)!r}")
    try:
        return _sky_model(str(name), data)
    except VillardError as error:
        raise type(error)(f"source {name!r}: {error}") from error


def _sky_model(name: str, data: Mapping[str, Any]) -> Any:
    from villard.modeling.models import SkyModel

    kind = str(data.get("SpectrumType", "PowerLaw"))
    names = _parameter_names(kind)
    _check_keys(data, names)
    spatial_type, spatial = _spatial(data)
    file = data.get("Spectrum_Filename")
    given = {**{key: data[key] for key in names if key in data}, **dict(data.get("spectral_pars") or {})}
    settings = {key: _setting(key, value, kind) for key, value in given.items()}
    factor = spatial_type == "MapCubeFunction"
    for key in names:
        default = _default(key, kind, factor)
        if key not in settings and default is not None:
            settings[key] = Setting(default, free=key not in _FIXED and not (factor and key == "Index"))
    spectral = build_spectrum(kind, settings, None if file is None else expand(str(file)), factor)
    _freeze_exponents(spectral, given)
    irf = {"psf": False} if spatial_type == "ConstantValue" else None
    return SkyModel(spectral, spatial, name=name, apply_irf=irf)


def _parameter_names(kind: str) -> list[str]:
    if kind.startswith(PREFIX):
        return [*_parameter_names(kind.removeprefix(PREFIX)), "tau_norm", "redshift", "ebl_model"]
    for spectrum in SPECTRA:
        if spectrum.type == kind:
            return [entry.name for entry in spectrum.parameters]
    if kind == "DMFitFunction":
        return ["norm", "sigmav", "mass", "bratio", "channel0", "channel1"]
    if kind == "FileFunction":
        return ["Normalization"]
    known = [*dict.fromkeys(spectrum.type for spectrum in SPECTRA), "FileFunction"]
    raise ModelError(f"unknown spectrum {kind!r}. {nearest(kind, known)}")


def _check_keys(data: Mapping[str, Any], names: list[str]) -> None:
    known = (*_KEYS, *names)
    for key in data:
        if key not in known:
            raise ModelError(f"unknown key {key!r}. {nearest(str(key), known)}")


def _default(key: str, kind: str, factor: bool) -> float | None:
    if kind == "BandFunction":
        # Defaults are those of a log-parabola, whose alpha has the other sign.
        return None
    if factor:
        return {"Prefactor": 1.0, "norm": 1.0, "Index": 0.0, "alpha": 0.0, "beta": 0.0}.get(
            key, _DEFAULTS.get(key)
        )
    if key == "Index2":
        return {"PLSuperExpCutoff": 1.0, **_CUTOFF_EXPONENT}.get(kind, -3.0)
    return _DEFAULTS.get(key)


def _freeze_exponents(spectral: Any, given: Mapping[str, Any]) -> None:
    """The exponent of a cutoff is fixed, as in fermipy, unless the dictionary says that it is free."""
    value = given.get("Index2")
    told = isinstance(value, Mapping) and "free" in value
    if "index_2" in spectral.parameters.names and not told:
        spectral.parameters["index_2"].frozen = True


def _setting(name: str, value: Any, kind: str) -> Setting:
    falling = name in ("Index", "Index1", "IndexS") or (
        name == "Index2" and ("BrokenPowerLaw" in kind or "BPLExpCutoff" in kind)
    )
    free = name not in _FIXED and not (kind == "DMFitFunction" and name in _DM_CONSTANTS)
    if not isinstance(value, Mapping):
        number = _number(name, value)
        return Setting(-abs(number) if falling else number, free=free)
    unknown = set(value) - {"name", "value", "scale", "min", "max", "free", "error"}
    if unknown:
        raise ModelError(f"parameter {name!r}: unknown key {sorted(unknown)[0]!r}")
    if "value" not in value:
        raise ModelError(f"parameter {name!r}: 'value' is missing")
    scale = value.get("scale")
    scale = _number(name, scale) if scale is not None else (-1.0 if falling and value["value"] > 0 else 1.0)
    limits = sorted(_number(name, value[key]) * scale for key in ("min", "max") if key in value)
    low, high = limits if len(limits) == 2 else _one_limit(value, limits, scale)
    error = abs(_number(name, value.get("error", 0.0)) * scale)
    flag = value.get("free")
    return Setting(
        _number(name, value["value"]) * scale, error, low, high, free if flag is None else bool(int(flag))
    )


def _one_limit(value: Mapping[str, Any], limits: list[float], scale: float) -> tuple[float, float]:
    if not limits:
        return math.nan, math.nan
    lower = ("min" in value) == (scale > 0)
    return (limits[0], math.nan) if lower else (math.nan, limits[0])


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ModelError(f"parameter {name!r}: expected a number, found {value!r}") from error


def _spatial(data: Mapping[str, Any]) -> tuple[str, Any]:
    kind = str(data.get("SpatialModel", data.get("SpatialType", "SkyDirFunction")))
    kind = _ALIAS.get(kind, kind)
    settings: dict[str, Setting] = {}
    if kind in ("SkyDirFunction", *_R68):
        frame, lon, lat = _position(data)
        names = ("GLON", "GLAT") if frame == "galactic" else ("RA", "DEC")
        settings = {key: Setting(number, free=False) for key, number in zip(names, (lon, lat), strict=True)}
    if kind in _R68:
        name, factor = _R68[kind]
        settings[name] = Setting(_width(data, name, factor), free=False)
    file = data.get("Spatial_Filename")
    path = None if file is None else expand(str(file))
    return kind, build_spatial(kind, settings, path)


def _width(data: Mapping[str, Any], name: str, factor: float) -> float:
    own = dict(data.get("spatial_pars") or {}).get(name)
    if own is not None:
        return _setting(name, own, "").value
    width = data.get("SpatialWidth")
    if width is None or not _number("SpatialWidth", width) > 0:
        raise ModelError(f"expected SpatialWidth, the positive radius (deg) of 68 %, found {width!r}")
    return _number("SpatialWidth", width) / factor


def _position(data: Mapping[str, Any]) -> tuple[str, float, float]:
    sky = data.get("skydir")
    if sky is not None:
        sky = sky.icrs
        return "icrs", float(sky.ra.deg), float(sky.dec.deg)
    pairs = (("ra", "dec"), ("RA", "DEC"), ("RAJ2000", "DEJ2000"), ("glon", "glat"), ("GLON", "GLAT"))
    for lon, lat in pairs:
        if lon in data and lat in data:
            frame = "galactic" if lon.lower() == "glon" else "icrs"
            return frame, _degrees(lon, data[lon]), _degrees(lat, data[lat])
    raise ModelError("its position is missing: expected ra and dec, or glon and glat")


def _degrees(name: str, value: Any) -> float:
    if isinstance(value, Parameter):
        value = value.quantity
    if isinstance(value, str | u.Quantity) and not _is_number(value):
        return float(u.Quantity(value).to_value("deg"))
    return _number(name, value)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True

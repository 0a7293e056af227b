"""Our models from types and parameters as gtlike has them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from villard.exceptions import FileFormatError, ModelError, ParameterError
from villard.modeling.models.gtlike.absorption import PREFIX, absorption_entries, read_absorption
from villard.modeling.models.gtlike.table import SPECTRA, Conversion
from villard.utils.names import nearest
from villard.utils.paths import make_path

__all__ = ["MissingFileError", "Setting", "build_spatial", "build_spectrum", "expand"]

_READ = {spectrum.type: spectrum for spectrum in SPECTRA if spectrum.read}
_KNOWN = sorted([*_READ, "FileFunction", "DMFitFunction"])
#: Spectra that may be factors to a cube of fluxes, and what they are then.
_FACTORS = {spectrum.type: spectrum for spectrum in SPECTRA if "Norm" in spectrum.model}
_CENTRE = {"RA": "lon_0", "DEC": "lat_0", "GLON": "lon_0", "GLAT": "lat_0"}
_SHAPES = {
    "SkyDirFunction": ("PointSpatialModel", {}),
    "RadialDisk": ("DiskSpatialModel", {"Radius": "r_0"}),
    "RadialGaussian": ("GaussianSpatialModel", {"Sigma": "sigma"}),
}
_SPATIAL_ALIAS = {
    "PointSource": "SkyDirFunction",
    "DiskSource": "RadialDisk",
    "GaussianSource": "RadialGaussian",
}


class MissingFileError(FileFormatError):
    """A file that a model needs isn't there."""


@dataclass(frozen=True)
class Setting:
    """A parameter of gtlike: true values, NaN limits where there are none, `None` where it isn't told."""

    value: float
    error: float = 0.0
    min: float = math.nan
    max: float = math.nan
    free: bool | None = None


def expand(name: str, folder: Path | None = None) -> Path:
    """Return the path of a file: ``$(VAR)`` and ``$VAR`` expanded, beside ``folder`` if it is there.

    Raises
    ------
    MissingFileError
        If the file isn't there, compressed or not.
    """
    text = re.sub(r"\$\((\w+)\)", r"${\1}", name)
    missing = [a or b for a, b in re.findall(r"\$(?:\{(\w+)\}|(\w+))", text) if (a or b) not in os.environ]
    candidates = [] if missing else [make_path(text)]
    if folder is not None:
        tail = Path(re.sub(r"^\$\{?\w+\}?/", "", text))
        candidates += [folder / tail, folder / tail.name]
    for path in candidates:
        for candidate in (path, path.with_name(f"{path.name}.gz")):
            if candidate.is_file():
                return candidate
    hint = f" (the environment variable {missing[0]} isn't set)" if missing else ""
    raise MissingFileError(f"file not found: {name}{hint}")


def build_spectrum(
    kind: str,
    settings: Mapping[str, Setting],
    file: Path | None = None,
    factor: bool = False,
    defaults: Mapping[str, float] | None = None,
) -> Any:
    """Return the spectral model of a type of gtlike.

    Parameters
    ----------
    kind : str
        Type.
    settings : mapping of str to `Setting`
        Parameters.
    file : path, optional
        File of a FileFunction.
    factor : bool
        Whether it is a factor to a cube of fluxes.
    defaults : mapping of str to float, optional
        Values of parameters that may be missing.

    Raises
    ------
    ModelError
        If the type is unknown, or a parameter is missing or unknown.
    """
    if kind == "FileFunction":
        return _file_function(settings, file, factor)
    if kind == "DMFitFunction":
        from villard.modeling.models.gtlike.dark_matter import build_dmfit

        return build_dmfit(settings)
    if kind.startswith(PREFIX):
        return _absorbed(kind.removeprefix(PREFIX), settings, defaults)
    spectrum = (_FACTORS if factor and kind in _FACTORS else _READ).get(kind)
    if spectrum is None:
        raise ModelError(f"unknown spectrum {kind!r}. {nearest(kind, _KNOWN)}")
    import villard.modeling.models as models

    model = getattr(models, spectrum.model)()
    if factor and kind == "ConstantValue":
        model = models.ConstantSpectralModel(u.Quantity(1.0))
        model.const.frozen = False
        entries: tuple[Conversion, ...] = (Conversion("Value", "const"),)
    else:
        entries = spectrum.parameters
    _check_names(kind, settings, entries, defaults or {})
    for entry in entries:
        found = settings.get(entry.name)
        assert entry.ours is not None
        if found is None:
            found = Setting((defaults or {})[entry.name])
        apply_setting(model, entry, found)
    return model


def _absorbed(kind: str, settings: Mapping[str, Setting], defaults: Mapping[str, float] | None) -> Any:
    """Return a spectrum behind the extragalactic background light."""
    absorption = read_absorption(settings)
    own = {"tau_norm", "redshift", "ebl_model"}
    base = build_spectrum(
        kind, {name: item for name, item in settings.items() if name not in own}, defaults=defaults
    )
    for entry in absorption_entries():
        apply_setting(absorption, entry, settings[entry.name])
    return base * absorption


def _check_names(
    kind: str, settings: Mapping[str, Setting], entries: tuple[Conversion, ...], defaults: Mapping[str, float]
) -> None:
    names = [entry.name for entry in entries]
    for name in settings:
        if name not in names:
            raise ModelError(f"{kind} has no parameter {name!r}. {nearest(name, names)}")
    missing = [name for name in names if name not in settings and name not in defaults]
    if missing:
        raise ModelError(f"{kind}: the parameter {missing[0]!r} is missing")


def apply_setting(model: Any, entry: Conversion, setting: Setting, limits: bool = True) -> None:
    """Set one of our parameters from one of gtlike's."""
    parameter = model.parameters[entry.ours]
    parameter.min = parameter.max = math.nan
    if entry.unit and not entry.inverse:
        # The numbers stay as they are in the file.
        parameter.unit = entry.unit
    parameter.value = entry.from_gtlike(model, setting.value)
    bounds = [entry.from_gtlike(model, bound) for bound in (setting.min, setting.max)]
    if limits:
        low, high = sorted(bounds) if not any(math.isnan(b) for b in bounds) else bounds
        if parameter.value < low or parameter.value > high:
            raise ParameterError(
                f"parameter {entry.name!r}: its value {setting.value:g} is outside its limits "
                f"[{setting.min:g}, {setting.max:g}]"
            )
        parameter.min, parameter.max = (b if math.isfinite(b) else math.nan for b in (low, high))
    if setting.error > 0:
        ours = entry.from_gtlike(model, setting.error)
        error = abs(parameter.value * setting.error / setting.value) if entry.inverse else abs(ours)
        parameter.error = error
    if setting.free is not None:
        parameter.frozen = not setting.free


def _file_function(settings: Mapping[str, Setting], file: Path | None, factor: bool) -> Any:
    from villard.modeling.models import PowerLawNormSpectralModel

    if file is None:
        raise ModelError("FileFunction: the attribute 'file' is missing")
    _check_names("FileFunction", settings, (Conversion("Normalization", "norm"),), {"Normalization": 1.0})
    norm = PowerLawNormSpectralModel()
    setting = settings.get("Normalization", Setting(1.0))
    apply_setting(norm, Conversion("Normalization", "norm"), setting)
    return read_spectrum(file, factor) * norm


def read_spectrum(file: Path, factor: bool = False) -> Any:
    """Read the table of a FileFunction: energies in MeV and fluxes in cm-2 s-1 MeV-1, or factors."""
    from villard.modeling.models import TemplateSpectralModel

    try:
        table = np.loadtxt(file, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{file}: expected columns of numbers, energy and flux: {error}") from error
    if table.shape[0] < 2 or table.shape[1] < 2:
        raise FileFormatError(f"{file}: expected two or more energies and fluxes, found shape {table.shape}")
    unit = u.dimensionless_unscaled if factor else u.Unit("cm-2 s-1 MeV-1")
    meta = {"filename": str(file)}
    return TemplateSpectralModel(u.Quantity(table[:, 0], "MeV"), u.Quantity(table[:, 1], unit), meta=meta)


def build_spatial(kind: str, settings: Mapping[str, Setting], file: Path | None = None) -> Any:
    """Return the spatial model of a type of gtlike.

    Parameters
    ----------
    kind : str
        Type.
    settings : mapping of str to `Setting`
        Parameters; limits of positions aren't kept, since a longitude may pass 0.
    file : path, optional
        File of a map.

    Raises
    ------
    ModelError
        If the type is unknown, or a parameter is missing or unknown.
    """
    import villard.modeling.models as models

    kind = _SPATIAL_ALIAS.get(kind, kind)
    if kind in _SHAPES:
        name, sizes = _SHAPES[kind]
        centre = ("GLON", "GLAT") if "GLON" in settings else ("RA", "DEC")
        model = getattr(models, name)(frame="galactic" if "GLON" in settings else "icrs")
        entries = tuple(Conversion(key, ours, "deg") for key, ours in {**_centre(centre), **sizes}.items())
        _check_names(kind, settings, entries, {})
        for entry in entries:
            apply_setting(model, entry, settings[entry.name], limits=entry.name in sizes)
        model.lat_0.min, model.lat_0.max = -90, 90
        return model
    if kind == "ConstantValue":
        model = models.ConstantSpatialModel()
        entry = Conversion("Value", "value", "sr-1")
        _check_names(kind, settings, (entry,), {"Value": 1.0})
        apply_setting(model, entry, settings.get("Value", Setting(1.0, free=False)))
        return model
    if kind in ("SpatialMap", "MapCubeFunction"):
        return _map_model(kind, settings, file)
    known = [*_SHAPES, "SpatialMap", "MapCubeFunction", "ConstantValue"]
    raise ModelError(f"unknown spatial model {kind!r}. {nearest(kind, known)}")


def _centre(names: tuple[str, str]) -> dict[str, str]:
    return {name: _CENTRE[name] for name in names}


def _map_model(kind: str, settings: Mapping[str, Setting], file: Path | None) -> Any:
    import warnings

    from villard.modeling.models import TemplateSpatialModel

    if file is None:
        raise ModelError(f"{kind}: the attribute 'file' is missing")
    for name, setting in settings.items():
        if setting.value != 1 or setting.free:
            raise ModelError(
                f"{kind}: {name} = {setting.value:g}: expected 1, fixed. The norm is to be in the spectrum"
            )
    with warnings.catch_warnings():
        # Headers of templates have units and keywords that aren't standard; only the shape counts.
        warnings.simplefilter("ignore")
        if kind == "SpatialMap":
            return TemplateSpatialModel.read(file, normalize=True)
        # Beyond its energies a cube is continued as a power law, as those of regions are.
        return TemplateSpatialModel.read(file, normalize=False, interp_kwargs={"fill_value": None})

"""The configuration of a region of interest: fermipy's sections and keys, and the files they stand for.

A key that isn't known is an error that suggests the nearest. Keys of fermipy that steer the Fermitools have
no meaning here; `villard.roi.config_keys` says which, and why.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PositiveFloat, PrivateAttr, ValidationError, model_validator

from villard.config import Section, _explain, _Loader
from villard.exceptions import ConfigError
from villard.roi.config_keys import REFUSED, TOLD
from villard.roi.config_sections import (
    CurvatureConfig,
    Dictionaries,
    Entries,
    ExtensionConfig,
    FileioConfig,
    LightcurveConfig,
    LocalizeConfig,
    McConfig,
    Names,
    OptimizerConfig,
    PlottingConfig,
    PsmapConfig,
    ResidmapConfig,
    RoioptConfig,
    SedConfig,
    SourcefindConfig,
    TscubeConfig,
    TsmapConfig,
    Width,
)
from villard.utils.names import suggestion
from villard.utils.paths import make_path

__all__ = ["ComponentConfig", "ROIConfig", "read_roi_config"]

log = logging.getLogger(__name__)


class DataConfig(Section):
    """Files of one component."""

    counts: str | None = None
    exposure: str | None = None
    psf: str | None = None
    edisp: str | None = None
    weights: str | None = None


class BinningConfig(Section):
    """Part of the cube that is used; pixels that HEALPix cubes are brought to."""

    roiwidth: Width | None = None
    binsz: PositiveFloat | None = None
    proj: str = "CAR"
    coordsys: Literal["CEL", "GAL"] = "GAL"


class SelectionConfig(Section):
    """Centre and energies (MeV)."""

    ra: float | None = None
    dec: float | None = None
    glon: float | None = None
    glat: float | None = None
    target: str | None = None
    emin: PositiveFloat | None = None
    emax: PositiveFloat | None = None
    logemin: float | None = None
    logemax: float | None = None

    @model_validator(mode="after")
    def _one_centre(self) -> SelectionConfig:
        for names in (("ra", "dec"), ("glon", "glat")):
            if (getattr(self, names[0]) is None) != (getattr(self, names[1]) is None):
                raise ValueError(f"{names[0]} and {names[1]} must be given together")
        given = [self.ra is not None, self.glon is not None, self.target is not None]
        if sum(given) > 1:
            raise ValueError("expected one of ra and dec, glon and glat, target, found several")
        for name in ("emin", "emax"):
            if getattr(self, name) is not None and getattr(self, f"log{name}") is not None:
                raise ValueError(f"expected one of {name} and log{name}, found both")
        low, high = self.energies
        if low is not None and high is not None and not low < high:
            raise ValueError(f"emin {low:g} isn't below emax {high:g}")
        return self

    @property
    def energies(self) -> tuple[float | None, float | None]:
        """Lowest and highest energy (MeV), `None` for the ends of the cube."""
        low = self.emin if self.logemin is None else float(10**self.logemin)
        high = self.emax if self.logemax is None else float(10**self.logemax)
        return low, high


class ModelConfig(Section):
    """Sources and diffuse emission."""

    catalogs: Entries = []
    sources: Dictionaries = []
    galdiff: Entries = []
    isodiff: Entries = []
    limbdiff: Entries = []
    diffuse: Entries = []
    diffuse_xml: Names = []
    diffuse_dir: Names = []
    models: str | None = None
    npred: Entries = []
    src_radius: PositiveFloat | None = None
    src_radius_roi: float | None = None
    src_roiwidth: Width | None = None
    extdir: str | None = None
    merge_sources: bool = True
    assoc_xmatch_columns: Names = ["3FGL_Name"]
    missing_templates: Literal["error", "skip"] = "error"
    cut_galdiff: bool = False


class GtlikeConfig(Section):
    """How counts are predicted."""

    edisp: bool | None = None
    edisp_disable: Names = []
    convolve: bool = True
    expscale: PositiveFloat | None = None
    bexpmap: str | None = None
    wmap: str | None = None
    llscan_npts: Annotated[int, Field(ge=3)] = 20
    psf_method: Literal["kernel", "exact"] = "exact"


class ComponentConfig(Section):
    """One component; what it doesn't say is as in the sections of the whole."""

    name: str | None = None
    counts: str | None = None
    exposure: str | None = None
    psf: str | None = None
    edisp: str | None = None
    weights: str | None = None
    isodiff: Entries = []
    npred: Entries = []
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    gtlike: GtlikeConfig = GtlikeConfig()
    selection: SelectionConfig = SelectionConfig()
    binning: BinningConfig = BinningConfig()


def _components(value: Any) -> Any:
    """Return a list of components that may be given by their names."""
    if isinstance(value, dict):
        return [{"name": str(name), **(entry or {})} for name, entry in value.items()]
    return [entry or {} for entry in value] if isinstance(value, list) else value


class ROIConfig(Section):
    """A whole configuration; the sections are those of fermipy.

    Examples
    --------
    >>> config = ROIConfig.model_validate({"binning": {"roiwidth": 8}, "selection": {"logemin": 4}})
    >>> config.binning.roiwidth, config.selection.energies
    ((8.0, 8.0), (10000.0, None))
    """

    components: Annotated[list[ComponentConfig], BeforeValidator(_components)] = []
    data: DataConfig = DataConfig()
    binning: BinningConfig = BinningConfig()
    selection: SelectionConfig = SelectionConfig()
    model: ModelConfig = ModelConfig()
    gtlike: GtlikeConfig = GtlikeConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    roiopt: RoioptConfig = RoioptConfig()
    fileio: FileioConfig = FileioConfig()
    mc: McConfig = McConfig()
    sed: SedConfig = SedConfig()
    curvature: CurvatureConfig = CurvatureConfig()
    extension: ExtensionConfig = ExtensionConfig()
    localize: LocalizeConfig = LocalizeConfig()
    residmap: ResidmapConfig = ResidmapConfig()
    tsmap: TsmapConfig = TsmapConfig()
    tscube: TscubeConfig = TscubeConfig()
    psmap: PsmapConfig = PsmapConfig()
    sourcefind: SourcefindConfig = SourcefindConfig()
    lightcurve: LightcurveConfig = LightcurveConfig()
    plotting: PlottingConfig = PlottingConfig()
    _folder: Path = PrivateAttr(Path())
    _where: str = PrivateAttr("configuration")

    @property
    def where(self) -> str:
        """File, for messages."""
        return self._where

    def path(self, name: str) -> Path:
        """Return a path of the configuration, relative to the folder of its file."""
        return self._folder / make_path(name)


def read_roi_config(config: str | os.PathLike[str] | Mapping[str, Any] | ROIConfig) -> ROIConfig:
    """Read and check the configuration of a region of interest.

    Parameters
    ----------
    config : path, dict or `ROIConfig`
        YAML file, or its content.

    Raises
    ------
    ConfigError
        If the file can't be read or anything in it isn't allowed; the message has a line for each mistake.

    Examples
    --------
    >>> read_roi_config({"selection": {"glom": 0}})
    Traceback (most recent call last):
        ...
    villard.exceptions.ConfigError: configuration: selection: unknown key 'glom'. Did you mean 'glon'? ...
    """
    if isinstance(config, ROIConfig):
        return config
    where, folder = "configuration", Path()
    if isinstance(config, Mapping):
        data: Any = dict(config)
    else:
        path = make_path(config)
        where, folder = str(path), path.parent
        data = _read_yaml(path)
    mistakes: list[str] = []
    told: list[str] = []
    data = _without_unused(data, "", mistakes, told)
    result = None
    try:
        result = ROIConfig.model_validate(data)
    except ValidationError as error:
        mistakes += _explain(error)
    if mistakes or result is None:
        raise ConfigError("\n".join(f"{where}: {line}" for line in mistakes))
    for line in told:
        log.warning("%s: %s", where, line)
    result._folder, result._where = folder, where
    return result


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    return data


def _without_unused(data: Any, place: str, mistakes: list[str], told: list[str]) -> Any:
    """Return a configuration without fermipy's keys that mean nothing here, having said why."""
    if not isinstance(data, Mapping):
        return data
    kept: dict[Any, Any] = {}
    for section, content in data.items():
        if section == "components":
            items = list(content.items()) if isinstance(content, Mapping) else list(enumerate(content or []))
            cleaned = [
                (key, _without_unused(item, f"components.{key}.", mistakes, told)) for key, item in items
            ]
            kept[section] = dict(cleaned) if isinstance(content, Mapping) else [item for _, item in cleaned]
            continue
        if section in TOLD and isinstance(TOLD[section], str):
            if content:
                told.append(f"{place}{section} isn't used: {TOLD[section]}")
            continue
        if not isinstance(content, Mapping):
            if content is not None:
                kept[section] = content
            continue
        kept[section] = _section_without_unused(str(section), content, place, mistakes, told)
    return kept


def _section_without_unused(
    section: str, content: Mapping[str, Any], place: str, mistakes: list[str], told: list[str]
) -> dict[str, Any]:
    reasons: Any = TOLD.get(section, {})
    everywhere: Any = TOLD["*"]
    kept = {}
    for key, value in content.items():
        if key in REFUSED.get(section, {}):
            if value not in (None, "", [], {}, False, "no"):
                mistakes.append(f"{place}{section}.{key}: not supported: {REFUSED[section][key]}")
        elif key in reasons or (key in everywhere and section not in ("data", "selection", "model")):
            if value not in (None, "", [], {}, False, "no"):
                told.append(f"{place}{section}.{key} isn't used: {reasons.get(key) or everywhere[key]}")
        elif value is not None:
            kept[key] = value
    return kept


def resolve_component(config: ROIConfig, component: ComponentConfig, position: int) -> dict[str, Any]:
    """Return the settings of a component, those of the whole where it doesn't say otherwise.

    Returns
    -------
    dict
        Keys name, counts, exposure, psf, edisp, weights, isodiff, npred, roiwidth, energies, gtlike, binning.
    """
    gtlike = config.gtlike.model_copy(update=component.gtlike.model_dump(exclude_unset=True))
    binning = config.binning.model_copy(update=component.binning.model_dump(exclude_unset=True))
    low, high = (
        own if own is not None else common
        for own, common in zip(component.selection.energies, config.selection.energies, strict=True)
    )
    settings: dict[str, Any] = {"name": component.name or f"component_{position:02d}"}
    aliases = {"exposure": gtlike.bexpmap, "weights": gtlike.wmap}
    for key in ("counts", "exposure", "psf", "edisp", "weights"):
        candidates = [getattr(component, key), getattr(component.data, key), getattr(config.data, key)]
        settings[key] = next((value for value in [*candidates, aliases.get(key)] if value is not None), None)
    for key in ("isodiff", "npred"):
        settings[key] = getattr(component, key) or getattr(component.model, key) or getattr(config.model, key)
    _check_component(component, config.where, settings["name"])
    return settings | {"gtlike": gtlike, "binning": binning, "energies": (low, high)}


#: What of a component's model is its own; sources are shared by all.
_OWN_MODEL = {"isodiff", "npred"}


def _check_component(component: ComponentConfig, where: str, name: str) -> None:
    shared = component.model.model_fields_set - _OWN_MODEL
    if shared:
        raise ConfigError(
            f"{where}: component {name!r}: model.{sorted(shared)[0]} is shared by all components; "
            "move it to the section model of the whole"
        )
    centre = component.selection.model_fields_set & {"ra", "dec", "glon", "glat", "target"}
    if centre:
        raise ConfigError(
            f"{where}: component {name!r}: selection.{sorted(centre)[0]} is shared by all components; "
            "move it to the section selection of the whole"
        )


def check_path(config: ROIConfig, name: str, what: str) -> Path:
    """Return a path of the configuration; raise `ConfigError` if there is no such file."""
    path = config.path(name)
    if not path.is_file():
        folder = path.parent
        names = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
        hint = suggestion(path.name, names) if names else f"There is no folder {folder}"
        raise ConfigError(f"{config.where}: {what}: no file {path}. {hint}".rstrip())
    return path


def energy_slice(edges: Any, low: float | None, high: float | None, where: str) -> slice:
    """Return the bins between two energies (MeV), of which both must be edges within 1 %.

    Raises
    ------
    ConfigError
        If an energy isn't an edge of the cube.

    Examples
    --------
    >>> energy_slice(np.array([10.0, 20.0, 40.0]), 20.0, None, "cube")
    slice(1, 2, None)
    """
    positions = []
    for wanted, default in ((low, 0), (high, len(edges) - 1)):
        if wanted is None:
            positions.append(default)
            continue
        nearest_edge = int(np.argmin(np.abs(np.log(edges / wanted))))
        if abs(edges[nearest_edge] / wanted - 1) > 0.01:
            listed = ", ".join(f"{edge:.6g}" for edge in edges)
            raise ConfigError(f"{where}: {wanted:g} MeV isn't an edge of its bins: {listed}")
        positions.append(nearest_edge)
    if positions[0] >= positions[1]:
        raise ConfigError(f"{where}: no bin lies between {low} and {high} MeV")
    return slice(*positions)

"""The configuration of an analysis: a YAML file, checked as a whole before anything is run.

A complete file, with all defaults, looks like this::

    datasets: datasets.yaml          # or a list of files: cubes of counts (FITS), OGIP spectra (PHA)
    models: models.yaml              # Gammapy's format
    stack: false                     # whether to add up the datasets before the fit
    energy_range: [0.66 TeV, 30 TeV] # fit range; default: what the datasets call safe
    fit:
      backend: newton                # newton, minuit, scipy, sherpa
      optimize_opts: {}
      covariance_opts: {}
      confidence_opts: {}
      store_trace: false
    confidence:                      # asymmetric errors
      parameters: all                # or a list of names
      sigma: 1
    profiles:
      parameters: all
      n_values: 21
      n_sigma: 3                     # half width of the scan in errors
      reoptimize: true
    contours:
      - {x: alpha, y: beta, sigma: [1, 2], n_points: 24}
    surfaces:
      - {x: alpha, y: beta, n_values: 25, n_sigma: 3, reoptimize: true}
    flux_points:
      source: crab
      energy_edges: {min: 0.7 TeV, max: 30 TeV, n_bins: 8}   # or a list of energies
      sigma: 1
      sigma_ul: 2
    output:
      folder: villard-results
      plots: true
      overwrite: false

Only ``datasets`` and ``models`` are needed. ``confidence`` to ``flux_points`` are left out unless asked for.
Paths are relative to the file, ``$VAR`` is expanded. A parameter's name may be short (``alpha``) where it is
unambiguous, or complete (``crab.spectral.alpha``).
"""

import os
import re
from collections.abc import Callable, Hashable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import astropy.units as u
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    PositiveFloat,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from villard.exceptions import ConfigError
from villard.utils.names import nearest
from villard.utils.paths import make_path

__all__ = ["AnalysisConfig", "energy_range", "load_config", "read_config"]


def _energy(value: Any) -> u.Quantity:
    try:
        energy = u.Quantity(value).to("TeV")
    except (u.UnitConversionError, TypeError, ValueError) as error:
        raise ValueError(f"expected an energy such as '0.66 TeV', found {value!r}") from error
    if not energy.isscalar or not 0 < energy.value < float("inf"):
        raise ValueError(f"expected one energy above 0, found {value!r}")
    return u.Quantity(value)


def _increasing(energies: Any) -> Any:
    if any(high <= low for low, high in pairwise(energies)):
        raise ValueError(f"energies must increase, found {', '.join(str(e) for e in energies)}")
    return energies


Energy = Annotated[u.Quantity, PlainValidator(_energy)]


# Entries in two forms: messages are about the form that was used. Tags appear in the places of errors, and
# what has a bracket is left out of messages.
_ONE, _SEVERAL = Tag("(one)"), Tag("(several)")


def _one_if(kind: type) -> Discriminator:
    return Discriminator(lambda value: "(one)" if isinstance(value, kind) else "(several)")


Names = Annotated[Annotated[Literal["all"], _ONE] | Annotated[list[str], _SEVERAL], _one_if(str)]
Files = Annotated[
    Annotated[str, _ONE] | Annotated[list[str], Field(min_length=1), _SEVERAL],
    _one_if(str),
]


class Section(BaseModel):
    """Base of the parts of a configuration: an unknown key is an error that suggests the nearest."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _keys_are_known(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        if not isinstance(data, dict):
            return handler(data)
        unknown = [key for key in data if key not in cls.model_fields]
        if not unknown:
            return handler(data)
        # All mistakes are told at once, so the rest is checked too.
        errors: list[InitErrorDetails] = []
        for key in unknown:
            values = {"key": str(key), "hint": nearest(str(key), cls.model_fields)}
            kind = PydanticCustomError("unknown_key", "unknown key '{key}'. {hint}", values)
            errors.append({"type": kind, "input": data})
        try:
            handler({key: value for key, value in data.items() if key not in unknown})
        except ValidationError as error:
            for item in error.errors():
                # Names of pydantic's own types are no business of a custom error's, but its text is.
                kind = PydanticCustomError("invalid", "{message}", {"message": item["msg"]})
                errors.append({"type": kind, "loc": item["loc"], "input": item["input"]})
        raise ValidationError.from_exception_data(cls.__name__, errors)


#: A configuration of some kind.
Config = TypeVar("Config", bound=Section)


class FitConfig(Section):
    """Settings of `villard.modeling.Fit`."""

    backend: Literal["newton", "minuit", "scipy", "sherpa"] = "newton"
    optimize_opts: dict[str, Any] = {}
    covariance_opts: dict[str, Any] = {}
    confidence_opts: dict[str, Any] = {}
    store_trace: bool = False


class ConfidenceConfig(Section):
    """Asymmetric errors of parameters."""

    parameters: Names = "all"
    sigma: PositiveFloat = 1.0


class ProfilesConfig(Section):
    """Profiles of the fit statistic along parameters."""

    parameters: Names = "all"
    n_values: int = Field(21, ge=2)
    n_sigma: PositiveFloat = 3.0
    reoptimize: bool = True


class ContourConfig(Section):
    """Contours of two parameters."""

    x: str
    y: str
    sigma: list[PositiveFloat] = Field([1.0, 2.0], min_length=1)
    n_points: int = Field(24, ge=4)


class SurfaceConfig(Section):
    """Surface of the fit statistic over two parameters."""

    x: str
    y: str
    n_values: int = Field(25, ge=2)
    n_sigma: PositiveFloat = 3.0
    reoptimize: bool = True


class EnergyBinsConfig(Section):
    """Energy bins of equal logarithmic width."""

    min: Energy
    max: Energy
    n_bins: int = Field(ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> "EnergyBinsConfig":
        _increasing([self.min, self.max])
        return self


Edges = Annotated[
    Annotated[EnergyBinsConfig, _ONE]
    | Annotated[list[Energy], Field(min_length=2), AfterValidator(_increasing), _SEVERAL],
    _one_if(dict),
]


class FluxPointsConfig(Section):
    """Flux points of one source."""

    source: str
    energy_edges: Edges
    sigma: PositiveFloat = 1.0
    sigma_ul: PositiveFloat = 2.0

    @property
    def edges(self) -> u.Quantity:
        """Edges of the bins, shape (n_bins + 1,)."""
        import numpy as np

        if isinstance(self.energy_edges, EnergyBinsConfig):
            bins = self.energy_edges
            return np.geomspace(bins.min, bins.max.to(bins.min.unit), bins.n_bins + 1)
        return u.Quantity(self.energy_edges)


class OutputConfig(Section):
    """Where results go."""

    folder: str = "villard-results"
    plots: bool = True
    overwrite: bool = False


class AnalysisConfig(Section):
    """A whole analysis; the keys are those of the module's description."""

    datasets: Files
    models: str
    stack: bool = False
    energy_range: Annotated[tuple[Energy, Energy], AfterValidator(_increasing)] | None = None
    fit: FitConfig = FitConfig()
    confidence: ConfidenceConfig | None = None
    profiles: ProfilesConfig | None = None
    contours: list[ContourConfig] = []
    surfaces: list[SurfaceConfig] = []
    flux_points: FluxPointsConfig | None = None
    output: OutputConfig = OutputConfig()
    _folder: Path = PrivateAttr(Path())

    def path(self, name: str) -> Path:
        """Return a path of the configuration, relative to the folder of its file."""
        return self._folder / make_path(name)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``1e-6`` is a number and no key may be given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, takes 1e-6 without a point for a word.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def energy_range(energy_min: str | None, energy_max: str | None) -> tuple[Any, Any] | None:
    """Return a range of energies given as text, with `None` for an open end; `None` if both are.

    Raises
    ------
    ConfigError
        If something isn't an energy, or they are reversed.
    """
    if energy_min is None and energy_max is None:
        return None
    try:
        low, high = (None if e is None else _energy(e) for e in (energy_min, energy_max))
        if low is not None and high is not None:
            _increasing([low, high])
    except ValueError as error:
        raise ConfigError(f"Range of energies: {error}") from error
    return low, high


def read_config(path: str | os.PathLike[str]) -> AnalysisConfig:
    """Read and check the configuration file of an analysis.

    Parameters
    ----------
    path : str or path-like
        YAML file.

    Returns
    -------
    AnalysisConfig
        The configuration, with defaults filled in.

    Raises
    ------
    ConfigError
        If the file can't be read or anything in it isn't allowed; the message has a line for each
        mistake that names the key.
    """
    return load_config(path, AnalysisConfig)


def load_config(path: str | os.PathLike[str], kind: type[Config]) -> Config:
    """Read and check a configuration file of any kind.

    Parameters
    ----------
    path : str or path-like
        YAML file.
    kind : type
        `Section` of the whole file; it has an attribute ``_folder``, which is set to the folder of the file.

    Raises
    ------
    ConfigError
        As for `read_config`.
    """
    path = make_path(path)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    try:
        config = kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in _explain(error))) from error
    config._folder = path.parent  # type: ignore[attr-defined]
    return config


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"] if not str(part).startswith("("))
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {message}" if where else message)
    return lines

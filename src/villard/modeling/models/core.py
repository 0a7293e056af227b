"""What all models have in common: declared parameters, YAML form, copies."""

import copy as copy_module
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from villard.exceptions import ModelError, ParameterError, UnitsError
from villard.modeling.covariance import Covariance
from villard.modeling.parameter import Parameter, Parameters
from villard.utils.names import nearest

__all__ = ["ModelBase", "get_model_class"]

_REGISTRY: dict[str, dict[str, type["ModelBase"]]] = {}


class ModelBase:
    """Base class of models that declare their parameters as class attributes.

    A subclass sets ``tag`` (first entry: its name in YAML, others: short names), ``kind`` and
    `Parameter` attributes. Values are given by name on construction, as numbers in the default
    unit, as quantities or strings with a unit, or as a `Parameter` of another model to link to.

    Raises
    ------
    ModelError
        If an argument isn't a parameter of the model.
    """

    tag: ClassVar[list[str]] = []
    kind: ClassVar[str] = ""
    default_parameters: ClassVar[Parameters] = Parameters()
    _settable: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared: dict[str, Parameter] = {}
        for base in reversed(cls.__mro__):
            declared.update({k: v for k, v in vars(base).items() if isinstance(v, Parameter)})
        cls.default_parameters = Parameters(declared.values())
        own_tags = cls.__dict__.get("tag") or [cls.__name__]
        cls.tag = [own_tags] if isinstance(own_tags, str) else list(own_tags)
        if cls.kind:
            registry = _REGISTRY.setdefault(cls.kind, {})
            registry.update(dict.fromkeys(cls.tag, cls))

    def __init__(self, **kwargs: Any) -> None:
        for parameter in self.default_parameters:
            self.__dict__[parameter.name] = parameter.copy()
        self._assign(kwargs)

    def _assign(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name not in self.default_parameters.names:
                raise ModelError(
                    f"{type(self).__name__} has no parameter {name!r}. "
                    f"{nearest(name, self.default_parameters.names)}"
                )
            default = self.default_parameters[name]
            try:
                setattr(self, name, value)
            except (UnitsError, ParameterError) as error:
                raise type(error)(f"{type(self).__name__}: {error}") from error
            if not self.__dict__[name].unit.is_equivalent(default.unit):  # pragma: no cover - guarded above
                raise UnitsError(f"{type(self).__name__}.{name}: expected a unit like {default.unit}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__.get(name)
        if isinstance(own, Parameter):
            own.__set__(self, value)
            return
        known = name.startswith("_") or hasattr(type(self), name) or name in self.__dict__
        if not known and name not in self._settable:
            names = [n for n in dir(type(self)) if not n.startswith("_")]
            raise ModelError(f"{type(self).__name__} has no attribute {name!r}. {_hint(name, names)}")
        object.__setattr__(self, name, value)

    @property
    def type(self) -> str:
        """Kind of model: spectral, spatial, temporal, …"""
        return self.kind

    @property
    def parameters(self) -> Parameters:
        """Parameters, in the order of declaration."""
        return Parameters([self.__dict__[name] for name in self.default_parameters.names])

    @property
    def parameters_unique_names(self) -> list[str]:
        """Names of the parameters, unique within the model."""
        return self.parameters.names

    @property
    def covariance(self) -> Covariance:
        """Covariance of the parameters, from their errors and the correlations of the last fit."""
        return Covariance(self.parameters)

    @covariance.setter
    def covariance(self, covariance: Any) -> None:
        data = covariance.data if isinstance(covariance, Covariance) else covariance
        Covariance(self.parameters, data).apply()

    @property
    def frozen(self) -> bool:
        """Whether all parameters are frozen."""
        return all(p.frozen for p in self.parameters)

    def freeze(self) -> None:
        """Freeze all parameters."""
        self.parameters.freeze_all()

    def unfreeze(self) -> None:
        """Restore the frozen states that the class declares."""
        for parameter, default in zip(self.parameters, self.default_parameters, strict=False):
            parameter.frozen = default.frozen

    def reassign(self, **kwargs: Any) -> Self:
        """Return a copy with other parameter values."""
        new = self.copy()
        new._assign(kwargs)
        return new

    def copy(self, **kwargs: Any) -> Self:
        """Return a copy that shares nothing with this model."""
        return copy_module.deepcopy(self)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        return {"type": self.tag[0], "parameters": [p.to_dict() for p in self.parameters]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`.

        Parameters
        ----------
        data : dict
            With ``parameters``: a list of dictionaries with ``name``, ``value``, ``unit``, …

        Raises
        ------
        ModelError
            If a parameter isn't one of the model's.
        """
        model = cls(**cls._init_arguments(data))
        model._update_parameters(data.get("parameters") or [])
        return model

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor besides parameters; for models that hold data."""
        return {}

    def _update_parameters(self, entries: list[dict[str, Any]]) -> None:
        parameters = self.parameters
        for entry in entries:
            name = entry.get("name", "")
            if name not in parameters.names:
                raise ModelError(
                    f"{type(self).__name__} has no parameter {name!r}. {nearest(name, parameters.names)}"
                )
            update_parameter(parameters[name], entry, type(self).__name__)

    def __repr__(self) -> str:
        values = ", ".join(f"{p.name}={p.value:.4g} {p.unit}".rstrip() for p in self.parameters)
        return f"{type(self).__name__}({values})"

    def __str__(self) -> str:
        lines = [type(self).__name__, "", *(f"  {line}" for line in parameter_lines(self.parameters))]
        return "\n".join(lines)


_PARAMETER_KEYS = {"name", "value", "unit", "error", "min", "max", "frozen", "link", "prior", "interp"} | {
    "scan_min",
    "scan_max",
    "scan_n_values",
    "scan_n_sigma",
    "scale_method",
    "scale",
    "factor",
    "type",
    "is_norm",
}


def update_parameter(parameter: Parameter, entry: dict[str, Any], where: str) -> None:
    """Set a parameter from its YAML dictionary; absent settings stay as they are."""
    unknown = set(entry) - _PARAMETER_KEYS
    if unknown:
        raise ModelError(f"{where}.{parameter.name}: unknown key {sorted(unknown)[0]!r} in the parameter")
    limits = {"min": parameter.min, "max": parameter.max}
    # Lifted while the value changes; put back below where the entry has none of its own.
    parameter.min = parameter.max = float("nan")
    if "unit" in entry:
        old = parameter.unit
        parameter.unit = entry["unit"] or ""
        if not parameter.unit.is_equivalent(old):
            raise UnitsError(f"{where}.{parameter.name}: expected a unit like {old}, found {entry['unit']!r}")
    if "value" in entry:
        parameter.value = entry["value"]
    for key, limit in limits.items():
        setattr(parameter, key, limit)
    for key in (
        "min",
        "max",
        "error",
        "frozen",
        "scan_min",
        "scan_max",
        "scan_n_values",
        "scan_n_sigma",
        "interp",
    ):
        if entry.get(key) is not None:
            setattr(parameter, key, entry[key])
    parameter.check_limits()
    parameter.link_label = entry.get("link")
    if entry.get("prior"):
        from villard.modeling.prior import Prior

        parameter.prior = Prior.from_dict(entry["prior"])


def parameter_lines(parameters: Parameters) -> list[str]:
    """Return one readable line per parameter."""
    lines = []
    for p in parameters:
        label = p.name if p.link_label is None else f"{p.name} ({p.link_label})"
        unit = f" {p.unit}" if str(p.unit) else ""
        if p.frozen:
            lines.append(f"{label:<24} {'(frozen)':>8}: {p.value:11.4g}{unit}")
        else:
            lines.append(f"{label:<24} {'':>8}: {p.value:11.4g} +/- {p.error:8.2g}{unit}")
    return lines


def get_model_class(kind: str, tag: str) -> type[Any]:
    """Return the model class with this tag.

    Parameters
    ----------
    kind : str
        ``"spectral"``, ``"spatial"``, ``"temporal"`` or ``"prior"``.
    tag : str
        Class name or short name.

    Raises
    ------
    ModelError
        If there is none; the message offers the nearest.
    """
    import villard.modeling.models as models

    models.load_all(kind)
    registry = _REGISTRY.get(kind, {})
    if tag not in registry:
        raise ModelError(f"No {kind} model has the tag {tag!r}. {_hint(tag, registry)}")
    return registry[tag]


def _hint(name: str, names: Any) -> str:
    hint = nearest(name, names)
    return hint if len(list(names)) < 12 else hint.split("Available")[0]


@contextmanager
def named(where: str) -> Iterator[None]:
    """Prefix the message of a `ModelError` raised in the block."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error

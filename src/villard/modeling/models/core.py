"""What all models have in common: declared parameters, YAML form, copies."""

import copy as copy_module
import inspect
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
    #: Keys of the YAML form besides ``type`` and ``parameters``; for models that hold data.
    yaml_keys: ClassVar[tuple[str, ...]] = ()
    _settable: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared: dict[str, Parameter] = {}
        for base in reversed(cls.__mro__):
            declared.update({k: v for k, v in vars(base).items() if isinstance(v, Parameter)})
        for name, parameter in declared.items():
            if parameter.name != name:
                raise ModelError(
                    f"{cls.__name__}.{name}: the parameter must have the name of the attribute, "
                    f"found {parameter.name!r}"
                )
        cls.default_parameters = Parameters(declared.values())
        own_tags = cls.__dict__.get("tag") or [cls.__name__]
        cls.tag = [own_tags] if isinstance(own_tags, str) else list(own_tags)
        # A class that says what kind it is of is the base class of that kind.
        if cls.kind and "kind" not in cls.__dict__:
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
        if isinstance(self.__dict__.get(name), Parameter):
            Parameter.assign(self, name, value)
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
        names = self.default_parameters.names
        return Parameters([self.__dict__[name] for name in names], names)

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
        parameters = self.parameters
        entries = []
        for parameter, name, default in zip(
            parameters, parameters.names, self.default_parameters, strict=True
        ):
            entry = {**parameter.to_dict(), "name": name}
            for key in ("interp", "scan_n_values", "scan_n_sigma"):
                if getattr(parameter, key) != getattr(default, key):
                    entry[key] = getattr(parameter, key)
            entries.append(entry)
        return {"type": self.tag[0], "parameters": entries}

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
            If a parameter isn't one of the model's, or there is an unknown key.
        """
        cls.check_keys(data)
        model = cls(**cls._init_arguments(data))
        model._update_parameters(data.get("parameters") or [])
        return model

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor besides parameters; for models that hold data."""
        return {}

    @classmethod
    def check_keys(cls, data: Any) -> None:
        """Raise `ModelError` if there are other keys in the YAML form than the model has."""
        if not isinstance(data, dict):
            raise ModelError(f"{cls.__name__}: expected keys and values, found {data!r}")
        known = ("type", "parameters", *cls.yaml_keys)
        for key in data:
            if key not in known:
                raise ModelError(f"{cls.__name__}: unknown key {key!r}. {nearest(str(key), known)}")

    def _update_parameters(self, entries: list[dict[str, Any]]) -> None:
        parameters = self.parameters
        found: set[str] = set()
        if not isinstance(entries, list):
            raise ModelError(f"{type(self).__name__}: expected a list of parameters, found {entries!r}")
        for entry in entries:
            if not isinstance(entry, dict) or "name" not in entry:
                raise ModelError(
                    f"{type(self).__name__}: expected name, value, … of a parameter, found {entry!r}"
                )
            name = str(entry["name"])
            if name in found:
                raise ModelError(f"{type(self).__name__}: parameter {name!r} is given twice")
            found.add(name)
            if name not in parameters.names:
                raise ModelError(
                    f"{type(self).__name__} has no parameter {name!r}. {nearest(name, parameters.names)}"
                )
            update_parameter(parameters[name], entry, type(self).__name__)

    def __repr__(self) -> str:
        pairs = zip(self.parameters, self.parameters.names, strict=True)
        values = ", ".join(f"{name}={p.value:.4g} {p.unit}".rstrip() for p, name in pairs)
        return f"{type(self).__name__}({values})"

    def __str__(self) -> str:
        lines = [type(self).__name__, "", *(f"  {line}" for line in parameter_lines(self.parameters))]
        return "\n".join(lines)


def check_signature(cls: type, method: str, n_first: int, names: list[str]) -> None:
    """Raise `ModelError` if a static method doesn't take arguments and then parameters in their order.

    They are passed by position: in another order the model would be another one.
    """
    arguments = list(inspect.signature(getattr(cls, method)).parameters.values())
    if any(a.kind == a.VAR_POSITIONAL for a in arguments):
        return
    found = [a.name for a in arguments]
    if not isinstance(cls.__dict__[method], staticmethod) or found[n_first:] != names:
        first = ["energy"] if n_first == 1 else ["energy_min", "energy_max"]
        raise ModelError(
            f"{cls.__name__}.{method}: expected a static method of ({', '.join([*first, *names])}), "
            f"found ({', '.join(found)})"
        )


_SETTINGS = (
    "min",
    "max",
    "error",
    "frozen",
    "scan_min",
    "scan_max",
    "scan_n_values",
    "scan_n_sigma",
    "interp",
)
#: Of Gammapy's minimiser; our own scaling needs no settings.
_FOREIGN = ("scale_method", "scale_transform", "scale", "factor", "type", "is_norm")
_PARAMETER_KEYS = ("name", "value", "unit", "link", "prior", *_SETTINGS, *_FOREIGN)


def update_parameter(parameter: Parameter, entry: dict[str, Any], where: str) -> None:
    """Set a parameter from its YAML dictionary; absent settings stay as they are."""
    where = f"{where}.{entry.get('name', parameter.name)}"
    for key in entry:
        if key not in _PARAMETER_KEYS:
            hint = nearest(str(key), _PARAMETER_KEYS)
            raise ModelError(f"{where}: unknown key {key!r} in the parameter. {hint}")
    limits = {"min": parameter.min, "max": parameter.max}
    # Lifted while the value changes; put back below where the entry has none of its own.
    parameter.min = parameter.max = float("nan")
    if "unit" in entry:
        try:
            parameter.unit = entry["unit"] or ""
        except UnitsError as error:
            raise UnitsError(f"{where}: {error}") from error
    if "value" in entry:
        parameter.value = entry["value"]
    for key, limit in limits.items():
        setattr(parameter, key, limit)
    for key in _SETTINGS:
        if entry.get(key) is not None:
            setattr(parameter, key, entry[key])
    parameter.check_limits()
    parameter.link_label = None if entry.get("link") is None else str(entry["link"])
    if entry.get("prior"):
        from villard.modeling.prior import Prior

        parameter.prior = Prior.from_dict(entry["prior"])


def parameter_lines(parameters: Parameters) -> list[str]:
    """Return one readable line per parameter."""
    lines = []
    for p, name in zip(parameters, parameters.names, strict=True):
        label = name if p.link_label is None else f"{name} ({p.link_label})"
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
    if not isinstance(tag, str):
        raise ModelError(f"The type of a model must be its name, found {tag!r}")
    if tag not in registry:
        what = "model" if kind == "model" else f"{kind} model"
        hint = _hint(tag, registry) if registry else "This version has none."
        raise ModelError(f"No {what} has the tag {tag!r}. {hint}")
    return registry[tag]


def _hint(name: str, names: Any) -> str:
    hint = nearest(name, names)
    return hint if len(list(names)) < 12 else hint.split("Available")[0]


def model_from_dict(kind: str, data: Any, where: str) -> Any:
    """Make a model of any class from its YAML form; ``where`` begins the messages of errors."""
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise ModelError(f"{where}: expected a model with 'type' and 'parameters', found {data!r}")
    return get_model_class(kind, data["type"]).from_dict(data)


@contextmanager
def named(where: str) -> Iterator[None]:
    """Prefix the message of an error about models or parameters raised in the block."""
    try:
        yield
    except (ModelError, ParameterError, UnitsError) as error:
        raise type(error)(f"{where}: {error}") from error

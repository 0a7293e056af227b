"""Parameters of models: values, limits, errors, scans, priors and links."""

import copy as copy_module
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ParameterError, UnitsError
from villard.utils.names import nearest
from villard.utils.units import canonical_factor, parse_unit

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.modeling.covariance import CorrelationRecord
    from villard.modeling.prior import Prior

__all__ = ["Parameter", "Parameters"]

_INTERPOLATIONS = ("lin", "log", "sqrt")


class Parameter:
    """A number with a unit that a fit may change.

    As a class attribute of a model it declares a parameter and its default; each instance of the
    model gets its own copy. Assigning a `Parameter` to a model's attribute links the two: both
    models then share one object.

    Parameters
    ----------
    name : str
        Name.
    value : float, str or `~astropy.units.Quantity`
        Value; a string or quantity carries its unit.
    unit : str or `~astropy.units.Unit`
        Unit, if ``value`` has none.
    min, max : float, str or `~astropy.units.Quantity`
        Limits in ``unit``; NaN means none.
    frozen : bool
        Whether fits leave the value alone.
    error : float
        Standard error in ``unit``.
    scan_min, scan_max : float, optional
        Bounds of scans; by default ``scan_n_sigma`` errors around the value.
    scan_n_values : int
        Number of values of a scan.
    scan_n_sigma : float
        Half-width of a scan in errors.
    scan_values : array, optional
        Values of a scan; overrides the other scan settings.
    interp : {"lin", "log", "sqrt"}
        Spacing of the values of a scan.
    is_norm : bool
        Whether the model is proportional to this parameter.
    prior : `~villard.modeling.prior.Prior`, optional
        Prior; its -2 ln p is added to the fit statistic.

    Raises
    ------
    ParameterError
        If a setting isn't allowed.

    Examples
    --------
    >>> amplitude = Parameter("amplitude", "3e-11 cm-2 s-1 TeV-1", min=0)
    >>> amplitude.value, str(amplitude.unit)
    (3e-11, '1 / (TeV s cm2)')
    >>> amplitude.value = -1e-12
    Traceback (most recent call last):
        ...
    villard.exceptions.ParameterError: Parameter 'amplitude': value -1e-12 is outside its limits [0, nan]
    """

    __slots__ = (
        "__weakref__",
        "_error",
        "_max",
        "_min",
        "_record",
        "_record_index",
        "_scan_values",
        "_unit",
        "_value",
        "frozen",
        "interp",
        "is_norm",
        "link_label",
        "name",
        "prior",
        "scan_max",
        "scan_min",
        "scan_n_sigma",
        "scan_n_values",
    )

    def __init__(
        self,
        name: str,
        value: Any,
        unit: Any = "",
        min: Any = math.nan,
        max: Any = math.nan,
        frozen: bool = False,
        error: float = 0.0,
        scan_min: float | None = None,
        scan_max: float | None = None,
        scan_n_values: int = 11,
        scan_n_sigma: float = 2,
        scan_values: Any = None,
        interp: str = "lin",
        is_norm: bool = False,
        prior: "Prior | None" = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ParameterError(f"A parameter's name must be a string, found {name!r}")
        if interp not in _INTERPOLATIONS:
            raise ParameterError(
                f"Parameter {name!r}: interp must be one of {_INTERPOLATIONS}, found {interp!r}"
            )
        self.name = name
        self._min = self._max = math.nan
        self._value = math.nan
        self._unit = u.dimensionless_unscaled
        self._record: CorrelationRecord | None = None
        self._record_index = -1
        self._set_value_and_unit(value, unit)
        self.min = min
        self.max = max
        self.frozen = bool(frozen)
        self.error = error
        self.scan_min = scan_min
        self.scan_max = scan_max
        self.scan_n_values = scan_n_values
        self.scan_n_sigma = scan_n_sigma
        self.scan_values = scan_values
        self.interp = interp
        self.is_norm = bool(is_norm)
        self.prior = prior
        self.link_label: str | None = None

    def __setattr__(self, key: str, value: Any) -> None:
        try:
            object.__setattr__(self, key, value)
        except AttributeError as error:
            names = [name for name in dir(type(self)) if not name.startswith("_")]
            raise ParameterError(f"Parameter has no attribute {key!r}. {nearest(key, names)}") from error

    def _set_value_and_unit(self, value: Any, unit: Any) -> None:
        if isinstance(value, str):
            value = _parse_quantity(self.name, value)
        if isinstance(value, u.Quantity):
            self._unit = u.Unit(value.unit)
            value = value.value
        else:
            self._unit = parse_unit(unit, f"Parameter {self.name!r}")
        self.value = value

    # Descriptor: a model's class attribute, copied into each instance by `ModelBase`.
    def __get__(self, instance: Any, owner: type) -> "Parameter":
        if instance is None:
            return self
        return instance.__dict__.get(self.name, self)

    def __set__(self, instance: Any, value: Any) -> None:
        if isinstance(value, Parameter):
            own = instance.__dict__.get(self.name)
            if own is not None and not value.unit.is_equivalent(own.unit):
                raise UnitsError(
                    f"{type(instance).__name__}.{self.name}: can't link a parameter in {value.unit}, "
                    f"expected a unit like {own.unit}"
                )
            instance.__dict__[self.name] = value
            return
        own = instance.__dict__[self.name]
        if isinstance(value, str | u.Quantity):
            own.quantity = value
        else:
            own.value = value

    @property
    def value(self) -> float:
        """Value in `unit`."""
        return self._value

    @value.setter
    def value(self, value: float) -> None:
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"Parameter {self.name!r}: value must be a number, found {value!r}"
            ) from error
        if number < self._min or number > self._max:
            raise ParameterError(
                f"Parameter {self.name!r}: value {number:g} is outside its limits "
                f"[{self._min:g}, {self._max:g}]"
            )
        self._value = number

    @property
    def unit(self) -> u.UnitBase:
        """Unit of value, error and limits."""
        return self._unit

    @unit.setter
    def unit(self, unit: Any) -> None:
        self._unit = parse_unit(unit, f"Parameter {self.name!r}")

    @property
    def quantity(self) -> u.Quantity:
        """Value with its unit; assigning converts to `unit` of what is assigned."""
        return u.Quantity(self._value, self._unit)

    @quantity.setter
    def quantity(self, quantity: Any) -> None:
        quantity = _parse_quantity(self.name, quantity) if isinstance(quantity, str) else u.Quantity(quantity)
        if not quantity.unit.is_equivalent(self._unit):
            raise UnitsError(
                f"Parameter {self.name!r}: expected a quantity in {self._unit}, found {quantity.unit}"
            )
        factor = float(self._unit.to(quantity.unit))
        new_min, new_max = self._min * factor, self._max * factor
        value = float(quantity.value)
        if value < new_min or value > new_max:
            raise ParameterError(
                f"Parameter {self.name!r}: value {quantity:g} is outside its limits "
                f"[{new_min:g}, {new_max:g}]"
            )
        self._min, self._max, self._value = new_min, new_max, value
        self._error *= factor
        self._unit = u.Unit(quantity.unit)

    def _limit(self, value: Any) -> float:
        if value is None:
            return math.nan
        if isinstance(value, str):
            value = _parse_quantity(self.name, value)
        if isinstance(value, u.Quantity):
            if not value.unit.is_equivalent(self._unit):
                raise UnitsError(f"Parameter {self.name!r}: expected a limit in {self._unit}, found {value}")
            value = value.to_value(self._unit)
        return float(value)

    @property
    def min(self) -> float:
        """Lower limit in `unit`; NaN if there is none."""
        return self._min

    @min.setter
    def min(self, value: Any) -> None:
        limit = self._limit(value)
        if limit > self._max:
            raise ParameterError(f"Parameter {self.name!r}: min {limit:g} is above max {self._max:g}")
        self._min = limit

    @property
    def max(self) -> float:
        """Upper limit in `unit`; NaN if there is none."""
        return self._max

    @max.setter
    def max(self, value: Any) -> None:
        limit = self._limit(value)
        if limit < self._min:
            raise ParameterError(f"Parameter {self.name!r}: max {limit:g} is below min {self._min:g}")
        self._max = limit

    @property
    def error(self) -> float:
        """Standard error in `unit`."""
        return self._error

    @error.setter
    def error(self, value: Any) -> None:
        if isinstance(value, u.Quantity):
            value = value.to_value(self._unit)
        value = float(value)
        if value < 0:
            raise ParameterError(f"Parameter {self.name!r}: error must not be negative, found {value:g}")
        self._error = value

    @property
    def scan_values(self) -> NDArray[np.float64]:
        """Values of a scan of this parameter, shape (scan_n_values,), in `unit`."""
        if self._scan_values is not None:
            return self._scan_values
        scan_min, scan_max = self._scan_bounds()
        if self.interp == "lin" or (self.interp == "log" and scan_min <= 0):
            return np.linspace(scan_min, scan_max, self.scan_n_values)
        if self.interp == "log":
            return np.geomspace(scan_min, scan_max, self.scan_n_values)
        return np.linspace(math.sqrt(scan_min), math.sqrt(scan_max), self.scan_n_values) ** 2

    @scan_values.setter
    def scan_values(self, values: Any) -> None:
        if isinstance(values, u.Quantity):
            values = values.to_value(self._unit)
        self._scan_values: NDArray[np.float64] | None = (
            None if values is None else np.atleast_1d(values).astype(float)
        )

    def _scan_bounds(self) -> tuple[float, float]:
        half_width = self.scan_n_sigma * self.error
        if half_width == 0 and (self.scan_min is None or self.scan_max is None):
            raise ParameterError(
                f"Parameter {self.name!r} has no error: fit first, or set scan_min and scan_max, "
                "or scan_values"
            )
        scan_min = self.value - half_width if self.scan_min is None else self.scan_min
        scan_max = self.value + half_width if self.scan_max is None else self.scan_max
        scan_min = scan_min if not scan_min < self._min else self._min
        scan_max = scan_max if not scan_max > self._max else self._max
        return scan_min, scan_max

    @property
    def engine_factor(self) -> float:
        """Factor that converts the value to the engine's unit."""
        return canonical_factor(self._unit)

    @property
    def engine_value(self) -> float:
        """Value in the engine's unit (TeV, cm, s, deg, sr)."""
        return self._value * canonical_factor(self._unit)

    def prior_stat_sum(self) -> float:
        """Return -2 ln p of the prior at the value, 0 without a prior."""
        return 0.0 if self.prior is None else float(self.prior(self.value))

    def check_limits(self) -> None:
        """Raise `ParameterError` if the value is outside its limits."""
        self.value = self._value

    def copy(self) -> "Parameter":
        """Return a copy that shares nothing with this parameter."""
        return copy_module.deepcopy(self)

    def to_dict(self) -> dict[str, Any]:
        """Return name, value, unit and the settings that differ from none, for YAML."""
        result: dict[str, Any] = {"name": self.name, "value": self.value}
        unit = self._unit.to_string("fits") if self._unit != u.dimensionless_unscaled else ""
        if unit:
            result["unit"] = unit
        if self.error:
            result["error"] = self.error
        for key in ("min", "max"):
            if not math.isnan(getattr(self, key)):
                result[key] = getattr(self, key)
        result["frozen"] = self.frozen
        for key in ("scan_min", "scan_max"):
            if getattr(self, key) is not None:
                result[key] = float(getattr(self, key))
        if self.prior is not None:
            result["prior"] = self.prior.to_dict()
        return result

    def __repr__(self) -> str:
        return (
            f"Parameter(name={self.name!r}, value={self.value!r}, unit={str(self.unit)!r}, "
            f"min={self.min!r}, max={self.max!r}, frozen={self.frozen!r}, error={self.error!r})"
        )


def _parse_quantity(name: str, text: str) -> u.Quantity:
    try:
        return u.Quantity(text)
    except (TypeError, ValueError) as error:
        raise UnitsError(f"Parameter {name!r}: can't read {text!r} as a number with a unit") from error


class Parameters(Sequence[Parameter]):
    """An ordered collection of parameters.

    Examples
    --------
    >>> parameters = Parameters([Parameter("index", 2), Parameter("amplitude", 1e-11, frozen=True)])
    >>> parameters.free_parameters.names
    ['index']
    >>> parameters["indx"]
    Traceback (most recent call last):
        ...
    villard.exceptions.ParameterError: No parameter 'indx'. Did you mean 'index'? Available: index, amplitude
    """

    def __init__(self, parameters: Iterable[Parameter] = ()) -> None:
        self._parameters = list(parameters)
        for parameter in self._parameters:
            if not isinstance(parameter, Parameter):
                raise ParameterError(f"Expected a Parameter, found {type(parameter).__name__}")

    @overload
    def __getitem__(self, key: "int | str | Parameter") -> Parameter: ...
    @overload
    def __getitem__(self, key: slice) -> "Parameters": ...

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            found = [p for p in self._parameters if p.name == key]
            if not found:
                raise ParameterError(f"No parameter {key!r}. {nearest(key, self.names)}")
            if any(p is not found[0] for p in found):
                raise ParameterError(
                    f"{len(found)} parameters are called {key!r}: select a model first, "
                    "as in models[name].parameters"
                )
            return found[0]
        if isinstance(key, Parameter):
            return self._parameters[self.index(key)]
        if isinstance(key, slice):
            return Parameters(self._parameters[key])
        return self._parameters[key]

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters)

    def __contains__(self, parameter: object) -> bool:
        if isinstance(parameter, str):
            return parameter in self.names
        return any(p is parameter for p in self._parameters)

    def __add__(self, other: "Iterable[Parameter]") -> "Parameters":
        return Parameters([*self, *other])

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the position of a parameter, given itself, its name or its position."""
        if isinstance(value, str):
            value = self[value]
        if isinstance(value, int | np.integer):
            return int(value)
        for position, parameter in enumerate(self._parameters):
            if parameter is value:
                return position
        raise ParameterError(f"Parameter {getattr(value, 'name', value)!r} is not in this collection")

    @property
    def names(self) -> list[str]:
        """Names, in order."""
        return [p.name for p in self._parameters]

    @property
    def value(self) -> NDArray[np.float64]:
        """Values, each in its own unit; shape (n,)."""
        return np.array([p.value for p in self._parameters], dtype=float)

    @value.setter
    def value(self, values: Iterable[float]) -> None:
        for parameter, value in zip(self._parameters, list(values), strict=True):
            parameter.value = value

    @property
    def free_parameters(self) -> "Parameters":
        """Parameters that aren't frozen, each once."""
        return Parameters([p for p in self.unique_parameters if not p.frozen])

    @property
    def unique_parameters(self) -> "Parameters":
        """Parameters, linked ones only once."""
        return Parameters({id(p): p for p in self._parameters}.values())

    @property
    def free_unique_parameters(self) -> "Parameters":
        """The same as `free_parameters`."""
        return self.free_parameters

    def select(self, name: str | list[str] | None = None, frozen: bool | None = None) -> "Parameters":
        """Return the parameters with one of these names and this state.

        Parameters
        ----------
        name : str or list of str, optional
            Name or names.
        frozen : bool, optional
            State.
        """
        names = [name] if isinstance(name, str) else name
        return Parameters(
            p
            for p in self._parameters
            if (names is None or p.name in names) and (frozen is None or p.frozen == frozen)
        )

    def freeze_all(self) -> None:
        """Freeze all."""
        for parameter in self._parameters:
            parameter.frozen = True

    def unfreeze_all(self) -> None:
        """Free all, also those that models freeze by default."""
        for parameter in self._parameters:
            parameter.frozen = False

    @contextmanager
    def restore_status(self, restore_values: bool = True) -> Iterator[None]:
        """Put values (if asked), errors and frozen states back when the block ends."""
        state = [(p, p.value, p.frozen, p.error, p._record, p._record_index) for p in self._parameters]
        try:
            yield
        finally:
            for parameter, value, frozen, error, record, index in state:
                parameter.frozen = frozen
                if restore_values:
                    parameter._value, parameter._error = value, error
                    parameter._record, parameter._record_index = record, index

    def prior_stat_sum(self) -> float:
        """Return the sum of -2 ln p of the priors."""
        return sum(p.prior_stat_sum() for p in self.unique_parameters)

    def copy(self) -> "Parameters":
        """Return copies that share nothing with these parameters but keep their links."""
        return copy_module.deepcopy(self)

    def to_table(self) -> "Table":
        """Return an `~astropy.table.Table` with a row per parameter."""
        from astropy.table import Table

        rows = [
            (
                p.name,
                p.value,
                p.unit.to_string("fits"),
                p.error,
                p.min,
                p.max,
                p.frozen,
                p.link_label or "",
                "" if p.prior is None else type(p.prior).__name__,
            )
            for p in self._parameters
        ]
        names = ("name", "value", "unit", "error", "min", "max", "frozen", "link", "prior")
        dtype = (str, float, str, float, float, float, bool, str, str)
        table = Table(rows=rows or None, names=names, dtype=dtype)
        for name in ("value", "error", "min", "max"):
            table[name].format = ".4e" if name in ("value", "min", "max") else ".3e"
        return table

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{p.name}={p.value:g}' for p in self._parameters)})"

    def __str__(self) -> str:
        return "\n".join(str(line) for line in self.to_table().pformat(max_lines=-1, max_width=-1))

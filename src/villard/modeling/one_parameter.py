"""One parameter of a model: value, limits, error, scan, prior."""

import copy as copy_module
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ParameterError, UnitsError
from villard.utils.names import nearest
from villard.utils.units import canonical_factor, convert, parse_unit, unit_text

if TYPE_CHECKING:
    from villard.modeling.covariance import CorrelationRecord
    from villard.modeling.prior import Prior

__all__ = ["Parameter"]

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
    scan_min, scan_max : float, str or `~astropy.units.Quantity`, optional
        Bounds of scans; by default ``scan_n_sigma`` errors around the value.
    scan_n_values : int
        Number of values of a scan.
    scan_n_sigma : float
        Half-width of a scan in errors.
    scan_values : array, optional
        Values of a scan; overrides the other scan settings.
    interp : {"lin", "log", "sqrt"}
        Spacing of the values of a scan. It is even where a bound has no logarithm or root.
    is_norm : bool
        Whether the model is proportional to this parameter.
    prior : `~villard.modeling.prior.Prior`, optional
        Prior; its -2 ln p is added to the fit statistic. Its values are in ``unit`` unless they have a
        unit of their own, from which they are converted.

    Raises
    ------
    ParameterError
        If a setting isn't allowed.
    UnitsError
        If a unit is unknown or doesn't fit.

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
        self.name = name
        self._min = self._max = math.nan
        self._value = math.nan
        self._scan_values: NDArray[np.float64] | None = None
        self._unit = u.dimensionless_unscaled
        self._record: CorrelationRecord | None = None
        self._record_index = -1
        self._set_value_and_unit(value, unit)
        self.min = min
        self.max = max
        self.frozen = frozen
        self.error = error
        self.scan_min = scan_min
        self.scan_max = scan_max
        self.scan_n_values = scan_n_values
        self.scan_n_sigma = scan_n_sigma
        self.scan_values = scan_values
        self.interp = interp
        self.is_norm = is_norm
        self.prior = prior
        self.link_label: str | None = None

    def __setattr__(self, key: str, value: Any) -> None:
        check = _CHECKS.get(key)
        try:
            object.__setattr__(self, key, value if check is None else check(self, key, value))
        except AttributeError as error:
            names = [name for name in dir(type(self)) if not name.startswith("_")]
            raise ParameterError(f"Parameter has no attribute {key!r}. {nearest(key, names)}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__ if key != "__weakref__"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Without the checks of __setattr__, which need settings that aren't there yet.
        for key, value in state.items():
            object.__setattr__(self, key, value)

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
        self.assign(instance, self.name, value)

    @staticmethod
    def assign(instance: Any, name: str, value: Any) -> None:
        """Set a parameter of a model to a number or quantity, or link it to another parameter."""
        own = instance.__dict__[name]
        if isinstance(value, Parameter):
            if not value.unit.is_equivalent(own.unit):
                raise UnitsError(
                    f"{type(instance).__name__}.{name}: can't link a parameter in "
                    f"{unit_text(value.unit)}, expected {unit_text(own.unit)}"
                )
            instance.__dict__[name] = value
        elif isinstance(value, str | u.Quantity):
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
        if not math.isfinite(number):
            raise ParameterError(f"Parameter {self.name!r}: value must be finite, found {number:g}")
        if number < self._min or number > self._max:
            raise ParameterError(
                f"Parameter {self.name!r}: value {number:g} is outside its limits "
                f"[{self._min:g}, {self._max:g}]"
            )
        self._value = number

    @property
    def unit(self) -> u.UnitBase:
        """Unit of value, error and limits; setting it leaves their numbers as they are."""
        return self._unit

    @unit.setter
    def unit(self, unit: Any) -> None:
        new = parse_unit(unit, f"Parameter {self.name!r}")
        if not new.is_equivalent(self._unit):
            raise UnitsError(
                f"Parameter {self.name!r}: expected a unit like {unit_text(self._unit)}, found {unit!r}"
            )
        self._unit = new

    @property
    def quantity(self) -> u.Quantity:
        """Value with its unit; assigning converts to `unit` of what is assigned."""
        return u.Quantity(self._value, self._unit)

    @quantity.setter
    def quantity(self, quantity: Any) -> None:
        quantity = _parse_quantity(self.name, quantity) if isinstance(quantity, str) else u.Quantity(quantity)
        if not quantity.unit.is_equivalent(self._unit):
            raise UnitsError(
                f"Parameter {self.name!r}: expected a quantity in {unit_text(self._unit)}, "
                f"found {unit_text(quantity.unit)}"
            )
        factor = float(self._unit.to(quantity.unit))
        new_min, new_max = self._min * factor, self._max * factor
        value = float(quantity.value)
        if not math.isfinite(value):
            raise ParameterError(f"Parameter {self.name!r}: value must be finite, found {quantity:g}")
        if value < new_min or value > new_max:
            raise ParameterError(
                f"Parameter {self.name!r}: value {quantity:g} is outside its limits "
                f"[{new_min:g}, {new_max:g}]"
            )
        if factor != 1:
            self._rescale(factor, quantity.unit)
        self._min, self._max, self._value = new_min, new_max, value
        self._unit = u.Unit(quantity.unit)

    def _rescale(self, factor: float, unit: u.UnitBase) -> None:
        """Convert the settings besides value and limits, that are in the present unit, to another."""
        if self.prior is not None:
            prior = self.prior.rescaled(factor, unit, f"Parameter {self.name!r}")
            object.__setattr__(self, "prior", prior)
        self._error *= factor
        for key in ("scan_min", "scan_max"):
            bound = getattr(self, key)
            if bound is not None:
                object.__setattr__(self, key, bound * factor)
        if self._scan_values is not None:
            self._scan_values = self._scan_values * factor

    def _limit(self, value: Any) -> float:
        if value is None:
            return math.nan
        if isinstance(value, str):
            value = _parse_quantity(self.name, value)
        if isinstance(value, u.Quantity):
            if not value.unit.is_equivalent(self._unit):
                raise UnitsError(
                    f"Parameter {self.name!r}: expected a limit in {unit_text(self._unit)}, found {value}"
                )
            value = value.to_value(self._unit)
        return self._number("limit", value)

    def _number(self, what: str, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"Parameter {self.name!r}: {what} must be a number, found {value!r}"
            ) from error

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
            value = float(convert(value, self._unit, f"Parameter {self.name!r}: error"))
        value = self._number("error", value)
        if value < 0:
            raise ParameterError(f"Parameter {self.name!r}: error must not be negative, found {value:g}")
        self._error = value

    @property
    def scan_values(self) -> NDArray[np.float64]:
        """Values of a scan of this parameter, shape (scan_n_values,), in `unit`."""
        if self._scan_values is not None:
            return self._scan_values
        scan_min, scan_max = self._scan_bounds()
        if scan_min <= 0 or self.interp == "lin":
            return np.linspace(scan_min, scan_max, self.scan_n_values)
        if self.interp == "log":
            return np.geomspace(scan_min, scan_max, self.scan_n_values)
        return np.linspace(math.sqrt(scan_min), math.sqrt(scan_max), self.scan_n_values) ** 2

    @scan_values.setter
    def scan_values(self, values: Any) -> None:
        if values is None:
            self._scan_values = None
            return
        where = f"Parameter {self.name!r}: scan_values"
        if isinstance(values, u.Quantity):
            values = convert(values, self._unit, where)
        try:
            array = np.atleast_1d(values).astype(float)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{where}: expected numbers, found {values!r}") from error
        if array.ndim != 1 or not len(array) or not np.all(np.isfinite(array)):
            raise ParameterError(f"{where}: expected one or more finite numbers, found {values!r}")
        self._scan_values = array

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
        if scan_max < scan_min:
            raise ParameterError(
                f"Parameter {self.name!r}: scan_min {scan_min:g} is above scan_max {scan_max:g}"
            )
        return scan_min, scan_max

    @property
    def engine_factor(self) -> float:
        """Factor that converts the value to the engine's unit."""
        return canonical_factor(self._unit)

    @property
    def engine_value(self) -> float:
        """Value in the engine's unit (TeV, cm, s, deg, sr)."""
        return self._value * canonical_factor(self._unit)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound of fits in `unit`: the limits, or those of the prior if it has tighter ones.

        They are infinite where there is none.
        """
        low, high = -math.inf, math.inf
        if self.prior is not None:
            low, high = self.prior.in_unit(self._unit, f"Parameter {self.name!r}").support
        return (
            low if math.isnan(self._min) else max(low, self._min),
            high if math.isnan(self._max) else min(high, self._max),
        )

    def prior_stat_sum(self) -> float:
        """Return -2 ln p of the prior at the value, 0 without a prior."""
        if self.prior is None:
            return 0.0
        return float(self.prior.in_unit(self._unit, f"Parameter {self.name!r}")(self.value))

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


def _check_bool(parameter: Parameter, key: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(f"Parameter {parameter.name!r}: {key} must be True or False, found {value!r}")
    return bool(value)


def _check_interp(parameter: Parameter, key: str, value: Any) -> str:
    if value not in _INTERPOLATIONS:
        raise ParameterError(
            f"Parameter {parameter.name!r}: interp must be one of {_INTERPOLATIONS}, found {value!r}"
        )
    return str(value)


def _check_scan_bound(parameter: Parameter, key: str, value: Any) -> float | None:
    bound = parameter._limit(value)
    return None if value is None or math.isnan(bound) else bound


def _check_n_values(parameter: Parameter, key: str, value: Any) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ParameterError(
            f"Parameter {parameter.name!r}: {key} must be a positive whole number, found {value!r}"
        )
    return int(value)


def _check_n_sigma(parameter: Parameter, key: str, value: Any) -> float:
    number = parameter._number(key, value)
    if not 0 < number < math.inf:
        raise ParameterError(f"Parameter {parameter.name!r}: {key} must be positive, found {value!r}")
    return number


def _check_prior(parameter: Parameter, key: str, value: Any) -> Any:
    from villard.modeling.prior import Prior

    if value is None:
        return None
    if not isinstance(value, Prior):
        raise ParameterError(
            f"Parameter {parameter.name!r}: prior must be a Prior, found {type(value).__name__}"
        )
    return value.in_unit(parameter.unit, f"Parameter {parameter.name!r}")


_CHECKS: dict[str, Callable[[Parameter, str, Any], Any]] = {
    "frozen": _check_bool,
    "is_norm": _check_bool,
    "interp": _check_interp,
    "scan_min": _check_scan_bound,
    "scan_max": _check_scan_bound,
    "scan_n_values": _check_n_values,
    "scan_n_sigma": _check_n_sigma,
    "prior": _check_prior,
}

"""Priors on parameters: -2 ln p, added to the fit statistic."""

import copy
import inspect
import math
from typing import Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, ParameterError
from villard.utils.array import namespace
from villard.utils.names import nearest
from villard.utils.traced import traceable
from villard.utils.units import convert, parse_unit

__all__ = ["GaussianPrior", "GeneralizedGaussianPrior", "LogUniformPrior", "Prior", "UniformPrior"]

_PRIORS: dict[str, type["Prior"]] = {}


class Prior:
    """Base class of priors.

    A subclass declares ``defaults`` (names and default values, in the unit of the parameter that
    carries the prior) and a static method ``evaluate(value, *values)`` that returns -2 ln p as a
    pure function of arrays; ``inverse_cdf`` is needed only to draw from the prior. That is all
    that a custom prior takes: it enters fits with exact derivatives. Functions such as ``log`` must
    come from `villard.utils.array.namespace`, so that they are those of numpy or JAX as needed.

    Parameters
    ----------
    weight : float
        Factor on -2 ln p.
    **values : float or `~astropy.units.Quantity`
        Values of the prior. Numbers are in the unit of the parameter that gets the prior; quantities
        are converted to it.

    Examples
    --------
    >>> class CauchyPrior(Prior):
    ...     defaults = {"mu": 0.0, "gamma": 1.0}
    ...
    ...     @staticmethod
    ...     def evaluate(value, mu, gamma):
    ...         xp = namespace(value, mu, gamma)
    ...         return 2 * xp.log(xp.pi * gamma * (1 + ((value - mu) / gamma) ** 2))
    >>> round(float(CauchyPrior(mu=1, gamma=0.5)(1.0)), 6)
    0.903165
    """

    defaults: ClassVar[dict[str, float]] = {}
    tag: ClassVar[list[str]] = []
    #: Values that change with the unit of the parameter; needed only where that is changed.
    scaled: ClassVar[tuple[str, ...] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.tag = cls.__dict__.get("tag") or [cls.__name__]
        _PRIORS.update(dict.fromkeys(cls.tag, cls))
        cls._check_evaluate()
        if "evaluate" in cls.__dict__:
            named = traceable(cls.evaluate, f"{cls.__name__}.evaluate")
            setattr(cls, "evaluate", staticmethod(named))  # noqa: B010 - mypy lets no method be assigned

    @classmethod
    def _check_evaluate(cls) -> None:
        """Values are passed by position: in another order the prior would be another one."""
        arguments = list(inspect.signature(cls.evaluate).parameters.values())
        if any(a.kind == a.VAR_POSITIONAL for a in arguments):
            return
        found = [a.name for a in arguments]
        if found[1:] != list(cls.defaults):
            raise ModelError(
                f"{cls.__name__}.evaluate: expected a static method of "
                f"({', '.join(['value', *cls.defaults])}), found ({', '.join(found)})"
            )

    def __init__(self, weight: float = 1.0, **values: Any) -> None:
        self.weight = float(weight)
        self.units: dict[str, str] = {}
        self.values = dict(self.defaults)
        for name, value in values.items():
            if name not in self.defaults:
                raise ModelError(
                    f"{type(self).__name__} has no value {name!r}. {nearest(name, self.defaults)}"
                )
            self._set(name, value)
        self._check()

    def _set(self, name: str, value: Any) -> None:
        where = f"{type(self).__name__}.{name}"
        try:
            if isinstance(value, str):
                value = u.Quantity(value)
            self.units.pop(name, None)
            if isinstance(value, u.Quantity):
                if value.unit != u.dimensionless_unscaled:
                    self.units[name] = value.unit.to_string("fits")
                value = value.value
            number = float(value)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{where}: expected a number or quantity, found {value!r}") from error
        if not math.isfinite(number):
            raise ParameterError(f"{where}: expected a finite number, found {value!r}")
        self.values[name] = number

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("values", {}):
            self._set(name, value)
            self._check()
        elif name in ("weight", "units", "values") or name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            raise ModelError(f"{type(self).__name__} has no value {name!r}. {nearest(name, self.defaults)}")

    def in_unit(self, unit: u.UnitBase, where: str) -> "Prior":
        """Return the prior with those values that have a unit converted to another.

        Raises
        ------
        UnitsError
            If a value is in another kind of unit; the message begins with ``where``.
        """
        if all(u.Unit(own) == unit for own in self.units.values()):
            return self
        new = copy.deepcopy(self)
        for name, own in self.units.items():
            value = convert(u.Quantity(self.values[name], own), unit, f"{where}: prior value {name!r}")
            new._set(name, u.Quantity(float(value), unit))
        return new

    @property
    def support(self) -> tuple[float, float]:
        """Bounds outside of which the prior is zero: limits of a fit, like those of the parameter."""
        return -math.inf, math.inf

    def rescaled(self, factor: float, unit: u.UnitBase, where: str) -> "Prior":
        """Return the prior of a parameter whose unit changes, so that its values grow by ``factor``."""
        if self.scaled is None:
            raise ParameterError(
                f"{where}: can't change its unit to {unit}, because {type(self).__name__} doesn't say in "
                "`scaled` which of its values change; assign a quantity in the present unit"
            )
        new = copy.deepcopy(self)
        for name in self.scaled:
            value = self.values[name] * factor
            new._set(name, u.Quantity(value, unit) if name in self.units else value)
        return new

    def _check(self) -> None:
        """Raise `ParameterError` if the values make no distribution."""

    def __getattr__(self, name: str) -> float:
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @staticmethod
    def evaluate(value: Any, *values: Any) -> Any:
        """-2 ln p as a pure function of arrays; subclasses define it."""
        raise NotImplementedError

    def __call__(self, value: Any) -> Any:
        """Return weight × (-2 ln p) at a value of the parameter."""
        return self.weight * type(self).evaluate(value, *self.values.values())

    def inverse_cdf(self, quantile: Any) -> NDArray[np.float64]:
        """Return the value below which a fraction ``quantile`` of the prior lies."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse_cdf")

    def to_dict(self) -> dict[str, Any]:
        """Return the prior in the form of Gammapy's YAML."""
        parameters = [{"name": k, "value": v, "unit": self.units.get(k, "")} for k, v in self.values.items()]
        return {"type": self.tag[0], "parameters": parameters, "weight": self.weight}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Prior":
        """Make a prior from the form of `to_dict`.

        Raises
        ------
        ModelError
            If its type is unknown.
        """
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            raise ModelError(f"Prior: expected a type and parameters, found {data!r}")
        tag = data["type"]
        if tag not in _PRIORS:
            raise ModelError(f"No prior has the type {tag!r}. {nearest(tag, _PRIORS)}")
        _check_keys(data, ("type", "parameters", "weight"), tag)
        values: dict[str, Any] = {}
        for entry in data.get("parameters") or []:
            if not isinstance(entry, dict) or not {"name", "value"} <= set(entry):
                raise ModelError(f"{tag}: expected name and value of a parameter, found {entry!r}")
            _check_keys(entry, _ENTRY_KEYS, f"{tag}.{entry['name']}")
            unit = parse_unit(entry.get("unit") or "", f"{tag}.{entry['name']}")
            has_unit = unit != u.dimensionless_unscaled
            values[entry["name"]] = u.Quantity(entry["value"], unit) if has_unit else entry["value"]
        return _PRIORS[tag](weight=data.get("weight", 1.0), **values)

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v:g}" for k, v in self.values.items())
        return f"{type(self).__name__}({values})"


#: What Gammapy writes of a prior's parameters; only the first three say something.
_ENTRY_KEYS = ("name", "value", "unit", "error", "min", "max", "frozen", "interp", "scale_method")


def _check_keys(data: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in known:
            raise ModelError(f"{where}: unknown key {key!r}. {nearest(str(key), known)}")


class GaussianPrior(Prior):
    r"""Gaussian, :math:`-2 \ln p = (x - \mu)^2 / \sigma^2 + \ln(2 \pi \sigma^2)`.

    Examples
    --------
    >>> float(GaussianPrior(mu=4, sigma=1)(0.0).round(6))
    17.837877
    """

    tag = ["GaussianPrior"]
    defaults = {"mu": 0.0, "sigma": 1.0}
    scaled = ("mu", "sigma")

    def _check(self) -> None:
        if not self.values["sigma"] > 0:
            raise ParameterError(f"GaussianPrior: sigma must be positive, found {self.values['sigma']:g}")

    @staticmethod
    def evaluate(value: Any, mu: Any, sigma: Any) -> Any:
        """-2 ln p."""
        xp = namespace(value, mu, sigma)
        return ((value - mu) / sigma) ** 2 + xp.log(2 * math.pi * sigma**2)

    def inverse_cdf(self, quantile: Any) -> NDArray[np.float64]:
        """Return the quantile function."""
        from scipy.special import ndtri

        return self.mu + self.sigma * ndtri(quantile)


class GeneralizedGaussianPrior(Prior):
    r"""Generalised Gaussian, :math:`p \propto \exp(-|(x - \mu) / (\sqrt{2} \sigma)|^{1/\eta})`.

    It is a Gaussian for :math:`\eta = 1/2`, a Laplace distribution for 1, and approaches a box for 0.
    """

    tag = ["GeneralizedGaussianPrior"]
    defaults = {"mu": 0.0, "sigma": 1.0, "eta": 0.5}
    scaled = ("mu", "sigma")

    def _check(self) -> None:
        for name in ("sigma", "eta"):
            if not self.values[name] > 0:
                raise ParameterError(
                    f"GeneralizedGaussianPrior: {name} must be positive, found {self.values[name]:g}"
                )

    @staticmethod
    def evaluate(value: Any, mu: Any, sigma: Any, eta: Any) -> Any:
        """-2 ln p."""
        from villard.utils.array import special

        xp = namespace(value, mu, sigma, eta)
        scale = math.sqrt(2) * sigma
        log_norm = xp.log(2 * scale * eta) + special(xp).gammaln(eta)
        # At the centre |x|^(1/eta) has no derivative for eta > 1: keep the power's argument away from 0.
        x = xp.abs(value - mu) / scale
        power = xp.where(x > 0, xp.where(x > 0, x, 1.0) ** (1 / eta), 0.0)
        return 2 * (power + log_norm)

    def inverse_cdf(self, quantile: Any) -> NDArray[np.float64]:
        """Return the quantile function."""
        from scipy.stats import gennorm

        return gennorm.ppf(quantile, beta=1 / self.eta, loc=self.mu, scale=math.sqrt(2) * self.sigma)


class UniformPrior(Prior):
    r"""Uniform between two bounds, :math:`-2 \ln p = 2 \ln(b - a)`, infinite outside."""

    tag = ["UniformPrior"]
    defaults = {"min": 0.0, "max": 1.0}
    scaled = ("min", "max")

    def _check(self) -> None:
        if not self.values["max"] > self.values["min"]:
            raise ParameterError(
                f"{type(self).__name__}: max must be above min, found "
                f"{self.values['min']:g}, {self.values['max']:g}"
            )

    @property
    def support(self) -> tuple[float, float]:
        """The two bounds."""
        return self.values["min"], self.values["max"]

    @staticmethod
    def evaluate(value: Any, min: Any, max: Any) -> Any:
        """-2 ln p."""
        xp = namespace(value, min, max)
        return xp.where((value >= min) & (value <= max), 2 * xp.log(max - min), xp.inf)

    def inverse_cdf(self, quantile: Any) -> NDArray[np.float64]:
        """Return the quantile function."""
        return self.values["min"] + np.asarray(quantile) * (self.values["max"] - self.values["min"])


class LogUniformPrior(UniformPrior):
    r"""Uniform in the logarithm, :math:`-2 \ln p = 2 \ln(x \ln(b / a))`, infinite outside."""

    tag = ["LogUniformPrior"]
    defaults = {"min": 1e-14, "max": 1e-10}

    def _check(self) -> None:
        super()._check()
        if not self.values["min"] > 0:
            raise ParameterError(f"LogUniformPrior: min must be positive, found {self.values['min']:g}")

    @staticmethod
    def evaluate(value: Any, min: Any, max: Any) -> Any:
        """-2 ln p."""
        xp = namespace(value, min, max)
        inside = (value >= min) & (value <= max)
        safe = xp.where(inside, value, min)
        return xp.where(inside, 2 * xp.log(safe * xp.log(max / min)), xp.inf)

    def inverse_cdf(self, quantile: Any) -> NDArray[np.float64]:
        """Return the quantile function."""
        low, high = self.values["min"], self.values["max"]
        return low * (high / low) ** np.asarray(quantile)

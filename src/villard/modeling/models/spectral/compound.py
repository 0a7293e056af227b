"""Sums, differences, products and quotients of spectral models."""

import operator
from typing import Any, ClassVar, Self

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError
from villard.modeling.models.core import model_from_dict
from villard.modeling.models.spectral.constant import ConstantSpectralModel
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel, engine_values
from villard.modeling.models.spectral.quadrature import integrate_split
from villard.modeling.parameter import Parameters
from villard.utils.array import namespace
from villard.utils.units import unit_text

__all__ = ["CompoundSpectralModel", "as_operand"]

_OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "pow": operator.pow,
}


#: A product with a table of more points than this is integrated as if it were smooth within bins.
_MAX_SPLITS = 10


def _no_breaks(parameters: Any, arrays: Any) -> Any:
    return np.zeros(0)


def _concatenate(first: Any, second: Any) -> Any:
    return namespace(first, second).concatenate([first, second])


def _split_integral(evaluate: Any, breaks: Any, power: int) -> Any:
    """Integral of E^power times a flux, by 12 nodes in each part of a bin between breaks."""

    def integral(energy_min: Any, energy_max: Any, parameters: Any, arrays: Any) -> Any:
        def integrand(energy: Any) -> Any:
            return evaluate(energy, parameters, arrays) * energy**power

        return integrate_split(integrand, energy_min, energy_max, breaks(parameters, arrays), 12)

    return integral


def as_operand(value: Any) -> SpectralModel:
    """Return a model; numbers and quantities become frozen constants.

    Raises
    ------
    ModelError
        If it is neither.
    """
    if isinstance(value, SpectralModel):
        return value
    try:
        quantity = u.Quantity(value)
    except (TypeError, ValueError) as error:
        raise ModelError(f"Can't combine a spectral model with {type(value).__name__}") from error
    model = ConstantSpectralModel(quantity)
    model.const.frozen = True
    return model


class CompoundSpectralModel(SpectralModel):
    """Two spectral models combined by an operator; made by ``model1 + model2`` and the like.

    Parameters
    ----------
    model1, model2 : `SpectralModel`
        Models.
    operator : callable or str
        ``operator.add``, ``sub``, ``mul``, ``truediv``, or its name.

    Raises
    ------
    ModelError
        If the operator is unknown, or models of different units are added.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> model = PowerLawSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1") + PowerLawSpectralModel(index=3)
    >>> model("1 TeV")
    <Quantity 1.1e-11 1 / (TeV s cm2)>
    >>> model.parameters_unique_names[0]
    'model1.index'
    """

    tag: ClassVar[list[str]] = ["CompoundSpectralModel", "compound"]
    yaml_keys = ("model1", "model2", "operator")
    _settable = ("model1", "model2")

    def __init__(self, model1: SpectralModel, model2: SpectralModel, operator: Any) -> None:
        name = operator if isinstance(operator, str) else getattr(operator, "__name__", str(operator))
        if name not in _OPERATORS:
            raise ModelError(
                f"CompoundSpectralModel: no operator {name!r}, expected one of {list(_OPERATORS)}"
            )
        self.model1, self.model2 = as_operand(model1), as_operand(model2)
        self._operator = name
        unit1, unit2 = self.model1.output_unit, self.model2.output_unit
        if name in ("add", "sub") and unit1 != unit2:
            raise ModelError(
                f"CompoundSpectralModel: can't {name} models in {unit_text(unit1)} and {unit_text(unit2)}"
            )
        if name == "pow" and not (unit1 == unit2 == u.dimensionless_unscaled):
            raise ModelError(
                "CompoundSpectralModel: only factors without unit can be raised to powers, "
                f"found {unit_text(unit1)} to the power of {unit_text(unit2)}"
            )
        super().__init__()

    @property
    def operator(self) -> Any:
        """Operator, a function of two arguments."""
        return _OPERATORS[self._operator]

    @property
    def parameters(self) -> Parameters:
        """Parameters of both models."""
        return Parameters.join([self.model1.parameters, self.model2.parameters])

    @property
    def parameters_unique_names(self) -> list[str]:
        """Names like ``model1.index``."""
        names1 = [f"model1.{name}" for name in self.model1.parameters_unique_names]
        return names1 + [f"model2.{name}" for name in self.model2.parameters_unique_names]

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the combination; of sums and differences that of the first model."""
        unit1, unit2 = self.model1.flux_unit, self.model2.flux_unit
        if self._operator in ("mul", "truediv"):
            return self.operator(unit1, unit2)
        return unit1

    @property
    def traceable(self) -> bool:  # type: ignore[override]
        """Whether JAX can trace both models."""
        return self.model1.traceable and self.model2.traceable

    def unfreeze(self) -> None:
        """Restore the frozen states that the classes declare."""
        self.model1.unfreeze()
        self.model2.unfreeze()

    def pure(self) -> PureSpectrum:
        """Return the combination as pure functions.

        Sums of models with closed integrals have one. Where a model has a few breaks, the integral is a
        quadrature that is split there; without breaks the likelihood's own quadrature is as good.
        """
        first, second = self.model1.pure(), self.model2.pure()
        n1, a1 = first.n_parameters, len(first.arrays)

        def joined(f1: Any, f2: Any, combine: Any) -> Any:
            if f1 is None or f2 is None:
                return None

            def wrapped(*args: Any) -> Any:
                *energies, parameters, arrays = args
                return combine(
                    f1(*energies, parameters[:n1], arrays[:a1]), f2(*energies, parameters[n1:], arrays[a1:])
                )

            return wrapped

        evaluate = joined(first.evaluate, second.evaluate, self.operator)
        arrays = (*first.arrays, *second.arrays)
        breaks = joined(first.breaks or _no_breaks, second.breaks or _no_breaks, _concatenate)
        integral = energy_flux = None
        n_breaks = len(breaks(engine_values(self), arrays))
        if self._operator in ("add", "sub"):
            integral = joined(first.integral, second.integral, self.operator)
            energy_flux = joined(first.energy_flux, second.energy_flux, self.operator)
        if integral is None and 0 < n_breaks <= _MAX_SPLITS:
            integral, energy_flux = (_split_integral(evaluate, breaks, power) for power in (0, 1))
        return PureSpectrum(
            ("compound", self._operator, first.key, second.key),
            n1 + second.n_parameters,
            evaluate,
            integral,
            energy_flux,
            arrays,
            self._norm_index(first, second),
            breaks if n_breaks else None,
        )

    def _norm_index(self, first: PureSpectrum, second: PureSpectrum) -> int | None:
        """Position of the parameter that a product is proportional to; if there are two, the free one."""
        indices = [] if first.norm_index is None else [first.norm_index]
        if self._operator == "mul" and second.norm_index is not None:
            indices.append(first.n_parameters + second.norm_index)
        parameters = list(self.parameters)
        # A parameter that both models share enters as its square.
        indices = [i for i in indices if sum(p is parameters[i] for p in parameters) == 1]
        if self._operator not in ("mul", "truediv") or not indices:
            return None
        free = [i for i in indices if not parameters[i].frozen]
        return (free or indices)[0]

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        return {
            "type": self.tag[0],
            "model1": self.model1.to_dict(full_output),
            "model2": self.model2.to_dict(full_output),
            "operator": self._operator,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`."""
        for key in ("model1", "model2", "operator"):
            if key not in data:
                raise ModelError(f"CompoundSpectralModel: {key!r} is missing")
        cls.check_keys(data)
        models = [
            model_from_dict("spectral", data[k], f"CompoundSpectralModel.{k}") for k in ("model1", "model2")
        ]
        return cls(models[0], models[1], data["operator"])

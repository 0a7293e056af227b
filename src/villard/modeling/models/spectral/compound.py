"""Sums, differences, products and quotients of spectral models."""

import operator
from typing import Any, ClassVar, Self

import astropy.units as u

from villard.exceptions import ModelError
from villard.modeling.models.core import model_from_dict
from villard.modeling.models.spectral.constant import ConstantSpectralModel
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.parameter import Parameters
from villard.utils.units import unit_text

__all__ = ["CompoundSpectralModel", "as_operand"]

_OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "pow": operator.pow,
}


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
    def output_unit(self) -> u.UnitBase:
        """Unit of the combination."""
        unit1, unit2 = self.model1.output_unit, self.model2.output_unit
        if self._operator in ("mul", "truediv"):
            return self.operator(unit1, unit2)
        return unit1

    def unfreeze(self) -> None:
        """Restore the frozen states that the classes declare."""
        self.model1.unfreeze()
        self.model2.unfreeze()

    def pure(self) -> PureSpectrum:
        """Return the combination as pure functions."""
        first, second = self.model1.pure(), self.model2.pure()
        combine = self.operator
        n1, a1 = first.n_parameters, len(first.arrays)

        def joined(f1: Any, f2: Any) -> Any:
            def wrapped(*args: Any) -> Any:
                *energies, parameters, arrays = args
                return combine(
                    f1(*energies, parameters[:n1], arrays[:a1]), f2(*energies, parameters[n1:], arrays[a1:])
                )

            return wrapped

        linear = self._operator in ("add", "sub")
        integral = (
            joined(first.integral, second.integral) if linear and first.integral and second.integral else None
        )
        energy_flux = (
            joined(first.energy_flux, second.energy_flux)
            if linear and first.energy_flux and second.energy_flux
            else None
        )
        return PureSpectrum(
            ("compound", self._operator, first.key, second.key),
            n1 + second.n_parameters,
            joined(first.evaluate, second.evaluate),
            integral,
            energy_flux,
            (*first.arrays, *second.arrays),
            self._norm_index(first, second),
        )

    def _norm_index(self, first: PureSpectrum, second: PureSpectrum) -> int | None:
        if self._operator not in ("mul", "truediv"):
            return None
        if first.norm_index is not None:
            return first.norm_index
        if self._operator == "mul" and second.norm_index is not None:
            return first.n_parameters + second.norm_index
        return None

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

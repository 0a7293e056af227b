"""Constants, and models scaled by a factor."""

from typing import Any, Self

import astropy.units as u

from villard.exceptions import ModelError
from villard.modeling.models.core import model_from_dict
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel, engine_values
from villard.modeling.parameter import Parameter

__all__ = ["ConstantSpectralModel", "ScaleSpectralModel"]


class ConstantSpectralModel(SpectralModel):
    r"""Constant, :math:`\phi(E) = k`.

    Examples
    --------
    >>> ConstantSpectralModel(const="4 cm-2 s-1 TeV-1").integral("1 TeV", "10 TeV")
    <Quantity 36. 1 / (s cm2)>
    """

    tag = ["ConstantSpectralModel", "const"]
    const = Parameter("const", "1e-12 TeV-1 cm-2 s-1", is_norm=True)

    def __init__(self, const: Any = None) -> None:
        super().__init__()
        if isinstance(const, u.Quantity | str):
            # A constant factor of another model may have any unit.
            self.__dict__["const"] = Parameter("const", u.Quantity(const), is_norm=True)
        if const is not None:
            self.const = const

    @staticmethod
    def evaluate(energy: Any, const: Any) -> Any:
        """Differential flux."""
        return const + 0.0 * energy

    @staticmethod
    def evaluate_integral(energy_min: Any, energy_max: Any, const: Any) -> Any:
        """Integral flux."""
        return const * (energy_max - energy_min)

    @staticmethod
    def evaluate_energy_flux(energy_min: Any, energy_max: Any, const: Any) -> Any:
        """Energy flux."""
        return const * 0.5 * (energy_max**2 - energy_min**2)


class ScaleSpectralModel(SpectralModel):
    r"""Another model, held fixed, times a factor, :math:`\phi(E) = k \, \phi_0(E)`.

    Parameters
    ----------
    model : `SpectralModel`
        Model to scale; its parameters keep the values that they have when it is evaluated.
    norm : float
        Factor.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> model = ScaleSpectralModel(PowerLawSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1"), norm=2)
    >>> model("1 TeV")
    <Quantity 2.e-11 1 / (TeV s cm2)>
    """

    tag = ["ScaleSpectralModel", "scale"]
    yaml_keys = ("model",)
    norm = Parameter("norm", 1.0, interp="log", is_norm=True)
    _settable = ("model",)

    def __init__(self, model: SpectralModel, norm: Any = 1.0) -> None:
        if not isinstance(model, SpectralModel):
            raise ModelError(f"ScaleSpectralModel: expected a SpectralModel, found {type(model).__name__}")
        self.model = model
        super().__init__(norm=norm)

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the scaled model."""
        return self.model.flux_unit

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the values of the scaled model are data."""
        inner, values = self.model.pure(), engine_values(self.model)

        def scaled(function: Any) -> Any:
            if function is None:
                return None

            def wrapped(*args: Any) -> Any:
                *energies, parameters, arrays = args
                return parameters[0] * function(*energies, arrays[0], arrays[1:])

            return wrapped

        def breaks(parameters: Any, arrays: Any) -> Any:
            return inner.breaks(arrays[0], arrays[1:]) if inner.breaks else None

        return PureSpectrum(
            ("scale", inner.key),
            1,
            scaled(inner.evaluate),
            scaled(inner.integral),
            scaled(inner.energy_flux),
            (values, *inner.arrays),
            0,
            breaks if inner.breaks else None,
        )

    @property
    def traceable(self) -> bool:  # type: ignore[override]
        """Whether JAX can trace the scaled model."""
        return self.model.traceable

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of YAML, with the scaled model under ``model``."""
        return {**super().to_dict(full_output), "model": self.model.to_dict(full_output)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`."""
        cls.check_keys(data)
        inner = model_from_dict("spectral", data.get("model"), "ScaleSpectralModel.model")
        model = cls(inner)
        model._update_parameters(data.get("parameters") or [])
        return model

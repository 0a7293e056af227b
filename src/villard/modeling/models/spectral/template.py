"""Spectra given as tables."""

from typing import Any, Self

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.models.spectral.power_law import exponential_integral
from villard.utils.array import namespace
from villard.utils.units import canonical_unit, to_canonical

__all__ = ["TemplateSpectralModel"]

_TINY = 1e-300
#: The first and last segment of a table go on this far, in ln E.
_BEYOND = 60.0


def _segments(xp: Any, arrays: Any) -> tuple[Any, Any, Any, Any]:
    """Edges and slopes of the straight lines in ln flux over ln energy, those at the ends extended."""
    x, y = arrays
    slope = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
    low = xp.concatenate([x[:1] - _BEYOND, x[1:-1]])
    high = xp.concatenate([x[1:-1], x[-1:] + _BEYOND])
    return low, high, slope, y[:-1] - slope * x[:-1]


def _evaluate(energy: Any, _: Any, arrays: Any) -> Any:
    xp = namespace(energy, *arrays)
    x, y = arrays
    log_energy = xp.log(energy)
    i = xp.clip(xp.searchsorted(x, log_energy) - 1, 0, len(x) - 2)
    slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
    return xp.exp(y[i] + slope * (log_energy - x[i]))


def _moment(power: int) -> Any:
    def function(energy_min: Any, energy_max: Any, _: Any, arrays: Any) -> Any:
        """Exact integral of the power law of each segment, over its overlap with each bin."""
        xp = namespace(energy_min, energy_max, *arrays)
        low, high, slope, offset = _segments(xp, arrays)
        a = xp.clip(xp.log(energy_min)[..., None], low, high)
        b = xp.clip(xp.log(energy_max)[..., None], low, high)
        # The offset belongs to ln E = 0, where a steep segment overflows: shift to the lower bound.
        value = xp.exp(xp.where(b > a, offset + (slope + power + 1) * a, -745.0))
        parts = value * exponential_integral(slope + power + 1, 0.0 * a, b - a)
        return xp.sum(xp.where(b > a, parts, 0.0), axis=-1)

    return function


class TemplateSpectralModel(SpectralModel):
    """Spectrum given as a table, interpolated (and continued) as power laws between its points.

    Parameters
    ----------
    energy : `~astropy.units.Quantity`
        Energies, increasing.
    values : `~astropy.units.Quantity`
        Differential flux, or a factor without unit, at these energies.
    meta : dict, optional
        Anything to be kept with it.

    Raises
    ------
    ModelError
        If energies don't increase, or values are negative or NaN.

    Examples
    --------
    >>> import astropy.units as u
    >>> model = TemplateSpectralModel([1, 2, 4] * u.TeV, [1, 2, 0.5] * u.Unit("cm-2 s-1 TeV-1"))
    >>> model([0.5, 1.5, 8] * u.TeV)
    <Quantity [0.5  , 1.5  , 0.125] 1 / (TeV s cm2)>
    """

    tag = ["TemplateSpectralModel", "template"]
    yaml_keys = ("energy", "values")

    def __init__(
        self, energy: Any, values: Any, interp_kwargs: dict[str, Any] | None = None, meta: Any = None
    ) -> None:
        energy, values = u.Quantity(energy), u.Quantity(values)
        if energy.ndim != 1 or energy.shape != values.shape or len(energy) < 2:
            raise ModelError(
                f"TemplateSpectralModel: expected two or more energies and as many values, "
                f"found shapes {energy.shape} and {values.shape}"
            )
        if not (energy.value[0] > 0 and np.all(np.diff(energy.value) > 0)):
            raise ModelError("TemplateSpectralModel: energies must be positive and increasing")
        if not np.all(values.value >= 0):
            raise ModelError("TemplateSpectralModel: values must be neither negative nor NaN")
        self._energy, self._values, self._meta = energy, values, dict(meta or {})
        super().__init__()

    @property
    def energy(self) -> u.Quantity:
        """Energies of the table."""
        return self._energy

    @property
    def values(self) -> u.Quantity:
        """Values of the table."""
        return self._values

    @property
    def meta(self) -> dict[str, Any]:
        """What is kept with the model."""
        return self._meta

    @property
    def output_unit(self) -> u.UnitBase:
        """Unit of the values, in the engine's units."""
        return canonical_unit(self._values.unit)

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the table is data."""
        arrays = (
            np.log(to_canonical(self._energy)),
            np.log(np.maximum(to_canonical(self._values), _TINY)),
        )
        return PureSpectrum(("template", len(self._energy)), 0, _evaluate, _moment(0), _moment(1), arrays)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        return {
            **super().to_dict(full_output),
            "energy": {"data": self._energy.value.tolist(), "unit": str(self._energy.unit)},
            "values": {"data": self._values.value.tolist(), "unit": str(self._values.unit)},
        }

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        for key in ("energy", "values"):
            if key not in data:
                raise ModelError(f"TemplateSpectralModel: {key!r} is missing")
        return {key: u.Quantity(data[key]["data"], data[key]["unit"]) for key in ("energy", "values")}

    @classmethod
    def from_model(cls, model: SpectralModel, energy: Any) -> Self:
        """Make the table of another model at the given energies."""
        return cls(energy, model(energy))

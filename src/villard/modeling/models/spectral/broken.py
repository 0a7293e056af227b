"""Broken power laws, sharp and smooth, and piecewise factors."""

from typing import Any

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.models.spectral.power_law import exponential_integral
from villard.modeling.models.spectral.tables import (
    interpolate,
    lin_lin_moment,
    log_log_moment,
    safe_log,
    segments,
)
from villard.modeling.parameter import Parameter, Parameters
from villard.utils.array import namespace
from villard.utils.units import convert, to_canonical, unit_text

__all__ = ["BrokenPowerLawSpectralModel", "PiecewiseNormSpectralModel", "SmoothBrokenPowerLawSpectralModel"]

#: What norms that aren't positive count as where their logarithm is taken.
_SMALLEST = 1e-100


def _broken_moment(
    power: int, energy_min: Any, energy_max: Any, index1: Any, index2: Any, ebreak: Any
) -> Any:
    """Integral of E^power times the broken power law of unit amplitude, each side apart."""
    xp = namespace(energy_min, index1, index2, ebreak)
    low, high = xp.log(energy_min / ebreak), xp.log(energy_max / ebreak)
    below = exponential_integral(power + 1 - index1, xp.minimum(low, 0.0), xp.minimum(high, 0.0))
    above = exponential_integral(power + 1 - index2, xp.maximum(low, 0.0), xp.maximum(high, 0.0))
    return ebreak ** (power + 1) * (below + above)


class BrokenPowerLawSpectralModel(SpectralModel):
    r"""Broken power law.

    .. math:: \phi(E) = \phi_0 (E / E_b)^{-\Gamma_1} \text{ for } E < E_b,
              \quad \phi_0 (E / E_b)^{-\Gamma_2} \text{ above}
    """

    tag = ["BrokenPowerLawSpectralModel", "bpl"]
    index1 = Parameter("index1", 2.0)
    index2 = Parameter("index2", 2.0)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    ebreak = Parameter("ebreak", "1 TeV")

    @staticmethod
    def evaluate(energy: Any, index1: Any, index2: Any, amplitude: Any, ebreak: Any) -> Any:
        """Differential flux."""
        xp = namespace(energy, index1, index2, amplitude, ebreak)
        return amplitude * (energy / ebreak) ** (-xp.where(energy < ebreak, index1, index2))

    @staticmethod
    def evaluate_integral(
        energy_min: Any, energy_max: Any, index1: Any, index2: Any, amplitude: Any, ebreak: Any
    ) -> Any:
        """Integral flux."""
        return amplitude * _broken_moment(0, energy_min, energy_max, index1, index2, ebreak)

    @staticmethod
    def evaluate_energy_flux(
        energy_min: Any, energy_max: Any, index1: Any, index2: Any, amplitude: Any, ebreak: Any
    ) -> Any:
        """Energy flux."""
        return amplitude * _broken_moment(1, energy_min, energy_max, index1, index2, ebreak)

    @staticmethod
    def evaluate_breaks(index1: Any, index2: Any, amplitude: Any, ebreak: Any) -> Any:
        """Energy of the break."""
        xp = namespace(index1, index2, amplitude, ebreak)
        return xp.stack([xp.asarray(ebreak)])


class SmoothBrokenPowerLawSpectralModel(SpectralModel):
    r"""Smoothly broken power law.

    .. math:: \phi(E) = \phi_0 (E / E_0)^{-\Gamma_1}
              \left[1 + (E / E_b)^{(\Gamma_2 - \Gamma_1) / \beta}\right]^{-\beta}

    with the sign of :math:`\beta` taken as that of :math:`\Gamma_2 - \Gamma_1`.
    """

    tag = ["SmoothBrokenPowerLawSpectralModel", "sbpl"]
    index1 = Parameter("index1", 2.0)
    index2 = Parameter("index2", 2.0)
    amplitude = Parameter("amplitude", "1e-12 TeV-1 cm-2 s-1", interp="log", is_norm=True)
    ebreak = Parameter("ebreak", "1 TeV")
    reference = Parameter("reference", "1 TeV", frozen=True)
    beta = Parameter("beta", 1.0, frozen=True)

    @staticmethod
    def evaluate(
        energy: Any, index1: Any, index2: Any, amplitude: Any, ebreak: Any, reference: Any, beta: Any
    ) -> Any:
        """Differential flux."""
        xp = namespace(energy, index1, index2, amplitude, ebreak, reference, beta)
        signed = beta * xp.where(index2 >= index1, 1.0, -1.0)
        exponent = (index2 - index1) / signed * xp.log(energy / ebreak)
        # ln(1 + e^x), without overflow for a sharp break.
        log_bracket = xp.logaddexp(0.0, exponent)
        return amplitude * (energy / reference) ** (-index1) * xp.exp(-signed * log_bracket)


class PiecewiseNormSpectralModel(SpectralModel):
    """Factor given at nodes of energy, interpolated between them and constant beyond.

    Parameters
    ----------
    energy : `~astropy.units.Quantity`
        Nodes, increasing.
    norms : array, optional
        Values at the nodes, ``norm_0``, ``norm_1``, …; 1 by default.
    interp : {"log", "lin"}
        Scale of energies and values on which the interpolation is linear.

    Examples
    --------
    >>> import astropy.units as u
    >>> model = PiecewiseNormSpectralModel([1, 3, 7, 10] * u.TeV, norms=[1, 5, 3, 0.5], interp="lin")
    >>> float(model("2 TeV"))
    3.0
    """

    tag = ["PiecewiseNormSpectralModel", "piecewise-norm"]
    yaml_keys = ("energy", "interp")

    def __init__(self, energy: Any, norms: Any = None, interp: str = "log") -> None:
        energy = u.Quantity(energy)
        where = type(self).__name__
        if not energy.unit.is_equivalent(u.TeV):
            raise UnitsError(f"{where}: expected energies, found {unit_text(energy.unit)}")
        if energy.ndim != 1 or len(energy) < 2 or not np.all(np.diff(energy.value, prepend=0) > 0):
            raise ModelError(
                f"{where}: energy must be two or more increasing, positive nodes, found {energy}"
            )
        norms = np.ones(len(energy)) if norms is None else convert(norms, "", f"{where}.norms")
        if len(norms) != len(energy):
            raise ModelError(
                f"PiecewiseNormSpectralModel: expected {len(energy)} norms, one per node, found {len(norms)}"
            )
        if interp not in ("log", "lin"):
            raise ModelError(f"PiecewiseNormSpectralModel: interp must be 'log' or 'lin', found {interp!r}")
        self._energy, self._interp = energy, interp
        parameters = [Parameter(f"norm_{i}", float(v)) for i, v in enumerate(norms)]
        self.default_parameters = Parameters(parameters)  # type: ignore[misc]
        super().__init__()

    @property
    def energy(self) -> u.Quantity:
        """Nodes."""
        return self._energy

    @property
    def norms(self) -> np.ndarray:
        """Values at the nodes."""
        return self.parameters.value

    @property
    def flux_unit(self) -> u.UnitBase:
        """No unit: it is a factor."""
        return u.dimensionless_unscaled

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the nodes are data."""
        log = self._interp == "log"
        n = len(self._energy)
        nodes = to_canonical(self._energy)

        def points(parameters: Any, arrays: Any) -> tuple[Any, Any]:
            xp = namespace(parameters, *arrays)
            values = xp.stack([parameters[i] for i in range(n)])
            # Norms that aren't positive have no logarithm: they count as a number close to zero.
            return (arrays[0], safe_log(xp, values, _SMALLEST) if log else values)

        def evaluate(energy: Any, parameters: Any, arrays: Any) -> Any:
            xp = namespace(energy, parameters, *arrays)
            x, y = points(parameters, arrays)
            at = xp.clip(xp.log(energy) if log else energy, x[0], x[-1])
            value = interpolate(x, y, at)
            return xp.exp(value) if log else value

        def moment(power: int) -> Any:
            function = log_log_moment if log else lin_lin_moment

            def integral(energy_min: Any, energy_max: Any, parameters: Any, arrays: Any) -> Any:
                parts = segments(*points(parameters, arrays), constant_beyond=True)
                return function(power, energy_min, energy_max, parts)

            return integral

        def breaks(parameters: Any, arrays: Any) -> Any:
            return namespace(arrays[0]).exp(arrays[0]) if log else arrays[0]

        return PureSpectrum(
            ("piecewise", self._interp, n),
            n,
            evaluate,
            moment(0),
            moment(1),
            arrays=(np.log(nodes) if log else nodes,),
            breaks=breaks,
        )

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        energy = {"data": self._energy.value.tolist(), "unit": str(self._energy.unit)}
        return {**super().to_dict(full_output), "energy": energy, "interp": self._interp}

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "energy" not in data:
            raise ModelError("PiecewiseNormSpectralModel: 'energy' is missing")
        energy = u.Quantity(data["energy"]["data"], data["energy"]["unit"])
        return {"energy": energy, "interp": data.get("interp", "log")}

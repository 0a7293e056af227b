"""Constant, linear, exponential, power-law and sinusoidal dependence on time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.modeling.models.temporal.core import TemporalModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace

__all__ = [
    "ConstantTemporalModel",
    "ExpDecayTemporalModel",
    "LinearTemporalModel",
    "PowerLawTemporalModel",
    "SineTemporalModel",
]

_TINY = 1e-300


class ConstantTemporalModel(TemporalModel):
    """No dependence on time.

    Examples
    --------
    >>> import astropy.units as u
    >>> ConstantTemporalModel()(55555 * u.d)
    <Quantity 1.>
    """

    tag = ["ConstantTemporalModel", "const"]

    @staticmethod
    def evaluate(time: Any) -> Any:
        """Factor."""
        return namespace(time).ones_like(time)

    @staticmethod
    def evaluate_integral(start: Any, stop: Any) -> Any:
        """Integral of the factor (s)."""
        return stop - start


class LinearTemporalModel(TemporalModel):
    r"""Linear function, :math:`F(t) = \alpha + \beta (t - t_{ref})`.

    Examples
    --------
    >>> import astropy.units as u
    >>> LinearTemporalModel(alpha=1, beta="0.1 d-1", t_ref="46300 d")(46301 * u.d)
    <Quantity 1.1>
    """

    tag = ["LinearTemporalModel", "linear"]
    alpha = Parameter("alpha", 1.0)
    beta = Parameter("beta", "0 d-1")
    t_ref = Parameter("t_ref", "51544 d", frozen=True)

    @staticmethod
    def evaluate(time: Any, alpha: Any, beta: Any, t_ref: Any) -> Any:
        """Factor."""
        return alpha + beta * (time - t_ref)

    @staticmethod
    def evaluate_integral(start: Any, stop: Any, alpha: Any, beta: Any, t_ref: Any) -> Any:
        """Integral of the factor (s)."""
        return (stop - start) * (alpha + beta * (0.5 * (start + stop) - t_ref))


class ExpDecayTemporalModel(TemporalModel):
    r"""Exponential decay, :math:`F(t) = e^{-(t - t_{ref}) / t_0}`, before the reference time too."""

    tag = ["ExpDecayTemporalModel", "exp-decay"]
    t0 = Parameter("t0", "1 d")
    t_ref = Parameter("t_ref", "51544 d", frozen=True)

    @staticmethod
    def evaluate(time: Any, t0: Any, t_ref: Any) -> Any:
        """Factor."""
        return namespace(time, t0, t_ref).exp((t_ref - time) / t0)

    @staticmethod
    def evaluate_integral(start: Any, stop: Any, t0: Any, t_ref: Any) -> Any:
        """Integral of the factor (s); the form keeps short intervals exact."""
        xp = namespace(start, stop, t0, t_ref)
        return -t0 * xp.exp((t_ref - start) / t0) * xp.expm1((start - stop) / t0)


class PowerLawTemporalModel(TemporalModel):
    r"""Power law from the reference time on, :math:`F(t) = ((t - t_{ref}) / t_0)^\alpha`.

    Before the reference time the factor is zero: what decays or rises like a power began then.
    (Gammapy gives NaN.)
    """

    tag = ["PowerLawTemporalModel", "powerlaw"]
    alpha = Parameter("alpha", 1.0)
    t_ref = Parameter("t_ref", "51544 d", frozen=True)
    t0 = Parameter("t0", "1 d", frozen=True)

    @staticmethod
    def evaluate(time: Any, alpha: Any, t_ref: Any, t0: Any) -> Any:
        """Factor."""
        xp = namespace(time, alpha, t_ref, t0)
        x = (time - t_ref) / t0
        after = x > 0
        return xp.where(after, xp.exp(alpha * xp.log(xp.where(after, x, 1.0))), 0.0)

    @staticmethod
    def evaluate_integral(start: Any, stop: Any, alpha: Any, t_ref: Any, t0: Any) -> Any:
        r"""Integral of the factor (s), smooth through alpha = -1.

        With s = alpha + 1, :math:`\int x^\alpha dx = x_2^s (1 - e^{-s d}) / s`, d = ln(x₂ / x₁).
        """
        xp = namespace(start, stop, alpha, t_ref, t0)
        x1, x2 = (start - t_ref) / t0, (stop - t_ref) / t0
        after = x2 > 0
        log2 = xp.log(xp.where(after, x2, 1.0))
        begun = x1 > 0
        width = log2 - xp.log(xp.where(begun & after, x1, 1.0))
        s = alpha + 1
        z = s * width
        small = xp.abs(z) < 1e-2
        safe = xp.where(small | ~begun, 1.0, z)
        series = 1 - z / 2 * (1 - z / 3 * (1 - z / 4 * (1 - z / 5 * (1 - z / 6 * (1 - z / 7)))))
        later = width * xp.where(small, series, -xp.expm1(-safe) / safe)
        # From the start itself the integral is finite for alpha > -1 only; the caller has to check.
        from_start = 1 / xp.where(s > 0, s, 1.0)
        part = xp.exp(s * log2) * xp.where(begun, later, xp.where(s > 0, from_start, np.inf))
        return t0 * xp.where(after, part, 0.0)

    def _check_integral(self, start: NDArray[np.float64], stop: NDArray[np.float64]) -> None:
        if self.alpha.value <= -1 and np.any((start <= 0) & (stop > 0)):
            raise ModelError(
                f"PowerLawTemporalModel: with alpha = {self.alpha.value:g} the integral over an interval "
                f"that holds the reference time {self.t_ref.quantity} is infinite"
            )


class SineTemporalModel(TemporalModel):
    r"""Sinusoidal modulation, :math:`F(t) = 1 + A \sin(\omega (t - t_{ref}))`."""

    tag = ["SineTemporalModel", "sinus"]
    amp = Parameter("amp", 1.0)
    omega = Parameter("omega", "1 rad d-1")
    t_ref = Parameter("t_ref", "51544 d")

    @staticmethod
    def evaluate(time: Any, amp: Any, omega: Any, t_ref: Any) -> Any:
        """Factor; omega is in deg s-1."""
        xp = namespace(time, amp, omega, t_ref)
        return 1 + amp * xp.sin(xp.deg2rad(omega * (time - t_ref)))

    @staticmethod
    def evaluate_integral(start: Any, stop: Any, amp: Any, omega: Any, t_ref: Any) -> Any:
        r"""Integral of the factor (s), smooth through omega = 0.

        The mean of the sine over an interval is that at its middle times sinc(omega times half of it).
        """
        xp = namespace(start, stop, amp, omega, t_ref)
        middle = xp.sin(xp.deg2rad(omega * (0.5 * (start + stop) - t_ref)))
        z = xp.deg2rad(0.5 * omega * (stop - start))
        small = xp.abs(z) < 1e-2
        safe = xp.where(small, 1.0, z)
        sinc = xp.where(small, 1 - z**2 / 6 * (1 - z**2 / 20 * (1 - z**2 / 42)), xp.sin(safe) / safe)
        return (stop - start) * (1 + amp * middle * sinc)

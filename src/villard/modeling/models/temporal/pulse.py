"""Flares: Gaussian pulses, and pulses whose rise and decay differ."""

import math
from typing import Any

import numpy as np

from villard.modeling.models.temporal.core import TemporalModel
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace, special

__all__ = ["GaussianTemporalModel", "GeneralizedGaussianTemporalModel"]

#: Beyond exp(-45) nothing is added to an integral; beyond exp(-exp(7)) there is nothing left.
_LOG_END = math.log(45.0)
_FAR = 7.0


class GaussianTemporalModel(TemporalModel):
    r"""Gaussian pulse, :math:`F(t) = e^{-(t - t_{ref})^2 / (2 \sigma^2)}`."""

    tag = ["GaussianTemporalModel", "gauss"]
    t_ref = Parameter("t_ref", "51544 d")
    sigma = Parameter("sigma", "1 d")

    @staticmethod
    def evaluate(time: Any, t_ref: Any, sigma: Any) -> Any:
        """Factor."""
        return namespace(time, t_ref, sigma).exp(-0.5 * ((time - t_ref) / sigma) ** 2)

    @staticmethod
    def evaluate_integral(start: Any, stop: Any, t_ref: Any, sigma: Any) -> Any:
        """Integral of the factor (s); both bounds are taken from the side on which they lie."""
        xp = namespace(start, stop, t_ref, sigma)
        sp = special(xp)
        x1, x2 = ((t - t_ref) / (math.sqrt(2) * sigma) for t in (start, stop))
        # In the tails the complementary function keeps its digits where the difference of two ones has none.
        upper = sp.erfc(xp.minimum(x1, x2)) - sp.erfc(xp.maximum(x1, x2))
        lower = sp.erfc(-xp.maximum(x1, x2)) - sp.erfc(-xp.minimum(x1, x2))
        return math.sqrt(0.5 * math.pi) * xp.abs(sigma) * xp.where(x1 + x2 > 0, upper, lower)


def _double_exponential(n: int = 64, reach: float = 3.2) -> tuple[Any, Any]:
    """Nodes in (0, 1) and weights of tanh-sinh quadrature (Takahasi & Mori 1974)."""
    t = np.linspace(-reach, reach, n)
    x = 0.5 * math.pi * np.sinh(t)
    weights = 0.5 * math.pi * np.cosh(t) / np.cosh(x) ** 2 * (t[1] - t[0])
    return 1 / (1 + np.exp(-2 * x)), 0.5 * weights


_NODES, _WEIGHTS = _double_exponential()


def _half_power(x: Any, eta: Any) -> Any:
    """Return ln(x^(1/eta) / 2) for x > 0; at zero what is far below any number."""
    xp = namespace(x, eta)
    away = x > 1e-30
    return xp.where(away, xp.log(xp.where(away, x, 1.0)) / eta, -700.0) - math.log(2)


def _pulse(x: Any, eta: Any) -> Any:
    """Profile exp(-x^(1/eta) / 2) for x >= 0."""
    xp = namespace(x, eta)
    return xp.exp(-xp.exp(xp.minimum(_half_power(x, eta), _FAR)))


def _pulse_integral(x: Any, eta: Any) -> Any:
    r"""Integral of the profile from 0 to x, for x >= 0.

    With :math:`v = x^{1 / \eta} / 2` it is, by parts,
    :math:`x e^{-v} + 2^\eta \int_0^v e^{-w} w^\eta dw`. (Written as an incomplete gamma function, its
    second derivative in eta isn't known to JAX.)
    """
    xp = namespace(x, eta)
    log_v = xp.minimum(_half_power(x, eta), _LOG_END)
    v = xp.asarray(xp.exp(log_v))[..., None]
    inner = xp.sum(xp.exp(-v * _NODES + xp.asarray(eta)[..., None] * np.log(_NODES)) * _WEIGHTS, axis=-1)
    return x * _pulse(x, eta) + 2**eta * xp.exp((1 + eta) * log_v) * inner


class GeneralizedGaussianTemporalModel(TemporalModel):
    r"""Pulse with different rise and decay times.

    .. math:: F(t) = e^{-(|t - t_{ref}| / \tau)^{1 / \eta} / 2}

    with :math:`\tau` = ``t_rise`` before the reference time and ``t_decay`` after it (the shape of
    Norris et al. 1996, ApJ 459, 393). 1 / eta = 2 is a Gaussian, 1 an exponential.
    """

    tag = ["GeneralizedGaussianTemporalModel", "gengauss"]
    t_ref = Parameter("t_ref", "51544 d")
    t_rise = Parameter("t_rise", "1 d")
    t_decay = Parameter("t_decay", "1 d")
    eta = Parameter("eta", 0.5)

    @staticmethod
    def evaluate(time: Any, t_ref: Any, t_rise: Any, t_decay: Any, eta: Any) -> Any:
        """Factor."""
        xp = namespace(time, t_ref, t_rise, t_decay, eta)
        after = time > t_ref
        return _pulse(xp.abs(time - t_ref) / xp.where(after, t_decay, t_rise), eta)

    @staticmethod
    def evaluate_integral(start: Any, stop: Any, t_ref: Any, t_rise: Any, t_decay: Any, eta: Any) -> Any:
        """Integral of the factor (s)."""
        xp = namespace(start, stop, t_ref, t_rise, t_decay, eta)

        def primitive(t: Any) -> Any:
            after = t > t_ref
            scale = xp.where(after, t_decay, -t_rise)
            return scale * _pulse_integral((t - t_ref) / scale, eta)

        return primitive(stop) - primitive(start)

r"""Fit statistics of measured fluxes: symmetric and asymmetric errors, upper limits.

Pure elementwise functions for numpy and JAX arrays, like those of
`villard.likelihood.statistics`, which exports them too.
"""

import math
from types import ModuleType
from typing import Any

from villard.utils.array import namespace, special

__all__ = [
    "chi2",
    "chi2_asymmetric",
    "chi2_asymmetric_derivatives",
    "chi2_asymmetric_fisher",
    "chi2_censored",
    "chi2_censored_derivatives",
    "chi2_censored_fisher",
    "chi2_derivatives",
    "chi2_fisher",
]

_LOG_ERFC_1 = math.log(math.erfc(1.0))
_FAR = -40.0


def _arrays(*arguments: Any) -> tuple[Any, ...]:
    xp = namespace(*arguments)
    return xp, *(xp.asarray(argument, dtype=float) for argument in arguments)


def chi2(value: Any, model: Any, error: Any) -> Any:
    r"""Squared residual in units of the error, :math:`((v - \mu) / \sigma)^2`.

    Parameters
    ----------
    value : array
        Measured values.
    model : array
        Predicted values, in the same unit.
    error : array
        Standard errors, in the same unit.

    Returns
    -------
    stat : array
        Statistic of each point.

    Examples
    --------
    >>> float(chi2(value=3.0, model=1.0, error=0.5))
    16.0
    """
    _, value, model, error = _arrays(value, model, error)
    return ((model - value) / error) ** 2


def chi2_derivatives(value: Any, model: Any, error: Any) -> tuple[Any, Any, Any]:
    """`chi2` and its derivatives by the model.

    Parameters
    ----------
    value, model, error : array
        As for `chi2`.

    Returns
    -------
    value, d1, d2 : array
        Statistic, first and second derivative.

    Examples
    --------
    >>> [float(term) for term in chi2_derivatives(value=3.0, model=1.0, error=0.5)]
    [16.0, -16.0, 8.0]
    """
    _, value, model, error = _arrays(value, model, error)
    pull = (model - value) / error
    return pull**2, 2 * pull / error, chi2_fisher(value, model, error)


def chi2_fisher(value: Any, model: Any, error: Any) -> Any:
    r"""Expected second derivative of `chi2`, :math:`2 / \sigma^2`.

    Parameters
    ----------
    value, model, error : array
        As for `chi2`.

    Returns
    -------
    fisher : array
        Positive curvature of each point.

    Examples
    --------
    >>> float(chi2_fisher(value=3.0, model=1.0, error=0.5))
    8.0
    """
    xp, value, model, error = _arrays(value, model, error)
    return 2 / error**2 + xp.zeros_like(value + model)


def _two_sided(
    xp: ModuleType, value: Any, model: Any, errn: Any, errp: Any, is_ul: Any
) -> tuple[Any, Any, Any]:
    """Squared pull by the error on the model's side, its derivatives; 0, 0, 1 for upper limits."""
    is_ul = is_ul != 0
    # NaN in what an upper limit does not have must not enter, not even multiplied by 0 in a gradient.
    value = xp.where(is_ul, model, value)
    error = xp.where(is_ul, 1.0, xp.where(model >= value, errp, errn))
    pull = (model - value) / error
    return pull**2, 2 * pull / error, 2 / error**2


def _split(is_ul: Any, ul: Any, xp: ModuleType) -> tuple[Any, Any]:
    is_ul = is_ul != 0
    return is_ul, xp.where(is_ul, ul, 1.0)


def _log_erfc(xp: ModuleType, x: Any) -> Any:
    return math.log(2) + special(xp).log_ndtr(-math.sqrt(2) * x)


def chi2_asymmetric(value: Any, model: Any, errn: Any, errp: Any, ul: Any, is_ul: Any) -> Any:
    r"""Statistic of flux points with asymmetric errors and upper limits, as Gammapy's "distrib".

    A measured point adds its squared pull, with the upper error where the model is above the value
    (and at it) and the lower error below. An upper limit :math:`u` adds
    :math:`2 \ln [\mathrm{erfc}(1 - \mu / u) / \mathrm{erfc}(1)]`, which is 0 for a model of zero.

    This is the definition that reproduces Gammapy 2.1. It is bounded: the statistic of a limit
    never exceeds 5.0855, and a model far above a limit is not pulled back. `chi2_censored` is the
    likelihood of a point that was not detected, and does.

    Parameters
    ----------
    value : array
        Measured values; unused for upper limits, where NaN is allowed.
    model : array
        Predicted values, in the same unit.
    errn, errp : array
        Lower and upper errors, both positive; unused for upper limits.
    ul : array
        Upper limits; unused for measured points.
    is_ul : array of bool
        Which points are upper limits.

    Returns
    -------
    stat : array
        Statistic of each point.

    Examples
    --------
    >>> round(float(chi2_asymmetric(1.0, 1.2, errn=0.1, errp=0.4, ul=0.0, is_ul=False)), 12)
    0.25
    >>> round(float(chi2_asymmetric(0.0, 0.8, errn=1.0, errp=1.0, ul=2.0, is_ul=True)), 6)
    1.847256
    """
    xp, value, model, errn, errp, ul, is_ul = _arrays(value, model, errn, errp, ul, is_ul)
    squared, _, _ = _two_sided(xp, value, model, errn, errp, is_ul)
    is_ul, ul = _split(is_ul, ul, xp)
    return xp.where(is_ul, 2 * (_log_erfc(xp, 1 - model / ul) - _LOG_ERFC_1), squared)


def chi2_asymmetric_derivatives(
    value: Any, model: Any, errn: Any, errp: Any, ul: Any, is_ul: Any
) -> tuple[Any, Any, Any]:
    """`chi2_asymmetric` and its derivatives by the model; the second of an upper limit is negative.

    Parameters
    ----------
    value, model, errn, errp, ul, is_ul : array
        As for `chi2_asymmetric`.

    Returns
    -------
    value, d1, d2 : array
        Statistic, first and second derivative.

    Examples
    --------
    >>> terms = chi2_asymmetric_derivatives(1.0, 1.5, errn=0.1, errp=0.5, ul=0.0, is_ul=False)
    >>> [float(term) for term in terms]
    [1.0, 4.0, 8.0]
    """
    xp, value, model, errn, errp, ul, is_ul = _arrays(value, model, errn, errp, ul, is_ul)
    squared, d1, d2 = _two_sided(xp, value, model, errn, errp, is_ul)
    is_ul, ul = _split(is_ul, ul, xp)
    x = 1 - model / ul
    log_erfc = _log_erfc(xp, x)
    hazard = 2 / math.sqrt(math.pi) * xp.exp(-x * x - log_erfc)
    return (
        xp.where(is_ul, 2 * (log_erfc - _LOG_ERFC_1), squared),
        xp.where(is_ul, 2 * hazard / ul, d1),
        xp.where(is_ul, -2 * hazard * (hazard - 2 * x) / ul**2, d2),
    )


def chi2_asymmetric_fisher(value: Any, model: Any, errn: Any, errp: Any, ul: Any, is_ul: Any) -> Any:
    """Positive curvature of `chi2_asymmetric`.

    Measured points have twice the inverse squared error. For upper limits, where the second
    derivative is negative, it is half the squared first derivative: the outer product of the score,
    whose expectation is the Fisher information (Berndt et al. 1974).

    Parameters
    ----------
    value, model, errn, errp, ul, is_ul : array
        As for `chi2_asymmetric`.

    Returns
    -------
    fisher : array
        Curvature of each point; may underflow to 0 for a model far above an upper limit.

    Examples
    --------
    >>> float(chi2_asymmetric_fisher(1.0, 1.5, errn=0.1, errp=0.5, ul=0.0, is_ul=False))
    8.0
    """
    xp, *arguments = _arrays(value, model, errn, errp, ul, is_ul)
    _, d1, d2 = chi2_asymmetric_derivatives(*arguments)
    return xp.where(arguments[-1] != 0, d1**2 / 2, d2)


def chi2_censored(value: Any, model: Any, errn: Any, errp: Any, ul: Any, ul_error: Any, is_ul: Any) -> Any:
    r"""Statistic of flux points with asymmetric errors, where an upper limit is an undetected point.

    Measured points count as in `chi2_asymmetric`. For an upper limit :math:`u` all that is known is
    that the measurement fell below it: :math:`-2 \ln \Phi((u - \mu) / \sigma)`, with the normal
    distribution :math:`\Phi` (Sawicki 2012, PASP 124, 1208, eq. A5). It grows as the square of the
    excess over the limit, so that a fit returns from there.

    Parameters
    ----------
    value : array
        Measured values; unused for upper limits, where NaN is allowed.
    model : array
        Predicted values, in the same unit.
    errn, errp : array
        Lower and upper errors, both positive; unused for upper limits.
    ul : array
        Upper limits; unused for measured points.
    ul_error : array
        Error that the measurement of an upper limit had; ``ul / n_sigma`` for a limit at n sigma
        on a flux compatible with 0.
    is_ul : array of bool
        Which points are upper limits.

    Returns
    -------
    stat : array
        Statistic of each point.

    Examples
    --------
    >>> round(float(chi2_censored(0.0, 2.0, errn=1.0, errp=1.0, ul=2.0, ul_error=1.0, is_ul=True)), 6)
    1.386294
    """
    xp, value, model, errn, errp, ul, ul_error, is_ul = _arrays(value, model, errn, errp, ul, ul_error, is_ul)
    squared, _, _ = _two_sided(xp, value, model, errn, errp, is_ul)
    is_ul, ul = _split(is_ul, ul, xp)
    z = (ul - model) / xp.where(is_ul, ul_error, 1.0)
    return xp.where(is_ul, -2 * special(xp).log_ndtr(z), squared)


def chi2_censored_derivatives(
    value: Any, model: Any, errn: Any, errp: Any, ul: Any, ul_error: Any, is_ul: Any
) -> tuple[Any, Any, Any]:
    """`chi2_censored` and its derivatives by the model; the second is positive.

    Parameters
    ----------
    value, model, errn, errp, ul, ul_error, is_ul : array
        As for `chi2_censored`.

    Returns
    -------
    value, d1, d2 : array
        Statistic, first and second derivative.

    Examples
    --------
    >>> terms = chi2_censored_derivatives(0.0, 50.0, 1.0, 1.0, ul=0.0, ul_error=1.0, is_ul=True)
    >>> [round(float(term), 4) for term in terms]
    [2509.6627, 100.04, 1.9992]
    """
    xp, value, model, errn, errp, ul, ul_error, is_ul = _arrays(value, model, errn, errp, ul, ul_error, is_ul)
    squared, d1, d2 = _two_sided(xp, value, model, errn, errp, is_ul)
    is_ul, ul = _split(is_ul, ul, xp)
    sigma = xp.where(is_ul, ul_error, 1.0)
    z = (ul - model) / sigma
    log_ndtr = special(xp).log_ndtr(z)
    slope, curvature = _mills(xp, z, log_ndtr)
    return (
        xp.where(is_ul, -2 * log_ndtr, squared),
        xp.where(is_ul, 2 * slope / sigma, d1),
        xp.where(is_ul, 2 * curvature / sigma**2, d2),
    )


def _mills(xp: ModuleType, z: Any, log_ndtr: Any) -> tuple[Any, Any]:
    r"""Ratio :math:`\lambda = \varphi(z) / \Phi(z)` and :math:`\lambda (z + \lambda)`.

    In the far tail z + lambda is a difference of nearly equal numbers: asymptotic series there
    (Abramowitz & Stegun 26.2.12).
    """
    far = z < _FAR
    near = xp.where(far, 0.0, z)
    ratio = xp.exp(-near * near / 2 - 0.5 * math.log(2 * math.pi) - xp.where(far, 0.0, log_ndtr))
    tail = xp.where(far, z, -1.0)
    inverse = 1 / (tail * tail)
    gap = -(1 - inverse * (2 - inverse * (10 - inverse * 74))) / tail
    return xp.where(far, gap - tail, ratio), xp.where(far, (gap - tail) * gap, ratio * (near + ratio))


def chi2_censored_fisher(
    value: Any, model: Any, errn: Any, errp: Any, ul: Any, ul_error: Any, is_ul: Any
) -> Any:
    """Positive curvature of `chi2_censored`: its second derivative, which is never negative.

    Parameters
    ----------
    value, model, errn, errp, ul, ul_error, is_ul : array
        As for `chi2_censored`.

    Returns
    -------
    fisher : array
        Curvature of each point.

    Examples
    --------
    >>> float(chi2_censored_fisher(1.0, 1.5, errn=0.1, errp=0.5, ul=0.0, ul_error=1.0, is_ul=False))
    8.0
    """
    return chi2_censored_derivatives(value, model, errn, errp, ul, ul_error, is_ul)[2]

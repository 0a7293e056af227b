r"""Fit statistics of counts: Poisson with a known background, or one measured in an off region.

Pure elementwise functions for numpy and JAX arrays; `villard.likelihood.statistics` gathers them.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from villard.utils.array import namespace

__all__ = [
    "TRUNCATION",
    "cash",
    "cash_derivatives",
    "cash_fisher",
    "cstat",
    "cstat_derivatives",
    "cstat_fisher",
    "get_wstat_gof_terms",
    "get_wstat_mu_bkg",
    "wstat",
    "wstat_derivatives",
    "wstat_fisher",
]

TRUNCATION = 1e-25
"""Smallest predicted counts whose logarithm is taken."""


def _arrays(*arguments: Any) -> tuple[Any, ...]:
    xp = namespace(*arguments)
    return xp, *(xp.asarray(argument, dtype=float) for argument in arguments)


def _truncate(xp: ModuleType, mu: Any, truncation: float) -> Any:
    """Raise predictions to the truncation, keeping their derivative (NaN stays NaN)."""
    if xp is np:
        return np.where(mu < truncation, truncation, mu)
    from jax.lax import stop_gradient

    return xp.where(mu < truncation, truncation + (mu - stop_gradient(mu)), mu)


def _n_log_ratio(xp: ModuleType, n: Any, mu: Any) -> Any:
    """``n ln(n / mu)``, 0 where n = 0 whatever mu is."""
    some = n > 0
    return xp.where(some, n * xp.log(xp.where(some, n, 1.0) / xp.where(some, mu, 1.0)), 0.0)


# --- Poisson counts with known background ------------------------------------------------------


def cash(n_on: Any, mu_on: Any, truncation_value: float = TRUNCATION) -> Any:
    r"""Cash statistic, :math:`2 (\mu - n \ln \mu)`.

    Twice the negative Poisson log-likelihood without the term :math:`\ln n!` that no parameter
    changes (Cash 1979, ApJ 228, 939, eq. 6).

    Parameters
    ----------
    n_on : array
        Observed counts.
    mu_on : array
        Predicted counts, of the same or a broadcastable shape.
    truncation_value : float
        Smaller predictions are raised to it.

    Returns
    -------
    stat : array
        Statistic of each bin.

    Examples
    --------
    >>> float(cash(0, 10.0))
    20.0
    """
    xp, n_on, mu_on = _arrays(n_on, mu_on)
    mu = _truncate(xp, mu_on, truncation_value)
    return 2 * (mu - n_on * xp.log(mu))


def cash_derivatives(n_on: Any, mu_on: Any, truncation_value: float = TRUNCATION) -> tuple[Any, Any, Any]:
    r"""Cash statistic and its derivatives by the predicted counts.

    Parameters
    ----------
    n_on, mu_on : array
        Observed and predicted counts.
    truncation_value : float
        Smaller predictions are raised to it.

    Returns
    -------
    value, d1, d2 : array
        Statistic, :math:`2 (1 - n / \mu)` and :math:`2 n / \mu^2`.

    Examples
    --------
    >>> [float(term) for term in cash_derivatives(4, 2.0)[1:]]
    [-2.0, 2.0]
    """
    xp, n_on, mu_on = _arrays(n_on, mu_on)
    mu = _truncate(xp, mu_on, truncation_value)
    ratio = n_on / mu
    return 2 * (mu - n_on * xp.log(mu)), 2 * (1 - ratio), 2 * ratio / mu


def cash_fisher(mu_on: Any, truncation_value: float = TRUNCATION) -> Any:
    r"""Expected second derivative of `cash` and `cstat`, :math:`2 / \mu`.

    Parameters
    ----------
    mu_on : array
        Predicted counts.
    truncation_value : float
        Smaller predictions are raised to it.

    Returns
    -------
    fisher : array
        Positive curvature of each bin.

    Examples
    --------
    >>> float(cash_fisher(4.0))
    0.5
    """
    xp, mu_on = _arrays(mu_on)
    return 2 / _truncate(xp, mu_on, truncation_value)


def cstat(n_on: Any, mu_on: Any, truncation_value: float = TRUNCATION) -> Any:
    r"""Cash statistic relative to a perfect prediction, :math:`2 (\mu - n + n \ln(n / \mu))`.

    It is never negative, and for many counts distributed as :math:`\chi^2` (the Poisson deviance;
    Baker & Cousins 1984, NIM 221, 437, eq. 7).

    Parameters
    ----------
    n_on, mu_on : array
        Observed and predicted counts.
    truncation_value : float
        Smaller predictions are raised to it.

    Returns
    -------
    stat : array
        Statistic of each bin.

    Examples
    --------
    >>> float(cstat(7, 7.0))
    0.0
    """
    xp, n_on, mu_on = _arrays(n_on, mu_on)
    mu = _truncate(xp, mu_on, truncation_value)
    return 2 * (mu - n_on + _n_log_ratio(xp, n_on, mu))


def cstat_derivatives(n_on: Any, mu_on: Any, truncation_value: float = TRUNCATION) -> tuple[Any, Any, Any]:
    """`cstat` and its derivatives by the predicted counts, those of `cash`.

    Parameters
    ----------
    n_on, mu_on : array
        Observed and predicted counts.
    truncation_value : float
        Smaller predictions are raised to it.

    Returns
    -------
    value, d1, d2 : array
        Statistic, first and second derivative.

    Examples
    --------
    >>> [float(term) for term in cstat_derivatives(2, 2.0)]
    [0.0, 0.0, 1.0]
    """
    _, d1, d2 = cash_derivatives(n_on, mu_on, truncation_value)
    return cstat(n_on, mu_on, truncation_value), d1, d2


cstat_fisher = cash_fisher


# --- Poisson counts with a background measured in an off region --------------------------------


@dataclass(frozen=True)
class _Profile:
    """Predicted counts where the background of each bin is the most likely one.

    ``on`` and ``off`` are the counts expected in the two regions, ``slope`` is d on / d mu_sig.
    ``empty`` marks bins without on counts whose signal is so negative that the expected on counts
    would be below 0: there they are 0, and the background follows the signal.
    """

    on: Any
    off: Any
    slope: Any
    empty: Any


def _profile(xp: ModuleType, n_on: Any, n_off: Any, alpha: Any, mu_sig: Any) -> _Profile:
    # d wstat / d off = 0 is a quadratic in the off counts b, and one in the on counts s = mu + alpha b:
    #   alpha (1 + alpha) b² - C b - n_off mu = 0,   C = alpha (n_on + n_off) - (1 + alpha) mu
    #   (1 + alpha) s² - E s + n_on alpha mu = 0,    E = alpha (n_on + n_off) + (1 + alpha) mu
    # Both have the discriminant D² = G² + 4 alpha² n_on n_off, G = (1 + alpha) mu + alpha (n_off - n_on):
    # a sum of squares, so nothing cancels. Of each root the form without a difference is taken.
    exposed = alpha > 0
    a = xp.where(exposed, alpha, 1.0)
    scaled = (1 + a) * mu_sig
    total = a * (n_on + n_off)
    g = scaled + a * (n_off - n_on)
    q = 4 * a * a * n_on * n_off
    smooth = q > 0
    d = xp.where(smooth, xp.sqrt(xp.where(smooth, g * g + q, 1.0)), xp.where(g >= 0, g, -g))

    e = total + scaled
    e_low = e < 0
    on_low = 2 * n_on * a * mu_sig / xp.where(e_low & (n_on > 0), e - d, 1.0)
    on = xp.where(e_low, on_low, (e + d) / (2 * (1 + a)))
    c = total - scaled
    c_low = c < 0
    off_low = 2 * n_off * mu_sig / xp.where(c_low & (n_off > 0), d - c, 1.0)
    off = xp.where(c_low, off_low, (c + d) / (2 * a * (1 + a)))

    d_safe = xp.where(d > 0, d, 1.0)
    g_low = g < 0
    low_slope = q / d_safe / (2 * xp.where(g_low & smooth, d - g, 1.0))
    slope = xp.where(g_low, low_slope, (1 + g / d_safe) / 2)
    slope = xp.where(d > 0, slope, 1.0)
    return _Profile(
        on=_truncate(xp, xp.where(exposed, on, mu_sig), TRUNCATION),
        off=xp.where(exposed, off, n_off),
        slope=xp.where(exposed, slope, 1.0),
        empty=exposed & e_low & (n_on == 0),
    )


def get_wstat_mu_bkg(n_on: Any, n_off: Any, alpha: Any, mu_sig: Any) -> Any:
    r"""Background in the off region that minimises `wstat` for given signal counts.

    The positive root :math:`b` of :math:`\alpha (1 + \alpha) b^2 - C b - n_{off} \mu = 0` with
    :math:`C = \alpha (n_{on} + n_{off}) - (1 + \alpha) \mu`; for :math:`\alpha = 0` it is
    :math:`n_{off}`.

    Parameters
    ----------
    n_on, n_off : array
        Counts in the on and the off region.
    alpha : array
        On exposure over off exposure.
    mu_sig : array
        Predicted signal counts in the on region; may be negative.

    Returns
    -------
    mu_bkg : array
        Expected counts in the off region; the background in the on region is ``alpha * mu_bkg``.

    Examples
    --------
    >>> round(float(get_wstat_mu_bkg(n_on=9, n_off=0, alpha=0.5, mu_sig=2.3)), 12)
    1.4
    """
    xp, *arguments = _arrays(n_on, n_off, alpha, mu_sig)
    return _profile(xp, *arguments).off


def get_wstat_gof_terms(n_on: Any, n_off: Any) -> Any:
    r"""Part of `wstat` that no prediction changes.

    With it the statistic is 0 for a perfect prediction and measures the goodness of fit.

    Parameters
    ----------
    n_on, n_off : array
        Counts in the on and the off region.

    Returns
    -------
    terms : array
        :math:`2 (n_{on} \ln n_{on} - n_{on} + n_{off} \ln n_{off} - n_{off})`.

    Examples
    --------
    >>> float(get_wstat_gof_terms(1, 0))
    -2.0
    """
    xp, n_on, n_off = _arrays(n_on, n_off)
    return 2 * (_n_log_ratio(xp, n_on, 1.0) - n_on + _n_log_ratio(xp, n_off, 1.0) - n_off)


def wstat(
    n_on: Any, n_off: Any, alpha: Any, mu_sig: Any, mu_bkg: Any = None, extra_terms: bool = True
) -> Any:
    r"""Statistic of counts whose background is measured in an off region.

    :math:`2 [s - n_{on} \ln s + b - n_{off} \ln b]` with the expected off counts :math:`b` and on
    counts :math:`s = \mu_{sig} + \alpha b`; by default :math:`b` is the most likely one for the
    given signal, bin by bin (Arnaud, Smith & Siemiginowska 2011, "Handbook of X-ray Astronomy",
    section 7; XSPEC manual, appendix B).

    The minimum has a kink where it is on the edge of what is allowed: for ``n_off = 0`` at
    ``mu_sig = alpha n_on / (1 + alpha)``, where the background becomes 0. The first derivative is
    continuous there, the second is taken from the right. For ``alpha = 0`` the off region tells
    nothing about the on region and the result is `cstat` of the signal alone.

    Parameters
    ----------
    n_on, n_off : array
        Counts in the on and the off region.
    alpha : array
        On exposure over off exposure.
    mu_sig : array
        Predicted signal counts in the on region.
    mu_bkg : array, optional
        Expected counts in the off region. Default: `get_wstat_mu_bkg`.
    extra_terms : bool
        Add `get_wstat_gof_terms`, so that a perfect prediction gives 0.

    Returns
    -------
    stat : array
        Statistic of each bin.

    Examples
    --------
    >>> round(float(wstat(n_on=0, n_off=5, alpha=0.5, mu_sig=2.3)), 12)
    8.654651081082
    """
    if mu_bkg is None:
        xp, n_on, n_off, alpha, mu_sig = _arrays(n_on, n_off, alpha, mu_sig)
        profile = _profile(xp, n_on, n_off, alpha, mu_sig)
        on, off = profile.on, profile.off
    else:
        xp, n_on, n_off, alpha, mu_sig, mu_bkg = _arrays(n_on, n_off, alpha, mu_sig, mu_bkg)
        on = _truncate(xp, mu_sig + alpha * mu_bkg, TRUNCATION)
        off = _truncate(xp, mu_bkg, TRUNCATION)
    value = _wstat_of(xp, n_on, n_off, on, off)
    return value if extra_terms else value - get_wstat_gof_terms(n_on, n_off)


def _wstat_of(xp: ModuleType, n_on: Any, n_off: Any, on: Any, off: Any) -> Any:
    deviance_on = on - n_on + _n_log_ratio(xp, n_on, on)
    # Each is a small difference, to be taken before the two are added.
    deviance_off = off - n_off + _n_log_ratio(xp, n_off, off)
    return 2 * (deviance_on + deviance_off)


def wstat_derivatives(n_on: Any, n_off: Any, alpha: Any, mu_sig: Any) -> tuple[Any, Any, Any]:
    r"""`wstat` with the most likely background, and its derivatives by the signal counts.

    The background is at its minimum, so only the direct dependence counts for the first one:
    :math:`2 (1 - n_{on} / s)`; the second is :math:`2 n_{on} s' / s^2` with
    :math:`s' = ds / d\mu_{sig}` between 0 and 1: the profile is convex wherever :math:`s > 0`.

    Parameters
    ----------
    n_on, n_off : array
        Counts in the on and the off region.
    alpha : array
        On exposure over off exposure.
    mu_sig : array
        Predicted signal counts in the on region.

    Returns
    -------
    value, d1, d2 : array
        Statistic (with the extra terms), first and second derivative.

    Examples
    --------
    >>> value, d1, d2 = wstat_derivatives(n_on=8, n_off=8, alpha=0.5, mu_sig=4.0)
    >>> float(value), float(d1), round(float(d2), 12)
    (0.0, 0.0, 0.2)
    """
    xp, n_on, n_off, alpha, mu_sig = _arrays(n_on, n_off, alpha, mu_sig)
    profile = _profile(xp, n_on, n_off, alpha, mu_sig)
    on, off, empty = profile.on, profile.off, profile.empty
    ratio = n_on / on
    # On counts stuck at 0: the signal acts through off = -mu_sig / alpha alone.
    a = xp.where(empty, alpha, 1.0)
    off_ratio = xp.where(empty, n_off / xp.where(empty, off, 1.0), 0.0)
    d1 = xp.where(empty, -2 * (1 - off_ratio) / a, 2 * (1 - ratio))
    d2 = xp.where(empty, 2 * off_ratio / (a * a * xp.where(empty, off, 1.0)), 2 * ratio * profile.slope / on)
    return _wstat_of(xp, n_on, n_off, on, off), d1, d2


def wstat_fisher(n_on: Any, n_off: Any, alpha: Any, mu_sig: Any) -> Any:
    r"""Expected second derivative of the profiled `wstat`, :math:`2 / (s + \alpha^2 b)`.

    The inverse of the variance of the excess :math:`n_{on} - \alpha n_{off}` times 2, where
    :math:`s` and :math:`b` are expected on and off counts at the most likely background.

    Parameters
    ----------
    n_on, n_off : array
        Counts in the on and the off region.
    alpha : array
        On exposure over off exposure.
    mu_sig : array
        Predicted signal counts in the on region.

    Returns
    -------
    fisher : array
        Positive curvature of each bin.

    Examples
    --------
    >>> round(float(wstat_fisher(n_on=8, n_off=8, alpha=0.5, mu_sig=4.0)), 12)
    0.2
    """
    xp, n_on, n_off, alpha, mu_sig = _arrays(n_on, n_off, alpha, mu_sig)
    profile = _profile(xp, n_on, n_off, alpha, mu_sig)
    return 2 / (profile.on + alpha * alpha * profile.off)

r"""From significance to probability and test statistic, and back; exact far into the tails."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError

__all__ = [
    "probability_to_significance_normal",
    "sigma_to_ts",
    "significance_to_probability_normal",
    "ts_to_sigma",
]

_LOG_TINY = -600.0
_MAX_TERMS = 1000
_MAX_ITERATIONS = 100


def significance_to_probability_normal(significance: ArrayLike) -> Any:
    """Probability that a standard normal variable exceeds a significance (one-sided).

    Parameters
    ----------
    significance : array
        Significance in standard deviations.

    Returns
    -------
    probability : array
        Tail probability.

    Examples
    --------
    >>> round(float(significance_to_probability_normal(5)), 10)
    2.867e-07
    """
    from scipy.special import ndtr

    return ndtr(-np.asarray(significance, dtype=float))


def probability_to_significance_normal(probability: ArrayLike) -> Any:
    """Significance that a standard normal variable exceeds with a probability (one-sided).

    Parameters
    ----------
    probability : array
        Tail probability, between 0 and 1.

    Returns
    -------
    significance : array
        Significance in standard deviations.

    Raises
    ------
    DataError
        If a probability is not between 0 and 1.

    Examples
    --------
    >>> round(float(probability_to_significance_normal(2.866515719e-07)), 6)
    5.0
    """
    from scipy.special import ndtri

    probability = np.asarray(probability, dtype=float)
    if not np.all((probability >= 0) & (probability <= 1)):
        raise DataError(f"Probabilities must be between 0 and 1, found {probability}")
    return -ndtri(probability)


def _check(name: str, values: ArrayLike, df: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    array, dof = np.broadcast_arrays(np.asarray(values, dtype=float), np.asarray(df, dtype=float))
    if not np.all(array >= 0):
        raise DataError(f"{name} must not be negative or NaN, found {array}")
    if not np.all(dof > 0):
        raise DataError(f"df (degrees of freedom) must be positive, found {dof}")
    return array, dof


def _log_chi2_sf(ts: NDArray[np.float64], df: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the survival function of χ²: the asymptotic series where it underflows."""
    from scipy.special import gammaincc, gammaln

    a, x = df / 2, ts / 2
    with np.errstate(divide="ignore"):
        direct = np.log(gammaincc(a, x))
    far = direct < _LOG_TINY
    x = np.where(far, x, 1.0)
    # Gamma(a, x) = x^(a-1) e^-x (1 + (a-1)/x + (a-1)(a-2)/x² + ...): DLMF 8.11.2.
    term = series = np.ones_like(x)
    for k in range(1, _MAX_TERMS):
        term = np.where(far, term * (a - k) / x, 0.0)
        series = series + term
        if np.all(np.abs(term) < 1e-17 * series):
            break
    return np.where(far, (a - 1) * np.log(x) - x - gammaln(a) + np.log(series), direct)


def _log_chi2_pdf(ts: NDArray[np.float64], df: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import gammaln

    return (df / 2 - 1) * np.log(ts) - ts / 2 - df / 2 * math.log(2) - gammaln(df / 2)


def _chi2_isf_log(
    log_sf: NDArray[np.float64], df: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve ``log sf(ts) = log_sf`` by Newton's method; ``start`` is positive."""
    ts = start
    for _ in range(_MAX_ITERATIONS):
        current = _log_chi2_sf(ts, df)
        step = (current - log_sf) * np.exp(current - _log_chi2_pdf(ts, df))
        new = np.maximum(ts + step, ts / 10)
        done = np.abs(new - ts) <= 1e-14 * ts
        ts = new
        if done.all():
            break
    return ts


def sigma_to_ts(n_sigma: ArrayLike, df: ArrayLike = 1) -> Any:
    r"""Test statistic as improbable as a two-sided deviation of n sigma.

    Solves :math:`P(\chi^2_{df} > TS) = P(\chi^2_1 > n^2)` (Wilks 1938). Tails are followed in the
    logarithm, so that 40 sigma and more have a finite result.

    Parameters
    ----------
    n_sigma : array
        Significance, not negative.
    df : array
        Degrees of freedom.

    Returns
    -------
    ts : array
        Test statistic.

    Raises
    ------
    DataError
        If a significance is negative or NaN, or df not positive.

    Examples
    --------
    >>> float(sigma_to_ts(3)), round(float(sigma_to_ts(3, df=2)), 6)
    (9.0, 11.829158)
    """
    from scipy.special import gammainccinv

    n_sigma, df = _check("n_sigma", n_sigma, df)
    square = n_sigma**2
    other = (df != 1) & (n_sigma > 0) & np.isfinite(n_sigma)
    dof, x = np.where(other, df, 1.0), np.where(other, square, 1.0)
    log_sf = _log_chi2_sf(x, np.ones_like(x))
    direct = 2 * gammainccinv(dof / 2, np.exp(log_sf))
    start = np.where((direct > 0) & np.isfinite(direct), direct, x + dof)
    return np.where(other, _chi2_isf_log(log_sf, dof, start), square)[()]


def ts_to_sigma(ts: ArrayLike, df: ArrayLike = 1) -> Any:
    r"""Two-sided deviation in sigma as improbable as a test statistic; the inverse of `sigma_to_ts`.

    Parameters
    ----------
    ts : array
        Test statistic, not negative.
    df : array
        Degrees of freedom.

    Returns
    -------
    n_sigma : array
        Significance.

    Raises
    ------
    DataError
        If a test statistic is negative or NaN, or df not positive.

    Examples
    --------
    >>> float(ts_to_sigma(900)), round(float(ts_to_sigma(11.829158, df=2)), 6)
    (30.0, 3.0)
    """
    ts, df = _check("ts", ts, df)
    other = (df != 1) & (ts > 0) & np.isfinite(ts)
    dof, x = np.where(other, df, 1.0), np.where(other, ts, 1.0)
    log_sf = _log_chi2_sf(x, dof)
    return np.sqrt(np.where(other, _isf_one(log_sf), ts))[()]


def _isf_one(log_sf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared sigma of a two-sided normal tail probability given by its logarithm."""
    from scipy.special import ndtri_exp

    return ndtri_exp(log_sf - math.log(2)) ** 2

"""Excess, significance, errors and limits of counts, for arrays of any shape at once."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.likelihood.count_statistics import (
    cash,
    cstat,
    cstat_derivatives,
    get_wstat_mu_bkg,
    wstat,
    wstat_derivatives,
)
from villard.stats.counts_base import CountsStatistic, checked_counts, poisson_reach

__all__ = ["CashCountsStatistic", "WStatCountsStatistic"]

Array = NDArray[np.float64]


class CashCountsStatistic(CountsStatistic):
    """Counts with a background that is known exactly.

    Parameters
    ----------
    n_on : array
        Observed counts.
    mu_bkg : array
        Expected background counts.

    Raises
    ------
    DataError
        If an array is negative or not finite, or shapes don't fit.

    Examples
    --------
    >>> statistic = CashCountsStatistic(n_on=[5, 10], mu_bkg=[1, 5])
    >>> statistic.n_sig
    array([4., 5.])
    >>> print(statistic.sum())
    CashCountsStatistic
      Total counts             : 15.00
      Total background counts  : 6.00
      Total excess counts      : 9.00
      Total significance       : 3.08
      p-value                  : 0.00103
      Number of bins           : 1
    """

    _names = ("n_on", "mu_bkg")

    def __init__(self, n_on: ArrayLike, mu_bkg: ArrayLike) -> None:
        self.n_on, self.mu_bkg = checked_counts(n_on=n_on, mu_bkg=mu_bkg)

    @property
    def n_bkg(self) -> Any:
        """Background counts expected in the on region."""
        return self.mu_bkg

    @property
    def n_sig(self) -> Any:
        """Excess: observed counts less background."""
        return self.n_on - self.mu_bkg

    @property
    def error(self) -> Any:
        """Standard error of the excess, the square root of the counts."""
        return np.sqrt(self.n_on)

    @property
    def stat_null(self) -> Any:
        """`cash` of the background alone."""
        return cash(self.n_on, self.mu_bkg)

    @property
    def stat_max(self) -> Any:
        """`cash` at the most likely excess."""
        return cash(self.n_on, self.n_on)

    @property
    def ts(self) -> Any:
        """Test statistic of the excess, ``stat_null - stat_max`` without its rounding error."""
        return np.maximum(cstat(self.n_on, self.mu_bkg), 0.0)

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Self:
        """Sum over bins.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Axes to sum over. Default: all.

        Returns
        -------
        statistic : CashCountsStatistic
            Statistic of the summed counts and backgrounds.

        Examples
        --------
        >>> float(CashCountsStatistic(n_on=[5, 10], mu_bkg=[1, 5]).sum().n_sig)
        9.0
        """
        return type(self)(self.n_on.sum(axis=axis), self.mu_bkg.sum(axis=axis))

    def _deviance(self, shift: Array) -> tuple[Array, Array]:
        return cstat_derivatives(self.n_on, self.n_on + shift)[:2]

    def _reach_down(self, n_sigma: Array) -> tuple[Array, Array]:
        # No error reaches below counts of n exp(-1 - n_sigma² / 2 n), nor farther than n_sigma sqrt(n).
        some = self.n_on > 0
        n_on = np.where(some, self.n_on, 1.0)
        nearest = -n_on * np.expm1(-1 - n_sigma**2 / (2 * n_on))
        start = np.minimum(nearest, (1 + 1e-9) * n_sigma * np.sqrt(n_on))
        return np.where(some, start, 0.0), self.n_on

    def _reach_up(self, n_sigma: Array) -> Array:
        return poisson_reach(self.n_on, n_sigma)

    def _null(self, n_on: Array) -> tuple[Array, Array]:
        mu = np.where(self.mu_bkg > 0, self.mu_bkg, 1.0)
        return cstat(n_on, mu), _two_log_ratio(n_on, mu)

    def _n_on_null(self) -> tuple[Array, Array]:
        return self.mu_bkg, self.mu_bkg


class WStatCountsStatistic(CountsStatistic):
    """Counts with a background measured in an off region.

    The significance is that of Li & Ma (1983, ApJ 272, 317, eq. 17); errors and limits come from
    the same likelihood, with the most likely background for each excess.

    Parameters
    ----------
    n_on, n_off : array
        Counts in the on and the off region.
    alpha : array
        On exposure over off exposure.
    mu_sig : array, optional
        Known signal counts: the excess is what is on top of them. Default: none.

    Raises
    ------
    DataError
        If an array is not finite, one but ``mu_sig`` is negative, or shapes don't fit.

    Examples
    --------
    >>> statistic = WStatCountsStatistic(n_on=10, n_off=5, alpha=0.3)
    >>> float(statistic.n_sig), round(float(statistic.sqrt_ts), 6)
    (8.5, 3.585381)
    """

    _names = ("n_on", "n_off", "alpha", "mu_sig")

    def __init__(
        self, n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike | None = None
    ) -> None:
        self.n_on, self.n_off, self.alpha, self.mu_sig = checked_counts(
            n_on=n_on, n_off=n_off, alpha=alpha, mu_sig=0.0 if mu_sig is None else mu_sig
        )

    @property
    def n_bkg(self) -> Any:
        """Background counts expected in the on region, ``alpha * n_off``."""
        return self.alpha * self.n_off

    @property
    def n_sig(self) -> Any:
        """Excess: on counts less background and known signal."""
        return self.n_on - self.n_bkg - self.mu_sig

    @property
    def error(self) -> Any:
        """Standard error of the excess, the root of ``n_on + alpha² n_off``."""
        return np.sqrt(self.n_on + self.alpha**2 * self.n_off)

    @property
    def stat_null(self) -> Any:
        """`wstat` of background and known signal alone."""
        return wstat(self.n_on, self.n_off, self.alpha, self.mu_sig)

    @property
    def stat_max(self) -> Any:
        """`wstat` at the most likely excess, which is 0 but for rounding."""
        return wstat(self.n_on, self.n_off, self.alpha, self.n_on - self.n_bkg)

    @property
    def ts(self) -> Any:
        """Test statistic of the excess, ``stat_null - stat_max`` without its rounding error."""
        return np.maximum(self.stat_null, 0.0)

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Self:
        """Sum over bins.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Axes to sum over. Default: all.

        Returns
        -------
        statistic : WStatCountsStatistic
            Statistic of the summed counts. Its ``alpha`` is the summed background over the summed
            off counts; without off counts it is the mean ``alpha`` of the bins.

        Examples
        --------
        >>> total = WStatCountsStatistic(n_on=[1, 2, 3], n_off=[5, 14, 8], alpha=[0.1, 0.05, 0.1625]).sum()
        >>> float(total.n_bkg), round(float(total.alpha), 6)
        (2.5, 0.092593)
        """
        n_off = self.n_off.sum(axis=axis)
        n_bkg = self.n_bkg.sum(axis=axis)
        alpha = np.where(n_off > 0, n_bkg / np.where(n_off > 0, n_off, 1.0), self.alpha.mean(axis=axis))
        return type(self)(self.n_on.sum(axis=axis), n_off, alpha, self.mu_sig.sum(axis=axis))

    def _deviance(self, shift: Array) -> tuple[Array, Array]:
        mu_sig = self.n_on - self.n_bkg + shift
        return wstat_derivatives(self.n_on, self.n_off, self.alpha, mu_sig)[:2]

    def _reach_down(self, n_sigma: Array) -> tuple[Array, Array]:
        start = poisson_reach(self.error**2, n_sigma, self.alpha)
        return start, np.where(self.alpha > 0, np.inf, self.n_on)

    def _reach_up(self, n_sigma: Array) -> Array:
        return poisson_reach(self.error**2, n_sigma)

    def _null(self, n_on: Array) -> tuple[Array, Array]:
        # The background is at its minimum: only the direct dependence on the on counts is left.
        alpha, mu_sig = self.alpha, self.mu_sig
        on = mu_sig + alpha * get_wstat_mu_bkg(n_on, self.n_off, alpha, mu_sig)
        return wstat(n_on, self.n_off, alpha, mu_sig), _two_log_ratio(n_on, np.where(on > 0, on, 1.0))

    def _n_on_null(self) -> tuple[Array, Array]:
        expected = np.maximum(self.mu_sig + self.n_bkg, 0.0)
        return expected, expected + self.alpha**2 * (self.n_off + 1)


def _two_log_ratio(n_on: Array, mu: Array) -> Array:
    """Derivative ``2 ln(n_on / mu)``, minus infinity at 0."""
    some = n_on > 0
    return np.where(some, 2 * np.log(np.where(some, n_on, 1.0) / mu), -np.inf)

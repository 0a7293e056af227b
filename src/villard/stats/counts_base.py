"""What counts with known and with measured background share: errors, limits, printing."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.stats.roots import solve_bracketed
from villard.stats.significance import significance_to_probability_normal

__all__ = ["CountsStatistic", "checked_counts", "poisson_reach"]

Array = NDArray[np.float64]


def checked_counts(**arrays: ArrayLike) -> tuple[Array, ...]:
    """Broadcast arrays that must be finite and not negative (``mu_sig`` may be negative)."""
    converted = {}
    for name, array in arrays.items():
        converted[name] = np.asarray(array, dtype=float)
        bad = ~np.isfinite(converted[name])
        if name != "mu_sig":
            bad |= converted[name] < 0
        if np.any(bad):
            raise DataError(
                f"{name} must be finite{'' if name == 'mu_sig' else ' and not negative'}, "
                f"found {converted[name][bad].flat[0]} ({bad.sum()} such values of {bad.size})"
            )
    try:
        return tuple(np.broadcast_arrays(*converted.values()))
    except ValueError as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in converted.items())
        raise DataError(f"Arrays must have the same shape, found {shapes}") from error


def poisson_reach(variance: Array, n_sigma: Array, scale: Array | float = 1.0) -> Array:
    """Distance at which the statistic of Poisson counts exceeds its minimum by n_sigma² or more.

    From ln(1 + x) <= x (6 + x) / (6 + 4 x): an upper bound of the error, close to it.
    """
    square = scale * n_sigma**2 / 3
    return square + np.sqrt(square**2 + variance * n_sigma**2)


class CountsStatistic(ABC):
    """What counts with known and with measured background have in common."""

    _names: ClassVar[tuple[str, ...]]
    n_on: Array

    @property
    @abstractmethod
    def n_bkg(self) -> Any:
        """Background counts expected in the on region."""

    @property
    @abstractmethod
    def n_sig(self) -> Any:
        """Excess: the most likely signal counts; may be negative."""

    @property
    @abstractmethod
    def error(self) -> Any:
        """Standard error of the excess from the counts, as if they were normal."""

    @property
    @abstractmethod
    def stat_null(self) -> Any:
        """Statistic without excess."""

    @property
    @abstractmethod
    def stat_max(self) -> Any:
        """Statistic at the most likely excess."""

    @property
    @abstractmethod
    def ts(self) -> Any:
        """Test statistic of the excess, ``stat_null - stat_max``."""

    @abstractmethod
    def _deviance(self, shift: Array) -> tuple[Array, Array]:
        """Statistic relative to its minimum, and its derivative, at ``n_sig + shift``."""

    @abstractmethod
    def _reach_down(self, n_sigma: Array) -> tuple[Array, Array]:
        """Guess of the lower error, and the largest that is allowed."""

    @abstractmethod
    def _reach_up(self, n_sigma: Array) -> Array:
        """Guess of the upper error."""

    @abstractmethod
    def _null(self, n_on: Array) -> tuple[Array, Array]:
        """Test statistic for other on counts, and its derivative by them."""

    @abstractmethod
    def _n_on_null(self) -> tuple[Array, Array]:
        """On counts without excess, and the variance of the excess then."""

    @abstractmethod
    def sum(self, axis: int | tuple[int, ...] | None = None) -> Self:
        """Sum over bins."""

    @property
    def sqrt_ts(self) -> Any:
        """Significance: square root of the test statistic, negative for a negative excess."""
        return np.sign(self.n_sig) * np.sqrt(self.ts)

    @property
    def p_value(self) -> Any:
        """Probability of at least this deviation, on this side, if there is no excess."""
        return significance_to_probability_normal(np.abs(self.sqrt_ts))

    def _error(self, n_sigma: ArrayLike, sign: float, start: Array, cap: Array) -> Any:
        target = np.broadcast_to(np.asarray(n_sigma, dtype=float) ** 2, start.shape)

        def deviance(distance: Array) -> tuple[Array, Array]:
            value, slope = self._deviance(sign * distance)
            return value, sign * slope

        return _solve_outward(deviance, target, start, cap)[()]

    def compute_errn(self, n_sigma: ArrayLike = 1.0) -> Any:
        """Lower error of the excess: where the statistic has risen by ``n_sigma`` squared.

        Parameters
        ----------
        n_sigma : float or array
            Confidence in sigma.

        Returns
        -------
        errn : array
            Positive distance below `n_sig`. Limited to the on counts where nothing but signal is
            expected below it (known background, or ``alpha = 0``), as predicted counts can't be
            negative.

        Raises
        ------
        DataError
            If ``n_sigma`` is negative or not finite.

        Examples
        --------
        >>> from villard.stats import CashCountsStatistic
        >>> round(float(CashCountsStatistic(n_on=5, mu_bkg=1).compute_errn()), 6)
        1.915916
        """
        (sigma, _) = checked_counts(n_sigma=n_sigma, n_on=self.n_on)
        return self._error(sigma, -1.0, *self._reach_down(sigma))

    def compute_errp(self, n_sigma: ArrayLike = 1.0) -> Any:
        """Upper error of the excess: where the statistic has risen by ``n_sigma`` squared.

        Parameters
        ----------
        n_sigma : float or array
            Confidence in sigma.

        Returns
        -------
        errp : array
            Positive distance above `n_sig`.

        Raises
        ------
        DataError
            If ``n_sigma`` is negative or not finite.

        Examples
        --------
        >>> from villard.stats import CashCountsStatistic
        >>> round(float(CashCountsStatistic(n_on=5, mu_bkg=1).compute_errp()), 6)
        2.581106
        """
        (sigma, _) = checked_counts(n_sigma=n_sigma, n_on=self.n_on)
        start = self._reach_up(sigma)
        return self._error(sigma, 1.0, start, np.full(start.shape, np.inf))

    def compute_upper_limit(self, n_sigma: ArrayLike = 3.0) -> Any:
        """Upper limit of the excess: `n_sig` and its upper error.

        For fewer counts than background it can be negative: it is the end of the interval that
        has the stated coverage, not a physical bound (Rolke, Lopez & Conrad 2005, NIM A 551, 493).

        Parameters
        ----------
        n_sigma : float or array
            Confidence in sigma.

        Returns
        -------
        upper_limit : array
            Upper limit of the signal counts, on top of ``mu_sig`` where that is given.

        Raises
        ------
        DataError
            If ``n_sigma`` is negative or not finite.

        Examples
        --------
        >>> from villard.stats import CashCountsStatistic
        >>> round(float(CashCountsStatistic(n_on=5, mu_bkg=1).compute_upper_limit(n_sigma=3)), 5)
        13.98959
        """
        return self.n_sig + self.compute_errp(n_sigma)

    def n_sig_matching_significance(self, significance: ArrayLike) -> Any:
        """Excess that would have a given significance with this background.

        Parameters
        ----------
        significance : float or array
            Significance in sigma; negative for a deficit.

        Returns
        -------
        n_sig : array
            Excess; NaN where no on counts at all are not deficit enough, 0 where no background is
            expected so that any excess is as significant as one likes.

        Raises
        ------
        DataError
            If a significance is not finite.

        Examples
        --------
        >>> from villard.stats import CashCountsStatistic
        >>> round(float(CashCountsStatistic(n_on=0, mu_bkg=2).n_sig_matching_significance(5)), 6)
        10.550546
        """
        wanted = np.asarray(significance, dtype=float)
        if not np.all(np.isfinite(wanted)):
            raise DataError(f"significance must be finite, found {wanted}")
        expected, variance = self._n_on_null()
        wanted, expected, variance = np.broadcast_arrays(wanted, expected, variance)
        sign = np.where(wanted < 0, -1.0, 1.0)

        def test_statistic(distance: Array) -> tuple[Array, Array]:
            value, slope = self._null(np.maximum(expected + sign * distance, 0.0))
            return value, sign * slope

        cap = np.where(sign < 0, expected, np.inf)
        reachable = np.where(sign < 0, self._null(np.zeros_like(expected))[0], np.inf) >= wanted**2
        target = np.where(reachable, wanted**2, 0.0)
        start = np.minimum(poisson_reach(variance, np.sqrt(target)), cap)
        result = sign * _solve_outward(test_statistic, target, start, cap)
        return np.where(reachable, np.where(variance > 0, result, 0.0), np.nan)[()]

    def info_dict(self) -> dict[str, Any]:
        """Counts and significance under Gammapy's names.

        Returns
        -------
        info : dict
            ``n_on``, ``background``, ``excess``, ``significance``, ``p_value`` and the further
            arrays that define the statistic.

        Examples
        --------
        >>> from villard.stats import CashCountsStatistic
        >>> sorted(CashCountsStatistic(n_on=5, mu_bkg=1).info_dict())
        ['background', 'excess', 'mu_bkg', 'n_on', 'p_value', 'significance']
        """
        info = {
            "n_on": self.n_on,
            "background": self.n_bkg,
            "excess": self.n_sig,
            "significance": self.sqrt_ts,
            "p_value": self.p_value,
        }
        return info | {name: getattr(self, name) for name in self._names}

    def __str__(self) -> str:
        total = self.sum().info_dict()
        rows = {
            "Total counts": f"{total['n_on']:.2f}",
            "Total background counts": f"{total['background']:.2f}",
            "Total excess counts": f"{total['excess']:.2f}",
            "Total significance": f"{total['significance']:.2f}",
            "p-value": f"{total['p_value']:.3g}",
            "Number of bins": f"{self.n_on.size}",
        }
        if "n_off" in total:
            rows["Off counts"] = f"{total['n_off']:.2f}"
            rows["alpha"] = f"{total['alpha']:.3g}"
            rows["Predicted signal counts"] = f"{total['mu_sig']:.2f}"
        lines = [type(self).__name__, *(f"  {name:<24} : {text}" for name, text in rows.items())]
        return "\n".join(lines)

    def __getitem__(self, key: Any) -> Self:
        return type(self)(*(getattr(self, name)[key] for name in self._names))


def _solve_outward(
    function: Callable[[Array], tuple[Array, Array]], target: Array, start: Array, cap: Array
) -> Array:
    """Distance from 0 at which a growing function reaches its target, or the cap if it never does."""
    distance = np.minimum(start, cap)
    # A target of 0 is met at once, though rounding may leave the function below it.
    short = (function(distance)[0] < target) & (distance < cap) & (target > 0)
    while np.any(short):
        distance = np.where(short, np.minimum(2 * distance, cap), distance)
        short &= (function(distance)[0] < target) & (distance < cap)
    return solve_bracketed(function, target, np.zeros_like(distance), distance)

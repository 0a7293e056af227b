"""Which of two models do the data prefer?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from villard.exceptions import DataError
from villard.stats.significance import ts_to_sigma

__all__ = ["LikelihoodRatio", "aic", "bic", "likelihood_ratio"]


@dataclass(frozen=True)
class LikelihoodRatio:
    """Result of a likelihood-ratio test.

    Parameters
    ----------
    ts : float or array
        Test statistic, the difference of -2 ln L at the two minima.
    n_dof : int
        Number of parameters that only the alternative has.
    p_value : float or array
        Probability of at least this test statistic if the null hypothesis is true.
    significance : float or array
        The same as a two-sided deviation of a normal variable, in sigma.
    """

    ts: Any
    n_dof: int
    p_value: Any
    significance: Any

    def __str__(self) -> str:
        return (
            f"TS = {self.ts:.3f} for {self.n_dof} degrees of freedom: "
            f"p-value {self.p_value:.3g}, {self.significance:.2f} sigma"
        )


def likelihood_ratio(stat_null: ArrayLike, stat_alternative: ArrayLike, n_dof: int) -> LikelihoodRatio:
    r"""Compare a model with a simpler one that it contains.

    If the simpler one is true, and its parameter values are not at a bound of the alternative's,
    the difference of the two minima of -2 ln L follows :math:`\chi^2` with the number of
    additional parameters as degrees of freedom (Wilks 1938, Ann. Math. Stat. 9, 60).

    Parameters
    ----------
    stat_null : float or array
        -2 ln L at the minimum of the simpler model.
    stat_alternative : float or array
        -2 ln L at the minimum of the model with more parameters.
    n_dof : int
        Number of additional free parameters.

    Returns
    -------
    result : LikelihoodRatio
        Test statistic, p-value and significance. A negative test statistic, which only a fit that
        missed its minimum gives, is kept, with p-value 1 and significance 0.

    Raises
    ------
    DataError
        If a statistic is not finite or ``n_dof`` not positive.

    Examples
    --------
    >>> print(likelihood_ratio(stat_null=40.0, stat_alternative=30.0, n_dof=1))
    TS = 10.000 for 1 degrees of freedom: p-value 0.00157, 3.16 sigma
    """
    from scipy.special import gammaincc

    ts = np.asarray(stat_null, dtype=float) - np.asarray(stat_alternative, dtype=float)
    if not np.all(np.isfinite(ts)):
        raise DataError(f"Fit statistics must be finite, found a difference of {ts}")
    if n_dof < 1:
        raise DataError(f"n_dof must be at least 1, found {n_dof}")
    positive = np.maximum(ts, 0.0)
    return LikelihoodRatio(ts[()], n_dof, gammaincc(n_dof / 2, positive / 2), ts_to_sigma(positive, n_dof))


def aic(stat: ArrayLike, n_parameters: int, n_data: int | None = None) -> Any:
    r"""Akaike information criterion, :math:`-2 \ln L + 2 k`.

    The model with the smaller value is expected to predict new data better; models need not be
    nested (Akaike 1974, IEEE Trans. Autom. Control 19, 716).

    Parameters
    ----------
    stat : float or array
        -2 ln L at the minimum.
    n_parameters : int
        Number of free parameters, k.
    n_data : int, optional
        Number of data points, n: adds the correction for small samples,
        :math:`2 k (k + 1) / (n - k - 1)` (Hurvich & Tsai 1989, Biometrika 76, 297).

    Returns
    -------
    aic : float or array
        Criterion.

    Raises
    ------
    DataError
        If there are too few data points for the correction.

    Examples
    --------
    >>> float(aic(stat=30.0, n_parameters=3))
    36.0
    """
    correction = 0.0
    if n_data is not None:
        if n_data <= n_parameters + 1:
            raise DataError(f"n_data must exceed n_parameters + 1 = {n_parameters + 1}, found {n_data}")
        correction = 2 * n_parameters * (n_parameters + 1) / (n_data - n_parameters - 1)
    return np.asarray(stat, dtype=float)[()] + 2 * n_parameters + correction


def bic(stat: ArrayLike, n_parameters: int, n_data: int) -> Any:
    r"""Bayesian information criterion, :math:`-2 \ln L + k \ln n`.

    For much data minus half of it approaches the logarithm of the evidence, up to a constant
    (Schwarz 1978, Ann. Stat. 6, 461).

    Parameters
    ----------
    stat : float or array
        -2 ln L at the minimum.
    n_parameters : int
        Number of free parameters, k.
    n_data : int
        Number of data points, n: for binned fits the bins inside the fit range.

    Returns
    -------
    bic : float or array
        Criterion.

    Raises
    ------
    DataError
        If there are no data points.

    Examples
    --------
    >>> round(float(bic(stat=30.0, n_parameters=3, n_data=20)), 3)
    38.987
    """
    if n_data < 1:
        raise DataError(f"n_data must be at least 1, found {n_data}")
    return np.asarray(stat, dtype=float)[()] + n_parameters * np.log(n_data)

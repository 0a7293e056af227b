r"""Fit statistics per bin, -2 ln L, with their first and second derivatives.

All functions are pure and elementwise: arguments broadcast, and work as numpy arrays or inside
compiled JAX code. Each statistic has three forms, gathered in `STATISTICS`: its value, the
analytic derivatives by the predicted value, and the Fisher information (the expected second
derivative, always positive).

Predictions below ``TRUNCATION`` are raised to it, as Gammapy does. There the value is constant,
but derivatives are those at the truncation itself (from the right), so that a fit which starts
from a prediction of zero is told which way to go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from villard.likelihood.count_statistics import (
    TRUNCATION,
    cash,
    cash_derivatives,
    cash_fisher,
    cstat,
    cstat_derivatives,
    cstat_fisher,
    get_wstat_gof_terms,
    get_wstat_mu_bkg,
    wstat,
    wstat_derivatives,
    wstat_fisher,
)
from villard.likelihood.flux_statistics import (
    chi2,
    chi2_asymmetric,
    chi2_asymmetric_derivatives,
    chi2_asymmetric_fisher,
    chi2_censored,
    chi2_censored_derivatives,
    chi2_censored_fisher,
    chi2_derivatives,
    chi2_fisher,
)
from villard.likelihood.profile_statistic import profile, profile_derivatives, profile_fisher
from villard.likelihood.unbinned import unbinned, unbinned_derivatives, unbinned_fisher

__all__ = [
    "STATISTICS",
    "TRUNCATION",
    "Statistic",
    "cash",
    "cash_derivatives",
    "cash_fisher",
    "chi2",
    "chi2_asymmetric",
    "chi2_asymmetric_derivatives",
    "chi2_asymmetric_fisher",
    "chi2_censored",
    "chi2_censored_derivatives",
    "chi2_censored_fisher",
    "chi2_derivatives",
    "chi2_fisher",
    "cstat",
    "cstat_derivatives",
    "cstat_fisher",
    "get_wstat_gof_terms",
    "get_wstat_mu_bkg",
    "profile",
    "profile_derivatives",
    "profile_fisher",
    "wstat",
    "wstat_derivatives",
    "wstat_fisher",
]


Data = Mapping[str, Any]

_DISTRIB = ("errn", "errp", "ul", "is_ul")
_PROFILE = ("knot", "root", "slope", "floor")
_CENSORED = ("errn", "errp", "ul", "ul_error", "is_ul")


@dataclass(frozen=True)
class Statistic:
    """A fit statistic as the likelihood uses it.

    Parameters
    ----------
    name : str
        Key in `STATISTICS`.
    data_names : tuple of str
        Arrays that the functions find in ``data``.
    value : callable
        ``value(mu, data)``: statistic of each bin.
    derivatives : callable
        ``derivatives(mu, data)``: value, first and second derivative by ``mu``.
    fisher : callable
        ``fisher(mu, data)``: a positive second derivative, the expected one where that is defined.

    Examples
    --------
    >>> statistic = STATISTICS["cash"]
    >>> statistic.data_names
    ('counts',)
    >>> float(statistic.value(10.0, {"counts": 0}))
    20.0
    """

    name: str
    data_names: tuple[str, ...]
    value: Callable[[Any, Data], Any]
    derivatives: Callable[[Any, Data], tuple[Any, Any, Any]]
    fisher: Callable[[Any, Data], Any]


def _on_off(function: Callable[..., Any]) -> Callable[[Any, Data], Any]:
    return lambda mu, data: function(data["counts"], data["counts_off"], data["alpha"], mu)


def _flux(function: Callable[..., Any], *names: str) -> Callable[[Any, Data], Any]:
    return lambda mu, data: function(data["value"], mu, *(data[name] for name in names))


def _counts(function: Callable[..., Any]) -> Callable[[Any, Data], Any]:
    return lambda mu, data: function(data["counts"], mu)


def _events(function: Callable[..., Any]) -> Callable[[Any, Data], Any]:
    return lambda mu, data: function(data["counts"], data["share"], mu)


def _tabulated(function: Callable[..., Any]) -> Callable[[Any, Data], Any]:
    return lambda mu, data: function(mu, *(data[name] for name in _PROFILE))


STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic
    for statistic in (
        Statistic(
            "cash",
            ("counts",),
            _counts(cash),
            _counts(cash_derivatives),
            lambda mu, data: cash_fisher(mu),
        ),
        Statistic(
            "cstat",
            ("counts",),
            _counts(cstat),
            _counts(cstat_derivatives),
            lambda mu, data: cstat_fisher(mu),
        ),
        Statistic(
            "wstat",
            ("counts", "counts_off", "alpha"),
            _on_off(wstat),
            _on_off(wstat_derivatives),
            _on_off(wstat_fisher),
        ),
        Statistic(
            "unbinned",
            ("counts", "share"),
            _events(unbinned),
            _events(unbinned_derivatives),
            lambda mu, data: unbinned_fisher(data["counts"], mu),
        ),
        Statistic(
            "chi2",
            ("value", "error"),
            _flux(chi2, "error"),
            _flux(chi2_derivatives, "error"),
            _flux(chi2_fisher, "error"),
        ),
        Statistic(
            "distrib",
            ("value", *_DISTRIB),
            _flux(chi2_asymmetric, *_DISTRIB),
            _flux(chi2_asymmetric_derivatives, *_DISTRIB),
            _flux(chi2_asymmetric_fisher, *_DISTRIB),
        ),
        Statistic(
            "censored",
            ("value", *_CENSORED),
            _flux(chi2_censored, *_CENSORED),
            _flux(chi2_censored_derivatives, *_CENSORED),
            _flux(chi2_censored_fisher, *_CENSORED),
        ),
        Statistic(
            "profile",
            _PROFILE,
            _tabulated(profile),
            _tabulated(profile_derivatives),
            _tabulated(profile_fisher),
        ),
    )
}
"""Fit statistics by name: ``cash``, ``cstat``, ``wstat``, ``chi2``, ``distrib``,
``censored``, ``profile``."""

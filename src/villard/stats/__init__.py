"""Counts statistics: significance, errors and limits of counts; comparison of models."""

from villard.utils.lazy import lazy_exports

_STATISTICS = "villard.likelihood.statistics"

_EXPORTS = {
    "CashCountsStatistic": "counts_statistic",
    "LikelihoodRatio": "model_comparison",
    "WStatCountsStatistic": "counts_statistic",
    "aic": "model_comparison",
    "bic": "model_comparison",
    "cash": _STATISTICS,
    "chi2": _STATISTICS,
    "cstat": _STATISTICS,
    "get_wstat_gof_terms": _STATISTICS,
    "get_wstat_mu_bkg": _STATISTICS,
    "likelihood_ratio": "model_comparison",
    "probability_to_significance_normal": "significance",
    "sigma_to_ts": "significance",
    "significance_to_probability_normal": "significance",
    "ts_to_sigma": "significance",
    "wstat": _STATISTICS,
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

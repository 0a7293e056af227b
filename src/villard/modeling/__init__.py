"""Parameters, models, and the fit of models to datasets."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "CovarianceResult": "fit_result",
    "Covariance": "covariance",
    "Fit": "fit",
    "FitResult": "fit_result",
    "MapFit": "map_fit",
    "NestedModelSelection": "selection",
    "OptimizeResult": "fit_result",
    "Parameter": "parameter",
    "Parameters": "parameter",
    "compare_models": "selection",
    "models": "villard.modeling.models",
    "select_nested_models": "selection",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

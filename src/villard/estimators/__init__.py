"""Flux points, maps of excess and of test statistics, peaks, and what estimates them."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "CastroData": "castro",
    "CastroStack": "castro_stack",
    "ExcessMapEstimator": "excess_map",
    "FluxMaps": "flux_maps",
    "FluxPoints": "flux_points",
    "FluxPointsEstimator": "flux_points_estimator",
    "FluxProfile": "flux_profile",
    "FluxProfileEstimator": "flux_profile",
    "ImageProfile": "image_profile",
    "ImageProfileEstimator": "image_profile",
    "SpectrumFit": "castro_fit",
    "TSMapEstimator": "ts_map",
    "find_peaks": "peaks",
    "fit_spectrum": "castro_fit",
    "make_concentric_annulus_sky_regions": "profile_regions",
    "make_orthogonal_rectangle_sky_regions": "profile_regions",
    "stack_profiles": "castro_stack",
    "test_spectra": "castro_fit",
}

__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

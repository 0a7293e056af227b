"""Limits of spectra: norms from 0 on, and shapes between the limits of fermipy."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["set_limits"]

#: Limits of shapes, by our names of fermipy's Index, Index1, Index2 of breaks, alpha and beta.
_LIMITS = {
    "index": (0.0, 5.0),
    "index1": (0.0, 5.0),
    "index2": (0.0, 5.0),
    "index_1": (0.0, 5.0),
    "alpha": (-5.0, 5.0),
    "beta": (-10.0, 10.0),
}


def set_limits(model: Any) -> None:
    """Give norm and shape of a spectrum limits where they have none, widened to include their values.

    The shape of a source that is seen in one bin of energy would run away without.

    Parameters
    ----------
    model : `~villard.modeling.models.SkyModel` or another model with a spectrum
        Model.

    Examples
    --------
    >>> from villard.modeling.models import SkyModel
    >>> model = SkyModel.create("pl", "point")
    >>> set_limits(model)
    >>> model.spectral_model.amplitude.min, model.spectral_model.index.bounds
    (0.0, (0.0, 5.0))
    """
    from villard.modeling.models import SuperExpCutoffPowerLaw4FGLDR3SpectralModel
    from villard.modeling.models.gtlike import norm_parameter

    norm = norm_parameter(model)
    if np.isnan(norm.min) and norm.value >= 0:
        norm.min = 0.0
    limits = dict(_LIMITS)
    if isinstance(model.spectral_model, SuperExpCutoffPowerLaw4FGLDR3SpectralModel):
        # A curvature, as that of a log parabola; in other spectra of this name it has units.
        limits["expfactor"] = limits["beta"]
    for parameter in getattr(model.spectral_model, "parameters", ()):
        if parameter.name in limits and np.isnan(parameter.min) and np.isnan(parameter.max):
            low, high = limits[parameter.name]
            parameter.min, parameter.max = min(low, parameter.value), max(high, parameter.value)

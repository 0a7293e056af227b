"""A small region with three sources and a diffuse component, for tests of fits."""

import numpy as np
from region_toys import point, toy_dataset

from villard.maps import WcsNDMap
from villard.modeling.models import PowerLawNormSpectralModel, TemplateNPredModel
from villard.roi import ROI


def diffuse(dataset, level=1.0):
    data = np.full(dataset.counts.data.shape, level) * np.array([1.0, 0.6, 0.3])[:, None, None]
    spectrum = PowerLawNormSpectralModel()
    spectrum.norm.min = 0
    template = WcsNDMap(dataset.counts.geom, data=data)
    return TemplateNPredModel(template, spectral_model=spectrum, name="diffuse")


def fitted_sources():
    models = [
        point("bright", 0.0, amplitude="1e-12 cm-2 s-1 MeV-1", index=2.3),
        point("medium", 0.4, 0.3, amplitude="4e-13 cm-2 s-1 MeV-1", index=2.0),
        point("weak", -0.5, -0.3, amplitude="8e-14 cm-2 s-1 MeV-1", index=2.0),
    ]
    for model in models:
        model.spectral_model.amplitude.min = 0
        model.spectral_model.index.frozen = True
        for parameter in model.spatial_model.parameters:
            parameter.frozen = True
    return models


def fit_roi(seed=3, extra=()):
    """Return a region with counts drawn from its models, all norms free."""
    dataset = toy_dataset()
    dataset.background = None
    models = [*fitted_sources(), diffuse(dataset)]
    dataset.models = models
    dataset.fake(seed)
    return ROI(dataset, [*models, *extra])

"""A small region for the tests of maps, positions and extensions."""

import astropy.units as u
import numpy as np

from villard.datasets import MapDataset
from villard.irf import PSFMap
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import (
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
)
from villard.roi import ROI

BACKGROUND = (3.1, 1.07, 0.31)
SIGMA_PSF = (0.2, 0.14, 0.1)


def axis():
    return MapAxis.from_energy_bounds("10 GeV", "200 GeV", nbin=3)


def source(name, lon, lat, amplitude=2e-14, sigma=None):
    """A source of about 230 counts."""
    place = {"lon_0": f"{lon} deg", "lat_0": f"{lat} deg", "frame": "galactic"}
    spatial = (
        PointSpatialModel(**place) if sigma is None else GaussianSpatialModel(sigma=f"{sigma} deg", **place)
    )
    spectral = PowerLawSpectralModel(index=2.0, amplitude=f"{amplitude} cm-2 s-1 MeV-1", reference="20 GeV")
    model = SkyModel(spectral, spatial, name=name)
    for parameter in model.parameters:
        parameter.frozen = True
    return model


def make_roi(models, data=None, seed=1, npix=(41, 31), **kwargs):
    """A region of 4.1 x 3.1 deg around `models`, with counts drawn from `data` (those models by default)."""
    energy = axis()
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", npix=npix, binsz=0.1, axes=[energy])
    true = energy.copy(name="energy_true")
    exposure = WcsNDMap(geom.as_energy_true(), data=np.full(geom.data_shape, 3e11), unit="cm2 s")
    level = WcsNDMap(geom, data=np.array(BACKGROUND)[:, None, None] * np.ones(geom.data_shape))
    dataset = MapDataset(
        exposure=exposure,
        psf=PSFMap.from_gauss(true, sigma=SIGMA_PSF * u.deg),
        name="toy",
        psf_method="exact",
        counts=WcsNDMap(geom),
    )
    spectral = PowerLawNormSpectralModel()
    spectral.norm.frozen = True
    diffuse = TemplateNPredModel(level, spectral, name="isodiff")
    dataset.models = [*(models if data is None else data), diffuse]
    expected = dataset.npred().data
    dataset.counts.data = expected if seed is None else np.random.default_rng(seed).poisson(expected)
    return ROI(dataset, [*models, diffuse], **kwargs)

"""The Crab nebula in four public runs of H.E.S.S.: without bins, in a cube, and with off regions."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.bayes import sample
from villard.data import DataStore
from villard.datasets import Datasets, EventDataset, MapDataset, SpectrumDataset
from villard.makers import MapDatasetMaker, ReflectedRegionsBackgroundMaker, SpectrumDatasetMaker
from villard.maps import MapAxis, RegionGeom, WcsGeom, WcsNDMap
from villard.modeling import Fit
from villard.modeling.models import (
    FoVBackgroundModel,
    LogParabolaSpectralModel,
    PointSpatialModel,
    SkyModel,
)
from villard.modeling.prior import UniformPrior

CRAB = SkyCoord(83.6333, 22.0144, unit="deg")
ENERGY = MapAxis.from_energy_bounds("0.9 TeV", "50 TeV", nbin=18)
TRUE = MapAxis.from_energy_bounds("0.2 TeV", "100 TeV", nbin=40, name="energy_true")
# Pixels that resolve the innermost bin of the PSF, of 0.02 deg: its cusp tells places.
GEOM = WcsGeom.create(skydir=CRAB, binsz=0.00625, width=0.75, proj="TAN", axes=[ENERGY])


def make_model(spatial=True):
    spectrum = LogParabolaSpectralModel(
        amplitude=4e-11 * u.Unit("cm-2 s-1 TeV-1"), reference=1 * u.TeV, alpha=2.2, beta=0.2
    )
    position = PointSpatialModel(lon_0=CRAB.ra, lat_0=CRAB.dec, frame="icrs")
    return SkyModel(spectrum, position if spatial else None, name="crab")


@pytest.fixture(scope="module")
def observations(gammapy_data):
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    return store.get_observations([23523, 23526, 23559, 23592])


def fit(datasets, model):
    for dataset in datasets:
        dataset.models = [model]
        if isinstance(dataset, MapDataset):
            dataset.models = [model, FoVBackgroundModel(dataset_name=dataset.name)]
    result = Fit().run(Datasets(datasets))
    assert result.success
    return {p.name: (p.value, p.error) for p in model.parameters.free_parameters}


@pytest.fixture(scope="module")
def analyses(observations):
    """Datasets, models and fits: by events, cubes and off regions."""
    datasets = {"events": [], "cubes": [], "on-off": []}
    image = WcsGeom.create(skydir=CRAB, binsz=0.02, width=5, proj="TAN")
    mask = WcsNDMap(image, data=image.separation(CRAB).deg > 0.3)
    region = RegionGeom.create("icrs;circle(83.6333, 22.0144, 0.11)", axes=[ENERGY])
    for observation in observations:
        name = str(observation.obs_id)
        events = EventDataset.from_observation(observation, GEOM, energy_axis_true=TRUE)
        empty = MapDataset.create(GEOM, energy_axis_true=TRUE, name=name, binsz_irf=0.5)
        cube = MapDatasetMaker().run(empty, observation)
        cube.psf_method = "exact"
        spectrum = SpectrumDataset.create(region, energy_axis_true=TRUE, name=name)
        spectrum = SpectrumDatasetMaker(containment_correction=True).run(spectrum, observation)
        spectrum = ReflectedRegionsBackgroundMaker(exclusion_mask=mask).run(spectrum, observation)
        for kind, dataset in zip(datasets, (events, cube, spectrum), strict=True):
            datasets[kind].append(dataset)
    models = {kind: make_model(spatial=kind != "on-off") for kind in datasets}
    fits = {kind: fit(datasets[kind], models[kind]) for kind in datasets}
    return datasets, models, fits


def assert_alike(unbinned, binned, on_off):
    """Compare values with errors, by name."""
    for name, (value, error) in unbinned.items():
        assert abs(value - binned[name][0]) < 0.5 * error, name
    for name, (value, error) in on_off.items():
        assert abs(value - unbinned[name][0]) < 2 * error, name


def test_three_likelihoods_agree(analyses):
    _, _, fits = analyses
    assert_alike(*fits.values())
    unbinned = fits["events"]
    position = SkyCoord(unbinned["lon_0"][0], unbinned["lat_0"][0], unit="deg")
    assert position.separation(CRAB).deg < 0.03
    # H.E.S.S., Aharonian et al. 2006, A&A 457, 899: 3.45e-11 cm-2 s-1 TeV-1, spread of runs included.
    assert np.abs(unbinned["amplitude"][0] / 3.45e-11 - 1) < 0.4


def test_three_posteriors_agree(analyses):
    """Flux, index, curvature and position: as fitted, and alike."""
    bounds = {"amplitude": (1e-11, 1e-10), "alpha": (0.5, 4), "beta": (-0.5, 1.5)}
    bounds |= {"lon_0": (83.5, 83.75), "lat_0": (21.9, 22.13), "norm": (0.2, 3)}
    found = []
    for kind, datasets in analyses[0].items():
        datasets = Datasets(datasets)
        for parameter in datasets.models.parameters.free_parameters:
            low, high = bounds[parameter.name]
            parameter.prior = UniformPrior(min=low, max=high)
        posterior = sample(datasets, "importance", n_samples=500, n_adapt=250, random_state=1)
        assert posterior.ess > 200
        fitted = analyses[2][kind]
        found.append({name: (posterior.mean[name], posterior.sd[name]) for name in fitted})
        for name, (value, error) in fitted.items():
            assert abs(posterior.mean[name] - value) < 0.5 * error, (kind, name)
            assert posterior.sd[name] == pytest.approx(error, rel=0.4), (kind, name)
    assert_alike(*found)

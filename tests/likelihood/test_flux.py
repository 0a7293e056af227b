"""The flux of a model during a measurement: temporal models as factors."""

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time

from villard.data import GTI
from villard.datasets import Datasets, SpectrumDataset
from villard.exceptions import ModelError
from villard.likelihood import bind
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling import Fit
from villard.modeling.models import (
    ExpDecayTemporalModel,
    Models,
    PowerLawSpectralModel,
    SkyModel,
)

DAYS = 6


def day(number: int | None) -> SpectrumDataset:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
    true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4, name="energy_true")
    geom = RegionGeom.create(None, axes=[axis])
    exposure = RegionNDMap.from_geom(RegionGeom.create(None, axes=[true]), unit="cm2 s")
    exposure.data = np.full(exposure.data.shape, 1e15)
    gti = None
    if number is not None:
        start = Time(55555 + number, format="mjd", scale="utc")
        gti = GTI.create([0] * u.d, [1] * u.d, reference_time=start)
    counts = RegionNDMap.from_geom(geom)
    return SpectrumDataset(counts=counts, exposure=exposure, gti=gti, name=f"day {number}")


def source(**kwargs: object) -> SkyModel:
    time = ExpDecayTemporalModel(t0="2 d", t_ref=55555 * u.d)
    time.t0.frozen = False
    model = SkyModel(
        PowerLawSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1"), name="flare", temporal_model=time
    )
    return model.copy(name="flare", **kwargs)


def test_prediction_is_the_flux_times_the_mean_of_the_temporal_model():
    dataset, model = day(1), source()
    dataset.models = Models([model])
    steady = day(1)
    steady.models = Models([SkyModel(model.spectral_model.copy(), name="steady")])
    # exp(-t / 2 d) over the second day
    factor = 2 * (np.exp(-0.5) - np.exp(-1))
    np.testing.assert_allclose(dataset.npred().data, factor * steady.npred().data, rtol=1e-9)


def test_parameters_of_time_are_fitted_with_those_of_the_spectrum():
    datasets = Datasets([day(i) for i in range(DAYS)])
    datasets.models = Models([source()])
    for dataset in datasets:
        dataset.counts = dataset.npred()
    model = datasets.models["flare"]
    model.temporal_model.t0.value, model.spectral_model.index.value = 3, 2.4
    result = Fit().run(datasets)
    assert result.success
    assert model.temporal_model.t0.value == pytest.approx(2, rel=1e-5)
    assert model.spectral_model.index.value == pytest.approx(2, rel=1e-5)
    assert model.temporal_model.t0.error > 0


def test_gradient_by_a_parameter_of_time():
    datasets = Datasets([day(i) for i in range(3)])
    datasets.models = Models([source()])
    for dataset in datasets:
        dataset.counts.data += 5
    likelihood = bind(datasets)
    theta, step = likelihood.theta * 1.1, 1e-5
    gradient = likelihood.value_and_gradient(theta)[1]
    for i, direction in enumerate(np.eye(len(theta)) * step):
        numerical = (likelihood.stat(theta + direction) - likelihood.stat(theta - direction)) / (2 * step)
        assert gradient[i] == pytest.approx(numerical, rel=1e-6)


def test_temporal_models_need_good_time_intervals():
    dataset = day(None)
    dataset.models = Models([source()])
    with pytest.raises(ModelError, match="good time intervals"):
        dataset.npred()

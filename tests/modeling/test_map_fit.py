"""MapFit: the same numbers as dataset and Fit, profiles and contours that mean what they say."""

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from villard.data.make_cube import make_cube
from villard.exceptions import DataError, FitSetupError, ParameterError
from villard.modeling import Fit, MapFit
from villard.modeling.models import (
    FoVBackgroundModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)


def source(name: str = "source", **kwargs: Any) -> SkyModel:
    spatial = PointSpatialModel(lon_0="0.1 deg", lat_0="0.05 deg", frame="galactic")
    return SkyModel(
        PowerLawSpectralModel(index=2.3, amplitude="2e-11 cm-2 s-1 TeV-1"), spatial, name=name, **kwargs
    )


@pytest.fixture(scope="module")
def dataset() -> Any:
    return make_cube(source("truth"), name="map-fit", width=1.2, n_energies=4, random_state=5)


def make_fit(dataset: Any, model: Any = None, **kwargs: Any) -> MapFit:
    options = {"background_model": FoVBackgroundModel(dataset_name="map-fit"), **kwargs}
    return MapFit(
        model=source() if model is None else model,
        counts=dataset.counts,
        exposure=dataset.exposure,
        background=dataset.background,
        psf=dataset.psf,
        edisp=dataset.edisp,
        **options,
    )


@pytest.fixture(scope="module")
def fitted(dataset: Any) -> MapFit:
    fit = make_fit(dataset)
    assert fit.run().success
    return fit


def index_and_amplitude(fit: MapFit) -> tuple[Any, Any]:
    spectrum = fit.models["source"].spectral_model
    return spectrum.index, spectrum.amplitude


def test_it_is_dataset_and_fit(dataset: Any, fitted: MapFit) -> None:
    copy = dataset.copy(name="map-fit")
    copy.models = [source(), FoVBackgroundModel(dataset_name="map-fit")]
    result = Fit().run(copy)
    assert_allclose(fitted.total_stat(), result.total_stat, rtol=1e-7)
    assert_allclose(fitted.parameters.value, copy.models.parameters.value, rtol=1e-6)
    for parameter, other in zip(fitted.parameters, copy.models.parameters, strict=True):
        assert_allclose(parameter.error, other.error, rtol=1e-5)
    assert fitted.optimize().total_stat == pytest.approx(result.total_stat)
    assert fitted.covariance().quality == 3
    alpha = fitted.confidence("index")
    assert alpha["success"]
    assert_allclose(alpha["errp"], fitted.models["source"].spectral_model.index.error, rtol=0.1)
    assert "map-fit" in repr(fitted)


def test_models_of_the_caller_are_fitted(dataset: Any) -> None:
    model = source()
    fit = make_fit(dataset, model)
    fit.run()
    assert model.spectral_model.index.error > 0


def test_statistic(dataset: Any, fitted: MapFit) -> None:
    assert fitted.stat.shape == dataset.counts.data.shape
    assert_allclose(fitted.stat.sum(), fitted.total_stat(), rtol=1e-12)
    before = fitted.parameters.value.copy()
    moved = fitted.models.copy()
    moved["source"].spectral_model.index.value += 0.3
    moved["source"].spectral_model.amplitude.quantity = "1.5e-8 m-2 s-1 GeV-1"
    expected = make_fit(dataset, moved["source"], background_model=moved["map-fit-bkg"]).total_stat()
    assert_allclose(fitted.total_stat(moved.parameters.unique_parameters), expected, rtol=1e-12)
    assert_array_equal(fitted.parameters.value, before)
    with pytest.raises(ParameterError, match="expected the parameters index, amplitude"):
        fitted.total_stat(moved.parameters[:2])


def test_mask_limits_the_sum_only(dataset: Any) -> None:
    mask = dataset.counts.geom.energy_mask(2 * u.TeV)
    fit = make_fit(dataset, mask=mask)
    assert fit.stat.shape == dataset.counts.data.shape
    assert_allclose(fit.total_stat(), fit.stat[mask.data].sum(), rtol=1e-12)


def test_profiles(fitted: MapFit) -> None:
    index, _ = index_and_amplitude(fitted)
    before = index.scan_values
    fixed = fitted.likelihood_profile(index, bounds=2, nvalues=11)
    refitted = fitted.minos_profile(index, bounds=2, nvalues=11)
    for profile in (fixed, refitted):
        assert len(profile["values"]) == len(profile["likelihood"]) == 11
        assert_allclose(profile["values"][[0, -1]], index.value + np.array([-2, 2]) * index.error)
        assert_allclose(profile["likelihood"][5], fitted.total_stat(), rtol=1e-9)
    # Two errors are a rise of 4 where the others are refitted, and of more where they are fixed.
    rise = refitted["likelihood"] - refitted["likelihood"].min()
    assert_allclose(rise[[0, -1]], 4, rtol=0.15)
    assert np.all(fixed["likelihood"][[0, -1]] > refitted["likelihood"][[0, -1]])
    assert_array_equal(index.scan_values, before)


def test_ranges_of_profiles(fitted: MapFit) -> None:
    _, amplitude = index_and_amplitude(fitted)
    profile = fitted.likelihood_profile(amplitude, bounds=(1e-11, 3e-11), nvalues=3)
    assert_allclose(profile["values"], [1e-11, 2e-11, 3e-11])
    values = [1e-7, 2e-7] * u.Unit("m-2 s-1 TeV-1")
    assert_allclose(fitted.minos_profile("amplitude", values=values)["values"], [1e-11, 2e-11])


def test_contours(fitted: MapFit) -> None:
    pair = index_and_amplitude(fitted)
    best = fitted.total_stat()
    fixed = fitted.likelihood_contour(*pair, numpoints=8)
    refitted = fitted.minos_contour(*pair, numpoints=8)
    for contour in (fixed, refitted):
        assert contour["success"], contour["message"]
        assert len(contour["x"]) == len(contour["y"]) == 9
        assert contour["x"][0] == contour["x"][-1]
    # The slice lies on the likelihood itself, and inside of the refitted contour.
    moved = fitted.models.copy()
    for x, y in zip(fixed["x"], fixed["y"], strict=True):
        moved["source"].spectral_model.index.value = x
        moved["source"].spectral_model.amplitude.value = y
        assert_allclose(fitted.total_stat(moved.parameters.unique_parameters) - best, 1, rtol=1e-3)
    assert np.ptp(fixed["x"]) < np.ptp(refitted["x"]) * (1 + 1e-3)
    assert_allclose(np.ptp(refitted["x"]) / 2, pair[0].error, rtol=0.15)


def test_positions_have_contours(fitted: MapFit) -> None:
    shape = fitted.models["source"].spatial_model
    contour = fitted.minos_contour(shape.lon_0, shape.lat_0, numpoints=6)
    assert contour["success"]
    assert_allclose(np.ptp(contour["x"]) / 2, shape.lon_0.error, rtol=0.3)


def test_wrong_input(dataset: Any, fitted: MapFit) -> None:
    with pytest.raises(FitSetupError, match="no model to fit"):
        MapFit(model=None, counts=dataset.counts, exposure=dataset.exposure)
    with pytest.raises(FitSetupError, match="meant for the datasets"):
        make_fit(dataset, source(datasets_names="other"))
    without = MapFit(model=source(), counts=dataset.counts, exposure=None)
    with pytest.raises(DataError, match="exposure"):
        without.run()
    with pytest.raises(ParameterError, match="is not one of the models"):
        fitted.likelihood_profile(source().spectral_model.index)
    with pytest.raises(ParameterError, match="has no error yet"):
        make_fit(dataset).likelihood_profile("index")
    with pytest.raises(FitSetupError, match="No backend"):
        make_fit(dataset, backend="newtno")


def test_settings_reach_the_fit(dataset: Any) -> None:
    fit = make_fit(dataset, backend="minuit", store_trace=True)
    result = fit.run()
    assert result.backend == "minuit"
    assert len(result.trace) == result.nfev
    assert isinstance(fit.models, Models)

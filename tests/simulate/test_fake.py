"""Asimov and random data: what is expected, and that nothing else changes."""

import numpy as np
import pytest

from villard.datasets import Datasets
from villard.exceptions import DataError
from villard.modeling import Fit
from villard.simulate import asimov, fake


def test_asimov_counts_are_the_prediction(make):
    dataset = make.onoff()
    dataset.counts_off.data *= 1.2
    signal, background = dataset.npred_signal().data, dataset.npred_background().data
    copy = asimov(dataset)
    np.testing.assert_allclose(copy.counts.data, signal + background, rtol=1e-12)
    np.testing.assert_allclose(copy.counts_off.data, background / dataset.alpha.data, rtol=1e-12)
    assert copy.name == dataset.name


def test_asimov_with_known_background(make):
    dataset = make.known_background()
    np.testing.assert_allclose(asimov(dataset).counts.data, dataset.npred().data, rtol=1e-12)


def test_asimov_background_can_be_given(make):
    dataset = make.onoff()
    background = dataset.counts.copy(data=np.full(dataset.data_shape, 3.0))
    for given in (background, {"toy": background}, background.data):
        copy = asimov(dataset, npred_background=given)
        np.testing.assert_allclose(copy.counts_off.data, 30.0)
        np.testing.assert_allclose(copy.counts.data, dataset.npred_signal().data + 3.0)


def test_asimov_needs_no_counts(make):
    dataset = make.onoff()
    off = dataset.counts_off.data.copy()
    dataset.counts = None
    copy = asimov(dataset)
    np.testing.assert_allclose(copy.counts_off.data, off)
    assert dataset.counts is None


def test_fit_of_asimov_data_finds_the_truth(make):
    copy = asimov(make.onoff())
    truth = make.log_parabola().parameters
    copy.models[0].spectral_model.alpha.value = 2.0
    result = Fit().run(copy)
    for name in ("amplitude", "alpha", "beta"):
        assert result.parameters[name].value == pytest.approx(truth[name].value, rel=1e-4)
    assert result.total_stat == pytest.approx(0, abs=1e-6)


def test_models_are_copied_with_their_links(make):
    datasets = Datasets([make.onoff(name="a"), make.onoff(name="b")])
    models = [make.power_law("one"), make.power_law("two", index=2.0)]
    models[1].spectral_model.index = models[0].spectral_model.index
    datasets.models = models
    copies = asimov(datasets)
    assert isinstance(copies, Datasets)
    assert copies.names == ["a", "b"]
    one, two = copies.models
    assert one is not models[0]
    assert one.spectral_model.index is two.spectral_model.index
    assert copies["a"].models[0] is copies["b"].models[0]


def test_fake_is_reproducible_and_leaves_the_original(make):
    dataset = make.onoff()
    before = dataset.counts.data.copy()
    first, second, other = (fake(dataset, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.counts.data, second.counts.data)
    assert np.any(first.counts.data != other.counts.data)
    np.testing.assert_array_equal(dataset.counts.data, before)
    assert np.all(first.counts.data == np.round(first.counts.data))


def test_fake_draws_what_the_dataset_itself_draws(make):
    dataset = make.known_background()
    copy = fake(dataset, random_state=3)
    dataset.fake(random_state=3)
    np.testing.assert_array_equal(copy.counts.data, dataset.counts.data)


@pytest.mark.parametrize("stat_type", ["chi2", "distrib", "censored"])
def test_flux_points(make, stat_type):
    dataset = make.flux_points(stat_type=stat_type)
    dataset.models[0].spectral_model.index.value = 2.1
    copy = asimov(dataset)
    np.testing.assert_allclose(copy.data.dnde.quantity.value.ravel(), dataset.flux_pred().value.ravel())
    assert copy.stat_sum() == pytest.approx(0, abs=1e-20)
    assert fake(dataset, random_state=1).stat_sum() < 50


def test_upper_limits_are_refused(make):
    from villard.datasets import FluxPointsDataset
    from villard.estimators import FluxPoints

    points = make.flux_points()
    table = points.data.to_table(sed_type="dnde")
    table["is_ul"] = np.arange(len(table)) == 3
    table["dnde_ul"] = table["dnde"]
    limited = FluxPointsDataset(
        points.models, FluxPoints.from_table(table, sed_type="dnde"), name="limits", stat_type="distrib"
    )
    with pytest.raises(DataError, match=r"'limits': 1 flux points are upper limits.*mask_fit"):
        asimov(limited)
    limited.mask_fit = np.arange(len(table)) != 3
    assert asimov(limited).stat_sum() == pytest.approx(0, abs=1e-20)


def test_negative_expectation_names_the_bins(make):
    dataset = make.known_background()
    dataset.models[0].spectral_model.amplitude.value = -1e-9
    with pytest.raises(DataError, match=r"'toy': expected counts must be finite and not negative"):
        asimov(dataset)


def test_models_are_needed(make):
    dataset = make.onoff()
    dataset.models = None
    with pytest.raises(DataError, match="'toy': set models"):
        asimov(dataset)
    with pytest.raises(DataError, match="no datasets"):
        asimov([])


def test_background_of_an_unknown_dataset(make):
    with pytest.raises(DataError, match="no dataset 'run-1', the datasets are toy"):
        asimov(make.onoff(), npred_background={"run-1": np.ones(12)})
    with pytest.raises(DataError, match="must have 12 bins, found 3"):
        asimov(make.onoff(), npred_background=np.ones(3))
    with pytest.raises(DataError, match="for datasets with an off region"):
        asimov(make.known_background(), npred_background=np.ones(12))

"""Likelihood ratios of nested models: Wilks' theorem, and where it doesn't hold."""

import numpy as np
import pytest
from scipy import stats

from villard.datasets import Datasets
from villard.exceptions import DataError, FitError
from villard.modeling.models import PowerLawSpectralModel, SkyModel
from villard.simulate import simulate_nested_toys

N_TOYS = 2000


@pytest.mark.parametrize("hours", [500, 5])
def test_likelihood_ratio_follows_chi2(make, hours):
    """No curvature, fitted with and without: χ² of one degree of freedom."""
    dataset = make.onoff(hours=hours)
    beta = dataset.models.parameters["beta"]
    result = simulate_nested_toys(dataset, [beta], [0.0], N_TOYS, random_state=1)
    assert result.success.all()
    assert result.n_dof == 1
    assert result.ks_test()[1] > 0.005
    assert abs(result.ts.mean() - 1) < 3.5 * np.sqrt(2 / N_TOYS)
    for level in (0.3173, 0.0455):
        rate = np.mean(result.ts > stats.chi2(1).isf(level))
        assert abs(rate - level) < 3.5 * np.sqrt(level * (1 - level) / N_TOYS)
    assert result.ts.min() > -1e-6
    assert (beta.value, beta.frozen) == (0.15, False)


def test_two_parameters_give_two_degrees_of_freedom(make):
    dataset = make.onoff(hours=500)
    parameters = dataset.models.parameters
    result = simulate_nested_toys(
        dataset, [parameters["beta"], parameters["alpha"]], [0.0, 2.5], N_TOYS, random_state=2
    )
    assert result.n_dof == 2
    assert result.null.names == ["crab.spectral.amplitude"]
    assert result.ks_test()[1] > 0.005
    table = result.alternative.summary()
    np.testing.assert_allclose(table["truth"][1:], [2.5, 0.0])
    assert np.all(np.abs(table["pull_mean"]) < 3.5 * table["pull_mean_err"])


def test_a_flux_that_cannot_be_negative(make):
    """At the limit half of the test statistics are 0, the others χ² (Chernoff 1954)."""
    extra = SkyModel(
        PowerLawSpectralModel(index=1.8, reference="10 TeV", amplitude="1e-13 TeV-1 cm-2 s-1"), name="extra"
    )
    extra.spectral_model.index.frozen = True
    amplitude = extra.spectral_model.amplitude
    amplitude.min = 0
    dataset = make.onoff(hours=100, models=[make.power_law(), extra])
    result = simulate_nested_toys(dataset, [amplitude], [0.0], N_TOYS, random_state=3)
    assert result.success.mean() > 0.99
    zeros = np.mean(result.ts < 1e-3)
    assert abs(zeros - 0.5) < 0.05
    positive = result.ts[result.ts >= 1e-3]
    assert stats.kstest(positive, stats.chi2(1).cdf).pvalue > 0.001
    assert result.p_value(2.71) == pytest.approx(0.05, abs=0.02)
    assert result.p_value_chi2(2.71) == pytest.approx(0.1, abs=0.001)


def test_null_hypothesis_without_free_parameter(make):
    """Is there a source at all? Only its flux is free."""
    model = make.power_law()
    model.spectral_model.index.frozen = True
    dataset = make.known_background(hours=100, models=model)
    result = simulate_nested_toys(dataset, [model.spectral_model.amplitude], [0.0], N_TOYS, random_state=4)
    assert result.null.names == []
    assert result.success.all()
    assert result.ks_test()[1] > 0.005


def test_text_and_p_values(make):
    dataset = make.onoff(hours=50)
    result = simulate_nested_toys(dataset, [dataset.models.parameters["beta"]], [0.0], 300, random_state=1)
    assert "more free  : crab.spectral.beta" in str(result)
    assert result.p_value(1e9) == pytest.approx(1 / 301)
    assert result.p_value(0.0) > 0.95


def test_several_datasets(make):
    datasets = Datasets([make.onoff(hours=50, name="a"), make.known_background(hours=50, name="b")])
    datasets.models = [make.log_parabola()]
    result = simulate_nested_toys(datasets, [datasets.models.parameters["beta"]], 0.0, 500, random_state=1)
    assert result.ks_test()[1] > 0.005


def test_bad_requests(make):
    dataset = make.onoff()
    parameters = dataset.models.parameters
    with pytest.raises(DataError, match="null value of each of"):
        simulate_nested_toys(dataset, [parameters["beta"]], [0.0, 1.0])
    dataset.mask_fit = dataset.counts.copy(data=np.zeros(dataset.data_shape, dtype=bool))
    with pytest.raises(FitError, match="fit range is empty"):
        simulate_nested_toys(dataset, [parameters["beta"]], [0.0], 5)

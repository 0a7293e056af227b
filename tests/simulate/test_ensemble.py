"""Statistics of many fits: pulls, errors, coverage, goodness of fit."""

import numpy as np
import pytest
from scipy import stats

from villard.datasets import Datasets
from villard.exceptions import DataError, FitError, ParameterError
from villard.modeling import Fit
from villard.simulate import asimov, fake, simulate_toys

N_TOYS = 2000


@pytest.fixture(scope="module")
def bright(make):
    """About 100,000 counts: errors are Gaussian there."""
    return simulate_toys(make.onoff(hours=500), N_TOYS, random_state=1)


@pytest.fixture(scope="module")
def faint(make):
    """About 290 counts in 40 bins, of which 16 expect less than one; 160 of them are background."""
    return simulate_toys(make.onoff(hours=0.5, nbin=40), N_TOYS, random_state=2)


def n_sigma(value, error):
    return np.abs(value) / error


def test_all_converge(bright, faint):
    assert bright.success.all()
    assert faint.success.mean() > 0.995
    assert bright.nfev.mean() < 10


def test_pulls_of_many_counts_are_unit_gaussians(bright):
    """2,000 toys: mean 0 ± 0.022 and width 1 ± 0.016; 3.5 sigma for six numbers."""
    table = bright.summary()
    assert np.all(table["n_pulls"] == N_TOYS)
    assert np.all(n_sigma(table["pull_mean"], table["pull_mean_err"]) < 3.5)
    assert np.all(n_sigma(table["pull_width"] - 1, table["pull_width_err"]) < 3.5)
    for column in bright.pulls().T:
        assert stats.kstest(column, "norm").pvalue > 0.005


def test_spread_is_the_mean_error(bright):
    table = bright.summary()
    np.testing.assert_allclose(table["spread"], table["mean_error"], rtol=0.06)


def test_correlations_are_those_of_the_covariance(bright):
    sample = np.corrcoef(bright.values.T)
    mean = bright.covariance.mean(axis=0)
    errors = np.sqrt(np.diag(mean))
    np.testing.assert_allclose(mean / np.outer(errors, errors), sample, atol=4 / np.sqrt(N_TOYS))


@pytest.mark.parametrize("method", ["likelihood", "wald"])
def test_intervals_of_many_counts_cover(bright, method):
    """68 % and 95 % intervals, of each parameter and of all; 3.5 binomial sigma."""
    table = bright.coverage(method=method)
    assert len(table) == (8 if method == "likelihood" else 6)
    assert np.all(table["n"] == N_TOYS)
    assert np.all(n_sigma(table["coverage"] - table["level"], table["error"]) < 3.5)


def test_intervals_of_few_counts_are_too_short(faint):
    """Many bins with an off count or none: wstat then claims more than it knows, by a few per cent."""
    table = faint.coverage(0.6827)
    assert np.all((table["coverage"] > 0.60) & (table["coverage"] < 0.70))
    assert table["coverage"][-1] < 0.6827 - 3.5 * table["error"][-1]


def test_few_counts_bias_the_curvature(faint):
    """A maximum-likelihood estimate is biased by order 1/n: that is seen, not hidden."""
    pulls = faint.summary()
    mean, error = faint.values.mean(axis=0) - faint.truth, faint.values.std(axis=0) / np.sqrt(N_TOYS)
    assert n_sigma(mean, error).max() > 3.5
    assert np.all(np.abs(pulls["pull_mean"]) < 0.3)


def test_statistic_at_the_truth_follows_chi2(bright):
    assert stats.kstest(bright.ts_truth(), stats.chi2(3).cdf).pvalue > 0.005
    assert stats.kstest(bright.ts_truth("alpha"), stats.chi2(1).cdf).pvalue > 0.005
    assert bright.ts_truth().min() >= -1e-6


def test_minimum_follows_chi2(bright):
    """-2 ln L at the minimum: χ² of as many degrees of freedom as bins less parameters."""
    assert stats.kstest(bright.stat, stats.chi2(12 - 3).cdf).pvalue > 0.005


@pytest.mark.parametrize("stat_type", ["cash", "cstat"])
def test_known_background(make, stat_type):
    toys = simulate_toys(make.known_background(hours=500, stat_type=stat_type), N_TOYS, random_state=3)
    table = toys.summary()
    assert np.all(n_sigma(table["pull_mean"], table["pull_mean_err"]) < 3.5)
    assert np.all(n_sigma(table["pull_width"] - 1, table["pull_width_err"]) < 3.5)


@pytest.mark.parametrize(("stat_type", "asymmetry"), [("chi2", 1.0), ("distrib", 1.5)])
def test_flux_points(make, stat_type, asymmetry):
    toys = simulate_toys(
        make.flux_points(error=0.02, stat_type=stat_type, asymmetry=asymmetry), N_TOYS, random_state=4
    )
    assert stats.kstest(toys.stat, stats.chi2(13).cdf).pvalue > 0.005
    if asymmetry == 1.0:
        assert np.all(n_sigma(toys.summary()["pull_width"] - 1, toys.summary()["pull_width_err"]) < 3.5)


def test_joint_toys_of_several_datasets(make):
    model = make.log_parabola()
    datasets = Datasets([make.onoff(hours=100, name="a"), make.known_background(hours=100, name="b", nbin=8)])
    datasets.models = [model]
    toys = simulate_toys(datasets, 500, random_state=5)
    single = simulate_toys(datasets["a"], 500, random_state=5)
    assert toys.success.all()
    assert np.all(toys.summary()["mean_error"] < single.summary()["mean_error"])
    assert np.all(n_sigma(toys.summary()["pull_mean"], toys.summary()["pull_mean_err"]) < 4)


def test_toys_are_what_single_fits_give(make):
    dataset = make.onoff()
    toys = simulate_toys(dataset, 3, random_state=7)
    draws = toys._toys.draws[0]
    for row in range(3):
        copy = asimov(dataset)
        copy.counts.data[...] = draws["counts"][row].reshape(-1, 1, 1)
        copy.counts_off.data[...] = draws["counts_off"][row].reshape(-1, 1, 1)
        result = Fit().run(copy)
        free = result.parameters.free_parameters
        assert result.total_stat == pytest.approx(toys.stat[row], abs=1e-6)
        np.testing.assert_allclose(toys.values[row], free.value, rtol=1e-4)
        np.testing.assert_allclose(toys.errors[row], [p.error for p in free], rtol=1e-3)


def test_seeds_and_sizes(make):
    dataset = make.onoff()
    first, again = (simulate_toys(dataset, 40, random_state=1).values for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert simulate_toys(dataset, 1).values.shape == (1, 3)
    with pytest.raises(DataError, match="n_toys must be at least 1, found 0"):
        simulate_toys(dataset, 0)


def test_nothing_is_left_behind(make):
    dataset = make.onoff()
    before = dataset.models[0].parameters.value, dataset.counts.data.copy()
    simulate_toys(dataset, 5)
    np.testing.assert_array_equal(dataset.models[0].parameters.value, before[0])
    np.testing.assert_array_equal(dataset.counts.data, before[1])


def test_masked_bins_do_not_count(make):
    dataset = make.onoff(hours=100)
    dataset.mask_fit = dataset.counts.copy(data=np.arange(12).reshape(-1, 1, 1) < 6)
    toys = simulate_toys(dataset, 200, random_state=1)
    assert toys.goodness_of_fit(10.0).n_dof == 3
    assert toys.stat.mean() == pytest.approx(3, abs=5 * np.sqrt(6 / 200))


def test_parameters_at_a_limit_have_no_error(make):
    dataset = make.onoff(hours=0.5)
    dataset.models[0].spectral_model.beta.min = 0.14
    toys = simulate_toys(dataset, 300, random_state=1)
    assert 0.2 < toys.at_limit[:, 2].mean() < 0.8
    assert np.all(np.isnan(toys.errors[toys.at_limit]))
    assert np.all(np.isfinite(toys.errors[~toys.at_limit & toys.success[:, None]]))
    assert np.all(toys.values[:, 2] >= 0.14)
    assert int(toys.coverage(method="wald")["n"][4]) == np.sum(~toys.at_limit[:, 2])


def test_goodness_of_fit_of_good_and_bad_data(make):
    dataset = fake(make.onoff(hours=50), random_state=11)
    result = Fit().run(dataset)
    toys = simulate_toys(dataset, 500, random_state=1)
    good = toys.goodness_of_fit()
    assert good.observed == pytest.approx(result.total_stat, abs=1e-6)
    assert good.p_value > 0.01
    assert good.p_value == pytest.approx(good.p_value_chi2, abs=0.07)
    assert toys.goodness_of_fit(result.total_stat + 100).p_value == pytest.approx(1 / 501)
    assert "p-value" in str(good)


def test_goodness_of_fit_by_cash_is_that_by_cstat(make):
    """The Cash statistic of random data varies with the counts, not with how well they fit."""
    results = {}
    for stat_type in ("cash", "cstat"):
        dataset = fake(make.known_background(hours=20, stat_type=stat_type), random_state=5)
        Fit().run(dataset)
        results[stat_type] = simulate_toys(dataset, 300, random_state=1).goodness_of_fit()
    assert results["cash"].observed == pytest.approx(results["cstat"].observed, abs=1e-5)
    np.testing.assert_allclose(results["cash"].stats, results["cstat"].stats, atol=1e-5)


def test_other_models_on_the_same_data(make):
    toys = simulate_toys(make.onoff(hours=50), 300, random_state=1)
    other = toys.refit(make.power_law())
    assert other.names == ["crab.spectral.index", "crab.spectral.amplitude"]
    ts = other.stat - toys.stat
    assert ts.min() >= -1e-6
    assert ts.mean() > 10


def test_table_and_text(make):
    toys = simulate_toys(make.onoff(), 50, random_state=1)
    table = toys.to_table()
    assert len(table) == 50
    assert str(table["crab.spectral.amplitude"].unit) == "1 / (TeV s cm2)"
    np.testing.assert_array_equal(table["crab.spectral.alpha_err"], toys.errors[:, 1])
    text = str(toys)
    assert "ToyEnsemble" in text
    assert "crab.spectral.beta" in text


def test_wrong_questions(make):
    toys = simulate_toys(make.onoff(), 5, random_state=1)
    with pytest.raises(ParameterError, match="no free parameter 'gamma'"):
        toys.ts_truth("gamma")
    with pytest.raises(DataError, match="'likelihood' or 'wald', found 'bayes'"):
        toys.coverage(method="bayes")
    with pytest.raises(DataError, match="between 0 and 1, found 68"):
        toys.coverage(68)


def test_nothing_to_fit(make):
    dataset = make.onoff()
    dataset.models.freeze()
    with pytest.raises(FitError, match="No free parameter"):
        simulate_toys(dataset, 5)


def test_the_second_ensemble_compiles_nothing(make):
    import jax

    simulate_toys(make.onoff(), 40, random_state=1).coverage()
    traced = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, _, **__: traced.append(name))
    try:
        simulate_toys(make.onoff(hours=7), 40, random_state=2).coverage()
    finally:
        jax.monitoring.clear_event_listeners()
    assert not [name for name in traced if "compile" in name]

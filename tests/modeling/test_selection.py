"""Nested models and information criteria."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from villard.datasets import Datasets, SpectrumDatasetOnOff
from villard.exceptions import FitError, ParameterError
from villard.modeling import Fit, NestedModelSelection, Parameter, compare_models, select_nested_models
from villard.modeling.models import LogParabolaSpectralModel, Models, PowerLawSpectralModel, SkyModel
from villard.simulate import asimov

_path = Path(__file__).parents[1] / "simulate" / "conftest.py"
_spec = importlib.util.spec_from_file_location("simulated_datasets", _path)
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


@pytest.fixture
def dataset():
    """Asimov data of a curved spectrum."""
    return asimov(make.onoff(hours=20))


@pytest.fixture
def hess(gammapy_data):
    dataset = SpectrumDatasetOnOff.read(gammapy_data / "joint-crab/spectra/hess/pha_obs23523.fits")
    model = LogParabolaSpectralModel(amplitude="3.5e-11 cm-2 s-1 TeV-1", alpha=2.2, beta=0.2)
    dataset.models = SkyModel(model, name="crab")
    return dataset


def state(models):
    return [(p.value, p.error, p.frozen) for p in models.parameters]


def test_test_statistics_of_real_data(hess):
    """Gammapy 2.1 finds 1.17377 and 354.38297 for this run, to the tolerance of its fits."""
    parameters = hess.models.parameters
    assert NestedModelSelection([parameters["beta"]], [0]).ts(hess) == pytest.approx(1.17377, abs=2e-5)
    flux = NestedModelSelection([parameters["amplitude"]], [0])
    assert flux.ts([hess]) == pytest.approx(354.38297, abs=1e-4)
    # With its parameters fixed, Gammapy's 354.38295 and, of Asimov data, 372.067.
    assert flux.ts_known_bkg(hess) == pytest.approx(354.38297, abs=1e-4)
    assert flux.ts_asimov(hess) == pytest.approx(372.07, rel=1e-3)


def test_null_hypothesis_is_kept_if_it_does_as_well(hess):
    beta = hess.models.parameters["beta"]
    result = select_nested_models(Datasets([hess]), [beta], [0])
    assert result["success"]
    assert result["significance"] == pytest.approx(np.sqrt(result["ts"]), rel=1e-6)
    assert (beta.value, beta.error, beta.frozen) == (0, 0, True)
    null = result["fit_results_null"]
    assert hess.models.parameters["amplitude"].value == null.parameters["amplitude"].value
    assert hess.models.parameters["amplitude"].error == null.parameters["amplitude"].error > 0
    assert hess.stat_sum() == pytest.approx(null.total_stat, rel=1e-10)
    assert "null hypothesis is preferred" in result["message"]


def test_alternative_is_kept_if_it_does_better(dataset):
    beta = dataset.models.parameters["beta"]
    beta.value, beta.frozen = 0, True
    result = select_nested_models(dataset, [beta], [0], n_sigma=2)
    assert result["significance"] > 2
    assert beta.value == pytest.approx(0.15, rel=1e-3)
    assert not beta.frozen
    assert dataset.stat_sum() == pytest.approx(result["fit_results"].total_stat, abs=1e-8)
    correlation = dataset.models.covariance.correlation
    assert 0 < np.abs(correlation[0, 2]) < 1


def test_results_do_not_change_afterwards(dataset):
    beta = dataset.models.parameters["beta"]
    result = select_nested_models(dataset, [beta], [0])
    assert result["fit_results_null"].parameters["beta"].value == 0
    assert result["fit_results"].parameters["beta"].value == pytest.approx(0.15, rel=1e-3)
    assert not result["fit_results"].parameters["beta"].frozen


def test_degrees_of_freedom_set_the_threshold():
    beta = Parameter("beta", 0.1)
    assert NestedModelSelection([beta], [0]).ts_threshold == pytest.approx(4)
    two = NestedModelSelection([beta], [0], n_free_parameters=2)
    assert two.ts_threshold == pytest.approx(6.180074306244173)


def test_significance_of_several_degrees_of_freedom(dataset):
    parameters = dataset.models.parameters
    result = select_nested_models(dataset, [parameters["alpha"], parameters["beta"]], [2.3, 0.15])
    assert result["n_free_parameters"] == 2
    assert result["ts"] == pytest.approx(0, abs=1e-6)
    assert result["p_value"] == pytest.approx(1, abs=1e-5)


def test_statistics_leave_no_trace(dataset):
    beta = dataset.models.parameters["beta"]
    Fit().run(dataset)
    before = state(dataset.models)
    test = NestedModelSelection([beta], [0])
    for method in (test.ts, test.ts_known_bkg, test.ts_asimov):
        assert method(dataset) > 1
        assert state(dataset.models) == before


def test_known_parameters_make_a_larger_statistic(dataset):
    test = NestedModelSelection([dataset.models.parameters["beta"]], [0])
    assert test.ts_known_bkg(dataset) > test.ts(dataset)
    assert test.ts_known_bkg(dataset) == pytest.approx(test.ts_asimov(dataset), rel=1e-3)


def test_hypothesis_without_free_parameters(dataset):
    models = dataset.models
    amplitude = models.parameters["amplitude"]
    models.parameters["alpha"].frozen = models.parameters["beta"].frozen = True
    result = select_nested_models(dataset, [amplitude], [0])
    assert result["ts"] > 100
    assert result["fit_results_null"].total_stat > result["fit_results"].total_stat
    assert "No parameter is free" in result["fit_results_null"].message


def two_sources(second_index):
    models = [make.power_law("one", index=2.5), make.power_law("two", index=second_index)]
    models[1].spectral_model.amplitude.value = 3e-12
    dataset = asimov(make.onoff(hours=200, models=models))
    dataset.models["two"].spectral_model.amplitude.frozen = True
    return dataset


def test_linked_parameters_stay_linked_if_that_is_enough():
    dataset = two_sources(2.5)
    one, two = (m.spectral_model for m in dataset.models)
    two.index.value = 2.3
    result = select_nested_models(dataset, [two.index], [one.index])
    assert result["ts"] == pytest.approx(0, abs=1e-5)
    assert two.index is one.index
    assert len(dataset.models.parameters.free_parameters) == 2


def test_linked_parameters_are_parted_if_that_is_better():
    dataset = two_sources(1.5)
    one, two = (m.spectral_model for m in dataset.models)
    result = select_nested_models(dataset, [two.index], [one.index])
    assert result["ts"] > 20
    assert two.index is not one.index
    assert two.index.value == pytest.approx(1.5, abs=0.02)
    null = result["fit_results_null"].models
    assert null["one"].spectral_model.index is null["two"].spectral_model.index


def test_failed_fits_are_told_and_change_nothing(dataset):
    before = state(dataset.models)
    fit = Fit(optimize_opts={"max_iter": 1})
    dataset.models.parameters["alpha"].value = 2.0
    before = state(dataset.models)
    result = select_nested_models(dataset, [dataset.models.parameters["beta"]], [0], fit=fit)
    assert not result["success"]
    assert "failed: the models were left as they were" in result["message"]
    assert state(dataset.models) == before


def test_bad_requests(dataset):
    parameters = dataset.models.parameters
    with pytest.raises(ParameterError, match="'gamma' is not one of the models crab"):
        select_nested_models(dataset, [Parameter("gamma", 1)], [0])
    with pytest.raises(ParameterError, match=r"null value of each of the parameters \['beta'\], found 2"):
        select_nested_models(dataset, [parameters["beta"]], [0, 1])
    parameters["beta"].min = 0.05
    before = state(dataset.models)
    with pytest.raises(ParameterError, match="outside its limits"):
        select_nested_models(dataset, [parameters["beta"]], [0])
    assert state(dataset.models) == before
    dataset.models = None
    with pytest.raises(FitError, match="No models"):
        select_nested_models(dataset, [parameters["beta"]], [0.1])


def test_information_criteria(dataset):
    results = {"log parabola": Fit().run(dataset)}
    dataset.models = Models([make.power_law()])
    results["power law"] = Fit().run(dataset)
    table = compare_models(dataset, results)
    assert list(table["model"]) == ["log parabola", "power law"]
    best, other = table
    assert best["delta_aic"] == 0
    assert table.meta["n_data"] == 12
    assert best["aic"] == pytest.approx(best["stat"] + 6)
    assert best["aicc"] == pytest.approx(best["aic"] + 24 / 8)
    assert other["bic"] == pytest.approx(other["stat"] + 2 * np.log(12))
    assert sum(table["weight"]) == pytest.approx(1)
    assert other["weight"] / best["weight"] == pytest.approx(np.exp(-other["delta_aic"] / 2))


def test_only_good_fits_are_compared(dataset):
    with pytest.raises(FitError, match="no fits to compare"):
        compare_models(dataset, {})
    dataset.models.parameters["alpha"].value = 1.5
    bad = Fit(optimize_opts={"max_iter": 1}).run(dataset)
    with pytest.raises(FitError, match="failed: bad"):
        compare_models(dataset, {"bad": bad})


def test_power_law_of_a_cutoff(dataset):
    """A rate at its limit of 0 is where the null hypothesis lies; the statistic is never negative."""
    from villard.modeling.models import ExpCutoffPowerLawSpectralModel

    spectrum = ExpCutoffPowerLawSpectralModel(
        index=2.0, amplitude="3e-11 TeV-1 cm-2 s-1", reference="1 TeV", lambda_="0.02 TeV-1"
    )
    spectrum.lambda_.min = 0
    dataset.models = SkyModel(spectrum, name="crab")
    assert NestedModelSelection([spectrum.lambda_], [0]).ts(dataset) > 0
    dataset.models = SkyModel(PowerLawSpectralModel(), name="crab")
    flat = asimov(make.onoff(hours=20, models=make.power_law()))
    flat.models = SkyModel(spectrum, name="crab")
    assert NestedModelSelection([spectrum.lambda_], [0]).ts(flat) == pytest.approx(0, abs=1e-5)

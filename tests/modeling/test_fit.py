"""Fit: what it returns, what it leaves alone, and what it says when something is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_toys import AMPLITUDE, Toy, log_parabola, measurement, power_law
from numpy.testing import assert_allclose

from villard.exceptions import DataError, FitError, ModelError, VillardError
from villard.likelihood import Measurement, bind
from villard.modeling import Fit
from villard.modeling.models import GaussianPrior, PowerLawSpectralModel, SkyModel

SYNTHETIC = json.loads((Path(__file__).parents[1] / "reference" / "fits_1d.json").read_text())
BACKENDS = ["newton", "minuit", "scipy", "sherpa"]


@pytest.fixture(params=BACKENDS)
def backend(request: Any) -> str:
    if request.param == "sherpa":
        pytest.importorskip("sherpa", reason="needs the extra sherpa")
    return request.param


def toy(**kwargs: Any) -> Toy:
    return Toy(measurement(**kwargs), [log_parabola("crab", alpha=2.4)])


def values(models: Any) -> list[tuple[float, float, bool]]:
    return [(p.value, p.error, p.frozen) for p in models.parameters]


def test_values_and_errors_go_to_the_models(backend: str) -> None:
    dataset = toy()
    before = bind([dataset]).stat()
    result = Fit(backend=backend).run(dataset)
    assert result.success
    assert result.backend == backend
    assert result.total_stat < before
    for own, copied in zip(dataset.models.parameters, result.parameters, strict=True):
        assert own is not copied
        assert (own.value, own.error) == (copied.value, copied.error)
    amplitude, reference, alpha, beta = result.parameters
    assert reference.error == 0
    assert 0 < amplitude.error < AMPLITUDE
    assert 0 < alpha.error < 1
    assert 0 < beta.error < 1
    assert_allclose(result.total_stat, bind([dataset]).stat(), rtol=1e-12)
    assert_allclose(dataset.models.covariance.data, result.covariance.data)
    assert_allclose(result.covariance.data[2, 2], alpha.error**2)


def test_backends_agree(backend: str) -> None:
    reference, dataset = toy(), toy()
    expected = Fit().run(reference)
    result = Fit(backend=backend).run(dataset)
    assert_allclose(result.total_stat, expected.total_stat, atol=1e-3)
    for p, q in zip(result.parameters.free_parameters, expected.parameters.free_parameters, strict=True):
        assert abs(p.value - q.value) < 0.03 * q.error
        assert_allclose(p.error, q.error, rtol=0.05)
    assert result.covariance_result.quality == 3
    assert result.covariance_result.method == "exact hessian"


def test_trace_has_a_row_per_evaluation(backend: str) -> None:
    dataset = toy()
    start = bind([dataset]).stat()
    result = Fit(backend=backend, store_trace=True).run(dataset)
    trace = result.trace
    assert trace.colnames == ["total_stat", *(f"crab.spectral.{n}" for n in ("amplitude", "alpha", "beta"))]
    assert len(trace) == result.nfev
    assert_allclose(trace["total_stat"][0], start)
    assert_allclose(min(trace["total_stat"]), result.total_stat, atol=1e-3)
    assert_allclose(trace["crab.spectral.alpha"][0], 2.4)
    assert Fit(backend=backend).run(dataset).trace is None


def test_result_is_a_snapshot() -> None:
    dataset = toy()
    result = Fit().run(dataset)
    expected, covariance = values(result.models), result.covariance.data.copy()
    dataset.models["crab"].parameters["alpha"].value = 1.0
    dataset.models["crab"].parameters["beta"].frozen = True
    Fit().run(dataset)
    assert values(result.models) == expected
    assert_allclose(result.covariance.data, covariance)
    result.models["crab"].parameters["alpha"].value = 5.0
    assert dataset.models["crab"].parameters["alpha"].value != 5.0


def test_optimize_leaves_errors() -> None:
    dataset = toy()
    dataset.models["crab"].parameters["alpha"].error = 0.123
    result = Fit().optimize(dataset)
    assert result.success
    assert dataset.models["crab"].parameters["alpha"].error == 0.123
    assert dataset.models["crab"].parameters["alpha"].value != 2.4


def test_covariance_alone_is_that_of_run() -> None:
    first, second = toy(), toy()
    result = Fit().run(first)
    Fit().optimize(second)
    covariance = Fit().covariance(second)
    assert covariance.quality == 3
    assert covariance.names == [f"crab.spectral.{n}" for n in ("amplitude", "alpha", "beta")]
    assert_allclose(covariance.matrix, result.covariance_result.matrix)
    assert_allclose(second.models.covariance.data, first.models.covariance.data)


def test_covariance_is_twice_the_inverse_hessian() -> None:
    dataset = toy()
    result = Fit().run(dataset)
    likelihood = bind([dataset])
    expected = likelihood.matrix_to_values(2 * np.linalg.inv(likelihood.hessian()))
    assert_allclose(result.covariance_result.matrix, expected, rtol=1e-8)


def test_unit_of_a_parameter_is_kept() -> None:
    first, second = toy(), toy()
    amplitude = second.models["crab"].parameters["amplitude"]
    amplitude.quantity = amplitude.quantity.to("m-2 s-1 GeV-1")
    one, two = Fit().run(first), Fit().run(second)
    assert_allclose(two.total_stat, one.total_stat, rtol=1e-10)
    assert str(two.parameters["amplitude"].unit) == str(amplitude.unit)
    assert_allclose(
        two.parameters["amplitude"].quantity.to_value("cm-2 s-1 TeV-1"),
        one.parameters["amplitude"].value,
        rtol=1e-6,
    )
    assert_allclose(two.parameters["amplitude"].error, one.parameters["amplitude"].error * 10, rtol=1e-5)


def test_several_datasets_share_their_models() -> None:
    model = power_law("crab")
    datasets = [Toy(measurement("a"), [model]), Toy(measurement("b", "cash", n_bins=9, seed=4), [model])]
    result = Fit().run(datasets)
    alone = Fit().run(Toy(measurement("a"), [power_law("crab")]))
    assert len(result.models) == 1
    assert result.parameters["index"].error < alone.parameters["index"].error


def test_prior_narrows_the_error() -> None:
    free, tight = toy(), toy()
    tight.models["crab"].parameters["alpha"].prior = GaussianPrior(mu=2.2, sigma=0.01)
    wide, narrow = Fit().run(free), Fit().run(tight)
    assert narrow.parameters["alpha"].error < 0.01 < wide.parameters["alpha"].error
    assert_allclose(narrow.parameters["alpha"].value, 2.2, atol=0.02)


def test_second_fit_stays() -> None:
    dataset = toy()
    first, second = Fit().run(dataset), Fit().run(dataset)
    assert second.nfev <= 3
    assert_allclose(second.total_stat, first.total_stat, atol=1e-8)


# --- What ends badly -------------------------------------------------------------------------------

FAILING = {
    "newton": {"max_iter": 1},
    "minuit": {"migrad_opts": {"ncall": 2}},
    "scipy": {"method": "Nelder-Mead", "options": {"maxfev": 5}},
    "sherpa": {"method": "simplex", "maxfev": 5},
}


def test_failed_fit_leaves_parameters(backend: str) -> None:
    dataset = toy()
    dataset.models["crab"].parameters["alpha"].value = 4.0
    before = values(dataset.models)
    result = Fit(backend=backend, optimize_opts=FAILING[backend]).run(dataset)
    assert not result.success
    assert result.covariance_result is None
    assert result.message.endswith("Parameters were left as they were.")
    assert values(dataset.models) == values(result.models) == before
    assert "success" in str(result)


def test_failed_fit_is_kept_when_asked(backend: str) -> None:
    dataset = toy()
    dataset.models["crab"].parameters["alpha"].value = 4.0
    # The first step of all of them lowers the statistic, or stays.
    options = {**FAILING, "newton": {"max_iter": 3}}[backend]
    result = Fit(backend=backend, optimize_opts=options, keep_failed=True).run(dataset)
    assert not result.success
    assert "left as they were" not in result.message
    assert_allclose(bind([dataset]).stat(), result.total_stat, rtol=1e-9)
    assert result.covariance_result is not None


def test_limits_are_named(backend: str) -> None:
    dataset = toy()
    alpha = dataset.models["crab"].parameters["alpha"]
    alpha.min, alpha.max = 2.39, 5
    result = Fit(backend=backend).run(dataset)
    assert result.success
    assert result.optimize_result.at_limits == ["crab.spectral.alpha"]
    assert "At a limit: crab.spectral.alpha." in result.message
    assert_allclose(result.parameters["alpha"].value, 2.39, rtol=1e-3)
    assert result.parameters["alpha"].error == 0
    assert "At a limit and without error: crab.spectral.alpha" in result.covariance_result.message
    assert result.parameters["beta"].error > 0


def test_limits_hold_exactly() -> None:
    """Scaled parameters come back to the limit itself, not to a rounding error beyond it."""
    for limit in np.random.default_rng(0).uniform(2.39, 2.4, 20):
        dataset = toy()
        alpha = dataset.models["crab"].parameters["alpha"]
        alpha.value, alpha.min = 2.4, limit
        Fit().run(dataset)
        assert alpha.value == limit


def test_degenerate_covariance_is_flagged() -> None:
    models = [power_law("first"), power_law("second")]
    for model in models:
        model.spectral_model.index.frozen = True
    dataset = Toy(measurement(), models)
    result = Fit().run(dataset)
    assert result.covariance_result.quality == 2
    assert "forced" in result.covariance_result.message
    assert np.all(np.isfinite(result.covariance.data))
    for name in ("first", "second"):
        assert f"{name}.spectral.amplitude" in result.covariance_result.message


def bad_inputs() -> dict[str, Any]:
    frozen = power_law("crab")
    frozen.freeze()
    empty = replace(measurement("dark"), mask=np.zeros(12, dtype=bool))
    twins = [Toy(measurement("twin"), [power_law()]), Toy(measurement("twin", seed=1), [power_law("other")])]
    namesakes = [Toy(measurement("a"), [power_law()]), Toy(measurement("b"), [power_law()])]
    return {
        "nothing free": (Toy(measurement(), [frozen]), FitError, r"No free parameter.*'crab'"),
        "no models": (Toy(measurement("m")), FitError, r"No models.*'m'"),
        "empty models": (Toy(measurement("m"), []), FitError, r"No model contributes.*'m'"),
        "no datasets": ([], FitError, "no datasets"),
        "no dataset": (3, FitError, "Expected a dataset or several, found int"),
        "a model": ([power_law()], FitError, "found SkyModel among them"),
        "empty range": (Toy(empty, [power_law()]), FitError, "'dark': the fit range is empty"),
        "twins": (twins, DataError, "Two datasets are called 'twin'"),
        "namesakes": (namesakes, ModelError, "Two models are called 'pl'"),
        "elsewhere": (
            Toy(measurement("a"), [power_law("lost", datasets_names=["b"])]),
            ModelError,
            "'lost' contributes to no dataset",
        ),
    }


@pytest.mark.parametrize("case", bad_inputs())
@pytest.mark.parametrize("method", ["run", "optimize", "covariance"])
def test_bad_input(case: str, method: str) -> None:
    datasets, error, message = bad_inputs()[case]
    with pytest.raises(error, match=message) as info:
        getattr(Fit(), method)(datasets)
    assert isinstance(info.value, VillardError)


def test_start_that_is_not_finite(backend: str) -> None:
    dataset = toy()
    dataset.models["crab"].parameters["alpha"].value = 1e6
    with pytest.raises(FitError, match=r"not finite at the start values.*alpha=1e\+06"):
        Fit(backend=backend).run(dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "minui"}, "No backend 'minui'. Did you mean 'minuit'"),
        ({"optimize_opts": {"max_itre": 3}}, "'newton' has no option 'max_itre'. Did you mean 'max_iter'"),
        (
            {"backend": "minuit", "optimize_opts": {"strateg": 1}},
            "'minuit' has no option 'strateg'. Did you mean 'strategy'",
        ),
        (
            {"backend": "minuit", "optimize_opts": {"migrad_opts": {"ncalls": 3}}},
            "'minuit', migrad_opts: .*'ncalls'",
        ),
        ({"backend": "minuit", "optimize_opts": {"strategy": 7}}, "strategy: expected 0, 1 or 2, found 7"),
        ({"covariance_opts": {"bakend": "minuit"}}, "covariance_opts: no option 'bakend'"),
    ],
)
def test_bad_options(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        Fit(**arguments).run(toy())


def test_backend_can_be_changed() -> None:
    fit = Fit()
    fit.backend, fit.optimize_opts = "minuit", {"tol": 0.001, "strategy": 1}
    assert fit.run(toy()).minuit is not None
    fit.backend = "mynuit"
    with pytest.raises(FitError, match="No backend 'mynuit'"):
        fit.run(toy())


def test_options_of_gammapy_are_understood() -> None:
    fit = Fit(covariance_opts={"backend": "minuit"}, confidence_opts={"backend": "minuit"})
    dataset = toy()
    assert fit.run(dataset).success
    assert fit.confidence(dataset, "alpha")["success"]


# --- Synthetic counts, checked with sherpa ---------------------------------------------------------


def synthetic(key: str) -> tuple[Toy, dict[str, Any]]:
    inputs = SYNTHETIC[key]["inputs"]
    edges = np.array(inputs["energy_edges_TeV"])
    if key.endswith("cash"):
        data = {"counts": np.array(inputs["counts_src"], dtype=float)}
    else:
        data = {
            "counts": np.array(inputs["counts_on"], dtype=float),
            "counts_off": np.array(inputs["counts_off"], dtype=float),
            "alpha": np.full(30, inputs["alpha"]),
        }
    statistic = key.split(".")[-1]
    mask = np.ones(30, dtype=bool)
    record = Measurement("synthetic", statistic, data, mask, edges[:-1], edges[1:], np.ones(30))
    spectrum = PowerLawSpectralModel(index=2, amplitude="1e5 cm-2 s-1 TeV-1", reference="0.1 TeV")
    return Toy(record, [SkyModel(spectrum, name="source")]), SYNTHETIC[key]["expected"]


def test_synthetic_cash(backend: str) -> None:
    dataset, expected = synthetic("fit.synthetic.cash")
    likelihood = bind([dataset])
    assert_allclose(likelihood.npred()[0][5], expected["npred5"], rtol=1e-6)
    assert_allclose(likelihood.stat(), expected["stat_true"], rtol=1e-9)
    result = Fit(backend=backend).run(dataset)
    for name in ("index", "amplitude"):
        assert_allclose(result.parameters[name].value, expected[name], rtol=1e-3)


def test_synthetic_wstat(backend: str) -> None:
    dataset, expected = synthetic("fit.synthetic.wstat")
    result = Fit(backend=backend).run(dataset)
    assert_allclose(result.total_stat, expected["total_stat"], rtol=1e-4)
    for name in ("index", "amplitude"):
        assert_allclose(result.parameters[name].value, expected[name], rtol=1e-3)

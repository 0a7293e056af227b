"""Each method of each backend: the same minimum, its own rules on limits, readable refusals."""

from typing import Any

import numpy as np
import pytest
from engine_toys import Toy, log_parabola, measurement, power_law
from numpy.testing import assert_allclose

from villard.exceptions import ConfigError, FitError, MissingDependencyError
from villard.likelihood import bind
from villard.modeling import Fit
from villard.modeling.curvature import check_distance
from villard.modeling.minimizers import BACKENDS, Objective, Outcome, get_backend, take_options
from villard.modeling.minimizers.scipy import METHODS
from villard.modeling.models import GaussianPrior

BOUNDED = {"Nelder-Mead", "Powell", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "COBYLA", "COBYQA"}
NEED_LIMITS = {"differential_evolution", "direct", "dual_annealing", "shgo"}
#: Short runs of the global methods.
OPTIONS: dict[str, dict[str, Any]] = {
    "basinhopping": {"niter": 2},
    "dual_annealing": {"maxiter": 30, "rng": 1},
    "direct": {"maxfun": 1000, "locally_biased": True},
    "differential_evolution": {"rng": 1},
    "shgo": {"n": 64, "iters": 2},
}
LIMITS = {"amplitude": (1e-12, 1e-9), "alpha": (0, 5), "beta": (-1, 2)}


def toy(limits: bool = False) -> Toy:
    model = log_parabola("crab", alpha=2.4)
    if limits:
        for name, (low, high) in LIMITS.items():
            model.parameters[name].min, model.parameters[name].max = low, high
    return Toy(measurement(), [model])


def needs_sherpa() -> None:
    pytest.importorskip("sherpa", reason="needs the extra sherpa")


@pytest.fixture(scope="module")
def minimum() -> float:
    return Fit().run(toy()).total_stat


@pytest.mark.parametrize("method", sorted(set(METHODS) - NEED_LIMITS))
def test_scipy_methods(method: str, minimum: float) -> None:
    result = Fit("scipy", {"method": method, **OPTIONS.get(method, {})}, store_trace=True).run(toy())
    assert result.success
    assert result.method == method
    assert_allclose(result.total_stat, minimum, atol=1e-3 if method == "COBYLA" else 1e-5)
    assert len(result.trace) == result.nfev


@pytest.mark.parametrize("method", sorted((BOUNDED | NEED_LIMITS) - {"shgo", "direct"}))
def test_scipy_methods_with_limits(method: str, minimum: float) -> None:
    result = Fit("scipy", {"method": method, **OPTIONS.get(method, {})}, store_trace=True).run(toy(True))
    assert result.success
    assert_allclose(result.total_stat, minimum, atol=1e-3)
    for name, (low, high) in LIMITS.items():
        column = result.trace[f"crab.spectral.{name}"]
        assert low <= column.min()
        assert column.max() <= high


@pytest.mark.parametrize("method", ["shgo", "direct"])
def test_scipy_methods_that_are_coarse(method: str, minimum: float) -> None:
    """They end near the minimum; what they call a success is checked by the exact derivatives."""
    result = Fit("scipy", {"method": method, **OPTIONS[method]}).run(toy(True))
    assert result.total_stat < minimum + 30
    if result.total_stat > minimum + 2:
        assert not result.success
    if result.total_stat > minimum + 0.1:
        assert "minimum is estimated to be lower by" in result.message or not result.success


def test_scipy_methods_that_ignore_limits() -> None:
    for method in sorted(set(METHODS) - BOUNDED - NEED_LIMITS - {"basinhopping"}):
        with pytest.raises(FitError, match=f"{method!r} can't keep limits.*amplitude, alpha, beta.*L-BFGS-B"):
            Fit("scipy", {"method": method}).run(toy(True))


def test_scipy_methods_that_need_limits() -> None:
    dataset = toy(True)
    dataset.models["crab"].parameters["beta"].max = np.nan
    for method in sorted(NEED_LIMITS):
        with pytest.raises(FitError, match=f"{method!r} needs min and max of every parameter; missing: beta"):
            Fit("scipy", {"method": method}).run(dataset)


def test_scipy_refuses_what_it_does_not_know() -> None:
    with pytest.raises(FitError, match=r"no method 'L-BFGS'\. Did you mean 'L-BFGS-B'"):
        Fit("scipy", {"method": "L-BFGS"}).run(toy())
    with pytest.raises(FitError, match=r"'L-BFGS-B': .*gtoll"):
        Fit("scipy", {"options": {"gtoll": 1e-3}}).run(toy())
    with pytest.raises(FitError, match=r"'Nelder-Mead': .*tolerance"):
        Fit("scipy", {"method": "Nelder-Mead", "tolerance": 1e-3}).run(toy())


def test_scipy_gets_exact_derivatives() -> None:
    """With gradient and Hessian a handful of evaluations is enough."""
    for method in ("trust-exact", "trust-ncg", "Newton-CG"):
        assert Fit("scipy", {"method": method}).run(toy()).nfev < 20
    assert Fit("scipy", {"method": "L-BFGS-B"}).run(toy()).nfev < 40


@pytest.mark.parametrize("method", ["simplex", "levmar", "moncar"])
@pytest.mark.parametrize("limits", [False, True])
def test_sherpa_methods(method: str, limits: bool, minimum: float) -> None:
    needs_sherpa()
    result = Fit("sherpa", {"method": method}, store_trace=True).run(toy(limits))
    assert result.success
    assert result.method == method
    assert_allclose(result.total_stat, minimum, atol=1e-5)
    assert len(result.trace) == result.nfev


def test_sherpa_grid() -> None:
    needs_sherpa()
    dataset = toy(True)
    result = Fit("sherpa", {"method": "gridsearch", "num": 8}, store_trace=True).run(dataset)
    assert result.success
    # Eight values of each of three parameters, and the start.
    assert result.nfev == 8**3 + 1
    assert_allclose(result.total_stat, min(result.trace["total_stat"]))


@pytest.mark.parametrize("statistic", ["cash", "cstat", "wstat", "chi2"])
def test_levmar_minimises_any_statistic(statistic: str) -> None:
    """It gets a distance per bin whose square is the statistic, up to a constant for cash."""
    needs_sherpa()
    first, second = (Toy(measurement(statistic=statistic), [power_law(index=3)]) for _ in range(2))
    expected = Fit().run(first)
    result = Fit("sherpa", {"method": "levmar"}).run(second)
    assert_allclose(result.total_stat, expected.total_stat, atol=1e-5)
    likelihood = bind([second])
    offset = likelihood.stat() - np.sum(likelihood.residuals() ** 2)
    if statistic != "cash":
        assert_allclose(offset, 0, atol=1e-9)
    theta = likelihood.theta * 1.01
    assert_allclose(likelihood.stat(theta) - np.sum(likelihood.residuals(theta) ** 2), offset, atol=1e-8)


def test_sherpa_refuses_what_it_does_not_know() -> None:
    needs_sherpa()
    with pytest.raises(FitError, match="no method 'neldermead'"):
        Fit("sherpa", {"method": "neldermead"}).run(toy())
    with pytest.raises(FitError, match=r"simplex has no option 'maxfevs'\. Did you mean 'maxfev'"):
        Fit("sherpa", {"maxfevs": 3}).run(toy())
    dataset = toy()
    dataset.models["crab"].parameters["alpha"].prior = GaussianPrior(mu=2, sigma=1)
    with pytest.raises(FitError, match="levmar minimises sums of squares and can't fit priors"):
        Fit("sherpa", {"method": "levmar"}).run(dataset)
    assert Fit("sherpa").run(dataset).success


def test_sherpa_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sherpa.optmethods", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'villard\[sherpa\]'"):
        Fit("sherpa").run(toy())


@pytest.mark.parametrize("strategy", [0, 1, 2])
def test_minuit(strategy: int, minimum: float) -> None:
    dataset = toy()
    result = Fit("minuit", {"strategy": strategy, "tol": 0.01}, store_trace=True).run(dataset)
    assert result.success
    assert result.method == "migrad"
    assert_allclose(result.total_stat, minimum, atol=1e-4)
    assert len(result.trace) == result.nfev
    minuit = result.minuit
    assert minuit.valid
    assert minuit.nfit == 3
    likelihood = bind([dataset])
    assert_allclose(minuit.fval, result.total_stat)
    # Scaled, so that its steps and what it prints are of order one.
    assert np.all(np.abs(np.array(minuit.values)) < 100)
    ratio = np.array(minuit.values) / np.array(likelihood.parameters.value)
    assert_allclose(ratio / ratio[1], [2.4 / 3e-11, 1, 2.4 / 0.2], rtol=1e-9)
    assert "amplitude" in str(minuit)


def test_minuit_keeps_limits(minimum: float) -> None:
    dataset = toy(True)
    result = Fit("minuit", {"tol": 0.01}, store_trace=True).run(dataset)
    assert result.success
    assert_allclose(result.total_stat, minimum, atol=1e-3)
    assert result.minuit.limits["par_001_alpha"] is not None
    assert min(result.trace["crab.spectral.alpha"]) >= 0


def test_only_minuit_gives_a_minuit_object() -> None:
    assert Fit().run(toy()).minuit is None
    assert Fit("scipy").run(toy()).minuit is None


def test_newton_options(minimum: float) -> None:
    rough = Fit(optimize_opts={"tol": 1.0}).run(toy())
    fine = Fit(optimize_opts={"tol": 1e-12}).run(toy())
    assert rough.success
    assert fine.success
    assert rough.nfev < fine.nfev
    assert_allclose(fine.total_stat, minimum, atol=1e-9)
    assert_allclose(rough.total_stat, minimum, atol=1.0)


def test_objective_counts() -> None:
    objective = Objective(bind([toy()]), store_trace=True)
    theta = objective.start * 1.1
    value, gradient = objective.value_and_gradient(theta)
    assert objective.value(theta) == value
    assert gradient.shape == (3,)
    assert objective.hessian(theta).shape == (3, 3)
    assert objective.nfev == len(objective.rows) == 2
    assert_allclose(objective.rows[1], [value, *theta])


def test_backends() -> None:
    for name in BACKENDS:
        assert callable(get_backend(name))
    with pytest.raises(FitError, match=r"No backend 'mignuit'\. Did you mean 'minuit'"):
        get_backend("mignuit")
    assert take_options({"a": 2}, {"a": 1, "b": 3}, "x") == {"a": 2, "b": 3}
    with pytest.raises(FitError, match="Backend 'x' has no option 'c'"):
        take_options({"c": 2}, {"a": 1}, "x")


@pytest.mark.parametrize("amplitude", [1e-18, 1e-20, 1e-30])
def test_a_start_without_flux_is_no_minimum(amplitude: float) -> None:
    """With hardly any counts predicted, steps of the start's size change nothing; that isn't convergence."""
    dataset = toy()
    dataset.models[0].spectral_model.amplitude.value = amplitude
    start = bind([dataset], dataset.models).stat()
    result = Fit("scipy").optimize(dataset)
    assert not result.success or result.total_stat < start - 100


@pytest.mark.parametrize("backend", ["newton", "minuit", "scipy"])
def test_a_start_at_zero_has_units_of_its_own(backend: str, minimum: float) -> None:
    dataset = toy()
    dataset.models[0].spectral_model.amplitude.value = 0
    result = Fit(backend, store_trace=True).optimize(dataset)
    assert result.success
    assert_allclose(result.total_stat, minimum, atol=1e-4)
    # What is recorded are the parameters themselves.
    assert_allclose(
        result.trace["crab.spectral.amplitude"][-1], result.models.parameters["amplitude"].value, rtol=1e-3
    )


def test_distance_is_told_by_the_expected_curvature() -> None:
    dataset = toy()
    likelihood = bind([dataset], dataset.models)
    theta = likelihood.theta * [1e-9, 1, 1]
    outcome = Outcome(theta, likelihood.stat(theta), True, "Fine.", "toy", 1)
    check_distance(likelihood, outcome)
    assert not outcome.success
    assert "minimum is estimated to be lower by" in outcome.message


def test_wrong_settings_are_configuration_errors() -> None:
    """So that a command can tell them from a fit that failed."""
    with pytest.raises(ConfigError, match="No backend 'newtno'"):
        Fit("newtno")
    for backend, options in [
        ("newton", {"tl": 1}),
        ("minuit", {"strategy": 7}),
        ("scipy", {"method": "Powel"}),
    ]:
        with pytest.raises(ConfigError):
            Fit(backend, options).run(toy())

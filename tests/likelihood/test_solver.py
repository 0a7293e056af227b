"""Damped Fisher scoring: minima, bounds, degenerate and empty cases, batches."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_toys import AMPLITUDE, Toy, cutoff, log_parabola, measurement, power_law
from numpy.testing import assert_allclose, assert_array_equal

from villard.likelihood import SolverStatus, bind
from villard.modeling.models import GaussianPrior, LogUniformPrior, UniformPrior


def likelihood_of(model: Any, *measurements: Any, **values: float) -> Any:
    """Bind toys and models, with parameters set and freed, and the others frozen if any is given."""
    models = model if isinstance(model, list) else [model]
    for name, value in values.items():
        models[0].parameters[name].value = value
    return bind([Toy(m) for m in measurements], models)


@pytest.mark.parametrize("statistic", ["cash", "cstat", "wstat", "chi2"])
def test_asimov_data_give_back_the_truth(statistic: str) -> None:
    toy = measurement(statistic=statistic, asimov=True)
    model = power_law(index=3.2)
    model.spectral_model.amplitude.value = 5e-12
    likelihood = likelihood_of(model, toy)
    solution = likelihood.minimize()
    assert solution.status == SolverStatus.CONVERGED
    index, amplitude = likelihood.to_values(solution.theta)
    assert_allclose([index, amplitude], [2.4, AMPLITUDE], rtol=1e-6)
    assert solution.edm < 1e-8
    assert_allclose(solution.gradient, 0, atol=1e-3)


def test_linear_problem_takes_a_step() -> None:
    """With one amplitude and no background, the expected curvature leads to the minimum at once."""
    model = power_law()
    model.spectral_model.index.frozen = True
    toy = replace(measurement(statistic="cash"), background=None)
    npred = bind([Toy(toy)], [model]).npred()[0].sum()
    expected = model.spectral_model.amplitude.value * toy.data["counts"][toy.mask].sum() / npred
    for start in (1e-15, 1e-7):
        model.spectral_model.amplitude.value = start
        likelihood = bind([Toy(toy)], [model])
        solution = likelihood.minimize()
        assert solution.nfev <= 5
        assert_allclose(likelihood.to_values(solution.theta), expected, rtol=1e-7)


@pytest.mark.parametrize("statistic", ["wstat", "cash"])
@pytest.mark.parametrize("make", [power_law, log_parabola, cutoff])
def test_far_starts_reach_the_minimum(statistic: str, make: Any) -> None:
    """Starts over six decades of amplitude and any shape; see benchmarks/robustness.py for more."""
    toy = measurement(statistic=statistic, exposure=1e12, n_bins=20, n_true=30)
    model = make()
    likelihood = likelihood_of(model, toy)
    best = likelihood.minimize()
    assert best.success
    rng = np.random.default_rng(0)
    ranges = {"index": (0, 5), "alpha": (0, 5), "beta": (-0.5, 1.5), "lambda_": (0.001, 1)}
    starts = np.column_stack(
        [
            10 ** rng.uniform(-14, -8, 40) if p.name == "amplitude" else rng.uniform(*ranges[p.name], 40)
            for p in likelihood.parameters
        ]
    )
    solutions = [likelihood.minimize(likelihood.to_theta(start)) for start in starts]
    found = np.array([abs(s.value - best.value) < 1e-6 for s in solutions])
    assert found.sum() >= 38
    # Where it isn't found, nothing else is claimed.
    assert not any(s.success for s, ok in zip(solutions, found, strict=True) if not ok)


def test_minimum_at_a_bound() -> None:
    model, toy = power_law(index=2.6), measurement()
    model.spectral_model.index.min = 2.5
    likelihood = likelihood_of(model, toy)
    solution = likelihood.minimize()
    assert solution.success
    assert likelihood.to_values(solution.theta)[0] == 2.5
    assert solution.gradient[0] > 0.1
    frozen = power_law(index=2.5)
    frozen.spectral_model.index.frozen = True
    assert_allclose(solution.value, likelihood_of(frozen, toy).minimize().value, atol=1e-7)


def test_start_at_a_bound_can_leave_it() -> None:
    toy = measurement()
    free = likelihood_of(power_law(), toy).minimize()
    for low, high, start in ((2.0, 5.0, 2.0), (0.0, 3.0, 3.0)):
        model = power_law(index=start)
        model.spectral_model.index.min, model.spectral_model.index.max = low, high
        solution = likelihood_of(model, toy).minimize()
        assert solution.success
        assert_allclose(solution.value, free.value, atol=1e-7)


def test_bound_is_released_when_others_have_moved() -> None:
    """At the start's curvature the slope is pressed against its bound, at the minimum it isn't."""
    toy = measurement(models=[log_parabola()], exposure=1e14)
    model = log_parabola(alpha=3.0, beta=-0.5)
    model.spectral_model.alpha.max = 3.0
    solution = likelihood_of(model, toy).minimize()
    assert_allclose(solution.value, likelihood_of(log_parabola(), toy).minimize().value, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_no_false_corner(seed: int) -> None:
    """A faint source, amplitude near 0 and an index at its bound: clipped steps end there for good."""
    toy = measurement(statistic="wstat", exposure=5e10, seed=seed)
    values = []
    for index in (1.0, 1.7, 2.5, 3.5, 5.0):
        model = power_law(index=index)
        model.spectral_model.index.min, model.spectral_model.index.max = 1, 5
        model.spectral_model.amplitude.min = 0
        for amplitude in (0.0, 1e-13, 1e-10):
            model.spectral_model.amplitude.value = amplitude
            solution = likelihood_of(model, toy).minimize()
            assert solution.success
            values.append(solution.value)
    grid = power_law()
    grid.spectral_model.index.frozen = True
    grid.spectral_model.amplitude.min = 0
    lowest = []
    for index in np.linspace(1, 5, 41):
        grid.spectral_model.index.value = index
        lowest.append(likelihood_of(grid, toy).minimize().value)
    # From a good start the global minimum is found; others may end in another local one, as the grid's.
    assert min(values) <= min(lowest) + 1e-7
    assert values[7] <= min(lowest) + 1e-4


@pytest.mark.parametrize("prior", [UniformPrior(min=2.5, max=4), LogUniformPrior(min=2.5, max=4)])
def test_prior_with_hard_edges(prior: Any) -> None:
    """The edge of a prior is a limit: the fit ends on it instead of stumbling over infinity."""
    model, toy = power_law(index=3.0), measurement()
    model.spectral_model.index.prior = prior
    likelihood = likelihood_of(model, toy)
    solution = likelihood.minimize()
    assert solution.success
    assert_allclose(likelihood.to_values(solution.theta)[0], 2.5, rtol=1e-12)
    assert np.isfinite(solution.value)


def test_gaussian_prior_pulls() -> None:
    """For a Gaussian likelihood the best fit is the weighted mean of prior and data."""
    toy = measurement(statistic="chi2")
    model = power_law()
    model.spectral_model.index.frozen = True
    likelihood = likelihood_of(model, toy)
    amplitude = likelihood.to_values(likelihood.minimize().theta)[0]
    variance = likelihood.matrix_to_values(2 / likelihood.hessian())[0, 0]
    model.spectral_model.amplitude.prior = GaussianPrior(mu=1e-11, sigma=2 * np.sqrt(variance))
    pulled = likelihood_of(model, toy)
    expected = (amplitude / variance + 1e-11 / (4 * variance)) / (1 / variance + 1 / (4 * variance))
    assert_allclose(pulled.to_values(pulled.minimize().theta)[0], expected, rtol=1e-9)


def test_degenerate_parameters() -> None:
    """Two sources with one spectrum: only their sum is known, and the fit says where it is."""
    first, second, toy = power_law("first"), power_law("second"), measurement()
    for model in (first, second):
        model.spectral_model.index.frozen = True
    solution = likelihood_of([first, second], toy).minimize()
    assert solution.success
    single = power_law()
    single.spectral_model.index.frozen = True
    assert_allclose(solution.value, likelihood_of(single, toy).minimize().value, atol=1e-7)


def test_parameter_without_influence() -> None:
    model, toy = power_law(), measurement()
    # Where there is no reference energy in the data, the statistic doesn't know of the other source.
    idle = power_law("idle", amplitude="0 TeV-1 cm-2 s-1")
    idle.spectral_model.amplitude.frozen = True
    likelihood = likelihood_of([model, idle], toy)
    solution = likelihood.minimize()
    assert solution.success
    assert_allclose(solution.value, likelihood_of(power_law(), toy).minimize().value, atol=1e-7)


@pytest.mark.parametrize("statistic", ["wstat", "cash"])
def test_zero_counts(statistic: str) -> None:
    """Nothing seen: the source fades to its bound, and to nowhere below it."""
    toy = measurement(statistic=statistic)
    empty = replace(toy, data={**toy.data, "counts": np.zeros(12)})
    if statistic == "wstat":
        empty.data["counts_off"] = np.zeros(12)
    model = power_law()
    model.spectral_model.amplitude.min = 0
    likelihood = likelihood_of(model, empty)
    solution = likelihood.minimize()
    assert solution.success
    assert_allclose(likelihood.to_values(solution.theta)[1], 0, atol=1e-20)


@pytest.mark.parametrize("make", [power_law, log_parabola])
def test_amplitude_of_zero_is_a_start(make: Any) -> None:
    toy = measurement()
    best = likelihood_of(make(), toy).minimize()
    model = make(amplitude="0 TeV-1 cm-2 s-1")
    solution = likelihood_of(model, toy).minimize()
    assert solution.success
    assert_allclose(solution.value, best.value, atol=1e-6)


def test_nan_start() -> None:
    solution = likelihood_of(power_law(), measurement()).minimize([np.nan, 1.0])
    assert solution.status == SolverStatus.NOT_FINITE
    assert not solution.success
    assert "not finite" in solution.status.message


def test_iterations_are_limited() -> None:
    likelihood = likelihood_of(log_parabola(alpha=4.0), measurement())
    for max_iter in (1, 2, 3):
        solution = likelihood.minimize(max_iter=max_iter, trace=True)
        assert solution.status == SolverStatus.RUNNING
        assert solution.nfev == len(solution.trace) == max_iter


def test_trace_has_a_row_per_evaluation() -> None:
    likelihood = likelihood_of(log_parabola(alpha=3.0), measurement())
    solution = likelihood.minimize(trace=True)
    assert solution.trace.shape == (solution.nfev, 1 + likelihood.n_free)
    assert_array_equal(solution.trace[0], [likelihood.stat(), *likelihood.theta])
    assert solution.trace[:, 0].min() == solution.value
    for value, *theta in solution.trace:
        assert_allclose(value, likelihood.stat(np.array(theta)), rtol=1e-12)


def test_some_parameters_can_be_held() -> None:
    likelihood = likelihood_of(log_parabola(alpha=2.0), measurement())
    column = likelihood.column(likelihood.binding.models[0].spectral_model.alpha)
    active = np.arange(likelihood.n_free) != column
    theta = likelihood.theta.copy()
    solution = likelihood.minimize(theta, active=active)
    assert solution.success
    assert solution.theta[column] == theta[column]
    assert abs(solution.gradient[column]) > 1e-3


def test_held_parameter_may_be_out_of_bounds() -> None:
    """Scans go where they are told."""
    model, toy = power_law(), measurement()
    model.spectral_model.index.min = 2.2
    likelihood = likelihood_of(model, toy)
    theta = likelihood.to_theta([1.5, AMPLITUDE])
    solution = likelihood.minimize(theta, active=[False, True])
    assert solution.success
    assert solution.theta[0] == theta[0]
    batch = likelihood.minimize_batch(theta, active=[False, True])
    assert batch.theta[0, 0] == theta[0]
    assert_allclose(batch.value, solution.value, rtol=1e-9)


def test_batch_is_many_single_fits() -> None:
    likelihood = likelihood_of(log_parabola(), measurement("a"), measurement("b", "cash", n_bins=7, seed=2))
    rng = np.random.default_rng(0)
    starts = likelihood.theta * rng.uniform(0.5, 1.5, size=(40, likelihood.n_free))
    active = rng.uniform(size=starts.shape) < 0.8
    batch = likelihood.minimize_batch(starts, active=active)
    for i, start in enumerate(starts):
        single = likelihood.minimize(start, active=active[i])
        assert batch.success[i] == single.success
        assert_allclose(batch.value[i], single.value, atol=1e-7)
        assert_allclose(batch.theta[i], single.theta, rtol=1e-3, atol=1e-3)


def test_batch_with_own_data() -> None:
    model, toy = power_law(), measurement()
    other = measurement(seed=5)
    likelihood = likelihood_of(model, toy)
    (block,) = likelihood.binding.blocks
    names = ("counts", "counts_off", "alpha")
    changes = {name: np.stack([block.pack([m.data[name]]) for m in (toy, other)]) for name in names}
    mask = np.ones((2, 12), dtype=bool)
    mask[1, 5:] = False
    changes["mask"] = np.stack([block.pack([row], fill=False) for row in mask])
    batch = likelihood.minimize_batch(np.tile(likelihood.theta, (2, 1)), overrides=[changes])
    for i, m in enumerate((toy, replace(other, mask=other.mask & mask[1]))):
        single = likelihood_of(power_law(), m).minimize()
        assert_allclose(batch.value[i], single.value, atol=1e-7)


def test_slow_run_does_not_spoil_a_batch() -> None:
    likelihood = likelihood_of(cutoff(), measurement(exposure=1e12))
    starts = np.tile(likelihood.theta, (40, 1))
    starts[7] *= [2.0, 1e-2, 0.1]
    batch = likelihood.minimize_batch(starts)
    assert batch.success.all()
    assert_allclose(batch.value, batch.value[0], atol=1e-6)
    assert batch.nfev[7] > 2 * np.median(batch.nfev)

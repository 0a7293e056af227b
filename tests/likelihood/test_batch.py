"""Batches: the same as single fits, whatever their size; and starts at no flux."""

import engine_toys as toys
import numpy as np
import pytest

from villard.likelihood import Likelihood
from villard.likelihood import batch as batch_module


def counts_overrides(likelihood, n_batch, seed=1):
    """Random counts around those of the first block."""
    rng = np.random.default_rng(seed)
    names = [n for n in ("counts", "counts_off") if n in likelihood.binding.blocks[0].arrays["data"]]
    blocks = likelihood.binding.blocks
    return [
        {
            name: b.pack(
                [rng.poisson(m.data[name], (n_batch, m.n_bins)).astype(float) for m in b.measurements]
            )
            for name in names
        }
        for b in blocks
    ]


@pytest.fixture
def likelihood():
    return Likelihood([toys.measurement(models=[toys.log_parabola()])], [toys.log_parabola()])


@pytest.mark.parametrize("n_batch", [5, 300])
def test_batch_gives_what_single_fits_give(likelihood, n_batch):
    overrides = counts_overrides(likelihood, n_batch)
    solution = likelihood.minimize_batch(np.tile(likelihood.theta, (n_batch, 1)), overrides=overrides)
    assert solution.success.all()
    measurement, model = toys.measurement(models=[toys.log_parabola()]), toys.log_parabola()
    inside = np.flatnonzero(measurement.mask)
    for row in (0, n_batch - 1):
        for name in ("counts", "counts_off"):
            measurement.data[name][inside] = overrides[0][name][row, 0, : len(inside)]
        single = Likelihood([measurement], [model]).minimize()
        assert single.value == pytest.approx(solution.value[row], abs=1e-6)
        np.testing.assert_allclose(solution.theta[row], single.theta, rtol=1e-3)


def test_slow_runs_are_finished_apart(likelihood, monkeypatch):
    n_batch = batch_module.BATCH_SIZE + 10
    overrides = counts_overrides(likelihood, n_batch)
    start = np.tile(likelihood.theta, (n_batch, 1))
    whole = likelihood.minimize_batch(start, overrides=overrides)
    monkeypatch.setattr(batch_module, "_FIRST_ITERATIONS", 3)
    staged = likelihood.minimize_batch(start, overrides=overrides)
    assert staged.success.all()
    assert np.all(staged.nfev > 3)
    np.testing.assert_allclose(staged.value, whole.value, atol=1e-6)


def test_iterations_are_limited_over_both_stages(likelihood):
    n_batch = batch_module.BATCH_SIZE + 10
    overrides = counts_overrides(likelihood, n_batch)
    start = np.tile(likelihood.theta * 3, (n_batch, 1))
    for max_iter in (2, 14):
        assert np.all(
            likelihood.minimize_batch(start, overrides=overrides, max_iter=max_iter).nfev <= max_iter
        )


def test_hessians_and_statistics_of_a_batch(likelihood):
    theta = likelihood.theta * np.linspace(0.9, 1.1, 35)[:, None]
    hessians, stats = likelihood.hessian_batch(theta), likelihood.stat_batch(theta)
    assert hessians.shape == (35, 3, 3)
    for row in (0, 20, 34):
        np.testing.assert_allclose(hessians[row], likelihood.hessian(theta[row]), rtol=1e-10)
        assert stats[row] == pytest.approx(likelihood.stat(theta[row]), rel=1e-12)


def test_statistic_with_overrides(likelihood):
    overrides = counts_overrides(likelihood, 3)
    theta = np.tile(likelihood.theta, (3, 1))
    solution = likelihood.minimize_batch(theta, overrides=overrides)
    np.testing.assert_allclose(likelihood.stat_batch(solution.theta, overrides), solution.value, rtol=1e-12)


@pytest.mark.parametrize("statistic", ["wstat", "cash", "cstat"])
def test_fit_from_no_flux_ends_where_others_do(statistic):
    """Bins without counts expect no variance at no flux; they must not hold the amplitude at 0."""
    measurement = toys.measurement(statistic=statistic, exposure=3e11, n_bins=30)
    assert np.any((measurement.data["counts"] == 0) & measurement.mask)
    free = toys.power_law()
    best = Likelihood([measurement], [free]).minimize()
    dark = toys.power_law(amplitude="0 TeV-1 cm-2 s-1")
    solution = Likelihood([measurement], [dark]).minimize()
    assert solution.success
    assert solution.value == pytest.approx(best.value, abs=1e-6)


def test_fits_finished_with_the_exact_hessian_are_successes():
    zeros, status = np.zeros(4), np.array([0, 1, 2, 4])
    solution = batch_module.BatchSolution(zeros[:, None], zeros, zeros[:, None], zeros, status, status)
    assert solution.success.tolist() == [False, True, False, True]


def test_interruption_passes_through(likelihood, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("villard.likelihood.likelihood.batch_solver", lambda kernels: interrupted)
    with pytest.raises(KeyboardInterrupt):
        likelihood.minimize_batch(likelihood.theta)

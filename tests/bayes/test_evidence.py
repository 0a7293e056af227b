"""Evidence by importance sampling around draws: its proposal, how far it is trusted, and what it is worth."""

import importlib.util
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from villard.bayes import GridLeaf, Mixture, ParameterGrid
from villard.bayes.coordinates import Continuous, Discrete, Shares, Space
from villard.bayes.samplers.base import Draws
from villard.bayes.samplers.evidence import with_evidence
from villard.bayes.samplers.proposals import StudentMixture, fit_mixture, pareto_shape
from villard.modeling.prior import GaussianPrior, LogUniformPrior, UniformPrior

needs_dynesty = pytest.mark.skipif(
    importlib.util.find_spec("dynesty") is None, reason="dynesty isn't installed"
)
MASSES = np.geomspace(0.3, 30, 24)


def test_real_numbers_and_back() -> None:
    space = Space(
        [
            Shares(["a", "b", "c"], np.array([1.0, 2.0, 0.5])),
            Continuous("flat", UniformPrior(min=-1, max=3)),
            Continuous("log", LogUniformPrior(min=1e-3, max=10)),
            Continuous("free", GaussianPrior(mu=2, sigma=0.3)),
            Continuous("above", GaussianPrior(mu=2, sigma=0.3), (1.5, np.inf)),
            Continuous("below", GaussianPrior(mu=2, sigma=0.3), (-np.inf, 2.2)),
            Discrete("grid", np.array([1.0, 2.0, 5.0]), np.array([0.2, 0.5, 0.3])),
        ]
    )
    rng = np.random.default_rng(0)
    theta = space.from_unit(rng.random((200, space.n_dim)))
    z = space.to_real(theta, rng)
    back = np.array([np.asarray(space.from_real(row)[0]) for row in z])
    np.testing.assert_allclose(back, theta, rtol=1e-9, atol=1e-12)
    # Real numbers of draws from the prior have its density: that of a value of a grid fills its interval.
    u = 1 / (1 + np.exp(-z[:, -1]))
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_mixture_is_fitted_and_normalised() -> None:
    rng = np.random.default_rng(1)
    both = np.concatenate([rng.normal(-4, 0.5, (900, 2)), rng.normal([3, 6], [2, 0.2], (600, 2))])
    fitted = fit_mixture(both, rng)
    assert len(fitted.parts) >= 2
    assert len(fit_mixture(rng.normal(size=(800, 3)), rng).parts) == 1
    z, log = fitted.draw(20_000, rng)
    np.testing.assert_allclose(log, fitted.log_density(z))
    # Its density integrates to 1, by importance sampling from a wider one.
    far = StudentMixture.single(z.mean(axis=0), 2 * np.cov(z.T), 4.0)
    points, proposal = far.draw(40_000, rng)
    assert np.mean(np.exp(fitted.log_density(points) - proposal)) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("sigma", "low", "high"), [(0.5, -0.2, 0.5), (3.0, 0.7, 1.5)])
def test_shape_of_the_tail(sigma: float, low: float, high: float) -> None:
    log_weight = np.random.default_rng(2).normal(size=8000) * sigma
    assert low < pareto_shape(log_weight) < high
    # Where the logarithm is exponential, weights follow a Pareto distribution of that shape.
    exact = np.random.default_rng(3).exponential(0.4, 20_000)
    assert pareto_shape(exact) == pytest.approx(0.4, abs=0.12)


def make_mixture(seed: int) -> Mixture:
    """Events of three components, one of them with a mass on a grid: shares and mass from their priors."""
    rng = np.random.default_rng(seed)
    shares, mass = rng.dirichlet([1, 1, 1]), rng.choice(MASSES)
    which = rng.choice(3, 150, p=shares)
    x = np.where(which == 0, rng.normal(np.log(mass), 0.5, 150), rng.normal(0, 3, 150))
    x = np.where(which == 2, rng.normal(1.5, 1, 150), x)
    table = stats.norm.pdf(x, np.log(MASSES)[:, None], 0.5)
    dark = GridLeaf(table, {"mass": ParameterGrid(MASSES)})
    return Mixture({"dm": dark, "wide": stats.norm.pdf(x, 0, 3), "narrow": stats.norm.pdf(x, 1.5, 1)})


def grid_evidence(mixture: Mixture, n: int = 40) -> float:
    """By Gauss and Legendre, as posteriors may pile up at shares of zero."""
    nodes, parts = np.polynomial.legendre.leggauss(n)
    w, log_parts = 0.5 * (nodes + 1), np.log(0.5 * parts)
    m = (np.arange(len(MASSES)) + 0.5) / len(MASSES)
    u = np.stack(np.meshgrid(w, w, m), axis=-1).reshape(-1, 3)
    log_weight = np.sum(np.meshgrid(log_parts, log_parts, np.zeros(len(m))), axis=0).ravel()
    values = mixture.log_likelihood(mixture.prior_transform(u)) + log_weight
    return float(logsumexp(values) - np.log(len(m)))


@needs_dynesty
def test_evidence_of_many_data_sets() -> None:
    """The default is within 0.1 of an integral over a grid, each time; nested sampling alone isn't."""
    away, own, pulls = [], [], []
    for seed in range(20):
        mixture = make_mixture(seed)
        exact = grid_evidence(mixture)
        posterior = mixture.sample("dynesty", nlive=100, dlogz=0.8, random_state=seed, check_prior=False)
        assert posterior.diagnostics["evidence"] == "importance", seed
        away.append(posterior.log_evidence - exact)
        own.append(posterior.diagnostics["own_log_evidence"] - exact)
        pulls.append(away[-1] / posterior.log_evidence_error)
    assert np.max(np.abs(away)) < 0.1
    assert np.max(np.abs(own)) > 0.1
    assert np.sum(np.abs(pulls) > 3) <= 2
    assert 0.5 < np.std(pulls) < 1.8


def test_evidence_that_is_not_trusted() -> None:
    mixture = make_mixture(1)
    rng = np.random.default_rng(0)
    z = rng.normal(20, 1e-3, (400, 3))
    # Draws that aren't of the posterior: nothing of it is near.
    theta = np.array([np.asarray(mixture.space.from_real(row)[0]) for row in z])
    draws = Draws(theta, np.zeros(400), np.zeros(400), -300.0, 0.2, 100)
    kept = with_evidence(mixture, draws, rng)
    assert (kept.log_evidence, kept.log_evidence_error) == (-300.0, 0.2)
    assert kept.diagnostics["evidence"] == "own"
    # The other number is told, too.
    assert "importance_log_evidence" in kept.diagnostics
    # A good evidence is left alone.
    good = Draws(theta, np.zeros(400), np.zeros(400), -300.0, 0.01, 100)
    assert with_evidence(mixture, good, rng) is good


def test_print_and_option() -> None:
    options: dict[str, Any] = {"n_samples": 600, "n_adapt": 400}
    plain = make_mixture(2).sample("importance", random_state=1, refine_evidence=False, **options)
    refined = make_mixture(2).sample("importance", random_state=1, **options)
    np.testing.assert_array_equal(plain.samples, refined.samples)
    assert refined.log_evidence_error < plain.log_evidence_error
    assert refined.n_calls > plain.n_calls
    assert "(importance sampling, " in str(refined)
    assert "importance sampling" not in str(plain)
    assert refined.diagnostics["own_log_evidence"] == plain.log_evidence

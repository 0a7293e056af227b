"""Mixtures of densities: likelihood, priors, derivatives, and the posterior of a published run."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

from villard.bayes import GridLeaf, Mixture, MixtureTree, ParameterGrid
from villard.exceptions import DataError, FitError, ModelError, ParameterError
from villard.modeling.prior import LogUniformPrior, UniformPrior

REFERENCE = Path(__file__).parents[1] / "reference" / "event_mixture.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def published(reference: dict[str, Any]) -> Mixture:
    """The mixture of GammaBayes' tutorial, made of its own marginal likelihoods."""
    density = {k: np.exp(reference[f"all_{k}"].astype(float)) for k in ("DM", "CCR", "HESS", "diffuse")}
    dark = GridLeaf(density["DM"].T, {"mass": ParameterGrid(reference["mass"])})
    background = {k: density[k] for k in ("CCR", "HESS", "diffuse")}
    return Mixture({"DM": dark, "bkg": background}, weights=reference["weights"])


def test_posterior_of_the_published_run(published: Mixture) -> None:
    """Means, widths and evidence, found there by an exact integration over a grid."""
    posterior = published.sample("importance", random_state=1)
    expected = {
        "DM": (0.490, 0.056),
        "CCR": (0.735, 0.064),
        "HESS": (0.190, 0.036),
        "diffuse": (0.075, 0.059),
        "mass": (0.970, 0.090),
    }
    for name, (mean, sd) in expected.items():
        assert posterior.mean[name] == pytest.approx(mean, abs=0.003), name
        assert posterior.sd[name] == pytest.approx(sd, abs=0.002), name
    assert posterior.log_evidence == pytest.approx(-2618.372, abs=0.03)
    assert posterior.log_evidence_error < 0.01
    assert posterior.mean["bkg"] == pytest.approx(1 - posterior.mean["DM"])


def test_likelihood_is_the_sum_over_events(published: Mixture, reference: dict[str, Any]) -> None:
    theta = np.array([0.4, 0.7, 0.2, reference["mass"][40]])
    weights = {"DM": 0.4, "CCR": 0.6 * 0.7, "HESS": 0.6 * 0.2, "diffuse": 0.6 * 0.1}
    log = {k: reference[f"all_{k}"].astype(float) for k in weights}
    log["DM"] = log["DM"][:, 40]
    total = logsumexp([np.log(w) + log[k] for k, w in weights.items()], axis=0)
    assert published.log_likelihood(theta) == pytest.approx(reference["weights"] @ total, rel=1e-12)
    many = published.log_likelihood(np.tile(theta, (3, 2, 1)))
    np.testing.assert_allclose(many, published.log_likelihood(theta), rtol=1e-13)
    # Flat priors: 1 for the share of DM, 2 for the three of the background, 1/121 for the mass.
    assert published.log_prior(theta) == pytest.approx(np.log(2 / 121))
    assert published.log_posterior(theta) == pytest.approx(
        published.log_likelihood(theta) + published.log_prior(theta)
    )
    assert published.log_likelihood([0.4, 0.9, 0.2, 1.0]) == -np.inf
    with pytest.raises(ParameterError, match=r"grid only: .'mass'."):
        published.gradient(theta)


def gaussians(n: int = 300, seed: int = 0) -> tuple[np.ndarray, Any]:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < 0.3, rng.normal(0, 1, n), rng.normal(3, 1, n))
    return x, lambda t: np.exp(-0.5 * t**2) / math.sqrt(2 * math.pi)


def test_interpolated_grid_has_derivatives() -> None:
    x, normal = gaussians()
    places = np.linspace(1, 5, 41)
    table = np.array([normal(x - p) for p in places])
    grid = ParameterGrid(places, scale="lin", discrete=False)
    mixture = Mixture({"left": normal(x), "right": GridLeaf(table, {"place": grid})})
    assert mixture.names == ["left", "place"]
    theta = np.array([0.35, 2.93])
    step = 1e-6 * np.eye(2)
    numeric = [(mixture.log_posterior(theta + s) - mixture.log_posterior(theta - s)) / 2e-6 for s in step]
    np.testing.assert_allclose(mixture.gradient(theta), numeric, rtol=1e-5)
    posterior = mixture.sample("importance", random_state=3)
    assert abs(posterior.mean["left"] - 0.3) < 3 * posterior.sd["left"]
    assert abs(posterior.mean["place"] - 3) < 3 * posterior.sd["place"]


def test_evidence_against_a_grid_integral() -> None:
    x, normal = gaussians(100)
    mixture = Mixture({"a": normal(x), "b": {"c": normal(x - 3), "d": normal((x - 1) / 3) / 3}})
    w = (np.arange(400) + 0.5) / 400
    first, second = np.meshgrid(w, w)
    theta = np.stack([first.ravel(), second.ravel()], axis=-1)
    exact = logsumexp(mixture.log_posterior(theta)) - np.log(theta.shape[0])
    posterior = mixture.sample("importance", random_state=0)
    assert posterior.log_evidence == pytest.approx(exact, abs=0.02)


def test_poisson_term() -> None:
    x, normal = gaussians(100)
    parts = {"a": normal(x), "b": normal(x - 3)}
    plain = Mixture(parts)
    extended = Mixture(parts, total=UniformPrior(min=50, max=200))
    assert extended.names == ["a", "total"]
    expected = 100 * math.log(120) - 120 - math.lgamma(101)
    assert extended.log_likelihood([0.3, 120.0]) - plain.log_likelihood([0.3]) == pytest.approx(expected)
    posterior = extended.sample("importance", random_state=1)
    assert posterior.mean["total"] == pytest.approx(101, abs=0.5)
    assert posterior.sd["total"] == pytest.approx(math.sqrt(101), rel=0.03)


def test_weights_count_events() -> None:
    x, normal = gaussians(50)
    twice = Mixture({"a": np.tile(normal(x), 2), "b": np.tile(normal(x - 3), 2)})
    counted = Mixture({"a": normal(x), "b": normal(x - 3)}, weights=np.full(50, 2))
    assert twice.log_likelihood([0.4]) == pytest.approx(counted.log_likelihood([0.4]), rel=1e-12)


def test_several_observations_share_what_isn_t_separate() -> None:
    (x, normal), (y, _) = gaussians(40), gaussians(60, 5)
    parts = {
        "a": [normal(x), normal(y)],
        "bkg": {"c": [normal(x - 3), normal(y - 3)], "d": [normal(x - 1)] * 1},
    }
    parts["bkg"]["d"] = [normal(x - 1), normal(y - 1)]
    joint = Mixture(parts)
    singles = [Mixture({"a": normal(z), "bkg": {"c": normal(z - 3), "d": normal(z - 1)}}) for z in (x, y)]
    theta = np.array([0.3, 0.6])
    assert joint.log_likelihood(theta) == pytest.approx(sum(s.log_likelihood(theta) for s in singles))
    apart = Mixture(parts, separate=["bkg"])
    assert apart.names == ["a", "c[0]", "c[1]"]
    both = singles[0].log_likelihood([0.3, 0.6]) + singles[1].log_likelihood([0.3, 0.2])
    assert apart.log_likelihood([0.3, 0.6, 0.2]) == pytest.approx(both)
    with pytest.raises(ModelError, match="separate has 'nothing'"):
        Mixture(parts, separate=["nothing"])


def test_a_second_mixture_of_the_same_structure_compiles_nothing() -> None:
    (x, normal), (y, _) = gaussians(64), gaussians(64, 7)
    first = Mixture({"a": normal(x), "b": normal(x - 3)})
    second = Mixture({"a": normal(y), "b": normal(y - 3)})
    assert first.kernels is second.kernels
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == Mixture({"a": normal(x), "b": normal(x - 3)}).fingerprint


def test_bad_input_is_named() -> None:
    x, normal = gaussians(20)
    with pytest.raises(DataError, match="different numbers of events"):
        Mixture({"a": normal(x), "b": normal(x[:-1])})
    with pytest.raises(DataError, match="can't be negative, infinite or NaN"):
        Mixture({"a": np.full(3, np.nan), "b": np.ones(3)})
    with pytest.raises(DataError, match="1 of 3 events have a density of zero under all components"):
        Mixture({"a": np.array([1.0, 0.0, 1.0]), "b": np.array([1.0, 0.0, 2.0])})
    with pytest.raises(ModelError, match="must be unique"):
        Mixture({"a": np.ones(3), "b": {"a": np.ones(3)}})
    with pytest.raises(ModelError, match="node 'b': expected components, found none"):
        MixtureTree({"a": 1, "b": {}})
    with pytest.raises(ParameterError, match="bounds leave no value"):
        ParameterGrid.from_number_of_events(1.0, 100, k=1, limits=(5, 10))
    with pytest.raises(ParameterError, match="leave no grid"):
        ParameterGrid(bounds=(3, 2))
    grid = ParameterGrid(bounds=(1, 10), bins=5)
    table = np.ones((5, 3))
    with pytest.raises(ParameterError, match="leaves no value"):
        Mixture({"a": GridLeaf(table, {"m": grid})}, priors={"m": LogUniformPrior(min=20, max=30)})
    with pytest.raises(ParameterError, match="which no component has"):
        Mixture({"a": np.ones(3), "b": np.ones(3)}, priors={"m": UniformPrior(min=0, max=1)})


def test_a_prior_that_excludes_the_data() -> None:
    grid = ParameterGrid([1.0, 2.0, 3.0], scale="lin")
    table = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    mixture = Mixture({"a": GridLeaf(table, {"m": grid})}, priors={"m": UniformPrior(min=0.5, max=2.5)})
    with pytest.raises(FitError, match="the prior excludes the data"):
        mixture.sample("importance")


def test_tree_prints_shares_of_observations() -> None:
    tree = MixtureTree({"a": 1, "b": {"c": 2, "d": 3}})
    text = tree.format({"a[7]": 0.25, "a[8]": 0.5, "b[7]": 0.75, "b[8]": 0.5, "c": 1.0})
    assert text.splitlines()[1].split("  ")[-1] == "0.25 [7], 0.5 [8]"
    assert text.splitlines()[3].endswith("c  1")


def test_tree_prints_with_values() -> None:
    x, normal = gaussians(20)
    mixture = Mixture(
        {"sig": normal(x), "bkg": {"flat": np.ones(20), "right": normal(x - 3)}}, alpha={"bkg": [2, 6]}
    )
    assert str(mixture).splitlines() == [
        "Mixture of 20 events, shares in the mean of their priors",
        "mixture",
        "├── sig        0.5  Dirichlet(1, 1)",
        "└── bkg        0.5",
        "    ├── flat   0.25  Dirichlet(2, 6)",
        "    └── right  0.75",
    ]

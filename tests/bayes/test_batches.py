"""dynesty's proposals in batches: uniform in its bounds, and the same evidence as by its own."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from villard.bayes import Mixture

pytest.importorskip("dynesty", reason="dynesty isn't installed")

from dynesty.bounding import Ellipsoid, MultiEllipsoid, RadFriends, UnitCube

from villard.bayes.samplers.batches import draw_uniform


def test_draws_are_uniform_in_overlapping_ellipsoids() -> None:
    rng = np.random.default_rng(0)
    wide = Ellipsoid(2, np.array([0.4, 0.5]), np.array([[0.09, 0.02], [0.02, 0.02]]))
    round_ = Ellipsoid(2, np.array([0.7, 0.6]), np.eye(2) * 0.04)
    bound = MultiEllipsoid(2, ells=[wide, round_])
    points = draw_uniform(bound, 40_000, rng)
    assert np.all((points > 0) & (points < 1))
    # Compared with what falls in of points of the whole square, in cells.
    square = rng.random((400_000, 2))
    inside = square[[bound.contains(p) for p in square[:60_000]] + [False] * 340_000]
    edges = [np.linspace(0, 1, 7)] * 2
    found, expected = (np.histogramdd(x, edges)[0].ravel() for x in (points, inside))
    used = expected > 100
    ratio = found[used] / expected[used] * len(inside) / len(points)
    error = np.sqrt(1 / found[used] + 1 / expected[used])
    assert np.all(np.abs(ratio - 1) < 4.5 * error)
    # All of them lie in the union, but for a few by rounding.
    assert np.mean([bound.contains(p) for p in points[:500]]) > 0.99


def test_other_bounds() -> None:
    rng = np.random.default_rng(0)
    assert stats.kstest(draw_uniform(UnitCube(3), 2000, rng).ravel(), "uniform").pvalue > 1e-3
    ball = Ellipsoid(3, np.full(3, 0.5), np.eye(3) * 0.16)
    radius = np.linalg.norm(draw_uniform(ball, 4000, rng) - 0.5, axis=1) / 0.4
    assert stats.kstest(radius**3, "uniform").pvalue > 1e-3
    friends = RadFriends(2)
    friends.ctrs = np.array([[0.3, 0.3], [0.6, 0.6]])
    friends.scale_to_logvol(np.log(0.01))
    assert draw_uniform(friends, 20, rng).shape == (20, 2)


def make_mixture() -> Mixture:
    rng = np.random.default_rng(3)
    x = np.where(rng.random(100) < 0.4, rng.normal(0, 1, 100), rng.normal(4, 1, 100))
    return Mixture({"left": stats.norm.pdf(x), "right": stats.norm.pdf(x, 4)})


@pytest.mark.parametrize(
    "options",
    [{}, {"bound": "single"}, {"bound": "none"}, {"bound": "balls"}, {"sample": "rwalk"}, {"batch": 1}],
)
def test_the_same_evidence_in_every_way(options: dict[str, Any]) -> None:
    mixture = make_mixture()
    w = (np.arange(4000) + 0.5)[:, None] / 4000
    likelihood = mixture.log_likelihood(w)
    exact = np.log(np.mean(np.exp(likelihood - likelihood.max()))) + likelihood.max()
    p = mixture.sample(
        "dynesty", nlive=100, dlogz=0.3, random_state=1, refine_evidence=False, check_prior=False, **options
    )
    assert abs(p.log_evidence - exact) < 3 * p.log_evidence_error
    mean = np.exp(likelihood - likelihood.max()) @ w[:, 0] / np.sum(np.exp(likelihood - likelihood.max()))
    assert p.mean["left"] == pytest.approx(mean, abs=4 * p.sd["left"] / np.sqrt(p.ess))
    assert p.n_calls >= p.diagnostics["iterations"]

"""Proposals of dynesty whose likelihoods are computed many at once.

dynesty asks for one new point at a time. These proposals keep a stock of points whose likelihoods were
computed in one compiled call, and hand them out one after the other. The module needs dynesty: it is
imported where that sampler runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from dynesty.bounding import Ellipsoid, MultiEllipsoid, UnitCube
from dynesty.internal_samplers import RWalkSampler, SamplerReturn, UniformBoundSampler
from numpy.typing import NDArray

__all__ = ["BatchedUniform", "BatchedWalk", "draw_uniform"]

Array = NDArray[np.float64]

#: Walks that go on side by side are at most this part of the live points: when they end, the threshold has
#: risen, and some are lost.
_WALKERS = 0.1


def draw_uniform(bound: Any, n: int, rng: np.random.Generator) -> Array:
    """Draw points that are uniform in a bound of dynesty and in the unit cube, shape (n, n_dim).

    Parameters
    ----------
    bound : `dynesty.bounding.Bound`
        Bound: the cube, one or several ellipsoids, or another one.
    n : int
        Number of points.
    rng : `~numpy.random.Generator`
        Random numbers.
    """
    if isinstance(bound, UnitCube):
        return rng.random((n, bound.ndim))
    parts: list[Array] = []
    while sum(map(len, parts)) < n:
        # Some lie outside of the cube: draw more than are lacking.
        points = _in_ellipsoids(bound, 2 * n, rng)
        parts.append(points[np.all((points > 0) & (points < 1), axis=1)])
    return np.concatenate(parts)[:n]


def _in_ellipsoids(bound: Any, n: int, rng: np.random.Generator) -> Array:
    """Draw from the union of ellipsoids; where q of them overlap, one point of q is kept."""
    if isinstance(bound, Ellipsoid):
        ellipsoids, part = [bound], np.ones(1)
    elif isinstance(bound, MultiEllipsoid):
        ellipsoids, part = bound.ells, np.exp(bound.logvol_ells - bound.logvol)
    else:
        return np.asarray(bound.samples(n, rstate=rng))
    centers = np.array([e.ctr for e in ellipsoids])
    axes = np.array([e.axes for e in ellipsoids])
    which = np.minimum(np.searchsorted(np.cumsum(part), rng.random(n)), len(part) - 1)
    points = centers[which] + np.einsum("nij,nj->ni", axes[which], _in_ball(n, centers.shape[1], rng))
    if len(ellipsoids) == 1:
        return points
    away = points[:, np.newaxis] - centers
    inverse = np.array([e.am for e in ellipsoids])
    overlap = np.sum(np.einsum("nei,eij,nej->ne", away, inverse, away) < 1, axis=1)
    return points[rng.random(n) * overlap < 1]


def _in_ball(n: int, d: int, rng: np.random.Generator) -> Array:
    x = rng.standard_normal((n, d))
    return np.asarray(x * (rng.random(n) ** (1 / d) / np.linalg.norm(x, axis=1))[:, np.newaxis])


def _finished(points: SamplerReturn) -> SamplerReturn:
    return points


class BatchedUniform(UniformBoundSampler):
    """Points uniform in the bound, until one is above the threshold.

    This is dynesty's ``"unif"``, draw by draw: a stock of points from the present bound is compared with the
    threshold in order, and thrown away when the bound changes.

    Parameters
    ----------
    **kwargs
        ``prior_many`` and ``likelihood_many``: functions of many points. ``size``: points per call.
        Others are dynesty's.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._bound_number = -1
        self._next = 0
        self._u = self._theta = self._log_likelihood = np.zeros(0)

    def prepare_sampler(self, *, loglstar: Any = None, nested_sampler: Any = None, **_: Any) -> list[Any]:
        """Return the next point above the threshold, as `sample` is to return it."""
        if self._bound_number != nested_sampler.nbound:
            self._bound_number, self._next = nested_sampler.nbound, len(self._u)
        calls = 0
        while True:
            good = np.flatnonzero(self._log_likelihood[self._next :] > loglstar)
            if len(good):
                break
            calls += len(self._u) - self._next
            self._fill(nested_sampler)
        i = self._next + int(good[0])
        calls += int(good[0]) + 1
        self._next = i + 1
        return [_point(self._u[i], self._theta[i], self._log_likelihood[i], calls)]

    sample = staticmethod(_finished)

    def _fill(self, nested_sampler: Any) -> None:
        size = int(self.input_kwargs["size"])
        bound = nested_sampler.bound
        if getattr(bound, "need_centers", False):
            bound.ctrs = nested_sampler.live_u
        self._u = draw_uniform(bound, size, nested_sampler.rstate)
        self._theta = self.input_kwargs["prior_many"](self._u)
        self._log_likelihood = self.input_kwargs["likelihood_many"](self._theta)
        self._next = 0


class BatchedWalk(RWalkSampler):
    """Random walks that go on side by side: dynesty's ``"rwalk"``, with one call per step of all of them.

    Parameters
    ----------
    **kwargs
        As for `BatchedUniform`, and ``walks``: steps of each.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._stock: list[SamplerReturn] = []

    def prepare_sampler(self, *, loglstar: Any = None, nested_sampler: Any = None, **_: Any) -> list[Any]:
        """Return the next end of a walk, as `sample` is to return it."""
        if not self._stock:
            self._stock = self._walk(loglstar, nested_sampler)
        return [self._stock.pop()]

    sample = staticmethod(_finished)

    def tune(self, tuning_info: Any, update: bool = True) -> None:
        """Change the length of steps when all walks of a stock are known."""
        super().tune(tuning_info, update=not self._stock)

    def _walk(self, threshold: float, nested: Any) -> list[SamplerReturn]:
        rng, n_dim = nested.rstate, nested.ndim
        n = max(1, min(int(self.input_kwargs["size"]), int(_WALKERS * nested.nlive)))
        walks = int(self.sampler_kwargs["walks"])
        start = rng.choice(np.flatnonzero(nested.live_logl > threshold), size=n)
        u, log_likelihood = nested.live_u[start].copy(), nested.live_logl[start].copy()
        theta = nested.live_v[start].copy()
        axes = self.scale * np.array([nested.bound.get_random_axes(rng) for _ in range(n)])
        accepted = np.zeros(n, dtype=int)
        for _ in range(walks):
            proposed = u + np.einsum("nij,nj->ni", axes, _in_ball(n, n_dim, rng))
            inside = np.all((proposed > 0) & (proposed < 1), axis=1)
            proposed = np.where(inside[:, np.newaxis], proposed, u)
            new = self.input_kwargs["prior_many"](proposed)
            value = self.input_kwargs["likelihood_many"](new)
            better = inside & (value > threshold)
            u[better], theta[better], log_likelihood[better] = proposed[better], new[better], value[better]
            accepted += better
        tuning = [{"accept": int(a), "reject": walks - int(a), "scale": self.scale} for a in accepted]
        rows = zip(u, theta, log_likelihood, tuning, strict=True)
        return [_point(*row[:3], walks, row[3]) for row in rows]


def _point(u: Array, theta: Array, value: Any, calls: int, tuning: Any = None) -> SamplerReturn:
    return SamplerReturn(
        u=u,
        v=theta,
        logl=float(value),
        ncalls=calls,
        tuning_info=tuning,
        evaluation_history=[],
        proposal_stats={},
    )

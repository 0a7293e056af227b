r"""Mixtures: the posterior of shares and parameters, given the marginal likelihoods of events.

.. math::
    \ln L(\theta) = \sum_i n_i \ln \sum_c w_c(\theta)\, \mathcal{L}_{ic}(\theta)
    \quad \left[+ N \ln \Lambda - \Lambda - \ln N! \right]

with the weights of a tree whose nodes have Dirichlet priors, and in brackets the Poisson term for the
number of events in all, if it has a prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jnp
from villard.bayes.coordinates import Continuous, Coordinate, Discrete, Shares, Space
from villard.bayes.grids import ParameterGrid
from villard.bayes.leaves import FixedLeaf, GridLeaf, Leaf
from villard.bayes.problem import Problem
from villard.bayes.tree import MixtureTree
from villard.exceptions import DataError, ModelError, ParameterError
from villard.modeling.prior import Prior, UniformPrior

__all__ = ["Mixture", "ObservedLeaves"]

Array = NDArray[np.float64]

#: Numbers of events are filled up to a multiple of this, so that few shapes are compiled.
_PAD = 64
#: Name of the expected number of events in all.
TOTAL = "total"


@dataclass
class ObservedLeaves:
    """Leaves of one observation.

    Parameters
    ----------
    leaves : dict of `Leaf`
        Leaves by name.
    weights : array
        How often each event is there, shape (n_events,).
    name : str
        Name of the observation, for parameters that are its own.
    """

    leaves: dict[str, Leaf]
    weights: Array
    name: str = "0"


@dataclass(frozen=True)
class _Block:
    """How the likelihood of one observation is put together: structure only."""

    leaves: tuple[Leaf, ...]
    paths: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[tuple[str, int], ...], ...]
    total: int | None
    key: Any


class Mixture(Problem):
    """Posterior of a mixture, given what each event's density is under each component.

    `EventMixture` makes these densities of events and responses; this class takes them from anywhere.

    Parameters
    ----------
    components : mapping
        A tree: by name an array of densities, shape (n_events,), a `GridLeaf`, or a mapping of such.
        For several observations lists of arrays or leaves.
    weights : array or list of array, optional
        How often each event is there; once by default.
    alpha : float or mapping
        Concentrations of the Dirichlet priors, see `MixtureTree`.
    priors : mapping of `~villard.modeling.prior.Prior`, optional
        Priors of parameters by name. A grid without one has equal probabilities for its values, or between
        them a density that is flat on its scale.
    total : `~villard.modeling.prior.Prior`, optional
        Prior of the expected number of events in all. With it the likelihood has a Poisson term, and θ
        "total" (one per observation).
    separate : list of str
        Names of nodes or parameters that each observation has for itself.
    name : str
        Name, for messages.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = np.concatenate([rng.normal(0, 1, 70), rng.normal(5, 1, 30)])
    >>> normal = lambda t: np.exp(-t**2 / 2) / np.sqrt(2 * np.pi)
    >>> mixture = Mixture({"left": normal(x), "right": normal(x - 5)})
    >>> print(mixture)
    Mixture of 100 events, shares in the mean of their priors
    mixture
    ├── left     0.5  Dirichlet(1, 1)
    └── right    0.5
    >>> round(mixture.log_likelihood([0.7]) - mixture.log_likelihood([0.5]), 2)
    8.15
    """

    #: Units and limits of parameters on grids, by name.
    _units: Mapping[str, str] = {}
    _limits: Mapping[str, tuple[float, float]] = {}

    def __init__(
        self,
        components: Mapping[str, Any],
        weights: Any = None,
        alpha: Any = 1.0,
        priors: Mapping[str, Prior] | None = None,
        total: Prior | None = None,
        separate: Sequence[str] = (),
        name: str = "Mixture",
    ) -> None:
        tree = MixtureTree(components, alpha)
        leaves = tree.leaves
        several = [_is_several(leaf) for leaf in leaves.values()]
        n = len(next(iter(leaves.values()))) if all(several) and several else 1
        if any(several) and not all(several):
            raise ModelError(
                f"{name}: expected for every leaf a list with one entry per observation, or none"
            )
        weights = weights if all(several) and weights is not None else [weights] * n
        observed = []
        for k in range(n):
            own = {key: _as_leaf(leaf[k] if all(several) else leaf) for key, leaf in leaves.items()}
            n_events = next(iter(own.values())).n_events
            observed.append(ObservedLeaves(own, _weights(weights[k], n_events), str(k)))
        self._setup(tree, observed, dict(priors or {}), total, separate, name)

    def _setup(
        self,
        tree: MixtureTree,
        observed: Sequence[ObservedLeaves],
        priors: Mapping[str, Prior | Coordinate],
        total: Prior | None,
        separate: Sequence[str],
        name: str,
    ) -> None:
        if not (total is None or isinstance(total, Prior)):
            raise ParameterError(f"{name}: expected for total a prior, found {total!r}")
        self.tree, self.name, self.total = tree, name, total
        self.observed = [_scaled(each, name) for each in observed]
        self._priors = dict(priors)
        self._separate = _check_separate(separate, tree, self._parameter_names(), name)
        unused = set(self._priors) - set(self._parameter_names())
        if unused:
            raise ParameterError(f"{name}: priors of {sorted(unused)}, which no component has")
        coordinates, self._where = self._coordinates()
        self.space = Space(coordinates)
        self._blocks = [self._block(each.leaves, each.name) for each in (o[0] for o in self.observed)]
        self.data = [
            {
                "leaves": [leaf.data for leaf in each.leaves.values()],
                "weights": each.weights,
                "constant": np.float64(constant),
            }
            for each, constant in self.observed
        ]
        n_events = sum(len(each.weights) for each, _ in self.observed)
        self.n_numbers = n_events * (1 + len(tree.leaf_names))

    @property
    def n_events(self) -> float:
        """Number of events, all observations together."""
        return float(sum(np.sum(each.weights) for each, _ in self.observed))

    def _parameter_names(self) -> list[str]:
        leaves = [leaf for each, _ in self.observed for leaf in each.leaves.values()]
        return list(dict.fromkeys(name for leaf in leaves for name in leaf.parameter_names))

    def _own_name(self, name: str, group: str, observation: str) -> str:
        """Name of a share or parameter in θ: with the observation if each has its own."""
        return f"{name}[{observation}]" if group in self._separate and len(self.observed) > 1 else name

    def _coordinates(self) -> tuple[list[Coordinate], dict[str, int]]:
        coordinates: dict[str, Coordinate] = {}
        for each, _ in self.observed:
            for node in self.tree.nodes:
                names = [self._own_name(c.name, node.name, each.name) for c in node.children]
                if len(names) > 1 and names[0] not in coordinates:
                    assert node.alpha is not None
                    coordinates[names[0]] = Shares(names, node.alpha)
            for name in self._parameter_names():
                own = self._own_name(name, name, each.name)
                if own not in coordinates:
                    coordinates[own] = self._parameter(name, own)
        if self.total is not None:
            for each, _ in self.observed:
                own = f"{TOTAL}[{each.name}]" if len(self.observed) > 1 else TOTAL
                coordinates[own] = Continuous(own, self.total, (0.0, math.inf))
        ordered = sorted(coordinates.values(), key=lambda c: not isinstance(c, Shares))
        names = [name for c in ordered for name in c.names]
        return ordered, {name: i for i, name in enumerate(names)}

    def _parameter(self, name: str, own: str) -> Coordinate:
        prior = self._priors.get(name)
        grids = [
            leaf.grids[name]
            for each, _ in self.observed
            for leaf in each.leaves.values()
            if isinstance(leaf, GridLeaf) and name in leaf.grids
        ]
        limits = self._limits.get(name, (-math.inf, math.inf))
        return make_coordinate(own, prior, grids, self._units.get(name, ""), limits)

    def _block(self, leaves: dict[str, Leaf], observation: str) -> _Block:
        weights = self._weight_index(observation)
        paths = tuple(tuple(weights[step] for step in self.tree.path(name)) for name in leaves)
        columns = tuple(
            tuple((p, self._where[self._own_name(p, p, observation)]) for p in leaf.parameter_names)
            for leaf in leaves.values()
        )
        total = None
        if self.total is not None:
            total = self._where[f"{TOTAL}[{observation}]" if len(self.observed) > 1 else TOTAL]
        # The structure is kept with the compiled function: without the arrays, which would stay in memory.
        bare = tuple(_without_arrays(leaf) for leaf in leaves.values())
        key = (paths, columns, total, tuple(leaf.key for leaf in leaves.values()))
        return _Block(bare, paths, columns, total, key)

    def _weight_index(self, observation: str) -> dict[str, int]:
        """Position of each share among all shares, as `_all_shares` lists them; 0 is the number 1."""
        index: dict[str, int] = {}
        positions = {name: i + 1 for i, name in enumerate(self._share_names)}
        for node in self.tree.nodes:
            for child in node.children:
                own = self._own_name(child.name, node.name, observation)
                index[child.name] = positions.get(own, 0)
        return index

    @property
    def _share_names(self) -> list[str]:
        shares = [c for c in self.space.coordinates if isinstance(c, Shares)]
        return [name for c in shares for name in (*c.names, *c.derived_names)]

    @property
    def _key(self) -> Any:
        return tuple(block.key for block in self._blocks)

    def _make_log_likelihood(self) -> Callable[[Any, Any], Any]:
        blocks, shares = self._blocks, _all_shares(self.space)

        def log_likelihood(theta: Any, data: Any) -> Any:
            every = shares(theta)
            return sum(_log_likelihood(b, theta, every, d) for b, d in zip(blocks, data, strict=True))

        return log_likelihood

    def __str__(self) -> str:
        means: dict[str, float] = {}
        notes: dict[str, str] = {}
        for node in self.tree.nodes:
            assert node.alpha is not None
            means |= {
                c.name: float(a) for c, a in zip(node.children, node.alpha / node.alpha.sum(), strict=True)
            }
            if len(node.children) > 1:
                text = ", ".join(f"{a:g}" for a in node.alpha)
                notes[node.children[0].name] = f"Dirichlet({text})"
        lines = [f"{self.name} of {self.n_events:g} events, shares in the mean of their priors"]
        lines.append(self.tree.format(means, notes))
        for c in self.space.coordinates:
            if not isinstance(c, Shares):
                lines.append(_describe(c))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.tree.leaf_names)}; {self.n_events:g} events)"


def make_coordinate(
    name: str,
    prior: Any,
    grids: Sequence[ParameterGrid],
    unit: str = "",
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Coordinate:
    """Return the coordinate of a parameter: on a grid, between the ends of one, or free.

    Parameters
    ----------
    name : str
        Name.
    prior : `~villard.modeling.prior.Prior` or `Coordinate`, optional
        Prior; needed without a grid.
    grids : list of `ParameterGrid`
        Grids of the leaves that have the parameter.
    unit : str
        Unit of a grid's values.
    limits : (float, float)
        Limits of a discrete parameter: values beyond have no probability.
    """
    if not grids:
        if prior is None:
            raise ParameterError(f"{name}: a parameter without a grid needs a prior")
        return prior.renamed(name) if isinstance(prior, Continuous) else Continuous(name, prior)
    base = prior.prior if isinstance(prior, Continuous) else prior
    unit = prior.unit if isinstance(prior, Coordinate) else unit
    grid = grids[0]
    if grid.discrete:
        p = np.ones(len(grid.values)) if base is None else _cell_probabilities(grid, base, name)
        p = np.where((grid.values >= limits[0]) & (grid.values <= limits[1]), p, 0.0)
        return Discrete(name, grid.values, p, unit)
    if base is None:
        from villard.modeling.prior import LogUniformPrior

        kind = LogUniformPrior if grid.scale == "log10" else UniformPrior
        base = kind(min=grid.values[0], max=grid.values[-1])
    return Continuous(name, base, (float(grid.values[0]), float(grid.values[-1])), unit)


def _cell_probabilities(grid: ParameterGrid, prior: Prior, name: str) -> Array:
    """Probability of each value: density times the width of its cell, which is equal on the grid's scale."""
    low, high = prior.support
    inside = (grid.values >= low * (1 - 1e-12 * np.sign(low))) & (grid.values <= high * (1 + 1e-12))
    values = np.clip(grid.values, low, high)
    jacobian = values if grid.scale == "log10" else 1.0
    density = np.where(inside, np.exp(-0.5 * np.asarray(prior(values))) * jacobian, 0.0)
    if not np.any(density > 0):
        raise ParameterError(f"{name}: the prior {prior!r} leaves no value of {grid!r}")
    return density


def _is_several(leaf: Any) -> bool:
    """Whether a leaf is a list with one entry per observation, rather than one of numbers."""
    return isinstance(leaf, list | tuple) and not any(isinstance(x, int | float) for x in leaf)


def _as_leaf(values: Any) -> Leaf:
    return values if isinstance(values, Leaf) else FixedLeaf(np.asarray(values, dtype=float))


def _weights(weights: Any, n_events: int) -> Array:
    if weights is None:
        return np.ones(n_events)
    array = np.asarray(weights, dtype=float)
    if array.shape != (n_events,) or not np.all((array >= 0) & np.isfinite(array)):
        raise DataError(f"Mixture: expected {n_events} weights of events, not negative, found {array.shape}")
    return array


def _scaled(each: ObservedLeaves, name: str) -> tuple[ObservedLeaves, float]:
    """Bring the densities of each event to the order of 1, and fill up the number of events.

    Returns
    -------
    leaves, constant
        The constant is to be added to ln L.
    """
    numbers = {key: leaf.n_events for key, leaf in each.leaves.items()}
    if len(set(numbers.values())) != 1:
        raise DataError(f"{name}: components have different numbers of events: {numbers}")
    n = next(iter(numbers.values()))
    if n == 0:
        raise DataError(f"{name}: there are no events")
    top = np.max([leaf.largest() for leaf in each.leaves.values()], axis=0)
    impossible = np.flatnonzero((top <= 0) & (each.weights > 0))
    if len(impossible):
        raise DataError(
            f"{name}: {len(impossible)} of {n} events have a density of zero under all components, "
            f"the first is event {impossible[0]}: remove them, or add a component that explains them"
        )
    factor = np.where(top > 0, 1 / np.where(top > 0, top, 1.0), 1.0)
    constant = -float(np.sum(each.weights * np.log(factor)))
    leaves = {key: leaf.scaled(factor) for key, leaf in each.leaves.items()}
    return ObservedLeaves(leaves, each.weights, each.name), constant


def _check_separate(
    separate: Sequence[str], tree: MixtureTree, parameters: Sequence[str], name: str
) -> set[str]:
    known = [node.name for node in tree.nodes] + list(parameters)
    for each in separate:
        if each not in known:
            raise ModelError(f"{name}: separate has {each!r}, expected nodes or parameters of {known}")
    return set(separate)


def _without_arrays(leaf: Leaf) -> Leaf:
    from copy import copy

    from villard.bayes.leaves import SpectralLeaf

    nothing = np.zeros(0)
    bare = copy(leaf)
    if isinstance(bare, FixedLeaf):
        bare.density = nothing
    elif isinstance(bare, GridLeaf):
        bare.table = nothing
    elif isinstance(bare, SpectralLeaf):
        bare.terms = [t.without_data() for t in bare.terms]
        bare.constant = nothing
    return bare


def _all_shares(space: Space) -> Callable[[Any], Any]:
    """Return the function that lists 1 and the shares of all children, of θ."""
    slices = [s for c, s in zip(space.coordinates, space.slices, strict=True) if isinstance(c, Shares)]

    def shares(theta: Any) -> Any:
        parts = [jnp.ones(1)]
        for s in slices:
            own = theta[s]
            parts += [own, 1 - jnp.sum(own, keepdims=True)]
        return jnp.concatenate(parts)

    return shares


def _log_likelihood(block: _Block, theta: Any, shares: Any, data: Any) -> Any:
    density: Any = 0.0
    rows = zip(block.leaves, block.paths, block.columns, data["leaves"], strict=True)
    for leaf, path, columns, own in rows:
        weight = jnp.prod(shares[jnp.array(path)])
        density = density + weight * leaf.values({p: theta[i] for p, i in columns}, own)
    n = data["weights"]
    good = density > 0
    log = jnp.where(good, jnp.log(jnp.where(good, density, 1.0)), jnp.where(n > 0, -jnp.inf, 0.0))
    value = jnp.sum(jnp.where(n > 0, n * log, 0.0)) + data["constant"]
    if block.total is not None:
        from jax.scipy.special import gammaln

        total = jnp.sum(n)
        value = value + total * jnp.log(theta[block.total]) - theta[block.total] - gammaln(total + 1)
    return value


def _describe(c: Coordinate) -> str:
    unit = f" {c.unit}" if getattr(c, "unit", "") else ""
    if isinstance(c, Discrete):
        return f"{c.names[0]}: {len(c.values)} values from {c.values[0]:.4g} to {c.values[-1]:.4g}{unit}"
    if isinstance(c, Continuous):
        return f"{c.names[0]}: {c.prior!r}{unit}"
    return c.names[0]

"""The parameters of a posterior: each with its prior, as a function of the unit cube and of the real line.

Python samplers move in the unit cube (`Coordinate.from_unit`, in numpy). Samplers with derivatives move
on the real line (`Coordinate.from_real`, traced by JAX): there every point is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes import dirichlet
from villard.exceptions import ParameterError
from villard.modeling.prior import LogUniformPrior, Prior
from villard.utils.array import namespace

__all__ = ["Continuous", "Coordinate", "Discrete", "Shares", "Space"]

Array = NDArray[np.float64]

#: Ratio of bounds above which a positive parameter moves in its logarithm.
_LOG_RATIO = 30.0
#: Coordinates of the unit cube are kept that far away from 0 and 1.
_TINY = 1e-12


def _sigmoid(z: Any) -> Any:
    xp = namespace(z)
    return 0.5 * (1 + xp.tanh(0.5 * z))


def _log_slope(z: Any) -> Any:
    """ln(u (1 - u)) of u = sigmoid(z)."""
    xp = namespace(z)
    return -xp.abs(z) - 2 * xp.log1p(xp.exp(-xp.abs(z)))


def _logit(u: Array) -> Array:
    """Inverse of `_sigmoid`, finite everywhere."""
    u = np.clip(u, _TINY, 1 - _TINY)
    return np.asarray(np.log(u) - np.log1p(-u))


class Coordinate:
    """One or several numbers of θ with a prior of their own."""

    names: list[str]
    derived_names: list[str] = []
    n_free: int = 1
    unit: str = ""
    is_continuous: bool = True

    def from_unit(self, u: Array) -> Array:
        """Turn coordinates of the unit cube (..., n_free) into values."""
        raise NotImplementedError

    def from_real(self, z: Any) -> tuple[Any, Any]:
        """Turn real numbers (n_free,) into values and the log of the prior's density on the real line."""
        raise NotImplementedError

    def to_real(self, x: Array, rng: np.random.Generator) -> Array:
        """Turn values (..., n_free) into real numbers: the inverse of `from_real`.

        Of a value that an interval of real numbers leads to, one of them is drawn.
        """
        raise NotImplementedError

    def log_prior(self, x: Any) -> Any:
        """ln p of values (n_free,)."""
        raise NotImplementedError

    def derived(self, x: Array) -> Array:
        """Return values that follow from these, (..., n)."""
        return np.zeros((*np.shape(x)[:-1], 0))

    @property
    def key(self) -> Any:
        """What the compiled functions depend on."""
        raise NotImplementedError


class Continuous(Coordinate):
    """A parameter with a prior of `villard.modeling.prior`.

    Parameters
    ----------
    name : str
        Name.
    prior : `~villard.modeling.prior.Prior`
        Prior, in the unit of the parameter.
    bounds : (float, float)
        Limits that cut the prior off.
    unit : str
        Unit, for prints.

    Raises
    ------
    ParameterError
        If the limits leave nothing of the prior, or the prior has a weight other than 1.
    """

    def __init__(
        self,
        name: str,
        prior: Prior,
        bounds: tuple[float, float] = (-math.inf, math.inf),
        unit: str = "",
    ) -> None:
        if prior.weight != 1:
            raise ParameterError(f"{name}: a prior with the weight {prior.weight:g} is no distribution")
        self.names, self.unit, self.prior = [name], unit, prior
        # Parameters without a limit have NaN.
        low, high = (
            s * math.inf if math.isnan(b) else float(b) for b, s in zip(bounds, (-1, 1), strict=True)
        )
        support = prior.support
        self.low, self.high = max(low, support[0]), min(high, support[1])
        self._quantiles = _rank(prior, self.low, name), _rank(prior, self.high, name)
        if not (self.low < self.high and self._quantiles[1] - self._quantiles[0] > 1e-12):
            raise ParameterError(
                f"{name}: its limits [{low:g}, {high:g}] leave nothing of the prior {prior!r}"
            )
        self._log_mass = math.log(self._quantiles[1] - self._quantiles[0])
        self._logarithmic = self.low > 0 and (
            isinstance(prior, LogUniformPrior) or self.high > _LOG_RATIO * self.low
        )
        middle = self.from_unit(np.array([[0.159], [0.5], [0.841]]))[:, 0]
        self._center, self._width = float(middle[1]), max(0.5 * float(middle[2] - middle[0]), 1e-300)

    def renamed(self, name: str) -> Continuous:
        """Return the same with another name, as that of an observation which has its own."""
        return Continuous(name, self.prior, (self.low, self.high), self.unit)

    @property
    def key(self) -> Any:
        """Kind of prior and values."""
        values = tuple(self.prior.values.items())
        return type(self.prior), values, self.low, self.high, self._center, self._width

    def from_unit(self, u: Array) -> Array:
        """Quantile function of the prior between its limits."""
        low, high = self._quantiles
        rank = low + np.clip(u, 0.0, 1.0) * (high - low)
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            rank = np.clip(rank, _TINY, 1 - _TINY)
        return np.asarray(np.clip(self.prior.inverse_cdf(rank), self.low, self.high))

    def log_prior(self, x: Any) -> Any:
        """ln p, normalised between the limits."""
        xp = namespace(x)
        inside = (x[0] >= self.low) & (x[0] <= self.high)
        safe = xp.where(inside, x[0], self._center)
        return xp.where(inside, -0.5 * self.prior(safe) - self._log_mass, -xp.inf)

    def from_real(self, z: Any) -> tuple[Any, Any]:
        """Logistic between two limits, exponential above one, else shifted and scaled."""
        xp = namespace(z)
        z = z[0]
        if math.isfinite(self.low) and math.isfinite(self.high):
            low, high = (self.low, self.high)
            if self._logarithmic:
                low, high = math.log(low), math.log(high)
            x = low + (high - low) * _sigmoid(z)
            log_slope = math.log(high - low) + _log_slope(z)
            if self._logarithmic:
                log_slope, x = log_slope + x, xp.exp(x)
        elif math.isfinite(self.low):
            scale = math.log(self._center - self.low)
            x, log_slope = self.low + xp.exp(z + scale), z + scale
        elif math.isfinite(self.high):
            scale = math.log(self.high - self._center)
            x, log_slope = self.high - xp.exp(z + scale), z + scale
        else:
            x, log_slope = self._center + self._width * z, math.log(self._width) + 0 * z
        x = xp.clip(x, self.low, self.high)[None]
        return x, self.log_prior(x) + log_slope

    def to_real(self, x: Array, rng: np.random.Generator) -> Array:
        """Inverse of `from_real`."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            low, high = self.low, self.high
            if self._logarithmic:
                low, high, x = math.log(low), math.log(high), np.log(x)
            return _logit((x - low) / (high - low))
        if math.isfinite(self.low):
            return np.asarray(np.log(np.maximum(x - self.low, 1e-300) / (self._center - self.low)))
        if math.isfinite(self.high):
            return np.asarray(np.log(np.maximum(self.high - x, 1e-300) / (self.high - self._center)))
        return np.asarray((x - self._center) / self._width)


def _rank(prior: Prior, value: float, name: str) -> float:
    """Return the part of a prior below a value, from its quantile function."""
    if not math.isfinite(value):
        return 0.0 if value < 0 else 1.0
    if value <= prior.support[0]:
        return 0.0
    if value >= prior.support[1]:
        return 1.0
    try:
        low, high = 0.0, 1.0
        for _ in range(80):
            middle = 0.5 * (low + high)
            below = float(prior.inverse_cdf(middle)) < value
            low, high = (middle, high) if below else (low, middle)
    except NotImplementedError as error:
        raise ParameterError(
            f"{name}: {type(prior).__name__} has no inverse_cdf, which sampling needs"
        ) from error
    return 0.5 * (low + high)


class Discrete(Coordinate):
    """A parameter that takes the values of a grid only.

    Parameters
    ----------
    name : str
        Name.
    values : array
        Values, increasing.
    probabilities : array
        Prior probability of each; they are normalised.
    unit : str
        Unit, for prints.
    """

    is_continuous = False

    def __init__(self, name: str, values: Array, probabilities: Array, unit: str = "") -> None:
        self.names, self.unit = [name], unit
        self.values = np.asarray(values, dtype=float)
        p = np.asarray(probabilities, dtype=float)
        if not (np.all(p >= 0) and np.sum(p) > 0):
            raise ParameterError(f"{name}: the prior leaves no value of the grid")
        self.probabilities = p / p.sum()
        self._cumulative = np.cumsum(self.probabilities)
        self._between = 0.5 * (self.values[1:] + self.values[:-1])

    @property
    def key(self) -> Any:
        """Values and probabilities."""
        return self.values.tobytes(), self.probabilities.tobytes()

    def from_unit(self, u: Array) -> Array:
        """Value whose interval of cumulative probability holds the coordinate."""
        index = np.searchsorted(self._cumulative, u, side="right")
        return np.asarray(self.values[np.minimum(index, len(self.values) - 1)])

    def log_prior(self, x: Any) -> Any:
        """Logarithm of the probability of the nearest value."""
        xp = namespace(x)
        with np.errstate(divide="ignore"):
            log = np.log(self.probabilities)
        return xp.asarray(log)[xp.searchsorted(xp.asarray(self._between), x[0])]

    def from_real(self, z: Any) -> tuple[Any, Any]:
        """As from the unit cube, of which the logistic function makes real numbers."""
        xp = namespace(z)
        index = xp.searchsorted(xp.asarray(self._cumulative), _sigmoid(z[0]), side="right")
        value = xp.asarray(self.values)[xp.minimum(index, len(self.values) - 1)]
        return value[None], _log_slope(z[0])

    def to_real(self, x: Array, rng: np.random.Generator) -> Array:
        """Draw a point of the interval that leads to the nearest value."""
        index = np.searchsorted(self._between, x)
        return _logit(self._cumulative[index] - self.probabilities[index] * rng.random(np.shape(x)))


class Shares(Coordinate):
    """Weights of the children of a node, with a Dirichlet prior; all but the last are in θ.

    Parameters
    ----------
    names : list of str
        Names of all children.
    alpha : array
        Concentrations.
    """

    def __init__(self, names: Sequence[str], alpha: Array) -> None:
        self.names, self.derived_names = list(names[:-1]), [names[-1]]
        self.alpha = np.asarray(alpha, dtype=float)
        self.n_free = len(names) - 1
        self._rests = dirichlet.rests(self.alpha)

    @property
    def key(self) -> Any:
        """Concentrations."""
        return ("shares", tuple(self.alpha))

    def from_unit(self, u: Array) -> Array:
        """Break the stick."""
        return dirichlet.stick_breaking(u, self.alpha)[..., :-1]

    def derived(self, x: Array) -> Array:
        """Weight of the last child."""
        return np.clip(1 - np.sum(x, axis=-1, keepdims=True), 0.0, 1.0)

    def log_prior(self, x: Any) -> Any:
        """Dirichlet density."""
        xp = namespace(x)
        weights = xp.concatenate([x, 1 - xp.sum(x, axis=-1, keepdims=True)], axis=-1)
        return dirichlet.log_dirichlet(weights, self.alpha)

    def from_real(self, z: Any) -> tuple[Any, Any]:
        """Logistic fractions of the stick, shifted so that 0 is where all weights are equal."""
        xp = namespace(z)
        shifted = z - np.log(np.arange(self.n_free, 0, -1.0))
        log_slope = _log_slope(shifted)
        v = _sigmoid(shifted)
        gammaln = _gammaln(xp)
        a, b = self.alpha[:-1], self._rests
        # ln v and ln(1 - v) without loss of digits.
        log_v = -xp.logaddexp(0.0, -shifted)
        log_rest = -xp.logaddexp(0.0, shifted)
        log_beta = (a - 1) * log_v + (b - 1) * log_rest + gammaln(a + b) - gammaln(a) - gammaln(b)
        return dirichlet.break_stick(v)[..., :-1], xp.sum(log_beta + log_slope)

    def to_real(self, x: Array, rng: np.random.Generator) -> Array:
        """Inverse of `from_real`."""
        v = dirichlet.sticks(np.concatenate([x, self.derived(x)], axis=-1))
        return _logit(v) + np.log(np.arange(self.n_free, 0, -1.0))


def _gammaln(xp: Any) -> Any:
    from villard.utils.array import special

    return special(xp).gammaln


class Space:
    """All coordinates of a posterior, in order.

    Parameters
    ----------
    coordinates : list of `Coordinate`
        Coordinates.

    Raises
    ------
    ParameterError
        If there are none, or two have the same name.
    """

    def __init__(self, coordinates: Sequence[Coordinate]) -> None:
        self.coordinates = list(coordinates)
        self.names = [name for c in self.coordinates for name in c.names]
        ends = np.cumsum([0, *(c.n_free for c in self.coordinates)])
        self.slices = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        self.n_dim = int(ends[-1])
        if not self.n_dim:
            raise ParameterError("There is nothing to sample: no weights, and no free parameter with a prior")
        everything = self.all_names
        twice = sorted({name for name in everything if everything.count(name) > 1})
        if twice:
            raise ParameterError(f"Two parameters of the posterior have the name {twice[0]!r}")

    @property
    def all_names(self) -> list[str]:
        """Names of θ and of what is derived from it, as `with_derived` orders them."""
        return [name for c in self.coordinates for name in (*c.names, *c.derived_names)]

    @property
    def units(self) -> dict[str, str]:
        """Units by name."""
        return {n: getattr(c, "unit", "") for c in self.coordinates for n in (*c.names, *c.derived_names)}

    @property
    def key(self) -> Any:
        """What compiled functions depend on."""
        return tuple((type(c).__name__, c.key) for c in self.coordinates)

    @property
    def is_continuous(self) -> bool:
        """Whether the likelihood can be differentiated by all coordinates."""
        return all(c.is_continuous for c in self.coordinates)

    @property
    def discrete_names(self) -> list[str]:
        """Names of parameters that take values of a grid only."""
        return [c.names[0] for c in self.coordinates if not c.is_continuous]

    def from_unit(self, u: Any) -> Array:
        """Turn points of the unit cube into θ, shape (..., n_dim)."""
        u = np.asarray(u, dtype=float)
        if u.shape[-1:] != (self.n_dim,):
            raise ParameterError(
                f"prior_transform: expected {self.n_dim} coordinates, found the shape {u.shape}"
            )
        parts = [c.from_unit(u[..., s]) for c, s in zip(self.coordinates, self.slices, strict=True)]
        return np.concatenate(parts, axis=-1)

    def from_real(self, z: Any) -> tuple[Any, Any]:
        """Turn real numbers (n_dim,) into θ and the log of the prior's density on the real line."""
        xp = namespace(z)
        parts = [c.from_real(z[s]) for c, s in zip(self.coordinates, self.slices, strict=True)]
        return xp.concatenate([p[0] for p in parts]), sum(p[1] for p in parts)

    def to_real(self, theta: Any, rng: np.random.Generator) -> Array:
        """Turn θ (..., n_dim) into real numbers: the inverse of `from_real`."""
        theta = np.asarray(theta, dtype=float)
        parts = [c.to_real(theta[..., s], rng) for c, s in zip(self.coordinates, self.slices, strict=True)]
        return np.concatenate(parts, axis=-1)

    def log_prior(self, theta: Any) -> Any:
        """ln p of θ, shape (n_dim,)."""
        return sum(c.log_prior(theta[s]) for c, s in zip(self.coordinates, self.slices, strict=True))

    def with_derived(self, theta: Any) -> Array:
        """Add columns that follow from θ, in the order of `all_names`."""
        theta = np.asarray(theta, dtype=float)
        parts = []
        for c, s in zip(self.coordinates, self.slices, strict=True):
            parts += [theta[..., s], c.derived(theta[..., s])]
        return np.concatenate(parts, axis=-1)

    def column(self, name: str) -> int:
        """Return the position of a name in θ."""
        return self.names.index(name)

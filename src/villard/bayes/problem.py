"""A posterior as any sampler can use it: likelihood, prior and transforms, compiled and vectorised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.coordinates import Space
from villard.exceptions import DataError, FitError, ParameterError

if TYPE_CHECKING:
    from villard.bayes.posterior import Posterior

__all__ = ["Problem"]

Array = NDArray[np.float64]

#: Numbers that one compiled call on many θ may hold.
_CALL_NUMBERS = 2**23


class Problem:
    """Base class of posteriors.

    A subclass has a `space`, the arrays ``data`` that its likelihood needs, and ``_make_log_likelihood()``,
    which returns a pure function of θ and the data that JAX traces. It depends on nothing but ``_key``: so
    a problem of the same structure compiles nothing.
    """

    space: Space
    data: Any
    #: Numbers that one θ needs in a call of many.
    n_numbers: int = 1
    #: What θ's likelihood is called in messages.
    name: str = "posterior"

    @property
    def names(self) -> list[str]:
        """Names of the parameters in θ."""
        return list(self.space.names)

    @property
    def n_dim(self) -> int:
        """Number of parameters in θ."""
        return self.space.n_dim

    @property
    def _key(self) -> Any:
        raise NotImplementedError

    def _make_log_likelihood(self) -> Callable[[Any, Any], Any]:
        raise NotImplementedError

    # Functions for samplers in JAX

    @cached_property
    def kernels(self) -> Any:
        """Compiled functions, shared with problems of the same structure."""
        from villard.bayes.kernels import kernels_of

        return kernels_of((self._key, self.space.key), self._make_log_likelihood, self.space)

    @cached_property
    def device_data(self) -> Any:
        """The data, where JAX computes."""
        from villard._jax import jax

        return jax.device_put(self.data)

    # Functions of plain arrays

    def log_likelihood(self, theta: Any) -> Any:
        """Return ln L.

        Parameters
        ----------
        theta : array
            Parameters in their own units, shape (..., n_dim).

        Returns
        -------
        float or array
            ln L, in the shape of θ without its last axis; -inf where the prior is zero.
        """
        return self._each("log_likelihood", theta)

    def log_prior(self, theta: Any) -> Any:
        """Return ln p of the prior; parameters as for `log_likelihood`."""
        return self._each("log_prior", theta)

    def log_posterior(self, theta: Any) -> Any:
        """Return ln L + ln p; parameters as for `log_likelihood`."""
        return self._each("log_posterior", theta)

    def gradient(self, theta: Any) -> Array:
        """Return the derivatives of `log_posterior` by θ, shape (..., n_dim).

        Raises
        ------
        ParameterError
            If a parameter takes values of a grid only.
        """
        self.check_differentiable("gradient")
        theta = self._theta(theta)
        flat = theta.reshape(-1, self.n_dim)
        return np.asarray(self.kernels.gradient(flat, self.device_data)).reshape(theta.shape)

    def prior_transform(self, u: Any) -> Array:
        """Turn points of the unit cube into θ that follow the prior, shape (..., n_dim)."""
        return self.space.from_unit(u)

    def check_differentiable(self, what: str) -> None:
        """Raise `ParameterError` if there are parameters on grids."""
        if not self.space.is_continuous:
            raise ParameterError(
                f"{what} needs derivatives, and these parameters take values of a grid only: "
                f"{self.space.discrete_names}. Set discrete=False"
            )

    def _theta(self, theta: Any) -> Array:
        theta = np.asarray(theta, dtype=float)
        if theta.shape[-1:] != (self.n_dim,):
            raise ParameterError(
                f"{self.name}: expected the {self.n_dim} parameters {self.names}, "
                f"found an array of the shape {theta.shape}"
            )
        return theta

    def _each(self, kernel: str, theta: Any) -> Any:
        theta = self._theta(theta)
        if theta.ndim == 1:
            return float(getattr(self.kernels, kernel)(theta, self.device_data))
        flat = theta.reshape(-1, self.n_dim)
        values = self.in_chunks(getattr(self.kernels, f"{kernel}_many"), flat)
        return values.reshape(theta.shape[:-1])

    def batch_size(self, wanted: int) -> int:
        """Return how many θ a compiled call takes: a power of two, as many as are wanted if memory allows."""
        most = max(1, min(4096, _CALL_NUMBERS // max(self.n_numbers, 1), wanted))
        return int(2 ** (most.bit_length() - 1))

    def in_chunks(self, function: Any, rows: Array) -> Array:
        """Call a compiled function on as many rows as memory allows; few shapes are compiled."""
        size = self.batch_size(2 ** max(len(rows) - 1, 1).bit_length())
        parts = []
        for start in range(0, len(rows), size):
            index = np.arange(start, start + size)
            chunk = rows[np.where(index < len(rows), index, start)]
            parts.append(np.asarray(function(chunk, self.device_data)))
        return np.concatenate(parts)[: len(rows)] if parts else np.zeros(0)

    # Bookkeeping

    @cached_property
    def fingerprint(self) -> str:
        """Text that differs between problems: of data, priors, names and the code of the likelihood."""
        from villard._jax import jax

        digest = hashlib.sha256(repr((self.names, repr(self.space.key), _text(self._key))).encode())
        for leaf in jax.tree_util.tree_leaves(self.data):
            array = np.ascontiguousarray(leaf)
            digest.update(repr((array.shape, str(array.dtype))).encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def check_prior(self, n: int = 512, random_state: Any = 0) -> None:
        """Raise `FitError` if the likelihood is zero, or not a number, everywhere in the prior.

        Parameters
        ----------
        n : int
            Number of draws.
        random_state : int or `~numpy.random.Generator`
            Seed.
        """
        rng = np.random.default_rng(random_state)
        theta = self.prior_transform(rng.random((n, self.n_dim)))
        values = np.asarray(self.log_likelihood(theta))
        if np.any(np.isnan(values)) or np.any(values == np.inf):
            bad = theta[np.flatnonzero(np.isnan(values) | (values == np.inf))[0]]
            at = ", ".join(f"{n}={v:.4g}" for n, v in zip(self.names, bad, strict=True))
            raise DataError(f"{self.name}: the likelihood is not a number at {at}")
        if np.all(np.isneginf(values)):
            raise FitError(
                f"{self.name}: the prior excludes the data: the likelihood is zero at all of {n} draws "
                f"from the prior of {self.names}"
            )

    def sample(self, sampler: str = "dynesty", **options: Any) -> Posterior:
        """Draw samples from the posterior; see `villard.bayes.sample`."""
        from villard.bayes.samplers import run_sampler

        return run_sampler(self, sampler, **options)


def _text(key: Any) -> str:
    """Return a structure as text that is the same in every process: of code its name, not its address."""
    if isinstance(key, tuple | list):
        return f"({','.join(_text(item) for item in key)})"
    if isinstance(key, type) or callable(key):
        return f"{key.__module__}.{getattr(key, '__qualname__', type(key).__qualname__)}"
    if is_dataclass(key):
        return type(key).__qualname__ + _text([getattr(key, each.name) for each in fields(key)])
    if key is None or isinstance(key, str | bytes | bool | int | float | np.generic):
        return repr(key)
    return type(key).__qualname__

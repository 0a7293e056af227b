"""One module per minimiser, behind one small protocol.

A backend is a function ``optimize(objective, options) -> Outcome``. The objective counts and records
evaluations; the outcome says where the minimiser ended and why.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FitSetupError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from villard.likelihood import Likelihood

__all__ = ["BACKENDS", "Objective", "Outcome", "get_backend", "natural_units"]

BACKENDS = ("newton", "minuit", "scipy", "sherpa")

Array = NDArray[np.float64]


@dataclass
class Outcome:
    """Where a minimiser ended, in the parameters of its objective, and what it says about it."""

    theta: Array
    stat: float
    success: bool
    message: str
    method: str
    nfev: int
    edm: float = float("nan")
    minuit: Any = None

    @classmethod
    def from_solution(cls, solution: Any, nfev: int) -> "Outcome":
        """Tell where the engine's own minimiser ended, after so many evaluations in all."""
        return cls(
            solution.theta,
            solution.value,
            solution.success,
            solution.status.message,
            "fisher scoring",
            nfev,
            solution.edm,
        )


@dataclass
class Objective:
    """The statistic of a likelihood as minimisers call it; evaluations are counted and recorded.

    Minimisers see x = θ / unit, because those that judge by the size of steps and gradients need parameters
    that vary by about one.
    """

    likelihood: "Likelihood"
    store_trace: bool = False
    unit: Any = 1.0
    nfev: int = 0
    rows: list[Array] = field(default_factory=list)

    @property
    def start(self) -> Array:
        """Start values, shape (n_free,)."""
        return np.asarray(self.likelihood.theta / self.unit)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper limits, infinite where there is none."""
        lower, upper = self.likelihood.bounds
        return lower / self.unit, upper / self.unit

    @property
    def names(self) -> list[str]:
        """Names of the parameters, for messages."""
        return self.likelihood.parameters.names

    def theta(self, x: Any) -> Array:
        """Return the likelihood's parameters at a point of the minimiser."""
        return np.asarray(np.asarray(x, dtype=float) * self.unit)

    def value_and_gradient(self, x: Any) -> tuple[float, Array]:
        """Return statistic and gradient; counts as one evaluation."""
        theta = self.theta(x)
        value, gradient = self.likelihood.value_and_gradient(theta)
        self.nfev += 1
        if self.store_trace:
            self.rows.append(np.concatenate([[value], theta]))
        return value, gradient * self.unit

    def value(self, x: Any) -> float:
        """Return the statistic; counts as one evaluation."""
        return self.value_and_gradient(x)[0]

    def hessian(self, x: Any) -> Array:
        """Return the exact Hessian."""
        return self.likelihood.hessian(self.theta(x)) * np.outer(self.unit, self.unit)

    def residuals(self, x: Any) -> Array:
        """Return the square roots of the bins' statistics."""
        return self.likelihood.residuals(self.theta(x))


def natural_units(likelihood: "Likelihood") -> Array:
    """Return units in which parameters vary by about one, shape (n_free,).

    θ is in units of the start values already. Where these are zero and tell nothing, it is the error to be
    expected with the other parameters held.
    """
    is_zero = likelihood.theta == 0
    if not is_zero.any():
        return np.ones(likelihood.n_free)
    curvature = np.diag(likelihood.expected_fisher())
    known = is_zero & np.isfinite(curvature) & (curvature > 0)
    return np.where(known, np.sqrt(2 / np.where(known, curvature, 1.0)), 1.0)


Backend = Callable[[Objective, Mapping[str, Any]], Outcome]


def get_backend(name: str) -> Backend:
    """Return the function of a backend.

    Raises
    ------
    FitSetupError
        If there is no backend of this name.
    """
    if name not in BACKENDS:
        raise FitSetupError(f"No backend {name!r}. {nearest(name, BACKENDS)}")
    return importlib.import_module(f"{__name__}.{name}").optimize


def take_options(options: Mapping[str, Any], allowed: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """Return the options with defaults filled in; raise `FitSetupError` for one that isn't known."""
    for key in options:
        if key not in allowed:
            raise FitSetupError(f"Backend {backend!r} has no option {key!r}. {nearest(key, allowed)}")
    return {**allowed, **options}

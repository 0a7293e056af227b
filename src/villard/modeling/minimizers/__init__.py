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

from villard.exceptions import FitError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from villard.likelihood import Likelihood

__all__ = ["BACKENDS", "Objective", "Outcome", "get_backend"]

BACKENDS = ("newton", "minuit", "scipy", "sherpa")

Array = NDArray[np.float64]


@dataclass
class Outcome:
    """Where a minimiser ended, in scaled parameters, and what it says about it."""

    theta: Array
    stat: float
    success: bool
    message: str
    method: str
    nfev: int
    edm: float = float("nan")
    minuit: Any = None


@dataclass
class Objective:
    """The statistic of a likelihood as minimisers call it; evaluations are counted and recorded."""

    likelihood: "Likelihood"
    store_trace: bool = False
    nfev: int = 0
    rows: list[Array] = field(default_factory=list)

    @property
    def start(self) -> Array:
        """Start values, shape (n_free,)."""
        return self.likelihood.theta

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper limits, infinite where there is none."""
        return self.likelihood.bounds

    @property
    def names(self) -> list[str]:
        """Names of the parameters, for messages."""
        return self.likelihood.parameters.names

    def value_and_gradient(self, theta: Any) -> tuple[float, Array]:
        """Return statistic and gradient; counts as one evaluation."""
        theta = np.asarray(theta, dtype=float)
        value, gradient = self.likelihood.value_and_gradient(theta)
        self.nfev += 1
        if self.store_trace:
            self.rows.append(np.concatenate([[value], theta]))
        return value, gradient

    def value(self, theta: Any) -> float:
        """Return the statistic; counts as one evaluation."""
        return self.value_and_gradient(theta)[0]

    def hessian(self, theta: Any) -> Array:
        """Return the exact Hessian."""
        return self.likelihood.hessian(theta)


Backend = Callable[[Objective, Mapping[str, Any]], Outcome]


def get_backend(name: str) -> Backend:
    """Return the function of a backend.

    Raises
    ------
    FitError
        If there is no backend of this name.
    """
    if name not in BACKENDS:
        raise FitError(f"No backend {name!r}. {nearest(name, BACKENDS)}")
    return importlib.import_module(f"{__name__}.{name}").optimize


def take_options(options: Mapping[str, Any], allowed: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """Return the options with defaults filled in; raise `FitError` for one that isn't known."""
    for key in options:
        if key not in allowed:
            raise FitError(f"Backend {backend!r} has no option {key!r}. {nearest(key, allowed)}")
    return {**allowed, **options}

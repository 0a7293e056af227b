"""The engine: measurements and models bound once into a likelihood with exact derivatives."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "BatchSolution": "villard.likelihood.batch",
    "Likelihood": "villard.likelihood.likelihood",
    "Measurement": "villard.likelihood.measurement",
    "Solution": "villard.likelihood.likelihood",
    "SolverStatus": "solver",
    "bind": "villard.likelihood.likelihood",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

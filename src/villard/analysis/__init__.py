"""A whole analysis from its configuration: what ``villard fit`` and ``villard demo`` run."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "AnalysisResult": "run",
    "SimulationConfig": "simulation",
    "prepare": "run",
    "read_simulation_config": "simulation",
    "run_analysis": "run",
    "run_simulation": "simulation",
    "write_results": "write",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

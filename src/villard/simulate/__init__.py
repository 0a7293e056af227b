"""Simulated measurements: Asimov data, random counts, and ensembles of fits to them."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "GoodnessOfFit": "goodness",
    "ToyComparison": "comparison",
    "ToyEnsemble": "ensemble",
    "FieldOfView": "event_field",
    "IRFBackground": "villard.modeling.models.irf_background",
    "SimulatedEvents": "simulated_events",
    "asimov": "simulated",
    "expected_events": "event_numbers",
    "fake": "simulated",
    "norm_for_events": "event_numbers",
    "simulate_events": "events",
    "simulate_nested_toys": "comparison",
    "simulate_toys": "ensemble",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

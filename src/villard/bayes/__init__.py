"""Bayesian inference: priors to posteriors, mixtures of components of events, samplers."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "Calibration": "calibration",
    "simulation_based_calibration": "calibration",
    "DatasetsPosterior": "datasets",
    "sample": "datasets",
    "EventMixture": "event_mixture",
    "GridLeaf": "leaves",
    "Mixture": "mixture",
    "MixtureTree": "tree",
    "ParameterGrid": "grids",
    "Posterior": "posterior",
    "Problem": "problem",
    "SpaceContraction": "contraction",
    "TrueGrid": "contraction",
    "contract_energy": "contraction",
    "contract_space": "contraction",
    "stick_breaking": "dirichlet",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

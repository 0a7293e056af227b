"""Bayesian inference: priors to posteriors, mixtures of components of events, samplers."""

from villard.utils.lazy import lazy_exports

_EXPORTS = {
    "SpaceContraction": "contraction",
    "TrueGrid": "contraction",
    "contract_energy": "contraction",
    "contract_space": "contraction",
}

__all__ = sorted(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

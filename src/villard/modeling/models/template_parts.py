"""Templates with free norms on the sky, as sums of templates of which each has one norm.

A surface that is linear in the norms at its nodes is the sum of surfaces that are 1 at one node. So a fit of
the norms needs no derivative of the surface, but a template per node.
"""

from dataclasses import dataclass
from typing import Any

import astropy.units as u

from villard.exceptions import ModelError
from villard.modeling.models.spatial.piecewise import PiecewiseNormSpatialModel
from villard.modeling.models.spectral.pure import PureSpectrum
from villard.modeling.parameter import Parameters

__all__ = ["linear_parts"]


@dataclass(frozen=True, eq=False)
class _NodeSpectrum:
    """A spectrum times the norm of one node."""

    model: Any
    surface: PiecewiseNormSpatialModel
    node: int

    @property
    def parameters(self) -> Parameters:
        node = self.surface.parameters
        inner = self.model.parameters
        return Parameters.join([inner, Parameters([node[self.node]], [node.names[self.node]])])

    def pure(self) -> PureSpectrum:
        """Return the product, which is linear in the last parameter."""
        inner = self.model.pure()
        n = inner.n_parameters

        def evaluate(energy: Any, parameters: Any, arrays: Any) -> Any:
            return parameters[n] * inner.evaluate(energy, parameters[:n], arrays)

        return PureSpectrum(("node", inner.key), n + 1, evaluate, arrays=inner.arrays, norm_index=n)


@dataclass(frozen=True, eq=False)
class _NodeSurface:
    """The surface that is 1 at one node and 0 at the others."""

    surface: PiecewiseNormSpatialModel
    node: int

    @property
    def frame(self) -> str:
        return self.surface.frame

    @property
    def parameters(self) -> Parameters:
        return Parameters()

    def __call__(self, lon: Any, lat: Any, energy: Any = None) -> u.Quantity:
        lon, lat = (u.Quantity(value).to_value("deg") for value in (lon, lat))
        return u.Quantity(self.surface.basis(lon, lat)[..., self.node])


class _Part:
    """A background or template model of one node; what it isn't told here it is asked of the model."""

    def __init__(self, model: Any, node: int) -> None:
        self._model = model
        self.spectral_model = _NodeSpectrum(model.spectral_model, model.spatial_model, node)
        self.spatial_model = _NodeSurface(model.spatial_model, node)

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # not yet there, as in copies
            raise AttributeError(name)
        return getattr(self._model, name)

    def evaluate_geom(self, geom: Any) -> Any:
        """Return the part's counts in the bins of a geometry, if it is one of a `TemplateNPredModel`."""
        return self._model.template_on(geom, self.spatial_model)


def linear_parts(model: Any) -> list[Any]:
    """Return the model, or if norms on the sky are free models of which each has one of them.

    Parameters
    ----------
    model : `ComponentModel`
        Background or template of counts.

    Raises
    ------
    ModelError
        If parameters of another spatial model are free, or the norms aren't interpolated linearly.
    """
    surface = model.spatial_model
    free = [] if surface is None else [p.name for p in surface.parameters if not p.frozen]
    if not free:
        return [model]
    if not isinstance(surface, PiecewiseNormSpatialModel) or surface.interp != "lin":
        raise ModelError(
            f"Model {model.name!r}: {free} of its spatial model can't be fitted; only norms of a "
            "PiecewiseNormSpatialModel with interp='lin' can. Freeze them"
        )
    return [_Part(model, node) for node in range(len(surface.parameters))]

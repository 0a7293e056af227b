"""Sources seen by events: the density at each event, and the total number of predicted events."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from villard._jax import jax, jnp
from villard.likelihood.point_map import PointMap
from villard.likelihood.shapes import ShapeFunction, _value_and_tangents
from villard.likelihood.source_map import SourceMap

__all__ = ["EventMap", "EventShapeFunction"]


@dataclass(frozen=True)
class EventMap:
    """What an extended source makes of its flux, as a function of its position and shape.

    Parameters
    ----------
    map : `SourceMap`
        Source map on pixels, between which densities are interpolated.
    """

    map: SourceMap
    #: Densities are no parts of the total.
    rest = False

    @property
    def key(self) -> Hashable:
        """Maps of equal keys share their compiled functions."""
        return ("events", self.map.key)

    def __call__(self, values: Any, arrays: dict[str, Any]) -> tuple[Any, Any]:
        """Return the total and the densities per unit of flux.

        Parameters
        ----------
        values : array
            Parameters of the morphology in the engine's units.
        arrays : dict of str to array
            Those of the source map; "inside", the share of each pixel's events that are selected, shape
            (n_true, n_pixels); "pixels" around each event and their "shares" (sr⁻¹), shape (n, 16).

        Returns
        -------
        array, array
            In cm² s, shape (n_true,), and cm² s sr⁻¹, shape (n_true, n_events).
        """
        return self.from_image(self.map(values, arrays), arrays)

    @staticmethod
    def from_image(image: Any, arrays: dict[str, Any]) -> tuple[Any, Any]:
        """Do the same with a source map that is there already, shape (n_true, n_pixels)."""
        total = jnp.sum(image * arrays["inside"], axis=1)
        density: Any = 0.0
        for k in range(arrays["pixels"].shape[1]):
            density = density + image[:, arrays["pixels"][:, k]] * arrays["shares"][:, k]
        return total, jnp.maximum(density, 0.0)


@dataclass(frozen=True)
class EventShapeFunction(ShapeFunction):
    """Predicted total and densities of one source as a function of its spectral and spatial parameters.

    A `~villard.likelihood.shapes.ShapeFunction` that makes of the flux only what is asked for: densities at
    events, or counts in few pixels.

    Parameters
    ----------
    pure : `PureSpectrum`
        Spectrum.
    order : int
        Order of quadrature over true energies.
    map : `EventMap` or `~villard.likelihood.point_map.PointMap`
        Totals and densities per flux.
    """

    map: EventMap | PointMap  # type: ignore[assignment]

    def _columns(self, total: Any, density: Any, group: Any) -> Any:
        # What lies beyond the last column is padding.
        row = group["row"].at[group["columns"]].set(density, mode="drop")
        return row.at[0].set(total - jnp.sum(density) if self.map.rest else total)

    def counts(self, values: Any, group: Any) -> Any:
        """Predicted total and densities, shape (n_columns,)."""
        flux = self._flux(values[: self.n_spectral], group)
        total, density = self.map(values[self.n_spectral :], group["map"])
        density = jnp.einsum("t,tn,tn->n", flux, group["edisp"], density)
        return self._columns(flux @ total, density, group)

    def counts_and_jacobian(self, values: Any, group: Any) -> tuple[Any, Any]:
        """Predicted total and densities, and their derivatives of shape (n_parameters, n_columns)."""
        spectral, spatial = values[: self.n_spectral], values[self.n_spectral :]
        flux, by_spectrum = _value_and_tangents(lambda v: self._flux(v, group), spectral)

        def joined(values: Any) -> Any:
            total, density = self.map(values, group["map"])
            return jnp.concatenate([total[:, None], density * group["edisp"]], axis=1)

        seen, by_shape = _value_and_tangents(joined, spatial)
        spectra = jnp.concatenate([flux[None], by_spectrum])
        rows = jnp.concatenate([spectra @ seen, jnp.einsum("t,ktn->kn", flux, by_shape)])
        columns = jax.vmap(lambda row: self._columns(row[0], row[1:], group))(rows)
        return columns[0], columns[1:]

    def curvature(self, values: Any, group: Any, weight: Any) -> Any:
        """Second derivatives of the weighted sum of total and densities, shape (n_parameters, n_parameters).

        The sum is a product of fluxes, which depend on the spectrum alone, and of what a flux of one adds,
        which depends on position and shape alone.
        """
        if not isinstance(self.map, PointMap):
            # As many source maps as there are pairs of parameters would be too many.
            return super().curvature(values, group, weight)
        spectral, spatial = values[: self.n_spectral], values[self.n_spectral :]
        weights = weight.at[group["columns"]].get(mode="fill", fill_value=0.0)
        if self.map.rest:
            weights = jnp.where(group["columns"] < weight.shape[0], weights - weight[0], 0.0)

        def added(v: Any) -> Any:
            total, density = self.map(v, group["map"])
            return weight[0] * total + jnp.einsum("tn,tn,n->t", density, group["edisp"], weights)

        flux = _two_derivatives(lambda v: self._flux(v, group), spectral)
        added_flux = _two_derivatives(added, spatial)
        mixed = flux[1] @ added_flux[1].T
        above = jnp.concatenate([flux[2] @ added_flux[0], mixed], axis=1)
        below = jnp.concatenate([mixed.T, added_flux[2] @ flux[0]], axis=1)
        return jnp.concatenate([above, below])


def _two_derivatives(function: Any, values: Any) -> tuple[Any, Any, Any]:
    """Value of a function, and its first and second derivatives, whose axes come first."""
    (value, first), (_, second) = _value_and_tangents(lambda v: _value_and_tangents(function, v), values)
    return value, first, second

"""Sources seen by events: the density at each event, and the total number of predicted events."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax, jnp
from villard.likelihood.point_map import CHUNK, PointMap
from villard.likelihood.shapes import ShapeFunction, _value_and_tangents
from villard.likelihood.source_map import SourceMap

if TYPE_CHECKING:
    from villard.likelihood.source_setup import BoundSource

__all__ = ["EventMap", "EventShapeFunction", "densities", "in_chunks"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EventMap:
    """What an extended source makes of its flux, as a function of its position and shape.

    Its arrays are those of the source map; "inside", the selected share of the events of each pixel, shape
    (n_true, n_pixels); "pixels" around each event and their "shares" (sr⁻¹), shape (n, 16).

    Parameters
    ----------
    map : `SourceMap`
        Source map on pixels, between which densities are interpolated.
    """

    map: SourceMap
    #: Densities are no parts of the total.
    rest = False
    #: Arrays of which each column has its own row.
    by_column = ("pixels", "shares")

    @property
    def key(self) -> Hashable:
        """Maps of equal keys share their compiled functions."""
        return ("events", self.map.key)

    def prepared(self, values: Any, arrays: dict[str, Any]) -> Any:
        """Return what all columns need: the source map, and the same with energies last."""
        return self.from_image(self.map(values, arrays))

    @staticmethod
    def from_image(image: Any) -> Any:
        """Do the same with a source map that is there already, shape (n_true, n_pixels)."""
        return image, image.T

    def total(self, prepared: Any, arrays: dict[str, Any]) -> Any:
        """Return the total per unit of flux (cm² s), shape (n_true,)."""
        return jnp.sum(prepared[0] * arrays["inside"], axis=1)

    def density(self, prepared: Any, arrays: dict[str, Any], part: dict[str, Any]) -> Any:
        """Return densities in some columns per unit of flux (cm² s sr⁻¹), shape (n, n_true)."""
        found = jnp.einsum("nkt,nk->nt", prepared[1][part["pixels"]], part["shares"])
        return jnp.maximum(found, 0.0)


def in_chunks(function: EventMap | PointMap, arrays: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the arrays that have a row for each column, and ``more`` of them, as stacks of chunks."""
    rows = {name: arrays[name] for name in function.by_column} | more
    n = len(rows[function.by_column[0]])
    size = min(n, CHUNK)
    return {name: row.reshape(n // size, size, *row.shape[1:]) for name, row in rows.items()}


@partial(jax.jit, static_argnums=0)
def densities(function: EventMap | PointMap, prepared: Any, arrays: dict[str, Any]) -> Any:
    """Return the densities in all columns per unit of flux, shape (n, n_true)."""
    parts = in_chunks(function, arrays)
    found = jax.lax.map(lambda part: function.density(prepared, arrays, part), parts)
    return found.reshape(-1, found.shape[-1])


@dataclass(frozen=True)
class EventShapeFunction(ShapeFunction):
    """Predicted total and densities of one source as a function of its spectral and spatial parameters.

    A `~villard.likelihood.shapes.ShapeFunction` that makes of the flux only what is asked for: densities at
    events, or counts in few pixels. Columns are computed in chunks, so that no call needs more memory for
    many of them than a few numbers each.

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

    @classmethod
    def bound(
        cls,
        source: "BoundSource",
        pure: Any,
        function: EventMap | PointMap,
        arrays: dict[str, Any],
        edisp: Array,
        columns: NDArray[np.intp],
        n_columns: int,
    ) -> tuple[Self, dict[str, Any]]:
        """Return the function of a source, and its arrays.

        Parameters
        ----------
        source : `~villard.likelihood.source_setup.BoundSource`
            Source.
        pure : `~villard.modeling.models.spectral.pure.PureSpectrum`
            Spectrum.
        function, arrays
            Totals and densities per flux, and what they need.
        edisp : array
            Energy dispersion in each column, shape (n, n_true), padded as ``arrays`` are.
        columns : array
            Columns that the source reaches, at most n.
        n_columns : int
            Number of all columns.
        """
        padded = np.full(len(edisp), n_columns)
        padded[: len(columns)] = columns
        group = {
            "map": arrays,
            "edisp": edisp,
            "energy_min": source.energies[0],
            "energy_max": source.energies[1],
            "columns": padded,
            "row": np.zeros(n_columns),
        }
        return cls(pure, source.energies[2], function), group

    def _columns(self, total: Any, density: Any, group: Any) -> Any:
        # What lies beyond the last column is padding.
        row = group["row"].at[group["columns"]].set(density, mode="drop")
        return row.at[0].set(total - jnp.sum(density) if self.map.rest else total)

    def _over_chunks(self, function: Any, prepared: Any, group: Any, **more: Any) -> Any:
        """Call a function of densities (n, n_true) of reconstructed events, chunk by chunk."""
        arrays = group["map"]

        def each(part: dict[str, Any]) -> Any:
            density = self.map.density(prepared, arrays, part) * part["edisp"]
            return function(density, part)

        return jax.lax.map(each, in_chunks(self.map, arrays, edisp=group["edisp"], **more))

    def counts(self, values: Any, group: Any) -> Any:
        """Predicted total and densities, shape (n_columns,)."""
        flux = self._flux(values[: self.n_spectral], group)
        prepared = self.map.prepared(values[self.n_spectral :], group["map"])
        density = self._over_chunks(lambda density, part: density @ flux, prepared, group)
        return self._columns(flux @ self.map.total(prepared, group["map"]), density.ravel(), group)

    def counts_and_jacobian(self, values: Any, group: Any) -> tuple[Any, Any]:
        """Predicted total and densities, and their derivatives of shape (n_parameters, n_columns)."""
        spectral, spatial = values[: self.n_spectral], values[self.n_spectral :]
        flux, by_spectrum = _value_and_tangents(lambda v: self._flux(v, group), spectral)

        def both(density: Any, part: Any) -> tuple[Any, Any]:
            # Products of derivatives by the spectrum and by the shape aren't wanted.
            return density @ flux, jax.lax.stop_gradient(density) @ by_spectrum.T

        def joined(spatial: Any) -> tuple[Any, Any]:
            prepared = self.map.prepared(spatial, group["map"])
            density, others = self._over_chunks(both, prepared, group)
            total = self.map.total(prepared, group["map"])
            row = jnp.append(flux @ total, density.ravel())
            return row, (jax.lax.stop_gradient(by_spectrum @ total), others)

        def along(tangent: Any) -> Any:
            return jax.jvp(joined, (spatial,), (tangent,), has_aux=True)

        axes = (None, 0, None)
        row, by_shape, (totals, others) = jax.vmap(along, out_axes=axes)(jnp.eye(spatial.shape[0]))
        others = jnp.concatenate([totals[:, None], others.reshape(-1, others.shape[-1]).T], axis=1)
        rows = jnp.concatenate([row[None], others, by_shape])
        columns = jax.vmap(lambda row: self._columns(row[0], row[1:], group))(rows)
        return columns[0], columns[1:]

    def curvature(self, values: Any, group: Any, weight: Any) -> Any:
        """Second derivatives of the weighted sum of total and densities, shape (n_parameters, n_parameters).

        The sum is a product of fluxes, which depend on the spectrum alone, and of what a flux of one adds,
        which depends on position and shape alone.
        """
        weights = weight.at[group["columns"]].get(mode="fill", fill_value=0.0)
        if self.map.rest:
            weights = jnp.where(group["columns"] < weight.shape[0], weights - weight[0], 0.0)
        if isinstance(self.map, EventMap):
            return self._curvature_of_image(values, group, weight[0], weights)
        spectral, spatial = values[: self.n_spectral], values[self.n_spectral :]

        def added(v: Any) -> Any:
            prepared = self.map.prepared(v, group["map"])
            sums = self._over_chunks(
                lambda density, part: part["weights"] @ density, prepared, group, weights=weights
            )
            return weight[0] * self.map.total(prepared, group["map"]) + jnp.sum(sums, axis=0)

        flux = _two_derivatives(lambda v: self._flux(v, group), spectral)
        added_flux = _two_derivatives(added, spatial)
        mixed = flux[1] @ added_flux[1].T
        above = jnp.concatenate([flux[2] @ added_flux[0], mixed], axis=1)
        below = jnp.concatenate([mixed.T, added_flux[2] @ flux[0]], axis=1)
        return jnp.concatenate([above, below])

    def _curvature_of_image(self, values: Any, group: Any, first: Any, weights: Any) -> Any:
        """Return the same of a source map: what its pixels count for doesn't depend on the parameters."""
        arrays, n = group["map"], self.n_spectral
        prepared = self.map.prepared(values[n:], arrays)

        def add(total: Any, part: dict[str, Any]) -> tuple[Any, None]:
            counted = self.map.density(prepared, arrays, part) > 0
            each = jnp.where(counted, part["edisp"] * part["weights"][:, None], 0.0)
            return total.at[part["pixels"]].add(part["shares"][:, :, None] * each[:, None, :]), None

        parts = in_chunks(self.map, arrays, edisp=group["edisp"], weights=weights)
        pixels = jax.lax.scan(add, first * arrays["inside"].T, parts)[0].T

        def weighted(values: Any) -> Any:
            image = self.map.prepared(values[n:], arrays)[0]
            return jnp.sum(self._flux(values[:n], group) * jnp.sum(pixels * image, axis=1))

        return jax.jacfwd(jax.jacrev(weighted))(values)


def _two_derivatives(function: Any, values: Any) -> tuple[Any, Any, Any]:
    """Value of a function, and its first and second derivatives, whose axes come first."""
    (value, first), (_, second) = _value_and_tangents(lambda v: _value_and_tangents(function, v), values)
    return value, first, second

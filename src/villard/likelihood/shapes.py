"""Sources whose position or shape is fitted: their source maps are computed in every call."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from villard._jax import jax, jnp
from villard.likelihood.predict import bin_flux
from villard.likelihood.source_map import SourceMap
from villard.modeling.models.spectral.core import PureSpectrum

__all__ = ["ShapeFunction"]


@dataclass(frozen=True)
class ShapeFunction:
    """Predicted counts of one source as a function of its spectral and spatial parameters.

    Parameters
    ----------
    pure : `PureSpectrum`
        Spectrum.
    order : int
        Order of quadrature over true energies.
    map : `SourceMap`
        Source map.
    """

    pure: PureSpectrum
    order: int
    map: SourceMap

    @property
    def n_spectral(self) -> int:
        """Number of spectral parameters, which come first."""
        return self.pure.n_parameters

    def _flux(self, values: Any, group: Any) -> Any:
        low, high = group["energy_min"], group["energy_max"]
        flux = bin_flux(self.pure, low, high, values, group["arrays"], self.order)
        return jnp.broadcast_to(flux, low.shape)

    def counts(self, values: Any, group: Any) -> Any:
        """Predicted counts in the kept bins, shape (n_columns,)."""
        flux = self._flux(values[: self.n_spectral], group)
        image = self.map(values[self.n_spectral :], group["map"])
        return _to_columns((flux[:, None] * group["edisp"]).T @ image, group)

    def counts_and_jacobian(self, values: Any, group: Any) -> tuple[Any, Any]:
        """Predicted counts, and their derivatives of shape (n_parameters, n_columns).

        Derivatives by spectral parameters share the source map; only position and shape need others.
        """
        spectral, spatial = values[: self.n_spectral], values[self.n_spectral :]
        flux, by_spectrum = _value_and_tangents(lambda v: self._flux(v, group), spectral)

        image, by_shape = _value_and_tangents(lambda v: self.map(v, group["map"]), spatial)
        spectra = jnp.concatenate([flux[None], by_spectrum])
        folded = jnp.einsum("kt,te,tp->kep", spectra, group["edisp"], image)
        weighted = flux[:, None] * group["edisp"]
        moved = jnp.einsum("te,ktp->kep", weighted, by_shape)
        columns = jax.vmap(lambda cube: _to_columns(cube, group))(jnp.concatenate([folded, moved]))
        return columns[0], columns[1:]

    def curvature(self, values: Any, group: Any, weight: Any) -> Any:
        """Second derivatives of the weighted sum of predicted counts, shape (n_parameters, n_parameters)."""

        def weighted(values: Any) -> Any:
            return jnp.sum(weight * self.counts(values, group))

        return jax.jacfwd(jax.jacrev(weighted))(values)


def _value_and_tangents(function: Any, values: Any) -> tuple[Any, Any]:
    """Value of a function and its derivatives along each argument, which come first."""

    def along(tangent: Any) -> Any:
        return jax.jvp(function, (values,), (tangent,))

    return jax.vmap(along, out_axes=(None, 0))(jnp.eye(values.shape[0]))


def _to_columns(cube: Any, group: Any) -> Any:
    """Take the kept bins from a cube (n_energies, n_pixels) and sum the rest into the first."""
    flat = jnp.append(cube.ravel(), 0.0)
    return (flat[group["gather"]] * group["weight"]).at[0].set(jnp.sum(cube * group["empty"]))


def shape_arrays(source: Any, measurement: Any, n_columns: int) -> dict[str, Any]:
    """Return the arrays of one source for `ShapeFunction`.

    Parameters
    ----------
    source : `~villard.likelihood.source_setup.BoundSource`
        Source map.
    measurement : `~villard.likelihood.map_measurement.CompressedMeasurement`
        Kept bins.
    n_columns : int
        Length of the padded row of bins.
    """
    n_energies, n_pixels = source.edisp.shape[1], source.cutout.shape[0] * source.cutout.shape[1]
    pixel, energy = measurement.locate(source.cutout)
    nothing = n_energies * n_pixels
    gather = np.full(n_columns, nothing)
    gather[1 : len(pixel) + 1] = np.where(pixel >= 0, energy * n_pixels + pixel, nothing)
    weight = np.ones(n_columns)
    weight[1 : len(pixel) + 1] = measurement.weigh(weight[1 : len(pixel) + 1])
    return {
        "map": source.arrays,
        "edisp": source.edisp,
        "energy_min": source.energies[0],
        "energy_max": source.energies[1],
        "gather": gather,
        "weight": weight,
        "empty": measurement.empty(source.cutout),
    }

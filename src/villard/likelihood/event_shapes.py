"""Sources seen by events: the density at each event, and the total number of predicted events."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from villard._jax import jax, jnp
from villard.likelihood.psf_profiles import PSFSplines
from villard.likelihood.shapes import ShapeFunction, _value_and_tangents
from villard.likelihood.sky_grid import pixel_of, unit_vector
from villard.likelihood.source_map import SourceMap, _bilinear

__all__ = ["EventMap", "EventShapeFunction"]


@dataclass(frozen=True)
class EventMap:
    """What a source makes of its flux, as a function of its position and shape.

    Parameters
    ----------
    map : `SourceMap`
        Source map on pixels, between which extended sources are interpolated. The PSF around a point source
        (kind "point") is evaluated at the events themselves, and where its light is lost.
    """

    map: SourceMap

    @property
    def key(self) -> Hashable:
        """Maps of equal keys share their compiled functions."""
        return ("events", "point") if self.is_point else ("events", self.map.key)

    @property
    def is_point(self) -> bool:
        """Whether the PSF is evaluated at the events themselves."""
        return self.map.kind == "point"

    def __call__(self, values: Any, arrays: dict[str, Any]) -> tuple[Any, Any]:
        """Return the total and the densities per unit of flux.

        Parameters
        ----------
        values : array
            Parameters of the morphology in the engine's units.
        arrays : dict of str to array
            Point sources: "exposure", "to_pixel", "basis", "psf" and "psf_scale" as for the source map;
            "vectors" of the events, shape (n, 3); "probability" of a selected energy, shape (n_true,);
            "lost_vectors" where some energies aren't selected, shape (n_lost, 3), and "lost", their
            probability times solid angle, shape (n_true, n_lost). Others: those of the source map;
            "inside", the share of each pixel's events that are selected, shape (n_true, n_pixels); "pixels"
            around each event and their "shares" (sr⁻¹), shape (n, 16).

        Returns
        -------
        array, array
            In cm² s, shape (n_true,), and cm² s sr⁻¹, shape (n_true, n_events).
        """
        if self.is_point:
            return self._point(values, arrays)
        return self.from_image(self.map(values, arrays), arrays)

    @staticmethod
    def from_image(image: Any, arrays: dict[str, Any]) -> tuple[Any, Any]:
        """Do the same with a source map that is there already, shape (n_true, n_pixels)."""
        total = jnp.sum(image * arrays["inside"], axis=1)
        density: Any = 0.0
        for k in range(arrays["pixels"].shape[1]):
            density = density + image[:, arrays["pixels"][:, k]] * arrays["shares"][:, k]
        return total, jnp.maximum(density, 0.0)

    @staticmethod
    def _point(values: Any, arrays: dict[str, Any]) -> tuple[Any, Any]:
        source = unit_vector(values[0], values[1], jnp)
        x, y = pixel_of(source, arrays["to_pixel"], arrays["basis"], jnp)
        exposure = _bilinear(arrays["exposure"], x, y)
        table = PSFSplines(arrays["psf"], arrays["psf_scale"])

        def psf(vectors: Any) -> Any:
            return table.evaluate(jnp.sum((vectors - source) ** 2, axis=-1)).T

        lost = jnp.sum(arrays["lost"] * psf(arrays["lost_vectors"]), axis=1)
        selected = jnp.maximum(arrays["probability"] - lost, 0.0)
        return exposure * selected, exposure[:, None] * psf(arrays["vectors"])


@dataclass(frozen=True)
class EventShapeFunction(ShapeFunction):
    """Predicted total and densities of one source as a function of its spectral and spatial parameters.

    A `~villard.likelihood.shapes.ShapeFunction` where the data are events: what it makes of the flux differs.

    Parameters
    ----------
    pure : `PureSpectrum`
        Spectrum.
    order : int
        Order of quadrature over true energies.
    map : `EventMap`
        Totals and densities per flux.
    """

    map: EventMap  # type: ignore[assignment]

    def _columns(self, total: Any, density: Any, group: Any) -> Any:
        # What lies beyond the last column is padding.
        row = group["row"].at[group["columns"]].set(density, mode="drop")
        return row.at[0].set(total)

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

"""What the likelihood knows of counts in a cube of energy, latitude and longitude."""

from collections.abc import Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError
from villard.likelihood.kept import limit_sources, source_key
from villard.likelihood.measurement import Measurement, Response
from villard.modeling.models.spectral.core import quadrature_order

if TYPE_CHECKING:
    from villard.likelihood.source_setup import BoundSource
    from villard.maps import Map, MapAxis, WcsGeom

__all__ = ["CompressedMeasurement", "MapMeasurement"]

Array = NDArray[np.float64]

#: Measurements with fewer bins are kept whole; in others sources that reach less than this share of the
#: bins are kept there alone.
_SMALL, _LOCAL = 4096, 0.3
#: Point sources whose PSF is wanted in a smaller part of the pixels, 1 over this, are seen there alone.
_FEW = 3
#: Nodes per true energy bin for morphologies that depend on energy.
_ENERGY_NODES = 3
#: Source maps that are computed at a time.
_THREADS = 2


@dataclass(frozen=True, eq=False)
class MapMeasurement:
    """Cubes of one measurement; datasets hand it to the likelihood.

    All cubes are flat, in the order (energy, latitude, longitude).

    Parameters
    ----------
    name : str
        Name of the dataset.
    statistic : str
        "cash", "cstat" or "wstat".
    geom : `~villard.maps.WcsGeom`
        Pixels and the axis of reconstructed energies.
    data : dict of str to array
        "counts"; for "wstat" also "counts_off" and "alpha"; each of shape (n_bins,).
    mask : array of bool
        Bins that enter the fit, shape (n_bins,).
    energy_true : `~villard.maps.MapAxis`
        True energies.
    exposure : `~villard.maps.Map` or None
        Exposure at true energies; its pixels may be others. `None` if there are only background models.
    psf : `~villard.irf.PSFMap` or `~villard.irf.PSFKernel`, optional
        Point spread function.
    edisp : `~villard.irf.EDispKernelMap`, `~villard.irf.EDispMap` or `~villard.irf.EDispKernel`, optional
        Energy dispersion; `None` if reconstructed energies are the true ones.
    background : array, optional
        Expected background counts, shape (n_bins,).
    psf_method : {"kernel", "exact"}
        "kernel": one kernel per source on the pixels of the map, sampled at up to 4 × 4 points of each; point
        sources are shared by the nearest pixels. "exact": the PSF around a point source's very position,
        and kernels, integrated over pixels.
    gti : `~villard.data.GTI`, optional
        Good time intervals, over which temporal models are averaged.
    weights : array, optional
        Weights of the bins in the statistic, shape (n_bins,); not for "wstat".

    Raises
    ------
    DataError
        If shapes don't fit or bins that enter the fit have NaN.
    """

    name: str
    statistic: str
    geom: "WcsGeom"
    data: dict[str, Array]
    mask: NDArray[np.bool_]
    energy_true: "MapAxis"
    exposure: "Map | None"
    psf: Any = None
    edisp: Any = None
    background: Array | None = None
    psf_method: str = "kernel"
    gti: Any = None
    weights: Array | None = None
    _sources: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    #: Counts are integrals over energy.
    differential = False

    def __post_init__(self) -> None:
        cubes = {**self.data, "mask": self.mask}
        if self.background is not None:
            cubes["background"] = self.background
        if self.weights is not None:
            cubes["weights"] = self.weights
            if self.statistic == "wstat":
                raise DataError(f"Dataset {self.name!r}: bins of the statistic 'wstat' can't have weights")
        for key, array in cubes.items():
            if array.shape != (self.n_bins,):
                raise DataError(
                    f"Dataset {self.name!r}: {key} must have {self.n_bins} bins, found shape {array.shape}"
                )
            if not np.all(np.isfinite(array[self.mask])):
                raise DataError(f"Dataset {self.name!r}: {key} has non-finite values in the fit range")

    @property
    def n_bins(self) -> int:
        """Number of bins of the cube."""
        return int(np.prod(self.shape))

    @property
    def n_kept(self) -> int:
        """Number of bins of the fit range that have counts."""
        return int(np.count_nonzero(self.data["counts"][self.mask]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of energies, rows and columns."""
        rows, columns = self.geom.spatial_shape
        return (self.geom.axes["energy"].nbin, rows, columns)

    @cached_property
    def energy(self) -> tuple[Array, Array]:
        """Reconstructed energies in TeV: edges, centres."""
        axis = self.geom.axes["energy"]
        return axis.edges.to_value("TeV"), axis.center.to_value("TeV")

    @cached_property
    def energy_edges_true(self) -> Array:
        """Edges of the true energy bins in TeV."""
        return np.asarray(self.energy_true.edges.to_value("TeV"))

    def true_energies(self, differential: bool) -> tuple[Array, Array, int]:
        """Return the true energy bins and the order of quadrature.

        For morphologies that depend on energy these are nodes within the bins, of order 0: the spectrum
        is then evaluated there, and their `weights` are part of the source map.
        """
        edges = self.energy_edges_true
        if differential:
            nodes, _ = self.energy_nodes
            return nodes, nodes, 0
        return edges[:-1], edges[1:], quadrature_order(edges)

    @cached_property
    def energy_nodes(self) -> tuple[Array, Array]:
        """Gauss-Legendre nodes in ln E within all true energy bins (TeV), and their weights (TeV)."""
        x, w = np.polynomial.legendre.leggauss(_ENERGY_NODES)
        low, high = np.log(self.energy_edges_true[:-1, None]), np.log(self.energy_edges_true[1:, None])
        nodes = np.exp(low + 0.5 * (high - low) * (x + 1))
        return nodes.ravel(), (0.5 * (high - low) * w * nodes).ravel()

    def background_of(self, models: Any) -> Array:
        """Return the counts expected from no model: none where one of the models stands for them."""
        if self.background is None or any(_is_background(m) for m in models if m.contributes_to(self.name)):
            return np.zeros(self.n_bins)
        return self.background

    # Predictions

    def source(self, model: Any) -> "BoundSource | None":
        """Return the source map of a model and all that goes with it; `None` if it misses the map."""
        from villard.likelihood.source_setup import bind_source

        return bind_source(self, model)

    def fixed_source(self, model: Any) -> tuple[Any, Any]:
        """Return the source of a fixed morphology and its map; they are kept for the next fit.

        Returns
        -------
        BoundSource or None, array or None
            Source without the arrays from which its map is computed, and the map, shape (n_true, n_pixels);
            both `None` if it misses the map.
        """
        key = source_key(model)
        if key is not None and key in self._sources:
            return self._sources[key]
        source = self.source(model)
        if source is None:
            return None, None
        found = replace(source, arrays={}), source.evaluate(model)
        if key is not None:
            self._sources[key] = found
            limit_sources(self._sources)
        return found

    def keep_sources(self, models: Iterable[Any]) -> None:
        """Compute the source maps of fixed morphologies ahead of predictions and fits.

        Maps are computed beside each other, while the next sources are set up.
        """
        running: list[tuple[Hashable, BoundSource, Any]] = []

        def keep(most: int) -> None:
            while len(running) > most:
                key, source, future = running.pop(0)
                self._sources[key] = replace(source, arrays={}), future.result()

        with ThreadPoolExecutor(_THREADS) as pool:
            for model in models:
                # What depends on energy is predicted faster without its map.
                key = None if _is_template(model) or _is_image(model) else source_key(model)
                if key is None or key in self._sources:
                    continue
                source = self.source(model)
                if source is not None:
                    running.append((key, source, pool.submit(source.evaluate, model)))
                    # The arrays of those that wait take memory.
                    keep(2 * _THREADS)
            keep(0)
        limit_sources(self._sources)

    def predict(self, model: Any) -> Array:
        """Return the counts that a model predicts in all bins, shape (n_bins,)."""
        from villard.likelihood.flux import flux_of
        from villard.likelihood.predict import bin_flux

        pure, parameters = flux_of(model, self)
        values = np.array([p.engine_value for p in parameters])
        if _is_template(model):
            cube = self.template_cube(model).reshape(self.shape)
            energy = self.energy[1]
            with np.errstate(over="ignore", under="ignore"):
                factor = bin_flux(pure, energy, energy, values, pure.arrays, 0)
            return np.asarray(cube * np.broadcast_to(factor, energy.shape)[:, None, None]).ravel()
        source, image = self._sources.get(source_key(model)) or (self.source(model), None)
        if source is None:
            return np.zeros(self.n_bins)
        low, high, order = source.energies
        with np.errstate(over="ignore", under="ignore"):
            flux = np.broadcast_to(bin_flux(pure, low, high, values, pure.arrays, order), low.shape)
        if image is None:
            counts = source.counts(model, flux, len(low) // self.energy_true.nbin)
        else:
            counts = (flux[:, None] * source.edisp).T @ image
        result = np.zeros(self.shape)
        index = source.cutout.pixel_index(self.shape[1:])
        inside = index >= 0
        result[:, inside] = counts[:, index[inside]]
        return result.ravel()

    def template_cube(self, model: Any) -> Array:
        """Return the counts that a background or template model scales, shape (n_bins,).

        Raises
        ------
        ModelError
            If it scales the background of a dataset that has none.
        """
        if _is_background(model):
            if self.background is None:
                raise ModelError(
                    f"Model {model.name!r} scales the background of dataset {self.name!r}, which has none"
                )
            cube = self.background
            if model.spatial_model is not None:
                coord = self.geom.get_coord(sparse=True)
                sky = coord.skycoord.transform_to(model.spatial_model.frame).spherical
                factor = model.spatial_model(sky.lon, sky.lat, coord["energy"]).value
                cube = (cube.reshape(self.shape) * factor).ravel()
            return cube
        return np.asarray(model.evaluate_geom(self.geom), dtype=float).ravel()

    # For the fit

    def compressed(self, all_bins: bool = False) -> "CompressedMeasurement":
        """Return what the fit needs: bins with counts, and the sum of the others.

        Parameters
        ----------
        all_bins : bool
            Keep all bins: for fits to other counts than these.
        """
        keep = self.mask.copy()
        if not all_bins:
            keep &= self.data["counts"] > 0
            if self.weights is not None:
                keep &= self.weights > 0
        rest = self.mask & ~keep
        bins = np.flatnonzero(keep)

        def pack(array: Array, first: float) -> Array:
            return np.append(first, array[bins])

        data = {key: pack(array, 0.0) for key, array in self.data.items()}
        weights, constant = None, 0.0
        if self.weights is not None:
            # w (μ - n ln μ) is the statistic of w n counts where w μ are expected, up to a constant.
            weights = self.weights[bins]
            data["counts"][1:] *= weights
            if self.statistic == "cash":
                logs = np.log(np.where(weights > 0, weights, 1.0))
                constant = 2 * float(np.sum(data["counts"][1:] * logs))
        if "alpha" in data:
            # Without counts on the source wstat is linear in the signal too.
            data["alpha"][0] = 1.0
            off, alpha = self.data["counts_off"][rest], self.data["alpha"][rest]
            constant += float(np.sum(2 * off * np.log1p(alpha)))
        return CompressedMeasurement(
            name=self.name,
            statistic=self.statistic,
            data=data,
            mask=np.ones(len(bins) + 1, dtype=bool),
            energy_min=self.energy_edges_true[:-1],
            energy_max=self.energy_edges_true[1:],
            exposure=np.ones(len(self.energy_edges_true) - 1),
            # Each source has its own.
            edisp=np.broadcast_to(0.0, (len(self.energy_edges_true) - 1, len(bins) + 1)),
            cube=self,
            bins=bins,
            rest=rest,
            constant=constant,
            bin_weights=weights,
            gti=self.gti,
        )


@dataclass(frozen=True, eq=False)
class CompressedMeasurement(Measurement):
    """Bins of a cube with counts, behind one that stands for all others that enter the fit.

    For Poisson statistics a bin without counts adds 2 μ, whatever its μ: their sum is one bin.

    Parameters
    ----------
    cube : `MapMeasurement`
        All bins.
    bins : array of int
        Bins with counts.
    rest : array of bool
        Bins in the mask without counts, shape (n_bins of the cube,).
    constant : float
        Part of the statistic that no prediction changes.
    bin_weights : array, optional
        Weights of the kept bins, shape (len(bins),): counts and predictions are multiplied by them.
    """

    cube: MapMeasurement = None  # type: ignore[assignment]
    bins: NDArray[np.intp] = None  # type: ignore[assignment]
    rest: NDArray[np.bool_] = None  # type: ignore[assignment]
    constant: float = 0.0
    bin_weights: Array | None = None

    #: Whether measurements of about the same length are padded to one.
    coarse = False

    def weigh(self, values: Array) -> Array:
        """Multiply values in the kept bins, shape (..., len(bins)), by their weights."""
        return values if self.bin_weights is None else values * self.bin_weights

    def pack(self, cube: Array) -> Array:
        """Return the kept bins of flat cubes behind the sum of the others, weighted; shape (..., n)."""
        if self.cube.weights is not None:
            cube = cube * self.cube.weights
        total = np.sum(cube[..., self.rest], axis=-1, keepdims=True)
        return np.concatenate([total, cube[..., self.bins]], axis=-1)

    def background_of(self, models: Any) -> Array:
        """Return the kept part of the background that no model stands for."""
        return self.pack(self.cube.background_of(models))

    def response_key(self, model: Any) -> Hashable:
        """Each source has its own response."""
        return id(model)

    def response(self, model: Any) -> Response:
        """Return the response to a model of fixed morphology."""
        if _is_template(model):
            return self._template_response(model)
        source, image = self.cube.fixed_source(model)
        if source is None:
            edges = self.cube.energy_edges_true
            return Response(edges[:1], edges[1:2], np.zeros((1, self.n_bins)), 4)
        low, high, order = source.energies
        index, energy = self.locate(source.cutout)
        inside = np.flatnonzero(index >= 0)
        matrix = np.empty((len(low), len(inside) + 1))
        matrix[:, 1:] = source.edisp[:, energy[inside]] * image[:, index[inside]]
        if self.bin_weights is not None:
            matrix[:, 1:] *= self.bin_weights[inside]
        matrix[:, 0] = np.einsum("te,ep,tp->t", source.edisp, self.empty(source.cutout), image, optimize=True)
        columns = np.append(0, inside + 1)
        reached = np.any(matrix > 0, axis=0)
        reached[0] = True
        if self.n_bins > _SMALL and np.sum(reached) < _LOCAL * self.n_bins:
            return Response(low, high, matrix[:, reached], order, columns[reached])
        dense = np.zeros((len(low), self.n_bins))
        dense[:, columns] = matrix
        return Response(low, high, dense, order)

    def shape_function(self, source: "BoundSource", model: Any, pure: Any, n_columns: int) -> tuple[Any, Any]:
        """Return the function of a source whose position or shape is free, and its arrays."""
        from villard.likelihood.shapes import ShapeFunction, shape_arrays

        found = self._few_pixels(source, pure, n_columns)
        if found is not None:
            return found
        return ShapeFunction(pure, source.energies[2], source.map), shape_arrays(source, self, n_columns)

    def _few_pixels(self, source: "BoundSource", pure: Any, n_columns: int) -> tuple[Any, Any] | None:
        """Return the same for a point source whose PSF is wanted in few pixels; `None` for all others."""
        from villard.likelihood.event_shapes import EventShapeFunction
        from villard.likelihood.point_map import PointMap, n_border, pixel_nodes, point_arrays

        if source.map.kind != "point" or source.map.core[0]:
            return None
        index, energy = self.locate(source.cutout)
        kept = np.flatnonzero(index >= 0)
        selected = self._selected(source.cutout)
        nodes = source.map.nodes**2
        wanted = nodes * len(kept) + 2 * n_border(selected, source.cutout)
        if _FEW * wanted > nodes * selected.shape[1]:
            return None
        vectors, areas = pixel_nodes(source.cutout, index[kept], source.map.nodes)
        areas *= self.weigh(np.ones(len(self.bins)))[kept, np.newaxis]
        arrays = point_arrays(source, vectors, areas, selected, source.edisp)
        edisp = np.zeros((len(arrays["areas"]), len(source.edisp)))
        edisp[: len(kept)] = source.edisp[:, energy[kept]].T
        function = PointMap(nodes, rest=True)
        return EventShapeFunction.bound(source, pure, function, arrays, edisp, kept + 1, n_columns)

    def locate(self, cutout: Any) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return for each kept bin its pixel in a cutout (-1 if outside) and its energy."""
        _, *image = self.cube.shape
        energy, pixel = np.divmod(self.bins, image[0] * image[1])
        return cutout.pixel_index(tuple(image)).ravel()[pixel], energy

    def empty(self, cutout: Any) -> Array:
        """Return the weights, 1 without, of bins without counts that enter the fit.

        Returns
        -------
        array
            Shape (n_energies, n_pixels of the cutout); 0 for all others.
        """
        return self._on_cutout(self.rest, cutout)

    def _selected(self, cutout: Any) -> Array:
        """Return the same of all bins that enter the fit."""
        return self._on_cutout(self.cube.mask, cutout)

    def _on_cutout(self, mask: NDArray[np.bool_], cutout: Any) -> Array:
        result = np.zeros((self.cube.shape[0], cutout.shape[0] * cutout.shape[1]))
        index = cutout.pixel_index(self.cube.shape[1:])
        inside = index >= 0
        weights = mask if self.cube.weights is None else mask * self.cube.weights
        result[:, index[inside]] = weights.reshape(self.cube.shape)[:, inside]
        return result

    def _template_response(self, model: Any) -> Response:
        cube = self.cube.template_cube(model)
        if self.cube.weights is not None:
            cube = cube * self.cube.weights
        centers = self.cube.energy[1]
        energy = self.bins // (self.cube.n_bins // len(centers))
        matrix = np.zeros((len(centers), self.n_bins))
        matrix[energy, np.arange(len(self.bins)) + 1] = cube[self.bins]
        matrix[:, 0] = np.where(self.rest, cube, 0.0).reshape(len(centers), -1).sum(axis=1)
        return Response(centers, centers, matrix, 0)


def _is_template(model: Any) -> bool:
    return bool(getattr(model, "is_background", False) or getattr(model, "is_npred_template", False))


def _is_image(model: Any) -> bool:
    """Whether a source's map is made from an image in pixels, not from a function of directions."""
    spatial = model.spatial_model
    return spatial is not None and not spatial.is_point and spatial.pure().evaluate is None


def _is_background(model: Any) -> bool:
    return bool(getattr(model, "is_background", False))

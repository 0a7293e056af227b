"""Maps of test statistics: the norm of a source, fitted at each pixel in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.estimators.flux_maps import FluxMaps
from villard.estimators.map_data import EnergyGroups, MapData, as_datasets, joined_gti
from villard.estimators.norm_map import NormMapSolution, solve_norms
from villard.estimators.settings import energy_edges_or_none, positive, positive_angle, selection
from villard.estimators.ts_kernels import SourceShape, make_basis, split_in_tiles
from villard.estimators.ts_planes import Planes
from villard.exceptions import ConfigError, DataError
from villard.maps import WcsGeom, WcsNDMap
from villard.utils.progress import ProgressBar

__all__ = ["TSMapEstimator"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
_OPTIONAL = ("errn-errp", "ul")
_PIXELS_PER_PIECE = 10_000


class TSMapEstimator:
    """Put a source at each pixel, fit its norm, and compare with the fit without it.

    Counts follow the Poisson distribution; weights of a dataset enter as in `~villard.modeling.Fit`. All
    models of the dataset and its background are kept as they are. The norm may be negative as long as no
    predicted counts are. All pixels are fitted together.

    Parameters
    ----------
    kernel_model : `~villard.modeling.models.SkyModel`, optional
        Source; a point source with a power law of index 2 by default. Its position doesn't matter.
    kernel_width : `~astropy.units.Quantity` or float, optional
        Width of the square around the source in which data are compared with the model; numbers are in
        deg. By default all that the source reaches (99.9 % of the PSF).
    downsampling_factor : int, optional
        Fit only each n-th pixel along both axes, and interpolate between them. The data keep their pixels.
    n_sigma : float
        Number of standard deviations of errors.
    n_sigma_ul : float
        Number of standard deviations of upper limits.
    rtol : float
        How exactly norms are fitted, in units of their error.
    selection_optional : "all" or list of {"errn-errp", "ul"}, optional
        What to compute beside norm, symmetric error and test statistic.
    energy_edges : `~astropy.units.Quantity`, optional
        Edges of the energy bins of the maps, moved to the nearest edges of the data; one bin by default.
    sum_over_energy_groups : bool
        Whether the counts of each bin of the maps are added up to an image before the fit, which is
        Gammapy's default; energies with other masks or weights stay apart. Otherwise all energies of a bin
        are fitted together, with one norm: that finds more, as PSF and background change with energy.
    max_niter : int
        Most steps of a fit.
    executor : optional
        What runs tiles of the map, see `villard.parallel.map`; by default threads of this process.
    model : optional
        Other name of ``kernel_model``.
    kernel_tolerance : float
        Where the PSF or the size of the pixels change over the map, it is divided into tiles within which
        at most this part of the counts of a source moves elsewhere.
    threshold, n_jobs, parallel_backend : optional
        Kept for Gammapy scripts; they have no effect.

    Notes
    -----
    Pixels which are masked at all energies are NaN, as are those where the exposure is zero. A source
    near an edge has lost what falls outside; its norm is right, with a larger error.

    Raises
    ------
    ConfigError
        If a setting isn't known or possible.

    Examples
    --------
    >>> from villard.datasets import MapDataset
    >>> from villard.maps import MapAxis
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    >>> geom = WcsGeom.create(npix=11, binsz=0.1, axes=[axis])
    >>> exposure = WcsNDMap(geom.as_energy_true(), data=np.full(geom.data_shape, 1e13), unit="cm2 s")
    >>> counts = WcsNDMap(geom, data=np.full(geom.data_shape, 2.0))
    >>> counts.data[:, 5, 5] = 12, 5
    >>> background = WcsNDMap(geom, data=np.full(geom.data_shape, 2.0))
    >>> dataset = MapDataset(counts=counts, background=background, exposure=exposure, name="toy")
    >>> maps = TSMapEstimator(selection_optional="ul").run(dataset)
    >>> float(maps.sqrt_ts.data[0, 5, 5].round(3))
    4.816
    >>> maps.flux.quantity[0, 5, 5].round(14), maps.flux_ul.quantity[0, 5, 5].round(14)
    (<Quantity 1.3e-12 1 / (s cm2)>, <Quantity 2.26e-12 1 / (s cm2)>)
    """

    tag = "TSMapEstimator"

    def __init__(
        self,
        kernel_model: Any = None,
        kernel_width: Any = None,
        downsampling_factor: int | None = None,
        n_sigma: float = 1,
        n_sigma_ul: float = 2,
        threshold: float | None = None,
        rtol: float = 1e-3,
        selection_optional: Any = None,
        energy_edges: Any = None,
        sum_over_energy_groups: bool = True,
        n_jobs: int | None = None,
        parallel_backend: str | None = None,
        max_niter: int = 100,
        executor: Any = None,
        model: Any = None,
        kernel_tolerance: float = 0.05,
    ) -> None:
        if kernel_model is not None and model is not None:
            raise ConfigError(f"{self.tag}: kernel_model and model are the same, expected one of them")
        given = model if kernel_model is None else kernel_model
        self.kernel_model = _default_model() if given is None else given
        self.kernel_width = (
            None if kernel_width is None else positive_angle(kernel_width, "kernel_width", self.tag)
        )
        self.downsampling_factor = _factor(downsampling_factor)
        self.n_sigma = positive(n_sigma, "n_sigma", self.tag)
        self.n_sigma_ul = positive(n_sigma_ul, "n_sigma_ul", self.tag)
        self.rtol = positive(rtol, "rtol", self.tag)
        self.max_niter = int(positive(max_niter, "max_niter", self.tag))
        self.selection_optional = list(selection(selection_optional, _OPTIONAL, self.tag))
        self.energy_edges = energy_edges_or_none(energy_edges, self.tag)
        self.sum_over_energy_groups = bool(sum_over_energy_groups)
        self.kernel_tolerance = positive(kernel_tolerance, "kernel_tolerance", self.tag)
        self.executor = executor

    def run(self, datasets: Any) -> FluxMaps:
        """Make the maps. Neither datasets nor models are changed.

        Parameters
        ----------
        datasets : dataset, list of datasets or `~villard.datasets.Datasets`
            Cubes of counts in the same pixels, which are fitted together, with one norm.

        Returns
        -------
        `FluxMaps`
            ``norm`` and ``norm_err`` (with these all fluxes), ``ts``, ``sqrt_ts``, ``stat`` and
            ``stat_null`` (`~villard.likelihood.statistics.cash` of the data around a pixel with and without
            the source), ``npred_excess`` (counts of the source in the mask), ``npred`` (all predicted
            counts around it), ``niter`` and ``success``.

        Raises
        ------
        DataError
            If pixels or energies don't fit, a part of a dataset is missing, or its background is
            measured by off counts.
        ModelError
            If the model has no position, or no spectrum.
        """
        items = as_datasets(datasets, self.tag)
        for dataset in items:
            if dataset.stat_type not in ("cash", "cstat"):
                raise DataError(
                    f"{self.tag}: dataset {dataset.name!r} has the statistic {dataset.stat_type!r}, expected "
                    "'cash' or 'cstat'. Use to_map_dataset, or ExcessMapEstimator"
                )
        groups = EnergyGroups.make(items, self.energy_edges, self.tag)
        inputs = [MapData(dataset, self.tag) for dataset in items]
        geom = items[0].counts.geom.to_image()
        half = self._half(geom)
        shapes = [SourceShape(data, self.kernel_model, half) for data in inputs]
        tiles = list(split_in_tiles(shapes, self.kernel_tolerance))
        images = [_Images.empty(geom.spatial_shape, self.selection_optional) for _ in range(groups.n)]
        jobs = self._jobs(inputs, groups, shapes, tiles)
        for i, planes, pixels, solution in self._solve(jobs, n_pixels=groups.n * _n_pixels(tiles)):
            images[i].fill(planes, pixels, solution)
        cube = geom.to_cube([groups.axis])
        known = self._known(inputs, groups)
        maps = {
            name: WcsNDMap(cube, data=self._fill_up(np.stack([item.arrays[name] for item in images]), known))
            for name in images[0].arrays
        }
        meta = {"n_sigma": self.n_sigma, "n_sigma_ul": self.n_sigma_ul}
        return FluxMaps(maps, self.kernel_model, meta, joined_gti(items))

    def _jobs(
        self,
        inputs: list[MapData],
        groups: EnergyGroups,
        shapes: list[SourceShape],
        tiles: list[tuple[slice, slice]],
    ) -> Iterator[_Job]:
        """Give the tiles for each bin of the result; only one is in memory at a time."""
        settings = {
            "tol": self.rtol,
            "max_iter": self.max_niter,
            "errn_errp": self.n_sigma if "errn-errp" in self.selection_optional else None,
            "upper_limit": self.n_sigma_ul if "ul" in self.selection_optional else None,
        }
        for rows, columns in tiles:
            bases = [make_basis(shape, rows, columns) for shape in shapes]
            for i in range(groups.n):
                bins = [slices[i] for slices in groups.slices]
                planes = Planes.make(inputs, bins, bases, (rows, columns), self.sum_over_energy_groups)
                pixels = planes.pixels(self.downsampling_factor)
                # Other processes get bands of tiles, so that there is something to share.
                n_parts = 1 if self.executor is None else -(-len(pixels) // _PIXELS_PER_PIECE)
                for part in np.array_split(pixels, max(n_parts, 1)):
                    if len(part):
                        yield _Job(i, planes, part, settings)

    def _solve(self, jobs: Iterator[_Job], n_pixels: int) -> Iterator[tuple[int, Planes, Index, Any]]:
        if self.executor is not None:
            from villard import parallel

            work = list(jobs)
            solutions = parallel.map(_Job.solve, work, self.executor, description=self.tag)
            for job, solution in zip(work, solutions, strict=True):
                yield job.number, job.planes, job.pixels, self._scaled(solution)
            return
        with ProgressBar(n_pixels, self.tag) as bar:
            for job in jobs:
                yield job.number, job.planes, job.pixels, self._scaled(job.solve(bar.advance))

    def _scaled(self, solution: NormMapSolution) -> NormMapSolution:
        solution.norm_err *= self.n_sigma
        return solution

    @staticmethod
    def _known(inputs: list[MapData], groups: EnergyGroups) -> NDArray[np.bool_]:
        """Return which pixels are in a mask, shape (n, n_lat, n_lon)."""
        return np.stack(
            [
                np.any([d.mask[s[i]].any(axis=0) for d, s in zip(inputs, groups.slices, strict=True)], axis=0)
                for i in range(groups.n)
            ]
        )

    def _half(self, geom: WcsGeom) -> tuple[int, int] | None:
        if self.kernel_width is None:
            return None
        pixels = (self.kernel_width / geom.pixel_scales).to_value("")
        width, height = (int(np.floor(n / 2 + 0.5)) for n in pixels)
        return height, width

    def _fill_up(self, cube: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
        """Interpolate between the pixels that were fitted."""
        factor = self.downsampling_factor
        if factor == 1:
            return cube
        from scipy import ndimage

        first = factor // 2
        coordinates = [(np.arange(n) - first) / factor for n in cube.shape[1:]]
        grid = np.stack(np.meshgrid(*coordinates, indexing="ij"))
        is_float = cube.dtype.kind == "f"
        images = [
            ndimage.map_coordinates(
                image[first::factor, first::factor].astype(float), grid, order=int(is_float), mode="nearest"
            )
            for image in cube
        ]
        values = np.where(known, np.stack(images), np.nan if is_float else 0)
        return values if is_float else values.astype(cube.dtype)

    def __str__(self) -> str:
        names = ("kernel_width", "n_sigma", "n_sigma_ul", "selection_optional", "energy_edges")
        rows = "".join(f"\n  {name:22s}: {getattr(self, name)}" for name in names)
        model = f"{type(self.kernel_model).__name__} {getattr(self.kernel_model, 'name', '')}"
        return f"{self.tag}\n\n  {'kernel_model':22s}: {model}{rows}\n"


@dataclass
class _Images:
    """Results at all pixels, NaN where there are none."""

    arrays: dict[str, NDArray[Any]]

    @classmethod
    def empty(cls, shape: tuple[int, int], optional: list[str]) -> _Images:
        names = ["norm", "norm_err"]
        names += ["norm_errn", "norm_errp"] if "errn-errp" in optional else []
        names += ["norm_ul"] if "ul" in optional else []
        names += ["ts", "stat", "stat_null", "npred", "npred_excess"]
        arrays: dict[str, NDArray[Any]] = {name: np.full(shape, np.nan) for name in names}
        return cls(arrays | {"niter": np.zeros(shape, dtype=int), "success": np.zeros(shape, dtype=bool)})

    def fill(self, planes: Planes, pixels: NDArray[np.intp], solution: NormMapSolution) -> None:
        """Write the results of a tile."""
        y, x = planes.on_map(pixels)
        stat_null, background = planes.null(pixels)
        values = {name: getattr(solution, name, None) for name in self.arrays}
        values |= {
            "npred_excess": solution.npred,
            "npred": background + solution.npred,
            "stat_null": stat_null,
            "stat": stat_null - solution.ts,
        }
        for name, array in self.arrays.items():
            array[y, x] = values[name]


@dataclass(frozen=True)
class _Job:
    """Pixels to be fitted."""

    number: int
    planes: Planes
    pixels: Index
    settings: dict[str, Any]

    def solve(self, progress: Callable[[int], None] | None = None) -> NormMapSolution:
        """Fit the pixels."""
        return solve_norms(self.planes.problem, self.pixels, progress=progress, **self.settings)


def _n_pixels(tiles: list[tuple[slice, slice]]) -> int:
    return sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in tiles)


def _default_model() -> Any:
    from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

    return SkyModel(PowerLawSpectralModel(index=2), PointSpatialModel(), name="ts-kernel")


def _factor(value: Any) -> int:
    if value is None:
        return 1
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ConfigError(f"TSMapEstimator: expected a whole number as downsampling_factor, found {value!r}")
    return int(value)

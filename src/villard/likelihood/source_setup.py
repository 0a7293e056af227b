"""Arrays for source maps: which pixels a source needs, and the responses there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax
from villard.exceptions import DataError, ModelError
from villard.likelihood.map_exposure import exposure_on
from villard.likelihood.psf_kernel import kernel_transform, padded_kernel, quadrature_nodes
from villard.likelihood.psf_profiles import PSFProfiles, make_psf_profiles
from villard.likelihood.sky_grid import Cutout, make_cutout, unit_vector
from villard.likelihood.source_map import SourceMap

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.likelihood.map_measurement import MapMeasurement

__all__ = ["BoundSource", "bind_source"]

Array = NDArray[np.float64]

#: Rounding, in pixels, of the corners of the shares that pixels have in a point source.
SOFTNESS = 0.1
#: Sizes of cutouts are multiples of this, so that sources share compiled functions.
_STEP = 16
#: Share of a PSF at which it is cut: that of Gammapy's kernels, and one that keeps pixels right to 0.1 %.
_CONTAINMENT = {"kernel": 0.999, "exact": 0.9995}
#: Extent that a fit may give a source, relative to the one it starts with.
_GROWTH = 1.5
#: Largest number of cells per pixel and direction.
_MAX_FACTOR = 8
#: Most cells of a cutout.
_MAX_CELLS = 4_000_000
#: Least points per pixel and direction for shapes with a sharp edge.
_EDGE_SAMPLES = 5


@dataclass(frozen=True, eq=False)
class BoundSource:
    """A source map ready to be computed.

    Parameters
    ----------
    map : `SourceMap`
        Function.
    arrays : dict of str to array
        Its data.
    cutout : `Cutout`
        Its pixels.
    energies : (array, array, int)
        Lower and upper bounds of true energies in TeV, and the order of quadrature.
    edisp : array
        Probability of each reconstructed energy, shape (n_true, n_energies).
    reach : (float, float)
        Distance from where it is now that the source may move, and extent that it may take, in deg.
    longest_step : float
        Distance that the source may move in one step of a fit, in deg.
    """

    map: SourceMap
    arrays: dict[str, Any]
    cutout: Cutout
    energies: tuple[Array, Array, int]
    edisp: Array
    reach: tuple[float, float]
    longest_step: float = np.inf

    def evaluate(self, model: Any) -> Array:
        """Return the source map for the present parameters of a model, shape (n_true, n_pixels)."""
        values = np.array([p.engine_value for p in model.spatial_model.parameters])
        source_map: Any = _compiled(self.map)
        return np.asarray(source_map(values, self.arrays))

    def counts(self, model: Any, flux: Array, n_nodes: int) -> Array:
        """Return the counts that a model predicts in the pixels of the cutout.

        Parameters
        ----------
        model : `~villard.modeling.models.SkyModel`
            Model.
        flux : array
            Flux in the true energies, shape (n_true,).
        n_nodes : int
            Number of true energies that share exposure, PSF and energy dispersion.

        Returns
        -------
        array
            Shape (n_energies, n_pixels).
        """
        if self.map.kind != "image" or n_nodes == 1:
            return np.asarray((flux[:, None] * self.edisp).T @ self.evaluate(model))
        # Added up before the convolution, of which there are then fewer.
        image = self.arrays["image"]
        shape = (len(flux) // n_nodes, n_nodes, *image.shape[1:])
        summed = np.sum((flux[:, None, None] * image).reshape(shape), axis=1)
        shared = {
            key: self.arrays[key][::n_nodes] for key in ("exposure", "psf_transform") if key in self.arrays
        }
        values = np.array([p.engine_value for p in model.spatial_model.parameters])
        cubes = np.asarray(_compiled(self.map)(values, self.arrays | shared | {"image": summed}))
        return np.asarray(self.edisp[::n_nodes].T @ cubes)

    def is_outgrown(self, model: Any) -> bool:
        """Tell whether a model has moved or grown further than the cutout allows."""
        spatial = model.spatial_model
        distance, extent = self.reach
        if not np.isfinite(distance):
            return False
        here = unit_vector(*spatial.position_lonlat)
        chord = float(np.linalg.norm(here - self.cutout.basis[0]))
        moved = np.degrees(2 * np.arcsin(min(chord / 2, 1.0)))
        return bool(moved > distance or spatial.evaluation_radius.to_value("deg") > extent)


@lru_cache(maxsize=256)
def _compiled(source_map: SourceMap) -> Callable[..., Any]:
    return jax.jit(source_map.__call__)


def bind_source(measurement: "MapMeasurement", model: Any) -> BoundSource | None:
    """Set up the source map of a model in a measurement.

    Returns
    -------
    `BoundSource` or None
        `None` if the source lies so far outside that nothing of it falls on the map.

    Raises
    ------
    DataError
        If there is no exposure, it doesn't cover the source, or the PSF doesn't cover an energy.
    ModelError
        If the model has no morphology, or is free to move and lies outside.
    """
    where = f"Dataset {measurement.name!r}: model {model.name!r}"
    spatial = model.spatial_model
    if spatial is None:
        raise ModelError(f"{where} has no spatial_model, which predictions for a map need")
    if measurement.exposure is None:
        raise DataError(f"{where} needs an exposure, and the dataset has none")
    position = spatial.position
    center = measurement.geom.center_skydir if position is None else position
    psf = _Psf.make(measurement, model, center)
    cutout, reach = _choose_cutout(measurement, model, psf, center)
    if cutout is None:
        free = [p.name for p in model.parameters if not p.frozen]
        if free:
            raise ModelError(
                f"{where} lies wholly outside of the map, at {_text(center)}, but {free} are free: freeze "
                "them, or remove the model"
            )
        return None
    differential = bool(spatial.is_energy_dependent)
    energies = measurement.true_energies(differential)
    edisp = _edisp_matrix(measurement, model, center)
    exposure = exposure_on(measurement, cutout)
    if not model.apply_irf["exposure"]:
        exposure = np.ones_like(exposure)
    n_nodes = len(energies[0]) // len(exposure)
    arrays: dict[str, Any] = {
        "exposure": np.repeat(exposure, n_nodes, axis=0),
        "to_pixel": cutout.to_pixel,
        "basis": cutout.basis,
        "area": cutout.area,
    }
    source_map = _choose_map(measurement, model, psf, cutout, arrays, energies)
    _check_coverage(where, psf, arrays["exposure"], edisp)
    edisp, longest = np.repeat(edisp, n_nodes, axis=0), _longest_step(model, psf, cutout)
    return BoundSource(source_map, arrays, cutout, energies, edisp, reach, longest)


def _longest_step(model: Any, psf: "_Psf", cutout: Cutout) -> float:
    """Half the core of a point source's PSF, but a pixel at least.

    Where a source is so far from its counts that they lie in the PSF's tail, the quadratic form that a
    step minimises is good for no more.
    """
    if not model.spatial_model.is_point:
        return float("inf")
    core = psf.profiles.core if psf.profiles is not None else 0.0
    return max(0.5 * core, _pixel_size(cutout))


@dataclass(frozen=True, eq=False)
class _Psf:
    """The PSF at a source: profiles, a kernel, or neither."""

    profiles: PSFProfiles | None
    kernel: Any
    covered: NDArray[np.bool_] | None

    @classmethod
    def make(cls, measurement: "MapMeasurement", model: Any, center: "SkyCoord") -> "_Psf":
        psf = measurement.psf
        if psf is None or not model.apply_irf["psf"]:
            return cls(None, None, None)
        if not hasattr(psf, "radial_profile"):
            return cls(None, psf, None)
        rad, values = psf.radial_profile(center)
        values, covered = _at_true_energies(measurement, psf.energy_axis_true, values)
        key = ("psf", values.tobytes())
        if key not in measurement._sources:
            containment = _CONTAINMENT[measurement.psf_method]
            measurement._sources[key] = make_psf_profiles(rad, values, measurement.name, containment)
        return cls(measurement._sources[key], None, covered)

    def radius(self, measurement: "MapMeasurement") -> float:
        if self.profiles is not None:
            return self.profiles.radius_max
        if self.kernel is not None:
            geom = self.kernel.psf_kernel_map.geom
            return float(np.max(geom.width.to_value("deg"))) / 2
        return 0.0


def _at_true_energies(
    measurement: "MapMeasurement", axis: Any, values: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Interpolate profiles to the centres of the dataset's true energies, linear in ln E."""
    given = axis.center.to_value("TeV")
    edges = axis.edges.to_value("TeV")
    wanted = measurement.energy_true.center.to_value("TeV")
    covered = (wanted >= edges[0] * (1 - 1e-6)) & (wanted <= edges[-1] * (1 + 1e-6))
    if len(given) == len(wanted) and np.allclose(given, wanted, rtol=1e-6):
        return values, np.any(values > 0, axis=1)
    position = np.interp(np.log(wanted), np.log(given), np.arange(len(given)))
    lower = np.clip(position.astype(int), 0, max(len(given) - 2, 0))
    upper = np.minimum(lower + 1, len(given) - 1)
    t = (position - lower)[:, None]
    mixed = (1 - t) * values[lower] + t * values[upper]
    return mixed, covered & np.any(mixed > 0, axis=1)


def _check_coverage(where: str, psf: _Psf, exposure: Array, edisp: Array) -> None:
    """Raise `DataError` if flux of an energy without PSF could be seen."""
    if psf.covered is None:
        return
    n_nodes = len(exposure) // len(edisp)
    seen = np.any(exposure[::n_nodes] > 0, axis=(1, 2)) & np.any(edisp > 0, axis=1)
    missing = np.flatnonzero(seen & ~psf.covered)
    if len(missing):
        raise DataError(
            f"{where}: the PSF doesn't cover {len(missing)} of {len(edisp)} true energy bins that have "
            f"exposure (the first is number {missing[0]}, counted from 0)"
        )


def _edisp_matrix(measurement: "MapMeasurement", model: Any, center: "SkyCoord") -> Array:
    """Probabilities of reconstructed energies, shape (n_true, n_energies)."""
    from villard.irf import EDispKernel

    energy = measurement.geom.axes["energy"]
    edisp = measurement.edisp if model.apply_irf["edisp"] else None
    if edisp is None:
        kernel = EDispKernel.from_diagonal_response(measurement.energy_true, energy)
    elif hasattr(edisp, "get_edisp_kernel"):
        kernel = edisp.get_edisp_kernel(energy_axis=energy, position=center)
    else:
        kernel = edisp
    matrix = np.asarray(kernel.pdf_matrix, dtype=float)
    expected = (measurement.energy_true.nbin, energy.nbin)
    if matrix.shape != expected:
        raise DataError(
            f"Dataset {measurement.name!r}: the energy dispersion has {matrix.shape} true and reconstructed "
            f"energies, expected {expected} as of exposure and counts"
        )
    return matrix


def _choose_cutout(
    measurement: "MapMeasurement", model: Any, psf: _Psf, center: "SkyCoord"
) -> tuple[Cutout | None, tuple[float, float]]:
    """Choose the pixels that a source may light up, and how far it may move and grow on them (deg)."""
    anywhere = (np.inf, np.inf)
    geom = measurement.geom
    spatial = model.spatial_model
    rows, columns = geom.spatial_shape
    psf_radius = psf.radius(measurement)
    radius = spatial.evaluation_radius
    free = any(not p.frozen for p in spatial.parameters)
    frame = spatial.frame
    x, y = (float(np.ravel(v)[0]) for v in geom.skydir_to_pix(center))
    if radius is None or spatial.position is None or not (np.isfinite(x) and np.isfinite(y)):
        if spatial.position is not None and radius is not None:
            return None, anywhere
        px, py = _in_pixels(geom, psf_radius, *geom.center_pix)
        origin, shape = (-px, -py), (rows + 2 * py, columns + 2 * px)
        return make_cutout(geom, frame, center, origin, shape), anywhere
    extent = float(radius.to_value("deg"))
    scale = float(np.max(geom.pixel_scales.to_value("deg")))
    margin = 0.0
    if free:
        core = psf.profiles.core if psf.profiles is not None else 0.0
        margin = max(6 * scale, 3 * core, 0.2 * extent)
        extent *= _GROWTH
    half = _in_pixels(geom, extent + margin + psf_radius, x, y)
    halo = _in_pixels(geom, psf_radius, x, y)
    starts: list[int] = []
    sizes: list[int] = []
    for at, h, outer, n in zip((x, y), half, halo, (columns, rows), strict=True):
        if at + h < -0.5 or at - h > n - 0.5:
            return None, anywhere
        # One more on each side: a point source is shared by pixels beside its own.
        size = _STEP * -(-(2 * h + 4) // _STEP)
        start = round(at) - size // 2
        if size >= n + 2 * outer:
            start, size = -outer, n + 2 * outer
        starts.append(start)
        sizes.append(size)
    cutout = make_cutout(geom, frame, center, (starts[0], starts[1]), (sizes[1], sizes[0]))
    return cutout, (margin, extent) if free else anywhere


def _in_pixels(geom: Any, radius: float, x: float, y: float) -> tuple[int, int]:
    """Return how many pixels, at least, a radius (deg) reaches along columns and rows."""
    sky = geom.pix_to_skydir(x + np.array([0.0, 0.5, 0.0]), y + np.array([0.0, 0.0, 0.5])).spherical
    here, *beside = unit_vector(sky.lon.deg, sky.lat.deg)
    result = []
    for there, n in zip(beside, geom.npix, strict=True):
        size = 4 * float(np.degrees(np.arcsin(0.5 * np.linalg.norm(there - here))))
        # Towards the edge of a projection pixels may not exist.
        result.append(n if not size > 0 else int(min(np.ceil(radius / size) + 1, 4 * n)))
    return result[0], result[1]


def _pixel_size(cutout: Cutout) -> float:
    """Typical size of pixels in deg."""
    return float(np.degrees(np.sqrt(np.median(cutout.area[cutout.area > 0]))))


def _choose_map(
    measurement: "MapMeasurement",
    model: Any,
    psf: _Psf,
    cutout: Cutout,
    arrays: dict[str, Any],
    energies: Any,
) -> SourceMap:
    """Choose how a source map is computed and add the arrays that this needs."""
    spatial = model.spatial_model
    pure = spatial.pure()
    n_nodes = len(energies[0]) // (len(measurement.energy_edges_true) - 1)
    scale = _pixel_size(cutout)
    if spatial.is_point and psf.profiles is not None and measurement.psf_method == "exact":
        # A round source is a point with a wider PSF.
        broadened = getattr(spatial, "broadened", None)
        table = psf.profiles.splines if broadened is None else broadened(psf.profiles)
        arrays |= {"corners": cutout.corners, "psf": table.coefficients, "psf_scale": table.scale}
        nodes, core = quadrature_nodes(psf.profiles.core / scale)
        core = (min(core[0], (min(cutout.shape) - 1) // 2), core[1]) if core[0] else core
        return SourceMap("point", pure, cutout.shape, nodes, core)
    if spatial.is_point:
        arrays["kernel"] = padded_kernel(measurement, psf.profiles, psf.kernel, cutout)
        arrays["softness"] = np.float64(SOFTNESS)
        return SourceMap("shared", pure, cutout.shape)
    factor, samples = 1, 1
    if pure.evaluate is not None:
        kind = "shape"
        factor, samples = _resolution(spatial, psf, scale, cutout)
        lon, lat = cutout.nodes(factor * samples)
        size = (cutout.shape[0] * factor * samples, cutout.shape[1] * factor * samples)
        arrays |= {
            "lon": lon.reshape(size),
            "lat": lat.reshape(size),
            "spatial": tuple(np.asarray(a) for a in pure.arrays),
            "whole": np.bool_(_lies_inside(measurement, spatial, cutout, scale)),
        }
        if pure.evaluate_cells is not None:
            arrays["cell"] = np.float64(scale / (factor * samples))
    else:
        kind = "image"
        arrays["image"] = _image(measurement, spatial, cutout, energies)
    fft_shape = None
    if psf.profiles is not None or psf.kernel is not None:
        transform, fft_shape = kernel_transform(measurement, psf.profiles, psf.kernel, cutout, factor)
        arrays["psf_transform"] = np.repeat(transform, n_nodes, axis=0)
    return SourceMap(kind, pure, cutout.shape, factor=factor, samples=samples, fft_shape=fft_shape)


def _resolution(spatial: Any, psf: _Psf, scale: float, cutout: Cutout) -> tuple[int, int]:
    """Cells per pixel that resolve a shape, and points per cell at which it is evaluated."""
    needed = spatial.evaluation_bin_size_min
    fine = scale if needed is None else float(needed.to_value("deg"))
    total = int(np.clip(np.ceil(scale / max(fine, scale / 64)), 1, 16))
    if hasattr(spatial, "evaluate_cells"):
        total = max(total, _EDGE_SAMPLES)
    pixels = cutout.shape[0] * cutout.shape[1]
    most = max(1, min(_MAX_FACTOR, int(np.sqrt(_MAX_CELLS / pixels / 4))))
    wanted = total
    if psf.profiles is not None:
        # Cells much smaller than the PSF add nothing.
        wanted = min(total, max(2, int(np.ceil(2 * scale / psf.profiles.core))))
    factor = min(wanted, most)
    samples = min(-(-total // factor), max(1, int(np.sqrt(_MAX_CELLS / pixels)) // factor))
    return factor, samples


def _lies_inside(measurement: "MapMeasurement", spatial: Any, cutout: Cutout, scale: float) -> bool:
    """Tell whether all of a shape, as large as it may get, lies on the cutout."""
    radius = spatial.evaluation_radius
    if radius is None or spatial.position is None:
        return False
    if not np.all(cutout.area > 0):
        return False
    x, y = (float(np.ravel(v)[0]) for v in measurement.geom.skydir_to_pix(spatial.position))
    px, py = _in_pixels(measurement.geom, float(radius.to_value("deg")), x, y)
    x, y = x - cutout.origin[0], y - cutout.origin[1]
    rows, columns = cutout.shape
    return bool(x - px >= -0.5 and y - py >= -0.5 and x + px <= columns - 0.5 and y + py <= rows - 0.5)


def _image(measurement: "MapMeasurement", spatial: Any, cutout: Cutout, energies: Any) -> Array:
    """Flux of a fixed morphology in each pixel, shape (n_true or 1, n_y, n_x)."""
    import astropy.units as u

    lon, lat = cutout.nodes(2)
    if not spatial.is_energy_dependent:
        density = spatial(lon * u.deg, lat * u.deg).to_value("sr-1")
        return np.asarray(density.mean(axis=(1, 3)) * cutout.area)[None]
    _, weights = measurement.energy_nodes
    planes, factor = [], None
    lon, lat, energy = lon * u.deg, lat * u.deg, energies[0] * u.TeV
    if hasattr(spatial, "iter_energies"):
        values = spatial.iter_energies(lon, lat, energy)
    else:
        values = (spatial(lon, lat, item) for item in energy)
    for value, weight in zip(values, weights, strict=True):
        if factor is None:
            unit = "cm-2 s-1 TeV-1 sr-1" if value.unit.is_equivalent("cm-2 s-1 TeV-1 sr-1") else "sr-1"
            factor = 0.25 * float(value.unit.to(unit))
        # Faster than the mean over two axes.
        part = value.value
        total = part[:, 0, :, 0] + part[:, 0, :, 1] + part[:, 1, :, 0] + part[:, 1, :, 1]
        planes.append(weight * factor * total * cutout.area)
    return np.stack(planes)


def _text(center: "SkyCoord") -> str:
    return f"{center.to_string('decimal', precision=3)} deg ({center.frame.name})"

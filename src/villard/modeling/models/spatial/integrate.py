"""Morphologies on maps: values at pixel centres and integrals over pixels.

Pixels that a source reaches are divided into cells until three quadrature rules agree in each of them. So
sharp edges and sources much smaller than a pixel cost no more than they must.
"""

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError
from villard.maps import Map, WcsGeom

if TYPE_CHECKING:
    from villard.modeling.models.spatial.core import SpatialModel

__all__ = ["evaluate_geom", "integrate_geom"]

Array = NDArray[np.float64]

#: Cells are divided while the rules differ by more than this part of the flux, and no further than this.
_TOLERANCE = 1e-7
_DEEPEST = 24
#: Cells of one level at most; with more, the accuracy is that which is reached.
_MOST_CELLS = 4_000_000
_BLOCK = 200_000

#: Nodes and weights on a cell of size 1: two Gauss-Legendre rules, and Simpson's, which sees the corners.
#: An edge that crosses a cell may make two of them agree by chance, but hardly ever all.
_RULES = (
    *(tuple(values * 0.5 for values in np.polynomial.legendre.leggauss(n)) for n in (3, 2)),
    (np.array([-0.5, 0.0, 0.5]), np.array([1, 4, 1]) / 6),
)


def _directions(model: "SpatialModel", sky: Any) -> tuple[u.Quantity, u.Quantity]:
    coord = sky.transform_to(model.frame).spherical
    return coord.lon.to("deg"), coord.lat.to("deg")


def _energies(geom: Any) -> Any:
    """Return the centres of the energies of a geometry, in a shape that broadcasts against its data."""
    for name in ("energy_true", "energy"):
        if name in geom.axes.names:
            return geom._along(geom.axes[name].center, name)
    raise ModelError(f"The morphology depends on energy: expected a geometry with energies, found {geom!r}")


def evaluate_geom(model: "SpatialModel", geom: Any) -> u.Quantity:
    """Return the values at the centres of pixels; see `SpatialModel.evaluate_geom`."""
    if model.is_point:
        return integrate_geom(model, geom).quantity / geom.to_image().solid_angle()
    coord = geom.get_coord(sparse=True)
    lon, lat = _directions(model, coord.skycoord)
    if model.is_energy_dependent:
        values = model(lon, lat, _energies(geom))
        return np.broadcast_to(values, geom.data_shape, subok=True).copy()
    return model(lon, lat).reshape(geom.spatial_shape)


def integrate_geom(model: "SpatialModel", geom: Any, oversampling_factor: int | None = None) -> Map:
    """Return the integrals over pixels; see `SpatialModel.integrate_geom`."""
    if oversampling_factor is not None and not int(oversampling_factor) == oversampling_factor >= 1:
        raise ModelError(f"oversampling_factor: expected a positive integer, found {oversampling_factor!r}")
    if geom.is_region:
        return _over_region(model, geom, oversampling_factor)
    if not isinstance(geom, WcsGeom):
        raise DataError(f"Integral over pixels: expected a WcsGeom or RegionGeom, found {geom!r}")
    if not model.is_energy_dependent:
        geom = geom.to_image()
    if model.is_point:
        return Map.from_geom(geom, data=_shared_point(model, geom))
    unit = model.output_unit * u.sr
    adaptive = oversampling_factor is None and not model.is_energy_dependent and model.position is not None
    if adaptive and model.evaluation_radius is not None and model.pure().evaluate is not None:
        return Map.from_geom(geom, data=_Cells(model, geom).integral(), unit=unit)
    factor = _factor(model, geom) if oversampling_factor is None else int(oversampling_factor)
    return Map.from_geom(geom, data=_sampled(model, geom, factor, unit), unit=unit)


def _shared_point(model: "SpatialModel", geom: WcsGeom) -> Array:
    """Share the flux of a point among the four nearest pixels, linearly in the distance in each direction."""
    data = np.zeros(geom.data_shape)
    position = model.position
    assert position is not None
    x, y = (float(value) for value in geom.skydir_to_pix(position))
    if not np.isfinite(x + y):
        return data
    column, row = int(np.floor(x)), int(np.floor(y))
    for i, part_x in ((column, column + 1 - x), (column + 1, x - column)):
        for j, part_y in ((row, row + 1 - y), (row + 1, y - row)):
            i = i % geom.npix[0] if geom.is_cyclic else i
            if 0 <= i < geom.npix[0] and 0 <= j < geom.npix[1]:
                data[..., j, i] += part_x * part_y
    return data


def _factor(model: "SpatialModel", geom: WcsGeom) -> int:
    """Return how often pixels are divided for parts no larger than what resolves the morphology."""
    size = model.evaluation_bin_size_min
    if size is None or not size > 0:
        return 1
    return max(1, int(np.ceil(float(np.max(geom.pixel_scales) / size) - 1e-6)))


def _sampled(model: "SpatialModel", geom: WcsGeom, factor: int, unit: u.UnitBase) -> Array:
    """Sum the values at the centres of ``factor`` × ``factor`` equal parts of each pixel."""
    shifts = (np.arange(factor) + 0.5) / factor - 0.5
    y, x = np.indices(geom.spatial_shape, dtype=float)
    energy = _energies(geom) if model.is_energy_dependent else None
    total = np.zeros(geom.data_shape)
    for dy in shifts:
        for dx in shifts:
            sky = geom.pix_to_skydir(x + dx, y + dy)
            lon, lat = _directions(model, sky)
            known = np.isfinite(lon) & np.isfinite(lat)
            values = model(np.where(known, lon, 0 * u.deg), np.where(known, lat, 0 * u.deg), energy)
            total += np.where(known, values.to_value(unit / u.sr), 0.0) * _density(geom, x + dx, y + dy)
    return total / factor**2


def _density(geom: WcsGeom, x: Array, y: Array) -> Array:
    """Return the solid angle (sr) per pixel at pixel coordinates, interpolated between pixel centres."""
    from scipy.ndimage import map_coordinates

    solid_angle = np.nan_to_num(geom.solid_angle().to_value("sr"), nan=0.0)
    # Constant along rows in the plate carrée, and nearly constant in others: the slope is all that matters.
    return map_coordinates(solid_angle, [y, x], order=1, mode="nearest")


class _Cells:
    """Integral over pixels by dividing those that need it into cells.

    Parameters
    ----------
    model : `SpatialModel`
        Morphology with a centre and a radius.
    geom : `WcsGeom`
        Image.
    """

    def __init__(self, model: "SpatialModel", geom: WcsGeom) -> None:
        self.model, self.geom = model, geom
        self.pure = model.pure()
        self.parameters = [p.engine_value for p in model.parameters]
        self.radius = float(u.Quantity(model.evaluation_radius).to_value("deg"))
        size = model.evaluation_bin_size_min
        resolved = self.radius / 5 if size is None else float(size.to_value("deg"))
        # A hundredth of the radius is fine enough to find what there is.
        self.resolved = max(resolved, 1e-2 * self.radius, 1e-9)
        self.scale = float(np.max(geom.pixel_scales.value))
        self.solid_angle = np.nan_to_num(geom.solid_angle().to_value("sr"), nan=0.0)

    def integral(self) -> Array:
        """Return the integrals, shape ``geom.data_shape``."""
        total = np.zeros(self.geom.data_shape)
        x, y, column, row = self._pixels()
        size = 1.0
        for level in range(_DEEPEST + 1):
            kept = self._near(x, y, size)
            x, y, column, row = x[kept], y[kept], column[kept], row[kept]
            if not len(x):
                break
            best, *others = self._rules(x, y, size)
            error = np.max([np.abs(best - other) for other in others], axis=0)
            unresolved = size * self.scale > self.resolved
            split = np.full(len(x), unresolved) if unresolved else error > _TOLERANCE
            if level == _DEEPEST or 4 * np.sum(split) > _MOST_CELLS:
                split[:] = False
            np.add.at(total, (row[~split], column[~split]), best[~split])
            size /= 2
            quarter = 0.5 * size
            x, y, column, row = (np.repeat(v[split], 4) for v in (x, y, column, row))
            x = x + np.tile([-quarter, quarter, -quarter, quarter], len(x) // 4)
            y = y + np.tile([-quarter, -quarter, quarter, quarter], len(y) // 4)
        return total

    def _pixels(self) -> tuple[Array, Array, NDArray[np.intp], NDArray[np.intp]]:
        """Return centres and indices of the pixels of the map."""
        row, column = (index.ravel() for index in np.indices(self.geom.data_shape))
        return column.astype(float), row.astype(float), column, row

    def _near(self, x: Array, y: Array, size: float) -> NDArray[np.bool_]:
        """Return which cells the evaluation radius may reach."""
        from astropy.coordinates import SkyCoord

        lon, lat = self._lonlat(x, y)
        center = SkyCoord(*self.model.position_lonlat, unit="deg")
        with np.errstate(invalid="ignore"):
            separation = SkyCoord(np.nan_to_num(lon), np.nan_to_num(lat), unit="deg").separation(center).deg
            # Where a projection stretches them, pixels may be larger than at its reference.
            reach = self.radius + size * self.scale * 1.5
            return np.isfinite(lon) & (separation <= reach)

    def _lonlat(self, x: Array, y: Array) -> tuple[Array, Array]:
        lon, lat = _directions(self.model, self.geom.pix_to_skydir(x, y))
        return lon.value, lat.value

    def _rules(self, x: Array, y: Array, size: float) -> list[Array]:
        """Return the integrals over cells by each rule, the best one first."""
        parts = [slice(i, i + _BLOCK) for i in range(0, len(x), _BLOCK)]
        rules = []
        for nodes, weights in _RULES:
            dx, dy = (values.ravel() * size for values in np.meshgrid(nodes, nodes))
            weight = np.outer(weights, weights).ravel() * size**2
            rules.append(np.concatenate([self._sum(x[part], y[part], dx, dy, weight) for part in parts]))
        return rules

    def _sum(self, x: Array, y: Array, dx: Array, dy: Array, weight: Array) -> Array:
        from scipy.ndimage import map_coordinates

        at_x, at_y = x[:, None] + dx, y[:, None] + dy
        lon, lat = self._lonlat(at_x, at_y)
        known = np.isfinite(lon) & np.isfinite(lat)
        evaluate = self.pure.evaluate
        assert evaluate is not None
        with np.errstate(under="ignore"):
            values = evaluate(
                np.where(known, lon, 0.0), np.where(known, lat, 0.0), self.parameters, self.pure.arrays
            )
        density = map_coordinates(self.solid_angle, [at_y, at_x], order=1, mode="nearest")
        return np.sum(np.where(known, values, 0.0) * density * weight, axis=-1)


def _over_region(model: "SpatialModel", geom: Any, oversampling_factor: int | None) -> Map:
    """Integrate over a region: on pixels that resolve both it and the morphology."""
    if geom.region is None:
        raise DataError("Integral over a region: the geometry has no region")
    image = geom.to_image()
    if model.is_point:
        inside = np.asarray(image.contains(model.position), dtype=float)
        return Map.from_geom(image, data=inside.reshape(image.data_shape))
    pixels = _region_pixels(geom, 200 if oversampling_factor is None else 10 * int(oversampling_factor))
    if model.is_energy_dependent:
        names = [name for name in ("energy_true", "energy") if name in geom.axes.names]
        pixels = pixels.to_cube([geom.axes[name] for name in names])
    else:
        geom = image
    values = integrate_geom(model, pixels)
    mask = pixels.to_image().region_mask([geom.region]).data
    data = np.sum(values.data * mask, axis=(-2, -1), keepdims=True)
    return Map.from_geom(geom, data=data.reshape(geom.data_shape), unit=values.unit)


def _region_pixels(geom: Any, n: int) -> WcsGeom:
    """Return an image that holds a region, with about ``n`` pixels from side to side."""
    region = geom.region
    shapes = list(region) if hasattr(region, "__iter__") else [region]
    center = geom.center_skydir
    extent = 0.0
    for shape in shapes:
        reach = max(shape.sizes, default=0.0) * (0.71 if shape.shape == "box" else 1.0)
        extent = max(extent, float(center.separation(shape.center).deg) + reach)
    if not extent > 0:
        raise DataError("Integral over a region: a point has no area")
    frame = "galactic" if geom.frame == "galactic" else "icrs"
    return WcsGeom.create(skydir=center, frame=frame, npix=n, binsz=2.02 * extent / n, proj="TAN")

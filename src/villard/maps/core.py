"""Maps: numbers with a unit on a geometry."""

from __future__ import annotations

import copy as copylib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError, UnitsError
from villard.maps.axis import RTOL, MapAxis
from villard.maps.coord import MapCoord
from villard.maps.geom import Geom
from villard.maps.operators import MapOperators
from villard.utils.units import parse_unit

if TYPE_CHECKING:
    import os

__all__ = ["Map"]


class Map(MapOperators):
    """Base class of maps. Make one with `Map.create`, `Map.from_geom` or `Map.read`.

    Parameters
    ----------
    geom : `Geom`
        Geometry.
    data : array-like, optional
        Values in the shape ``geom.data_shape``; one of as many values, or one that broadcasts to it,
        is brought in that shape. Zeros by default.
    dtype : data-type
        Type of the zeros.
    unit : str or `~astropy.units.UnitBase`
        Unit of the values.
    meta : dict, optional
        Anything to be kept with the map.

    Raises
    ------
    DataError
        If the data don't have the shape of the geometry.
    """

    def __init__(
        self,
        geom: Geom,
        data: ArrayLike | None = None,
        dtype: Any = float,
        unit: str | u.UnitBase = "",
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self._geom = geom
        self.unit = parse_unit(unit, type(self).__name__)
        self.meta = dict(meta or {})
        self.data = np.zeros(geom.data_shape, dtype=dtype) if data is None else data

    # Making maps

    @staticmethod
    def from_geom(
        geom: Geom,
        data: ArrayLike | None = None,
        dtype: Any = float,
        unit: str | u.UnitBase = "",
        meta: Mapping[str, Any] | None = None,
    ) -> Map:
        """Make a map of the kind that belongs to a geometry; parameters as for `Map`."""
        return _map_class(geom)(geom, data=data, dtype=dtype, unit=unit, meta=meta)

    @staticmethod
    def create(
        region: Any = None,
        axes: Iterable[MapAxis] | None = None,
        map_type: str | None = None,
        dtype: Any = float,
        unit: str | u.UnitBase = "",
        meta: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Map:
        """Make a map of zeros.

        Parameters
        ----------
        region : str or region, optional
            As for `RegionGeom`.
        axes : list of `MapAxis`
            Axes beside the sky.
        map_type : {"wcs", "region"}, optional
            Kind of map; "region" by default if there is one, else "wcs".
        dtype, unit, meta
            As for `Map`.
        **kwargs
            For `WcsGeom.create`: ``npix``, ``binsz``, ``width``, ``skydir``, ``frame``, ``proj``,
            ``refpix``.

        Examples
        --------
        >>> counts = Map.create(skydir=(83.63, 22.01), binsz=0.02, width=(4, 3))
        >>> counts.data.shape
        (150, 200)
        """
        from villard.maps.region_geom import RegionGeom
        from villard.maps.wcs_geom import WcsGeom

        map_type = map_type or ("wcs" if region is None else "region")
        if map_type not in {"region", "wcs"}:
            raise DataError(f"Unknown map_type {map_type!r}, expected 'wcs' or 'region'")
        if (kwargs and map_type == "region") or (region is not None and map_type == "wcs"):
            given = ", ".join(kwargs) if kwargs else "region"
            raise DataError(f"A map of the type {map_type!r} doesn't take the arguments {given}")
        geom: Geom
        if map_type == "region":
            geom = RegionGeom(region, axes=axes)
        else:
            geom = WcsGeom.create(axes=axes, **({"binsz": 0.1} | kwargs))
        return Map.from_geom(geom, dtype=dtype, unit=unit, meta=meta)

    @staticmethod
    def read(path: str | os.PathLike[str], hdu: str | None = None, format: str | None = None) -> Map:
        """Read a map of any kind from a FITS file.

        Parameters
        ----------
        path : str or path-like
            File.
        hdu : str, optional
            Name of the extension; by default the first one that holds an image of the sky or, if there
            is none, a table.
        format : str, optional
            Layout, see the map classes; found out by default.

        Raises
        ------
        FileFormatError
            If the file is damaged or holds no map.
        """
        from villard.maps.map_io import read_map

        return read_map(path, hdu=hdu, format=format)

    def _make(self, data: NDArray[Any], unit: u.UnitBase | str) -> Self:
        return type(self)(self._geom, data=data, unit=unit, meta=self.meta)

    def copy(self, **kwargs: Any) -> Self:
        """Return a copy in which the named arguments of `Map` are replaced."""
        arguments = {"geom": self._geom, "unit": self.unit, "meta": copylib.deepcopy(self.meta)}
        if "geom" not in kwargs or kwargs["geom"].data_shape == self._geom.data_shape:
            arguments["data"] = self._data.copy()
        return type(self)(**(arguments | kwargs))

    # Content

    @property
    def geom(self) -> Geom:
        """Geometry."""
        return self._geom

    @property
    def data(self) -> NDArray[Any]:
        """Values, shape ``geom.data_shape``."""
        return self._data

    @data.setter
    def data(self, values: ArrayLike) -> None:
        if isinstance(values, u.Quantity):
            raise DataError("Map data are plain numbers: set map.quantity, or give the unit apart")
        array, shape = np.asarray(values), self._geom.data_shape
        if array.dtype.kind not in "biuf":
            raise DataError(f"Map data: expected real numbers, found {array.dtype}")
        if array.shape != shape:
            array = _in_shape(array, shape)
        self._data = array

    @property
    def quantity(self) -> u.Quantity:
        """Values with unit. Setting it sets both."""
        return u.Quantity(self._data, self.unit, copy=False)

    @quantity.setter
    def quantity(self, values: u.Quantity) -> None:
        values = u.Quantity(values)
        self.data, self.unit = values.value, values.unit

    @property
    def is_mask(self) -> bool:
        """Whether the values are booleans."""
        return self._data.dtype == bool

    def to_unit(self, unit: str | u.UnitBase) -> Self:
        """Return the map in another unit."""
        new = parse_unit(unit, "Map.to_unit")
        try:
            factor = self.unit.to(new)
        except u.UnitConversionError as error:
            raise UnitsError(f"Map in {str(self.unit) or 'no unit'}: can't be converted to {unit}") from error
        return self.copy(data=self._data * factor, unit=new)

    def is_allclose(self, other: Map, rtol_axes: float = RTOL, rtol: float = 1e-5, atol: float = 0.0) -> bool:
        """Whether two maps have (nearly) the same geometry and values; NaN equals NaN."""
        if not (isinstance(other, Map) and self._geom.is_allclose(other.geom, rtol_axis=rtol_axes)):
            return False
        if not self.unit.is_equivalent(other.unit):
            return False
        values = other.data if self.unit == other.unit else other.data * other.unit.to(self.unit)
        return bool(np.allclose(self._data, values, rtol=rtol, atol=atol, equal_nan=True))

    # Reduction

    def reduce_over_axes(
        self,
        func: np.ufunc = np.add,
        keepdims: bool = True,
        axes_names: Sequence[str] | None = None,
        weights: Map | None = None,
    ) -> Self:
        """Reduce axes with a function such as `numpy.add` or `numpy.logical_or`.

        Parameters
        ----------
        func : `~numpy.ufunc`
            Function of two arguments.
        keepdims : bool
            Whether reduced axes stay, with one bin.
        axes_names : list of str, optional
            Axes to reduce; all by default.
        weights : `Map`, optional
            Factors, such as a mask.
        """
        names = list(self._geom.axes.names if axes_names is None else axes_names)
        data = self._data if weights is None else self._data * self._operand(weights)[0]
        data = func.reduce(data, axis=tuple(self._geom.data_axis(name) for name in names), keepdims=keepdims)
        geom = self._geom
        for name in names:
            geom = geom.squash(name) if keepdims else geom.drop(name)
        return type(self)(geom, data=data, unit=self.unit, meta=self.meta)

    def sum_over_axes(
        self,
        axes_names: Sequence[str] | None = None,
        keepdims: bool = True,
        weights: Map | None = None,
    ) -> Self:
        """Return the sum over axes; parameters as for `reduce_over_axes`.

        Examples
        --------
        >>> from villard.maps import RegionNDMap
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
        >>> counts = RegionNDMap.create(None, axes=[axis])
        >>> counts.data += 2
        >>> counts.sum_over_axes().data.shape, float(counts.sum_over_axes().data.sum())
        ((1, 1, 1), 6.0)
        """
        return self.reduce_over_axes(np.add, keepdims=keepdims, axes_names=axes_names, weights=weights)

    def resample_axis(self, axis: MapAxis, weights: Map | None = None, ufunc: np.ufunc = np.add) -> Self:
        """Return the map with bins joined to be nearest to those of ``axis``; others are dropped.

        Parameters
        ----------
        axis : `MapAxis`
            Wanted bins; its name says which axis is meant.
        weights : `Map`, optional
            Factors, such as a mask.
        ufunc : `~numpy.ufunc`
            How values are joined.
        """
        idx = self._geom.axes[axis.name].group_edges(axis.edges)
        dimension = self._geom.data_axis(axis.name)
        data = self._data if weights is None else self._data * self._operand(weights)[0]
        data = np.take(data, np.arange(idx[0], idx[-1]), axis=dimension)
        data = ufunc.reduceat(data, idx[:-1] - idx[0], axis=dimension)
        return type(self)(self._geom.resample_axis(axis), data=data, unit=self.unit, meta=self.meta)

    def cumsum(self, axis_name: str) -> Self:
        """Return the running sum along one axis."""
        return self._make(np.cumsum(self._data, axis=self._geom.data_axis(axis_name)), self.unit)

    def stack(self, other: Map, weights: Map | None = None, nan_to_num: bool = True) -> None:
        """Add another map of the same geometry to this one.

        Parameters
        ----------
        other : `Map`
            Map to add.
        weights : `Map`, optional
            Factors of ``other``, such as a mask.
        nan_to_num : bool
            Whether NaN and infinite values of ``other`` count as 0.
        """
        values = self._in_own_unit(other)
        if weights is not None:
            values = np.where(self._operand(weights)[0] == 0, 0, values * self._operand(weights)[0])
        if nan_to_num:
            values = np.where(np.isfinite(values), values, 0)
        self.data = self._data | values.astype(bool) if self.is_mask else self._data + values

    # Selection

    def slice_by_idx(self, slices: Mapping[str, slice | int]) -> Self:
        """Return the map of some bins.

        Parameters
        ----------
        slices : dict
            Axis name to slice; an integer drops the axis.

        Examples
        --------
        >>> from villard.maps import RegionNDMap
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
        >>> RegionNDMap.create(None, axes=[axis]).slice_by_idx({"energy": slice(0, 2)}).data.shape
        (2, 1, 1)
        """
        geom = self._geom.slice_by_idx(dict(slices))
        index: list[Any] = [slice(None)] * self._geom.ndim
        for name, item in slices.items():
            index[self._geom.data_axis(name)] = item
        return type(self)(geom, data=self._data[tuple(index)].copy(), unit=self.unit, meta=self.meta)

    def slice_by_energy(self, energy_min: u.Quantity, energy_max: u.Quantity) -> Self:
        """Return the map of the bins between the edges nearest to two energies."""
        name = next((axis.name for axis in self._geom.axes if axis.is_energy_axis), None)
        if name is None:
            raise DataError(f"Slice by energy: expected an axis of energy, found {self._geom.axes.names}")
        first, last = self._geom.axes[name].group_edges(u.Quantity([energy_min, energy_max]))[[0, -1]]
        return self.slice_by_idx({name: slice(int(first), int(last))})

    def rename_axes(self, names: Sequence[str] | str, new_names: Sequence[str] | str) -> Self:
        """Return the map with axes under other names."""
        return self.copy(geom=self._geom.rename_axes(names, new_names))

    def get_by_idx(self, idx: Sequence[ArrayLike]) -> NDArray[Any]:
        """Return values by the index of their bins.

        Parameters
        ----------
        idx : tuple of array-like of int
            One index per dimension: longitude, latitude, then the axes in order.
        """
        return self._data[tuple(np.asarray(i) for i in idx)[::-1]]

    def get_by_coord(self, coords: Mapping[str, Any] | Sequence[Any]) -> NDArray[np.float64]:
        """Return the value of the bin that holds each coordinate; NaN outside.

        Parameters
        ----------
        coords : dict, `MapCoord` or tuple
            Quantity per axis, optionally "skycoord"; or a tuple of them in the order of the axes.
        """
        index, inside = self._locate(MapCoord.from_any(coords, self._geom))
        return np.where(inside, np.broadcast_to(self._data[index], inside.shape), np.nan)

    def interp_by_coord(
        self,
        coords: Mapping[str, Any] | Sequence[Any],
        fill_value: float | None = None,
        values_scale: str = "lin",
    ) -> NDArray[np.float64]:
        """Interpolate between bin centres, linearly on the scales of the axes.

        Parameters
        ----------
        coords : dict, `MapCoord` or tuple
            As for `get_by_coord`.
        fill_value : float, optional
            Value beyond the outermost centres; by default the slope goes on.
        values_scale : {"lin", "log", "sqrt"}
            Scale on which values are interpolated.

        Returns
        -------
        `~numpy.ndarray`
            Values in the unit of the map.
        """
        from villard.maps.interpolation import interpolate_grid

        coord = MapCoord.from_any(coords, self._geom)
        shape, axes = coord.shape, list(self._geom.axes)
        points = [np.broadcast_to(coord[axis.name].to_value(axis.unit), shape) for axis in axes]
        data = np.transpose(self._data[..., 0, 0])
        values = interpolate_grid(axes, data, points, fill_value=fill_value, values_scale=values_scale)
        return np.where(self._sky_index(coord)[-1], values, np.nan)

    def set_by_coord(self, coords: Mapping[str, Any] | Sequence[Any], values: ArrayLike) -> None:
        """Set the bins that hold the coordinates; those outside are an error."""
        index, inside = self._locate(MapCoord.from_any(coords, self._geom))
        if not np.all(inside):
            raise DataError(
                f"{np.sum(~inside)} of {inside.size} coordinates are outside the axes of {self!r}"
            )
        self.data[index] = values

    def fill_by_coord(self, coords: Mapping[str, Any] | Sequence[Any], weights: ArrayLike = 1) -> None:
        """Add weights (1 by default) to the bins that hold the coordinates; those outside are left out."""
        index, inside = self._locate(MapCoord.from_any(coords, self._geom))
        index = tuple(np.broadcast_to(i, inside.shape)[inside] for i in index)
        np.add.at(self.data, index, np.broadcast_to(weights, inside.shape)[inside])

    def _locate(self, coord: MapCoord) -> tuple[tuple[Any, ...], NDArray[np.bool_]]:
        """Return the indices of the bins (0 for those outside), and which coordinates are inside."""
        index: list[Any] = [0] * self._geom.ndim
        index[-2], index[-1], contained = self._sky_index(coord)
        inside = np.broadcast_to(contained, coord.shape).copy()
        for axis in self._geom.axes:
            idx = axis.coord_to_idx(coord[axis.name])
            inside &= idx >= 0
            index[self._geom.data_axis(axis.name)] = np.maximum(idx, 0)
        return tuple(index), inside

    def _sky_index(self, coord: MapCoord) -> tuple[Any, Any, Any]:
        """Return row, column and whether the direction is inside."""
        contains = getattr(self._geom, "contains", None)
        inside = contains(coord.skycoord) if contains is not None and "skycoord" in coord else np.True_
        return 0, 0, inside

    def __repr__(self) -> str:
        unit = f", unit={str(self.unit)!r}" if str(self.unit) else ""
        axes = ", ".join(f"{axis.name}: {axis.nbin}" for axis in self._geom.axes)
        return f"{type(self).__name__}({axes}{unit}, dtype={self._data.dtype})"

    def __str__(self) -> str:
        rows = {
            "geom": type(self._geom).__name__,
            "axes": ", ".join(self._geom.axes_names),
            "shape": str(self._geom.data_shape),
            "unit": str(self.unit) or "none",
            "dtype": str(self._data.dtype),
        }
        return (
            f"{type(self).__name__}\n"
            + "".join(f"\n  {key:6s}: {value}" for key, value in rows.items())
            + "\n"
        )


def _in_shape(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Bring data into the shape of a geometry, if that is unambiguous."""
    # The same order of the same dimensions, with or without those of length one.
    if tuple(n for n in array.shape if n != 1) == tuple(n for n in shape if n != 1):
        return array.reshape(shape)
    try:
        return np.broadcast_to(array, shape).copy()
    except ValueError:
        raise DataError(f"Map data: expected the shape {shape}, found {array.shape}") from None


def _map_class(geom: Geom) -> type[Map]:
    if geom.is_region:
        from villard.maps.region_map import RegionNDMap

        return RegionNDMap
    if geom.is_hpx:
        from villard.maps.hpx_map import HpxNDMap

        return HpxNDMap
    # Imported only where it is needed: it brings astropy's coordinates, which take 0.1 s.
    from villard.maps.wcs_geom import WcsGeom
    from villard.maps.wcs_map import WcsNDMap

    if isinstance(geom, WcsGeom):
        return WcsNDMap
    raise DataError(f"No map class for the geometry {type(geom).__name__}")

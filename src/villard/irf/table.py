"""What tables of responses have in common: values on axes, interpolated, in GADF files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import DataError, UnitsError
from villard.maps.axes import MapAxes
from villard.maps.axis import RTOL, MapAxis, value_in
from villard.maps.fits import open_fits, write_fits
from villard.maps.interpolation import interpolate_grid
from villard.utils.units import parse_unit

__all__ = ["IRF"]

_AXIS_UNITS = {
    "energy": u.TeV,
    "energy_true": u.TeV,
    "offset": u.deg,
    "rad": u.deg,
    "fov_lon": u.deg,
    "fov_lat": u.deg,
    "migra": u.dimensionless_unscaled,
}


class IRF:
    """A table of a response; the classes of `villard.irf` that are named after responses are made of it.

    Parameters
    ----------
    axes : list of `~villard.maps.MapAxis`
        Axes with the names and in the order of `required_axes`.
    data : array-like or `~astropy.units.Quantity`, optional
        Values, in the shape of the axes; zeros by default.
    unit : str or `~astropy.units.UnitBase`, optional
        Unit of plain values.
    meta : dict, optional
        Anything to be kept with the table.

    Raises
    ------
    DataError
        If axes or shape don't fit, or a value is negative, infinite or NaN.
    UnitsError
        If units don't fit.
    """

    tag: ClassVar[str] = ""
    required_axes: ClassVar[tuple[str, ...]] = ()
    default_unit: ClassVar[u.UnitBase] = u.dimensionless_unscaled
    #: Scale on which values are interpolated.
    values_scale: ClassVar[str] = "lin"

    def __init__(
        self,
        axes: Iterable[MapAxis],
        data: Any = None,
        unit: str | u.UnitBase = "",
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        where = type(self).__name__
        self._axes = MapAxes(axes)
        self._axes.assert_names(self.required_axes)
        for axis in self._axes:
            if not axis.unit.is_equivalent(_AXIS_UNITS[axis.name]):
                raise UnitsError(
                    f"{where}, axis {axis.name!r}: expected a unit like {_AXIS_UNITS[axis.name]}, "
                    f"found {axis.unit}"
                )
        if data is None:
            data, unit = np.zeros(self._axes.shape), unit or self.default_unit
        if isinstance(data, u.Quantity):
            data, unit = data.value, data.unit
        self._unit = parse_unit(unit, where)
        if not self._unit.is_equivalent(self.default_unit):
            raise UnitsError(f"{where}: expected a unit like {self.default_unit}, found {self._unit}")
        self._data = _checked(data, self._axes.shape, where)
        self.meta = dict(meta or {})

    # Content

    @property
    def axes(self) -> MapAxes:
        """Axes."""
        return self._axes

    @property
    def data(self) -> NDArray[np.float64]:
        """Values, in the shape of the axes."""
        return self._data

    @property
    def unit(self) -> u.UnitBase:
        """Unit of the values."""
        return self._unit

    @property
    def quantity(self) -> u.Quantity:
        """Values with unit."""
        return u.Quantity(self._data, self._unit, copy=False)

    @property
    def is_pointlike(self) -> bool:
        """Whether it is the response to point sources after a cut on directions (HDUCLAS3)."""
        return str(self.meta.get("HDUCLAS3", "")) == "POINT-LIKE"

    def evaluate(self, **coords: Any) -> u.Quantity:
        """Interpolate between the centres of bins, and on from the outermost ones to their edges.

        It is zero beyond the edges. Between centres interpolation is linear, on the scales of the axes.

        Parameters
        ----------
        **coords : `~astropy.units.Quantity`
            Coordinate for each axis, by name; they broadcast against each other.

        Returns
        -------
        `~astropy.units.Quantity`
            Values.
        """
        return u.Quantity(self._interpolate(self._points(coords)), self._unit, copy=False)

    def _points(self, coords: Mapping[str, Any]) -> list[NDArray[np.float64]]:
        if set(coords) != set(self.required_axes):
            raise DataError(
                f"{type(self).__name__}: expected coordinates {list(self.required_axes)}, "
                f"found {list(coords)}"
            )
        where = type(self).__name__
        values = [value_in(coords[axis.name], axis.unit, f"{where}, {axis.name}") for axis in self._axes]
        return list(np.broadcast_arrays(*values))

    def _interpolate(self, points: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        # Slopes go on to the edges, but not to infinity.
        ends = [axis.bounds.value for axis in self._axes]
        near = [np.clip(point, *end) for point, end in zip(points, ends, strict=True)]
        values = interpolate_grid(self._axes, self._data, near, values_scale=self.values_scale)
        inside = np.ones(np.shape(points[0]), dtype=bool)
        for axis, point in zip(self._axes, points, strict=True):
            inside &= is_on_axis(axis, point)
        # What a straight line makes of a steep fall can be below zero.
        return np.where(inside, np.maximum(values, 0.0), 0.0)

    def slice_by_idx(self, slices: Mapping[str, slice]) -> Self:
        """Return the table of some bins; slices by axis name."""
        for name, item in slices.items():
            if not isinstance(item, slice):
                raise DataError(f"{type(self).__name__}: expected a slice of axis {name!r}, found {item!r}")
        axes = self._axes.slice_by_idx(dict(slices))
        index = tuple(slices.get(name, slice(None)) for name in self.required_axes)
        return type(self)(axes, self._data[index], self._unit, self.meta)

    # Files

    @classmethod
    def from_hdulist(cls, hdulist: fits.HDUList, hdu: str | None = None, where: str = "FITS data") -> Self:
        """Make a table of a FITS extension.

        Parameters
        ----------
        hdulist : `~astropy.io.fits.HDUList`
            Extensions.
        hdu : str, optional
            Name of the extension; by default the first one whose HDUCLAS4 is that of this table.
        where : str
            File, for messages.
        """
        from villard.irf.gadf import read_table

        return read_table(cls, hdulist, hdu, where)

    @classmethod
    def read(cls, path: str | os.PathLike[str], hdu: str | None = None) -> Self:
        """Read a table from a FITS file in the GADF layout.

        Parameters
        ----------
        path : str or path-like
            File.
        hdu : str, optional
            As for `from_hdulist`.

        Raises
        ------
        FileFormatError
            If the file is damaged or has another layout.
        """
        with open_fits(path) as hdulist:
            return cls.from_hdulist(hdulist, hdu=hdu, where=str(path))

    def to_table_hdu(self, name: str | None = None) -> fits.BinTableHDU:
        """Return the table as a FITS extension in the GADF layout."""
        from villard.irf.gadf import table_hdu

        return table_hdu(self, name)

    def write(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the table to a FITS file in the GADF layout."""
        hdulist = fits.HDUList([fits.PrimaryHDU(), self.to_table_hdu()])
        write_fits(hdulist, path, overwrite=overwrite)

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name}: {axis.nbin}" for axis in self._axes)
        return f"{type(self).__name__}({axes}, unit={str(self._unit)!r})"


def is_on_axis(axis: MapAxis, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether values (in the unit of the axis) lie between its first and last edge."""
    lower, upper = axis.edges[[0, -1]].value
    slack = RTOL * (upper - lower)
    if axis.interp == "log":
        return np.asarray((values >= lower * (1 - RTOL)) & (values <= upper * (1 + RTOL)))
    return np.asarray((values >= lower - slack) & (values <= upper + slack))


def _checked(data: Any, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    try:
        values = np.array(data, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected numbers ({error})") from error
    if values.shape != shape:
        raise DataError(
            f"{where}: expected data of the shape {shape}, as its axes have it, found {values.shape}"
        )
    bad = ~((values >= 0) & np.isfinite(values))
    if np.any(bad):
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{where}: values can't be negative, infinite or NaN, found {values[index]} at index {index}, "
            f"and {int(bad.sum())} such values in all"
        )
    values.flags.writeable = False
    return values

"""Maps that a dataset of counts holds, checked when they are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import astropy.units as u
import numpy as np

from villard.exceptions import DataError, UnitsError
from villard.maps import Map, MapAxis

if TYPE_CHECKING:
    from villard.datasets.counts import CountsDataset

__all__ = ["CountsMap", "ExposureMap", "MaskMap", "WeightsMap", "check_axis"]

AREA_TIME = u.Unit("cm2 s")


def check_axis(axis: MapAxis, expected: MapAxis | None, where: str) -> None:
    """Raise `DataError` if an axis isn't the expected one."""
    if expected is None or axis is expected or axis.is_aligned_with(expected):
        return
    raise DataError(f"{where}: expected the bins of {expected!r}, found {axis!r}")


class MapSlot:
    """Attribute of a dataset that holds a map of one axis, or `None`.

    Parameters
    ----------
    axis_name : str
        Axis that the map must have; its bins must be those of the dataset's other maps.
    doc : str
        Docstring of the attribute.
    """

    def __init__(self, axis_name: str, doc: str) -> None:
        self.axis_name = axis_name
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.key = name, f"_{name}"

    @overload
    def __get__(self, dataset: None, owner: type) -> MapSlot: ...
    @overload
    def __get__(self, dataset: CountsDataset, owner: type) -> Any: ...
    def __get__(self, dataset: CountsDataset | None, owner: type) -> Any:
        return self if dataset is None else dataset.__dict__.get(self.key)

    def __set__(self, dataset: CountsDataset, value: Any) -> None:
        if value is not None:
            where = f"Dataset {dataset.name!r}: {self.name}"
            expected = dataset._map_class
            if not isinstance(value, expected):
                hint = (
                    ". Use interp_to_geom first" if getattr(value, "geom", None) and value.geom.is_hpx else ""
                )
                found = type(value).__name__
                raise DataError(f"{where}: expected a {expected.__name__}, found {found}{hint}")
            if value.geom.axes.names != [self.axis_name]:
                raise DataError(
                    f"{where}: expected a map with the axis {self.axis_name!r}, found {value.geom.axes.names}"
                )
            check_axis(value.geom.axes[0], dataset._axis(self.axis_name, ignore=self.name), where)
            value = self.check(value, where)
            dataset._check_sky(self.name, value, where)
        dataset.__dict__[self.key] = value

    def check(self, value: Map, where: str) -> Map:
        """Return the map, checked and in a form that the dataset can use."""
        return value


class CountsMap(MapSlot):
    """Counts, acceptances, background: numbers without unit along the axis "energy"."""

    def check(self, value: Map, where: str) -> Map:
        """Check that there is no unit and that values aren't negative; NaN is for masked bins only."""
        if value.unit != u.dimensionless_unscaled:
            if not value.unit.is_equivalent(u.dimensionless_unscaled) and value.unit != u.ct:
                raise UnitsError(f"{where}: expected numbers without unit, found {value.unit}")
            value = value.copy(unit="") if value.unit == u.ct else value.to_unit("")
        check_not_negative(value.data, where)
        return value


class ExposureMap(MapSlot):
    """Exposure along the axis "energy_true"."""

    def check(self, value: Map, where: str) -> Map:
        """Check the unit and that values aren't negative or NaN."""
        if not value.unit.is_equivalent(AREA_TIME):
            raise UnitsError(
                f"{where}: expected a unit of area times time, found {str(value.unit) or 'none'}"
            )
        check_not_negative(value.data, where)
        if not np.all(np.isfinite(value.data)):
            raise DataError(f"{where}: found {np.sum(~np.isfinite(value.data))} values that aren't finite")
        return value


class MaskMap(MapSlot):
    """Mask along the axis "energy"."""

    def check(self, value: Map, where: str) -> Map:
        """Check that the map is boolean."""
        if not value.is_mask:
            raise DataError(f"{where}: expected a boolean map, found one of {value.data.dtype}")
        return value


class WeightsMap(CountsMap):
    """Weights of bins: numbers without unit along the axis "energy", none of them NaN."""

    def check(self, value: Map, where: str) -> Map:
        """Check that there is no unit and that values are finite and not negative."""
        value = super().check(value, where)
        if not np.all(np.isfinite(value.data)):
            raise DataError(f"{where}: found {np.sum(~np.isfinite(value.data))} values that aren't finite")
        return value


def check_not_negative(values: Any, where: str) -> None:
    """Raise `DataError` if a value is negative."""
    if np.any(values < 0):
        i = int(np.argmax(values.reshape(-1) < 0))
        raise DataError(f"{where}: values can't be negative, found {values.reshape(-1)[i]:g} in bin {i}")

"""Arithmetic, comparison and logic of maps, with units and a check that geometries agree."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError, UnitsError

if TYPE_CHECKING:
    from typing import Self

    from villard.maps.geom import Geom

__all__ = ["MapOperators"]

_MULTIPLICATIVE = {operator.mul, operator.truediv}


class MapOperators:
    """Operators of `Map`; the other operand may be a map, a quantity, an array or a number."""

    unit: u.UnitBase

    if TYPE_CHECKING:

        @property
        def geom(self) -> Geom: ...  # noqa: D102

        @property
        def data(self) -> NDArray[Any]: ...  # noqa: D102

        @data.setter
        def data(self, values: ArrayLike) -> None: ...

    # Maps go first in "quantity * map" and "array + map".
    __array_ufunc__ = None

    def _make(self, data: NDArray[Any], unit: u.UnitBase | str) -> Self:
        raise NotImplementedError

    def _operand(self, other: Any) -> tuple[Any, u.UnitBase]:
        """Return data and unit of the other operand, checked against this geometry."""
        if isinstance(other, MapOperators):
            if not self._is_compatible(other.geom):
                raise DataError(f"Maps have different geometries: {self.geom!r} and {other.geom!r}")
            return other.data, other.unit
        if isinstance(other, (str, type(None))):
            raise DataError(f"Map: expected a map, quantity or number as operand, found {other!r}")
        unit = getattr(other, "unit", None)
        data = np.asarray(getattr(other, "value", other))
        try:
            shape = np.broadcast_shapes(data.shape, self.data.shape)
        except ValueError:
            shape = ()
        if shape != self.data.shape:
            raise DataError(f"Map of shape {self.data.shape}: an operand of shape {data.shape} doesn't fit")
        return data, u.dimensionless_unscaled if unit is None else unit

    def _is_compatible(self, geom: Geom) -> bool:
        if geom is self.geom:
            return True
        # One bin along an axis fits any number of bins, as in numpy.
        if self.geom.spatial_shape != geom.spatial_shape or self.geom.axes.names != geom.axes.names:
            return False
        return all(
            b.nbin == 1 or a.is_aligned_with(b) for a, b in zip(self.geom.axes, geom.axes, strict=True)
        )

    def _in_own_unit(self, other: Any) -> Any:
        data, unit = self._operand(other)
        if unit == self.unit:
            return data
        try:
            factor = unit.to(self.unit)
        except u.UnitConversionError as error:
            raise UnitsError(
                f"Map in {str(self.unit) or 'no unit'}: "
                f"an operand in {str(unit) or 'no unit'} can't be converted"
            ) from error
        return data * factor

    def _arithmetic(self, other: Any, function: Callable[[Any, Any], Any]) -> Self:
        if function in _MULTIPLICATIVE:
            data, other_unit = self._operand(other)
            unit = function(self.unit, other_unit)
        else:
            data, unit = self._in_own_unit(other), self.unit
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._make(function(self.data, data), unit)

    def _in_place(self, other: Any, function: Callable[[Any, Any], Any]) -> Self:
        result = self._arithmetic(other, function)
        self.data, self.unit = result.data, result.unit
        return self

    def _comparison(self, other: Any, function: Callable[[Any, Any], Any]) -> Self:
        return self._make(function(self.data, self._in_own_unit(other)), "")

    def _logic(self, other: Any, function: Callable[[Any, Any], Any]) -> Self:
        data, _ = self._operand(other)
        for operand in (self.data, data):
            if operand.dtype != bool:
                raise DataError(f"Logic works on boolean maps, found one of {operand.dtype}")
        return self._make(function(self.data, data), "")

    def __add__(self, other: Any) -> Self:
        return self._arithmetic(other, operator.add)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Self:
        return self._arithmetic(other, operator.sub)

    def __rsub__(self, other: Any) -> Self:
        return self._make(self._in_own_unit(other) - self.data, self.unit)

    def __mul__(self, other: Any) -> Self:
        return self._arithmetic(other, operator.mul)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Self:
        return self._arithmetic(other, operator.truediv)

    def __rtruediv__(self, other: Any) -> Self:
        data, unit = self._operand(other)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._make(data / self.data, unit / self.unit)

    def __pow__(self, power: float) -> Self:
        return self._make(self.data**power, self.unit**power)

    def __neg__(self) -> Self:
        return self._make(-self.data, self.unit)

    def __iadd__(self, other: Any) -> Self:
        return self._in_place(other, operator.add)

    def __isub__(self, other: Any) -> Self:
        return self._in_place(other, operator.sub)

    def __imul__(self, other: Any) -> Self:
        return self._in_place(other, operator.mul)

    def __itruediv__(self, other: Any) -> Self:
        return self._in_place(other, operator.truediv)

    def __gt__(self, other: Any) -> Self:
        return self._comparison(other, operator.gt)

    def __ge__(self, other: Any) -> Self:
        return self._comparison(other, operator.ge)

    def __lt__(self, other: Any) -> Self:
        return self._comparison(other, operator.lt)

    def __le__(self, other: Any) -> Self:
        return self._comparison(other, operator.le)

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._comparison(other, operator.eq)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return self._comparison(other, operator.ne)

    # Maps can be changed, and "==" gives a map: only their identity can be hashed.
    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Self:
        return self._logic(other, np.logical_and)

    __rand__ = __and__

    def __or__(self, other: Any) -> Self:
        return self._logic(other, np.logical_or)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Self:
        return self._logic(other, np.logical_xor)

    def __invert__(self) -> Self:
        if self.data.dtype != bool:
            raise DataError(f"Logic works on boolean maps, found one of {self.data.dtype}")
        return self._make(~self.data, "")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.data, dtype=dtype)

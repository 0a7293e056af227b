"""Several axes of one map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from villard.exceptions import DataError
from villard.maps.axis import MapAxis
from villard.utils.names import nearest

__all__ = ["MapAxes"]


class MapAxes(Sequence[MapAxis]):
    """Axes with different names, in order.

    Parameters
    ----------
    axes : iterable of `MapAxis`
        Axes.

    Examples
    --------
    >>> axes = MapAxes([MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)])
    >>> axes["energy"].nbin, axes.shape, axes.names
    (3, (3,), ['energy'])
    """

    def __init__(self, axes: Iterable[MapAxis] = ()) -> None:
        self._axes = tuple(axes)
        for axis in self._axes:
            if not isinstance(axis, MapAxis):
                raise DataError(f"Expected a MapAxis, found {axis!r}")
        names = self.names
        if len(set(names)) != len(names):
            raise DataError(f"Axes of one map must have different names, found {', '.join(map(repr, names))}")

    @classmethod
    def from_default(cls, axes: Iterable[MapAxis] | MapAxis | None) -> MapAxes:
        """Make axes of an axis, a list of them, or nothing."""
        if isinstance(axes, MapAxes):
            return axes
        if isinstance(axes, MapAxis):
            return cls([axes])
        return cls(() if axes is None else axes)

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [axis.name for axis in self._axes]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins of each axis."""
        return tuple(axis.nbin for axis in self._axes)

    def index(self, name: str | MapAxis, *args: int) -> int:
        """Return the place of an axis, by name."""
        name = name.name if isinstance(name, MapAxis) else name
        if name not in self.names:
            raise DataError(f"No axis of the name {name!r}. {nearest(str(name), self.names)}")
        return self.names.index(name)

    @overload
    def __getitem__(self, idx: int | str) -> MapAxis: ...
    @overload
    def __getitem__(self, idx: slice) -> MapAxes: ...
    def __getitem__(self, idx: int | str | slice) -> MapAxis | MapAxes:
        if isinstance(idx, slice):
            return MapAxes(self._axes[idx])
        return self._axes[self.index(idx) if isinstance(idx, str) else idx]

    def __len__(self) -> int:
        return len(self._axes)

    def __iter__(self) -> Iterator[MapAxis]:
        return iter(self._axes)

    def __contains__(self, item: object) -> bool:
        return item in self.names if isinstance(item, str) else item in self._axes

    def __add__(self, other: Iterable[MapAxis]) -> MapAxes:
        return MapAxes([*self._axes, *other])

    def replace(self, axis: MapAxis) -> MapAxes:
        """Return the axes with the one of the same name replaced."""
        return self._replaced(self.index(axis.name), axis)

    def _replaced(self, i: int, axis: MapAxis) -> MapAxes:
        return MapAxes([*self._axes[:i], axis, *self._axes[i + 1 :]])

    def drop(self, axis_name: str) -> MapAxes:
        """Return the axes without one."""
        i = self.index(axis_name)
        return MapAxes([*self._axes[:i], *self._axes[i + 1 :]])

    def squash(self, axis_name: str) -> MapAxes:
        """Return the axes with one reduced to a single bin."""
        return self.replace(self[axis_name].squash())

    def resample(self, axis: MapAxis) -> MapAxes:
        """Return the axes with the bins of one joined to be nearest to those of ``axis``."""
        return self.replace(self[axis.name].resample(axis))

    def slice_by_idx(self, slices: dict[str, Any]) -> MapAxes:
        """Return the axes reduced to some bins; an integer drops its axis.

        Parameters
        ----------
        slices : dict
            Name to slice or integer.
        """
        for name in slices:
            self.index(name)
        return MapAxes(
            axis.slice(slices[axis.name]) if isinstance(slices.get(axis.name), slice) else axis
            for axis in self._axes
            if axis.name not in slices or isinstance(slices[axis.name], slice)
        )

    def rename_axes(self, names: Sequence[str] | str, new_names: Sequence[str] | str) -> MapAxes:
        """Return the axes under other names."""
        names = [names] if isinstance(names, str) else list(names)
        new_names = [new_names] if isinstance(new_names, str) else list(new_names)
        if len(names) != len(new_names):
            raise DataError(f"Expected as many new names as old ones, found {names} and {new_names}")
        axes = self
        for name, new_name in zip(names, new_names, strict=True):
            i = axes.index(name)
            axes = axes._replaced(i, axes[i].rename(new_name))
        return axes

    def assert_names(self, required_names: Sequence[str]) -> None:
        """Raise `DataError` if the names are not these, in this order."""
        if self.names != list(required_names):
            raise DataError(f"Expected axes {list(required_names)}, found {self.names}")

    def is_allclose(self, other: MapAxes, **kwargs: Any) -> bool:
        """Whether both have the same axes, see `MapAxis.is_allclose`."""
        return (
            isinstance(other, MapAxes)
            and len(self) == len(other)
            and all(a.is_allclose(b, **kwargs) for a, b in zip(self, other, strict=True))
        )

    def __eq__(self, other: object) -> bool:
        return self.is_allclose(other) if isinstance(other, MapAxes) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._axes)

    def __repr__(self) -> str:
        return f"MapAxes({list(self._axes)!r})"

    def __str__(self) -> str:
        return "MapAxes\n" + "".join(f"\n  {axis!r}" for axis in self._axes) + "\n"

"""What all geometries have in common: axes beside the sky, and masks of energies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np

from villard.exceptions import DataError
from villard.maps.axes import MapAxes
from villard.maps.axis import RTOL, MapAxis, value_in

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps.coord import MapCoord
    from villard.maps.core import Map

__all__ = ["Geom"]


class Geom(ABC):
    """Base class of geometries; data arrays have the axes in reverse order, then the sky."""

    is_region = False
    is_hpx = False

    def __init__(self, axes: Iterable[MapAxis] | MapAxis | None = None) -> None:
        self._axes = MapAxes.from_default(axes)

    @property
    def axes(self) -> MapAxes:
        """Axes beside the sky."""
        return self._axes

    @property
    @abstractmethod
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of the sky part of the data."""

    @property
    @abstractmethod
    def center_skydir(self) -> SkyCoord | None:
        """Direction of the centre."""

    @property
    @abstractmethod
    def frame(self) -> str | None:
        """Frame of sky coordinates."""

    @abstractmethod
    def solid_angle(self) -> u.Quantity:
        """Return the solid angle of each pixel (sr), broadcastable against the data."""

    @abstractmethod
    def get_coord(self, sparse: bool = False) -> MapCoord:
        """Return the coordinates of all bin centres."""

    @abstractmethod
    def _with_axes(self, axes: MapAxes) -> Self:
        """Return the same sky with other axes."""

    @abstractmethod
    def _is_same_sky(self, other: Geom) -> bool:
        """Whether another geometry has the same sky part."""

    @property
    def axes_names(self) -> list[str]:
        """Names of all axes, those of the sky first."""
        return ["lon", "lat", *self.axes.names]

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the data: axes in reverse order, then the sky."""
        return (*self.axes.shape[::-1], *self.spatial_shape)

    @property
    def data_shape_axes(self) -> tuple[int, ...]:
        """Like `data_shape`, with one sky pixel."""
        return (*self.axes.shape[::-1], 1, 1)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the data."""
        return len(self.data_shape)

    @property
    def is_image(self) -> bool:
        """Whether there are no axes beside the sky."""
        return not len(self.axes)

    @property
    def has_energy_axis(self) -> bool:
        """Whether there is one (and only one) axis of energy."""
        return ("energy" in self.axes.names) ^ ("energy_true" in self.axes.names)

    def data_axis(self, axis_name: str) -> int:
        """Return which dimension of the data belongs to an axis.

        Returns
        -------
        int
            Index into `data_shape`.
        """
        return len(self.axes) - 1 - self.axes.index(axis_name)

    def _along(self, values: Any, axis_name: str) -> Any:
        """Return values of one axis' bins in a shape that broadcasts against the data."""
        shape = [1] * self.ndim
        shape[self.data_axis(axis_name)] = -1
        return np.reshape(values, shape)

    def energy_mask(
        self,
        energy_min: u.Quantity | str | None = None,
        energy_max: u.Quantity | str | None = None,
        round_to_edge: bool = False,
    ) -> Map:
        """Return a map that is true for the bins that lie wholly in a range of energies.

        Edges that miss a limit by less than a part in a million, as happens when they were rounded
        in a file, count as equal to it.

        Parameters
        ----------
        energy_min, energy_max : `~astropy.units.Quantity`, optional
            Limits.
        round_to_edge : bool
            Whether the limits are first moved to the nearest edges.

        Returns
        -------
        `Map`
            Boolean map of this geometry.

        Raises
        ------
        DataError
            If there is no axis of energy, a limit isn't a positive energy, or they are reversed.

        Examples
        --------
        >>> from villard.maps import RegionGeom
        >>> geom = RegionGeom(axes=[MapAxis.from_energy_bounds("1 TeV", "1000 TeV", nbin=3)])
        >>> geom.energy_mask(energy_min=5 * u.TeV).data.ravel()
        array([False,  True,  True])
        """
        from villard.maps.core import Map

        name = next((axis.name for axis in self.axes if axis.is_energy_axis), None)
        if name is None:
            raise DataError(f"Energy mask: expected an axis of energy, found {self.axes.names}")
        axis = self.axes[name]
        if energy_min is not None and energy_max is not None:
            limits = [self._energy_limit(axis, limit, False) for limit in (energy_min, energy_max)]
            if limits[0] > limits[1]:
                raise DataError(
                    f"Energy mask: expected energy_min below energy_max, found {energy_min} and {energy_max}"
                )
        edges = axis.edges.value
        inside = np.ones(axis.nbin, dtype=bool)
        if energy_min is not None:
            limit = self._energy_limit(axis, energy_min, round_to_edge)
            inside &= edges[:-1] >= limit * (1 - RTOL)
        if energy_max is not None:
            limit = self._energy_limit(axis, energy_max, round_to_edge)
            inside &= edges[1:] <= limit * (1 + RTOL)
        data = np.broadcast_to(self._along(inside, name), self.data_shape).copy()
        return Map.from_geom(self, data=data)

    @staticmethod
    def _energy_limit(axis: MapAxis, limit: u.Quantity | str, round_to_edge: bool) -> float:
        limit = u.Quantity(limit)
        value = float(value_in(limit, axis.unit, "Energy mask"))
        if not value > 0:
            raise DataError(f"Energy mask: expected a positive limit, found {limit}")
        return float(axis.round(value, clip=True).value) if round_to_edge else value

    # Derived geometries

    def squash(self, axis_name: str) -> Self:
        """Return the geometry with one axis reduced to a single bin."""
        return self._with_axes(self.axes.squash(axis_name))

    def drop(self, axis_name: str) -> Self:
        """Return the geometry without one axis."""
        return self._with_axes(self.axes.drop(axis_name))

    def replace_axis(self, axis: MapAxis) -> Self:
        """Return the geometry with the axis of this name replaced."""
        return self._with_axes(self.axes.replace(axis))

    def rename_axes(self, names: Sequence[str] | str, new_names: Sequence[str] | str) -> Self:
        """Return the geometry with axes under other names."""
        return self._with_axes(self.axes.rename_axes(names, new_names))

    def resample_axis(self, axis: MapAxis) -> Self:
        """Return the geometry with bins joined to be nearest to those of ``axis``."""
        return self._with_axes(self.axes.resample(axis))

    def slice_by_idx(self, slices: dict[str, Any]) -> Self:
        """Return the geometry of some bins; an integer drops its axis."""
        return self._with_axes(self.axes.slice_by_idx(slices))

    def to_image(self) -> Self:
        """Return the geometry without axes beside the sky."""
        return self._with_axes(MapAxes())

    def to_cube(self, axes: Iterable[MapAxis]) -> Self:
        """Return the geometry with further axes."""
        return self._with_axes(self.axes + list(axes))

    def as_energy_true(self) -> Self:
        """Return the geometry with the axis "energy" renamed "energy_true"."""
        return self.rename_axes("energy", "energy_true")

    def is_allclose(self, other: Geom, rtol_axis: float = RTOL) -> bool:
        """Whether both have the same kind, sky and (nearly) the same axes."""
        return (
            type(self) is type(other)
            and self.axes.is_allclose(other.axes, rtol=rtol_axis)
            and self._is_same_sky(other)
        )

    def __eq__(self, other: object) -> bool:
        return self.is_allclose(other) if isinstance(other, Geom) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._axes))

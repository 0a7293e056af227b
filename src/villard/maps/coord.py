"""Coordinates of the bins of a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import DataError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["MapCoord"]


class MapCoord(Mapping[str, Any]):
    """Arrays of coordinates by axis name, that broadcast against each other.

    Parameters
    ----------
    coords : mapping
        Axis name to quantity, and optionally "skycoord" to directions.

    Examples
    --------
    >>> coord = MapCoord({"energy": [1, 10] * u.TeV})
    >>> coord["energy"], coord.shape
    (<Quantity [ 1., 10.] TeV>, (2,))
    """

    def __init__(self, coords: Mapping[str, Any]) -> None:
        self._coords = {
            name: value if name == "skycoord" else u.Quantity(value) for name, value in coords.items()
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all coordinates broadcast against each other."""
        return np.broadcast_shapes(*(value.shape for value in self._coords.values()))

    @property
    def skycoord(self) -> SkyCoord:
        """Directions."""
        return self["skycoord"]

    def __getitem__(self, name: str) -> Any:
        if name not in self._coords:
            raise DataError(f"No coordinate {name!r}. {nearest(name, self._coords)}")
        return self._coords[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._coords)

    def __len__(self) -> int:
        return len(self._coords)

    def __contains__(self, name: object) -> bool:
        return name in self._coords

    def __repr__(self) -> str:
        return f"MapCoord({', '.join(self._coords)}, shape={self.shape})"

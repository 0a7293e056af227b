"""Tables of observations, as index files have them, and selections of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from villard.data.event_table import time_reference
from villard.exceptions import DataError, UnitsError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

__all__ = ["ObservationTable"]

_TYPES = ("sky_circle", "time_box", "par_box")


class ObservationTable(Table):
    """One row per observation: an astropy table that can select rows.

    Columns are those of an observation index (GADF v0.3), such as OBS_ID, RA_PNT, DEC_PNT, TSTART and TSTOP.

    Examples
    --------
    >>> table = ObservationTable({"OBS_ID": [1, 2], "RA_PNT": [10.0, 50.0], "DEC_PNT": [0.0, 0.0]})
    >>> circle = {"type": "sky_circle", "frame": "icrs", "lon": "11 deg", "lat": "0 deg", "radius": "2 deg"}
    >>> table.select_observations(circle)["OBS_ID"].tolist()
    [1]
    """

    def _need(self, *names: str) -> None:
        for name in names:
            if name not in self.colnames:
                raise DataError(
                    f"Observation index: there is no column {name}. {nearest(str(name), self.colnames)}"
                )

    @property
    def pointing_radec(self) -> SkyCoord:
        """Pointings (ICRS), shape (n,)."""
        from astropy.coordinates import SkyCoord

        self._need("RA_PNT", "DEC_PNT")
        return SkyCoord(np.asarray(self["RA_PNT"]), np.asarray(self["DEC_PNT"]), unit="deg", frame="icrs")

    def _times(self, name: str) -> Time:
        self._need(name)
        return time_reference(self.meta, "Observation index") + np.asarray(self[name], dtype=float) * u.s

    def _rows(self, mask: NDArray[np.bool_], inverted: bool) -> ObservationTable:
        selected: ObservationTable = self[~mask if inverted else mask]
        return selected

    def select_sky_circle(self, center: SkyCoord, radius: Any, inverted: bool = False) -> ObservationTable:
        """Return the observations that point within an angle of a direction.

        Parameters
        ----------
        center : `~astropy.coordinates.SkyCoord`
            Direction.
        radius : `~astropy.units.Quantity` or str
            Angle.
        inverted : bool
            Whether to return the others.
        """
        radius = u.Quantity(radius)
        if not radius.unit.is_equivalent(u.deg):
            raise UnitsError(f"Observation index: expected radius as an angle, found {radius}")
        return self._rows(np.asarray(self.pointing_radec.separation(center) < radius), inverted)

    def select_range(
        self, selection_variable: str, value_range: Any, inverted: bool = False
    ) -> ObservationTable:
        """Return the observations whose column is in a range (or has one value, if both bounds are equal).

        Parameters
        ----------
        selection_variable : str
            Column.
        value_range : list or `~astropy.units.Quantity`
            Lower bound, and upper bound, which is excluded; plain numbers are in the unit of the column.
        inverted : bool
            Whether to return the others.
        """
        self._need(selection_variable)
        column = self[selection_variable]
        unit = column.unit or u.dimensionless_unscaled
        bounds = u.Quantity([u.Quantity(item) for item in value_range])
        if bounds.unit == u.dimensionless_unscaled:
            bounds = u.Quantity(bounds.value, unit)
        if bounds.shape != (2,) or not bounds.unit.is_equivalent(unit):
            raise DataError(
                f"Observation index, {selection_variable}: expected two bounds in a unit like "
                f"{unit or 'none'}, found {value_range}"
            )
        low, high = bounds.to_value(unit)
        values = np.asarray(column)
        return self._rows((values == low) if low == high else (values >= low) & (values < high), inverted)

    def select_time_range(
        self, time_range: Time, partial_overlap: bool = False, inverted: bool = False
    ) -> ObservationTable:
        """Return the observations in an interval of time.

        Parameters
        ----------
        time_range : `~astropy.time.Time`
            Start and end, shape (2,).
        partial_overlap : bool
            Whether observations that are partly in it belong to it.
        inverted : bool
            Whether to return the others.
        """
        start, stop = time_range
        first, last = self._times("TSTART"), self._times("TSTOP")
        inside = (last > start) & (first < stop) if partial_overlap else (first >= start) & (last <= stop)
        return self._rows(np.asarray(inside), inverted)

    def select_observations(
        self, selections: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None
    ) -> ObservationTable:
        """Return the observations that fulfil all of several criteria.

        Parameters
        ----------
        selections : dict or list of dict
            Criteria, each with a ``type`` and, if wanted, ``inverted``: "sky_circle" with ``frame``, ``lon``,
            ``lat`` and ``radius``; "time_box" with ``time_range`` and, if wanted, ``partial_overlap``;
            "par_box" with ``variable`` and ``value_range``.
        """
        table = self
        for criterion in [selections] if isinstance(selections, Mapping) else list(selections or []):
            table = table._select(dict(criterion))
        return table

    def _select(self, options: dict[str, Any]) -> ObservationTable:
        from astropy.coordinates import SkyCoord

        kind, inverted = options.pop("type", None), bool(options.pop("inverted", False))
        if kind not in _TYPES:
            raise DataError(f"Observation index: unknown type {kind!r}. {nearest(str(kind), _TYPES)}")
        try:
            if kind == "par_box":
                return self.select_range(options["variable"], options["value_range"], inverted)
            if kind == "time_box":
                partial = bool(options.get("partial_overlap", False))
                return self.select_time_range(options["time_range"], partial, inverted)
            lon, lat = u.Quantity(options["lon"]), u.Quantity(options["lat"])
            center = SkyCoord(lon, lat, frame=options["frame"])
            return self.select_sky_circle(center, options["radius"], inverted)
        except KeyError as error:
            raise DataError(f"Observation index: the selection by {kind} has no {error}") from error

"""Lists of events: energy, direction and time of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.data.event_plot import EventPlots
from villard.data.event_table import check_events, read_events, time_keywords, time_reference
from villard.exceptions import DataError, UnitsError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from astropy.table import Table
    from astropy.time import Time

    from villard.data.gti import GTI
    from villard.maps.coord import MapCoord
    from villard.maps.geom import Geom

__all__ = ["EventList"]

Mask = NDArray[np.bool_]


class EventList(EventPlots):
    """Events with their reconstructed energies and directions.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns ENERGY, RA and DEC (ICRS) with units; TIME (s after the reference time in the keywords
        MJDREFI, MJDREFF and TIMESYS of ``table.meta``, or `~astropy.time.Time`) and any others are kept.
        The layout is that of the open gamma-ray data formats (GADF v0.3, "EVENTS").

    Raises
    ------
    DataError
        If a column is missing, or a value is NaN, infinite or impossible.
    UnitsError
        If a unit doesn't fit.

    Examples
    --------
    >>> from astropy.table import Table
    >>> table = Table({"ENERGY": [1, 5] * u.TeV, "RA": [83.6, 83.7] * u.deg, "DEC": [22, 22.1] * u.deg})
    >>> events = EventList(table)
    >>> len(events.select_energy([2, 10] * u.TeV))
    1
    """

    def __init__(self, table: Table) -> None:
        self._table = check_events(table)

    # Content

    @property
    def table(self) -> Table:
        """Table of all columns; treat it as read-only."""
        return self._table

    @property
    def meta(self) -> dict[str, Any]:
        """Keywords."""
        return self._table.meta

    def __len__(self) -> int:
        return len(self._table)

    def _column(self, name: str) -> u.Quantity:
        return u.Quantity(self._table[name], dtype=float)

    @cached_property
    def energy(self) -> u.Quantity:
        """Reconstructed energies, shape (n,)."""
        return self._column("ENERGY")

    @cached_property
    def radec(self) -> SkyCoord:
        """Reconstructed directions (ICRS), shape (n,)."""
        from astropy.coordinates import SkyCoord

        return SkyCoord(self._column("RA"), self._column("DEC"), frame="icrs")

    @cached_property
    def galactic(self) -> SkyCoord:
        """Reconstructed directions in Galactic coordinates, shape (n,)."""
        return self.radec.galactic

    @property
    def time_ref(self) -> Time:
        """Reference time of the column TIME."""
        return time_reference(self.meta, "EventList")

    @cached_property
    def time(self) -> Time:
        """Times, shape (n,)."""
        return self.time_ref + self._seconds()

    def _seconds(self) -> u.Quantity:
        if "TIME" not in self._table.colnames:
            raise DataError("EventList: there is no column TIME")
        return self._column("TIME").to("s")

    @property
    def observation_time_start(self) -> Time:
        """Time of the first event, or the keyword TSTART."""
        start = self.meta.get("TSTART")
        return self.time_ref + u.Quantity(self._seconds().value.min() if start is None else start, "s")

    @property
    def observation_time_stop(self) -> Time:
        """Time of the last event, or the keyword TSTOP."""
        stop = self.meta.get("TSTOP")
        return self.time_ref + u.Quantity(self._seconds().value.max() if stop is None else stop, "s")

    def _seconds_of(self, keyword: str) -> u.Quantity:
        if keyword not in self.meta:
            raise DataError(f"EventList: there is no keyword {keyword}")
        return u.Quantity(float(self.meta[keyword]), "s")

    @property
    def observation_time_duration(self) -> u.Quantity:
        """Sum of the good time intervals, the keyword ONTIME."""
        return self._seconds_of("ONTIME")

    @property
    def observation_live_time_duration(self) -> u.Quantity:
        """Time in which events were recorded, the keyword LIVETIME."""
        return self._seconds_of("LIVETIME")

    @property
    def observation_dead_time_fraction(self) -> float:
        """Fraction of the time in which nothing is recorded, by the keyword DEADC."""
        if "DEADC" not in self.meta:
            raise DataError("EventList: there is no keyword DEADC")
        return 1 - float(self.meta["DEADC"])

    @property
    def pointing_radec(self) -> SkyCoord:
        """Pointing in the keywords RA_PNT and DEC_PNT."""
        from villard.data.pointing import FixedPointingInfo

        return FixedPointingInfo.from_fits_header(self.meta, "EventList").fixed_icrs

    @property
    def offset(self) -> u.Quantity:
        """Angle to the pointing (deg), shape (n,)."""
        return self.radec.separation(self.pointing_radec).to("deg")

    @property
    def galactic_median(self) -> SkyCoord:
        """Median direction in Galactic coordinates."""
        from astropy.coordinates import SkyCoord

        lon = self.galactic.l.wrap_at("180d").deg
        return SkyCoord(np.median(lon), np.median(self.galactic.b.deg), unit="deg", frame="galactic")

    def map_coord(self, geom: Geom) -> MapCoord:
        """Return the events' coordinates on the axes of a geometry.

        Parameters
        ----------
        geom : `~villard.maps.Geom`
            Geometry; its axes are "energy" or columns of the table, in upper or lower case.
        """
        from villard.maps.coord import MapCoord

        coords: dict[str, Any] = {"skycoord": self.radec}
        names = {str(name).upper(): name for name in self._table.colnames}
        for axis in geom.axes:
            if axis.name.upper() not in names:
                raise DataError(
                    f"EventList: there is no column for the axis {axis.name!r}, found {list(names)}"
                )
            coords[axis.name] = self._column(names[axis.name.upper()])
        return MapCoord.from_any(coords, geom)

    # Selections

    def select_mask(self, mask: Any) -> Self:
        """Return the events that a mask marks.

        Parameters
        ----------
        mask : array-like of bool
            Mask, shape (n,).
        """
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (len(self),):
            raise DataError(
                f"EventList: expected a mask with {len(self)} booleans, found {mask.dtype} {mask.shape}"
            )
        return self._new(self._table[mask])

    def select_row_subset(self, row_specifier: slice | Sequence[int] | NDArray[Any]) -> Self:
        """Return some rows, given as slice, mask or numbers."""
        return self._new(self._table[row_specifier])

    def _new(self, table: Table) -> Self:
        new = type(self).__new__(type(self))
        new._table = table
        return new

    def select_energy(self, energy_range: u.Quantity) -> Self:
        """Return the events with energies of the range; the upper bound is excluded.

        Parameters
        ----------
        energy_range : `~astropy.units.Quantity`
            Lower and upper bound.
        """
        low, high = _range(energy_range, u.TeV, "energy_range")
        return self.select_mask((self.energy >= low) & (self.energy < high))

    def select_time(self, time_interval: Time) -> Self:
        """Return the events in an interval of time; the end is excluded."""
        start, stop = ((time - self.time_ref).to_value("s") for time in time_interval)
        seconds = self._seconds().value
        return self.select_mask((seconds >= start) & (seconds < stop))

    def select_gti(self, gti: GTI) -> Self:
        """Return the events in good time intervals."""
        seconds, mask = self._seconds().value, np.zeros(len(self), dtype=bool)
        for start, stop in zip(gti.time_start, gti.time_stop, strict=True):
            first, last = ((time - self.time_ref).to_value("s") for time in (start, stop))
            mask |= (seconds >= first) & (seconds < last)
        return self.select_mask(mask)

    def select_offset(self, offset_band: u.Quantity) -> Self:
        """Return the events at offsets (from the pointing) of a range."""
        low, high = _range(offset_band, u.deg, "offset_band")
        return self.select_mask((self.offset >= low) & (self.offset < high))

    def select_cone(self, center: SkyCoord, radius: u.Quantity) -> Self:
        """Return the events within an angle of a direction."""
        return self.select_mask(self.radec.separation(center) < u.Quantity(radius))

    def select_region(self, regions: Any, wcs: Any = None) -> Self:
        """Return the events in regions.

        Parameters
        ----------
        regions : str, region, or list of these
            Whatever `~villard.maps.RegionGeom` takes.
        wcs : object
            Not used; regions are on the sky.
        """
        from villard.maps.regions import make_region

        region = make_region(regions)
        if region is None:
            raise DataError("EventList: expected a region to select events of, found none")
        return self.select_mask(region.contains(self.radec))

    def select_parameter(self, parameter: str, band: Sequence[Any] | u.Quantity) -> Self:
        """Return the events whose column has a value of a range (or one value, if both are equal).

        Plain numbers are in the unit of the column.
        """
        if parameter not in self._table.colnames:
            raise DataError(f"EventList: there is no column {parameter}, found {self._table.colnames}")
        values = self._table[parameter]
        low, high = band
        if values.unit is not None:
            values = u.Quantity(values)
            low, high = (item if hasattr(item, "unit") else u.Quantity(item, values.unit) for item in band)
        return self.select_mask(
            np.asarray(values == low if low == high else (values >= low) & (values < high))
        )

    def select_map_mask(self, mask: Any) -> Self:
        """Return the events in pixels that a map marks."""
        return self.select_mask(mask.get_by_coord(self.map_coord(mask.geom)) > 0)

    def stack(self, other: EventList) -> None:
        """Append the events of another list, in place; times are moved to this list's reference."""
        self._table = EventList.from_stack([self, other]).table
        for name in ("energy", "radec", "galactic", "time"):
            self.__dict__.pop(name, None)

    @classmethod
    def from_stack(cls, event_lists: Iterable[EventList]) -> EventList:
        """Return all events of lists in one, with the columns that all have and the first one's keywords.

        Times are counted from the reference time of the first list.
        """
        from astropy.table import Table, vstack

        lists = list(event_lists)
        if not lists:
            raise DataError("EventList: expected at least one list")
        names = [name for name in lists[0].table.colnames if all(name in e.table.colnames for e in lists)]
        tables = [Table(events.table[names], copy=True) for events in lists]
        if "TIME" in names:
            for events, table in zip(lists[1:], tables[1:], strict=True):
                shift = (events.time_ref - lists[0].time_ref).to_value("s")
                table["TIME"] = (events._seconds().value + shift) * u.s
        table = vstack(tables, metadata_conflicts="silent")
        table.meta = dict(lists[0].meta)
        return cls(table)

    def copy(self) -> Self:
        """Return a copy."""
        return self._new(self._table.copy())

    # Files

    @classmethod
    def read(cls, filename: str | os.PathLike[str], hdu: str = "EVENTS") -> Self:
        """Read events from a FITS file.

        Parameters
        ----------
        filename : str or path-like
            File.
        hdu : str
            Name of the extension.

        Raises
        ------
        FileFormatError
            If the file is damaged, has another layout or values that aren't numbers.
        """
        return cls(read_events(filename, hdu))

    def to_table_hdu(self) -> fits.BinTableHDU:
        """Return the events as an extension of a FITS file."""
        from astropy.io import fits

        table = self._table.copy(copy_data=False)
        table.meta = {
            str(key)[:8].upper(): value
            for key, value in self.meta.items()
            if isinstance(value, (str, int, float, bool)) and len(str(key)) <= 8
        }
        table.meta.update({"EXTNAME": "EVENTS", "HDUCLASS": "GADF", "HDUCLAS1": "EVENTS", "HDUVERS": "0.3"})
        if "TIME" in table.colnames:
            table.meta.update(time_keywords(self.time_ref))
        return fits.table_to_hdu(table)

    def write(
        self, filename: str | os.PathLike[str], gti: GTI | None = None, overwrite: bool = False
    ) -> None:
        """Write the events to a FITS file.

        Parameters
        ----------
        filename : str or path-like
            File.
        gti : `GTI`, optional
            Good time intervals, to be written beside them.
        overwrite : bool
            Whether an existing file may be replaced.
        """
        from astropy.io import fits

        from villard.maps.fits import write_fits

        hdus = [fits.PrimaryHDU(), self.to_table_hdu()]
        if gti is not None:
            hdus.append(gti.to_table_hdu())
        write_fits(fits.HDUList(hdus), filename, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} events)"

    def __str__(self) -> str:
        lines = [type(self).__name__, "", f"  events       : {len(self)}"]
        for label, key in (("telescope", "TELESCOP"), ("observation", "OBS_ID"), ("object", "OBJECT")):
            if key in self.meta:
                lines.append(f"  {label:<13}: {self.meta[key]}")
        if len(self):
            low, high = self.energy.min(), self.energy.max()
            lines.append(f"  energies     : {low:.4g} to {high:.4g}")
        return "\n".join(lines) + "\n"


def _range(bounds: Any, unit: u.UnitBase, name: str) -> u.Quantity:
    """Return two bounds in order."""
    bounds = u.Quantity(bounds)
    if not bounds.unit.is_equivalent(unit):
        raise UnitsError(f"EventList: expected {name} in a unit like {unit}, found {bounds}")
    if bounds.shape != (2,) or not bounds[0] <= bounds[1]:
        raise DataError(f"EventList: expected {name} as a lower and an upper bound, found {bounds}")
    return bounds

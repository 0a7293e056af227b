"""Good time intervals."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError, FileFormatError

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table
    from astropy.time import Time

__all__ = ["GTI"]

_SCALES = ("tt", "utc", "tai", "tdb", "ut1", "tcb", "tcg")
_SECONDS_PER_DAY = 86400.0


class GTI:
    """Intervals of time in which data were taken, in seconds after a reference time.

    Parameters
    ----------
    start, stop : array-like
        Bounds of the intervals (s), shape (n,).
    mjd_ref : (int, float), optional
        Reference time: whole days and fraction of a day (MJD); `None` if it isn't known.
    scale : str
        Time scale, such as "tt".

    Raises
    ------
    DataError
        If bounds aren't finite, or an interval stops before it starts.

    Examples
    --------
    >>> gti = GTI.create([0, 100] * u.s, [50, 200] * u.s)
    >>> gti.time_sum
    <Quantity 150. s>
    """

    def __init__(
        self,
        start: ArrayLike,
        stop: ArrayLike,
        mjd_ref: tuple[int, float] | None = (51544, 0.0),
        scale: str = "tt",
    ) -> None:
        self._start, self._stop = (np.atleast_1d(np.array(value, dtype=float)) for value in (start, stop))
        if self._start.shape != self._stop.shape or self._start.ndim != 1:
            raise DataError(
                f"GTI: expected as many starts as stops, found {self._start.shape} and {self._stop.shape}"
            )
        if not (np.all(np.isfinite(self._start)) and np.all(np.isfinite(self._stop))):
            raise DataError("GTI: starts and stops must be finite")
        if np.any(self._stop < self._start):
            i = int(np.argmax(self._stop < self._start))
            raise DataError(f"GTI: interval {i} starts at {self._start[i]} s and stops at {self._stop[i]} s")
        if scale not in _SCALES:
            raise DataError(f"GTI: unknown time scale {scale!r}, expected one of {', '.join(_SCALES)}")
        self._mjd_ref, self._scale = mjd_ref, scale

    @classmethod
    def create(cls, start: Any, stop: Any, reference_time: Any = "2000-01-01") -> GTI:
        """Make intervals of times, or of durations after a reference time.

        Parameters
        ----------
        start, stop : `~astropy.time.Time` or `~astropy.units.Quantity`
            Bounds.
        reference_time : `~astropy.time.Time` or str
            Reference time.
        """
        from astropy.time import Time

        # Text says nothing of a time scale: TT, that of GTIs in files.
        scale = {"scale": "tt"} if isinstance(reference_time, str) else {}
        reference = Time(reference_time, **scale)
        days = int(np.floor(reference.mjd))
        mjd_ref = (days, float((reference.jd1 - 2400000.5 - days) + reference.jd2))
        seconds = []
        for value in (start, stop):
            if isinstance(value, Time):
                seconds.append(np.atleast_1d((value - reference).to_value("s")))
            else:
                seconds.append(np.atleast_1d(u.Quantity(value).to_value("s")))
        return cls(seconds[0], seconds[1], mjd_ref=mjd_ref, scale=reference.scale)

    # Content

    def __len__(self) -> int:
        return len(self._start)

    @property
    def met_start(self) -> u.Quantity:
        """Starts after the reference time (s), shape (n,)."""
        return u.Quantity(self._start, u.s)

    @property
    def met_stop(self) -> u.Quantity:
        """Stops after the reference time (s), shape (n,)."""
        return u.Quantity(self._stop, u.s)

    @property
    def time_delta(self) -> u.Quantity:
        """Durations (s), shape (n,)."""
        return u.Quantity(self._stop - self._start, u.s)

    @property
    def time_sum(self) -> u.Quantity:
        """Sum of the durations (s)."""
        return u.Quantity(np.sum(self._stop - self._start), u.s)

    @property
    def time_ref(self) -> Time:
        """Reference time."""
        from astropy.time import Time

        if self._mjd_ref is None:
            raise DataError("GTI: the reference time isn't known, its file has no MJDREF or MJDREFI")
        return Time(*self._mjd_ref, format="mjd", scale=self._scale)

    @property
    def time_start(self) -> Time:
        """Starts, shape (n,)."""
        return self.time_ref + self.met_start

    @property
    def time_stop(self) -> Time:
        """Stops, shape (n,)."""
        return self.time_ref + self.met_stop

    @property
    def table(self) -> Table:
        """Table with the times START and STOP."""
        from astropy.table import Table

        return Table({"START": self.time_start, "STOP": self.time_stop})

    # Other intervals

    def copy(self) -> GTI:
        """Return a copy."""
        return self._new(self._start, self._stop)

    def _new(self, start: NDArray[np.float64], stop: NDArray[np.float64]) -> GTI:
        return GTI(start, stop, mjd_ref=self._mjd_ref, scale=self._scale)

    def stack(self, other: GTI) -> GTI:
        """Return the intervals of both, with this one's reference time.

        Parameters
        ----------
        other : `GTI`
            Intervals to add.
        """
        shift = 0.0
        if (self._mjd_ref, self._scale) != (other._mjd_ref, other._scale):
            shift = float((other.time_ref - self.time_ref).to_value("s"))
        return self._new(
            np.concatenate([self._start, other._start + shift]),
            np.concatenate([self._stop, other._stop + shift]),
        )

    def select_time(self, start: Any, stop: Time | None = None) -> GTI:
        """Return what lies between two times.

        Parameters
        ----------
        start, stop : `~astropy.time.Time`
            Bounds; without the second one the first has both.

        Examples
        --------
        >>> gti = GTI.create([0, 100] * u.s, [50, 200] * u.s)
        >>> gti.select_time(gti.time_ref + 20 * u.s, gti.time_ref + 150 * u.s).time_delta
        <Quantity [30., 50.] s>
        """
        bounds = start if stop is None else (start, stop)
        low, high = (float((time - self.time_ref).to_value("s")) for time in bounds)
        first, last = np.maximum(self._start, low), np.minimum(self._stop, high)
        is_left = last > first
        return self._new(first[is_left], last[is_left])

    def union(self) -> GTI:
        """Return the intervals in order of time, with those that overlap or touch joined.

        Examples
        --------
        >>> gti = GTI([0, 5, 20], [10, 12, 30]).union()
        >>> gti.met_start.value.tolist(), gti.met_stop.value.tolist()
        ([0.0, 20.0], [12.0, 30.0])
        """
        if not len(self):
            return self.copy()
        order = np.argsort(self._start, kind="stable")
        start, stop = self._start[order], np.maximum.accumulate(self._stop[order])
        first = np.concatenate([[True], start[1:] > stop[:-1]])
        last = np.concatenate([first[1:], [True]])
        return self._new(start[first], stop[last])

    # Files

    @classmethod
    def from_table_hdu(cls, hdu: fits.BinTableHDU, where: str = "GTI") -> GTI:
        """Read intervals from a GTI extension of the OGIP standard.

        Parameters
        ----------
        hdu : `~astropy.io.fits.BinTableHDU`
            Extension with the columns START and STOP.
        where : str
            File, for messages.

        Raises
        ------
        FileFormatError
            If columns or keywords aren't what the standard asks for.
        """
        from villard.maps.fits import column, column_unit

        values = []
        for name in ("START", "STOP"):
            seconds = np.zeros(0)
            if hdu.header.get("NAXIS2", 0):
                seconds = column(hdu, name, where)
                seconds = seconds * column_unit(hdu, name, u.s, where).to(u.s)
            values.append(seconds)
        scale = str(hdu.header.get("TIMESYS", "tt")).strip().lower()
        try:
            return cls(values[0], values[1], mjd_ref=_mjd_ref(hdu, where), scale=scale)
        except FileFormatError:
            raise
        except DataError as error:
            raise FileFormatError(f"{where}, extension {hdu.name}: {error}") from error

    @classmethod
    def read(cls, filename: str | os.PathLike[str], hdu: str = "GTI") -> GTI:
        """Read intervals from a FITS file.

        Parameters
        ----------
        filename : str or path-like
            File.
        hdu : str
            Name of the extension.
        """
        from villard.maps.fits import find_table, open_fits

        with open_fits(filename) as hdulist:
            return cls.from_table_hdu(find_table(hdulist, [hdu], str(filename)), str(filename))

    def to_table_hdu(self) -> fits.BinTableHDU:
        """Return the intervals as a GTI extension of the OGIP standard."""
        from astropy.io import fits

        columns = [
            fits.Column("START", "D", unit="s", array=self._start),
            fits.Column("STOP", "D", unit="s", array=self._stop),
        ]
        hdu = fits.BinTableHDU.from_columns(columns, name="GTI")
        if self._mjd_ref is not None:
            hdu.header["MJDREFI"], hdu.header["MJDREFF"] = self._mjd_ref
        hdu.header.update({"TIMESYS": self._scale.upper(), "TIMEUNIT": "s"})
        hdu.header.update({"HDUCLASS": "OGIP", "HDUCLAS1": "GTI"})
        return hdu

    def write(self, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the intervals to a FITS file.

        Parameters
        ----------
        filename : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        """
        from astropy.io import fits

        from villard.maps.fits import write_fits

        write_fits(fits.HDUList([fits.PrimaryHDU(), self.to_table_hdu()]), filename, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"GTI({len(self)} intervals, {self.time_sum:.6g})"

    def __str__(self) -> str:
        lines = ["GTI", "", f"  intervals : {len(self)}", f"  duration  : {self.time_sum:.6g}"]
        if len(self) and self._mjd_ref is not None:
            lines.append(f"  start     : {self.time_start.min().iso} ({self._scale.upper()})")
            lines.append(f"  stop      : {self.time_stop.max().iso} ({self._scale.upper()})")
        return "\n".join(lines) + "\n"


def _mjd_ref(hdu: fits.BinTableHDU, where: str) -> tuple[int, float] | None:
    header = hdu.header
    if "MJDREFI" in header:
        parts = [header["MJDREFI"], header.get("MJDREFF", 0.0)]
    elif "MJDREF" in header:
        parts = [0, header["MJDREF"]]
    else:
        return None
    if not all(isinstance(p, int | float) and np.isfinite(p) and abs(p) < 1e6 for p in parts):
        raise FileFormatError(
            f"{where}, extension {hdu.name}: expected the reference time as MJD, found {parts}"
        )
    days = int(np.floor(parts[0] + parts[1]))
    return days, float(parts[0] - days + parts[1])

"""One observation: events, when and where they were taken, and the responses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy as shallow_copy
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np

from villard.data.gti import GTI
from villard.data.pointing import FixedPointingInfo, location_of
from villard.exceptions import DataError, UnitsError

if TYPE_CHECKING:
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time
    from matplotlib.figure import Figure

    from villard.data.event_list import EventList

__all__ = ["IRF_NAMES", "Observation", "Observations"]

#: Names of responses.
IRF_NAMES = ("aeff", "edisp", "psf", "bkg", "rad_max")


class Observation:
    """Events of one pointing with its responses.

    Parameters
    ----------
    obs_id : int or str
        Identifier.
    events : `EventList` or callable, optional
        Events. This and what follows may also be functions without arguments that read what is meant;
        they are called at the first use.
    gti : `GTI` or callable, optional
        Good time intervals.
    pointing : `FixedPointingInfo` or `~astropy.coordinates.SkyCoord`, optional
        Pointing; by default that of the events' keywords.
    aeff, edisp, psf, bkg, rad_max : response or callable, optional
        Tables of responses; see `villard.irf`.
    deadtime_fraction : float, optional
        Fraction of the time in which nothing is recorded; by default that of the events' keywords
        (DEADC, the fraction that is left, or LIVETIME and ONTIME).
    location : `~astropy.coordinates.EarthLocation`, optional
        Site.
    meta : dict, optional
        Anything to be kept with the observation.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> observation = Observation.create(SkyCoord(83.6, 22, unit="deg"), livetime=1 * u.h)
    >>> observation.livetime
    <Quantity 3600. s>
    """

    def __init__(
        self,
        obs_id: int | str = 0,
        events: EventList | Callable[[], EventList] | None = None,
        gti: GTI | Callable[[], GTI] | None = None,
        pointing: FixedPointingInfo | SkyCoord | None = None,
        aeff: Any = None,
        edisp: Any = None,
        psf: Any = None,
        bkg: Any = None,
        rad_max: Any = None,
        deadtime_fraction: float | None = None,
        location: EarthLocation | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.obs_id = obs_id
        self.meta = dict(meta or {})
        self._parts: dict[str, Any] = {"events": events, "gti": gti}
        self._parts |= {"aeff": aeff, "edisp": edisp, "psf": psf, "bkg": bkg, "rad_max": rad_max}
        for name in IRF_NAMES:
            _check_class(name, self._parts[name], obs_id)
        self._pointing = (
            None if pointing is None else FixedPointingInfo.from_any(pointing, f"Observation {obs_id}")
        )
        self._location = location
        if deadtime_fraction is not None and not 0 <= deadtime_fraction < 1:
            raise DataError(
                f"Observation {obs_id}: expected a fraction of dead time between 0 and 1, "
                f"found {deadtime_fraction}"
            )
        self._deadtime_fraction = deadtime_fraction

    @classmethod
    def create(
        cls,
        pointing: FixedPointingInfo | SkyCoord,
        livetime: u.Quantity | None = None,
        irfs: Mapping[str, Any] | None = None,
        obs_id: int | str = 0,
        tstart: Any = None,
        tstop: Any = None,
        deadtime_fraction: float = 0.0,
        reference_time: Any = "2000-01-01",
        location: EarthLocation | None = None,
        events: EventList | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make an observation, such as one to be simulated.

        Parameters
        ----------
        pointing : `~astropy.coordinates.SkyCoord` or `FixedPointingInfo`
            Pointing.
        livetime : `~astropy.units.Quantity`, optional
            Livetime; alternatively ``tstop`` says how long the observation is.
        irfs : dict, optional
            Responses "aeff", "edisp", "psf", "bkg" and "rad_max", as far as there are; see
            `~villard.irf.load_irf_dict_from_file`.
        obs_id : int or str
            Identifier.
        tstart, tstop : `~astropy.time.Time` or `~astropy.units.Quantity`, optional
            Bounds, as times or after the reference time, at which it begins by default.
        deadtime_fraction : float
            Fraction of the time in which nothing is recorded. The observation lasts livetime divided by
            what is left.
        reference_time : `~astropy.time.Time` or str
            Reference time.
        location : `~astropy.coordinates.EarthLocation`, optional
            Site.
        events : `EventList`, optional
            Events.
        meta : dict, optional
            Anything to be kept with the observation.
        """
        from astropy.time import Time

        where = f"Observation {obs_id}"
        unknown = sorted(set(irfs or {}) - set(IRF_NAMES))
        if unknown:
            raise DataError(f"{where}: unknown responses {unknown}, expected some of {list(IRF_NAMES)}")
        if (livetime is None) == (tstop is None):
            raise DataError(f"{where}: expected either livetime or tstop")
        start = 0 * u.s if tstart is None else tstart
        if livetime is not None:
            if not 0 <= deadtime_fraction < 1:
                raise DataError(f"{where}: expected deadtime_fraction between 0 and 1")
            livetime = u.Quantity(livetime)
            if not livetime.unit.is_equivalent(u.s):
                raise UnitsError(f"{where}: expected livetime as a time, found {livetime}")
            ontime = livetime.to("s") / (1 - deadtime_fraction)
            if not (np.isfinite(ontime) and ontime > 0):
                raise DataError(f"{where}: expected a positive livetime, found {livetime}")
            stop = start + ontime
        else:
            stop = tstop
            if isinstance(stop, Time) != isinstance(start, Time):
                raise DataError(f"{where}: expected both tstart and tstop as times, or neither")
        return cls(
            obs_id,
            events=events,
            gti=GTI.create(start, stop, reference_time),
            pointing=pointing,
            deadtime_fraction=deadtime_fraction,
            location=location,
            meta=meta,
            **(irfs or {}),
        )

    @classmethod
    def read(cls, event_file: str | os.PathLike[str], irf_file: str | os.PathLike[str] | None = None) -> Self:
        """Read an observation from a FITS file of events and, if it isn't the same, one of responses.

        Parameters
        ----------
        event_file : str or path-like
            File with the extensions EVENTS and GTI.
        irf_file : str or path-like, optional
            File of responses.

        Raises
        ------
        FileFormatError
            If a file is damaged or has another layout.
        """
        from villard.data.event_list import EventList
        from villard.irf import load_irf_dict_from_file

        events, gti = EventList.read(event_file), GTI.read(event_file)
        irfs = load_irf_dict_from_file(event_file if irf_file is None else irf_file)
        return cls(events.meta.get("OBS_ID", 0), events=events, gti=gti, **irfs)

    def write(self, path: str | os.PathLike[str], overwrite: bool = False, include_irfs: bool = True) -> None:
        """Write events, good time intervals and responses to one FITS file in the GADF layout.

        Parameters
        ----------
        path : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        include_irfs : bool
            Whether to write the responses too.
        """
        from astropy.io import fits

        from villard.maps.fits import write_fits

        hdus: list[Any] = [fits.PrimaryHDU()]
        if self.events is not None:
            hdu = self.events.to_table_hdu()
            hdu.header.update(self._keywords())
            hdus.append(hdu)
        if self.gti is not None:
            hdus.append(self.gti.to_table_hdu())
        names = self.available_irfs if include_irfs else []
        hdus += [getattr(self, name).to_table_hdu(name.upper()) for name in names]
        write_fits(fits.HDUList(hdus), path, overwrite=overwrite)

    def _keywords(self) -> dict[str, Any]:
        result = {"OBS_ID": self.obs_id} | self.pointing.to_fits_header()
        if self.gti is not None and len(self.gti):
            result |= {
                "TSTART": float(self.gti.met_start.value.min()),
                "TSTOP": float(self.gti.met_stop.value.max()),
                "ONTIME": float(self.ontime.value),
                "LIVETIME": float(self.livetime.value),
                "DEADC": 1 - self.deadtime_fraction,
            }
        return result

    # Parts

    def _part(self, name: str) -> Any:
        part = self._parts[name]
        if callable(part):
            part = self._parts[name] = part()
        return part

    @property
    def events(self) -> EventList:
        """Events, or `None`."""
        return self._part("events")

    @events.setter
    def events(self, value: EventList | None) -> None:
        self._parts["events"] = value

    @property
    def gti(self) -> GTI:
        """Good time intervals, or `None`."""
        return self._part("gti")

    @property
    def aeff(self) -> Any:
        """Effective area, or `None`."""
        return self._part("aeff")

    @property
    def edisp(self) -> Any:
        """Energy dispersion, or `None`."""
        return self._part("edisp")

    @property
    def psf(self) -> Any:
        """Point spread function, or `None`."""
        return self._part("psf")

    @property
    def bkg(self) -> Any:
        """Rate of background, or `None`."""
        return self._part("bkg")

    @property
    def rad_max(self) -> Any:
        """Radius of the cut on directions of a response for point sources, or `None`."""
        return self._part("rad_max")

    @property
    def available_irfs(self) -> list[str]:
        """Names of the responses that there are."""
        return [name for name in IRF_NAMES if self._parts[name] is not None]

    @property
    def available_hdus(self) -> list[str]:
        """Names of everything that there is."""
        return [name for name in ("events", "gti") if self._parts[name] is not None] + self.available_irfs

    @property
    def is_pointlike(self) -> bool:
        """Whether the responses are those of a cut on directions (HDUCLAS3 of the effective area)."""
        return self.rad_max is not None or bool(getattr(self.aeff, "is_pointlike", False))

    # Where and when

    @property
    def pointing(self) -> FixedPointingInfo:
        """Pointing."""
        if self._pointing is None:
            if self.events is None:
                raise DataError(f"Observation {self.obs_id}: the pointing isn't known, there are no events")
            self._pointing = FixedPointingInfo.from_fits_header(
                self.events.meta, f"Observation {self.obs_id}"
            )
        return self._pointing

    def get_pointing_icrs(self, time: Time | None = None) -> SkyCoord:
        """Return the pointing on the sky at times, by default in the middle."""
        return self.pointing.get_icrs(self.tmid if time is None and self.gti is not None else time)

    def get_pointing_altaz(self, time: Time | None = None) -> SkyCoord:
        """Return the pointing in the altazimuth system at times, by default in the middle."""
        return self.pointing.get_altaz(self.tmid if time is None else time, self.location)

    @property
    def pointing_radec(self) -> SkyCoord:
        """Pointing on the sky in the middle of the observation."""
        return self.get_pointing_icrs()

    @property
    def location(self) -> EarthLocation | None:
        """Site, or `None` if it isn't known."""
        if self._location is None:
            self._location = self.pointing.location
        if self._location is None and self.events is not None:
            self._location = location_of(self.events.meta)
        return self._location

    @property
    def target_radec(self) -> SkyCoord:
        """Direction of the target in the keywords RA_OBJ and DEC_OBJ."""
        from astropy.coordinates import SkyCoord

        meta = {} if self.events is None else self.events.meta
        if "RA_OBJ" not in meta or "DEC_OBJ" not in meta:
            raise DataError(f"Observation {self.obs_id}: there is no keyword RA_OBJ or DEC_OBJ")
        return SkyCoord(meta["RA_OBJ"], meta["DEC_OBJ"], unit="deg", frame="icrs")

    def _need_gti(self) -> GTI:
        if self.gti is None or not len(self.gti):
            raise DataError(f"Observation {self.obs_id}: there are no good time intervals")
        return self.gti

    @property
    def tstart(self) -> Time:
        """Start of the first interval."""
        return self._need_gti().time_start.min()

    @property
    def tstop(self) -> Time:
        """End of the last interval."""
        return self._need_gti().time_stop.max()

    @property
    def tmid(self) -> Time:
        """Middle of the observation."""
        return self.tstart + 0.5 * (self.tstop - self.tstart)

    @property
    def ontime(self) -> u.Quantity:
        """Sum of the good time intervals (s)."""
        return self._need_gti().time_sum

    observation_time_duration = ontime

    @property
    def deadtime_fraction(self) -> float:
        """Fraction of the time in which nothing is recorded."""
        if self._deadtime_fraction is None:
            self._deadtime_fraction = self._deadtime_of_keywords()
        return self._deadtime_fraction

    observation_dead_time_fraction = deadtime_fraction

    def _deadtime_of_keywords(self) -> float:
        meta = {} if self.events is None else self.events.meta
        try:
            alive = (
                float(meta["DEADC"]) if "DEADC" in meta else float(meta["LIVETIME"]) / float(meta["ONTIME"])
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise DataError(
                f"Observation {self.obs_id}: the fraction of dead time isn't known, there is no "
                "keyword DEADC; pass deadtime_fraction"
            ) from error
        if not 0 < alive <= 1:
            raise DataError(f"Observation {self.obs_id}: expected DEADC between 0 and 1, found {alive}")
        return 1 - alive

    @property
    def livetime(self) -> u.Quantity:
        """Time in which events were recorded (s): that of the intervals less dead time."""
        return self.ontime * (1 - self.deadtime_fraction)

    observation_live_time_duration = livetime

    # Others

    def copy(self, **kwargs: Any) -> Self:
        """Return a copy with other parts, such as ``events`` or ``aeff``, or another ``obs_id``."""
        new = shallow_copy(self)
        new._parts, new.meta = dict(self._parts), dict(self.meta)
        for name, value in kwargs.items():
            if name in new._parts:
                _check_class(name, value, self.obs_id)
                new._parts[name] = value
            elif name == "pointing":
                new._pointing = FixedPointingInfo.from_any(value)
            elif name in ("obs_id", "meta"):
                setattr(new, name, value)
            elif name in ("location", "deadtime_fraction"):
                setattr(new, f"_{name}", value)
            else:
                raise DataError(f"Observation: there is no part {name!r}, expected {list(new._parts)}")
        return new

    def select_time(self, time_interval: Time) -> Self:
        """Return the observation of an interval of time: its events and good time."""
        start, stop = time_interval
        new = self.copy(gti=self._need_gti().select_time(start, stop))
        if self.events is not None:
            new.events = self.events.select_time(time_interval)
        return new

    def select_energy(self, energy_range: u.Quantity) -> Self:
        """Return the observation with the events of a range of energies."""
        return self.copy(events=self.events.select_energy(energy_range))

    def peek(self, figsize: tuple[float, float] = (13, 8)) -> Figure:
        """Plot events and responses.

        Parameters
        ----------
        figsize : tuple of float
            Size of the figure (inch).
        """
        from villard.data.observation_plot import peek_observation

        return peek_observation(self, figsize)

    def __repr__(self) -> str:
        return f"Observation({self.obs_id})"

    def __str__(self) -> str:
        from villard.data.observation_plot import describe_observation

        return describe_observation(self)


def _check_class(name: str, part: Any, obs_id: Any) -> None:
    """Raise `DataError` if a table of responses is none of the kind that it is given as."""
    tag = getattr(part, "tag", None)
    if name in IRF_NAMES and isinstance(tag, str) and not tag.startswith(name):
        raise DataError(f"Observation {obs_id}: expected a table of {name!r}, found {type(part).__name__}")


class Observations:
    """Several observations, by number or identifier.

    Parameters
    ----------
    observations : list of `Observation`
        Observations with different identifiers.
    """

    def __init__(self, observations: Iterable[Observation] = ()) -> None:
        self._observations = list(observations)
        for item in self._observations:
            if not isinstance(item, Observation):
                raise DataError(f"Observations: expected an Observation, found {type(item).__name__}")
        repeated = {name for name in self.ids if self.ids.count(name) > 1}
        if repeated:
            raise DataError(f"Observations: identifiers must differ, found {sorted(repeated)} twice")

    @property
    def ids(self) -> list[str]:
        """Identifiers."""
        return [str(item.obs_id) for item in self._observations]

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            return Observations(self._observations[key])
        if isinstance(key, str):
            if key not in self.ids:
                raise DataError(f"Observations: there is no {key!r}, found {', '.join(self.ids)}")
            return self._observations[self.ids.index(key)]
        return self._observations[key]

    def __iter__(self) -> Iterator[Observation]:
        return iter(self._observations)

    def __len__(self) -> int:
        return len(self._observations)

    def append(self, observation: Observation) -> None:
        """Add an observation with another identifier."""
        self._observations = Observations([*self._observations, observation])._observations

    def select_time(self, time_intervals: Any) -> Observations:
        """Return the observations with events and good time in an interval of time."""
        start, stop = time_intervals
        overlap = [item for item in self if item.tstart < stop and item.tstop > start]
        return Observations([item.select_time(time_intervals) for item in overlap])

    def __repr__(self) -> str:
        return f"Observations({', '.join(self.ids)})"

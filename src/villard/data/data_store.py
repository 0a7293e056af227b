"""Folders of observations with index files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.data.event_list import EventList
from villard.data.gti import GTI
from villard.data.obs_table import ObservationTable
from villard.data.observation import IRF_NAMES, Observation, Observations
from villard.exceptions import DataError, FileFormatError
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

__all__ = ["DataStore"]

_FULL = ("events", "gti", "aeff", "edisp", "psf", "bkg")
_NEEDED: dict[str, tuple[str, ...]] = {
    "full-enclosure": _FULL,
    "point-like": ("events", "gti", "aeff", "edisp"),
    "all-optional": (),
}
_TIME_KEYWORDS = ("MJDREFI", "MJDREFF", "MJDREF", "TIMESYS")
_CLASS_NAMES = {
    "aeff_2d": "EffectiveAreaTable2D",
    "edisp_2d": "EnergyDispersion2D",
    "psf_table": "PSF3D",
    "psf_3gauss": "EnergyDependentMultiGaussPSF",
    "psf_king": "PSFKing",
    "bkg_2d": "Background2D",
    "bkg_3d": "Background3D",
    "rad_max_2d": "RadMax2D",
}


class DataStore:
    """Observations that are listed in index files (GADF v0.3, "Data storage").

    Parameters
    ----------
    hdu_table : `~astropy.table.Table`
        Where each part of each observation is: OBS_ID, HDU_TYPE, HDU_CLASS, FILE_DIR, FILE_NAME, HDU_NAME.
    obs_table : `~astropy.table.Table`, optional
        One row per observation; made of the identifiers by default.
    base_dir : str or path-like
        Folder that FILE_DIR starts from.

    Examples
    --------
    >>> from astropy.table import Table
    >>> row = {"OBS_ID": [7], "HDU_TYPE": ["events"], "HDU_CLASS": ["events"], "FILE_DIR": ["."]}
    >>> store = DataStore(Table(row | {"FILE_NAME": ["run7.fits"], "HDU_NAME": ["EVENTS"]}))
    >>> store.obs_ids.tolist()
    [7]
    """

    def __init__(
        self, hdu_table: Table, obs_table: Table | None = None, base_dir: str | os.PathLike[str] = "."
    ) -> None:
        from astropy.table import Table

        wanted = ("OBS_ID", "HDU_TYPE", "HDU_CLASS", "FILE_DIR", "FILE_NAME", "HDU_NAME")
        missing = [name for name in wanted if name not in hdu_table.colnames]
        if missing:
            raise FileFormatError(
                f"DataStore, HDU index: expected the columns {', '.join(wanted)}; {', '.join(missing)} "
                f"isn't among {', '.join(hdu_table.colnames)}"
            )
        if obs_table is None:
            obs_table = Table({"OBS_ID": np.unique(hdu_table["OBS_ID"])})
        if "OBS_ID" not in obs_table.colnames:
            raise FileFormatError(
                "DataStore, observation index: expected a column OBS_ID, found "
                f"{', '.join(obs_table.colnames)}"
            )
        self.hdu_table, self.base_dir = hdu_table, make_path(base_dir)
        self.obs_table = ObservationTable(obs_table)

    @classmethod
    def from_dir(
        cls,
        base_dir: str | os.PathLike[str],
        hdu_table_filename: str | os.PathLike[str] | None = None,
        obs_table_filename: str | os.PathLike[str] | None = None,
    ) -> DataStore:
        """Read the index files of a folder.

        Parameters
        ----------
        base_dir : str or path-like
            Folder; ``$VAR`` is expanded.
        hdu_table_filename, obs_table_filename : str or path-like, optional
            Index files, from the folder on; by default ``hdu-index.fits.gz`` and ``obs-index.fits.gz``, or
            the same without ``.gz``.

        Raises
        ------
        DataError
            If there is no such folder or file.
        FileFormatError
            If a file isn't an index.
        """
        folder = make_path(base_dir)
        if not folder.is_dir():
            raise DataError(f"DataStore: there is no folder {folder}")
        hdu_file = _index_file(folder, "hdu-index", hdu_table_filename)
        obs_file = _index_file(folder, "obs-index", obs_table_filename, must_exist=False)
        obs_table = None if obs_file is None else _read_index(obs_file, "OBS_INDEX")
        return cls(_read_index(hdu_file, "HDU_INDEX"), obs_table, folder)

    @classmethod
    def from_events_files(
        cls,
        events_paths: Iterable[str | os.PathLike[str]],
        irfs_paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    ) -> DataStore:
        """Make an index of files of events.

        Parameters
        ----------
        events_paths : list of str or path-like
            Files with the extensions EVENTS and GTI.
        irfs_paths : str, path-like or list of these, optional
            File of responses, or one per file of events; the files of events by default.
        """
        from astropy.table import Table

        events = [make_path(path).resolve() for path in events_paths]
        if irfs_paths is None:
            responses = events
        elif isinstance(irfs_paths, (str, os.PathLike)):
            responses = [make_path(irfs_paths).resolve()] * len(events)
        else:
            responses = [make_path(path).resolve() for path in irfs_paths]
        if len(responses) != len(events):
            raise DataError(
                f"DataStore: found {len(events)} files of events and {len(responses)} of responses"
            )
        rows: list[dict[str, Any]] = []
        for path, irf_path in zip(events, responses, strict=True):
            rows += _rows_of_files(path, irf_path)
        if not rows:
            raise DataError("DataStore: expected at least one file of events")
        return cls(Table(rows=rows), base_dir="/")

    @property
    def obs_ids(self) -> Any:
        """Identifiers of the observations, shape (n,)."""
        return np.asarray(self.obs_table["OBS_ID"])

    @cached_property
    def _rows(self) -> dict[tuple[str, str], int]:
        """First row of each part of each observation."""
        rows: dict[tuple[str, str], int] = {}
        table = self.hdu_table
        for i, (name, kind) in enumerate(zip(table["OBS_ID"], table["HDU_TYPE"], strict=True)):
            rows.setdefault((str(name), str(kind).strip().lower()), i)
        return rows

    def obs(self, obs_id: int | str, required_irf: str | Sequence[str] = "all-optional") -> Observation:
        """Return an observation; its parts are read when they are used first.

        Parameters
        ----------
        obs_id : int or str
            Identifier.
        required_irf : {"full-enclosure", "point-like", "all-optional"} or list of str
            Parts that must be there.

        Raises
        ------
        DataError
            If there is no such observation, or a part that is required is missing.
        """
        parts = self._parts(obs_id)
        missing = [name for name in _needed(required_irf) if name not in parts]
        if missing:
            raise DataError(f"DataStore, observation {obs_id}: there is no {', '.join(missing)}")
        return Observation(obs_id, **parts)

    def _parts(self, obs_id: int | str) -> dict[str, Any]:
        if str(obs_id) not in {str(item) for item in self.obs_ids}:
            raise DataError(f"DataStore: there is no observation {obs_id}, it has {len(self.obs_ids)} others")
        names = ("events", "gti", *IRF_NAMES)
        rows = {name: self._rows[str(obs_id), name] for name in names if (str(obs_id), name) in self._rows}
        return {name: partial(self._read, name, row) for name, row in rows.items()}

    def _path(self, row: int) -> Path:
        item = self.hdu_table[row]
        return Path(self.base_dir, str(item["FILE_DIR"]).strip(), str(item["FILE_NAME"]).strip())

    def _read(self, name: str, row: int) -> Any:
        from villard import irf

        item = self.hdu_table[row]
        hdu, kind = str(item["HDU_NAME"]).strip(), str(item["HDU_CLASS"]).strip().lower()
        path = self._path(row)
        if name == "events":
            return EventList.read(path, hdu=hdu)
        if name == "gti":
            return GTI.read(path, hdu=hdu)
        if kind not in _CLASS_NAMES:
            raise FileFormatError(
                f"{path}, extension {hdu}: the class {kind!r} isn't known, expected one of "
                f"{', '.join(_CLASS_NAMES)}"
            )
        return getattr(irf, _CLASS_NAMES[kind]).read(path, hdu=hdu)

    def get_observations(
        self,
        obs_id: Iterable[int | str] | None = None,
        skip_missing: bool = False,
        required_irf: str | Sequence[str] = "full-enclosure",
    ) -> Observations:
        """Return observations.

        Parameters
        ----------
        obs_id : list of int or str, optional
            Identifiers; all by default.
        skip_missing : bool
            Whether to leave out observations that aren't there, or whose file is missing; an error by
            default.
        required_irf : {"full-enclosure", "point-like", "all-optional"} or list of str
            Parts that must be there.
        """
        result = []
        for name in self.obs_ids if obs_id is None else obs_id:
            try:
                observation = self.obs(name, required_irf)
                self._check_files(name)
            except DataError:
                if skip_missing:
                    continue
                raise
            result.append(observation)
        return Observations(result)

    def _check_files(self, obs_id: int | str) -> None:
        for (name, _), row in self._rows.items():
            if name == str(obs_id) and not self._path(row).is_file():
                raise DataError(f"DataStore, observation {obs_id}: file not found: {self._path(row)}")

    def check(self) -> list[str]:
        """Return what is wrong with the files: those that are missing or can't be read."""
        problems = []
        for obs_id in self.obs_ids:
            for name, read in self._parts(obs_id).items():
                try:
                    read()
                except DataError as error:
                    problems.append(f"observation {obs_id}, {name}: {error}")
        return problems

    def select(self, center: SkyCoord, radius: Any) -> list[Any]:
        """Return the identifiers of the observations that point within an angle of a direction."""
        return self.obs_table.select_sky_circle(center, radius)["OBS_ID"].tolist()

    def info(self, show: bool = True) -> str | None:
        """Print, or return, what there is.

        Parameters
        ----------
        show : bool
            Whether to print the text; it is returned otherwise.
        """
        kinds = sorted({str(kind).strip().lower() for kind in self.hdu_table["HDU_TYPE"]})
        classes = sorted({str(kind).strip().lower() for kind in self.hdu_table["HDU_CLASS"]})
        lines = [
            "DataStore",
            "",
            f"  folder       : {self.base_dir}",
            f"  observations : {len(self.obs_ids)}",
        ]
        lines += [f"  parts        : {', '.join(kinds)}", f"  classes      : {', '.join(classes)}"]
        if "OBJECT" in self.obs_table.colnames:
            lines.append(f"  targets      : {len(np.unique(self.obs_table['OBJECT']))}")
        text = "\n".join(lines) + "\n"
        if not show:
            return text
        print(text)
        return None

    def __repr__(self) -> str:
        return f"DataStore({self.base_dir}, {len(self.obs_ids)} observations)"


def _needed(required_irf: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(required_irf, str):
        return required_irf
    if required_irf not in _NEEDED:
        raise DataError(f"DataStore: expected one of {', '.join(_NEEDED)}, found {required_irf!r}")
    return _NEEDED[required_irf]


def _index_file(
    folder: Path, name: str, given: str | os.PathLike[str] | None, must_exist: bool = True
) -> Any:
    if given is not None:
        return Path(folder, make_path(given))
    for suffix in (".fits.gz", ".fits"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    if must_exist:
        raise DataError(f"DataStore: there is no {name}.fits.gz or {name}.fits in {folder}")
    return None


def _read_index(path: Path, name: str) -> Table:
    from astropy.table import Table

    from villard.maps.fits import find_table, open_fits, table_data

    with open_fits(path) as hdulist:
        tables = [hdu for hdu in hdulist if hdu.name == name]
        hdu = tables[0] if tables else find_table(hdulist, [hdulist[1].name], str(path))
        data = table_data(hdu, str(path))
        columns = {column: _text(np.asarray(data[column])) for column in data.names}
        keywords = {key: hdu.header[key] for key in _TIME_KEYWORDS if key in hdu.header}
        table = Table(columns, meta=keywords)
        for column in hdu.columns:
            # Units that can't be read are none of those that are used.
            table[column.name].unit = None if not column.unit else u.Unit(column.unit, parse_strict="silent")
        return table


def _text(values: Any) -> Any:
    if values.dtype.kind in "SU":
        return np.char.strip(values.astype(str))
    return values.astype(values.dtype.newbyteorder("="))


def _rows_of_files(events_path: Path, irf_path: Path) -> list[dict[str, Any]]:
    from villard.irf.load import find_irf_hdus
    from villard.maps.fits import find_table, open_fits

    with open_fits(events_path) as hdulist:
        header = find_table(hdulist, ["EVENTS"], str(events_path)).header
        if "OBS_ID" not in header:
            raise FileFormatError(f"{events_path}, extension EVENTS: there is no keyword OBS_ID")
        obs_id = header["OBS_ID"]
        parts = [("events", "events", "EVENTS", events_path), ("gti", "gti", "GTI", events_path)]
    with open_fits(irf_path) as hdulist:
        parts += [(name, tag, hdu, irf_path) for name, tag, hdu in find_irf_hdus(hdulist)]
    names = ("HDU_TYPE", "HDU_CLASS", "HDU_NAME")
    rows = []
    for *values, path in parts:
        row = {"OBS_ID": obs_id} | dict(zip(names, values, strict=True))
        rows.append(row | {"FILE_DIR": str(path.parent), "FILE_NAME": path.name})
    return rows

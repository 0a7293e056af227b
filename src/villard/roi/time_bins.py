"""Bins of time of a region: from files of events, or from cubes that are binned already."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError

__all__ = ["TimeBin", "bins_from_datasets", "bins_from_events", "time_edges"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

#: Reference of Fermi's mission elapsed time, 2001-01-01 UTC in TT (MJD).
FERMI_MJDREF = 51910 + 7.428703703703703e-4
#: Relative differences up to which exposures count as proportional.
_SAME = 1e-6


@dataclass
class TimeBin:
    """One bin of time.

    Parameters
    ----------
    tmin, tmax : float
        Ends, in seconds of the mission's time; NaN if they aren't known.
    counts : list of array
        Counts of each component, flat.
    factors : list of float or None
        Exposure of each component over that of the region, where they are proportional.
    datasets : list of `~villard.datasets.MapDataset` or None
        Otherwise the components of the bin, by the names of those of the region.
    livetime : float
        Good time in it (s); NaN if it isn't known.
    """

    tmin: float
    tmax: float
    counts: list[Array]
    factors: list[float] | None = None
    datasets: list[Any] | None = None
    livetime: float = float("nan")
    mjdref: float = FERMI_MJDREF

    @property
    def has_exposure(self) -> bool:
        """Whether anything can be seen in it."""
        return self.factors is None or any(f > 0 for f in self.factors)


def time_edges(settings: Mapping[str, Any], start: float, stop: float) -> Array:
    """Return the edges of bins (s): those given, or so many, or of a length, between two times.

    Examples
    --------
    >>> time_edges({"time_bins": None, "nbins": None, "binsz": 40.0}, 0, 100).tolist()
    [0.0, 40.0, 80.0, 100.0]
    """
    if settings["time_bins"] is not None:
        edges = np.asarray(settings["time_bins"], dtype=float)
        if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
            raise ConfigError(
                f"lightcurve: expected increasing time_bins (s), found {settings['time_bins']!r}"
            )
        return edges
    if settings["nbins"] is not None:
        n = int(settings["nbins"])
        if n < 1:
            raise ConfigError(f"lightcurve: expected at least one bin, found nbins={n}")
        return np.linspace(start, stop, n + 1)
    width = float(settings["binsz"])
    if not width > 0:
        raise ConfigError(f"lightcurve: expected a positive binsz (s), found {width:g}")
    n = int(np.ceil((stop - start) / width * (1 - 1e-12)))
    if n > 100_000:
        raise ConfigError(f"lightcurve: binsz of {width:g} s makes {n} bins; set binsz, nbins or time_bins")
    edges = start + width * np.arange(n + 1.0)
    edges[-1] = stop
    return edges


# Events


def bins_from_events(
    roi: Any, events: Any, settings: Mapping[str, Any], exposure: Any = None
) -> list[TimeBin]:
    """Sort events into cubes like those of the region, for each bin of time.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    events : path, `~villard.data.EventList`, or list of these
        Events of each component (FT1 files), in the order of the components.
    settings : dict
        ``time_bins``, ``nbins`` or ``binsz``.
    exposure : array or list, optional
        Share of the region's exposure that each bin has, shape (n_bins,) or (n_bins, n_components); by
        default the share of the good time. Or for each bin the exposure map or its file (gtexpcube2), a list
        of these for several components.

    Raises
    ------
    DataError
        If there are not as many files as components, or no times.
    """
    lists = list(events) if isinstance(events, list | tuple) else [events]
    if len(lists) != len(roi.datasets):
        names = ", ".join(roi.datasets.names)
        raise DataError(
            f"lightcurve: expected events of {len(roi.datasets)} components ({names}), found {len(lists)}"
        )
    read = [_read_events(item) for item in lists]
    start, stop = min(gti[:, 0].min() for _, gti, _ in read), max(gti[:, 1].max() for _, gti, _ in read)
    edges = time_edges(settings, start, stop)
    shares = np.stack([_shares(gti, edges) for _, gti, _ in read], axis=1)
    livetime = shares[:, 0] * float(np.sum(np.diff(read[0][1], axis=1)))
    _check_good_time(shares, start, stop)
    maps = None
    if exposure is not None:
        maps = _exposure_maps(roi, exposure, len(edges) - 1)
        if maps is None:
            shares = np.broadcast_to(_given_shares(exposure, len(edges) - 1, len(lists)), shares.shape)
    counts = [
        _count(dataset, table, edges) for dataset, (table, _, _) in zip(roi.datasets, read, strict=True)
    ]
    bins = [
        TimeBin(
            float(low),
            float(high),
            [c[k] for c in counts],
            [float(x) for x in shares[k]],
            livetime=float(livetime[k]),
            mjdref=read[0][2],
        )
        for k, (low, high) in enumerate(pairwise(edges))
    ]
    if maps is not None:
        for time_bin, own in zip(bins, maps, strict=True):
            time_bin.factors, time_bin.datasets = None, _with_exposures(roi, time_bin.counts, own)
    return bins


def _check_good_time(shares: Array, start: float, stop: float) -> None:
    empty = np.flatnonzero(np.all(shares == 0, axis=1))
    if len(empty) == len(shares):
        raise DataError(
            f"lightcurve: none of {len(shares)} bins of time has good time of the events, which lasts from "
            f"{start:.10g} to {stop:.10g} s"
        )
    if len(empty):
        log.warning("lightcurve: bins without good time have no flux: %s", ", ".join(map(str, empty)))


def _given_shares(exposure: Any, n_bins: int, n_components: int) -> Array:
    given = np.asarray(exposure, dtype=float)
    given = given[:, None] if given.ndim == 1 else given
    if given.shape[0] != n_bins or given.shape[1:] not in ((1,), (n_components,)) or not np.all(given >= 0):
        raise DataError(
            f"lightcurve: expected shares of the exposure from 0 on of {n_bins} bins and {n_components} "
            f"components, found {np.array2string(given.squeeze(), threshold=20)} of shape {given.shape}"
        )
    return given


def _exposure_maps(roi: Any, exposure: Any, n_bins: int) -> list[list[Any]] | None:
    """Return maps of the exposure of each bin and component; `None` if shares are given."""
    from villard.maps import Map
    from villard.utils.paths import make_path

    entries = [list(x) if isinstance(x, list | tuple) else [x] for x in list(exposure)]
    if not entries or not all(
        isinstance(x, str | os.PathLike) or hasattr(x, "geom") for e in entries for x in e
    ):
        return None
    if len(entries) != n_bins or any(len(e) != len(roi.datasets) for e in entries):
        raise DataError(
            f"lightcurve: expected exposures of {n_bins} bins and {len(roi.datasets)} components, found "
            f"{[len(e) for e in entries]}"
        )
    return [[x if hasattr(x, "geom") else Map.read(make_path(x)) for x in e] for e in entries]


def _with_exposures(roi: Any, counts: Sequence[Array], exposures: Sequence[Any]) -> list[Any]:
    """Return the components of the region with other counts and exposures."""
    from villard.roi.inputs import exposure_in_bins

    datasets = []
    for own, flat, exposure in zip(roi.datasets, counts, exposures, strict=True):
        dataset = own.copy(name=own.name)
        axis = own.exposure.geom.axes["energy_true"]
        dataset.counts = own.counts.copy(data=np.reshape(flat, own.geom.data_shape))
        dataset.exposure = exposure_in_bins(exposure, axis, own.geom, f"lightcurve: {own.name}")
        datasets.append(dataset)
    return datasets


def _read_events(item: Any) -> tuple[dict[str, Any], Array, float]:
    """Return energies (MeV), directions and times of events, good times (s), and the reference (MJD)."""
    from villard.data import GTI, EventList

    gti = None
    if isinstance(item, str | os.PathLike):
        events = EventList.read(item)
        try:
            good = GTI.read(item)
            gti = np.stack([good.met_start.to_value("s"), good.met_stop.to_value("s")], axis=1)
        except DataError:
            gti = None
    else:
        events = item
    if "TIME" not in events.table.colnames:
        raise DataError("lightcurve: the events have no times (column TIME)")
    seconds = events._seconds().to_value("s")
    if gti is None or not len(gti):
        meta = {key.upper(): value for key, value in events.meta.items()}
        ends = [float(meta.get("TSTART", seconds.min())), float(meta.get("TSTOP", seconds.max()))]
        gti = np.array([ends])
    try:
        mjdref = float(events.time_ref.tt.mjd)
    except DataError:
        mjdref = FERMI_MJDREF
    table = {"energy": events.energy.to_value("MeV"), "radec": events.radec, "time": seconds}
    return table, gti, mjdref


def _shares(gti: Array, edges: Array) -> Array:
    """Share of the good time in each bin, shape (n_bins,)."""
    length = np.diff(gti, axis=1)[:, 0]
    order = np.argsort(gti[:, 0])
    start, stop = gti[order, 0], gti[order, 1]
    before = np.concatenate([[0.0], np.cumsum(length[order])])
    # Good time before each edge; intervals don't overlap.
    index = np.searchsorted(start, edges, side="right")
    last = np.maximum(index - 1, 0)
    beyond = np.where(index > 0, np.minimum(edges, stop[last]) - stop[last], 0.0)
    total = before[index] + beyond
    return np.asarray(np.diff(total) / length.sum())


def _count(dataset: Any, events: Mapping[str, Any], edges: Array) -> list[Array]:
    """Return counts of each bin of time in the bins of a dataset, flat."""
    geom = dataset.geom
    axis = geom.axes["energy"].edges.to_value("MeV")
    x, y = geom.to_image().skydir_to_pix(events["radec"])
    shape = geom.data_shape
    e = np.searchsorted(axis, events["energy"], side="right") - 1
    t = np.searchsorted(edges, events["time"], side="right") - 1
    # The last bin has its upper edge.
    t = np.where(events["time"] == edges[-1], len(edges) - 2, t)
    i, j = np.floor(np.asarray(x) + 0.5), np.floor(np.asarray(y) + 0.5)
    inside = (e >= 0) & (e < shape[0]) & (i >= 0) & (i < shape[2]) & (j >= 0) & (j < shape[1])
    inside &= (t >= 0) & (t < len(edges) - 1) & np.isfinite(i + j)
    flat = np.ravel_multi_index((e[inside], j[inside].astype(int), i[inside].astype(int)), shape)
    n = int(np.prod(shape))
    t = t[inside]
    return [np.bincount(flat[t == k], minlength=n).astype(float) for k in range(len(edges) - 1)]


# Cubes


def bins_from_datasets(roi: Any, bins: Sequence[Any]) -> list[TimeBin]:
    """Return bins of time from datasets, or files of counts and exposure.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    bins : list
        For each bin the dataset, or a list of those of all components in the order of the region, or a
        dictionary: ``counts`` and ``exposure`` (file or list of files), or ``datasets``; and perhaps ``tmin``
        and ``tmax`` (s).
    """
    if not len(bins):
        raise DataError("lightcurve: expected at least one bin of time, found none")
    return [_bin_of(roi, entry, k) for k, entry in enumerate(bins)]


def _bin_of(roi: Any, entry: Any, k: int) -> TimeBin:
    where = f"lightcurve: bin {k}"
    given = dict(entry) if isinstance(entry, Mapping) else {"datasets": entry}
    known = {"datasets", "counts", "exposure", "tmin", "tmax"}
    if unknown := set(given) - known:
        raise ConfigError(f"{where}: unknown key {sorted(unknown)[0]!r}, expected some of {sorted(known)}")
    times = [given.get("tmin"), given.get("tmax")]
    if "counts" in given:
        datasets, found = _read_bin(roi, given, where)
        times = [own if own is not None else t for own, t in zip(times, found, strict=True)]
    else:
        entries = given.get("datasets")
        datasets = [entries] if hasattr(entries, "measurement") else entries or []
        if not isinstance(datasets, Iterable) or not all(hasattr(d, "measurement") for d in datasets):
            raise ConfigError(f"{where}: expected datasets, or a dictionary of files, found {entry!r}")
        datasets = list(datasets)
    if len(datasets) != len(roi.datasets):
        names = ", ".join(roi.datasets.names)
        raise DataError(f"{where}: expected {len(roi.datasets)} components ({names}), found {len(datasets)}")
    named, factors = [], []
    for own, dataset in zip(roi.datasets, datasets, strict=True):
        if dataset.geom.data_shape != own.geom.data_shape:
            raise DataError(
                f"{where}: component {own.name!r} has {dataset.geom.data_shape} bins (energy, y, x), "
                f"the region {own.geom.data_shape}"
            )
        factors.append(_proportion(dataset, own))
        named.append(dataset if dataset.name == own.name else dataset.copy(name=own.name))
    gti = getattr(datasets[0], "gti", None)
    livetime, mjdref = float("nan"), FERMI_MJDREF
    if gti is not None and len(gti):
        livetime = float(gti.time_sum.to_value("s"))
        found = [float(gti.met_start.min().to_value("s")), float(gti.met_stop.max().to_value("s"))]
        times = [t if own is None else own for own, t in zip(times, found, strict=True)]
        mjdref = float(gti.time_ref.tt.mjd)
    ends = [float("nan") if t is None else float(t) for t in times]
    counts = [np.asarray(d.counts.data, dtype=float).ravel() for d in datasets]
    proportional = [f for f in factors if f is not None]
    if len(proportional) == len(factors):
        return TimeBin(ends[0], ends[1], counts, proportional, None, livetime, mjdref)
    return TimeBin(ends[0], ends[1], counts, None, named, livetime, mjdref)


def _proportion(dataset: Any, own: Any) -> float | None:
    """Exposure of a dataset over that of another, if they are proportional and all else is the same."""
    from villard.likelihood.kept import fingerprint

    if dataset.exposure is None or dataset.background is not None or own.background is not None:
        return None
    one, two = (np.asarray(d.exposure.quantity.to_value("cm2 s")) for d in (dataset, own))
    if one.shape != two.shape or not np.any(two > 0):
        return None
    factor = float(one.sum() / two.sum())
    if np.max(np.abs(one - factor * two)) > _SAME * np.max(two) * max(factor, _SAME):
        return None
    parts = [[x for x in (d.psf, d.edisp, d.weights) if x is not None] for d in (dataset, own)]
    if fingerprint(parts[0]) != fingerprint(parts[1]):
        return None
    same_masks = dataset.mask_fit is own.mask_fit or (dataset.mask_fit is None) == (own.mask_fit is None)
    return factor if same_masks else None


def _read_bin(roi: Any, given: Mapping[str, Any], where: str) -> tuple[list[Any], list[float | None]]:
    """Read counts and exposures of one bin; PSF and energy dispersion are those of the region."""
    from villard.maps import Map
    from villard.roi.inputs import exposure_in_bins
    from villard.utils.paths import make_path

    files = {key: given.get(key) for key in ("counts", "exposure")}
    if files["exposure"] is None:
        raise ConfigError(f"{where}: expected an exposure beside the counts")
    lists: dict[str, list[Any]] = {
        key: list(v) if isinstance(v, list | tuple) else [v] for key, v in files.items()
    }
    for key, values in lists.items():
        if len(values) != len(roi.datasets):
            raise DataError(f"{where}: expected {key} of {len(roi.datasets)} components, found {len(values)}")
    datasets = []
    for own, counts_file, exposure_file in zip(roi.datasets, lists["counts"], lists["exposure"], strict=True):
        counts = _on_geom(Map.read(make_path(counts_file)), own.geom, f"{where}: {counts_file}")
        axis = own.exposure.geom.axes["energy_true"]
        exposure = exposure_in_bins(
            Map.read(make_path(exposure_file)), axis, own.geom, f"{where}: {exposure_file}"
        )
        dataset = own.copy(name=own.name)
        dataset.counts, dataset.exposure, dataset.gti = counts, exposure, None
        datasets.append(dataset)
    return datasets, _times_of(make_path(lists["counts"][0]))


def _on_geom(counts: Any, geom: Any, where: str) -> Any:
    """Cut counts to the pixels and energies of a region."""
    edges, wanted = (g.axes["energy"].edges.to_value("MeV") for g in (counts.geom, geom))
    first = int(np.argmin(np.abs(np.log(edges / wanted[0]))))
    part = edges[first : first + len(wanted)]
    if len(part) != len(wanted) or not np.allclose(part, wanted, rtol=1e-3):
        raise DataError(f"{where}: its energies aren't those of the region")
    counts = counts.slice_by_idx({"energy": slice(first, first + len(wanted) - 1)})
    if counts.geom.data_shape != geom.data_shape:
        counts = counts.cutout(geom.center_skydir, width=geom.width.ravel())
    same = counts.geom.data_shape == geom.data_shape
    if not same or counts.geom.center_skydir.separation(geom.center_skydir).deg > 0.1 * float(
        np.min(geom.pixel_scales.to_value("deg"))
    ):
        raise DataError(f"{where}: its pixels aren't those of the region")
    return type(counts)(geom, data=np.asarray(counts.data, dtype=float))


def _times_of(path: Path) -> list[float | None]:
    from astropy.io import fits

    with fits.open(path) as hdulist:
        for hdu in hdulist:
            if "TSTART" in hdu.header and "TSTOP" in hdu.header:
                return [float(hdu.header["TSTART"]), float(hdu.header["TSTOP"])]
    return [None, None]

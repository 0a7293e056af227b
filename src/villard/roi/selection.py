"""Which sources of a region of interest fulfil conditions."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError, ParameterError
from villard.roi.source import Source, find_source
from villard.utils.names import suggestion

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["Selection", "select_sources"]

_FRAMES = {"CEL": "icrs", "GAL": "galactic", "icrs": "icrs", "galactic": "galactic"}
#: Arguments of `select_sources`, which all methods that select sources take.
CONDITIONS = (
    "cuts",
    "distance",
    "skydir",
    "minmax_ts",
    "minmax_npred",
    "exclude",
    "names",
    "coordsys",
    "square",
    "exclude_diffuse",
)


class Selection:
    """Selection of sources, for `villard.roi.ROI`."""

    def get_sources(
        self,
        cuts: Any = None,
        distance: Any = None,
        skydir: SkyCoord | str | None = None,
        minmax_ts: Any = None,
        minmax_npred: Any = None,
        exclude: str | Iterable[str] | None = None,
        names: str | Iterable[str] | None = None,
        coordsys: str = "CEL",
        square: bool = False,
        exclude_diffuse: bool | None = None,
    ) -> list[Source]:
        """Return the sources that fulfil all conditions.

        Parameters
        ----------
        cuts : dict, optional
            Ranges ``[min, max]`` of results, attributes or columns of the catalogue, `None` for an open
            end; or a value that must be met. A source that doesn't have the key fails.
        distance : float or `~astropy.units.Quantity`, optional
            Distance (deg) below which sources are taken.
        skydir : `~astropy.coordinates.SkyCoord` or str, optional
            Direction from which the distance counts, or the source that is there; by default the centre.
        minmax_ts, minmax_npred : list of float or None, optional
            Ranges of TS and of predicted counts. A source of which that isn't known fails.
        exclude : str or list of str, optional
            Sources that aren't taken.
        names : str or list of str, optional
            Sources of which are taken those that fulfil the other conditions.
        coordsys : {"CEL", "GAL"}
            Directions of the sides of the square.
        square : bool
            Whether ``distance`` is half the side of a square, instead of the radius of a circle.
        exclude_diffuse : bool, optional
            Whether diffuse emission is left out. By default it is where there is a ``distance``, or a cut on
            "offset"; with `False` it passes any distance, which is the rule of fermipy.

        Returns
        -------
        list of `Source`
            By their distance from the centre of the region, diffuse emission last.

        Raises
        ------
        ModelError
            If a source, or a key of the cuts, isn't there; the message offers the nearest.
        ParameterError
            If a range isn't one, or TS are asked for and none is known.
        """
        conditions = {name: value for name, value in locals().items() if name in CONDITIONS}
        return select_sources(self, **conditions)


def select_sources(
    roi: Any,
    cuts: Any = None,
    distance: Any = None,
    skydir: Any = None,
    minmax_ts: Any = None,
    minmax_npred: Any = None,
    exclude: Any = None,
    names: Any = None,
    coordsys: str = "CEL",
    square: bool = False,
    exclude_diffuse: bool | None = None,
) -> list[Source]:
    """Return the sources that fulfil all conditions; see `Selection.get_sources`."""
    sources: list[Source] = roi.sources
    if names is not None:
        wanted = {id(find_source(sources, name)) for name in _listed(names)}
        sources = [source for source in sources if id(source) in wanted]
    excluded = {id(find_source(roi.sources, name)) for name in _listed(exclude)}
    sources = [source for source in sources if id(source) not in excluded]
    if exclude_diffuse or (exclude_diffuse is None and distance is not None):
        sources = [source for source in sources if not source.is_diffuse]
    if distance is not None:
        near = _nearness(roi, distance, skydir, coordsys, square)
        sources = [source for source in sources if source.is_diffuse or near(source)]
    elif skydir is not None or square:
        raise ParameterError("get_sources: skydir and square need a distance")
    ranges = [*_ranges(cuts), ("ts", minmax_ts), ("npred", minmax_npred)]
    for key, limits in ranges:
        if limits is not None:
            _check_known(roi, key)
            if key == "offset" and exclude_diffuse is not False:
                sources = [source for source in sources if not source.is_diffuse]
            passes = _condition(key, limits)
            sources = [source for source in sources if passes(source)]
    return sources


def _listed(names: Any) -> list[str]:
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


def _nearness(roi: Any, distance: Any, skydir: Any, coordsys: str, square: bool) -> Any:
    if coordsys not in _FRAMES:
        raise ParameterError(f"coordsys: expected 'CEL' or 'GAL', found {coordsys!r}")
    try:
        radius = u.Quantity(distance, "deg").value
    except (TypeError, ValueError):
        radius = np.nan
    if not (np.ndim(radius) == 0 and radius > 0):
        raise ParameterError(f"distance: expected an angle above 0, found {distance!r}")
    center = roi.skydir if skydir is None else skydir
    if isinstance(skydir, str):
        center = roi[skydir].skydir
        if center is None:
            raise ModelError(f"skydir: {skydir!r} is diffuse, and has no direction")
    center = center.transform_to(_FRAMES[coordsys])

    def near(source: Source) -> bool:
        position = source.skydir
        assert position is not None
        position = position.transform_to(center.frame)
        if not square:
            return bool(center.separation(position).deg < radius)
        offsets = center.spherical_offsets_to(position)
        return all(abs(offset.wrap_at("180d").deg) < radius for offset in offsets)

    return near


def _ranges(cuts: Any) -> list[tuple[str, Any]]:
    """Return pairs of key and condition of a dictionary, or of tuples as fermipy takes them."""
    if cuts is None:
        return []
    if isinstance(cuts, Mapping):
        return list(cuts.items())
    items = [cuts] if len(cuts) and isinstance(cuts[0], str) else list(cuts)
    if not all(isinstance(item, tuple | list) and len(item) in (2, 3) for item in items):
        raise ParameterError(f"cuts: expected {{key: [min, max]}}, found {cuts!r}")
    return [(item[0], item[1] if len(item) == 2 else list(item[1:])) for item in items]


def _check_known(roi: Any, key: str) -> None:
    if not len(roi.sources):
        return
    if not any(key in source for source in roi.sources):
        known = {k for source in roi.sources for k in (*source.results, *source.catalog, "offset")}
        raise ModelError(f"No source has {key!r}. {suggestion(key, sorted(known))}".rstrip())
    if key == "ts" and all(np.isnan(source["ts"]) for source in roi.sources):
        raise ParameterError(
            "A range of TS selects nothing before TS are known: call fit() or optimize() first"
        )


def _condition(key: str, limits: Any) -> Any:
    if not isinstance(limits, tuple | list | np.ndarray):
        return lambda source: key in source and _same(source[key], limits)
    if len(limits) != 2:
        raise ParameterError(f"{key}: expected [min, max], found {limits!r}")
    low, high = limits
    for end in limits:
        if not (end is None or (isinstance(end, numbers.Real) and not math.isnan(end))):
            raise ParameterError(f"{key}: expected numbers or None as [min, max], found {limits!r}")
    if low is not None and high is not None and low > high:
        raise ParameterError(f"{key}: expected [min, max], found the larger one first: {limits!r}")

    def passes(source: Source) -> bool:
        try:
            value = float(u.Quantity(source[key]).value) if key in source else np.nan
        except (TypeError, ValueError):
            raise ParameterError(f"{key} of {source.name!r} isn't a number, found {source[key]!r}") from None
        # Comparisons with NaN are false.
        return bool((low is None or value >= low) and (high is None or value <= high)) and not np.isnan(value)

    return passes


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return str(value).strip().lower() == wanted.strip().lower()
    return bool(value == wanted)

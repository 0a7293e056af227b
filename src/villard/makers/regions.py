"""Off regions at the same offset from the pointing as a region of interest.

The background of Cherenkov telescopes depends mostly on the offset. Regions that come about by turning the
region of interest around the pointing have the same background (Berge, Funk & Hinton 2007, A&A 466, 1219,
section 4.2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import DataError
from villard.maps.regions import SkyRegion

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps import WcsNDMap

__all__ = ["ReflectedRegionsFinder", "WobbleRegionsFinder"]


class _Finder:
    """What both finders have in common."""

    def _check(self, region: Any, center: SkyCoord) -> float:
        """Return the angle (rad) that a region takes, as seen from the pointing."""
        where = type(self).__name__
        if not isinstance(region, SkyRegion) or region.shape == "annulus":
            raise DataError(f"{where}: expected a point, circle, ellipse or box as region, found {region}")
        radius = _radius(region)
        offset = region.center.separation(center).rad
        if radius >= offset:
            raise DataError(
                f"{where}: the region {region} contains the pointing, so there are no others at its offset"
            )
        return 2 * float(np.arcsin(np.sin(radius) / np.sin(offset)))

    @staticmethod
    def _turned(region: SkyRegion, center: SkyCoord, angle: float) -> SkyRegion:
        """Return a region turned around a direction, from north to east."""
        frame = region.center.frame
        pivot = center.transform_to(frame)
        distance = pivot.separation(region.center)
        start = pivot.position_angle(region.center)
        moved = pivot.directional_offset_by(start + angle * u.rad, distance)
        # Its own orientation follows the great circle to the pivot.
        turn = (moved.position_angle(pivot) - region.center.position_angle(pivot)).deg
        lon, lat = moved.spherical.lon.deg, moved.spherical.lat.deg
        rotation = (region.angle - turn) % 360 if region.shape in ("ellipse", "box") else region.angle
        return replace(region, lon=float(lon % 360), lat=float(lat), angle=float(rotation))


class ReflectedRegionsFinder(_Finder):
    """Finds as many off regions as have room on the circle around the pointing, one after the other.

    Parameters
    ----------
    angle_increment : `~astropy.units.Quantity`
        Step by which a region that meets an exclusion is moved on.
    min_distance : `~astropy.units.Quantity`
        Least angle, as seen from the pointing, between two off regions.
    min_distance_input : `~astropy.units.Quantity`
        Least angle between an off region and the region of interest.
    max_region_number : int
        Most off regions.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> finder = ReflectedRegionsFinder()
    >>> regions = finder.run("icrs;circle(0, 0, 0.1)", SkyCoord(0.5, 0, unit="deg"))
    >>> len(regions)
    14
    """

    def __init__(
        self,
        angle_increment: u.Quantity | str = "0.1 rad",
        min_distance: u.Quantity | str = "0 rad",
        min_distance_input: u.Quantity | str = "0.1 rad",
        max_region_number: int = 10000,
    ) -> None:
        angles = (angle_increment, min_distance, min_distance_input)
        values = [float(u.Quantity(value).to_value("rad")) for value in angles]
        if values[0] <= 0 or min(values) < 0:
            raise DataError(f"ReflectedRegionsFinder: expected positive angles, found {angles}")
        self.angle_increment, self.min_distance, self.min_distance_input = values
        self.max_region_number = int(max_region_number)

    def run(
        self, region: Any, center: SkyCoord, exclusion_mask: WcsNDMap | None = None, size: float = 0.0
    ) -> list[SkyRegion]:
        """Return off regions.

        Parameters
        ----------
        region : region
            Region of interest: point, circle, ellipse or box.
        center : `~astropy.coordinates.SkyCoord`
            Pointing.
        exclusion_mask : `~villard.maps.WcsNDMap`, optional
            Image that is false where off regions mustn't be.
        size : float
            Radius (deg) of a region that is a point.

        Raises
        ------
        DataError
            If the region has another shape, or contains the pointing.
        """
        from villard.maps.regions import make_region

        region = _with_size(make_region(region), size)
        width, excluded = self._check(region, center), _Exclusion(exclusion_mask)
        angle, last = width + self.min_distance_input, 2 * np.pi - width - self.min_distance_input
        found: list[SkyRegion] = []
        # Regions that touch are allowed; rounding mustn't cost the last one.
        while angle <= last + 1e-9 and len(found) < self.max_region_number:
            candidate = self._turned(region, center, angle)
            if excluded.meets(candidate):
                angle += self.angle_increment
            else:
                found.append(candidate)
                angle += width + self.min_distance
        return found


class WobbleRegionsFinder(_Finder):
    """Finds a given number of off regions, at equal angles.

    Parameters
    ----------
    n_off_regions : int
        Number of off regions; those that meet an exclusion are left out.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> finder = WobbleRegionsFinder(n_off_regions=3)
    >>> [round(r.lon, 2) for r in finder.run("icrs;circle(0, 0, 0.1)", SkyCoord(0.5, 0, unit="deg"))]
    [0.5, 1.0, 0.5]
    """

    def __init__(self, n_off_regions: int) -> None:
        if int(n_off_regions) < 1:
            raise DataError(f"WobbleRegionsFinder: expected at least one off region, found {n_off_regions}")
        self.n_off_regions = int(n_off_regions)

    def run(
        self, region: Any, center: SkyCoord, exclusion_mask: WcsNDMap | None = None, size: float = 0.0
    ) -> list[SkyRegion]:
        """Return off regions; parameters as for `ReflectedRegionsFinder.run`.

        Raises
        ------
        DataError
            If regions overlap, besides the reasons of `ReflectedRegionsFinder.run`.
        """
        from villard.maps.regions import make_region

        region = _with_size(make_region(region), size)
        width, excluded = self._check(region, center), _Exclusion(exclusion_mask)
        step = 2 * np.pi / (self.n_off_regions + 1)
        if width > step + 1e-9:
            raise DataError(
                f"WobbleRegionsFinder: {self.n_off_regions} off regions of {region} would overlap, there is "
                f"room for {int(2 * np.pi / width) - 1}"
            )
        turned = [self._turned(region, center, (i + 1) * step) for i in range(self.n_off_regions)]
        return [item for item in turned if not excluded.meets(item)]


class _Exclusion:
    """Excluded pixels of a mask."""

    def __init__(self, mask: WcsNDMap | None) -> None:
        self._mask = mask
        if mask is None:
            return
        if not mask.is_mask or not mask.geom.is_image:
            raise DataError("Exclusion mask: expected a boolean image, true where nothing is excluded")
        self._excluded = mask.geom.skydirs()[~mask.data]

    def meets(self, region: SkyRegion) -> bool:
        """Whether the centre of an excluded pixel lies in a region, or that of the region in such a pixel."""
        if self._mask is None:
            return False
        if len(self._excluded) and bool(np.any(region.contains(self._excluded))):
            return True
        inside = self._mask.geom.contains(region.center)
        return bool(np.all(inside)) and not bool(np.all(self._mask.get_by_coord({"skycoord": region.center})))


def _with_size(region: Any, size: float) -> Any:
    """Return a circle for a point with a size."""
    if isinstance(region, SkyRegion) and region.shape == "point" and size > 0:
        return replace(region, shape="circle", sizes=(size,))
    return region


def _radius(region: SkyRegion) -> float:
    """Return the radius (rad) of the circle around a region."""
    sizes = np.radians(region.sizes)
    if region.shape == "box":
        return float(0.5 * np.hypot(*sizes))
    return float(np.max(sizes, initial=0.0))

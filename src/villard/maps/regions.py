"""Regions on the sky, as far as spectra need them: where, how large, and is this direction inside?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["SkyRegion", "SkyRegionUnion", "make_region"]

# Sizes of each shape, in degrees: their number, as in DS9.
_N_SIZES = {"point": 0, "circle": 1, "annulus": 2, "ellipse": 2, "box": 2}
_HAS_ANGLE = {"ellipse", "box"}
_FRAMES = {"icrs": "icrs", "fk5": "fk5", "fk4": "fk4", "j2000": "fk5", "galactic": "galactic"}
_SHAPE = re.compile(r"^\s*([a-z]+)\s*\(([^)]*)\)", re.IGNORECASE)


@dataclass(frozen=True)
class SkyRegion:
    """Point, circle, annulus, ellipse or box on the sky.

    Parameters
    ----------
    shape : {"point", "circle", "annulus", "ellipse", "box"}
        Shape.
    lon, lat : float
        Centre (deg).
    sizes : tuple of float
        Radius; inner and outer radius; semi-axes; width and height (deg).
    angle : float
        Rotation of ellipse and box, from the direction of decreasing longitude towards north, as in
        DS9 (deg).
    frame : str
        Frame: "icrs", "galactic", "fk5" or "fk4".

    Examples
    --------
    >>> region = SkyRegion.parse("icrs;circle(83.63, 22.01, 0.11)")
    >>> print(f"{region.solid_angle:.6g}")
    1.15795e-05 sr
    """

    shape: str
    lon: float
    lat: float
    sizes: tuple[float, ...] = ()
    angle: float = 0.0
    frame: str = "icrs"

    def __post_init__(self) -> None:
        if self.shape not in _N_SIZES:
            raise DataError(f"Region: unknown shape {self.shape!r}, expected one of {', '.join(_N_SIZES)}")
        if self.frame not in _FRAMES:
            raise DataError(f"Region: unknown frame {self.frame!r}, expected one of {', '.join(_FRAMES)}")
        if len(self.sizes) != _N_SIZES[self.shape]:
            raise DataError(f"Region: a {self.shape} has {_N_SIZES[self.shape]} sizes, found {self.sizes}")
        numbers = (self.lon, self.lat, self.angle, *self.sizes)
        if not all(np.isfinite(numbers)) or min(self.sizes, default=0.0) < 0 or abs(self.lat) > 90:
            raise DataError(f"Region: impossible position or size in {self}")
        if self.shape == "annulus" and self.sizes[0] > self.sizes[1]:
            raise DataError(
                f"Region: the inner radius of an annulus exceeds the outer one, found {self.sizes}"
            )

    @classmethod
    def parse(cls, text: str) -> SkyRegion | SkyRegionUnion:
        """Read DS9 notation, such as ``icrs;circle(83.63, 22.01, 0.11)``.

        Sizes may end with ``d``, ``'`` or ``"`` (plain numbers are degrees), positions may be
        sexagesimal. Several shapes, divided by lines or ``;``, give a `SkyRegionUnion`.

        Raises
        ------
        DataError
            If the text isn't understood.
        """
        frame, parts = "icrs", []
        for item in re.split(r"[;\n]", text):
            item = item.split("#")[0].strip()
            if item.lower() in _FRAMES:
                frame = item.lower()
            elif match := _SHAPE.match(item):
                parts.append(cls._parse_shape(match.group(1).lower(), match.group(2), frame, text))
            elif item and not item.lower().startswith("global"):
                raise DataError(
                    f"Region {text!r}: don't understand {item!r}, expected e.g. 'icrs;circle(83.6, 22, 0.1)'"
                )
        if not parts:
            raise DataError(f"Region {text!r}: no shape found, expected e.g. 'icrs;circle(83.6, 22, 0.1)'")
        return parts[0] if len(parts) == 1 else SkyRegionUnion(tuple(parts))

    @classmethod
    def _parse_shape(cls, shape: str, arguments: str, frame: str, text: str) -> SkyRegion:
        values = [value for value in re.split(r"[\s,]+", arguments.strip()) if value]
        if shape not in _N_SIZES:
            raise DataError(
                f"Region {text!r}: shape {shape!r} isn't supported, expected one of {', '.join(_N_SIZES)}"
            )
        n, turned = _N_SIZES[shape], shape in _HAS_ANGLE
        if len(values) not in {2 + n, 2 + n + turned}:
            raise DataError(f"Region {text!r}: a {shape} needs {2 + n + turned} numbers, found {len(values)}")
        try:
            lon = _parse_angle(values[0], u.deg if frame == "galactic" else u.hourangle)
            lat = _parse_angle(values[1], u.deg)
            sizes = tuple(_parse_angle(value, u.deg) for value in values[2 : 2 + n])
            angle = _parse_angle(values[2 + n], u.deg) if len(values) > 2 + n else 0.0
        except ValueError as error:
            raise DataError(f"Region {text!r}: {error}") from error
        return cls(shape, lon, lat, sizes, angle, frame)

    @classmethod
    def from_object(cls, region: Any) -> SkyRegion:
        """Make a region of one of the astropy package ``regions``, by its documented attributes."""
        kind = type(region).__name__
        attributes = {
            "PointSkyRegion": ("point", ()),
            "CircleSkyRegion": ("circle", ("radius",)),
            "CircleAnnulusSkyRegion": ("annulus", ("inner_radius", "outer_radius")),
            "EllipseSkyRegion": ("ellipse", ("width", "height")),
            "RectangleSkyRegion": ("box", ("width", "height")),
        }
        if kind not in attributes:
            raise DataError(f"Region: {kind} isn't supported, expected one of {', '.join(attributes)}")
        shape, names = attributes[kind]
        # The package gives the full axes of an ellipse, DS9 the half ones.
        half = 0.5 if shape == "ellipse" else 1.0
        sizes = tuple(half * float(getattr(region, name).to_value("deg")) for name in names)
        center = region.center
        frame = center.frame.name
        if frame not in _FRAMES:
            center, frame = center.icrs, "icrs"
        lon, lat = float(center.spherical.lon.deg), float(center.spherical.lat.deg)
        return cls(
            shape,
            lon,
            lat,
            sizes,
            float(u.Quantity(getattr(region, "angle", 0 * u.deg)).to_value("deg")),
            frame,
        )

    @cached_property
    def center(self) -> SkyCoord:
        """Centre."""
        from astropy.coordinates import SkyCoord

        return SkyCoord(self.lon, self.lat, unit="deg", frame=_FRAMES[self.frame])

    @property
    def solid_angle(self) -> u.Quantity:
        """Solid angle (sr): exact for circle and annulus, that of the flat shape for ellipse and box."""
        sizes = np.radians(self.sizes)
        if self.shape in {"circle", "annulus"}:
            # 2 pi (1 - cos r), in a form that keeps its digits for small radii.
            caps = 4 * np.pi * np.sin(sizes / 2) ** 2
            return (caps[-1] - (caps[0] if self.shape == "annulus" else 0.0)) * u.sr
        factor = {"point": 0.0, "ellipse": np.pi, "box": 1.0}[self.shape]
        return factor * np.prod(sizes) * u.sr

    def contains(self, position: SkyCoord) -> NDArray[np.bool_]:
        """Return whether directions are inside; a point contains nothing but itself (within 1e-6 deg)."""
        position = position.transform_to(self.center.frame)
        if self.shape in {"point", "circle", "annulus"}:
            distance = self.center.separation(position).deg
            inner = self.sizes[0] if self.shape == "annulus" else 0.0
            outer = self.sizes[-1] if self.sizes else 1e-6
            return np.asarray((distance >= inner) & (distance <= outer))
        x, y = (offset.deg for offset in self.center.spherical_offsets_to(position))
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        # Counter-clockwise as the sky is seen, with longitude increasing to the left.
        along, across = np.asarray(-c * x + s * y), np.asarray(s * x + c * y)
        if self.shape == "ellipse":
            return (along / self.sizes[0]) ** 2 + (across / self.sizes[1]) ** 2 <= 1
        return (np.abs(along) <= self.sizes[0] / 2) & (np.abs(across) <= self.sizes[1] / 2)

    def is_allclose(self, other: SkyRegion | SkyRegionUnion, atol: float = 1e-6) -> bool:
        """Whether two regions are the same shape at the same place, within ``atol`` (deg)."""
        if not isinstance(other, SkyRegion) or self.shape != other.shape:
            return False
        return (
            bool(self.center.separation(other.center).deg <= atol)
            and np.allclose(self.sizes, other.sizes, rtol=0, atol=atol)
            and (self.shape not in _HAS_ANGLE or abs((self.angle - other.angle + 90) % 180 - 90) < 1e-3)
        )

    def to_ds9(self, with_frame: bool = True) -> str:
        """Return DS9 notation.

        Examples
        --------
        >>> SkyRegion("circle", 83.63, 22.01, (0.11,)).to_ds9()
        'icrs;circle(83.63, 22.01, 0.11)'
        """
        numbers = [self.lon, self.lat, *self.sizes, *([self.angle] if self.shape in _HAS_ANGLE else [])]
        shape = f"{self.shape}({', '.join(f'{number:.10g}' for number in numbers)})"
        return f"{self.frame};{shape}" if with_frame else shape

    def __str__(self) -> str:
        return self.to_ds9()


@dataclass(frozen=True)
class SkyRegionUnion:
    """Several regions that are taken together and don't overlap, such as the OFF regions of an observation.

    Parameters
    ----------
    parts : tuple of `SkyRegion`
        The regions.
    """

    parts: tuple[SkyRegion, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise DataError("Region: a union needs at least one part")

    @property
    def frame(self) -> str:
        """Frame of the first part."""
        return self.parts[0].frame

    @property
    def shape(self) -> str:
        """The word "union"."""
        return "union"

    @cached_property
    def center(self) -> SkyCoord:
        """Direction of the mean of the centres' unit vectors."""
        from astropy.coordinates import SkyCoord

        vectors = [
            part.center.transform_to(self.parts[0].center.frame).cartesian.xyz.value for part in self.parts
        ]
        x, y, z = np.mean(vectors, axis=0)
        lon, lat = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
        return SkyCoord(lon % 360, lat, unit="deg", frame=_FRAMES[self.frame])

    @property
    def solid_angle(self) -> u.Quantity:
        """Sum of the parts' solid angles (sr)."""
        return u.Quantity([part.solid_angle for part in self.parts]).sum()

    def contains(self, position: SkyCoord) -> NDArray[np.bool_]:
        """Return whether directions are inside one of the parts."""
        return np.any([part.contains(position) for part in self.parts], axis=0)

    def is_allclose(self, other: SkyRegion | SkyRegionUnion, atol: float = 1e-6) -> bool:
        """Whether two unions have the same parts in the same order, within ``atol`` (deg)."""
        return (
            isinstance(other, SkyRegionUnion)
            and len(self) == len(other)
            and all(a.is_allclose(b, atol=atol) for a, b in zip(self.parts, other.parts, strict=True))
        )

    def to_ds9(self) -> str:
        """Return DS9 notation, one part per ``;``."""
        return ";".join(part.to_ds9() for part in self.parts)

    def __iter__(self) -> Iterator[SkyRegion]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __str__(self) -> str:
        return f"union of {len(self.parts)} regions around {self.parts[0].to_ds9()}"


def make_region(region: Any) -> SkyRegion | SkyRegionUnion | None:
    """Make a region of DS9 text, an object of the ``regions`` package, a direction, or a list of these.

    Examples
    --------
    >>> make_region("galactic;point(184.55, -5.78)").frame
    'galactic'
    """
    if region is None or isinstance(region, (SkyRegion, SkyRegionUnion)):
        return region
    if isinstance(region, str):
        return SkyRegion.parse(region)
    if type(region).__name__ == "SkyCoord":
        frame = region.frame.name if region.frame.name in _FRAMES else "icrs"
        region = region.transform_to(frame)
        return SkyRegion(
            "point", float(region.spherical.lon.deg), float(region.spherical.lat.deg), frame=frame
        )
    if isinstance(region, Iterable):
        parts: list[SkyRegion] = []
        for item in region:
            made = make_region(item)
            parts += made.parts if isinstance(made, SkyRegionUnion) else [made] if made is not None else []
        return parts[0] if len(parts) == 1 else SkyRegionUnion(tuple(parts))
    return SkyRegion.from_object(region)


def _parse_angle(text: str, sexagesimal_unit: u.UnitBase) -> float:
    if ":" in text or re.search(r"\d[hm]", text):
        from astropy.coordinates import Angle

        return float(Angle(text, sexagesimal_unit).deg)
    factor = {"d": 1.0, "'": 1 / 60, '"': 1 / 3600, "r": np.degrees(1.0)}.get(text[-1:])
    return float(text) if factor is None else float(text[:-1]) * float(factor)

"""Morphology given as a map: of the sky, or of the sky at several energies."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, UnitsError
from villard.maps import Map
from villard.modeling.models.spatial.core import PureSpatial, SpatialModel, _angle
from villard.modeling.models.template_file import TemplateFile, check_finite, file_name, read_brightness
from villard.modeling.parameter import Parameter
from villard.utils.names import nearest
from villard.utils.units import unit_text

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps.regions import SkyRegion

__all__ = ["TemplateSpatialModel"]

_SR = u.Unit("sr-1")
_AXES = ("energy_true", "energy")
_OPTIONS = ("values_scale", "fill_value", "method")
_UNMOVED = 1e-9


class TemplateSpatialModel(TemplateFile, SpatialModel):
    """Morphology given as a map, with or without an axis of energy.

    Between pixel centres values are interpolated, outside the map they are zero, as they are beyond the
    outermost edges of energy. In the outer half of the outermost pixels and bins the slope goes on, but not
    below zero if no value is.

    Parameters
    ----------
    map : `~villard.maps.Map`
        Surface brightness, with or without an axis ``energy_true``: without unit or in sr-1, or a flux such
        as cm-2 s-1 MeV-1 sr-1, which is then scaled by a norm spectrum.
    meta : dict, optional
        Anything to be kept with the model.
    normalize : bool
        Whether the map (at each energy) is divided by its integral over the sky.
    interp_kwargs : dict, optional
        ``values_scale``: "lin" interpolates linearly on the sky and as power laws in energy, as the Fermi
        tools do, "log" interpolates logarithms on the sky, too, as Gammapy does. By default cubes in which
        all values are positive have "log", and others "lin": from a logarithm, a pixel of zero would eat
        up its neighbours, and the integral over images wouldn't be kept.
        ``fill_value``: value beyond the energies of the map, 0 by default; `None` lets the slope go on.
    filename : str or path-like, optional
        File of the map, which is what goes into YAML.
    copy_data : bool
        Whether the map is copied.
    **kwargs
        ``lon_0`` and ``lat_0``: where the centre of the map is moved to; it is not moved by default.

    Raises
    ------
    ModelError
        If the map has holes (NaN), an integral that isn't positive, or axes other than energy.
    UnitsError
        If its unit isn't one per solid angle.

    Examples
    --------
    >>> image = Map.create(npix=3, binsz=0.5, frame="galactic")
    >>> image.data[1, 1] = 4
    >>> model = TemplateSpatialModel(image)
    >>> model([0, 0.25, 1] * u.deg, 0 * u.deg)
    <Quantity [13131.26706681,  6565.6335334 ,     0.        ] 1 / sr>
    """

    tag = ["TemplateSpatialModel", "template"]
    yaml_keys = ("frame", "filename", "normalize", "unit", "interp_kwargs")
    lon_0 = Parameter("lon_0", "0 deg", frozen=True)
    lat_0 = Parameter("lat_0", "0 deg", min=-90, max=90, frozen=True)
    _settable = ("frame", "filename")

    def __init__(
        self,
        map: Map,
        meta: dict[str, Any] | None = None,
        normalize: bool = True,
        interp_kwargs: dict[str, Any] | None = None,
        filename: str | os.PathLike[str] | None = None,
        copy_data: bool = True,
        **kwargs: Any,
    ) -> None:
        where = type(self).__name__ if filename is None else f"{type(self).__name__} of {filename}"
        self._options = _check_options(interp_kwargs or {})
        self._map = _prepared(map, bool(normalize), copy_data, where)
        self._normalize = bool(normalize)
        self._meta = dict(meta or {})
        self._plane: Any = None
        self.filename = None if filename is None else os.fspath(filename)
        frame = str(self._map.geom.frame)
        if kwargs.get("frame") in (None, "fk5") and frame == "icrs":
            kwargs["frame"] = frame
        super().__init__(**{"frame": frame, **kwargs})
        if self.frame != frame:
            raise ModelError(f"{where}: the map is in the frame {frame!r}, found frame={self.frame!r}")
        for name, value in zip(("lon_0", "lat_0"), self._center(), strict=True):
            self.__dict__[name].value = value
            if name in kwargs:
                setattr(self, name, kwargs[name])

    # Properties

    @property
    def map(self) -> Map:
        """Map, normalised if that was asked for."""
        return self._map

    @property
    def meta(self) -> dict[str, Any]:
        """What is kept with the model."""
        return self._meta

    @property
    def normalize(self) -> bool:
        """Whether the map is divided by its integral over the sky."""
        return self._normalize

    @property
    def is_energy_dependent(self) -> bool:  # type: ignore[override]
        """Whether the map has an axis of energy."""
        return not self._map.geom.is_image

    @property
    def output_unit(self) -> u.UnitBase:
        """Unit of the values."""
        return self._map.unit

    @property
    def values_scale(self) -> str:
        """Scale on which values are interpolated, "lin" or "log"."""
        chosen = self._options.get("values_scale")
        if chosen is not None:
            return str(chosen)
        return "log" if self.is_energy_dependent and np.all(self._map.data > 0) else "lin"

    @property
    def map_center(self) -> "SkyCoord":
        """Direction of the centre of the map, before it is moved."""
        from astropy.coordinates import SkyCoord

        return SkyCoord(*self._center(), unit="deg", frame=self.frame)

    def _center(self) -> tuple[float, float]:
        """Longitude and latitude (deg) of the centre of the map; (0, 0) where the projection has none."""
        center: Any = self._map.geom.center_skydir
        lon, lat = float(center.spherical.lon.deg), float(center.spherical.lat.deg)
        return (lon, lat) if np.isfinite(lon + lat) else (0.0, 0.0)

    @property
    def evaluation_radius(self) -> u.Quantity:
        """Distance of the corners of the map from its centre."""
        geom: Any = self._map.geom
        if geom.is_allsky:
            return 180 * u.deg
        corners = geom.footprint
        radius = np.max(corners.separation(self.map_center).to("deg"))
        return radius if np.isfinite(radius) else 180 * u.deg

    @property
    def evaluation_bin_size_min(self) -> u.Quantity:
        """Size of the pixels of the map."""
        geom: Any = self._map.geom
        if geom.is_hpx:
            return np.sqrt(geom.solid_angle().to("deg2"))
        return np.min(geom.pixel_scales)

    def to_region(self, size_factor: float = 1.0) -> "SkyRegion":
        """Return the outline of the map as a rectangle.

        Parameters
        ----------
        size_factor : float
            Factor for its sides.
        """
        from villard.maps.regions import SkyRegion

        geom: Any = self._map.geom
        if geom.is_allsky:
            raise ModelError(f"{type(self).__name__} fills the whole sky and has no outline")
        sizes = tuple(size_factor * float(side) for side in geom.width.to_value("deg"))
        return SkyRegion("box", *self.position_lonlat, sizes, 0.0, self.frame)

    # Values

    def pure(self) -> PureSpatial:
        """Return what the likelihood knows of it.

        With a fixed position that is no form that can be differentiated. If the position of an image is free,
        it is a copy of the image on an equal-area plane around its centre, smoothly interpolated.
        """
        fixed = self.lon_0.frozen and self.lat_0.frozen
        if fixed or self.is_energy_dependent:
            return PureSpatial(key=(type(self),), n_parameters=2, evaluate=None, position=(0, 1))
        from villard.modeling.models.spatial.plane import evaluate, plane

        if self._plane is None:
            self._plane = plane(self)
        arrays = self._plane
        return PureSpatial((type(self), arrays[0].shape), 2, evaluate, arrays, (0, 1))

    def __call__(self, lon: Any, lat: Any, energy: Any = None) -> u.Quantity:
        """Return the surface brightness.

        Parameters
        ----------
        lon, lat : `~astropy.units.Quantity`
            Directions in the frame of the model.
        energy : `~astropy.units.Quantity`, optional
            Energies, if the map has an axis of energy; arrays broadcast.

        Returns
        -------
        `~astropy.units.Quantity`
            Values in the unit of the map.

        Raises
        ------
        ModelError
            If the energy is missing.
        """
        sky = self._directions(_angle("lon", lon), _angle("lat", lat))
        if not self.is_energy_dependent:
            values = self._map.interp_by_coord({"skycoord": sky}, values_scale=self.values_scale)
            return u.Quantity(self._kept(values), self.output_unit)
        energy = u.Quantity(self._energy(energy), "TeV")
        axis = self._map.geom.axes["energy_true"]
        if self.values_scale == "log":
            coord = {"skycoord": sky, "energy_true": energy}
            values = self._map.interp_by_coord(coord, values_scale="log")
        else:
            values = self._power_law(sky, energy)
        values = self._kept(values)
        fill = self._options.get("fill_value", 0.0)
        if fill is not None:
            bounds = axis.edges[[0, -1]]
            values = np.where((energy >= bounds[0]) & (energy <= bounds[1]), values, fill)
        return u.Quantity(values, self.output_unit)

    def iter_energies(self, lon: Any, lat: Any, energy: Any) -> Iterator[u.Quantity]:
        """Give the surface brightness at one energy after the other.

        The same as calls, but much faster: directions are turned into pixels once, and the images of the
        map are interpolated on the sky once each.

        Parameters
        ----------
        lon, lat : `~astropy.units.Quantity`
            Directions in the frame of the model.
        energy : `~astropy.units.Quantity`
            Energies, shape (n,).
        """
        geom: Any = self._map.geom
        axis = geom.axes["energy_true"] if self.is_energy_dependent else None
        if geom.is_hpx or axis is None or axis.interp != "log" or axis.nbin < 2:
            yield from (self(lon, lat, item) for item in energy)
            return
        from villard.maps.wcs_interp import SkyInterpolator

        sky = self._directions(_angle("lon", lon), _angle("lat", lat))
        interpolator = SkyInterpolator(geom.to_image(), sky)
        energy = u.Quantity(self._energy(energy), "TeV")
        x, at = np.log(axis.center.to_value("TeV")), np.log(energy.to_value("TeV"))
        lower = np.clip(np.searchsorted(x, at) - 1, 0, axis.nbin - 2)
        weight = (at - x[lower]) / (x[lower + 1] - x[lower])
        fill, bounds = self._options.get("fill_value", 0.0), axis.edges[[0, -1]]
        inside, positive = bool(interpolator.contained.all()), bool(np.min(self._map.data) >= 0)
        images: dict[int, _Layer] = {}
        for item, i, w in zip(energy, lower, weight, strict=True):
            if fill is not None and not bounds[0] <= item <= bounds[1]:
                yield u.Quantity(np.full(interpolator.contained.shape, fill), self.output_unit)
                continue
            # Only the two images that are needed are kept.
            images = {
                k: images[k]
                if k in images
                else _Layer.make(interpolator, self._map.data[k], self.values_scale)
                for k in (int(i), int(i) + 1)
            }
            values = images[int(i)].between(images[int(i) + 1], float(w))
            values = values if inside else np.where(interpolator.contained, values, 0.0)
            yield u.Quantity(np.maximum(values, 0.0, out=values) if positive else values, self.output_unit)

    def _kept(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Make zero of what is outside the map, and of what only a slope leads below zero."""
        values = np.nan_to_num(values, nan=0.0)
        return np.maximum(values, 0.0) if np.min(self._map.data) >= 0 else values

    def _directions(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> "SkyCoord":
        """Return directions on the map as it is in its file, before it was moved."""
        from astropy.coordinates import SkyCoord, SkyOffsetFrame

        lon, lat = np.broadcast_arrays(lon, lat)
        sky = SkyCoord(lon, lat, unit="deg", frame=self.frame)
        shift = np.subtract(self.position_lonlat, self._center())
        if np.hypot((shift[0] + 180) % 360 - 180, shift[1]) < _UNMOVED:
            return sky
        offset = sky.transform_to(SkyOffsetFrame(origin=self.position)).spherical
        origin = SkyOffsetFrame(offset.lon, offset.lat, origin=self.map_center)
        return SkyCoord(origin).transform_to(self.frame)

    def _power_law(self, sky: "SkyCoord", energy: u.Quantity) -> NDArray[np.float64]:
        """Interpolate linearly on the sky and between two energies as a power law, or linearly from zero."""
        axis = self._map.geom.axes["energy_true"]
        x, at = np.log(axis.center.to_value("TeV")), np.log(energy.to_value("TeV"))
        lower = np.clip(np.searchsorted(x, at) - 1, 0, axis.nbin - 2)
        weight = (at - x[lower]) / (x[lower + 1] - x[lower])
        first, second = (
            self._map.interp_by_coord({"skycoord": sky, "energy_true": axis.center[lower + step]})
            for step in (0, 1)
        )
        positive = (first > 0) & (second > 0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            power = np.where(positive, first, 1.0) ** (1 - weight) * np.where(positive, second, 1.0) ** weight
        line = first + np.clip(weight, 0, 1) * (second - first)
        return np.where(positive, power, line)

    # Files

    @classmethod
    def read(
        cls,
        filename: str | os.PathLike[str],
        normalize: bool = True,
        interp_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Read the map from a FITS file, such as a diffuse model of the Fermi tools.

        Parameters
        ----------
        filename : str or path-like
            File.
        normalize, interp_kwargs
            As for the class. Models of diffuse emission, in units of flux, are to be left as they are.
        **kwargs
            For `~villard.maps.Map.read`.
        """
        map = read_brightness(filename, normalize, **kwargs)
        return cls(map, normalize=normalize, interp_kwargs=interp_kwargs, filename=filename, copy_data=False)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML, with the name of the file of the map."""
        result = {
            **super().to_dict(full_output),
            "filename": self.filename,
            "normalize": self._normalize,
            "unit": str(self.output_unit),
        }
        return {**result, "interp_kwargs": dict(self._options)} if self._options else result

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        filename = file_name(data, cls.__name__)
        normalize = data.get("normalize", True)
        map = read_brightness(filename, normalize)
        unit = data.get("unit")
        if unit and not str(map.unit) and not normalize:
            map.unit = u.Unit(unit)
        return {
            **super()._init_arguments(data),
            "map": map,
            "filename": filename,
            "normalize": normalize,
            "interp_kwargs": data.get("interp_kwargs"),
            "copy_data": False,
        }


@dataclass(frozen=True)
class _Layer:
    """An image of the map at the directions that are asked for: logarithms, and values where needed."""

    log: NDArray[np.float64]
    values: NDArray[np.float64] | None

    @classmethod
    def make(cls, interpolator: Any, image: NDArray[Any], values_scale: str) -> "_Layer":
        if values_scale == "log":
            return cls(interpolator(np.log(np.maximum(image, np.finfo(float).tiny))), None)
        values = interpolator(image)
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log(values)
        return cls(log, values)

    def between(self, other: "_Layer", weight: float) -> NDArray[np.float64]:
        """Return values between two images: on a power law, or linear from zero."""
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            power = np.exp((1 - weight) * self.log + weight * other.log)
        if self.values is None or other.values is None:
            return power
        positive = (self.values > 0) & (other.values > 0)
        line = self.values + min(max(weight, 0.0), 1.0) * (other.values - self.values)
        return np.where(positive, power, line)


def _check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of interpolation that differ from the defaults."""
    if not isinstance(options, dict):
        raise ModelError(f"TemplateSpatialModel: expected interp_kwargs by name, found {options!r}")
    for key in options:
        if key not in _OPTIONS:
            raise ModelError(
                f"TemplateSpatialModel: no interpolation option {key!r}. {nearest(str(key), _OPTIONS)}"
            )
    if options.get("method", "linear") != "linear":
        raise ModelError(f"TemplateSpatialModel: method must be 'linear', found {options['method']!r}")
    scale, fill = options.get("values_scale"), options.get("fill_value", 0.0)
    if scale not in (None, "lin", "log"):
        raise ModelError(f"TemplateSpatialModel: values_scale must be 'lin' or 'log', found {scale!r}")
    if fill is not None and not isinstance(fill, int | float):
        raise ModelError(f"TemplateSpatialModel: fill_value must be a number or None, found {fill!r}")
    result: dict[str, Any] = {} if scale is None else {"values_scale": scale}
    if fill != 0:
        result["fill_value"] = fill
    return result


def _prepared(map: Map, normalize: bool, copy_data: bool, where: str) -> Map:
    """Return the map with an axis ``energy_true`` or none, in a unit per solid angle, and normalised."""
    if not isinstance(map, Map) or map.geom.is_region:
        raise ModelError(f"{where}: expected a map of the sky, found {type(map).__name__}")
    map = _with_energy_true(map, where)
    solid_angle = np.broadcast_to(map.geom.solid_angle().to_value("sr"), map.geom.data_shape)
    off_sky = ~np.isfinite(solid_angle)
    data = np.where(off_sky, 0.0, map.data) if np.any(off_sky) else map.data
    map = map.copy(data=np.array(data, dtype=float, copy=copy_data or None))
    check_finite(map, where)
    if map.unit == u.dimensionless_unscaled:
        map.unit = _SR
    if any(base.is_equivalent(u.rad) for base in (map.unit * u.sr).decompose().bases):
        raise UnitsError(f"{where}: expected a unit per solid angle, found {unit_text(map.unit)}")
    if not normalize:
        return map
    sky = tuple(range(map.data.ndim - len(map.geom.spatial_shape), map.data.ndim))
    total = np.sum(map.data * np.where(off_sky, 0.0, solid_angle), axis=sky, keepdims=True)
    if not np.all(total > 0):
        raise ModelError(
            f"{where}: can't be normalised, because its integral over the sky is {float(np.min(total)):g}"
            f"{' at some energy' if total.size > 1 else ''}"
        )
    return map.copy(data=map.data / total, unit=_SR)


def _with_energy_true(map: Map, where: str) -> Map:
    names = map.geom.axes.names
    if len(names) > 1 or (names and names[0] not in _AXES):
        raise ModelError(f"{where}: expected no axis, or one of energy, found {names}")
    if not names:
        return map
    if map.geom.axes[0].nbin == 1:
        return map.slice_by_idx({names[0]: 0})
    return map.rename_axes(names[0], "energy_true") if names[0] != "energy_true" else map

"""Plots of morphologies, and of the errors of their position and size."""

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.maps import Map, WcsGeom

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from villard.maps.regions import SkyRegion
    from villard.modeling.models.spatial.core import SpatialModel

__all__ = ["plot_error", "plot_grid", "plot_image", "plot_position_error"]

_WHICH = ("position", "extension", "all")
_N_PIXELS = 150


def plot_geom(model: "SpatialModel") -> WcsGeom:
    """Return a geometry that shows the whole morphology."""
    position, radius = model.position, model.evaluation_radius
    if position is None or radius is None:
        raise ModelError(f"{type(model).__name__} has no outline: give the plot a geometry (geom=…)")
    width = min(2.2 * float(u.Quantity(radius).to_value("deg")), 360.0) or 1.0
    return WcsGeom.create(
        skydir=position,
        frame=model.frame,
        npix=_N_PIXELS,
        binsz=width / _N_PIXELS,
        proj="TAN" if width < 90 else "AIT",
    )


def plot_image(
    model: "SpatialModel", ax: "Axes | None" = None, geom: WcsGeom | None = None, **kwargs: Any
) -> "Axes":
    """Plot the values at pixel centres; see `SpatialModel.plot`."""
    if model.is_energy_dependent:
        raise ModelError(f"{type(model).__name__} depends on energy: use plot_grid")
    geom = (plot_geom(model) if geom is None else geom).to_image()
    values = model.evaluate_geom(geom)
    image: Any = Map.from_geom(geom, data=values.value, unit=values.unit)
    return image.plot(ax=ax, **kwargs)


def plot_grid(model: "SpatialModel", geom: WcsGeom | None = None, **kwargs: Any) -> NDArray[Any]:
    """Plot the values at pixel centres for each energy; see `SpatialModel.plot_grid`."""
    if geom is None:
        template: Any = getattr(model, "map", None)
        if template is None:
            raise ModelError(f"{type(model).__name__}: give plot_grid a geometry with energies")
        geom = template.geom
    values = model.evaluate_geom(geom)
    cube: Any = Map.from_geom(geom, data=np.broadcast_to(values.value, geom.data_shape), unit=values.unit)
    return cube.plot_grid(**kwargs)


def _outline(region: "SkyRegion") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitudes and latitudes (deg) along an ellipse or a box, or both circles of an annulus."""
    from astropy.coordinates import SkyCoord

    t = np.linspace(0, 2 * np.pi, 121)
    unit_x, unit_y = np.cos(t), np.sin(t)
    axes = [region.sizes]
    if region.shape == "annulus":
        axes = [(radius, radius) for radius in region.sizes]
    if region.shape == "box":
        # Half the sides, along the square that goes through the same directions.
        longest = np.maximum(np.abs(unit_x), np.abs(unit_y))
        unit_x, unit_y = 0.5 * unit_x / longest, 0.5 * unit_y / longest
    lon, lat = [], []
    for width, height in axes:
        x, y = width * unit_x, height * unit_y
        angle = np.radians(region.angle)
        # The first axis points to smaller longitudes.
        west, north = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
        center = SkyCoord(region.lon, region.lat, unit="deg")
        points = center.directional_offset_by(np.arctan2(-west, north) * u.rad, np.hypot(west, north) * u.deg)
        lon += [points.ra.deg, [np.nan]]
        lat += [points.dec.deg, [np.nan]]
    return np.concatenate(lon), np.concatenate(lat)


def plot_region(region: "SkyRegion", ax: Any, **kwargs: Any) -> None:
    """Plot the outline of a region, a cross for a point, on axes with sky coordinates."""
    transform = ax.get_transform(region.frame)
    if region.shape == "point":
        ax.plot([region.lon], [region.lat], marker="x", ls="", transform=transform, **kwargs)
    else:
        ax.plot(*_outline(region), transform=transform, **kwargs)


def _sky_axes(model: "SpatialModel", ax: Any) -> Any:
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.gcf().add_subplot(projection=plot_geom(model).wcs)
    if not hasattr(ax, "coords"):
        raise ModelError("Plot: expected axes with sky coordinates, such as plt.subplot(projection=geom.wcs)")
    return ax


def plot_position_error(model: "SpatialModel", ax: "Axes | None" = None, **kwargs: Any) -> "Axes":
    """Plot the position and its 95 % ellipse; see `SpatialModel.plot_position_error`."""
    sky = _sky_axes(model, ax)
    transform = sky.get_transform(model.frame)
    options: dict[str, Any] = {"color": "tab:blue", "lw": 1} | kwargs
    sky.plot(*([value] for value in model.position_lonlat), marker="x", ls="", transform=transform, **options)
    sky.plot(*_outline(model.position_error), transform=transform, **options)
    return sky


def plot_error(
    model: "SpatialModel",
    ax: "Axes | None" = None,
    which: str = "position",
    size_factor: float = 1.0,
    kwargs_position: dict[str, Any] | None = None,
    kwargs_extension: dict[str, Any] | None = None,
) -> "Axes":
    """Plot the errors of position and size; see `SpatialModel.plot_error`."""
    if which not in _WHICH:
        raise ModelError(f"plot_error: which must be one of {', '.join(_WHICH)}, found {which!r}")
    sky = _sky_axes(model, ax)
    if which in ("position", "all"):
        plot_position_error(model, sky, **(kwargs_position or {}))
    if which in ("extension", "all"):
        _plot_extension(model, sky, size_factor, kwargs_extension or {})
    return sky


def _plot_extension(model: "SpatialModel", ax: Any, size_factor: float, kwargs: dict[str, Any]) -> None:
    """Draw the outline, and those for sizes that are one error smaller and larger."""
    options: dict[str, Any] = {"color": "tab:orange", "lw": 1} | kwargs
    transform = ax.get_transform(model.frame)
    ax.plot(*_outline(model.to_region(size_factor)), transform=transform, **options)
    name = next((n for n in ("sigma", "r_0", "radius") if n in model.parameters.names), None)
    if name is None or not model.parameters[name].error > 0:
        return
    size = model.parameters[name]
    for sign in (-1, 1):
        changed = model.copy()
        parameter = changed.parameters[name]
        parameter.min = parameter.max = float("nan")
        parameter.value = max(size.value + sign * size.error, 0.0)
        ax.plot(*_outline(changed.to_region(size_factor)), transform=transform, **(options | {"ls": "--"}))

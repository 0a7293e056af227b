"""Morphologies made of several components, as maps."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps import Map

__all__ = ["energy_map", "merged_template"]


def _geom(models: list[Any], frame: str, axes: Any = None) -> Any:
    """Return the geometry of a map that holds all components and resolves the smallest."""
    from astropy.coordinates import SkyCoord, SkyOffsetFrame

    from villard.maps import WcsGeom

    positions = SkyCoord([m.position.transform_to(frame) for m in models])
    center = _mean(positions)
    offsets = positions.transform_to(SkyOffsetFrame(origin=center)).spherical
    radii = u.Quantity([m.evaluation_radius for m in models]).to_value("deg")
    widths = [
        2 * max(np.max(np.abs(angle.wrap_at("180d").deg) + radii), 0.2)
        for angle in (offsets.lon, offsets.lat)
    ]
    sizes = [r / 5 for r in radii if r > 0]
    binsz = float(np.clip(min(sizes, default=0.05) / 5, 0.01, 0.1))
    return WcsGeom.create(skydir=center, width=tuple(widths), binsz=binsz, frame=frame, proj="TAN", axes=axes)


def _mean(positions: SkyCoord) -> SkyCoord:
    """Direction of the mean of unit vectors."""
    from astropy.coordinates import SkyCoord, UnitSphericalRepresentation

    mean = positions.cartesian.mean().represent_as(UnitSphericalRepresentation)
    return SkyCoord(positions.frame.realize_frame(mean))


def merged_template(models: list[Any], weights: Any, frame: str) -> Any:
    """Return the weighted sum of spatial models as a normalised `TemplateSpatialModel`.

    Parameters
    ----------
    models : list of `~villard.modeling.models.SpatialModel`
        Components.
    weights : array
        Their parts of the flux.
    frame : str
        Frame of the map.
    """
    from villard.maps import Map
    from villard.modeling.models import TemplateSpatialModel

    geom = _geom(models, frame)
    data = sum(float(weight) * _density(model, geom) for model, weight in zip(models, weights, strict=True))
    return TemplateSpatialModel(Map.from_geom(geom, data=np.asarray(data), unit="sr-1"), normalize=True)


def _density(model: Any, geom: Any) -> Any:
    """Mean density in pixels (sr-1), so that the integral is kept."""
    return model.integrate_geom(geom).quantity.to_value("") / geom.solid_angle().to_value("sr")


def energy_map(models: list[Any], spectra: list[Any], bounds: u.Quantity, frame: str) -> Map:
    """Return a cube of flux in which each component fills its own range of energy.

    Parameters
    ----------
    models, spectra : list
        Morphology and spectrum of each component, by rising energy.
    bounds : `~astropy.units.Quantity`
        Edges of the ranges, one more than components.
    frame : str
        Frame of the map.
    """
    from villard.maps import Map, MapAxis

    edges = bounds.to_value("TeV")
    nodes = [
        np.geomspace(low * (1 if i == 0 else 1.0001), high * 0.9999, max(2, int(8 * np.log10(high / low))))
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    axis = MapAxis.from_nodes(np.concatenate(nodes), unit="TeV", name="energy_true", interp="log")
    geom = _geom(models, frame)
    cube = [
        _density(model, geom) * spectrum(u.Quantity(part, "TeV")).to_value("cm-2 s-1 TeV-1")[:, None, None]
        for model, spectrum, part in zip(models, spectra, nodes, strict=True)
    ]
    return Map.from_geom(geom.to_cube([axis]), data=np.concatenate(cube), unit="cm-2 s-1 TeV-1 sr-1")

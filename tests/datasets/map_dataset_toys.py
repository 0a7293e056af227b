"""Small cubes for tests, made of analytic responses."""

from typing import Any

import astropy.units as u
import numpy as np

from villard.datasets import MapDataset, MapDatasetOnOff
from villard.irf import EDispKernelMap, PSFMap
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import (
    ConstantSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
AXIS_TRUE = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=5, name="energy_true")
SAME_TRUE = AXIS.copy(name="energy_true")
IMAGE = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.05, width=(3, 2))
GEOM = IMAGE.to_cube([AXIS])
RAD = MapAxis.from_bounds(0, 1, nbin=100, unit="deg", name="rad")
AREA_TIME = 1e14


def cube(values: Any = 0.0, geom: WcsGeom = GEOM, **kwargs: Any) -> WcsNDMap:
    return WcsNDMap(geom, data=np.broadcast_to(values, geom.data_shape).copy(), **kwargs)


def exposure(axis: MapAxis = SAME_TRUE, value: float = AREA_TIME, geom: WcsGeom = IMAGE) -> WcsNDMap:
    return cube(value, geom.to_cube([axis]), unit="cm2 s", meta={"livetime": 100 * u.s})


def psf(axis: MapAxis = SAME_TRUE, sigma: float = 0.1, geom: WcsGeom | None = None) -> PSFMap:
    return PSFMap.from_gauss(axis, RAD, sigma=sigma * u.deg, geom=geom)


def edisp(axis: MapAxis = AXIS_TRUE, sigma: float = 0.2, geom: WcsGeom | None = None) -> EDispKernelMap:
    return EDispKernelMap.from_gauss(AXIS, axis, sigma=sigma, geom=geom)


def dataset(**kwargs: Any) -> MapDataset:
    arguments: dict[str, Any] = {
        "counts": cube(1.0),
        "background": cube(np.array([0.6, 0.2, 0.1])[:, np.newaxis, np.newaxis]),
        "exposure": exposure(),
        "name": "toy",
    }
    return MapDataset(**(arguments | kwargs))


def onoff_dataset(**kwargs: Any) -> MapDatasetOnOff:
    arguments: dict[str, Any] = {
        "counts": cube(1.0),
        "counts_off": cube(np.array([4.0, 2.0, 0.0])[:, np.newaxis, np.newaxis]),
        "acceptance": 1,
        "acceptance_off": [5, 4, 4],
        "exposure": exposure(),
        "name": "toy",
    }
    return MapDatasetOnOff(**(arguments | kwargs))


def spectrum(index: float = 2.0, amplitude: float = 1e-12) -> PowerLawSpectralModel:
    return PowerLawSpectralModel(index=index, amplitude=amplitude * u.Unit("cm-2 s-1 TeV-1"))


def point(lon: float = 0.025, lat: float = 0.025, name: str = "point", **kwargs: Any) -> SkyModel:
    spatial = PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="galactic")
    return SkyModel(spectrum(**kwargs), spatial, name=name)


def gauss(sigma: float = 0.15, lon: float = 0.0, lat: float = 0.0, name: str = "gauss") -> SkyModel:
    spatial = GaussianSpatialModel(
        lon_0=lon * u.deg, lat_0=lat * u.deg, sigma=sigma * u.deg, frame="galactic"
    )
    return SkyModel(spectrum(), spatial, name=name)


def isotropic(amplitude: float = 1e-12) -> SkyModel:
    return SkyModel(spectrum(amplitude=amplitude), ConstantSpatialModel(), name="isotropic")


def flux(axis: MapAxis = AXIS, index: float = 2.0, amplitude: float = 1e-12) -> np.ndarray:
    """Integral of a power law with reference 1 TeV over the bins, in cm-2 s-1."""
    edges = axis.edges.to_value("TeV") ** (1 - index)
    return amplitude * (edges[:-1] - edges[1:]) / (index - 1)

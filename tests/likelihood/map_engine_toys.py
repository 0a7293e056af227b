"""Small simulated cubes and sources for tests of the engine on maps."""

from typing import Any

import astropy.units as u
import numpy as np

from villard.datasets import MapDataset, MapDatasetOnOff
from villard.irf import EDispKernelMap, PSFMap
from villard.likelihood import bind
from villard.maps import MapAxis, WcsGeom, WcsNDMap
from villard.modeling.models import (
    DiskSpatialModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    GeneralizedGaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    Shell2SpatialModel,
    ShellSpatialModel,
    SkyModel,
)

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
TRUE = MapAxis.from_energy_bounds("0.7 TeV", "14 TeV", nbin=4, name="energy_true")
SAME_TRUE = AXIS.copy(name="energy_true")
AREA_TIME = 3e14
BACKGROUND = np.array([0.8, 0.3, 0.1])[:, np.newaxis, np.newaxis]


def image(width: Any = (2.4, 2.0), binsz: float = 0.1, skydir: Any = (0, 0), proj: str = "CAR") -> WcsGeom:
    return WcsGeom.create(skydir=skydir, frame="galactic", binsz=binsz, width=width, proj=proj)


IMAGE = image()


def cube(values: Any, geom: WcsGeom, unit: str = "") -> WcsNDMap:
    return WcsNDMap(geom, data=np.broadcast_to(values, geom.data_shape).astype(float), unit=unit)


def dataset(
    models: Any = (),
    geom: WcsGeom = IMAGE,
    psf: float | None = 0.15,
    edisp: bool = True,
    stat_type: str = "cash",
    seed: int | None = 0,
    sloped: bool = True,
    name: str = "cube",
) -> MapDataset:
    """A dataset with the models, a background, and random counts of both (zeros without a seed)."""
    true = TRUE if edisp else SAME_TRUE
    counts_geom = geom.to_cube([AXIS])
    exposure = cube(AREA_TIME, geom.to_cube([true]), "cm2 s")
    if sloped:
        exposure.data *= (
            1 + 0.03 * np.arange(exposure.data.shape[2]) - 0.01 * np.arange(len(exposure.data))[:, None, None]
        )
    result = MapDataset(
        models=list(models),
        counts=cube(0.0, counts_geom),
        exposure=exposure,
        background=cube(BACKGROUND, counts_geom),
        psf=None if psf is None else PSFMap.from_gauss(true, sigma=psf * u.deg),
        edisp=EDispKernelMap.from_gauss(AXIS, TRUE, sigma=0.15) if edisp else None,
        name=name,
        stat_type=stat_type,
    )
    if seed is not None:
        result.counts.data = np.random.default_rng(seed).poisson(result.npred().data).astype(float)
    return result


def onoff(models: Any = (), seed: int = 0, **kwargs: Any) -> MapDatasetOnOff:
    """The same with counts of an off region instead of the background."""
    plain = dataset(models, seed=seed, **kwargs)
    result = MapDatasetOnOff.from_map_dataset(plain, acceptance=1, acceptance_off=5, name=plain.name)
    rng = np.random.default_rng(seed + 1)
    result.counts_off = cube(rng.poisson(5 * plain.background.data), plain.counts.geom)
    result.models = list(models)
    return result


def spectrum(index: float = 2.2, amplitude: float = 2e-12) -> PowerLawSpectralModel:
    return PowerLawSpectralModel(index=index, amplitude=amplitude * u.Unit("cm-2 s-1 TeV-1"))


_CENTER = {"lon_0": "0.13 deg", "lat_0": "-0.08 deg", "frame": "galactic"}
SHAPES: dict[str, Any] = {
    "point": lambda: PointSpatialModel(**_CENTER),
    "gauss": lambda: GaussianSpatialModel(sigma="0.25 deg", **_CENTER),
    "elongated": lambda: GaussianSpatialModel(sigma="0.3 deg", e=0.7, phi="35 deg", **_CENTER),
    "generalised": lambda: GeneralizedGaussianSpatialModel(
        r_0="0.2 deg", eta=0.8, e=0.4, phi="20 deg", **_CENTER
    ),
    "disk": lambda: DiskSpatialModel(r_0="0.35 deg", edge_width=0.3, e=0.5, phi="-30 deg", **_CENTER),
    "shell": lambda: ShellSpatialModel(radius="0.3 deg", width="0.1 deg", **_CENTER),
    "shell2": lambda: Shell2SpatialModel(r_0="0.4 deg", eta=0.3, **_CENTER),
}


def source(shape: str = "point", name: str | None = None, **values: Any) -> SkyModel:
    """A source with all parameters of its shape free, but the ellipticity of round ones.

    ``values`` (deg) are given to the shape.
    """
    spatial = SHAPES[shape]()
    for parameter in spatial.parameters:
        parameter.frozen = shape == "gauss" and parameter.name in ("e", "phi")
    for key, value in values.items():
        getattr(spatial, key).value = value
    return SkyModel(spectrum(), spatial, name=name or shape)


def background(name: str = "cube") -> FoVBackgroundModel:
    return FoVBackgroundModel(dataset_name=name)


def statistic(of: Any) -> float:
    """The compiled statistic of a dataset at its models' parameters."""
    return bind([of]).stat()

"""Small datasets for tests, made of analytic responses."""

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from villard.datasets import SpectrumDataset, SpectrumDatasetOnOff
from villard.irf import EDispKernel
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling.models import PowerLawSpectralModel, SkyModel

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
AXIS_TRUE = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=6, name="energy_true")
GEOM = RegionGeom(None, axes=[AXIS])
REGION = "icrs;circle(83.63, 22.01, 0.11)"


def as_map(values: Any, axis: MapAxis = AXIS, **kwargs: Any) -> RegionNDMap:
    return RegionNDMap(RegionGeom(None, axes=[axis]), data=np.reshape(values, (-1, 1, 1)), **kwargs)


def power_law(index: float = 2.0, amplitude: float = 1e-12, name: str = "source", **kwargs: Any) -> SkyModel:
    spectrum = PowerLawSpectralModel(index=index, amplitude=amplitude * u.Unit("cm-2 s-1 TeV-1"))
    return SkyModel(spectrum, name=name, **kwargs)


def exposure(livetime: float = 100.0, area: float = 1e9, axis: MapAxis = AXIS_TRUE) -> RegionNDMap:
    # The area rises with energy, so that wrong weights show up.
    values = area * livetime * axis.center.to_value("TeV") ** 0.5
    return as_map(values, axis, unit="cm2 s", meta={"livetime": livetime * u.s})


def edisp(sigma: float = 0.2) -> EDispKernel:
    return EDispKernel.from_gauss(AXIS_TRUE, AXIS, sigma=sigma)


def spectrum_dataset(**kwargs: Any) -> SpectrumDataset:
    arguments: dict[str, Any] = {
        "counts": as_map([5.0, 3, 2, 1]),
        "background": as_map([1.0, 0.5, 0.2, 0.1]),
        "exposure": exposure(),
        "edisp": edisp(),
        "name": "toy",
    }
    return SpectrumDataset(**(arguments | kwargs))


def onoff_dataset(
    counts: Any = (5, 3, 2, 1),
    counts_off: Any = (4, 10, 4, 2),
    acceptance: Any = 1,
    acceptance_off: Any = 5,
    mask_safe: Any = (True, True, True, True),
    livetime: float = 100.0,
    sigma: float = 0.2,
    **kwargs: Any,
) -> SpectrumDatasetOnOff:
    arguments: dict[str, Any] = {
        "counts": as_map(np.array(counts, float)),
        "counts_off": as_map(np.array(counts_off, float)),
        "acceptance": acceptance,
        "acceptance_off": acceptance_off,
        "mask_safe": as_map(np.array(mask_safe, bool)),
        "exposure": exposure(livetime),
        "edisp": edisp(sigma),
        "name": "toy",
    }
    return SpectrumDatasetOnOff(**(arguments | kwargs))


def write_toy(folder: Path, **kwargs: Any) -> Path:
    """Write an on/off dataset in four OGIP files; return the path of the PHA file."""
    path = folder / "pha_toy.fits"
    onoff_dataset(**kwargs).write(path)
    return path

r"""Make the demonstration data: ``python -m villard.data.make_demo``.

Two observations of 28 minutes with an imaginary array of Cherenkov telescopes, at two zenith angles, of a
source as bright as the Crab Nebula at the centre of the on region, with the background measured in off
regions. Responses are formulas, so that everything about these data is known; numbers were chosen to be like
those of a present-day array. Counts are drawn by `~villard.datasets.SpectrumDatasetOnOff.fake`.

Effective area, with the threshold E₀ and the collection area A₀ of the observation:

.. math:: A(E) = A_0 \, (E / \mathrm{TeV})^{0.1} / (1 + (E_0 / E)^4)

Energy resolution, relative and without bias:

.. math:: \sigma(E) = \sqrt{0.09^2 + 0.06^2 \, (E / \mathrm{TeV})^{-1}}

Background counts in the on region per time and reconstructed energy:

.. math:: b(E) = 5 \cdot 10^{-3} \, \mathrm{s^{-1} TeV^{-1}} \,
    (E / \mathrm{TeV})^{-2.8} / (1 + (E_0 / E)^4)
"""

from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.data.demo import demo_path
from villard.data.gti import GTI
from villard.datasets import Datasets, SpectrumDataset, SpectrumDatasetOnOff
from villard.irf import EDispKernel
from villard.maps import MapAxis, RegionGeom, RegionNDMap
from villard.modeling.models import LogParabolaSpectralModel, SkyModel

__all__ = ["make_demo", "true_model"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """What differs between the observations; threshold in TeV, area in cm²."""

    name: str
    seed: int
    threshold: float
    area: float
    n_off_regions: int
    start: u.Quantity
    livetime: u.Quantity = 1680 * u.s


OBSERVATIONS = [
    Observation("1", 1, threshold=0.35, area=1.0e9, n_off_regions=8, start=0 * u.s),
    Observation("2", 2, threshold=0.55, area=1.4e9, n_off_regions=6, start=1800 * u.s),
]


def true_model() -> SkyModel:
    """Return the model that the counts were drawn from."""
    spectrum = LogParabolaSpectralModel(
        amplitude="3.8e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2.4, beta=0.15
    )
    return SkyModel(spectral_model=spectrum, name="crab")


def effective_area(energy: Array, observation: Observation) -> Array:
    """Return the effective area (cm²) at true energies (TeV)."""
    return observation.area * energy**0.1 / (1 + (observation.threshold / energy) ** 4)


def energy_resolution(energy: Array) -> Array:
    """Return the relative resolution at true energies (TeV)."""
    return np.sqrt(0.09**2 + 0.06**2 / energy)


def background_rate(energy: Array, observation: Observation) -> Array:
    """Return background counts in the on region (s⁻¹ TeV⁻¹) at reconstructed energies (TeV)."""
    return 5e-3 * energy**-2.8 / (1 + (observation.threshold / energy) ** 4)


def make_dataset(observation: Observation) -> SpectrumDatasetOnOff:
    """Simulate one observation."""
    energy = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=36)
    energy_true = MapAxis.from_energy_bounds("0.05 TeV", "200 TeV", nbin=54, name="energy_true")
    geom = RegionGeom.create("icrs;circle(83.63, 22.01, 0.11)", axes=[energy])
    center = energy_true.center.to_value("TeV")
    livetime = observation.livetime.to_value("s")

    geom_true = RegionGeom.create(geom.region, axes=[energy_true])
    exposure = (effective_area(center, observation) * livetime).reshape(geom_true.data_shape)
    background = background_rate(energy.center.to_value("TeV"), observation)
    background *= energy.bin_width.to_value("TeV") * livetime
    expected = SpectrumDataset(
        name=observation.name,
        counts=RegionNDMap(geom),
        background=RegionNDMap(geom, data=background.reshape(geom.data_shape)),
        exposure=RegionNDMap(geom_true, data=exposure, unit="cm2 s", meta={"livetime": observation.livetime}),
        edisp=EDispKernel.from_gauss(energy_true, energy, energy_resolution(center)),
        mask_safe=geom.energy_mask(energy_min=observation.threshold * u.TeV),
        gti=GTI.create(observation.start, observation.start + observation.livetime, "2026-01-15T21:00:00"),
        models=[true_model()],
    )
    dataset = SpectrumDatasetOnOff.from_spectrum_dataset(
        expected, acceptance=1, acceptance_off=observation.n_off_regions
    )
    dataset.fake(expected.background, random_state=observation.seed)
    dataset.models = None
    return dataset


def make_demo(folder: Path) -> Datasets:
    """Simulate the observations and write them to a folder, replacing what is there."""
    datasets = Datasets([make_dataset(observation) for observation in OBSERVATIONS])
    datasets.write(folder / "datasets.yaml", overwrite=True)
    return datasets


if __name__ == "__main__":
    print(make_demo(demo_path()).info_table())

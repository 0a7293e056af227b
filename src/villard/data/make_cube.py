r"""Simulated cubes of counts for examples, benchmarks and tests; everything about them is a formula.

An imaginary array of Cherenkov telescopes looks at one field. Effective area and energy resolution are those
of `villard.data.make_demo`, with the effective area falling off with the distance d from the centre; the PSF
is a Gaussian whose width shrinks with energy; the background is that of `villard.data.make_demo` in its on
region of 0.11 deg, per solid angle.

.. math:: A(E, d) = A(E) \, \exp(-d^2 / 2 (2.5°)^2)

.. math:: \sigma_\mathrm{PSF}(E) = 0.04° + 0.03° \, (E / \mathrm{TeV})^{-1/2}
"""

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from villard.data.gti import GTI
from villard.data.make_demo import OBSERVATIONS, background_rate, effective_area, energy_resolution
from villard.datasets import MapDataset
from villard.irf import EDispKernelMap, PSFMap
from villard.maps import MapAxis, WcsGeom, WcsNDMap

__all__ = ["make_cube", "make_empty_cube"]

_FALL_OFF = 2.5  # deg
_ON_REGION = 0.11  # deg


def make_empty_cube(
    name: str = "cube",
    width: float | tuple[float, float] = 4.0,
    binsz: float = 0.05,
    n_energies: int = 8,
    livetime: u.Quantity = 5 * u.h,
    center: SkyCoord | None = None,
    fall_off: float = _FALL_OFF,
) -> MapDataset:
    """Return a dataset with responses and background, and without counts.

    Parameters
    ----------
    name : str
        Name.
    width, binsz : float
        Size of the image and of its pixels (deg).
    n_energies : int
        Bins of energy between 0.5 and 50 TeV; true energies have as many per decade.
    livetime : `~astropy.units.Quantity`
        Livetime.
    center : `~astropy.coordinates.SkyCoord`, optional
        Centre; the origin of Galactic coordinates by default.
    fall_off : float
        Width (deg) of the Gaussian with which area and background fall off; infinite for none.

    Returns
    -------
    `~villard.datasets.MapDataset`
        Dataset.
    """
    center = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic") if center is None else center
    energy = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=n_energies)
    per_decade = n_energies / 2
    n_true = int(np.ceil(per_decade * np.log10(80 / 0.3)))
    energy_true = MapAxis.from_energy_bounds("0.3 TeV", "80 TeV", nbin=n_true, name="energy_true")
    geom = WcsGeom.create(
        skydir=center, frame="galactic", proj="TAN", binsz=binsz, width=width, axes=[energy]
    )
    true = energy_true.center.to_value("TeV")
    sigma = (0.04 + 0.03 / np.sqrt(true)) * u.deg
    on_region = np.pi * np.deg2rad(_ON_REGION) ** 2
    rate = background_rate(energy.center.to_value("TeV"), OBSERVATIONS[0]) / on_region
    counts = rate * energy.bin_width.to_value("TeV") * livetime.to_value("s")
    background = counts[:, None, None] * geom.to_image().solid_angle().to_value("sr")
    background *= _fall_off(geom, center, fall_off)
    exposure = _exposure(geom, energy_true, center, livetime, fall_off)
    start = 0 * u.s
    return MapDataset(
        name=name,
        counts=WcsNDMap(geom),
        exposure=exposure,
        background=WcsNDMap(geom, data=background),
        psf=PSFMap.from_gauss(energy_true, sigma=sigma),
        edisp=EDispKernelMap.from_gauss(energy, energy_true, energy_resolution(true)),
        gti=GTI.create(start, start + livetime, "2026-01-15T21:00:00"),
    )


def _fall_off(geom: Any, center: SkyCoord, width: float) -> Any:
    distance = geom.to_image().get_coord().skycoord.separation(center).to_value("deg")
    return np.exp(-0.5 * (distance / width) ** 2)


def _exposure(
    geom: Any, energy_true: MapAxis, center: SkyCoord, livetime: u.Quantity, fall_off: float
) -> WcsNDMap:
    """Exposure in coarser pixels, reaching beyond the counts as far as sources may lie."""
    width = u.Quantity(geom.width).to_value("deg").reshape(2) + 1
    cube = WcsGeom.create(
        skydir=center, frame="galactic", proj="TAN", binsz=0.2, width=tuple(width), axes=[energy_true]
    )
    area = effective_area(energy_true.center.to_value("TeV"), OBSERVATIONS[0])
    data = area[:, None, None] * livetime.to_value("s") * _fall_off(cube, center, fall_off)
    return WcsNDMap(cube, data=data, unit="cm2 s", meta={"livetime": livetime})


def make_cube(models: Any, random_state: Any = 0, **kwargs: Any) -> MapDataset:
    """Simulate a cube of counts.

    Parameters
    ----------
    models : model, list of models or `~villard.modeling.models.Models`
        Truth. The dataset comes without models.
    random_state : int or generator
        Seed of the counts.
    **kwargs
        For `make_empty_cube`.

    Returns
    -------
    `~villard.datasets.MapDataset`
        Dataset with random counts.
    """
    dataset = make_empty_cube(**kwargs)
    dataset.models = models
    dataset.fake(random_state=random_state)
    dataset.models = None
    return dataset

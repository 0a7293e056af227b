r"""Analytic responses of an instrument like the southern array of the CTAO, as tables.

The formulas are ours: smooth functions with few constants, chosen such that they follow the published
responses of the southern array ("Prod5", zenith distance 20 deg,
https://doi.org/10.5281/zenodo.5499840) within a factor of 1.8, the background of 2, from 0.08 to 80 TeV and
out to 2.5 deg. They
are for demonstrations and tests, which need no files then, and not for science.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.maps.axis import MapAxis

if TYPE_CHECKING:
    from villard.irf.background import Background3D
    from villard.irf.effective_area import EffectiveAreaTable2D
    from villard.irf.energy_dispersion import EnergyDispersion2D
    from villard.irf.psf_parametric import EnergyDependentMultiGaussPSF

__all__ = [
    "analytic_background",
    "analytic_effective_area",
    "analytic_energy_resolution",
    "analytic_psf_width",
    "make_analytic_irfs",
]

Array = NDArray[np.float64]

#: Energy (TeV) below which hardly any shower triggers, and the power with which the area falls there.
_THRESHOLD, _THRESHOLD_POWER = 0.055, 5.0
_OFFSET_MAX = 6.0


def _acceptance(energy: ArrayLike, offset: ArrayLike) -> Array:
    """Return the loss of events at an offset (deg), 1 on axis: half at 3.6 deg (E / TeV)^0.07."""
    half = 3.6 * np.asarray(energy) ** 0.07
    return np.asarray(1 / (1 + (np.asarray(offset) / half) ** 7))


def _trigger(energy: ArrayLike) -> Array:
    return np.asarray(1 / (1 + (_THRESHOLD / np.asarray(energy)) ** _THRESHOLD_POWER))


def analytic_effective_area(energy_true: ArrayLike, offset: ArrayLike) -> Array:
    r"""Return the effective area (m²).

    .. math:: A = 3.2\cdot 10^6 \,\frac{x}{1 + x}\,
        \frac{1}{1 + (0.055\,\mathrm{TeV} / E)^5}\,\frac{1}{1 + (\theta / \theta_h)^7}, \quad
        x = E / 2.5\,\mathrm{TeV}, \quad \theta_h = 3.6^\circ (E / \mathrm{TeV})^{0.07}

    Parameters
    ----------
    energy_true, offset : array-like
        True energies (TeV) and offsets (deg), which broadcast.
    """
    x = np.asarray(energy_true, dtype=float) / 2.5
    return np.asarray(3.2e6 * x / (1 + x) * _trigger(energy_true) * _acceptance(energy_true, offset))


def analytic_energy_resolution(energy_true: ArrayLike) -> tuple[Array, Array]:
    r"""Return the width and the mean less 1 of the Gaussian distribution of E / E_true.

    .. math:: \sigma^2 = 0.07^2 + (0.06\,(E / \mathrm{TeV})^{-0.45})^2, \quad
        b = 0.35\,(0.04\,\mathrm{TeV} / E)^{2.6}

    but at most 0.5.

    Parameters
    ----------
    energy_true : array-like
        True energies (TeV).
    """
    energy = np.asarray(energy_true, dtype=float)
    return np.hypot(0.07, 0.06 * energy**-0.45), np.minimum(0.35 * (0.04 / energy) ** 2.6, 0.5)


def analytic_psf_width(energy_true: ArrayLike, offset: ArrayLike) -> Array:
    r"""Return the width (deg) of the core of the point spread function.

    .. math:: \sigma = (0.026\,(E / \mathrm{TeV})^{-0.5} + 0.013)\,(1 + 0.02\,\theta^2)

    Parameters
    ----------
    energy_true, offset : array-like
        True energies (TeV) and offsets θ (deg), which broadcast.
    """
    energy, theta = np.asarray(energy_true, dtype=float), np.asarray(offset, dtype=float)
    return np.asarray((0.026 * energy**-0.5 + 0.013) * (1 + 0.02 * theta**2))


def analytic_background(energy: ArrayLike, offset: ArrayLike) -> Array:
    r"""Return the rate of residual cosmic rays (s⁻¹ TeV⁻¹ sr⁻¹) at reconstructed energies.

    .. math:: R = \left[125\,(E / \mathrm{TeV})^{-2.6} + 0.8\,(E / \mathrm{TeV})^{-1}\right]
        \frac{1}{1 + (0.055\,\mathrm{TeV} / E)^5}\,\frac{1}{1 + (\theta / \theta_h)^7}

    Parameters
    ----------
    energy, offset : array-like
        Reconstructed energies (TeV) and offsets (deg), which broadcast.
    """
    value = np.asarray(energy, dtype=float)
    rate = 125 * value**-2.6 + 0.8 / value
    return np.asarray(rate * _trigger(value) * _acceptance(value, offset))


def make_analytic_irfs(
    energy_min: u.Quantity = 0.02 * u.TeV,
    energy_max: u.Quantity = 200 * u.TeV,
    nbin_per_decade: int = 10,
) -> dict[str, EffectiveAreaTable2D | EnergyDispersion2D | EnergyDependentMultiGaussPSF | Background3D]:
    """Return the responses of an instrument like the southern array of the CTAO.

    The tables have the values of the functions of this module at their nodes, for offsets up to 6 deg.

    Parameters
    ----------
    energy_min, energy_max : `~astropy.units.Quantity`
        Range of true and of reconstructed energies.
    nbin_per_decade : int
        Number of energies per decade.

    Returns
    -------
    dict
        "aeff", "edisp", "psf" and "bkg", as `load_irf_dict_from_file` gives them.

    Raises
    ------
    DataError
        If there is no energy in the range, or fewer than one per decade.

    Examples
    --------
    >>> irfs = make_analytic_irfs()
    >>> area = irfs["aeff"].evaluate(energy_true=1 * u.TeV, offset=0 * u.deg)
    >>> print(f"{area.to('km2'):.2f}")
    0.92 km2
    """
    low, high = u.Quantity(energy_min), u.Quantity(energy_max)
    if not (0 * u.TeV < low < high) or nbin_per_decade < 1:
        raise DataError(
            f"Analytic responses: expected energy_min below energy_max and one or more energies per decade, "
            f"found {low}, {high} and {nbin_per_decade}"
        )
    true = MapAxis.from_energy_bounds(low, high, nbin_per_decade, per_decade=True, name="energy_true")
    energy = MapAxis.from_energy_bounds(low, high, nbin_per_decade, per_decade=True, name="energy")
    offset = MapAxis.from_nodes(np.arange(0, _OFFSET_MAX + 0.1, 0.5) * u.deg, name="offset")
    return {
        "aeff": _aeff(true, offset),
        "edisp": _edisp(true, offset),
        "psf": _psf(true, offset),
        "bkg": _bkg(energy),
    }


def _aeff(true: MapAxis, offset: MapAxis) -> EffectiveAreaTable2D:
    from villard.irf.effective_area import EffectiveAreaTable2D

    area = analytic_effective_area(true.center_engine[:, np.newaxis], offset.center.to_value("deg"))
    return EffectiveAreaTable2D([true, offset], area, "m2")


def _edisp(true: MapAxis, offset: MapAxis) -> EnergyDispersion2D:
    from villard.irf.energy_dispersion import EnergyDispersion2D

    migra = MapAxis.from_bounds(0, 3, nbin=150, name="migra")
    sigma, bias = analytic_energy_resolution(true.center_engine)
    return EnergyDispersion2D.from_gauss(true, migra, offset, sigma=sigma, bias=bias)


def _psf(true: MapAxis, offset: MapAxis) -> EnergyDependentMultiGaussPSF:
    """One Gaussian, and a wider one with 17 % of the events."""
    from villard.irf.psf_parametric import EnergyDependentMultiGaussPSF

    sigma = analytic_psf_width(true.center_engine[:, np.newaxis], offset.center.to_value("deg")) * u.deg
    none = np.zeros(sigma.shape)
    data = {"sigma_1": sigma, "sigma_2": 2 * sigma, "sigma_3": none * u.deg}
    return EnergyDependentMultiGaussPSF([true, offset], data | {"ampl_2": none + 0.05, "ampl_3": none})


def _bkg(energy: MapAxis) -> Background3D:
    from villard.irf.background import Background3D

    lon, lat = (
        MapAxis.from_bounds(-_OFFSET_MAX, _OFFSET_MAX, nbin=40, name=name, unit="deg")
        for name in ("fov_lon", "fov_lat")
    )
    theta = np.hypot(lon.center.value[:, np.newaxis], lat.center.value)
    rate = analytic_background(energy.center_engine[:, np.newaxis, np.newaxis], theta)
    return Background3D([energy, lon, lat], rate, "s-1 TeV-1 sr-1", meta={"FOVALIGN": "RADEC"})

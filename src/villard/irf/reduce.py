"""Tables of responses reduced to maps, for one pointing.

Each pixel gets the response at its offset from the pointing. Geometries of a region get that at the
region's centre.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.irf.edisp_kernel_map import EDispKernelMap
from villard.irf.edisp_map import EDispMap
from villard.irf.fov import background_rate
from villard.irf.psf_map import PSFMap
from villard.irf.table import is_on_axis
from villard.maps.axis import MapAxis
from villard.maps.core import Map
from villard.maps.geom import Geom
from villard.maps.wcs_geom import WcsGeom

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.irf.background import Background2D, Background3D
    from villard.irf.effective_area import EffectiveAreaTable2D
    from villard.irf.energy_dispersion import EnergyDispersion2D
    from villard.irf.psf_3d import PSF3D
    from villard.irf.psf_parametric import ParametricPSF

__all__ = [
    "make_edisp_kernel_map",
    "make_edisp_map",
    "make_map_background_irf",
    "make_map_exposure_true_energy",
    "make_psf_map",
]

Array = NDArray[np.float64]


def _offsets(geom: Geom, pointing: SkyCoord) -> u.Quantity:
    """Return the angle between each pixel and the pointing, in the shape of the sky."""
    if isinstance(geom, WcsGeom):
        return geom.separation(pointing)
    center = geom.center_skydir
    if center is None:
        raise DataError("Offset from the pointing: the geometry has no region")
    return center.separation(pointing.transform_to(center.frame)).to("deg").reshape(geom.spatial_shape)


def _axis(geom: Geom, name: str, what: str) -> MapAxis:
    if name not in geom.axes.names:
        raise DataError(f"{what}: expected a geometry with the axis {name!r}, found {geom.axes.names}")
    return geom.axes[name]


def _check_energies(irf: Any, true: MapAxis, exposure: Map | None) -> None:
    """Raise if a table doesn't cover an energy at which there is exposure."""
    axis: MapAxis = irf.axes["energy_true"]
    covered = is_on_axis(axis, true.center.to_value(axis.unit))
    needed = np.ones(true.nbin, dtype=bool)
    if exposure is not None:
        needed = np.any(exposure.data > 0, axis=tuple(range(1, exposure.data.ndim)))
    missing = needed & ~covered
    if np.any(missing):
        lower, upper = axis.bounds
        raise DataError(
            f"{type(irf).__name__}: it covers energies from {lower:.4g} to {upper:.4g}, "
            f"but was asked for {true.center[missing][0]:.4g}"
        )


def make_map_exposure_true_energy(
    pointing: SkyCoord, livetime: u.Quantity, aeff: EffectiveAreaTable2D, geom: Geom
) -> Map:
    """Return the exposure, effective area times livetime.

    It is zero beyond the energies and offsets of the table.

    Parameters
    ----------
    pointing : `~astropy.coordinates.SkyCoord`
        Pointing.
    livetime : `~astropy.units.Quantity`
        Livetime.
    aeff : `EffectiveAreaTable2D`
        Effective area.
    geom : `~villard.maps.Geom`
        Geometry with the axis "energy_true".

    Returns
    -------
    `~villard.maps.Map`
        Exposure (m2 s).
    """
    axis = _axis(geom, "energy_true", "Exposure")
    geom = geom.to_image().to_cube([axis])
    energy = axis.center[:, np.newaxis, np.newaxis]
    area = aeff.evaluate(energy_true=energy, offset=_offsets(geom, pointing))
    exposure = (area * u.Quantity(livetime)).to("m2 s")
    return Map.from_geom(geom, data=np.broadcast_to(exposure.value, geom.data_shape).copy(), unit="m2 s")


def make_psf_map(
    psf: PSF3D | ParametricPSF, pointing: SkyCoord, geom: Geom, exposure_map: Map | None = None
) -> PSFMap:
    """Return the point spread function of each pixel.

    Parameters
    ----------
    psf : `PSF3D`, `EnergyDependentMultiGaussPSF` or `PSFKing`
        Point spread function.
    pointing : `~astropy.coordinates.SkyCoord`
        Pointing.
    geom : `~villard.maps.Geom`
        Geometry with the axes "rad" and "energy_true".
    exposure_map : `~villard.maps.Map`, optional
        Exposure in the same pixels.

    Returns
    -------
    `PSFMap`
        Point spread functions; zero beyond the offsets of the table.

    Raises
    ------
    DataError
        If the table doesn't cover an energy, at which there is exposure (or may be, if it isn't given).
    """
    rad, true = (_axis(geom, name, "PSF map") for name in ("rad", "energy_true"))
    geom = geom.to_image().to_cube([rad, true])
    _check_energies(psf, true, exposure_map)
    values = psf.to_psf3d(rad).evaluate(
        energy_true=true.center[:, np.newaxis, np.newaxis, np.newaxis],
        offset=_offsets(geom, pointing),
        rad=rad.center[:, np.newaxis, np.newaxis],
    )
    return PSFMap(Map.from_geom(geom, data=values.to_value("sr-1"), unit="sr-1"), exposure_map)


def make_edisp_map(
    edisp: EnergyDispersion2D, pointing: SkyCoord, geom: Geom, exposure_map: Map | None = None
) -> EDispMap:
    """Return the energy dispersion of each pixel as densities of migra.

    Parameters
    ----------
    edisp : `EnergyDispersion2D`
        Energy dispersion.
    pointing, exposure_map
        As for `make_psf_map`.
    geom : `~villard.maps.Geom`
        Geometry with the axes "migra" and "energy_true".

    Raises
    ------
    DataError
        If the table doesn't cover an energy; see `make_psf_map`.
    """
    migra, true = (_axis(geom, name, "Energy dispersion map") for name in ("migra", "energy_true"))
    _check_energies(edisp, true, exposure_map)
    geom = geom.to_image().to_cube([migra, true])
    offset = _offsets(geom, pointing)
    values = edisp.evaluate_grid(true.center, migra.center, offset.ravel())
    values = values.reshape(*values.shape[:2], *offset.shape)
    return EDispMap(Map.from_geom(geom, data=values), exposure_map)


def make_edisp_kernel_map(
    edisp: EnergyDispersion2D, pointing: SkyCoord, geom: Geom, exposure_map: Map | None = None
) -> EDispKernelMap:
    """Return the energy dispersion of each pixel as matrices.

    Parameters
    ----------
    edisp : `EnergyDispersion2D`
        Energy dispersion; its own axis of migra is used.
    pointing, exposure_map
        As for `make_psf_map`.
    geom : `~villard.maps.Geom`
        Geometry with the axes "energy" and "energy_true".
    """
    energy, true = (_axis(geom, name, "Energy dispersion map") for name in ("energy", "energy_true"))
    migra_geom = geom.to_image().to_cube([edisp.axes["migra"], true])
    return make_edisp_map(edisp, pointing, migra_geom, exposure_map).to_edisp_kernel_map(energy)


def make_map_background_irf(
    pointing: SkyCoord,
    ontime: u.Quantity,
    bkg: Background2D | Background3D,
    geom: Geom,
    frames: Any = None,
) -> Map:
    """Return the counts of background that a table of rates predicts.

    Over energy rates are integrated exactly as they are interpolated, as power laws between the points of
    the table; over pixels as constants.

    Parameters
    ----------
    pointing : `~astropy.coordinates.SkyCoord`
        Pointing.
    ontime : `~astropy.units.Quantity`
        Time of observation; rates include what the dead time takes away.
    bkg : `Background2D` or `Background3D`
        Rates.
    geom : `~villard.maps.Geom`
        Geometry with the axis "energy". A region gets the rate at its centre, times its solid angle.
    frames : list of `~astropy.coordinates.AltAz`, optional
        Frames over which rates are averaged if the coordinates of the field of view are those of the
        altazimuth system; see `~villard.irf.fov.observation_frames`.

    Raises
    ------
    DataError
        If the alignment of the field of view is unknown, or frames are needed.
    """
    axis = _axis(geom, "energy", "Background")
    geom = geom.to_image().to_cube([axis])
    edges, energy = axis.edges.to_value("TeV"), _energy_points(axis, bkg.axes["energy"])
    points = energy[:, np.newaxis, np.newaxis] * u.TeV
    rate = background_rate(bkg, pointing, points, _directions(geom), frames)
    parts = _power_law_integrals(energy, rate)
    counts = np.add.reduceat(parts, np.searchsorted(energy, edges[:-1]), axis=0)
    counts *= np.nan_to_num(geom.solid_angle().to_value("sr")) * u.Quantity(ontime).to_value("s")
    return Map.from_geom(geom, data=counts)


def _energy_points(axis: MapAxis, table_axis: MapAxis) -> Array:
    """Return edges of bins and, between them, the energies at which the slope of a table changes (TeV)."""
    edges = axis.edges.to_value("TeV")
    # A table is zero from its last edges on.
    first, last = table_axis.bounds.to_value("TeV")
    kinks = [*table_axis.center.to_value("TeV"), first, first * (1 - 1e-5), last, last * (1 + 1e-5)]
    inner = [value for value in kinks if edges[0] < value < edges[-1]]
    return np.union1d(edges, inner)


def _directions(geom: Geom) -> SkyCoord:
    if isinstance(geom, WcsGeom):
        return geom.skydirs()
    center = geom.center_skydir
    if center is None:
        raise DataError("Background: the geometry has no region")
    return center.reshape(geom.spatial_shape)


def _power_law_integrals(energy: Array, values: Array) -> Array:
    """Integrate along the first dimension, with power laws between points; linear where a value is zero."""
    e1, e2 = (item.reshape(-1, 1, 1) for item in (energy[:-1], energy[1:]))
    f1, f2 = values[:-1], values[1:]
    good = (f1 > 0) & (f2 > 0)
    ratio = np.where(good, f2, 1.0) / np.where(good, f1, 1.0)
    # With x = ln E, f E = exp(linear in x).
    x = np.log(ratio) + np.log(e2 / e1)
    small = np.abs(x) < 1e-6
    mean = np.where(small, 1 + x / 2, np.expm1(x) / np.where(small, 1.0, x))
    return np.where(good, f1 * e1 * mean * np.log(e2 / e1), 0.5 * (f1 + f2) * (e2 - e1))

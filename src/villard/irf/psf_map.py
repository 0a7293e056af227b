"""Point spread functions for each pixel of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.irf.irf_map import IRFMap
from villard.irf.psf_table import GaussShape, RadialTable
from villard.maps.axis import RTOL, MapAxis, value_in
from villard.maps.core import Map

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.maps.geom import Geom

__all__ = ["PSFMap"]

Array = NDArray[np.float64]


class PSFMap(IRFMap):
    """Point spread function as a table of angle to the source, for each true energy and pixel.

    Parameters
    ----------
    psf_map : `~villard.maps.Map`
        Probability per solid angle (a unit like sr-1) with the axes "rad" and "energy_true", data of the
        shape (n_energy_true, n_rad, n_lat, n_lon).
    exposure_map : `~villard.maps.Map`, optional
        Exposure, with the same axes ("rad" with one bin) or the axis "energy_true" alone.

    Raises
    ------
    DataError
        If axes or pixels don't fit, or a value is negative, infinite or NaN.
    UnitsError
        If units don't fit.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    >>> psf = PSFMap.from_gauss(axis, sigma=[0.1, 0.05] * u.deg)
    >>> psf.containment_radius(0.68, [1.5, 7] * u.TeV).round(4)
    <Quantity [0.151 , 0.0755] deg>
    """

    tag = "psf_map"
    required_axes = ("rad", "energy_true")
    _hdu = "PSF"
    _unit = "sr-1"
    _axis_units = {"rad": "deg", "energy_true": "TeV"}

    def __init__(self, psf_map: Map, exposure_map: Map | None = None) -> None:
        super().__init__(psf_map, exposure_map)
        rad = psf_map.geom.axes["rad"]
        if rad.center[0].value < 0:
            raise DataError(f"PSFMap: expected angles 'rad' from 0 on, found a first one of {rad.center[0]}")

    # Making maps

    @classmethod
    def from_gauss(
        cls,
        energy_axis_true: MapAxis,
        rad_axis: MapAxis | None = None,
        sigma: u.Quantity = 0.1 * u.deg,
        geom: Geom | None = None,
    ) -> PSFMap:
        """Make a map of Gaussian point spread functions.

        Parameters
        ----------
        energy_axis_true : `~villard.maps.MapAxis`
            True energies.
        rad_axis : `~villard.maps.MapAxis`, optional
            Angles; by default in steps of a quarter of the smallest sigma (but at most 1000) up to six
            times the largest one.
        sigma : `~astropy.units.Quantity`
            Width, the same or one per energy.
        geom : `~villard.maps.Geom`, optional
            Pixels; one response for all positions by default.
        """
        from villard.irf.psf_make import psf_map_from_shapes

        values = np.broadcast_to(value_in(sigma, u.rad, "PSFMap, sigma"), (energy_axis_true.nbin,))
        if not np.all((values > 0) & np.isfinite(values)):
            raise DataError(f"PSFMap: expected a positive sigma, found {sigma}")
        shapes = [GaussShape(value) for value in values]
        reach = 6 * float(values.max())
        return psf_map_from_shapes(
            shapes, energy_axis_true, rad_axis, step=float(values.min()) / 4, reach=reach, geom=geom
        )

    @classmethod
    def from_geom(cls, geom: Geom) -> PSFMap:
        """Make a map of zeros, with an exposure of zero.

        Parameters
        ----------
        geom : `~villard.maps.Geom`
            Geometry with the axes "rad" and "energy_true".
        """
        return cls(Map.from_geom(geom, unit="sr-1"), Map.from_geom(geom.squash("rad"), unit="m2 s"))

    # Content

    @property
    def psf_map(self) -> Map:
        """Probability per solid angle."""
        return self._irf_map

    @property
    def rad_axis(self) -> MapAxis:
        """Angles to the source."""
        return self._irf_map.geom.axes["rad"]

    def _shapes(self, position: SkyCoord | None, energy_true: u.Quantity | None) -> tuple[Array, Array]:
        """Return angles (rad) and values (sr-1) with the integral 1, or 0 where there are none."""
        theta = self.rad_axis.center.to_value("rad")
        values = self._at(position) * float(self._irf_map.unit.to("sr-1"))
        values = np.array([row / (self._table(theta, row).integral or 1.0) for row in values])
        if energy_true is None:
            return theta, values
        lower, upper, fraction = self._energy_neighbours(energy_true)
        mixed = values[lower] * (1 - fraction)[:, np.newaxis] + values[upper] * fraction[:, np.newaxis]
        # Beside an energy without a shape that of the other one remains, of which the sum is less than 1.
        total = [self._table(theta, row).integral or 1.0 for row in mixed]
        return theta, mixed / np.array(total)[:, np.newaxis]

    def _table(self, theta: Array, values: Array) -> RadialTable:
        return RadialTable(theta, values, theta_max=float(self.rad_axis.edges[-1].to_value("rad")))

    def _energy_neighbours(self, energy_true: u.Quantity) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
        axis = self.energy_axis_true
        energy = np.ravel(value_in(energy_true, axis.unit, "PSFMap, energy_true"))
        first, last = axis.edges[[0, -1]].value
        outside = ~((energy >= first * (1 - RTOL)) & (energy <= last * (1 + RTOL)))
        if np.any(outside):
            raise DataError(
                f"PSFMap: it covers energies from {first:.4g} to {last:.4g} {axis.unit}, "
                f"but was asked for {energy[outside][0]:.4g} {axis.unit}"
            )
        pix = np.clip(axis.coord_to_pix(energy), 0, axis.nbin - 1)
        lower = np.floor(pix).astype(np.intp)
        return lower, np.minimum(lower + 1, axis.nbin - 1), pix - lower

    def tables(
        self, position: SkyCoord | None = None, energy_true: u.Quantity | None = None
    ) -> list[RadialTable]:
        """Return the point spread functions at a direction, with the integral 1 unless they are all zero.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord`, optional
            Direction; the centre of the map by default. Between the centres of the map's pixels values
            are interpolated bilinearly; outside those of the outermost pixels they are theirs.
        energy_true : `~astropy.units.Quantity`, optional
            Energies; by default those of the map. Between these shapes are interpolated linearly in the
            logarithm of energy.

        Returns
        -------
        list of `~villard.irf.psf_table.RadialTable`
            One per energy.

        Raises
        ------
        DataError
            If an energy isn't on the map's axis.
        """
        theta, values = self._shapes(position, energy_true)
        return [self._table(theta, row) for row in values]

    def radial_profile(
        self, position: SkyCoord | None = None, energy_true: u.Quantity | None = None
    ) -> tuple[Array, Array]:
        """Return the point spread functions at a direction as plain arrays.

        Each has the integral 1 within the table, unless it is all zero.

        Parameters
        ----------
        position, energy_true
            As for `tables`.

        Returns
        -------
        rad : `~numpy.ndarray`
            Angles (deg), shape (n_rad,).
        psf : `~numpy.ndarray`
            Probability per solid angle (sr-1), shape (n_energy, n_rad).
        """
        theta, values = self._shapes(position, energy_true)
        return np.degrees(theta), values

    def containment(
        self, rad: u.Quantity, energy_true: u.Quantity, position: SkyCoord | None = None
    ) -> u.Quantity:
        """Return the fraction of photons within angles; NaN where the point spread function is all zero.

        Parameters
        ----------
        rad : `~astropy.units.Quantity`
            Angles.
        energy_true : `~astropy.units.Quantity`
            Energies; both broadcast against each other.
        position : `~astropy.coordinates.SkyCoord`, optional
            As for `tables`.
        """
        theta = value_in(rad, u.rad, "PSFMap, rad")
        energy, theta = np.broadcast_arrays(u.Quantity(energy_true), theta, subok=True)
        tables = self.tables(position, energy.ravel())
        values = [table.containment(angle) for table, angle in zip(tables, theta.ravel(), strict=True)]
        return u.Quantity(np.reshape(values, energy.shape))

    def containment_radius(
        self, fraction: ArrayLike, energy_true: u.Quantity, position: SkyCoord | None = None
    ) -> u.Quantity:
        """Return angles that contain fractions of the photons (deg); NaN where the function is all zero.

        Parameters
        ----------
        fraction : float or array-like
            Fractions between 0 and 1.
        energy_true : `~astropy.units.Quantity`
            Energies; both broadcast against each other.
        position : `~astropy.coordinates.SkyCoord`, optional
            As for `tables`.
        """
        fractions = _fractions(fraction)
        energy, fractions = np.broadcast_arrays(u.Quantity(energy_true), fractions, subok=True)
        tables = self.tables(position, energy.ravel())
        pairs = zip(tables, np.ravel(fractions), strict=True)
        values = [np.degrees(table.containment_radius(item)) for table, item in pairs]
        return u.Quantity(np.reshape(values, energy.shape), "deg")


def _fractions(fraction: ArrayLike) -> Array:
    values = np.asarray(fraction, dtype=float)
    if not np.all((values >= 0) & (values <= 1)):
        raise DataError(f"PSFMap: expected fractions between 0 and 1, found {values}")
    return values

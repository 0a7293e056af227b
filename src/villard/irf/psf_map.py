"""Point spread functions for each pixel of a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.irf.irf_map import IRFMap, in_all_pixels
from villard.irf.psf_table import GaussShape, RadialTable
from villard.irf.weights import spectrum_weights
from villard.maps.axis import RTOL, MapAxis, value_in
from villard.maps.core import Map

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from villard.irf.psf_kernel import PSFKernel
    from villard.maps.geom import Geom
    from villard.maps.wcs_geom import WcsGeom

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
    def from_king(
        cls,
        energy_axis_true: MapAxis,
        rad_axis: MapAxis | None = None,
        sigma: u.Quantity = 0.1 * u.deg,
        gamma: ArrayLike = 2.0,
        geom: Geom | None = None,
    ) -> PSFMap:
        """Make a map of King's profiles, see `PSFKing`.

        Parameters
        ----------
        energy_axis_true, geom
            As for `from_gauss`.
        rad_axis : `~villard.maps.MapAxis`, optional
            Angles; by default 1000 in equal steps up to where 99.99 % are contained at all energies, or
            20 deg. What lies beyond the axis is lost, because what is within is normalised.
        sigma : `~astropy.units.Quantity`
            Width, the same or one per energy.
        gamma : float or array-like
            Power of the tail, above 1, the same or one per energy.
        """
        from villard.irf.psf_make import king_shapes, psf_map_from_shapes

        shapes, step, reach = king_shapes(sigma, gamma, energy_axis_true.nbin)
        return psf_map_from_shapes(shapes, energy_axis_true, rad_axis, step, reach, geom)

    @classmethod
    def from_function(
        cls,
        energy_axis_true: MapAxis,
        rad_axis: MapAxis,
        function: Callable[[u.Quantity, u.Quantity], ArrayLike],
        geom: Geom | None = None,
    ) -> PSFMap:
        """Make a map of any function.

        Parameters
        ----------
        energy_axis_true, rad_axis : `~villard.maps.MapAxis`
            Axes.
        function : callable
            Takes energies and angles to the source that broadcast against each other; returns numbers or
            quantities that are proportional to the probability per solid angle.
        geom : `~villard.maps.Geom`, optional
            Pixels; one response for all positions by default.

        Examples
        --------
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
        >>> rad = MapAxis.from_bounds(0 * u.deg, 1 * u.deg, nbin=100, name="rad")
        >>> def exponential(energy, angle):
        ...     return np.exp(-(angle / (0.05 * u.deg)).to_value("") * np.sqrt(energy / u.TeV).value)
        >>> PSFMap.from_function(axis, rad, exponential).containment(0.2 * u.deg, 5.6 * u.TeV).round(4)
        <Quantity 0.9991>
        """
        energy = energy_axis_true.center[:, np.newaxis]
        values = np.asarray(u.Quantity(function(energy, rad_axis.center)).value, dtype=float)
        values = np.broadcast_to(values, (energy_axis_true.nbin, rad_axis.nbin))
        psf = cls(in_all_pixels(geom, [rad_axis, energy_axis_true], values, "sr-1"))
        psf.normalize()
        return psf

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

    # Derived

    def get_psf_kernel(
        self,
        geom: WcsGeom,
        position: SkyCoord | None = None,
        max_radius: u.Quantity | None = None,
        containment: float = 0.999,
    ) -> PSFKernel:
        """Return the kernel, integrated over pixels, at a direction.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom`
            Pixels. If it has the axis "energy_true", the kernel is for these energies, else for those of
            the map.
        position : `~astropy.coordinates.SkyCoord`, optional
            Direction; the centre of ``geom`` by default.
        max_radius : `~astropy.units.Quantity`, optional
            Angle that the kernel reaches at least. By default that which contains the fraction
            ``containment`` at all energies.
        containment : float
            Fraction.

        Returns
        -------
        `PSFKernel`
            Kernel with the sum 1 for each energy, or 0 where the point spread function is all zero.

        Raises
        ------
        DataError
            If an energy isn't on the map's axis.
        """
        from villard.irf.psf_kernel import PSFKernel, _radius

        true = geom.axes["energy_true"] if "energy_true" in geom.axes.names else self.energy_axis_true
        position = geom.center_skydir if position is None else position
        is_same = true.is_aligned_with(self.energy_axis_true)
        tables = self.tables(position, None if is_same else true.center)
        if max_radius is None:
            fraction = float(_fractions(containment))
            radii = [float(table.containment_radius(fraction)) for table in tables if table.integral > 0]
            radius = max(radii, default=0.0)
        else:
            radius = _radius(max_radius)
        shapes = [table if table.integral > 0 else None for table in tables]
        return PSFKernel.from_shapes(shapes, geom.to_image().to_cube([true]), radius, position=position)

    def normalize(self) -> None:
        """Scale to the integral 1 for each energy and pixel, unless it is all zero."""
        theta = self.rad_axis.center.to_value("rad")
        data = self._irf_map.data.astype(float)
        flat = data.reshape(*data.shape[:2], -1)
        factor = float(self._irf_map.unit.to("sr-1"))
        for i, pix in np.ndindex(flat.shape[0], flat.shape[2]):
            flat[i, :, pix] /= self._table(theta, flat[i, :, pix] * factor).integral or 1.0
        self._irf_map = self._irf_map.copy(data=flat.reshape(data.shape))

    def to_image(self, spectral_model: Any = None, keepdims: bool = True) -> PSFMap:
        """Return the map for all energies together, weighted by a spectrum times exposure.

        Parameters
        ----------
        spectral_model : spectral model, optional
            Spectrum; a power law with the index 2 by default.
        keepdims : bool
            Must be true: the axis of energy stays, with one bin.
        """
        if not keepdims:
            raise DataError("PSFMap: an image keeps its axis of energy, with one bin")
        shares = spectrum_weights(self.energy_axis_true, spectral_model)[
            :, np.newaxis, np.newaxis, np.newaxis
        ]
        exposure = self._exposure_map
        weights = np.broadcast_to(shares, (len(shares), 1, *self.geom.spatial_shape))
        if exposure is not None:
            weights = weights * exposure.data
        total = weights.sum(axis=0, keepdims=True)
        sums = np.sum(self._irf_map.data * weights, axis=0, keepdims=True)
        data = np.divide(sums, total, out=np.zeros(sums.shape), where=total > 0)
        new = self._irf_map.copy(geom=self.geom.squash("energy_true"), data=data)
        if exposure is not None:
            exposure = exposure.copy(geom=exposure.geom.squash("energy_true"), data=total)
        return PSFMap(new, exposure)

    def containment_radius_map(self, energy_true: u.Quantity, fraction: float = 0.68) -> Map:
        """Return an image of the angle (deg) that contains a fraction of the photons at an energy.

        Parameters
        ----------
        energy_true : `~astropy.units.Quantity`
            Energy.
        fraction : float
            Fraction.
        """
        image = self.geom.to_image()
        positions = image.get_coord().get("skycoord")
        if positions is None:
            values = [self.containment_radius(fraction, energy_true).to_value("deg")]
        else:
            values = [
                self.containment_radius(fraction, energy_true, position).to_value("deg")
                for position in positions.ravel()
            ]
        return Map.from_geom(image, data=np.reshape(values, image.data_shape), unit="deg")

    # Files

    @classmethod
    def from_hdulist(
        cls,
        hdulist: fits.HDUList,
        hdu: str | None = None,
        exposure_hdu: str | None = None,
        format: str = "gadf",
        where: str = "FITS data",
    ) -> PSFMap:
        """Make a map of FITS extensions.

        Parameters
        ----------
        hdulist, hdu, exposure_hdu, where
            As for `IRFMap.from_hdulist`.
        format : {"gadf", "gtpsf"}
            Layout: that of `to_hdulist`, or of the Fermi tool gtpsf.
        """
        if format == "gtpsf":
            from villard.irf.fermi import psf_map_from_gtpsf

            return psf_map_from_gtpsf(hdulist, where)
        return super().from_hdulist(hdulist, hdu, exposure_hdu, format, where)

    # Plots

    def plot_containment_radius_vs_energy(
        self, ax: Axes | None = None, fraction: ArrayLike = (0.68, 0.95), **kwargs: Any
    ) -> Axes:
        """Plot the angles that contain fractions of the photons; keywords: `~matplotlib.axes.Axes.plot`."""
        from villard.irf.psf_plot import plot_containment_radius_vs_energy

        return plot_containment_radius_vs_energy(self, ax, fraction, **kwargs)

    def plot_psf_vs_rad(
        self, ax: Axes | None = None, energy_true: u.Quantity | None = None, **kwargs: Any
    ) -> Axes:
        """Plot values against the angle to the source.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        energy_true : `~astropy.units.Quantity`, optional
            Energies; by default a few of those of the map.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        from villard.irf.psf_plot import plot_psf_vs_rad

        return plot_psf_vs_rad(self, ax, energy_true, **kwargs)

    def peek(self, figsize: tuple[float, float] = (12, 5)) -> Figure:
        """Plot containment radii and profiles at the centre of the map."""
        from villard.irf.psf_plot import peek_map

        return peek_map(self, figsize=figsize)


def _fractions(fraction: ArrayLike) -> Array:
    values = np.asarray(fraction, dtype=float)
    if not np.all((values >= 0) & (values <= 1)):
        raise DataError(f"PSFMap: expected fractions between 0 and 1, found {values}")
    return values

"""Energy dispersion as a table of the ratio of reconstructed to true energy, for each pixel of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from villard.exceptions import DataError
from villard.irf.edisp_kernel import EDispKernel
from villard.irf.edisp_kernel_map import EDispKernelMap
from villard.irf.irf_map import IRFMap, in_all_pixels
from villard.irf.migra import gauss_table, kernel_matrices
from villard.maps.axis import MapAxis
from villard.maps.core import Map

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from matplotlib.figure import Figure

    from villard.maps.geom import Geom

__all__ = ["EDispMap"]


class EDispMap(IRFMap):
    """Probability density of migra = E / E_true, for each true energy and pixel.

    Parameters
    ----------
    edisp_map : `~villard.maps.Map`
        Density with the axes "migra" and "energy_true", data of the shape
        (n_energy_true, n_migra, n_lat, n_lon).
    exposure_map : `~villard.maps.Map`, optional
        Exposure, with the same axes ("migra" with one bin) or the axis "energy_true" alone.

    Raises
    ------
    DataError
        If axes or pixels don't fit, or a value is negative, infinite or NaN.
    UnitsError
        If units don't fit.

    Examples
    --------
    >>> true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    >>> reco = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=3)
    >>> migra = MapAxis.from_bounds(0, 3, nbin=300, name="migra")
    >>> edisp = EDispMap.from_gauss(true, migra, sigma=0.2)
    >>> edisp.get_edisp_kernel(reco).pdf_matrix.sum(axis=1).round(4)
    array([1., 1.])
    """

    tag = "edisp_map"
    required_axes = ("migra", "energy_true")
    _hdu = "EDISP"
    _axis_units = {"migra": "", "energy_true": "TeV"}

    def __init__(self, edisp_map: Map, exposure_map: Map | None = None) -> None:
        super().__init__(edisp_map, exposure_map)
        migra = edisp_map.geom.axes["migra"].edges[0].value
        if migra < 0:
            raise DataError(f"EDispMap: expected migra from 0 on, found a first edge of {migra}")

    # Making maps

    @classmethod
    def from_diagonal_response(
        cls, energy_axis_true: MapAxis, migra_axis: MapAxis | None = None, geom: Geom | None = None
    ) -> EDispMap:
        """Make the map of an instrument that measures energies exactly.

        Parameters
        ----------
        energy_axis_true : `~villard.maps.MapAxis`
            True energies.
        migra_axis : `~villard.maps.MapAxis`, optional
            Ratios of energies; the bin that holds 1 gets all. By default one of the width 2e-5, between
            two others.
        geom : `~villard.maps.Geom`, optional
            Pixels; one response for all positions by default.

        Raises
        ------
        DataError
            If ``migra_axis`` has no bin for 1.
        """
        if migra_axis is None:
            migra_axis = MapAxis.from_edges([1 - 3e-5, 1 - 1e-5, 1 + 1e-5, 1 + 3e-5], name="migra")
        idx = int(migra_axis.coord_to_idx(1.0))
        if idx < 0:
            raise DataError(f"EDispMap: expected an axis of migra with a bin for 1, found {migra_axis!r}")
        data = np.zeros((energy_axis_true.nbin, migra_axis.nbin))
        data[:, idx] = 1 / migra_axis.bin_width.value[idx]
        return cls(in_all_pixels(geom, [migra_axis, energy_axis_true], data, ""))

    @classmethod
    def from_gauss(
        cls,
        energy_axis_true: MapAxis,
        migra_axis: MapAxis,
        sigma: ArrayLike,
        bias: ArrayLike = 0.0,
        geom: Geom | None = None,
    ) -> EDispMap:
        """Make a map in which migra has a Gaussian distribution, averaged over its bins.

        Parameters
        ----------
        energy_axis_true, migra_axis : `~villard.maps.MapAxis`
            Axes.
        sigma, bias : float or array-like
            Width, and mean less 1, the same or one per true energy.
        geom : `~villard.maps.Geom`, optional
            Pixels; one response for all positions by default.
        """
        data = gauss_table(migra_axis.edges.value, sigma, bias, energy_axis_true.nbin)
        return cls(in_all_pixels(geom, [migra_axis, energy_axis_true], data, ""))

    @classmethod
    def from_geom(cls, geom: Geom) -> EDispMap:
        """Make a map of zeros, with an exposure of zero.

        Parameters
        ----------
        geom : `~villard.maps.Geom`
            Geometry with the axes "migra" and "energy_true".
        """
        return cls(Map.from_geom(geom), Map.from_geom(geom.squash("migra"), unit="m2 s"))

    # Content

    @property
    def edisp_map(self) -> Map:
        """Probability density."""
        return self._irf_map

    @property
    def migra_axis(self) -> MapAxis:
        """Ratios of reconstructed to true energy."""
        return self._irf_map.geom.axes["migra"]

    def get_edisp_kernel(
        self, energy_axis: MapAxis | None = None, position: SkyCoord | None = None
    ) -> EDispKernel:
        """Return the matrix at a direction, bilinear between the centres of pixels.

        A bin's probability is the integral of the density over the range of migra that it has for a
        photon at the centre of the true-energy bin; within bins of migra the density is constant.

        Parameters
        ----------
        energy_axis : `~villard.maps.MapAxis`, optional
            Reconstructed energies; the edges of the true energies by default.
        position : `~astropy.coordinates.SkyCoord`, optional
            Direction; the centre of the map by default.
        """
        if energy_axis is None:
            energy_axis = self.energy_axis_true.to_node_type("edges").rename("energy")
        if not isinstance(energy_axis, MapAxis):
            raise DataError(
                f"EDispMap: expected an axis as energy_axis, found {type(energy_axis).__name__}; "
                "a direction is given as position=…"
            )
        true = self.energy_axis_true
        data = self._at(position)[..., np.newaxis]
        matrix = kernel_matrices(
            data, self.migra_axis.edges.value, true.center_engine, energy_axis.edges_engine
        )
        return EDispKernel([true, energy_axis.rename("energy")], matrix[..., 0])

    def to_edisp_kernel_map(self, energy_axis: MapAxis) -> EDispKernelMap:
        """Return the matrices of all pixels; see `get_edisp_kernel`.

        Parameters
        ----------
        energy_axis : `~villard.maps.MapAxis`
            Reconstructed energies.
        """
        geom, true = self._irf_map.geom, self.energy_axis_true
        data = self._irf_map.data.reshape(true.nbin, self.migra_axis.nbin, -1)
        matrix = kernel_matrices(
            data, self.migra_axis.edges.value, true.center_engine, energy_axis.edges_engine
        )
        new_geom = geom.to_image().to_cube([energy_axis.rename("energy"), true])
        kernel = Map.from_geom(new_geom, data=matrix.reshape(new_geom.data_shape))
        exposure = self._exposure_map
        if exposure is not None:
            exposure = exposure.copy(geom=new_geom.squash("energy"))
        return EDispKernelMap(kernel, exposure)

    def normalize(self) -> None:
        """Scale the density so that its integral is 1 for each energy and pixel, unless it is all zero."""
        data = self._irf_map.data
        widths = self.migra_axis.bin_width.value[np.newaxis, :, np.newaxis, np.newaxis]
        total = np.sum(data * widths, axis=1, keepdims=True)
        new = np.divide(data, total, out=np.zeros(data.shape), where=total > 0)
        self._irf_map = self._irf_map.copy(data=new)

    def peek(self, figsize: tuple[float, float] = (12, 5)) -> Figure:
        """Plot the matrix at the centre of the map, bias and resolution."""
        return self.get_edisp_kernel().peek(figsize=figsize)

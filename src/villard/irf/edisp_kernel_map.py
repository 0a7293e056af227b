"""Energy dispersion as a matrix for each pixel of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from villard.exceptions import DataError
from villard.irf.edisp_kernel import EDispKernel
from villard.irf.irf_map import IRFMap, in_all_pixels
from villard.maps.axis import MapAxis
from villard.maps.core import Map

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from matplotlib.figure import Figure

    from villard.maps.geom import Geom

__all__ = ["EDispKernelMap"]


class EDispKernelMap(IRFMap):
    """Probability of each bin of reconstructed energy, for each true energy and pixel.

    Parameters
    ----------
    edisp_kernel_map : `~villard.maps.Map`
        Probabilities with the axes "energy" and "energy_true", data of the shape
        (n_energy_true, n_energy, n_lat, n_lon).
    exposure_map : `~villard.maps.Map`, optional
        Exposure, with the same axes ("energy" with one bin) or the axis "energy_true" alone.

    Raises
    ------
    DataError
        If axes or pixels don't fit, or a value is negative, infinite or NaN.
    UnitsError
        If units don't fit.

    Examples
    --------
    >>> reco = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    >>> true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4, name="energy_true")
    >>> EDispKernelMap.from_diagonal_response(reco, true).get_edisp_kernel().pdf_matrix
    array([[1., 0.],
           [1., 0.],
           [0., 1.],
           [0., 1.]])
    """

    tag = "edisp_kernel_map"
    required_axes = ("energy", "energy_true")
    _hdu = "EDISP"
    _axis_units = {"energy": "TeV", "energy_true": "TeV"}

    def __init__(self, edisp_kernel_map: Map, exposure_map: Map | None = None) -> None:
        super().__init__(edisp_kernel_map, exposure_map)

    # Making maps

    @classmethod
    def from_edisp_kernel(cls, edisp: EDispKernel, geom: Geom | None = None) -> EDispKernelMap:
        """Make a map of one matrix.

        Parameters
        ----------
        edisp : `EDispKernel`
            Matrix.
        geom : `~villard.maps.Geom`, optional
            Pixels; one response for all positions by default.
        """
        axes = [edisp.axes["energy"], edisp.axes["energy_true"]]
        return cls(in_all_pixels(geom, axes, edisp.pdf_matrix, ""))

    @classmethod
    def from_diagonal_response(
        cls, energy_axis: MapAxis, energy_axis_true: MapAxis, geom: Geom | None = None
    ) -> EDispKernelMap:
        """Make the map of an instrument that measures energies exactly; see `EDispKernel`.

        Parameters
        ----------
        energy_axis, energy_axis_true : `~villard.maps.MapAxis`
            Reconstructed and true energies.
        geom : `~villard.maps.Geom`, optional
            As for `from_edisp_kernel`.
        """
        kernel = EDispKernel.from_diagonal_response(energy_axis_true, energy_axis)
        return cls.from_edisp_kernel(kernel, geom=geom)

    @classmethod
    def from_gauss(
        cls,
        energy_axis: MapAxis,
        energy_axis_true: MapAxis,
        sigma: ArrayLike,
        bias: ArrayLike = 0.0,
        pdf_threshold: float = 1e-6,
        geom: Geom | None = None,
    ) -> EDispKernelMap:
        """Make a map in which E / E_true has a Gaussian distribution; see `EDispKernel.from_gauss`."""
        kernel = EDispKernel.from_gauss(energy_axis_true, energy_axis, sigma, bias, pdf_threshold)
        return cls.from_edisp_kernel(kernel, geom=geom)

    @classmethod
    def from_geom(cls, geom: Geom) -> EDispKernelMap:
        """Make a map of zeros, with an exposure of zero.

        Parameters
        ----------
        geom : `~villard.maps.Geom`
            Geometry with the axes "energy" and "energy_true".
        """
        return cls(Map.from_geom(geom), Map.from_geom(geom.squash("energy"), unit="m2 s"))

    # Content

    @property
    def edisp_map(self) -> Map:
        """Probabilities."""
        return self._irf_map

    @property
    def energy_axis(self) -> MapAxis:
        """Reconstructed energies."""
        return self._irf_map.geom.axes["energy"]

    def get_edisp_kernel(
        self, energy_axis: MapAxis | None = None, position: SkyCoord | None = None
    ) -> EDispKernel:
        """Return the matrix at a direction, bilinear between the centres of pixels.

        Parameters
        ----------
        energy_axis : `~villard.maps.MapAxis`, optional
            Reconstructed energies, whose edges must be among those of the map; those by default.
        position : `~astropy.coordinates.SkyCoord`, optional
            Direction; the centre of the map by default.

        Raises
        ------
        DataError
            If the map has no such edges.
        """
        if energy_axis is not None and not isinstance(energy_axis, MapAxis):
            raise DataError(
                f"EDispKernelMap: expected an axis as energy_axis, found {type(energy_axis).__name__}; "
                "a direction is given as position=…"
            )
        kernel = EDispKernel([self.energy_axis_true, self.energy_axis], self._at(position))
        if energy_axis is None or energy_axis.is_aligned_with(self.energy_axis):
            return kernel
        joined = kernel.resample_energy_axis(energy_axis)
        if not joined.axes["energy"].is_aligned_with(energy_axis):
            raise DataError(
                f"EDispKernelMap: the bins of {self.energy_axis!r} can't be joined to "
                f"those of {energy_axis!r}"
            )
        return joined

    def resample_energy_axis(self, energy_axis: MapAxis, weights: Map | None = None) -> EDispKernelMap:
        """Return the map with bins of reconstructed energy joined to be nearest to those of an axis.

        Parameters
        ----------
        energy_axis : `~villard.maps.MapAxis`
            Wanted bins.
        weights : `~villard.maps.Map`, optional
            Factors per bin of reconstructed energy, such as a mask: image and axis "energy".
        """
        edisp = self._irf_map
        if weights is not None:
            edisp = edisp.copy(data=edisp.data * np.asarray(weights.data, dtype=float))
        new = edisp.resample_axis(energy_axis.rename("energy"))
        exposure = self._exposure_map
        if exposure is not None:
            exposure = exposure.copy(geom=new.geom.squash("energy"))
        return EDispKernelMap(new, exposure)

    def to_image(self, weights: Map | None = None) -> EDispKernelMap:
        """Return the map with one bin of reconstructed energy; ``weights`` as for `resample_energy_axis`."""
        return self.resample_energy_axis(self.energy_axis.squash(), weights=weights)

    # Files

    @classmethod
    def from_hdulist(
        cls,
        hdulist: fits.HDUList,
        hdu: str | None = None,
        exposure_hdu: str | None = None,
        format: str = "gadf",
        where: str = "FITS data",
    ) -> EDispKernelMap:
        """Make a map of FITS extensions.

        Parameters
        ----------
        hdulist, hdu, exposure_hdu, where
            As for `IRFMap.from_hdulist`.
        format : {"gadf", "gtdrm"}
            Layout: that of `to_hdulist`, or of the Fermi tool gtdrm.
        """
        if format == "gtdrm":
            from villard.irf.fermi import edisp_kernel_from_gtdrm

            return cls.from_edisp_kernel(edisp_kernel_from_gtdrm(hdulist, where))
        return super().from_hdulist(hdulist, hdu, exposure_hdu, format, where)

    def peek(self, figsize: tuple[float, float] = (12, 5)) -> Figure:
        """Plot the matrix at the centre of the map, bias and resolution."""
        return self.get_edisp_kernel().peek(figsize=figsize)

"""Energy dispersion of one position or spectrum: a matrix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from villard.exceptions import DataError
from villard.irf.rmf import RMF, check_matrix, read_rmf, rmf_from_hdulist, rmf_to_hdulist
from villard.maps.axes import MapAxes
from villard.maps.axis import RTOL, MapAxis, value_in
from villard.maps.fits import write_fits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EDispKernel"]


class EDispKernel:
    """Probability that a photon of a true-energy bin is reconstructed in each energy bin.

    Rows add up to the fraction of photons whose reconstructed energy lies on the axis; this is left
    as it is given, and may be less than one. A kernel can't be changed after it is made.

    Parameters
    ----------
    axes : list of `~villard.maps.MapAxis`
        Axes "energy_true" and "energy", in this order.
    data : array-like, optional
        Matrix, shape (n_energy_true, n_energy); zeros by default.
    meta : dict, optional
        Anything to be kept with the kernel.

    Raises
    ------
    DataError
        If the axes or the shape don't fit, or a value is negative or NaN.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2, name="energy_true")
    >>> EDispKernel.from_diagonal_response(axis).pdf_matrix
    array([[1., 0.],
           [0., 1.]])
    """

    required_axes = ("energy_true", "energy")

    def __init__(
        self, axes: Iterable[MapAxis], data: ArrayLike | None = None, meta: Mapping[str, Any] | None = None
    ) -> None:
        self._axes = MapAxes(axes)
        self._axes.assert_names(self.required_axes)
        shape = self._axes.shape
        try:
            matrix = np.zeros(shape) if data is None else np.array(data, dtype=float)
        except (TypeError, ValueError) as error:
            raise DataError(f"Energy dispersion: expected a matrix of numbers ({error})") from error
        if matrix.shape != shape:
            raise DataError(f"Energy dispersion: expected a matrix of shape {shape}, found {matrix.shape}")
        check_matrix(matrix, "Energy dispersion")
        matrix.flags.writeable = False
        self._data = matrix
        self.meta = dict(meta or {})

    # Making kernels

    @classmethod
    def from_diagonal_response(
        cls, energy_axis_true: MapAxis, energy_axis: MapAxis | None = None
    ) -> EDispKernel:
        """Make the kernel of an instrument that measures energies exactly.

        Each value is the fraction of a true-energy bin (linear in energy) that a bin covers.

        Parameters
        ----------
        energy_axis_true : `~villard.maps.MapAxis`
            True energies.
        energy_axis : `~villard.maps.MapAxis`, optional
            Reconstructed energies; the same edges by default.
        """
        if energy_axis is None:
            energy_axis = energy_axis_true.copy(name="energy")
        if energy_axis_true.is_aligned_with(energy_axis):
            return cls([energy_axis_true, energy_axis], np.eye(energy_axis.nbin))
        true = energy_axis_true.edges_engine[:, np.newaxis]
        reco = energy_axis.edges_engine
        upper, lower = np.minimum(true[1:], reco[1:]), np.maximum(true[:-1], reco[:-1])
        overlap = np.maximum(upper - lower, 0.0) / (true[1:] - true[:-1])
        # Edges that differ in their last digits would make neighbours out of equal bins.
        return cls([energy_axis_true, energy_axis], np.where(overlap < RTOL, 0.0, overlap))

    @classmethod
    def from_gauss(
        cls,
        energy_axis_true: MapAxis,
        energy_axis: MapAxis,
        sigma: ArrayLike,
        bias: ArrayLike = 0.0,
        pdf_threshold: float = 1e-6,
    ) -> EDispKernel:
        r"""Make a kernel in which E / E_true has a Gaussian distribution.

        With E_true the centre of the true-energy bin, the probability of a bin from E₁ to E₂ is

        .. math:: \Phi(t_2) - \Phi(t_1), \quad t = \frac{E / E_\mathrm{true} - 1 - \mathrm{bias}}{\sigma},

        with Φ the normal distribution function.

        Parameters
        ----------
        energy_axis_true, energy_axis : `~villard.maps.MapAxis`
            Axes.
        sigma : float or array-like
            Relative energy resolution, the same or one per true-energy bin.
        bias : float or array-like
            Relative bias, the same or one per true-energy bin.
        pdf_threshold : float
            Probabilities below it are set to zero, so that files and products stay small.

        Examples
        --------
        >>> true = MapAxis.from_energy_edges([0.9, 1.1] * u.TeV, name="energy_true", interp="lin")
        >>> reco = MapAxis.from_energy_edges([0.8, 1, 1.2] * u.TeV)
        >>> EDispKernel.from_gauss(true, reco, sigma=0.2).pdf_matrix.round(4)
        array([[0.3413, 0.3413]])
        """
        from scipy.special import ndtr

        sigma, bias = (np.asarray(values, dtype=float) for values in (sigma, bias))
        for name, values in (("sigma", sigma), ("bias", bias)):
            if values.shape not in {(), (energy_axis_true.nbin,)} or not np.all(np.isfinite(values)):
                raise DataError(
                    f"Energy dispersion: expected {name} as a number, or one for each of "
                    f"{energy_axis_true.nbin} true-energy bins, found {values}"
                )
        if np.any(sigma <= 0):
            raise DataError(f"Energy dispersion: expected a positive sigma, found {sigma.min()}")
        migra = energy_axis.edges_engine / energy_axis_true.center_engine[:, np.newaxis]
        t = (migra - 1 - np.reshape(bias, (-1, 1))) / np.reshape(sigma, (-1, 1))
        # Above the mean the difference of the upper tails keeps the digits.
        upper = t[:, :-1] > 0
        matrix = np.where(upper, ndtr(-t[:, :-1]) - ndtr(-t[:, 1:]), ndtr(t[:, 1:]) - ndtr(t[:, :-1]))
        return cls([energy_axis_true, energy_axis], np.where(matrix < pdf_threshold, 0.0, matrix))

    # Content

    @property
    def axes(self) -> MapAxes:
        """Axes "energy_true" and "energy"."""
        return self._axes

    @property
    def data(self) -> NDArray[np.float64]:
        """Matrix, shape (n_energy_true, n_energy)."""
        return self._data

    @property
    def pdf_matrix(self) -> NDArray[np.float64]:
        """Matrix, shape (n_energy_true, n_energy)."""
        return self._data

    def _row(self, energy_true: u.Quantity) -> NDArray[np.intp]:
        return self.axes["energy_true"].coord_to_idx(energy_true)

    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the reconstructed energy (TeV) of each row."""
        energy, weight = self.axes["energy"].center_engine, self._data
        with np.errstate(invalid="ignore", divide="ignore"):
            total = weight.sum(axis=1)
            mean = weight @ energy / total
            variance = (weight * (energy - mean[:, np.newaxis]) ** 2).sum(axis=1) / total
        return mean, np.sqrt(variance)

    def _of_rows(self, values: NDArray[np.float64], energy_true: u.Quantity) -> NDArray[np.float64]:
        idx = self._row(energy_true)
        return np.where(idx < 0, np.nan, values[idx])

    def get_mean(self, energy_true: u.Quantity) -> u.Quantity:
        """Return the mean reconstructed energy of the bin that holds a true energy.

        It is NaN outside the axis, and where a row is empty.

        Parameters
        ----------
        energy_true : `~astropy.units.Quantity`
            True energies.
        """
        return (self._of_rows(self._moments()[0], energy_true) * u.TeV).to(self.axes["energy"].unit)

    def get_bias(self, energy_true: u.Quantity) -> NDArray[np.float64]:
        """Return the relative bias, mean E / E_true - 1, of the bin that holds a true energy."""
        return self._of_rows(self._moments()[0] / self.axes["energy_true"].center_engine - 1, energy_true)

    def get_resolution(self, energy_true: u.Quantity) -> NDArray[np.float64]:
        """Return the relative resolution, std(E) / E_true, of the bin that holds a true energy."""
        return self._of_rows(self._moments()[1] / self.axes["energy_true"].center_engine, energy_true)

    def evaluate(self, energy_true: u.Quantity, energy: u.Quantity) -> NDArray[np.float64]:
        """Return the probability of the bins that hold the energies; NaN outside."""
        i, j = np.broadcast_arrays(self._row(energy_true), self.axes["energy"].coord_to_idx(energy))
        return np.where((i < 0) | (j < 0), np.nan, self._data[i, j])

    # Derived kernels

    def slice_by_idx(self, slices: Mapping[str, slice]) -> EDispKernel:
        """Return the kernel of some bins; slices by axis name.

        Examples
        --------
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4, name="energy_true")
        >>> EDispKernel.from_diagonal_response(axis).slice_by_idx({"energy": slice(1, 3)}).pdf_matrix.shape
        (4, 2)
        """
        for name, item in slices.items():
            self.axes.index(name)
            if not isinstance(item, slice):
                raise DataError(f"Energy dispersion: expected a slice of axis {name!r}, found {item!r}")
        axes = self.axes.slice_by_idx(dict(slices))
        index = tuple(slices.get(name, slice(None)) for name in self.required_axes)
        return EDispKernel(axes, self._data[index], meta=self.meta)

    slice = slice_by_idx

    def resample_energy_axis(self, energy_axis: MapAxis) -> EDispKernel:
        """Return the kernel with bins of reconstructed energy joined to be nearest to those of an axis."""
        idx = self.axes["energy"].group_edges(energy_axis.edges)
        data = np.add.reduceat(self._data[:, : idx[-1]], idx[:-1], axis=1)
        return EDispKernel(
            [self.axes["energy_true"], self.axes["energy"].resample(energy_axis)], data, self.meta
        )

    def is_allclose(self, other: EDispKernel, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
        """Whether two kernels have (nearly) the same axes and matrix."""
        return (
            isinstance(other, EDispKernel)
            and self.axes.is_allclose(other.axes)
            and bool(np.allclose(self._data, other._data, rtol=rtol, atol=atol))
        )

    def copy(self, **kwargs: Any) -> EDispKernel:
        """Return a copy in which the named arguments of `EDispKernel` are replaced."""
        return EDispKernel(**({"axes": self._axes, "data": self._data, "meta": self.meta} | kwargs))

    # Files

    @classmethod
    def _from_rmf(cls, rmf: RMF) -> EDispKernel:
        return cls([rmf.energy_axis_true, rmf.energy_axis], rmf.matrix, meta=rmf.header)

    @classmethod
    def from_hdulist(
        cls,
        hdulist: fits.HDUList,
        hdu: str | None = None,
        hdu_ebounds: str | None = None,
        where: str = "RMF",
    ) -> EDispKernel:
        """Read a kernel from FITS extensions; see `read`."""
        return cls._from_rmf(rmf_from_hdulist(hdulist, hdu=hdu, hdu_ebounds=hdu_ebounds, where=where))

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], hdu: str | None = None, hdu_ebounds: str | None = None
    ) -> EDispKernel:
        """Read a kernel from an RMF file; parameters and errors as for `~villard.irf.read_rmf`."""
        return cls._from_rmf(read_rmf(path, hdu=hdu, hdu_ebounds=hdu_ebounds))

    def to_hdulist(self, format: str = "ogip", **header: Any) -> fits.HDUList:
        """Return the kernel as FITS extensions; parameters as for `~villard.irf.rmf_to_hdulist`."""
        return rmf_to_hdulist(self.axes["energy_true"], self.axes["energy"], self._data, format, **header)

    def write(
        self, path: str | os.PathLike[str], overwrite: bool = False, format: str = "ogip", **header: Any
    ) -> None:
        """Write the kernel to an RMF file.

        Parameters
        ----------
        path : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        format : {"ogip", "ogip-sherpa"}
            Whether energies keep their units or become keV.
        **header
            Keywords for the header.
        """
        write_fits(self.to_hdulist(format=format, **header), path, overwrite=overwrite)

    # Plots

    def plot_matrix(self, ax: Axes | None = None, add_cbar: bool = False, **kwargs: Any) -> Axes:
        """Plot the matrix; keywords are for `~matplotlib.axes.Axes.pcolormesh`."""
        from villard.irf.edisp_plot import plot_matrix

        return plot_matrix(self, ax=ax, add_cbar=add_cbar, **kwargs)

    def plot_bias(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Plot the relative bias and resolution against true energy."""
        from villard.irf.edisp_plot import plot_bias

        return plot_bias(self, ax=ax, **kwargs)

    def peek(self, figsize: tuple[float, float] = (12, 5)) -> Figure:
        """Plot matrix and bias side by side."""
        from villard.irf.edisp_plot import peek

        return peek(self, figsize=figsize)

    # Text

    def __repr__(self) -> str:
        true, reco = self.axes
        return f"EDispKernel({true.nbin} x {reco.nbin}, {_bounds(true)}, {_bounds(reco)})"

    def __str__(self) -> str:
        true, reco = self.axes
        sums = self._data.sum(axis=1)
        rows = {
            "energy_true": f"{true.nbin} bins, {_bounds(true)}",
            "energy": f"{reco.nbin} bins, {_bounds(reco)}",
            "row sums": f"{sums.min():.4g} to {sums.max():.4g}",
        }
        return "EDispKernel\n" + "".join(f"\n  {key:11s}: {value}" for key, value in rows.items()) + "\n"


def _bounds(axis: MapAxis) -> str:
    lower, upper = value_in(axis.bounds, axis.unit, axis.name)
    return f"{axis.name} {lower:.4g} to {upper:.4g} {axis.unit}"

r"""Point spread functions as tables of the parameters of a shape, for true energies and offsets.

Shapes are functions of :math:`t = 4\sin^2(\theta/2) \approx \theta^2` and so normalised on the sphere.
Between energies and offsets of the table shapes are interpolated, not their parameters, which need not
change smoothly.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, UnitsError
from villard.irf.gadf import (
    axis_columns,
    find_irf_table,
    make_hdu,
    read_axes,
    read_meta,
    read_values,
    value_column,
)
from villard.irf.psf_3d import PSF3D, OffsetPSF
from villard.irf.psf_make import default_rad_axis
from villard.irf.psf_table import RadialTable
from villard.irf.table import is_on_axis
from villard.maps.axes import MapAxes
from villard.maps.axis import MapAxis, value_in
from villard.maps.fits import open_fits, write_fits

__all__ = ["EnergyDependentMultiGaussPSF", "PSFKing", "ParametricPSF"]

Array = NDArray[np.float64]


class ParametricPSF(OffsetPSF):
    """Base class of tables of the parameters of a shape.

    Parameters
    ----------
    axes : list of `~villard.maps.MapAxis`
        Axes "energy_true" and "offset".
    data : dict of `~astropy.units.Quantity`
        Parameters by name, shape (n_energy_true, n_offset). Where they make no shape (a width or sum of
        amplitudes that isn't positive, NaN), there is no point spread function: it is zero.
    meta : dict, optional
        Anything to be kept with the table.

    Raises
    ------
    DataError
        If axes, names or shapes don't fit.
    UnitsError
        If units don't fit.
    """

    tag: ClassVar[str] = ""
    required_axes: ClassVar[tuple[str, ...]] = ("energy_true", "offset")
    #: Units of the parameters by name.
    required_parameters: ClassVar[Mapping[str, u.UnitBase]] = {}

    def __init__(
        self, axes: Iterable[MapAxis], data: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> None:
        self.axes = MapAxes(axes)
        self.axes.assert_names(self.required_axes)
        where = type(self).__name__
        if set(data) != set(self.required_parameters):
            raise DataError(
                f"{where}: expected the parameters {list(self.required_parameters)}, found {list(data)}"
            )
        self._parameters = {}
        for name, unit in self.required_parameters.items():
            try:
                values = u.Quantity(data[name]).to_value(unit)
            except u.UnitConversionError as error:
                raise UnitsError(f"{where}, {name}: {error}") from error
            if np.shape(values) != self.axes.shape:
                raise DataError(
                    f"{where}, {name}: expected the shape {self.axes.shape}, found {np.shape(values)}"
                )
            self._parameters[name] = np.array(values, dtype=float)
        self.meta = dict(meta or {})

    @property
    def parameters(self) -> dict[str, u.Quantity]:
        """Parameters by name."""
        return {name: values * self.required_parameters[name] for name, values in self._parameters.items()}

    def _shape(self, t: Array, i: Any, j: Any) -> Array:
        """Return the values (sr-1) at t (rad²) of the nodes of energies ``i`` and offsets ``j``."""
        raise NotImplementedError

    def _width(self) -> Array:
        """Return a width (rad) for each node, NaN where there is no shape."""
        raise NotImplementedError

    def evaluate(self, energy_true: u.Quantity, offset: u.Quantity, rad: u.Quantity) -> u.Quantity:
        """Return values (sr-1), interpolated between energies and offsets; zero beyond the table's edges.

        Parameters
        ----------
        energy_true, offset, rad : `~astropy.units.Quantity`
            Energies, offsets and angles to the source, which broadcast against each other.
        """
        where = type(self).__name__
        energy_axis, offset_axis = self.axes
        energy = value_in(energy_true, energy_axis.unit, f"{where}, energy_true")
        place = value_in(offset, offset_axis.unit, f"{where}, offset")
        theta = value_in(rad, u.rad, f"{where}, rad")
        energy, place, theta = np.broadcast_arrays(energy, place, theta)
        t = 4 * np.sin(theta / 2) ** 2
        result = np.zeros(t.shape)
        for i, energy_weight in _nodes(energy_axis, energy):
            for j, offset_weight in _nodes(offset_axis, place):
                result += energy_weight * offset_weight * self._shape(t, i, j)
        inside = is_on_axis(energy_axis, energy) & is_on_axis(offset_axis, place)
        return u.Quantity(np.where(inside, np.maximum(result, 0.0), 0.0), "sr-1")

    def _default_rad_axis(self) -> MapAxis:
        widths = self._width()
        widths = widths[np.isfinite(widths)]
        if not len(widths):
            raise DataError(f"{type(self).__name__}: there is no energy and offset with a shape")
        return default_rad_axis(float(widths.min()) / 4, 10 * float(widths.max()))

    def to_psf3d(self, rad_axis: MapAxis | None = None) -> PSF3D:
        """Return the table of values.

        Parameters
        ----------
        rad_axis : `~villard.maps.MapAxis`, optional
            Angles to the source; by default in steps of a quarter of the smallest width (but at most
            1000) up to ten times the largest one.
        """
        rad_axis = self._default_rad_axis() if rad_axis is None else rad_axis
        values = self.evaluate(
            energy_true=self.axes["energy_true"].center[:, np.newaxis, np.newaxis],
            offset=self.axes["offset"].center[:, np.newaxis],
            rad=rad_axis.center,
        )
        return PSF3D([*self.axes, rad_axis], values, meta=self.meta)

    def radial_tables(self, energy_true: u.Quantity, offset: u.Quantity) -> list[RadialTable]:
        """Return the shapes at energies and offsets, shape (n,), with the integral 1 or 0.

        They reach up to 180 deg, in steps that grow from a tenth of the width.
        """
        widths = self._width()
        if not np.any(np.isfinite(widths)):
            raise DataError(f"{type(self).__name__}: there is no energy and offset with a shape")
        start = float(np.nanmin(widths)) / 10
        theta = np.concatenate([[0.0], np.geomspace(start, np.pi, int(40 * np.log10(np.pi / start)))])
        values = self.evaluate(
            u.Quantity(energy_true)[:, np.newaxis], u.Quantity(offset)[:, np.newaxis], theta * u.rad
        )
        return [RadialTable(theta, row).normalized() for row in values.value]

    # Files

    @classmethod
    def from_hdulist(cls, hdulist: fits.HDUList, hdu: str | None = None, where: str = "FITS data") -> Self:
        """Make a table of a FITS extension; parameters as for `IRF.from_hdulist`."""
        table = find_irf_table(hdulist, cls.tag, hdu, where)
        axes = read_axes(table, cls.required_axes, where)
        parameters = {
            name: read_values(table, [name.upper()], axes, unit, where)
            for name, unit in cls.required_parameters.items()
        }
        try:
            return cls(axes, parameters, meta=read_meta(table))
        except DataError as error:
            raise FileFormatError(f"{where}, extension {table.name}: {error}") from error

    @classmethod
    def read(cls, path: str | os.PathLike[str], hdu: str | None = None) -> Self:
        """Read a table from a FITS file; parameters and errors as for `IRF.read`."""
        with open_fits(path) as hdulist:
            return cls.from_hdulist(hdulist, hdu=hdu, where=str(path))

    def to_table_hdu(self, name: str | None = None) -> fits.BinTableHDU:
        """Return the table as a FITS extension in the GADF layout."""
        columns = axis_columns(self.axes)
        for key, values in self.parameters.items():
            # The format has widths in deg.
            columns.append(value_column(key.upper(), values.to("deg") if values.unit == u.rad else values))
        return make_hdu(columns + self._extra_columns(), self.tag, name, self.meta)

    def _extra_columns(self) -> list[fits.Column]:
        return []

    def write(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the table to a FITS file in the GADF layout."""
        write_fits(fits.HDUList([fits.PrimaryHDU(), self.to_table_hdu()]), path, overwrite=overwrite)

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name}: {axis.nbin}" for axis in self.axes)
        return f"{type(self).__name__}({axes})"


class EnergyDependentMultiGaussPSF(ParametricPSF):
    r"""Sum of three Gaussians, :math:`\sum_k A_k \exp(-t / 2\sigma_k^2)` with :math:`A_1 = 1`.

    Parameters are as for `ParametricPSF`: ``sigma_1``, ``sigma_2``, ``sigma_3``, ``ampl_2``, ``ampl_3``. The
    sum is normalised, so that the column SCALE of files isn't needed; it is written as the format asks for.
    """

    tag = "psf_3gauss"
    required_parameters: ClassVar[Mapping[str, u.UnitBase]] = {
        "sigma_1": u.rad,
        "sigma_2": u.rad,
        "sigma_3": u.rad,
        "ampl_2": u.dimensionless_unscaled,
        "ampl_3": u.dimensionless_unscaled,
    }

    def _components(self) -> tuple[Array, Array, Array]:
        """Return sigma² and amplitudes, shape (3, n_energy_true, n_offset), and the sum of the integrals."""
        p = self._parameters
        variance = np.array([p[f"sigma_{k}"] for k in (1, 2, 3)]) ** 2
        amplitude = np.array([np.ones(self.axes.shape), p["ampl_2"], p["ampl_3"]])
        # Components that aren't used have zeros, or NaN.
        is_used = np.isfinite(variance) & np.isfinite(amplitude) & (variance > 0) & (amplitude != 0)
        variance, amplitude = np.where(is_used, variance, 1.0), np.where(is_used, amplitude, 0.0)
        total = 2 * np.pi * np.sum(amplitude * variance * -np.expm1(-2 / variance), axis=0)
        return variance, amplitude, total

    def _shape(self, t: Array, i: Any, j: Any) -> Array:
        variance, amplitude, total = self._components()
        values = np.sum(
            [a[i, j] * np.exp(-0.5 * t / v[i, j]) for a, v in zip(amplitude, variance, strict=True)], axis=0
        )
        return np.divide(values, total[i, j], out=np.zeros(np.shape(t)), where=total[i, j] > 0)

    def _extra_columns(self) -> list[fits.Column]:
        total = self._components()[2]
        scale = np.divide(1.0, total, out=np.zeros(total.shape), where=total > 0)
        return [value_column("SCALE", u.Quantity(scale, "sr-1"))]

    def _width(self) -> Array:
        sigma = self._parameters["sigma_1"]
        return np.where((self._components()[2] > 0) & (sigma > 0), sigma, np.nan)


class PSFKing(ParametricPSF):
    r"""King's profile, :math:`\frac{1}{2\pi\sigma^2} (1 - 1/\gamma) (1 + t / 2\gamma\sigma^2)^{-\gamma}`.

    Parameters are as for `ParametricPSF`: ``gamma`` and ``sigma``. Values are those of
    King 1962, AJ 67, 471, in the notation of GADF; with γ ≤ 1 there is no normalised shape.
    """

    tag = "psf_king"
    required_parameters: ClassVar[Mapping[str, u.UnitBase]] = {
        "gamma": u.dimensionless_unscaled,
        "sigma": u.rad,
    }

    def _shape(self, t: Array, i: Any, j: Any) -> Array:
        gamma, sigma = self._parameters["gamma"][i, j], self._width()[i, j]
        good = np.isfinite(sigma)
        gamma, sigma = np.where(good, gamma, 2.0), np.where(good, sigma, 1.0)
        values = (1 - 1 / gamma) / (2 * np.pi * sigma**2) * (1 + t / (2 * gamma * sigma**2)) ** -gamma
        # The sphere ends at t = 4.
        total = 1 - (1 + 4 / (2 * gamma * sigma**2)) ** (1 - gamma)
        return np.where(good, values / total, 0.0)

    def _width(self) -> Array:
        gamma, sigma = self._parameters["gamma"], self._parameters["sigma"]
        return np.where((gamma > 1) & (sigma > 0), sigma, np.nan)


def _nodes(axis: MapAxis, values: Array) -> list[tuple[NDArray[np.intp], Array]]:
    """Return two neighbouring nodes of values on an axis and their weights, also beyond the outermost."""
    if axis.nbin == 1:
        return [(np.zeros(values.shape, dtype=np.intp), np.ones(values.shape))]
    pix = axis.coord_to_pix(values)
    lower = np.clip(np.floor(pix), 0, axis.nbin - 2).astype(np.intp)
    return [(lower, 1 - (pix - lower)), (lower + 1, pix - lower)]

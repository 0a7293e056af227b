"""Responses of the Fermi-LAT from its calibration files, averaged over inclinations.

A photon's inclination is the angle to the boresight, here by its cosine. The tables are those of the
calibration database (CALDB): effective area, point spread function and energy dispersion for each type of
event; formulae are those of Pass 8 (https://fermi.gsfc.nasa.gov/ssc/data/analysis/documentation/Cicerone).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError
from villard.maps.fits import open_fits
from villard.utils.units import convert

__all__ = ["FermiEffectiveArea", "FermiEnergyDispersion", "FermiPSF", "ParameterGrid"]

Array = NDArray[np.float64]
#: Below this energy (MeV) the PSF is normalised on the sphere, above on the plane, as the Fermi tools do.
_SPHERE_BELOW = 120.0


@dataclass(frozen=True)
class ParameterGrid:
    """Tables over logarithmic energy and cosine of the inclination.

    Parameters
    ----------
    log_energy : array
        log10 of energies (MeV) at the centres of bins.
    costh : array
        Cosines at the centres of bins.
    tables : dict
        Name to array of shape (costh, energy).
    """

    log_energy: Array
    costh: Array
    tables: dict[str, Array]

    @classmethod
    def read(cls, hdu: Any, names: Iterable[str], where: str) -> Self:
        """Read tables of an extension.

        Raises
        ------
        FileFormatError
            If a column isn't there.
        """
        columns = {} if hdu.columns is None else {c.upper(): c for c in hdu.columns.names}
        names = list(names)
        for name in ("ENERG_LO", "ENERG_HI", "CTHETA_LO", "CTHETA_HI", *names):
            if name not in columns:
                raise FileFormatError(f"{where}, extension {hdu.name}: no column {name}")
        get = lambda name: np.asarray(hdu.data[columns[name]][0], dtype=float)  # noqa: E731
        log_energy = 0.5 * (np.log10(get("ENERG_LO")) + np.log10(get("ENERG_HI")))
        return cls(
            log_energy, 0.5 * (get("CTHETA_LO") + get("CTHETA_HI")), {name: get(name) for name in names}
        )

    def corners(self, energy: Any, costh: Any) -> list[tuple[Array, Any, Any]]:
        """Return weight and indices (of costh and energy) of the four corners; the tables end flat."""
        x = np.clip(np.log10(energy), self.log_energy[0], self.log_energy[-1])
        y = np.clip(costh, self.costh[0], self.costh[-1])
        x, y = np.broadcast_arrays(x, y)
        i, v = _cell(x, self.log_energy)
        j, w = _cell(y, self.costh)
        return [
            ((1 - w) * (1 - v), j, i),
            ((1 - w) * v, j, i + 1),
            (w * (1 - v), j + 1, i),
            (w * v, j + 1, i + 1),
        ]


def _cell(x: Array, nodes: Array) -> tuple[Any, Array]:
    lower = np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2)
    return lower, (x - nodes[lower]) / (nodes[lower + 1] - nodes[lower])


def _extension(hdus: Any, prefix: str, event_type: str, where: str) -> Any:
    name = f"{prefix}_{event_type}"
    for hdu in hdus:
        if hdu.name == name:
            return hdu
    known = ", ".join(hdu.name.removeprefix(f"{prefix}_") for hdu in hdus if hdu.name.startswith(prefix))
    raise FileFormatError(f"{where}: no extension {name}; event types in it: {known or 'none'}")


def _inputs(energy: Any, costh: Any) -> tuple[Array, Array]:
    costh = np.asarray(costh, dtype=float)
    if np.any((costh < -1) | (costh > 1)):
        raise DataError("costh: cosines must be between -1 and 1")
    return convert(energy, "MeV", "energy"), costh


class FermiEffectiveArea:
    """Effective area of a type of events.

    Parameters
    ----------
    grid : `ParameterGrid`
        Table ``EFFAREA`` (m2).
    efficiency_parameters : array, optional
        Of the efficiency in terms of the livetime fraction, shape (2, 6).

    Examples
    --------
    >>> grid = ParameterGrid(np.array([2.0, 3.0]), np.array([0.5, 1.0]), {"EFFAREA": np.ones((2, 2))})
    >>> FermiEffectiveArea(grid)(300 * u.MeV, 0.7)
    <Quantity 10000. cm2>
    """

    def __init__(self, grid: ParameterGrid, efficiency_parameters: Any = None) -> None:
        self.grid = grid
        self.efficiency_parameters = (
            None if efficiency_parameters is None else np.asarray(efficiency_parameters, dtype=float)
        )

    @classmethod
    def read(cls, filename: str | os.PathLike[str], event_type: str) -> Self:
        """Read a file such as ``aeff_P8R2_SOURCE_V6_FB.fits``.

        Parameters
        ----------
        filename : str or path-like
            File.
        event_type : str
            "FRONT", "BACK", "PSF0", …

        Raises
        ------
        FileFormatError
            If the file has no such events.
        """
        where = str(filename)
        with open_fits(filename) as hdus:
            table = _extension(hdus, "EFFECTIVE AREA", event_type, where)
            grid = ParameterGrid.read(table, ["EFFAREA"], where)
            names = [hdu.name for hdu in hdus]
            efficiency = None
            if f"EFFICIENCY_PARAMS_{event_type}" in names:
                efficiency = hdus[f"EFFICIENCY_PARAMS_{event_type}"].data["EFFICIENCY_PARS"]
            return cls(grid, efficiency)

    def __call__(self, energy: Any, costh: Any) -> u.Quantity:
        """Return the area, interpolated linearly in log energy and cosine.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            True energies.
        costh : array
            Cosines of inclinations, which broadcast.
        """
        energies, costh = _inputs(energy, costh)
        table = self.grid.tables["EFFAREA"]
        area = sum(weight * table[j, i] for weight, j, i in self.grid.corners(energies, costh))
        return u.Quantity(np.asarray(area) * 1e4, "cm2")

    def efficiency(self, energy: Any, livetime_fraction: float) -> Array:
        """Return the efficiency at a livetime fraction: less is found the more background there is.

        It is linear in the fraction, with coefficients that are piecewise linear in log10 energy.
        """
        if self.efficiency_parameters is None:
            raise DataError("The file of the effective area has no parameters of the efficiency")
        x = np.log10(convert(energy, "MeV", "energy"))
        slope, constant = (_broken_line(x, p) for p in self.efficiency_parameters)
        return slope * livetime_fraction + constant


def _broken_line(x: Any, parameters: Array) -> Array:
    a0, b0, a1, x1, a2, x2 = parameters
    b1 = (a0 - a1) * x1 + b0
    b2 = (a1 - a2) * x2 + b1
    return np.where(x < x1, a0 * x + b0, np.where(x < x2, a1 * x + b1, a2 * x + b2))


class FermiPSF:
    r"""Point spread function of a type of events: two King functions.

    .. math:: P \propto K(x; \sigma_c, \gamma_c) + N K(x; \sigma_t, \gamma_t), \quad
        K = (1 - 1/\gamma) \left(1 + \frac{x^2}{2 \gamma \sigma^2}\right)^{-\gamma}

    of x, the angle in units of :math:`S(E) = \sqrt{(c_0 (E / 100 MeV)^{-\beta})^2 + c_1^2}`. The functions at
    the nodes of the table, each normalised, are interpolated.

    Parameters
    ----------
    grid : `ParameterGrid`
        Tables NTAIL, SCORE, STAIL, GCORE, GTAIL.
    scaling : array
        Parameters c0, c1 and -beta.
    """

    def __init__(self, grid: ParameterGrid, scaling: Any) -> None:
        self.grid, self.scaling = grid, np.asarray(scaling, dtype=float).ravel()
        self._scale = self.scale_factor(10**grid.log_energy)[np.newaxis]
        self._norm = self._norms()

    @classmethod
    def read(cls, filename: str | os.PathLike[str], event_type: str) -> Self:
        """Read a file such as ``psf_P8R2_SOURCE_V6_FB.fits``; parameters as for `FermiEffectiveArea.read`."""
        where = str(filename)
        names = ["NTAIL", "SCORE", "STAIL", "GCORE", "GTAIL"]
        with open_fits(filename) as hdus:
            grid = ParameterGrid.read(_extension(hdus, "RPSF", event_type, where), names, where)
            scaling = _extension(hdus, "PSF_SCALING_PARAMS", event_type, where).data["PSFSCALE"][0]
            return cls(grid, scaling)

    def scale_factor(self, energy: Any) -> Array:
        """Return S(E) in rad, of energies in MeV."""
        c0, c1, power = self.scaling
        return np.hypot(c0 * (np.asarray(energy) / 100) ** power, c1)

    def _shape(self, theta: Any, j: Any, i: Any) -> Array:
        """Sum of the King functions at nodes, not normalised; theta in rad."""
        t = self.grid.tables
        x = theta / np.broadcast_to(self._scale, t["SCORE"].shape)[j, i]
        core = _king(x / t["SCORE"][j, i], t["GCORE"][j, i])
        return core + t["NTAIL"][j, i] * _king(x / t["STAIL"][j, i], t["GTAIL"][j, i])

    def _norms(self) -> Array:
        """Integral of the shape at each node out to 90 deg."""
        t = self.grid.tables
        plane = np.zeros_like(t["SCORE"])
        for sigma, gamma, weight in (("SCORE", "GCORE", 1.0), ("STAIL", "GTAIL", t["NTAIL"])):
            width = t[sigma] * self._scale
            reach = 0.5 * (0.5 * math.pi / width) ** 2
            plane += weight * 2 * math.pi * width**2 * (1 - (1 + reach / t[gamma]) ** (1 - t[gamma]))
        low = 10**self.grid.log_energy < _SPHERE_BELOW
        if np.any(low):
            j, i = np.meshgrid(np.arange(plane.shape[0]), np.flatnonzero(low), indexing="ij")
            nodes, weights = _angle_rule()
            values = self._shape(nodes[:, np.newaxis, np.newaxis], j, i)
            factors = 2 * math.pi * np.sin(nodes) * weights
            plane[:, low] = np.tensordot(factors, values, axes=1)
        return plane

    def __call__(self, rad: Any, energy: Any, costh: Any) -> u.Quantity:
        """Return the density (sr-1).

        Parameters
        ----------
        rad : `~astropy.units.Quantity`
            Angles from the true direction.
        energy : `~astropy.units.Quantity`
            True energies, which broadcast.
        costh : array
            Cosines of inclinations, which broadcast.
        """
        energies, costh = _inputs(energy, costh)
        theta = convert(rad, "rad", "rad")
        theta, energies, costh = np.broadcast_arrays(theta, energies, costh)
        density = sum(
            weight * self._shape(theta, j, i) / self._norm[j, i]
            for weight, j, i in self.grid.corners(energies, costh)
        )
        return u.Quantity(np.asarray(density), "sr-1")


def _king(x: Any, gamma: Any) -> Array:
    return (1 - 1 / gamma) * (1 + 0.5 * x**2 / gamma) ** -gamma


def _angle_rule() -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights for angles up to 90 deg (rad), in pieces of the logarithm."""
    edges = np.concatenate([[0.0], np.geomspace(1e-5, 0.5 * math.pi, 41)])
    x, w = np.polynomial.legendre.leggauss(12)
    half = 0.5 * np.diff(edges)[:, np.newaxis]
    middle = 0.5 * (edges[1:] + edges[:-1])[:, np.newaxis]
    return (middle + half * x).ravel(), (half * w).ravel()


class FermiEnergyDispersion:
    r"""Energy dispersion of a type of events: two asymmetric generalised Gaussians.

    .. math:: D \propto F g(x; \sigma_1, k_1, b_1, p_1) + (1 - F) g(x; \sigma_2, k_2, b_2, p_2)

    of :math:`x = (E' - E) / (E S_D(E, \theta))`; see the documentation of the Fermi tools. The functions of
    x at the nodes of the table are interpolated. Beyond the table's last cosine :math:`c_l` the Fermi tools
    add a node at 1, whose function is that of the last one with the width of :math:`S_D` there:
    :math:`r D(r x)`, :math:`r = S_D(E_k, 1) / S_D(E_k, c_l)` at each node :math:`E_k` of energy.

    Parameters
    ----------
    grid : `ParameterGrid`
        Tables F, S1, K1, BIAS, BIAS2, S2, K2, PINDEX1, PINDEX2.
    scaling : array
        Six parameters of S_D.
    """

    def __init__(self, grid: ParameterGrid, scaling: Any) -> None:
        self.grid, self.scaling = grid, np.asarray(scaling, dtype=float).ravel()

    @classmethod
    def read(cls, filename: str | os.PathLike[str], event_type: str) -> Self:
        """Read a file such as ``edisp_P8R2_SOURCE_V6_FB.fits``; see `FermiEffectiveArea.read`."""
        where = str(filename)
        names = ["F", "S1", "K1", "BIAS", "BIAS2", "S2", "K2", "PINDEX1", "PINDEX2"]
        with open_fits(filename) as hdus:
            grid = ParameterGrid.read(_extension(hdus, "ENERGY DISPERSION", event_type, where), names, where)
            scaling = _extension(hdus, "EDISP_SCALING_PARAMS", event_type, where).data["EDISPSCALE"][0]
            return cls(grid, scaling)

    def scale_factor(self, energy: Any, costh: Any) -> Array:
        """Return S_D, of energies in MeV."""
        c = self.scaling
        x, y = np.log10(energy), np.abs(costh)
        return c[0] * x**2 + c[1] * y**2 + c[2] * x + c[3] * y + c[4] * x * y + c[5]

    def __call__(self, energy: Any, energy_true: Any, costh: Any) -> u.Quantity:
        """Return the density of measured energy (MeV-1).

        Parameters
        ----------
        energy, energy_true : `~astropy.units.Quantity`
            Measured and true energies; arrays broadcast.
        costh : array
            Cosines of inclinations, which broadcast.
        """
        true, costh = _inputs(energy_true, costh)
        measured = convert(energy, "MeV", "energy")
        measured, true, costh = np.broadcast_arrays(measured, true, costh)
        scale = self.scale_factor(true, costh)
        x = (measured - true) / (true * scale)
        last = self.grid.costh[-1]
        beyond = np.clip((costh - last) / max(1 - last, 1e-9), 0, 1)
        corners = self.grid.corners(true, costh)
        density = sum(weight * (1 - beyond) * self._shape(x, j, i) for weight, j, i in corners)
        if np.any(beyond):
            ratio = self._widening()
            density += sum(
                weight * beyond * ratio[i] * self._shape(x * ratio[i], j, i) for weight, j, i in corners
            )
        return u.Quantity(np.asarray(density) / scale / true, "MeV-1")

    def _widening(self) -> Array:
        """S_D on axis in terms of that at the table's last cosine, at its energies."""
        energy = 10**self.grid.log_energy
        return self.scale_factor(energy, 1.0) / self.scale_factor(energy, self.grid.costh[-1])

    def _shape(self, x: Array, j: Any, i: Any) -> Array:
        t = {name: table[j, i] for name, table in self.grid.tables.items()}
        first = _two_sided(x, t["S1"], t["K1"], t["BIAS"], t["PINDEX1"])
        second = _two_sided(x, t["S2"], t["K2"], t["BIAS2"], t["PINDEX2"])
        return t["F"] * first + (1 - t["F"]) * second


def _two_sided(x: Any, sigma: Any, k: Any, bias: Any, p: Any) -> Array:
    """Generalised Gaussian with the widths sigma / k above and sigma k below the bias."""
    from scipy.special import gamma

    distance = x - bias
    scaled = np.where(distance > 0, k * distance, -distance / k) / sigma
    with np.errstate(under="ignore"):
        return p / (sigma * gamma(1 / p)) * k / (1 + k**2) * np.exp(-(scaled**p))

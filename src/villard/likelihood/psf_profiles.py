"""A point spread function as smooth radial profiles that the likelihood can differentiate.

The variable is v = 4 sin²(r/2) = |a - b|² for unit vectors a and b: smooth in the position of the
source, also at its centre, where the separation r itself is not. Knots are spread evenly in
log(1 + v/v₀): dense in the core, and found without a search.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.utils.array import namespace

__all__ = ["PSFProfiles", "PSFSplines", "make_psf_profiles"]

Array = NDArray[np.float64]

#: Number of knots; fixed, so that all tables share compiled functions.
_N_KNOTS = 384
#: Share of the radius from which on a profile is brought to zero.
_TAPER = 0.95
#: Steps of the integrals over radii between two nodes of a given table.
_FINE = 8


class PSFSplines(NamedTuple):
    """Piecewise cubic profiles of all true energies on shared knots.

    Parameters
    ----------
    coefficients : array
        Polynomials of the position between two knots, shape (n_knots - 1, 4, n_energies), sr-1.
    scale : array
        ``v_0``, knots per unit of log(1 + v / v_0), and the largest ``v``; shape (3,).
    """

    coefficients: Any
    scale: Any

    def evaluate(self, v: Any) -> Any:
        """Return the density (sr-1) at v = 4 sin²(r/2), shape (*v.shape, n_energies)."""
        xp = namespace(v, self.coefficients)
        u = xp.log1p(v / self.scale[0]) * self.scale[1]
        index = xp.clip(xp.floor(u), 0, self.coefficients.shape[0] - 1).astype(int)
        # Beyond the last knot the density is zero.
        t = (u - index)[..., None]
        c = self.coefficients[index]
        value = ((c[..., 0, :] * t + c[..., 1, :]) * t + c[..., 2, :]) * t + c[..., 3, :]
        return xp.where((v < self.scale[2])[..., None], xp.maximum(value, 0.0), 0.0)


@dataclass(frozen=True)
class PSFProfiles:
    """Profiles of a point spread function at one position.

    Parameters
    ----------
    rad, values : array
        Table: radii in deg, shape (n_rad,), and densities in sr-1, shape (n_energies, n_rad).
    splines : `PSFSplines`
        Densities, cut at ``radius_max`` and normalised.
    radius_max : float
        Radius that contains the asked share of the flux at each energy, the largest, in deg.
    core : float
        Smallest radius that contains 39 % (one sigma of a Gaussian) at an energy, in deg.
    radius_68 : array
        Radius that contains 68 % at each energy, in deg; infinite where the PSF is zero.
    """

    rad: Array
    values: Array
    splines: PSFSplines
    radius_max: float
    core: float
    radius_68: Array


def make_psf_profiles(rad: Array, psf: Array, name: str, containment: float = 0.999) -> PSFProfiles:
    """Make profiles from a table.

    Parameters
    ----------
    rad : array
        Radii in deg, ascending, shape (n_rad,).
    psf : array
        Densities in sr-1, shape (n_energies, n_rad); not necessarily normalised.
    name : str
        Name of the dataset, for messages.
    containment : float
        The profile of each energy is cut at the radius that contains this share of it.

    Returns
    -------
    `PSFProfiles`
        Profiles with an integral of 1 each; those that are zero everywhere stay zero.

    Raises
    ------
    DataError
        If densities are negative or not finite, or all are zero.
    """
    psf = np.asarray(psf, dtype=float)
    if not np.all(np.isfinite(psf)) or np.any(psf < 0):
        raise DataError(f"Dataset {name!r}: the PSF has negative or non-finite densities")
    if not np.any(psf > 0):
        raise DataError(f"Dataset {name!r}: the PSF is zero at all energies")
    fine, values = _refine(np.radians(np.asarray(rad, dtype=float)), psf)
    mass = _cumulative(fine, values)
    total = mass[:, -1]
    used = np.flatnonzero(total > 0)
    limits = np.full(len(psf), fine[-1])
    cores = np.full(len(psf), np.inf)
    radius_68 = np.full(len(psf), np.inf)
    for i in used:
        limits[i] = np.interp(containment, mass[i] / total[i], fine)
        cores[i] = np.interp(0.393469, mass[i] / total[i], fine)
        radius_68[i] = np.interp(0.68, mass[i] / total[i], fine)
    radius, core = limits[used].max(), cores.min()
    knots, scale = _knots(radius, core)
    r = 2 * np.arcsin(np.sqrt(knots) / 2)
    at_knots = np.zeros((len(psf), len(knots)))
    for i in used:
        share = np.interp(limits[i], fine, mass[i])
        at_knots[i] = np.interp(r**2, fine**2, values[i]) * _window(r / limits[i]) / share
    coefficients = _cubics(at_knots)
    table = PSFSplines(coefficients, scale)
    splines = _normalised(table, used)
    return PSFProfiles(
        rad=np.asarray(rad, dtype=float),
        values=psf,
        splines=splines,
        radius_max=float(np.degrees(radius)),
        core=float(np.degrees(core)),
        radius_68=np.degrees(radius_68),
    )


def _refine(rad: Array, psf: Array) -> tuple[Array, Array]:
    """Interpolate a table smoothly in r², from the centre to its last radius."""
    from scipy.interpolate import PchipInterpolator

    square = rad**2
    if rad[0] > 0:
        # The density is even in r: linear in r² towards the centre, but never below zero.
        slope = (psf[:, 1] - psf[:, 0]) / (square[1] - square[0])
        first = np.clip(psf[:, 0] - slope * square[0], 0, None)
        square, psf = np.append(0.0, square), np.column_stack([first, psf])
    steps = np.linspace(0, 1, _FINE, endpoint=False)
    roots = np.sqrt(square)
    fine = np.append((roots[:-1, None] + np.diff(roots)[:, None] * steps).ravel(), roots[-1])
    return fine, PchipInterpolator(square, psf, axis=1)(fine**2)


def _cumulative(r: Array, values: Array) -> Array:
    """Integrate densities over the sphere from the centre to each radius."""
    area = 2 * np.pi * 2 * np.sin(r / 2) ** 2
    pieces = 0.5 * (values[:, 1:] + values[:, :-1]) * np.diff(area)
    return np.column_stack([np.zeros(len(values)), np.cumsum(pieces, axis=1)])


def _knots(radius: float, core: float) -> tuple[Array, Array]:
    """Knots in v from 0 to the edge, and the scale of `PSFSplines`."""
    v_max, v_0 = 4 * np.sin(radius / 2) ** 2, (0.3 * core) ** 2
    density = (_N_KNOTS - 1) / np.log1p(v_max / v_0)
    knots = v_0 * np.expm1(np.arange(_N_KNOTS) / density)
    knots[-1] = v_max
    return knots, np.array([v_0, density, v_max])


def _window(ratio: Array) -> Array:
    """Fall smoothly from 1 to 0 at the end of a profile: a step there would jump over pixels in a fit."""
    t = np.clip((ratio - _TAPER) / (1 - _TAPER), 0, 1)
    return 1 - t**3 * (10 - 15 * t + 6 * t**2)


def _cubics(values: Array) -> Array:
    """Cubic splines through evenly spaced values, as (n_knots - 1, 4, n_energies)."""
    from scipy.interpolate import CubicSpline

    polynomials = CubicSpline(np.arange(values.shape[1]), values, axis=1).c
    return np.ascontiguousarray(np.transpose(polynomials, (1, 0, 2)))


def _normalised(table: PSFSplines, used: NDArray[np.intp]) -> PSFSplines:
    """Scale each profile to an integral of exactly 1."""
    v_0, density, v_max = table.scale
    u = (np.arange((_N_KNOTS - 1) * _FINE) + 0.5) / _FINE
    v = np.minimum(v_0 * np.expm1(u / density), v_max * (1 - 1e-12))
    # dΩ = π dv, dv = (v_0 + v) du / density
    integral = np.einsum("ue,u->e", table.evaluate(v), np.pi * (v_0 + v) / density) / _FINE
    factor = np.zeros(len(integral))
    factor[used] = 1 / integral[used]
    return PSFSplines(table.coefficients * factor, table.scale)

r"""Integrals over true energy and direction, event by event: space first, then energy.

The density of a component in true coordinates is a spectrum times a shape, and the response of an event is
energy dispersion times point spread function, so

.. math::
    \mathcal{L}_i(\phi) = \sum_k w_k\, s(E_k | \phi)\, K_i(E_k), \qquad
    K_i(E_k) = \sum_p \omega_p\, \mathrm{edisp}(E'_i | E_k, \Omega_p)\,
               \mathrm{psf}(\Omega'_i | E_k, \Omega_p)\, \mathrm{shape}(E_k, \Omega_p).

The kernel K doesn't depend on the spectrum: any number of spectra costs one product of matrices. Here the
integrals are plain sums over all pixels around each event; `villard.bayes.images` shares the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError

__all__ = ["SpaceContraction", "TrueGrid", "contract_energy", "contract_space", "separation"]

Array = NDArray[np.float64]


def separation(lon: Array | float, lat: Array | float, lon_2: Array | float, lat_2: Array | float) -> Array:
    """Return the angle between directions, all in degrees.

    Vincenty's formula: exact for small and for large angles.

    Examples
    --------
    >>> float(separation(0.0, 0.0, 0.0, 1.0).round(12))
    1.0
    """
    lon, lat, lon_2, lat_2 = (np.radians(x) for x in (lon, lat, lon_2, lat_2))
    difference = lon_2 - lon
    sin, cos = np.sin(lat), np.cos(lat)
    sin_2, cos_2 = np.sin(lat_2), np.cos(lat_2)
    across = np.hypot(cos_2 * np.sin(difference), cos * sin_2 - sin * cos_2 * np.cos(difference))
    along = sin * sin_2 + cos * cos_2 * np.cos(difference)
    return np.asarray(np.degrees(np.arctan2(across, along)))


@dataclass(frozen=True)
class TrueGrid:
    """Nodes of true energy and direction over which densities are summed.

    Parameters
    ----------
    energy : array
        Energies in TeV, shape (n_energies,).
    lon, lat : array
        Directions in deg, shape (n_pixels,).
    energy_weight : array
        Width that each energy stands for (TeV).
    pixel_weight : array
        Solid angle that each direction stands for, in the unit of the densities.
    center : tuple of float
        Direction of the pointing (deg), from which offsets are counted.
    """

    energy: Array
    lon: Array
    lat: Array
    energy_weight: Array
    pixel_weight: Array
    center: tuple[float, float] = (0.0, 0.0)

    @property
    def offset(self) -> Array:
        """Angle of each direction from the pointing (deg)."""
        return separation(*self.center, self.lon, self.lat)


@dataclass(frozen=True)
class SpaceContraction:
    """Kernels of events, and what the bounds of their integrals cut away.

    Parameters
    ----------
    kernels : array
        One per shape, event and true energy: shape (n_shapes, n_events, n_energies).
    truncation : array
        Part of the response of each event, over true energies and directions with equal density, that the
        bounds leave out of the grid's; zero if it wasn't asked for.
    """

    kernels: Array
    truncation: Array


Response = Callable[[Array, Array, Array], Array]


def contract_space(
    energy: Array,
    lon: Array,
    lat: Array,
    grid: TrueGrid,
    shapes: Array,
    edisp: Response,
    psf: Response,
    *,
    dex: float = np.inf,
    angle: float = np.inf,
    norm: Array | None = None,
    truncation: bool = False,
) -> SpaceContraction:
    """Sum response times shape over the directions around each event, for each true energy.

    Parameters
    ----------
    energy, lon, lat : array
        Reconstructed energies (TeV) and directions (deg), shape (n_events,).
    grid : `TrueGrid`
        Nodes of true energy and direction.
    shapes : array
        Densities, or what is left of them without the spectrum: effective area times morphology. Shape
        (n_shapes, n_energies, n_pixels).
    edisp : callable
        ``edisp(energy, energy_true, offset)``: density of the reconstructed energy.
    psf : callable
        ``psf(angle, energy_true, offset)``: density of the reconstructed direction.
    dex : float
        Largest distance of true from reconstructed energy, in powers of ten.
    angle : float
        Largest difference in longitude and in latitude (deg).
    norm : array, optional
        Numbers to divide the response by, shape (n_energies, n_pixels).
    truncation : bool
        Whether what the bounds cut away is computed too, which needs the whole grid for each event.

    Returns
    -------
    `SpaceContraction`
        Kernels with the weights of pixels, but not those of energies, in them.
    """
    expected = (len(grid.energy), len(grid.lon))
    if np.shape(shapes)[1:] != expected:
        raise DataError(
            f"contract_space: expected shapes (n_shapes, {expected[0]}, {expected[1]}), "
            f"found {np.shape(shapes)}"
        )
    weighted = np.asarray(shapes) * grid.pixel_weight
    if norm is not None:
        weighted = weighted / norm
    offset = grid.offset
    kernels = np.zeros((len(shapes), len(energy), len(grid.energy)))
    lost = np.zeros(len(energy))
    for i in range(len(energy)):
        rows, columns = _window(grid, energy[i], lon[i], lat[i], dex, angle)
        response = _response(grid, offset, (energy[i], lon[i], lat[i]), rows, columns, edisp, psf)
        kernels[:, i, rows] = np.einsum("ep,cep->ce", response, weighted[:, rows[:, np.newaxis], columns])
        if truncation:
            whole = np.arange(len(grid.energy)), np.arange(len(grid.lon))
            full = _response(grid, offset, (energy[i], lon[i], lat[i]), *whole, edisp, psf)
            total = grid.energy_weight @ full @ grid.pixel_weight
            kept = grid.energy_weight[rows] @ response @ grid.pixel_weight[columns]
            lost[i] = 1 - kept / total if total > 0 else 0.0
    return SpaceContraction(kernels, lost)


def _window(
    grid: TrueGrid, energy: float, lon: float, lat: float, dex: float, angle: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the nodes of energy and direction that lie within the bounds."""
    distance = np.abs(grid.lon - lon)
    distance = np.where(distance > 180, 360 - distance, distance)
    rows = np.flatnonzero(np.abs(np.log10(grid.energy) - np.log10(energy)) < dex)
    columns = np.flatnonzero((distance < angle) & (np.abs(grid.lat - lat) < angle))
    return rows, columns


def _response(
    grid: TrueGrid,
    offset: Array,
    event: tuple[float, float, float],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    edisp: Response,
    psf: Response,
) -> Array:
    """Energy dispersion times point spread function of an event, shape (n_rows, n_columns)."""
    energy, lon, lat = event
    energy_true = grid.energy[rows][:, np.newaxis]
    place = offset[columns]
    away = separation(lon, lat, grid.lon[columns], grid.lat[columns])
    return edisp(np.asarray(energy), energy_true, place) * psf(away, energy_true, place)


def contract_energy(kernels: Array, energy_weight: Array, spectra: Array) -> Array:
    """Sum kernels times spectra over true energies.

    Parameters
    ----------
    kernels : array
        Shape (..., n_events, n_energies).
    energy_weight : array
        Width that each energy stands for, shape (n_energies,).
    spectra : array
        Shape (n_energies,) or (n_energies, n_spectra).

    Returns
    -------
    array
        Marginal densities, shape (..., n_events) or (..., n_events, n_spectra).

    Examples
    --------
    >>> contract_energy(np.ones((1, 2)), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([11.])
    """
    weight = energy_weight if np.ndim(spectra) == 1 else energy_weight[:, np.newaxis]
    return np.asarray(kernels) @ (np.asarray(spectra) * weight)

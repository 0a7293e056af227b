"""Responses of the Fermi-LAT averaged over inclinations, weighted with exposure."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError
from villard.irf.fermi_caldb import FermiEffectiveArea, FermiEnergyDispersion, FermiPSF
from villard.irf.irf_map import one_for_all
from villard.irf.psf_map import PSFMap
from villard.maps.axis import MapAxis
from villard.utils.paths import make_path
from villard.utils.units import convert

__all__ = ["FermiLivetime", "FermiResponse"]

Array = NDArray[np.float64]
#: Steps of the cosine in which effective area and the other responses are sampled.
_AREA_STEP, _STEP = 0.025, 0.05


@dataclass(frozen=True)
class FermiLivetime:
    """Time for which a direction was observed, by the cosine of the inclination.

    Parameters
    ----------
    costh_edges : array
        Edges of bins of the cosine, increasing.
    livetime : `~astropy.units.Quantity`
        Time in each bin.

    Examples
    --------
    >>> livetime = FermiLivetime.isotropic(10 * u.s)
    >>> livetime.between(0.2, 1.0).round(12)
    <Quantity 4. s>
    """

    costh_edges: Array
    livetime: u.Quantity

    def __post_init__(self) -> None:
        edges = np.asarray(self.costh_edges, dtype=float)
        if edges.ndim != 1 or np.any(np.diff(edges) <= 0) or len(edges) != len(self.livetime) + 1:
            raise DataError("FermiLivetime: expected increasing edges, one more than times")

    @classmethod
    def isotropic(cls, time: Any, n_bins: int = 40) -> Self:
        """Return the livetime of an observatory that points in all directions equally long.

        Parameters
        ----------
        time : `~astropy.units.Quantity`
            Total time; half of it the direction is behind the instrument.
        n_bins : int
            Number of bins of the cosine from 0 to 1.
        """
        edges = np.linspace(0, 1, n_bins + 1)
        return cls(edges, u.Quantity(time, "s") * np.diff(edges) / 2)

    def between(self, low: Any, high: Any) -> u.Quantity:
        """Return the time between cosines; it is spread evenly within bins."""
        total = np.concatenate([[0.0], np.cumsum(self.livetime.to_value("s"))])
        at = [np.interp(cosine, self.costh_edges, total) for cosine in (low, high)]
        return u.Quantity(at[1] - at[0], "s")


@dataclass(frozen=True)
class FermiResponse:
    """Response to one or several types of events, summed over these.

    Parameters
    ----------
    aeff, psf, edisp : sequence
        One per event type; the last two may be empty.

    Examples
    --------
    Read ``aeff_…``, ``psf_…`` and ``edisp_P8R2_SOURCE_V6_FB.fits`` of a folder, for front and back::

        response = FermiResponse.read("$CALDB/…/bcf", "P8R2_SOURCE_V6")
        livetime = FermiLivetime.isotropic(10 * u.yr)
        response.exposure([1, 10] * u.GeV, livetime, [0.2, 1])
    """

    aeff: Sequence[FermiEffectiveArea]
    psf: Sequence[FermiPSF] = ()
    edisp: Sequence[FermiEnergyDispersion] = ()

    @classmethod
    def read(
        cls,
        folder: str | os.PathLike[str],
        name: str,
        event_types: Sequence[str] = ("FRONT", "BACK"),
    ) -> Self:
        """Read the three files of a response.

        Parameters
        ----------
        folder : str or path-like
            Folder; files may also be in its subfolders ``ea``, ``psf`` and ``edisp``.
        name : str
            Name, such as "P8R2_SOURCE_V6".
        event_types : sequence of str
            Types of one partition: ("FRONT", "BACK"), ("PSF0", …), …

        Raises
        ------
        FileFormatError
            If a file isn't there or lacks an event type.
        """
        kind = {"FRONT": "FB", "BACK": "FB"}.get(event_types[0], event_types[0][:-1])
        where = make_path(folder)
        aeff = _find(where, "ea", f"aeff_{name}_{kind}.fits")
        psf = _find(where, "psf", f"psf_{name}_{kind}.fits")
        edisp = _find(where, "edisp", f"edisp_{name}_{kind}.fits")
        return cls(
            [FermiEffectiveArea.read(aeff, item) for item in event_types],
            [FermiPSF.read(psf, item) for item in event_types],
            [FermiEnergyDispersion.read(edisp, item) for item in event_types],
        )

    def exposure(self, energy: Any, livetime: FermiLivetime, costh_bins: Any) -> u.Quantity:
        """Return the exposure in bins of the cosine.

        Parameters
        ----------
        energy : `~astropy.units.Quantity`
            True energies, shape (n,).
        livetime : `FermiLivetime`
            Livetime.
        costh_bins : array
            Edges of bins, shape (m + 1,).

        Returns
        -------
        `~astropy.units.Quantity`
            Exposure (cm2 s), shape (n, m).
        """
        bins = _samples(costh_bins, _AREA_STEP)
        parts = [self._exposure(energy, livetime, *sample).sum(axis=(0, 2)) for sample in bins]
        return u.Quantity(np.stack(parts, axis=-1), "cm2 s")

    def _exposure(self, energy: Any, livetime: FermiLivetime, centers: Array, step: float) -> Array:
        """Exposure by event type, energy and sample of the cosine (cm2 s)."""
        energy = np.atleast_1d(u.Quantity(energy))[:, np.newaxis]
        time = livetime.between(centers - step / 2, centers + step / 2).to_value("s")
        return np.stack([aeff(energy, centers).to_value("cm2") * time for aeff in self.aeff])

    def average_psf(self, rad: Any, energy: Any, livetime: FermiLivetime, costh_bins: Any) -> u.Quantity:
        """Return the point spread function weighted with exposure, in bins of the cosine.

        Parameters
        ----------
        rad, energy : `~astropy.units.Quantity`
            Angles, shape (k,), and true energies, shape (n,).
        livetime, costh_bins
            As for `exposure`.

        Returns
        -------
        `~astropy.units.Quantity`
            Density (sr-1), shape (k, n, m).
        """
        rad = np.atleast_1d(u.Quantity(rad))[:, np.newaxis, np.newaxis]
        true = np.atleast_1d(u.Quantity(energy))[:, np.newaxis]
        means = [
            self._mean(energy, livetime, sample, [p(rad, true, sample[0]).value for p in self.psf])
            for sample in _samples(costh_bins, _STEP)
        ]
        return u.Quantity(np.stack(means, axis=-1), "sr-1")

    def average_edisp(
        self, energy: Any, energy_true: Any, livetime: FermiLivetime, costh_bins: Any
    ) -> u.Quantity:
        """Return the density of measured energy weighted with exposure, in bins of the cosine.

        Parameters
        ----------
        energy, energy_true : `~astropy.units.Quantity`
            Measured energies, shape (k,), and true energies, shape (n,).
        livetime, costh_bins
            As for `exposure`.

        Returns
        -------
        `~astropy.units.Quantity`
            Density (MeV-1), shape (k, n, m).
        """
        measured = np.atleast_1d(u.Quantity(energy))[:, np.newaxis, np.newaxis]
        true = np.atleast_1d(u.Quantity(energy_true))[:, np.newaxis]
        means = [
            self._mean(
                energy_true, livetime, sample, [d(measured, true, sample[0]).value for d in self.edisp]
            )
            for sample in _samples(costh_bins, _STEP)
        ]
        return u.Quantity(np.stack(means, axis=-1), "MeV-1")

    def _mean(
        self, energy: Any, livetime: FermiLivetime, sample: tuple[Array, float], values: list[Array]
    ) -> Array:
        """Mean over event types and cosines of values of shape (k, energy, cosine)."""
        if len(values) != len(self.aeff):
            raise DataError(f"FermiResponse: expected {len(self.aeff)} event types, found {len(values)}")
        weights = self._exposure(energy, livetime, *sample)
        total = weights.sum(axis=(0, 2))
        summed = sum((w * v).sum(axis=-1) for w, v in zip(weights, values, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(summed) / total

    def measured_psf(
        self,
        rad: Any,
        energy_edges: Any,
        energy_true_edges: Any,
        livetime: FermiLivetime,
        costh_range: tuple[float, float] = (0.2, 1.0),
        spectrum: Callable[[u.Quantity], u.Quantity] | None = None,
        n_parts: int = 32,
    ) -> u.Quantity:
        r"""Return the point spread function of the events in bins of measured energy.

        .. math:: P_b(r) \propto \sum_{c, t} \int dE\, F(E) A_t(E, c) T_c P_t(r | E, c)
            \int_b dE' D_t(E' | E, c)

        with the sum over types of events t and samples c of the cosine, so that dispersion and point spread
        function belong to the same inclination. Integrals are midpoint sums in the logarithm.

        Parameters
        ----------
        rad : `~astropy.units.Quantity`
            Angles, shape (k,).
        energy_edges : `~astropy.units.Quantity`
            Edges of bins of measured energy, shape (n + 1,).
        energy_true_edges : `~astropy.units.Quantity`
            Edges of parts of true energy: with 64 per decade the fraction within r68 is right to 1e-4.
        livetime, costh_range
            As for `psf_map`.
        spectrum : callable, optional
            Differential flux F at true energies; a power law of index 2 if it isn't given.
        n_parts : int
            Parts of each bin of measured energy.

        Returns
        -------
        `~astropy.units.Quantity`
            Density (sr-1), shape (k, n).
        """
        rad = np.atleast_1d(u.Quantity(rad))[:, np.newaxis]
        true, width = _log_parts(convert(energy_true_edges, "MeV", "energy_true_edges"), 1)
        measured, steps = _log_parts(convert(energy_edges, "MeV", "energy_edges"), n_parts)
        energy = true * u.MeV
        flux = energy.value**-2.0 if spectrum is None else np.asarray(u.Quantity(spectrum(energy)).value)
        centers, step = _samples(costh_range, _STEP)[0]
        exposure = self._exposure(energy, livetime, centers, step) * (flux * width)[:, np.newaxis]
        total, weight = 0.0, 0.0
        for kind, (psf, edisp) in enumerate(zip(self.psf, self.edisp, strict=True)):
            for i, center in enumerate(centers):
                density = edisp(measured[:, np.newaxis] * u.MeV, energy, center).to_value("MeV-1")
                inside = (density * steps[:, np.newaxis]).reshape(-1, n_parts, len(true)).sum(axis=1)
                counts = inside * exposure[kind, :, i]
                total = total + psf(rad, energy, center).to_value("sr-1") @ counts.T
                weight = weight + counts.sum(axis=1)
        return u.Quantity(total / weight, "sr-1")

    def psf_map(
        self, energy: Any, rad: Any, livetime: FermiLivetime, costh_range: tuple[float, float] = (0.2, 1.0)
    ) -> PSFMap:
        """Return the mean point spread function, with its exposure, as a map for all directions.

        Parameters
        ----------
        energy, rad : `~astropy.units.Quantity`
            Nodes of true energy and of the angle.
        livetime : `FermiLivetime`
            Livetime.
        costh_range : (float, float)
            Cosines that were selected.
        """
        psf = self.average_psf(rad, energy, livetime, costh_range)[..., 0].T
        exposure = self.exposure(energy, livetime, costh_range)
        axis = MapAxis.from_nodes(energy, name="energy_true", interp="log")
        angles = MapAxis.from_nodes(rad, name="rad")
        table = one_for_all([angles, axis], psf.to_value("sr-1"), "sr-1")
        return PSFMap(table, one_for_all([angles.squash(), axis], exposure.to_value("cm2 s"), "cm2 s"))


def _find(folder: Path, below: str, name: str) -> Path:
    for path in (folder / name, folder / below / name):
        if path.is_file():
            return path
    raise FileFormatError(f"{name} was not found in {folder}, nor in its subfolder {below}")


def _log_parts(edges: Array, n: int) -> tuple[Array, Array]:
    """Return logarithmic centres and widths of n parts of each bin."""
    steps = np.arange(n) / n
    lower = (edges[:-1, np.newaxis] * (edges[1:] / edges[:-1])[:, np.newaxis] ** steps).ravel()
    edges = np.append(lower, edges[-1])
    return np.sqrt(edges[1:] * edges[:-1]), np.diff(edges)


def _samples(costh_bins: Any, step: float) -> list[tuple[Array, float]]:
    """Return, for each bin, the centres of its parts and their width."""
    edges = np.asarray(convert(costh_bins, "", "costh_bins"), dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or np.any(np.diff(edges) <= 0):
        raise DataError("costh_bins: expected two or more increasing edges")
    result = []
    for low, high in pairwise(edges):
        n = int(np.ceil((high - low) / step - 1e-9))
        parts = np.linspace(low, high, n + 1)
        result.append((0.5 * (parts[1:] + parts[:-1]), (high - low) / n))
    return result

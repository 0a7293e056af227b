"""Likelihood profiles of the flux in bins of energy: what a measured spectrum says, whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from villard.estimators.flux_points import FluxPoints
from villard.exceptions import ConfigError, DataError
from villard.likelihood.profile_statistic import profile, profile_derivatives, profile_roots
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

    from villard.estimators.castro_fit import SpectrumFit

__all__ = ["CastroData", "delta_stat"]

Array = NDArray[np.float64]

QUANTITIES = ("eflux", "flux", "dnde")
#: Nodes per bin for the integrals of spectra over bins.
_NODES = 16
_HALVINGS = 60


def delta_stat(confidence: float, n_sides: int = 1) -> float:
    """Return the rise of -2 ln L at the end of an interval of a given confidence (Wilks).

    Parameters
    ----------
    confidence : float
        Confidence level.
    n_sides : {1, 2}
        1 for an upper limit, 2 for an interval.

    Examples
    --------
    >>> round(delta_stat(0.95) / 2, 10), round(delta_stat(0.6827, 2) / 2, 10)
    (1.352771727, 0.5000217136)
    """
    from statistics import NormalDist

    if not 0 < confidence < 1 or (n_sides == 1 and confidence <= 0.5):
        raise ConfigError(
            f"Confidence level: expected a number below 1 and above {0.5 if n_sides == 1 else 0}, "
            f"found {confidence:g}"
        )
    return float(NormalDist().inv_cdf(1 - (1 - confidence) / n_sides) ** 2)


class CastroData:
    r"""Profiles of -2 ln L of a flux in bins of energy, of one target.

    Profiles are functions of the *norm*: the flux in the bin over that of a reference. They go through
    all tabulated values; between them the square root of the rise is a cubic spline, which is nearly
    straight for counts. (fermipy joins them by straight lines, which lie above the likelihood's curve.)

    Parameters
    ----------
    points : `FluxPoints`
        Flux points with profiles (``stat_scan`` and ``norm_scan``) and bins.
    name : str
        Name of the target.
    quantity : {"eflux", "flux", "dnde"}
        What of a spectrum is compared with the reference: the energy flux in the bin, as in fermipy,
        the flux in the bin, or the differential flux at the reference energy, as in `FluxPointsDataset`.
        For narrow bins they give the same.

    Raises
    ------
    DataError
        If there are no profiles, or a profile has less than four values.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import Table
    >>> table = Table({"e_min": [1, 10] * u.GeV, "e_max": [10, 100] * u.GeV})
    >>> table["norm"], table["norm_scan"] = [1.0, 0.0], np.tile(np.linspace(0, 4, 9), (2, 1))
    >>> table["stat_scan"] = [(table["norm_scan"][0] - 1) ** 2 / 0.2**2, 4 * table["norm_scan"][1]]
    >>> data = CastroData(FluxPoints.from_table(table, sed_type="likelihood"), name="toy")
    >>> data.ts.round(3), data.norm_ul(0.95).round(3)
    (array([25.,  0.]), array([1.329, 0.676]))
    """

    def __init__(self, points: FluxPoints, name: str = "", quantity: str = "eflux") -> None:
        if quantity not in QUANTITIES:
            raise ConfigError(f"Castro data: unknown quantity {quantity!r}. {nearest(quantity, QUANTITIES)}")
        if not points.has_stat_profiles:
            raise DataError(f"Castro data {name!r}: the flux points have no likelihood profiles")
        if quantity != "dnde" and not points.is_convertible_to_flux_sed_type:
            raise DataError(
                f"Castro data {name!r}: {quantity} needs bins (e_min and e_max), which aren't known"
            )
        self.points = points
        self.name = name
        self.quantity = quantity
        norm, stat = points.norm_scan, points.quantity("stat_scan").value
        if not np.all(np.isfinite(stat)):
            bad = np.flatnonzero(~np.all(np.isfinite(stat), axis=1))
            raise DataError(f"Castro data {name!r}: the profiles of bins {bad.tolist()} aren't finite")
        best_norm, best_stat = _best_fits(points, norm, stat)
        # A floating offset of 10⁴ would cost digits.
        self.best_stat = np.where(np.isfinite(best_stat), best_stat, stat.min(axis=1))
        self.roots = profile_roots(
            norm, stat - self.best_stat[:, None], best_norm, np.where(np.isfinite(best_stat), 0.0, np.nan)
        )

    # Files

    @classmethod
    def read(
        cls, filename: str | os.PathLike[str], target: str | int | None = None, quantity: str = "eflux"
    ) -> Self:
        """Read the profiles of one target.

        Parameters
        ----------
        filename : str or path-like
            SED of fermipy or GADF's ``likelihood`` SED (FITS, ECSV), a table of several targets
            (``SCANDATA``, fermipy's castro files), or fermipy's YAML list of bins.
        target : str or int, optional
            Target, or its row; needed where there are several.
        quantity : {"eflux", "flux", "dnde"}
            See `CastroData`.

        Raises
        ------
        FileFormatError
            If the file has another layout.
        DataError
            If there are several targets and none is named, or the name is unknown.
        """
        from villard.estimators.castro_io import read_targets, select_target

        points, name = select_target(read_targets(filename), target, filename)
        return cls(points, name, quantity)

    @classmethod
    def read_all(cls, filename: str | os.PathLike[str], quantity: str = "eflux") -> list[Self]:
        """Read the profiles of all targets of a file, see `read`."""
        from villard.estimators.castro_io import read_targets

        return [cls(points, name, quantity) for points, name in read_targets(filename)]

    def write(self, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write a ``likelihood`` SED as GADF defines it, with the columns of fermipy too."""
        from villard.estimators.castro_io import write_sed

        write_sed(self.points, filename, overwrite)

    # Profiles

    def __len__(self) -> int:
        return len(self.points)

    @property
    def n_bins(self) -> int:
        """Number of bins of energy."""
        return len(self.points)

    def stat(self, norm: Any) -> Array:
        """Return the rise of -2 ln L above the best fit of each bin.

        Parameters
        ----------
        norm : array
            Norms, shape (..., n_bins).

        Returns
        -------
        array
            Shape (..., n_bins). Beyond the table it goes on as a parabola.
        """
        norm = np.asarray(norm, dtype=float)
        return np.asarray(profile(norm, **self._shaped(norm.ndim)))

    def stat_derivatives(self, norm: Any) -> tuple[Array, Array, Array]:
        """Return `stat` and its first and second derivatives by the norm, each of shape (..., n_bins)."""
        norm = np.asarray(norm, dtype=float)
        value, first, second = profile_derivatives(norm, **self._shaped(norm.ndim))
        return np.asarray(value), np.asarray(first), np.asarray(second)

    def _shaped(self, ndim: int) -> dict[str, Array]:
        return {key: v.reshape(len(v), *(1,) * (ndim - 1), -1) for key, v in self.roots.items()}

    def __call__(self, norm: Any) -> Array:
        """Return ln L of norms in all bins together, 0 at the best fits; shape (...)."""
        return np.asarray(-0.5 * self.stat(norm).sum(axis=-1))

    @cached_property
    def norm(self) -> Array:
        """Best-fit norms, not below the lowest in the table; shape (n_bins,)."""
        roots, knots = self.roots["root"], self.roots["knot"]
        index = np.argmin(roots**2 - self.roots["floor"], axis=0)
        return np.asarray(np.take_along_axis(knots, index[None], axis=0)[0])

    @property
    def ts(self) -> Array:
        """Test statistic of the flux in each bin: rise of -2 ln L at no flux, shape (n_bins,)."""
        return np.maximum(self.stat(np.zeros(self.n_bins)) - self.stat(self.norm), 0.0)

    def norm_ul(self, confidence: float = 0.95) -> Array:
        """Return upper limits of the norm, shape (n_bins,); beyond the table the profile is continued."""
        return self._crossing(delta_stat(confidence), 1)

    def norm_errors(self, confidence: float = 0.6826894921370859) -> tuple[Array, Array]:
        """Return lower and upper errors of the norm, shape (n_bins,); lower ones NaN where they reach 0."""
        level = delta_stat(confidence, 2)
        return self.norm - self._crossing(level, -1), self._crossing(level, 1) - self.norm

    def _crossing(self, level: float, side: int) -> Array:
        """Where the rise above the best fit reaches a level, by halving; NaN where it doesn't above 0."""
        best = self.stat(self.norm)
        step = np.maximum(np.ptp(self.roots["knot"], axis=0), np.abs(self.norm))
        inner, outer = self.norm, self.norm + side * step
        for _ in range(_HALVINGS):
            short = self.stat(outer) - best < level
            if side < 0 or not np.any(short):
                break
            inner, outer = np.where(short, outer, inner), np.where(short, outer + step, outer)
            step = 2 * step
        if side < 0:
            outer = np.zeros_like(inner)
        reached = self.stat(outer) - best >= level
        for _ in range(_HALVINGS):
            middle = 0.5 * (inner + outer)
            short = self.stat(middle) - best < level
            inner, outer = np.where(short, middle, inner), np.where(short, outer, middle)
        return np.where(reached, 0.5 * (inner + outer), np.nan)

    # Spectra

    @cached_property
    def reference(self) -> Array:
        """Flux of the norm 1 in TeV, cm, s; shape (n_bins,)."""
        unit = {"eflux": "TeV cm-2 s-1", "flux": "cm-2 s-1", "dnde": "TeV-1 cm-2 s-1"}[self.quantity]
        return np.asarray(self.points.reference(self.quantity).to_value(unit))

    @cached_property
    def nodes(self) -> tuple[Array, Array]:
        """Energies in TeV at which spectra are evaluated, and the matrix from there to norms.

        Shapes are (n_nodes,) and (n_nodes, n_bins).
        """
        if self.quantity == "dnde":
            return self.points.energy_ref.to_value("TeV"), np.diag(1 / self.reference)
        x, w = np.polynomial.legendre.leggauss(_NODES)
        low, high = (np.log(e.to_value("TeV")) for e in (self.points.energy_min, self.points.energy_max))
        half = 0.5 * (high - low)[:, None]
        energy = np.exp(low[:, None] + half * (x + 1))
        weight = half * w * energy * (energy if self.quantity == "eflux" else 1.0) / self.reference[:, None]
        matrix = np.zeros((self.n_bins, _NODES, self.n_bins))
        matrix[np.arange(self.n_bins), :, np.arange(self.n_bins)] = weight
        return energy.ravel(), matrix.reshape(-1, self.n_bins)

    def predict(self, spectrum: Any) -> Array:
        """Return the norms that a spectrum has, shape (n_bins,).

        Parameters
        ----------
        spectrum : spectral model or `~villard.modeling.models.SkyModel`
            Spectrum.
        """
        from villard.estimators.castro_fit import as_sky_model, fold_spectrum

        return fold_spectrum(self, as_sky_model(spectrum))

    def ts_spectrum(self, spectrum: Any) -> float:
        """Return the rise of -2 ln L from a spectrum, as it is, to no flux."""
        norm = self.predict(spectrum)
        return float(np.sum(self.stat(np.zeros(self.n_bins)) - self.stat(norm)))

    def fit_spectrum(self, spectrum: Any, starts: Sequence[dict[str, float]] | None = None) -> SpectrumFit:
        """Fit a spectrum to the profiles; see `villard.estimators.fit_spectrum`."""
        from villard.estimators.castro_fit import fit_spectrum

        return fit_spectrum(self, spectrum, starts)

    def test_spectra(self, spectra: Sequence[str] | None = None) -> dict[str, SpectrumFit]:
        """Fit a power law, a log-parabola and one with cutoff; see `villard.estimators.test_spectra`."""
        from villard.estimators.castro_fit import test_spectra

        return test_spectra(self, spectra)

    # Results

    def to_table(self, confidence: float = 0.95) -> Table:
        """Return what follows from the profiles: a row per bin with norm, errors, limit, TS."""
        from astropy.table import Table

        errn, errp = self.norm_errors()
        table = Table({"e_min": self.points.energy_min, "e_max": self.points.energy_max})
        table["norm"], table["norm_errn"], table["norm_errp"] = self.norm, errn, errp
        table["norm_ul"], table["ts"] = self.norm_ul(confidence), self.ts
        if self.quantity != "dnde":
            unit = self.points.reference(self.quantity)
            table[self.quantity], table[f"{self.quantity}_ul"] = self.norm * unit, table["norm_ul"] * unit
        table.meta = {"UL_CONF": confidence, "target": self.name}
        return table

    def plot(self, ax: Axes | None = None, spectra: Any = None, sed_type: str = "e2dnde") -> Axes:
        """Plot the profiles as an image of ln L by energy and flux, with limits and fitted spectra.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        spectra : spectral model, `SpectrumFit`, list or dict of them, optional
            Spectra to draw.
        sed_type : {"e2dnde", "dnde", "eflux", "flux", "norm"}
            Representation.
        """
        from villard.estimators.castro_plot import plot_castro

        return plot_castro(self, ax, spectra, sed_type)

    def __repr__(self) -> str:
        low, high = self.points.energy_min[0], self.points.energy_max[-1]
        return f"CastroData({self.name!r}, {self.n_bins} bins, {low:.4g} to {high:.4g})"


def _best_fits(points: FluxPoints, norm: Array, stat: Array) -> tuple[Array, Array]:
    """Best fits where they are known, or where the lowest norm of the table is the best."""
    n = len(points)
    best_norm = points.quantity("norm").value.copy() if points.has("norm") else np.full(n, np.nan)
    best_stat = points.quantity("stat").value.copy() if points.has("stat") else np.full(n, np.nan)
    at_end = (np.argmin(stat, axis=1) == 0) & ~(best_norm > norm[:, 0] + 1e-6 * np.ptp(norm, axis=1))
    best_norm[at_end], best_stat[at_end] = norm[at_end, 0], stat[at_end, 0]
    return best_norm, best_stat

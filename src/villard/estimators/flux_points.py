"""Flux points: fluxes measured in bins of energy, with errors, limits and likelihood profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np

from villard.estimators.flux_quantities import Array, FluxQuantities
from villard.estimators.reference import EnergyBins, ReferenceSpectrum
from villard.exceptions import DataError
from villard.maps import RegionNDMap

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

__all__ = ["FluxPoints"]


class FluxPoints(FluxQuantities):
    """Fluxes of one source in bins of energy.

    What was measured is kept as the *norm*: the ratio to a reference spectrum. The fluxes in all
    representations ("sed types") are norm times reference:

    - ``dnde``: differential flux at `energy_ref`, ``e2dnde``: the same times energy squared;
    - ``flux`` and ``eflux``: integral of the flux and of the flux times energy over the bin.

    Each is a map of one number per energy with ``.data`` and ``.quantity`` of shape (n, 1, 1), as are
    its errors (``dnde_err``, ``dnde_errn``, ``dnde_errp``) and upper limits (``dnde_ul``). `quantity`
    gives plain arrays of shape (n,).

    Parameters
    ----------
    data : dict of str to map
        Maps on an energy axis; ``norm`` is needed.
    reference_model : `~villard.modeling.models.SkyModel` or spectral model, optional
        Spectrum that norms refer to; a power law of index 2 by default.
    meta : dict, optional
        ``n_sigma`` and ``n_sigma_ul``: confidence of errors and limits; anything else is kept.
    gti : `~villard.data.GTI`, optional
        Good time intervals, kept as they are.
    filter_success_nan : bool
        Whether the norms of failed fits (``success`` false) are given as NaN.

    Raises
    ------
    DataError
        If quantities are unknown or have other shapes than the norm.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astropy.table import Table
    >>> table = Table({"e_ref": [1, 10] * u.TeV})
    >>> table["dnde"] = [3e-11, 1e-13] * u.Unit("cm-2 s-1 TeV-1")
    >>> table["dnde_err"] = 0.1 * table["dnde"].quantity
    >>> points = FluxPoints.from_table(table, sed_type="dnde")
    >>> points.quantity("e2dnde").to("TeV cm-2 s-1")
    <Quantity [3.e-11, 1.e-11] TeV / (s cm2)>
    >>> points.dnde.data.shape
    (2, 1, 1)
    """

    tag = "FluxPoints"

    def __init__(
        self,
        data: Mapping[str, RegionNDMap],
        reference_model: Any = None,
        meta: Mapping[str, Any] | None = None,
        gti: Any = None,
        filter_success_nan: bool = True,
    ) -> None:
        if "norm" not in data:
            raise DataError(f"Flux points: expected a map 'norm', found {sorted(data)}")
        energies = EnergyBins.from_axis(data["norm"].geom.axes["energy"])
        arrays = {name: np.array(item.data)[..., 0, 0] for name, item in data.items()}
        if "stat_scan" in data and "norm_scan" not in arrays:
            grid = data["stat_scan"].geom.axes["norm"].center.value
            arrays["norm_scan"] = np.tile(grid, (len(energies.ref), 1))
        reference = ReferenceSpectrum.from_model(reference_model, energies)
        self._set(energies, arrays, reference, "likelihood", meta, gti, filter_success_nan)

    # Tables and files

    @classmethod
    def from_table(
        cls,
        table: Table,
        sed_type: str | None = None,
        format: str | None = None,
        reference_model: Any = None,
        gti: Any = None,
        where: str = "Table of flux points",
    ) -> Self:
        """Make flux points from a table with the columns of GADF.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Columns ``e_ref`` or ``e_min`` and ``e_max``, and the flux with its errors; masked values
            are NaN. Names may be in upper case, as in fermipy's files.
        sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}, optional
            What is given; by default the keyword ``SED_TYPE`` of the table, else the first that is there.
        format : {"gadf-sed"}, optional
            Layout.
        reference_model : `~villard.modeling.models.SkyModel` or spectral model, optional
            Spectrum for conversions. By default the columns ``ref_…``, else a power law of index 2.
        gti : `~villard.data.GTI`, optional
            Good time intervals.
        where : str
            Name of the table, for messages.

        Raises
        ------
        FileFormatError
            If columns are missing.
        UnitsError
            If a unit is missing or unknown.
        """
        from villard.estimators.flux_points_io import parse_table

        return cls._make(**parse_table(table, sed_type, format, reference_model, where), gti=gti)

    def to_table(
        self, sed_type: str | None = None, format: str = "gadf-sed", formatted: bool = False
    ) -> Table:
        """Return the flux points as a table with the columns of GADF.

        Parameters
        ----------
        sed_type : {"likelihood", "dnde", "e2dnde", "flux", "eflux"}, optional
            Representation; "likelihood" keeps everything, and is the default.
        format : {"gadf-sed"}
            Layout.
        formatted : bool
            Whether columns print with few digits.

        Returns
        -------
        `~astropy.table.Table`
            One row per point; ``SED_TYPE``, ``UL_CONF`` and ``N_SIGMA`` in its meta.
        """
        from villard.estimators.flux_points_io import make_table

        return make_table(self, sed_type or "likelihood", format, formatted)

    @classmethod
    def read(
        cls,
        filename: str | os.PathLike[str],
        sed_type: str | None = None,
        format: str | None = None,
        reference_model: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Read flux points from a FITS or ECSV file.

        Parameters
        ----------
        filename : str or path-like
            File; ``$VAR`` is expanded.
        sed_type, format, reference_model
            As for `from_table`.
        **kwargs
            For `astropy.table.Table.read`, if the file isn't FITS: ``format`` of other text tables is
            given as ``table_format``.

        Raises
        ------
        FileFormatError
            If the file is damaged or columns are missing.
        """
        from villard.estimators.flux_points_io import read_table

        table, gti, where = read_table(filename, **kwargs)
        return cls.from_table(table, sed_type, format, reference_model, gti, where=where)

    def write(
        self,
        filename: str | os.PathLike[str],
        sed_type: str | None = None,
        format: str = "gadf-sed",
        overwrite: bool = False,
        checksum: bool = False,
    ) -> None:
        """Write flux points to a FITS or ECSV file, by its suffix.

        Parameters
        ----------
        filename : str or path-like
            File, ``….fits``, ``….fits.gz`` or ``….ecsv``.
        sed_type, format
            As for `to_table`.
        overwrite : bool
            Whether an existing file may be replaced.
        checksum : bool
            Whether checksums are added (FITS).
        """
        from villard.estimators.flux_points_io import write_table

        write_table(self.to_table(sed_type, format), self.gti, filename, overwrite, checksum)

    def pop_column(self, name: str) -> Any:
        """Remove a column that a table brought along and return it; `None` if there is none."""
        return self._extra.pop(name, None)

    def set_column(self, name: str, values: Any) -> None:
        """Add a column, one row per point, that is written with the flux points."""
        if len(values) != len(self):
            raise DataError(f"Flux points: expected {len(self)} rows of {name!r}, found {len(values)}")
        self._extra[name] = values

    # Other flux points

    def copy(self, reference_model: Any = None) -> Self:
        """Return a copy, optionally with another reference model.

        What was measured stays the same: the flux in the representation in which the points were
        given (integral fluxes for ``"likelihood"``, if bins are known); its norm changes.

        Parameters
        ----------
        reference_model : `~villard.modeling.models.SkyModel` or spectral model, optional
            New reference.
        """
        arrays = {name: values.copy() for name, values in self._arrays.items()}
        reference = self._reference
        if reference_model is not None:
            reference = ReferenceSpectrum.from_model(reference_model, self._energies)
            kept = self._sed_type_init
            if kept == "likelihood":
                kept = "flux" if self.is_convertible_to_flux_sed_type else "dnde"
            factor = self._reference.values(kept) / reference.values(kept)
            for name, values in arrays.items():
                if name.startswith("norm"):
                    arrays[name] = values * factor.reshape((-1,) + (1,) * (values.ndim - 1))
        return self._derived(self._energies, arrays, reference, self._extra)

    def _derived(
        self,
        energies: EnergyBins,
        arrays: dict[str, Array],
        reference: ReferenceSpectrum,
        extra: dict[str, Any],
    ) -> Self:
        return self._make(
            energies,
            arrays,
            reference,
            self._sed_type_init,
            self.meta,
            self.gti,
            self.filter_success_nan,
            {name: values.copy() for name, values in extra.items()},
        )

    def slice_by_idx(self, slices: Mapping[str, slice]) -> Self:
        """Return some of the points.

        Parameters
        ----------
        slices : dict
            ``{"energy": slice}``.
        """
        if set(slices) != {"energy"}:
            raise DataError(f"Flux points: expected slices of 'energy', found {sorted(slices)}")
        return self._select(slices["energy"])

    def slice_by_energy(self, energy_min: u.Quantity, energy_max: u.Quantity) -> Self:
        """Return the points between the edges nearest to two energies.

        Where bins have gaps or aren't known: those with `energy_ref` between the energies.

        Raises
        ------
        DataError
            If there are none.
        """
        low, high = u.Quantity(energy_min), u.Quantity(energy_max)
        if self._energies.is_contiguous:
            first, last = self.energy_axis.group_edges(u.Quantity([low, high]))[[0, -1]]
            return self._select(slice(int(first), int(last)))
        idx = np.flatnonzero((self.energy_ref >= low) & (self.energy_ref <= high))
        if len(idx) == 0:
            raise DataError(f"Flux points: none lies between {low:.4g} and {high:.4g}")
        return self._select(slice(int(idx[0]), int(idx[-1]) + 1))

    def _select(self, idx: slice) -> Self:
        if len(self._energies.ref[idx]) == 0:
            raise DataError(f"Flux points: {idx} leaves none of {len(self._energies.ref)} points")
        arrays = {name: values[idx].copy() for name, values in self._arrays.items()}
        extra = {name: values[idx] for name, values in self._extra.items()}
        return self._derived(self._energies.select(idx), arrays, self._reference.select(idx), extra)

    def recompute_ul(self, n_sigma_ul: float = 2, **kwargs: Any) -> Self:
        """Return a copy with upper limits of another confidence, from the likelihood profiles.

        The limit is where the profile, as a cubic spline through the scanned values and the best
        fit, has risen by n_sigma_ul² above its minimum. NaN where that is beyond the scanned norms.

        Parameters
        ----------
        n_sigma_ul : float
            Number of standard deviations.
        **kwargs
            Kept for Gammapy scripts.

        Raises
        ------
        DataError
            If there are no profiles.
        """
        from villard.estimators.profiles import profile_upper_limits

        if not self.has_stat_profiles:
            raise DataError(
                "Flux points: upper limits can't be recomputed without likelihood profiles (stat_scan)"
            )
        new = self.copy()
        new._arrays["norm_ul"] = profile_upper_limits(new, float(n_sigma_ul))
        new.meta["n_sigma_ul"] = n_sigma_ul
        return new

    # Plots

    def plot(
        self, ax: Axes | None = None, sed_type: str | None = None, energy_power: float = 0, **kwargs: Any
    ) -> Axes:
        """Plot the points with their errors; upper limits are arrows.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        sed_type : {"dnde", "e2dnde", "flux", "eflux", "norm"}, optional
            Representation; that in which they were given by default.
        energy_power : float
            Power of the energy that fluxes are multiplied with.
        **kwargs
            For `~matplotlib.axes.Axes.errorbar`.
        """
        from villard.estimators.flux_points_plot import plot_points

        return plot_points(self, ax, sed_type or self.sed_type_plot_default, energy_power, **kwargs)

    def plot_ts_profiles(
        self, ax: Axes | None = None, sed_type: str | None = None, add_cbar: bool = True, **kwargs: Any
    ) -> Axes:
        """Plot the rise of the statistic above its minimum, by energy and flux, as an image.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        sed_type : {"dnde", "e2dnde", "flux", "eflux", "norm"}, optional
            Representation.
        add_cbar : bool
            Whether a colour bar is added.
        **kwargs
            For `~matplotlib.axes.Axes.pcolormesh`.

        Raises
        ------
        DataError
            If there are no profiles.
        """
        from villard.estimators.flux_points_plot import plot_profiles

        return plot_profiles(self, ax, sed_type or self.sed_type_plot_default, add_cbar, **kwargs)

    def plot_with_model(
        self,
        model: Any = None,
        ax: Axes | None = None,
        sed_type: str = "e2dnde",
        kwargs_fp: Mapping[str, Any] | None = None,
        kwargs_model: Mapping[str, Any] | None = None,
    ) -> Axes:
        """Plot the points, a model and its error band in one figure.

        Parameters
        ----------
        model : `~villard.modeling.models.SkyModel` or spectral model, optional
            Model; `reference_model` by default. The band shows its errors, if it has any.
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        sed_type : {"dnde", "e2dnde"}
            Representation.
        kwargs_fp, kwargs_model : dict, optional
            For `plot` and for the model's ``plot``.
        """
        from villard.estimators.flux_points_plot import plot_with_model

        return plot_with_model(self, model, ax, sed_type, dict(kwargs_fp or {}), dict(kwargs_model or {}))

    def __len__(self) -> int:
        return len(self._energies.ref)

    def __repr__(self) -> str:
        return f"FluxPoints({len(self)} points, {', '.join(self._arrays)})"

    def __str__(self) -> str:
        energy = self.energy_ref
        limits = int(np.sum(self._values("is_ul")))
        assumed = " (assumed)" if self._reference.assumed else ""
        spectrum = type(self.reference_spectral_model).__name__
        rows = {
            "Points": f"{len(self)}, of which {limits} upper limits",
            "Energies": f"{energy[0].value:.4g} to {energy[-1].value:.4g} {energy.unit}",
            "Bins": "known" if self.is_convertible_to_flux_sed_type else "unknown: no integral fluxes",
            "Quantities": ", ".join(self._arrays),
            "Reference model": f"{spectrum}{assumed}",
            "Given as": self._sed_type_init,
            "Errors": f"{self.n_sigma:g} sigma",
            "Upper limits": "unknown confidence" if self.n_sigma_ul is None else f"{self.n_sigma_ul:g} sigma",
        }
        if not self.has_ul:
            rows["Upper limits"] = "none"
        return "FluxPoints\n" + "".join(f"\n  {key:16s}: {value}" for key, value in rows.items()) + "\n"

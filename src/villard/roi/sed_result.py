"""Results of spectral energy distributions: columns, files, plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.roi.columns import Columns

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

    from villard.estimators import CastroData, FluxPoints

__all__ = ["SED"]

Array = NDArray[np.float64]

_UNITS = {
    "dnde": u.Unit("cm-2 s-1 MeV-1"),
    "flux": u.Unit("cm-2 s-1"),
    "eflux": u.Unit("MeV cm-2 s-1"),
    "e2dnde": u.Unit("MeV cm-2 s-1"),
}
_NORMS = ("norm", "norm_err", "norm_errp", "norm_errn", "norm_ul", "ts", "loglike")
#: fermipy's ends of names, and the norms that they belong to.
_SUFFIXES = {
    "": "norm",
    "_err": "norm_err",
    "_err_hi": "norm_errp",
    "_err_lo": "norm_errn",
    "_ul95": "norm_ul95",
    "_ul": "norm_ul_conf",
}
_N_ENERGIES = 50


class SED(Columns):
    """A source's flux in bins of energy, with likelihood profiles.

    ``len(sed)`` is the number of bins, and ``sed[name]`` a column, as an array. They are those of fermipy:
    ``e_min``, ``e_ref``, ``e_max`` (MeV); ``norm`` with ``norm_err``, ``norm_errp``, ``norm_errn`` (NaN where
    it reaches 0), ``norm_ul`` (95 %); ``ts``, ``loglike``, ``fit_quality``, ``index``; ``norm_scan`` and
    ``dloglike_scan``, shape (n_bins, npts); ``ref_dnde``, ``ref_flux``, ``ref_eflux``, ``ref_npred``:
    what the norm 1 stands for; ``dnde``, ``flux``, ``eflux`` and ``e2dnde`` with ``_err``, ``_err_hi``,
    ``_err_lo``, ``_ul95`` and ``_ul`` (the confidence asked for); ``is_ul``. By their names there are also
    ``npred``, ``ref_e2dnde``, ``loglike_scan``, ``fit_status`` (0 where the fit converged), ``loge_min``, …

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns.
    spectrum : spectral model
        The spectrum fitted to all energies.
    meta : dict
        ``name`` and ``config``; ``fit_success`` and ``fit_quality`` of the fit of all energies.
    """

    _kind = "SED"

    def __init__(self, table: Table, spectrum: Any, meta: Mapping[str, Any]) -> None:
        super().__init__(table, meta)
        self.spectrum = spectrum

    @classmethod
    def from_rows(
        cls, rows: Sequence[Mapping[str, Any]], edges: Array, spectrum: Any, meta: Mapping[str, Any]
    ) -> Self:
        """Make the columns from the fits of the bins."""
        from astropy.table import Table

        table = Table({"e_min": edges[:-1], "e_ref": np.sqrt(edges[:-1] * edges[1:]), "e_max": edges[1:]})
        for name in ("e_min", "e_ref", "e_max"):
            table[name].unit = "MeV"
        for name, values in _references(rows, edges).items():
            table[name] = values
        table["ref_npred"] = [row["ref_npred"] for row in rows]
        norms = {key: np.array([row[key] for row in rows]) for key in (*_NORMS, "norm_ul95")}
        norms["norm_ul"], norms["norm_ul_conf"] = norms.pop("norm_ul95"), norms["norm_ul"]
        for name in _NORMS:
            table[name] = norms[name]
        norms["norm_ul95"] = norms["norm_ul"]
        for name in ("norm_scan", "dloglike_scan", "index", "fit_quality"):
            table[name] = np.array([row[name] for row in rows])
        for name, unit in _UNITS.items():
            reference = np.asarray(
                table["ref_dnde"] * table["e_ref"] ** 2 if name == "e2dnde" else table[f"ref_{name}"]
            )
            for suffix, key in _SUFFIXES.items():
                table[name + suffix] = norms[key] * reference
                table[name + suffix].unit = unit
        table["is_ul"] = norms["ts"] < meta["config"]["ul_ts_threshold"]
        return cls(table, spectrum, meta)

    def __getitem__(self, key: str) -> Any:
        return _DERIVED[key](self) if key in _DERIVED else super().__getitem__(key)

    def keys(self) -> list[str]:
        """Names of the columns and of what else there is."""
        return [*super().keys(), *_DERIVED]

    @property
    def flux_points(self) -> FluxPoints:
        """The same as `~villard.estimators.FluxPoints`, with profiles."""
        from villard.estimators import FluxPoints

        return FluxPoints.from_table(self._gadf(), sed_type="likelihood", where=f"SED of {self.name!r}")

    @property
    def castro(self) -> CastroData:
        """The same as `~villard.estimators.CastroData`, for fits of other spectra and stacks."""
        from villard.estimators import CastroData

        return CastroData(self.flux_points, self.name)

    def model_flux(self) -> dict[str, Array]:
        """Return the fitted spectrum: ``energies`` (MeV), ``dnde``, and its band ``dnde_lo``, ``dnde_hi``."""
        energies = np.geomspace(self["e_min"][0], self["e_max"][-1], _N_ENERGIES)
        dnde = self.spectrum(energies * u.MeV).to_value(_UNITS["dnde"])
        error = np.zeros_like(dnde)
        if any(p.error > 0 for p in self.spectrum.parameters):
            error = np.asarray(self.spectrum.evaluate_error(energies * u.MeV)[1].to_value(_UNITS["dnde"]))
        ratio = np.divide(error, dnde, out=np.zeros_like(dnde), where=dnde > 0)
        result = {"energies": energies, "log_energies": np.log10(energies), "dnde": dnde}
        return result | {
            "dnde_err": error,
            "dnde_lo": dnde / (1 + ratio),
            "dnde_hi": dnde * (1 + ratio),
            "dnde_ferr": ratio,
        }

    # Files

    def _gadf(self) -> Table:
        table = self.table.copy()
        for name in [*table.colnames]:
            if name.startswith(("dnde", "flux", "eflux", "e2dnde", "ref_dnde_e", "fit_quality")):
                table.remove_column(name)
        table.meta = {"SED_TYPE": "likelihood", "UL_CONF": 0.9}
        return table

    def to_hdulist(self) -> Any:
        """Return the FITS file: ``SED`` (of GADF, with fermipy's columns), ``MODEL_FLUX``, ``PARAMS``."""
        from astropy.io import fits
        from astropy.table import Table

        sed = self.table.copy()
        # GADF's UL_CONF is that of the two-sided interval whose upper end the limit is.
        sed.meta = {"SED_TYPE": "likelihood", "UL_CONF": 0.9, "SRCNAME": self.name[:68]}
        flux = Table(self.model_flux())
        flux["energies"].unit = "MeV"
        for name in ("dnde", "dnde_err", "dnde_lo", "dnde_hi"):
            flux[name].unit = _UNITS["dnde"]
        parameters = self.spectrum.parameters
        params = Table(
            {
                "name": [p.name for p in parameters],
                "value": [p.value for p in parameters],
                "error": [p.error for p in parameters],
                "unit": [p.unit.to_string("fits") if str(p.unit) else "" for p in parameters],
                "free": [not p.frozen for p in parameters],
            }
        )
        primary = fits.PrimaryHDU()
        primary.header["CONFIG"] = json.dumps(self.meta["config"], default=str)
        tables = {"SED": sed, "MODEL_FLUX": flux, "PARAMS": params}
        return fits.HDUList([primary, *(fits.BinTableHDU(t, name=n) for n, t in tables.items())])

    def plot(self, ax: Axes | None = None, castro: bool = True) -> Axes:
        """Plot points and limits with the fitted spectrum, and, if ``castro``, the profiles behind them."""
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        energy, unit = self["e_ref"], _UNITS["e2dnde"]
        if castro:
            self.flux_points.plot_ts_profiles(ax, sed_type="e2dnde")
        # The image of profiles is in erg.
        factor = float(unit.to("erg cm-2 s-1"))
        xerr = np.stack([energy - self["e_min"], self["e_max"] - energy])
        limits = self["is_ul"] | ~(self["norm"] > 0)
        for chosen, suffix in ((~limits, ""), (limits, "_ul")):
            values = self["e2dnde" + suffix][chosen] * factor
            error: Any = 0.3 * values
            if not suffix:
                lower = np.where(np.isfinite(self["norm_errn"]), self["e2dnde_err_lo"], self["e2dnde"])
                error = np.stack([lower, self["e2dnde_err_hi"]])[:, chosen] * factor
            options: dict[str, Any] = {"fmt": "o" if not suffix else "none", "color": "k", "ms": 4, "lw": 1}
            ax.errorbar(
                energy[chosen], values, yerr=error, xerr=xerr[:, chosen], uplims=bool(suffix), **options
            )
        flux = self.model_flux()
        square = flux["energies"] ** 2 * factor
        ax.plot(flux["energies"], flux["dnde"] * square, color="tab:red")
        ax.fill_between(
            flux["energies"],
            flux["dnde_lo"] * square,
            flux["dnde_hi"] * square,
            color="tab:red",
            alpha=0.3,
            lw=0,
        )
        high = np.nanmax(self["e2dnde_ul95"]) * factor
        shown = self["norm_scan"] * (self["ref_dnde"] * energy**2 * factor)[:, np.newaxis]
        low = max(high / 1e3, np.min(shown[shown > 0]))
        ax.set(xscale="log", yscale="log", title=self.name, ylim=(low, 3 * high))
        ax.set(xlabel="Energy [MeV]", ylabel=r"$E^2\,\mathrm{d}N/\mathrm{d}E$ [erg cm$^{-2}$ s$^{-1}$]")
        return ax

    def __repr__(self) -> str:
        return f"SED({self.name!r}, {len(self)} bins, {int(np.sum(~self['is_ul']))} detections)"


def _logarithm(key: str) -> Callable[[SED], Array]:
    return lambda sed: np.log10(sed[key])


#: What fermipy has besides, and follows from the columns.
_DERIVED: dict[str, Callable[[SED], Any]] = {
    "e_ctr": lambda sed: sed["e_ref"],
    **{f"loge_{end}": _logarithm(f"e_{end}") for end in ("min", "max", "ref", "ctr")},
    "ref_e2dnde": lambda sed: sed["ref_dnde"] * sed["e_ref"] ** 2,
    "npred": lambda sed: sed["norm"] * sed["ref_npred"],
    "loglike_scan": lambda sed: sed["dloglike_scan"] + sed["loglike"][:, np.newaxis],
    "fit_status": lambda sed: np.where(sed["fit_quality"] > 0, 0, 1),
    "model_flux": lambda sed: sed.model_flux(),
}


def _references(rows: Sequence[Mapping[str, Any]], edges: Array) -> dict[str, u.Quantity]:
    """What the norm 1 stands for in each bin, in fermipy's columns."""
    low, high = edges[:-1] * u.MeV, edges[1:] * u.MeV
    models = [row["model"] for row in rows]
    values = {
        "ref_dnde_e_min": [m(e) for m, e in zip(models, low, strict=True)],
        "ref_dnde_e_max": [m(e) for m, e in zip(models, high, strict=True)],
        "ref_dnde": [m(e) for m, e in zip(models, np.sqrt(low * high), strict=True)],
        "ref_flux": [m.integral(a, b) for m, a, b in zip(models, low, high, strict=True)],
        "ref_eflux": [m.energy_flux(a, b) for m, a, b in zip(models, low, high, strict=True)],
    }
    return {
        key: u.Quantity([x.to(_UNITS[key.split("_")[1]]) for x in column]) for key, column in values.items()
    }

"""Results of light curves: columns, files, plots."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.roi.columns import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LightCurve"]

_DAY = 86400.0


class LightCurve(Columns):
    """A source's flux in bins of time.

    ``len(lc)`` is the number of bins, and ``lc[name]`` a column, as an array. They are those of fermipy:
    ``tmin``, ``tmax`` (s), ``tmin_mjd``, ``tmax_mjd``; ``flux`` and ``eflux`` in the range of the region, and
    with ``100``, ``1000`` and ``10000`` from so many MeV on, with ``_err`` and ``_ul95`` (cm-2 s-1, MeV cm-2
    s-1); ``ts``, ``npred``, ``loglike``, ``loglike_const`` (at the constant flux), ``fit_success``,
    ``fit_quality``; ``param_values`` and ``param_errors`` (of ``param_names``). With ``_fixed`` they are of
    the fit with the shape of the whole time, which the others are too where ``shape_free`` is false. Besides,
    ``norm`` with ``norm_err``, ``norm_errp``, ``norm_errn``, ``norm_ul``, and its profile ``norm_scan``,
    ``dloglike_scan``; ``counts`` and ``livetime``.

    ``lc["ts_var"]``, ``lc["ts_var_dof"]``, ``lc["ts_var_pvalue"]`` and ``lc["flux_const"]`` are the test of
    variability.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns.
    meta : dict
        What concerns the whole.
    """

    _kind = "Light curve"

    def to_hdulist(self) -> Any:
        """Return the FITS file: the table ``LIGHTCURVE``; ``ts_var`` and the like are keywords."""
        from astropy.io import fits

        table = self.table.copy()
        keywords = {
            "TS_VAR": "ts_var",
            "TSVARDOF": "ts_var_dof",
            "TSVARPV": "ts_var_pvalue",
            "FLUXCON": "flux_const",
        }
        table.meta = {key: self.meta[name] for key, name in keywords.items()} | {"SRCNAME": self.name[:68]}
        primary = fits.PrimaryHDU()
        primary.header["CONFIG"] = json.dumps(self.meta["config"], default=str)
        return fits.HDUList([primary, fits.BinTableHDU(table, name="LIGHTCURVE")])

    def plot(self, ax: Axes | None = None, quantity: str = "flux", ts_threshold: float = 4.0) -> Axes:
        """Plot the light curve and the constant flux; bins of a lower TS are shown as upper limits.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        quantity : str
            ``"flux"``, ``"eflux"``, ``"flux1000"``, …
        ts_threshold : float
            TS below which a bin has a limit.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        start, stop = self["tmin_mjd"], self["tmax_mjd"]
        known = bool(np.all(np.isfinite(start)) and np.all(np.isfinite(stop)))
        number = np.arange(len(self), dtype=float)
        middle, half = (
            (0.5 * (start + stop), 0.5 * (stop - start)) if known else (number, np.full(len(self), 0.5))
        )
        seen = np.isfinite(self[quantity])
        limit = seen & ~(self["ts"] >= ts_threshold)
        good = seen & ~limit
        ax.errorbar(
            middle[good], self[quantity][good], self[f"{quantity}_err"][good], half[good], fmt="o", ms=4, lw=1
        )
        high = self[f"{quantity}_ul95"][limit]
        ax.errorbar(middle[limit], high, 0.15 * high, half[limit], fmt="none", uplims=True, lw=1, color="0.5")
        if quantity == "flux":
            ax.axhline(self["flux_const"], ls="--", color="k", lw=1)
        unit = self.table[quantity].unit
        ax.set(
            xlabel="Time [MJD]" if known else "Bin", ylabel=f"{quantity} [{unit.to_string('latex_inline')}]"
        )
        if not known:
            ax.locator_params(axis="x", integer=True)
        # Above what the axis is a multiple of.
        ax.set_title(
            f"{self.name}: TS of variability {self['ts_var']:.1f} ({self['ts_var_dof']} dof)", pad=18
        )
        return ax

    def __repr__(self) -> str:
        return f"LightCurve({self.name!r}, {len(self)} bins, ts_var={self.meta['ts_var']:.2f})"

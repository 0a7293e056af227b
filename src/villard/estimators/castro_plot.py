"""Plots of likelihood profiles by energy and flux ("castro plots")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from villard.estimators.castro import CastroData

__all__ = ["plot_castro"]


def plot_castro(data: CastroData, ax: Axes | None, spectra: Any, sed_type: str) -> Axes:
    """Plot profiles, limits and spectra; see `CastroData.plot`."""
    import astropy.units as u

    from villard.estimators.castro_fit import as_sky_model
    from villard.estimators.sed_types import SED_UNITS

    points = data.points
    ax = points.plot_ts_profiles(ax, sed_type=sed_type)
    reference = points.reference("likelihood" if sed_type == "norm" else sed_type).value
    center = points.energy_ref.value
    xerr = np.stack([center - points.energy_min.value, points.energy_max.value - center])
    limits = data.norm_ul() * reference
    ax.errorbar(center, limits, xerr=xerr, fmt="none", color="k", lw=1, label="95 % upper limits")
    for name, model in _named(spectra).items():
        spectrum = as_sky_model(model).spectral_model
        energy = np.geomspace(points.energy_min[0].value, points.energy_max[-1].value, 200)
        if sed_type in ("dnde", "e2dnde"):
            power = 2 if sed_type == "e2dnde" else 0
            values = spectrum(energy * points.energy_ref.unit) * (energy * points.energy_ref.unit) ** power
            ax.plot(energy, values.to_value(u.Unit(SED_UNITS[sed_type])), label=name)
        else:
            ax.step(center, data.predict(spectrum) * reference, where="mid", label=name)
    shown = points.norm_scan * reference[:, np.newaxis]
    ax.set_ylim(max(np.nanmin(limits) / 100, np.min(shown[shown > 0])), 3 * np.nanmax(limits))
    # Above the axes: within, it would cover profiles and limits.
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize="small")
    return ax


def _named(spectra: Any) -> dict[str, Any]:
    if spectra is None:
        return {}
    if isinstance(spectra, Mapping):
        return dict(spectra)
    items = list(spectra) if isinstance(spectra, list | tuple) else [spectra]
    return {f"{type(getattr(item, 'model', item)).__name__} {i + 1}": item for i, item in enumerate(items)}

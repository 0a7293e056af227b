"""Makes the coefficients of the built-in parametrisation of spectra; needs the tables of PPPC4DMID.

Run as ``python -m villard.astro.darkmatter.make_fits`` with ``$GAMMAPY_DATA`` set. It prints how well the
fits describe the tables, as the documentation tells it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from villard.astro.darkmatter.analytic import BASE_CHANNELS, FITS_FILE, basis
from villard.astro.darkmatter.tables import load_table

__all__ = ["main"]

_N_MASS, _N_X = 6, 15
_LOG_X_MIN, _LOG_X_MAX = -6.0, 0.001
#: Values below are rounded in the tables, and at a mass next to the threshold spectra aren't smooth.
_FLOOR = 1e-5
_DIGITS = 6


def main() -> None:
    """Fit all channels, write the coefficients and print the accuracies."""
    table = load_table("pppc4")
    result: dict[str, object] = {"log_x": [_LOG_X_MIN, 0.0], "n_mass": _N_MASS, "n_x": _N_X}
    channels: dict[str, object] = {}
    chosen = (table.log_x >= _LOG_X_MIN - 1e-9) & (table.log_x < _LOG_X_MAX)
    log_x = table.log_x[chosen]
    for name in BASE_CHANNELS:
        values = table.values[name][:, chosen]
        if name == "gamma":
            # The line is added apart, see villard.astro.darkmatter.analytic.
            values = np.where(log_x < -0.12, values, 0.0)
        masses = np.max(values, axis=1) > 1e-3
        first = float(table.mass[masses][0])
        y = values[masses]
        matrix = basis(table.mass[masses], log_x, first, _N_MASS, _N_X)
        good = y > _FLOOR
        used = np.ones(len(log_x), dtype=bool) if name != "gamma" else log_x < -0.12
        # Where there is nothing the polynomials are only held back from growing.
        weight = np.where(good, 1.0, 0.03)[:, used].ravel()
        target = np.log(np.maximum(y, _FLOOR))[:, used].ravel()
        rows = matrix[:, used].reshape(len(target), -1)
        ridge = 1e-3 * np.eye(rows.shape[1])
        rows = np.concatenate([rows * weight[:, None], ridge])
        target = np.concatenate([target * weight, np.zeros(len(ridge))])
        coefficients = np.linalg.lstsq(rows, target, rcond=None)[0]
        rounded = [float(f"{c:.{_DIGITS}g}") for c in coefficients]
        channels[name] = {"mass_min": first, "coefficients": rounded}
        fit = np.exp(matrix @ np.array(rounded))
        weighted = y * 10**log_x
        important = good & (weighted > 0.01 * weighted.max(axis=1, keepdims=True))
        important &= table.mass[masses][:, None] >= 0.1
        error = np.abs(fit / np.maximum(y, 1e-30) - 1)[important]
        print(f"{name:8s} median {np.median(error):6.1%}  95 % {np.quantile(error, 0.95):6.1%}")
    result["channels"] = channels
    Path(FITS_FILE).write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

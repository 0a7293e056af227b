r"""Built-in spectra of gamma rays from annihilation: a parametrisation of our own for every channel.

For each channel the logarithm of the spectrum is a polynomial,

.. math:: \ln \frac{\mathrm{d}N}{\mathrm{d}\log_{10} x} =
    \sum_{i=0}^{6} \sum_{j=0}^{15} c_{ij}\, T_i(u)\, T_j(v), \quad x = E / m

with Chebyshev's polynomials :math:`T`, u the logarithm of the mass, from the threshold of the channel (-1) to
100 TeV (1), and v that of :math:`0.03 - \log_{10} x`, from x = 1 (-1) to x = 1e-6 (1). The coefficients were
fitted to the tables of PPPC 4 DM ID (Cirelli et al. 2011, JCAP 03, 051, with the electroweak corrections of
Ciafaloni et al. 2011, JCAP 03, 019) by ``villard.astro.darkmatter.make_fits``, which prints the accuracies.
Spectra of unpolarised leptons and bosons are means of those of their polarisations. Two photons have, beside
their continuum, a line of two photons at x = 1 that is as wide as a bin of the tables.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BASE_CHANNELS", "FITS_FILE", "MIXED_CHANNELS", "basis", "dnde_log_x", "mass_range"]

Array = NDArray[np.float64]

FITS_FILE = str(Path(__file__).parent / "files" / "primary_flux.json")
BASE_CHANNELS = (
    *("eL", "eR", "muL", "muR", "tauL", "tauR", "q", "c", "b", "t", "WL", "WT", "ZL", "ZT"),
    *("g", "gamma", "h", "nu_e", "nu_mu", "nu_tau", "V->e", "V->mu", "V->tau"),
)
#: Channels that are means of others.
MIXED_CHANNELS = {
    "e": {"eL": 1 / 2, "eR": 1 / 2},
    "mu": {"muL": 1 / 2, "muR": 1 / 2},
    "tau": {"tauL": 1 / 2, "tauR": 1 / 2},
    "W": {"WL": 1 / 3, "WT": 2 / 3},
    "Z": {"ZL": 1 / 3, "ZT": 2 / 3},
}
_MASS_MAX = 100.0
_SHIFT = 0.03
#: Width of the line (log10 x), of a triangle that ends at x = 1.
_LINE_WIDTH = 0.05
#: Where the continuum of two photons is no longer told from their line; and the largest logarithm.
_GAMMA_MAX, _LOG_MAX = -0.12, 12.0


@lru_cache(maxsize=1)
def _fits() -> dict[str, Any]:
    fits: dict[str, Any] = json.loads(Path(FITS_FILE).read_text(encoding="utf-8"))
    return fits


def basis(mass: Array, log_x: Array, mass_min: float, n_mass: int, n_x: int) -> Array:
    """Return the products of polynomials, shape (n_masses, n_log_x, (n_mass + 1) * (n_x + 1)).

    Parameters
    ----------
    mass, log_x : array
        Masses (TeV) and log10(E / mass).
    mass_min : float
        Mass (TeV) at which the first variable is -1.
    n_mass, n_x : int
        Orders.
    """
    from numpy.polynomial.chebyshev import chebvander

    u = 2 * np.log(mass / mass_min) / np.log(_MASS_MAX / mass_min) - 1
    low, high = np.log(_SHIFT), np.log(_SHIFT + 6.0)
    v = 2 * (np.log(_SHIFT - log_x) - low) / (high - low) - 1
    product = np.einsum("mi,lj->mlij", chebvander(u, n_mass), chebvander(v, n_x))
    return np.asarray(product.reshape(len(mass), len(log_x), -1))


def mass_range(channel: str) -> tuple[float, float]:
    """Return the masses (TeV) for which a channel is parametrised."""
    if channel in MIXED_CHANNELS:
        channel = next(iter(MIXED_CHANNELS[channel]))
    return float(_fits()["channels"][channel]["mass_min"]), _MASS_MAX


def dnde_log_x(channel: str, mass: Any, log_x: Any) -> Array:
    """Return dN / dlog10(x) of a channel.

    Parameters
    ----------
    channel : str
        One of `BASE_CHANNELS` or `MIXED_CHANNELS`.
    mass, log_x : array
        Masses (TeV), shape (n,), and log10(E / mass), shape (m,). The spectrum is zero below the threshold
        of the channel, beyond x = 1 and below x = 1e-6.

    Returns
    -------
    array
        Photons per decade of energy and annihilation, shape (n, m).

    Examples
    --------
    >>> dnde_log_x("b", [1.0], [-2.0, -1.0]).round()
    array([[25.,  3.]])
    """
    masses, logs = np.atleast_1d(np.asarray(mass, dtype=float)), np.atleast_1d(np.asarray(log_x, dtype=float))
    if channel in MIXED_CHANNELS:
        parts = MIXED_CHANNELS[channel].items()
        return np.asarray(sum(weight * dnde_log_x(name, masses, logs) for name, weight in parts))
    fits = _fits()
    entry = fits["channels"][channel]
    inside = (logs >= fits["log_x"][0] - 1e-9) & (logs <= 1e-9)
    known = (masses >= entry["mass_min"] * (1 - 1e-9)) & (masses <= _MASS_MAX * (1 + 1e-9))
    last = _GAMMA_MAX if channel == "gamma" else 0.0
    matrix = basis(
        np.where(known, masses, 1.0),
        np.where(inside, np.minimum(logs, last), -1.0),
        entry["mass_min"],
        fits["n_mass"],
        fits["n_x"],
    )
    values = np.exp(np.minimum(matrix @ np.asarray(entry["coefficients"]), _LOG_MAX))
    if channel == "gamma":
        line = 4 / _LINE_WIDTH * np.clip(1 + logs / _LINE_WIDTH, 0, 1)
        values = np.where(logs > _GAMMA_MAX, 0.0, values) + line
    return np.where(known[:, None] & inside, values, 0.0)

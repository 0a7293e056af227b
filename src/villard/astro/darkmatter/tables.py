"""Tables of the spectra of gamma rays per annihilation, by mass and channel.

Sources are PPPC 4 DM ID (Cirelli et al. 2011, JCAP 03, 051; ``AtProduction_gammas.dat``) and CosmiXs (Arina
et al. 2024, JCAP 03, 035) in ``$GAMMAPY_DATA/dark_matter_spectra``, and the parametrisation of
`villard.astro.darkmatter.analytic`, which needs no files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, FileFormatError, ModelError
from villard.utils.names import nearest

__all__ = ["CHANNELS", "SOURCES", "ChannelTable", "default_source", "load_table", "mixed_table"]

Array = NDArray[np.float64]

SOURCES = ("pppc4", "cosmixs", "analytic")
_PPPC4 = "PPPC4DMID/AtProduction_gammas.dat"
#: Names of columns by channel, in the files of PPPC and of CosmiXs.
_PPPC4_COLUMNS = {
    **{name: name for name in ("eL", "eR", "e", "q", "c", "b", "t", "g", "h", "V->e")},
    **{name: name for name in ("WL", "WT", "W", "ZL", "ZT", "Z")},
    **{f"mu{k}": rf"\[Mu]{k}" for k in ("L", "R", "")},
    **{f"tau{k}": rf"\[Tau]{k}" for k in ("L", "R", "")},
    "gamma": r"\[Gamma]",
    **{"nu_e": r"\[Nu]e", "nu_mu": r"\[Nu]\[Mu]", "nu_tau": r"\[Nu]\[Tau]"},
    **{"V->mu": r"V->\[Mu]", "V->tau": r"V->\[Tau]"},
}
_COSMIXS_COLUMNS = {
    **{name: name for name in ("eL", "eR", "e", "muL", "muR", "mu", "tauL", "tauR", "tau")},
    **{"nu_e": "nue", "nu_mu": "numu", "nu_tau": "nutau", "gamma": "a", "h": "H"},
    **{name: name for name in ("u", "d", "s", "c", "b", "t", "g", "W", "WL", "WT", "Z", "ZL", "ZT")},
    **{name: name for name in ("aZ", "HZ")},
}
#: Names that stand for others where a table doesn't have them.
_ALIASES = {"u": "q", "d": "q", "s": "q", "q": "u"}
CHANNELS = tuple(dict.fromkeys([*_PPPC4_COLUMNS, *_COSMIXS_COLUMNS]))
_ANALYTIC_MASSES = 90


@dataclass(frozen=True, eq=False)
class ChannelTable:
    """Spectra of all channels of a source.

    Parameters
    ----------
    source : str
        Name of the source.
    mass : array
        Masses (TeV), increasing, shape (n_masses,).
    log_x : array
        log10(E / mass) in equal steps up to 0, shape (n_x,).
    values : dict of str to array
        dN / dlog10(x) by channel, shape (n_masses, n_x).
    """

    source: str
    mass: Array
    log_x: Array
    values: dict[str, Array]

    def channel(self, name: str) -> Array:
        """Return the spectra of a channel, shape (n_masses, n_x).

        Raises
        ------
        ModelError
            If the source has no such channel.
        """
        known = self.allowed_channels
        if name not in known:
            raise ModelError(f"No channel {name!r} in the spectra of {self.source}. {nearest(name, known)}")
        return self.values[name if name in self.values else _ALIASES[name]]

    @property
    def allowed_channels(self) -> list[str]:
        """Names of the channels."""
        aliases = [name for name, other in _ALIASES.items() if other in self.values]
        return list(dict.fromkeys([*self.values, *aliases]))


def _folder() -> Path | None:
    path = os.environ.get("GAMMAPY_DATA")
    return None if not path else Path(path).expanduser() / "dark_matter_spectra"


def default_source() -> str:
    """Return "pppc4" if its table is in ``$GAMMAPY_DATA``, otherwise "analytic"."""
    folder = _folder()
    return "pppc4" if folder is not None and (folder / _PPPC4).is_file() else "analytic"


def load_table(source: str | None = None) -> ChannelTable:
    """Return the spectra of a source; they are read once.

    Parameters
    ----------
    source : {"pppc4", "cosmixs", "analytic"}, optional
        Source; see `default_source`.

    Raises
    ------
    ModelError
        If the source is unknown.
    DataError
        If its file isn't there.
    """
    source = default_source() if source is None else source
    if source not in SOURCES:
        raise ModelError(
            f"Spectra of dark matter: unknown source {source!r}. {nearest(str(source), SOURCES)}"
        )
    return _analytic_table() if source == "analytic" else _file_table(source, _path(source))


def _path(source: str) -> Path:
    folder = _folder()
    found: list[Path] = []
    if folder is not None:
        found = [folder / _PPPC4] if source == "pppc4" else sorted((folder / "cosmixs").glob("*amma*.dat"))
    if not found or not found[0].is_file():
        where = "$GAMMAPY_DATA isn't set" if folder is None else f"not found in {folder}"
        raise DataError(
            f"Spectra of dark matter: the table of {source} is missing ({where}); "
            "source='analytic' needs no files"
        )
    return found[0]


@lru_cache(maxsize=4)
def _file_table(source: str, path: Path) -> ChannelTable:
    columns = _PPPC4_COLUMNS if source == "pppc4" else _COSMIXS_COLUMNS
    try:
        with path.open(encoding="utf-8") as file:
            header = file.readline().replace("# ", "").split()
            data = np.loadtxt(file, ndmin=2)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: {error}") from error
    names = [item.removeprefix("dNdLog10x[").removesuffix("]") if "dNd" in item else item for item in header]
    mass, log_x = np.unique(data[:, 0]), np.unique(data[:, 1].round(4))
    if data.shape != (len(mass) * len(log_x), len(header)):
        raise FileFormatError(
            f"{path}: expected {len(header)} columns and one row for each of {len(mass)} masses and "
            f"{len(log_x)} energies, found the shape {data.shape}"
        )
    cube = data.reshape(len(mass), len(log_x), -1)
    values = {name: cube[..., names.index(column)] for name, column in columns.items() if column in names}
    return ChannelTable(source, mass * 1e-3, log_x, values)


@lru_cache(maxsize=1)
def _analytic_table() -> ChannelTable:
    from villard.astro.darkmatter import analytic

    names = [*analytic.BASE_CHANNELS, *analytic.MIXED_CHANNELS]
    thresholds = [analytic.mass_range(name)[0] for name in names]
    mass = np.union1d(np.geomspace(5e-3, 100, _ANALYTIC_MASSES), thresholds)
    log_x = np.round(np.arange(-120, 1) * 0.05, 4)
    values = {name: analytic.dnde_log_x(name, mass, log_x) for name in names}
    return ChannelTable("analytic", mass, log_x, values)


def mixed_table(table: ChannelTable, channel: str | Mapping[str, float]) -> Array:
    """Return the spectra of a channel, or of several with their ratios, shape (n_masses, n_x).

    Parameters
    ----------
    table : `ChannelTable`
        Spectra.
    channel : str or dict
        Name, or ratios by name: not negative, and with a sum of at most 1 (the rest is invisible).

    Raises
    ------
    ModelError
        If a channel is unknown, or ratios aren't possible.
    """
    if isinstance(channel, str):
        return table.channel(channel)
    if not isinstance(channel, Mapping) or not channel:
        raise ModelError(f"Dark matter: expected a channel, or ratios by channel, found {channel!r}")
    ratios: dict[str, Any] = dict(channel)
    for name, ratio in ratios.items():
        if not isinstance(ratio, int | float | np.number) or not 0 <= ratio < np.inf:
            raise ModelError(
                f"Dark matter, ratio of {name!r}: expected a number from 0 to 1, found {ratio!r}"
            )
    if not 0 < sum(ratios.values()) <= 1 + 1e-6:
        raise ModelError(
            f"Dark matter: expected ratios with a sum above 0 and up to 1, found {sum(ratios.values()):g}"
        )
    return np.asarray(sum(ratio * table.channel(name) for name, ratio in ratios.items()))

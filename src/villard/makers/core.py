"""What all steps of data reduction have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from villard.exceptions import ConfigError, DataError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.data.observation import Observation

__all__ = ["Maker", "check_selection", "meta_table", "need"]


class Maker(ABC):
    """One step of data reduction, which `run` applies to a dataset and an observation."""

    tag: ClassVar[str] = ""

    @abstractmethod
    def run(self, dataset: Any, observation: Observation | None = None) -> Any:
        """Return the dataset after this step.

        Parameters
        ----------
        dataset : dataset
            Dataset as the steps before left it.
        observation : `~villard.data.Observation`, optional
            Observation.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def check_selection(selection: Iterable[str] | None, available: tuple[str, ...], where: str) -> list[str]:
    """Return the parts that are to be made; all that are available by default."""
    if selection is None:
        return list(available)
    chosen = [selection] if isinstance(selection, str) else list(selection)
    for name in chosen:
        if name not in available:
            raise ConfigError(f"{where}: unknown part {name!r}. {nearest(str(name), available)}")
    return chosen


def need(observation: Observation, name: str, where: str) -> Any:
    """Return a part of an observation, which must be there."""
    value = getattr(observation, name)
    if value is None:
        raise DataError(f"{where}: observation {observation.obs_id} has no {name}")
    return value


def meta_table(observation: Observation) -> Table:
    """Return a table of one row that says which observation it was."""
    from astropy.table import Table

    pointing = observation.pointing_radec
    meta = {} if observation.events is None else observation.events.meta
    row = {
        "TELESCOP": [str(meta.get("TELESCOP", ""))],
        "OBS_ID": [str(observation.obs_id)],
        "RA_PNT": [float(pointing.ra.deg)],
        "DEC_PNT": [float(pointing.dec.deg)],
    }
    table = Table(row)
    table["RA_PNT"].unit = table["DEC_PNT"].unit = "deg"
    return table

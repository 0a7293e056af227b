"""Files of a simulation of events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from villard.exceptions import OverwriteError
from villard.utils.io import atomic_write

if TYPE_CHECKING:
    from villard.analysis.simulation import SimulationOutput
    from villard.data import Observation
    from villard.simulate.simulated_events import SimulatedEvents

__all__ = ["check_output", "write_simulation"]


def _plot_path(path: Path) -> Path:
    name = path.name.removesuffix(".gz")
    return path.with_name(f"{name.rsplit('.', 1)[0]}.png")


def check_output(path: Path, plots: bool, overwrite: bool) -> None:
    """Raise `OverwriteError` if a file that would be written exists."""
    for item in [path, *([_plot_path(path)] if plots else [])]:
        if item.exists() and not overwrite:
            raise OverwriteError(f"{item} exists; use overwrite (--overwrite) to replace it")


def write_simulation(
    observation: Observation,
    events: SimulatedEvents,
    output: SimulationOutput,
    path: Path,
    overwrite: bool = False,
) -> list[Path]:
    """Write events, good time intervals, and what else a configuration asks for.

    Parameters
    ----------
    observation : `~villard.data.Observation`
        Observation with the events.
    events : `SimulatedEvents`
        Events.
    output : `~villard.analysis.simulation.SimulationOutput`
        Settings.
    path : `~pathlib.Path`
        FITS file.
    overwrite : bool
        Whether existing files may be replaced.

    Returns
    -------
    list of `~pathlib.Path`
        Files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    observation.write(path, overwrite=overwrite, include_irfs=output.include_irfs)
    if not output.plots:
        return [path]
    import matplotlib as mpl

    with mpl.rc_context({"backend": "agg"}):
        figure = events.peek()
        with atomic_write(_plot_path(path), overwrite) as part:
            figure.savefig(part, format="png", dpi=120)
        import matplotlib.pyplot as plt

        plt.close(figure)
    return [path, _plot_path(path)]

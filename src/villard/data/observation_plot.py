"""What an observation looks like, in text and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from villard.exceptions import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from villard.data.observation import Observation

__all__ = ["describe_observation", "peek_observation"]


def describe_observation(observation: Observation) -> str:
    """Return a text that describes an observation."""
    lines = [f"Observation {observation.obs_id}", ""]
    rows: list[tuple[str, Any]] = []
    for label, get in (
        ("pointing", lambda: f"{observation.pointing_radec.to_string(precision=3)} deg (ICRS)"),
        ("start", lambda: f"{observation.tstart.iso} ({observation.tstart.scale.upper()})"),
        ("duration", lambda: f"{observation.ontime:.6g}"),
        ("livetime", lambda: f"{observation.livetime:.6g}"),
    ):
        try:
            rows.append((label, get()))
        except DataError:
            rows.append((label, "not known"))
    events = observation.events
    rows.append(("events", "none" if events is None else len(events)))
    rows.append(("responses", ", ".join(observation.available_irfs) or "none"))
    lines += [f"  {label:<10}: {value}" for label, value in rows]
    return "\n".join(lines) + "\n"


def peek_observation(observation: Observation, figsize: tuple[float, float]) -> Figure:
    """Plot the events and responses of an observation; see `Observation.peek`."""
    import matplotlib.pyplot as plt

    plots = _plots(observation)
    if not plots:
        raise DataError(f"Observation {observation.obs_id}: there are neither events nor responses to plot")
    figure = plt.figure(figsize=figsize, layout="constrained")
    columns = min(3, len(plots))
    rows = -(-len(plots) // columns)
    for i, (title, projection, plot) in enumerate(plots):
        ax = figure.add_subplot(rows, columns, i + 1, projection=projection)
        plot(ax)
        ax.set_title(title)
    return figure


def _plots(observation: Observation) -> list[tuple[str, Any, Any]]:
    result: list[tuple[str, Any, Any]] = []
    events = observation.events
    if events is not None and len(events):
        wcs = events.to_image().geom.wcs
        result += [("Events", wcs, events.plot_image), ("Events", None, events.plot_energy)]
    for name, title, method in (
        ("aeff", "Effective area", "plot_energy_dependence"),
        ("edisp", "Energy dispersion", "plot_migration"),
        ("psf", "Point spread function", "plot_containment_radius_vs_energy"),
        ("bkg", "Background", "plot_spectrum"),
        ("rad_max", "Cut on directions", "plot_rad_max_vs_energy"),
    ):
        irf = getattr(observation, name)
        if irf is not None and hasattr(irf, method):
            result.append((title, None, getattr(irf, method)))
    return result

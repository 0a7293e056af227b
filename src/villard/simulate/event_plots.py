"""Plots of simulated events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from villard.simulate.simulated_events import SimulatedEvents

__all__ = ["peek"]

_PER_DECADE, _N_PIXELS, _MOST_POINTS = 10, 60, 3000


def peek(events: SimulatedEvents, figsize: tuple[float, float]) -> Figure:
    """Plot energies, all events on the sky, and the components there; see `SimulatedEvents.peek`."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=figsize, layout="constrained")
    names = events.components
    colors = {name: f"C{i % 10}" for i, name in enumerate(names)}
    _plot_energies(axes[0], events, colors)
    _plot_counts(axes[1], events)
    _plot_components(axes[2], events, colors)
    return figure


def _plot_energies(ax: Axes, events: SimulatedEvents, colors: dict[str, str]) -> None:
    low, high = events.field.energy_bounds
    n = max(1, int(np.ceil(np.log10(high / low) * _PER_DECADE)))
    energy, true = events.energy.to_value("TeV"), np.asarray(events.table["ENERGY_TRUE"])
    component = events.component
    bins = np.geomspace(low, high, n + 1)
    known = true[np.isfinite(true)]
    wide = _extended(bins, known)
    for name, color in colors.items():
        chosen = component == name
        label = f"{name} ({np.sum(chosen)})"
        ax.hist(energy[chosen], bins=list(bins), histtype="step", color=color, label=label)
        ax.hist(true[chosen & np.isfinite(true)], bins=list(wide), histtype="step", color=color, ls=":", lw=1)
    ax.set_xscale("log")
    ax.set_yscale("log", nonpositive="clip")
    ax.set_ylim(bottom=0.5)
    ax.set_xlabel("Energy [TeV] (dotted: true)")
    ax.set_ylabel("Events per bin")
    ax.legend()


def _extended(bins: Any, values: Any) -> Any:
    """Add bins of the same width up to the lowest and highest value."""
    if not len(values):
        return bins
    step = np.log(bins[1] / bins[0])
    below = max(0, int(np.ceil(np.log(bins[0] / values.min()) / step)))
    above = max(0, int(np.ceil(np.log(values.max() / bins[-1]) / step)))
    return bins[0] * np.exp(step * np.arange(-below, len(bins) + above))


def _set_sky_axes(ax: Axes, events: SimulatedEvents) -> None:
    field = events.field
    ax.set_xlim(0.5 * field.width[0], -0.5 * field.width[0])
    ax.set_ylim(-0.5 * field.width[1], 0.5 * field.width[1])
    ax.set_aspect("equal")
    ax.set_xlabel(f"Longitude from the pointing ({field.frame}) [deg]")
    ax.set_ylabel("Latitude from the pointing [deg]")


def _local(events: SimulatedEvents, prefix: str = "") -> tuple[Any, Any]:
    ra, dec = (np.asarray(events.table[f"{name}{prefix}"]) for name in ("RA", "DEC"))
    field = events.field
    return field.local(field.from_frame(ra, dec, "icrs"))


def _plot_counts(ax: Axes, events: SimulatedEvents) -> None:
    import matplotlib.pyplot as plt

    lon, lat = _local(events)
    field = events.field
    edges = [0.5 * width * np.linspace(-1, 1, _N_PIXELS + 1) for width in field.width]
    counts, _, _ = np.histogram2d(lon, lat, bins=edges)
    image = ax.pcolormesh(edges[0], edges[1], counts.T)
    plt.colorbar(image, ax=ax, label="Events per pixel", shrink=0.8)
    _set_sky_axes(ax, events)
    ax.set_title("All events")


def _plot_components(ax: Axes, events: SimulatedEvents, colors: dict[str, str]) -> None:
    lon, lat = _local(events)
    component = events.component
    # What has fewest events is on top.
    for name in sorted(colors, key=lambda item: -np.sum(component == item)):
        chosen = np.flatnonzero(component == name)
        shown = chosen[:: max(1, len(chosen) // _MOST_POINTS)]
        ax.plot(lon[shown], lat[shown], ".", ms=3, alpha=0.7, color=colors[name], label=name)
    _set_sky_axes(ax, events)
    ax.legend(loc="upper right", markerscale=2)
    ax.set_title("Components")

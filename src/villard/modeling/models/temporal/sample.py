"""Plots of temporal models, and times drawn from them."""

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError

if TYPE_CHECKING:
    from astropy.time import Time
    from matplotlib.axes import Axes

    from villard.modeling.models.temporal.core import TemporalModel

__all__ = ["plot_model", "sample_time"]

#: Intervals into which the range is divided, at most, before times are drawn from each of them.
_MOST_STEPS = 1_000_000


def plot_model(
    model: "TemporalModel", time_range: Any, ax: "Axes | None", n_points: int, energy: Any, **kwargs: Any
) -> "Axes":
    """Plot the factor; see `TemporalModel.plot`."""
    import matplotlib.pyplot as plt
    from astropy.time import Time

    ax = plt.gca() if ax is None else ax
    start, stop = time_range
    time = start + np.linspace(0, 1, n_points) * (stop - start)
    mjd = getattr(time, model.scale).mjd if isinstance(time, Time) else u.Quantity(time).to_value("d")
    energies = [None] if energy is None else list(np.atleast_1d(u.Quantity(energy)))
    for value in energies:
        label: dict[str, Any] = {} if value is None or "label" in kwargs else {"label": f"{value:.3g}"}
        ax.plot(mjd, np.ravel(model(time, value).value), **label, **kwargs)
    ax.set_xlabel(f"Time [MJD, {model.scale.upper()}]")
    ax.set_ylabel("Norm")
    if len(energies) > 1:
        ax.legend()
    return ax


def sample_time(
    model: "TemporalModel", n_events: int, t_min: Any, t_max: Any, t_delta: Any, random_state: Any
) -> "Time":
    """Draw times; see `TemporalModel.sample_time`."""
    from astropy.time import Time

    if n_events != int(n_events) or n_events < 0:
        raise ModelError(f"{type(model).__name__}.sample_time: expected a number of events, found {n_events}")
    if model.is_energy_dependent:
        raise ModelError(f"{type(model).__name__}.sample_time: not for models that depend on energy")
    start, stop, total = model._intervals(t_min, t_max)
    if start.size != 1:
        raise ModelError(f"{type(model).__name__}.sample_time: expected one interval, found {start.size}")
    n_steps = int(np.clip(np.ceil(total / u.Quantity(t_delta).to_value("s")), 1, _MOST_STEPS))
    edges = np.linspace(float(start.ravel()[0]), float(stop.ravel()[0]), n_steps + 1)
    pure = model.pure()
    with np.errstate(under="ignore"):
        parts = np.asarray(pure.integral(edges[:-1], edges[1:], model._values(), pure.arrays))
    if not (np.all(parts >= -1e-12 * np.max(np.abs(parts))) and np.sum(parts) > 0):
        raise ModelError(f"{type(model).__name__}.sample_time: the factor is negative, or zero everywhere")
    seconds = _draw(np.broadcast_to(np.maximum(parts, 0), n_steps), edges, int(n_events), random_state)
    first = (
        t_min
        if isinstance(t_min, Time)
        else Time(u.Quantity(t_min).to_value("d"), format="mjd", scale=model.scale)
    )
    return first.reshape(()) + (seconds - edges[0]) * u.s


def _draw(
    parts: NDArray[np.float64], edges: NDArray[np.float64], n: int, random_state: Any
) -> NDArray[np.float64]:
    """Draw from steps, within which times are as likely as each other."""
    random = np.random.default_rng(random_state)
    sums = np.concatenate([[0.0], np.cumsum(parts)])
    at = random.uniform(0, sums[-1], n)
    i = np.clip(np.searchsorted(sums, at, side="right") - 1, 0, len(parts) - 1)
    inside = (at - sums[i]) / np.where(parts[i] > 0, parts[i], 1.0)
    return edges[i] + inside * (edges[i + 1] - edges[i])

"""Plots of ensembles of fits: pulls, coverage, goodness of fit, likelihood ratios."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from villard.visualization.helpers import make_axes

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

    from villard.simulate import GoodnessOfFit

__all__ = ["plot_coverage", "plot_goodness_of_fit", "plot_pulls", "plot_ts"]

_RANGE = 5.0


def plot_pulls(
    pulls: ArrayLike, names: Sequence[str], axes: Any = None, ncols: int = 3, **kwargs: Any
) -> Any:
    """Plot a histogram of pulls per parameter, with the unit Gaussian that they should follow.

    Parameters
    ----------
    pulls : array
        Deviations in units of their errors, shape (n_toys, n_parameters); NaN is left out.
    names : list of str
        Names of the parameters.
    axes : array of `~matplotlib.axes.Axes`, optional
        Axes to draw on, one per parameter.
    ncols : int
        Panels in a row.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.hist`.

    Returns
    -------
    array of `~matplotlib.axes.Axes`
        The axes.
    """
    pulls = np.asarray(pulls, dtype=float).reshape(-1, len(names))
    panels = make_axes(axes, len(names), ncols, (4.0, 3.2))
    for panel, name, column in zip(panels, names, pulls.T, strict=True):
        _plot_pull(panel, name, column[np.isfinite(column)], kwargs)
    return panels


def _plot_pull(panel: Any, name: str, values: Any, options: dict[str, Any]) -> None:
    bins = np.linspace(-_RANGE, _RANGE, 41)
    shown = {"bins": bins, "color": "C0", "alpha": 0.6, "label": f"{len(values)} toys", **options}
    _, edges, _ = panel.hist(values, **shown)
    x = np.linspace(edges[0], edges[-1], 400)
    expected = len(values) * np.mean(np.diff(edges)) * np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    panel.plot(x, expected, color="C3", linewidth=1.5, label="unit Gaussian")
    n = len(values)
    if n > 1:
        mean, width = np.mean(values), np.std(values, ddof=1)
        text = (
            f"mean {mean:+.3f} ± {width / np.sqrt(n):.3f}\n"
            f"width {width:.3f} ± {width / np.sqrt(2 * (n - 1)):.3f}"
        )
        outside = int(np.sum((values < edges[0]) | (values > edges[-1])))
        if outside:
            text += f"\n{outside} outside"
        panel.text(0.03, 0.97, text, transform=panel.transAxes, va="top", fontsize="small")
    # Room for the numbers above the histogram.
    panel.set_ylim(top=1.35 * panel.get_ylim()[1])
    panel.legend(loc="upper right", frameon=False, fontsize="small")
    panel.set_xlabel(f"(fit − truth) / error of {name}")
    panel.set_ylabel("Toys per bin")


def plot_coverage(table: "Table", ax: "Axes | None" = None, **kwargs: Any) -> "Axes":
    """Plot by how much the coverage of intervals differs from what they promise.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Result of `~villard.simulate.ToyEnsemble.coverage` at many levels.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw on.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.plot`.

    Returns
    -------
    `~matplotlib.axes.Axes`
        The axes.
    """
    import matplotlib.pyplot as plt

    ax = plt.gca() if ax is None else ax
    names = list(dict.fromkeys(table["parameter"]))
    first = table[table["parameter"] == names[0]]
    level, error = 100 * np.asarray(first["level"]), 100 * np.asarray(first["error"])
    for n_sigma, alpha in ((2, 0.15), (1, 0.3)):
        ax.fill_between(
            level,
            -n_sigma * error,
            n_sigma * error,
            color="0.5",
            alpha=alpha,
            linewidth=0,
            label=rf"expected, {n_sigma}$\,\sigma$",
        )
    ax.axhline(0, color="0.3", linewidth=0.8)
    for name in names:
        rows = table[table["parameter"] == name]
        nominal = 100 * np.asarray(rows["level"])
        ax.plot(nominal, 100 * np.asarray(rows["coverage"]) - nominal, label=name, **kwargs)
    ax.set_xlabel("Nominal coverage [%]")
    ax.set_ylabel("Actual − nominal coverage [%]")
    ax.set_xlim(0, 100)
    # Room for the legend above what is drawn.
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.4 * (high - low))
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper left")
    return ax


def plot_goodness_of_fit(result: "GoodnessOfFit", ax: "Axes | None" = None, **kwargs: Any) -> "Axes":
    """Plot the statistic of toys and of real data.

    Parameters
    ----------
    result : `~villard.simulate.GoodnessOfFit`
        Result of `~villard.simulate.ToyEnsemble.goodness_of_fit`.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw on.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.hist`.

    Returns
    -------
    `~matplotlib.axes.Axes`
        The axes.
    """
    import matplotlib.pyplot as plt
    from scipy.stats import chi2

    ax = plt.gca() if ax is None else ax
    options = {"bins": 40, "color": "C0", "alpha": 0.6, "label": f"{len(result.stats)} toys", **kwargs}
    _, edges, _ = ax.hist(result.stats, **options)
    if result.n_dof > 0:
        x = np.linspace(edges[0], edges[-1], 400)
        expected = len(result.stats) * np.mean(np.diff(edges)) * chi2(result.n_dof).pdf(x)
        ax.plot(x, expected, color="C3", label=rf"$\chi^2$, {result.n_dof} degrees of freedom")
    label = f"data: p-value {result.p_value:.3g} ± {result.p_value_err:.2g}"
    ax.axvline(result.observed, color="k", linewidth=1.5, label=label)
    ax.set_xlabel(r"$-2\,\ln L$ at the minimum, relative to a perfect prediction")
    ax.set_ylabel("Toys per bin")
    ax.set_ylim(top=1.3 * ax.get_ylim()[1])
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    return ax


def plot_ts(
    ts: ArrayLike, n_dof: int, ax: "Axes | None" = None, observed: float | None = None, **kwargs: Any
) -> "Axes":
    """Plot how often a test statistic exceeds a value, and what Wilks' theorem says.

    Parameters
    ----------
    ts : array
        Test statistics of toys of the null hypothesis.
    n_dof : int
        Number of parameters that only the alternative has.
    ax : `~matplotlib.axes.Axes`, optional
        Axes to draw on.
    observed : float, optional
        Test statistic of real data.
    **kwargs : dict
        Passed to `~matplotlib.axes.Axes.step`.

    Returns
    -------
    `~matplotlib.axes.Axes`
        The axes.
    """
    import matplotlib.pyplot as plt
    from scipy.stats import chi2

    ax = plt.gca() if ax is None else ax
    ordered = np.sort(np.maximum(np.asarray(ts, dtype=float), 0.0))
    n = len(ordered)
    x = np.linspace(0, max(ordered[-1], chi2(n_dof).isf(0.5 / n), observed or 0.0), 500)
    expected = chi2(n_dof).sf(x)
    error = np.sqrt(expected * (1 - expected) / n)
    ax.fill_between(
        x,
        expected - error,
        expected + error,
        color="C3",
        alpha=0.25,
        linewidth=0,
        label=rf"1$\,\sigma$ of {n} toys",
    )
    ax.plot(x, expected, color="C3", label=rf"$\chi^2$, {n_dof} degree{'s' * (n_dof > 1)} of freedom")
    share = 1 - np.arange(n) / n
    ax.step(ordered, share, **{"where": "pre", "color": "C0", "label": "toys", **kwargs})
    if observed is not None:
        ax.axvline(observed, color="k", linewidth=1.5, label="data")
    ax.set_yscale("log")
    ax.set_ylim(0.3 / n, 1.3)
    ax.set_xlim(0, x[-1])
    ax.set_xlabel("Test statistic")
    ax.set_ylabel("Share of toys above")
    ax.legend(frameon=False, fontsize="small")
    return ax

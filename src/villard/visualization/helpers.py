"""What the plots share: labels, panels, colour bars."""

from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

__all__ = ["add_colorbar", "make_axes", "parameter_label"]


def add_colorbar(img: Any, ax: "Axes", axes_loc: dict[str, Any] | None = None, **kwargs: Any) -> "Colorbar":
    """Draw a colour bar beside axes, as high as these.

    Parameters
    ----------
    img : `~matplotlib.cm.ScalarMappable`
        Image, mesh or contours with colours.
    ax : `~matplotlib.axes.Axes`
        Axes that it belongs to.
    axes_loc : dict, optional
        ``position`` ("right"), ``size`` ("5%") and ``pad`` ("2%") of the bar.
    **kwargs : dict
        Passed to `~matplotlib.figure.Figure.colorbar`, such as ``label``.

    Returns
    -------
    `~matplotlib.colorbar.Colorbar`
        The colour bar.
    """
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    location = {"position": "right", "size": "5%", "pad": "2%", **(axes_loc or {})}
    bar_axes = make_axes_locatable(ax).append_axes(**location)
    figure: Any = ax.figure
    bar: Colorbar = figure.colorbar(img, cax=bar_axes, **kwargs)
    return bar


def make_axes(axes: Any, n_panels: int, n_columns: int, size: tuple[float, float]) -> Any:
    """Return the axes given, or those of a new figure with this many panels in rows.

    Parameters
    ----------
    axes : array of `~matplotlib.axes.Axes` or None
        Axes to draw on.
    n_panels : int
        Number of panels.
    n_columns : int
        Panels in a row.
    size : tuple of float
        Width and height of a panel in inches.

    Returns
    -------
    array of `~matplotlib.axes.Axes`
        Shape (n_panels,).
    """
    import matplotlib.pyplot as plt

    if axes is not None:
        axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        if len(axes) < n_panels:
            raise DataError(f"Expected {n_panels} axes to draw on, found {len(axes)}")
        return axes[:n_panels]
    n_columns = min(n_columns, n_panels)
    n_rows = -(-n_panels // n_columns)
    _, grid = plt.subplots(
        n_rows,
        n_columns,
        figsize=(size[0] * n_columns, size[1] * n_rows),
        squeeze=False,
        layout="constrained",
    )
    for spare in grid.ravel()[n_panels:]:
        spare.remove()
    return grid.ravel()[:n_panels]


def parameter_label(name: str, unit: Any = "") -> str:
    """Return the label of an axis: a name and its unit in brackets.

    Parameters
    ----------
    name : str
        Name.
    unit : str or `~astropy.units.Unit`
        Unit.

    Examples
    --------
    >>> parameter_label("alpha")
    'alpha'
    >>> parameter_label("amplitude", "cm-2 s-1 TeV-1")
    'amplitude [$\\\\mathrm{TeV^{-1}\\\\,s^{-1}\\\\,cm^{-2}}$]'
    """
    import astropy.units as u

    unit = u.Unit(unit)
    if unit == u.dimensionless_unscaled:
        return name
    return f"{name} [{unit.to_string('latex_inline')}]"

"""Write the results of an analysis: YAML, tables and plots in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villard.analysis.run import AnalysisResult
from villard.exceptions import OverwriteError
from villard.utils.io import atomic_write
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["check_folder", "write_results"]


def check_folder(folder: str | Path, overwrite: bool) -> Path:
    """Return the folder of results; raise `OverwriteError` if it isn't empty and may not be used."""
    folder = make_path(folder)
    if folder.exists() and not folder.is_dir():
        raise OverwriteError(f"{folder} is a file, expected a folder for results")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise OverwriteError(f"Folder {folder} isn't empty. Choose another, or allow overwriting")
    return folder


def write_results(
    result: AnalysisResult, folder: str | Path, *, plots: bool = True, overwrite: bool = False
) -> list[Path]:
    """Write everything that an analysis found.

    Parameters
    ----------
    result : AnalysisResult
        What to write.
    folder : str or path-like
        Where to; it is made if it doesn't exist.
    plots : bool
        Whether plots are written.
    overwrite : bool
        Whether files in the folder may be replaced.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    OverwriteError
        If the folder isn't empty and ``overwrite`` is false.
    """
    folder = check_folder(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "result.yaml"]
    result.fit.write(paths[0], overwrite=overwrite)
    for name, table in tables(result):
        paths.append(folder / f"{name}.ecsv")
        with atomic_write(paths[-1], overwrite) as temporary:
            table.write(temporary, format="ascii.ecsv", overwrite=True)
    if plots:
        from villard.analysis.plots import figures

        paths += list(_write_figures(figures(result), folder, overwrite))
    return paths


def _write_figures(
    figures: Iterator[tuple[str, Callable[[Any], None]]], folder: Path, overwrite: bool
) -> Iterator[Path]:
    from matplotlib.figure import Figure

    for name, draw in figures:
        # Figures of their own instead of pyplot's: no window, and nothing of the caller's is touched.
        figure = Figure(figsize=(7, 5), layout="constrained")
        draw(figure)
        path = folder / f"{name}.png"
        with atomic_write(path, overwrite) as temporary:
            figure.savefig(temporary, dpi=120)
        yield path


def tables(result: AnalysisResult) -> Iterator[tuple[str, Table]]:
    """Give the name and table of each result."""
    from astropy.table import Table

    yield "datasets", result.datasets.info_table()
    yield "parameters", result.fit.models.to_parameters_table()
    if result.fit.trace is not None:
        yield "trace", result.fit.trace
    if result.intervals is not None:
        yield "intervals", result.intervals
    for name, profile in result.profiles.items():
        columns = {name: profile[f"{name}_scan"], "stat": profile["stat_scan"]}
        yield f"profile_{name}", Table(columns)
    for contour in result.contours:
        x, y = contour["x"], contour["y"]
        table = Table({x: contour[x], y: contour[y]}, meta={"sigma": contour["sigma"]})
        yield f"contour_{x}_{y}_{contour['sigma']:g}sigma", table
    for surface in result.surfaces:
        x, y = surface["x"], surface["y"]
        yield f"surface_{x}_{y}", _surface_table(surface, x, y)
    if result.flux_points is not None:
        yield "flux_points", result.flux_points.to_table(sed_type="dnde")


def _surface_table(surface: dict[str, Any], x: str, y: str) -> Table:
    import numpy as np
    from astropy.table import Table

    grid = np.meshgrid(surface[f"{x}_scan"], surface[f"{y}_scan"], indexing="ij")
    return Table({x: grid[0].ravel(), y: grid[1].ravel(), "stat": surface["stat_scan"].ravel()})

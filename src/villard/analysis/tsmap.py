"""A map of test statistics and its peaks: the work of ``villard tsmap``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villard.datasets import Datasets
from villard.exceptions import ConfigError, FitError
from villard.utils.io import atomic_write, check_overwrite

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.estimators import FluxMaps

__all__ = ["TSMapResult", "TSMapSettings", "run_tsmap", "write_tsmap"]


@dataclass(frozen=True)
class TSMapSettings:
    """What is searched, and how.

    Attributes
    ----------
    index : float
        Index of the power law of the source that is put at each pixel.
    sigma : float
        Its extension, as the width of a Gaussian (deg); 0 for a point source.
    energy_range : tuple of `~astropy.units.Quantity`, optional
        Energies to use; all that the datasets call safe by default.
    kernel_width : float, optional
        Width of the square in which data are compared (deg); all that the source reaches by default.
    downsampling_factor : int, optional
        Fit only each n-th pixel, and interpolate between them.
    joint_energies : bool
        Whether the energies are fitted together instead of added up to an image.
    threshold : float
        Significance (σ) above which peaks are listed.
    min_distance : float
        Least distance of two peaks (deg).
    fit : bool
        Whether the models are fitted first, without any new source.
    """

    index: float = 2.0
    sigma: float = 0.0
    energy_range: tuple[Any, Any] | None = None
    kernel_width: float | None = None
    downsampling_factor: int | None = None
    joint_energies: bool = True
    threshold: float = 5.0
    min_distance: float = 0.3
    fit: bool = False


@dataclass(frozen=True)
class TSMapResult:
    """Maps, the peaks among them, and the datasets with the models that were kept."""

    maps: FluxMaps
    peaks: Table
    datasets: Datasets


def run_tsmap(
    datasets: Datasets, settings: TSMapSettings, report: Callable[[str], None] | None = None
) -> TSMapResult:
    """Search cubes of counts for sources that their models don't have.

    Parameters
    ----------
    datasets : `~villard.datasets.Datasets`
        Cubes of counts in the same pixels, with the models of what is known.
    settings : `TSMapSettings`
        What is searched.
    report : callable, optional
        Called with a line on each step before it is taken.

    Returns
    -------
    `TSMapResult`
        Maps and peaks.

    Raises
    ------
    ConfigError
        If a dataset isn't a cube of counts.
    FitError
        If the models are to be fitted and the fit fails.
    """
    import astropy.units as u

    from villard.estimators import TSMapEstimator, find_peaks

    report = report or (lambda message: None)
    for dataset in datasets:
        if not hasattr(dataset, "plot_residuals_spatial"):
            raise ConfigError(
                f"Dataset {dataset.name!r}: expected a cube of counts, found a {type(dataset).__name__}"
            )
        if settings.energy_range is not None:
            mask = dataset.counts.geom.energy_mask(*settings.energy_range)
            dataset.mask_fit = mask if dataset.mask_fit is None else dataset.mask_fit & mask
    if settings.fit:
        report("Fitting the models")
        _fit(datasets)
    report("Fitting a source at each pixel")
    estimator = TSMapEstimator(
        kernel_model=_source(settings),
        kernel_width=settings.kernel_width,
        downsampling_factor=settings.downsampling_factor,
        selection_optional="all",
        sum_over_energy_groups=not settings.joint_energies,
    )
    maps = estimator.run(datasets)
    peaks = find_peaks(maps.sqrt_ts, settings.threshold, settings.min_distance * u.deg)
    return TSMapResult(maps, _describe(peaks, maps), datasets)


def _source(settings: TSMapSettings) -> Any:
    from villard.modeling.models import (
        GaussianSpatialModel,
        PointSpatialModel,
        PowerLawSpectralModel,
        SkyModel,
    )

    shape = GaussianSpatialModel(sigma=f"{settings.sigma} deg") if settings.sigma > 0 else PointSpatialModel()
    return SkyModel(PowerLawSpectralModel(index=settings.index), shape, name="source")


def _fit(datasets: Datasets) -> None:
    from villard.modeling import Fit

    result = Fit().run(datasets)
    if not result.success:
        raise FitError(f"The fit of the models failed: {result.message}")


def _describe(peaks: Table, maps: FluxMaps) -> Table:
    """Say of each peak what the maps say there."""
    import numpy as np
    from astropy.coordinates import SkyCoord

    peaks.rename_column("value", "sqrt_ts")
    rows, columns = (np.asarray(peaks[name], dtype=int) for name in ("y", "x"))
    position = SkyCoord(peaks["ra"], peaks["dec"], unit="deg", frame="icrs").galactic
    peaks["glon"], peaks["glat"] = position.l.to("deg"), position.b.to("deg")
    for name in ("flux", "flux_err", "flux_ul", "npred_excess"):
        image = maps[name]
        values = image.data.reshape(image.geom.spatial_shape)[rows, columns]
        peaks[name] = values * image.unit if str(image.unit) else values
    for name in ("ra", "dec", "glon", "glat"):
        peaks[name].info.format = ".4f"
    for name in ("flux", "flux_err", "flux_ul"):
        peaks[name].info.format = ".3e"
    for name in ("sqrt_ts", "npred_excess"):
        peaks[name].info.format = ".2f"
    return peaks


def write_tsmap(
    result: TSMapResult, folder: Path, *, plots: bool = True, overwrite: bool = False
) -> list[Path]:
    """Write maps, peaks and a plot of both.

    Parameters
    ----------
    result : `TSMapResult`
        What to write.
    folder : path
        Where to; it is made if it doesn't exist.
    plots : bool
        Whether to plot.
    overwrite : bool
        Whether files may be replaced.

    Returns
    -------
    list of path
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "tsmap.fits", folder / "peaks.ecsv", *([folder / "tsmap.png"] if plots else [])]
    for path in paths:
        check_overwrite(path, overwrite)
    result.maps.write(paths[0], overwrite=overwrite)
    # With the maps comes the model of the source that they refer to.
    paths += sorted(folder.glob(f"{paths[0].name}_*"))
    with atomic_write(paths[1], overwrite) as temporary:
        result.peaks.write(temporary, format="ascii.ecsv", overwrite=True)
    if plots:
        with atomic_write(paths[2], overwrite) as temporary:
            _plot(result).savefig(temporary, dpi=120)
    return paths


def _plot(result: TSMapResult) -> Any:
    from matplotlib.figure import Figure

    image = result.maps.sqrt_ts
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    ax = figure.add_subplot(projection=image.geom.wcs)
    limit = max(5.0, float(abs(image.data[image.data == image.data]).max(initial=0)))
    image.plot(ax=ax, cmap="RdBu_r", vmin=-limit, vmax=limit, add_cbar=True)
    for row in result.peaks:
        ax.plot(row["x"], row["y"], "o", markersize=12, markerfacecolor="none", color="black")
        ax.annotate(
            f"{row['sqrt_ts']:.1f} σ", (row["x"], row["y"]), xytext=(8, 8), textcoords="offset points"
        )
    ax.set_title("Significance of a source at each pixel")
    return figure

"""Read, fit, and derive what a configuration asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villard.config import AnalysisConfig, ContourConfig, SurfaceConfig
from villard.datasets import Datasets, FluxPointsDataset, SpectrumDatasetOnOff
from villard.exceptions import ConfigError
from villard.modeling import Fit
from villard.modeling.models import Models
from villard.utils.names import nearest

if TYPE_CHECKING:
    import astropy.units as u
    from astropy.table import Table

    from villard.estimators import FluxPoints
    from villard.modeling.fit_result import FitResult
    from villard.modeling.parameter import Parameter

__all__ = ["AnalysisResult", "prepare", "read_datasets", "run_analysis"]


@dataclass
class AnalysisResult:
    """What an analysis found.

    Attributes
    ----------
    datasets : `~villard.datasets.Datasets`
        Data as they were fitted, with the fitted models.
    fit : `~villard.modeling.FitResult`
        The fit. If it failed, there is nothing else.
    intervals : `~astropy.table.Table` or None
        Asymmetric errors, a row per parameter.
    profiles : dict
        Results of `~villard.modeling.Fit.stat_profile`, by unique parameter name.
    contours, surfaces : list of dict
        Results of `~villard.modeling.Fit.stat_contour` and `~villard.modeling.Fit.stat_surface`; entries
        ``x`` and ``y`` are the unique parameter names, and ``sigma`` that of a contour.
    flux_points : `~villard.estimators.FluxPoints` or None
        Flux points.
    """

    datasets: Datasets
    fit: FitResult
    intervals: Table | None = None
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    contours: list[dict[str, Any]] = field(default_factory=list)
    surfaces: list[dict[str, Any]] = field(default_factory=list)
    flux_points: FluxPoints | None = None


def prepare(config: AnalysisConfig) -> Datasets:
    """Read datasets and models, stack if asked to, and set the fit range.

    Parameters
    ----------
    config : `~villard.config.AnalysisConfig`
        Configuration.

    Returns
    -------
    `~villard.datasets.Datasets`
        Datasets with models, ready for a fit.

    Raises
    ------
    VillardError
        If a file can't be read, or names in the configuration don't occur in the files.
    """
    datasets = read_datasets(config.path(name) for name in _names(config))
    if config.stack:
        datasets = Datasets([datasets.stack_reduce(name="stacked")])
    models = Models.read(config.path(config.models))
    datasets.models = models
    if config.energy_range is not None:
        for dataset in datasets:
            dataset.mask_fit = _range_mask(dataset, *config.energy_range)
    _check_names(config, models)
    return datasets


def _range_mask(dataset: Any, energy_min: u.Quantity, energy_max: u.Quantity) -> Any:
    if isinstance(dataset, FluxPointsDataset):
        energy = dataset.data.energy_ref
        return (energy >= energy_min) & (energy <= energy_max)
    mask = dataset.counts.geom.energy_mask(energy_min, energy_max)
    # A mask that came with the data, such as one of the sky, goes on to count.
    return mask if dataset.mask_fit is None else dataset.mask_fit & mask


def _names(config: AnalysisConfig) -> list[str]:
    return [config.datasets] if isinstance(config.datasets, str) else config.datasets


def read_datasets(paths: Iterable[Path]) -> Datasets:
    """Read datasets from files of any of the known kinds.

    Parameters
    ----------
    paths : iterable of path
        YAML files in Gammapy's format, cubes of counts in one FITS file each, or OGIP files (PHA).

    Returns
    -------
    `~villard.datasets.Datasets`
        All datasets, in the order of the files.
    """
    found: list[Any] = []
    for path in paths:
        if path.suffix in {".yaml", ".yml"}:
            found += Datasets.read(path)
        else:
            found.append(_dataset_class(path).read(path))
    return Datasets(found)


def _dataset_class(path: Path) -> Any:
    """Class of the dataset in a FITS file: a cube has its counts as an image, a spectrum as a table."""
    from astropy.io import fits

    from villard.datasets import MapDataset, MapDatasetOnOff

    try:
        # A file that is cut off, or none of FITS, is found out by the reader, which names it.
        with warnings.catch_warnings(action="ignore"), fits.open(path) as hdulist:
            images = [hdu.name for hdu in hdulist if hdu.is_image and hdu.header.get("NAXIS", 0) > 1]
    except (OSError, ValueError, TypeError, EOFError):
        return SpectrumDatasetOnOff
    if "COUNTS" not in images:
        return SpectrumDatasetOnOff
    return MapDatasetOnOff if "ACCEPTANCE" in images else MapDataset


def _check_names(config: AnalysisConfig, models: Models) -> None:
    """Look up every name before the fit, so that a mistake costs no time."""
    pairs: list[ContourConfig | SurfaceConfig] = [*config.contours, *config.surfaces]
    for pair in pairs:
        if find_parameter(models, pair.x) is find_parameter(models, pair.y):
            raise ConfigError(f"Expected two parameters, found {pair.x!r} twice")
    for section in (config.confidence, config.profiles):
        if section is not None:
            _select(models, section.parameters)
    if config.flux_points is not None and config.flux_points.source not in models.names:
        source = config.flux_points.source
        raise ConfigError(f"flux_points.source: no model {source!r}. {nearest(source, models.names)}")


def find_parameter(models: Models, name: str) -> Parameter:
    """Return the free parameter of a complete or unambiguous short name.

    Raises
    ------
    ConfigError
        If there is none or more than one.
    """
    free = {models.unique_name(p): p for p in models.parameters.free_unique_parameters}
    if name in free:
        return free[name]
    matches = [full for full in free if full.endswith(f".{name}")]
    if len(matches) > 1:
        raise ConfigError(f"Parameter {name!r} is ambiguous: choose one of {', '.join(matches)}")
    if not matches:
        raise ConfigError(f"No free parameter {name!r}. {nearest(name, free)}")
    return free[matches[0]]


def _select(models: Models, names: str | list[str]) -> list[Parameter]:
    if names == "all":
        return list(models.parameters.free_unique_parameters)
    return [find_parameter(models, name) for name in names]


def _silent(message: str) -> None:
    pass


def run_analysis(config: AnalysisConfig, report: Callable[[str], None] = _silent) -> AnalysisResult:
    """Run an analysis.

    Parameters
    ----------
    config : `~villard.config.AnalysisConfig`
        Configuration.
    report : callable
        Called with a line on each step before it is taken.

    Returns
    -------
    AnalysisResult
        Everything that the configuration asks for. If the fit doesn't converge, only the fit.

    Raises
    ------
    VillardError
        If files or settings are wrong, or the fit can't be started.
    """
    report("Reading data and models")
    datasets = prepare(config)
    settings = config.fit
    fit = Fit(
        backend=settings.backend,
        optimize_opts=settings.optimize_opts,
        covariance_opts=settings.covariance_opts,
        confidence_opts=settings.confidence_opts,
        store_trace=settings.store_trace,
    )
    report("Fitting")
    result = AnalysisResult(datasets, fit.run(datasets))
    if result.fit.success:
        _derive(config, fit, result, report)
    return result


def _derive(config: AnalysisConfig, fit: Fit, result: AnalysisResult, report: Callable[[str], None]) -> None:
    datasets, models = result.datasets, result.datasets.models
    if config.confidence is not None:
        report("Asymmetric errors")
        parameters = _select(models, config.confidence.parameters)
        result.intervals = _intervals(fit, datasets, models, parameters, config.confidence.sigma)
    if config.profiles is not None:
        for parameter in _select(models, config.profiles.parameters):
            name = models.unique_name(parameter)
            report(f"Profile of {name}")
            with _scanned([parameter], config.profiles.n_values, config.profiles.n_sigma):
                result.profiles[name] = fit.stat_profile(datasets, parameter, config.profiles.reoptimize)
    for wanted in config.contours:
        x, y = (find_parameter(models, name) for name in (wanted.x, wanted.y))
        names = {"x": models.unique_name(x), "y": models.unique_name(y)}
        report(f"Contours of {names['x']} and {names['y']}")
        for sigma in wanted.sigma:
            contour = fit.stat_contour(datasets, x, y, numpoints=wanted.n_points, sigma=sigma)
            result.contours.append({**contour, **names, "sigma": sigma})
    for area in config.surfaces:
        x, y = (find_parameter(models, name) for name in (area.x, area.y))
        names = {"x": models.unique_name(x), "y": models.unique_name(y)}
        report(f"Surface of {names['x']} and {names['y']}")
        with _scanned([x, y], area.n_values, area.n_sigma):
            surface = fit.stat_surface(datasets, x, y, reoptimize=area.reoptimize)
        result.surfaces.append({**surface, **names})
    if config.flux_points is not None:
        report(f"Flux points of {config.flux_points.source}")
        result.flux_points = _flux_points(config, fit, datasets)


@contextmanager
def _scanned(parameters: list[Parameter], n_values: int, n_sigma: float) -> Iterator[None]:
    """Set how parameters are scanned, and put it back."""
    before = [(p.scan_n_values, p.scan_n_sigma) for p in parameters]
    try:
        for parameter in parameters:
            parameter.scan_n_values, parameter.scan_n_sigma = n_values, n_sigma
        yield
    finally:
        for parameter, state in zip(parameters, before, strict=True):
            parameter.scan_n_values, parameter.scan_n_sigma = state


def _intervals(
    fit: Fit, datasets: Datasets, models: Models, parameters: list[Parameter], sigma: float
) -> Table:
    from astropy.table import Table

    rows = []
    for parameter in parameters:
        interval = fit.confidence(datasets, parameter, sigma=sigma)
        rows.append(
            (
                models.unique_name(parameter),
                parameter.value,
                interval["errn"],
                interval["errp"],
                str(parameter.unit),
                bool(interval["success"]),
                str(interval.get("message", "")),
            )
        )
    names = ["name", "value", "errn", "errp", "unit", "success", "message"]
    return Table(rows=rows, names=names, meta={"sigma": sigma})


def _flux_points(config: AnalysisConfig, fit: Fit, datasets: Datasets) -> FluxPoints:
    from villard.estimators import FluxPointsEstimator

    settings = config.flux_points
    assert settings is not None
    estimator = FluxPointsEstimator(
        energy_edges=settings.edges,
        source=settings.source,
        n_sigma=settings.sigma,
        n_sigma_ul=settings.sigma_ul,
        selection_optional="all",
        fit=fit,
    )
    points: FluxPoints = estimator.run(datasets)
    return points

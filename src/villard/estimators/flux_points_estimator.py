"""Flux points estimated from datasets: the norm of a source in bins of energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.flux_points import FluxPoints
from villard.estimators.map_data import joined_gti
from villard.estimators.norm_inputs import (
    bin_centers,
    counts_of_fits,
    energy_edges,
    lowest_norms,
    make_measurement,
    snap_edges,
)
from villard.estimators.reference import EnergyBins, ReferenceSpectrum
from villard.exceptions import ConfigError, FitError, ModelError
from villard.modeling.parameter import Parameter
from villard.utils.names import nearest

__all__ = ["FluxPointsEstimator"]

Array = NDArray[np.float64]
_OPTIONAL = ("errn-errp", "ul", "scan")
_NORM_DEFAULTS: dict[str, Any] = {"scan_min": 0.2, "scan_max": 5, "scan_n_values": 11, "interp": "log"}


class FluxPointsEstimator:
    """Estimate the flux of a source in bins of energy.

    In each bin the spectrum of the source keeps the shape that it has in the models, usually from a
    fit of all energies, and is scaled by a norm. All bins are fitted in one batch, as are the
    searches for their errors and limits and the points of their likelihood profiles.

    Parameters
    ----------
    energy_edges : `~astropy.units.Quantity`
        Edges of the bins; they are moved to the nearest edges of the data.
    source : str or int
        Name or position of the source in the models.
    n_sigma : float
        Number of standard deviations of errors.
    n_sigma_ul : float
        Number of standard deviations of upper limits: these are where -2 ln L has risen by
        n_sigma_ul² above the best fit.
    selection_optional : "all" or list of {"errn-errp", "ul", "scan"}, optional
        What to compute beside norm, symmetric error and test statistic: asymmetric errors, upper
        limits, likelihood profiles.
    fit : `~villard.modeling.Fit`, optional
        Its ``confidence_opts["tol"]`` says how exactly errors and limits meet their level. Fits are
        by the batched solver, whatever its backend.
    reoptimize : bool
        Whether the free parameters of other models are refitted in each bin (and, for profiles, at
        each norm); else they are kept. The shape of the source's spectrum is kept in any case.
    norm : `~villard.modeling.Parameter` or dict, optional
        Start value, limits, prior and scan settings of the norm. By default 11 values from 0.2 to 5,
        and limits from those of the source's amplitude.
    norm_min, norm_max, norm_n_values, norm_values : optional
        Scan settings, for scripts of older Gammapy versions.
    n_jobs, parallel_backend : optional
        Kept for Gammapy scripts: a batch needs no processes.

    Raises
    ------
    ConfigError
        If a setting isn't known.

    Examples
    --------
    >>> from villard.datasets import SpectrumDataset
    >>> from villard.maps import MapAxis, RegionGeom
    >>> from villard.modeling.models import PowerLawSpectralModel, SkyModel
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=8)
    >>> dataset = SpectrumDataset.create(RegionGeom(None, axes=[axis]), name="toy")
    >>> dataset.mask_safe.data[...] = True
    >>> dataset.exposure.quantity = np.full(8, 1e15) * u.Unit("cm2 s")
    >>> dataset.models = SkyModel(PowerLawSpectralModel(index=2), name="source")
    >>> dataset.counts = dataset.npred()
    >>> points = FluxPointsEstimator([1, 10, 100] * u.TeV, source="source").run(dataset)
    >>> points.quantity("norm").round(6), points.quantity("norm_err").round(4)
    (<Quantity [1., 1.]>, <Quantity [0.0333, 0.1054]>)
    """

    tag = "FluxPointsEstimator"

    def __init__(
        self,
        energy_edges: Any = [1, 10] * u.TeV,
        source: str | int = 0,
        n_sigma: float = 1,
        n_sigma_ul: float = 2,
        selection_optional: Any = None,
        fit: Any = None,
        reoptimize: bool = False,
        norm: Any = None,
        norm_min: float | None = None,
        norm_max: float | None = None,
        norm_n_values: int | None = None,
        norm_values: Any = None,
        n_jobs: int | None = None,
        parallel_backend: str | None = None,
    ) -> None:
        self.energy_edges = _check_edges(energy_edges)
        self.source = source
        self.n_sigma = _positive(n_sigma, "n_sigma")
        self.n_sigma_ul = _positive(n_sigma_ul, "n_sigma_ul")
        self.selection_optional = selection_optional
        self.fit = fit
        self.reoptimize = bool(reoptimize)
        older = {
            "scan_min": norm_min,
            "scan_max": norm_max,
            "scan_n_values": norm_n_values,
            "scan_values": norm_values,
        }
        self.norm = _make_norm(norm, {key: value for key, value in older.items() if value is not None})
        given = {"min", "max"} if isinstance(norm, Parameter) else set(norm or {})
        self._has_limits = bool(given & {"min", "max"})

    @property
    def selection_optional(self) -> list[str]:
        """What is computed beside norm, symmetric error and test statistic."""
        return list(self._selection)

    @selection_optional.setter
    def selection_optional(self, selection: Any) -> None:
        if selection is None:
            selection = []
        wanted = (
            list(_OPTIONAL)
            if selection == "all"
            else [selection]
            if isinstance(selection, str)
            else selection
        )
        for name in wanted:
            if name not in _OPTIONAL:
                raise ConfigError(
                    f"FluxPointsEstimator: unknown selection_optional {name!r}. "
                    f"{nearest(str(name), _OPTIONAL)}"
                )
        self._selection = tuple(wanted)

    def run(self, datasets: Any) -> FluxPoints:
        """Estimate the flux points.

        Neither datasets nor models are changed.

        Parameters
        ----------
        datasets : dataset, list of datasets or `~villard.datasets.Datasets`
            Data with their models. Several datasets are fitted together, with one norm.

        Returns
        -------
        `FluxPoints`
            One point per bin. Bins without data have the norm NaN, and ``success`` false.

        Raises
        ------
        ModelError
            If there is no such source, or it contributes to no dataset.
        DataError
            If no bin of the data lies between the edges.
        """
        from villard.estimators.norm_fit import NormFits
        from villard.likelihood.likelihood import Likelihood

        datasets = [datasets] if hasattr(datasets, "measurement") else list(datasets)
        measurements = [make_measurement(dataset) for dataset in datasets]
        models, source, reference = self._scaled_models(datasets)
        centers = [bin_centers(*pair) for pair in zip(datasets, measurements, strict=True)]
        energies, masks = self._bins(datasets, measurements, centers)
        likelihood = Likelihood(measurements, list(models))
        column = likelihood.column(source.spectral_model.norm)
        floor = lowest_norms(measurements, masks, models, source)
        fits = NormFits(likelihood, column, masks, floor, **self._tolerance())
        has_data = np.any([mask.any(axis=1) for mask in masks], axis=0)
        # Without error and slope the data say nothing of the norm.
        arrays = self._arrays(fits, has_data & fits.success & (np.isfinite(fits.error) | fits.at_edge))
        arrays |= counts_of_fits(measurements, masks, likelihood, fits, models, source)
        return FluxPoints._make(
            energies,
            arrays,
            ReferenceSpectrum.from_model(reference, energies),
            "likelihood",
            {"n_sigma": self.n_sigma, "n_sigma_ul": self.n_sigma_ul},
            joined_gti(datasets),
        )

    def _tolerance(self) -> dict[str, Any]:
        options = getattr(self.fit, "confidence_opts", None) or {}
        return {"tol": float(options["tol"])} if "tol" in options else {}

    def _arrays(self, fits: Any, success: NDArray[np.bool_]) -> dict[str, Array]:
        """Everything about the norms; NaN in bins without a result."""

        def known(values: Array) -> Array:
            return np.where(success.reshape((-1,) + (1,) * (values.ndim - 1)), values, np.nan)

        null = fits.stat_at(np.zeros(1))[:, 0]
        norm = known(fits.norm)
        ts = known(null - fits.stat)
        arrays = {
            "norm": norm,
            "norm_err": known(self.n_sigma * fits.error),
            "ts": ts,
            "sqrt_ts": np.where(norm < 0, -1, 1) * np.sqrt(np.maximum(ts, 0)),
            "stat": fits.stat,
            "stat_null": null,
            "niter": fits.nfev.astype(float),
            "success": success,
        }
        if "errn-errp" in self._selection:
            arrays["norm_errn"] = known(fits.crossings(-1, self.n_sigma))
            arrays["norm_errp"] = known(fits.crossings(1, self.n_sigma))
        if "ul" in self._selection:
            arrays["norm_ul"] = known(fits.norm + fits.crossings(1, self.n_sigma_ul))
        if "scan" in self._selection:
            values = self.norm.scan_values
            arrays["stat_scan"] = known(fits.stat_at(values))
            arrays["norm_scan"] = np.tile(values, (fits.n, 1))
        return arrays

    def _scaled_models(self, datasets: Iterable[Any]) -> tuple[Any, Any, Any]:
        """Copies of the models with the source scaled by the norm; the source; its original."""
        from villard.modeling.models import Models, ScaleSpectralModel

        models = Models({id(m): m for d in datasets for m in (d.models or [])})
        if not models:
            raise FitError(
                "FluxPointsEstimator: the datasets have no models, so there is no spectrum to scale"
            )
        reference = models[_check_source(self.source, models)]
        if getattr(reference, "spectral_model", None) is None:
            raise ModelError(f"FluxPointsEstimator: the model {reference.name!r} has no spectrum")
        models = models.copy()
        source = models[reference.name]
        for parameter in models.parameters if not self.reoptimize else source.parameters:
            parameter.frozen = True
        source.spectral_model = ScaleSpectralModel(source.spectral_model)
        source.spectral_model.norm = self._make_source_norm(reference)
        return models, source, reference

    def _make_source_norm(self, source: Any) -> Parameter:
        """A copy of the norm, with limits from those of the amplitude unless it has its own."""
        norm = self.norm.copy()
        norm.frozen = False
        amplitudes = [p for p in source.spectral_model.parameters if p.is_norm]
        if not self._has_limits and len(amplitudes) == 1 and amplitudes[0].value > 0:
            norm.min, norm.max = (
                limit / amplitudes[0].value for limit in (amplitudes[0].min, amplitudes[0].max)
            )
        return norm

    def _bins(
        self, datasets: list[Any], measurements: list[Any], centers: list[Array]
    ) -> tuple[EnergyBins, list[NDArray[np.bool_]]]:
        """Bins of energy with edges that the data have, and which bins of the data are in each."""
        edges = snap_edges(self.energy_edges.to_value(u.TeV), [energy_edges(d) for d in datasets])
        low, high = edges[:-1, np.newaxis], edges[1:, np.newaxis]
        masks = [
            (center >= low) & (center < high) & m.mask
            for center, m in zip(centers, measurements, strict=True)
        ]
        unit = self.energy_edges.unit
        values = (edges * u.TeV).to_value(unit)
        return EnergyBins(np.sqrt(values[:-1] * values[1:]), values[:-1], values[1:], unit), masks

    def copy(self) -> FluxPointsEstimator:
        """Return a copy."""
        import copy

        return copy.deepcopy(self)

    @property
    def config_parameters(self) -> dict[str, Any]:
        """Settings by name."""
        names = (
            "energy_edges",
            "source",
            "n_sigma",
            "n_sigma_ul",
            "selection_optional",
            "reoptimize",
            "norm",
            "fit",
        )
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        rows = "".join(f"\n  {name:18s}: {value}" for name, value in self.config_parameters.items())
        return f"{self.tag}\n{rows}\n"


def _positive(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"FluxPointsEstimator: expected a number as {name}, found {value!r}") from error
    if not number > 0:
        raise ConfigError(f"FluxPointsEstimator: expected a positive {name}, found {number:g}")
    return number


def _check_edges(energy_edges: Any) -> u.Quantity:
    edges = u.Quantity(energy_edges)
    if not edges.unit.is_equivalent(u.TeV):
        raise ConfigError(
            f"FluxPointsEstimator: expected energy_edges in a unit of energy, found {edges.unit!r}"
        )
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges.value) > 0) or not edges[0].value > 0:
        raise ConfigError(
            f"FluxPointsEstimator: expected at least two positive, increasing energy_edges, found {edges}"
        )
    return edges


def _make_norm(norm: Any, older: Mapping[str, Any]) -> Parameter:
    """Return the parameter that the settings describe."""
    if isinstance(norm, Parameter):
        parameter = norm.copy()
        for key, value in older.items():
            setattr(parameter, key, value)
        return parameter
    if norm is not None and not isinstance(norm, Mapping):
        raise ConfigError(
            f"FluxPointsEstimator: expected a Parameter or dict as norm, found {type(norm).__name__}"
        )
    settings = {"name": "norm", "value": 1.0, "is_norm": True, **_NORM_DEFAULTS, **(norm or {}), **older}
    try:
        return Parameter(**settings)
    except TypeError as error:
        raise ConfigError(f"FluxPointsEstimator: the norm has an unknown setting: {error}") from error


def _check_source(source: str | int, models: Any) -> str:
    if isinstance(source, str):
        if source not in models.names:
            raise ModelError(f"FluxPointsEstimator: no model {source!r}. {nearest(source, models.names)}")
        return source
    if not -len(models) <= source < len(models):
        raise ModelError(
            f"FluxPointsEstimator: no model number {source}; there are {', '.join(models.names)}"
        )
    return str(models.names[source])

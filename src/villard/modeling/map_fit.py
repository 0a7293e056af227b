"""MapFit: the fit of models to one cube of counts, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.datasets.map import MapDataset
from villard.exceptions import FitSetupError, ParameterError
from villard.modeling.fit import Fit
from villard.modeling.fit_result import CovarianceResult, FitResult, OptimizeResult
from villard.modeling.models import Models
from villard.modeling.parameter import Parameter, Parameters

__all__ = ["MapFit"]

Array = NDArray[np.float64]

_NAME = "map-fit"


class MapFit:
    """Fit models to one cube of counts: a thin face of `~villard.datasets.MapDataset` and `Fit`.

    Parameters
    ----------
    model : model, list of models or `~villard.modeling.models.Models`
        Source models. They get values and errors when the fit succeeds.
    counts : `~villard.maps.WcsNDMap`
        Counts along the axis "energy".
    exposure : `~villard.maps.WcsNDMap`
        Effective area times livetime along the axis "energy_true".
    background : `~villard.maps.WcsNDMap`, optional
        Predicted background counts.
    mask : `~villard.maps.WcsNDMap`, optional
        Bins that enter the fit; all by default.
    psf : `~villard.irf.PSFMap` or `~villard.irf.PSFKernel`, optional
        Point spread function.
    edisp : `~villard.irf.EDispKernelMap`, `~villard.irf.EDispMap` or `~villard.irf.EDispKernel`, optional
        Energy dispersion.
    background_model : `~villard.modeling.models.FoVBackgroundModel`, optional
        Model that scales the background.
    stat_type : {"cash", "cstat"}
        Fit statistic.
    backend, optimize_opts, covariance_opts, confidence_opts, store_trace
        As for `Fit`.

    Raises
    ------
    FitSetupError
        If there is no model, or one isn't meant for this cube.
    DataError
        If the maps don't fit each other.

    Examples
    --------
    See ``examples/map_fit.py``.
    """

    def __init__(
        self,
        model: Any,
        counts: Any,
        exposure: Any,
        background: Any = None,
        mask: Any = None,
        psf: Any = None,
        edisp: Any = None,
        background_model: Any = None,
        *,
        stat_type: str = "cash",
        backend: str = "newton",
        optimize_opts: Mapping[str, Any] | None = None,
        covariance_opts: Mapping[str, Any] | None = None,
        confidence_opts: Mapping[str, Any] | None = None,
        store_trace: bool = False,
    ) -> None:
        self.fit = Fit(backend, optimize_opts, covariance_opts, confidence_opts, store_trace)
        self._dataset = MapDataset(
            counts=counts,
            exposure=exposure,
            background=background,
            mask_safe=mask,
            psf=psf,
            edisp=edisp,
            name=_dataset_name(background_model),
            stat_type=stat_type,
        )
        models = Models([] if model is None else model)
        if background_model is not None:
            models = Models([*models, background_model])
        self._dataset.models = _checked(models, self._dataset.name)

    @property
    def dataset(self) -> MapDataset:
        """The cube with its models."""
        return self._dataset

    @property
    def models(self) -> Models:
        """The models, the background's included."""
        return Models(self._dataset.models)

    @property
    def parameters(self) -> Parameters:
        """Parameters of the models, linked ones once."""
        return self._dataset.parameters

    # What the fit finds

    def run(self) -> FitResult:
        """Minimise and compute the covariance; see `Fit.run`."""
        return self.fit.run(self._dataset)

    def optimize(self) -> OptimizeResult:
        """Minimise only; see `Fit.optimize`."""
        return self.fit.optimize(self._dataset)

    def covariance(self) -> CovarianceResult:
        """Compute the covariance at the present values; see `Fit.covariance`."""
        return self.fit.covariance(self._dataset)

    def confidence(
        self, parameter: Parameter | str, sigma: float = 1, reoptimize: bool = True
    ) -> dict[str, Any]:
        """Find where the statistic has risen by sigma² on both sides of the minimum; see `Fit.confidence`."""
        return self.fit.confidence(self._dataset, parameter, sigma, reoptimize)

    # The statistic

    @property
    def stat(self) -> Array:
        """-2 ln L of each bin at the present values, in the shape of the counts, also outside the mask."""
        return self._dataset.stat_array()

    def total_stat(self, parameters: Parameters | Iterable[Parameter] | None = None) -> float:
        """Return -2 ln L: the sum over the bins of the mask, and the priors.

        Parameters
        ----------
        parameters : `Parameters`, optional
            Values to evaluate at: parameters of the models, or of copies of them, in the same order. The
            models keep their own values.

        Raises
        ------
        ParameterError
            If they aren't the parameters of these models.
        """
        if parameters is None:
            return self._dataset.stat_sum()
        own = self.parameters
        given = list(parameters)
        if [p.name for p in given] != own.names:
            raise ParameterError(
                f"total_stat: expected the parameters {', '.join(own.names)}, "
                f"found {', '.join(p.name for p in given) or 'none'}"
            )
        before = [p.value for p in own]
        try:
            for parameter, other in zip(own, given, strict=True):
                # In its own unit: setting a quantity would change that.
                parameter.value = other.quantity.to_value(parameter.unit)
            return self._dataset.stat_sum()
        finally:
            for parameter, value in zip(own, before, strict=True):
                parameter.value = value

    # Along one parameter

    def likelihood_profile(
        self,
        parameter: Parameter | str,
        values: Any = None,
        bounds: float | tuple[float, float] = 2,
        nvalues: int = 11,
    ) -> dict[str, Any]:
        """Compute the statistic along a parameter, the others fixed.

        Parameters
        ----------
        parameter : `Parameter` or str
            Parameter, or its name.
        values : array-like, optional
            Values in the parameter's unit, or a quantity; by default ``nvalues`` evenly between ``bounds``.
        bounds : float or tuple
            Half width of the range in errors of the parameter, or its ends.
        nvalues : int
            Number of values.

        Returns
        -------
        dict
            ``values`` and ``likelihood`` (-2 ln L), shape (n_values,).

        Raises
        ------
        ParameterError
            If ``bounds`` is a number and the parameter has no error yet.
        """
        return self._profile(parameter, values, bounds, nvalues, reoptimize=False)

    def minos_profile(
        self,
        parameter: Parameter | str,
        values: Any = None,
        bounds: float | tuple[float, float] = 2,
        nvalues: int = 11,
    ) -> dict[str, Any]:
        """Compute the statistic along a parameter, the others refitted at each value.

        Parameters, results and exceptions are those of `likelihood_profile`.
        """
        return self._profile(parameter, values, bounds, nvalues, reoptimize=True)

    def _profile(
        self, parameter: Parameter | str, values: Any, bounds: Any, nvalues: int, reoptimize: bool
    ) -> dict[str, Any]:
        own = self._find(parameter)
        points = _scan_values(own, values, bounds, nvalues)
        scan = self.fit.stat_profile(self._dataset, own, reoptimize=reoptimize, values=points)
        return {"values": scan[f"{self.models.unique_name(own)}_scan"], "likelihood": scan["stat_scan"]}

    # Along two parameters

    def likelihood_contour(
        self, x: Parameter | str, y: Parameter | str, numpoints: int = 10, sigma: float = 1
    ) -> dict[str, Any]:
        """Trace the curve on which the statistic is sigma² above its minimum, the other parameters fixed.

        Parameters
        ----------
        x, y : `Parameter` or str
            The two parameters, or their names.
        numpoints : int
            Number of points; the first is repeated at the end.
        sigma : float
            Square root of the rise of the statistic.

        Returns
        -------
        dict
            ``x`` and ``y``: coordinates, shape (numpoints + 1,), NaN for points that weren't found;
            ``success``, ``message``, ``nfev``.
        """
        return self._contour(x, y, numpoints, sigma, reoptimize=False)

    def minos_contour(
        self, x: Parameter | str, y: Parameter | str, numpoints: int = 10, sigma: float = 1
    ) -> dict[str, Any]:
        """Trace the curve on which the statistic is sigma² above its minimum, the other parameters refitted.

        Parameters and results are those of `likelihood_contour`.
        """
        return self._contour(x, y, numpoints, sigma, reoptimize=True)

    def _contour(self, x: Any, y: Any, numpoints: int, sigma: float, reoptimize: bool) -> dict[str, Any]:
        pair = self._find(x), self._find(y)
        names = [self.models.unique_name(p) for p in pair]
        found = self.fit.stat_contour(self._dataset, *pair, numpoints, sigma, reoptimize=reoptimize)
        return {
            "x": found[names[0]],
            "y": found[names[1]],
            **{key: found[key] for key in ("success", "message", "nfev")},
        }

    def _find(self, parameter: Parameter | str) -> Parameter:
        models = self.models
        if isinstance(parameter, str):
            names = models.parameters_unique_names
            return models.parameters[names.index(parameter) if parameter in names else parameter]
        if parameter not in models.parameters:
            raise ParameterError(
                f"Parameter {getattr(parameter, 'name', parameter)!r} is not one of the models "
                f"{', '.join(models.names)}"
            )
        return parameter

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._dataset!r}, models={self.models.names})"


def _dataset_name(background_model: Any) -> str:
    """Name of the dataset: that for which the background model is meant."""
    names = getattr(background_model, "datasets_names", None)
    return names[0] if names else _NAME


def _checked(models: Models, name: str) -> Models:
    if not models:
        raise FitSetupError("MapFit: there is no model to fit")
    for model in models:
        if not model.contributes_to(name):
            raise FitSetupError(
                f"MapFit: the model {model.name!r} is meant for the datasets {model.datasets_names}, "
                f"not for {name!r}"
            )
    return models


def _scan_values(parameter: Parameter, values: Any, bounds: Any, nvalues: int) -> Any:
    if values is not None:
        return values.to_value(parameter.unit) if hasattr(values, "to_value") else values
    if np.ndim(bounds) == 0:
        if not parameter.error > 0:
            raise ParameterError(
                f"Parameter {parameter.name!r} has no error yet to scan {bounds} of: "
                "run the fit first, or give both ends as bounds"
            )
        bounds = (parameter.value - bounds * parameter.error, parameter.value + bounds * parameter.error)
    low, high = (b.to_value(parameter.unit) if hasattr(b, "to_value") else float(b) for b in bounds)
    return np.linspace(low, high, nvalues)

"""The compiled likelihood as a function: θ ↦ -2 ln L and its exact derivatives, alone and in batches."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard._jax import jax
from villard.exceptions import FitSetupError
from villard.likelihood.batch import batch_kernel, batch_size, run_chunks
from villard.likelihood.binding import Binding, bind_models, free_columns
from villard.likelihood.kernels import Kernels, kernels_for
from villard.likelihood.map_measurement import MapMeasurement
from villard.likelihood.measurement import Measurement
from villard.likelihood.memory import warn_of_memory
from villard.modeling.parameter import Parameter, Parameters

__all__ = ["LikelihoodFunction"]

Array = NDArray[np.float64]


class LikelihoodFunction:
    """-2 ln L of measurements and models as a function of their free parameters.

    θ holds the free parameters, each once, divided by a scale of their order of magnitude.
    Evaluating changes nothing: neither this object nor the models.

    Parameters
    ----------
    measurements : list of `Measurement` or `MapMeasurement`
        Data and responses.
    models : list of models
        Models; which of their parameters are free is taken now.

    Raises
    ------
    ModelError
        If a model contributes to no measurement.
    """

    def __init__(self, measurements: Sequence[Measurement | MapMeasurement], models: Sequence[Any]) -> None:
        self._measurements = list(measurements)
        warn_of_memory(self._measurements, models)
        self.binding: Binding = bind_models(measurements, models)
        self.parameters: Parameters = self.binding.free
        self.scale: Array = np.array([_scale(p) for p in self.parameters])
        self._kernels: Kernels = kernels_for(self.binding)
        self.data: dict[str, Any] = self._make_data()

    def _make_data(self) -> dict[str, Any]:
        binding = self.binding
        column = free_columns(binding.parameters, binding.free)
        full_scale = np.append(self.scale, 0.0)[column]
        index = {id(p): i for i, p in enumerate(binding.parameters)}
        return {
            "full": np.array([p.engine_value for p in binding.parameters]),
            "free_index": np.array([index[id(p)] for p in binding.free], dtype=int),
            "scale": self.scale,
            "column": column,
            "full_scale": full_scale,
            "blocks": [
                {**b.arrays, **_dense_rows(b.arrays, column, len(binding.free))} for b in binding.blocks
            ],
            "priors": [(i, rows) for _, i, rows in binding.priors],
            "constant": np.float64(binding.constant),
            "longest": self._longest_steps(),
        }

    def _longest_steps(self) -> Array:
        """Longest steps of scaled parameters: point sources mustn't jump out of sight of their counts."""
        longest = np.full(len(self.parameters), np.inf)
        column = {id(p): i for i, p in enumerate(self.parameters)}
        for block in self.binding.blocks:
            for model, source in block.sources:
                for i in model.spatial_model.pure().position or ():
                    at = column.get(id(model.spatial_model.parameters[i]))
                    if at is not None:
                        longest[at] = min(longest[at], source.longest_step / self.scale[at])
        return longest

    @cached_property
    def _device_data(self) -> dict[str, Any]:
        return jax.device_put(self.data)

    @cached_property
    def _soft_data(self) -> dict[str, Any] | None:
        """The data, with point sources spread more widely; `None` if there is none with a free position.

        Where a point source crosses the centre of a pixel its likelihood has a corner, which may be a
        minimum. Spread over three pixels it has none, and its minimum is a start in the right pixel.
        """
        blocks, found = [], False
        for block in self._device_data["blocks"]:
            groups = []
            for group in block["shapes"]:
                source = group["source"]
                if "softness" in source["map"]:
                    found = True
                    softness = np.ones_like(source["map"]["softness"])
                    source = {**source, "map": {**source["map"], "softness": softness}}
                groups.append({**group, "source": source})
            blocks.append({**block, "shapes": groups})
        return {**self._device_data, "blocks": blocks} if found else None

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        return len(self.parameters)

    @property
    def theta(self) -> Array:
        """The parameters' present values, scaled; shape (n_free,)."""
        return self.to_theta(self.parameters.value)

    @cached_property
    def _factor(self) -> Array:
        """From scaled to the parameters' own units."""
        return self.scale / np.array([p.engine_factor for p in self.parameters])

    def to_theta(self, values: Any) -> Array:
        """Scale values that are in the parameters' own units; shape (..., n_free)."""
        return np.asarray(values, dtype=float) / self._factor

    def to_values(self, theta: Any) -> Array:
        """Turn scaled parameters into values in their own units; shape (..., n_free)."""
        return np.asarray(theta, dtype=float) * self._factor

    def set_values(self, theta: Any) -> None:
        """Give scaled values, shape (n_free,), to the parameters."""
        for parameter, value in zip(self.parameters, self.to_values(theta), strict=True):
            # Scaling may carry a value past its limit by a rounding error.
            low, high = parameter.bounds
            parameter.value = min(max(float(value), low), high)

    def matrix_to_values(self, matrix: Any) -> Array:
        """Turn a covariance of scaled parameters into one in their own units."""
        return np.asarray(matrix) * np.outer(self._factor, self._factor)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper limits of θ, those of priors with hard edges too; infinite where there is none."""
        limits = np.array([p.bounds for p in self.parameters]).reshape(-1, 2) / self._factor[:, np.newaxis]
        return limits[:, 0], limits[:, 1]

    def column(self, parameter: Parameter) -> int:
        """Return the position of a free parameter in θ."""
        return self.parameters.index(parameter)

    def stat(self, theta: Any = None) -> float:
        """Return -2 ln L."""
        return float(self.value_and_gradient(theta)[0])

    def value_and_gradient(self, theta: Any = None) -> tuple[float, Array]:
        """Return -2 ln L and its gradient in θ, shape (n_free,)."""
        packed = np.asarray(self._kernels.value_and_gradient(self._start(theta), self._device_data))
        return float(packed[0]), packed[1:]

    def fisher(self, theta: Any = None) -> Array:
        """Return JᵀWJ, the positive part of the Hessian used by Fisher scoring, shape (n_free, n_free)."""
        packed = np.asarray(self._kernels.fisher(self._start(theta), self._device_data))
        return packed[1 + self.n_free :].reshape(self.n_free, self.n_free)

    def expected_fisher(self, theta: Any = None) -> Array:
        """Return the curvature to be expected if the model is true, shape (n_free, n_free).

        Unlike `fisher` and `hessian` it doesn't grow without bound where counts are observed but hardly any
        predicted, so it tells the order of magnitude of errors at any start.
        """
        cache = self._kernels.__dict__.setdefault("_expected", {})
        if "fisher" not in cache:
            terms = self._kernels.terms
            cache["fisher"] = jax.jit(lambda theta, data: terms(theta, data, True)[2])
        return np.asarray(cache["fisher"](self._start(theta), self._device_data))

    def hessian(self, theta: Any = None) -> Array:
        """Return the exact Hessian of -2 ln L in θ, shape (n_free, n_free)."""
        return self.derivatives(theta)[2]

    def derivatives(self, theta: Any = None, far: bool = False) -> tuple[float, Array, Array]:
        """Return -2 ln L, its gradient, shape (n_free,), and its exact Hessian, shape (n_free, n_free).

        Where the Hessian is needed too, this spares the compilation of `value_and_gradient`. If ``far``, the
        Hessian takes the expected curvature of the data where that is larger, as `expected_fisher` does.
        """
        packed = np.asarray(self._kernels.curved(self._start(theta), self._device_data, far))
        n = self.n_free
        return float(packed[0]), packed[1 : 1 + n], packed[1 + n :].reshape(n, n)

    def residuals(self, theta: Any = None) -> Array:
        """Return square roots of the bins' statistics, zero outside the fit range: for least squares."""
        return np.asarray(self._kernels.residuals(self._start(theta), self._device_data))

    def npred(self, theta: Any = None) -> list[Array]:
        """Return the predicted counts of each measurement in its fit range (background included)."""
        blocks = self._kernels.npred(self._start(theta), self._device_data)
        by_name = {}
        for block, values in zip(self.binding.blocks, blocks, strict=True):
            for row, (measurement, selection) in enumerate(
                zip(block.measurements, block.selections, strict=True)
            ):
                by_name[measurement.name] = np.asarray(values)[row, : len(selection)]
        return [by_name[m.name] for m in self.binding.measurements]

    def _start(self, theta: Any) -> Array:
        return self.theta if theta is None else np.asarray(theta, dtype=float)

    def hessian_batch(self, theta: Any, overrides: Sequence[dict[str, Any]] | None = None) -> Array:
        """Return the exact Hessian of many runs, shape (n_batch, n_free, n_free).

        Parameters
        ----------
        theta : array
            Scaled parameters, shape (n_batch, n_free).
        overrides : list of dict, optional
            As for `minimize_batch`.
        """
        return self._evaluate_batch("hessian", theta, overrides)

    def stat_batch(self, theta: Any, overrides: Sequence[dict[str, Any]] | None = None) -> Array:
        """Return -2 ln L of many runs, shape (n_batch,); arguments are those of `hessian_batch`."""
        return self._evaluate_batch("value_and_gradient", theta, overrides)[:, 0]

    def _evaluate_batch(self, name: str, theta: Any, overrides: Sequence[dict[str, Any]] | None) -> Array:
        theta = np.atleast_2d(np.asarray(theta, dtype=float))
        function = batch_kernel(self._kernels, name)
        return run_chunks(
            lambda t, o: function(t, o, self._device_data),
            [theta],
            self._changes(overrides),
            size=self._batch_size,
        )

    def _changes(self, overrides: Sequence[dict[str, Any]] | None) -> list[dict[str, Array]]:
        blocks = overrides if overrides else [{} for _ in self.binding.blocks]
        return [{key: np.asarray(value) for key, value in block.items()} for block in blocks]

    @property
    def _batch_size(self) -> int:
        return batch_size(self.binding.n_numbers)

    def recut(self, theta: Any) -> bool:
        """Cut out other pixels for sources that have left theirs, and tell whether there were any.

        Only the pixels on which sources are computed change: the statistic is the same where none is cut off.

        Parameters
        ----------
        theta : array
            Scaled parameters, shape (n_free,).
        """
        before = [p.value for p in self.parameters]
        try:
            self.set_values(theta)
            if not self.binding.is_outgrown:
                return False
            self.binding = bind_models(self._measurements, self.binding.models)
            self._kernels = kernels_for(self.binding)
            self.data = self._make_data()
        finally:
            for parameter, value in zip(self.parameters, before, strict=True):
                parameter.value = value
        for name in ("_device_data", "_soft_data"):
            self.__dict__.pop(name, None)
        return True

    def check_free(self) -> None:
        """Raise `FitSetupError` if there is nothing to fit."""
        if self.n_free == 0:
            raise FitSetupError(
                "No free parameter: all parameters of "
                f"{[m.name for m in self.binding.models]} are frozen. Set frozen = False "
                "on what is to be fitted"
            )
        for measurement in self.binding.measurements:
            if not np.any(measurement.mask):
                raise FitSetupError(
                    f"Dataset {measurement.name!r}: the fit range is empty (mask_safe and mask_fit leave "
                    f"none of {measurement.n_bins} bins)"
                )


def _dense_rows(arrays: dict[str, Any], column: NDArray[np.intp], n_free: int) -> dict[str, Any]:
    """Free parameters whose derivatives are kept in all bins of a block, and the row of each of all."""
    norms = [arrays["norms"]] if "norms" in arrays else []
    parts = [*arrays["groups"], *arrays["shapes"], *norms]
    used = [column[part["index"]].ravel() for part in parts]
    rows = np.unique(np.concatenate(used)) if used else np.zeros(0, dtype=int)
    rows = rows[rows < n_free].astype(int)
    row_of = np.full(n_free + 1, len(rows))
    row_of[rows] = np.arange(len(rows))
    return {"dense_rows": rows, "dense_of": row_of}


def _scale(parameter: Parameter) -> float:
    value = abs(parameter.engine_value)
    if value > 0:
        return value
    return parameter.error * parameter.engine_factor if parameter.error > 0 else 1.0

"""What the likelihood knows of one measurement: a record of plain arrays."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError, ModelError
from villard.modeling.models.spectral.core import quadrature_order

__all__ = ["Measurement", "Response"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Response:
    """What a measurement makes of the spectrum of one model: predictions are ``flux @ matrix``.

    Parameters
    ----------
    energy_min, energy_max : array
        Bins over which the spectrum is integrated, in TeV, shape (n_true,).
    matrix : array
        Predicted values per unit flux, shape (n_true, n_bins).
    order : int
        Gauss-Legendre nodes per bin where a spectrum has no closed integral; 0 if the flux is the
        differential one at ``energy_min``.
    columns : array of int, optional
        Bins that the columns of the matrix stand for, shape (n_columns,); all by default.
    """

    energy_min: Array
    energy_max: Array
    matrix: Array
    order: int
    columns: NDArray[np.intp] | None = None

    def spread(self, values: Array, n_bins: int) -> Array:
        """Return values of the columns in all bins, shape (n_bins,)."""
        if self.columns is None:
            return values
        result = np.zeros(n_bins)
        result[self.columns] = values
        return result


@dataclass(frozen=True)
class Measurement:
    """Arrays of one measurement, in the engine's units; datasets hand it to the likelihood.

    Predicted values are ``background + edisp.T @ (exposure * flux)``, where ``flux`` is the source
    spectrum integrated over each true energy bin, or, for differential measurements, the spectrum
    at each energy.

    Parameters
    ----------
    name : str
        Name of the dataset, for messages and for models that contribute to some datasets only.
    statistic : str
        Fit statistic, a key of `villard.likelihood.statistics.STATISTICS`.
    data : dict of str to array
        Arrays that the statistic needs, each of shape (n_bins,), or (…, n_bins) for tabulated profiles.
    mask : array of bool
        Bins that enter the fit, shape (n_bins,).
    energy_min, energy_max : array
        True energy bins in TeV, shape (n_true,). Equal for differential measurements.
    exposure : array
        Exposure in cm² s, shape (n_true,); ones where the data are fluxes.
    edisp : array, optional
        Energy dispersion, shape (n_true, n_bins); `None` if true and measured bins are the same.
    background : array, optional
        Predicted values from no model, shape (n_bins,).
    differential : bool
        Whether the data are differential fluxes.
    gti : `~villard.data.GTI`, optional
        Good time intervals, over which temporal models are averaged.

    Raises
    ------
    DataError
        If shapes don't fit or arrays that enter the fit have NaN; the message names the dataset.
    """

    name: str
    statistic: str
    data: dict[str, Array]
    mask: NDArray[np.bool_]
    energy_min: Array
    energy_max: Array
    exposure: Array
    edisp: Array | None = None
    background: Array | None = None
    differential: bool = field(default=False)
    gti: Any = None

    def __post_init__(self) -> None:
        n_bins, n_true = len(self.mask), len(self.energy_min)
        shapes: dict[str, tuple[Array, tuple[int, ...]]] = {
            key: (array, (*array.shape[:-1], n_bins)) for key, array in self.data.items()
        }
        shapes["energy_max"] = (self.energy_max, (n_true,))
        shapes["exposure"] = (self.exposure, (n_true,))
        if self.background is not None:
            shapes["background"] = (self.background, (n_bins,))
        if self.edisp is not None:
            shapes["edisp"] = (self.edisp, (n_true, n_bins))
        elif n_true != n_bins:
            raise DataError(
                f"Dataset {self.name!r}: without energy dispersion the {n_true} true energy bins "
                f"must be the {n_bins} measured ones"
            )
        for key, (array, shape) in shapes.items():
            if array.shape != shape:
                raise DataError(f"Dataset {self.name!r}: {key} must have shape {shape}, found {array.shape}")
        for key in ("exposure", "edisp", "background"):
            array = getattr(self, key)
            if array is not None and not np.all(np.isfinite(array)):
                raise DataError(
                    f"Dataset {self.name!r}: {key} has {np.sum(~np.isfinite(array))} non-finite values"
                )
        for key, array in self.data.items():
            if not np.all(np.isfinite(array[..., self.mask])):
                raise DataError(f"Dataset {self.name!r}: {key} has non-finite values in the fit range")

    @property
    def n_bins(self) -> int:
        """Number of measured bins."""
        return len(self.mask)

    @property
    def n_true(self) -> int:
        """Number of true energy bins."""
        return len(self.energy_min)

    @cached_property
    def order(self) -> int:
        """Quadrature order for the true energy bins; 0 if the measurement is differential."""
        if self.differential:
            return 0
        return quadrature_order(np.append(self.energy_min, self.energy_max[-1]))

    def background_of(self, models: Any) -> Array:
        """Return the values expected from no model, shape (n_bins,)."""
        return np.zeros(self.n_bins) if self.background is None else self.background

    def response_key(self, model: Any) -> Hashable:
        """Models with equal keys share their response, which is then kept once."""
        return model.apply_irf["exposure"], model.apply_irf["edisp"]

    def response(self, model: Any) -> Response:
        """Return the response to a model, with the parts of it that the model asks for.

        Raises
        ------
        ModelError
            If the model switches energy dispersion off and the bins don't allow it.
        """
        exposure = self.exposure if model.apply_irf["exposure"] else np.ones(self.n_true)
        if self.edisp is not None and model.apply_irf["edisp"]:
            matrix = exposure[:, np.newaxis] * self.edisp
        elif self.n_true == self.n_bins:
            matrix = np.diag(exposure)
        else:
            raise ModelError(
                f"Dataset {self.name!r}: model {model.name!r} can't switch energy dispersion off, because "
                f"the {self.n_true} true energy bins aren't the {self.n_bins} measured ones"
            )
        return Response(self.energy_min, self.energy_max, matrix, self.order)

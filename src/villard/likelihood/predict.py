"""Predicted counts: the one place where a spectrum is folded with a response.

The functions run in numpy for single calls (nothing to compile) and are traced by JAX for fits.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.likelihood.flux import flux_of
from villard.likelihood.map_measurement import MapMeasurement
from villard.likelihood.measurement import Measurement, Response
from villard.likelihood.statistics import STATISTICS
from villard.modeling.models.spectral.core import PureSpectrum, integrate

__all__ = ["bin_flux", "fold", "predict", "stat_array"]


def bin_flux(
    pure: PureSpectrum, energy_min: Any, energy_max: Any, parameters: Any, arrays: Any, order: int
) -> Any:
    """Return the flux in each true energy bin, or the differential flux for ``order`` 0.

    Parameters
    ----------
    pure : `PureSpectrum`
        Spectrum.
    energy_min, energy_max : array
        Bins in TeV, shape (n_true,).
    parameters : array
        Parameters in the engine's units, shape (n_parameters,).
    arrays : tuple of arrays
        Data of the model.
    order : int
        Gauss-Legendre nodes per bin where there is no closed form; 0 for the differential flux.

    Returns
    -------
    array
        Flux in cm⁻² s⁻¹, or cm⁻² s⁻¹ TeV⁻¹, shape (n_true,).
    """
    if order == 0:
        return pure.evaluate(energy_min, parameters, arrays)
    if pure.integral is not None:
        return pure.integral(energy_min, energy_max, parameters, arrays)
    return integrate(lambda energy: pure.evaluate(energy, parameters, arrays), energy_min, energy_max, order)


def fold(response: Response, pure: PureSpectrum, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the predicted values of one spectrum, shape (n_bins,); ``parameters`` in the engine's units."""
    low, high = response.energy_min, response.energy_max
    with np.errstate(over="ignore", under="ignore"):
        flux = bin_flux(pure, low, high, parameters, pure.arrays, response.order)
    return np.asarray(np.broadcast_to(flux, low.shape) @ response.matrix)


def predict(measurement: Measurement | MapMeasurement, models: Iterable[Any]) -> NDArray[np.float64]:
    """Predict the counts (or fluxes) of models in a measurement, without its background.

    Parameters
    ----------
    measurement : `Measurement` or `MapMeasurement`
        Response of the measurement.
    models : iterable of `~villard.modeling.models.SkyModel`
        Models; their current parameter values are used.

    Returns
    -------
    array
        Sum of the models' predictions, shape (n_bins,).
    """
    total = np.zeros(measurement.n_bins)
    for model in models:
        if isinstance(measurement, MapMeasurement):
            total += measurement.predict(model)
            continue
        pure, parameters = flux_of(model, measurement)
        values = np.array([p.engine_value for p in parameters])
        total += fold(measurement.response(model), pure, values)
    return total


def stat_array(measurement: Measurement | MapMeasurement, npred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fit statistic of each bin, for total predicted values (signal and given background).

    Parameters
    ----------
    measurement : `Measurement`
        Data and statistic.
    npred : array
        Predicted values, shape (n_bins,). For ``wstat`` the signal alone: its background is profiled.

    Returns
    -------
    array
        -2 ln L per bin, shape (n_bins,); bins outside the mask too, where the data are finite.
    """
    values = np.asarray(STATISTICS[measurement.statistic].value(npred, measurement.data))
    weights = getattr(measurement, "weights", None)
    return values if weights is None else values * weights

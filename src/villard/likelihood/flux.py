"""The flux of a model during a measurement: its spectrum, times the mean of its temporal model."""

from typing import Any

import numpy as np

from villard.exceptions import ModelError
from villard.modeling.models.spectral.core import PureSpectrum
from villard.modeling.parameter import Parameters
from villard.utils.array import namespace

__all__ = ["flux_of"]

_SECONDS = 86400.0


def flux_of(model: Any, measurement: Any) -> tuple[PureSpectrum, Parameters]:
    """Return the flux of a model during a measurement as a pure function, and its parameters.

    Parameters
    ----------
    model : model
        Model with a ``spectral_model`` and perhaps a ``temporal_model``.
    measurement : `~villard.likelihood.Measurement` or `~villard.likelihood.map_measurement.MapMeasurement`
        Its good time intervals ``gti`` are those over which the temporal model is averaged.

    Raises
    ------
    ModelError
        If there is a temporal model and there are no good time intervals, or it depends on energy.
    """
    spectrum, parameters = model.spectral_model.pure(), model.spectral_model.parameters
    temporal = getattr(model, "temporal_model", None)
    if temporal is None or (measurement.differential and measurement.gti is None):
        return spectrum, parameters
    if temporal.is_energy_dependent:
        raise ModelError(
            f"Dataset {measurement.name!r}: model {model.name!r} has a temporal model that depends on "
            "energy, which predictions for binned counts don't take"
        )
    model.temporal_factor(measurement.gti)  # names what is missing
    return _in_time(spectrum, temporal, measurement.gti), Parameters.join([parameters, temporal.parameters])


def _in_time(spectrum: PureSpectrum, temporal: Any, gti: Any) -> PureSpectrum:
    """Multiply a spectrum by the mean of a temporal model over intervals."""
    time = temporal.pure()
    start, stop = (
        np.atleast_1d(getattr(t, temporal.scale).mjd) * _SECONDS for t in (gti.time_start, gti.time_stop)
    )
    n, n_arrays, n_times = spectrum.n_parameters, len(spectrum.arrays), len(time.arrays)

    def factor(parameters: Any, arrays: Any) -> Any:
        *tables, start, stop = arrays[n_arrays:]
        xp = namespace(start, *(parameters[i] for i in range(n, n + time.n_parameters)))
        integral = time.integral(start, stop, parameters[n:], tables[:n_times])
        return xp.sum(integral) / xp.sum(stop - start)

    def wrap(function: Any) -> Any:
        if function is None:
            return None

        def wrapped(*args: Any) -> Any:
            *energies, parameters, arrays = args
            return function(*energies, parameters[:n], arrays[:n_arrays]) * factor(parameters, arrays)

        return wrapped

    breaks = spectrum.breaks
    return PureSpectrum(
        key=(spectrum.key, time.key, n_arrays, n_times),
        n_parameters=n + time.n_parameters,
        evaluate=wrap(spectrum.evaluate),
        integral=wrap(spectrum.integral),
        energy_flux=wrap(spectrum.energy_flux),
        arrays=(*spectrum.arrays, *time.arrays, start, stop),
        norm_index=spectrum.norm_index,
        breaks=None if breaks is None else lambda p, arrays: breaks(p[:n], arrays[:n_arrays]),
    )

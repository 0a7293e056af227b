"""Spectra given as tables."""

import os
from typing import Any, Self

import astropy.units as u
import numpy as np

from villard.exceptions import FileFormatError, ModelError
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.models.spectral.tables import interpolate, log_log_moment, safe_log, segments
from villard.utils.array import namespace
from villard.utils.names import nearest
from villard.utils.units import to_canonical

__all__ = ["TemplateSpectralModel"]

_OPTIONS = ("values_scale", "extrapolate", "fill_value", "method")


class TemplateSpectralModel(SpectralModel):
    """Spectrum given as a table, by default interpolated (and continued) as power laws between its points.

    Parameters
    ----------
    energy : `~astropy.units.Quantity`
        Energies, increasing.
    values : `~astropy.units.Quantity`
        Differential flux, or a factor without unit, at these energies.
    interp_kwargs : dict, optional
        ``values_scale``: ``"log"``, or ``"lin"`` for values that are linear in ln E between the points, and
        may be negative. ``fill_value``: value beyond the table, in the unit of the values; without it the
        table is continued.
    meta : dict, optional
        Anything to be kept with it.

    Raises
    ------
    ModelError
        If energies don't increase, values are negative or NaN, or an option isn't known.

    Examples
    --------
    >>> import astropy.units as u
    >>> model = TemplateSpectralModel([1, 2, 4] * u.TeV, [1, 2, 0.5] * u.Unit("cm-2 s-1 TeV-1"))
    >>> model([0.5, 1.5, 8] * u.TeV)
    <Quantity [0.5  , 1.5  , 0.125] 1 / (TeV s cm2)>
    """

    tag = ["TemplateSpectralModel", "template"]
    yaml_keys = ("energy", "values", "interp_kwargs")

    def __init__(
        self, energy: Any, values: Any, interp_kwargs: dict[str, Any] | None = None, meta: Any = None
    ) -> None:
        energy, values = u.Quantity(energy), u.Quantity(values)
        if energy.ndim != 1 or energy.shape != values.shape or len(energy) < 2:
            raise ModelError(
                f"TemplateSpectralModel: expected two or more energies and as many values, "
                f"found shapes {energy.shape} and {values.shape}"
            )
        if not (energy.value[0] > 0 and np.all(np.diff(energy.value) > 0)):
            raise ModelError("TemplateSpectralModel: energies must be positive and increasing")
        self._scale, self._fill = _check_options(interp_kwargs or {})
        if not np.all(np.isfinite(values.value)) or (self._scale == "log" and np.any(values.value < 0)):
            raise ModelError(
                "TemplateSpectralModel: values must be finite, and not negative unless values_scale is 'lin'"
            )
        self._energy, self._values, self._meta = energy, values, dict(meta or {})
        super().__init__()

    @property
    def energy(self) -> u.Quantity:
        """Energies of the table."""
        return self._energy

    @property
    def values(self) -> u.Quantity:
        """Values of the table."""
        return self._values

    @property
    def meta(self) -> dict[str, Any]:
        """What is kept with the model."""
        return self._meta

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the values."""
        return self._values.unit

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the table is data."""
        x, values = np.log(to_canonical(self._energy)), to_canonical(self._values)
        key = ("template", self._scale, self._fill is None, len(x))
        if self._fill is None and self._scale == "log":
            arrays = (x, safe_log(np, values))
            return PureSpectrum(
                key, 0, _log_log, _moment(0), _moment(1), arrays, breaks=lambda _, a: _exp(a[0])
            )
        fill = np.nan if self._fill is None else float(to_canonical(u.Quantity(self._fill, self.flux_unit)))
        y = values if self._scale == "lin" else safe_log(np, values)
        evaluate = _general(self._scale, self._fill is not None)
        return PureSpectrum(key, 0, evaluate, arrays=(x, y, np.array(fill)), breaks=lambda _, a: _exp(a[0]))

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        result = {
            **super().to_dict(full_output),
            "energy": {"data": self._energy.value.tolist(), "unit": str(self._energy.unit)},
            "values": {"data": self._values.value.tolist(), "unit": str(self._values.unit)},
        }
        options: dict[str, Any] = {} if self._scale == "log" else {"values_scale": self._scale}
        if self._fill is not None:
            options["fill_value"] = self._fill
        return {**result, "interp_kwargs": options} if options else result

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        for key in ("energy", "values"):
            if key not in data:
                raise ModelError(f"TemplateSpectralModel: {key!r} is missing")
        arguments = {key: u.Quantity(data[key]["data"], data[key]["unit"]) for key in ("energy", "values")}
        return {**arguments, "interp_kwargs": data.get("interp_kwargs")}

    @classmethod
    def from_model(cls, model: SpectralModel, energy: Any) -> Self:
        """Make the table of another model at the given energies."""
        return cls(energy, model(energy))

    @classmethod
    def from_region_map(cls, map: Any, **kwargs: Any) -> Self:
        """Make the table of a region map with a single energy axis.

        Parameters
        ----------
        map : `~villard.maps.RegionNDMap`
            Values per energy.
        **kwargs
            For the model.
        """
        if len(map.geom.axes) != 1:
            raise ModelError(
                f"TemplateSpectralModel: expected a map with one axis, found {map.geom.axes.names}"
            )
        return cls(map.geom.axes[0].center, u.Quantity(np.ravel(map.data), map.unit), **kwargs)

    @classmethod
    def read_xspec_model(cls, filename: str | os.PathLike[str], param: float, **kwargs: Any) -> Self:
        """Read one spectrum of an XSPEC table model, such as those of EBL transmission.

        OGIP memo 92-009: the file has a spectrum for each value of a parameter.

        Parameters
        ----------
        filename : str or path-like
            FITS file; energies without unit are in keV.
        param : float
            Value of the parameter, one of those in the file.
        **kwargs
            For the model.

        Raises
        ------
        FileFormatError
            If the file isn't such a table.
        ModelError
            If it has no spectrum for this value; the message names the nearest.
        """
        from villard.modeling.models.spectral.xspec import read_table_model

        energy, params, spectra = read_table_model(filename)
        i = int(np.argmin(np.abs(params - param)))
        if not np.isclose(params[i], param, rtol=1e-4, atol=1e-6):
            raise ModelError(f"{filename}: no spectrum for {param:g}; the nearest is for {params[i]:g}")
        if np.any(spectra[i] < 0):
            raise FileFormatError(f"{filename}: the spectrum for {param:g} has negative values")
        return cls(energy, u.Quantity(spectra[i]), **kwargs)


def _check_options(options: dict[str, Any]) -> tuple[str, float | None]:
    """Return the scale of values and the value beyond the table."""
    for key in options:
        if key not in _OPTIONS:
            raise ModelError(
                f"TemplateSpectralModel: no interpolation option {key!r}. {nearest(key, _OPTIONS)}"
            )
    scale = options.get("values_scale", "log")
    if scale not in ("log", "lin"):
        raise ModelError(f"TemplateSpectralModel: values_scale must be 'log' or 'lin', found {scale!r}")
    if options.get("method", "linear") != "linear":
        raise ModelError(f"TemplateSpectralModel: method must be 'linear', found {options['method']!r}")
    fill = options.get("fill_value")
    if isinstance(fill, str):
        if fill != "extrapolate":
            raise ModelError(f"TemplateSpectralModel: fill_value must be a number, found {fill!r}")
        fill = None
    if fill is None and not options.get("extrapolate", True):
        raise ModelError(
            "TemplateSpectralModel: extrapolate=False needs a fill_value, the flux beyond the table"
        )
    return scale, None if fill is None else float(fill)


def _exp(x: Any) -> Any:
    return namespace(x).exp(x)


def _log_log(energy: Any, _: Any, arrays: Any) -> Any:
    xp = namespace(energy, *arrays)
    return xp.exp(interpolate(arrays[0], arrays[1], xp.log(energy)))


def _moment(power: int) -> Any:
    def function(energy_min: Any, energy_max: Any, _: Any, arrays: Any) -> Any:
        """Exact integral of the power law of each segment, over its overlap with each bin."""
        x, y = arrays
        return log_log_moment(power, energy_min, energy_max, segments(x, y, constant_beyond=False))

    return function


def _general(scale: str, has_fill: bool) -> Any:
    def function(energy: Any, _: Any, arrays: Any) -> Any:
        xp = namespace(energy, *arrays)
        x, y, fill = arrays
        log_energy = xp.log(energy)
        # Beyond the table its continuation, which may overflow, isn't used.
        at = xp.clip(log_energy, x[0], x[-1]) if has_fill else log_energy
        values = interpolate(x, y, at)
        values = xp.exp(values) if scale == "log" else values
        if not has_fill:
            return values
        return xp.where((log_energy >= x[0]) & (log_energy <= x[-1]), values, fill)

    return function

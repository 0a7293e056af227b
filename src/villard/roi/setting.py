"""Values, bounds, scales and priors of the parameters of a region of interest."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import astropy.units as u

from villard.exceptions import ParameterError
from villard.modeling.models.gtlike import find_parameter, norm_parameter
from villard.modeling.models.gtlike.names import resolve
from villard.modeling.parameter import Parameter
from villard.modeling.prior import GaussianPrior
from villard.roi.fluxes import flux_results
from villard.roi.freeing import parameter_name
from villard.roi.source import Source

__all__ = ["Setting", "named_parameter", "power_of_ten"]


class Setting:
    """Setting of parameters, for `villard.roi.ROI`.

    Parameters go by our names (``amplitude``, ``index``), with values in their own units, or by those of
    gtlike (``Prefactor``, ``Index``), with values in MeV, cm and s and in gtlike's signs: there a spectrum
    that falls has a negative ``Index``. Bounds are in units of the scale that `print_params` shows.
    """

    _scales: dict[tuple[str, str], float]
    _zeroed: dict[str, tuple[float, float, list[str]]]

    def set_parameter(
        self,
        name: str,
        par: str,
        value: Any,
        true_value: bool = True,
        scale: float | None = None,
        bounds: Sequence[float] | None = None,
        error: float | None = None,
        update_source: bool = True,
    ) -> None:
        """Set a parameter, and widen its bounds where the value is outside.

        Parameters
        ----------
        name, par : str
            Source and parameter.
        value : float or `~astropy.units.Quantity`
            Value.
        true_value : bool
            Whether it is the value, not a multiple of the scale.
        scale : float, optional
            New scale.
        bounds : list of float, optional
            New bounds, multiples of the scale.
        error : float, optional
            New error, as ``value``.
        update_source : bool
            Whether the predicted counts of the source are computed anew.

        Raises
        ------
        ParameterError
            If there is no such parameter; or if a positive value of a falling index in gtlike's convention
            would make the spectrum rise, or a norm would be negative without bounds that allow it, which is
            hardly meant.
        """
        entry = named_parameter(self, name, par)
        with _all_or_nothing(entry):
            if scale is not None:
                entry.set_scale(scale)
            number = entry.true(value, true_value)
            own = entry.to_ours(number)
            self._check_norm(entry, own, bounds)
            _widen(entry.parameter, own)
            entry.parameter.value = own
            if bounds is not None:
                entry.set_bounds([*bounds])
            if error is not None:
                entry.parameter.error = abs(entry.difference(number, entry.unscaled(error, true_value)))
        if update_source:
            self._changed(entry.source)

    def set_parameter_bounds(self, name: str, par: str, bounds: Sequence[float | None]) -> None:
        """Set bounds of a parameter, as multiples of its scale; `None` for an open end.

        Raises
        ------
        ParameterError
            If they are reversed, or the present value isn't within.
        """
        entry = named_parameter(self, name, par)
        if not isinstance(bounds, Iterable):
            raise ParameterError(f"{name}, {par!r}: expected [min, max], found {bounds!r}")
        entry.set_bounds(list(bounds))

    def set_parameter_scale(self, name: str, par: str, scale: float) -> None:
        """Set the scale of a parameter, leaving its value as it is."""
        named_parameter(self, name, par).set_scale(scale)

    def set_parameter_error(self, name: str, par: str, error: float) -> None:
        """Set the error of a parameter."""
        entry = named_parameter(self, name, par)
        entry.parameter.error = abs(entry.difference(entry.value, _number(error, entry)))

    def scale_parameter(self, name: str, par: str, scale: float) -> None:
        """Multiply a parameter, and its bounds, by a factor."""
        if not (isinstance(scale, numbers.Real) and scale > 0 and math.isfinite(scale)):
            raise ParameterError(f"scale_parameter: expected a factor above 0, found {scale!r}")
        parameter = named_parameter(self, name, par).parameter
        bounds = parameter.min * scale, parameter.max * scale
        value = parameter.value * scale
        parameter.min = parameter.max = math.nan
        parameter.value = value
        parameter.min, parameter.max = bounds
        self._changed(self[name])

    def set_norm(self, name: str, value: Any, update_source: bool = True) -> None:
        """Set the normalisation of a source, as a multiple of its scale or as a quantity."""
        par = self._norm_name(name)
        self.set_parameter(name, par, value, true_value=False, update_source=update_source)

    def set_norm_scale(self, name: str, value: float) -> None:
        """Set the scale of the normalisation of a source."""
        self.set_parameter_scale(name, self._norm_name(name), value)

    def set_norm_bounds(self, name: str, bounds: Sequence[float]) -> None:
        """Set the bounds of the normalisation of a source, as multiples of its scale."""
        self.set_parameter_bounds(name, self._norm_name(name), bounds)

    def _norm_name(self, name: str) -> str:
        source: Source = self[name]  # type: ignore[index]
        return parameter_name(source, norm_parameter(source.model))

    def parameter_scale(self, name: str, par: str) -> float:
        """Return the scale of a parameter, in our convention: a power of ten for norms, else mostly 1.

        Parameters
        ----------
        name, par : str
            Source and parameter.
        """
        source: Source = self[name]  # type: ignore[index]
        parameter = find_parameter(source.model, par)
        key = source.name, parameter_name(source, parameter)
        if key not in self._scales:
            is_norm = parameter is norm_parameter(source.model)
            self._scales[key] = power_of_ten(parameter.value) if is_norm else 1.0
        return self._scales[key]

    # Sources of no flux

    def zero_source(self, name: str) -> None:
        """Set the normalisation of a source to zero and fix the source, until `unzero_source`.

        What was free is free again then; until then nothing frees it, not even `optimize`.
        """
        source: Source = self[name]  # type: ignore[index]
        if source.name in self._zeroed:
            return
        norm, parameters = norm_parameter(source.model), source.model.parameters
        free = [name for name, p in zip(parameters.names, parameters, strict=True) if not p.frozen]
        self._zeroed[source.name] = norm.value, norm.min, free
        _widen(norm, 0.0)
        norm.value = 0.0
        for parameter in parameters:
            parameter.frozen = True
        self._changed(source)

    def unzero_source(self, name: str) -> None:
        """Undo `zero_source`."""
        source: Source = self[name]  # type: ignore[index]
        if source.name not in self._zeroed:
            raise ParameterError(f"unzero_source: {source.name!r} wasn't zeroed")
        norm = norm_parameter(source.model)
        norm.value, norm.min, free = self._zeroed.pop(source.name)
        for name in free:
            # What was locked meanwhile stays fixed.
            if (source.name, name) not in self.locked:  # type: ignore[attr-defined]
                self.free_parameter(source.name, name)  # type: ignore[attr-defined]
        self._changed(source)

    def _check_norm(self, entry: NamedParameter, value: float, bounds: Any) -> None:
        """Raise `ParameterError` if a norm can't have a value."""
        if entry.parameter is not norm_parameter(entry.source.model):
            return
        if entry.source.name in self._zeroed:
            raise ParameterError(f"{entry.source.name} is zeroed; first call unzero_source")
        allowed = entry.parameter.min < 0 or (bounds is not None and bounds[0] is not None and bounds[0] < 0)
        if value < 0 and not allowed:
            raise ParameterError(
                f"{entry.source.name}, {entry.name!r}: {value:g} would be a negative normalisation. If that "
                "is meant, set bounds that allow it first"
            )

    # Priors

    def add_gauss_prior(self, name: str, par: str, mean: Any, sigma: Any) -> None:
        """Add a Gaussian prior, of which the logarithm is added to ln L, to a parameter.

        Parameters
        ----------
        name, par : str
            Source and parameter.
        mean, sigma : float or `~astropy.units.Quantity`
            Mean and width: values of the parameter, not multiples of its scale.
        """
        entry = named_parameter(self, name, par)
        if entry.is_inverse:
            raise ParameterError(
                f"{name}: {par!r} is the inverse of {entry.parameter.name!r}, of which a prior is needed"
            )
        center = entry.true(mean, True)
        own, width = entry.to_ours(center), abs(entry.difference(center, _number(sigma, entry)))
        if not width > 0:
            raise ParameterError(f"{name}, {par!r}: expected a sigma above 0, found {sigma!r}")
        entry.parameter.prior = GaussianPrior(mu=own, sigma=width)

    def constrain_norms(self, names: str | Iterable[str], cov_scale: float = 1.0) -> None:
        """Add Gaussian priors of ``cov_scale`` times the present errors to normalisations.

        Raises
        ------
        ParameterError
            If a normalisation has no error: then the source wasn't fitted.
        """
        if not (cov_scale > 0 and math.isfinite(cov_scale)):
            raise ParameterError(f"constrain_norms: expected a cov_scale above 0, found {cov_scale!r}")
        found = [names] if isinstance(names, str) else list(names)
        norms = [norm_parameter(self[name].model) for name in found]  # type: ignore[index]
        # All are checked before one is changed.
        for name, norm in zip(found, norms, strict=True):
            if not norm.error > 0:
                raise ParameterError(f"constrain_norms: the norm of {name!r} has no error; fit it first")
        for norm in norms:
            norm.prior = GaussianPrior(mu=norm.value, sigma=cov_scale * norm.error)

    def remove_prior(self, name: str, par: str) -> None:
        """Remove the prior of a parameter."""
        source: Source = self[name]  # type: ignore[index]
        find_parameter(source.model, par).prior = None

    def remove_priors(self) -> None:
        """Remove all priors."""
        for parameter in self.parameters:  # type: ignore[attr-defined]
            parameter.prior = None

    def _changed(self, source: Source) -> None:
        """Compute anew what depends on a source's parameters without a fit, and forget what a fit gave."""
        source.forget()
        source.results |= flux_results(source, self.energy_bounds)  # type: ignore[attr-defined]
        self.update_npred([source.name])  # type: ignore[attr-defined]


@dataclass
class NamedParameter:
    """A parameter under a name of ours or gtlike's, with the conversions between both."""

    roi: Any
    source: Source
    parameter: Parameter
    name: str
    entry: Any
    spectral: Any

    @property
    def key(self) -> tuple[str, str]:
        """Names of source and parameter."""
        return self.source.name, parameter_name(self.source, self.parameter)

    @property
    def is_inverse(self) -> bool:
        """Whether gtlike's parameter is the inverse of ours."""
        return self.entry is not None and self.entry.inverse

    @property
    def value(self) -> float:
        """Value in the convention of the name."""
        return self.from_ours(self.parameter.value)

    def to_ours(self, value: float) -> float:
        """Convert a value of the name's convention to ours."""
        return value if self.entry is None else float(self.entry.from_gtlike(self.spectral, value))

    def from_ours(self, value: float) -> float:
        """Convert a value of ours to the name's convention."""
        return value if self.entry is None else float(self.entry.to_gtlike(self.spectral, value))

    def difference(self, value: float, step: float) -> float:
        """Return how much ours changes if the named one does by ``step`` at ``value``."""
        if self.is_inverse and value:
            return step * self.to_ours(value) / value
        return self.to_ours(step)

    @property
    def scale(self) -> float:
        """Scale in the convention of the name."""
        own = self.roi.parameter_scale(*self.key)
        if self.entry is None:
            return own
        slope = self.entry.slope(self.spectral)
        if self.is_inverse:
            return math.copysign(power_of_ten(self.from_ours(own)), slope)
        return math.copysign(power_of_ten(abs(self.from_ours(own)) * (1 + 1e-9)), slope)

    def set_scale(self, scale: float) -> None:
        """Set the scale."""
        if not (math.isfinite(scale) and scale != 0):
            raise ParameterError(f"{self.source.name}, {self.name!r}: scale {scale!r} isn't a number above 0")
        self.roi._scales[self.key] = abs(self.to_ours(scale))

    def unscaled(self, value: float, true_value: bool) -> float:
        """Return a number as a value."""
        return float(value) if true_value else float(value) * abs(self.scale)

    def true(self, value: Any, true_value: bool) -> float:
        """Return the value that a user means by a number or quantity."""
        plain = self.number(value)
        if plain is not None:
            return self.from_ours(plain)
        number = float(value) if true_value else float(value) * self.scale
        falling = self.entry is not None and self.entry.ours in _INDICES and self.entry.sign < 0
        if true_value and falling and number > 0:
            raise ParameterError(
                f"{self.source.name}: {self.name!r} is gtlike's exponent, and {number:g} would be a rising "
                f"spectrum. Set {-number:g}, or {self.entry.ours!r} to {number:g}; or, if it shall rise, "
                f"{self.entry.ours!r} to {-number:g}"
            )
        return number

    def number(self, value: Any) -> float | None:
        """Return a quantity, or a text, in our parameter's unit; `None` for a plain number.

        Raises
        ------
        ParameterError
            If it is neither, or has another unit.
        """
        try:
            if isinstance(value, u.Quantity | str):
                return float(u.Quantity(value).to_value(self.parameter.unit))
            float(value)
        except (TypeError, ValueError) as error:
            unit = self.parameter.unit.to_string() or "no unit"
            raise ParameterError(
                f"{self.source.name}, {self.name!r}: expected a number, or a quantity in {unit}, "
                f"found {value!r}"
            ) from error
        return None

    def set_bounds(self, bounds: list[float | None]) -> None:
        """Set bounds that are multiples of the scale."""
        where = f"{self.source.name}, {self.name!r}"
        if len(bounds) != 2:
            raise ParameterError(f"{where}: expected [min, max], found {bounds}")
        ends = [end if b is None else b for b, end in zip(bounds, (-math.inf, math.inf), strict=True)]
        if not all(isinstance(b, numbers.Real) for b in ends) or not ends[0] <= ends[1]:
            raise ParameterError(f"{where}: expected [min, max], found {bounds}")
        low, high = sorted(self.to_ours(bound * self.scale) for bound in ends)
        value = self.parameter.value
        if not low <= value <= high:
            unit = self.parameter.unit
            shown = f"{value:g} {unit}".rstrip()
            scale = "" if self.scale == 1 else f". Bounds are multiples of the scale, here {self.scale:g}"
            raise ParameterError(
                f"{where}: the value of {self.parameter.name!r}, {shown}, isn't within [{low:g}, {high:g}]: "
                f"set it first{scale}"
            )
        self.parameter.min = self.parameter.max = math.nan
        self.parameter.min, self.parameter.max = (b if math.isfinite(b) else math.nan for b in (low, high))


_INDICES = ("index", "index_1", "index_2", "tilt")


def named_parameter(roi: Any, name: str, par: str) -> NamedParameter:
    """Return a parameter of a source by our name or that of gtlike.

    Raises
    ------
    ModelError, ParameterError
        If there is no such source or parameter.
    """
    source = roi[name]
    parameter = find_parameter(source.model, par)
    if par in source.model.parameters.names:
        return NamedParameter(roi, source, parameter, par, None, None)
    spectrum, spectral = resolve(source.model)
    for entry in () if spectrum is None else spectrum.parameters:
        if entry.name.lower() == par.lower() and entry.ours is not None:
            return NamedParameter(roi, source, parameter, par, entry, spectral)
    return NamedParameter(roi, source, parameter, par, None, None)


def power_of_ten(value: float) -> float:
    """Return the power of ten at or below a value; 1 for zero.

    Examples
    --------
    >>> power_of_ten(3.2e-12)
    1e-12
    """
    size = abs(value)
    if size == 0 or not math.isfinite(size):
        return 1.0
    return float(f"1e{math.floor(math.log10(size))}")


def _number(value: Any, entry: NamedParameter) -> float:
    plain = entry.number(value)
    return float(value) if plain is None else abs(entry.from_ours(plain))


@contextmanager
def _all_or_nothing(entry: NamedParameter) -> Iterator[None]:
    """Leave a parameter and its scale as they were if anything about it is wrong."""
    parameter, scales = entry.parameter, entry.roi._scales
    before = parameter.value, parameter.error, parameter.min, parameter.max
    scale = scales.get(entry.key)
    try:
        yield
    except Exception:
        parameter.min = parameter.max = math.nan
        parameter.value, parameter.error, parameter.min, parameter.max = before
        if scale is not None:
            scales[entry.key] = scale
        else:
            scales.pop(entry.key, None)
        raise


def _widen(parameter: Parameter, value: float) -> None:
    """Move bounds so that they include a value."""
    if value < parameter.min:
        parameter.min = value
    if value > parameter.max:
        parameter.max = value

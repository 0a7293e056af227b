"""Grids of parameters at which marginal likelihoods are tabulated."""

from __future__ import annotations

import math
import operator
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ParameterError

__all__ = ["ParameterGrid"]

Array = NDArray[np.float64]


class ParameterGrid:
    """Values of a parameter at which a component is tabulated.

    Parameters
    ----------
    values : array or `~astropy.units.Quantity`, optional
        Values, increasing; alternatively ``bounds`` and ``bins``.
    bounds : (min, max), optional
        First and last value: numbers in the unit of the parameter, or quantities.
    bins : int
        Number of values.
    scale : {"log10", "lin"}
        Spacing of the values, and of what is between them.
    discrete : bool
        Whether the parameter takes no other values. Otherwise likelihoods are interpolated between them.

    Raises
    ------
    ParameterError
        If there is no value, or they don't increase.

    Examples
    --------
    >>> ParameterGrid(bounds=(1, 100), bins=3).values
    array([  1.,  10., 100.])
    """

    def __init__(
        self,
        values: Any = None,
        *,
        bounds: Any = None,
        bins: int = 121,
        scale: str = "log10",
        discrete: bool = True,
    ) -> None:
        if scale not in ("log10", "lin"):
            raise ParameterError(f"ParameterGrid: expected the scale 'log10' or 'lin', found {scale!r}")
        if (values is None) == (bounds is None):
            raise ParameterError("ParameterGrid: expected either values or bounds")
        self.scale, self.discrete, self.unit = scale, discrete, None
        if values is None:
            values = _spaced(bounds, bins, scale)
        if isinstance(values, u.Quantity):
            self.unit, values = values.unit, values.value
        self.values: Array = np.asarray(values, dtype=float)
        good = self.values.ndim == 1 and len(self.values) and np.all(np.isfinite(self.values))
        if not (good and np.all(np.diff(self.values) > 0) and (scale == "lin" or self.values[0] > 0)):
            raise ParameterError(
                f"ParameterGrid: expected increasing values{' above 0' if scale == 'log10' else ''}, "
                f"found {values!r}"
            )

    @classmethod
    def from_number_of_events(
        cls,
        center: Any,
        n_events: float,
        *,
        k: float = 3.0,
        limits: Any = (0.0, math.inf),
        bins: int = 121,
        scale: str = "log10",
        discrete: bool = True,
    ) -> ParameterGrid:
        r"""Make a grid whose bounds get closer with more events: center × 10^(±k / √N), within limits.

        Parameters
        ----------
        center : float or `~astropy.units.Quantity`
            Value in the middle.
        n_events : float
            Number of events N of the component.
        k : float
            Half width for one event, in powers of ten.
        limits : (min, max)
            Bounds that are never exceeded.
        bins, scale, discrete :
            As for the class.

        Raises
        ------
        ParameterError
            If nothing is left between the limits.

        Examples
        --------
        >>> ParameterGrid.from_number_of_events(1.0, 100, k=10, limits=(0.5, 100), bins=2).values
        array([ 0.5, 10. ])
        """
        unit = getattr(center, "unit", None)
        try:
            middle, low, high = (
                float(x.to_value(unit)) if isinstance(x, u.Quantity) else float(x) for x in (center, *limits)
            )
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"ParameterGrid: expected center and limits in one unit, found {center!r}, {limits!r}"
            ) from error
        if not (middle > 0 and n_events > 0):
            raise ParameterError(
                f"ParameterGrid: expected a positive center and number of events, found {center}, {n_events}"
            )
        factor = 10 ** (k / math.sqrt(n_events))
        first, last = max(middle / factor, low), min(middle * factor, high)
        if not first < last:
            raise ParameterError(
                f"ParameterGrid: the bounds leave no value: {middle:g} × 10^(±{k:g}/√{n_events:g}) = "
                f"[{middle / factor:g}, {middle * factor:g}] has nothing in common with [{low:g}, {high:g}]"
            )
        bounds: Any = (first, last) if unit is None else (first, last) * unit
        return cls(bounds=bounds, bins=bins, scale=scale, discrete=discrete)

    def in_unit(self, unit: u.UnitBase, name: str) -> ParameterGrid:
        """Return the grid in the unit of the parameter."""
        if self.unit is None or self.unit == unit:
            return self
        if not self.unit.is_equivalent(unit):
            wanted = f"in {unit}" if unit.to_string() else "of numbers without unit"
            raise ParameterError(f"{name}: expected a grid {wanted}, found one in {self.unit}")
        factor = self.unit.to(unit)
        return ParameterGrid(self.values * factor, scale=self.scale, discrete=self.discrete)

    def scaled(self, values: Any) -> Any:
        """Return values on the scale of the grid."""
        from villard.utils.array import namespace

        return namespace(values).log10(values) if self.scale == "log10" else values

    @property
    def edges(self) -> Array:
        """Bounds between the values, half-way on the scale; the first and last value end the grid."""
        x = np.asarray(self.scaled(self.values))
        between = np.concatenate([x[:1], 0.5 * (x[1:] + x[:-1]), x[-1:]])
        return 10**between if self.scale == "log10" else between

    def __repr__(self) -> str:
        kind = "discrete" if self.discrete else "interpolated"
        return (
            f"ParameterGrid({len(self.values)} values from {self.values[0]:g} to {self.values[-1]:g}, "
            f"{self.scale}, {kind})"
        )


def _spaced(bounds: Any, bins: int, scale: str) -> Any:
    unit: Any = 1
    try:
        if isinstance(bounds, u.Quantity) or all(isinstance(b, u.Quantity) for b in bounds):
            both = u.Quantity(bounds)
            bounds, unit = both.value, both.unit
        low, high = (float(b) for b in bounds)
        bins = operator.index(bins)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"ParameterGrid: expected two bounds in one unit and a whole number of bins, found {bounds!r}, "
            f"{bins!r}"
        ) from error
    good = math.isfinite(low) and math.isfinite(high) and low < high and (scale == "lin" or low > 0)
    if not good or bins < 2:
        raise ParameterError(
            f"ParameterGrid: the bounds [{low:g}, {high:g}] with {bins} values leave no grid on the scale "
            f"{scale!r}"
        )
    return (np.geomspace(low, high, bins) if scale == "log10" else np.linspace(low, high, bins)) * unit

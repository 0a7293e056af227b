"""Base class of temporal models and the pure functions that the likelihood compiles."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.core import ModelBase
from villard.utils.traced import traceable

if TYPE_CHECKING:
    from astropy.time import Time
    from matplotlib.axes import Axes

__all__ = ["PureTemporal", "TemporalModel"]

_SECONDS_PER_DAY = 86400.0
_SCALES = ("tt", "utc", "tai", "tdb", "ut1", "tcb", "tcg")


@dataclass(frozen=True)
class PureTemporal:
    """A temporal model as pure functions of arrays: what the likelihood knows of it.

    Called as ``evaluate(time, parameters, arrays)`` and ``integral(start, stop, parameters, arrays)``,
    with times in seconds, in numpy or in JAX. Times count from any epoch, if the parameter at
    ``reference`` counts from the same: with one near the data, microseconds are kept.

    Parameters
    ----------
    key : hashable
        Identifies the code: models with equal keys are compiled and evaluated together.
    n_parameters : int
        Number of parameters.
    evaluate : callable
        Factor to the flux.
    integral : callable
        Integral of the factor (s).
    arrays : tuple of arrays
        Data of the model (templates); equal shapes are needed within a key.
    reference : int or None
        Position of the parameter that is a time and not a duration.
    """

    key: Hashable
    n_parameters: int
    evaluate: Callable[..., Any]
    integral: Callable[..., Any]
    arrays: tuple[NDArray[np.float64], ...] = ()
    reference: int | None = None


class TemporalModel(ModelBase):
    """Base class of temporal models: a factor to the flux as a function of time.

    A subclass declares `Parameter` attributes and static methods ``evaluate(time, ...)`` and
    ``evaluate_integral(start, stop, ...)`` of plain arrays in seconds that take the parameters in the
    order of declaration. A parameter ``t_ref`` is a time (MJD, in d).

    Parameters
    ----------
    scale : str
        Time scale in which MJDs are meant.
    **kwargs
        Values of parameters.

    Raises
    ------
    ModelError
        If the scale is unknown, or an argument isn't a parameter of the model.
    """

    kind: ClassVar[str] = "temporal"
    is_energy_dependent: ClassVar[bool] = False
    yaml_keys: ClassVar[tuple[str, ...]] = ("scale",)
    _settable: ClassVar[tuple[str, ...]] = ("scale",)

    def __init__(self, *, scale: str = "utc", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "scale" and value not in _SCALES:
            raise ModelError(
                f"{type(self).__name__}: unknown time scale {value!r}, expected one of {', '.join(_SCALES)}"
            )
        super().__setattr__(name, value)

    @staticmethod
    def evaluate(time: Any, *parameters: Any) -> Any:
        """Factor as a pure function of arrays; subclasses define it."""
        raise NotImplementedError

    @staticmethod
    def evaluate_integral(start: Any, stop: Any, *parameters: Any) -> Any:
        """Integral of the factor as a pure function of arrays; subclasses define it."""
        raise NotImplementedError

    def pure(self) -> PureTemporal:
        """Return the model as pure functions of arrays."""
        cls, names = type(self), self.default_parameters.names
        n = len(names)
        value = traceable(cls.evaluate, f"{cls.__name__}.evaluate")
        integral = traceable(cls.evaluate_integral, f"{cls.__name__}.evaluate_integral")
        return PureTemporal(
            key=(cls,),
            n_parameters=n,
            evaluate=lambda t, p, _: value(t, *(p[i] for i in range(n))),
            integral=lambda t0, t1, p, _: integral(t0, t1, *(p[i] for i in range(n))),
            reference=names.index("t_ref") if "t_ref" in names else None,
        )

    @property
    def reference_time(self) -> "Time":
        """Reference time.

        Raises
        ------
        ModelError
            If the model has none.
        """
        from astropy.time import Time

        if "t_ref" not in self.default_parameters.names:
            raise ModelError(f"{type(self).__name__} has no reference time")
        return Time(self.parameters["t_ref"].quantity.to_value("d"), format="mjd", scale=self.scale)

    @reference_time.setter
    def reference_time(self, time: "Time") -> None:
        if "t_ref" not in self.default_parameters.names:
            raise ModelError(f"{type(self).__name__} has no reference time")
        setattr(self, "t_ref", u.Quantity(getattr(time, self.scale).mjd, u.d))  # noqa: B010 - not of this class

    def __call__(self, time: Any, energy: Any = None) -> u.Quantity:
        """Return the factor to the flux at times.

        Parameters
        ----------
        time : `~astropy.time.Time` or `~astropy.units.Quantity`
            Times; a quantity is an MJD in the scale of the model.
        energy : `~astropy.units.Quantity`, optional
            Not used by models that don't depend on energy.

        Returns
        -------
        `~astropy.units.Quantity`
            Factor without unit, of the same shape.
        """
        seconds = self._seconds(time)
        pure = self.pure()
        with np.errstate(under="ignore"):
            values = pure.evaluate(seconds, self._values(), pure.arrays)
        return u.Quantity(np.broadcast_to(values, seconds.shape).copy())

    def integral(self, t_min: Any, t_max: Any) -> u.Quantity:
        """Return the integral of the factor over intervals, divided by their total duration.

        The sum over all intervals, such as good time intervals, is the mean factor.

        Parameters
        ----------
        t_min, t_max : `~astropy.time.Time` or `~astropy.units.Quantity`
            Bounds of the intervals, of equal shape.

        Returns
        -------
        `~astropy.units.Quantity`
            Integrals without unit, of that shape.

        Raises
        ------
        ModelError
            If an interval ends before it starts, or all have no duration.
        """
        start, stop, total = self._intervals(t_min, t_max)
        pure = self.pure()
        self._check_integral(start, stop)
        with np.errstate(under="ignore"):
            values = pure.integral(start, stop, self._values(), pure.arrays)
        return u.Quantity(np.broadcast_to(values, start.shape) / total)

    def _intervals(self, t_min: Any, t_max: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Return starts and stops in seconds from the reference time, and their total duration."""
        start, stop = np.broadcast_arrays(self._seconds(t_min), self._seconds(t_max))
        total = float(np.sum(stop - start))
        if not np.all(stop >= start) or not total > 0:
            raise ModelError(
                f"{type(self).__name__}.integral: t_max must not be before t_min, and all intervals "
                "together must have a duration"
            )
        return start, stop, total

    def _check_integral(self, start: NDArray[np.float64], stop: NDArray[np.float64]) -> None:
        """Raise if the integral over seconds from the reference time diverges."""

    @staticmethod
    def time_sum(t_min: "Time", t_max: "Time") -> u.Quantity:
        """Return the total duration of intervals."""
        return np.sum((t_max - t_min).to("d"))

    def plot(
        self,
        time_range: Any,
        ax: "Axes | None" = None,
        n_points: int = 100,
        energy: Any = None,
        **kwargs: Any,
    ) -> "Axes":
        """Plot the factor to the flux.

        Parameters
        ----------
        time_range : tuple of `~astropy.time.Time` or `~astropy.units.Quantity`
            First and last time.
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot.
        n_points : int
            Number of times.
        energy : `~astropy.units.Quantity`, optional
            Energies, if the model depends on it: a line each.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        from villard.modeling.models.temporal.sample import plot_model

        return plot_model(self, time_range, ax, n_points, energy, **kwargs)

    def sample_time(
        self, n_events: int, t_min: Any, t_max: Any, t_delta: Any = "1 s", random_state: Any = 0
    ) -> "Time":
        """Draw times with a probability proportional to the factor.

        Parameters
        ----------
        n_events : int
            Number of times.
        t_min, t_max : `~astropy.time.Time` or `~astropy.units.Quantity`
            Range.
        t_delta : `~astropy.units.Quantity`
            Steps within which times are taken to be as likely as each other.
        random_state : int or `~numpy.random.Generator`
            Seed or generator.

        Returns
        -------
        `~astropy.time.Time`
            Times, shape (n_events,).

        Examples
        --------
        >>> from villard.modeling.models import ConstantTemporalModel
        >>> times = ConstantTemporalModel().sample_time(3, 55555 * u.d, 55556 * u.d)
        >>> times.shape, bool(55555 < times.mjd.min() < times.mjd.max() < 55556)
        ((3,), True)
        """
        from villard.modeling.models.temporal.sample import sample_time

        return sample_time(self, n_events, t_min, t_max, t_delta, random_state)

    def _values(self) -> list[float]:
        """Parameters in the engine's units; times count from the reference time, which is zero."""
        reference = self.pure().reference
        return [0.0 if i == reference else p.engine_value for i, p in enumerate(self.parameters)]

    def _seconds(self, time: Any) -> NDArray[np.float64]:
        """Seconds from the reference time, with the two-part numbers of `Time` subtracted exactly."""
        from astropy.time import Time

        if not isinstance(time, Time):
            time = u.Quantity(time)
            if not time.unit.is_equivalent(u.d):
                raise UnitsError(
                    f"{type(self).__name__}: expected a Time or an MJD in d, found {time.unit or 'no unit'}"
                )
            time = Time(time.to_value("d"), format="mjd", scale=self.scale)
        local = getattr(time, self.scale)
        mjd = 0.0
        if self.pure().reference is not None:
            mjd = self.parameters["t_ref"].quantity.to_value("d")
        days = (local.jd1 - 2400000.5 - mjd) + local.jd2
        return np.asarray(days * _SECONDS_PER_DAY)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        return {**super().to_dict(full_output), "scale": self.scale}

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"scale": data["scale"]} if data.get("scale") is not None else {}

"""Periodic light curves given as tables over phase."""

import os
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FileFormatError, ModelError
from villard.modeling.models.template_file import TemplateFile, file_name
from villard.modeling.models.temporal.core import PureTemporal, TemporalModel
from villard.modeling.models.temporal.light_curve import _mjd, _read_table
from villard.modeling.models.temporal.tables import line
from villard.modeling.parameter import Parameter
from villard.utils.array import namespace
from villard.utils.io import atomic_write, check_overwrite

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

__all__ = ["TemplatePhaseCurveTemporalModel"]

Array = NDArray[np.float64]


class TemplatePhaseCurveTemporalModel(TemplateFile, TemporalModel):
    r"""Periodic light curve given as a table over phase, interpolated linearly.

    .. math:: F(\phi(t)), \quad
        \phi = \phi_{ref} + f_0 \Delta t + \tfrac12 f_1 \Delta t^2 + \tfrac16 f_2 \Delta t^3, \quad
        \Delta t = t - t_{ref}

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns PHASE (increasing, within one period) and NORM.
    filename : str or path-like, optional
        File of the table, which is what goes into YAML.
    normalize : bool
        Whether the factor is divided by its mean over phase.
    **kwargs
        ``t_ref``, ``phi_ref``, ``f0``, ``f1``, ``f2`` and ``scale``.

    Raises
    ------
    ModelError
        If the table isn't one of a phase curve.

    Examples
    --------
    >>> from astropy.table import Table
    >>> table = Table({"PHASE": [0.0, 0.5], "NORM": [0.0, 2.0]})
    >>> model = TemplatePhaseCurveTemporalModel(table, t_ref="55555 d", f0="1 d-1")
    >>> model([55555, 55555.25, 55555.5, 55600.75] * u.d)
    <Quantity [0., 1., 2., 1.]>
    """

    tag = ["TemplatePhaseCurveTemporalModel", "template-phase"]
    yaml_keys = ("scale", "filename", "normalize")
    t_ref = Parameter("t_ref", "48442.5 d", frozen=True)
    phi_ref = Parameter("phi_ref", 0.0, frozen=True)
    f0 = Parameter("f0", "29.946923 s-1", frozen=True)
    f1 = Parameter("f1", "0 s-2", frozen=True)
    f2 = Parameter("f2", "0 s-3", frozen=True)
    _settable = ("scale", "filename")

    def __init__(
        self,
        table: "Table",
        filename: str | os.PathLike[str] | None = None,
        normalize: bool = True,
        scale: str = "utc",
        **kwargs: Any,
    ) -> None:
        where = type(self).__name__ if filename is None else f"{type(self).__name__} of {filename}"
        phase, norm = _phases(table, where)
        # Once around, from the last point before to the first point after the period.
        self._phase = np.concatenate([[phase[-1] - 1], phase, [phase[0] + 1]])
        values = np.concatenate([[norm[-1]], norm, [norm[0]]])
        mean = float(np.sum(np.diff(self._phase[:-1]) * (values[1:-1] + values[:-2]) / 2))
        if normalize and not mean > 0:
            raise ModelError(f"{where}: can't be normalised, because its mean is {mean:g}")
        self._normalize = bool(normalize)
        self._norm = values / mean if normalize else values
        self.filename = None if filename is None else os.fspath(filename)
        if "t_ref" in kwargs and hasattr(kwargs["t_ref"], "mjd"):
            kwargs["t_ref"] = _mjd(kwargs["t_ref"], scale) * u.d
        super().__init__(scale=scale, **kwargs)

    @property
    def table(self) -> "Table":
        """Table, normalised if that was asked for."""
        from astropy.table import Table

        return Table({"PHASE": self._phase[1:-1], "NORM": self._norm[1:-1]})

    @property
    def normalize(self) -> bool:
        """Whether the factor is divided by its mean."""
        return self._normalize

    def _arrays(self) -> tuple[Array, Array, Array, Array, Array]:
        """Return phases and values, their mean, and two periodic primitives at the phases.

        The first one, H, is that of the values less their mean, the second one, K, that of H; both have the
        mean zero.
        """
        x, y = self._phase, self._norm
        mean = float(np.sum(np.diff(x[:-1]) * (y[1:-1] + y[:-2]) / 2))
        dx, first, slope = np.diff(x), y[:-1] - mean, np.diff(y) / np.diff(x)
        h = np.concatenate([[0.0], np.cumsum(dx * (first + slope * dx / 2))])
        # The mean over one period, from the second point to the last one.
        part = dx * (h[:-1] + dx * (first / 2 + slope * dx / 6))
        h -= np.sum(part[1:])
        part = dx * (h[:-1] + dx * (first / 2 + slope * dx / 6))
        k = np.concatenate([[0.0], np.cumsum(part)])
        inner = dx * (k[:-1] + dx * (h[:-1] / 2 + dx * (first / 6 + slope * dx / 24)))
        k -= np.sum(inner[1:])
        return x, y, np.array(mean), h, k

    def pure(self) -> PureTemporal:
        """Return the model as pure functions; the table is data."""
        return PureTemporal(
            key=(type(self), len(self._phase)),
            n_parameters=5,
            evaluate=_value,
            integral=_integral,
            arrays=self._arrays(),
            reference=0,
        )

    def phase(self, time: Any) -> Array:
        """Return the phase, between 0 and 1, of times."""
        cycles = _cycles(self._seconds(time), self._values())
        return np.asarray(cycles - np.floor(cycles))

    def plot_phasogram(self, ax: "Axes | None" = None, n_points: int = 100, **kwargs: Any) -> "Axes":
        """Plot the factor over one period.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot.
        n_points : int
            Number of phases.
        **kwargs
            For `~matplotlib.axes.Axes.plot`.
        """
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        phase = np.linspace(0, 1, n_points)
        ax.plot(phase, line(self._phase, self._norm, phase), **kwargs)
        ax.set_xlabel("Phase")
        ax.set_ylabel("Norm")
        return ax

    # Files

    @classmethod
    def read(cls, path: str | os.PathLike[str], normalize: bool = True, **kwargs: Any) -> Self:
        """Read a table with columns PHASE and NORM from a FITS file; other parameters as for the class."""
        return cls(_read_table(path), filename=path, normalize=normalize, **kwargs)

    def write(self, overwrite: bool = False, filename: str | os.PathLike[str] | None = None) -> None:
        """Write the table to a FITS file; parameters as for `TemplateSpatialModel.write`."""
        if filename is not None:
            self.filename = os.fspath(filename)
        if self.filename is None:
            raise ModelError(f"{type(self).__name__}.write: it has no filename, give one")
        with atomic_write(check_overwrite(self.filename, overwrite), overwrite) as temporary:
            self.table.write(temporary, format="fits", overwrite=True)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML, with the name of the file of the table."""
        return {**super().to_dict(full_output), "filename": self.filename, "normalize": self._normalize}

    @classmethod
    def _init_arguments(cls, data: dict[str, Any]) -> dict[str, Any]:
        filename = file_name(data, cls.__name__)
        return {
            **super()._init_arguments(data),
            "table": _read_table(filename),
            "filename": filename,
            "normalize": data.get("normalize", True),
        }


def _phases(table: Any, where: str) -> tuple[Array, Array]:
    """Return phases and factors of a table, each phase of the period once."""
    names = {str(name).upper(): name for name in getattr(table, "colnames", ())}
    if not {"PHASE", "NORM"} <= set(names):
        raise FileFormatError(f"{where}: expected a table with PHASE and NORM, found {sorted(names)}")
    phase, norm = (np.asarray(table[names[key]], dtype=float).ravel() for key in ("PHASE", "NORM"))
    if not (np.all(np.isfinite(phase)) and np.all(np.isfinite(norm)) and np.all(norm >= 0)):
        raise ModelError(f"{where}: phases and factors must be finite, and factors not negative")
    if len(phase) < 2 or not np.all(np.diff(phase) > 0) or phase[-1] - phase[0] > 1:
        raise ModelError(f"{where}: expected two or more increasing phases of one period, found {phase}")
    if phase[-1] - phase[0] == 1:
        if norm[0] != norm[-1]:
            raise ModelError(f"{where}: the factors at the two ends of the period differ")
        phase, norm = phase[:-1], norm[:-1]
    return phase, norm


def _cycles(time: Any, parameters: Any) -> Any:
    """Return the phase, not reduced to one period."""
    t_ref, phi_ref, f0, f1, f2 = (parameters[i] for i in range(5))
    dt = time - t_ref
    return phi_ref + dt * (f0 + dt * (f1 / 2 + dt * f2 / 6))


def _reduced(cycles: Any, x: Any) -> Any:
    """Return phases within the period that begins with the first phase of the table."""
    xp = namespace(cycles, x)
    return x[1] + (cycles - x[1]) - xp.floor(cycles - x[1])


def _value(time: Any, parameters: Any, arrays: Any) -> Any:
    x, y = arrays[:2]
    return line(x, y, _reduced(_cycles(time, parameters), x))


def _integral(start: Any, stop: Any, parameters: Any, arrays: Any) -> Any:
    r"""Return the integral over time.

    With :math:`f = d\phi/dt`, integration by parts of the periodic rest gives

    .. math:: \int F \, dt = \bar F \, \Delta t + \left[\frac H f + \frac{\dot f}{f^3} K\right]
        + O\left(\frac{\dot f^2}{f^5}\right)

    which is exact for a constant frequency.
    """
    return arrays[2] * (stop - start) + _rest(stop, parameters, arrays) - _rest(start, parameters, arrays)


def _rest(time: Any, parameters: Any, arrays: Any) -> Any:
    x, y, mean, h, k = arrays
    xp = namespace(time, *arrays)
    t_ref, _, f0, f1, f2 = (parameters[i] for i in range(5))
    dt = time - t_ref
    frequency, change = f0 + dt * (f1 + dt * f2 / 2), f1 + dt * f2
    at = _reduced(_cycles(time, parameters), x)
    i = xp.clip(xp.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    step, first = at - x[i], y[i] - mean
    slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i])
    first_primitive = h[i] + step * (first + slope * step / 2)
    second_primitive = k[i] + step * (h[i] + step * (first / 2 + slope * step / 6))
    return first_primitive / frequency + change / frequency**3 * second_primitive

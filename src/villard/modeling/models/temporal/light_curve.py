"""Light curves given as tables, the same at all energies or different ones."""

import os
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FileFormatError, ModelError, UnitsError
from villard.modeling.models.spectral.tables import safe_log
from villard.modeling.models.template_file import TemplateFile, check_finite, file_name
from villard.modeling.models.temporal import tables
from villard.modeling.models.temporal.core import PureTemporal, TemporalModel
from villard.modeling.parameter import Parameter
from villard.utils.io import atomic_write, check_overwrite
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.time import Time

    from villard.maps import Map

__all__ = ["LightCurveTemplateTemporalModel"]

_FORMATS = ("table", "map")
_VALUES = {"lin": tables.line, "log": tables.log_line}
_INTEGRALS = {"lin": tables.line_integral, "log": tables.log_line_integral}


class LightCurveTemplateTemporalModel(TemplateFile, TemporalModel):
    """Light curve given as a table, interpolated between its points and constant beyond them.

    Parameters
    ----------
    map : `~villard.maps.RegionNDMap`
        Factor to the flux, with an axis ``time`` (after the reference time) and, if it depends on energy, an
        axis ``energy``.
    t_ref : `~astropy.time.Time` or `~astropy.units.Quantity`, optional
        Reference time, or its MJD in the time scale of the model; MJD 51544 by default.
    filename : str or path-like, optional
        File of the light curve, which is what goes into YAML.
    method : str, optional
        Kept for Gammapy scripts: only "linear" is known.
    values_scale : {"lin", "log"}, optional
        Whether values or their logarithms are interpolated; "log" by default if they depend on energy.
    scale : str
        Time scale.

    Raises
    ------
    ModelError
        If the map has no axis of time, or values that aren't finite, or negative.

    Examples
    --------
    >>> from astropy.table import Table
    >>> meta = {"MJDREFI": 55555, "MJDREFF": 0.0, "TIMESYS": "utc"}
    >>> table = Table({"TIME": [0, 1, 3] * u.d, "NORM": [1.0, 2.0, 0.0]}, meta=meta)
    >>> model = LightCurveTemplateTemporalModel.from_table(table)
    >>> model([55555.5, 55556, 55557, 55560] * u.d)
    <Quantity [1.5, 2. , 1. , 0. ]>
    """

    tag = ["LightCurveTemplateTemporalModel", "template"]
    yaml_keys = ("scale", "filename", "format", "unit", "values_scale")
    t_ref = Parameter("t_ref", "51544 d", frozen=True)
    _settable = ("scale", "filename")

    def __init__(
        self,
        map: "Map",
        t_ref: Any = None,
        filename: str | os.PathLike[str] | None = None,
        method: str | None = None,
        values_scale: str | None = None,
        scale: str = "utc",
    ) -> None:
        where = type(self).__name__
        if method not in (None, "linear"):
            raise ModelError(f"{where}: method must be 'linear', found {method!r}")
        if values_scale not in (None, "lin", "log"):
            raise ModelError(f"{where}: values_scale must be 'lin' or 'log', found {values_scale!r}")
        _check_map(map, where)
        self._map, self._scale = map, values_scale
        self.filename = None if filename is None else os.fspath(filename)
        super().__init__(scale=scale)
        if t_ref is not None:
            self.t_ref = _mjd(t_ref, scale) * u.d

    @property
    def map(self) -> "Map":
        """Light curve."""
        return self._map

    @property
    def is_energy_dependent(self) -> bool:  # type: ignore[override]
        """Whether there is an axis of energy."""
        return len(self._map.geom.axes) > 1

    @property
    def values_scale(self) -> str:
        """Scale on which values are interpolated, "lin" or "log"."""
        if self._scale is not None:
            return self._scale
        return "log" if self.is_energy_dependent else "lin"

    @property
    def _times(self) -> NDArray[np.float64]:
        """Times of the points after the reference time (s)."""
        return self._map.geom.axes["time"].center.to_value("s")

    def _table(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.is_energy_dependent:
            raise ModelError(f"{type(self).__name__}: the light curve depends on energy, which is missing")
        return self._times, self._on_scale(np.ravel(self._map.data))

    def _on_scale(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self.values_scale == "lin" else safe_log(np, values)

    # Values

    def pure(self) -> PureTemporal:
        """Return the model as pure functions; the table is data.

        Raises
        ------
        ModelError
            When they are called for a light curve that depends on energy.
        """
        if self.is_energy_dependent:
            return PureTemporal((type(self), "energy"), 1, self._refused, self._refused, (), 0)
        value, integral = _VALUES[self.values_scale], _INTEGRALS[self.values_scale]
        return PureTemporal(
            key=(type(self), self.values_scale),
            n_parameters=1,
            evaluate=lambda t, p, a: value(a[0], a[1], t - p[0]),
            integral=lambda t0, t1, p, a: integral(a[0], a[1], t0 - p[0], t1 - p[0]),
            arrays=self._table(),
            reference=0,
        )

    def _refused(self, *_: Any) -> Any:
        raise ModelError(
            f"{type(self).__name__}: a light curve that depends on energy can't be part of a fit; its "
            "factors are got by calling it, or its integral, with energies"
        )

    def __call__(self, time: Any, energy: Any = None) -> u.Quantity:
        """Return the factor to the flux at times.

        Parameters
        ----------
        time : `~astropy.time.Time` or `~astropy.units.Quantity`
            Times; a quantity is an MJD in the scale of the model.
        energy : `~astropy.units.Quantity`, optional
            Energies, if the light curve depends on it; they broadcast against the times. Beyond the table its
            outermost values hold.

        Returns
        -------
        `~astropy.units.Quantity`
            Factor without unit.
        """
        if not self.is_energy_dependent:
            return super().__call__(time)
        curves = self._curves(energy)
        seconds = self._seconds(time)
        shape = np.broadcast_shapes(seconds.shape, curves.shape[:-1])
        seconds = np.broadcast_to(seconds, shape).ravel()
        rows = np.broadcast_to(curves, (*shape, curves.shape[-1])).reshape(-1, curves.shape[-1])
        value = _VALUES[self.values_scale]
        values = [value(self._times, row, t) for row, t in zip(rows, seconds, strict=True)]
        return u.Quantity(np.reshape(values, shape))

    def integral(self, t_min: Any, t_max: Any, energy: Any = None, **kwargs: Any) -> u.Quantity:
        """Return the integral of the factor over intervals, divided by their total duration.

        Parameters
        ----------
        t_min, t_max : `~astropy.time.Time` or `~astropy.units.Quantity`
            Bounds of the intervals, of equal shape.
        energy : `~astropy.units.Quantity`, optional
            Energies, if the light curve depends on it.
        **kwargs
            ``oversampling_factor`` of Gammapy scripts isn't needed: integrals are exact.

        Returns
        -------
        `~astropy.units.Quantity`
            Integrals without unit, of the shape of the energies, if there are any, and that of the intervals.
        """
        if set(kwargs) - {"oversampling_factor"}:
            raise ModelError(f"{type(self).__name__}.integral: no argument {sorted(kwargs)[0]!r}")
        if not self.is_energy_dependent:
            return super().integral(t_min, t_max)
        start, stop, total = self._intervals(t_min, t_max)
        curves = self._curves(energy)
        integral = _INTEGRALS[self.values_scale]
        rows = curves.reshape(-1, curves.shape[-1])
        values = np.array([integral(self._times, row, start, stop) for row in rows])
        return u.Quantity(values.reshape(*curves.shape[:-1], *start.shape) / total)

    def _curves(self, energy: Any) -> NDArray[np.float64]:
        """Return the table at energies, on the scale of values; shape of the energies, and the times."""
        if energy is None:
            raise ModelError(f"{type(self).__name__}: the light curve depends on energy, which is missing")
        energy = u.Quantity(energy)
        axis = next(axis for axis in self._map.geom.axes if axis.name != "time")
        if not energy.unit.is_equivalent(axis.unit):
            raise UnitsError(f"{type(self).__name__}: expected an energy, found {energy.unit or 'no unit'}")
        center = axis.center
        at = np.clip(energy, center[0], center[-1])[..., None]
        coord = {"time": self._map.geom.axes["time"].center, axis.name: at}
        return self._on_scale(self._map.interp_by_coord(coord, values_scale=self.values_scale))

    # Files

    @classmethod
    def from_table(cls, table: "Table", filename: str | os.PathLike[str] | None = None) -> Self:
        """Make the model of a table.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Columns TIME and NORM; and, in ``meta``, the reference time MJDREFI and MJDREFF, TIMESYS, and
            TIMEUNIT if the column has no unit.
        filename : str or path-like, optional
            File that it is from.
        """
        from villard.maps import MapAxis, RegionNDMap

        where = "Light curve" if filename is None else str(filename)
        names = {str(name).upper(): name for name in table.colnames}
        if not {"TIME", "NORM"} <= set(names):
            raise FileFormatError(f"{where}: expected columns TIME and NORM, found {table.colnames}")
        time, norm = table[names["TIME"]], table[names["NORM"]]
        try:
            unit = u.Unit(time.unit or table.meta.get("TIMEUNIT", "s"))
            values = np.asarray(time, dtype=float).ravel()
            axis = MapAxis.from_nodes(values, unit=unit, name="time")
        except (ValueError, TypeError) as error:
            raise FileFormatError(f"{where}: TIME isn't one of a light curve: {error}") from error
        map = RegionNDMap.create(None, axes=[axis])
        map.data = np.asarray(norm, dtype=float).reshape(map.data.shape)
        return cls(map, t_ref=_reference(table.meta, where), filename=filename)

    def to_table(self) -> "Table":
        """Return the light curve as a table; the inverse of `from_table`."""
        from astropy.table import Table

        if self.is_energy_dependent:
            raise ModelError(f"{type(self).__name__}: a light curve that depends on energy is no table")
        time = self._map.geom.axes["time"].center
        return Table({"TIME": time, "NORM": np.ravel(self._map.data)}, meta=self._header())

    def _header(self) -> dict[str, Any]:
        mjd = float(self.t_ref.quantity.to_value("d"))
        days = int(np.floor(mjd))
        return {"MJDREFI": days, "MJDREFF": mjd - days, "TIMESYS": self.scale}

    @classmethod
    def read(cls, filename: str | os.PathLike[str], format: str = "table") -> Self:
        """Read a light curve.

        Parameters
        ----------
        filename : str or path-like
            FITS file.
        format : {"table", "map"}
            Table with TIME and NORM, or a map over time and energy.
        """
        from villard.maps import Map
        from villard.maps.fits import open_fits

        if format not in _FORMATS:
            raise ModelError(f"{cls.__name__}: format must be 'table' or 'map', found {format!r}")
        if format == "map":
            with open_fits(filename) as hdus:
                headers = [hdu.header for hdu in hdus if "MJDREFI" in hdu.header]
            reference = _reference(headers[0] if headers else {}, str(filename))
            return cls(Map.read(filename), t_ref=reference, filename=filename)
        return cls.from_table(_read_table(filename), filename=filename)

    def write(
        self,
        overwrite: bool = False,
        filename: str | os.PathLike[str] | None = None,
        format: str | None = None,
    ) -> None:
        """Write the light curve to a FITS file.

        Parameters
        ----------
        overwrite : bool
            Whether an existing file may be replaced.
        filename : str or path-like, optional
            File; by default ``filename`` of the model, which is changed otherwise.
        format : {"table", "map"}, optional
            Format; a table, unless it depends on energy.
        """
        if format not in (None, *_FORMATS):
            raise ModelError(f"{type(self).__name__}: format must be 'table' or 'map', found {format!r}")
        if filename is not None:
            self.filename = os.fspath(filename)
        if self.filename is None:
            raise ModelError(f"{type(self).__name__}.write: it has no filename, give one")
        path = check_overwrite(self.filename, overwrite)
        with atomic_write(path, overwrite) as temporary:
            if (format or self._format) == "table":
                self.to_table().write(temporary, format="fits", overwrite=True)
            else:
                map: Any = self._map
                hdus = map.to_hdulist()
                for hdu in hdus[1:]:
                    hdu.header.update(self._header())
                hdus.writeto(temporary, overwrite=True)

    @property
    def _format(self) -> str:
        return "map" if self.is_energy_dependent else "table"

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML, with the name of the file of the light curve."""
        result = {
            **super().to_dict(full_output),
            "filename": self.filename,
            "format": self._format,
            "unit": "",
        }
        return result if self._scale is None else {**result, "values_scale": self._scale}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`, and read its light curve."""
        cls.check_keys(data)
        model = cls.read(file_name(data, cls.__name__), format=data.get("format", "table"))
        arguments = {"t_ref": model.reference_time, "filename": model.filename}
        if data.get("scale") is not None:
            arguments["scale"] = data["scale"]
        model = cls(model.map, values_scale=data.get("values_scale"), **arguments)
        model._update_parameters(data.get("parameters") or [])
        return model


def _check_map(map: Any, where: str) -> None:
    check_finite(map, where)
    names = map.geom.axes.names
    if "time" not in names or not set(names) <= {"time", "energy", "energy_true"} or len(names) > 2:
        raise ModelError(f"{where}: expected an axis 'time' and, perhaps, 'energy', found {names}")
    axis = map.geom.axes["time"]
    if not axis.unit.is_equivalent(u.s) or axis.nbin < 2:
        raise ModelError(
            f"{where}: expected two or more times, found {axis.nbin} in {axis.unit or 'no unit'}"
        )
    if not map.unit.is_equivalent(u.dimensionless_unscaled) or np.any(map.data < 0):
        raise ModelError(f"{where}: expected factors without unit that aren't negative")


def _mjd(time: Any, scale: str) -> float:
    """Return the MJD of a time in a time scale."""
    from astropy.time import Time

    if isinstance(time, Time):
        return float(getattr(time, scale).mjd)
    return float(u.Quantity(time).to_value("d"))


def _reference(meta: Any, where: str) -> "Time":
    from astropy.time import ScaleValueError, Time

    if "MJDREFI" not in meta:
        raise FileFormatError(f"{where}: the reference time, MJDREFI and MJDREFF, is missing")
    scale = str(meta.get("TIMESYS", "tt")).strip().lower()
    try:
        return Time(float(meta["MJDREFI"]), float(meta.get("MJDREFF", 0.0)), format="mjd", scale=scale)
    except (ValueError, TypeError, ScaleValueError) as error:
        raise FileFormatError(f"{where}: not a reference time: {error}") from error


def _read_table(filename: str | os.PathLike[str]) -> "Table":
    from astropy.table import Table

    from villard.maps.fits import open_fits

    path = make_path(filename)
    with open_fits(path) as hdus:
        tables_found = [hdu for hdu in hdus[1:] if hasattr(hdu, "columns")]
        if not tables_found:
            raise FileFormatError(f"{path}: expected a table, found none")
        hdu = tables_found[0]
        table = Table({name: np.array(hdu.data[name], dtype=float) for name in hdu.columns.names})
        for column in hdu.columns:
            if column.unit:
                table[column.name].unit = column.unit
        table.meta.update(
            {key: hdu.header[key] for key in hdu.header if key and key not in ("HISTORY", "COMMENT")}
        )
    return table

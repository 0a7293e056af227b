"""Spectra given as tables over energy and parameters of their own."""

import os
from itertools import product
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.models.spectral.tables import safe_log
from villard.modeling.parameter import Parameter, Parameters
from villard.utils.array import namespace
from villard.utils.units import canonical_factor, to_canonical, unit_text

if TYPE_CHECKING:
    from villard.maps import RegionNDMap

__all__ = ["TemplateNDSpectralModel"]


class TemplateNDSpectralModel(SpectralModel):
    """Spectrum given as a table over energy and any number of parameters, interpolated and continued.

    Each axis of the map besides energy becomes a parameter, bounded by the axis. The interpolation is
    multilinear in ln flux, ln E and the parameters, on the scales of their axes.

    Parameters
    ----------
    map : `~villard.maps.RegionNDMap`
        Fluxes over an axis of energy and others.
    interp_kwargs : dict, optional
        ``values_scale``: ``"log"``, or ``"lin"`` for an interpolation that is linear in the flux.
    meta : dict, optional
        Anything to be kept with it.
    filename : str or path-like, optional
        File of the map, which stands for it in YAML.

    Raises
    ------
    ModelError
        If the map has no energy axis, no other axis, or negative or non-finite values.

    Examples
    --------
    >>> import numpy as np
    >>> from villard.maps import MapAxis, RegionNDMap
    >>> energy = MapAxis.from_nodes([1, 10], unit="TeV", name="energy_true", interp="log")
    >>> tilt = MapAxis.from_nodes([0, 1], name="tilt")
    >>> table = RegionNDMap.create(None, axes=[energy, tilt], unit="TeV-1 cm-2 s-1")
    >>> table.data = np.array([[1, 1], [1, 0.1]]).reshape(table.data.shape)
    >>> model = TemplateNDSpectralModel(table)
    >>> model.tilt.value = 0.5
    >>> print(f"{model('10 TeV'):.4f}")
    0.3162 1 / (TeV s cm2)
    """

    tag = ["TemplateNDSpectralModel", "templateND"]
    yaml_keys = ("filename", "unit", "interp_kwargs")

    def __init__(
        self,
        map: "RegionNDMap",
        interp_kwargs: dict[str, Any] | None = None,
        meta: Any = None,
        filename: str | os.PathLike[str] | None = None,
    ) -> None:
        options = dict(interp_kwargs or {})
        self._scale = options.pop("values_scale", "log")
        if options or self._scale not in ("log", "lin"):
            raise ModelError(
                f"TemplateNDSpectralModel: expected values_scale 'log' or 'lin' alone, found {interp_kwargs}"
            )
        names = [axis.name for axis in map.geom.axes]
        energies = [name for name in names if name in ("energy_true", "energy")]
        if len(energies) != 1 or len(names) < 2:
            raise ModelError(f"TemplateNDSpectralModel: expected an axis of energy and others, found {names}")
        if any(axis.nbin < 2 for axis in map.geom.axes):
            raise ModelError("TemplateNDSpectralModel: expected two or more points along each axis")
        values = np.asarray(map.data, dtype=float)
        if not np.all(np.isfinite(values)) or (self._scale == "log" and np.any(values < 0)):
            raise ModelError(
                "TemplateNDSpectralModel: values must be finite, and only negative for values_scale 'lin'"
            )
        self._map, self._meta = map, dict(meta or {})
        self._filename = None if filename is None else os.fspath(filename)
        self._energy_name = energies[0]
        self.default_parameters = Parameters(  # type: ignore[misc]
            _parameter(axis) for axis in map.geom.axes if axis.name != self._energy_name
        )
        super().__init__()

    @property
    def map(self) -> "RegionNDMap":
        """The table."""
        return self._map

    @property
    def meta(self) -> dict[str, Any]:
        """What is kept with the model."""
        return self._meta

    @property
    def filename(self) -> str | None:
        """File of the table."""
        return self._filename

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the table."""
        return u.Unit(self._map.unit)

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions; the table is data."""
        axes = list(self._map.geom.axes)
        energy_axis = next(axis for axis in axes if axis.name == self._energy_name)
        others = [axis for axis in axes if axis is not energy_axis]
        values = np.asarray(self._map.data, dtype=float) * canonical_factor(self.flux_unit)
        # Maps have their first axis last, before the two of the sky.
        values = np.moveaxis(values.reshape([axis.nbin for axis in axes[::-1]]).T, axes.index(energy_axis), 0)
        scales = ("log", *(axis.interp for axis in others))
        nodes = [
            _FORWARD[s](np, to_canonical(a.center))
            for s, a in zip(scales, [energy_axis, *others], strict=True)
        ]
        table = safe_log(np, values) if self._scale == "log" else values
        return PureSpectrum(
            ("template-nd", self._scale, scales),
            len(others),
            _evaluator(scales, self._scale),
            arrays=(table, *nodes),
            breaks=lambda _, arrays: namespace(arrays[1]).exp(arrays[1]),
        )

    def write(self, overwrite: bool = False, filename: str | os.PathLike[str] | None = None) -> None:
        """Write the table as FITS, to ``filename`` or the file that the model has.

        Raises
        ------
        ModelError
            If there is no file name.
        OverwriteError
            If the file exists and ``overwrite`` is false.
        """
        if filename is not None:
            self._filename = os.fspath(filename)
        if self._filename is None:
            raise ModelError("TemplateNDSpectralModel: no filename to write to")
        self._map.write(self._filename, overwrite=overwrite)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML, with the file that holds the table.

        Raises
        ------
        ModelError
            If there is no file: see `write`.
        """
        if self._filename is None:
            raise ModelError("TemplateNDSpectralModel: call write(filename=…) first, YAML names the file")
        result = {**super().to_dict(full_output), "filename": self._filename, "unit": str(self._map.unit)}
        return result if self._scale == "log" else {**result, "interp_kwargs": {"values_scale": self._scale}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`, reading the file."""
        from villard.maps import RegionNDMap

        cls.check_keys(data)
        if not data.get("filename"):
            raise ModelError("TemplateNDSpectralModel: 'filename' is missing")
        table = RegionNDMap.read(data["filename"])
        model = cls(table, interp_kwargs=data.get("interp_kwargs"), filename=data["filename"])
        unit = data.get("unit")
        if unit is not None and u.Unit(unit) != u.Unit(table.unit):
            found = unit_text(u.Unit(table.unit))
            raise UnitsError(f"{data['filename']}: expected the unit {unit}, found {found}")
        model._update_parameters(data.get("parameters") or [])
        return model


_FORWARD = {
    "lin": lambda xp, x: x,
    "log": lambda xp, x: xp.log(x),
    "sqrt": lambda xp, x: xp.sqrt(x),
}


def _parameter(axis: Any) -> Parameter:
    low, high = float(axis.center[0].value), float(axis.center[-1].value)
    return Parameter(axis.name, 0.5 * (low + high), axis.unit, min=low, max=high, interp=axis.interp)


def _evaluator(scales: tuple[str, ...], values_scale: str) -> Any:
    """Return the multilinear interpolation over energy and parameters."""

    def evaluate(energy: Any, parameters: Any, arrays: Any) -> Any:
        table, *nodes = arrays
        xp = namespace(energy, parameters, table)
        points = [energy, *(parameters[i] for i in range(len(scales) - 1))]
        index, fraction = [], []
        for point, scale, x in zip(points, scales, nodes, strict=True):
            at = _FORWARD[scale](xp, point)
            i = xp.clip(xp.searchsorted(x, at) - 1, 0, len(x) - 2)
            index.append(i)
            fraction.append((at - x[i]) / (x[i + 1] - x[i]))
        result = 0.0
        for corner in product((0, 1), repeat=len(scales)):
            weight = 1.0
            for side, f in zip(corner, fraction, strict=True):
                weight = weight * (f if side else 1 - f)
            result = result + weight * table[tuple(i + side for i, side in zip(index, corner, strict=True))]
        return xp.exp(result) if values_scale == "log" else result

    return evaluate

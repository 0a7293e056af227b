"""Tables of the sources and parameters of a region of interest, as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from villard.modeling.models.gtlike import norm_parameter, spatial_type, spectrum_type
from villard.roi.source import Source

__all__ = ["Printing", "format_model", "format_params", "format_roi"]

_ROI = "%-20s%-15s%-15s%8s%10s%12s"
_PARAMS = "%4s %-20s%10s%10s%10s%10s%10s%5s  %s"
_MODEL = "%-20s%8s%8s%10s%7s%10s%12s%5s"
_NO_OFFSET = "-----"


class Printing:
    """Printing, for `villard.roi.ROI`."""

    def print_roi(self) -> None:
        """Print a row per source: kind, offset (deg), TS and predicted counts."""
        print(format_roi(self))

    def print_params(self, allpars: bool = False) -> None:
        """Print the free parameters of each source.

        Values, errors and limits are multiples of the scale, in the unit at the end of the row; an
        asterisk means free, L locked.

        Parameters
        ----------
        allpars : bool
            Whether all parameters are printed, with those of the morphology.
        """
        print(format_params(self, allpars))

    def print_model(self) -> None:
        """Print a row per source: offset (deg), norm, energy flux (MeV cm-2 s-1), index, TS, counts."""
        print(format_model(self))

    def __str__(self) -> str:
        return format_roi(self)


def _name(source: Source) -> str:
    return source.name[:19]


def format_roi(roi: Any) -> str:
    """Return what `Printing.print_roi` prints."""
    lines = [_ROI % ("name", "SpatialModel", "SpectrumType", "offset", "ts", "npred"), 80 * "-"]
    for source in roi.sources:
        offset = _NO_OFFSET if source.is_diffuse else f"{source.offset:.3f}"
        model = source.model
        values = offset, f"{source['ts']:.2f}", f"{source['npred']:.1f}"
        spatial = spatial_type(model)
        spatial = "PointSource" if spatial == "SkyDirFunction" else spatial
        lines.append(_ROI % (_name(source), spatial[:14], spectrum_type(model)[:14], *values))
    return "\n".join(lines)


def format_params(roi: Any, allpars: bool = False) -> str:
    """Return what `Printing.print_params` prints."""
    header = ("idx", "parname", "value", "error", "min", "max", "scale", "free", "unit")
    lines = [_PARAMS % header, 80 * "-"]
    position = 0
    for source in roi.sources:
        rows = []
        for name, parameter in zip(source.model.parameters.names, source.model.parameters, strict=True):
            if allpars or not parameter.frozen:
                rows.append(_row(roi, source, position, name, parameter))
            position += 1
        if rows:
            lines += [source.name, *rows]
    return "\n".join(line.rstrip() for line in lines)


def _row(roi: Any, source: Source, position: int, name: str, parameter: Any) -> str:
    scale = roi.parameter_scale(source.name, name)
    numbers = (parameter.value, parameter.error, parameter.min, parameter.max)
    texts = ["-" if np.isnan(number) else format(number / scale, ".3g") for number in numbers]
    if parameter.unit == "deg" and abs(parameter.value) >= 0.1:
        # A tenth of a degree isn't enough for positions.
        texts[0] = format(parameter.value / scale, ".6g")
    locked = (source.name, name) in roi.locked
    state = "L" if locked else "" if parameter.frozen else "*"
    return _PARAMS % (position, name, *texts, f"{scale:.3g}", state, parameter.unit.to_string("fits"))


def format_model(roi: Any) -> str:
    """Return what `Printing.print_model` prints."""
    header = ("sourcename", "offset", "norm", "eflux", "index", "ts", "npred", "free")
    lines = [_MODEL % header, 80 * "-"]
    for source in roi.sources:
        norm = norm_parameter(source.model)
        scale = roi.parameter_scale(source.name, _name_of(source, norm))
        values = (
            _NO_OFFSET if source.is_diffuse else f"{source.offset:.3f}",
            f"{norm.value / scale:.3f}",
            _number(_energy_flux(roi, source), ".3g"),
            _number(_index(roi, source), ".2f"),
            f"{source['ts']:.2f}",
            f"{source['npred']:.1f}",
            "*" if source.free else "",
        )
        lines.append((_MODEL % (_name(source), *values)).rstrip())
    return "\n".join(lines)


def _name_of(source: Source, parameter: Any) -> str:
    parameters = source.model.parameters
    return parameters.names[parameters.index(parameter)]


def _number(value: float, form: str) -> str:
    return _NO_OFFSET if np.isnan(value) else format(value, form)


def _energy_flux(roi: Any, source: Source) -> float:
    """Energy flux in the range of the region (MeV cm-2 s-1); NaN for diffuse emission."""
    if source.is_diffuse:
        return float("nan")
    low, high = roi.energy_bounds
    return float(source.spectral_model.energy_flux(low, high).to_value("MeV cm-2 s-1"))


def _index(roi: Any, source: Source) -> float:
    """Spectral index at the energy of reference; NaN for diffuse emission."""
    if source.is_diffuse:
        return float("nan")
    names = source.spectral_model.parameters.names
    if "reference" in names:
        energy = source.spectral_model.parameters["reference"].quantity
    else:
        low, high = roi.energy_bounds
        energy = np.sqrt(low * high)
    return float(source.spectral_model.spectral_index(energy))

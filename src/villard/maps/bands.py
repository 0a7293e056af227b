"""The BANDS extension: the axes of a map as a table with a row per bin of all of them together."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits

from villard.exceptions import FileFormatError
from villard.maps.axes import MapAxes
from villard.maps.axis import MapAxis
from villard.maps.axis_io import axis_from_bands, band_axis_name
from villard.maps.fits import column, column_unit, fits_unit
from villard.utils.units import parse_unit

__all__ = ["axes_from_bands", "axes_keywords", "axes_to_bands"]


def axes_keywords(axes: MapAxes) -> dict[str, str]:
    """Return the keywords that say which columns are the axes, and their scales.

    Examples
    --------
    >>> axes_keywords(MapAxes([MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)]))
    {'AXCOLS1': 'E_MIN,E_MAX', 'INTERP1': 'log'}
    """
    keywords = {}
    for i, axis in enumerate(axes, start=1):
        names = _names(axis)
        keywords[f"AXCOLS{i}"] = ",".join(names[1:]) if axis.node_type == "edges" else names[0]
        keywords[f"INTERP{i}"] = axis.interp
    return keywords


def axes_to_bands(axes: MapAxes, name: str) -> fits.BinTableHDU:
    """Return the table; the bins of the first axis change fastest.

    Parameters
    ----------
    axes : `MapAxes`
        Axes.
    name : str
        Name of the extension.
    """
    shape = axes.shape[::-1]
    indices = np.indices(shape)[::-1]
    columns = [fits.Column("CHANNEL", "K", array=np.arange(int(np.prod(shape))))]
    for axis, idx in zip(axes, indices, strict=True):
        unit = fits_unit(axis.unit) or None
        values = (axis.center, axis.edges_min, axis.edges_max)
        for label, value in zip(_names(axis), values, strict=True):
            columns.append(fits.Column(label, "D", unit=unit, array=value.value[idx.ravel()]))
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.update(axes_keywords(axes))
    return table


def _names(axis: MapAxis) -> list[str]:
    name = axis.name.upper()
    prefix = "E" if axis.name == "energy" else name
    return [name, f"{prefix}_MIN", f"{prefix}_MAX"]


def axes_from_bands(bands: fits.BinTableHDU, header: fits.Header, where: str) -> list[MapAxis]:
    """Return the axes of a BANDS extension.

    Parameters
    ----------
    bands : `~astropy.io.fits.BinTableHDU`
        Extension.
    header : `~astropy.io.fits.Header`
        Header of the map, which may hold the keywords ``AXCOLS`` in its place.
    where : str
        File, for messages.

    Raises
    ------
    FileFormatError
        If keywords or columns are missing or don't make axes.
    """
    axes: list[MapAxis] = []
    while True:
        i = len(axes) + 1
        keywords = bands.header if f"AXCOLS{i}" in bands.header else header
        if f"AXCOLS{i}" not in keywords:
            break
        interp = str(keywords.get(f"INTERP{i}", "lin"))
        axes.append(_axis(bands, str(keywords[f"AXCOLS{i}"]), interp, where))
    if not axes:
        raise FileFormatError(f"{where}, extension {bands.name}: expected the keyword AXCOLS1, found none")
    return axes


def _axis(bands: fits.BinTableHDU, text: str, interp: str, where: str) -> MapAxis:
    names = [name.strip() for name in text.split(",")]
    place = f"{where}, extension {bands.name}, columns {text}"
    values: list[Any] = [column(bands, name, where) for name in names]
    if band_axis_name(names[0]) in {"energy", "energy_true"}:
        unit = column_unit(bands, names[0], u.TeV, where)
    else:
        index = [str(name).upper() for name in bands.columns.names].index(names[0].upper()) + 1
        unit = parse_unit(str(bands.header.get(f"TUNIT{index}", "")), place)
    return axis_from_bands(names, values, unit, interp, place)

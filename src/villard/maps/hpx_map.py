"""Maps of the whole sky in HEALPix pixels, read from files of the Fermi tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from villard.exceptions import FileFormatError
from villard.maps import scale
from villard.maps.axis import MapAxis
from villard.maps.axis_hdu import axis_of_ebounds
from villard.maps.coord import MapCoord
from villard.maps.core import Map
from villard.maps.fits import column, find_table
from villard.maps.hpx_geom import HpxGeom
from villard.maps.wcs_interp import _axis_neighbours, _forward, _weighted_sum
from villard.maps.wcs_io import _energy_points
from villard.maps.wcs_map import WcsNDMap

if TYPE_CHECKING:
    from villard.maps.wcs_geom import WcsGeom

__all__ = ["HpxNDMap"]

_FRAMES = {
    "GAL": "galactic",
    "GALACTIC": "galactic",
    "CEL": "icrs",
    "EQU": "icrs",
    "C": "icrs",
    "G": "galactic",
}


class HpxNDMap(Map):
    """Numbers with a unit in HEALPix pixels, along axes such as energy; parameters as for `Map`.

    Examples
    --------
    >>> import astropy.units as u
    >>> exposure = HpxNDMap(HpxGeom(4, frame="galactic"), data=3.0, unit="cm2 s")
    >>> float(exposure.interp_by_coord({"lon": 10 * u.deg, "lat": -20 * u.deg}))
    3.0
    """

    _geom: HpxGeom

    @property
    def geom(self) -> HpxGeom:
        """Geometry."""
        return self._geom

    def _locate(self, coord: MapCoord) -> tuple[tuple[Any, ...], NDArray[np.bool_]]:
        inside = self._geom.contains(coord)
        index: list[Any] = [0] * self._geom.ndim
        index[-1] = self._geom.skydir_to_idx(coord.skycoord)
        for axis in self._geom.axes:
            idx = axis.coord_to_idx(coord[axis.name])
            index[self._geom.data_axis(axis.name)] = np.maximum(idx, 0)
        return tuple(index), inside

    def interp_by_coord(
        self,
        coords: Mapping[str, Any] | Sequence[Any],
        fill_value: float | None = None,
        values_scale: str = "lin",
    ) -> NDArray[np.float64]:
        """Interpolate between the four nearest pixels, and bin centres on the scales of the axes.

        Parameters
        ----------
        coords : dict, `MapCoord` or tuple
            As for `WcsNDMap.interp_by_coord`.
        fill_value : float, optional
            Value beyond the axes' outermost centres; by default the slope goes on.
        values_scale : {"lin", "log", "sqrt"}
            Scale on which values are interpolated.
        """
        scale.check_scale(values_scale, "Interpolation")
        coord = MapCoord.from_any(coords, self._geom)
        data = _forward(values_scale, self._data)
        neighbours = [_axis_neighbours(axis, coord[axis.name]) for axis in self._geom.axes][::-1]
        always = np.ones((), dtype=bool)
        values = np.zeros(coord.shape)
        for idx, weight in zip(*self._geom.neighbours(coord.skycoord), strict=True):
            pixel = (idx, idx, np.zeros(()), always)
            values += weight * _weighted_sum(data, [*neighbours, pixel], coord.shape)
        values = scale.inverse(values_scale, values)
        if fill_value is None:
            return values
        inside = np.broadcast_to(always, values.shape)
        for item in neighbours:
            inside = inside & item[3]
        return np.where(inside, values, fill_value)

    def interp_to_geom(self, geom: WcsGeom, **kwargs: Any) -> WcsNDMap:
        """Interpolate at the centres of the bins of a `WcsGeom`; keywords as for `interp_by_coord`."""
        coord = MapCoord(dict(geom.get_coord(sparse=True)))
        return WcsNDMap(geom, data=self.interp_by_coord(coord, **kwargs), unit=self.unit, meta=self.meta)

    @classmethod
    def from_hdulist(
        cls, hdulist: fits.HDUList, hdu: str | None = None, where: str = "FITS data"
    ) -> HpxNDMap:
        """Make a map of a table with a row per pixel and a column per energy.

        Parameters
        ----------
        hdulist : `~astropy.io.fits.HDUList`
            Extensions: a table with PIXTYPE HEALPIX that covers the sky, and EBOUNDS (counts) or ENERGIES
            (exposure in cm2 s if there is no unit), or neither for a single column.
        hdu : str, optional
            Name of the table; the first of its kind by default.
        where : str
            File, for messages.
        """
        table = find_healpix(hdulist, hdu)
        if table is None:
            raise FileFormatError(f"{where}: expected a table with PIXTYPE HEALPIX, found none")
        where = f"{where}, extension {table.name}"
        names = [n for n in table.columns.names if n.upper() not in {"PIX", "HPX_INDEX", "PIXEL"}]
        axes, unit = _axes(hdulist, len(names), where)
        geom = _geometry(table.header, axes, where)
        if len(table.data) != geom.npix or len(names) != len(table.columns.names):
            raise FileFormatError(
                f"{where}: expected the whole sky, {geom.npix} rows, found {len(table.data)}"
            )
        data = np.stack([column(table, name, where) for name in names])
        text = str(table.header.get("TUNIT1", "")).strip()
        return cls(geom, data=data.reshape(geom.data_shape), unit=text or unit)


def find_healpix(hdulist: fits.HDUList, hdu: str | None) -> Any:
    """Return the table of a name, or the first one, that holds HEALPix pixels; or `None`."""
    for item in hdulist:
        is_wanted = hdu is None or str(item.name).upper() == hdu.upper()
        if is_wanted and str(item.header.get("PIXTYPE", "")).strip().upper() == "HEALPIX":
            return item
    return None


def _axes(hdulist: fits.HDUList, n_columns: int, where: str) -> tuple[list[MapAxis], str]:
    names = {str(item.name).upper() for item in hdulist}
    if "EBOUNDS" in names:
        axis, unit = axis_of_ebounds(find_table(hdulist, ["EBOUNDS"], where), where), ""
    elif "ENERGIES" in names:
        axis, unit = _energy_points(find_table(hdulist, ["ENERGIES"], where), where), "cm2 s"
    elif n_columns == 1:
        return [], ""
    else:
        raise FileFormatError(f"{where}: expected a table EBOUNDS or ENERGIES for {n_columns} columns")
    if axis.nbin != n_columns:
        raise FileFormatError(f"{where}: expected {axis.nbin} columns, one per energy, found {n_columns}")
    return [axis], unit


def _geometry(header: fits.Header, axes: list[MapAxis], where: str) -> HpxGeom:
    # Exposures of the Fermi tools without COORDSYS are equatorial: so they agree with cubes of the same data.
    system = str(header.get("COORDSYS", "CEL")).strip().upper()
    order = str(header.get("ORDERING", "RING")).strip().upper()
    if system not in _FRAMES or order not in {"RING", "NESTED", "NEST"} or "NSIDE" not in header:
        raise FileFormatError(
            f"{where}: expected NSIDE, ORDERING RING or NESTED and COORDSYS GAL or CEL, "
            f"found NSIDE {header.get('NSIDE')}, ORDERING {order}, COORDSYS {system}"
        )
    return HpxGeom(int(header["NSIDE"]), order != "RING", _FRAMES[system], axes=axes)

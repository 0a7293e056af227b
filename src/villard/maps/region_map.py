"""Maps of one region: spectra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u

from villard.maps.axis import MapAxis
from villard.maps.core import Map
from villard.maps.region_geom import RegionGeom

if TYPE_CHECKING:
    import os

    from astropy.io import fits
    from astropy.table import Table
    from matplotlib.axes import Axes

__all__ = ["RegionNDMap"]


class RegionNDMap(Map):
    """Numbers with a unit for one region, along axes such as energy; parameters as for `Map`.

    Examples
    --------
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    >>> exposure = RegionNDMap.create("icrs;circle(83.63, 22.01, 0.11)", axes=[axis], unit="m2 s")
    >>> exposure.quantity = [1e9, 2e9] * u.Unit("cm2 s")
    >>> exposure
    RegionNDMap(energy: 2, unit='cm2 s', dtype=float64)
    """

    _geom: RegionGeom

    @property
    def geom(self) -> RegionGeom:
        """Geometry."""
        return self._geom

    @classmethod
    def create(  # type: ignore[override]
        cls,
        region: Any = None,
        axes: Iterable[MapAxis] | None = None,
        dtype: Any = float,
        unit: str | u.UnitBase = "",
        meta: Mapping[str, Any] | None = None,
    ) -> RegionNDMap:
        """Make a map of zeros for a region; parameters as for `RegionGeom` and `Map`."""
        return cls(RegionGeom(region, axes=axes), dtype=dtype, unit=unit, meta=meta)

    def get_spectrum(self, *args: Any, **kwargs: Any) -> RegionNDMap:
        """Return this map: it is a spectrum. (Maps with pixels sum those in a region.)"""
        return self

    # Tables and files

    def to_table(self, format: str = "gadf") -> Table:
        """Return the map as a table.

        Parameters
        ----------
        format : {"gadf", "ogip", "ogip-arf"}
            Layout: ``CHANNEL, DATA``; ``CHANNEL, COUNTS`` of a PHA file; ``ENERG_LO, ENERG_HI, SPECRESP``.
        """
        from villard.maps.region_io import map_to_table

        return map_to_table(self, format)

    @classmethod
    def from_table(
        cls, table: Table, format: str = "gadf", axes: Sequence[MapAxis] | None = None
    ) -> RegionNDMap:
        """Make a map from a table; the inverse of `to_table`.

        Parameters
        ----------
        table : `~astropy.table.Table`
            Table.
        format : {"gadf", "ogip", "ogip-arf"}
            Layout.
        axes : list of `MapAxis`
            Axes that the table itself doesn't tell ("gadf" and "ogip").
        """
        from villard.maps.region_io import map_from_table

        return map_from_table(table, format, axes)

    def to_hdulist(self, format: str = "gadf", hdu: str = "SKYMAP") -> fits.HDUList:
        """Return the map as FITS extensions.

        Parameters
        ----------
        format : {"gadf", "ogip", "ogip-arf"}
            Layout.
        hdu : str
            Name of the extension for "gadf"; those of "ogip" and "ogip-arf" are fixed.
        """
        from villard.maps.region_io import map_to_hdulist

        return map_to_hdulist(self, format=format, hdu=hdu)

    @classmethod
    def from_hdulist(
        cls,
        hdulist: fits.HDUList,
        hdu: str | None = None,
        format: str | None = None,
        where: str = "FITS data",
    ) -> RegionNDMap:
        """Make a map of FITS extensions; the inverse of `to_hdulist`.

        Parameters
        ----------
        hdulist : `~astropy.io.fits.HDUList`
            Extensions.
        hdu : str, optional
            Name of the extension that holds the values; the first table by default.
        format : {"gadf", "ogip", "ogip-arf"}, optional
            Layout; found out from the extension by default.
        where : str
            File, for messages.
        """
        from villard.maps.region_io import map_from_hdulist

        return map_from_hdulist(hdulist, hdu=hdu, format=format, where=where)

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], hdu: str | None = None, format: str | None = None
    ) -> RegionNDMap:
        """Read a map from a FITS file.

        Parameters
        ----------
        path : str or path-like
            File.
        hdu, format
            As for `from_hdulist`.

        Raises
        ------
        FileFormatError
            If the file is damaged or doesn't have the layout.
        """
        from villard.maps.fits import open_fits

        with open_fits(path) as hdulist:
            return cls.from_hdulist(hdulist, hdu=hdu, format=format, where=str(path))

    def write(
        self, path: str | os.PathLike[str], overwrite: bool = False, format: str = "gadf", hdu: str = "SKYMAP"
    ) -> None:
        """Write the map to a FITS file.

        Parameters
        ----------
        path : str or path-like
            File.
        overwrite : bool
            Whether an existing file may be replaced.
        format, hdu
            As for `to_hdulist`.
        """
        from villard.maps.fits import write_fits

        write_fits(self.to_hdulist(format=format, hdu=hdu), path, overwrite=overwrite)

    # Plots

    def plot(self, ax: Axes | None = None, axis_name: str | None = None, **kwargs: Any) -> Axes:
        """Plot values as points with the widths of their bins.

        Parameters
        ----------
        ax : `~matplotlib.axes.Axes`, optional
            Where to plot; the current axes by default.
        axis_name : str, optional
            Axis along which to plot; needed if there are several. Others become one line per bin.
        **kwargs
            For `~matplotlib.axes.Axes.errorbar`.
        """
        from villard.maps.region_plot import plot_map

        return plot_map(self, ax=ax, axis_name=axis_name, **kwargs)

    def plot_hist(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Plot values as steps; keywords are for `~matplotlib.axes.Axes.stairs`."""
        from villard.maps.region_plot import plot_map_hist

        return plot_map_hist(self, ax=ax, **kwargs)

    def plot_mask(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Shade the bins where the (boolean) map is true; keywords: `~matplotlib.axes.Axes.axvspan`."""
        from villard.maps.region_plot import plot_map_mask

        return plot_map_mask(self, ax=ax, **kwargs)

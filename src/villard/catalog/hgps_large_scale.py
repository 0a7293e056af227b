"""Large-scale emission of the H.E.S.S. Galactic plane survey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

if TYPE_CHECKING:
    from astropy.coordinates import Angle, SkyCoord
    from astropy.table import Table

__all__ = ["SourceCatalogLargeScaleHGPS"]


class SourceCatalogLargeScaleHGPS:
    r"""Large-scale emission along the Galactic plane: a Gaussian in latitude at each longitude.

    .. math:: S(l, b) = S_0(l) \exp\left(-\frac{(b - b_0(l))^2}{2 \sigma(l)^2}\right)

    with peak brightness, its latitude and the width interpolated linearly in longitude between the positions
    of the table, and constant beyond (H.E.S.S. Collaboration 2018, A&A 612, A1).

    Parameters
    ----------
    table : `~astropy.table.Table`
        Parameters by longitude: GLON, GLAT, Surface_Brightness, Width and their errors.

    Examples
    --------
    >>> from astropy.table import Table
    >>> table = Table({"GLON": [350, 10] * u.deg, "GLAT": [0, 0.2] * u.deg, "Width": [0.2, 0.4] * u.deg})
    >>> table["Surface_Brightness"] = [1e-9, 3e-9] * u.Unit("cm-2 s-1 sr-1")
    >>> model = SourceCatalogLargeScaleHGPS(table)
    >>> model.peak_brightness(0 * u.deg)
    <Quantity 2.e-09 1 / (s sr cm2)>
    """

    def __init__(self, table: Table) -> None:
        lon = (np.asarray(table["GLON"], dtype=float) + 180) % 360 - 180
        order = np.argsort(lon)
        self._lon = lon[order]
        self.table = table[order]

    def _interpolated(self, glon: Any, column: str) -> u.Quantity:
        lon = (u.Quantity(glon, "deg").value + 180) % 360 - 180
        values = np.asarray(self.table[column], dtype=float)
        return u.Quantity(np.interp(lon, self._lon, values), self.table[column].unit)

    def peak_brightness(self, glon: Any) -> u.Quantity:
        """Return the brightness (above 1 TeV) at the peak, at a Galactic longitude."""
        return self._interpolated(glon, "Surface_Brightness")

    def peak_brightness_error(self, glon: Any) -> u.Quantity:
        """Return the error of the peak brightness."""
        return self._interpolated(glon, "Surface_Brightness_Err")

    def width(self, glon: Any) -> u.Quantity:
        """Return the width in latitude, one standard deviation."""
        return self._interpolated(glon, "Width")

    def width_error(self, glon: Any) -> u.Quantity:
        """Return the error of the width."""
        return self._interpolated(glon, "Width_Err")

    def peak_latitude(self, glon: Any) -> u.Quantity:
        """Return the latitude of the peak."""
        return self._interpolated(glon, "GLAT")

    def peak_latitude_error(self, glon: Any) -> u.Quantity:
        """Return the error of the latitude of the peak."""
        return self._interpolated(glon, "GLAT_Err")

    def evaluate(self, position: SkyCoord) -> u.Quantity:
        """Return the brightness above 1 TeV in directions."""
        galactic = position.galactic
        lon: Angle = galactic.l
        distance = galactic.b - self.peak_latitude(lon)
        exponent = (distance / self.width(lon)).to_value("") ** 2
        return self.peak_brightness(lon) * np.exp(-0.5 * exponent)

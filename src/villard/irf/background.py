"""Rates of background as tables of energy and place in the field of view."""

from __future__ import annotations

import astropy.units as u
import numpy as np

from villard.irf.table import IRF
from villard.irf.table_plot import BackgroundPlots
from villard.maps.axis import MapAxis

__all__ = ["Background2D", "Background3D"]

_UNIT = u.Unit("s-1 TeV-1 sr-1")


class Background2D(BackgroundPlots, IRF):
    """Rate per energy and solid angle with the axes "energy" and "offset"; parameters as for `IRF`.

    Values are interpolated by their logarithms.
    """

    tag = "bkg_2d"
    required_axes = ("energy", "offset")
    default_unit = _UNIT
    values_scale = "log"

    def to_3d(self) -> Background3D:
        """Return the same rate as a table of coordinates in the field of view."""
        edges = self.axes["offset"].edges.to_value("deg")
        both = np.union1d(-edges, edges)
        lon, lat = (MapAxis(both, name=name, unit="deg") for name in ("fov_lon", "fov_lat"))
        x, y = np.meshgrid(lon.center, lat.center, indexing="ij")
        values = self.evaluate(
            energy=self.axes["energy"].center[:, np.newaxis, np.newaxis], offset=np.sqrt(x**2 + y**2)
        )
        return Background3D([self.axes["energy"], lon, lat], values, meta=self.meta)


class Background3D(BackgroundPlots, IRF):
    """Rate per energy and solid angle with the axes "energy", "fov_lon" and "fov_lat".

    Parameters are as for `IRF`. Values are interpolated by their logarithms. The keyword FOVALIGN of the
    file says whether the coordinates of the field of view are those of the altazimuth system ("ALTAZ") or
    of right ascension and declination ("RADEC").
    """

    tag = "bkg_3d"
    required_axes = ("energy", "fov_lon", "fov_lat")
    default_unit = _UNIT
    values_scale = "log"

    @property
    def fov_alignment(self) -> str:
        """What the coordinates of the field of view are parallel to: "ALTAZ" or "RADEC"."""
        return str(self.meta.get("FOVALIGN", "RADEC")).strip().upper()

    def to_2d(self) -> Background2D:
        """Return the rate averaged over directions around the pointing."""
        lon = self.axes["fov_lon"].edges.to_value("deg")
        edges = np.union1d([0.0], lon[lon > 0])
        offset = MapAxis(edges, name="offset", unit="deg")
        angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        values = self.evaluate(
            energy=self.axes["energy"].center[:, np.newaxis, np.newaxis],
            fov_lon=offset.center[:, np.newaxis] * np.cos(angle),
            fov_lat=offset.center[:, np.newaxis] * np.sin(angle),
        )
        return Background2D([self.axes["energy"], offset], values.mean(axis=-1), meta=self.meta)

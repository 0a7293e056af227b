"""HEALPix counts cubes, brought to the pixels of a projection.

The engine convolves in pixels of a projection. The counts of a HEALPix pixel are spread evenly over its area,
and the PSF is widened by the area twice: by where an event lies in its pixel, and by the spreading. Averaged
over where a source lies in its pixel, data and prediction then have the same shape, and norms have no bias.
-ln L takes the mean of ln(model) within a pixel in place of ln(mean), so that some of the TS is lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import ConfigError, FileFormatError
from villard.maps import HpxNDMap, WcsGeom, WcsNDMap
from villard.maps.fits import column, open_fits

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["counts_on_pixels", "is_healpix", "read_healpix_counts", "widened_psf"]

#: Points per pixel and direction at which HEALPix pixels are looked up.
_POINTS = 8


def is_healpix(path: Path) -> bool:
    """Tell whether a file holds HEALPix pixels."""
    from villard.maps.hpx_map import find_healpix

    with open_fits(path) as hdulist:
        return find_healpix(hdulist, None) is not None


def read_healpix(path: Path) -> HpxNDMap:
    """Read a HEALPix map of the sky, or of a part of it that lists its pixels (column PIX)."""
    from villard.maps.hpx_map import _axes, _geometry, find_healpix

    with open_fits(path) as hdulist:
        table = find_healpix(hdulist, None)
        where = f"{path}, extension {table.name}"
        names = [str(name) for name in table.columns.names]
        index = [name for name in names if name.upper() in {"PIX", "HPX_INDEX", "PIXEL"}]
        if not index:
            return HpxNDMap.from_hdulist(hdulist, where=str(path))
        values = [name for name in names if name not in index]
        axes, unit = _axes(hdulist, len(values), where)
        geom = _geometry(table.header, axes, where)
        pixels = column(table, index[0], where).astype(int)
        if pixels.min() < 0 or pixels.max() >= geom.npix:
            raise FileFormatError(f"{where}: pixels must be from 0 to {geom.npix - 1}, found {pixels.max()}")
        data = np.full((len(values), geom.npix), np.nan)
        for i, name in enumerate(values):
            data[i, pixels] = column(table, name, where)
        return HpxNDMap(geom, data=data.reshape(geom.data_shape), unit=unit)


def read_healpix_counts(path: Path, skydir: SkyCoord, binning: Any) -> tuple[WcsNDMap, float]:
    """Read a HEALPix counts cube onto the pixels of a projection.

    Parameters
    ----------
    path : path-like
        File of gtbin.
    skydir : `~astropy.coordinates.SkyCoord`
        Centre.
    binning : `~villard.roi.config.BinningConfig`
        Width; size of pixels, half of those of the cube by default; projection and frame.

    Returns
    -------
    counts : `~villard.maps.WcsNDMap`
        Counts.
    radius : float
        Radius (deg) of a circle of the area of a HEALPix pixel.
    """
    cube = read_healpix(path)
    if cube.geom.axes.names != ["energy"]:
        raise ConfigError(f"{path}: expected a counts cube of gtbin, found {cube.geom!r}")
    if binning.roiwidth is None:
        raise ConfigError(f"{path}: of a HEALPix cube a part is used: give its width as binning.roiwidth")
    size = float(np.degrees(np.sqrt(cube.geom.solid_angle().value)))
    binsz = 0.5 * size if binning.binsz is None else binning.binsz
    frame = "galactic" if binning.coordsys == "GAL" else "icrs"
    geom = WcsGeom.create(
        skydir=skydir.transform_to(frame),
        frame=frame,
        binsz=binsz,
        width=tuple(binning.roiwidth),
        proj=binning.proj,
        axes=[cube.geom.axes["energy"]],
    )
    counts = counts_on_pixels(cube, geom)
    if not np.all(np.isfinite(counts.data)):
        raise ConfigError(f"{path}: the cube covers only a part of the region of {binning.roiwidth} deg")
    return counts, size / np.sqrt(np.pi)


def counts_on_pixels(cube: HpxNDMap, geom: WcsGeom) -> WcsNDMap:
    """Spread the counts of HEALPix pixels evenly over their area, and collect them in other pixels.

    Parameters
    ----------
    cube : `~villard.maps.HpxNDMap`
        Counts.
    geom : `~villard.maps.WcsGeom`
        Geometry, with the axis of the cube.

    Examples
    --------
    >>> import astropy.units as u
    >>> from villard.maps import HpxGeom
    >>> cube = HpxNDMap(HpxGeom(16, frame="galactic"), data=1.0)
    >>> geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=1, width=20)
    >>> counts = counts_on_pixels(cube, geom)
    >>> expected = (geom.solid_angle().sum() / cube.geom.solid_angle()).value
    >>> round(float(counts.data.sum() / expected), 6)
    1.0
    """
    rows, columns = geom.spatial_shape
    inner = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    x = (np.arange(columns)[:, None] + inner).ravel()
    y = (np.arange(rows)[:, None] + inner).ravel()
    index = cube.geom.skydir_to_idx(geom.to_image().pix_to_skydir(*np.meshgrid(x, y)))
    area = geom.to_image().solid_angle().to_value("sr").reshape(rows, columns)
    share = area / float(cube.geom.solid_angle().to_value("sr"))
    planes = cube.data.reshape(-1, cube.geom.npix)
    mean = [plane[index].reshape(rows, _POINTS, columns, _POINTS).mean(axis=(1, 3)) for plane in planes]
    data = np.stack(mean) * share
    return WcsNDMap(geom, data=data.reshape(geom.data_shape))


def widened_psf(psf: Any, radius: float) -> Any:
    """Return a PSF convolved with a disk.

    Parameters
    ----------
    psf : `~villard.irf.PSFMap`
        Point spread function, the same for all directions.
    radius : float
        Radius of the disk (deg).

    Returns
    -------
    `~villard.irf.PSFMap`
        With the same energies and angles; the part that is scattered beyond them is cut off.
    """
    from villard.irf import PSFMap

    rad, values = psf.radial_profile()
    nodes, weights = np.polynomial.legendre.leggauss(12)
    # Uniform in area: r² is uniform.
    r = radius * np.sqrt(0.5 * (nodes + 1))
    phi = np.pi * (np.arange(24) + 0.5) / 24
    distance = np.sqrt(
        rad[:, None, None] ** 2 + r[:, None] ** 2 - 2 * rad[:, None, None] * r[:, None] * np.cos(phi)
    )
    new = np.stack(
        [
            np.einsum("arp,r->a", np.interp(distance, rad, row, right=0.0), 0.5 * weights) / len(phi)
            for row in values
        ]
    )
    psf_map = psf.psf_map
    unit_factor = float(u.Unit("sr-1").to(psf_map.unit)) if str(psf_map.unit) else 1.0
    data = np.broadcast_to(
        (new * unit_factor).reshape(*new.shape, *(1,) * (psf_map.data.ndim - 2)), psf_map.data.shape
    )
    result = PSFMap(psf_map.copy(data=data.copy()), psf.exposure_map)
    result.normalize()
    return result

"""Which kind of map a FITS file holds."""

from __future__ import annotations

import os

from astropy.io import fits

from villard.exceptions import FileFormatError
from villard.maps.core import Map
from villard.maps.fits import open_fits

__all__ = ["map_from_hdulist", "read_map"]


def read_map(path: str | os.PathLike[str], hdu: str | None = None, format: str | None = None) -> Map:
    """Read a map of any kind; see `Map.read`."""
    with open_fits(path) as hdulist:
        return map_from_hdulist(hdulist, hdu=hdu, format=format, where=str(path))


def map_from_hdulist(
    hdulist: fits.HDUList, hdu: str | None = None, format: str | None = None, where: str = "FITS data"
) -> Map:
    """Make a map of any kind of FITS extensions; parameters as for `Map.read`.

    Parameters
    ----------
    hdulist : `~astropy.io.fits.HDUList`
        Extensions.
    hdu, format
        As for `Map.read`.
    where : str
        File, for messages.
    """
    from villard.maps.hpx_map import HpxNDMap, find_healpix
    from villard.maps.region_io import map_from_hdulist as region_map
    from villard.maps.wcs_io import find_image
    from villard.maps.wcs_io import map_from_hdulist as wcs_map

    names = [str(item.name).upper() for item in hdulist]
    if hdu is not None and hdu.upper() not in names:
        raise FileFormatError(f"{where}: expected an extension {hdu}, found {', '.join(names)}")
    image = find_image(hdulist, hdu)
    if image is not None:
        return wcs_map(hdulist, hdu=image.name, format=format, where=where)
    if find_healpix(hdulist, hdu) is not None:
        return HpxNDMap.from_hdulist(hdulist, hdu=hdu, where=where)
    return region_map(hdulist, hdu=hdu, format=format, where=where)

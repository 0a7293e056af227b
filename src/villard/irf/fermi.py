"""Responses in the files of the Fermi tools: gtpsf and gtdrm."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.io import fits

from villard.exceptions import DataError, FileFormatError
from villard.irf.edisp_kernel import EDispKernel
from villard.irf.irf_map import one_for_all
from villard.irf.psf_map import PSFMap
from villard.irf.rmf import check_matrix, expand_rows
from villard.maps.axis import MapAxis
from villard.maps.axis_hdu import axis_of_ebounds
from villard.maps.axis_io import axis_from_bounds
from villard.maps.fits import column, column_unit, find_table, integer_keyword, raw_column

__all__ = ["edisp_kernel_from_gtdrm", "psf_map_from_gtpsf"]


def psf_map_from_gtpsf(hdulist: fits.HDUList, where: str) -> PSFMap:
    """Read a point spread function and exposure of gtpsf.

    The table PSF has a row per energy: Energy (MeV), Exposure (cm2 s) and the array Psf (sr-1) for the
    angles of the table THETA (deg). Other units that the file states are understood.

    Parameters
    ----------
    hdulist : `~astropy.io.fits.HDUList`
        Extensions.
    where : str
        File, for messages.
    """
    table, angles = find_table(hdulist, ["PSF"], where), find_table(hdulist, ["THETA"], where)
    energy, exposure = column(table, "ENERGY", where), column(table, "EXPOSURE", where)
    theta = column(angles, "THETA", where)
    values = np.asarray(raw_column(table, "PSF", where))
    place = f"{where}, extension PSF"
    if values.shape != (len(energy), len(theta)) or values.dtype.kind not in "iuf":
        raise FileFormatError(
            f"{place}: expected {len(energy)} rows of {len(theta)} numbers in the column Psf, "
            f"found {values.dtype} of shape {values.shape}"
        )
    try:
        axis = MapAxis(energy, "log", "energy_true", "center", column_unit(table, "ENERGY", u.MeV, where))
        rad = MapAxis(theta, "lin", "rad", "center", column_unit(angles, "THETA", u.deg, where))
        psf_unit = column_unit(table, "PSF", u.Unit("sr-1"), where)
        exposure_unit = column_unit(table, "EXPOSURE", u.Unit("cm2 s"), where)
        psf = one_for_all([rad, axis], values.astype(float), str(psf_unit))
        return PSFMap(psf, one_for_all([rad.squash(), axis], exposure[:, np.newaxis], str(exposure_unit)))
    except DataError as error:
        raise FileFormatError(f"{place}: {error}") from error


def edisp_kernel_from_gtdrm(hdulist: fits.HDUList, where: str) -> EDispKernel:
    """Read a matrix of gtdrm.

    True energies are in MeV. Reconstructed energies are those of the extension EBOUNDS (keV) if this has
    as many channels as the matrix. Some files have the one of the livetime cube in its place: then the
    channels are the inner ones of the true energies, which gtdrm extends equally to both sides
    (edisp_bins).

    Parameters
    ----------
    hdulist : `~astropy.io.fits.HDUList`
        Extensions.
    where : str
        File, for messages.
    """
    table = find_table(hdulist, ["DRM"], where)
    place = f"{where}, extension DRM"
    lower, upper = (column(table, name, where) for name in ("ENERG_LO", "ENERG_HI"))
    true = axis_from_bounds(
        lower, upper, column_unit(table, "ENERG_LO", u.MeV, where), "energy_true", "log", place
    )
    n_channels = integer_keyword(table, "DETCHANS", where) or true.nbin
    matrix = expand_rows(
        column(table, "N_GRP", where),
        raw_column(table, "F_CHAN", where),
        raw_column(table, "N_CHAN", where),
        raw_column(table, "MATRIX", where),
        first_channel=1,
        n_channels=n_channels,
        where=place,
    )
    check_matrix(matrix, f"{place}, column MATRIX")
    return EDispKernel([true, _reco_axis(hdulist, true, n_channels, where)], matrix)


def _reco_axis(hdulist: fits.HDUList, true: MapAxis, n_channels: int, where: str) -> MapAxis:
    for hdu in hdulist:
        if hdu.name == "EBOUNDS" and isinstance(hdu, fits.BinTableHDU) and len(hdu.data) == n_channels:
            return axis_of_ebounds(hdu, where)
    extra = true.nbin - n_channels
    if extra < 0 or extra % 2:
        raise FileFormatError(
            f"{where}: expected an extension EBOUNDS with {n_channels} channels, or as many true energies "
            f"on both sides of them, found {true.nbin} true energies"
        )
    return true.slice(slice(extra // 2, extra // 2 + n_channels)).rename("energy")

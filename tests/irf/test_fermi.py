"""Responses in the files of the Fermi tools."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from villard.exceptions import FileFormatError
from villard.irf import EDispKernelMap, PSFMap
from villard.irf.psf_table import GaussShape


def gtpsf_hdus(n_theta: int = 40) -> fits.HDUList:
    theta = np.linspace(0, 1, n_theta)
    sigma = np.radians([0.2, 0.1])
    values = np.array([GaussShape(s).evaluate(np.radians(theta)) for s in sigma])
    psf = fits.BinTableHDU.from_columns(
        [
            fits.Column("Energy", "D", array=[1e4, 1e5]),
            fits.Column("Exposure", "D", array=[1e11, 2e11]),
            fits.Column("Psf", f"{n_theta}D", array=values),
        ],
        name="PSF",
    )
    angles = fits.BinTableHDU.from_columns([fits.Column("Theta", "D", array=theta)], name="THETA")
    return fits.HDUList([fits.PrimaryHDU(), psf, angles])


def drm_hdus(n_true: int, n_reco: int, n_ebounds: int | None = None) -> fits.HDUList:
    edges = np.geomspace(1e3, 1e5, n_true + 1)
    matrix = np.full((n_true, n_reco), 0.5 / n_reco)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("ENERG_LO", "D", array=edges[:-1]),
            fits.Column("ENERG_HI", "D", array=edges[1:]),
            fits.Column("N_GRP", "I", array=np.ones(n_true)),
            fits.Column("F_CHAN", "PI()", array=np.array([[1]] * n_true, dtype=object)),
            fits.Column("N_CHAN", "PI()", array=np.array([[n_reco]] * n_true, dtype=object)),
            fits.Column("MATRIX", f"{n_reco}E", array=matrix),
        ],
        name="DRM",
    )
    table.header["DETCHANS"] = n_reco
    hdus = fits.HDUList([fits.PrimaryHDU(), table])
    if n_ebounds is not None:
        bounds = np.geomspace(2e6, 5e7, n_ebounds + 1)
        hdus.append(
            fits.BinTableHDU.from_columns(
                [
                    fits.Column("CHANNEL", "I", array=np.arange(n_ebounds)),
                    fits.Column("E_MIN", "D", unit="keV", array=bounds[:-1]),
                    fits.Column("E_MAX", "D", unit="keV", array=bounds[1:]),
                ],
                name="EBOUNDS",
            )
        )
    return hdus


def test_gtpsf(tmp_path):
    gtpsf_hdus().writeto(tmp_path / "psf.fits")
    psf = PSFMap.read(tmp_path / "psf.fits", format="gtpsf")
    assert psf.energy_axis_true.node_type == "center"
    np.testing.assert_allclose(psf.energy_axis_true.center.to_value("GeV"), [10, 100])
    np.testing.assert_allclose(psf.exposure_map.quantity.to_value("cm2 s").ravel(), [1e11, 2e11])
    radius = psf.containment_radius(0.68, [10, 100] * u.GeV).to_value("deg")
    np.testing.assert_allclose(radius, np.array([0.2, 0.1]) * 1.50959, rtol=1e-4)
    psf.write(tmp_path / "gadf.fits")
    assert PSFMap.read(tmp_path / "gadf.fits").psf_map.is_allclose(psf.psf_map)


def test_gtpsf_that_is_damaged(tmp_path):
    hdus = gtpsf_hdus()
    hdus["THETA"] = gtpsf_hdus(30)["THETA"]
    with pytest.raises(FileFormatError, match="expected 2 rows of 30 numbers in the column Psf"):
        PSFMap.from_hdulist(hdus, format="gtpsf", where="a.fits")
    hdus = gtpsf_hdus()
    hdus["PSF"].data["Psf"][0, 0] = -1
    with pytest.raises(FileFormatError, match=r"a.fits, extension PSF: .* negative"):
        PSFMap.from_hdulist(hdus, format="gtpsf", where="a.fits")
    with pytest.raises(FileFormatError, match="expected a table THETA"):
        PSFMap.from_hdulist(hdus[:2], format="gtpsf", where="a.fits")


def test_gtdrm():
    kernel = EDispKernelMap.from_hdulist(drm_hdus(6, 6), format="gtdrm").get_edisp_kernel()
    np.testing.assert_allclose(kernel.pdf_matrix, 1 / 12)
    assert kernel.axes["energy"].is_aligned_with(kernel.axes["energy_true"])
    # Extended by two true energies on both sides.
    kernel = EDispKernelMap.from_hdulist(drm_hdus(10, 6), format="gtdrm").get_edisp_kernel()
    np.testing.assert_allclose(kernel.axes["energy"].edges.value, np.geomspace(1e3, 1e5, 11)[2:9])
    kernel = EDispKernelMap.from_hdulist(drm_hdus(7, 6, n_ebounds=6), format="gtdrm").get_edisp_kernel()
    np.testing.assert_allclose(kernel.axes["energy"].edges[[0, -1]].to_value("GeV"), [2, 50])
    with pytest.raises(FileFormatError, match="expected an extension EBOUNDS with 6 channels"):
        EDispKernelMap.from_hdulist(drm_hdus(7, 6, n_ebounds=5), format="gtdrm")


@pytest.mark.parametrize(
    "name",
    [
        "fermi-3fhl-gc/fermi-3fhl-gc-psf-cube.fits.gz",
        "fermi_3fhl/fermi_3fhl_psf_gc.fits.gz",
        "tests/unbundled/fermi/psf.fits",
        "tests/fermi/psf_00.fits",
        "fermi-gc/psf_00.fits",
    ],
)
def test_real_point_spread_functions_are_normalised(gammapy_data, name):
    """What the tool writes has the integral 1 to the precision of its own table."""
    psf = PSFMap.read(gammapy_data / name, format="gtpsf")
    theta, values = psf.rad_axis.center.to_value("rad"), psf.psf_map.data[..., 0, 0]
    for row in values:
        assert psf._table(theta, row).integral == pytest.approx(1, abs=2e-3)
    # The resolution improves with energy.
    r68 = psf.containment_radius(0.68, psf.energy_axis_true.center[[0, -1]])
    assert r68[0] > r68[1] > 0.03 * u.deg


@pytest.mark.parametrize("name", ["fermi-gc/drm_00.fits", "tests/fermi/drm_00.fits"])
def test_real_matrices(gammapy_data, name):
    edisp = EDispKernelMap.read(gammapy_data / name, format="gtdrm")
    kernel = edisp.get_edisp_kernel()
    assert np.all(np.argmax(kernel.pdf_matrix, axis=1) == np.arange(kernel.axes["energy"].nbin))
    sums = kernel.pdf_matrix.sum(axis=1)
    assert np.all((sums > 0.86) & (sums < 1.0001))

"""Kernels: integrals over pixels against closed forms and brute force."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf

from villard.exceptions import DataError, UnitsError
from villard.irf import PSFKernel, PSFMap
from villard.irf.psf_kernel import pixel_matrix
from villard.irf.psf_pixels import pixel_integrals
from villard.irf.psf_table import GaussShape, RadialTable
from villard.maps import Map, MapAxis, RegionGeom, WcsGeom, WcsNDMap
from villard.modeling.models import DiskSpatialModel, GaussianSpatialModel, PointSpatialModel

ENERGY_TRUE = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3, name="energy_true")
GEOM = WcsGeom.create(skydir=(83.63, 22.01), binsz=0.05, width=3, proj="TAN")
PIXEL = np.radians(0.05)
REFERENCE = json.loads((Path(__file__).parents[1] / "reference/irf_gammapy.json").read_text())["kernels"]


def gauss_over_pixels(sigma: float, nx: int, ny: int, aspect: float = 1.0) -> np.ndarray:
    """Products of differences of error functions; sigma in pixels (of height 1 and width ``aspect``)."""
    x, y = (np.arange(-n, n + 2) - 0.5 for n in (nx, ny))
    gx, gy = (0.5 * np.diff(erf(edges / sigma / np.sqrt(2))) for edges in (aspect * x, y))
    return np.outer(gy, gx)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0])
def test_gauss_over_pixels(sigma):
    """From a hundredth of a pixel to several of them: 0.1 % where it matters, 1e-7 of the whole anywhere."""
    n = int(5 * sigma) + 2
    values = pixel_integrals(GaussShape(sigma * PIXEL), np.eye(2) * PIXEL, n, n)
    expected = gauss_over_pixels(sigma, n, n)
    np.testing.assert_allclose(values, expected, atol=3e-8)
    matters = expected > 1e-5
    np.testing.assert_allclose(values[matters], expected[matters], rtol=1e-3)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 1.0])
def test_table_over_pixels(sigma):
    """The same from a table with four points per sigma."""
    theta = (np.arange(24) + 0.5) * sigma * PIXEL / 4
    table = RadialTable(theta, GaussShape(sigma * PIXEL).evaluate(theta), 6 * sigma * PIXEL).normalized()
    values = pixel_integrals(table, np.eye(2) * PIXEL, 5, 5)
    np.testing.assert_allclose(values, gauss_over_pixels(sigma, 5, 5), atol=1e-7)


@pytest.mark.parametrize("aspect", [0.3, 2.0])
def test_rectangular_pixels(aspect):
    values = pixel_integrals(GaussShape(0.4 * PIXEL), np.diag([-aspect, 1]) * PIXEL, 4, 3)
    np.testing.assert_allclose(values, gauss_over_pixels(0.4, 4, 3, aspect), atol=3e-8)


def test_oblique_pixels_share_out_the_same_whole():
    """Turned and sheared pixels have no symmetry to be used; a turn by 90 deg changes nothing."""
    shape, n = GaussShape(0.7 * PIXEL), 8
    upright = pixel_integrals(shape, np.eye(2) * PIXEL, n, n)
    turned = pixel_integrals(shape, np.array([[0, -1], [1, 0]]) * PIXEL, n, n)
    np.testing.assert_allclose(turned, upright, atol=1e-9)
    sheared = pixel_integrals(shape, np.array([[1.0, 0.4], [0.1, 1.1]]) * PIXEL, n, n)
    assert sheared.sum() == pytest.approx(1, abs=1e-6)
    assert not np.allclose(sheared, sheared[::-1])
    np.testing.assert_allclose(sheared, sheared[::-1, ::-1], atol=1e-9)


def test_convergence():
    """Sums over ever finer subpixels come to the same value, with an error that falls as their area."""
    shape, n = GaussShape(0.3 * PIXEL), 2
    exact = pixel_integrals(shape, np.eye(2) * PIXEL, n, n)
    errors = []
    for factor in (8, 16, 32, 64):
        x = ((np.arange((2 * n + 1) * factor) + 0.5) / factor - n - 0.5) * PIXEL
        values = shape.evaluate(np.hypot(x[:, np.newaxis], x)) * (PIXEL / factor) ** 2
        sums = values.reshape(2 * n + 1, factor, 2 * n + 1, factor).sum(axis=(1, 3))
        errors.append(np.abs(sums - exact).max())
    np.testing.assert_allclose(errors[:-1], 4 * np.array(errors[1:]), rtol=0.05)
    assert errors[-1] < 1e-4


@pytest.mark.parametrize("sigma", REFERENCE["sigma_deg"])
def test_narrow_functions_against_gammapy(sigma):
    """From the same table of steps of 0.01 deg, on pixels of 0.05 deg; Gammapy 2.1 is up to 26 % off."""
    rad = MapAxis.from_bounds(0 * u.deg, 0.66 * u.deg, nbin=66, name="rad")
    psf = PSFMap.from_gauss(ENERGY_TRUE, rad, sigma=sigma * u.deg)
    kernel = psf.get_psf_kernel(GEOM, max_radius=0.5 * u.deg).data[0]
    expected = gauss_over_pixels(sigma / 0.05, 10, 10)
    errors = [kernel[10, i] / expected[10, i] - 1 for i in (10, 11)]
    assert np.max(np.abs(errors)) < 1e-5
    theirs = REFERENCE["from_map"][REFERENCE["sigma_deg"].index(sigma)]
    assert np.all(np.abs(theirs) > 50 * np.abs(errors))


def test_sum_of_subpixels_is_the_pixel():
    shape = GaussShape(0.5 * PIXEL)
    fine = pixel_integrals(shape, np.eye(2) * PIXEL / 5, 12, 12)
    coarse = pixel_integrals(shape, np.eye(2) * PIXEL, 2, 2)
    np.testing.assert_allclose(fine.reshape(5, 5, 5, 5).sum(axis=(1, 3)), coarse, atol=1e-7)


@given(st.floats(0.02, 3.0), st.floats(0.3, 3.0))
def test_kernels_are_normalised(sigma, aspect):
    """What lies beyond six sigma is all that is lost."""
    nx, ny = int(np.ceil(6 * sigma / aspect)) + 1, int(np.ceil(6 * sigma)) + 1
    values = pixel_integrals(GaussShape(sigma * PIXEL), np.diag([aspect, 1]) * PIXEL, nx, ny)
    assert np.all(values >= 0)
    assert values.sum() == pytest.approx(1, abs=2e-6)


def test_from_gauss():
    geom = GEOM.to_cube([ENERGY_TRUE])
    sigma = [0.01, 0.05, 0.1] * u.deg
    kernel = PSFKernel.from_gauss(geom, sigma)
    assert kernel.data.shape == (3, 21, 21)
    np.testing.assert_allclose(kernel.data.sum(axis=(1, 2)), 1)
    for image, width in zip(kernel.data, sigma.value, strict=True):
        np.testing.assert_allclose(image, gauss_over_pixels(width / 0.05, 10, 10), atol=2e-6)
    assert PSFKernel.from_gauss(geom, 0.1 * u.deg, max_radius=0.12 * u.deg).data.shape == (3, 5, 5)


def test_pixels_where_the_source_is():
    """In a cylindrical map, pixels are narrower away from the equator."""
    geom = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=0.1, width=(10, 140), proj="CAR")
    position = SkyCoord(0, 60, unit="deg", frame="galactic")
    matrix = pixel_matrix(geom, position)
    np.testing.assert_allclose(np.degrees(matrix), [[-0.05, 0], [0, 0.1]], rtol=1e-5)
    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=0.1 * u.deg)
    kernel = psf.get_psf_kernel(geom, position=position, max_radius=0.5 * u.deg)
    assert kernel.data.shape == (3, 11, 21)
    np.testing.assert_allclose(kernel.data[0], gauss_over_pixels(1, 10, 5, 0.5), atol=1e-5)


def test_of_map():
    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=[0.01, 0.05, 0.1] * u.deg)
    kernel = psf.get_psf_kernel(GEOM)
    # 99.9 % of a Gaussian of 0.1 deg are within 0.3717 deg.
    assert kernel.data.shape == (3, 15, 15)
    assert kernel.psf_kernel_map.geom.axes["energy_true"] == ENERGY_TRUE
    reach = gauss_over_pixels(2, 7, 7)
    np.testing.assert_allclose(kernel.data[2], reach / reach.sum(), atol=1e-6)
    assert psf.get_psf_kernel(GEOM, containment=0.5).data.shape == (3, 5, 5)
    # At an energy between those of the map.
    axis = MapAxis.from_energy_edges([4, 5] * u.TeV, name="energy_true")
    assert psf.get_psf_kernel(GEOM.to_cube([axis])).data.shape[0] == 1
    beyond = MapAxis.from_energy_edges([40, 50] * u.TeV, name="energy_true")
    with pytest.raises(DataError, match="PSFMap: it covers energies from 1 to 10 TeV"):
        psf.get_psf_kernel(GEOM.to_cube([beyond]))


def test_energy_without_psf_has_an_empty_kernel():
    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=0.1 * u.deg)
    data = psf.psf_map.data.copy()
    data[0] = 0
    kernel = PSFMap(psf.psf_map.copy(data=data)).get_psf_kernel(GEOM)
    np.testing.assert_allclose(kernel.data.sum(axis=(1, 2)), [0, 1, 1])


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_spatial_model_gauss(sigma):
    model = GaussianSpatialModel(lon_0="10 deg", lat_0="-50 deg", sigma=sigma * u.deg)
    kernel = PSFKernel.from_spatial_model(model, GEOM, max_radius=0.5 * u.deg)
    np.testing.assert_allclose(kernel.data, gauss_over_pixels(sigma / 0.05, 10, 10), atol=2e-5)
    assert model.lon_0.value == 10


def test_spatial_model_disk():
    """A sharp edge: the middle pixels are full, those outside are empty, the sum over quadrants is equal."""
    model = DiskSpatialModel(r_0="0.3 deg", edge_width=1e-5, frame="galactic")
    kernel = PSFKernel.from_spatial_model(model, GEOM.to_cube([ENERGY_TRUE]), max_radius=0.5 * u.deg)
    full = 0.05**2 / (np.pi * 0.3**2)
    assert kernel.data.shape == (3, 21, 21)
    assert kernel.data[1, 10, 10] == pytest.approx(full, rel=1e-3)
    assert kernel.data[1, 0, 0] == 0
    # Pixel (5, 3) from the middle is cut by the edge: area of the disk in it, by brute force.
    x, y = np.meshgrid(np.linspace(4.5, 5.5, 2001), np.linspace(2.5, 3.5, 2001))
    expected = full * np.mean(x**2 + y**2 < 36)
    assert kernel.data[1, 13, 15] == pytest.approx(expected, abs=3e-3 * full)


def test_spatial_model_point():
    kernel = PSFKernel.from_spatial_model(PointSpatialModel(), GEOM, max_radius=0.1 * u.deg)
    assert kernel.data.sum() == kernel.data[2, 2] == 1


def test_image_is_weighted():
    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=[0.02, 0.05, 0.1] * u.deg)
    kernel = psf.get_psf_kernel(GEOM)
    edges = ENERGY_TRUE.edges.value
    share = (1 / edges[:-1] - 1 / edges[1:]) * np.array([1, 2, 4])
    share /= share.sum()
    image = kernel.to_image(exposure=[1, 2, 4])
    np.testing.assert_allclose(image.data[0], np.tensordot(share, kernel.data, axes=1))
    assert kernel.to_image(keepdims=False).data.shape == (15, 15)
    exposure = Map.from_geom(psf.geom.squash("rad"), data=np.reshape([1, 2, 4], (3, 1, 1, 1)), unit="m2 s")
    from_map = PSFMap(psf.psf_map, exposure).to_image().get_psf_kernel(GEOM, max_radius=0.35 * u.deg)
    np.testing.assert_allclose(from_map.data[0], image.data[0], atol=2e-4)


def test_files(tmp_path):
    kernel = PSFMap.from_gauss(ENERGY_TRUE, sigma=0.1 * u.deg).get_psf_kernel(GEOM)
    kernel.write(tmp_path / "kernel.fits")
    again = PSFKernel.read(tmp_path / "kernel.fits")
    assert again.psf_kernel_map.is_allclose(kernel.psf_kernel_map)
    assert again.slice_by_idx({"energy_true": slice(0, 2)}).data.shape == (2, 15, 15)


def test_convolution_keeps_what_stays_inside():
    kernel = PSFMap.from_gauss(ENERGY_TRUE, sigma=0.1 * u.deg).get_psf_kernel(GEOM)
    model = WcsNDMap(GEOM.to_cube([ENERGY_TRUE]))
    model.data[:, 30, 30] = 1
    np.testing.assert_allclose(model.convolve(kernel).data.sum(axis=(1, 2)), 1)
    # Half of a source in the outermost pixels, half a pixel from the edge, is lost.
    model.data[:] = 0
    model.data[:, 0, 30] = 1
    expected = 0.5 + kernel.data[:, 7].sum(axis=-1) / 2
    np.testing.assert_allclose(model.convolve(kernel).data.sum(axis=(1, 2)), expected)


def test_bad_kernels():
    even = WcsNDMap(WcsGeom.create(npix=(4, 5), binsz=1))
    with pytest.raises(DataError, match="odd numbers of pixels, found 4 x 5"):
        PSFKernel(even)
    with pytest.raises(DataError, match="can't be negative, infinite or NaN, found nan"):
        PSFKernel(WcsNDMap(WcsGeom.create(npix=3, binsz=1), data=np.full((3, 3), np.nan)))
    with pytest.raises(DataError, match="expected a map of WCS pixels, found RegionNDMap"):
        PSFKernel(Map.from_geom(RegionGeom(None, axes=[ENERGY_TRUE])))
    with pytest.raises(DataError, match="expected WCS pixels, found RegionGeom"):
        PSFKernel.from_gauss(RegionGeom(None, axes=[ENERGY_TRUE]), 0.1 * u.deg)
    with pytest.raises(DataError, match="expected a positive sigma"):
        PSFKernel.from_gauss(GEOM, -0.1 * u.deg)
    with pytest.raises(UnitsError, match="sigma: expected a quantity in rad, found s"):
        PSFKernel.from_gauss(GEOM, 0.1 * u.s)
    with pytest.raises(DataError, match="expected a positive max_radius"):
        PSFKernel.from_gauss(GEOM, 0.1 * u.deg, max_radius=0 * u.deg)
    with pytest.raises(DataError, match="more than 5000 pixels"):
        PSFKernel.from_gauss(WcsGeom.create(binsz=1e-6, npix=10), 0.1 * u.deg)


def test_plots():
    import matplotlib.pyplot as plt

    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=[0.02, 0.05, 0.1] * u.deg)
    ax = psf.plot_containment_radius_vs_energy(fraction=0.68)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.0302, 0.0755, 0.151], rtol=1e-3)
    plt.close("all")
    ax = psf.plot_psf_vs_rad(energy_true=[2, 5] * u.TeV)
    assert len(ax.lines) == 2
    plt.close("all")
    assert len(psf.peek().axes) == 2
    kernel = psf.get_psf_kernel(GEOM)
    kernel.peek()
    kernel.plot_kernel(energy=2 * u.TeV)
    plt.close("all")

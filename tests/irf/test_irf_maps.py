"""Maps of responses: positions, stacking, files, bad input."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from villard.exceptions import DataError, FileFormatError, UnitsError
from villard.irf import EDispKernelMap, EDispMap, PSFMap
from villard.maps import Map, MapAxis, RegionGeom, RegionNDMap, WcsGeom

ENERGY_TRUE = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3, name="energy_true")
ENERGY = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
RAD = MapAxis.from_bounds(0 * u.deg, 0.6 * u.deg, nbin=30, name="rad")
GEOM = WcsGeom.create(skydir=(0, 0), frame="galactic", binsz=1, width=(4, 3))


def with_exposure(psf: PSFMap, exposure: np.ndarray | float) -> PSFMap:
    geom = psf.psf_map.geom.squash("rad")
    return PSFMap(
        psf.psf_map, Map.from_geom(geom, data=np.broadcast_to(exposure, geom.data_shape), unit="m2 s")
    )


def direction(lon: float, lat: float) -> SkyCoord:
    return SkyCoord(lon, lat, unit="deg", frame="galactic")


@pytest.fixture
def varying() -> PSFMap:
    """A PSF whose values rise linearly along longitude, from pixel to pixel."""
    psf = PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.05 * u.deg, geom=GEOM)
    shape = psf.psf_map.data[..., :1, :1]
    wide = PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg, geom=GEOM).psf_map.data[..., :1, :1]
    share = np.arange(4) / 3
    data = shape * (1 - share) + wide * share
    return PSFMap(psf.psf_map.copy(data=np.broadcast_to(data, psf.psf_map.data.shape)))


def test_profile_is_bilinear_and_normalised(varying):
    x = np.array([0.0, 0.75, 3.0])
    narrow, wide = (varying.radial_profile(varying.geom.pix_to_skydir(i, 1))[1] for i in (0, 3))
    for pix in x:
        rad, values = varying.radial_profile(varying.geom.pix_to_skydir(pix, 1.2))
        assert rad.shape == (30,)
        np.testing.assert_allclose(rad, RAD.center.to_value("deg"))
        expected = narrow * (1 - pix / 3) + wide * pix / 3
        np.testing.assert_allclose(values, expected, rtol=1e-3)
        assert all(table.integral == pytest.approx(1) for table in varying.tables())


def test_profile_beyond_the_map_is_that_of_its_last_pixel(varying):
    at = varying.radial_profile(varying.geom.pix_to_skydir(0, 1))[1]
    for position in (direction(1.9, 0), direction(3, 2), direction(30, 0)):
        np.testing.assert_allclose(varying.radial_profile(position)[1], at)


def test_one_response_for_all_positions():
    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=[0.1, 0.2, 0.3] * u.deg)
    assert psf.has_single_spatial_bin
    a, b = (psf.radial_profile(position)[1] for position in (None, direction(120, -45)))
    np.testing.assert_array_equal(a, b)


def test_zero_energy_stays_zero():
    psf = PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg)
    data = psf.psf_map.data.copy()
    data[1] = 0
    psf = PSFMap(psf.psf_map.copy(data=data))
    assert np.all(psf.radial_profile()[1][1] == 0)
    radius = psf.containment_radius(0.68, ENERGY_TRUE.center)
    assert np.isnan(radius[1])
    assert np.all(np.isfinite(radius[[0, 2]]))
    # Between an energy with and one without, it is the one that there is.
    between = psf.containment_radius(0.68, np.sqrt(ENERGY_TRUE.center[0] * ENERGY_TRUE.center[1]))
    assert between.value == pytest.approx(radius[0].value)


def test_energy_that_is_not_covered():
    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=0.1 * u.deg)
    with pytest.raises(DataError, match=r"covers energies from 1 to 10 TeV, but was asked for 20 TeV"):
        psf.containment_radius(0.68, 20 * u.TeV)
    # Up to the edges, the shape is that of the outermost bin.
    assert psf.containment_radius(0.68, [1, 10] * u.TeV).value == pytest.approx(0.151, abs=1e-3)


@pytest.mark.parametrize("fraction", [0.1, 0.68, 0.95, 0.999])
def test_containment_of_a_gaussian(fraction):
    sigma = 0.07 * u.deg
    psf = PSFMap.from_gauss(ENERGY_TRUE, sigma=sigma)
    # P(<r) = 1 - exp(-r² / 2σ²), less what is beyond the table at 6 σ.
    radius = sigma * np.sqrt(-2 * np.log(1 - fraction))
    assert psf.containment_radius(fraction, 2 * u.TeV).to_value("deg") == pytest.approx(
        radius.value, rel=1e-5
    )
    assert psf.containment(radius, 2 * u.TeV).value == pytest.approx(fraction, rel=1e-6)


def test_stack_weights_by_exposure():
    a = with_exposure(PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg, geom=GEOM), 1.0)
    b = with_exposure(PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.2 * u.deg, geom=GEOM), 3.0)
    expected = 0.25 * a.psf_map.data + 0.75 * b.psf_map.data
    a.stack(b)
    np.testing.assert_allclose(a.psf_map.data, expected)
    np.testing.assert_allclose(a.exposure_map.data, 4)


def test_stack_of_a_part_and_a_mask():
    a = with_exposure(PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg, geom=GEOM), 1.0)
    whole = with_exposure(PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.2 * u.deg, geom=GEOM), 1.0)
    b = whole.cutout(direction(0, 0), 2 * u.deg, min_npix=1)
    mask = Map.from_geom(b.geom.to_image(), data=np.array([[True, False], [True, True]]))
    before = a.psf_map.data.copy()
    a.stack(b, weights=mask)
    changed = np.any(a.psf_map.data != before, axis=(0, 1))
    assert changed.sum() == 3
    assert a.exposure_map.data.sum() == pytest.approx(3 * (12 + 3))


def test_stack_into_an_empty_map():
    empty = PSFMap.from_geom(GEOM.to_cube([RAD, ENERGY_TRUE]))
    psf = with_exposure(PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg, geom=GEOM), 5.0)
    empty.stack(psf)
    np.testing.assert_allclose(empty.psf_map.data, psf.psf_map.data)


def test_stack_needs_exposure():
    a = PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg)
    with pytest.raises(DataError, match="only responses with exposure_map can be stacked"):
        a.stack(a)


def test_region_mean_is_weighted_by_exposure(varying):
    exposure = np.ones((3, 1, 3, 4))
    exposure[..., 2:] = 0
    psf = with_exposure(varying, exposure).to_region_nd_map()
    assert psf.psf_map.data.shape == (3, 30, 1, 1)
    np.testing.assert_allclose(psf.psf_map.data[..., 0, 0], varying.psf_map.data[..., 0, :2].mean(axis=-1))
    np.testing.assert_allclose(psf.exposure_map.data, 0.5)
    with pytest.raises(DataError, match="no pixel"):
        varying.to_region_nd_map("galactic;circle(50, 0, 0.1)")
    at = varying.to_region_nd_map(direction(0, 0))
    np.testing.assert_allclose(at.radial_profile()[1], varying.radial_profile(direction(0, 0))[1])


def test_slices():
    psf = with_exposure(PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg, geom=GEOM), 2.0)
    part = psf.slice_by_idx({"energy_true": slice(1, 3), "rad": slice(0, 10)})
    assert part.psf_map.data.shape == (2, 10, 3, 4)
    assert part.exposure_map.data.shape == (2, 1, 3, 4)
    with pytest.raises(DataError, match="expected a slice"):
        psf.slice_by_idx({"energy_true": 0})


@pytest.mark.parametrize("geom", [None, GEOM])
def test_files(tmp_path, geom):
    psf = PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=[0.1, 0.2, 0.3] * u.deg, geom=geom)
    psf = with_exposure(psf, 3.0)
    psf.write(tmp_path / "psf.fits")
    again = PSFMap.read(tmp_path / "psf.fits")
    assert again.psf_map.is_allclose(psf.psf_map)
    assert again.exposure_map.is_allclose(psf.exposure_map)
    edisp = EDispKernelMap.from_gauss(ENERGY, ENERGY_TRUE, sigma=0.2, geom=geom)
    edisp.write(tmp_path / "edisp.fits")
    again = EDispKernelMap.read(tmp_path / "edisp.fits")
    assert again.edisp_map.is_allclose(edisp.edisp_map)
    assert again.exposure_map is None
    migra = EDispMap.from_diagonal_response(ENERGY_TRUE, geom=geom)
    migra.write(tmp_path / "migra.fits")
    assert EDispMap.read(tmp_path / "migra.fits").edisp_map.is_allclose(migra.edisp_map)
    with pytest.raises(FileFormatError, match=r"expected the axes \['rad', 'energy_true'\], found"):
        PSFMap.read(tmp_path / "edisp.fits", hdu="EDISP")


def test_diagonal_responses():
    expected = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    kernel = EDispKernelMap.from_diagonal_response(ENERGY, ENERGY_TRUE).get_edisp_kernel().pdf_matrix
    # Linear in energy, the middle bin from 2.15 to 4.64 TeV is split at 3.16 TeV.
    low, mid, high = 10 ** (1 / 3), 10**0.5, 10 ** (2 / 3)
    expected[1] = (mid - low) / (high - low), (high - mid) / (high - low)
    np.testing.assert_allclose(kernel, expected)
    diagonal = EDispMap.from_diagonal_response(ENERGY_TRUE)
    np.testing.assert_allclose(diagonal.get_edisp_kernel().pdf_matrix, np.eye(3))


def test_migra_table_makes_the_matrix_of_the_closed_form():
    migra = MapAxis.from_bounds(0, 3, nbin=600, name="migra")
    reco = MapAxis.from_energy_bounds("0.3 TeV", "30 TeV", nbin=8)
    sigma, bias = np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.1, -0.1])
    table = EDispMap.from_gauss(ENERGY_TRUE, migra, sigma, bias)
    exact = EDispKernelMap.from_gauss(reco, ENERGY_TRUE, sigma, bias, pdf_threshold=0).get_edisp_kernel()
    np.testing.assert_allclose(table.get_edisp_kernel(reco).pdf_matrix, exact.pdf_matrix, atol=5e-5)
    as_map = table.to_edisp_kernel_map(reco)
    np.testing.assert_allclose(as_map.edisp_map.data[..., 0, 0], table.get_edisp_kernel(reco).pdf_matrix)
    assert as_map.get_edisp_kernel(reco.squash()).pdf_matrix.shape == (3, 1)
    assert as_map.to_image().edisp_map.data.shape == (3, 1, 1, 1)


def test_kernel_for_bins_that_the_map_does_not_have():
    edisp = EDispKernelMap.from_diagonal_response(ENERGY, ENERGY_TRUE)
    with pytest.raises(DataError, match="can't be joined"):
        edisp.get_edisp_kernel(MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=5))
    with pytest.raises(DataError, match="position=…"):
        edisp.get_edisp_kernel(direction(0, 0))


def psf_map(values: float, unit: str = "sr-1", axes: list[MapAxis] | None = None) -> RegionNDMap:
    geom = RegionGeom(None, axes=[RAD, ENERGY_TRUE] if axes is None else axes)
    return RegionNDMap(geom, data=np.full(geom.data_shape, values), unit=unit)


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_values_that_are_not_probabilities(value):
    with pytest.raises(DataError, match="PSFMap: values can't be negative, infinite or NaN"):
        PSFMap(psf_map(value))
    with pytest.raises(DataError, match="PSFMap, exposure_map: values can't be negative"):
        PSFMap(
            psf_map(1.0), RegionNDMap(RegionGeom(None, axes=[ENERGY_TRUE]), data=[1, value, 1], unit="m2 s")
        )


def test_units_that_do_not_fit():
    with pytest.raises(UnitsError, match="PSFMap: expected a unit like sr-1, found cm2"):
        PSFMap(psf_map(1.0, "cm2"))
    wrong = MapAxis.from_bounds(0 * u.m, 1 * u.m, nbin=3, name="rad")
    with pytest.raises(UnitsError, match="axis 'rad': expected a unit like deg, found m"):
        PSFMap(psf_map(1.0, axes=[wrong, ENERGY_TRUE]))
    with pytest.raises(UnitsError, match="exposure_map: expected a unit like cm2 s, found m2"):
        PSFMap(psf_map(1.0), RegionNDMap(RegionGeom(None, axes=[ENERGY_TRUE]), unit="m2"))


def test_axes_that_do_not_fit():
    negative = MapAxis.from_bounds(-1 * u.deg, 1 * u.deg, nbin=3, name="rad")
    with pytest.raises(DataError, match=r"expected angles 'rad' from 0 on, found a first one of -0.66"):
        PSFMap(psf_map(1.0, axes=[negative, ENERGY_TRUE]))
    with pytest.raises(DataError, match="expected the axes"):
        PSFMap(psf_map(1.0, axes=[ENERGY_TRUE]))
    with pytest.raises(DataError, match="expected a map, found ndarray"):
        PSFMap(np.ones(3))
    with pytest.raises(DataError, match="exposure_map: expected the axes"):
        PSFMap(psf_map(1.0), RegionNDMap(RegionGeom(None, axes=[RAD, ENERGY_TRUE]), unit="m2 s"))
    migra = MapAxis.from_bounds(-1, 1, nbin=3, name="migra")
    with pytest.raises(DataError, match="expected migra from 0 on"):
        EDispMap(RegionNDMap(RegionGeom(None, axes=[migra, ENERGY_TRUE])))
    with pytest.raises(DataError, match="with a bin for 1"):
        EDispMap.from_diagonal_response(ENERGY_TRUE, MapAxis.from_bounds(2, 3, nbin=3, name="migra"))


@pytest.mark.parametrize("sigma", [0 * u.deg, -1 * u.deg, np.nan * u.deg])
def test_gauss_needs_a_width(sigma):
    with pytest.raises(DataError, match="expected a positive sigma"):
        PSFMap.from_gauss(ENERGY_TRUE, sigma=sigma)


def test_datasets_of_gammapy(gammapy_data):
    """Maps in files of datasets: pixels in one, a single response for all in the other."""
    path = gammapy_data / "cta-1dc-gc/cta-1dc-gc-small.fits.gz"
    psf, edisp = PSFMap.read(path), EDispKernelMap.read(path)
    assert psf.psf_map.data.shape == (15, 66, 30, 40)
    assert psf.exposure_map is not None
    assert edisp.edisp_map.data.shape == (15, 10, 30, 40)
    np.testing.assert_allclose(edisp.get_edisp_kernel().pdf_matrix[2:12].sum(axis=1), 1, rtol=1e-3)
    # Gammapy 2.1 rounds radii up to steps of 0.0005 deg.
    radii = psf.containment_radius([[0.68], [0.95]], [0.1, 1, 10] * u.TeV).to_value("deg")
    np.testing.assert_allclose(radii, [[0.14075, 0.05275, 0.04275], [0.22975, 0.08575, 0.06975]], atol=5e-4)
    path = gammapy_data / "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz"
    psf, edisp = PSFMap.read(path), EDispKernelMap.read(path)
    assert psf.has_single_spatial_bin
    assert psf.psf_map.data.shape == (11, 130, 1, 1)
    assert edisp.edisp_map.data.shape == (12, 11, 1, 1)


def test_downsample_weights_by_exposure(varying):
    exposure = np.ones((3, 1, 3, 4))
    exposure[..., 1::2] = 3
    geom = GEOM.crop((0, 0))
    psf = with_exposure(varying, exposure)
    psf = psf.cutout(geom.center_skydir, (4, 2) * u.deg, min_npix=1)
    small = psf.downsample(2)
    assert small.psf_map.data.shape == (3, 30, 1, 2)
    pixels = psf.psf_map.data
    np.testing.assert_allclose(
        small.psf_map.data[..., 0, 0], 0.25 * pixels[..., 0, 0] + 0.75 * pixels[..., 0, 1]
    )
    np.testing.assert_allclose(small.exposure_map.data, 2)


@pytest.mark.parametrize("gamma", [1.5, 3.0])
def test_king(gamma):
    """P(<θ) = 1 - (1 + θ² / 2γσ²)^(1 - γ), less what is beyond the table."""
    sigma = 0.05
    psf = PSFMap.from_king(ENERGY_TRUE, sigma=sigma * u.deg, gamma=gamma)
    radius = np.array([0.5, 1, 2, 5]) * sigma
    end = psf.rad_axis.edges[-1].to_value("deg")
    inside, whole = (1 - (1 + (r / sigma) ** 2 / (2 * gamma)) ** (1 - gamma) for r in (radius, end))
    found = psf.containment(radius * u.deg, 2 * u.TeV).value
    np.testing.assert_allclose(found, inside / whole, rtol=2e-3)
    assert whole > (0.999 if gamma > 2 else 0.995)


@pytest.mark.parametrize(("sigma", "gamma"), [(-1, 2), (0.1, 1.0), (0.1, np.nan), (0.1, [2, 3])])
def test_king_needs_a_shape(sigma, gamma):
    with pytest.raises(DataError, match=r"PSFMap: expected (sigma|gamma) above"):
        PSFMap.from_king(ENERGY_TRUE, sigma=sigma * u.deg, gamma=gamma)


def test_from_function_is_normalised():
    psf = PSFMap.from_function(ENERGY_TRUE, RAD, lambda e, r: 7 * np.exp(-0.5 * (r / (0.1 * u.deg)) ** 2))
    gauss = PSFMap.from_gauss(ENERGY_TRUE, RAD, sigma=0.1 * u.deg)
    np.testing.assert_allclose(psf.radial_profile()[1], gauss.radial_profile()[1], rtol=2e-4)
    with pytest.raises(DataError, match="can't be negative"):
        PSFMap.from_function(ENERGY_TRUE, RAD, lambda e, r: np.sin(100 * r.value))

"""TS maps: fermipy's numbers for a given kernel, and maps of regions with known sources."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from sky_toys import make_roi, source

from villard.estimators.norm_map import PixelProblem, solve_norms
from villard.exceptions import ConfigError, ModelError, OverwriteError
from villard.maps import Map

# TS and counts by fermipy 1.4 (tsmap._ts_value_newton) at (row, column), for counts and background of the
# 3FHL Galactic Centre cube and a Gaussian kernel of 2 pixels, cut at 10, equal at all energies.
FERMIPY = {
    (100, 200): (414.3845060409276, 299.03576156895093),
    (60, 100): (0.0, 0.0),
    (100, 300): (1.8103977012115138, 5.189383944046223),
    (150, 330): (0.01886529377441093, 0.3088238447357415),
    (99, 199): (462.87945741995827, 323.77982439940695),
}


def test_fermipy_values(gammapy_data):
    folder = gammapy_data / "fermi-3fhl-gc"
    counts = Map.read(folder / "fermi-3fhl-gc-counts-cube.fits.gz").data.astype(float)
    background = Map.read(folder / "fermi-3fhl-gc-background-cube.fits.gz").data.astype(float)
    y, x = np.mgrid[-10:11, -10:11]
    kernel = np.exp(-(x**2 + y**2) / 8.0)
    kernels = np.repeat((kernel / kernel.sum() / 11)[np.newaxis], 11, axis=0)[np.newaxis]
    problem = PixelProblem(
        counts, background, np.ones(counts.shape, dtype=bool), kernels, np.ones((1, *counts.shape[1:]))
    )
    places = np.array(list(FERMIPY))
    solution = solve_norms(problem, np.ravel_multi_index(places.T, counts.shape[1:]), tol=1e-6)
    ts = np.where(solution.norm < 0, 0.0, solution.ts)
    amplitude = np.maximum(solution.norm, 0.0)
    expected = np.array(list(FERMIPY.values()))
    np.testing.assert_allclose(ts, expected[:, 0], rtol=1e-8)
    assert np.all(ts >= expected[:, 0])
    # fermipy stops where a step promises less than 1e-4 in TS, which is quadratic in the amplitude.
    np.testing.assert_allclose(amplitude, expected[:, 1], rtol=4e-5)


@pytest.fixture(scope="module")
def roi():
    return make_roi([source("A", 0.5, 0.2), source("B", -1.0, -0.5, 1e-14)], seed=None)


def test_excluded_source_is_found(roi):
    result = roi.tsmap(model={"Index": 2.0, "SpatialModel": "PointSource"}, exclude=["A"])
    y, x = np.unravel_index(np.nanargmax(result["ts"].data), result["ts"].data.shape)
    place = roi.geom.to_image().pix_to_skydir(float(x), float(y))
    assert place.separation(roi["A"].skydir).deg < 0.08
    # The counts are the expected ones, so the test source is A itself, if it is at the centre of a pixel.
    assert result["npred"].data[y, x] == pytest.approx(228, rel=0.05)
    dnde = roi["A"].spectral_model(1 * u.GeV).to_value("cm-2 s-1 MeV-1")
    assert result["amplitude"].data[y, x] == pytest.approx(dnde, rel=0.05)
    assert result["sqrt_ts"].data[y, x] ** 2 == pytest.approx(result["ts"].data[y, x])
    assert result["file"] is None
    assert result["name"] == "pointsource_powerlaw_2.00"


def test_complete_model_leaves_nothing(roi):
    result = roi.tsmap()
    assert np.nanmax(result["ts"].data) < 0.05


def test_region_is_left_as_it_was(roi):
    before = roi.loglike, roi.datasets[0].mask_fit, roi.models.names
    roi.tsmap(exclude=["B"], loge_bounds=[4.3, None])
    assert (roi.loglike, roi.datasets[0].mask_fit, roi.models.names) == before


def test_extended_test_source_and_energies(roi):
    wide = {"SpatialModel": "RadialGaussian", "SpatialWidth": 0.3}
    point = roi.tsmap(exclude="A")
    extended = roi.tsmap(model=wide, exclude="A")
    assert np.nanmax(extended["ts"].data) < np.nanmax(point["ts"].data)
    some = roi.tsmap(exclude="A", loge_bounds=[4.3, None])
    assert 0 < np.nanmax(some["npred"].data) < 0.8 * np.nanmax(point["npred"].data)


def test_files(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = roi.tsmap("toy", exclude=["A"], write_npy=True)
    path = tmp_path / "toy_pointsource_powerlaw_2.00_tsmap.fits"
    assert result["file"] == path.name
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SQRT_TS_MAP", "NPRED_MAP", "N_MAP"]
        np.testing.assert_allclose(hdus[0].data, result["ts"].data)
        assert hdus["N_MAP"].header["BUNIT"]
    kept = np.load(path.with_suffix(".npy"), allow_pickle=True).item()
    np.testing.assert_allclose(kept["ts"], result["ts"].data)
    with pytest.raises(OverwriteError, match="tsmap"):
        roi.tsmap("toy", exclude=["A"])
    roi.tsmap("toy", write_fits=False)
    assert roi.tsmap("toy", exclude=["A"], overwrite=True)["file"]


def test_bad_input(roi):
    with pytest.raises(ConfigError, match="exclude"):
        roi.tsmap(exlcude=["A"])
    with pytest.raises(ModelError, match="'A'"):
        roi.tsmap(exclude=["AA"])
    with pytest.raises(ConfigError, match="RadialGaussian"):
        roi.tsmap(model={"SpatialModel": "RadialGausian"})
    with pytest.raises(ConfigError, match="Index"):
        roi.tsmap(model={"Indx": 2})
    with pytest.raises(ConfigError, match="loge_bounds"):
        roi.tsmap(loge_bounds=[6, 7])
    with pytest.raises(ConfigError, match="max_kernel_radius"):
        roi.tsmap(max_kernel_radius=-1)

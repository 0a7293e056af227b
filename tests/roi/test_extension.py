"""Extensions: the true width is found, points stay points, and narrow shapes are exact."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from sky_toys import make_roi, source

from villard.exceptions import ConfigError, ModelError, OverwriteError
from villard.likelihood.psf_broadened import broadened_splines
from villard.likelihood.psf_profiles import make_psf_profiles
from villard.roi.kernel_source import R68
from villard.roi.widths import FLOOR, WidthProfile

SIGMA = 0.15
TRUE_R68 = SIGMA * R68["RadialGaussian"]
FEW = {"width": [0.05, 0.1, 0.2, 0.3, 0.5]}


@pytest.fixture(scope="module")
def extended():
    """A point source where the counts (the expected ones) are those of a Gaussian."""
    true = source("A", 0.5, 0.2, 6e-14, sigma=SIGMA)
    return make_roi([source("A", 0.5, 0.2, 6e-14)], seed=None, data=[true])


@pytest.fixture(scope="module")
def found(extended):
    return extended.extension("A", **FEW, save_model_map=True)


def test_width_is_found(extended, found):
    assert found["ext"] == pytest.approx(TRUE_R68, rel=0.02)
    assert found["ts_ext"] > 25
    assert found["ts_ext"] == pytest.approx(2 * (found["loglike_ext"] - found["loglike_ptsrc"]))
    assert found["ext_ul95"] > found["ext"] + found["ext_err_hi"]
    assert found["ext_err"] == pytest.approx(0.5 * (found["ext_err_hi"] + found["ext_err_lo"]))
    assert list(found["width"]) == [0, *FEW["width"]]
    np.testing.assert_allclose(found["dloglike"], found["loglike"] - found["loglike_ext"])
    assert found["loglike_init"] == pytest.approx(extended.loglike)
    # Bounds of the 68 % interval, by parabola: the error is the width of the PSF over the root of the counts.
    assert 0.005 < found["ext_err"] < 0.05


def test_spectrum_is_refitted(extended, found):
    true = source("A", 0.5, 0.2, 6e-14, sigma=SIGMA).spectral_model
    assert found["source_fit"]["index"] == pytest.approx(2, abs=0.01)
    assert found["source_fit"]["amplitude"] == pytest.approx(true.amplitude.value, rel=0.02)
    # Without update nothing is changed.
    assert extended["A"].spatial_model.is_point
    assert extended["A"].spectral_model.amplitude.frozen


def test_model_maps(extended, found):
    counts = extended.datasets[0].counts.data.sum()
    assert found["ext_tot_map"].data.sum() == pytest.approx(counts, rel=1e-3)
    np.testing.assert_allclose(
        found["ext_src_map"].data + found["ext_bkg_map"].data, found["ext_tot_map"].data, rtol=1e-9
    )
    assert found["ptsrc_src_map"].data.max() > found["ext_src_map"].data.max()


def test_small_widths_tend_to_the_point(extended):
    result = extended.extension("A", width=[1e-4, 1e-3, 0.3])
    assert abs(result["loglike"][1] - result["loglike"][0]) < 1e-3
    assert abs(result["loglike"][2] - result["loglike"][0]) < 0.05


def test_other_shape(extended):
    disk = extended.extension("A", spatial_model="RadialDisk", **FEW)
    assert disk["ext"] == pytest.approx(TRUE_R68, rel=0.1)
    assert disk["ts_ext"] > 25


def test_position_with_width(extended):
    moved = SkyCoord(0.46, 0.24, unit="deg", frame="galactic")
    place = extended["A"].skydir
    extended["A"].spatial_model.position = moved
    try:
        result = extended.extension("A", fit_position=True, **FEW)
        assert extended["A"].skydir.separation(moved).deg < 1e-9
    finally:
        extended["A"].spatial_model.position = place
    assert result["skydir"].separation(place).deg < 3e-3
    assert result["ext"] == pytest.approx(TRUE_R68, rel=0.03)
    assert result["pos_offset"] == pytest.approx(np.hypot(0.04, 0.04), abs=3e-3)
    assert 0 < result["pos_r68"] < 0.1


def test_point_source_has_a_limit():
    roi = make_roi([source("A", 0.5, 0.2)], seed=None)
    result = roi.extension("A", update=True, sqrt_ts_threshold=3, **FEW)
    assert result["ext"] < 0.02
    assert result["ts_ext"] < 0.01
    assert np.isnan(result["ext_err_lo"])
    assert 0.01 < result["ext_ul95"] < 0.2
    assert roi["A"].spatial_model.is_point
    by_energy = roi.extension("A", fit_ebin=True, width=[0.1, 0.3], make_tsmap=False)
    assert by_energy["ebin_ext_ul95"].shape == by_energy["ebin_e_min"].shape == (3,)
    assert by_energy["tsmap"] is None
    assert np.all(by_energy["ebin_ts_ext"] < 0.01)


def test_update_and_files(extended, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    roi = make_roi(
        [source("A", 0.5, 0.2, 6e-14)], seed=None, data=[source("A", 0.5, 0.2, 6e-14, sigma=SIGMA)]
    )
    result = roi.extension("A", update=True, prefix="toy", **FEW)
    spatial = roi["A"].spatial_model
    assert spatial.sigma.value == pytest.approx(result["ext"] / R68["RadialGaussian"])
    assert spatial.sigma.error > 0
    assert roi["A"].extended
    assert roi["A"]["ts_ext"] == result["ts_ext"]
    assert roi.loglike == pytest.approx(result["loglike_ext"], abs=0.3)
    with fits.open(tmp_path / "toy_a_ext.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "EXTENSION", "WIDTH_SCAN"]
        assert hdus["EXTENSION"].data["ext"][0] == pytest.approx(result["ext"])
        units = [hdus["EXTENSION"].columns[name].unit for name in ("ext", "ext_ul95", "glon", "ts_ext")]
        assert units == ["deg", "deg", "deg", None]
    with pytest.raises(OverwriteError):
        roi.extension("A", prefix="toy", **FEW)


def test_bad_input(extended):
    with pytest.raises(ModelError, match="isodiff"):
        extended.extension("isodiff")
    with pytest.raises(ConfigError, match="RadialGaussian"):
        extended.extension("A", spatial_model="RadialGaussan")
    with pytest.raises(ConfigError, match="PointSource"):
        extended.extension("A", spatial_model="PointSource")
    with pytest.raises(ConfigError, match="width_min"):
        extended.extension("A", width_min=2, width_max=1)
    with pytest.raises(ConfigError, match="psf_scale_fn"):
        extended.extension("A", psf_scale_fn=[[4, 5], [0.1]])


def test_psf_scale(extended):
    """A PSF that is wider by a part of what the source is takes that from its width."""
    scaled = extended.extension("A", psf_scale_fn=([4, 5.5], [0.3, 0.3]), **FEW)
    assert scaled["ext"] < 0.97 * TRUE_R68


def test_profiles_add_in_squares():
    rad = np.linspace(0, 3, 400)
    sigmas = np.array([0.1, 0.3])[:, np.newaxis]
    psf = make_psf_profiles(rad, np.exp(-0.5 * (rad / sigmas) ** 2), "toy", 0.99999)
    r = np.radians(np.array([0.0, 0.1, 0.3, 0.6]))
    for width in (0.002, 0.05, 0.4):
        table = broadened_splines(psf, "gauss", width, 4)
        total = np.radians(np.hypot(sigmas, width))
        expected = np.exp(-0.5 * (r / total) ** 2) / (2 * np.pi * total**2)
        np.testing.assert_allclose(table.evaluate(r**2).T, expected, rtol=4e-3, atol=2e-3 * expected.max())
    # A wide disk is flat in its middle, and falls to half at its edge.
    disk = broadened_splines(psf, "disk", 1.0, 4)
    flat, edge = disk.evaluate(np.radians(np.array([0.1, 1.0])) ** 2)[:, 0] * np.pi * np.radians(1.0) ** 2
    assert flat == pytest.approx(1, abs=0.01)
    assert edge == pytest.approx(0.5, abs=0.04)


def test_profile_of_a_kink():
    """Where ln L falls from width 0 on, the width is the floor, with an upper limit."""
    result = WidthProfile(lambda w: -20 * w).solve(np.array([0.01, 0.1, 1.0]))
    assert result.ext == FLOOR
    assert result.ts == 0
    assert result.ul95 == pytest.approx(1.3527717 / 20, rel=0.01)

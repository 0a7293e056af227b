"""Positions: the true one is found, with an ellipse that is that of the likelihood; failures are loud."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from sky_toys import make_roi, source

from villard.exceptions import ConfigError, FitError, ModelError, OverwriteError
from villard.roi.positions import contour_ellipse, position_results

TRUE = (0.53, 0.21)


@pytest.fixture(scope="module")
def roi():
    """A source that is 0.12 deg away from where the counts (the expected ones) come from."""
    return make_roi(
        [source("A", 0.45, 0.3), source("B", -1.0, -0.5)],
        seed=None,
        data=[source("A", *TRUE), source("B", -1.0, -0.5)],
    )


@pytest.fixture(scope="module")
def found(roi):
    return roi.localize("A", update=False)


def test_position_is_found(roi, found):
    place = SkyCoord(*TRUE, unit="deg", frame="galactic")
    assert found["skydir"].separation(place).deg < 2e-4
    assert found["glon"] == pytest.approx(TRUE[0], abs=2e-4)
    assert found["ra"] == pytest.approx(place.icrs.ra.deg, abs=2e-4)
    assert found["pos_offset"] == pytest.approx(np.hypot(0.08, 0.09), abs=2e-4)
    assert (found["deltax"], found["deltay"]) == (
        pytest.approx(0.08, abs=2e-4),
        pytest.approx(-0.09, abs=2e-4),
    )
    assert found["glon_preloc"] == pytest.approx(0.45)
    assert found["fit_success"]
    assert found["loglike_init"] <= found["loglike_base"] < found["loglike_loc"]
    assert found["dloglike_loc"] == pytest.approx(found["loglike_loc"] - found["loglike_base"])
    assert found["loglike_init"] == pytest.approx(roi.loglike)
    assert found["fit_init"]["skydir"].separation(place).deg < 0.03


def test_errors_are_those_of_the_counts(found):
    """About the width of the PSF over the root of the counts, and round."""
    assert 0.8 < found["pos_err"] / (0.15 / np.sqrt(230)) < 1.9
    assert found["pos_r68"] == pytest.approx(np.sqrt(2.3) * found["pos_err"], rel=1e-6)
    assert found["pos_r95"] == pytest.approx(np.sqrt(5.99) * found["pos_err"], rel=0.05)
    assert found["pos_r99"] == pytest.approx(np.sqrt(9.21) * found["pos_err"], rel=0.05)
    assert found["pos_err_semiminor"] / found["pos_err_semimajor"] > 0.9
    assert found["ra_err"] ** 2 == pytest.approx(found["pos_cel_cov"][0, 0])
    trace = np.trace(found["pos_cel_cov"])
    assert trace == pytest.approx(np.trace(found["pos_gal_cov"]))


def test_nothing_is_changed_without_update(roi, found):
    assert roi["A"].spatial_model.lon_0.value == 0.45
    assert all(p.frozen for p in roi.parameters)
    assert roi["A"].spatial_model.lon_0.error == 0


def test_contour_is_that_of_the_likelihood(found):
    scan = found["fit_scan"]
    assert len(scan["dlon"]) == len(scan["dlat"]) == len(scan["dloglike"]) >= 24
    assert np.all(scan["dloglike"] < 0)
    ellipse = np.einsum(
        "in,ij,jn->n",
        np.stack([scan["dlon"], scan["dlat"]]),
        np.linalg.inv(found["pos_gal_cov"]),
        np.stack([scan["dlon"], scan["dlat"]]),
    )
    np.testing.assert_allclose(-2 * scan["dloglike"], ellipse, rtol=0.1)


def test_too_far_is_an_error(roi):
    before = [p.value for p in roi.parameters]
    with pytest.raises(FitError, match=r"'A'.*dtheta_max=0.1"):
        roi.localize("A", dtheta_max=0.1)
    assert [p.value for p in roi.parameters] == before


def test_update_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    roi = make_roi([source("A", 0.45, 0.3)], seed=None, data=[source("A", *TRUE)])
    result = roi.localize("A", prefix="toy", free_background=True, write_npy=True)
    assert result["file"] == "toy_a_loc.fits"
    assert roi["A"].skydir.separation(result["skydir"]).deg < 1e-9
    assert roi["A"]["pos_r95"] == result["pos_r95"]
    assert roi["A"].spatial_model.lon_0.error > 0
    assert roi.loglike == pytest.approx(result["loglike_loc"], abs=1e-3)
    # Twice the same: it is at the maximum already.
    again = roi.localize("A", update=False)
    assert again["pos_offset"] < 1e-3
    assert result["skydir"].separation(SkyCoord(*TRUE, unit="deg", frame="galactic")).deg < result["pos_r99"]
    with fits.open(tmp_path / result["file"]) as hdus:
        assert hdus["LOCALIZE"].data["pos_r95"][0] == pytest.approx(result["pos_r95"])
        columns = hdus["LOCALIZE"].columns
        assert [columns[n].unit for n in ("ra", "pos_r95", "pos_cel_cov", "xpix")] == [
            "deg",
            "deg",
            "deg2",
            None,
        ]
        np.testing.assert_allclose(hdus["LOCALIZE"].data["pos_cel_cov"][0], result["pos_cel_cov"])
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "LOCALIZE", "TSMAP_PEAK"]
    with pytest.raises(OverwriteError):
        roi.localize("A", prefix="toy")


def test_bad_input(roi):
    with pytest.raises(ModelError, match="isodiff"):
        roi.localize("isodiff")
    with pytest.raises(ConfigError, match="dtheta_max"):
        roi.localize("A", dtheta_max=0)
    with pytest.raises(ConfigError, match="update"):
        roi.localize("A", upadte=True)


def test_ellipse_of_a_parabola():
    covariance = np.array([[4.0, 1.5], [1.5, 1.0]])
    inverse = np.linalg.inv(covariance)
    ellipse = contour_ellipse(lambda p: p @ inverse @ p, np.eye(2), 5.99, 100, tol=1e-6)
    np.testing.assert_allclose(ellipse, covariance, rtol=1e-4)
    assert contour_ellipse(lambda p: p @ inverse @ p, np.eye(2), 5.99, 3) is None


def test_directions_of_frames():
    """Offsets drawn in Galactic coordinates have the covariance that is computed in celestial ones."""
    center = SkyCoord(30, 10, unit="deg", frame="galactic")
    covariance = np.array([[0.04, 0.01], [0.01, 0.02]]) * 1e-4
    x, y = np.random.default_rng(1).multivariate_normal([0, 0], covariance, 20_000).T
    places = SkyCoord(30 + x / np.cos(center.b.rad), 10 + y, unit="deg", frame="galactic").icrs
    east, north = (
        (places.ra - center.icrs.ra).deg * np.cos(center.icrs.dec.rad),
        (places.dec - center.icrs.dec).deg,
    )
    result = position_results(center, covariance, {})
    np.testing.assert_allclose(result["pos_cel_cov"], np.cov(east, north), rtol=0.05, atol=3e-8)
    np.testing.assert_allclose(result["pos_gal_cov"], covariance)

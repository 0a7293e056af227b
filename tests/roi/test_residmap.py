"""Residual maps: a source that is missing, and the distribution where nothing is."""

import numpy as np
import pytest
from astropy.io import fits
from sky_toys import make_roi, source

from villard.exceptions import ConfigError
from villard.roi.residmap import residual_maps


@pytest.fixture(scope="module")
def roi():
    return make_roi([source("A", 0.5, 0.2)], seed=None)


def test_missing_source(roi):
    result = roi.residmap(exclude=["A"], model={"Index": 2.0, "SpatialModel": "PointSource"})
    y, x = np.unravel_index(np.nanargmax(result["sigma"].data), result["sigma"].data.shape)
    assert roi.geom.to_image().pix_to_skydir(float(x), float(y)).separation(roi["A"].skydir).deg < 0.08
    ts = np.nanmax(roi.tsmap(exclude=["A"])["ts"].data)
    assert result["sigma"].data[y, x] ** 2 == pytest.approx(ts, rel=0.3)
    npred = np.nanmax(roi.tsmap(exclude=["A"])["npred"].data)
    assert result["excess"].data[y, x] == pytest.approx(npred, rel=0.1)
    np.testing.assert_allclose(
        result["data"].data - result["model"].data, result["excess"].data, rtol=1e-6, atol=1e-6
    )


def test_complete_model_leaves_nothing(roi):
    assert np.nanmax(np.abs(roi.residmap()["sigma"].data)) < 1e-3


def test_significance_is_standard_normal():
    """Away from the edges, and in a background that changes."""
    rng = np.random.default_rng(2)
    level = np.linspace(0.5, 5, 120)[None, None, :] * np.ones((2, 120, 120)) * [[[1.0]], [[0.3]]]
    y, x = np.mgrid[-6:7, -6:7]
    kernel = np.stack([np.exp(-(x**2 + y**2) / (2 * s**2)) for s in (2.5, 1.5)])
    sigma = residual_maps([rng.poisson(level)], [level], [kernel])["sigma"][6:-6, 6:-6]
    assert abs(sigma.mean()) < 0.15
    assert sigma.std() == pytest.approx(1, abs=0.12)


def test_weights_and_components():
    rng = np.random.default_rng(4)
    level = np.full((1, 30, 30), 2.0)
    counts = rng.poisson(level).astype(float)
    kernel = np.ones((1, 5, 5))
    once = residual_maps([counts], [level], [kernel])
    half = residual_maps([counts, counts], [level, level], [kernel, kernel])
    np.testing.assert_allclose(half["excess"], 2 * once["excess"], atol=1e-9)
    weighted = residual_maps([counts], [level], [kernel], [np.full((1, 30, 30), 0.25)])
    np.testing.assert_allclose(weighted["sigma"], 0.5 * once["sigma"], atol=1e-6)


def test_files(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = roi.residmap("toy", model={"SpatialModel": "RadialGaussian", "SpatialWidth": 0.3})
    assert result["file"] == "toy_radialgaussian_s0.30_powerlaw_2.00_residmap.fits"
    with fits.open(tmp_path / result["file"]) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "DATA_MAP", "MODEL_MAP", "EXCESS_MAP"]
        np.testing.assert_allclose(hdus["EXCESS_MAP"].data, result["excess"].data, atol=1e-12)


def test_bad_input(roi):
    with pytest.raises(ConfigError, match="use_weights"):
        roi.residmap(use_weight=True)

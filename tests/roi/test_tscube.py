"""TS cubes: the same as fits of the engine at single pixels, with and without free norms."""

import numpy as np
import pytest
from astropy.io import fits
from sky_toys import make_roi, source

from villard.exceptions import ConfigError
from villard.likelihood import bind
from villard.modeling.models import SkyModel
from villard.roi.kernel_source import kernel_source

POINT = {"Index": 2.0, "SpatialModel": "PointSource"}


@pytest.fixture(scope="module")
def roi():
    true = [source("A", 0.5, 0.2), source("B", -1.0, -0.5, 1e-14)]
    roi = make_roi(true, seed=8, npix=(31, 21))
    roi["A"].spectral_model.amplitude.frozen = False
    roi["isodiff"].spectral_model.norm.frozen = False
    return roi


@pytest.fixture(scope="module")
def cube(roi):
    return roi.tscube(model=POINT, exclude=["B"])


def _engine(roi, position):
    """TS and norm of a test source by the engine, B left out."""
    models = [m for m in roi.models if m.name != "B"]
    test = kernel_source(POINT, position)
    test.spectral_model.amplitude.frozen = False
    test.spectral_model.amplitude.min = 0
    test = SkyModel(test.spectral_model, test.spatial_model, name="test")
    without = bind(roi.datasets, models).minimize().value
    likelihood = bind(roi.datasets, [*models, test])
    found = likelihood.minimize()
    column = likelihood.column(test.spectral_model.amplitude)
    value = likelihood.to_values(found.theta)[column] / test.spectral_model.amplitude.value
    return without - found.value, value


def test_free_norms_are_refitted(roi, cube):
    y, x = np.unravel_index(np.nanargmax(cube["ts"].data), cube["ts"].data.shape)
    geom = cube["ts"].geom
    assert geom.pix_to_skydir(float(x), float(y)).separation(roi["B"].skydir).deg < 0.12
    for at in ((y, x), (y + 1, x), (18, 5)):
        ts, norm = _engine(roi, geom.pix_to_skydir(float(at[1]), float(at[0])))
        assert cube["ts"].data[at] == pytest.approx(max(ts, 0), rel=0.01, abs=0.02)
        assert cube["norm"].data[at] == pytest.approx(norm, rel=0.01, abs=2e-3 * np.nanmax(cube["norm"].data))
    assert cube["free_norms"] == ["A", "isodiff"]
    assert np.nanmin(cube["ts"].data) == 0


def test_refitted_ts_is_not_higher_than_with_fixed_norms(roi, cube):
    """At the maximum of the region without B."""
    plain = roi.tsmap(model=POINT, exclude=["B"])
    peak = np.unravel_index(np.nanargmax(plain["ts"].data), plain["ts"].data.shape)
    assert cube["ts"].data[peak] < plain["ts"].data[peak] * 1.05
    assert cube["norm_err"].data[peak] * 1.02 > plain["amplitude_err"].data[peak] / 1e-13


def test_bins_of_energy(roi, cube):
    y, x = np.unravel_index(np.nanargmax(cube["ts"].data), cube["ts"].data.shape)
    sed = cube["sed"]
    assert sed["ts"].data.shape == (3, 21, 31)
    # The norms of the bins are those of one power law, so their mean is that of the fit to all.
    weight = sed["norm_err"].data[:, y, x] ** -2
    mean = np.sum(sed["norm"].data[:, y, x] * weight) / weight.sum()
    assert mean == pytest.approx(cube["norm"].data[y, x], abs=cube["norm_err"].data[y, x])
    assert np.all(sed["norm_ul"].data >= sed["norm"].data)
    assert np.sum(sed["ts"].data[:, y, x]) == pytest.approx(cube["ts"].data[y, x], rel=0.3)
    points, fall = sed["norm_scan"][:, :, y, x], sed["dloglike_scan"][:, :, y, x]
    assert points.shape == (10, 3)
    assert np.all(fall <= 1e-6)
    # The limit is where the profile has fallen by 1.35.
    for e in range(3):
        limit = sed["norm_ul"].data[e, y, x]
        order = points[:, e] > sed["norm"].data[e, y, x]
        assert np.interp(limit, points[order, e], fall[order, e]) == pytest.approx(-1.35, abs=0.35)


def test_nothing_free_is_the_ts_map(roi):
    frozen = [(p, p.frozen) for p in roi.parameters]
    try:
        for p, _ in frozen:
            p.frozen = True
        cube, plain = roi.tscube(do_sed=False), roi.tsmap()
    finally:
        for p, state in frozen:
            p.frozen = state
    assert cube["sed"] is None
    np.testing.assert_allclose(cube["ts"].data, plain["ts"].data, atol=2e-3)


def test_prior_holds_norms(roi, cube):
    tight = roi.tscube(model=POINT, exclude=["B"], cov_scale_bb=1e-3, do_sed=False)
    assert np.nanmax(np.abs(tight["ts"].data - cube["ts"].data)) > 0.01
    assert np.nanmax(cube["ts"].data) <= np.nanmax(tight["ts"].data) * 1.2


def test_files(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = roi.tscube("toy", model=POINT, nnorm=0)
    assert result["file"] == "toy_pointsource_powerlaw_2.00_tscube.fits"
    with fits.open(tmp_path / result["file"]) as hdus:
        assert [h.name for h in hdus][:5] == ["PRIMARY", "SQRT_TS_MAP", "NPRED_MAP", "N_MAP", "TS_CUBE"]
        assert len(hdus["EBOUNDS"].data) == 3


def test_bad_input(roi):
    with pytest.raises(ConfigError, match="cov_scale"):
        roi.tscube(cov_scale=3)
    with pytest.raises(ConfigError, match="nnorm"):
        roi.tscube(nnorm=-1)

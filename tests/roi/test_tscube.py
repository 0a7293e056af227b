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
    null = bind(roi.datasets, models)
    without = null.minimize().value if null.n_free else null.stat()
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


def weights_of(dataset):
    """Weights that differ in energy and over the map; some are 0."""
    rng = np.random.default_rng(4)
    data = rng.uniform(0.2, 1, dataset.data_shape) * np.array([0.3, 0.7, 1.0])[:, None, None]
    data[rng.random(data.shape) < 0.05] = 0
    return dataset.counts.copy(data=data)


def test_weights_of_the_likelihood(roi):
    """TS, norm and error at a pixel are those of a fit; predicted counts are those without weights."""
    plain = roi.tsmap(model=POINT, exclude=["B"])
    roi.set_weights_map(weights_of(roi.datasets[0]))
    try:
        y, x = np.unravel_index(np.nanargmax(plain["ts"].data), plain["ts"].data.shape)
        position = plain["ts"].geom.pix_to_skydir(float(x), float(y))
        frozen = [(p, p.frozen) for p in roi.parameters]
        cube = roi.tscube(model=POINT, exclude=["B"], do_sed=False)
        ts, norm = _engine(roi, position)
        assert cube["ts"].data[y, x] == pytest.approx(ts, rel=0.01)
        assert cube["norm"].data[y, x] == pytest.approx(norm, rel=0.01)
        try:
            for p, _ in frozen:
                p.frozen = True
            weighted = roi.tsmap(model=POINT, exclude=["B"])
            ts, norm = _engine(roi, position)
            fixed = roi.tscube(model=POINT, exclude=["B"])
        finally:
            for p, state in frozen:
                p.frozen = state
    finally:
        roi.set_weights_map(None)
    assert ts < 0.8 * plain["ts"].data[y, x]
    # The kernel is cut where 1 % of the counts are left.
    assert weighted["ts"].data[y, x] == pytest.approx(ts, rel=0.01)
    np.testing.assert_allclose(fixed["ts"].data, weighted["ts"].data, atol=2e-3)
    np.testing.assert_allclose(fixed["npred"].data, weighted["npred"].data, atol=0.02)
    amplitude = weighted["amplitude"].data[y, x]
    assert amplitude == pytest.approx(
        norm * plain["amplitude"].data[y, x] / plain_norm(plain, y, x), rel=0.01
    )
    # Counts of the source, not those times the weights.
    per_norm = plain["npred"].data[y, x] / plain["amplitude"].data[y, x]
    assert weighted["npred"].data[y, x] / amplitude == pytest.approx(per_norm, rel=0.06)
    np.testing.assert_allclose(
        fixed["sed"]["npred"].data.sum(axis=0)[y, x], weighted["npred"].data[y, x], rtol=0.3
    )


def plain_norm(maps, y, x):
    """Norm in terms of the test source's own amplitude."""
    return maps["maps"]["norm"].data[0, y, x]


def test_prior_holds_norms(roi, cube):
    tight = roi.tscube(model=POINT, exclude=["B"], cov_scale_bb=1e-3, do_sed=False)
    assert np.nanmax(np.abs(tight["ts"].data - cube["ts"].data)) > 0.01
    assert np.nanmax(cube["ts"].data) <= np.nanmax(tight["ts"].data) * 1.2


def test_norms_refitted_in_each_bin(roi, cube):
    """Without a prior they are those of a fit to this bin; a narrow prior is that of fixed norms."""
    free = roi.tscube(model=POINT, exclude=["B"], cov_scale=0)["sed"]
    y, x = np.unravel_index(np.nanargmax(cube["ts"].data), cube["ts"].data.shape)
    dataset = roi.datasets[0]
    for e in range(3):
        mask = dataset.counts.copy(data=np.zeros(dataset.data_shape, dtype=bool))
        mask.data[e] = True
        dataset.mask_fit = mask
        try:
            ts, norm = _engine(roi, cube["ts"].geom.pix_to_skydir(float(x), float(y)))
        finally:
            dataset.mask_fit = None
        assert free["ts"].data[e, y, x] == pytest.approx(ts, rel=0.02, abs=0.01)
        assert free["norm"].data[e, y, x] == pytest.approx(norm, rel=0.02)
    fixed = cube["sed"]
    assert np.all(free["norm_err"].data[:, y, x] > fixed["norm_err"].data[:, y, x])
    # Profiles have fallen by 1.35 at the limit.
    points, fall = free["norm_scan"][:, :, y, x], free["dloglike_scan"][:, :, y, x]
    assert np.all(fall <= 1e-6)
    assert np.all(points[-1] > free["norm_ul"].data[:, y, x])
    narrow = roi.tscube(model=POINT, exclude=["B"], cov_scale=1e-4)["sed"]
    for key in ("ts", "norm", "norm_ul"):
        known = np.isfinite(fixed[key].data)
        np.testing.assert_allclose(narrow[key].data[known], fixed[key].data[known], rtol=5e-3, atol=5e-3)


def test_files(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = roi.tscube("toy", model=POINT, nnorm=0)
    assert result["file"] == "toy_pointsource_powerlaw_2.00_tscube.fits"
    with fits.open(tmp_path / result["file"]) as hdus:
        assert [h.name for h in hdus][:5] == ["PRIMARY", "SQRT_TS_MAP", "NPRED_MAP", "N_MAP", "TS_CUBE"]
        assert len(hdus["EBOUNDS"].data) == 3


def test_bad_input(roi):
    with pytest.raises(ConfigError, match="nnorm"):
        roi.tscube(nnorm=-1)

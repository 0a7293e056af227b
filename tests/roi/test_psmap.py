"""PS maps: the published tool's numbers, and probabilities that have closed forms."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.stats import chi2, poisson
from sky_toys import make_roi, source

from villard.exceptions import ConfigError, DataError
from villard.maps import Map
from villard.roi.psmap import (
    PSMapSettings,
    deviation_probability,
    disk_kernel,
    ps_map,
    psf_like_radius,
    rebin_spectra,
)

# From fermipy 1.4 (gtpsmap.run) with counts and background of the 3FHL Galactic Centre cube, its defaults
# and nbinloge=8, around FITS pixel (202, 101).
GC_PS, GC_SIGMA, GC_PS_LEFT = 52.242575314959566, 15.318869510826165, 51.29353605436196
GC_DATA = [93, 72, 14, 14, 9, 2, 1, 1]
GC_MODEL = [
    10.909656523985003,
    7.499184789055484,
    1.6745982236947583,
    1.027926393429297,
    1.099096372809484,
    0.2934130530871819,
    0.33809407334832997,
    0.09800741045161487,
]


def test_probability_of_published_spectrum():
    probability, residual = deviation_probability(np.c_[GC_DATA], np.c_[GC_MODEL])
    assert -np.log10(probability[0]) == pytest.approx(GC_PS, rel=1e-9)
    assert residual[0] > 0


def test_published_map(gammapy_data):
    folder = gammapy_data / "fermi-3fhl-gc"
    counts = Map.read(folder / "fermi-3fhl-gc-counts-cube.fits.gz")
    background = Map.read(folder / "fermi-3fhl-gc-background-cube.fits.gz").data
    axis = counts.geom.axes["energy"]
    edges = np.log10(axis.edges.to_value("MeV"))
    # For this map, which isn't square, the published tool cuts its kernels off after one column.
    kernels = [disk_kernel(r, (0.05, 0.05), (9, 1)) for r in psf_like_radius(10 ** edges[:-1])]
    rows, columns = slice(90, 110), slice(190, 212)
    result = ps_map(
        counts.data[:, rows, columns],
        background[:, rows, columns],
        kernels,
        groups=(np.log10(axis.center.to_value("MeV")), np.linspace(4, np.log10(5e5), 9)),
    )
    at = 100 - rows.start, 201 - columns.start
    np.testing.assert_allclose(result["data"][:, *at], GC_DATA, atol=1e-6)
    np.testing.assert_allclose(result["model"][:, *at], GC_MODEL, rtol=1e-6)
    np.testing.assert_allclose(result["ps"][at], GC_PS, rtol=1e-6)
    np.testing.assert_allclose(result["sigma"][at], GC_SIGMA, rtol=1e-6)
    np.testing.assert_allclose(result["ps"][at[0], at[1] - 1], GC_PS_LEFT, rtol=1e-6)
    # Of the 7 x 7 pixels that were asked for it is the highest, FITS pixel (202, 101).
    around = result["ps"][at[0] - 3 : at[0] + 4, at[1] - 4 : at[1] + 3]
    assert np.nanmax(around) == result["ps"][at]


def test_one_bin_is_the_sum_of_less_probable_counts():
    mean, n = 4.2, np.arange(30)
    p = poisson.pmf(n, mean)
    counts = np.arange(11)
    exact = [p[p <= p[k] * (1 + 1e-9)].sum() for k in counts]
    fine = PSMapSettings(nbinpdf=20_000)
    probability, _ = deviation_probability(counts[np.newaxis], np.full((1, 11), mean), settings=fine)
    np.testing.assert_allclose(probability, exact, atol=2e-7)


def test_many_counts_are_chi_squared():
    counts = np.array([[1040.0], [2100.0], [480.0]])
    npred = np.array([[1000.0], [2000.0], [500.0]])
    probability, residual = deviation_probability(counts, npred)
    statistic = np.sum((counts - npred) ** 2 / npred)
    np.testing.assert_allclose(probability, chi2.sf(statistic, 3), rtol=1e-9)
    np.testing.assert_allclose(residual, np.sum((counts - npred) / np.sqrt(npred)))


def test_mixed_bins_are_continuous():
    """A bin just below and just above the limit between Poisson and Gauss gives about the same."""
    counts, npred = np.array([[125.0], [5.0]]), np.array([[100.0], [2.0]])
    below, _ = deviation_probability(counts, npred * 0.9999)
    above, _ = deviation_probability(counts, npred * 1.0001)
    np.testing.assert_allclose(np.log10(below), np.log10(above), rtol=0.15)


def test_probability_is_uniform_under_the_model():
    rng = np.random.default_rng(3)
    npred = np.repeat([[30.0], [12.0], [6.0], [3.0]], 4000, axis=1)
    probability, residual = deviation_probability(rng.poisson(npred), npred)
    for level in (0.5, 0.1, 0.01):
        assert np.mean(probability < level) == pytest.approx(level, rel=0.35)
    assert abs(residual.mean()) < 0.15


def test_weights_reduce_deviations():
    counts, npred = np.array([[30.0], [10.0]]), np.array([[10.0], [10.0]])
    full, _ = deviation_probability(counts, npred)
    weights = np.array([[0.3], [1.0]])
    less, _ = deviation_probability(counts, npred, weights)
    assert less[0] > 3 * full[0]
    # One weight for all bins changes nothing: the distribution is that of the same sum.
    half, _ = deviation_probability(counts, npred, np.full((2, 1), 0.5))
    np.testing.assert_allclose(half, full)
    kernels = [np.ones((1, 1))] * 2
    weighted = ps_map(counts[..., None], npred[..., None], kernels, weights[..., None])
    np.testing.assert_allclose(weighted["ps"][0, 0], -np.log10(less[0]))


def test_settings_and_bad_input():
    with pytest.raises(ConfigError, match="prob_epsilon"):
        ps_map(np.ones((1, 2, 2)), np.ones((1, 2, 2)), [np.ones((1, 1))], prob_epsilon=2)
    with pytest.raises(ConfigError, match="nbinpdf"):
        ps_map(np.ones((1, 2, 2)), np.ones((1, 2, 2)), [np.ones((1, 1))], nbinpdf=0)
    with pytest.raises(DataError, match="one kernel"):
        ps_map(np.ones((2, 2, 2)), np.ones((2, 2, 2)), [np.ones((1, 1))])
    with pytest.raises(DataError, match="one shape"):
        deviation_probability(np.ones((2, 2)), np.ones((2, 3)))


def test_nothing_predicted_is_nan():
    result = ps_map(np.ones((1, 3, 3)), np.zeros((1, 3, 3)), [np.ones((1, 1))])
    assert np.all(np.isnan(result["ps"]))


def test_rebin_by_centres():
    cube = np.arange(4.0)[:, None]
    (merged,) = rebin_spectra([cube], np.array([0.5, 1.5, 2.5, 3.5]), np.array([0.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(merged[:, 0], [1, 2, 3])


@pytest.fixture(scope="module")
def roi():
    return make_roi([source("A", 0.5, 0.2)], seed=3)


def test_region(roi, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    complete = roi.psmap(nbinloge=3)
    assert np.nanmax(np.abs(complete["psmap"].data)) < 6
    missing = roi.psmap("toy", exclude=["A"], nbinloge=3)
    x, y = missing["ipix"] - 1, missing["jpix"] - 1
    assert missing["psmax"] == missing["psmap"].data[y, x] > 10
    assert roi.geom.to_image().pix_to_skydir(x, y).separation(roi["A"].skydir).deg < 0.3
    assert missing["datcts"].sum() > missing["modcts"].sum()
    with fits.open(tmp_path / "toy_psmap.fits") as hdus:
        np.testing.assert_allclose(hdus[0].data, missing["psmap"].data)
    around = roi.psmap(exclude=["A"], nbinloge=3, ipix=x + 1, jpix=y + 1, dpix=1)
    assert np.isfinite(around["psmap"].data).sum() == 9
    assert around["psmax"] == pytest.approx(missing["psmax"], rel=1e-6)


def test_region_settings(roi):
    with pytest.raises(ConfigError, match="emin"):
        roi.psmap(emin=1e6)
    with pytest.raises(ConfigError, match="outside"):
        roi.psmap(ipix=100, jpix=1)
    with pytest.raises(ConfigError, match="nbinloge"):
        roi.psmap(nbinloge=0)

"""Light curves: published variability, constant and variable sources, events, files."""

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy.stats import chi2
from sky_toys import make_roi, source

from villard.data import GTI, EventList
from villard.exceptions import ConfigError, DataError, ModelError
from villard.maps import WcsNDMap
from villard.roi.lightcurve_fit import calc_ts_var
from villard.roi.time_bins import time_edges
from villard.utils.paths import make_path

REFERENCE = json.loads((make_path(__file__).parent.parent / "reference" / "castro.json").read_text())
N_BINS, BRIGHT = 6, 3
SHARES = np.array([0.1, 0.2, 0.15, 0.15, 0.3, 0.1])


@pytest.fixture(scope="module")
def roi():
    return make_roi([source("centre", 0, 0, amplitude=1e-13), source("near", 0.4, 0.2, amplitude=5e-14)])


def time_bins(roi, factor=None, seed=1, shape=None):
    """Datasets of bins of time; the source at the centre has `factor` times its flux in each."""
    factor = np.ones(N_BINS) if factor is None else factor
    rng = np.random.default_rng(seed)
    dataset = roi.datasets[0]
    record = dataset.measurement()
    cubes = [record.predict(s.model).reshape(dataset.data_shape) for s in roi.sources]
    names = [s.name for s in roi.sources]
    bins = []
    for k in range(N_BINS):
        expected = sum(c * (factor[k] if n == "centre" else 1) for n, c in zip(names, cubes, strict=True))
        piece = dataset.copy(name="any")
        piece.counts = WcsNDMap(dataset.geom, data=rng.poisson(expected * SHARES[k]).astype(float))
        piece.exposure = dataset.exposure.copy(data=dataset.exposure.data * SHARES[k])
        if shape is not None:
            piece.exposure = shape(piece.exposure)
        piece.gti = GTI.create([100.0 * k] * u.s, [100.0 * (k + 1)] * u.s, "2001-01-01")
        bins.append(piece)
    return bins


def test_published_value_of_variability():
    value = calc_ts_var(
        [10, 12, 9, 20],
        [9.5, 10, 9, 15],
        np.array([1, 2, 1.5, 1]) * 1e-8,
        5e-8,
        systematic=0.02,
        fit_success=[True, True, True, False],
    )
    assert value == pytest.approx(REFERENCE["tsvar"], rel=1e-10)


def test_a_flare_is_found(roi):
    factor = np.ones(N_BINS)
    factor[BRIGHT] = 2.5
    lc = roi.lightcurve("centre", time_bins(roi, factor))
    assert len(lc) == N_BINS
    assert np.all(lc["fit_success"])
    np.testing.assert_allclose(lc["norm"], factor, atol=4 * np.max(lc["norm_err"]))
    pulls = (lc["norm"] - factor) / lc["norm_err"]
    assert np.sqrt(np.mean(pulls**2)) < 2
    assert lc["ts_var_pvalue"] < 1e-6
    np.testing.assert_allclose(lc["tmin"], 100 * np.arange(N_BINS))
    np.testing.assert_allclose(lc["tmax"], 100 * np.arange(N_BINS) + 100)
    flux = roi["centre"].spectral_model.integral(*roi.energy_bounds).to_value("cm-2 s-1")
    np.testing.assert_allclose(lc["flux"], lc["norm"] * flux)
    np.testing.assert_allclose(lc["flux_ul95"] / lc["flux"], lc["norm_ul"] / lc["norm"])
    assert np.all(lc["flux_ul95"] > lc["flux"])


def test_bins_are_fits_of_their_own(roi):
    """The compiled engine fits each bin's dataset to the same norm and errors."""
    bins = time_bins(roi)
    lc = roi.lightcurve("centre", bins)
    from villard.modeling import Fit

    piece = bins[1]
    other = make_roi(
        [roi["centre"].model.copy(name="centre"), roi["near"].model.copy(name="near")], seed=None
    )
    template = other["isodiff"].model
    template.parameters["norm"].value = SHARES[1]
    models = [other["centre"].model, other["near"].model, template]
    amplitude = models[0].parameters["amplitude"]
    truth = amplitude.value
    amplitude.frozen = False
    piece.models = models
    Fit().run([piece])
    assert lc["norm"][1] == pytest.approx(amplitude.value / truth, rel=1e-4)
    assert lc["norm_err"][1] == pytest.approx(amplitude.error / truth, rel=1e-3)
    assert lc["loglike"][1] == pytest.approx(-0.5 * piece.stat_sum(), rel=1e-9)


def test_constant_sources_have_the_distribution_of_chi2(roi):
    """Sum over light curves of a constant source: 12 × (6 - 1) degrees of freedom."""
    n = 12
    curves = [roi.lightcurve("centre", time_bins(roi, seed=seed)) for seed in range(n)]
    total = sum(lc["ts_var"] for lc in curves)
    dof = n * (N_BINS - 1)
    assert all(lc["ts_var_dof"] == N_BINS - 1 for lc in curves)
    # The systematic error lowers it a little.
    assert 0.001 < chi2.sf(total, dof) < 0.9999
    norms = np.concatenate([(lc["norm"] - 1) / lc["norm_err"] for lc in curves])
    assert np.mean(norms) == pytest.approx(0, abs=4 / np.sqrt(len(norms)))
    assert np.std(norms) == pytest.approx(1, abs=0.35)
    for lc in curves:
        assert lc["loglike_const_sum"] <= np.sum(lc["loglike"]) + 1e-9
        # The best constant norm is the mean, weighted by the errors.
        mean = np.average(lc["norm"], weights=lc["norm_err"] ** -2.0)
        assert lc["norm_const"] == pytest.approx(mean, abs=0.3 * np.min(lc["norm_err"]))


def test_exposures_that_are_not_proportional(roi):
    """Each bin then has its own source maps; with the same exposures both ways give the same."""
    bins = time_bins(roi)
    same = roi.lightcurve("centre", bins)

    def tilted(exposure):
        ramp = 1 + 1e-5 * np.arange(exposure.data.shape[-1])
        return exposure.copy(data=exposure.data * ramp)

    for piece in bins:
        piece.exposure = tilted(piece.exposure)
    other = roi.lightcurve("centre", bins)
    np.testing.assert_allclose(other["norm"], same["norm"], rtol=1e-3)
    np.testing.assert_allclose(other["loglike"], same["loglike"], rtol=1e-4)


def test_background_norms_can_be_free(roi):
    bins = time_bins(roi)
    fixed = roi.lightcurve("centre", bins)
    free = roi.lightcurve("centre", bins, free_sources=["near"])
    radius = roi.lightcurve("centre", bins, free_radius=1.0)
    np.testing.assert_allclose(radius["norm"], free["norm"])
    assert free["nuisances"] == ["near"]
    assert np.all(free["norm_err"] > fixed["norm_err"])
    assert np.all(free["loglike"] >= fixed["loglike"] - 1e-9)
    none = roi.lightcurve("centre", bins, free_radius=1.0, max_free_sources=0)
    np.testing.assert_allclose(none["norm"], fixed["norm"])


def test_shapes_of_bright_bins(roi):
    bins = time_bins(roi, np.array([1, 1, 1, 1, 4.0, 1]))
    lc = roi.lightcurve("centre", bins, free_params=["Index"], shape_ts_threshold=2000)
    free = lc["shape_free"]
    assert free.tolist() == [False, False, False, False, True, False]
    np.testing.assert_array_equal(lc["flux"][~free], lc["flux_fixed"][~free])
    assert lc["loglike"][4] >= lc["loglike_fixed"][4] - 1e-6
    index = lc["param_names"].index("index")
    value, error = lc["param_values"][4, index], lc["param_errors"][4, index]
    assert 0 < error < 0.3
    assert value == pytest.approx(2.0, abs=4 * error)
    assert lc["flux"][4] == pytest.approx(lc["flux_fixed"][4], rel=0.2)
    assert lc["ts"][4] == pytest.approx(lc["ts_fixed"][4], rel=0.05)
    assert lc["flux_ul95"][4] > lc["flux"][4]


@pytest.fixture(scope="module")
def events(roi):
    """Events that are the counts of the region, at times that are even."""
    dataset = roi.datasets[0]
    rng = np.random.default_rng(2)
    cells = np.repeat(np.arange(dataset.counts.data.size), dataset.counts.data.ravel().astype(int))
    e, y, x = np.unravel_index(cells, dataset.data_shape)
    sky = SkyCoord.from_pixel(x, y, dataset.geom.wcs).icrs
    energy = dataset.geom.axes["energy"].center[e].to("MeV")
    table = Table({"ENERGY": energy, "RA": sky.ra.to("deg"), "DEC": sky.dec.to("deg")})
    table["TIME"] = rng.uniform(0, 1000, len(cells)) * u.s
    table.meta = {
        "MJDREFI": 51910,
        "MJDREFF": 7.428703703703703e-4,
        "TIMESYS": "TT",
        "TSTART": 0.0,
        "TSTOP": 1000.0,
    }
    return EventList(table)


def test_events_are_sorted_into_bins(roi, events):
    lc = roi.lightcurve("centre", events=events, nbins=4)
    assert lc["counts"].sum() == roi.datasets[0].counts.data.sum()
    np.testing.assert_allclose(lc["tmin"], [0, 250, 500, 750])
    assert lc["tmin_mjd"][0] == pytest.approx(51910.000742870)
    assert lc["ts_var_pvalue"] > 1e-4
    whole = roi.lightcurve("centre", events=events, nbins=1)
    # One bin is the whole.
    roi.free_norm("centre")
    fit = roi.fit(update=False)
    amplitude = roi["centre"].spectral_model.amplitude
    assert whole["norm"][0] == pytest.approx(amplitude.value / 1e-13, rel=1e-5)
    assert whole["loglike"][0] == pytest.approx(fit["loglike"], rel=1e-9)
    amplitude.value = 1e-13
    roi.free_norm("centre", False)


def test_exposure_given_per_bin(roi, events):
    edges = [0.0, 400.0, 1000.0]
    own = roi.lightcurve("centre", events=events, time_bins=edges)
    given = roi.lightcurve("centre", events=events, time_bins=edges, exposure=[0.4, 0.6])
    np.testing.assert_allclose(own["norm"], given["norm"], rtol=1e-6)
    exposure = roi.datasets[0].exposure
    maps = [exposure.copy(data=exposure.data * share) for share in (0.4, 0.6)]
    mapped = roi.lightcurve("centre", events=events, time_bins=edges, exposure=maps)
    np.testing.assert_allclose(mapped["norm"], given["norm"], rtol=1e-5)
    with pytest.raises(DataError, match="exposures of 2 bins"):
        roi.lightcurve("centre", events=events, time_bins=edges, exposure=maps[:1])
    with pytest.raises(DataError, match="of 2 bins"):
        roi.lightcurve("centre", events=events, time_bins=edges, exposure=[1.0])
    # A bin without exposure has no flux, and doesn't count.
    gap = roi.lightcurve("centre", events=events, time_bins=[0.0, 1000.0, 2000.0])
    assert np.isnan(gap["flux"][1])
    assert gap["fit_success"].tolist() == [True, False]
    assert gap["ts_var_dof"] == 0


def test_an_interrupted_light_curve_goes_on(roi, events, tmp_path):
    folder = tmp_path / "bins"
    first = roi.lightcurve("centre", events=events, nbins=3, outdir=str(folder))
    kept = sorted(folder.glob("*.pickle"))
    assert len(kept) == 3
    kept[1].unlink()
    stamps = [path.stat().st_mtime_ns for path in (kept[0], kept[2])]
    again = roi.lightcurve("centre", events=events, nbins=3, outdir=str(folder))
    assert [path.stat().st_mtime_ns for path in (kept[0], kept[2])] == stamps
    np.testing.assert_array_equal(again["norm"], first["norm"])
    with pytest.raises(DataError, match="other work"):
        roi.lightcurve("centre", events=events, nbins=2, outdir=str(folder))


def test_files_of_light_curves(roi, events, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = [p.__getstate__() for p in roi.parameters]
    lc = roi.lightcurve("centre", events=events, nbins=3, prefix="fit1", make_plots=True, write_npy=True)
    assert [p.__getstate__() for p in roi.parameters] == before
    table = Table.read(tmp_path / "fit1_centre_lightcurve.fits", hdu="LIGHTCURVE")
    np.testing.assert_allclose(table["flux"], lc["flux"])
    assert table["flux"].unit == u.Unit("cm-2 s-1")
    assert table.meta["TS_VAR"] == pytest.approx(lc["ts_var"])
    assert {"flux100_err", "eflux_ul95", "loglike_const", "tmin_mjd", "fit_quality"} <= set(table.colnames)
    assert (tmp_path / "fit1_centre_lightcurve.png").stat().st_size > 1000
    assert "ts_var" in np.load(tmp_path / "fit1_centre_lightcurve.npy", allow_pickle=True).item()


def test_files_of_components(roi, tmp_path):
    bins = time_bins(roi)[:2]
    entries = []
    for k, piece in enumerate(bins):
        paths = {key: str(tmp_path / f"{key}_{k}.fits") for key in ("counts", "exposure")}
        piece.counts.write(paths["counts"])
        piece.exposure.write(paths["exposure"])
        entries.append({**paths, "tmin": 100.0 * k, "tmax": 100.0 * k + 100})
    lc = roi.lightcurve("centre", entries)
    expected = roi.lightcurve("centre", bins)
    np.testing.assert_allclose(lc["norm"], expected["norm"], rtol=1e-5)
    np.testing.assert_allclose(lc["tmax"], [100, 200])


def test_bad_input_is_named(roi, events):
    with pytest.raises(ConfigError, match="either bins"):
        roi.lightcurve("centre")
    with pytest.raises(ConfigError, match="increasing time_bins"):
        roi.lightcurve("centre", events=events, time_bins=[5, 1])
    with pytest.raises(ModelError, match="isodiff"):
        roi.lightcurve("isodiff", events=events)
    with pytest.raises(DataError, match="1 components"):
        roi.lightcurve("centre", events=[events, events])
    with pytest.raises(ConfigError, match=r"bin 0: expected datasets, .* found 3"):
        roi.lightcurve("centre", [3])
    with pytest.raises(ConfigError, match="unknown key 'count'"):
        roi.lightcurve("centre", [{"count": "a.fits"}])
    with pytest.raises(ConfigError, match="100"):
        time_edges({"time_bins": None, "nbins": None, "binsz": 1e-3}, 0, 1e6)
    with pytest.raises(DataError, match=r"none of 2 bins of time has good time"):
        roi.lightcurve("centre", events=events, time_bins=[-30.0, -20.0, -10.0])
    with pytest.raises(DataError, match=r"from 0 on of 2 bins .* found \[-0.5  1.5\]"):
        roi.lightcurve("centre", events=events, nbins=2, exposure=[-0.5, 1.5])


def test_public_events_of_the_galactic_centre(gammapy_data):
    """A steady source in 7 years of data above 10 GeV, from the events of the counts cube."""
    from villard.roi import ROI

    folder = gammapy_data / "fermi-3fhl-gc"
    config = {
        "data": {
            "counts": str(folder / "fermi-3fhl-gc-counts-cube.fits.gz"),
            "exposure": str(folder / "fermi-3fhl-gc-exposure-cube.fits.gz"),
            "psf": str(folder / "fermi-3fhl-gc-psf-cube.fits.gz"),
        },
        "binning": {"roiwidth": 3.0},
        "selection": {"glon": 0.0, "glat": 0.0},
        "model": {
            "sources": [
                {
                    "name": "GC",
                    "glon": 359.95,
                    "glat": -0.05,
                    "Index": 2.7,
                    "Prefactor": 4.4e-14,
                    "Scale": 18370.0,
                }
            ],
            "npred": [str(folder / "fermi-3fhl-gc-background-cube.fits.gz")],
        },
    }
    roi = ROI.from_config(config)
    roi.free_norm("GC")
    assert roi.fit(update=False)["fit_quality"] == 3
    roi.free_sources(free=False)
    events = folder / "fermi-3fhl-gc-events.fits.gz"
    lc = roi.lightcurve("GC", events=events, nbins=7)
    assert lc["counts"].sum() == pytest.approx(roi.datasets[0].counts.data.sum(), rel=0.01)
    assert np.all(lc["ts"] > 40)
    assert lc["norm_const"] == pytest.approx(1, abs=0.05)
    assert lc["livetime"].sum() > 1e8
    # From December 2013 on this region was pointed at more often than others. Diffuse emission, which makes
    # most of the counts, tells the exposure better than the good time does.
    other = roi.lightcurve("GC", events=events, nbins=7, exposure=lc["counts"] / lc["counts"].sum())
    assert other["ts_var_pvalue"] > 0.01
    assert other["ts_var"] < lc["ts_var"]

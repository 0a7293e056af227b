"""Spectral energy distributions: against fits by other means, closed forms, statistics, files."""

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from sky_toys import make_roi, source

from villard.estimators import CastroData, FluxPoints, FluxPointsEstimator
from villard.exceptions import ConfigError, DataError, ModelError, OverwriteError
from villard.likelihood.linear import LinearNorms
from villard.roi.source import SourceKeyError


@pytest.fixture(scope="module")
def roi():
    roi = make_roi([source("centre", 0, 0), source("near", 0.25, 0.1), source("far", -1.5, -1)])
    roi.free_sources_by_name(["centre", "near"], pars="norm")
    roi.fit(update=False)
    return roi


@pytest.fixture(scope="module")
def sed(roi):
    return roi.sed("centre", free_background=True, free_pars="norm")


def test_bins_agree_with_flux_points(roi, sed):
    """`FluxPointsEstimator` fits the same with the compiled engine, with all bins of the cube."""
    index = roi["centre"].spectral_model.index.value
    assert index == 2
    points = FluxPointsEstimator(
        roi.energy_edges,
        source="centre",
        reoptimize=True,
        selection_optional=["errn-errp", "ul"],
        n_sigma_ul=1.6448536,
    ).run(roi.datasets)
    for name, key in (
        ("dnde", "dnde"),
        ("dnde_err", "dnde_err"),
        ("dnde_errp", "dnde_err_hi"),
        ("dnde_ul", "dnde_ul95"),
    ):
        found = points.quantity(name).to_value("cm-2 s-1 MeV-1")
        np.testing.assert_allclose(sed[key], found, rtol=2e-4)
    np.testing.assert_allclose(sed["ts"], points.quantity("ts").value, rtol=1e-5)
    assert -2 * sed["loglike"].sum() == pytest.approx(points.quantity("stat").value.sum(), rel=1e-9)


def test_profiles_are_those_of_refitted_backgrounds(roi, sed):
    scan, norms = sed["dloglike_scan"], sed["norm_scan"]
    assert scan.shape == norms.shape == (3, 20)
    assert np.all(np.diff(norms, axis=1) > 0)
    np.testing.assert_allclose(-2 * scan[:, 0], sed["ts"], rtol=1e-9)
    best = np.argmax(scan, axis=1)
    np.testing.assert_allclose(norms[np.arange(3), best], sed["norm"])
    # From the table alone errors and limits are found again.
    castro = sed.castro
    np.testing.assert_allclose(castro.norm_ul(0.95), sed["norm_ul"], rtol=2e-3)
    np.testing.assert_allclose(castro.norm_errors()[1], sed["norm_errp"], rtol=5e-3)
    np.testing.assert_allclose(castro.ts, sed["ts"], rtol=1e-6)


def test_the_region_stays_as_it_was(roi):
    before = [p.__getstate__() for p in roi.parameters]
    results = dict(roi["centre"].results)
    roi.sed("centre")
    assert [p.__getstate__() for p in roi.parameters] == before
    assert roi["centre"].results == results


def test_priors_lie_between_fixed_and_free_backgrounds(roi, sed):
    free = sed["norm_err"]
    prior = roi.sed("centre", free_pars="norm")["norm_err"]
    narrow = roi.sed("centre", free_pars="norm", cov_scale=1e-4)["norm_err"]
    roi.free_norm("near", False)
    fixed = roi.sed("centre", free_pars="norm")["norm_err"]
    near = roi.sed("centre", free_pars="norm", free_radius=0.5)["norm_err"]
    roi.free_norm("near")
    np.testing.assert_allclose(narrow, fixed, rtol=0.02)
    np.testing.assert_allclose(near, prior, rtol=0.02)
    assert np.all(fixed < prior)
    assert np.all(prior <= free * 1.001)


def test_bins_can_be_joined(roi, sed):
    edges = np.log10(roi.energy_edges.to_value("MeV"))
    joined = roi.sed("centre", loge_bins=edges[[0, 3]], free_background=True, free_pars="norm")
    assert len(joined) == 1
    assert joined["ts"][0] == pytest.approx(sed["ts"].sum(), rel=0.1)
    # One bin with the spectrum of the model is the fit itself.
    amplitude = roi["centre"].spectral_model.amplitude
    error = amplitude.error / amplitude.value
    assert joined["norm"][0] == pytest.approx(1, abs=1e-4)
    assert joined["norm_err"][0] == pytest.approx(error, rel=1e-3)
    with pytest.raises(ConfigError, match="is no edge of the data"):
        roi.sed("centre", loge_bins=[4.0, 4.1, 5])
    with pytest.raises(ConfigError, match="increasing"):
        roi.sed("centre", loge_bins=[5, 4])


def test_local_index(roi):
    spectrum = roi["centre"].spectral_model
    spectrum.index.value = 2.7
    sed = roi.sed("centre", use_local_index=True, free_pars="norm")
    fixed = roi.sed("centre", free_pars="norm", bin_index=2.7)
    spectrum.index.value = 2.0
    np.testing.assert_allclose(sed["index"], 2.7)
    np.testing.assert_allclose(sed["norm"], fixed["norm"])


def test_references_are_the_fluxes_of_the_norm_one(sed):
    low, high = sed["e_min"], sed["e_max"]
    # A power law of index 2.
    np.testing.assert_allclose(sed["ref_eflux"], sed["ref_dnde"] * sed["e_ref"] ** 2 * np.log(high / low))
    np.testing.assert_allclose(sed["ref_flux"], sed["ref_dnde"] * sed["e_ref"] ** 2 * (1 / low - 1 / high))
    np.testing.assert_allclose(sed["eflux"], sed["norm"] * sed["ref_eflux"])
    np.testing.assert_allclose(sed["ref_dnde_e_min"] / sed["ref_dnde_e_max"], (high / low) ** 2)
    # Other names that fermipy has.
    np.testing.assert_allclose(sed["e2dnde"], sed["norm"] * sed["ref_e2dnde"])
    np.testing.assert_allclose(10 ** sed["loge_ctr"], sed["e_ref"])
    np.testing.assert_allclose(sed["loglike_scan"].max(axis=1), sed["loglike"], rtol=1e-4)
    assert set(sed["fit_status"]) == {0}
    assert "npred" in sed


def test_a_bin_without_signal_has_a_limit():
    roi = make_roi([source("centre", 0, 0)], data=[], seed=4)
    sed = roi.sed("centre", free_pars="norm")
    assert np.all(np.isfinite(sed["norm"]))
    assert np.all(sed["norm"] >= 0)
    none = sed["norm"] == 0
    assert np.any(none)
    assert np.all(sed["ts"][none] == 0)
    assert np.all(np.isnan(sed["norm_errn"][none]))
    assert np.all(sed["norm_ul"] > 0)
    assert np.all(sed["is_ul"])


def test_confidence_of_limits(roi, sed):
    other = roi.sed("centre", free_background=True, free_pars="norm", ul_confidence=0.99)
    np.testing.assert_allclose(other["dnde_ul95"], sed["dnde_ul95"])
    assert np.all(other["dnde_ul"] > other["dnde_ul95"])


def test_a_bin_that_is_masked_is_unknown():
    roi = make_roi([source("centre", 0, 0)])
    dataset = roi.datasets[0]
    mask = np.ones(dataset.data_shape, dtype=bool)
    mask[1] = False
    dataset.mask_fit = dataset.counts.copy(data=mask)
    sed = roi.sed("centre", free_pars="norm")
    assert np.isnan(sed["norm"]).tolist() == [False, True, False]
    assert sed["fit_quality"].tolist() == [3, 0, 3]
    assert not sed["is_ul"][0]
    sed.plot()
    plt.close("all")
    with pytest.raises(DataError, match=r"\[1\] aren't finite"):
        _ = sed.castro


def test_weights_of_bins():
    """With the weight 1/4 everywhere the fluxes are the same, and errors twice as large."""
    roi = make_roi([source("centre", 0, 0)])
    plain = roi.sed("centre", free_pars="norm")
    dataset = roi.datasets[0]
    dataset.weights = dataset.counts.copy(data=np.full(dataset.data_shape, 0.25))
    weighted = roi.sed("centre", free_pars="norm")
    np.testing.assert_allclose(weighted["dnde"], plain["dnde"], rtol=1e-4)
    np.testing.assert_allclose(weighted["dnde_err"], 2 * plain["dnde_err"], rtol=1e-3)
    np.testing.assert_allclose(weighted["ts"], plain["ts"] / 4, rtol=1e-5)


def test_files(roi, sed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = roi.sed(
        "centre", prefix="fit1", free_background=True, free_pars="norm", make_plots=True, write_npy=True
    )
    path = tmp_path / "fit1_centre_sed.fits"
    with fits.open(path) as hdulist:
        assert [hdu.name for hdu in hdulist[1:]] == ["SED", "MODEL_FLUX", "PARAMS"]
        assert hdulist["SED"].header["SED_TYPE"] == "likelihood"
        names = {name.lower() for name in hdulist["SED"].columns.names}
    assert {
        "e_min",
        "e_ref",
        "e_max",
        "ref_dnde",
        "ref_flux",
        "ref_eflux",
        "ref_npred",
        "norm",
        "norm_err",
    } <= names
    assert {
        "norm_scan",
        "dloglike_scan",
        "ts",
        "loglike",
        "dnde_ul95",
        "e2dnde_err_hi",
        "fit_quality",
    } <= names
    points = FluxPoints.read(path)
    np.testing.assert_allclose(points.quantity("dnde").to_value("cm-2 s-1 MeV-1"), sed["dnde"])
    again = CastroData.read(path)
    np.testing.assert_allclose(again.stat(again.norm * 1.5), written.castro.stat(again.norm * 1.5), atol=1e-9)
    plain = np.load(tmp_path / "fit1_centre_sed.npy", allow_pickle=True).item()
    np.testing.assert_allclose(plain["norm"], sed["norm"])
    assert (tmp_path / "fit1_centre_sed.png").stat().st_size > 1000
    with pytest.raises(OverwriteError):
        roi.sed("centre", prefix="fit1")


def test_bad_input_is_named(roi, sed):
    with pytest.raises(ModelError, match="isodiff"):
        roi.sed("isodiff")
    with pytest.raises(ConfigError, match="bin_index"):
        roi.sed("centre", bin_inde=2)
    with pytest.raises(SourceKeyError, match="norm_ul"):
        sed["norm_ull"]


def test_spectra_fitted_to_profiles_agree_with_the_fit_of_the_cube(roi):
    """For power laws of about the index of the bins nothing is lost in them."""
    spectrum = roi["centre"].spectral_model
    roi.free_source("centre")
    fit = roi.fit(update=False)
    index, error = spectrum.index.value, spectrum.index.error
    assert fit["fit_success"]
    sed = roi.sed("centre", free_background=True)
    found = sed.castro.test_spectra(["PowerLaw"])["PowerLaw"]
    assert found.parameters["index"] == pytest.approx(index, abs=0.3 * error)
    assert found.model.index.error == pytest.approx(error, rel=0.1)


def test_linear_norms_find_the_minimum_at_limits():
    """A template that would be negative is held at 0; Kuhn-Tucker conditions hold there."""
    rng = np.random.default_rng(3)
    templates = rng.gamma(0.3, 1.0, (5, 400))
    counts = rng.poisson(np.array([1.0, 2.0, 0.0, 0.0, 0.5]) @ templates + 0.1).astype(float)
    seen = counts > 0
    norms = LinearNorms(
        counts[seen],
        templates[:, seen],
        np.full(seen.sum(), 0.1),
        templates.sum(axis=1),
        40.0,
        lower=np.zeros(5),
    )
    fit = norms.minimize(np.ones(5))
    assert fit.success
    free = fit.x > 0
    np.testing.assert_allclose(fit.gradient[free], 0, atol=1e-5)
    assert np.all(fit.gradient[~free] >= 0)
    step = 1e-6
    for i in range(5):
        moved = fit.x + step * (np.arange(5) == i)
        assert (norms.stat(moved) - norms.stat(fit.x)) / step == pytest.approx(fit.gradient[i], abs=1e-2)
    # From afar, even from where nothing is predicted, it is found again.
    for start in (np.zeros(5), np.full(5, 1e4)):
        np.testing.assert_allclose(norms.minimize(start).x, fit.x, atol=1e-5)


def test_linear_norms_without_counts_go_to_their_limits():
    norms = LinearNorms(
        np.zeros(0), np.zeros((2, 0)), np.zeros(0), np.array([3.0, 1.0]), 5.0, lower=np.zeros(2)
    )
    fit = norms.minimize(np.ones(2))
    np.testing.assert_array_equal(fit.x, 0)
    assert fit.success
    # -2 ln L = 2 x 3: a limit of 95 % at 2.7055 / 6.
    assert norms.crossing(0, fit, 2.705543, 1) == pytest.approx(2.705543 / 6)
    assert np.isnan(norms.crossing(0, fit, 1.0, -1))


def test_limits_cover_and_errors_have_the_right_size():
    """Counts of 200 cubes of one energy, with the norm of a neighbour fitted along."""
    rng = np.random.default_rng(11)
    x = np.arange(40)
    templates = np.stack([12 * np.exp(-((x - c) ** 2) / 18) for c in (16.0, 22.0)])
    truth, pulls, covered = np.array([0.6, 1.0]), [], 0
    for _ in range(200):
        counts = rng.poisson(truth @ templates + 2.0).astype(float)
        seen = counts > 0
        norms = LinearNorms(
            counts[seen],
            templates[:, seen],
            np.full(seen.sum(), 2.0),
            templates.sum(axis=1),
            80.0,
            lower=np.zeros(2),
        )
        fit = norms.minimize(np.ones(2))
        pulls.append((fit.x[0] - truth[0]) / np.sqrt(2 / norms.curvature(0, fit.x)))
        covered += fit.x[0] + norms.crossing(0, fit, 2.705543, 1) >= truth[0]
    assert np.std(pulls) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(pulls)) < 0.2
    assert covered / 200 == pytest.approx(0.95, abs=0.035)


def test_units_of_columns(sed):
    assert sed.table["e2dnde_ul95"].unit == u.Unit("MeV cm-2 s-1")
    assert sed.table["e_min"].unit == u.MeV
    assert sed.name == "centre"

"""Profiles, bands and curvature of spectra."""

import numpy as np
import pytest
from roi_fit_toys import fit_roi

from villard.exceptions import ConfigError, ModelError, ParameterError
from villard.modeling import Fit


@pytest.fixture(scope="module")
def roi():
    region = fit_roi()
    region.free_source("bright")
    assert region.fit(update=False)["fit_quality"] == 3
    return region


def test_profile_refits(roi):
    index = roi.models["bright"].spectral_model.index
    before = [p.value for p in roi.parameters]
    values = index.value + index.error * np.array([-2.0, -0.7, 0.0, 1.0, 2.5])
    o = roi.profile("bright", "Index", xvals=values)
    expected = Fit().stat_profile(roi.datasets, index, reoptimize=True, values=values)
    np.testing.assert_allclose(o["loglike"], -0.5 * expected["stat_scan"], atol=1e-4)
    assert o["dloglike"].max() == 0
    assert np.argmax(o["dloglike"]) == 2
    interval = Fit().confidence(roi.datasets, index)
    assert o["err_hi"] == pytest.approx(interval["errp"], rel=1e-3)
    assert o["err_lo"] == pytest.approx(interval["errn"], rel=1e-3)
    assert o["ul95"] == pytest.approx(index.value + 1.645 * index.error, abs=0.1 * index.error)
    assert [p.value for p in roi.parameters] == before


def test_profile_of_a_frozen_parameter(roi):
    index = roi.models["medium"].spectral_model.index
    assert index.frozen
    o = roi.profile("medium", "index", xvals=[index.value])
    assert o["loglike"][0] == pytest.approx(roi.loglike, abs=1e-5)
    assert index.frozen
    with pytest.raises(ParameterError, match="no parameter 'Indx'"):
        roi.profile("medium", "Indx")


def test_profile_norm(roi):
    spectrum = roi.models["medium"].spectral_model
    o = roi.profile_norm("medium", npts=9)
    assert len(o["xvals"]) == len(o["dloglike"]) == 9
    np.testing.assert_allclose(o["dloglike"][[0, -1]], -3.3174, atol=2e-3)
    best = spectrum.amplitude.value
    np.testing.assert_allclose(o["flux"] / o["xvals"], roi_flux(roi, "medium") / best, rtol=1e-9)
    np.testing.assert_allclose(o["npred"] / o["xvals"], roi["medium"]["npred"] / best, rtol=1e-9)
    held = roi.profile_norm("medium", xvals=o["xvals"])
    with_others = roi.profile_norm("medium", xvals=o["xvals"], reoptimize=True)
    np.testing.assert_allclose(held["loglike"], o["loglike"], atol=1e-6)
    assert np.all(with_others["loglike"] >= held["loglike"] - 1e-6)
    # In a part of the energies there is less to tell.
    part = roi.profile_norm("medium", xvals=o["xvals"], logemin=np.log10(1e4 * 10 ** (1 / 3)))
    assert np.all(part["dloglike"][[0, -1]] > held["dloglike"][[0, -1]] - 3)
    assert roi.datasets[0].mask_fit is None
    with pytest.raises(ConfigError, match="Did you mean 'savestate'"):
        roi.profile_norm("medium", save_state=True)


def roi_flux(roi, name):
    low, high = roi.energy_bounds
    return roi.models[name].spectral_model.integral(low, high).to_value("cm-2 s-1")


def test_bowtie(roi):
    spectrum = roi.models["bright"].spectral_model
    o = roi.bowtie("bright")
    assert len(o["energies"]) == 50
    assert np.all(o["dnde_lo"] < o["dnde"])
    value, error, _ = spectrum.evaluate_error(o["energies"][7] * 1e-3 * spectrum.reference.unit)
    assert o["dnde"][7] == pytest.approx(value.to_value("cm-2 s-1 MeV-1"), rel=1e-10)
    ratio = (error / value).to_value("")
    assert o["dnde_hi"][7] == pytest.approx(o["dnde"][7] * (1 + ratio), rel=1e-10)
    assert o["dnde_ferr"][7] == pytest.approx(0.5 * (1 + ratio - 1 / (1 + ratio)), rel=1e-10)
    assert o["pivot_energy"] == o["energies"][np.argmin(o["dnde_ferr"])]


def test_curvature(roi):
    before = [p.value for p in roi.parameters]
    spectrum = roi.models["bright"].spectral_model
    start = roi.loglike
    o = roi.curvature("bright")
    assert o["loglike_pl"] == pytest.approx(start, abs=1e-5)
    assert o["lp_ts_curv"] == pytest.approx(2 * (o["loglike_lp"] - o["loglike_pl"]))
    # No curvature was put in.
    assert -1e-6 < o["lp_ts_curv"] < 15
    assert -0.1 < o["ple_ts_curv"] < 15
    assert roi.models["bright"].spectral_model is spectrum
    assert [p.value for p in roi.parameters] == before
    assert "Index2" in o["config"]


def test_profiles_are_about_their_maximum(roi):
    """Also of a parameter that was held elsewhere, and of fewer energies than were fitted."""
    index = roi.models["bright"].spectral_model.index
    best = roi.profile("bright", "index", npts=5)
    assert best["best"] == pytest.approx(index.value, abs=1e-4)
    value = index.value
    index.value, index.frozen = value + 0.02, True
    try:
        o = roi.profile("bright", "index", npts=5)
    finally:
        index.value, index.frozen = value, False
    for key in ("best", "err_lo", "err_hi", "ul95"):
        assert o[key] == pytest.approx(best[key], abs=2e-4)
    np.testing.assert_allclose(o["dloglike"][[0, -1]] - o["dloglike"].max(), o["dloglike"][0], atol=1e-2)
    with pytest.raises(ConfigError, match="xvals: expected finite numbers"):
        roi.profile("bright", "index", xvals=[])


def test_norm_in_a_range_of_energies(roi):
    low, high = np.log10(roi.energy_edges.to_value("MeV")[[1, 3]])
    o = roi.profile_norm("bright", logemin=low, logemax=high, npts=9)
    ends = o["dloglike"][[0, -1]]
    np.testing.assert_allclose(ends, -3.3174, atol=5e-3)
    spectrum = roi.models["bright"].spectral_model
    flux = spectrum.integral(*roi.energy_edges[[1, 3]]).to_value("cm-2 s-1")
    ratio = o["xvals"] / spectrum.amplitude.value
    np.testing.assert_allclose(o["flux"], ratio * flux, rtol=1e-4)
    counts = roi.model_counts_spectrum("bright")[0][1:].sum()
    np.testing.assert_allclose(o["npred"], ratio * counts, rtol=1e-6)


def test_curvature_of_a_factor(roi):
    with pytest.raises(ModelError, match="curvature: the spectrum of 'diffuse' is no flux"):
        roi.curvature("diffuse")


def test_what_arent_numbers(roi):
    name = roi.sources[0].name
    with pytest.raises(ConfigError, match=r"xvals: expected numbers, found \['a'\]"):
        roi.profile(name, "index", xvals=["a"])
    with pytest.raises(ConfigError, match="bowtie: loge: expected numbers, found 'a'"):
        roi.bowtie(name, loge="a")
    with pytest.raises(ConfigError, match="sed: loge_bins: expected numbers, found 'a'"):
        roi.sed(name, loge_bins="a")
    with pytest.raises(ConfigError, match=r"set_energy_range: loge_bounds: expected numbers"):
        roi.set_energy_range("a", 5)
    with pytest.raises(ConfigError, match=r"loge_bounds=\[8\.0, \d"):
        roi.profile_norm(name, logemin=8)
    with pytest.raises(ConfigError, match=r"profile: no setting 'npoints'\. Did you mean 'npts'"):
        roi.profile(name, "index", npoints=3)

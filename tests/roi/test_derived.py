"""TS, counts, fluxes and limits of the sources of a region."""

import astropy.units as u
import numpy as np
import pytest
from roi_fit_toys import fit_roi
from scipy.stats import chi2, kstest

from villard.roi.derived import UPPER_LIMIT_95, bound_region
from villard.simulate import simulate_toys

NAMES = ["bright", "medium", "weak"]


@pytest.fixture(scope="module")
def roi():
    region = fit_roi()
    region.free_source("bright")
    assert region.fit()["fit_quality"] == 3
    return region


def refitted(roi, name, amplitude):
    """ln L where one norm is held and all others are refitted; the region ends as it was."""
    parameter = roi.models[name].spectral_model.amplitude
    before = [(p, p.value) for p in roi.parameters]
    parameter.value, parameter.frozen = amplitude, True
    try:
        return roi.fit(update=False, covar=False)["loglike"]
    finally:
        for p, value in before:
            p.value = value
        parameter.frozen = False


def test_ts_with_others_held(roi):
    for name in NAMES:
        parameter = roi.models[name].spectral_model.amplitude
        best, value = roi.loglike, parameter.value
        parameter.value = 0
        held = 2 * (best - roi.loglike)
        # The others raised to the same counts.
        counts = {s.name: s["npred"] for s in roi.sources}
        factor = 1 + counts[name] / sum(v for k, v in counts.items() if k != name)
        others = [roi.models[k].spectral_model.amplitude for k in NAMES if k != name]
        others.append(roi.models["diffuse"].spectral_model.norm)
        before = [p.value for p in others]
        for p in others:
            p.value *= factor
        raised = 2 * (best - roi.loglike)
        for p, v in zip([*others, parameter], [*before, value], strict=True):
            p.value = v
        assert roi[name]["ts"] == pytest.approx(min(held, raised), rel=1e-9)
        assert roi.source_ts(name) == pytest.approx(roi[name]["ts"], rel=1e-9)


def test_ts_with_others_refitted(roi):
    best = roi.loglike
    for name in ("medium", "weak"):
        expected = 2 * (best - refitted(roi, name, 0.0))
        found = roi.source_ts(name, reoptimize=True)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert found <= roi[name]["ts"] + 1e-6


def test_upper_limits_are_on_the_profile(roi):
    best = roi.loglike
    for name in NAMES:
        spectrum = roi.models[name].spectral_model
        limit = spectrum.amplitude.value * roi[name]["flux_ul95"] / roi[name]["flux"]
        assert limit > spectrum.amplitude.value
        drop = best - refitted(roi, name, limit)
        assert drop == pytest.approx(UPPER_LIMIT_95 / 2, abs=2e-3), name
    assert pytest.approx(2 * 1.3527717270477067, rel=1e-9) == UPPER_LIMIT_95


def test_fluxes(roi):
    for name in NAMES:
        spectrum, results = roi.models[name].spectral_model, roi[name].results
        low, high = roi.energy_bounds
        flux = spectrum.integral(low, high).to_value("cm-2 s-1")
        assert results["flux"] == pytest.approx(flux, rel=1e-10)
        eflux = spectrum.energy_flux(1 * u.GeV, 10**5.5 * u.MeV).to_value("MeV cm-2 s-1")
        assert results["eflux1000"] == pytest.approx(eflux, rel=1e-10)
        for key in ("eflux", "flux100", "eflux10000"):
            ratio = results["flux_ul95"] / results["flux"]
            assert results[f"{key}_ul95"] == pytest.approx(ratio * results[key], rel=1e-10)
        pivot = results["pivot_energy"] * u.MeV
        assert results["dnde"] == pytest.approx(spectrum(pivot).to_value("cm-2 s-1 MeV-1"), rel=1e-10)
        assert results["dnde_index"] == pytest.approx(spectrum.index.value, rel=1e-8)
    weak = roi["weak"]
    amplitude = roi.models["weak"].spectral_model.amplitude
    relative = amplitude.error / amplitude.value
    for key in ("flux", "eflux", "flux1000", "dnde", "dnde100"):
        assert weak[f"{key}_err"] / weak[key] == pytest.approx(relative, rel=1e-9)
    # Where a free index doesn't matter, the error is that of the norm alone.
    bright = roi["bright"]
    correlated = bright["flux100_err"] / bright["flux100"]
    assert correlated > bright["dnde_err"] / bright["dnde"]


def test_counts_and_parameters(roi):
    roi.update_npred()
    total = roi.datasets[0].npred().data.sum()
    assert sum(s["npred"] for s in roi.sources) == pytest.approx(total, rel=1e-10)
    assert list(roi["weak"]["param_names"]) == list(roi.models["weak"].parameters.names)
    assert roi["weak"]["loglike"] == pytest.approx(roi.loglike, rel=1e-12)


def test_scan(roi):
    for name in NAMES:
        norm, dloglike = roi[name]["norm_scan"], roi[name]["dloglike_scan"]
        assert len(norm) == 20
        assert dloglike.max() == 0
        best = roi.models[name].spectral_model.amplitude.value
        assert norm[np.argmax(dloglike)] == pytest.approx(best, rel=0.5)
        factor = roi[name]["flux"] / best
        np.testing.assert_allclose(roi[name]["flux_scan"], norm * factor, rtol=1e-9)
    amplitude = roi.models["weak"].spectral_model.amplitude
    value, best = amplitude.value, roi.loglike
    amplitude.value = roi["weak"]["norm_scan"][-1]
    assert roi["weak"]["loglike_scan"][-1] == pytest.approx(roi.loglike, abs=1e-6)
    amplitude.value = value
    assert roi.loglike == best


def test_fixed_source_has_no_ts():
    region = fit_roi()
    region.free_source("weak", free=False)
    region.update_sources()
    assert np.isnan(region["weak"]["ts"])
    assert np.isnan(region["weak"]["flux_ul95"])
    assert region["weak"]["flux"] > 0
    with bound_region(region, ["weak"]) as bound:
        # It can be asked for all the same.
        assert bound.ts([region["weak"]])[0] > 0


def test_null_source_and_coverage():
    """300 refits: TS of a source that isn't there is ½χ²₁ + ½δ(0), upper limits of 95 % cover."""
    region = fit_roi()
    bright, medium, weak = (region.models[n].spectral_model.amplitude for n in NAMES)
    weak.value = 0
    toys = simulate_toys(region.datasets, n_toys=300, random_state=1)
    assert toys.success.all()
    # Where the source isn't there, the truth is a norm of 0.
    ts = toys.ts_truth(weak)
    assert np.nanmin(ts) > -1e-4
    zero = np.mean(ts < 1e-3)
    assert abs(zero - 0.5) < 4 * np.sqrt(0.25 / 300)
    for level, share in ((2.7055, 0.05), (1.0, 0.15866)):
        assert abs(np.mean(ts > level) - share) < 3 * np.sqrt(share * (1 - share) / 300)
    # What is above 0 has the distribution of χ²₁.
    assert kstest(ts[ts > 1e-3], chi2(1).cdf).pvalue > 0.01
    # The limit lies below the truth where the fit does and the profile has risen too far at the truth.
    for parameter in (bright, medium):
        below = toys.values[:, toys.index(parameter)] < parameter.value
        missed = np.mean(below & (toys.ts_truth(parameter) > UPPER_LIMIT_95))
        assert abs(missed - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 300)


def test_errors_of_catalogues_dont_mix_with_those_of_the_fit(roi):
    region = fit_roi()
    spectrum = region.models["bright"].spectral_model
    spectrum.index.error = 0.2
    assert spectrum.index.frozen
    region.fit()
    relative = spectrum.amplitude.error / spectrum.amplitude.value
    for key in ("flux", "flux100", "eflux10000", "dnde", "dnde100000"):
        assert region["bright"][f"{key}_err"] / region["bright"][key] == pytest.approx(relative, rel=1e-9)
    # Where the index was fitted, its error counts.
    assert roi["bright"]["flux100_err"] / roi["bright"]["flux100"] > 1.5 * relative
    band = region.bowtie("bright", loge=[3.0, 5.0])
    np.testing.assert_allclose(band["dnde_hi"] / band["dnde"], 1 + relative, rtol=1e-9)


def test_fluxes_above_100_gev(roi):
    spectrum = roi.models["bright"].spectral_model
    flux = spectrum.integral(100 * u.GeV, 10**5.5 * u.MeV).to_value("cm-2 s-1")
    assert roi["bright"]["flux100000"] == pytest.approx(flux, rel=1e-10)
    assert roi["bright"]["flux100000_ul95"] > flux
    assert roi["bright"]["eflux100000_err"] > 0
    dnde = spectrum(100 * u.GeV).to_value("cm-2 s-1 MeV-1")
    assert roi["bright"]["dnde100000"] == pytest.approx(dnde, rel=1e-10)


def test_results_are_of_the_present_model():
    region = fit_roi()
    region.fit()
    flux, ts = region["bright"]["flux"], region["bright"]["ts"]
    assert ts > 0
    region.scale_parameter("bright", "amplitude", 3)
    assert region["bright"]["flux"] == pytest.approx(3 * flux)
    assert np.isnan(region["bright"]["ts"])
    assert np.isnan(region["bright"]["flux_ul95"])
    assert "norm_scan" not in region["bright"]

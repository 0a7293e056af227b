"""The automatic fit of a region."""

import numpy as np
import pytest
from roi_fit_toys import fit_roi

from villard.exceptions import ConfigError, ModelError


@pytest.fixture
def roi():
    region = fit_roi()
    for name, factor in (("bright", 0.5), ("medium", 1.6), ("weak", 2.0)):
        region.models[name].spectral_model.amplitude.value *= factor
    region.models["bright"].spectral_model.index.value = 2.8
    return region


def test_three_steps(roi):
    roi.free_source("medium", free=False)
    free = roi.get_free_param_vector()
    start = roi.loglike
    o = roi.optimize()
    assert o["loglike0"] == pytest.approx(start, rel=1e-12)
    assert o["loglike1"] == pytest.approx(roi.loglike, rel=1e-12)
    assert o["dloglike"] == pytest.approx(o["loglike1"] - start)
    assert o["dloglike"] > 10
    np.testing.assert_array_equal(roi.get_free_param_vector(), free)
    # Fixed by the user, and fitted nevertheless, as its shape: so it is in fermipy.
    assert roi.models["bright"].spectral_model.index.value != 2.8
    assert o["config"]["shape_ts_threshold"] == 25


def test_thresholds_skip_and_locks(roi):
    roi.lock_parameter("weak", "Prefactor")
    weak = roi.models["weak"].spectral_model.amplitude.value
    medium = [p.value for p in roi.models["medium"].parameters]
    o = roi.optimize(shape_ts_threshold=1e9, skip=["medium"])
    assert o["dloglike"] > 0
    assert roi.models["bright"].spectral_model.index.value == 2.8
    assert roi.models["weak"].spectral_model.amplitude.value == weak
    assert [p.value for p in roi.models["medium"].parameters] == medium


def test_joint_never_ends_lower(roi):
    values = [p.value for p in roi.parameters]
    plain = roi.optimize()["loglike1"]
    for parameter, value in zip(roi.parameters, values, strict=True):
        parameter.value = value
    o = roi.optimize(joint=True, max_free_sources=1)
    assert o["loglike1"] >= plain - 1e-6
    assert roi.optimize(joint=True)["dloglike"] == pytest.approx(0, abs=1e-4)


def test_bad_settings(roi):
    with pytest.raises(ConfigError, match="npred_frac"):
        roi.optimize(npred_frac=95)
    with pytest.raises(ModelError, match="Did you mean 'medium'"):
        roi.optimize(skip=["medum"])


def test_ts_are_known_afterwards(roi):
    roi.optimize()
    optimized = {s.name: s["ts"] for s in roi.sources}
    assert roi["bright"]["flux"] > 0
    assert np.isnan(roi["bright"]["flux_ul95"])
    found = roi.get_sources(minmax_ts=[100, None])
    assert [s.name for s in found] == ["bright", "medium", "weak", "diffuse"]
    roi.fit()
    for name in ("bright", "medium", "weak"):
        assert optimized[name] == pytest.approx(roi[name]["ts"], rel=0.1, abs=0.5)


def test_settings_of_the_configuration(roi):
    roi.config = {"roiopt": {"joint": True, "skip": ["medium"]}}
    config = roi.optimize()["config"]
    assert config["joint"]
    assert config["skip"] == ["medium"]
    assert roi.optimize(skip="weak")["config"]["skip"] == ["weak"]
    for wrong in ({"max_free_sources": -1}, {"npred_threshold": np.nan}, {"shape_ts_threshold": "high"}):
        with pytest.raises(ConfigError, match=f"roiopt: {next(iter(wrong))}"):
            roi.optimize(**wrong)

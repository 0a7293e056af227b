"""The fit of a region: its quality, and what it does where it fails."""

import logging

import numpy as np
import pytest
from region_toys import point
from roi_fit_toys import fit_roi

from villard.exceptions import ConfigError
from villard.modeling import Fit
from villard.modeling.prior import GaussianPrior


def state(roi):
    return [(p.value, p.error, p.frozen) for p in roi.parameters]


@pytest.fixture(scope="module")
def fitted():
    roi = fit_roi()
    truth = [p.value for p in roi.parameters.free_parameters]
    return roi, truth, roi.fit()


def test_result(fitted):
    roi, truth, o = fitted
    n = len(roi.parameters.free_parameters)
    assert o["fit_quality"] == 3
    assert o["fit_success"]
    assert o["fit_status"] == 0
    assert o["covariance"].shape == o["correlation"].shape == (n, n)
    assert len(o["names"]) == len(o["values"]) == len(o["errors"]) == n == 4
    assert o["names"][0] == "bright.amplitude"
    assert o["src_names"][-1] == "diffuse"
    assert o["dloglike"] > 0
    assert 0 <= o["edm"] < 1e-6
    np.testing.assert_allclose(o["loglike"], roi.loglike, rtol=1e-12)
    np.testing.assert_allclose(o["values"], [p.value for p in roi.parameters.free_parameters], rtol=1e-14)
    np.testing.assert_allclose(o["errors"], [p.error for p in roi.parameters.free_parameters])
    np.testing.assert_allclose(o["errors"] ** 2, np.diag(o["covariance"]))
    assert np.all(np.abs(o["values"] - truth) < 5 * o["errors"])
    assert o["config"]["optimizer"] == "NEWTON"
    assert o["is_norm"].all()
    assert not o["at_limits"]


def test_same_as_fit(fitted):
    roi, _, o = fitted
    result = Fit().run(roi.datasets)
    np.testing.assert_allclose(-0.5 * result.total_stat, o["loglike"], rtol=1e-12)
    np.testing.assert_allclose([p.error for p in roi.parameters.free_parameters], o["errors"], rtol=1e-4)


@pytest.mark.parametrize("name", ["MINUIT", "newminuit", "LBFGS", "DRMNGB", "DRMNFB"])
def test_optimizers_of_fermipy(fitted, name):
    roi, _, o = fitted
    roi.set_parameter("bright", "Prefactor", 1.5e-12)
    other = roi.fit(optimizer=name, update=False)
    assert other["fit_quality"] == 3
    assert other["config"]["optimizer"] == name.upper()
    np.testing.assert_allclose(other["loglike"], o["loglike"], atol=1e-3)


def test_optimizer_as_dictionary(fitted):
    roi, _, _ = fitted
    o = roi.fit(optimizer={"optimizer": "MINUIT", "tol": 0.01, "options": {"strategy": 0}}, update=False)
    assert o["config"]["tol"] == 0.01
    assert o["fit_quality"] == 3
    with pytest.raises(ConfigError, match="Did you mean 'retries'"):
        roi.fit(optimizer={"retry": 2})
    with pytest.raises(ConfigError, match="Did you mean 'MINUIT'"):
        roi.fit(optimizer="MINUT")
    with pytest.raises(ConfigError, match=r"max_iter: .* greater than or equal to 1"):
        roi.fit(max_iter=0)


def test_failure_leaves_everything(fitted, caplog):
    roi, _, _ = fitted
    roi.models["bright"].parameters["amplitude"].value *= 5
    roi.fit(update=False)
    roi.models["bright"].parameters["amplitude"].value *= 5
    before, results = state(roi), dict(roi["bright"].results)
    with caplog.at_level(logging.WARNING):
        o = roi.fit(max_iter=1, retries=0, min_fit_quality=3)
    assert not o["fit_success"]
    assert o["fit_quality"] == 0
    assert o["fit_status"] == 1
    assert "left as they were" in o["fit_message"]
    assert "left as they were" in caplog.text
    assert state(roi) == before
    np.testing.assert_equal(roi["bright"].results, results)
    assert roi.fit(update=False)["fit_quality"] == 3


def test_retries_differ(fitted):
    roi, _, _ = fitted
    roi.models["bright"].parameters["amplitude"].value *= 30
    o = roi.fit(max_iter=2, retries=3, update=False)
    methods = [attempt["method"] for attempt in o["attempts"]]
    assert len(set(methods)) == len(methods) > 1
    roi.fit(update=False)


def test_nothing_free():
    roi = fit_roi()
    roi.free_sources(free=False)
    o = roi.fit()
    assert o["fit_quality"] == 3
    assert o["fit_success"]
    assert o["dloglike"] == 0
    assert o["covariance"].shape == (0, 0)
    assert o["loglike"] == pytest.approx(roi.loglike, rel=1e-12)


def test_errors_of_fixed_parameters_stay(fitted):
    roi, _, _ = fitted
    roi.fit(update=False)
    roi.free_source("medium", free=False)
    error = roi.models["medium"].parameters["amplitude"].error
    assert error > 0
    again = roi.fit(update=False)
    assert len(again["values"]) == 3
    assert roi.models["medium"].parameters["amplitude"].error == error
    roi.free_source("medium", pars="norm")


def test_without_covariance(fitted):
    roi, _, _ = fitted
    before = [p.error for p in roi.parameters]
    o = roi.fit(covar=False, update=False)
    assert o["covariance"] is None
    assert o["errors"] is None
    assert o["fit_quality"] == 3
    assert [p.error for p in roi.parameters] == before


def test_degenerate_pair():
    twin = point("twin", 0.4, 0.3, amplitude="4e-13 cm-2 s-1 MeV-1", index=2.0)
    twin.spectral_model.index.frozen = True
    for parameter in twin.spatial_model.parameters:
        parameter.frozen = True
    roi = fit_roi(extra=[twin])
    o = roi.fit(update=False, retries=1)
    assert o["fit_quality"] == 2
    assert o["fit_success"]
    ((first, second, value),) = o["degenerate"]
    assert {first, second} == {"medium", "twin"}
    assert value == pytest.approx(-1, abs=1e-3)
    assert "medium" in o["fit_message"]
    assert "-1.0000" in o["fit_message"]
    before = state(roi)
    assert not roi.fit(min_fit_quality=3, retries=0)["fit_success"]
    assert state(roi) == before


def test_at_a_limit(caplog):
    roi = fit_roi()
    # Where there is nothing: fewer counts than expected there.
    roi.datasets[0].counts.data[:, 13:, :7] = 0
    ghost = point("ghost", 0.75, 0.75)
    ghost.spectral_model.amplitude.min = 0
    for parameter in ghost.spatial_model.parameters:
        parameter.frozen = True
    roi.datasets[0].counts.data[:, 13:, :] = 0
    models = [*roi.models, ghost]
    roi = type(roi)(roi.datasets[0], models)
    with caplog.at_level(logging.WARNING):
        o = roi.fit()
    assert o["fit_quality"] == 3
    assert o["at_limits"] == ["ghost.amplitude"]
    assert "ghost.index" in o["fit_message"]
    assert "ghost.amplitude" in caplog.text
    assert ghost.spectral_model.amplitude.value == 0
    assert o["errors"][o["names"].index("ghost.amplitude")] == 0
    assert roi["ghost"]["flux_ul95"] > 0
    assert roi["ghost"]["ts"] == pytest.approx(0, abs=1e-9)


def test_priors_count(fitted):
    roi, _, o = fitted
    amplitude = roi.models["weak"].parameters["amplitude"]
    amplitude.prior = GaussianPrior(mu=3e-13, sigma=1e-14)
    with_prior = roi.fit(update=False)
    assert amplitude.value > 1.2e-13
    assert with_prior["loglike"] < o["loglike"] - 1
    np.testing.assert_allclose(with_prior["loglike"], roi.loglike, rtol=1e-12)
    amplitude.prior = None
    roi.fit(update=False)


def test_where_a_fit_ends_doesnt_depend_on_its_start():
    """Of parameters near 0, too, such as the tilt of diffuse emission, several digits are right."""
    roi = fit_roi()
    roi.free_source("bright")
    first = roi.fit(update=False)
    for factor in (0.3, 5.0):
        roi.models["bright"].parameters["amplitude"].value *= factor
        roi.models["bright"].parameters["index"].value += 0.3
        again = roi.fit(update=False)
        assert np.max(np.abs(again["values"] - first["values"]) / first["errors"]) < 3e-5

"""Freeing, locking and setting of parameters."""

import astropy.units as u
import numpy as np
import pytest
from region_toys import toy_roi

from villard.exceptions import ModelError, ParameterError
from villard.modeling.prior import GaussianPrior


@pytest.fixture
def roi():
    roi = toy_roi()
    roi.free_sources(free=False)
    return roi


def free(roi):
    return [f"{s.name}.{name}" for s in roi for name in roi.get_free_source_params(s.name)]


def test_groups_of_parameters(roi):
    assert free(roi) == []
    roi.free_source("A far")
    assert free(roi) == ["A far.index", "A far.amplitude"]
    roi.free_shape("A far", False)
    roi.free_index("b near")
    roi.free_norm("A far", False)
    assert free(roi) == ["B near.index"]
    selected = roi.free_sources(distance=0.3, pars="norm")
    assert [source.name for source in selected] == ["B near"]
    assert free(roi) == ["B near.index", "B near.amplitude"]
    roi.free_source("A far", pars=["lon_0", "Prefactor"])
    assert "A far.lon_0" in free(roi)
    # Fixing without naming parameters fixes all.
    roi.free_source("A far", False)
    assert free(roi) == ["B near.index", "B near.amplitude"]
    roi.free_sources_by_name(["A far", "B near"], pars=["Index"])
    assert free(roi) == ["B near.index", "B near.amplitude", "A far.index"]


def test_locked_parameters_stay_fixed(roi):
    roi.lock_parameter("A far", "Index")
    roi.lock_source("B near")
    roi.free_sources()
    assert free(roi) == ["A far.amplitude"]
    with pytest.raises(ParameterError, match="'index' is locked; first call lock_parameter"):
        roi.free_parameter("A far", "index")
    roi.lock_parameter("A far", "Index", lock=False)
    roi.free_parameter("A far", "Index")
    assert free(roi) == ["A far.index", "A far.amplitude"]


def test_vector_of_all(roi):
    roi.free_norm("A far")
    vector = roi.get_free_param_vector()
    assert vector.sum() == 1
    roi.free_sources()
    roi.set_free_param_vector(vector)
    assert free(roi) == ["A far.amplitude"]
    with pytest.raises(ParameterError, match="expected 10 values, found 1"):
        roi.set_free_param_vector([True])


def test_names_that_arent_there(roi):
    with pytest.raises(ModelError, match="Did you mean 'A far'"):
        roi.free_norm("A fra")
    with pytest.raises(ParameterError, match="Did you mean 'index'"):
        roi.free_source("A far", pars=["indx"])
    with pytest.raises(ParameterError, match="'norm', 'shape', 'index', or a list"):
        roi.free_source("A far", pars="norms")
    with pytest.raises(ParameterError, match="no parameter 'Cutoff'"):
        roi.free_sources(pars=["Cutoff"])
    with pytest.raises(ParameterError, match="unknown argument 'distance'"):
        roi.free_source("A far", distance=3)


# Values


def test_values_by_our_names_and_those_of_gtlike(roi):
    spectrum = roi["A far"].spectral_model
    roi.set_parameter("A far", "index", 2.5)
    assert spectrum.index.value == 2.5
    roi.set_parameter("A far", "Index", -2.7)
    assert spectrum.index.value == 2.7
    roi.set_parameter("A far", "Index", 2.2, true_value=False, scale=-1.0)
    assert spectrum.index.value == 2.2
    roi.set_parameter("A far", "Prefactor", 5e-13, error=1e-13)
    assert spectrum.amplitude.quantity.to_value("cm-2 s-1 MeV-1") == pytest.approx(5e-13)
    assert spectrum.amplitude.error == pytest.approx(1e-13)
    roi.set_parameter("A far", "amplitude", 3e-7 * u.Unit("cm-2 s-1 TeV-1"))
    assert spectrum.amplitude.value == pytest.approx(3e-13)
    with pytest.raises(ParameterError, match=r"2 would be a rising spectrum\. Set -2, or 'index' to 2"):
        roi.set_parameter("A far", "Index", 2.0)


def test_values_change_predicted_counts_and_widen_bounds(roi):
    npred = roi["A far"]["npred"]
    roi.set_parameter_bounds("A far", "amplitude", [1.0, 4.0])
    roi.set_parameter("A far", "amplitude", 8e-13)
    amplitude = roi["A far"].spectral_model.amplitude
    assert (amplitude.min, amplitude.max) == pytest.approx((1e-13, 8e-13))
    assert roi["A far"]["npred"] == pytest.approx(4 * npred)
    roi.scale_parameter("A far", "Prefactor", 0.5)
    assert (amplitude.min, amplitude.value, amplitude.max) == pytest.approx((5e-14, 4e-13, 4e-13))


def test_bounds_are_multiples_of_the_scale(roi):
    roi.set_parameter_bounds("A far", "Index", [0, 5])
    index = roi["A far"].spectral_model.index
    assert (index.min, index.max) == (0, 5)
    roi.set_norm_scale("A far", 1e-12)
    roi.set_norm_bounds("A far", [0.1, 10])
    amplitude = roi["A far"].spectral_model.amplitude
    assert (amplitude.min, amplitude.max) == pytest.approx((1e-13, 1e-11))
    roi.set_norm("A far", 0.3)
    assert amplitude.value == pytest.approx(3e-13)
    with pytest.raises(ParameterError, match=r"isn't within .* set it first"):
        roi.set_norm_bounds("A far", [1, 10])
    with pytest.raises(ParameterError, match="expected \\[min, max\\]"):
        roi.set_parameter_bounds("A far", "index", [5, 0])


def test_zeroed_sources_come_back_as_they_were(roi):
    source = roi["A far"]
    amplitude = source.spectral_model.amplitude
    roi.set_norm_bounds("A far", [0.1, 10])
    roi.free_norm("A far")
    before = amplitude.value, amplitude.min, amplitude.frozen, source["npred"]
    roi.zero_source("A far")
    assert (amplitude.value, amplitude.frozen, source["npred"]) == (0, True, 0)
    assert np.isfinite(roi.loglike)
    roi.zero_source("A far")
    roi.unzero_source("A far")
    assert (amplitude.value, amplitude.min, amplitude.frozen, source["npred"]) == pytest.approx(before)
    with pytest.raises(ParameterError, match="wasn't zeroed"):
        roi.unzero_source("A far")


def test_priors_are_part_of_the_likelihood(roi):
    loglike = roi.loglike
    roi.add_gauss_prior("A far", "Index", -2.3, 0.1)
    prior = roi["A far"].spectral_model.index.prior
    assert (prior.mu, prior.sigma) == pytest.approx((2.3, 0.1))
    assert roi.loglike == pytest.approx(loglike - 0.5 * prior(2.0))
    assert prior(2.0) - prior(2.3) == pytest.approx(9)
    roi.remove_prior("A far", "index")
    assert roi.loglike == pytest.approx(loglike)
    with pytest.raises(ParameterError, match="has no error; fit it first"):
        roi.constrain_norms(["A far"])
    roi["A far"].spectral_model.amplitude.error = 1e-14
    roi.constrain_norms(["A far"], cov_scale=2)
    assert isinstance(roi["A far"].spectral_model.amplitude.prior, GaussianPrior)
    assert roi["A far"].spectral_model.amplitude.prior.sigma == pytest.approx(2e-14)
    roi.remove_priors()
    assert roi["A far"].spectral_model.amplitude.prior is None
    with pytest.raises(ParameterError, match="a sigma above 0"):
        roi.add_gauss_prior("A far", "index", 2, 0)


def test_a_zeroed_source_stays_zero(roi):
    roi.free_source("A far")
    before = free(roi)
    roi.zero_source("A far")
    assert free(roi) == []
    roi.free_sources()
    roi.set_free_param_vector(np.ones(len(roi.parameters), dtype=bool))
    assert not any(name.startswith("A far") for name in free(roi))
    with pytest.raises(ParameterError, match="is zeroed; first call unzero_source"):
        roi.free_parameter("A far", "Prefactor")
    with pytest.raises(ParameterError, match="is zeroed"):
        roi.set_norm("A far", 1)
    with pytest.raises(ParameterError, match="is zeroed"):
        roi.set_source_spectrum("A far", "LogParabola")
    roi.free_sources(free=False)
    roi.optimize()
    assert roi["A far"].spectral_model.amplitude.value == 0
    roi.unzero_source("A far")
    assert free(roi) == before
    assert roi["A far"]["npred"] > 0


def test_numbers_that_cant_be_meant(roi):
    for value in ("1e-12 cm-2 s-1", None, [1.0]):
        with pytest.raises(ParameterError, match="A far, 'Prefactor': expected a number, or a quantity in"):
            roi.set_parameter("A far", "Prefactor", value)
    with pytest.raises(ParameterError, match="negative normalisation"):
        roi.set_norm("A far", -1)
    roi.set_norm_bounds("A far", [-5, None])
    roi.set_norm("A far", -1)
    amplitude = roi["A far"].spectral_model.amplitude
    assert amplitude.value < 0
    assert np.isnan(amplitude.max)
    roi.set_norm("A far", 1)
    roi.set_norm_bounds("A far", [None, 10])
    assert np.isnan(amplitude.min)
    assert amplitude.max > 0
    bounds = amplitude.min, amplitude.max
    with pytest.raises(ParameterError, match="expected a factor above 0"):
        roi.scale_parameter("A far", "Prefactor", np.inf)
    assert (amplitude.min, amplitude.max) == pytest.approx(bounds, nan_ok=True)
    for wrong in ([np.nan, 1], ["a", 1], [1]):
        with pytest.raises(ParameterError, match="expected \\[min, max\\]"):
            roi.set_parameter_bounds("A far", "index", wrong)


def test_a_refused_setting_changes_nothing(roi):
    source = roi["A far"]
    index, amplitude = source.spectral_model.index, source.spectral_model.amplitude
    before = [(p.value, p.error, p.min, p.max) for p in (index, amplitude)]
    # Bounds of gtlike's Index are multiples of -1.
    with pytest.raises(ParameterError, match="multiples of the scale, here -1"):
        roi.set_parameter("A far", "Index", -2.5, bounds=[-5, 0])
    with pytest.raises(ParameterError, match="finite"):
        roi.set_parameter("A far", "amplitude", np.nan, scale=1e-3)
    after = [(p.value, p.error, p.min, p.max) for p in (index, amplitude)]
    np.testing.assert_array_equal(after, before)
    assert roi.parameter_scale("A far", "amplitude") == 1e-13
    amplitude.error = 1e-14
    with pytest.raises(ParameterError, match="'B near' has no error"):
        roi.constrain_norms(["A far", "B near"])
    for call, arguments in {
        roi.scale_parameter: ("index", "a"),
        roi.set_parameter_error: ("index", "a"),
        roi.set_parameter_bounds: ("index", None),
    }.items():
        with pytest.raises(ParameterError, match="expected"):
            call("A far", *arguments)
    with pytest.raises(ParameterError, match="cov_scale above 0, found -1"):
        roi.constrain_norms("A far", cov_scale=-1)
    assert amplitude.prior is None


def test_what_is_locked_meanwhile_stays_fixed(roi):
    roi.free_source("A far")
    roi.zero_source("A far")
    roi.lock_parameter("A far", "index")
    roi.unzero_source("A far")
    assert roi.get_free_source_params("A far") == ["amplitude"]
    assert roi["A far"].spectral_model.amplitude.value > 0

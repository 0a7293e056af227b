"""The posterior of a region of interest, and of a cube with a free position: that of the fit's likelihood."""

import numpy as np
import pytest
from region_toys import toy_roi

from villard.bayes import DatasetsPosterior, sample
from villard.modeling import Fit
from villard.modeling.prior import UniformPrior

OPTIONS = {"n_samples": 1500, "n_adapt": 300, "random_state": 1}


def test_posterior_of_a_region() -> None:
    roi = toy_roi()
    roi.free_sources(False)
    roi.free_source("B near", pars=["amplitude", "index"])
    roi.free_source("A far", pars="norm")
    result = Fit().run(roi.datasets)
    assert result.success
    free = roi.datasets.models.parameters.free_parameters
    fitted = [(p.value, p.error) for p in free]
    for p, (value, error) in zip(free, fitted, strict=True):
        p.prior = UniformPrior(min=max(value - 7 * error, 0.0), max=value + 7 * error)
    problem = DatasetsPosterior(roi)
    assert len(problem.names) == len(set(problem.names)) == 3
    # The likelihood is that of the fit.
    best = np.array([value for value, _ in fitted])
    for p, value in zip(free, best, strict=True):
        p.value = value
    assert -2 * problem.log_likelihood(best) == pytest.approx(result.total_stat, abs=1e-6)
    posterior = sample(roi, "importance", **OPTIONS)
    assert posterior.names == problem.names
    for name, (value, error) in zip(problem.names, fitted, strict=True):
        # Poisson likelihoods are skewed: the mean lies above the maximum.
        assert abs(posterior.mean[name] - value) < 0.5 * error, name
        assert posterior.sd[name] == pytest.approx(error, rel=0.2), name


def test_posterior_of_a_position() -> None:
    roi = toy_roi()
    roi.free_sources(False)
    place = roi.datasets.models["B near"].spatial_model
    place.lon_0.frozen = place.lat_0.frozen = False
    assert Fit().run(roi.datasets).success
    fitted = {p.name: (p.value, p.error) for p in (place.lon_0, place.lat_0)}
    for p in (place.lon_0, place.lat_0):
        p.prior = UniformPrior(min=p.value - 6 * p.error, max=p.value + 6 * p.error)
    # Each point folds the source anew.
    few = {"n_samples": 400, "n_adapt": 128, "check_prior": False, "refine_evidence": False}
    posterior = sample(list(roi.datasets), "importance", **OPTIONS | few)
    for name, (value, error) in fitted.items():
        assert abs(posterior.mean[name] - value) < 0.5 * error
        assert posterior.sd[name] == pytest.approx(error, rel=0.2)
        assert posterior.units[name] == "deg"

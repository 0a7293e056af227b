"""A radiative model of naima goes through the fit like any other, with derivatives by differences."""

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from engine_toys import Toy, measurement
from numpy.testing import assert_allclose

from villard.likelihood import bind
from villard.modeling import Fit
from villard.modeling.models import NaimaSpectralModel, SkyModel

naima = pytest.importorskip("naima", reason="needs the extra naima")


def pion_decay(alpha: float = 2.2, amplitude: float = 5e36) -> SkyModel:
    particle = naima.models.PowerLaw(amplitude=amplitude / u.eV, e_0=10 * u.TeV, alpha=alpha)
    radiation = naima.models.PionDecay(particle, nh=1 / u.cm**3)
    return SkyModel(NaimaSpectralModel(radiation, distance=1 * u.kpc), name="remnant")


def asimov(truth: SkyModel) -> Any:
    """A toy whose counts are those that the model predicts."""
    return measurement(statistic="cash", n_bins=6, n_true=8, models=[truth], asimov=True)


def test_fit_of_asimov_data_gives_back_the_truth() -> None:
    toy = asimov(pion_decay())
    model = pion_decay(alpha=2.6, amplitude=1e36)
    result = Fit().run(Toy(toy, [model]))
    assert result.success, result.message
    assert result.covariance_result is not None
    assert result.covariance_result.quality == 3
    assert_allclose(model.spectral_model.alpha.value, 2.2, rtol=1e-4)
    assert_allclose(model.spectral_model.amplitude.value, 5e36, rtol=1e-3)
    assert model.spectral_model.e_0.frozen


def test_gradient_agrees_with_differences() -> None:
    model = pion_decay(alpha=2.4)
    dataset = Toy(asimov(pion_decay()), [model])
    likelihood = bind([dataset], [model])
    value, gradient = likelihood.value_and_gradient()
    theta = likelihood.theta
    for i, step in enumerate(1e-4 * np.eye(len(theta))):
        difference = (likelihood.stat(theta + step) - likelihood.stat(theta - step)) / 2e-4
        assert_allclose(gradient[i], difference, rtol=1e-3, atol=1e-6 * abs(value))


def test_amplitude_alone_is_exact() -> None:
    """With the shape frozen, the model is folded once and scaled."""
    model = pion_decay(amplitude=1e36)
    model.spectral_model.alpha.frozen = True
    result = Fit().run(Toy(asimov(pion_decay()), [model]))
    assert result.success
    assert result.nfev <= 5
    assert_allclose(model.spectral_model.amplitude.value, 5e36, rtol=1e-6)

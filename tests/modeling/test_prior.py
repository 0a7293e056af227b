"""Priors: reference numbers, normalisation, quantiles, derivatives, units, and what isn't one."""

import json
import math
from itertools import pairwise
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from villard._jax import jax, jnp
from villard.exceptions import ModelError, ParameterError, UnitsError
from villard.modeling.models import PowerLawSpectralModel, SkyModel
from villard.modeling.prior import (
    _PRIORS,
    GaussianPrior,
    GeneralizedGaussianPrior,
    LogUniformPrior,
    Prior,
    UniformPrior,
)
from villard.utils.array import namespace

_PATH = Path(__file__).parents[1] / "reference" / "priors.json"
ENTRIES = json.loads(_PATH.read_text())["entries"]
PRIORS = [
    GaussianPrior(mu=2.3, sigma=0.4),
    GeneralizedGaussianPrior(mu=2, sigma=0.3, eta=0.2),
    GeneralizedGaussianPrior(mu=-1, sigma=0.3, eta=1.7),
    UniformPrior(min=-1, max=5),
    LogUniformPrior(min=0.1, max=7),
]
IDS = ["gauss", "box-like", "cuspy", "uniform", "log-uniform"]


def make(entry):
    return _PRIORS[entry["inputs"]["prior"]](**entry["inputs"]["parameters"])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e["id"])
def test_reference(entry):
    prior, inputs = make(entry), entry["inputs"]
    found = prior(np.array(inputs["x"])) if "x" in inputs else prior.inverse_cdf(inputs["q"])
    expected = np.array([float(value) for value in entry["expected"]])
    np.testing.assert_allclose(found, expected, rtol=entry["rtol"], atol=entry["atol"])


def density(prior):
    return lambda x: float(np.exp(-0.5 * prior(float(x))))


def bounds(prior):
    low, high = prior.support
    return (
        (low, high)
        if math.isfinite(low)
        else (float(prior.inverse_cdf(1e-14)), float(prior.inverse_cdf(1 - 1e-14)))
    )


@pytest.mark.parametrize("prior", PRIORS, ids=IDS)
def test_priors_are_normalised(prior):
    low, high = bounds(prior)
    middle = float(prior.inverse_cdf(0.5))
    total = sum(
        quad(density(prior), a, b, epsabs=1e-12, limit=500)[0] for a, b in ((low, middle), (middle, high))
    )
    np.testing.assert_allclose(total, 1, rtol=1e-7)


@pytest.mark.parametrize("prior", PRIORS, ids=IDS)
@pytest.mark.parametrize("quantile", [0.025, 0.3, 0.5, 0.77, 0.999])
def test_quantiles(prior, quantile):
    low, _ = bounds(prior)
    x = float(prior.inverse_cdf(quantile))
    points = sorted({low, min(x, float(prior.inverse_cdf(0.5))), x})
    total = sum(quad(density(prior), a, b, epsabs=1e-12, limit=500)[0] for a, b in pairwise(points))
    np.testing.assert_allclose(total, quantile, rtol=1e-6)


@pytest.mark.parametrize("prior", PRIORS, ids=IDS)
@given(quantile=st.floats(0.02, 0.98))
def test_derivatives(prior, quantile):
    x = float(prior.inverse_cdf(quantile))
    if isinstance(prior, GeneralizedGaussianPrior) and abs(x - prior.mu) < 1e-2:
        x += 0.05
    values = [jnp.asarray(v) for v in prior.values.values()]

    def function(x):
        return type(prior).evaluate(x, *values)

    np.testing.assert_allclose(function(jnp.asarray(x)), prior(x), rtol=1e-12)
    step = 1e-5 * max(abs(x), 0.1)
    first = (prior(x + step) - prior(x - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(function)(x), first, rtol=1e-5, atol=1e-5)
    gradient = jax.grad(function)
    second = (gradient(x + step) - gradient(x - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(gradient)(x), second, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", PRIORS, ids=IDS)
def test_derivatives_are_finite_at_the_centre_and_outside(prior):
    values = [jnp.asarray(v) for v in prior.values.values()]
    for x in (float(prior.inverse_cdf(0.5)), 20.0, -20.0):
        gradient = jax.grad(lambda x: type(prior).evaluate(x, *values))(x)
        assert np.isfinite(gradient)


def test_generalised_gaussian_contains_the_others():
    x = np.linspace(-3, 3, 13)
    gauss, general = GaussianPrior(mu=1, sigma=0.7), GeneralizedGaussianPrior(mu=1, sigma=0.7, eta=0.5)
    np.testing.assert_allclose(general(x), gauss(x))
    laplace = GeneralizedGaussianPrior(mu=1, sigma=0.7, eta=1)
    scale = math.sqrt(2) * 0.7
    np.testing.assert_allclose(laplace(x), 2 * (np.abs(x - 1) / scale + math.log(2 * scale)))


@given(factor=st.floats(1e-6, 1e6), weight=st.floats(0, 10))
def test_weights_and_scales(factor, weight):
    prior = GaussianPrior(mu=2, sigma=0.5, weight=weight)
    np.testing.assert_allclose(prior(1.3), weight * GaussianPrior(mu=2, sigma=0.5)(1.3))
    scaled = GaussianPrior(mu=2 * factor, sigma=0.5 * factor)
    np.testing.assert_allclose(
        scaled(1.3 * factor) - GaussianPrior(mu=2, sigma=0.5)(1.3), 2 * math.log(factor), atol=1e-9
    )


def test_bounds():
    uniform = UniformPrior(min=1, max=3)
    assert uniform.support == (1, 3)
    assert np.isinf(uniform(np.array([0.99, 3.01]))).all()
    assert np.isinf(LogUniformPrior(min=1, max=3)(np.array([0.0, -1, 4]))).all()
    assert GaussianPrior().support == (-math.inf, math.inf)


def test_priors_in_other_units():
    model = PowerLawSpectralModel(amplitude="3e-12 cm-2 s-1 TeV-1")
    model.amplitude.prior = UniformPrior(min="1e-8 m-2 s-1 TeV-1", max="1e-7 m-2 s-1 TeV-1")
    assert model.amplitude.prior.support == pytest.approx((1e-12, 1e-11))
    with pytest.raises(UnitsError, match="prior value 'mu'"):
        model.amplitude.prior = GaussianPrior(mu=3 * u.m, sigma=1)


@pytest.mark.parametrize(
    ("make_prior", "error", "match"),
    [
        (lambda: GaussianPrior(sigma=0), ParameterError, "sigma must be positive, found 0"),
        (lambda: GeneralizedGaussianPrior(eta=-1), ParameterError, "eta must be positive"),
        (lambda: UniformPrior(min=3, max=1), ParameterError, "max must be above min"),
        (lambda: LogUniformPrior(min=0), ParameterError, "min must be positive"),
        (lambda: GaussianPrior(mue=1), ModelError, "Did you mean 'mu'"),
        (lambda: GaussianPrior(mu=math.nan), ParameterError, "finite number"),
        (lambda: GaussianPrior(mu="a lot"), ParameterError, "expected a number or quantity"),
        (lambda: Prior.from_dict({"type": "GausPrior"}), ModelError, "Did you mean 'GaussianPrior'"),
    ],
)
def test_priors_that_are_none(make_prior, error, match):
    with pytest.raises(error, match=match):
        make_prior()


# Priors of users


class HalfCauchyPrior(Prior):
    """Density 2 / (π γ (1 + (x / γ)²)) for positive values."""

    defaults = {"gamma": 1.0}
    scaled = ("gamma",)

    @staticmethod
    def evaluate(value, gamma):
        xp = namespace(value, gamma)
        return -2 * xp.log(2 / (math.pi * gamma * (1 + (value / gamma) ** 2)))


class MathPrior(Prior):
    """Written with functions that only know numbers."""

    defaults = {"gamma": 1.0}

    @staticmethod
    def evaluate(value, gamma):
        return math.log(value**2 + gamma**2)


class NumpyPrior(Prior):
    """Written with functions that only know numpy arrays."""

    defaults = {"gamma": 1.0}

    @staticmethod
    def evaluate(value, gamma):
        return np.log(np.asarray(value) ** 2 + gamma**2)


class BranchingPrior(Prior):
    """Written with a branch."""

    defaults = {"gamma": 1.0}

    @staticmethod
    def evaluate(value, gamma):
        return value**2 if value > gamma else 0.0


def fit(prior):
    """Value and gradient of a likelihood of two bins with this prior."""
    from villard.datasets import SpectrumDataset
    from villard.likelihood import bind
    from villard.maps import MapAxis, RegionNDMap

    energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    true = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    dataset = SpectrumDataset(
        counts=RegionNDMap.create(None, axes=[energy], unit=""),
        exposure=RegionNDMap.create(None, axes=[true], unit="cm2 s"),
        name="a",
    )
    dataset.counts.data += 3
    dataset.exposure.data += 1e12
    model = SkyModel(PowerLawSpectralModel(index=2), name="source")
    model.spectral_model.index.prior = prior
    return bind([dataset], [model])


def test_own_prior_in_a_fit():
    prior = HalfCauchyPrior(gamma=2)
    with_prior, without = fit(prior), fit(None)
    np.testing.assert_allclose(with_prior.stat() - without.stat(), prior(2.0), rtol=1e-9)
    gradients = [likelihood.value_and_gradient()[1] for likelihood in (with_prior, without)]
    i, factor = 0, with_prior.to_values(with_prior.theta)[0] / with_prior.theta[0]
    difference = (gradients[0] - gradients[1])[i] / factor
    np.testing.assert_allclose(difference, (prior(2.001) - prior(1.999)) / 2e-3, rtol=1e-5)
    with pytest.raises(ModelError, match=r"MathPrior\.evaluate can't be differentiated"):
        fit(MathPrior()).value_and_gradient()


@pytest.mark.parametrize("prior", [MathPrior, NumpyPrior, BranchingPrior])
def test_priors_that_cannot_be_differentiated(prior):
    values = prior()
    assert np.isfinite(values(2.0))
    with pytest.raises(ModelError, match=rf"{prior.__name__}\.evaluate can't be differentiated.*namespace"):
        jax.jit(lambda x: prior.evaluate(x, 1.0))(2.0)


def test_own_priors_are_checked():
    with pytest.raises(
        ModelError, match=r"expected a static method of \(value, a, b\), found \(value, b, a\)"
    ):

        class Wrong(Prior):
            defaults = {"a": 1.0, "b": 2.0}

            @staticmethod
            def evaluate(value, b, a):
                return value

    with pytest.raises(NotImplementedError, match="has no inverse_cdf"):
        HalfCauchyPrior().inverse_cdf(0.5)

"""The compiled value, gradient and Hessian against the plain formula, automatic and finite differences."""

from typing import Any

import numpy as np
import pytest
from engine_toys import (
    Toy,
    cutoff,
    log_parabola,
    measurement,
    power_law,
    two_lines,
)
from numpy.testing import assert_allclose

from villard._jax import jax, jnp
from villard.likelihood import bind
from villard.likelihood.predict import bin_flux, predict, stat_array
from villard.likelihood.statistics import STATISTICS
from villard.modeling.models import GaussianPrior, GeneralizedGaussianPrior, LogUniformPrior, UniformPrior
from villard.modeling.prior import Prior
from villard.utils.array import namespace


class CauchyPrior(Prior):
    """A user's prior."""

    defaults = {"mu": 0.0, "gamma": 1.0}

    @staticmethod
    def evaluate(value: Any, mu: Any, gamma: Any) -> Any:
        xp = namespace(value, mu, gamma)
        return 2 * xp.log(1 + ((value - mu) / gamma) ** 2) + 2 * xp.log(np.pi * gamma)


def scaled_cutoff() -> Any:
    model = cutoff()
    model.spectral_model.amplitude.quantity = "3e-7 m-2 s-1 TeV-1"
    return model


def linked() -> list[Any]:
    """Two sources with one index, and one more with its curvature equal to its slope."""
    first, second, third = power_law("first"), power_law("second"), log_parabola("third")
    second.spectral_model.index = first.spectral_model.index
    third.spectral_model.beta = third.spectral_model.alpha
    third.spectral_model.alpha.value = 0.7
    return [first, second, third]


def with_priors() -> list[Any]:
    model, other = log_parabola(), power_law()
    model.spectral_model.alpha.prior = GaussianPrior(mu=2, sigma=0.3)
    model.spectral_model.beta.prior = GeneralizedGaussianPrior(mu=0.1, sigma=0.2, eta=0.3)
    model.spectral_model.amplitude.prior = LogUniformPrior(min=1e-14, max=1e-9)
    other.spectral_model.index.prior = CauchyPrior(mu=2, gamma=0.5)
    other.spectral_model.amplitude.prior = UniformPrior(min=0, max=1e-10)
    other.spectral_model.reference.prior = GaussianPrior(mu=1, sigma=0.1)  # frozen: a constant
    return [model, other]


def frozen_mix() -> list[Any]:
    """One source of each binding class, twice the norm class."""
    constant, norm, spectral = power_law("constant"), power_law("norm"), log_parabola("spectral")
    also, fixed_norm = cutoff("also"), cutoff("fixed_norm")
    constant.freeze()
    norm.spectral_model.index.frozen = True
    also.parameters.freeze_all()
    also.spectral_model.amplitude.frozen = False
    fixed_norm.spectral_model.amplitude.frozen = True
    return [constant, norm, spectral, also, fixed_norm]


MODELS = {
    "power law": lambda: [power_law()],
    "log-parabola": lambda: [log_parabola()],
    "user's model": lambda: [scaled_cutoff()],
    "two norms": lambda: [two_lines()],
    "several": lambda: [power_law("a"), power_law("b", index=3), log_parabola(), cutoff(), two_lines()],
    "linked": linked,
    "priors": with_priors,
    "frozen mix": frozen_mix,
}
# Every set of models with one statistic, and every statistic with one set of models.
CASES = [
    *(("wstat", kind) for kind in MODELS),
    *((statistic, "frozen mix") for statistic in ("cash", "cstat", "chi2", "distrib", "censored")),
]


def plain(datasets: list[Any], models: list[Any], likelihood: Any) -> Any:
    """-2 ln L as a function of θ, written without binding, stacking, padding or analytic derivatives."""
    free, scale = likelihood.parameters, likelihood.scale

    def function(theta: Any) -> Any:
        def value_of(p: Any) -> Any:
            position = [i for i, q in enumerate(free) if q is p]
            return theta[position[0]] * scale[position[0]] if position else p.engine_value

        total = 0.0
        for dataset in datasets:
            m = dataset.measurement()
            npred = jnp.zeros(m.n_bins) if m.background is None else jnp.asarray(m.background)
            for model in models:
                if not model.contributes_to(m.name):
                    continue
                pure, response = model.spectral_model.pure(), m.response(model)
                values = jnp.stack([jnp.asarray(value_of(p)) for p in model.spectral_model.parameters])
                low, high = response.energy_min, response.energy_max
                flux = bin_flux(pure, low, high, values, pure.arrays, response.order)
                npred = npred + flux @ response.matrix
            stat = STATISTICS[m.statistic].value(npred, {k: jnp.asarray(v) for k, v in m.data.items()})
            total = total + jnp.sum(stat[m.mask])
        unique = {id(p): p for model in models for p in model.parameters}
        for p in unique.values():
            if p.prior is not None:
                values = [jnp.asarray(v) for v in p.prior.values.values()]
                x = jnp.asarray(value_of(p)) / p.engine_factor
                total = total + p.prior.weight * type(p.prior).evaluate(x, *values)
        return total

    return function


def setup(statistic: str, kind: str) -> tuple[list[Any], list[Any], Any]:
    models = MODELS[kind]()
    datasets = [
        Toy(measurement("one", statistic, n_bins=12, n_true=20), models),
        Toy(measurement("two", statistic, n_bins=21, n_true=None, seed=2), models),
    ]
    return datasets, models, bind(datasets, models)


@pytest.mark.parametrize(("statistic", "kind"), CASES)
def test_value_is_that_of_predictions(statistic: str, kind: str) -> None:
    datasets, models, likelihood = setup(statistic, kind)
    expected = sum(p.prior_stat_sum() for p in {id(p): p for m in models for p in m.parameters}.values())
    for dataset in datasets:
        m = dataset.measurement()
        npred = predict(m, models) + (0 if m.background is None else m.background)
        expected += np.sum(stat_array(m, npred)[m.mask])
    assert_allclose(likelihood.stat(), expected, rtol=1e-12)


def finite_differences(function: Any, theta: Any, step: float = 1e-4) -> Any:
    """Derivatives by central differences of sixth order, shape (..., n)."""
    columns = []
    for i in range(len(theta)):
        h = np.zeros(len(theta))
        h[i] = step * max(abs(theta[i]), 1e-2)
        difference = sum(
            w * (np.asarray(function(theta + k * h)) - np.asarray(function(theta - k * h)))
            for k, w in ((1, 45), (2, -9), (3, 1))
        )
        columns.append(difference / (60 * h[i]))
    return np.stack(columns, axis=-1)


def start(likelihood: Any) -> Any:
    """A point that isn't special."""
    return likelihood.theta * (1 + 0.05 * np.cos(np.arange(likelihood.n_free)))


@pytest.mark.parametrize(("statistic", "kind"), CASES)
def test_gradient_and_hessian_are_those_of_the_plain_formula(statistic: str, kind: str) -> None:
    datasets, models, likelihood = setup(statistic, kind)
    theta = start(likelihood)
    plain_terms = jax.jit(jax.value_and_grad(plain(datasets, models, likelihood)))
    value, gradient = likelihood.value_and_gradient(theta)
    expected, slope = plain_terms(theta)
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * np.max(np.abs(slope)))
    numerical = finite_differences(likelihood.stat, theta)
    assert_allclose(gradient, numerical, rtol=1e-5, atol=1e-6 * np.max(np.abs(slope)))
    hessian = likelihood.hessian(theta)
    numerical = finite_differences(lambda t: plain_terms(t)[1], theta)
    assert_allclose(hessian, numerical, rtol=1e-6, atol=1e-7 * np.max(np.abs(hessian)))
    assert_allclose(hessian, hessian.T, rtol=0, atol=1e-12 * np.max(np.abs(hessian)))


def test_hessian_is_the_automatic_one() -> None:
    datasets, models, likelihood = setup("cash", "linked")
    theta = start(likelihood)
    expected = jax.jit(jax.hessian(plain(datasets[:1], models, bind(datasets[:1], models))))(theta)
    hessian = bind(datasets[:1], models).hessian(theta)
    assert_allclose(hessian, expected, rtol=1e-11, atol=1e-12 * np.max(np.abs(expected)))

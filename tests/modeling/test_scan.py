"""Profiles, surfaces, contours and intervals, against closed forms and single fits."""

from typing import Any

import numpy as np
import pytest
from engine_toys import AMPLITUDE, Toy, cutoff, log_parabola, measurement, power_law
from numpy.testing import assert_allclose, assert_array_equal

from villard.exceptions import FitError, ParameterError
from villard.likelihood import bind
from villard.modeling import Fit
from villard.modeling.models import GaussianPrior


def linear(statistic: str = "chi2") -> tuple[Toy, Any]:
    """Two amplitudes and Gaussian errors: the statistic is a parabola, whose contours are ellipses."""
    models = [power_law("soft", index=3.0), power_law("hard", index=2.0)]
    for model in models:
        model.spectral_model.index.frozen = True
    dataset = Toy(measurement(statistic=statistic), models)
    Fit().run(dataset)
    return dataset, [model.spectral_model.amplitude for model in models]


def fitted(make: Any = log_parabola, **kwargs: Any) -> tuple[Toy, Any]:
    model = make("crab")
    dataset = Toy(measurement(**kwargs), [model])
    Fit().run(dataset)
    return dataset, model.spectral_model


def state(dataset: Toy) -> list[Any]:
    return [(p.value, p.error, p.frozen) for p in dataset.models.parameters]


def test_profile_of_a_parabola() -> None:
    dataset, (soft, _) = linear()
    minimum = bind([dataset]).stat()
    profile = Fit().stat_profile(dataset, soft, reoptimize=True)
    assert_array_equal(profile["soft.spectral.amplitude_scan"], soft.scan_values)
    expected = minimum + ((soft.scan_values - soft.value) / soft.error) ** 2
    assert_allclose(profile["stat_scan"], expected, rtol=1e-9)
    fixed = Fit().stat_profile(dataset, soft)
    hessian = np.linalg.inv(dataset.models.covariance.get_subcovariance([soft, linear_hard(dataset)]).data)
    expected = minimum + hessian[0, 0] * (soft.scan_values - soft.value) ** 2
    assert_allclose(fixed["stat_scan"], expected, rtol=1e-9)
    assert fixed["fit_results"] == []


def linear_hard(dataset: Toy) -> Any:
    return dataset.models["hard"].spectral_model.amplitude


def test_surface_of_a_parabola() -> None:
    dataset, (soft, hard) = linear()
    soft.scan_n_values, hard.scan_n_values = 5, 7
    before = state(dataset)
    surface = Fit().stat_surface(dataset, soft, hard)
    assert surface["stat_scan"].shape == (5, 7)
    covariance = dataset.models.covariance.get_subcovariance([soft, hard]).data
    grid = np.meshgrid(soft.scan_values - soft.value, hard.scan_values - hard.value, indexing="ij")
    delta = np.stack(grid, axis=-1)
    expected = bind([dataset]).stat() + np.einsum("xyi,ij,xyj->xy", delta, np.linalg.inv(covariance), delta)
    assert_allclose(surface["stat_scan"], expected, rtol=1e-9)
    # Nothing is left to refit.
    refitted = Fit().stat_surface(dataset, soft, hard, reoptimize=True)
    assert_allclose(refitted["stat_scan"], expected, rtol=1e-9)
    assert state(dataset) == before


@pytest.mark.parametrize("sigma", [0.5, 1, 3])
def test_contour_of_a_parabola(sigma: float) -> None:
    dataset, (soft, hard) = linear()
    before = state(dataset)
    contour = Fit().stat_contour(dataset, soft, hard, numpoints=16, sigma=sigma)
    assert contour["success"]
    delta = np.stack(
        [
            contour["soft.spectral.amplitude"] - soft.value,
            contour["hard.spectral.amplitude"] - hard.value,
        ]
    )
    assert delta.shape == (2, 17)
    assert_array_equal(delta[:, 0], delta[:, -1])
    covariance = dataset.models.covariance.get_subcovariance([soft, hard]).data
    distance = np.einsum("ip,ij,jp->p", delta, np.linalg.inv(covariance), delta)
    assert_allclose(distance, sigma**2, rtol=1e-5)
    # In units of the covariance the points are spread evenly.
    white = np.linalg.inv(np.linalg.cholesky(covariance)) @ delta[:, :-1]
    angles = np.sort(np.arctan2(white[1], white[0]))
    assert_allclose(np.diff(angles), 2 * np.pi / 16, rtol=1e-4)
    assert state(dataset) == before


@pytest.mark.parametrize("sigma", [1, 2])
def test_interval_of_a_parabola(sigma: float) -> None:
    dataset, (soft, _) = linear()
    interval = Fit().confidence(dataset, soft, sigma=sigma)
    assert interval["success"]
    assert_allclose([interval["errn"], interval["errp"]], sigma * soft.error, rtol=1e-5)
    fixed = Fit().confidence(dataset, soft, sigma=sigma, reoptimize=False)
    assert fixed["errp"] < interval["errp"]
    profile_error = 1 / np.sqrt(
        np.linalg.inv(dataset.models.covariance.get_subcovariance([soft, linear_hard(dataset)]).data)[0, 0]
    )
    assert_allclose(fixed["errp"], sigma * profile_error, rtol=1e-5)


def test_interval_of_a_counting_experiment() -> None:
    """One amplitude and no background: the interval of a Poisson mean, 2 (μ - n - n ln(μ/n)) = 1."""
    from scipy.optimize import brentq

    model = power_law("crab")
    model.spectral_model.index.frozen = True
    record = measurement(statistic="cash", n_true=None)
    object.__setattr__(record, "background", None)
    dataset = Toy(record, [model])
    result = Fit().run(dataset)
    amplitude = result.parameters["amplitude"].value
    n = record.data["counts"][record.mask].sum()
    low, high = (
        brentq(lambda mu: 2 * (mu - n - n * np.log(mu / n)) - 1, *bounds)
        for bounds in ((0.5 * n, n), (n, 2 * n))
    )
    interval = Fit().confidence(dataset, model.spectral_model.amplitude)
    assert_allclose(interval["errn"], amplitude * (1 - low / n), rtol=1e-5)
    assert_allclose(interval["errp"], amplitude * (high / n - 1), rtol=1e-5)
    assert_allclose(result.parameters["amplitude"].error, amplitude / np.sqrt(n), rtol=1e-6)


def test_refitted_profile_is_many_fits() -> None:
    dataset, spectrum = fitted()
    spectrum.alpha.scan_n_values = 5
    profile = Fit().stat_profile(dataset, spectrum.alpha, reoptimize=True)
    table = profile["fit_results"]
    for i, value in enumerate(spectrum.alpha.scan_values):
        model = log_parabola("crab")
        model.spectral_model.alpha.value = value
        model.spectral_model.alpha.frozen = True
        result = Fit().run(Toy(dataset.measurement(), [model]))
        assert_allclose(profile["stat_scan"][i], result.total_stat, atol=1e-7)
        for name in ("amplitude", "beta"):
            parameter = result.parameters[name]
            assert abs(table[f"crab.spectral.{name}"][i] - parameter.value) < 1e-3 * parameter.error


@pytest.mark.parametrize("make", [log_parabola, cutoff])
def test_contour_lies_on_the_refitted_likelihood(make: Any) -> None:
    dataset, spectrum = fitted(make, exposure=2e12)
    names = [p.name for p in spectrum.parameters.free_parameters][:2]
    first, second = (spectrum.parameters[name] for name in names)
    contour = Fit().stat_contour(dataset, first, second, sigma=2)
    assert contour["success"], contour["message"]
    likelihood = bind([dataset])
    best = likelihood.minimize().value
    for x, y in zip(contour[f"crab.spectral.{names[0]}"], contour[f"crab.spectral.{names[1]}"], strict=True):
        theta = likelihood.theta.copy()
        columns = [likelihood.column(p) for p in (first, second)]
        scaled = likelihood.to_theta(likelihood.to_values(theta))
        values = likelihood.to_values(scaled)
        values[columns] = x, y
        active = np.ones(likelihood.n_free, dtype=bool)
        active[columns] = False
        solution = likelihood.minimize(likelihood.to_theta(values), active=active)
        assert_allclose(solution.value - best, 4, atol=1e-5)


def test_contour_projects_on_the_intervals() -> None:
    """The extent of a contour at sigma along a parameter is its interval at the same sigma."""
    dataset, spectrum = fitted()
    contour = Fit().stat_contour(dataset, spectrum.alpha, spectrum.beta, numpoints=200)
    for parameter in (spectrum.alpha, spectrum.beta):
        points = contour[f"crab.spectral.{parameter.name}"]
        interval = Fit().confidence(dataset, parameter)
        assert_allclose(points.max() - parameter.value, interval["errp"], rtol=2e-3)
        assert_allclose(parameter.value - points.min(), interval["errn"], rtol=2e-3)


def test_interval_ends_at_a_limit() -> None:
    dataset, spectrum = fitted()
    spectrum.alpha.min = spectrum.alpha.value - 0.3 * spectrum.alpha.error
    interval = Fit().confidence(dataset, spectrum.alpha)
    assert not interval["success"]
    assert "1 of 2 points end at a limit of alpha" in interval["message"]
    assert_allclose(interval["errn"], 0.3 * spectrum.alpha.error, rtol=1e-3)
    assert interval["errp"] > 0.5 * spectrum.alpha.error


def test_contour_at_a_limit_says_so() -> None:
    dataset, spectrum = fitted()
    spectrum.beta.max = spectrum.beta.value + 0.3 * spectrum.beta.error
    contour = Fit().stat_contour(dataset, spectrum.alpha, spectrum.beta)
    assert not contour["success"]
    assert "end at a limit of alpha or beta" in contour["message"]
    assert np.nanmax(contour["crab.spectral.beta"]) <= spectrum.beta.max * (1 + 1e-12)


def test_interval_with_prior() -> None:
    dataset, (soft, _) = linear()
    error = soft.error
    soft.prior = GaussianPrior(mu=soft.value, sigma=error)
    interval = Fit().confidence(dataset, soft)
    assert_allclose(interval["errp"], error / np.sqrt(2), rtol=1e-5)


def test_scan_beyond_the_limits() -> None:
    """Scans go where they are told, also where fits may not."""
    dataset, spectrum = fitted()
    spectrum.alpha.scan_values = [1.0, 2.0, 3.0]
    expected = Fit().stat_profile(dataset, spectrum.alpha, reoptimize=True)["stat_scan"]
    spectrum.alpha.min = 2.05
    profile = Fit().stat_profile(dataset, spectrum.alpha, reoptimize=True)
    assert_array_equal(profile["crab.spectral.alpha_scan"], [1, 2, 3])
    assert_allclose(profile["stat_scan"], expected, rtol=1e-8)


def test_scan_of_a_frozen_parameter() -> None:
    dataset, spectrum = fitted()
    spectrum.beta.frozen = True
    spectrum.beta.scan_values = [0.0, 0.1, 0.2]
    before = state(dataset)
    profile = Fit().stat_profile(dataset, spectrum.beta, reoptimize=True)
    assert np.all(np.isfinite(profile["stat_scan"]))
    assert state(dataset) == before
    assert spectrum.beta.frozen


def test_parameter_of_the_result_and_its_name() -> None:
    dataset, spectrum = fitted()
    spectrum.alpha.scan_values = [2.0, 2.5]
    result = Fit().run(dataset)
    expected = Fit().stat_profile(dataset, spectrum.alpha)["stat_scan"]
    for parameter in (result.parameters["alpha"], "alpha", "crab.spectral.alpha"):
        assert_allclose(Fit().stat_profile(dataset, parameter)["stat_scan"], expected)


def test_scan_values_follow_the_error() -> None:
    dataset, spectrum = fitted()
    profile = Fit().stat_profile(dataset, spectrum.alpha)
    values = profile["crab.spectral.alpha_scan"]
    assert_allclose(values[[0, -1]], spectrum.alpha.value + np.array([-2, 2]) * spectrum.alpha.error)
    assert_allclose(values[5], spectrum.alpha.value)
    assert profile["stat_scan"].argmin() == 5


def test_large_surface_is_the_same_as_its_rows() -> None:
    dataset, spectrum = fitted()
    spectrum.alpha.scan_n_values, spectrum.beta.scan_n_values = 13, 11
    surface = Fit().stat_surface(dataset, spectrum.alpha, spectrum.beta, reoptimize=True)["stat_scan"]
    alpha, beta = spectrum.alpha.scan_values, spectrum.beta.scan_values
    spectrum.alpha.scan_values = alpha[[4, 9]]
    spectrum.beta.scan_values = beta
    rows = Fit().stat_surface(dataset, spectrum.alpha, spectrum.beta, reoptimize=True)["stat_scan"]
    assert_allclose(surface[[4, 9]], rows, atol=1e-7)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda f, d, s: f.stat_contour(d, s.alpha, s.alpha),
            FitError,
            "two parameters, found 'alpha' twice",
        ),
        (lambda f, d, s: f.stat_surface(d, s.beta, s.beta), FitError, "two parameters, found 'beta' twice"),
        (lambda f, d, s: f.stat_contour(d, s.alpha, s.beta, numpoints=2), FitError, "at least 3 points"),
        (lambda f, d, s: f.stat_contour(d, s.alpha, s.beta, sigma=0), FitError, "sigma: expected a positive"),
        (lambda f, d, s: f.confidence(d, s.alpha, sigma=-1), FitError, "sigma: expected a positive"),
        (lambda f, d, s: f.confidence(d, "alhpa"), ParameterError, "Did you mean 'alpha'"),
        (lambda f, d, s: f.confidence(d, 3), FitError, "Expected a parameter or its name, found int"),
        (lambda f, d, s: f.stat_profile([], s.alpha), FitError, "no datasets"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    dataset, spectrum = fitted()
    with pytest.raises(error, match=message):
        call(Fit(), dataset, spectrum)


def test_bad_confidence_options() -> None:
    dataset, spectrum = fitted()
    with pytest.raises(FitError, match=r"confidence_opts: no option 'tool'\. Did you mean 'tol'"):
        Fit(confidence_opts={"tool": 1e-3}).confidence(dataset, spectrum.alpha)


def test_scan_without_error() -> None:
    dataset = Toy(measurement(), [power_law("crab", amplitude=f"{AMPLITUDE} TeV-1 cm-2 s-1")])
    with pytest.raises(ParameterError, match="'index' has no error: fit first"):
        Fit().stat_profile(dataset, "index")


@pytest.mark.parametrize("limited", [["soft"], ["hard"], ["soft", "hard"]])
def test_contour_around_a_minimum_at_a_limit(limited: list[str]) -> None:
    """The allowed side is traced, and the limit closes the curve."""
    dataset, amplitudes = linear()
    for parameter, name in zip(amplitudes, ["soft", "hard"], strict=True):
        if name in limited:
            parameter.max = parameter.value - 0.5 * parameter.error
            parameter.value = parameter.max
    best = Fit().run(dataset)
    assert best.optimize_result.at_limits == [f"{name}.spectral.amplitude" for name in limited]
    contour = Fit().stat_contour(dataset, *amplitudes, numpoints=12, sigma=2)
    assert contour["success"], contour["message"]
    assert "The minimum lies at a limit of amplitude" in contour["message"]
    points = np.stack([contour[f"{name}.spectral.amplitude"] for name in ("soft", "hard")], axis=1)
    assert len(np.unique(points[:-1], axis=0)) == 12
    likelihood = bind([dataset])
    rise = np.array([likelihood.stat(likelihood.to_theta(p)) for p in points]) - best.total_stat
    corner = np.all(points == [a.value for a in amplitudes], axis=1)
    assert corner.sum() == (1 if len(limited) == 2 else 0)
    assert_allclose(rise[~corner], 4, rtol=1e-5)
    for parameter, column, name in zip(amplitudes, points.T, ["soft", "hard"], strict=True):
        if name in limited:
            assert column.max() <= parameter.max * (1 + 1e-12)
            # Both ends of the curve lie on the limit, or one of them and the corner.
            assert np.sum(np.isclose(column[:-1] / parameter.max, 1, rtol=1e-9)) == 2


def test_contour_with_the_others_fixed() -> None:
    """A slice: the ellipse of the Hessian's own block, inside the refitted contour."""
    dataset, spectrum = fitted()
    pair = spectrum.alpha, spectrum.beta
    contour = Fit().stat_contour(dataset, *pair, numpoints=16, sigma=1, reoptimize=False)
    assert contour["success"]
    assert "others fixed" in contour["message"]
    likelihood = bind([dataset])
    best = likelihood.stat()
    values = likelihood.to_values(likelihood.theta)
    columns = [likelihood.column(p) for p in pair]
    for x, y in zip(contour["crab.spectral.alpha"], contour["crab.spectral.beta"], strict=True):
        values[columns] = x, y
        assert_allclose(likelihood.stat(likelihood.to_theta(values)) - best, 1, rtol=1e-5)
    refitted = Fit().stat_contour(dataset, *pair, numpoints=16, sigma=1)
    for name in ("crab.spectral.alpha", "crab.spectral.beta"):
        assert np.ptp(contour[name]) < np.ptp(refitted[name])


def test_profile_at_given_values() -> None:
    dataset, spectrum = fitted()
    before = spectrum.alpha.scan_values
    profile = Fit().stat_profile(dataset, "alpha", values=[2.0, 2.1])
    assert_array_equal(profile["crab.spectral.alpha_scan"], [2.0, 2.1])
    assert_array_equal(spectrum.alpha.scan_values, before)
    with pytest.raises(FitError, match="finite numbers in one dimension"):
        Fit().stat_profile(dataset, "alpha", values=[[2.0]])

"""What a user does by mistake, or at the edge: nothing may be ignored, nothing may fail without a reason."""

from typing import Any

import astropy.units as u
import numpy as np
import pytest

from villard.data import demo_path
from villard.datasets import Datasets, SpectrumDatasetOnOff
from villard.exceptions import ConfigError, FitError, ModelError, ParameterError
from villard.modeling import Fit, Parameter
from villard.modeling.models import (
    GaussianPrior,
    LogParabolaSpectralModel,
    LogUniformPrior,
    Models,
    PowerLawSpectralModel,
    Prior,
    SkyModel,
    SpectralModel,
    UniformPrior,
)


def power_law(name: str = "source", **kwargs: Any) -> SkyModel:
    return SkyModel(PowerLawSpectralModel(index=2.2, amplitude="2e-11 cm-2 s-1 TeV-1"), name=name, **kwargs)


def log_parabola(name: str = "source") -> SkyModel:
    spectrum = LogParabolaSpectralModel(
        amplitude="2e-11 cm-2 s-1 TeV-1", alpha=2.2, beta=0.1, reference="1 TeV"
    )
    return SkyModel(spectrum, name=name)


@pytest.fixture
def dataset() -> SpectrumDatasetOnOff:
    datasets = Datasets.read(demo_path("datasets.yaml"))
    dataset = datasets[0].copy(name="demo")
    dataset.models = log_parabola()
    return dataset


@pytest.fixture
def fitted(dataset: SpectrumDatasetOnOff) -> SpectrumDatasetOnOff:
    assert Fit().run(dataset).success
    return dataset


def available(backend: str) -> str:
    if backend == "sherpa":
        pytest.importorskip("sherpa")
    return backend


# Parameters of scans


def test_parameters_by_name(fitted: Any) -> None:
    fit, alpha = Fit(), fitted.models.parameters["alpha"]
    expected = fit.stat_profile(fitted, alpha, reoptimize=True)
    for name in ("alpha", "source.spectral.alpha"):
        found = fit.stat_profile(fitted, name, reoptimize=True)
        np.testing.assert_allclose(found["stat_scan"], expected["stat_scan"], rtol=1e-10)
        assert fit.confidence(fitted, name) == pytest.approx(fit.confidence(fitted, alpha))
    assert fit.stat_contour(fitted, "alpha", "beta")["success"]
    with pytest.raises(ParameterError, match="Did you mean 'alpha'"):
        fit.confidence(fitted, "alpa")
    with pytest.raises(FitError, match="Expected a parameter or its name, found int"):
        fit.confidence(fitted, 3)  # type: ignore[arg-type]


def test_scan_of_a_copied_parameter_is_its_own(fitted: Any) -> None:
    result = Fit().run(fitted)
    alpha = result.parameters["alpha"]
    alpha.scan_values = [2.0, 2.4]
    profile = Fit().stat_profile(fitted, alpha)
    np.testing.assert_array_equal(profile["source.spectral.alpha_scan"], [2.0, 2.4])
    amplitude = result.parameters["amplitude"]
    own = fitted.models.parameters["amplitude"]
    amplitude.scan_values = [2e-11, 3e-11]
    amplitude.quantity = amplitude.quantity.to("m-2 s-1 TeV-1")
    profile = Fit().stat_profile(fitted, amplitude)
    np.testing.assert_allclose(profile["source.spectral.amplitude_scan"], [2e-11, 3e-11])
    assert own.unit == u.Unit("cm-2 s-1 TeV-1")


def test_frozen_and_linked_parameters_are_scanned_and_stay_so(dataset: Any) -> None:
    first, second = power_law("a"), power_law("b")
    second.spectral_model.index = first.spectral_model.index
    second.spectral_model.amplitude.frozen = True
    dataset.models = [first, second]
    fit = Fit()
    assert fit.run(dataset).success
    linked = fit.confidence(dataset, "b.spectral.index")
    assert linked == pytest.approx(fit.confidence(dataset, "a.spectral.index"))
    index = first.spectral_model.index
    index.scan_values = index.value + np.linspace(-0.3, 0.3, 5)
    index.frozen = True
    profile = fit.stat_profile(dataset, index, reoptimize=True)
    assert index.frozen
    assert np.argmin(profile["stat_scan"]) == 2


def test_scans_that_make_no_sense(fitted: Any) -> None:
    fit, alpha, beta = Fit(), *(fitted.models.parameters[n] for n in ("alpha", "beta"))
    for method in (fit.stat_surface, fit.stat_contour):
        with pytest.raises(FitError, match="found 'alpha' twice"):
            method(fitted, alpha, alpha)
    for sigma in (0, -1, np.nan):
        with pytest.raises(FitError, match="sigma"):
            fit.confidence(fitted, alpha, sigma=sigma)
        with pytest.raises(FitError, match="sigma"):
            fit.stat_contour(fitted, alpha, beta, sigma=sigma)
    for values in ([], [1, np.nan], [[1, 2], [3, 4]], "a"):
        with pytest.raises(ParameterError, match="scan_values"):
            alpha.scan_values = values
    alpha.scan_min, alpha.scan_max = 3, 2
    with pytest.raises(ParameterError, match="scan_min 3 is above scan_max 2"):
        fit.stat_profile(fitted, alpha)


# Options


@pytest.mark.parametrize(
    ("backend", "options", "match"),
    [
        ("newton", {"tolerance": 1}, "no option 'tolerance'"),
        ("minuit", {"tolerance": 1}, "no option 'tolerance'"),
        ("minuit", {"strategy": 3}, "expected 0, 1 or 2, found 3"),
        ("minuit", {"migrad_opts": {"ncal": 3}}, "migrad_opts.*ncal"),
        ("scipy", {"method": "L-BFGS"}, "Did you mean 'L-BFGS-B'"),
        ("scipy", {"ftol": 1}, "'L-BFGS-B'.*ftol"),
        ("scipy", {"options": {"ftoll": 1}}, "'L-BFGS-B'.*ftoll"),
        ("scipy", {"method": "differential_evolution"}, "missing: amplitude, alpha, beta"),
        ("sherpa", {"ftoll": 1}, "Did you mean 'ftol'"),
        ("sherpa", {"method": "simplx"}, "Did you mean 'simplex'"),
    ],
)
def test_unknown_options(dataset: Any, backend: str, options: Any, match: str) -> None:
    with pytest.raises(FitError, match=match):
        Fit(backend=available(backend), optimize_opts=options).run(dataset)


def test_unknown_options_of_errors(fitted: Any) -> None:
    gammapy = {"backend": "minuit"}
    assert Fit(covariance_opts=gammapy, confidence_opts=gammapy).confidence(fitted, "alpha")["success"]
    with pytest.raises(FitError, match="confidence_opts: no option 'tolerance'"):
        Fit(confidence_opts={"tolerance": 1}).confidence(fitted, "alpha")
    with pytest.raises(FitError, match="covariance_opts: no option 'step'"):
        Fit(covariance_opts={"step": 1}).run(fitted)


# Limits and priors


@pytest.mark.parametrize("backend", ["newton", "minuit", "scipy", "sherpa"])
@pytest.mark.parametrize("kind", ["limit", "prior"])
def test_parameters_at_limits_are_named(dataset: Any, backend: str, kind: str) -> None:
    """Also where MINUIT and simplex stop just before the limit."""
    alpha = dataset.models.parameters["alpha"]
    alpha.value = 1.5
    if kind == "limit":
        alpha.min, alpha.max = 1, 1.8
    else:
        alpha.prior = UniformPrior(min=1, max=1.8)
    result = Fit(backend=available(backend)).run(dataset)
    assert result.success
    assert "At a limit: source.spectral.alpha" in result.message
    assert alpha.value == pytest.approx(1.8, abs=1e-3)
    assert result.parameters["alpha"].error == 0
    assert "source.spectral.alpha" in result.covariance_result.message


def test_a_minimum_near_a_limit_is_not_at_it(fitted: Any) -> None:
    alpha = fitted.models.parameters["alpha"]
    alpha.max = alpha.value + 1e-4 * alpha.error
    result = Fit(backend="minuit").run(fitted)
    assert "At a limit" not in result.message
    assert result.parameters["alpha"].error > 0


@pytest.mark.parametrize("backend", ["newton", "minuit", "scipy", "sherpa"])
def test_priors_in_every_backend(dataset: Any, backend: str) -> None:
    parameters = dataset.models.parameters
    parameters["alpha"].prior = GaussianPrior(mu=2.5, sigma=0.02)
    parameters["amplitude"].prior = LogUniformPrior(min="1e-15 cm-2 s-1 GeV-1", max="1e-12 cm-2 s-1 GeV-1")
    result = Fit(backend=available(backend)).run(dataset)
    assert result.success
    assert result.total_stat == pytest.approx(dataset.stat_sum())
    assert result.parameters["alpha"].value == pytest.approx(2.5, abs=0.06)
    assert result.parameters["alpha"].error < 0.02


def test_a_start_outside_the_prior_says_so(dataset: Any) -> None:
    dataset.models.parameters["alpha"].prior = UniformPrior(min=3, max=4)
    for backend in ("newton", "minuit"):
        with pytest.raises(FitError, match=r"not finite at the start values \(.*alpha=2\.2"):
            Fit(backend=backend).run(dataset)


# What fits say


def test_degenerate_parameters_are_named(dataset: Any) -> None:
    dataset.models = power_law()
    dataset.models.parameters["reference"].frozen = False
    result = Fit().run(dataset).covariance_result
    assert result.quality == 2
    assert "source.spectral.amplitude, source.spectral.reference" in result.message
    assert "index" not in result.message
    dataset.models = [power_law("a"), power_law("b")]
    result = Fit().run(dataset).covariance_result
    assert result.quality == 2
    assert "a.spectral.amplitude" in result.message
    assert "b.spectral.amplitude" in result.message


def test_what_stops_short_is_told(dataset: Any) -> None:
    """A minimiser's own word isn't enough: the derivatives say how far the minimum is."""
    best = Fit().run(dataset).total_stat
    dataset.models = log_parabola()
    opts = {"method": "L-BFGS-B", "options": {"ftol": 1e-3}}
    result = Fit(backend="scipy", optimize_opts=opts).run(dataset)
    assert result.total_stat > best + 0.01
    assert "The minimum is estimated to be lower by" in result.message


def test_failures_leave_parameters_unless_asked(dataset: Any) -> None:
    before = dataset.models.parameters.value
    opts: dict[str, Any] = {"max_iter": 5}
    dataset.models.parameters["alpha"].value = before[2] = 5
    result = Fit(optimize_opts=opts).run(dataset)
    assert not result.success
    assert "left as they were" in result.message
    assert result.covariance_result is None
    np.testing.assert_array_equal(dataset.models.parameters.value, before)
    result = Fit(optimize_opts=opts, keep_failed=True).run(dataset)
    assert not result.success
    assert "left as they were" not in result.message
    assert np.any(dataset.models.parameters.value != before)


def test_what_cannot_be_fitted(dataset: Any) -> None:
    with pytest.raises(FitError, match="found NoneType"):
        Fit().run(None)
    with pytest.raises(FitError, match="found str among them"):
        Fit().run("dataset")
    dataset.models = power_law(datasets_names=["other"])
    with pytest.raises(FitError, match="datasets_names"):
        Fit().run(dataset)
    dataset.models = None
    with pytest.raises(FitError, match=r"set datasets\.models"):
        Fit().run(dataset)


# Models and datasets


def test_parts_of_models_by_name() -> None:
    models = Models([power_law()])
    for method in (models.freeze, models.unfreeze, models[0].freeze):
        with pytest.raises(ModelError, match="Did you mean 'spectral'"):
            method("spectrul")
    with pytest.raises(ModelError, match="Did you mean 'spectral'"):
        models.select(tag="pl", model_type="spectrul")
    assert models.select(tag="pl").names == ["source"]


def test_a_norm_linked_to_an_index_is_no_norm(dataset: Any) -> None:
    """What a parameter does is said by the model that uses it, not by the one that made it."""
    from villard.modeling.models import PowerLawNormSpectralModel

    factor = PowerLawNormSpectralModel()
    factor.norm.value = 2.2
    source = power_law()
    source.spectral_model.index = factor.norm
    dataset.models = source
    source.spectral_model.amplitude.frozen = True
    result = Fit().run(dataset)
    dataset.models = expected = power_law()
    expected.spectral_model.amplitude.frozen = True
    assert result.total_stat == pytest.approx(Fit().run(dataset).total_stat)


def test_models_and_priors_whose_arguments_are_in_another_order() -> None:
    """They are passed by position, so that another order would silently be another model."""

    def evaluate(energy: Any, index: Any, amplitude: Any) -> Any:
        return amplitude * energy**-index

    declared = {"amplitude": Parameter("amplitude", "1e-11 cm-2 s-1 TeV-1"), "index": Parameter("index", 2)}
    with pytest.raises(ModelError, match=r"Mine.evaluate: expected .*\(energy, amplitude, index\), found"):
        type("Mine", (SpectralModel,), {**declared, "evaluate": staticmethod(evaluate)})
    declared = dict(reversed(declared.items()))
    # Without staticmethod the model itself would be the energy.
    with pytest.raises(ModelError, match="expected a static method"):
        type("Mine", (SpectralModel,), {**declared, "evaluate": evaluate})
    mine = type("Mine", (SpectralModel,), {**declared, "evaluate": staticmethod(evaluate)})()
    assert mine("2 TeV").to_value("cm-2 s-1 TeV-1") == pytest.approx(2.5e-12)

    def log_p(value: Any, width: Any, center: Any) -> Any:
        return ((value - center) / width) ** 2

    body = {"defaults": {"center": 0.0, "width": 1.0}, "evaluate": staticmethod(log_p)}
    with pytest.raises(ModelError, match=r"\(value, center, width\), found \(value, width, center\)"):
        type("MyPrior", (Prior,), body)


def test_fit_range_survives_in_yaml(dataset: Any, tmp_path: Any) -> None:
    mask = np.zeros(dataset.data_shape, dtype=bool)
    mask[3:7], mask[9:] = True, True
    dataset.mask_fit = dataset.counts.copy(data=mask)
    Datasets([dataset]).write(tmp_path / "d.yaml", tmp_path / "m.yaml")
    new = Datasets.read(tmp_path / "d.yaml", tmp_path / "m.yaml")
    np.testing.assert_array_equal(new[0].mask_fit.data, mask)
    assert new.stat_sum() == pytest.approx(dataset.stat_sum())
    text = (tmp_path / "d.yaml").read_text()
    for old, other, match in [
        ("mask_fit", "mask_fitt", "Did you mean 'mask_fit'"),
        ("datasets:", "metadatas: 3\ndatasets:", "Did you mean 'metadata'"),
        ("- - 3", "- - 3000", "ranges of bins"),
    ]:
        (tmp_path / "d.yaml").write_text(text.replace(old, other))
        with pytest.raises(ConfigError, match=match) as error:
            Datasets.read(tmp_path / "d.yaml")
        assert "d.yaml" in str(error.value)

"""YAML of models: what is written is read back, what isn't understood is an error."""

import copy
import math
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import villard.modeling.models as vm
from villard.exceptions import (
    FileFormatError,
    ModelError,
    OverwriteError,
    ParameterError,
    UnitsError,
    VillardError,
)
from villard.modeling import Parameter
from villard.modeling.models import (
    ExpCutoffPowerLawSpectralModel,
    GaussianPrior,
    GeneralizedGaussianPrior,
    LogParabolaSpectralModel,
    LogUniformPrior,
    Models,
    PowerLawSpectralModel,
    SkyModel,
    SpectralModel,
    UniformPrior,
)
from villard.modeling.models.core import _REGISTRY

FLUX = u.Unit("cm-2 s-1 TeV-1")
ENERGY = [0.3, 1.7, 8.0] * u.TeV


def ebl() -> SpectralModel:
    transmission = np.exp(-np.outer([0.0, 0.2, 0.5], [0.1, 0.5, 2.0, 6.0]))
    return vm.EBLAbsorptionNormSpectralModel([0.1, 0.5, 3, 30] * u.TeV, [0.0, 0.2, 0.5], transmission, 0.31)


SPECIAL = {
    "TemplateSpectralModel": lambda: vm.TemplateSpectralModel([0.1, 1, 20] * u.TeV, [1, 0.5, 0.01] * FLUX),
    "PiecewiseNormSpectralModel": lambda: vm.PiecewiseNormSpectralModel(
        [0.1, 1, 20] * u.TeV, [1, 5, 3], interp="lin"
    ),
    "EBLAbsorptionNormSpectralModel": ebl,
    "ScaleSpectralModel": lambda: vm.ScaleSpectralModel(PowerLawSpectralModel(index=2.7), norm=1.3),
    "CompoundSpectralModel": lambda: LogParabolaSpectralModel(beta=0.3) * ebl(),
    "ConstantSpectralModel": lambda: vm.ConstantSpectralModel("3e-12 cm-2 s-1 TeV-1"),
    "DarkMatterAnnihilationSpectralModel": lambda: vm.DarkMatterAnnihilationSpectralModel(
        "30 TeV", "b", source="analytic"
    ),
    "DarkMatterDecaySpectralModel": lambda: vm.DarkMatterDecaySpectralModel(
        "50 TeV", {"W": 0.5, "tau": 0.2}, source="analytic", z=0.1
    ),
    "ScalarSingletSpectralModel": lambda: vm.ScalarSingletSpectralModel("20 TeV", 0.2, source="analytic"),
}
# Models of naima have no YAML form, which has its own test; those of N-D tables need a file; and what one
# annihilation emits is no flux.
NAMES = sorted(
    {cls.__name__ for cls in (vm.load_all("spectral"), _REGISTRY["spectral"])[1].values()}
    & set(vm.__all__) - {"NaimaSpectralModel", "PrimaryFlux", "TemplateNDSpectralModel"}
)


def make(name: str) -> SpectralModel:
    return SPECIAL[name]() if name in SPECIAL else getattr(vm, name)()


def disturb(model: Any, seed: int = 0) -> None:
    """Give every setting of every parameter a value that isn't its default."""
    rng = np.random.default_rng(seed)
    for i, p in enumerate(model.parameters):
        size = abs(p.value) or 1.0
        p.min, p.max = p.value - 3 * size, p.value + 2 * size
        p.value = p.value + 0.1 * size * rng.uniform(0.1, 1)
        p.error = 0.1 * size
        p.frozen = not p.frozen
        p.interp = {"lin": "log", "log": "sqrt"}[p.interp]
        p.scan_min, p.scan_n_values, p.scan_n_sigma = p.value - 0.5 * size, 13 + i, 4
        p.prior = GaussianPrior(mu=p.value, sigma=0.3 * size, weight=2)


def settings(p: Parameter) -> dict[str, Any]:
    keys = ("value", "unit", "error", "min", "max", "frozen", "interp", "scan_min", "scan_max")
    result = {key: getattr(p, key) for key in (*keys, "scan_n_values", "scan_n_sigma")}
    result["prior"] = None if p.prior is None else p.prior.to_dict()
    return {k: "nan" if isinstance(v, float) and math.isnan(v) else v for k, v in result.items()}


def through_yaml(data: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(data, sort_keys=False))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("changed", [False, True])
def test_spectral_models_alone(name: str, changed: bool) -> None:
    model = make(name)
    if changed:
        disturb(model)
    new = type(model).from_dict(through_yaml(model.to_dict()))
    assert type(new) is type(model)
    assert new.parameters_unique_names == model.parameters_unique_names
    assert [settings(p) for p in new.parameters] == [settings(p) for p in model.parameters]
    assert new.output_unit == model.output_unit
    np.testing.assert_allclose(new(ENERGY).value, model(ENERGY).value, rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_spectral_models_in_a_source(name: str, tmp_path: Any) -> None:
    spectrum = make(name)
    if spectrum.output_unit != FLUX:
        spectrum = PowerLawSpectralModel(index=1.8) * spectrum
    source = SkyModel(spectrum, name="src", datasets_names=["one", "two"], apply_irf={"edisp": False})
    disturb(source)
    models = Models([source])
    models.write(tmp_path / "m.yaml")
    new = Models.read(tmp_path / "m.yaml")
    assert new.names == ["src"]
    assert new[0].datasets_names == ["one", "two"]
    assert new[0].apply_irf == {"exposure": True, "psf": True, "edisp": False}
    # The covariance, from which the errors are read, has their squares.
    np.testing.assert_allclose([p.error for p in new.parameters], [p.error for p in models.parameters])
    for one, other in zip(new.parameters, models.parameters, strict=True):
        assert settings(one) | {"error": 0} == settings(other) | {"error": 0}
    # Written again, nothing changes.
    assert Models.from_dict(new.to_dict()).to_yaml() == new.to_yaml()


def test_all_spectral_models_are_tested() -> None:
    assert len(NAMES) >= 20
    assert {"PowerLawSpectralModel", "SuperExpCutoffPowerLaw4FGLSpectralModel"} <= set(NAMES)


def two_linked() -> Models:
    first = SkyModel(PowerLawSpectralModel(index=2.3), name="a")
    second = SkyModel(ExpCutoffPowerLawSpectralModel(), name="b")
    second.spectral_model.index = first.spectral_model.index
    return Models([first, second])


def test_links_survive() -> None:
    new = Models.from_yaml(two_linked().to_yaml())
    assert new["b"].spectral_model.index is new["a"].spectral_model.index
    assert new["b"].spectral_model.amplitude is not new["a"].spectral_model.amplitude
    assert len(new.parameters.unique_parameters) == len(new.parameters) - 1


def test_links_between_parameters_of_different_names() -> None:
    first = SkyModel(PowerLawSpectralModel(index=2.3), name="a")
    second = SkyModel(LogParabolaSpectralModel(), name="b")
    second.spectral_model.alpha = first.spectral_model.index
    models = Models([first, second])
    # Each model has its own name for it.
    assert models.parameters_unique_names[5] == "b.spectral.alpha"
    assert second.parameters["alpha"] is first.parameters["index"]
    second.spectral_model.alpha = 2.9
    assert first.spectral_model.index.value == 2.9
    new = Models.from_yaml(models.to_yaml())
    assert new["b"].spectral_model.alpha is new["a"].spectral_model.index
    np.testing.assert_allclose(new["b"].spectral_model(ENERGY).value, second.spectral_model(ENERGY).value)
    assert list(new.to_parameters_table()["name"]) == [
        *("index", "amplitude", "reference"),
        *("amplitude", "reference", "alpha", "beta"),
    ]


def test_links_within_a_compound() -> None:
    spectrum = PowerLawSpectralModel(index=1.9) + PowerLawSpectralModel(amplitude="3e-12 cm-2 s-1 TeV-1")
    spectrum.model2.index = spectrum.model1.index
    new = Models.from_yaml(Models([SkyModel(spectrum, name="a")]).to_yaml())[0].spectral_model
    assert new.model2.index is new.model1.index
    assert new.model2.index.value == 1.9


def test_linked_entries_that_differ_are_an_error() -> None:
    data = two_linked().to_dict()
    data["components"][1]["spectral"]["parameters"][0]["value"] = 2.9
    with pytest.raises(ModelError, match=r"'b': 'index' is linked by .*2\.3, but has 2\.9"):
        Models.from_dict(data)


def test_copies_share_nothing_but_keep_links() -> None:
    models = two_linked()
    new = models.copy()
    new["a"].spectral_model.index.value = 1.5
    assert new["b"].spectral_model.index.value == 1.5
    assert models["b"].spectral_model.index.value == 2.3
    new["a"].spectral_model.index.prior = GaussianPrior(mu=2, sigma=0.1)
    assert models["a"].spectral_model.index.prior is None


def test_covariance_is_written_and_read(tmp_path: Any) -> None:
    models = two_linked()
    n = len(models.parameters.unique_parameters)
    root = np.random.default_rng(1).normal(size=(n, n)) * 0.1
    unique = root @ root.T
    models.parameters.unique_parameters[0].value = 2.3
    position = [models.parameters.unique_parameters.index(p) for p in models.parameters]
    models.covariance = unique[np.ix_(position, position)]
    models.write(tmp_path / "m.yaml")
    new = Models.read(tmp_path / "m.yaml")
    np.testing.assert_allclose(new.covariance.data, models.covariance.data, rtol=1e-12)
    np.testing.assert_allclose(new.parameters["lambda_"].error, models.parameters["lambda_"].error)
    new.write(tmp_path / "without.yaml", write_covariance=False)
    assert not (tmp_path / "without_covariance.dat").exists()
    np.testing.assert_allclose(
        [p.error for p in Models.read(tmp_path / "without.yaml").parameters],
        [p.error for p in models.parameters],
    )


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda t: "", "not a table of a covariance"),
        (lambda t: t.replace("a.spectral.index", "a.spectral.indxx"), "expected the covariance of"),
        (lambda t: "\n".join(t.splitlines()[:-1]) + "\n", "covariance of 2 parameters"),
        (lambda t: t.replace("0.25", " nan"), "aren't finite"),
        (lambda t: t.replace("0.25", "spam"), "not a table of a covariance"),
    ],
)
def test_covariances_that_do_not_fit(tmp_path: Any, damage: Any, match: str) -> None:
    models = Models([SkyModel(PowerLawSpectralModel(), name="a")])
    models.parameters["index"].error = 0.5
    models.write(tmp_path / "m.yaml")
    path = tmp_path / "m_covariance.dat"
    path.write_text(damage(path.read_text()))
    with pytest.raises(FileFormatError, match=match) as error:
        Models.read(tmp_path / "m.yaml")
    assert str(path) in str(error.value)


def test_nothing_is_overwritten_unasked(tmp_path: Any) -> None:
    models = Models([SkyModel(PowerLawSpectralModel(), name="a")])
    models.parameters["index"].error = 0.5
    (tmp_path / "m_covariance.dat").write_text("mine")
    with pytest.raises(OverwriteError, match="m_covariance"):
        models.write(tmp_path / "m.yaml")
    assert not (tmp_path / "m.yaml").exists()
    models.write(tmp_path / "m.yaml", overwrite=True)


def test_naima_has_no_yaml() -> None:
    naima = pytest.importorskip("naima")
    particle = naima.models.PowerLaw(amplitude=2e33 / u.eV, e_0=10 * u.TeV, alpha=2.5)
    model = vm.NaimaSpectralModel(naima.models.PionDecay(particle, nh=1 / u.cm**3))
    with pytest.raises(ModelError, match="can't be written as YAML"):
        model.to_dict()


# Values

finite = st.floats(-1e30, 1e30, allow_subnormal=False)
positive = st.floats(1e-30, 1e30)


@given(
    value=finite,
    low=st.none() | positive,
    high=st.none() | positive,
    error=st.just(0.0) | positive,
    frozen=st.booleans(),
)
def test_any_parameter_comes_back_exactly(
    value: float, low: float | None, high: float | None, error: float, frozen: bool
) -> None:
    model = PowerLawSpectralModel(index=value)
    model.index.min = None if low is None else value - low
    model.index.max = None if high is None else value + high
    model.index.error, model.index.frozen = error, frozen
    new = PowerLawSpectralModel.from_dict(through_yaml(model.to_dict()))
    assert settings(new.index) == settings(model.index)


@given(unit=st.sampled_from(["cm-2 s-1 TeV-1", "m-2 s-1 GeV-1", "erg-1 km-2 h-1"]), value=positive)
def test_units_come_back(unit: str, value: float) -> None:
    model = PowerLawSpectralModel(amplitude=value * u.Unit(unit))
    new = PowerLawSpectralModel.from_dict(through_yaml(model.to_dict()))
    assert new.amplitude.quantity == model.amplitude.quantity
    assert new.amplitude.unit == u.Unit(unit)


PRIORS = [
    GaussianPrior(mu=2.3, sigma=0.4, weight=0.5),
    GeneralizedGaussianPrior(mu=2, sigma=0.3, eta=0.2),
    UniformPrior(min=1, max=5),
    LogUniformPrior(min=0.1, max=7),
]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: type(p).__name__)
def test_priors_come_back(prior: Any) -> None:
    model = PowerLawSpectralModel()
    model.index.prior = prior
    new = PowerLawSpectralModel.from_dict(through_yaml(model.to_dict())).index.prior
    assert type(new) is type(prior)
    assert new.values == prior.values
    assert new.weight == prior.weight


def test_units_of_priors() -> None:
    """A prior in another unit is the same prior."""
    model = PowerLawSpectralModel(amplitude="3e-12 cm-2 s-1 TeV-1")
    model.amplitude.prior = GaussianPrior(mu="2e-15 cm-2 s-1 GeV-1", sigma="1e-15 cm-2 s-1 GeV-1")
    assert model.amplitude.prior.mu == pytest.approx(2e-12)
    expected = 1 + math.log(2 * math.pi * 1e-24)
    assert model.amplitude.prior_stat_sum() == pytest.approx(expected)
    new = PowerLawSpectralModel.from_dict(through_yaml(model.to_dict()))
    assert new.amplitude.prior_stat_sum() == pytest.approx(expected)
    # It follows the parameter to another unit; only the density, p per unit, changes.
    new.amplitude.quantity = "3e-8 m-2 s-1 TeV-1"
    assert new.amplitude.prior.mu == pytest.approx(2e-8)
    assert new.amplitude.prior_stat_sum() == pytest.approx(expected + 2 * math.log(1e4))
    with pytest.raises(UnitsError, match="'amplitude': prior value 'mu'"):
        model.amplitude.prior = GaussianPrior(mu="2 TeV", sigma=1)


# Gammapy's layout, written by hand

GAMMAPY_FULL = """
components:
-   name: a
    type: SkyModel
    datasets_names:
    - x
    spectral:
        type: PowerLawSpectralModel
        parameters:
        -   name: index
            value: 2.3
            unit: ''
            error: 0.1
            min: 1.0
            max: 4.0
            frozen: false
            interp: lin
            scale_method: scale10
            scale_transform: lin
            link: index@nsqrYhZh
            prior:
                type: GaussianPrior
                parameters:
                -   name: mu
                    value: 2.0
                    unit: ''
                -   name: sigma
                    value: 0.2
                    unit: ''
                weight: 2
        -   name: amplitude
            value: 1.0e-12
            unit: TeV-1 s-1 cm-2
            error: 1.0e-13
            min: .nan
            max: .nan
            frozen: false
            interp: log
            scale_method: scale10
            scale_transform: lin
-   name: b
    type: SkyModel
    apply_irf:
        exposure: true
        psf: false
        edisp: true
    spectral:
        type: ExpCutoffPowerLawSpectralModel
        parameters:
        -   name: index
            value: 2.3
            link: index@nsqrYhZh
        -   name: lambda_
            value: 0.1
            unit: TeV-1
covariance: models_covariance.dat
metadata:
    creator: Gammapy 2.1
    date: '2025-01-01T00:00:00'
    origin: null
"""

GAMMAPY_COVARIANCE = """\
|           Parameters |    0 |     1 |   2 |    3 |   4 |   5 |   6 |   7 |
|     a.spectral.index | 0.01 | 5e-15 | 0.0 | 0.01 | 0.0 | 0.0 | 0.0 | 0.0 |
| a.spectral.amplitude | 5e-15| 1e-26 | 0.0 | 5e-15| 0.0 | 0.0 | 0.0 | 0.0 |
| a.spectral.reference |  0.0 |   0.0 | 0.0 |  0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|     b.spectral.index | 0.01 | 5e-15 | 0.0 | 0.01 | 0.0 | 0.0 | 0.0 | 0.0 |
| b.spectral.amplitude |  0.0 |   0.0 | 0.0 |  0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
| b.spectral.reference |  0.0 |   0.0 | 0.0 |  0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|   b.spectral.lambda_ |  0.0 |   0.0 | 0.0 |  0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
|     b.spectral.alpha |  0.0 |   0.0 | 0.0 |  0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
"""


def test_files_of_gammapy(tmp_path: Any) -> None:
    (tmp_path / "models.yaml").write_text(GAMMAPY_FULL)
    (tmp_path / "models_covariance.dat").write_text(GAMMAPY_COVARIANCE)
    models = Models.read(tmp_path / "models.yaml")
    index = models["a"].spectral_model.index
    assert models["b"].spectral_model.index is index
    assert (index.value, index.error, index.min, index.max, index.frozen) == (2.3, 0.1, 1.0, 4.0, False)
    assert (index.prior.mu, index.prior.sigma, index.prior.weight) == (2.0, 0.2, 2.0)
    assert models["a"].datasets_names == ["x"]
    assert models["b"].apply_irf == {"exposure": True, "psf": False, "edisp": True}
    assert models["b"].spectral_model.reference.frozen
    assert math.isnan(models["a"].parameters["amplitude"].max)
    assert models.covariance.correlation[0, 1] == pytest.approx(0.5)


def gammapy_dict() -> dict[str, Any]:
    data = yaml.safe_load(GAMMAPY_FULL)
    del data["covariance"], data["components"][1]
    return data


SPECTRAL = ("components", 0, "spectral")
INDEX = (*SPECTRAL, "parameters", 0)


@pytest.mark.parametrize(
    ("where", "value", "match"),
    [
        (("componentz",), 3, "unknown key 'componentz'. Did you mean 'components'"),
        (("components",), None, "list 'components'"),
        (("components", 0), "crab", "found 'crab'"),
        (("components", 0, "spectrul"), {}, "'a': unknown key 'spectrul'. Did you mean 'spectral'"),
        (("components", 0, "datasets_names"), 3, "datasets_names must be names"),
        (("components", 0, "apply_irf"), {"edsip": False}, "'edsip'"),
        (SPECTRAL, "PowerLawSpectralModel", "expected a model with 'type'"),
        ((*SPECTRAL, "type"), "PowerlawSpectralModel", "Did you mean 'PowerLawSpectralModel'"),
        ((*SPECTRAL, "paramters"), [], "unknown key 'paramters'. Did you mean 'parameters'"),
        ((*SPECTRAL, "parameters"), {"index": 2}, "expected a list of parameters"),
        (INDEX, "index", "found 'index'"),
        ((*INDEX, "name"), "indx", "Did you mean 'index'"),
        ((*SPECTRAL, "parameters", 1, "name"), "index", "'index' is given twice"),
        ((*SPECTRAL, "parameters", 1, "unit"), "TeV", "amplitude.*expected a unit like"),
        ((*SPECTRAL, "parameters", 1, "unit"), "crab", "unknown unit 'crab'"),
        ((*INDEX, "vale"), 3, "index: unknown key 'vale'"),
        ((*INDEX, "value"), "abc", "must be a number, found 'abc'"),
        ((*INDEX, "value"), math.nan, "must be finite"),
        ((*INDEX, "value"), 7.0, "outside its limits"),
        ((*INDEX, "min"), 7.0, "below min 7"),
        ((*INDEX, "error"), -1.0, "must not be negative"),
        ((*INDEX, "error"), "x", "must be a number"),
        ((*INDEX, "frozen"), "maybe", "True or False"),
        ((*INDEX, "interp"), "cubic", "interp must be one of"),
        ((*INDEX, "scan_n_values"), -2, "positive whole number"),
        ((*INDEX, "prior"), "Gauss", "found 'Gauss'"),
        ((*INDEX, "prior", "type"), "GausianPrior", "Did you mean 'GaussianPrior'"),
        ((*INDEX, "prior", "wieght"), 2, "Did you mean 'weight'"),
        ((*INDEX, "prior", "parameters", 0, "name"), "mue", "Did you mean 'mu'"),
        ((*INDEX, "prior", "parameters", 0, "vale"), 3, "unknown key 'vale'"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path: Any, where: Any, value: Any, match: str) -> None:
    data = gammapy_dict()
    place: Any = data
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(VillardError, match=match) as error:
        Models.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "- 1", "a: [1", "\x00", "components: 3"])
def test_files_that_are_no_models(tmp_path: Any, text: str) -> None:
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(VillardError, match=r"models\.yaml"):
        Models.read(tmp_path / "models.yaml")


keys = st.sampled_from(["name", "type", "value", "parameters", "unit", "min", "link", "prior", "frozen"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@given(value=anything, data=st.data())
def test_damaged_models_raise_nothing_but_our_errors(value: Any, data: Any) -> None:
    damaged = copy.deepcopy(gammapy_dict())
    place: Any = damaged
    while True:
        choices = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(choices))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    try:
        models = Models.from_dict(damaged)
    except VillardError:
        return
    assert Models.from_dict(models.to_dict()).to_yaml() == models.to_yaml()


def test_wrong_settings_in_scripts() -> None:
    model = PowerLawSpectralModel()
    with pytest.raises(ModelError, match="Did you mean 'index'"):
        model.indx = 3
    with pytest.raises(ParameterError, match="Did you mean 'value'"):
        model.index.vale = 3
    with pytest.raises(UnitsError, match="expected a quantity in no unit"):
        model.index = 3 * u.TeV
    with pytest.raises(UnitsError, match="expected a unit like"):
        model.amplitude.unit = "m"
    with pytest.raises(ModelError, match="Did you mean 'sigma'"):
        GaussianPrior(mu=1, sigma=1).sigm = 3
    with pytest.raises(UnitsError, match=r"'x': the spectrum must be in a unit like .* found no unit"):
        SkyModel(vm.PowerLawNormSpectralModel(), name="x")
    with pytest.raises(ModelError, match="must have the name of the attribute"):

        class Misnamed(SpectralModel):
            index = Parameter("indx", 2.0)

"""The configuration of an analysis: what is right is understood, what is wrong is named."""

import textwrap
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

import villard.config
from villard.config import AnalysisConfig, read_config
from villard.exceptions import ConfigError


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_documented_file(write) -> None:
    assert villard.config.__doc__ is not None
    text = villard.config.__doc__.split("::\n", 1)[1].split("\nOnly")[0]
    config = read_config(write(text))
    assert config.energy_range == (0.66 * u.TeV, 30 * u.TeV)
    assert config.flux_points is not None
    np.testing.assert_allclose(config.flux_points.edges[[0, -1]].to_value("TeV"), [0.7, 30])
    assert len(config.flux_points.edges) == 9
    # The file shows defaults: leaving an entry out changes nothing.
    defaults = AnalysisConfig(datasets="datasets.yaml", models="models.yaml")
    for name in ("stack", "fit", "output"):
        assert getattr(config, name) == getattr(defaults, name)
    for name in ("confidence", "profiles"):
        section = getattr(config, name)
        assert section == type(section)()


def test_every_key_is_documented() -> None:
    assert villard.config.__doc__ is not None
    sections = villard.config.Section.__subclasses__()
    own = [section for section in sections if section.__module__ == villard.config.__name__]
    assert len(own) > 3
    for section in [AnalysisConfig, *own]:
        for name in section.model_fields:
            assert f"{name}:" in villard.config.__doc__, (section, name)


def test_paths_are_relative_to_the_file(write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("{datasets: [a.fits], models: $VILLARD_TEST/models.yaml}")
    monkeypatch.setenv("VILLARD_TEST", "/data")
    config = read_config(path)
    assert config.path(config.datasets[0]) == path.parent / "a.fits"
    assert config.path(config.models) == Path("/data/models.yaml")


def test_numbers_without_a_point_are_numbers(write) -> None:
    config = read_config(write("{datasets: a, models: b, fit: {optimize_opts: {a: 1e-6, b: 3, c: e3}}}"))
    assert config.fit.optimize_opts == {"a": 1e-6, "b": 3, "c": "e3"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modles: m", "unknown key 'modles'. Did you mean 'models'?"),
        ("fit: {bakend: minuit}", "fit: unknown key 'bakend'. Did you mean 'backend'?"),
        ("fit: {backend: fancy}", "fit.backend: Input should be 'newton', 'minuit', 'scipy' or 'sherpa'"),
        ("energy_range: [3 TeV, 1 TeV]", "energy_range: energies must increase, found 3.0 TeV, 1.0 TeV"),
        ("energy_range: [1 TeV, 5 m]", "energy_range.1: expected an energy such as '0.66 TeV', found '5 m'"),
        ("energy_range: [1 TeV, -5 TeV]", "energy_range.1: expected one energy above 0"),
        ("profiles: {parameters: some}", "profiles.parameters: Input should be 'all'"),
        ("profiles: {n_values: 1}", "profiles.n_values: Input should be greater than or equal to 2"),
        ("contours: [{x: alpha}]", "contours.0.y: Field required"),
        ("contours: [{x: alpha, y: beta, sigma: [0]}]", "contours.0.sigma.0: Input should be greater than 0"),
        (
            "flux_points: {source: a, energy_edges: [1 TeV]}",
            "flux_points.energy_edges: List should have at least 2",
        ),
        (
            "flux_points: {source: a, energy_edges: {min: 2 TeV, max: 300 GeV, n_bins: 2}}",
            "flux_points.energy_edges: energies must increase",
        ),
    ],
)
def test_mistakes_are_named(write, text: str, message: str) -> None:
    path = write("datasets: a\nmodels: b\n" + text + "\n")
    with pytest.raises(ConfigError) as error:
        read_config(path)
    assert f"{path}: {message}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys and values, found NoneType"),
        ("[1, 2]", "expected keys and values, found list"),
        ("a: [", "not a YAML file"),
        ("datasets: a\ndatasets: b", "key 'datasets' is given twice"),
        ("models: a", "datasets: Field required"),
    ],
)
def test_not_a_configuration(write, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_config(write(text))
    assert message in str(error.value)


def test_all_mistakes_at_once(write) -> None:
    with pytest.raises(ConfigError) as error:
        read_config(write("{datasets: [], models: 3, fit: {store_trace: maybe}}"))
    assert len(str(error.value).splitlines()) == 3
    with pytest.raises(ConfigError) as error:
        read_config(write("{datasets: a, modles: 3, fit: {bakend: 1, store_trace: maybe}}"))
    assert len(str(error.value).splitlines()) == 4
    assert "unknown key 'modles'" in str(error.value)
    assert "models: Field required" in str(error.value)
    assert "fit: unknown key 'bakend'. Did you mean 'backend'?" in str(error.value)
    assert "fit.store_trace: Input should be a valid boolean" in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: can't be read \(No such file"):
        read_config(tmp_path / "config.yaml")

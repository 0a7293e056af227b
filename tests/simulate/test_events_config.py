"""Simulations from a configuration file."""

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from villard.analysis import read_simulation_config, run_simulation
from villard.cli import app
from villard.data import Observation
from villard.exceptions import ConfigError
from villard.modeling.models import IRFBackground, Models, SkyModel
from villard.simulate import SimulatedEvents

OBSERVATION = {
    "pointing": {"lon": "0 deg", "lat": "0 deg", "frame": "galactic"},
    "livetime": "1 h",
    "irfs": "analytic",
}


def write(path, **settings):
    models = Models([SkyModel.create("pl", "point", name=name) for name in ("one", "two")])
    for model in models:
        model.spatial_model.frame = "galactic"
    Models([*models, IRFBackground(name="CCR")]).write(path / "models.yaml", overwrite=True)
    data = {"observation": OBSERVATION, "models": "models.yaml", "random_state": 1} | settings
    (path / "config.yaml").write_text(yaml.safe_dump(data))
    return path / "config.yaml"


def test_run(tmp_path):
    tree = {"signal": ["one", "two"], "bkg": {"CCR": "CCR", "more": "irf-background"}}
    numbers = {"signal": 10, "CCR": 20, "more": 5}
    path = write(tmp_path, components=tree, n_events=numbers, width=["4 deg", "2 deg"])
    observation, events = run_simulation(read_simulation_config(path))
    assert events.numbers == numbers
    assert events.field.width == (4, 2)
    assert observation.events is events
    # Without components each model is one.
    path = write(tmp_path, n_events=dict.fromkeys(["one", "two", "CCR"], 3))
    assert run_simulation(read_simulation_config(path))[1].numbers == {"one": 3, "two": 3, "CCR": 3}


def test_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, n_events=dict.fromkeys(["one", "two", "CCR"], 30))
    result = CliRunner().invoke(app, ["simulate", str(path)])
    assert result.exit_code == 0, result.output
    assert "CCR                         30" in result.output
    assert (tmp_path / "events.png").is_file()
    observation = Observation.read(tmp_path / "events.fits")
    assert len(observation.events.table) == 90
    assert observation.livetime.to_value("h") == pytest.approx(1)
    assert observation.available_irfs == ["aeff", "edisp", "psf", "bkg"]
    events = SimulatedEvents.read(tmp_path / "events.fits")
    assert events.numbers == {"one": 30, "two": 30, "CCR": 30}
    # Nothing is replaced unasked; another seed draws others.
    again = CliRunner().invoke(app, ["simulate", str(path)])
    assert again.exit_code == 2
    assert "exists" in again.output
    other = CliRunner().invoke(app, ["simulate", str(path), "-o", "other.fits", "--seed", "2"])
    assert other.exit_code == 0, other.output
    energies = SimulatedEvents.read(tmp_path / "other.fits").energy
    assert not np.array_equal(energies, events.energy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"components": {"a": "oen"}},
            "components.a: expected the name of a model, found 'oen'",
        ),
        ({"n_event": {}}, "unknown key 'n_event'. Did you mean 'n_events'"),
        ({"width": "6 TeV"}, "expected an angle such as"),
        ({"energy_bounds": ["1 deg", "10 TeV"]}, "expected an energy"),
        ({"observation": OBSERVATION | {"livetime": "5 m"}}, "expected a time such as '5 h'"),
        ({"observation": OBSERVATION | {"start": "never"}}, "expected a time, found 'never'"),
        ({"models": None}, "expected models, components or both"),
        ({"n_events": {"one": -1}}, "n_events.one"),
    ],
)
def test_wrong_config(tmp_path, settings, message):
    path = write(tmp_path, **settings)
    with pytest.raises(ConfigError, match=message):
        run_simulation(read_simulation_config(path))

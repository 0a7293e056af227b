"""``villard bayes``: the whole chain of a configuration, and what happens the second time."""

from pathlib import Path

import pytest
from astropy.io import fits
from typer.testing import CliRunner

from villard.bayes import Posterior
from villard.cli import app

CONFIG = """
observation:
  pointing: {lon: 0 deg, lat: 0 deg, frame: galactic}
  livetime: 2 h
  irfs: analytic
models: models.yaml
components: {source: source, bkg: {CCR: irf-background, other: other}}
n_events: {source: 60, CCR: 70, other: 20}
energy_bounds: [0.3 TeV, 10 TeV]
width: 2 deg
random_state: 1
grids:
  index: {bounds: [1.5, 3], bins: 16, scale: lin}
sampler: {name: importance, options: {n_samples: 2000, n_adapt: 500}}
output: {folder: result}
"""

MODELS = """
components:
- name: source
  type: SkyModel
  spectral:
    type: PowerLawSpectralModel
    parameters:
    - name: index
      value: 2.0
      prior: {type: UniformPrior, parameters: [{name: min, value: 1}, {name: max, value: 4}]}
  spatial:
    type: GaussianSpatialModel
    frame: galactic
    parameters:
    - {name: sigma, value: 0.2, unit: deg}
- name: other
  type: SkyModel
  spectral: {type: PowerLawSpectralModel}
  spatial:
    type: PointSpatialModel
    frame: galactic
    parameters:
    - {name: lon_0, value: 0.5, unit: deg}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.yaml").write_text(MODELS)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_whole_chain_and_again(config: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["bayes", str(config)])
    assert done.exit_code == 0, done.output
    folder = config.parent / "result"
    names = {path.name for path in folder.iterdir()}
    assert {"events.fits", "posterior.fits", "summary.txt", "corner.png", "run", "chunks"} <= names
    posterior = Posterior.read(folder / "posterior.fits")
    assert posterior.names == ["source", "bkg", "CCR", "other", "index"]
    assert abs(posterior.mean["source"] - 0.4) < 4 * posterior.sd["source"]
    assert "index: 16 values from 1.5 to 3" in (folder / "summary.txt").read_text()
    state = (folder / "run" / "state.pickle").stat().st_mtime_ns
    again = runner.invoke(app, ["bayes", str(config)])
    assert again.exit_code == 0, again.output
    assert (folder / "run" / "state.pickle").stat().st_mtime_ns == state
    # Another configuration doesn't touch what is there, unless it is told to.
    config.write_text(CONFIG.replace("random_state: 1", "random_state: 2"))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    other = runner.invoke(app, ["bayes", str(config)])
    assert other.exit_code == 2
    assert "another configuration" in other.output
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    anew = runner.invoke(app, ["bayes", str(config), "--overwrite"])
    assert anew.exit_code == 0, anew.output
    assert (folder / "events.fits").read_bytes() != before["events.fits"]


def test_events_of_a_file(config: Path) -> None:
    """Simulated ones know their bounds; of others the defaults would be wrong."""
    runner = CliRunner()
    simulation = CONFIG.split("grids:")[0]
    config.write_text(simulation)
    assert runner.invoke(app, ["simulate", str(config)]).exit_code == 0
    kept = "\n".join(
        line for line in CONFIG.splitlines() if not line.startswith(("n_events", "energy_bounds", "width"))
    )
    total = "total: {type: UniformPrior, parameters: [{name: min, value: 50}, {name: max, value: 500}]}"
    config.write_text(f"{kept}\nevents: events.fits\n{total}\n")
    done = runner.invoke(app, ["bayes", str(config)])
    assert done.exit_code == 0, done.output
    posterior = Posterior.read(config.parent / "result" / "posterior.fits")
    assert abs(posterior.mean["source"] - 0.4) < 4 * posterior.sd["source"]
    assert abs(posterior.mean["total"] - 150) < 40
    with fits.open("events.fits", mode="update") as hdus:
        del hdus["EVENTS"].header["FOV_LON"]
    done = runner.invoke(app, ["bayes", str(config), "-o", "other"])
    assert done.exit_code == 2
    assert "expected energy_bounds and width too" in " ".join(done.output.split())
    assert not Path("other/events.fits").exists()


def test_mistakes_are_told(config: Path) -> None:
    runner = CliRunner()
    config.write_text(CONFIG + "gridz: {}\n")
    done = runner.invoke(app, ["bayes", str(config)])
    assert done.exit_code == 2
    assert "unknown key 'gridz'" in done.output
    # Before anything is computed or written.
    for right, wrong in (("importance", "importanc"), ("n_samples", "n_samplez"), ("2000", "-1")):
        config.write_text(CONFIG.replace(right, wrong))
        done = runner.invoke(app, ["bayes", str(config)])
        assert done.exit_code == 2
        assert wrong in done.output
        assert not (config.parent / "result").exists()
    config.write_text(CONFIG.replace("other: other", "other: nothing"))
    done = runner.invoke(app, ["bayes", str(config)])
    assert done.exit_code == 2
    assert "expected the name of a model, found 'nothing'" in done.output
    config.write_text(CONFIG.replace("bounds: [1.5, 3]", "bounds: [5, 6]"))
    done = runner.invoke(app, ["bayes", str(config)])
    assert done.exit_code == 2
    assert "leaves no value" in done.output

"""The command ``villard roi``."""

import pytest
import yaml
from region_toys import write_all
from typer.testing import CliRunner

from villard.cli import app
from villard.exceptions import FitError
from villard.roi import ROI


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(write_all(folder)))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["roi", *(str(argument) for argument in arguments)])


def test_fit_is_printed_written_and_gone_on_from(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = run("config.yaml", "--optimize", "--fit", "-o", "first")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split()[:2] == ["name", "SpatialModel"]
    assert lines[2].startswith("source ")
    assert any(line.startswith("optimize: ln L ") for line in lines)
    assert any(line.startswith("fit: quality 3, ln L ") for line in lines)
    assert lines[-1].startswith("Wrote first.fits, first.yaml")
    # What was written is an input, too, and is replaced by a second run.
    again = run("first.fits", "--fit", "--free", "all", "-o", "first")
    assert again.exit_code == 0, again.output
    assert ROI.load_roi("first")["source"]["ts"] > 25


def test_wrong_input_is_one_message(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = run("config.yaml", "--sed", "sorce")
    assert result.exit_code == 2
    assert "Did you mean 'source'?" in result.output
    result = run("config.yaml", "--fit", "--free", "norms")
    assert result.exit_code == 2
    assert "expected 'norm' or 'all', found 'norms'" in result.output
    for arguments, message in {
        ("--fit", "--distance", "0"): "expected an angle above 0 (deg), found 0",
        ("--distance", "1"): "no fit is asked for",
        ("--localize", "isodiff"): "'isodiff' has no position that can be fitted",
        ("--sed", "galdiff"): "the spectrum of 'galdiff' is no flux",
    }.items():
        result = run("config.yaml", *arguments)
        assert result.exit_code == 2
        assert message in result.output
    assert run("none.yaml").exit_code == 2
    assert not (folder / "roi.fits").exists()


def test_products_are_beside_the_region(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = run("config.yaml", "--fit", "--residmap", "--sed", "source", "--plots", "-o", "deep/one.fits")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith(" to deep/")
    names = {path.name for path in (folder / "deep").iterdir()}
    stem = "one_pointsource_powerlaw_2.00_residmap"
    expected = {"one.fits", f"{stem}.fits", f"{stem}_sigma.png", "one_source_sed.fits", "one_source_sed.png"}
    assert expected | {"one_counts_spectrum.png"} <= names
    assert f"{stem}.fits" in result.output
    # A second run replaces them; where that isn't allowed, it ends before any work.
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "kept.yaml").write_text(yaml.safe_dump(config | {"fileio": {"overwrite": False}}))
    monkeypatch.setattr(ROI, "fit", lambda self: pytest.fail("it was fitted"))
    result = run("kept.yaml", "--fit", "-o", "deep/one")
    assert result.exit_code == 2
    assert "File exists: deep/one.fits" in result.output
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run("kept.yaml", "--residmap", "-o", "deep/one", "--overwrite").exit_code == 0


def test_what_fails_doesnt_end_the_rest(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def fails(self, name, **kwargs):
        raise FitError("no maximum within dtheta_max")

    monkeypatch.setattr(ROI, "localize", fails)
    result = run("config.yaml", "--fit", "--localize", "source", "--residmap", "-o", "failed")
    assert result.exit_code == 1
    assert "localize source: failed. no maximum within dtheta_max" in result.output
    assert "residmap: sigma from" in result.output
    assert (folder / "failed.fits").exists()


def test_an_interrupted_run_keeps_the_fit(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def stop(self, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ROI, "residmap", stop)
    assert run("config.yaml", "--fit", "--residmap", "-o", "stopped").exit_code != 0
    assert ROI.load_roi("stopped")["source"]["ts"] > 25

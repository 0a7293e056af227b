"""The command ``villard roi``."""

import pytest
import yaml
from region_toys import write_all
from typer.testing import CliRunner

from villard.cli import app
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
    assert run("none.yaml").exit_code == 2
    assert not (folder / "roi.fits").exists()

"""What the page on regions of interest shows works."""

import re
from pathlib import Path

import yaml
from region_toys import write_all

from villard.roi import ROI
from villard.roi.config import read_roi_config

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "roi.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_configurations_are_valid():
    first, second = (read_roi_config(yaml.safe_load(text)) for text in blocks("yaml"))
    assert first.binning.roiwidth == (12, 6)
    assert [component.name for component in second.components] == ["PSF2", "PSF3"]


def test_methods_exist():
    table = PAGE.split("| to do | call |")[1].split("\n\n")[0]
    names = re.findall(r"`(\w+)`", table)
    assert len(names) > 30
    assert not [name for name in names if not hasattr(ROI, name)]


def test_script_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(write_all(tmp_path) | {"fileio": {"outdir": "results"}})
    )
    script = blocks("python")[0]
    exec(script.replace("4FGL J1745.6-2859", "source"), {})
    assert (tmp_path / "results" / "fit1.fits").exists()

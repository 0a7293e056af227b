"""The commands for cubes of counts: ``villard fit`` and ``villard tsmap``."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord
from astropy.table import Table
from typer.testing import CliRunner

from villard.cli import app
from villard.data import demo_path
from villard.data.make_cube import make_cube
from villard.datasets import Datasets
from villard.estimators.flux_maps import FluxMaps
from villard.modeling.models import (
    FoVBackgroundModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def point(name: str, lon: float, lat: float, amplitude: float) -> SkyModel:
    spectrum = PowerLawSpectralModel(index=2.3, amplitude=amplitude * u.Unit("cm-2 s-1 TeV-1"))
    shape = PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="galactic")
    return SkyModel(spectrum, shape, name=name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a cube of two sources, and a model of one of them."""
    folder = tmp_path_factory.mktemp("cube")
    truth = [point("known", 0.25, 0.1, 2e-11), point("unknown", -0.4, -0.2, 1e-11)]
    dataset = make_cube(truth, name="cube", width=1.6, n_energies=4, random_state=1)
    dataset.write(folder / "cube.fits")
    start = Models([point("known", 0.2, 0.1, 1e-11), FoVBackgroundModel(dataset_name="cube")])
    start.write(folder / "models.yaml")
    (folder / "list").mkdir()
    Datasets([dataset]).write(folder / "list" / "datasets.yaml")
    return folder


@pytest.mark.parametrize("name", ["cube.fits", "list/datasets.yaml"])
def test_fit(folder: Path, tmp_path: Path, name: str) -> None:
    config = {"datasets": str(folder / name), "models": str(folder / "models.yaml")}
    config["output"] = {"plots": name == "cube.fits"}
    config["energy_range"] = ["0.6 TeV", "40 TeV"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    code, output, error = run("fit", tmp_path / "config.yaml", "-o", tmp_path / "out")
    assert code == 0, error
    assert "known.spatial.lon_0" in output
    models = Models.read(tmp_path / "out" / "result.yaml")
    lon = models["known"].spatial_model.lon_0
    assert abs(lon.value - 0.25) < 4 * lon.error < 0.1
    if name == "cube.fits":
        plots = {path.stem for path in (tmp_path / "out").glob("*.png")}
        assert plots == {"counts", "residuals", "fit", "correlation", "butterfly_known"}
    table = Table.read(tmp_path / "out" / "datasets.ecsv")
    assert table["counts"][0] > 1000


def test_spectra_are_told_from_cubes(tmp_path: Path) -> None:
    """A single FITS file may be an OGIP spectrum too."""
    config = {"datasets": str(demo_path("pha_obs1.fits")), "models": str(demo_path("models.yaml"))}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "output": {"plots": False}}))
    assert run("fit", tmp_path / "config.yaml", "-o", tmp_path / "out")[0] == 0


def test_tsmap(folder: Path, tmp_path: Path) -> None:
    options = ["--models", folder / "models.yaml", "--fit", "--index", 2.3, "--energy-min", "0.6 TeV"]
    code, output, error = run("tsmap", folder / "cube.fits", *options, "-o", tmp_path / "ts")
    assert code == 0, error
    assert "Wrote 4 files" in output
    peaks = Table.read(tmp_path / "ts" / "peaks.ecsv")
    assert len(peaks) == 1
    found = SkyCoord(peaks["glon"], peaks["glat"], frame="galactic")
    assert found[0].separation(SkyCoord(-0.4, -0.2, unit="deg", frame="galactic")) < 0.08 * u.deg
    assert peaks["sqrt_ts"][0] > 5
    maps = FluxMaps.read(tmp_path / "ts" / "tsmap.fits")
    assert np.nanmax(maps.sqrt_ts.data) == pytest.approx(peaks["sqrt_ts"][0], rel=1e-3)
    assert (tmp_path / "ts" / "tsmap.png").stat().st_size > 10_000
    # Nothing is written over.
    code, _, error = run("tsmap", folder / "cube.fits", "-o", tmp_path / "ts")
    assert code == 2
    assert "isn't empty" in error


def test_tsmap_without_peaks(folder: Path, tmp_path: Path) -> None:
    options = ["--threshold", 50, "--no-plots", "--downsample", 2, "--sum-energies", "--sigma", 0.1]
    code, output, _ = run("tsmap", folder / "list" / "datasets.yaml", *options, "-o", tmp_path / "ts")
    assert code == 0
    assert "No peak above 50 sigma" in output
    assert not list((tmp_path / "ts").glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.fits"], "nowhere.fits"),
        (["CUBE", "--energy-min", "30 TeV", "--energy-max", "1 TeV"], "energies must increase"),
        (["CUBE", "--energy-min", "5 m"], "expected an energy such as '0.66 TeV', found '5 m'"),
        (["CUBE", "--models", "nowhere.yaml"], "nowhere.yaml"),
        ([str(demo_path("pha_obs1.fits"))], "expected a cube of counts, found a SpectrumDatasetOnOff"),
    ],
)
def test_wrong_input(folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    arguments = [str(folder / "cube.fits") if a == "CUBE" else a for a in arguments]
    code, output, error = run("tsmap", *arguments, "-o", tmp_path / "ts")
    assert code == 2
    assert output == ""
    assert message in error
    assert not (tmp_path / "ts").exists()

"""The command line: what it prints and writes, and its exit codes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import yaml
from astropy.table import Table
from typer.testing import CliRunner

from villard import __version__
from villard.cli import app
from villard.data import demo_path
from villard.datasets import Datasets, FluxPointsDataset
from villard.estimators import FluxPoints

WriteConfig = Callable[..., Path]


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    def write_config(**entries: object) -> Path:
        files = {"datasets": str(demo_path("datasets.yaml")), "models": str(demo_path("models.yaml"))}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({**files, "output": {"plots": False}, **entries}))
        return path

    return write_config


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder that the demonstration wrote, and what it printed, as a user would run it."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "villard.cli", "demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "villard-demo", done.stdout


def test_demo_prints_the_fitted_table(demo: tuple[Path, str]) -> None:
    output = demo[1]
    assert "Converged" in output
    assert "quality : 3 (accurate)" in output
    for name in ("amplitude", "alpha", "beta"):
        assert f"crab.spectral.{name}" in output
    assert "frozen" in output


def test_demo_writes_tables(demo: tuple[Path, str]) -> None:
    folder = demo[0]
    parameters = Table.read(folder / "parameters.ecsv")
    assert list(parameters["name"]) == ["amplitude", "reference", "alpha", "beta"]
    result = yaml.safe_load((folder / "result.yaml").read_text())
    stat = result["optimize_result"]["total_stat"]
    profile = Table.read(folder / "profile_crab.spectral.alpha.ecsv")
    assert -1e-6 < profile["stat"].min() - stat < 0.1
    surface = Table.read(folder / "surface_crab.spectral.alpha_crab.spectral.beta.ecsv")
    assert len(surface) == 25**2
    assert -1e-6 < surface["stat"].min() - stat < 0.2
    points = Table.read(folder / "flux_points.ecsv")
    assert len(points) == 8
    intervals = Table.read(folder / "intervals.ecsv")
    assert np.all(intervals["errn"] > 0)
    assert np.all(intervals["success"])


def test_demo_writes_plots(demo: tuple[Path, str]) -> None:
    plots = {path.stem for path in demo[0].glob("*.png")}
    assert plots == {
        "counts_1",
        "counts_2",
        "fit_1",
        "fit_2",
        "correlation",
        "butterfly_crab",
        "profiles",
        "contour_crab.spectral.alpha_crab.spectral.beta",
        "contour_crab.spectral.amplitude_crab.spectral.alpha",
        "surface_crab.spectral.alpha_crab.spectral.beta",
        "flux_points",
    }
    for path in demo[0].glob("*.png"):
        assert path.stat().st_size > 5_000, path.name


def test_demo_does_not_overwrite(demo: tuple[Path, str]) -> None:
    code, _, error = run("demo", "--folder", demo[0])
    assert code == 2
    assert "isn't empty" in error


def test_fit(write_config: WriteConfig, tmp_path: Path) -> None:
    config = write_config(
        fit={"backend": "minuit", "store_trace": True},
        energy_range=["0.6 TeV", "20 TeV"],
        stack=True,
        flux_points={"source": "crab", "energy_edges": ["0.7 TeV", "2 TeV", "10 TeV"]},
        contours=[{"x": "alpha", "y": "crab.spectral.beta", "sigma": [1], "n_points": 8}],
    )
    folder = tmp_path / "results"
    code, output, _ = run("fit", config, "--folder", folder)
    assert code == 0
    assert "backend    : minuit" in output
    assert f"files to {folder}/" in output
    names = {path.name for path in folder.iterdir()}
    assert "contour_crab.spectral.alpha_crab.spectral.beta_1sigma.ecsv" in names
    assert not any(name.endswith(".png") for name in names)
    assert "total_stat" in Table.read(folder / "trace.ecsv").colnames
    assert len(Table.read(folder / "flux_points.ecsv")) == 2
    datasets = Table.read(folder / "datasets.ecsv")
    assert list(datasets["name"]) == ["stacked"]
    # The result is a model file: it can be where the next fit starts.
    config = write_config(models=str(folder / "result.yaml"))
    assert run("fit", config, "--folder", tmp_path / "again")[0] == 0


def test_ogip_files_instead_of_a_list(write_config: WriteConfig, tmp_path: Path) -> None:
    files = [str(demo_path(f"pha_obs{i}.fits")) for i in (1, 2)]
    assert run("fit", write_config(datasets=files), "-o", tmp_path / "a")[0] == 0
    assert run("fit", write_config(datasets=files[0]), "-o", tmp_path / "b")[0] == 0


def test_flux_points(write_config: WriteConfig, tmp_path: Path) -> None:
    table = Table({"e_ref": np.geomspace(0.5, 20, 6) * u.TeV})
    table["dnde"] = 3e-11 * table["e_ref"].value ** -2.5 * u.Unit("cm-2 s-1 TeV-1")
    table["dnde_err"] = 0.1 * table["dnde"].quantity
    points = FluxPoints.from_table(table, sed_type="dnde")
    Datasets([FluxPointsDataset(data=points, name="points")]).write(tmp_path / "points.yaml")
    config = write_config(
        datasets="points.yaml",
        energy_range=["0.6 TeV", "25 TeV"],
        confidence={"parameters": ["alpha"]},
        output={"plots": True},
    )
    assert run("fit", config, "-o", tmp_path / "out")[0] == 0
    found = Table.read(tmp_path / "out" / "parameters.ecsv")
    np.testing.assert_allclose(found["value"] / [1e-11, 1, 1, 1], [3, 1, 2.5, 0], atol=1e-6)
    plots = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert plots == {"fit", "correlation", "butterfly_crab"}


def test_failed_fit(write_config: WriteConfig, tmp_path: Path) -> None:
    options = {"method": "L-BFGS-B", "options": {"maxiter": 1}}
    config = write_config(fit={"backend": "scipy", "optimize_opts": options})
    code, output, error = run("fit", config, "-o", tmp_path / "out")
    assert code == 1
    assert "success    : False" in output
    assert "The fit failed" in error
    # What happened can be looked up.
    result = yaml.safe_load((tmp_path / "out" / "result.yaml").read_text())
    assert result["optimize_result"]["success"] is False


def test_fit_that_cannot_start(write_config: WriteConfig, tmp_path: Path) -> None:
    models = yaml.safe_load(demo_path("models.yaml").read_text())
    for parameter in models["components"][0]["spectral"]["parameters"]:
        if parameter["name"] == "alpha":
            parameter["value"] = 1e6
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(models))
    config = write_config(models=str(tmp_path / "models.yaml"))
    code, _, error = run("fit", config, "-o", tmp_path / "out")
    assert code == 1
    assert error.startswith("Error: ")
    assert "not finite at the start" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"modles": "a"}, "unknown key 'modles'. Did you mean 'models'?"),
        ({"models": "nowhere.yaml"}, "nowhere.yaml"),
        ({"datasets": "nowhere.yaml"}, "nowhere.yaml"),
        ({"datasets": ["nowhere.fits"]}, "nowhere.fits"),
        ({"energy_range": ["90 PeV", "91 PeV"]}, "the fit range is empty"),
        ({"fit": {"optimize_opts": {"tl": 1}}}, "no option 'tl'. Did you mean 'tol'?"),
        ({"fit": {"backend": "scipy", "optimize_opts": {"method": "Powel"}}}, "Did you mean 'Powell'?"),
        ({"contours": [{"x": "alpha", "y": "betta"}]}, "No free parameter 'betta'"),
        ({"contours": [{"x": "alpha", "y": "alpha"}]}, "Expected two parameters"),
        ({"profiles": {"parameters": ["reference"]}}, "No free parameter 'reference'"),
        (
            {"flux_points": {"source": "carb", "energy_edges": ["1 TeV", "2 TeV"]}},
            "no model 'carb'. Did you mean 'crab'?",
        ),
    ],
)
def test_wrong_input(
    write_config: WriteConfig, tmp_path: Path, entries: dict[str, object], message: str
) -> None:
    code, output, error = run("fit", write_config(**entries), "-o", tmp_path / "out")
    assert code == 2
    assert output == ""
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_debug_shows_where(write_config: WriteConfig) -> None:
    result = CliRunner().invoke(app, ["fit", str(write_config(models="nowhere.yaml")), "--debug"])
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit)


def test_wrong_usage() -> None:
    assert run("fit")[0] == 2
    assert run("fitt")[0] == 2
    assert run("demo", "--nonsense")[0] == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from villard.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'jax', 'scipy', 'matplotlib', 'astropy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("fit", "demo", "data", "info"):
        assert command in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_version() -> None:
    assert run("--version") == (0, f"{__version__}\n", "")


def test_info() -> None:
    code, output, _ = run("info")
    assert code == 0
    for text in (__version__, "newton, minuit, scipy", "float64", "compilation cache"):
        assert text in output


def test_data_list(tmp_path: Path) -> None:
    code, output, _ = run("data", "list", "--folder", tmp_path)
    assert code == 0
    assert "joint-crab" in output
    assert "yes" not in output


def test_data_list_knows_what_is_here(gammapy_data: Path) -> None:
    lines = run("data", "list", "--folder", gammapy_data)[1].splitlines()
    assert "yes" in next(line for line in lines if line.startswith("joint-crab"))


def test_data_get_says_what_failed(tmp_path: Path) -> None:
    pytest.importorskip("pooch")
    code, _, error = run("data", "get", "hawc-crab", "--folder", tmp_path, "--url", "http://127.0.0.1:9")
    assert code == 2
    assert "could not be downloaded" in error
    assert run("data", "get", "hawk-crab")[0] == 2

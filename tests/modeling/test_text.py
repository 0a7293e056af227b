"""Printed models and results of fits, as a user sees them."""

import re
from pathlib import Path

import pytest

from villard.data import demo_path
from villard.datasets import Datasets, SpectrumDatasetOnOff
from villard.modeling import Fit
from villard.modeling.models import (
    LogParabolaSpectralModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

GOLDEN = Path(__file__).parent / "golden"


def datasets() -> Datasets:
    return Datasets(SpectrumDatasetOnOff.read(demo_path(f"pha_obs{i}.fits")) for i in (1, 2))


def curved() -> SkyModel:
    spectrum = LogParabolaSpectralModel(amplitude="1e-11 cm-2 s-1 TeV-1", reference="1 TeV", alpha=2, beta=0)
    return SkyModel(spectral_model=spectrum, name="crab")


def compare(text: str, name: str) -> None:
    """Compare with a golden file. How many evaluations a fit needs may differ from machine to machine."""
    text = re.sub(r"(nfev +: )\d+", r"\1…", text)
    assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_models_print_as_before() -> None:
    source = SkyModel(
        PowerLawSpectralModel(index=2.3, amplitude="3.5e-12 cm-2 s-1 TeV-1", reference="2 TeV"),
        PointSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", frame="icrs"),
        name="crab",
        datasets_names=["run-1", "run-2"],
    )
    source.spectral_model.index.error = 0.12
    source.spectral_model.index.min = 1
    other = SkyModel(PowerLawSpectralModel(), name="other")
    other.spectral_model.index = source.spectral_model.index
    models = Models([source, other])
    compare(str(models), "models")
    compare("\n".join(models.to_parameters_table().pformat(max_lines=-1, max_width=-1)) + "\n", "table")


def test_fit_result_prints_as_before() -> None:
    data = datasets()
    data.models = curved()
    result = Fit().run(data)
    compare(str(result), "fit_result")
    compare("\n".join(result.models.to_parameters_table().pformat(max_width=-1)) + "\n", "fitted_table")


def test_result_at_a_limit_prints_as_before() -> None:
    data = datasets()
    model = curved()
    model.spectral_model.beta.max = 0.05
    data.models = model
    compare(str(Fit().run(data)), "fit_result_at_a_limit")


def test_failed_fit_prints_as_before() -> None:
    data = datasets()
    data.models = curved()
    compare(str(Fit(optimize_opts={"max_iter": 2}).run(data)), "fit_result_failed")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_golden_files_are_used(path: Path) -> None:
    assert f'"{path.stem}"' in Path(__file__).read_text(encoding="utf-8")

"""The data that come with the package are what the script makes, and a fit finds the truth in them."""

from pathlib import Path

import numpy as np
import pytest

from villard.data import demo_path
from villard.data.make_demo import OBSERVATIONS, effective_area, make_demo, true_model
from villard.datasets import Datasets
from villard.exceptions import DataError
from villard.modeling import Fit


def test_made_again(tmp_path: Path) -> None:
    make_demo(tmp_path)
    made = Datasets.read(tmp_path / "datasets.yaml")
    shipped = Datasets.read(demo_path("datasets.yaml"))
    assert made.names == shipped.names == ["1", "2"]
    for new, old in zip(made, shipped, strict=True):
        for name in ("counts", "counts_off", "mask_safe"):
            np.testing.assert_array_equal(getattr(new, name).data, getattr(old, name).data)
        for name in ("exposure", "alpha"):
            np.testing.assert_allclose(getattr(new, name).data, getattr(old, name).data, rtol=1e-6)
        np.testing.assert_allclose(new.edisp.pdf_matrix, old.edisp.pdf_matrix, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in demo_path().iterdir() if path.name not in {"demo.yaml", "models.yaml"}
    )


def test_responses_survive_the_files() -> None:
    for dataset, observation in zip(Datasets.read(demo_path("datasets.yaml")), OBSERVATIONS, strict=True):
        energy = dataset.exposure.geom.axes["energy_true"].center.to_value("TeV")
        area = effective_area(energy, observation) * 1680
        np.testing.assert_allclose(dataset.exposure.data.ravel(), area, rtol=1e-6)
        assert dataset.counts_off.data.sum() > 100


def test_fit_finds_the_truth() -> None:
    datasets = Datasets.read(demo_path("datasets.yaml"), demo_path("models.yaml"))
    result = Fit().run(datasets)
    assert result.success
    for found, true in zip(result.parameters, true_model().parameters, strict=True):
        assert abs(found.value - true.value) <= 3 * found.error


def test_unknown_file() -> None:
    with pytest.raises(DataError, match=r"'pha_obs3\.fits'. Did you mean 'pha_obs"):
        demo_path("pha_obs3.fits")

"""Printed tables: fermipy's columns, kept as golden files."""

from pathlib import Path

import numpy as np
import pytest
from region_toys import point, toy_dataset

from villard.modeling.models import ConstantSpatialModel, PowerLawSpectralModel, SkyModel
from villard.roi import ROI

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def roi():
    models = [point("a far source with a long name", 0.6), point("near", 0.1, index=2.5)]
    spectrum = PowerLawSpectralModel(amplitude="1e-13 cm-2 s-1 MeV-1")
    isotropic = SkyModel(spectrum, ConstantSpatialModel(), name="iso")
    roi = ROI(toy_dataset(models=[*models, isotropic]))
    roi.free_sources(free=False)
    roi.free_norm("near")
    roi.lock_parameter("near", "index")
    norm = roi["near"].spectral_model.amplitude
    norm.min, norm.max, norm.error = 0, 1e-10, 3.21e-14
    roi["near"].results["ts"] = 123.456
    for source, npred in zip(roi, (12.34, 5.6, 789.0), strict=True):
        source.results["npred"] = npred
    return roi


@pytest.mark.parametrize("method", ["print_roi", "print_params", "print_params_all", "print_model"])
def test_tables(roi, method, capsys):
    if method == "print_params_all":
        roi.print_params(True)
    else:
        getattr(roi, method)()
    printed = capsys.readouterr().out
    path = GOLDEN / f"{method}.txt"
    assert printed == path.read_text(), f"if that is meant, write it to {path}"


def test_text_of_a_region_is_its_table_of_sources(roi):
    assert str(roi).splitlines()[0].split() == [
        "name",
        "SpatialModel",
        "SpectrumType",
        "offset",
        "ts",
        "npred",
    ]
    assert "sources=3" in repr(roi)
    assert np.isnan(roi["iso"]["ts"])

"""Files of models as Gammapy 2.1 writes them: read, evaluated, and written again."""

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import yaml

from villard.modeling.models import Models

_PATH = Path(__file__).parents[1] / "reference" / "models_gammapy_yaml.json"
REFERENCE = json.loads(_PATH.read_text())
FLUX = "cm-2 s-1 TeV-1 sr-1"
#: Gammapy leaves the curvature of the sky out of some norms, and the soft edge out of the disk's.
RTOL = {"gauss": 5e-6, "disk": 2e-3, "a-bkg": 1e-6, "iem": 1e-6}


def evaluate(model, at):
    lon, lat, energy, time = 0.3 * u.deg, -0.1 * u.deg, 1.7 * u.TeV, None
    if at.endswith("eV"):
        energy = u.Quantity(at)
    elif at.replace(".", "").isdigit():
        time = float(at) * u.d
    if model.is_background:
        return model.evaluate(energy, lon, lat)
    if model.spatial_model.is_point:
        return model.spectral_model(energy).to_value("cm-2 s-1 TeV-1")
    return model.evaluate(lon, lat, energy, time).to_value(FLUX)


def check(models):
    assert models.names == [entry["name"] for entry in REFERENCE["values"]]
    for entry in REFERENCE["values"]:
        # Gammapy's YAML has no value of ConstantSpatialModel: the 2 sr-1 of its model are lost.
        expected = entry["value"] * (0.5 if entry["name"] == "const" else 1)
        found = evaluate(models[entry["name"]], entry["at"])
        rtol = RTOL.get(entry["name"], 1e-9)
        np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=entry["name"])


def test_values(gammapy_data):
    models = Models.from_yaml(REFERENCE["yaml"])
    check(models)
    assert models["linear"].spectral_model.index is models["exp"].spectral_model.index
    assert models["gauss"].spatial_model.lon_0.error == 0.01
    assert models["iem"].apply_irf == {"exposure": True, "psf": False, "edisp": True}
    assert models["tconst"].datasets_names == ["a"]


def test_round_trip(gammapy_data, tmp_path):
    models = Models.from_yaml(REFERENCE["yaml"])
    models.write(tmp_path / "models.yaml")
    new = Models.read(tmp_path / "models.yaml")
    check(new)
    assert new.to_yaml() == models.to_yaml()


def test_same_layout(gammapy_data):
    """What Gammapy writes of each model, Villard writes, too, with the same values."""
    ours = Models.from_yaml(REFERENCE["yaml"]).to_dict()["components"]
    theirs = yaml.safe_load(REFERENCE["yaml"])["components"]
    for found, expected in zip(ours, theirs, strict=True):
        assert found.get("name") == expected.get("name")
        assert set(expected) <= set(found)
        for part in {"spectral", "spatial", "temporal"} & set(expected):
            _compare(found[part], expected[part])


def _compare(found, expected):
    assert found["type"] == expected["type"]
    assert set(expected) <= set(found)
    for key in ("model1", "model2"):
        if key in expected:
            _compare(found[key], expected[key])
    values = {entry["name"]: entry for entry in found.get("parameters", [])}
    for entry in expected.get("parameters", []):
        assert values[entry["name"]]["value"] == pytest.approx(entry["value"], rel=1e-12)
        unit = values[entry["name"]].get("unit", "")
        assert u.Unit(unit) == u.Unit(entry.get("unit", ""))

"""Fixtures for datasets."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

# Test folders are no packages: the toys are put where the tests find them by name.
for _name in ("dataset_toys", "map_dataset_toys"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    if _name not in sys.modules:
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "reference" / "datasets_gammapy.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def map_reference() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "reference" / "map_datasets.json"
    return {entry["id"]: entry for entry in json.loads(path.read_text())["entries"]}

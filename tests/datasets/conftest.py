"""Fixtures for datasets."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

# Test folders are no packages: the toys are put where the tests find them by name.
_spec = importlib.util.spec_from_file_location("dataset_toys", Path(__file__).with_name("dataset_toys.py"))
assert _spec is not None
assert _spec.loader is not None
if "dataset_toys" not in sys.modules:
    sys.modules["dataset_toys"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["dataset_toys"])


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "reference" / "datasets_gammapy.json"
    return json.loads(path.read_text())

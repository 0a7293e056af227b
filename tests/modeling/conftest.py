"""Puts `engine_toys` where the tests of this folder find it by name: test folders are no packages."""

import importlib.util
import sys
from pathlib import Path

_path = Path(__file__).parents[1] / "likelihood" / "engine_toys.py"
if "engine_toys" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("engine_toys", _path)
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules["engine_toys"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["engine_toys"])

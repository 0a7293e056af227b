"""Puts toys where the tests of this folder find them by name: test folders are no packages."""

import importlib.util
import sys
from pathlib import Path

for _name in ("engine_toys", "map_engine_toys"):
    _path = Path(__file__).parents[1] / "likelihood" / f"{_name}.py"
    if _name not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_name, _path)
        assert _spec is not None
        assert _spec.loader is not None
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])

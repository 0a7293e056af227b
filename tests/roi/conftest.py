"""Puts toys where the tests of this folder find them by name: test folders are no packages."""

import importlib.util
import sys
from pathlib import Path

for _path in sorted(Path(__file__).parent.glob("*_toys.py")):
    if _path.stem not in sys.modules:
        _spec = importlib.util.spec_from_file_location(_path.stem, _path)
        sys.modules[_path.stem] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_path.stem])

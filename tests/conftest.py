"""Fixtures and settings that the tests share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# No deadline: the first example of a compiled function takes much longer than the others.
hypothesis.settings.register_profile("villard", deadline=None, max_examples=50)
# In CI the same examples every time, so that a failure there is the change's fault.
hypothesis.settings.register_profile(
    "ci", hypothesis.settings.get_profile("villard"), derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "villard")


@pytest.fixture(scope="session")
def gammapy_data() -> Path:
    """Folder of the public gamma-ray data sets, ``$GAMMAPY_DATA``."""
    if "GAMMAPY_DATA" not in os.environ:
        pytest.skip("needs real data: set GAMMAPY_DATA to their folder (see `villard data list`)")
    folder = Path(os.environ["GAMMAPY_DATA"]).resolve()
    if not folder.is_dir():
        pytest.fail(f"GAMMAPY_DATA is set, but is not a folder: {folder}")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _drop_compiled_functions() -> Iterator[None]:
    """Drop what a module has compiled: thousands of functions use up the memory maps of one process.

    Linux gives a process 65,530 of them (``vm.max_map_count``), and XLA aborts where it gets no more.
    """
    yield
    if "villard._jax" in sys.modules:
        from villard._jax import jax
        from villard.likelihood.kernels import clear_kernels

        clear_kernels()
        jax.clear_caches()

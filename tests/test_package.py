"""The package as a whole: what importing it loads, who may import whom, and that versions agree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import villard

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "villard"
MODULES = sorted(SOURCE.rglob("*.py"))

# From bottom to top: a room may import rooms below it, and itself. Rooms on one line are level.
LAYERS: list[set[str]] = [
    {"exceptions", "_jax"},
    {"utils"},
    {"data.gti", "data.registry", "data.demo"},
    {"maps"},
    {"irf"},
    {"data.event_plot", "data.event_table", "data.pointing"},
    {"data.event_list"},
    {"modeling.prior"},
    {"modeling.one_parameter"},
    {"modeling.parameter"},
    {"modeling.covariance"},
    {"modeling.models"},
    {"likelihood"},
    {"stats"},
    {"datasets"},
    {"modeling"},
    {"estimators", "simulate"},
    {"visualization"},
    {"config"},
    {"data"},
    {"analysis"},
    {"cli"},
]
ROOMS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
HEAVY = {"jax", "matplotlib", "scipy"}


def room_of(module: str) -> str:
    """Return the room of a dotted module name below the package: the longest name that fits."""
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((name for name in names if name in ROOMS), "")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def top_level_imports(path: Path) -> Iterator[str]:
    """Give the modules that are imported when a file is: not in functions, not for type checking."""

    def visit(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from visit([*node.body, *node.orelse])
            elif isinstance(node, ast.Try):
                yield from visit([*node.body, *node.orelse, *node.finalbody])

    yield from visit(ast.parse(path.read_text(encoding="utf-8")).body)


def loaded_by(code: str) -> set[str]:
    """Return the heavy packages that are loaded after running code in a process of its own."""
    command = f"import sys\n{code}\nprint(*({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded_by("import villard") == set()


@pytest.mark.parametrize("room", ["maps", "irf", "modeling.models", "datasets", "data", "utils"])
def test_rooms_without_computation_load_nothing_heavy(room: str) -> None:
    modules = [
        f"import villard.{module_name(path)}"
        for path in MODULES
        if f"villard.{module_name(path)}.".startswith(f"villard.{room}.")
    ]
    assert loaded_by("\n".join(modules)) == set()


def test_a_spectral_fit_loads_only_jax() -> None:
    """Each of the others would take as long as the fit."""
    code = """
from villard.data import demo_path
from villard.datasets import SpectrumDatasetOnOff
from villard.modeling import Fit
from villard.modeling.models import PowerLawSpectralModel, SkyModel
import astropy.units as u

dataset = SpectrumDatasetOnOff.read(demo_path("pha_obs1.fits"))
dataset.models = SkyModel(PowerLawSpectralModel(), name="source")
dataset.mask_fit = dataset.counts.geom.energy_mask(1 * u.TeV)
assert Fit().run(dataset).success
"""
    assert loaded_by(code) == {"jax"}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(module_name(path))
    if not room:
        return
    for name in top_level_imports(path):
        if name.startswith("villard.") and (other := room_of(name.removeprefix("villard."))):
            level = ROOMS[other] < ROOMS[room] or other == room
            assert level, f"{path.name} of {room} imports {name} of {other}"


def test_public_names_exist() -> None:
    for path in SOURCE.rglob("__init__.py"):
        name = module_name(path)
        module = __import__(f"villard.{name}" if name != "__init__" else "villard", fromlist=["x"])
        for public in getattr(module, "__all__", []):
            assert getattr(module, public) is not None, f"{module.__name__}.{public}"


def test_versions_agree() -> None:
    for name, pattern in [
        ("pyproject.toml", r'^version = "(.+)"$'),
        ("CITATION.cff", r"^version: (.+)$"),
    ]:
        found = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert found is not None
        assert found[1] == villard.__version__, name

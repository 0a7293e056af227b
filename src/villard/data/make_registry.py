"""Write ``registry.json`` from a copy of the public data: ``python -m villard.data.make_registry``.

The copy is the folder ``$GAMMAPY_DATA``. Hashes and sizes are facts about the files; nothing of their
content is stored.
"""

import json
from pathlib import Path
from typing import Any

from villard.data.registry import REGISTRY, VERSION, sha256
from villard.utils.io import atomic_write
from villard.utils.paths import make_path

URL = "https://raw.githubusercontent.com/gammapy/gammapy-data/main"
_NC = "CC BY-NC-SA 4.0"
# Name: description, licence as stated beside the files, and the files as patterns below $GAMMAPY_DATA.
SETS: dict[str, tuple[str, str, list[str]]] = {
    "joint-crab": (
        "Crab Nebula, ON/OFF spectra of Fermi-LAT, MAGIC, VERITAS, FACT and H.E.S.S. (Nigro et al. 2019)",
        _NC,
        ["joint-crab/spectra/*.rst", "joint-crab/spectra/*/*.fits"],
    ),
    "simulations": (
        "Simulated ON/OFF spectra with a power law and a power law with exponential cutoff",
        _NC,
        ["datasets/simulations/README.rst", "datasets/simulations/simulated_spectrum_dataset_*"],
    ),
    "ebl": (
        "Optical depth of the extragalactic background light, five models",
        _NC,
        ["ebl/*.md", "ebl/*.fits.gz"],
    ),
    "hawc-crab": (
        "Crab Nebula, flux points of HAWC",
        _NC,
        ["hawc/crab_flux/*.rst", "hawc/crab_flux/*.fits"],
    ),
    "flux-points": (
        "Sample files of the GADF format for flux points",
        _NC,
        ["tests/spectrum/flux_points/*.*"],
    ),
}


def make_registry(folder: Path) -> dict[str, Any]:
    """Return the registry of the files in a folder with the layout of ``$GAMMAPY_DATA``."""
    sets = {}
    for name, (description, licence, patterns) in SETS.items():
        paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
        sets[name] = {
            "description": description,
            "licence": licence,
            "files": {
                path.relative_to(folder).as_posix(): {"sha256": sha256(path), "size": path.stat().st_size}
                for path in paths
            },
        }
    return {"version": VERSION, "url": URL, "sets": sets}


if __name__ == "__main__":
    with atomic_write(REGISTRY, overwrite=True) as temporary:
        temporary.write_text(json.dumps(make_registry(make_path("$GAMMAPY_DATA")), indent=1) + "\n")

"""What a bug report needs to know: versions, backends, devices, caches, data."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

__all__ = ["collect_info"]

_CORE = ["numpy", "scipy", "astropy", "jax", "iminuit", "matplotlib", "rich", "typer", "pydantic", "pyyaml"]
_EXTRAS = {"sherpa": "sherpa", "naima": "naima", "ebltable": "ebl", "pooch": "data", "regions": "regions"}


def collect_info() -> dict[str, dict[str, str]]:
    """Return versions, fit backends, devices and folders, by section.

    Examples
    --------
    >>> sorted(collect_info())
    ['Extras', 'Files', 'Fit', 'JAX', 'Versions']
    """
    return {
        "Versions": _versions(),
        "Extras": {
            package: _version(package) or f"not installed (pip install 'villard[{extra}]')"
            for package, extra in _EXTRAS.items()
        },
        "Fit": {"backends": ", ".join(_backends())},
        "JAX": _jax(),
        "Files": _files(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _versions() -> dict[str, str]:
    from villard import __version__

    return {
        "villard": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        **{package: _version(package) or "not installed" for package in _CORE},
    }


def _backends() -> list[str]:
    return ["newton", "minuit", "scipy", *(["sherpa"] if _version("sherpa") else [])]


def _jax() -> dict[str, str]:
    from villard._jax import jax, jnp

    devices = ", ".join(f"{device.platform} ({device.device_kind})" for device in jax.devices())
    return {"devices": devices, "precision": str(jnp.asarray(1.0).dtype)}


def _files() -> dict[str, str]:
    from villard._jax import cache_folder

    folder = cache_folder()
    return {
        "GAMMAPY_DATA": os.environ.get("GAMMAPY_DATA", "not set"),
        "compilation cache": "off" if folder is None else f"{folder} ({_size(folder) / 1e6:.1f} MB)",
    }


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            # Another process may be tidying up the cache.
            continue
    return total

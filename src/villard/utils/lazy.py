"""Packages and submodules imported when they are first used."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from villard.exceptions import MissingDependencyError


def import_optional(module: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency.

    Parameters
    ----------
    module : str
        Dotted module name.
    extra : str
        Extra of villard that installs it.

    Raises
    ------
    MissingDependencyError
        If it can't be imported; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} is needed here and could not be imported ({error}). "
            f"Install it with: pip install 'villard[{extra}]'"
        ) from error


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package whose names live in its modules.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    exports : mapping
        Public name to dotted module (relative to the package, or absolute) that defines it. A module
        that equals its own name exports the module itself.
    """

    def __getattr__(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        target = exports[name]
        module = importlib.import_module(target if target.startswith("villard") else f"{package}.{target}")
        return module if target.rsplit(".", 1)[-1] == name else getattr(module, name)

    def __dir__() -> list[str]:
        return sorted(exports)

    return __getattr__, __dir__

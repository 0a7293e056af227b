"""JAX, set up once for villard: 64 bit, and a compilation cache that outlives the process.

Import ``jax`` and ``jnp`` from here, so that the settings always come first. They are documented
in ``docs/engine.md``: importing the engine switches JAX to 64 bit for the whole process, because a
fit statistic of 1e5 must resolve differences of 1e-6.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp

__all__ = ["cache_folder", "jax", "jnp"]


def cache_folder() -> Path | None:
    """Return the folder of the compilation cache, or `None` if ``VILLARD_COMPILATION_CACHE=0``.

    ``VILLARD_CACHE`` sets another place than the user's cache folder.
    """
    if os.environ.get("VILLARD_COMPILATION_CACHE", "1") in {"0", "off", "false"}:
        return None
    root = os.environ.get("VILLARD_CACHE")
    if root is None:
        root = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "villard")
    return Path(root) / "jax"


def _configure() -> None:
    jax.config.update("jax_enable_x64", True)
    folder = cache_folder()
    # A user's own JAX cache is left as it is.
    if folder is not None and not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Without this only kernels that take over a second are kept, and a fit's are faster than that.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


_configure()

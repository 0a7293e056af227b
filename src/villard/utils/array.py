"""One function for numpy and for JAX: which array module do these arguments belong to?"""

import sys
from types import ModuleType
from typing import Any

import numpy as np


def namespace(*arrays: Any) -> ModuleType:
    """Return `jax.numpy` if any argument is a JAX array or tracer, else `numpy`.

    Model functions are written once with it: the compiled likelihood traces them, while a plot
    or a single call runs them in numpy, where nothing needs compiling.

    Examples
    --------
    >>> namespace(1.0, 2).__name__
    'numpy'
    """
    if "jax" in sys.modules:
        jax = sys.modules["jax"]
        array_type = getattr(jax, "Array", None)
        if array_type is not None and any(isinstance(array, array_type) for array in arrays):
            import jax.numpy as jnp

            return jnp
    return np


def special(xp: ModuleType) -> ModuleType:
    """Return the special functions that go with an array module."""
    if xp is np:
        import scipy.special

        return scipy.special
    import jax.scipy.special

    return jax.scipy.special

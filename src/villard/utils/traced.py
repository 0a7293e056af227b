"""Functions of users' models that JAX traces: their errors, in words."""

import functools
from collections.abc import Callable
from typing import Any

from villard.exceptions import ModelError

__all__ = ["traceable"]


def traceable(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wrap a function so that it raises a `ModelError` where it can't be differentiated.

    Parameters
    ----------
    function : callable
        Pure function of arrays.
    name : str
        Class and method, for the message.
    """

    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            if not any(word in type(error).__name__ for word in ("Tracer", "Concretization")):
                raise
            raise ModelError(
                f"{name} can't be differentiated: it turns its arguments into plain numbers or numpy "
                "arrays, or asks for their values. Use the functions of villard.utils.array.namespace(...) "
                "in it, instead of those of math or numpy, and where(...) instead of if"
            ) from error

    return wrapped

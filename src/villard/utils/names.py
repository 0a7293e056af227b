"""Names for objects that the user didn't name."""

import difflib
import secrets
from collections.abc import Iterable


def make_name(name: str | None = None) -> str:
    """Return ``name``, or eight random characters if it is `None`."""
    return secrets.token_urlsafe(6) if name is None else str(name)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a sentence that offers the name most like ``name``, for error messages.

    Examples
    --------
    >>> nearest("amplitud", ["index", "amplitude"])
    "Did you mean 'amplitude'? Available: index, amplitude"
    """
    names = list(names)
    matches = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {matches[0]!r}? " if matches else ""
    return f"{hint}Available: {', '.join(names) if names else 'none'}"


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return a question that offers the name most like ``name``; nothing if none is, however many there are.

    Examples
    --------
    >>> suggestion("amplitud", ["index", "amplitude"]), suggestion("x", ["index", "amplitude"])
    ("Did you mean 'amplitude'?", '')
    """
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {matches[0]!r}?" if matches else ""

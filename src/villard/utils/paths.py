"""Paths with environment variables."""

import os
import re
from pathlib import Path

from villard.exceptions import DataError

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


def make_path(path: str | os.PathLike[str]) -> Path:
    """Expand environment variables and ``~`` in a path.

    Parameters
    ----------
    path : str or path-like
        Path, possibly with ``$VAR`` or ``${VAR}``.

    Returns
    -------
    pathlib.Path
        The expanded path; it needn't exist.

    Raises
    ------
    DataError
        If a variable isn't set, or there is no user whose home ``~name`` could be.

    Examples
    --------
    >>> import os
    >>> os.environ["VILLARD_EXAMPLE"] = "/data"
    >>> make_path("$VILLARD_EXAMPLE/pha.fits").as_posix()
    '/data/pha.fits'
    """
    text = os.fspath(path)
    for match in _VARIABLE.finditer(text):
        name = match.group(1) or match.group(2)
        if name not in os.environ:
            raise DataError(f"Path {text!r} needs the environment variable {name}, which is not set")
    try:
        return Path(os.path.expandvars(text)).expanduser()
    except RuntimeError as error:
        raise DataError(f"Path {text!r}: there is no such user ({error})") from error

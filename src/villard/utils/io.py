"""Files written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from villard.exceptions import OverwriteError
from villard.utils.paths import make_path


def check_overwrite(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """Return the expanded path, or raise `OverwriteError` if it exists and may not be replaced."""
    path = make_path(path)
    if path.exists() and not overwrite:
        raise OverwriteError(f"File exists: {path}. Pass overwrite=True to replace it")
    return path


@contextmanager
def atomic_write(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block ends well.

    A reader never sees half a file, and an interrupted write leaves the old file.

    Parameters
    ----------
    path : str or path-like
        File to write; ``$VAR`` is expanded and missing folders are made.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    pathlib.Path
        Path to write to; it has the suffixes of ``path``.

    Raises
    ------
    OverwriteError
        If the file exists and ``overwrite`` is false.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("done")
    >>> (folder / "a.txt").read_text()
    'done'
    """
    path = check_overwrite(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix="".join(path.suffixes))
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

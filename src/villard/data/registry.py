"""Public data sets that can be downloaded by name, each file checked by its hash.

They lie in the repository https://github.com/gammapy/gammapy-data and keep its folders, so that
``$GAMMAPY_DATA`` may point to where they were downloaded to. What is in a set is listed in
``registry.json``, which ``make_registry`` writes.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from villard.exceptions import ConfigError, DataError, FileFormatError, OverwriteError
from villard.utils.lazy import import_optional
from villard.utils.names import nearest
from villard.utils.paths import make_path

__all__ = ["PublicData", "default_folder", "download", "public_data", "sha256"]

REGISTRY = Path(__file__).with_name("registry.json")
VERSION = 1


@dataclass(frozen=True)
class PublicFile:
    """One file of a set: its path below ``$GAMMAPY_DATA``, its SHA-256 hash and its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class PublicData:
    """A named set of files.

    Attributes
    ----------
    name, description : str
        What to ask for, and what it is.
    licence : str
        Terms under which others may use it.
    url : str
        Address that the files' paths are relative to.
    files : tuple of PublicFile
        Content.
    """

    name: str
    description: str
    licence: str
    url: str
    files: tuple[PublicFile, ...]

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(file.size for file in self.files)


def public_data(path: str | os.PathLike[str] | None = None) -> Mapping[str, PublicData]:
    """Return the sets that can be downloaded, by name.

    Parameters
    ----------
    path : str or path-like, optional
        Another registry file than the one of the package.

    Raises
    ------
    FileFormatError
        If the file isn't a registry.

    Examples
    --------
    >>> sorted(public_data())
    ['ebl', 'flux-points', 'hawc-crab', 'joint-crab', 'simulations']
    """
    path = REGISTRY if path is None else make_path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r} found, {VERSION} expected")
        sets = {
            name: PublicData(
                name=name,
                description=entry["description"],
                licence=entry["licence"],
                url=content["url"],
                files=tuple(
                    PublicFile(file, str(facts["sha256"]), int(facts["size"]))
                    for file, facts in entry["files"].items()
                ),
            )
            for name, entry in content["sets"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise FileFormatError(f"{path}: not a registry of data sets ({what})") from error
    return MappingProxyType(sets)


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_folder() -> Path:
    """Return where data sets go: ``$GAMMAPY_DATA``, or ``gammapy-data`` in the current folder."""
    return Path(os.environ.get("GAMMAPY_DATA") or "gammapy-data")


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    url: str | None = None,
    overwrite: bool = False,
    registry: str | os.PathLike[str] | None = None,
    progress: Callable[[PublicFile], None] | None = None,
) -> Path:
    """Download a data set; files that are there already and intact are left as they are.

    Needs the extra ``data``.

    Parameters
    ----------
    name : str
        Name of the set, one of `public_data`.
    folder : str or path-like, optional
        Folder to put it in, with the layout of ``$GAMMAPY_DATA``. Default: `default_folder`.
    url : str, optional
        Address of a mirror.
    overwrite : bool
        Whether files that differ from the published ones may be replaced.
    registry : str or path-like, optional
        Another registry file than the one of the package.
    progress : callable, optional
        Called with each `PublicFile` that is in place.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ConfigError
        If there is no such set.
    OverwriteError
        If a file exists with other content and ``overwrite`` is false.
    DataError
        If a file can't be downloaded, or what arrives isn't what was published.
    """
    sets = public_data(registry)
    if name not in sets:
        raise ConfigError(f"Unknown data set {name!r}. {nearest(name, sets)}")
    entry = sets[name]
    folder = default_folder() if folder is None else make_path(folder)
    base = (entry.url if url is None else url).rstrip("/")
    for file in entry.files:
        _fetch(file, folder, f"{base}/{file.path}", overwrite)
        if progress is not None:
            progress(file)
    return folder


def _fetch(file: PublicFile, folder: Path, url: str, overwrite: bool) -> None:
    target = folder / file.path
    if target.exists() and sha256(target) != file.sha256:
        if not overwrite:
            raise OverwriteError(
                f"{target} exists and differs from the published file (SHA-256 {file.sha256}). "
                "Move it away, or allow overwriting"
            )
        target.unlink()
    pooch = import_optional("pooch", extra="data")
    pooch.get_logger().setLevel("WARNING")
    # Every downloader of pooch's raises exceptions of its own library; requests' are OSErrors.
    try:
        pooch.retrieve(url, known_hash=f"sha256:{file.sha256}", path=target.parent, fname=target.name)
    except (OSError, ValueError) as error:
        raise DataError(f"{url} could not be downloaded to {target}: {error}") from error

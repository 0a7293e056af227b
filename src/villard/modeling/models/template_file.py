"""Maps that models hold: where they are read from and written to."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from villard.exceptions import FileFormatError, ModelError
from villard.maps import Map
from villard.utils.io import check_overwrite
from villard.utils.paths import make_path

__all__ = ["TemplateFile", "check_finite", "file_name", "locate_files", "read_brightness", "save_templates"]


def check_finite(map: Map, where: str) -> None:
    """Raise `ModelError` if a map isn't one, or has values that aren't finite."""
    if not isinstance(map, Map):
        raise ModelError(f"{where}: expected a map, found {type(map).__name__}")
    n_bad = int(np.sum(~np.isfinite(map.data)))
    if n_bad:
        raise ModelError(
            f"{where}: the template has holes: {n_bad} of {map.data.size} values are NaN or infinite. "
            "Fill them (with zeros, or by interpolation) first"
        )


class TemplateFile:
    """What models that hold a map have in common."""

    map: Map
    filename: str | None

    def write(self, overwrite: bool = False, filename: str | os.PathLike[str] | None = None) -> None:
        """Write the map to a FITS file.

        Parameters
        ----------
        overwrite : bool
            Whether an existing file may be replaced.
        filename : str or path-like, optional
            File; by default ``filename`` of the model, which is changed otherwise.

        Raises
        ------
        ModelError
            If no file is known.
        OverwriteError
            If it exists and ``overwrite`` is false.
        """
        if filename is not None:
            self.filename = os.fspath(filename)
        if self.filename is None:
            raise ModelError(f"{type(self).__name__}.write: it has no filename, give one")
        path = check_overwrite(self.filename, overwrite)
        _writable(self.map).write(path, overwrite=overwrite)


def _writable(map: Map) -> Any:
    if not hasattr(map, "write"):
        raise ModelError(f"A template of the type {type(map).__name__} can't be written")
    return map


def file_name(data: dict[str, Any], where: str) -> str:
    """Return the name of the file in a model's YAML form."""
    filename = data.get("filename")
    if not isinstance(filename, str):
        raise ModelError(f"{where}: expected 'filename', a file with a map, found {filename!r}")
    return filename


def read_brightness(filename: str | os.PathLike[str], normalize: bool, **kwargs: Any) -> Map:
    """Read a map of brightness; where it will be normalised, a unit that isn't understood doesn't matter.

    Parameters
    ----------
    filename : str or path-like
        FITS file; those of radio and X-ray maps have units such as JY/BEAM.
    normalize : bool
        Whether the map will be normalised.
    **kwargs
        For `~villard.maps.Map.read`.
    """
    from villard.maps.fits import open_fits
    from villard.maps.wcs_map import WcsNDMap

    try:
        return Map.read(filename, **kwargs)
    except FileFormatError as error:
        if not normalize or "keyword BUNIT" not in str(error):
            raise
        with open_fits(filename) as hdus:
            for hdu in hdus:
                hdu.header.remove("BUNIT", ignore_missing=True)
            return WcsNDMap.from_hdulist(hdus, where=str(filename), **kwargs)


def _holders(model: Any) -> Iterator[Any]:
    """Yield the model and its parts that hold a map."""
    for item in (model, *getattr(model, "_components", {}).values()):
        if isinstance(item, TemplateFile):
            yield item


def save_templates(models: Any, path: Path, overwrite: bool) -> None:
    """Write the maps of models that aren't in files yet.

    Those without a filename get one beside ``path``, made of its name and the model's.

    Parameters
    ----------
    models : `Models`
        Models.
    path : `~pathlib.Path`
        YAML file in which their names will be.
    overwrite : bool
        Whether files that exist are written anew; else they are taken to hold the maps.
    """
    for model in models:
        for item in _holders(model):
            if item.filename is None:
                safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in model.name)
                item.filename = str(path.parent / f"{path.stem}_{safe}.fits")
                check_overwrite(item.filename, overwrite)
            if overwrite or not make_path(item.filename).exists():
                item.write(overwrite=True)


def locate_files(data: Any, folder: Path) -> Any:
    """Return the YAML form of models with file names completed of files that are in ``folder``."""
    if isinstance(data, list):
        return [locate_files(item, folder) for item in data]
    if not isinstance(data, dict):
        return data
    result = {key: locate_files(item, folder) for key, item in data.items()}
    name = data.get("filename")
    if isinstance(name, str) and not name.startswith(("$", "~")) and (folder / name).is_file():
        result["filename"] = str(folder / name)
    return result

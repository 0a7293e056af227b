"""Results that are a table of columns with something about them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.axes import Axes

__all__ = ["Columns"]


class Columns:
    """A table whose columns, and more, are had by ``result[name]``; its length is that of the table.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns.
    meta : dict
        Anything else; ``name`` is the source's.

    Examples
    --------
    >>> from astropy.table import Table
    >>> result = Columns(Table({"ts": [3.0, 9.0]}), {"name": "source"})
    >>> len(result), result["ts"].tolist(), result["name"]
    (2, [3.0, 9.0], 'source')
    """

    _kind = "Result"

    def __init__(self, table: Table, meta: Mapping[str, Any]) -> None:
        self.table = table
        self.meta = dict(meta)

    @property
    def name(self) -> str:
        """Name of the source."""
        return str(self.meta["name"])

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: str) -> Any:
        from villard.roi.source import SourceKeyError
        from villard.utils.names import nearest

        if key in self.table.colnames:
            return np.asarray(self.table[key])
        if key in self.meta:
            return self.meta[key]
        raise SourceKeyError(f"{self._kind} of {self.name!r} has no {key!r}. {nearest(key, self.keys())}")

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def keys(self) -> list[str]:
        """Names of the columns and of what else there is."""
        return [*self.table.colnames, *self.meta]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    # Files: a subclass says what is in them, by `to_hdulist` and `plot`

    def to_hdulist(self) -> Any:
        """Return the FITS file; subclasses make it."""
        raise NotImplementedError

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the columns; subclasses do it."""
        raise NotImplementedError

    def write(self, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write a FITS file, see `to_hdulist`."""
        from villard.utils.io import atomic_write

        with atomic_write(filename, overwrite) as temporary:
            self.to_hdulist().writeto(temporary, overwrite=True)

    def write_files(self, files: Mapping[str, Any], overwrite: bool = False) -> None:
        """Write files by their suffixes: .fits, .npy (a dictionary of columns, as fermipy), .png."""
        from villard.roi.products import write_npy
        from villard.utils.io import atomic_write

        if "fits" in files:
            self.write(files["fits"], overwrite)
            self.meta["file"] = str(files["fits"])
        if "npy" in files:
            write_npy(files["npy"], {key: self[key] for key in self.keys()}, overwrite)
        if "png" in files:
            import matplotlib.pyplot as plt

            figure, ax = plt.subplots()
            self.plot(ax)
            with atomic_write(files["png"], overwrite) as temporary:
                figure.savefig(temporary)
            plt.close(figure)

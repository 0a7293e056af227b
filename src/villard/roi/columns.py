"""Results that are a table of columns with something about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

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

"""All catalogues by name, and catalogues read from files whatever they are."""

from __future__ import annotations

import os
from typing import Any

from villard.catalog.core import SourceCatalog
from villard.catalog.fermi import SourceCatalog2FHL, SourceCatalog3FGL, SourceCatalog3FHL, SourceCatalog4FGL
from villard.catalog.gammacat import SourceCatalogGammaCat
from villard.catalog.hawc import SourceCatalog2HWC, SourceCatalog3HWC
from villard.catalog.hgps import SourceCatalogHGPS
from villard.catalog.lhaaso import SourceCatalog1LHAASO
from villard.catalog.table import open_catalog, read_table
from villard.exceptions import DataError, FileFormatError
from villard.utils.names import nearest
from villard.utils.paths import make_path

__all__ = ["CATALOG_REGISTRY", "Registry", "read_catalog"]


class Registry(list[type[SourceCatalog]]):
    """The classes of catalogues, which are also found by their tags."""

    def get_cls(self, tag: str) -> type[Any]:
        """Return the class with this tag, or with this name of a class.

        Raises
        ------
        DataError
            If there is none; the message offers the nearest.
        """
        for cls in self:
            if tag.lower() == cls.tag.lower() or tag == cls.__name__:
                return cls
        raise DataError(f"No catalogue has the tag {tag!r}. {nearest(tag, [cls.tag for cls in self])}")

    def __str__(self) -> str:
        width = max(len(cls.__name__) for cls in self)
        lines = [f"{cls.__name__:<{width}}: {cls.tag}" for cls in self]
        return "\n".join(["Registry", "--------", "", *lines, ""])


CATALOG_REGISTRY = Registry(
    [
        SourceCatalogGammaCat,
        SourceCatalogHGPS,
        SourceCatalog2HWC,
        SourceCatalog3FGL,
        SourceCatalog4FGL,
        SourceCatalog2FHL,
        SourceCatalog3FHL,
        SourceCatalog3HWC,
        SourceCatalog1LHAASO,
    ]
)

#: Names that fermipy has for catalogues, and versions of the files that they are in, the latest first.
_NAMES = {
    "3fgl": (SourceCatalog3FGL, "gll_psc", ("v16", "v14")),
    "2fhl": (SourceCatalog2FHL, "gll_psch", ("v09", "v08")),
    "3fhl": (SourceCatalog3FHL, "gll_psch", ("v13",)),
    "4fgl": (SourceCatalog4FGL, "gll_psc", ("v22", "v21", "v20", "v19")),
    "4fgl-dr2": (SourceCatalog4FGL, "gll_psc", ("v27",)),
    "4fgl-dr3": (SourceCatalog4FGL, "gll_psc", ("v31", "v30", "v29", "v28")),
    "4fgl-dr4": (SourceCatalog4FGL, "gll_psc", ("v35", "v34", "v33", "v32")),
    "fl16y": (SourceCatalog4FGL, "gll_psc", ("v41", "v40")),
}


def read_catalog(path_or_name: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Read a catalogue, whichever it is.

    Parameters
    ----------
    path_or_name : str or path-like
        File, or a name: "3FHL", "2FHL", "3FGL", "4FGL", "4FGL-DR2", "4FGL-DR3", "4FGL-DR4", "FL16Y" or the
        tag of a class of `CATALOG_REGISTRY`, whose file is then expected below ``$GAMMAPY_DATA/catalogs``.
    **kwargs
        For the class.

    Returns
    -------
    `SourceCatalog`
        Catalogue.

    Raises
    ------
    FileFormatError
        If the file isn't there, or its layout isn't that of a known catalogue.

    Examples
    --------
    >>> try:
    ...     read_catalog("4FGL-DR9")
    ... except FileFormatError as error:
    ...     print(str(error).partition(" Available")[0])
    Catalogue 4FGL-DR9: no such file, and no such name. Did you mean '4fgl-dr4'?
    """
    name = os.fspath(path_or_name)
    if name.lower() in _NAMES:
        cls, stem, versions = _NAMES[name.lower()]
        files = [f"$GAMMAPY_DATA/catalogs/fermi/{stem}_{version}.fit" for version in versions]
        return cls(next((file for file in files if _exists(file)), files[0]), **kwargs)
    tags = {cls.tag.lower(): cls for cls in CATALOG_REGISTRY}
    if name.lower() in tags:
        known: Any = tags[name.lower()]
        return known(**kwargs)
    path = make_path(path_or_name)
    if not _exists(path):
        hint = nearest(name.lower(), dict.fromkeys([*_NAMES, *tags]))
        raise FileFormatError(f"Catalogue {name}: no such file, and no such name. {hint}")
    return _class_of(name)(name, **kwargs)


def _exists(name: str | os.PathLike[str]) -> bool:
    """Tell whether a file is there, compressed or not."""
    path = make_path(name)
    return path.is_file() or path.with_name(f"{path.name}.gz").is_file()


def _class_of(name: str) -> Any:
    """Return the class whose tables and columns a file has."""
    found = _tables(name)
    for cls in CATALOG_REGISTRY:
        needed = {cls._source_name_key, *cls._coordinates[:2], *cls._needed}
        hdu = getattr(cls, "_source_hdu", None)
        for table, columns in found:
            if needed <= set(columns) and (hdu is None or hdu.upper() == table.upper()):
                return cls
    tables = "; ".join(f"{hdu or 'table'} ({', '.join(columns[:6])}, …)" for hdu, columns in found)
    raise FileFormatError(
        f"{name}: its layout isn't that of a known catalogue "
        f"({', '.join(cls.tag for cls in CATALOG_REGISTRY)}); found the tables: {tables or 'none'}"
    )


def _tables(name: str) -> list[tuple[str, list[str]]]:
    """Names and columns of the tables of a file."""
    if make_path(name).suffix == ".ecsv":
        return [("", read_table(name).colnames)]
    with open_catalog(name) as hdus:
        return [(item.name, [c.name for c in item.columns]) for item in hdus[1:] if hasattr(item, "columns")]

"""Base classes of source catalogues: rows by name, position, models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.catalog.table import Row, read_table
from villard.exceptions import DataError, FileFormatError, ModelError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    from villard.modeling.models import Models, SkyModel

__all__ = ["CatalogNameError", "IncompleteSourceError", "SourceCatalog", "SourceCatalogObject"]

#: Half axis of the ellipse of 95 % containment of a bivariate normal distribution, in sigma.
R95_PER_SIGMA = 2.447746830680816


class CatalogNameError(DataError, KeyError):
    """A catalogue has no source of this name, or several."""

    def __str__(self) -> str:
        # KeyError would print the message as a quoted string.
        return str(self.args[0])


class IncompleteSourceError(ModelError):
    """A catalogue lacks what a model of one of its sources needs."""


class SourceCatalogObject:
    """One source of a catalogue.

    Parameters
    ----------
    data : `Row`
        Row of the table: column to value, with a unit where the column has one.
    row_index : int
        Position in the table.
    catalog : `SourceCatalog`
        Catalogue that it is from.
    """

    _source_name_key: ClassVar[str] = "Source_Name"

    def __init__(self, data: Mapping[str, Any], row_index: int, catalog: SourceCatalog) -> None:
        self.data = data
        self._row_index = row_index
        self.catalog = catalog

    @property
    def name(self) -> str:
        """Name."""
        return str(self.data[self.catalog._source_name_key])

    @property
    def row_index(self) -> int:
        """Position in the catalogue's table."""
        return self._row_index

    @property
    def position(self) -> SkyCoord:
        """Direction."""
        return self.catalog.positions[self._row_index]

    @property
    def associations(self) -> list[str]:
        """Names of the same source elsewhere."""
        names = [str(self.data.get(key, "")) for key in self.catalog._source_name_alias]
        return [name for name in dict.fromkeys(names) if name and name != self.name]

    @property
    def is_pointlike(self) -> bool:
        """Whether the morphology is a point."""
        return bool(getattr(self.spatial_model(), "is_point", False))

    def spectral_model(self) -> Any:
        """Return the spectrum; subclasses define it."""
        raise NotImplementedError

    def spatial_model(self) -> Any:
        """Return the morphology; subclasses define it."""
        raise NotImplementedError

    def sky_model(self, name: str | None = None) -> Any:
        """Return the source as a model.

        Parameters
        ----------
        name : str, optional
            Name of the model, by default that of the source.

        Returns
        -------
        `~villard.modeling.models.SkyModel`
            Spectrum and morphology, with the errors of the catalogue.

        Raises
        ------
        IncompleteSourceError
            If the catalogue has no spectrum of the source.
        """
        from villard.modeling.models import SkyModel

        spectrum = self.spectral_model()
        if spectrum is None:
            raise IncompleteSourceError(f"{self.name}: the catalogue has no spectrum of it")
        return SkyModel(spectrum, self.spatial_model(), name=self.name if name is None else name)

    def info(self, info: str = "all") -> str:
        """Return what is known of the source as text.

        Parameters
        ----------
        info : str
            "all", or parts of it, separated by commas: "basic", "position", "model".
        """
        from villard.catalog.info import source_info

        return source_info(self, info)

    def __str__(self) -> str:
        return self.info()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class SourceCatalog:
    """A table of sources.

    ``catalog["name"]`` and ``catalog[0]`` give one source; a slice, a mask or a list of positions gives the
    catalogue of these rows only. Names may be written in upper or lower case and with or without spaces, and
    may be those of associated sources if only one source has them.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Sources, one per row.

    Examples
    --------
    >>> from astropy.table import Table
    >>> table = Table({"Source_Name": ["A 1", "B 2"], "RAJ2000": [1, 2] * u.deg, "DEJ2000": [3, 4] * u.deg})
    >>> catalog = SourceCatalog(table)
    >>> catalog["b2"].name, catalog["B 2"].data["RAJ2000"]
    ('B 2', <Quantity 2. deg>)
    >>> catalog["B 3"]
    Traceback (most recent call last):
        ...
    villard.catalog.core.CatalogNameError: No source 'B 3' in the catalogue. Did you mean 'B 2'?
    """

    tag: ClassVar[str] = ""
    description: ClassVar[str] = ""
    source_object_class: ClassVar[type[SourceCatalogObject]] = SourceCatalogObject
    _source_name_key: ClassVar[str] = "Source_Name"
    _source_name_alias: ClassVar[tuple[str, ...]] = ()
    _coordinates: ClassVar[tuple[str, str, str]] = ("RAJ2000", "DEJ2000", "icrs")
    #: Columns without which a table isn't this catalogue.
    _needed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, table: Table, filename: str | os.PathLike[str] | None = None) -> None:
        where = type(self).__name__ if filename is None else str(filename)
        needed = (self._source_name_key, *self._coordinates[:2], *self._needed)
        missing = [name for name in needed if name not in table.colnames]
        if missing:
            raise FileFormatError(
                f"{where}: expected {self.description or 'a catalogue'} with the columns "
                f"{', '.join(needed)}; not found: {', '.join(missing)}"
            )
        self.table = table
        self._filename = None if filename is None else os.fspath(filename)
        self._cache: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._object(self.row_index(key))
        if isinstance(key, int | np.integer):
            if not -len(self) <= key < len(self):
                raise IndexError(f"{type(self).__name__}: row {key} of {len(self)}")
            return self._object(int(key) % len(self))
        return self._rows(key)

    def _rows(self, key: Any) -> Self:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.table = self.table[key]
        new._cache = {}
        return new

    def _object(self, index: int) -> Any:
        return self.source_object_class(Row(self.table, index), index, self)

    @property
    def positions(self) -> SkyCoord:
        """Directions of all sources."""
        from astropy.coordinates import SkyCoord

        if "positions" not in self._cache:
            lon, lat, frame = self._coordinates
            values = (u.Quantity(np.asarray(self.table[name], dtype=float), "deg") for name in (lon, lat))
            self._cache["positions"] = SkyCoord(*values, frame=frame)
        return self._cache["positions"]

    @property
    def names(self) -> list[str]:
        """Names of all sources."""
        return [str(name) for name in self.table[self._source_name_key]]

    def source_name(self, index: int) -> str:
        """Return the name of the source in a row."""
        return str(self.table[self._source_name_key][index])

    def row_index(self, name: str) -> int:
        """Return the row of the source with a name.

        Raises
        ------
        CatalogNameError
            If there is none, or it is an association of several sources.
        """
        for level in self._lookup():
            found = level.get(name) or level.get(_normalised(name))
            if not found:
                continue
            if len(found) > 1:
                names = ", ".join(self.source_name(i) for i in found)
                raise CatalogNameError(
                    f"{name!r} is the name of {len(found)} sources of the catalogue: {names}"
                )
            return found[0]
        raise CatalogNameError(f"No source {name!r} in the catalogue. {_hint(name, self._known_names())}")

    def _lookup(self) -> list[dict[str, list[int]]]:
        """Rows by name, one dictionary for the names and one per column of associations."""
        if "lookup" not in self._cache:
            columns = [self._source_name_key, *self._source_name_alias]
            levels = [_rows_by_name(self._texts(name)) for name in columns if name in self.table.colnames]
            self._cache["lookup"] = levels
        return self._cache["lookup"]

    def _texts(self, column: str) -> list[list[str]]:
        return [[str(value)] for value in self.table[column]]

    def _known_names(self) -> list[str]:
        columns = [self._source_name_key, *self._source_name_alias]
        texts = (t for name in columns if name in self.table.colnames for t in self._texts(name))
        return [text for entry in texts for text in entry if text]

    def select_region(self, center: SkyCoord, radius: Any = None, width: Any = None) -> Self:
        """Return the sources around a direction.

        Parameters
        ----------
        center : `~astropy.coordinates.SkyCoord`
            Direction.
        radius : `~astropy.units.Quantity` or float, optional
            Largest separation; a number is in deg.
        width : `~astropy.units.Quantity` or float, optional
            Side of a square, along longitude and latitude of the frame of ``center``; a number is in deg.

        Examples
        --------
        >>> from astropy.coordinates import SkyCoord
        >>> from astropy.table import Table
        >>> table = Table({"Source_Name": ["A", "B"], "RAJ2000": [1, 2] * u.deg, "DEJ2000": [3, 4] * u.deg})
        >>> SourceCatalog(table).select_region(SkyCoord("1d 3d"), radius=1).names
        ['A']
        """
        positions = self.positions
        inside = np.ones(len(self), dtype=bool)
        if radius is not None:
            inside &= positions.separation(center) < u.Quantity(radius, "deg")
        if width is not None:
            from astropy.coordinates import SkyOffsetFrame

            offset = positions.transform_to(SkyOffsetFrame(origin=center)).spherical
            half = u.Quantity(width, "deg") / 2
            inside &= (np.abs(offset.lon.wrap_at("180d")) < half) & (np.abs(offset.lat) < half)
        return self._rows(inside)

    def to_models(self, **kwargs: Any) -> Models:
        """Return models of all sources.

        Parameters
        ----------
        **kwargs
            For `SourceCatalogObject.sky_model` of each.
        """
        from villard.modeling.models import Models

        return Models(_flat(source.sky_model(**kwargs) for source in self))

    @classmethod
    def _read_table(cls, filename: str | os.PathLike[str], hdu: Any = 1) -> Table:
        return read_table(filename, hdu)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} sources)"

    def __str__(self) -> str:
        return f"{type(self).__name__}:\n    name: {self.tag}\n    description: {self.description}\n    " + (
            f"sources: {len(self)}\n"
        )


def _flat(models: Iterable[Any]) -> list[SkyModel]:
    result: list[Any] = []
    for model in models:
        if model is None:
            continue
        result += list(model) if isinstance(model, list | tuple) or hasattr(model, "names") else [model]
    return result


def _normalised(name: str) -> str:
    return "".join(name.split()).lower()


def _rows_by_name(entries: list[list[str]]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        for text in entry:
            for key in {text, _normalised(text)} - {""}:
                rows.setdefault(key, []).append(index)
    return rows


def _hint(name: str, names: list[str]) -> str:
    hint = nearest(name, dict.fromkeys(names))
    return hint.split(" Available")[0] if "Did you mean" in hint else f"It has {len(names)} names."


def finite(value: Any) -> bool:
    """Tell whether a number or quantity is finite."""
    number: NDArray[np.float64] = np.asarray(u.Quantity(value).value, dtype=float)
    return bool(np.all(np.isfinite(number)))


def set_errors(model: Any, **errors: Any) -> Any:
    """Set errors of parameters that are known (finite, not negative), and return the model."""
    for name, error in errors.items():
        if error is not None and finite(error) and u.Quantity(error).value >= 0:
            model.parameters[name].error = error
    return model

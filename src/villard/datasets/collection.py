"""Several datasets with names, in order."""

from __future__ import annotations

import copy as copylib
import os
from collections.abc import Iterable, Iterator, MutableSequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import astropy.units as u
import numpy as np

from villard.datasets.core import Dataset, get_dataset_class
from villard.datasets.transform_counts import check_stackable
from villard.exceptions import ConfigError, DataError, FileFormatError, ModelError
from villard.modeling.models import Models
from villard.modeling.parameter import Parameters
from villard.utils.io import atomic_write, check_overwrite
from villard.utils.names import nearest
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Datasets"]

#: Besides the datasets, what Gammapy writes about its files.
_KEYS = ("datasets", "metadata", "checksum")


class Datasets(MutableSequence[Any]):
    """Datasets of any types, in order, each with a name of its own.

    Parameters
    ----------
    datasets : dataset, list of datasets or `Datasets`
        The datasets.

    Raises
    ------
    DataError
        If two datasets have the same name, or an entry isn't a dataset.

    Examples
    --------
    >>> from villard.datasets import SpectrumDataset
    >>> from villard.maps import MapAxis, RegionGeom
    >>> geom = RegionGeom(None, axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)])
    >>> datasets = Datasets([SpectrumDataset.create(geom, name=name) for name in ("run-1", "run-2")])
    >>> datasets.names
    ['run-1', 'run-2']
    >>> datasets["run_1"]
    Traceback (most recent call last):
        ...
    villard.exceptions.DataError: No dataset 'run_1'. Did you mean 'run-1'? Available: run-1, run-2
    """

    def __init__(self, datasets: Any = None) -> None:
        if datasets is None:
            entries: list[Any] = []
        elif isinstance(datasets, Dataset):
            entries = [datasets]
        elif isinstance(datasets, dict) or not isinstance(datasets, Iterable):
            raise DataError(f"Expected a dataset or a list of datasets, found {type(datasets).__name__}")
        else:
            entries = list(datasets)
        self._datasets: list[Any] = []
        for dataset in entries:
            self._check(dataset, self._datasets)
            self._datasets.append(dataset)

    @staticmethod
    def _check(dataset: Any, others: Iterable[Any]) -> None:
        if not isinstance(dataset, Dataset):
            raise DataError(f"Expected a dataset, found {type(dataset).__name__}")
        if dataset.name in [d.name for d in others]:
            raise DataError(f"Two datasets are called {dataset.name!r}: names must be unique")

    # Sequence

    @overload
    def __getitem__(self, key: int | str) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> Datasets: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return Datasets(self._datasets[key])
        return self._datasets[self.index(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        position = self.index(key)
        self._check(value, [d for i, d in enumerate(self._datasets) if i != position])
        self._datasets[position] = value

    def __delitem__(self, key: Any) -> None:
        del self._datasets[self.index(key)]

    def __len__(self) -> int:
        return len(self._datasets)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._datasets)

    def __contains__(self, item: object) -> bool:
        return item in self.names if isinstance(item, str) else any(d is item for d in self._datasets)

    def insert(self, index: int, value: Any) -> None:
        """Insert a dataset before a position."""
        self._check(value, self._datasets)
        self._datasets.insert(index, value)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the position of a dataset, given itself, its name or its position."""
        if isinstance(value, str):
            if value not in self.names:
                raise DataError(f"No dataset {value!r}. {nearest(value, self.names)}")
            return self.names.index(value)
        if isinstance(value, int | np.integer):
            if not -len(self) <= value < len(self):
                # An IndexError ends loops over positions, as the protocol of sequences asks.
                raise IndexError(f"No dataset at position {value}: there are {len(self)}")
            return int(value)
        for position, dataset in enumerate(self._datasets):
            if dataset is value:
                return position
        raise DataError(f"Dataset {getattr(value, 'name', value)!r} is not in this collection")

    @property
    def names(self) -> list[str]:
        """Names of the datasets."""
        return [d.name for d in self._datasets]

    # Models and likelihood

    @property
    def models(self) -> Models:
        """Models of all datasets, each once. Setting gives each dataset those that contribute to it."""
        models = {id(m): m for d in self._datasets for m in d.models or ()}
        return Models(models.values())

    @models.setter
    def models(self, models: Any) -> None:
        models = None if models is None else Models(models)
        for model in models or ():
            if self._datasets and not any(model.contributes_to(name) for name in self.names):
                raise ModelError(
                    f"Model {model.name!r} contributes to no dataset: its datasets_names are "
                    f"{model.datasets_names}, the datasets are {self.names}"
                )
        for dataset in self._datasets:
            dataset.models = models

    @property
    def parameters(self) -> Parameters:
        """Parameters of all models, linked ones once."""
        return self.models.parameters.unique_parameters

    def stat_sum(self) -> float:
        """Return -2 ln L: the sum over all datasets, and once the priors of all models."""
        return sum(d._stat_sum_data() for d in self._datasets) + self.parameters.prior_stat_sum()

    # Properties

    @property
    def is_all_same_type(self) -> bool:
        """Whether all datasets are of one type."""
        return len({type(d) for d in self._datasets}) <= 1

    @property
    def is_all_same_shape(self) -> bool:
        """Whether the data of all datasets have one shape."""
        return len({d.data_shape for d in self._datasets}) <= 1

    @property
    def is_all_same_energy_shape(self) -> bool:
        """Whether all datasets have as many bins of energy."""
        return len({d.data_shape[0] for d in self._datasets}) <= 1

    @property
    def energy_ranges(self) -> tuple[u.Quantity, u.Quantity]:
        """Lower and upper bounds of the fit ranges, each of shape (n_datasets,)."""
        bounds = []
        for dataset in self._datasets:
            low, high = (bound.quantity.to_value(u.TeV) for bound in dataset.energy_range)
            inside = np.isfinite(low)
            bounds.append([low[inside].min(), high[inside].max()] if inside.any() else [np.nan, np.nan])
        energy_min, energy_max = np.array(bounds, dtype=float).reshape(-1, 2).T
        return u.Quantity(energy_min, u.TeV), u.Quantity(energy_max, u.TeV)

    # Other datasets

    def copy(self) -> Datasets:
        """Return copies of the datasets and their models, with the same names and links."""
        return copylib.deepcopy(self)

    def slice_by_energy(self, energy_min: u.Quantity, energy_max: u.Quantity) -> Datasets:
        """Return the datasets between two energies, with their names and models.

        Datasets without a bin in between are left out.

        Parameters
        ----------
        energy_min, energy_max : `~astropy.units.Quantity`
            Bounds; they are moved to the nearest edges.
        """
        datasets = []
        for dataset in self._datasets:
            try:
                part = dataset.slice_by_energy(energy_min, energy_max, name=dataset.name)
            except DataError:
                continue
            part.models = dataset.models
            datasets.append(part)
        return Datasets(datasets)

    def stack_reduce(self, name: str | None = None, nan_to_num: bool = True) -> Any:
        """Return one dataset with the sum of all; see `SpectrumDataset.stack`.

        Parameters
        ----------
        name : str, optional
            Name of the new dataset; random by default.
        nan_to_num : bool
            Whether NaN counts as 0.

        Returns
        -------
        dataset
            Dataset of the same type, without models.

        Raises
        ------
        DataError
            If there are no datasets, or they differ in type or axes.
        """
        if not self._datasets:
            raise DataError("There are no datasets to stack")
        first = self._datasets[0]
        if not hasattr(first, "stack"):
            raise DataError(f"Dataset {first.name!r}: a {type(first).__name__} can't be stacked")
        for dataset in self._datasets[1:]:
            check_stackable(first, dataset)
        stacked = first.to_masked(name=name)
        for dataset in self._datasets[1:]:
            stacked.stack(dataset, nan_to_num=nan_to_num)
        return stacked

    # Text and tables

    def info_table(self, cumulative: bool = False) -> Table:
        """Return a table with the `info_dict` of each dataset in its safe range.

        Parameters
        ----------
        cumulative : bool
            Whether each row is for the stack of all datasets up to it.
        """
        from astropy.table import Table

        rows = []
        stacked = None
        for dataset in self._datasets:
            if not cumulative:
                rows.append(dataset.info_dict())
                continue
            if stacked is None:
                stacked = dataset.to_masked(name="stacked")
            else:
                stacked.stack(dataset)
            rows.append(stacked.info_dict())
        table = Table()
        # On/off datasets have columns of their own; the others have NaN there.
        for key in dict.fromkeys(key for row in rows for key in row):
            values = [row.get(key, np.nan) for row in rows]
            table[key] = u.Quantity(values) if isinstance(values[0], u.Quantity) else values
        return table

    def __str__(self) -> str:
        lines = ["Datasets", "--------", ""]
        for i, dataset in enumerate(self._datasets):
            models = ", ".join(dataset.models.names) if dataset.models else "none"
            lines += [f"Dataset {i}:", "", f"  Type       : {type(dataset).__name__}"]
            lines += [f"  Name       : {dataset.name}", f"  Models     : {models}", ""]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Datasets({self._datasets!r})"

    # Files

    @classmethod
    def read(
        cls, filename: str | os.PathLike[str], filename_models: str | os.PathLike[str] | None = None
    ) -> Datasets:
        """Read datasets, and their models, from YAML files in Gammapy's format.

        Parameters
        ----------
        filename : str or path-like
            YAML file with a list ``datasets`` of ``name``, ``type`` and ``filename``; file names are
            relative to its folder.
        filename_models : str or path-like, optional
            YAML file of the models.

        Raises
        ------
        ConfigError
            If the list has unknown types or lacks entries.
        FileFormatError
            If a file isn't YAML, or a file of a dataset is damaged.
        """
        import yaml

        path = make_path(filename)
        if not path.is_file():
            raise FileFormatError(f"Datasets file not found: {path}")
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise FileFormatError(f"{path}: not a YAML file: {error}") from error
        datasets = cls.from_dict(data, path.parent, where=str(path))
        if filename_models is not None:
            datasets.models = Models.read(filename_models)
        return datasets

    @classmethod
    def from_dict(cls, data: Any, folder: str | os.PathLike[str] = ".", where: str = "Datasets") -> Datasets:
        """Read the datasets of a dictionary as in the YAML file.

        Parameters
        ----------
        data : dict
            With a list ``datasets``.
        folder : str or path-like
            Folder that file names are relative to.
        where : str
            File, for messages.
        """
        if not isinstance(data, dict) or not isinstance(data.get("datasets"), list):
            raise ConfigError(f"{where}: expected a list 'datasets'")
        for key in data:
            if key not in _KEYS:
                raise ConfigError(f"{where}: unknown key {key!r}. {nearest(str(key), _KEYS)}")
        result = []
        for entry in data["datasets"]:
            if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
                raise ConfigError(f"{where}: expected name, type and filename of a dataset, found {entry!r}")
            dataset_class = get_dataset_class(entry["type"], f"{where}, dataset {entry.get('name')!r}")
            try:
                result.append(dataset_class.from_dict(entry, folder))
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from error
        return cls(result)

    def write(
        self,
        filename: str | os.PathLike[str],
        filename_models: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        write_covariance: bool = True,
    ) -> None:
        """Write a YAML file, the files of the datasets beside it, and the models.

        Parameters
        ----------
        filename : str or path-like
            YAML file.
        filename_models : str or path-like, optional
            YAML file of the models.
        overwrite : bool
            Whether existing files may be replaced.
        write_covariance : bool
            Whether the covariance of the models is written.

        Raises
        ------
        OverwriteError
            If a file exists and ``overwrite`` is false.
        """
        import yaml

        path = check_overwrite(filename, overwrite)
        if filename_models is not None:
            check_overwrite(filename_models, overwrite)
        entries = [d.to_dict() for d in self._datasets]
        paths = [
            p
            for d, entry in zip(self._datasets, entries, strict=True)
            for p in d._paths(path.parent / entry["filename"])
        ]
        for p in paths:
            check_overwrite(p, overwrite)
            if paths.count(p) > 1:
                raise DataError(
                    f"Two datasets of {self.names} would be written to {p}: give them other names"
                )
        for dataset, entry in zip(self._datasets, entries, strict=True):
            dataset.write(Path(path.parent) / entry["filename"], overwrite=overwrite)
        with atomic_write(path, overwrite) as temporary:
            temporary.write_text(yaml.safe_dump({"datasets": entries}, sort_keys=False), encoding="utf-8")
        if filename_models is not None:
            self.models.write(filename_models, overwrite=overwrite, write_covariance=write_covariance)

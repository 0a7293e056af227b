"""What all datasets have in common: a name, models, a measurement for the likelihood."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError
from villard.likelihood.measurement import Measurement
from villard.modeling.models import Models
from villard.modeling.parameter import Parameters
from villard.utils.names import make_name, nearest

if TYPE_CHECKING:
    from villard.maps.core import Map

__all__ = ["Dataset", "get_dataset_class", "get_random_state"]

_REGISTRY: dict[str, type[Dataset]] = {}

RESIDUAL_METHODS = ("diff", "diff/sqrt(model)", "diff/model")


class Dataset(ABC):
    """Base class of datasets.

    A subclass sets ``tag``, its name in YAML files, and hands its content to the likelihood as a
    `~villard.likelihood.Measurement`. Predictions and statistics are computed there.

    Parameters
    ----------
    name : str, optional
        Name; random by default.
    models : model, list of models or `~villard.modeling.models.Models`, optional
        Models; those that don't contribute to this dataset are left out.
    """

    tag: ClassVar[str] = ""
    stat_type: str = ""
    # Further keys of the entry in YAML files.
    _yaml_keys: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("tag"):
            _REGISTRY[cls.tag] = cls

    def __init__(self, name: str | None = None, models: Any = None) -> None:
        self._name = make_name(name)
        self._models: Models | None = None
        self.models = models

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            names = [n for n in dir(type(self)) if not n.startswith("_")]
            hint = nearest(name, names).split("Available")[0].strip()
            raise DataError(f"{type(self).__name__} has no attribute {name!r}. {hint}".strip())
        object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """Name; it can't be changed, but `copy` takes another one."""
        return self._name

    @property
    def models(self) -> Models | None:
        """Models that contribute to the dataset, or `None`. Setting takes any form of models."""
        return self._models

    @models.setter
    def models(self, models: Any) -> None:
        if models is None:
            self._models = None
            return
        # A dataset without `datasets_names` entry in the model is one that the model is not meant for.
        self._models = Models([m for m in Models(models) if m.contributes_to(self.name)])

    @property
    def parameters(self) -> Parameters:
        """Parameters of the models, linked ones once."""
        return Parameters() if self.models is None else self.models.parameters.unique_parameters

    # Likelihood

    @abstractmethod
    def measurement(self) -> Measurement:
        """Return what the likelihood needs to know, as plain arrays in the engine's units."""

    @property
    @abstractmethod
    def mask(self) -> Any:
        """Bins that enter the fit, or `None` for all."""

    @abstractmethod
    def stat_array(self) -> NDArray[np.float64]:
        """Return the fit statistic per bin, whether or not the bin enters the fit."""

    def stat_sum(self) -> float:
        """Return -2 ln L: the sum over the bins of the fit, and the priors of the models."""
        return self._stat_sum_data() + self.parameters.prior_stat_sum()

    def _stat_sum_data(self) -> float:
        """Sum of the statistic over the fit range, without priors."""
        return float(np.sum(self.stat_array().reshape(-1)[self.measurement().mask]))

    # Copies

    @abstractmethod
    def copy(self, name: str | None = None) -> Self:
        """Return a copy without models that shares nothing with the dataset; its name is random by default.

        Parameters
        ----------
        name : str, optional
            Name of the copy.
        """

    @property
    @abstractmethod
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the data."""

    # Files

    @classmethod
    @abstractmethod
    def read(cls, filename: str | os.PathLike[str], *, name: str | None = None) -> Self:
        """Read the dataset from its file."""

    @abstractmethod
    def write(self, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the dataset to a file, without models."""

    @property
    def _filename(self) -> str:
        """File name that goes with the name, for `Datasets.write`."""
        return f"{self._name_in_files}.fits"

    @property
    def _name_in_files(self) -> str:
        return re.sub(r"[^\w.+-]", "_", self.name)

    def _paths(self, path: Path) -> list[Path]:
        """Return all files that `write` makes for a file name."""
        return [path]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the dataset in a YAML file."""
        return {"name": self.name, "type": self.tag, "filename": self._filename}

    @classmethod
    def from_dict(cls, data: dict[str, Any], folder: str | os.PathLike[str] = ".") -> Self:
        """Read the dataset that an entry of a YAML file names.

        Parameters
        ----------
        data : dict
            With ``name`` and ``filename``.
        folder : str or path-like
            Folder that the file name is relative to.
        """
        where = f"Dataset {data.get('name')!r}"
        for key in data:
            if key not in (known := ("name", "type", "filename", *cls._yaml_keys)):
                raise ConfigError(f"{where}: unknown key {key!r}. {nearest(str(key), known)}")
        if not isinstance(data.get("filename"), str):
            raise ConfigError(f"{where}: expected a filename, found {data}")
        path = data["filename"]
        return cls.read(path if path.startswith("$") else Path(folder) / path, name=data.get("name"))

    # Residuals

    @staticmethod
    def _compute_residuals(data: Map, model: Map, method: str = "diff") -> Map:
        """Return data minus model, plain or relative to the model; 0 where the model is 0."""
        if method not in RESIDUAL_METHODS:
            raise DataError(f"Unknown method of residuals {method!r}, expected one of {RESIDUAL_METHODS}")
        values = np.asarray(data.data - model.data, dtype=float)
        if method == "diff":
            return data.copy(data=values)
        scale = np.sqrt(np.abs(model.data)) if method == "diff/sqrt(model)" else model.data
        with np.errstate(divide="ignore", invalid="ignore"):
            return data.copy(data=np.where(scale == 0, 0.0, values / scale), unit="")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


def get_dataset_class(tag: str, where: str = "Datasets") -> type[Dataset]:
    """Return the class of datasets of a type.

    Parameters
    ----------
    tag : str
        Type as in YAML files.
    where : str
        File, for the message.

    Raises
    ------
    ConfigError
        If there is none of this type.
    """
    import villard.datasets as datasets

    if tag not in _REGISTRY and tag in datasets.__all__:
        getattr(datasets, tag)
    if tag not in _REGISTRY:
        raise ConfigError(f"{where}: unknown type of dataset {tag!r}. {nearest(str(tag), sorted(_REGISTRY))}")
    return _REGISTRY[tag]


def get_random_state(random_state: Any = None) -> Any:
    """Return a random number generator.

    Parameters
    ----------
    random_state : int, `~numpy.random.Generator`, `~numpy.random.RandomState`, "random-seed" or None
        Seed or generator. The seed of an integer is that of `~numpy.random.RandomState`, so that
        counts are those that Gammapy draws from it.

    Examples
    --------
    >>> get_random_state(42).poisson(10, 3).tolist()
    [12, 6, 11]
    """
    if random_state is None or (isinstance(random_state, str) and random_state == "random-seed"):
        return np.random.default_rng()
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        if not 0 <= random_state < 2**32:
            raise DataError(f"random_state: expected a seed from 0 to 2**32 - 1, found {random_state}")
        # The newer generators would make other counts of the seeds in people's scripts.
        return np.random.RandomState(int(random_state))
    if isinstance(random_state, np.random.Generator | np.random.RandomState):
        return random_state
    raise DataError(f"random_state: expected a seed or a generator of random numbers, found {random_state!r}")

"""An ordered, named collection of models, with its YAML form."""

import copy as copy_module
import os
from collections.abc import Iterable, Iterator, MutableSequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import FileFormatError, ModelError
from villard.modeling.covariance import Covariance
from villard.modeling.models.collection_sky import SkyCollection
from villard.modeling.models.component import check_part
from villard.modeling.models.core import ModelBase, get_model_class, named
from villard.modeling.models.template_file import locate_files, save_templates
from villard.modeling.parameter import Parameter, Parameters
from villard.utils.io import atomic_write, check_overwrite
from villard.utils.names import nearest
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["DatasetModels", "Models"]


class Models(SkyCollection, MutableSequence[Any]):
    """Models of a fit, in order, each with a name of its own.

    Parameters
    ----------
    models : model, list of models, dict of models or `Models`
        The models.

    Raises
    ------
    ModelError
        If two models have the same name, or an entry isn't a model.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> from villard.modeling.models import SkyModel
    >>> models = Models([SkyModel(PowerLawSpectralModel(), name=name) for name in ("crab", "pks")])
    >>> models.names
    ['crab', 'pks']
    >>> models["crap"]
    Traceback (most recent call last):
        ...
    villard.exceptions.ModelError: No model 'crap'. Did you mean 'crab'? Available: crab, pks
    >>> models.parameters_unique_names[0]
    'crab.spectral.index'
    """

    def __init__(self, models: Any = None) -> None:
        if models is None:
            entries: list[Any] = []
        elif isinstance(models, ModelBase):
            entries = [models]
        elif isinstance(models, dict):
            entries = list(models.values())
        else:
            entries = list(models)
        self._models: list[Any] = []
        for model in entries:
            self._check(model, self._models)
            self._models.append(model)

    @staticmethod
    def _check(model: Any, others: list[Any]) -> None:
        if not isinstance(model, ModelBase) or not hasattr(model, "name"):
            raise ModelError(
                f"Expected a SkyModel or another model with a name, found {type(model).__name__}"
            )
        if model.name in [m.name for m in others]:
            raise ModelError(f"Two models are called {model.name!r}: names must be unique")

    @overload
    def __getitem__(self, key: "int | str") -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> "Models": ...

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return Models(self._models[key])
        return self._models[self.index(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        position = self.index(key)
        self._check(value, [m for i, m in enumerate(self._models) if i != position])
        self._models[position] = value

    def __delitem__(self, key: Any) -> None:
        del self._models[self.index(key)]

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._models)

    def __contains__(self, item: object) -> bool:
        return item in self.names if isinstance(item, str) else any(m is item for m in self._models)

    def __add__(self, other: Any) -> "Models":
        return Models([*self, *Models(other)])

    def insert(self, index: int, value: Any) -> None:
        """Insert a model before a position."""
        self._check(value, self._models)
        self._models.insert(index, value)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the position of a model, given itself, its name or its position."""
        if isinstance(value, str):
            if value not in self.names:
                raise ModelError(f"No model {value!r}. {nearest(value, self.names)}")
            return self.names.index(value)
        if isinstance(value, int | np.integer):
            return int(value)
        for position, model in enumerate(self._models):
            if model is value:
                return position
        raise ModelError(f"Model {getattr(value, 'name', value)!r} is not in this collection")

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return [m.name for m in self._models]

    @property
    def parameters(self) -> Parameters:
        """Parameters of all models, in order; linked ones appear in each of their models."""
        return Parameters.join(m.parameters for m in self._models)

    @property
    def parameters_unique_names(self) -> list[str]:
        """Names like ``crab.spectral.index``, one per entry of `parameters`."""
        return [f"{m.name}.{name}" for m in self._models for name in m.parameters_unique_names]

    def unique_name(self, parameter: Parameter) -> str:
        """Return the unique name of a parameter; of a linked one the first."""
        return self.parameters_unique_names[self.parameters.index(parameter)]

    @property
    def covariance(self) -> Covariance:
        """Covariance of all parameters, from their errors and the correlations of the last fit."""
        return Covariance(self.parameters)

    @covariance.setter
    def covariance(self, covariance: Any) -> None:
        data = covariance.data if isinstance(covariance, Covariance) else covariance
        Covariance(self.parameters, data).apply()

    def copy(self, copy_data: bool = True) -> "Models":
        """Return copies of the models with the same names and the same links among them."""
        return copy_module.deepcopy(self)

    def select(
        self,
        name_substring: str | None = None,
        datasets_names: str | list[str] | None = None,
        tag: str | list[str] | None = None,
        model_type: str = "spectral",
        frozen: bool | None = None,
    ) -> "Models":
        """Return the models that fulfil all conditions.

        Parameters
        ----------
        name_substring : str, optional
            Part of the name.
        datasets_names : str or list of str, optional
            Datasets of which the model contributes to at least one.
        tag : str or list of str, optional
            Class names or short names of the part given by ``model_type``.
        model_type : str
            Part that ``tag`` refers to.
        frozen : bool, optional
            Whether all parameters are frozen.
        """
        check_part(model_type)
        tags = [tag] if isinstance(tag, str) else tag
        datasets = [datasets_names] if isinstance(datasets_names, str) else datasets_names

        def selected(model: Any) -> bool:
            part = getattr(model, f"{model_type}_model", None)
            return (
                (name_substring is None or name_substring in model.name)
                and (datasets is None or any(model.contributes_to(name) for name in datasets))
                and (tags is None or (part is not None and any(t in part.tag for t in tags)))
                and (frozen is None or model.frozen == frozen)
            )

        return Models(m for m in self._models if selected(m))

    def freeze(self, model_type: str | None = None) -> None:
        """Freeze all parameters, or those of one part (``"spectral"``, …)."""
        for model in self._models:
            model.freeze(model_type)

    def unfreeze(self, model_type: str | None = None) -> None:
        """Restore the frozen states that the classes declare, of all parts or of one."""
        for model in self._models:
            model.unfreeze(model_type)

    @property
    def frozen(self) -> bool:
        """Whether all parameters are frozen."""
        return all(m.frozen for m in self._models)

    def reassign(self, dataset_name: str, new_dataset_name: str) -> "Models":
        """Return copies in which one dataset's name is replaced by another."""
        models = self.copy()
        for model in models:
            if model.datasets_names is not None:
                model.datasets_names = [
                    new_dataset_name if name == dataset_name else name for name in model.datasets_names
                ]
        return models

    def to_parameters_table(self) -> "Table":
        """Return a table with a row per parameter: model, type, name, value, unit, error, limits, …"""
        label_links(self.parameters)
        table = self.parameters.to_table()
        names = [name.split(".") for m in self._models for name in m.parameters_unique_names]
        types = [name[0] if len(name) > 1 else "" for name in names]
        table.add_column([m.name for m in self._models for _ in m.parameters], name="model", index=0)
        table.add_column(types, name="type", index=1)
        return table

    def update_parameters_from_table(self, table: "Table") -> None:
        """Set values, errors, limits and frozen states from a table like `to_parameters_table` gives."""
        for row in table:
            parameters = self[str(row["model"])].parameters
            parameter = parameters[str(row["name"])]
            parameter.min = parameter.max = float("nan")
            parameter.value = row["value"]
            for key in ("error", "min", "max", "frozen"):
                if key in table.colnames:
                    setattr(parameter, key, row[key].item())

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the models in the form of Gammapy's YAML, without the covariance."""
        label_links(self.parameters)
        components = []
        for model in self._models:
            data = model.to_dict(full_output=full_output)
            _write_links(data, model)
            components.append(data)
        return {"components": components}

    @classmethod
    def from_dict(cls, data: dict[str, Any], path: str | os.PathLike[str] = "") -> "Models":
        """Make models from the form of `to_dict`; parameters of the same link label are linked.

        Parameters
        ----------
        data : dict
            Dictionary with ``components``.
        path : str or path-like
            Folder in which files of relative names are looked for first.

        Raises
        ------
        ModelError
            If a component's type is unknown; the message offers the nearest.
        """
        if not isinstance(data, dict) or not isinstance(data.get("components"), list):
            raise ModelError("Expected a dictionary with a list 'components'")
        for key in data:
            if key not in _KEYS:
                raise ModelError(f"Models: unknown key {key!r}. {nearest(str(key), _KEYS)}")
        models = []
        components = locate_files(data["components"], make_path(path)) if path else data["components"]
        for component in components:
            if not isinstance(component, dict):
                raise ModelError(f"Models: expected keys and values of a component, found {component!r}")
            kind = component.get("type", "SkyModel")
            models.append(get_model_class("model", kind).from_dict(component))
        result = cls(models)
        _restore_links(result)
        return result

    def to_yaml(self, full_output: bool = False) -> str:
        """Return the models as YAML, without the covariance."""
        import yaml

        return yaml.safe_dump(self.to_dict(full_output=full_output), sort_keys=False, width=120)

    @classmethod
    def from_yaml(cls, yaml_str: str, path: str | os.PathLike[str] = "") -> "Models":
        """Make models from YAML; parameters as for `from_dict`."""
        import yaml

        return cls.from_dict(yaml.safe_load(yaml_str), path=path)

    def write(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        full_output: bool = False,
        write_covariance: bool = True,
        overwrite_templates: bool = False,
    ) -> None:
        """Write YAML and, beside it, the covariance as ``<name>_covariance.dat``.

        Maps of models go to the files that the models name. Those that name none get a file beside the
        YAML, and name it from then on.

        Parameters
        ----------
        path : str or path-like
            YAML file.
        overwrite : bool
            Whether existing files may be replaced.
        full_output : bool
            Kept for Gammapy scripts; every setting is always written.
        write_covariance : bool
            Whether the covariance is written, if there are errors.
        overwrite_templates : bool
            Whether files of maps that exist are written anew.

        Raises
        ------
        OverwriteError
            If a file exists and ``overwrite`` is false; then nothing is written.
        """
        import yaml

        path = check_overwrite(path, overwrite)
        save_templates(self, path, overwrite_templates)
        data = self.to_dict(full_output=full_output)
        if write_covariance and any(p.error > 0 for p in self.parameters):
            covariance_path = path.parent / f"{path.stem}_covariance.dat"
            check_overwrite(covariance_path, overwrite)
            self._write_covariance(covariance_path, overwrite)
            data["covariance"] = covariance_path.name
        with atomic_write(path, overwrite) as temporary:
            temporary.write_text(yaml.safe_dump(data, sort_keys=False, width=120), encoding="utf-8")

    def _write_covariance(self, path: Path, overwrite: bool) -> None:
        from astropy.table import Table

        matrix = self.covariance.data
        table = Table([self.parameters_unique_names], names=["Parameters"])
        for column, values in enumerate(matrix.T):
            table[str(column)] = values
        with atomic_write(path, overwrite) as temporary:
            table.write(temporary, format="ascii.fixed_width", delimiter="|", overwrite=True)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Models":
        """Read models, and their covariance if there is one, from YAML.

        Raises
        ------
        FileFormatError
            If the file isn't YAML, or its covariance doesn't fit; the message names the file.
        ModelError
            If a model is unknown.
        """
        import yaml

        path = make_path(path)
        if not path.is_file():
            raise FileFormatError(f"Models file not found: {path}")
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise FileFormatError(f"{path}: not a YAML file: {error}") from error
        with named(str(path)):
            models = cls.from_dict(data, path=path.parent)
        if data.get("covariance"):
            models._read_covariance(make_path(path.parent / data["covariance"]))
        return models

    def _read_covariance(self, path: Path) -> None:
        names, matrix = read_covariance(path)
        if names != self.parameters_unique_names:
            raise FileFormatError(
                f"{path}: expected the covariance of the parameters {self.parameters_unique_names}, "
                f"found {names}"
            )
        self.covariance = matrix

    def __repr__(self) -> str:
        return f"Models({', '.join(repr(m) for m in self._models)})"

    def __str__(self) -> str:
        label_links(self.parameters)
        blocks = [f"Models with {len(self)} component{'' if len(self) == 1 else 's'}"]
        return "\n\n".join([*blocks, *(str(m) for m in self._models)])


DatasetModels = Models

#: ``metadata`` and ``checksum`` are what Gammapy writes on itself, the results what `FitResult.write` adds.
_KEYS = ("components", "covariance", "metadata", "checksum", "optimize_result", "covariance_result")


def read_covariance(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Read names of parameters and their covariance, shape (n, n), from a table of text.

    Raises
    ------
    FileFormatError
        If the file isn't there or isn't such a table; the message names it.
    """
    from astropy.io.ascii import InconsistentTableError
    from astropy.table import Table

    if not path.is_file():
        raise FileFormatError(f"Covariance file not found: {path}")
    try:
        table = Table.read(path, format="ascii.fixed_width", delimiter="|")
        names = [str(name) for name in table.columns[0]]
        matrix = np.array([table[name] for name in table.colnames[1:]], dtype=float).T
    except (InconsistentTableError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: not a table of a covariance: {error}") from error
    if matrix.shape != (len(names), len(names)):
        raise FileFormatError(
            f"{path}: expected a covariance of {len(names)} parameters, found shape {matrix.shape}"
        )
    if not np.all(np.isfinite(matrix)) or np.any(np.diag(matrix) < 0):
        raise FileFormatError(f"{path}: the covariance has values that aren't finite, or negative variances")
    return names, matrix


def label_links(parameters: Iterable[Parameter]) -> None:
    """Give parameters that occur more than once a label, and take it from the others."""
    parameters = list(parameters)
    count: dict[int, int] = {}
    for p in parameters:
        count[id(p)] = count.get(id(p), 0) + 1
    used = {p.link_label for p in parameters if count[id(p)] > 1 and p.link_label}
    number = 0
    for p in parameters:
        if count[id(p)] == 1:
            p.link_label = None
        elif p.link_label is None:
            while (label := f"{p.name}@{number}") in used:
                number += 1
            used.add(label)
            p.link_label = label


def _write_links(data: dict[str, Any], model: ModelBase) -> None:
    """Add the link labels to the parameter dictionaries, which come in the order of the parameters."""
    entries = list(_parameter_entries(data))
    for parameter, entry in zip(model.parameters, entries, strict=True):
        if parameter.link_label is not None:
            entry["link"] = parameter.link_label


def _parameter_entries(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "parameters":
                yield from value
            # What is below "model" is data of a scaled model: its parameters aren't fitted.
            elif key not in ("prior", "model"):
                yield from _parameter_entries(value)


def _parameter_owners(model: Any) -> Iterator[Any]:
    """Models below ``model`` that hold parameters of their own."""
    for value in list(vars(model).values()):
        if isinstance(value, ModelBase):
            yield from _parameter_owners(value)
    yield model


def _restore_links(models: Models) -> None:
    shared: dict[str, Parameter] = {}
    for model in models:
        for owner in _parameter_owners(model):
            for name, value in list(vars(owner).items()):
                if not isinstance(value, Parameter) or not value.link_label:
                    continue
                first = shared.setdefault(value.link_label, value)
                if (first.value, first.unit) != (value.value, value.unit):
                    raise ModelError(
                        f"Model {model.name!r}: {name!r} is linked by {value.link_label!r} to a parameter of "
                        f"value {first.quantity}, but has {value.quantity}"
                    )
                owner.__dict__[name] = first

"""What models with a name have in common: their parts, and the datasets that they contribute to."""

from typing import Any, ClassVar, Self

from villard.exceptions import ModelError
from villard.modeling.models.core import ModelBase, parameter_lines
from villard.modeling.parameter import Parameters
from villard.utils.names import make_name, nearest

__all__ = ["ComponentModel", "check_names", "check_part"]

_PARTS = ("spectral", "spatial", "temporal")


def check_names(names: Any, where: str) -> list[str] | None:
    """Return names of datasets as a list; `None` means all."""
    if names is None or isinstance(names, str):
        return None if names is None else [names]
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return list(names)
    raise ModelError(f"{where}: datasets_names must be names of datasets, found {names!r}")


def check_part(model_type: str | None) -> None:
    """Raise `ModelError` if there is no part of this name."""
    if model_type is not None and model_type not in _PARTS:
        raise ModelError(f"No part of a model is called {model_type!r}. {nearest(str(model_type), _PARTS)}")


class ComponentModel(ModelBase):
    """Base class of the models that datasets have: named products of a spectral and other models.

    Subclasses set the attributes ``name``, ``datasets_names``, ``spectral_model`` and ``spatial_model``, and
    those that have one ``temporal_model``.
    """

    kind: ClassVar[str] = "model"
    #: Whether the model scales the background of a dataset, and whether it is a template of counts.
    is_background: ClassVar[bool] = False
    is_npred_template: ClassVar[bool] = False
    _settable: ClassVar[tuple[str, ...]] = ("name", "datasets_names", "spectral_model", "spatial_model")

    name: str
    datasets_names: list[str] | None
    spectral_model: Any
    spatial_model: Any

    @property
    def _components(self) -> dict[str, ModelBase]:
        parts = {part: getattr(self, f"{part}_model", None) for part in _PARTS}
        return {part: model for part, model in parts.items() if model is not None}

    def _check_parts(self, expected: dict[str, type[ModelBase]]) -> None:
        """Raise `ModelError` if a part isn't what it must be; all but the spectral one may be missing."""
        for part, base in expected.items():
            model = getattr(self, f"{part}_model")
            if not isinstance(model, base) and (model is not None or part == "spectral"):
                raise ModelError(
                    f"{type(self).__name__} {self.name}: {part}_model must be a {base.__name__}, "
                    f"found {type(model).__name__}"
                )

    @property
    def parameters(self) -> Parameters:
        """Parameters of all parts."""
        return Parameters.join(model.parameters for model in self._components.values())

    @property
    def parameters_unique_names(self) -> list[str]:
        """Names of the parameters with the part that they belong to, as in ``spectral.index``."""
        return [
            f"{part}.{name}"
            for part, model in self._components.items()
            for name in model.parameters_unique_names
        ]

    def linear_parts(self) -> list[Any]:
        """Return the models whose sum this one is, for a fit: itself, or one per free norm on the sky.

        Raises
        ------
        ModelError
            If a background or template has free parameters of another kind on the sky.
        """
        if not (self.is_background or self.is_npred_template):
            return [self]
        from villard.modeling.models.template_parts import linear_parts

        return linear_parts(self)

    def contributes_to(self, dataset_name: str) -> bool:
        """Tell whether the model contributes to the dataset of this name."""
        return self.datasets_names is None or dataset_name in self.datasets_names

    def freeze(self, model_type: str | None = None) -> None:
        """Freeze the parameters of one part (``"spectral"``, ``"spatial"``, ``"temporal"``) or of all."""
        check_part(model_type)
        for part, model in self._components.items():
            if model_type in (None, part):
                model.freeze()

    def unfreeze(self, model_type: str | None = None) -> None:
        """Restore the frozen states that the classes declare, for one part or for all."""
        check_part(model_type)
        for part, model in self._components.items():
            if model_type in (None, part):
                model.unfreeze()

    def copy(self, name: str | None = None, copy_data: bool = True, **kwargs: Any) -> Self:
        """Return a copy with another name (random if none is given).

        Parameters
        ----------
        name : str, optional
            Name of the copy.
        copy_data : bool
            Kept for Gammapy scripts; the copy shares nothing with this model.
        **kwargs
            Other attributes of the copy.
        """
        new = super().copy()
        new.name = make_name(name)
        for key, value in kwargs.items():
            setattr(new, key, value)
        return new

    def __add__(self, other: Any) -> Any:
        from villard.modeling.models.collection import Models

        return Models([self, *([other] if isinstance(other, ModelBase) else other)])

    def __repr__(self) -> str:
        parts = ", ".join(f"{part}={type(model).__name__}" for part, model in self._components.items())
        return f"{type(self).__name__}(name={self.name!r}, {parts})"

    def __str__(self) -> str:
        datasets = "all" if self.datasets_names is None else ", ".join(self.datasets_names)
        lines = [f"{type(self).__name__} {self.name}", "", f"  {'Datasets':<24} {'':>8}: {datasets}"]
        for part, model in self._components.items():
            lines.append(f"  {part.capitalize() + ' model':<24} {'':>8}: {type(model).__name__}")
            lines += [f"    {line}" for line in parameter_lines(model.parameters)]
        return "\n".join(lines)

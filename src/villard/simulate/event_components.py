"""Components of a simulation: sky models and backgrounds, alone, in lists or in a nested dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from villard.exceptions import ModelError
from villard.modeling.models import FoVBackgroundModel, SkyModel

__all__ = ["Component", "flatten_components"]


@dataclass(frozen=True)
class Component:
    """A leaf of the tree of components.

    Parameters
    ----------
    path : tuple of str
        Names from the root to the leaf.
    models : tuple of models
        Sky models and backgrounds that the leaf is the sum of.
    label : str
        Name of the leaf; if several have the same one, the path joined by "/".
    """

    path: tuple[str, ...]
    models: tuple[Any, ...]
    label: str


def flatten_components(models: Any) -> list[Component]:
    """Return the leaves of models in any form.

    Parameters
    ----------
    models : model, list of models, `~villard.modeling.models.Models` or nested dict
        Of a list each model is a component, with its own name. In a dictionary each value is a component with
        the name of its key (the sum of several models, if there are several), or again a dictionary.

    Returns
    -------
    list of `Component`
        Leaves in their order.

    Raises
    ------
    ModelError
        If there is none, or one isn't a model that events can be drawn of.

    Examples
    --------
    >>> from villard.modeling.models import IRFBackground
    >>> tree = {"signal": SkyModel.create("pl", "point"), "bkg": {"CCR": IRFBackground()}}
    >>> [leaf.path for leaf in flatten_components(tree)]
    [('signal',), ('bkg', 'CCR')]
    """
    if not isinstance(models, Mapping):
        models = {model.name: model for model in _checked(models, "components")}
    leaves = list(_leaves(models, ()))
    if not leaves:
        raise ModelError("Simulated events: expected at least one component, found none")
    names = [path[-1] for path, _ in leaves]
    return [
        Component(path, parts, path[-1] if names.count(path[-1]) == 1 else "/".join(path))
        for path, parts in leaves
    ]


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        here = (*path, str(name))
        if isinstance(value, Mapping):
            if not value:
                raise ModelError(f"Simulated events: component {'/'.join(here)!r} is empty")
            yield from _leaves(value, here)
        else:
            yield here, _checked(value, f"component {'/'.join(here)!r}")


def _checked(value: Any, where: str) -> tuple[Any, ...]:
    """Return models as a tuple after checking that events can be drawn of them."""
    if isinstance(value, SkyModel | FoVBackgroundModel):
        return (value,)
    parts = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not parts:
        raise ModelError(f"Simulated events: {where} has no model")
    for part in parts:
        if not isinstance(part, SkyModel | FoVBackgroundModel):
            raise ModelError(
                f"Simulated events, {where}: expected sky models or an IRFBackground, found "
                f"{type(part).__name__}"
            )
    return parts

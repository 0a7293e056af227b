"""A tree of named components: nodes share out among their children, leaves are components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.bayes.dirichlet import check_alpha
from villard.exceptions import ModelError

__all__ = ["MixtureTree"]

#: Name of the root, which needs none.
ROOT = "mixture"


@dataclass
class _Node:
    name: str
    children: list[_Node] = field(default_factory=list)
    leaf: Any = None
    alpha: NDArray[np.float64] | None = None

    @property
    def is_leaf(self) -> bool:
        return not self.children


class MixtureTree:
    """Named nodes and leaves of any depth.

    Each node shares 1 out among its children, with a Dirichlet distribution as prior. The weight of a
    leaf in the mixture is the product of the shares on the way to it.

    Parameters
    ----------
    components : mapping
        Leaf or mapping by name. What a leaf is doesn't matter here: anything but a mapping.
    alpha : float or mapping
        Concentrations of the Dirichlet distributions: one number for all, or by name of node (the root's is
        "mixture") a number or a mapping by child. 1 is flat.

    Raises
    ------
    ModelError
        If a name comes twice, a node has no children, or ``alpha`` names what isn't there.

    Examples
    --------
    >>> tree = MixtureTree({"DM": 1, "bkg": {"CCR": 2, "local": 3, "diffuse": 4}})
    >>> tree.leaf_names
    ['DM', 'CCR', 'local', 'diffuse']
    >>> print(tree.format({"DM": 0.5, "bkg": 0.5, "CCR": 0.7, "local": 0.2, "diffuse": 0.1}))
    mixture
    ├── DM         0.5
    └── bkg        0.5
        ├── CCR      0.7
        ├── local    0.2
        └── diffuse  0.1
    """

    def __init__(self, components: Mapping[str, Any], alpha: Any = 1.0) -> None:
        self._root = _build(ROOT, components)
        names = [node.name for node in self._walk(self._root)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ModelError(f"Mixture: names must be unique, found {twice} more than once")
        self._set_alpha(alpha)

    def _set_alpha(self, alpha: Any) -> None:
        by_node = alpha if isinstance(alpha, Mapping) else {}
        unknown = set(by_node) - {node.name for node in self.nodes}
        if unknown:
            raise ModelError(
                f"Mixture: alpha has {sorted(unknown)}, expected nodes of {[n.name for n in self.nodes]}"
            )
        for node in self.nodes:
            value = by_node.get(node.name, 1.0) if isinstance(alpha, Mapping) else alpha
            names = [child.name for child in node.children]
            if isinstance(value, Mapping):
                if set(value) != set(names):
                    raise ModelError(
                        f"Mixture, node {node.name!r}: alpha must have {names}, found {sorted(value)}"
                    )
                value = [value[name] for name in names]
            node.alpha = check_alpha(value, len(names), f"Mixture, node {node.name!r}")

    def _walk(self, node: _Node) -> Iterator[_Node]:
        yield node
        for child in node.children:
            yield from self._walk(child)

    @property
    def nodes(self) -> list[_Node]:
        """Nodes that have children, from the root down."""
        return [node for node in self._walk(self._root) if not node.is_leaf]

    @property
    def leaves(self) -> dict[str, Any]:
        """Leaves by name, in the order of the tree."""
        return {node.name: node.leaf for node in self._walk(self._root) if node.is_leaf}

    @property
    def leaf_names(self) -> list[str]:
        """Names of the leaves."""
        return list(self.leaves)

    def path(self, name: str) -> list[str]:
        """Return the names on the way from the root, which isn't one of them, to a leaf or node."""
        for path in self._paths(self._root, []):
            if path and path[-1] == name:
                return path
        raise ModelError(f"Mixture: there is no {name!r}")

    def _paths(self, node: _Node, path: list[str]) -> Iterator[list[str]]:
        yield path
        for child in node.children:
            yield from self._paths(child, [*path, child.name])

    def leaf_weights(self, shares: Mapping[str, Any]) -> dict[str, Any]:
        """Return the weight of each leaf in the mixture.

        Parameters
        ----------
        shares : mapping
            Share of each node and leaf within its parent.

        Examples
        --------
        >>> tree = MixtureTree({"a": 1, "b": {"c": 2, "d": 3}})
        >>> tree.leaf_weights({"a": 0.2, "b": 0.8, "c": 0.5, "d": 0.5})
        {'a': 0.2, 'c': 0.4, 'd': 0.4}
        """
        result = {}
        for name in self.leaf_names:
            weight: Any = 1.0
            for step in self.path(name):
                weight = weight * shares[step]
            result[name] = weight
        return result

    def format(self, values: Mapping[str, Any] | None = None, notes: Mapping[str, str] | None = None) -> str:
        """Return the tree as text.

        Parameters
        ----------
        values : mapping, optional
            What to print beside each name: numbers or text. Of shares that each observation has for itself
            all are printed.
        notes : mapping, optional
            More text by name.
        """
        lines = [self._root.name]
        self._format(self._root, "", values or {}, notes or {}, lines)
        return "\n".join(lines)

    def _format(
        self, node: _Node, prefix: str, values: Mapping[str, Any], notes: Mapping[str, str], lines: list[str]
    ) -> None:
        width = max(len(child.name) for child in node.children)
        if prefix == "":
            width = max(width, max(len(n.name) for n in self._walk(self._root)) + 2)
        for child in node.children:
            last = child is node.children[-1]
            text = _text(child.name, values)
            note = notes.get(child.name, "")
            line = f"{prefix}{'└── ' if last else '├── '}{child.name:<{width}}  {text}"
            lines.append(f"{line}  {note}".rstrip() if note else line.rstrip())
            if not child.is_leaf:
                self._format(child, prefix + ("    " if last else "│   "), values, notes, lines)


def _text(name: str, values: Mapping[str, Any]) -> str:
    """Return the value of a name, or those of ``name[observation]``."""
    own = {key: values[key] for key in values if key == name or key.startswith(f"{name}[")}
    numbers = {k: f"{v:.4g}" if isinstance(v, int | float) else str(v) for k, v in own.items()}
    return ", ".join(text if key == name else f"{text} {key[len(name) :]}" for key, text in numbers.items())


def _build(name: str, components: Any) -> _Node:
    if not isinstance(components, Mapping):
        return _Node(name, leaf=components)
    if not components:
        raise ModelError(f"Mixture, node {name!r}: expected components, found none")
    children = []
    for key, value in components.items():
        if not isinstance(key, str) or not key.strip():
            raise ModelError(f"Mixture, node {name!r}: names must be text, found {key!r}")
        children.append(_build(key, value))
    return _Node(name, children)

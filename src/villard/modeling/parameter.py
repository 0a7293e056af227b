"""Parameters of models: single ones, and ordered collections of them."""

import copy as copy_module
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ParameterError
from villard.modeling.one_parameter import Parameter
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Parameter", "Parameters"]


class Parameters(Sequence[Parameter]):
    """An ordered collection of parameters.

    Parameters
    ----------
    parameters : iterable of `Parameter`
        Parameters.
    names : list of str, optional
        Names that the parameters have here. A linked parameter has a name of its own in each model.

    Examples
    --------
    >>> parameters = Parameters([Parameter("index", 2), Parameter("amplitude", 1e-11, frozen=True)])
    >>> parameters.free_parameters.names
    ['index']
    >>> parameters["indx"]
    Traceback (most recent call last):
        ...
    villard.exceptions.ParameterError: No parameter 'indx'. Did you mean 'index'? Available: index, amplitude
    """

    def __init__(self, parameters: Iterable[Parameter] = (), names: Iterable[str] | None = None) -> None:
        given = parameters.names if names is None and isinstance(parameters, Parameters) else names
        self._parameters = list(parameters)
        for parameter in self._parameters:
            if not isinstance(parameter, Parameter):
                raise ParameterError(f"Expected a Parameter, found {type(parameter).__name__}")
        self._names = [p.name for p in self._parameters] if given is None else list(given)
        if len(self._names) != len(self._parameters):
            raise ParameterError(
                f"Expected {len(self._parameters)} names of parameters, found {len(self._names)}"
            )

    @classmethod
    def join(cls, parts: "Iterable[Parameters]") -> "Parameters":
        """Return the parameters of several collections, with the names that they have there."""
        parts = list(parts)
        return cls([p for part in parts for p in part], [n for part in parts for n in part.names])

    def _pick(self, positions: Iterable[int]) -> "Parameters":
        positions = list(positions)
        return Parameters([self._parameters[i] for i in positions], [self._names[i] for i in positions])

    @overload
    def __getitem__(self, key: "int | str | Parameter") -> Parameter: ...
    @overload
    def __getitem__(self, key: slice) -> "Parameters": ...

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            found = [p for p, name in zip(self._parameters, self._names, strict=True) if name == key]
            if not found:
                raise ParameterError(f"No parameter {key!r}. {nearest(key, self.names)}")
            if any(p is not found[0] for p in found):
                raise ParameterError(
                    f"{len(found)} parameters are called {key!r}: select a model first, "
                    "as in models[name].parameters"
                )
            return found[0]
        if isinstance(key, Parameter):
            return self._parameters[self.index(key)]
        if isinstance(key, slice):
            return Parameters(self._parameters[key], self._names[key])
        return self._parameters[key]

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters)

    def __contains__(self, parameter: object) -> bool:
        if isinstance(parameter, str):
            return parameter in self.names
        return any(p is parameter for p in self._parameters)

    def __add__(self, other: "Iterable[Parameter]") -> "Parameters":
        return Parameters.join([self, other if isinstance(other, Parameters) else Parameters(other)])

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the position of a parameter, given itself, its name or its position."""
        if isinstance(value, str):
            value = self[value]
        if isinstance(value, int | np.integer):
            return int(value)
        for position, parameter in enumerate(self._parameters):
            if parameter is value:
                return position
        raise ParameterError(f"Parameter {getattr(value, 'name', value)!r} is not in this collection")

    @property
    def names(self) -> list[str]:
        """Names, in order."""
        return list(self._names)

    @property
    def value(self) -> NDArray[np.float64]:
        """Values, each in its own unit; shape (n,)."""
        return np.array([p.value for p in self._parameters], dtype=float)

    @value.setter
    def value(self, values: Iterable[float]) -> None:
        for parameter, value in zip(self._parameters, list(values), strict=True):
            parameter.value = value

    @property
    def free_parameters(self) -> "Parameters":
        """Parameters that aren't frozen, each once."""
        return self.unique_parameters.select(frozen=False)

    @property
    def unique_parameters(self) -> "Parameters":
        """Parameters, linked ones only once."""
        first: dict[int, int] = {}
        for position, parameter in enumerate(self._parameters):
            first.setdefault(id(parameter), position)
        return self._pick(first.values())

    @property
    def free_unique_parameters(self) -> "Parameters":
        """The same as `free_parameters`."""
        return self.free_parameters

    def select(self, name: str | list[str] | None = None, frozen: bool | None = None) -> "Parameters":
        """Return the parameters with one of these names and this state.

        Parameters
        ----------
        name : str or list of str, optional
            Name or names.
        frozen : bool, optional
            State.
        """
        names = [name] if isinstance(name, str) else name
        return self._pick(
            i
            for i, (p, own) in enumerate(zip(self._parameters, self._names, strict=True))
            if (names is None or own in names) and (frozen is None or p.frozen == frozen)
        )

    def freeze_all(self) -> None:
        """Freeze all."""
        for parameter in self._parameters:
            parameter.frozen = True

    def unfreeze_all(self) -> None:
        """Free all, also those that models freeze by default."""
        for parameter in self._parameters:
            parameter.frozen = False

    @contextmanager
    def restore_status(self, restore_values: bool = True) -> Iterator[None]:
        """Put values (if asked), errors and frozen states back when the block ends."""
        state = [(p, p.value, p.frozen, p.error, p._record, p._record_index) for p in self._parameters]
        try:
            yield
        finally:
            for parameter, value, frozen, error, record, index in state:
                parameter.frozen = frozen
                if restore_values:
                    parameter._value, parameter._error = value, error
                    parameter._record, parameter._record_index = record, index

    def prior_stat_sum(self) -> float:
        """Return the sum of -2 ln p of the priors."""
        return sum(p.prior_stat_sum() for p in self.unique_parameters)

    def copy(self) -> "Parameters":
        """Return copies that share nothing with these parameters but keep their links."""
        return copy_module.deepcopy(self)

    def to_table(self) -> "Table":
        """Return an `~astropy.table.Table` with a row per parameter."""
        from astropy.table import Table

        rows = [
            (
                name,
                p.value,
                p.unit.to_string("fits"),
                p.error,
                p.min,
                p.max,
                p.frozen,
                p.link_label or "",
                "" if p.prior is None else type(p.prior).__name__,
            )
            for p, name in zip(self._parameters, self._names, strict=True)
        ]
        names = ("name", "value", "unit", "error", "min", "max", "frozen", "link", "prior")
        dtype = (str, float, str, float, float, float, bool, str, str)
        table = Table(rows=rows or None, names=names, dtype=dtype)
        for name in ("value", "error", "min", "max"):
            table[name].format = ".4e" if name in ("value", "min", "max") else ".3e"
        return table

    def __repr__(self) -> str:
        values = (f"{n}={p.value:g}" for n, p in zip(self._names, self._parameters, strict=True))
        return f"Parameters({', '.join(values)})"

    def __str__(self) -> str:
        return "\n".join(str(line) for line in self.to_table().pformat(max_lines=-1, max_width=-1))

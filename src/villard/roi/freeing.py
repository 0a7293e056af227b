"""Which parameters of a region of interest a fit may change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ParameterError
from villard.modeling.models.gtlike import (
    find_parameter,
    index_parameters,
    norm_parameter,
    shape_parameters,
)
from villard.modeling.parameter import Parameter
from villard.roi.selection import select_sources
from villard.roi.source import Source

__all__ = ["Freeing", "find_parameters", "is_locked", "parameter_name"]

_GROUPS = ("norm", "shape", "index")


class Freeing:
    """Freeing, fixing and locking of parameters, for `villard.roi.ROI`.

    ``pars`` is "norm", "shape", "index", a list of names (ours or those of gtlike), or `None` for norm and
    shape. The shape is what fermipy calls so: index and curvature or cutoff, but neither position nor the
    energy of reference. A spectrum that is a table has a norm alone.
    """

    locked: set[tuple[str, str]]
    _zeroed: dict[str, tuple[float, float, list[str]]]

    def free_source(self, name: str, free: bool = True, pars: Any = None, **kwargs: Any) -> None:
        """Free or fix parameters of a source; locked ones stay as they are.

        Parameters
        ----------
        name : str
            Source.
        free : bool
            Whether they are freed.
        pars : str or list of str, optional
            "norm", "shape", "index", names of parameters, or `None` for norm and shape. Fixing without
            ``pars`` fixes every parameter.

        Raises
        ------
        ParameterError
            If the source has no parameter of that name.
        """
        _check_no_more("free_source", kwargs)
        source = self[name]  # type: ignore[index]
        for parameter in find_parameters(source, pars, every=not free):
            self._set_free(source, parameter, free)

    def free_sources(self, free: bool = True, pars: Any = None, **conditions: Any) -> list[Source]:
        """Free or fix parameters of all sources that fulfil conditions.

        Parameters
        ----------
        free, pars
            As for `free_source`. Of a list of names each source takes those that it has.
        **conditions
            As for `get_sources`: ``distance``, ``skydir``, ``minmax_ts``, ``exclude``, …

        Returns
        -------
        list of `Source`
            The selected sources.
        """
        sources = select_sources(self, **conditions)
        for source, parameters in _of_all(sources, pars, every=not free):
            for parameter in parameters:
                self._set_free(source, parameter, free)
        return sources

    def free_sources_by_name(
        self, names: str | Iterable[str], free: bool = True, pars: Any = None, **kwargs: Any
    ) -> list[Source]:
        """Free or fix parameters of sources given by their names."""
        _check_no_more("free_sources_by_name", kwargs)
        return self.free_sources(free=free, pars=pars, names=names)

    def free_norm(self, name: str, free: bool = True) -> None:
        """Free or fix the normalisation of a source."""
        self.free_source(name, free=free, pars="norm")

    def free_shape(self, name: str, free: bool = True) -> None:
        """Free or fix the shape of the spectrum of a source."""
        self.free_source(name, free=free, pars="shape")

    def free_index(self, name: str, free: bool = True) -> None:
        """Free or fix the spectral index, or indices, of a source."""
        self.free_source(name, free=free, pars="index")

    def free_parameter(self, name: str, par: str, free: bool = True) -> None:
        """Free or fix one parameter of a source.

        Raises
        ------
        ParameterError
            If there is none of that name, or it is locked and is to be freed.
        """
        source = self[name]  # type: ignore[index]
        parameter = find_parameter(source.model, par)
        if free and source.name in self._zeroed:
            raise ParameterError(f"{source.name} is zeroed; first call unzero_source({source.name!r})")
        if free and (source.name, parameter_name(source, parameter)) in self.locked:
            raise ParameterError(
                f"{source.name}: {par!r} is locked; "
                f"first call lock_parameter({source.name!r}, {par!r}, False)"
            )
        self._set_free(source, parameter, free)

    def _set_free(self, source: Source, parameter: Parameter, free: bool) -> None:
        if not is_locked(self, source, parameter):
            parameter.frozen = not free

    # Locks

    def lock_parameter(self, name: str, par: str, lock: bool = True) -> None:
        """Fix a parameter, and keep the methods that free many from freeing it; or end that."""
        source = self[name]  # type: ignore[index]
        self._lock(source, find_parameter(source.model, par), lock)

    def lock_source(self, name: str, lock: bool = True) -> None:
        """Lock all parameters of a source, or unlock them; see `lock_parameter`."""
        source = self[name]  # type: ignore[index]
        for parameter in source.model.parameters:
            self._lock(source, parameter, lock)

    def _lock(self, source: Source, parameter: Parameter, lock: bool) -> None:
        key = (source.name, parameter_name(source, parameter))
        if lock:
            self.locked.add(key)
            parameter.frozen = True
        else:
            self.locked.discard(key)

    # All at once

    def get_free_param_vector(self) -> NDArray[np.bool_]:
        """Return which of `parameters` are free."""
        free = [not p.frozen for p in self.parameters]  # type: ignore[attr-defined]
        return np.array(free, dtype=np.bool_)

    def set_free_param_vector(self, free: Sequence[bool] | NDArray[np.bool_]) -> None:
        """Set which of `parameters` are free, locked ones included; those of zeroed sources stay fixed."""
        parameters = self.parameters  # type: ignore[attr-defined]
        if len(free) != len(parameters):
            raise ParameterError(
                f"set_free_param_vector: expected {len(parameters)} values, found {len(free)}"
            )
        zeroed = {id(p) for name in self._zeroed for p in self[name].model.parameters}  # type: ignore[index]
        for parameter, value in zip(parameters, free, strict=True):
            parameter.frozen = not value or id(parameter) in zeroed

    def get_free_source_params(self, name: str) -> list[str]:
        """Return the names of the free parameters of a source."""
        source = self[name]  # type: ignore[index]
        return [parameter_name(source, p) for p in source.model.parameters.free_parameters]


def _check_no_more(method: str, kwargs: Any) -> None:
    # fermipy's methods take any keyword.
    for key in kwargs:
        raise ParameterError(f"{method}: unknown argument {key!r}")


def parameter_name(source: Source, parameter: Parameter) -> str:
    """Return the name of a parameter within its model, such as ``index`` or ``lon_0``."""
    parameters = source.model.parameters
    return parameters.names[parameters.index(parameter)]


def is_locked(roi: Any, source: Source, parameter: Parameter) -> bool:
    """Return whether nothing may free a parameter: it is locked, or its source zeroed."""
    return source.name in roi._zeroed or (source.name, parameter_name(source, parameter)) in roi.locked


def find_parameters(source: Source, pars: Any = None, every: bool = False) -> list[Parameter]:
    """Return the parameters of a source that ``pars`` stands for; see `Freeing`.

    Parameters
    ----------
    source : `Source`
        Source.
    pars : str or list of str, optional
        Group or names.
    every : bool
        Whether all parameters are meant if there is no ``pars``.

    Raises
    ------
    ParameterError
        If there is no such group or name.
    """
    if pars is None or (not isinstance(pars, str) and not len(pars)):
        if every:
            return list(source.model.parameters)
        return [*_norm(source), *shape_parameters(source.model)]
    if isinstance(pars, str):
        if pars == "norm":
            return _norm(source)
        if pars == "shape":
            return shape_parameters(source.model)
        if pars == "index":
            return index_parameters(source.model)
        known = ", ".join(repr(group) for group in _GROUPS)
        raise ParameterError(f"pars: expected one of {known}, or a list of names, found {pars!r}")
    return [find_parameter(source.model, name) for name in pars]


def _norm(source: Source) -> list[Parameter]:
    return [norm_parameter(source.model)]


def _of_all(sources: list[Source], pars: Any, every: bool) -> list[tuple[Source, list[Parameter]]]:
    """Return the parameters of each source; a name of a list must be one of some source."""
    if pars is None or isinstance(pars, str) or not len(pars):
        return [(source, find_parameters(source, pars, every)) for source in sources]
    found: list[tuple[Source, list[Parameter]]] = []
    missing: dict[str, ParameterError] = {}
    met: set[str] = set()
    for source in sources:
        own = []
        for name in pars:
            try:
                own.append(find_parameter(source.model, name))
                met.add(name)
            except ParameterError as error:
                missing.setdefault(name, error)
        found.append((source, own))
    for name, reason in missing.items():
        if name not in met:
            raise reason
    return found

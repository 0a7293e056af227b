"""Settings of a call: defaults, what the configuration says, and what is given, checked by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError
from villard.utils.names import nearest

__all__ = ["energy_range", "numbers_of", "options"]


def options(roi: Any, section: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a call.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region, whose configuration may have the section.
    section : str
        Section of the configuration, and name of the call in messages.
    defaults : dict
        All settings.
    given : dict
        Settings of this call. They rule over the configuration, and that over the defaults.

    Raises
    ------
    ConfigError
        If one isn't known, the nearest is offered; or if a number or text isn't what the section of the
        configuration takes.

    Examples
    --------
    >>> options(None, "tsmap", {"exclude": None, "max_kernel_radius": 3.0}, {"max_kernel_radius": 1})
    {'exclude': None, 'max_kernel_radius': 1}
    """
    for key in given:
        if key not in defaults:
            raise ConfigError(f"{section}: no setting {key!r}. {nearest(key, defaults)}")
    given = {key: _checked(section, key, value) for key, value in given.items()}
    whole = getattr(roi, "config", None)
    if "overwrite" in defaults:
        defaults = {**defaults, "overwrite": _overwrites(whole)}
    config = _section(whole, section)
    configured = {key: value for key, value in config.items() if key in defaults and value is not None}
    return {**defaults, **configured, **given}


def _checked(section: str, key: str, value: Any) -> Any:
    """Return a setting, or raise `ConfigError` if a configuration couldn't have it either."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, bool | int | float | str):
        return value
    from pydantic import Field, TypeAdapter, ValidationError

    from villard.roi.config import ROIConfig

    part = ROIConfig.model_fields.get(section)
    field = getattr(part.annotation, "model_fields", {}).get(key) if part else None
    if field is None:
        return value
    try:
        if isinstance(value, float) and np.isnan(value):
            raise ConfigError(f"{section}: {key}: expected a number, found nan")
        # `Field` changes nothing; without other metadata there would be nothing to annotate with.
        kind: Any = Annotated[field.annotation, *field.metadata, Field()]
        read = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{section}: {key}: {error.errors()[0]['msg']}, found {value!r}") from None
    return read if isinstance(value, str) else value


def _overwrites(config: Any) -> bool:
    """Tell whether files are replaced: with a configuration they are, unless it says otherwise."""
    part = config.get("fileio") if isinstance(config, Mapping) else getattr(config, "fileio", None)
    return bool(
        part.get("overwrite", False) if isinstance(part, Mapping) else getattr(part, "overwrite", False)
    )


def _section(config: Any, name: str) -> dict[str, Any]:
    part = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    if part is None:
        return {}
    if isinstance(part, Mapping):
        return dict(part)
    # Only what the user has set: defaults are those of the call.
    return dict(part.model_dump(exclude_unset=True))


def numbers_of(values: Any, what: str) -> NDArray[np.float64]:
    """Return numbers as an array, or raise `ConfigError`.

    Examples
    --------
    >>> numbers_of([4, "5"], "sed: loge_bins").tolist()
    [4.0, 5.0]
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{what}: expected numbers, found {values!r}") from None


def _as_text(bounds: Any) -> str:
    """Return bounds as a list of numbers: those of numpy have a name of their own."""
    return str([None if bound is None else round(float(bound), 4) for bound in bounds])


def energy_range(roi: Any, loge_bounds: Any, where: str) -> list[NDArray[np.bool_]] | None:
    """Return for each dataset which bins of energy lie between two energies; `None` for all.

    Parameters
    ----------
    roi : `~villard.roi.ROI`
        Region.
    loge_bounds : (float, float) or None
        Decadic logarithms of the energies in MeV. `None`, also for one of them, is the end of the data.
    where : str
        Who asks, for messages.
    """
    if loge_bounds is None:
        return None
    if len(loge_bounds) != 2:
        raise ConfigError(f"{where}: expected two numbers as loge_bounds, found {loge_bounds!r}")
    ends = [np.nan if bound is None else bound for bound in loge_bounds]
    low, high = numbers_of(ends, f"{where}: loge_bounds")
    chosen = []
    for dataset in roi.datasets:
        edges = np.log10(dataset.geom.axes["energy"].edges.to_value("MeV"))
        # Edges in files are rounded.
        chosen.append(~((edges[:-1] < low - 1e-4) | (edges[1:] > high + 1e-4)))
    if not any(bins.any() for bins in chosen):
        edges = np.log10(roi.energy_bounds.to_value("MeV"))
        raise ConfigError(
            f"{where}: no bin of energy lies within loge_bounds={_as_text(loge_bounds)}; the data have "
            f"log10(E / MeV) from {edges[0]:.3f} to {edges[1]:.3f}"
        )
    return chosen

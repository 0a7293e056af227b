"""Templates of diffuse emission beyond the energies of their maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError
from villard.modeling.models.spatial.template import TemplateSpatialModel

if TYPE_CHECKING:
    from villard.maps import Map

__all__ = ["extend_template"]

#: Part of the energies at the end (a factor of 10) over which an index is measured.
_FIT_RANGE = 10.0


def extend_template(template: TemplateSpatialModel | Map, energy_max: Any, index: float | None = None) -> Any:
    """Return a template that goes on as a power law beyond the energies of its map.

    Each pixel falls from its last value with the same index. The slope between the last two energies, with
    which a template goes on by itself (``fill_value=None``), is a poor guide to energies far beyond: that of
    Fermi's model of the Galactic plane would be 1.8.

    Parameters
    ----------
    template : `~villard.modeling.models.TemplateSpatialModel` or `~villard.maps.Map`
        Template, in a unit of flux, with the axis "energy_true".
    energy_max : `~astropy.units.Quantity`
        Energy up to which it is to go.
    index : float, optional
        Spectral index; by default that of the sum over the map, over the last factor of 10 in energy.

    Returns
    -------
    `~villard.modeling.models.TemplateSpatialModel`
        Template with one energy more. ``meta["index"]`` tells the index.

    Raises
    ------
    ModelError
        If there is no axis of energy, or it reaches beyond ``energy_max``.

    Examples
    --------
    >>> from villard.maps import Map, MapAxis
    >>> axis = MapAxis.from_nodes([1, 10, 100] * u.GeV, name="energy_true", interp="log")
    >>> cube = Map.create(npix=3, binsz=1, axes=[axis], unit="cm-2 s-1 GeV-1 sr-1")
    >>> cube.data += np.reshape([1, 1e-2, 1e-5], (3, 1, 1))
    >>> model = extend_template(cube, 100 * u.TeV)
    >>> print(model.meta["index"], f"{model(0 * u.deg, 0 * u.deg, 10 * u.TeV).value:.1e}")
    3.0 1.0e-11
    """
    from villard.maps import Map, MapAxis

    cube = template if isinstance(template, Map) else template.map
    if cube.geom.axes.names != ["energy_true"]:
        raise ModelError(f"extend_template: expected a map with the axis 'energy_true', found {cube.geom}")
    axis = cube.geom.axes["energy_true"]
    last, end = axis.center[-1], u.Quantity(energy_max).to(axis.unit)
    if not end > last:
        raise ModelError(
            f"extend_template: expected energy_max above the last energy {last:.4g}, found {end}"
        )
    index = _index(cube) if index is None else float(index)
    nodes = np.append(axis.center.value, end.value) * axis.unit
    geom = cube.geom.replace_axis(MapAxis.from_nodes(nodes, name="energy_true", interp="log"))
    beyond = cube.data[-1:] * float((end / last).to_value("")) ** -index
    new = Map.from_geom(geom, data=np.concatenate([cube.data, beyond]), unit=cube.unit)
    options = {} if isinstance(template, Map) else dict(template._options)
    meta = {"index": float(np.round(index, 6))}
    return TemplateSpatialModel(
        new, meta=meta, normalize=False, interp_kwargs=options | {"fill_value": None}, copy_data=False
    )


def _index(cube: Map) -> float:
    """Return the index of the sum over a map at its highest energies."""
    energy = cube.geom.axes["energy_true"].center.value
    total = np.nansum(cube.data, axis=(1, 2))
    used = (energy >= energy[-1] / _FIT_RANGE * (1 - 1e-9)) & (total > 0)
    if np.sum(used) < 2:
        raise ModelError("extend_template: the map is zero at its highest energies, an index is needed")
    return -float(np.polyfit(np.log(energy[used]), np.log(total[used]), 1)[0])

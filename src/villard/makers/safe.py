"""Bins in which data and responses can be relied on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError, DataError
from villard.irf import EDispKernel
from villard.makers.core import Maker, need
from villard.maps import Map, MapAxis
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.data.observation import Observation

__all__ = ["SafeMaskMaker"]

Array = NDArray[np.float64]


class SafeMaskMaker(Maker):
    """Excludes bins from `mask_safe`; what the methods leave in common is safe.

    Parameters
    ----------
    methods : list of str
        Methods:

        - "offset-max": pixels (or regions) farther from the pointing than ``offset_max`` are excluded;
        - "aeff-default": energies beyond those that the file of the effective area states (keywords LO_THRES
          and HI_THRES, TeV);
        - "aeff-max": energies below the one at which the effective area has ``aeff_percent`` of its maximum;
        - "edisp-bias": energies below the one from which on the bias of energies is below ``bias_percent``;
        - "bkg-peak": energies below the bin with most background;
        - "bkg-invalid": bins without background.
    aeff_percent, bias_percent : float
        Limits of methods.
    position : `~astropy.coordinates.SkyCoord`, optional
        Direction at which "aeff-max" and "edisp-bias" take the responses; by default the region's centre,
        or the pointing for maps.
    fixed_offset : `~astropy.units.Quantity`, optional
        Offset at which they do, instead of a position.
    offset_max : `~astropy.units.Quantity`
        Largest offset.

    Examples
    --------
    >>> SafeMaskMaker(methods=["offset-max"], offset_max=2 * u.deg).offset_max
    <Quantity 2. deg>
    """

    tag: ClassVar[str] = "SafeMaskMaker"
    available_methods: ClassVar[tuple[str, ...]] = (
        "aeff-default",
        "aeff-max",
        "bkg-invalid",
        "bkg-peak",
        "edisp-bias",
        "offset-max",
    )

    def __init__(
        self,
        methods: Iterable[str] = ("aeff-default",),
        aeff_percent: float = 10,
        bias_percent: float = 10,
        position: SkyCoord | None = None,
        fixed_offset: u.Quantity | None = None,
        offset_max: u.Quantity | str = "3 deg",
    ) -> None:
        self.methods = [methods] if isinstance(methods, str) else list(methods)
        for name in self.methods:
            if name not in self.available_methods:
                raise ConfigError(
                    f"SafeMaskMaker: unknown method {name!r}. {nearest(str(name), self.available_methods)}"
                )
        if position is not None and fixed_offset is not None:
            raise ConfigError("SafeMaskMaker: expected either position or fixed_offset, found both")
        self.aeff_percent, self.bias_percent = aeff_percent, bias_percent
        self.position, self.offset_max = position, u.Quantity(offset_max)
        self.fixed_offset = None if fixed_offset is None else u.Quantity(fixed_offset)

    def run(self, dataset: Any, observation: Observation | None = None) -> Any:
        """Return the dataset with a smaller `mask_safe`.

        Parameters
        ----------
        dataset : dataset
            Spectrum or map.
        observation : `~villard.data.Observation`, optional
            Observation; "bkg-peak" and "bkg-invalid" don't need it.

        Raises
        ------
        DataError
            If what a method needs is missing, or it finds no limit.
        """
        geom = dataset.counts.geom
        mask = np.ones(geom.data_shape, dtype=bool)
        if dataset.mask_safe is not None and np.any(dataset.mask_safe.data):
            mask &= dataset.mask_safe.data
        for name in self.methods:
            method = getattr(self, f"_{name.replace('-', '_')}")
            mask &= method(dataset, observation)
        dataset.mask_safe = Map.from_geom(geom, data=mask)
        return dataset

    # Methods

    def _offset_max(self, dataset: Any, observation: Observation | None) -> NDArray[np.bool_]:
        pointing = _given(observation, "offset-max").pointing_radec
        geom = dataset.counts.geom.to_image()
        if geom.is_region:
            offset = geom.center_skydir.separation(pointing).reshape(geom.spatial_shape)
        else:
            offset = geom.separation(pointing)
        return np.asarray(np.broadcast_to(offset < self.offset_max, dataset.counts.geom.data_shape))

    def _aeff_default(self, dataset: Any, observation: Observation | None) -> NDArray[np.bool_]:
        observation = _given(observation, "aeff-default")
        aeff = need(observation, "aeff", self.tag)
        limits = [aeff.meta.get(key) for key in ("LO_THRES", "HI_THRES")]
        if all(value is None for value in limits):
            raise DataError(
                f"SafeMaskMaker, aeff-default: the effective area of observation {observation.obs_id} has no "
                "keyword LO_THRES or HI_THRES"
            )
        low, high = (None if value is None else float(value) * u.TeV for value in limits)
        return _above(dataset, low, high)

    def _aeff_max(self, dataset: Any, observation: Observation | None) -> NDArray[np.bool_]:
        observation = _given(observation, "aeff-max")
        aeff, offset = need(observation, "aeff", self.tag), self._offset(dataset, observation)
        axis = aeff.axes["energy_true"]
        area = aeff.evaluate(energy_true=axis.center, offset=offset).value
        limit = 0.01 * self.aeff_percent * area.max()
        return _above(dataset, _first_crossing(axis, area, limit, self.tag) * u.TeV)

    def _edisp_bias(self, dataset: Any, observation: Observation | None) -> NDArray[np.bool_]:
        observation = _given(observation, "edisp-bias")
        edisp, offset = need(observation, "edisp", self.tag), self._offset(dataset, observation)
        axis = edisp.axes["energy_true"].to_node_type("edges")
        kernel = edisp.to_edisp_kernel(offset, axis)
        energy = _bias_energy(kernel, 0.01 * self.bias_percent, self.tag)
        return _above(dataset, energy * u.TeV)

    def _bkg_peak(self, dataset: Any, observation: Observation | None) -> NDArray[np.bool_]:
        background = _background(dataset, "bkg-peak")
        spectrum = background.data.reshape(background.data.shape[0], -1).sum(axis=1)
        axis = background.geom.axes["energy"]
        return _above(dataset, axis.edges[int(np.argmax(spectrum))])

    def _bkg_invalid(self, dataset: Any, observation: Observation | None) -> NDArray[np.bool_]:
        return np.asarray(_background(dataset, "bkg-invalid").data > 0)

    def _offset(self, dataset: Any, observation: Observation) -> u.Quantity:
        if self.fixed_offset is not None:
            return self.fixed_offset
        pointing, geom = observation.pointing_radec, dataset.counts.geom
        if self.position is not None:
            return self.position.separation(pointing)
        return geom.center_skydir.separation(pointing) if geom.is_region else 0 * u.deg


def _given(observation: Observation | None, method: str) -> Observation:
    if observation is None:
        raise DataError(f"SafeMaskMaker, {method}: an observation is needed")
    return observation


def _background(dataset: Any, method: str) -> Any:
    if dataset.background is None or not np.any(dataset.background.data > 0):
        raise DataError(f"SafeMaskMaker, {method}: dataset {dataset.name!r} has no background")
    return dataset.background


def _above(dataset: Any, low: Any, high: Any = None) -> NDArray[np.bool_]:
    return np.asarray(dataset.counts.geom.energy_mask(energy_min=low, energy_max=high).data)


def _first_crossing(axis: MapAxis, values: Array, limit: float, where: str) -> float:
    """Return the lowest energy (TeV) at which values reach a limit, interpolated on logarithmic scales."""
    reached = np.flatnonzero((values >= limit) & (values > 0))
    if not len(reached):
        raise DataError(f"{where}: the effective area is zero at all energies")
    i, energy = int(reached[0]), axis.center.to_value("TeV")
    if i == 0 or values[i - 1] <= 0:
        return float(energy[i])
    t = np.log(limit / values[i - 1]) / np.log(values[i] / values[i - 1])
    return float(np.exp(np.log(energy[i - 1]) + t * np.log(energy[i] / energy[i - 1])))


def _bias_energy(kernel: EDispKernel, limit: float, where: str) -> float:
    """Return the energy (TeV) above which the bias falls below a limit, from low energies on."""
    axis = kernel.axes["energy_true"]
    bias = kernel.get_bias(axis.center)
    energy = axis.center.to_value("TeV")
    known = np.isfinite(bias)
    bias, energy = bias[known], energy[known]
    below = np.flatnonzero((bias[1:] <= limit) & (bias[:-1] > limit))
    if not len(bias) or np.all(bias > limit):
        raise DataError(f"{where}, edisp-bias: the bias is above {limit:g} at all energies")
    if not len(below):
        return float(energy[0])
    i = int(below[0])
    t = (limit - bias[i]) / (bias[i + 1] - bias[i])
    return float(np.exp(np.log(energy[i]) + t * np.log(energy[i + 1] / energy[i])))

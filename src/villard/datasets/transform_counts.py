"""Methods that spectra and cubes of counts share to be copied, cut and stacked."""

from __future__ import annotations

import copy as copylib
from collections.abc import Callable, Mapping
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps import Map

__all__ = ["CountsTransforms", "check_stackable", "nan_to_num_maps"]


Array = NDArray[np.float64]


class CountsTransforms:
    """Methods of datasets of counts that make other datasets."""

    def _parts(self: Any) -> dict[str, Any]:
        """Arguments that make an equal dataset, without name and models; maps are copies."""
        parts: dict[str, Any] = {key: getattr(self, key) for key in (*self._map_names, "exposure")}
        parts = {key: None if value is None else value.copy() for key, value in parts.items()}
        for key in self._irf_names:
            parts[key] = copylib.deepcopy(getattr(self, key))
        parts["stat_type"] = self.stat_type
        return parts | {key: copylib.deepcopy(getattr(self, key)) for key in ("gti", "meta_table", "meta")}

    def copy(self: Any, name: str | None = None) -> Any:
        """Return a copy that shares nothing with the dataset.

        Parameters
        ----------
        name : str, optional
            Name of the copy; random by default.

        Returns
        -------
        dataset
            Copy without models, because a model of two datasets would link their fits.
        """
        return type(self)(**self._parts(), name=name)

    def _sliced_maps(
        self: Any, slices: Mapping[str, slice]
    ) -> tuple[dict[str, Any], dict[str, slice], dict[str, slice]]:
        """Return arguments for a new dataset with sliced maps, and the slices of energy and true energy."""
        for key, value in slices.items():
            if key not in {"energy", "energy_true"} or not isinstance(value, slice):
                raise DataError(
                    f"Dataset {self.name!r}: expected slices of energy or energy_true, "
                    f"found {key!r}: {value!r}"
                )
        parts = self._parts()
        reco = {key: value for key, value in slices.items() if key == "energy"}
        true = {key: value for key, value in slices.items() if key == "energy_true"}
        for key in self._map_names:
            if reco and parts[key] is not None:
                parts[key] = parts[key].slice_by_idx(reco)
        if true and self.exposure is not None:
            parts["exposure"] = parts["exposure"].slice_by_idx(true)
        return parts, reco, true

    def slice_by_energy(
        self: Any,
        energy_min: u.Quantity | None = None,
        energy_max: u.Quantity | None = None,
        name: str | None = None,
    ) -> Any:
        """Return the dataset of the bins between the edges nearest to two energies.

        Parameters
        ----------
        energy_min, energy_max : `~astropy.units.Quantity`, optional
            Bounds; those of the axis by default.
        name : str, optional
            Name of the new dataset; random by default.

        Raises
        ------
        DataError
            If no bin lies between the bounds.
        """
        axis = self._geom.axes["energy"]
        low = axis.edges[0] if energy_min is None else u.Quantity(energy_min)
        high = axis.edges[-1] if energy_max is None else u.Quantity(energy_max)
        first, last = axis.group_edges(u.Quantity([low, high]))[[0, -1]]
        return self.slice_by_idx({"energy": slice(int(first), int(last))}, name=name)

    # Joining bins

    def _regrouped(
        self: Any, total: Callable[[Array], Array], anywhere: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
    ) -> dict[str, NDArray[Any]]:
        """Return the new values of each map that is set when bins are joined.

        Only bins in `mask_safe` count.

        Parameters
        ----------
        total : callable
            Adds up values of the shape of the data, bin for bin of the new dataset.
        anywhere : callable
            Says whether a mask is true in one of the bins that are joined.
        """
        if getattr(self, "weights", None) is not None:
            raise DataError(f"Dataset {self.name!r}: bins that have weights can't be joined")
        safe = self._safe_array()
        arrays = {}
        for key in self._map_names:
            value = getattr(self, key)
            if value is not None:
                is_mask = key.startswith("mask")
                arrays[key] = (
                    anywhere(value.data & safe) if is_mask else total(np.where(safe, value.data, 0.0))
                )
        return arrays

    def _safe_array(self: Any) -> NDArray[np.bool_]:
        return np.ones(self.data_shape, bool) if self.mask_safe is None else self.mask_safe.data

    def _joined_arrays(self: Any, idx: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Return the new values when bins of energy are joined between edges ``idx``."""
        return self._regrouped(
            lambda data: np.add.reduceat(data[: idx[-1]], idx[:-1], axis=0),
            lambda mask: np.logical_or.reduceat(mask[: idx[-1]], idx[:-1], axis=0),
        )

    def to_masked(self: Any, name: str | None = None) -> Any:
        """Return the dataset with everything outside `mask_safe` set to zero, as `stack` needs it.

        Its background is the one that the background model predicts, if there is one.

        Parameters
        ----------
        name : str, optional
            Name of the new dataset; random by default.
        """
        new = self.copy(name=name)
        if _has_scaled_background(self):
            new.background = self.npred_background()
        new._apply_mask_safe()
        return new

    def _mask_maps(self: Any, safe: NDArray[np.bool_]) -> None:
        """Set all maps of the data to zero outside a mask."""
        for key in self._map_names:
            value = getattr(self, key)
            if value is not None and not key.startswith("mask"):
                value.data = np.where(safe, value.data, 0.0)
        if self.mask_fit is not None:
            self.mask_fit.data = self.mask_fit.data & safe

    # Stacking

    def stack(self: Any, other: Any, nan_to_num: bool = True) -> None:
        """Add another dataset to this one, in place.

        Counts and backgrounds are added up within each dataset's `mask_safe`, exposures in all pixels
        in which a bin is safe. Energy dispersion and PSF are averaged with the exposures as weights, and
        a dataset contributes to the energy dispersion only within its `mask_safe`. So the predicted
        counts of the stack are the sum of those of the datasets within their masks: of a spectrum
        exactly, of a cube as far as its responses don't vary within the PSF. Backgrounds are those that
        background models predict, as `~villard.makers.FoVBackgroundMaker` has scaled them; one of this
        dataset has done its part then and is taken out of `models`. Others stay as they are.

        Parameters
        ----------
        other : dataset
            Dataset of the same type and with the same axes; its pixels may be a part of the own ones, and
            what lies beyond them is left out.
        nan_to_num : bool
            Whether NaN in ``other`` counts as 0; otherwise it is kept.

        Raises
        ------
        DataError
            If type or axes differ, or one of the datasets lacks a part that the other has.
        """
        check_stackable(self, other)
        other = other.to_masked(name=other.name)
        if nan_to_num:
            nan_to_num_maps(other)
        # A bin is fitted if one of the datasets brings it into the fit.
        selected = None
        if self.mask_fit is not None or other.mask_fit is not None:
            selected = self._as_map(self._mask_array())
            selected.stack(other._as_map(other._mask_array()))
        _scale_background(self)
        self._apply_mask_safe()
        self._stack_maps(other)
        self._stack_response(other)
        self._stack_masks(other, selected)
        self._stack_meta(other)

    def _stack_maps(self: Any, other: Any) -> None:
        for key in self._map_names:
            own, added = getattr(self, key), getattr(other, key)
            if key.startswith("mask") or added is None:
                continue
            total = Map.from_geom(self._geom) if own is None else own.copy(data=own.data.astype(float))
            total.stack(added, nan_to_num=False)
            setattr(self, key, total)

    def _stack_masks(self: Any, other: Any, selected: Any) -> None:
        if self.mask_safe is not None:
            safe = other.mask_safe
            self.mask_safe = self.mask_safe.copy()
            self.mask_safe.stack(other._as_map(np.ones(other.data_shape, bool)) if safe is None else safe)
        self.mask_fit = selected

    def _stack_meta(self: Any, other: Any) -> None:
        if self.exposure is not None:
            total = self.livetime + other.livetime
            if np.isfinite(total):
                self.exposure.meta["livetime"] = total
        gtis: Any = (self.gti, other.gti)
        self.gti = None if None in gtis else gtis[0].stack(gtis[1]).union()
        tables = [table for table in (self.meta_table, other.meta_table) if table is not None]
        if tables:
            from astropy.table import vstack

            self.meta_table = vstack(tables, metadata_conflicts="silent")


def _has_scaled_background(dataset: Any) -> bool:
    return dataset.background_model is not None and dataset._background_array() is not None


def _scale_background(dataset: Any) -> None:
    """Put what the background model does into the background, and take the model away."""
    if _has_scaled_background(dataset):
        model, dataset.background = dataset.background_model, dataset.npred_background()
        dataset.models = [item for item in dataset.models if item is not model]


def check_stackable(first: Any, second: Any) -> None:
    """Raise `DataError` if two datasets can't be stacked; the message names both."""
    if type(first) is not type(second):
        raise DataError(
            f"Datasets {first.name!r} and {second.name!r}: only datasets of one type can be stacked, "
            f"found {type(first).__name__} and {type(second).__name__}"
        )
    for name in ("energy", "energy_true"):
        one, two = first._axis(name), second._axis(name)
        if (one is None) != (two is None) or (one is not None and not one.is_aligned_with(two)):
            raise DataError(
                f"Datasets {first.name!r} and {second.name!r}: only datasets with the same bins can be "
                f"stacked, found {one!r} and {two!r}"
            )
    for dataset in (first, second):
        if getattr(dataset, "weights", None) is not None:
            raise DataError(f"Datasets can't be stacked: the bins of {dataset.name!r} have weights")
    required = ("counts", "exposure", *first._stack_required)
    for key in required:
        if (getattr(first, key) is None) != (getattr(second, key) is None):
            lacking = first if getattr(first, key) is None else second
            raise DataError(f"Datasets can't be stacked: {lacking.name!r} has no {key}, the other one has")


def nan_to_num_maps(dataset: Any) -> None:
    """Replace what isn't finite in the maps of a dataset by 0."""
    for key in dataset._map_names:
        value = getattr(dataset, key)
        if value is not None and not value.is_mask:
            value.data = np.where(np.isfinite(value.data), value.data, 0.0)

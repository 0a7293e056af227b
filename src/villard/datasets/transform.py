"""Spectrum datasets copied, cut, rebinned and stacked."""

from __future__ import annotations

import copy as copylib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.irf import EDispKernel
from villard.maps import MapAxis, RegionGeom, RegionNDMap

if TYPE_CHECKING:
    from villard.datasets.spectrum import SpectrumDataset

__all__ = ["SpectrumTransforms", "check_stackable", "diagonal", "join", "stacked_edisp"]

Array = NDArray[np.float64]


class SpectrumTransforms:
    """Methods of `SpectrumDataset` that make other datasets."""

    def _parts(self: Any) -> dict[str, Any]:
        """Arguments that make an equal dataset, without name and models; maps are copies."""
        parts: dict[str, Any] = {key: getattr(self, key) for key in (*self._map_names, "exposure")}
        parts = {key: None if value is None else value.copy() for key, value in parts.items()}
        parts |= {"edisp": self.edisp, "stat_type": self.stat_type}
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

    # Cutting and rebinning

    def slice_by_idx(self: Any, slices: Mapping[str, slice], name: str | None = None) -> Any:
        """Return the dataset of some bins.

        Parameters
        ----------
        slices : dict
            ``"energy"`` and, or, ``"energy_true"`` to a slice.
        name : str, optional
            Name of the new dataset; random by default.
        """
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
        if self.edisp is not None:
            parts["edisp"] = self.edisp.slice_by_idx(dict(slices))
        elif bool(reco) != bool(true) and self.exposure is not None:
            parts["edisp"] = diagonal(self).slice_by_idx(dict(slices))
        return type(self)(**parts, name=name)

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

    def resample_energy_axis(self: Any, energy_axis: MapAxis, name: str | None = None) -> Any:
        """Return the dataset with bins of energy joined.

        Only bins in `mask_safe` are added up, in the data and in the energy dispersion alike; a joined
        bin is safe, or in the fit range, if one of its bins is.

        Parameters
        ----------
        energy_axis : `~villard.maps.MapAxis`
            Wanted bins; their edges are moved to the nearest ones of the dataset. Bins outside are
            dropped.
        name : str, optional
            Name of the new dataset; random by default.

        Examples
        --------
        >>> from villard.datasets import SpectrumDataset
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
        >>> dataset = SpectrumDataset.create(RegionGeom(None, axes=[axis]))
        >>> dataset.mask_safe.data[1:] = True
        >>> dataset.counts.data[:] = 1
        >>> dataset.resample_energy_axis(axis.downsample(2)).counts.data.ravel()
        array([1., 2.])
        """
        idx = self._geom.axes["energy"].group_edges(energy_axis.edges)
        return self._joined(idx, name)

    def _joined(self: Any, idx: NDArray[np.intp], name: str | None) -> Any:
        """Return the dataset of groups of bins that begin (and the last end) at edges ``idx``."""
        parts = self._parts()
        geom = self._geom
        axis = geom.axes["energy"]
        new_axis = axis.copy(nodes=axis.edges.value[idx], node_type="edges")
        new_geom = RegionGeom(geom.region, axes=[new_axis])
        safe = np.ones(axis.nbin, bool) if self.mask_safe is None else self.mask_safe.data.reshape(-1)
        for key, values in self._joined_arrays(idx, safe).items():
            parts[key] = RegionNDMap(new_geom, data=values.reshape(-1, 1, 1), meta=parts[key].meta)
        if self.edisp is not None or self.exposure is not None:
            kernel = diagonal(self) if self.edisp is None else self.edisp
            matrix = join(np.where(safe, kernel.pdf_matrix, 0.0), idx)
            parts["edisp"] = EDispKernel([kernel.axes["energy_true"], new_axis], matrix, meta=kernel.meta)
        return type(self)(**parts, name=name)

    def _joined_arrays(self: Any, idx: NDArray[np.intp], safe: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the new values of each map that is set."""
        arrays = {}
        for key in self._map_names:
            value = getattr(self, key)
            if value is None:
                continue
            data = value.data.reshape(-1)
            if key.startswith("mask"):
                arrays[key] = np.logical_or.reduceat((data & safe)[: idx[-1]], idx[:-1])
            else:
                arrays[key] = join(np.where(safe, data, 0.0), idx)
        return arrays

    def to_masked(self: Any, name: str | None = None) -> Any:
        """Return the dataset with everything outside `mask_safe` set to zero, as `stack` needs it.

        Parameters
        ----------
        name : str, optional
            Name of the new dataset; random by default.
        """
        new = self.copy(name=name)
        new._apply_mask_safe()
        return new

    # Stacking

    def stack(self: Any, other: SpectrumDataset, nan_to_num: bool = True) -> None:
        """Add another dataset to this one, in place.

        Counts and backgrounds are added up within each dataset's `mask_safe`, exposures everywhere.
        The energy dispersion is averaged with the exposures as weights, and a dataset contributes to
        it only within its `mask_safe`. So the predicted counts of the stack are the sum of those of
        the datasets within their masks, whatever the model. Models stay as they are.

        Parameters
        ----------
        other : `SpectrumDataset`
            Dataset of the same type and with the same axes.
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
            _nan_to_num(other)
        # A bin is fitted if one of the datasets brings it into the fit.
        selected = (
            None if self.mask_fit is other.mask_fit is None else self._mask_array() | other._mask_array()
        )
        self._apply_mask_safe()
        self._stack_maps(other)
        self._stack_response(other)
        self._stack_masks(other, selected)
        self._stack_meta(other)

    def _apply_mask_safe(self: Any) -> None:
        """Set everything outside `mask_safe` to zero."""
        if self.mask_safe is None or np.all(self.mask_safe.data):
            return
        safe = self.mask_safe.data
        for key in self._map_names:
            value = getattr(self, key)
            if value is not None and not key.startswith("mask"):
                value.data = np.where(safe, value.data, 0.0)
        if self.mask_fit is not None:
            self.mask_fit.data = self.mask_fit.data & safe
        if self.edisp is not None or self.exposure is not None:
            kernel = diagonal(self) if self.edisp is None else self.edisp
            self.edisp = kernel.copy(data=np.where(safe.reshape(-1), kernel.pdf_matrix, 0.0))

    def _stack_maps(self: Any, other: Any) -> None:
        for key in self._map_names:
            own, added = getattr(self, key), getattr(other, key)
            if key.startswith("mask") or added is None:
                continue
            if own is None:
                setattr(self, key, added)
            else:
                own.data = own.data + added.data

    def _stack_response(self: Any, other: Any) -> None:
        if self.exposure is None:
            return
        edisp = stacked_edisp(self, other)
        added = other.exposure.quantity.to_value(self.exposure.unit)
        self.exposure.data = self.exposure.data + added
        self.edisp = edisp

    def _stack_masks(self: Any, other: Any, selected: NDArray[np.bool_] | None) -> None:
        if self.mask_safe is not None:
            safe = np.ones(self.data_shape, bool) if other.mask_safe is None else other.mask_safe.data
            self.mask_safe = self.mask_safe.copy(data=self.mask_safe.data | safe)
        self.mask_fit = None if selected is None else self._as_map(selected)

    def _stack_meta(self: Any, other: Any) -> None:
        if self.exposure is not None:
            livetimes = [d.exposure.meta.get("livetime") for d in (self, other)]
            if None not in livetimes:
                self.exposure.meta["livetime"] = livetimes[0] + livetimes[1]
        gtis: Any = (self.gti, other.gti)
        self.gti = None if None in gtis else gtis[0].stack(gtis[1]).union()
        if self.meta_table is not None and other.meta_table is not None:
            from astropy.table import vstack

            self.meta_table = vstack([self.meta_table, other.meta_table], metadata_conflicts="silent")


def join(values: Array, idx: NDArray[np.intp]) -> Array:
    """Add up the last dimension between edges ``idx``."""
    return np.add.reduceat(values[..., : idx[-1]], idx[:-1], axis=-1)


def diagonal(dataset: Any) -> EDispKernel:
    """Return the energy dispersion of a dataset that has none: energies are measured exactly."""
    return EDispKernel.from_diagonal_response(
        dataset.exposure.geom.axes["energy_true"], dataset._geom.axes["energy"]
    )


def stacked_edisp(first: Any, second: Any) -> EDispKernel | None:
    """Return the average of two energy dispersions, weighted with exposures.

    Where neither dataset has exposure, which leaves no weight, it is the plain average.
    """
    if first.edisp is None and second.edisp is None:
        return None
    kernels = [diagonal(d) if d.edisp is None else d.edisp for d in (first, second)]
    one, two = first.exposure, second.exposure
    weights = [one.data.reshape(-1), two.quantity.to_value(one.unit).reshape(-1)]
    total = weights[0] + weights[1]
    share = np.divide(weights[0], total, out=np.full(len(total), 0.5), where=total > 0)[:, np.newaxis]
    matrix = share * kernels[0].pdf_matrix + (1 - share) * kernels[1].pdf_matrix
    return kernels[0].copy(data=matrix)


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
    required = ("counts", "exposure", *first._stack_required)
    for key in required:
        if (getattr(first, key) is None) != (getattr(second, key) is None):
            lacking = first if getattr(first, key) is None else second
            raise DataError(f"Datasets can't be stacked: {lacking.name!r} has no {key}, the other one has")


def _nan_to_num(dataset: Any) -> None:
    for key in dataset._map_names:
        value = getattr(dataset, key)
        if value is not None and not value.is_mask:
            value.data = np.where(np.isfinite(value.data), value.data, 0.0)

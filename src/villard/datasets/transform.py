"""Spectrum datasets copied, cut, rebinned and stacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.datasets.transform_counts import CountsTransforms
from villard.irf import EDispKernel
from villard.maps import MapAxis, RegionGeom, RegionNDMap

if TYPE_CHECKING:
    pass

__all__ = ["SpectrumTransforms", "diagonal", "join", "stacked_edisp"]

Array = NDArray[np.float64]


class SpectrumTransforms(CountsTransforms):
    """Methods of `SpectrumDataset` that make other datasets."""

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
        parts, reco, true = self._sliced_maps(slices)
        if self.edisp is not None:
            parts["edisp"] = self.edisp.slice_by_idx(dict(slices))
        elif bool(reco) != bool(true) and self.exposure is not None:
            parts["edisp"] = diagonal(self).slice_by_idx(dict(slices))
        return type(self)(**parts, name=name)

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
        for key, values in self._joined_arrays(idx).items():
            parts[key] = RegionNDMap(new_geom, data=values, meta=parts[key].meta)
        safe = np.ones(axis.nbin, bool) if self.mask_safe is None else self.mask_safe.data.reshape(-1)
        if self.edisp is not None or self.exposure is not None:
            kernel = diagonal(self) if self.edisp is None else self.edisp
            matrix = join(np.where(safe, kernel.pdf_matrix, 0.0), idx)
            parts["edisp"] = EDispKernel([kernel.axes["energy_true"], new_axis], matrix, meta=kernel.meta)
        return type(self)(**parts, name=name)

    # Stacking

    def _apply_mask_safe(self: Any) -> None:
        """Set everything outside `mask_safe` to zero."""
        if self.mask_safe is None or np.all(self.mask_safe.data):
            return
        safe = self.mask_safe.data
        self._mask_maps(safe)
        if self.edisp is not None or self.exposure is not None:
            kernel = diagonal(self) if self.edisp is None else self.edisp
            self.edisp = kernel.copy(data=np.where(safe.reshape(-1), kernel.pdf_matrix, 0.0))

    def _stack_response(self: Any, other: Any) -> None:
        if self.exposure is None:
            return
        edisp = stacked_edisp(self, other)
        added = other.exposure.quantity.to_value(self.exposure.unit)
        self.exposure.data = self.exposure.data + added
        self.edisp = edisp


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

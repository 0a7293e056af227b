"""Cubes of counts cut, rebinned and reduced to images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.datasets.map_response import (
    kernel_map_of,
    mask_on,
    mask_responses,
    regroup_edisp,
    stack_irfs,
)
from villard.datasets.transform_counts import CountsTransforms
from villard.exceptions import DataError
from villard.maps import MapAxis, WcsGeom, WcsNDMap

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["MapTransforms"]


class MapTransforms(CountsTransforms):
    """Methods of `MapDataset` that make other datasets."""

    # Cutting

    def cutout(self: Any, position: SkyCoord, width: Any, mode: str = "trim", name: str | None = None) -> Any:
        """Return the dataset of a rectangle around a direction.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord`
            Centre.
        width : float, (float, float) or `~astropy.units.Quantity`
            Width in longitude and latitude, in deg.
        mode : {"trim", "partial"}
            Whether the part that lies beyond the map is cut off, or kept.
        name : str, optional
            Name of the new dataset; random by default.
        """
        parts = self._parts()
        for key in (*self._map_names, "exposure"):
            if parts[key] is not None:
                parts[key] = parts[key].cutout(position, width, mode=mode)
        for key in self._irf_names:
            if hasattr(parts[key], "cutout"):
                parts[key] = parts[key].cutout(position, width, mode="trim")
        return type(self)(**parts, name=name)

    def slice_by_idx(self: Any, slices: Mapping[str, slice], name: str | None = None) -> Any:
        """Return the dataset of some bins.

        Parameters
        ----------
        slices : dict
            ``"energy"`` and, or, ``"energy_true"`` to a slice.
        name : str, optional
            Name of the new dataset; random by default.
        """
        parts, _, true = self._sliced_maps(slices)
        for key in self._irf_names:
            response = parts[key]
            if response is None:
                continue
            # A PSF may have other true energies than the exposure, between which it is interpolated.
            wanted = true if key == "psf" else dict(slices)
            names = _axes(response).names
            wanted = {k: v for k, v in wanted.items() if k in names}
            if wanted and (key != "psf" or _is_aligned(response, self.exposure)):
                parts[key] = response.slice_by_idx(wanted)
        if parts["edisp"] is None and slices and self.exposure is not None:
            parts["edisp"] = kernel_map_of(self).slice_by_idx(dict(slices))
        return type(self)(**parts, name=name)

    # Joining bins

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
        """
        axis = self._geom.axes["energy"]
        idx = axis.group_edges(energy_axis.edges)
        new_axis = axis.copy(nodes=axis.edges.value[idx], node_type="edges")
        parts = self._joined_parts(self._geom.replace_axis(new_axis), self._joined_arrays(idx))
        if self.exposure is not None:
            parts["edisp"] = regroup_edisp(self, new_axis)
        return type(self)(**parts, name=name)

    def _joined_parts(self: Any, geom: WcsGeom, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        parts = self._parts()
        for key, values in arrays.items():
            parts[key] = WcsNDMap(geom, data=values, meta=parts[key].meta)
        return parts

    def to_image(self: Any, name: str | None = None) -> Any:
        """Return the dataset with all bins of energy joined to one.

        Parameters
        ----------
        name : str, optional
            Name of the new dataset; random by default.
        """
        return self.resample_energy_axis(self._geom.axes["energy"].squash(), name=name)

    def to_spectrum_dataset(
        self: Any, on_region: Any, containment_correction: bool = False, name: str | None = None
    ) -> Any:
        """Return the spectrum of a region.

        Counts and background are summed over the pixels with their centre in the region, where they are
        in `mask_safe`; a bin is safe, or in the fit range, if it is in one of the pixels. Exposure is the
        mean over these pixels, and the energy dispersion that of the region's centre.

        Parameters
        ----------
        on_region : str, region or `~astropy.coordinates.SkyCoord`
            Region, as for `~villard.maps.WcsGeom.region_mask`; a point gives the pixel that holds it.
        containment_correction : bool
            Whether the exposure is multiplied by the fraction of photons of a point source in the
            centre that are reconstructed in the region, which must then be a circle.
        name : str, optional
            Name of the new dataset; random by default.

        Returns
        -------
        `SpectrumDataset`
            Dataset without models; a `SpectrumDatasetOnOff` of a `MapDatasetOnOff`.
        """
        from villard.datasets.map_region import spectrum_parts

        parts = spectrum_parts(self, on_region, containment_correction)
        return self._spectrum_class()(**parts, name=name)

    def _spectrum_class(self: Any) -> Any:
        from villard.datasets.spectrum import SpectrumDataset

        return SpectrumDataset

    def downsample(self: Any, factor: int, axis_name: str | None = None, name: str | None = None) -> Any:
        """Return the dataset with ``factor`` × ``factor`` pixels, or bins of energy, joined.

        Only bins in `mask_safe` are added up; a joined bin is safe, or in the fit range, if one of its
        bins is. Exposures are averaged.

        Parameters
        ----------
        factor : int
            Number of pixels, which must divide that of the maps.
        axis_name : {"energy"}, optional
            Join bins of this axis; pixels by default.
        name : str, optional
            Name of the new dataset; random by default.
        """
        if axis_name is not None:
            axis = self._geom.axes[axis_name]
            return self.resample_energy_axis(axis.downsample(factor), name=name)
        if hasattr(self.psf, "psf_kernel_map"):
            raise DataError(
                f"Dataset {self.name!r}: a PSFKernel is for pixels of one size. Set a PSFMap, or none, first"
            )
        geom = self._geom.downsample(factor)
        rows, columns = geom.spatial_shape

        def blocks(data: NDArray[Any]) -> NDArray[Any]:
            return data.reshape(len(data), rows, factor, columns, factor)

        arrays = self._regrouped(lambda data: blocks(data).sum(axis=(2, 4)), lambda m: blocks(m).any((2, 4)))
        parts = self._joined_parts(geom, arrays)
        if self.exposure is not None and self.exposure.geom._is_same_sky(self._geom):
            parts["exposure"] = parts["exposure"].downsample(factor, preserve_counts=False)
        return type(self)(**parts, name=name)

    def pad(
        self: Any, pad_width: int | tuple[int, int], mode: str = "constant", name: str | None = None
    ) -> Any:
        """Return the dataset with pixels added on every side, which are outside `mask_safe`.

        Parameters
        ----------
        pad_width : int or (int, int)
            Number along longitude and latitude.
        mode : {"constant", "edge"}
            Whether the exposure there is 0, or that of the outermost pixels.
        name : str, optional
            Name of the new dataset; random by default.
        """
        parts = self._parts()
        parts["mask_safe"] = WcsNDMap(self._geom, data=self._safe_array().copy())
        for key in self._map_names:
            if parts[key] is not None:
                parts[key] = parts[key].pad(pad_width, cval=0)
        if self.exposure is not None and self.exposure.geom._is_same_sky(self._geom):
            parts["exposure"] = parts["exposure"].pad(pad_width, mode=mode)
        return type(self)(**parts, name=name)

    # Masking and stacking

    def _apply_mask_safe(self: Any) -> None:
        """Set everything outside `mask_safe` to zero."""
        if self.mask_safe is None or np.all(self.mask_safe.data):
            return
        safe = self.mask_safe.data
        self._mask_maps(safe)
        if self.exposure is not None:
            self._psf, self._edisp = mask_responses(self)
            inside = mask_on(self.exposure.geom, self.mask_safe).any(axis=0)
            self.exposure.data = np.where(inside, self.exposure.data, 0.0)

    def _stack_response(self: Any, other: Any) -> None:
        if self.exposure is None:
            return
        stack_irfs(self, other)
        total = self.exposure.copy(data=self.exposure.data.astype(float))
        total.stack(other.exposure)
        self.exposure = total


def _axes(response: Any) -> Any:
    """Axes of a PSF or energy dispersion of any kind."""
    if hasattr(response, "pdf_matrix"):
        return response.axes
    return (response.psf_kernel_map if hasattr(response, "psf_kernel_map") else response).geom.axes


def _is_aligned(response: Any, exposure: Any) -> bool:
    if exposure is None or "energy_true" not in _axes(response).names:
        return False
    return bool(_axes(response)["energy_true"].is_aligned_with(exposure.geom.axes["energy_true"]))

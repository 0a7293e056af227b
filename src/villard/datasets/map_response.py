"""PSF and energy dispersion of cubes that are masked, rebinned and stacked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.maps import Geom, Map, MapAxis, WcsGeom

__all__ = ["kernel_map_of", "mask_edisp", "mask_on", "mask_responses", "regroup_edisp", "stack_irfs"]

Mask = NDArray[np.bool_]

_SMALL = 1e-9


def mask_on(geom: Geom, mask: Map) -> Mask:
    """Return a mask in other pixels.

    A pixel is in it if its centre is, or the centre of a pixel within it; beyond the mask's pixels
    what counts is the nearest one.

    Parameters
    ----------
    geom : `~villard.maps.Geom`
        Geometry of which only the sky counts.
    mask : `~villard.maps.WcsNDMap`
        Mask along the axis "energy".

    Returns
    -------
    array of bool
        Mask of the shape (n_energy, n_lat, n_lon), or (n_energy, 1, 1) where there is one response
        for all positions.
    """
    own: Any = mask.geom
    if not isinstance(geom, WcsGeom):
        return mask.data.any(axis=(1, 2), keepdims=True)
    if geom._is_same_sky(own):
        return mask.data
    row, column = _nearest(geom, own)
    result = mask.data[:, row, column]
    x, y = geom.skydir_to_pix(own.skydirs())
    inside = geom._contains_pix(x, y)
    target = (np.round(y[inside]).astype(int), np.round(x[inside]).astype(int))
    for image, safe in zip(result, mask.data, strict=True):
        np.logical_or.at(image, target, safe[inside])
    return result


def kernel_map_of(dataset: Any) -> Any:
    """Return the energy dispersion of a cube, of whatever kind, as a map of matrices."""
    from villard.irf import EDispKernelMap

    edisp, axis = dataset.edisp, dataset._geom.axes["energy"]
    if edisp is None:
        return EDispKernelMap.from_diagonal_response(axis, dataset.exposure.geom.axes["energy_true"])
    if hasattr(edisp, "pdf_matrix"):
        return EDispKernelMap.from_edisp_kernel(edisp)
    return edisp if isinstance(edisp, EDispKernelMap) else edisp.to_edisp_kernel_map(axis)


def mask_edisp(dataset: Any) -> Any:
    """Return the energy dispersion, as a map of matrices, without energies that aren't safe in a pixel.

    With one matrix for all positions these are the energies that aren't safe in any pixel.
    """
    kernels = kernel_map_of(dataset)
    if dataset.mask_safe is None:
        return kernels
    safe = mask_on(kernels.edisp_map.geom, dataset.mask_safe)
    data = np.where(safe, kernels.edisp_map.data, 0.0)
    return type(kernels)(kernels.edisp_map.copy(data=data), kernels.exposure_map)


def mask_responses(dataset: Any) -> tuple[Any, Any]:
    """Return PSF and energy dispersion for safe bins only, with the exposures that are their weights.

    There is no exposure in pixels where no energy is safe. That of the PSF is multiplied by the fraction
    of photons of each true energy whose reconstructed energy is safe: predicted counts of stacked datasets
    are then the sum of theirs also where they have different thresholds.
    """
    kernels, masked = kernel_map_of(dataset), _weighted(mask_edisp(dataset), dataset)
    psf = dataset.psf
    aligned = hasattr(psf, "energy_axis_true") and psf.energy_axis_true.is_aligned_with(
        kernels.energy_axis_true
    )
    if aligned or getattr(psf, "exposure_map", None) is not None:
        psf = _weighted(psf, dataset)
        if aligned:
            psf = _scaled(psf, _at_pixels(psf.geom, kernels.geom, _safe_fraction(kernels, masked)))
        psf = _without_exposure(psf, dataset.mask_safe)
    return psf, _without_exposure(masked, dataset.mask_safe)


def _safe_fraction(kernels: Any, masked: Any) -> NDArray[np.float64]:
    """Fraction of photons that a mask leaves, shape (n_energy_true, n_lat, n_lon)."""
    total = kernels.irf_map.data.sum(axis=1)
    fraction = np.divide(masked.irf_map.data.sum(axis=1), total, out=np.ones(total.shape), where=total > 0)
    # Where no dataset has safe bins, the PSF is still their mean.
    return np.maximum(fraction, _SMALL)


def _at_pixels(geom: Geom, own: Geom, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values of the pixels of one geometry at the nearest ones of another one."""
    if not isinstance(own, WcsGeom) or own.is_allclose(geom):
        return values
    if not isinstance(geom, WcsGeom):
        return values.mean(axis=(1, 2), keepdims=True)
    row, column = _nearest(geom, own)
    return values[:, row, column]


def _nearest(geom: WcsGeom, own: WcsGeom) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of the pixels of ``own`` that are nearest to those of ``geom``."""
    rows, columns = own.spatial_shape
    x, y = own.skydir_to_pix(geom.skydirs())
    column = np.clip(np.round(np.nan_to_num(x)), 0, columns - 1).astype(int)
    row = np.clip(np.round(np.nan_to_num(y)), 0, rows - 1).astype(int)
    return row, column


def _scaled(response: Any, factor: NDArray[np.float64]) -> Any:
    exposure = response.exposure_map
    return type(response)(response.irf_map, exposure.copy(data=exposure.data * factor[:, np.newaxis]))


def _without_exposure(response: Any, mask: Map) -> Any:
    exposure = response.exposure_map
    safe = mask_on(exposure.geom, mask).any(axis=0)
    return type(response)(response.irf_map, exposure.copy(data=np.where(safe, exposure.data, 0.0)))


def regroup_edisp(dataset: Any, axis: MapAxis) -> Any:
    """Return the energy dispersion for joined bins of energy, of which only safe ones count."""
    all_safe = dataset.mask_safe is None or np.all(dataset.mask_safe.data)
    if all_safe and dataset.edisp is not None and hasattr(dataset.edisp, "migra_axis"):
        # It doesn't depend on the bins.
        return dataset.edisp.copy()
    return mask_edisp(dataset).resample_energy_axis(axis)


def stack_irfs(first: Any, second: Any) -> None:
    """Average PSF and energy dispersion of a second dataset into a first one, weighted by exposures.

    Raises
    ------
    DataError
        If one of them has a PSF and the other one not, or there are no exposures to weight with.
    """
    names = f"Datasets {first.name!r} and {second.name!r}"
    for key in ("psf", "edisp"):
        own, added = getattr(first, key), getattr(second, key)
        if own is None and added is None:
            continue
        if key == "edisp" and type(own) is not type(added):
            own, added = kernel_map_of(first), kernel_map_of(second)
        for response, dataset in ((own, first), (added, second)):
            if not hasattr(response, "exposure_map"):
                raise DataError(
                    f"{names} can't be stacked: expected a map as {key} of {dataset.name!r}, "
                    f"found {'none' if response is None else type(response).__name__}"
                )
        own, added = _weighted(own, first), _weighted(added, second)
        try:
            own.stack(added)
        except DataError as error:
            raise DataError(f"{names} can't be stacked: {key}: {error}") from error
        setattr(first, f"_{key}", own)


def _weighted(response: Any, dataset: Any) -> Any:
    """Return a copy of a response with an exposure; that of the dataset if it has none of its own.

    An exposure of zero is none: files have it with an energy dispersion that is the same for all.
    """
    own, exposure = response.exposure_map, dataset.exposure
    if own is not None and (np.any(own.data > 0) or not np.any(exposure.data > 0)):
        return response.copy()
    if not response.energy_axis_true.is_aligned_with(exposure.geom.axes["energy_true"]):
        raise DataError(
            f"Dataset {dataset.name!r}: a {type(response).__name__} without exposure_map can only be stacked "
            "if it has the true energies of the exposure"
        )
    geom = response.geom.squash(response.required_axes[0])
    if isinstance(geom, WcsGeom):
        row, column = _nearest(geom, exposure.geom)
        data = exposure.data[:, np.newaxis, row, column]
    else:
        data = exposure.data.mean(axis=(1, 2))[:, np.newaxis, np.newaxis, np.newaxis]
    return type(response)(response.irf_map, Map.from_geom(geom, data=data, unit=exposure.unit))

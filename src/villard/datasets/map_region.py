"""The spectrum of a region of a cube."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import DataError
from villard.irf import EDispKernel
from villard.maps import RegionGeom, RegionNDMap, WcsGeom

__all__ = ["spectrum_parts"]


def spectrum_parts(dataset: Any, on_region: Any, containment_correction: bool) -> dict[str, Any]:
    """Return the arguments of the spectrum dataset of a region; see `MapDataset.to_spectrum_dataset`."""
    region = RegionGeom(on_region, axes=[dataset._geom.axes["energy"]])
    where = f"Dataset {dataset.name!r}, spectrum of {region.region}"
    if region.region is None:
        raise DataError(f"{where}: expected a region")
    inside = _inside(dataset._geom, region, where)
    parts = dataset._parts()
    for key in ("psf", "psf_method", "weights"):
        parts.pop(key, None)
    arrays = dataset._regrouped(
        lambda data: data[:, inside].sum(axis=1).reshape(-1, 1, 1),
        lambda mask: mask[:, inside].any(axis=1).reshape(-1, 1, 1),
    )
    parts |= {key: RegionNDMap(region, data=values) for key, values in arrays.items()}
    center = region.center_skydir
    parts["edisp"] = _kernel_at(dataset.edisp, region.axes["energy"], center)
    if dataset.exposure is not None:
        parts["exposure"] = _exposure(dataset, region, containment_correction, where)
    return parts


def _inside(geom: WcsGeom, region: RegionGeom, where: str) -> NDArray[np.bool_]:
    """Pixels with their centre in the region; the one that holds it if that is a point."""
    image = geom.to_image()
    if region.region.shape == "point":
        x, y = image.skydir_to_pix(region.center_skydir)
        inside = np.zeros(image.spatial_shape, dtype=bool)
        if image.contains(region.center_skydir):
            inside[int(np.round(y)), int(np.round(x))] = True
    else:
        inside = image.region_mask(region.region).data
    if not inside.any():
        raise DataError(f"{where}: no pixel of {geom!r} has its centre in it")
    return inside


def _kernel_at(edisp: Any, axis: Any, position: Any) -> EDispKernel | None:
    if edisp is None or isinstance(edisp, EDispKernel):
        return edisp
    return edisp.get_edisp_kernel(energy_axis=axis, position=position)


def _exposure(dataset: Any, region: RegionGeom, containment_correction: bool, where: str) -> RegionNDMap:
    """Average exposure in the region, times the fraction of photons that the PSF leaves in it."""
    exposure = dataset.exposure
    axis = exposure.geom.axes["energy_true"]
    inside = _inside(exposure.geom, region, where)
    values = exposure.data[:, inside].astype(float).mean(axis=1)
    if containment_correction:
        shape = region.region.shape
        if shape != "circle":
            raise DataError(f"{where}: the containment correction needs a circle, found {shape!r}")
        if not hasattr(dataset.psf, "containment"):
            found = "none" if dataset.psf is None else type(dataset.psf).__name__
            raise DataError(f"{where}: the containment correction needs a PSFMap as psf, found {found}")
        radius = np.radians(region.region.sizes[0])
        values = values * _containment(dataset.psf, radius, axis, region.center_skydir)
    geom = RegionGeom(region.region, axes=[axis])
    return RegionNDMap(geom, data=values.reshape(-1, 1, 1), unit=exposure.unit, meta=exposure.meta)


def _containment(psf: Any, radius: float, axis: Any, position: Any) -> Any:
    import astropy.units as u

    # Beyond the energies of the PSF, by half a bin at most, it is that of the last one.
    own = psf.energy_axis_true.center
    energy = np.clip(axis.center.to(own.unit), own[0], own[-1])
    fractions = psf.containment(u.Quantity(radius, "rad"), energy, position).value
    return np.nan_to_num(fractions)

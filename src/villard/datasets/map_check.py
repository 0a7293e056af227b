"""What a cube of counts must fulfil, in the words of its errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villard.datasets.slots import check_axis
from villard.exceptions import DataError
from villard.maps import Map, MapAxes, MapAxis, WcsGeom

__all__ = ["check_coverage", "check_edisp", "check_fit_range", "check_psf", "check_sky", "check_weighted"]


def check_sky(value: Map, others: Mapping[str, Map | None], where: str) -> None:
    """Raise `DataError` if a map has other pixels than one of the others."""
    for name, other in others.items():
        if other is None or other.geom is value.geom:
            continue
        if not value.geom._is_same_sky(other.geom):
            raise DataError(f"{where}: expected the pixels of {name}, {other.geom!r}, found {value.geom!r}")
        # All are equal to the first one.
        return


def _expect(value: Any, names: Iterable[str], where: str) -> None:
    import villard.irf

    classes = [getattr(villard.irf, name) for name in names]
    if not isinstance(value, tuple(classes)):
        raise DataError(f"{where}: expected a {' or '.join(names)}, found {type(value).__name__}")


def check_psf(psf: Any, where: str) -> None:
    """Raise `DataError` if something isn't a PSF."""
    if psf is not None:
        _expect(psf, ("PSFMap", "PSFKernel"), where)


def check_edisp(edisp: Any, expected: Mapping[str, MapAxis | None], where: str) -> MapAxes:
    """Return the axes of an energy dispersion; raise `DataError` if they aren't those expected.

    Parameters
    ----------
    edisp : `~villard.irf.EDispKernelMap`, `~villard.irf.EDispMap`, `~villard.irf.EDispKernel` or None
        Energy dispersion.
    expected : dict
        Axes by name; `None` for any.
    where : str
        Dataset, for messages.
    """
    if edisp is None:
        return MapAxes()
    _expect(edisp, ("EDispKernelMap", "EDispMap", "EDispKernel"), where)
    axes = edisp.axes if hasattr(edisp, "pdf_matrix") else edisp.edisp_map.geom.axes
    for name, axis in expected.items():
        if name in axes.names:
            check_axis(axes[name], axis, f"{where}, axis {name}")
    return axes


def check_fit_range(
    mask: NDArray[np.bool_], arrays: Mapping[str, NDArray[np.float64]], dataset_name: str
) -> None:
    """Raise `DataError` if nothing can be fitted, or there is NaN in the fit range.

    Parameters
    ----------
    mask : array of bool
        Fit range, flat.
    arrays : dict
        Counts and so on, flat.
    dataset_name : str
        Name, for messages.
    """
    if not np.any(mask):
        raise DataError(
            f"Dataset {dataset_name!r}: expected at least one bin in mask_safe and mask_fit, "
            f"found none of {len(mask)}"
        )
    for name, array in arrays.items():
        bad = mask & ~np.isfinite(array)
        if np.any(bad):
            raise DataError(
                f"Dataset {dataset_name!r}: {name}: expected finite values in the fit range, found "
                f"{np.sum(bad)} that aren't, the first one in bin {int(np.argmax(bad))}"
            )


def check_weighted(weights: Map | None, mask: NDArray[np.bool_], dataset_name: str) -> None:
    """Raise `DataError` if no bin of the fit range has a weight above 0."""
    if weights is not None and not np.any(weights.data.reshape(-1)[mask] > 0):
        raise DataError(f"Dataset {dataset_name!r}: weights: all are 0 in the fit range")


def check_coverage(exposure: Map, geom: WcsGeom, models: Iterable[Any], dataset_name: str) -> None:
    """Raise `DataError` if a source is in the counts map, but not in the exposure map.

    Parameters
    ----------
    exposure : `~villard.maps.WcsNDMap`
        Exposure.
    geom : `~villard.maps.WcsGeom`
        Geometry of the counts.
    models : list of models
        Sources.
    dataset_name : str
        Name, for messages.
    """
    frames: dict[str, list[tuple[Any, Any]]] = {}
    for model in models:
        position = getattr(getattr(model, "spatial_model", None), "position", None)
        if position is not None:
            frames.setdefault(position.frame.name, []).append((model, position))
    for placed in frames.values():
        _check_coverage(exposure, geom, placed, dataset_name)


def _check_coverage(exposure: Map, geom: WcsGeom, placed: list[tuple[Any, Any]], dataset_name: str) -> None:
    """Check models at positions that are all of one frame, all at once: coordinates are slow one by one."""
    from astropy.coordinates import SkyCoord

    lon, lat = np.transpose([(p.spherical.lon.deg, p.spherical.lat.deg) for _, p in placed])
    sky = SkyCoord(lon, lat, unit="deg", frame=placed[0][1].frame.name)
    inside, covered = geom.to_image().contains(sky), exposure.geom.to_image().contains(sky)
    columns, rows = exposure.geom.skydir_to_pix(sky)
    for i in np.flatnonzero(inside):
        model, position = placed[i]
        where = f"Dataset {dataset_name!r}: model {model.name!r} at {position.to_string('decimal')} deg"
        if not covered[i]:
            raise DataError(f"{where}: the exposure, {exposure.geom!r}, doesn't cover this position")
        if len(model.parameters.free_parameters) and not _exposed(exposure, columns[i], rows[i]):
            raise DataError(
                f"{where}: it has free parameters, but the exposure is 0 at all energies at this position"
            )


def _exposed(exposure: Map, x: float, y: float) -> bool:
    """Whether the exposure is above 0 in the pixels around a position in pixels."""
    column, row = int(np.round(x)), int(np.round(y))
    near = exposure.data[..., max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return bool(np.any(near > 0))

"""Files of the Fermi tools made into datasets: gtbin, gtexpcube2, gtpsf, gtdrm, weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.datasets import Datasets, MapDataset
from villard.exceptions import ConfigError, DataError
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap
from villard.roi.config import (
    ComponentConfig,
    ROIConfig,
    check_path,
    energy_slice,
    read_roi_config,
    resolve_component,
)

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["build", "exposure_from_psf", "exposure_in_bins", "make_dataset", "weights_on_pixels"]

log = logging.getLogger(__name__)

#: Value of the key ``exposure`` for that of the file of gtpsf.
FROM_PSF = "psf"


def build(config: str | os.PathLike[str] | Mapping[str, Any] | ROIConfig) -> dict[str, Any]:
    """Return the arguments of `villard.roi.ROI` for a configuration.

    Parameters
    ----------
    config : path, dict or `ROIConfig`
        Configuration.

    Raises
    ------
    ConfigError
        If a key isn't allowed, a file isn't there, or the files don't go together.
    """
    from villard.roi.agreement import check_components
    from villard.roi.config_models import make_models

    config = read_roi_config(config)
    entries = config.components or [ComponentConfig(name="roi")]
    settings = [resolve_component(config, entry, i) for i, entry in enumerate(entries)]
    names = [item["name"] for item in settings]
    if len(set(names)) < len(names):
        raise ConfigError(f"{config.where}: components must have names of their own, found {names}")
    skydir = center_of(config)
    read = [read_component(config, item, skydir) for item in settings]
    datasets = Datasets([make_dataset(**item) for item in read])
    skydir = datasets[0].geom.center_skydir if skydir is None else skydir
    check_components(config, settings, datasets)
    models, catalog = make_models(config, settings, datasets, skydir)
    return {"datasets": datasets, "models": models, "config": config, "skydir": skydir, "catalog": catalog}


def center_of(config: ROIConfig) -> SkyCoord | None:
    """Return the centre that a configuration gives; `None` if it gives none.

    A ``target`` is a source of the catalogues or of the list ``sources``.
    """
    from astropy.coordinates import SkyCoord

    selection = config.selection
    if selection.ra is not None:
        return SkyCoord(selection.ra, selection.dec, unit="deg", frame="icrs")
    if selection.glon is not None:
        return SkyCoord(selection.glon, selection.glat, unit="deg", frame="galactic")
    if selection.target is not None:
        from villard.roi.config_models import target_position

        return target_position(config, selection.target)
    return None


def read_component(config: ROIConfig, settings: Mapping[str, Any], skydir: SkyCoord | None) -> dict[str, Any]:
    """Read the files of a component, cut to the region and to its energies.

    Returns
    -------
    dict
        Arguments of `make_dataset`.
    """
    from villard.irf import PSFMap

    name, gtlike = settings["name"], settings["gtlike"]
    where = f"{config.where}: component {name!r}"
    if settings["counts"] is None:
        raise ConfigError(f"{where}: counts: expected the file of a counts cube (gtbin), found none")
    counts, pixel = read_counts(
        check_path(config, settings["counts"], f"component {name!r}: counts"), settings, skydir
    )
    parts: dict[str, Any] = {"counts": counts, "name": name, "psf_method": gtlike.psf_method}
    if gtlike.convolve:
        if settings["psf"] is None:
            raise ConfigError(
                f"{where}: psf: expected a file of gtpsf, or gtlike.convolve: false; found none"
            )
        path = check_path(config, settings["psf"], f"component {name!r}: psf")
        parts["psf"] = PSFMap.read(path, format="gtpsf")
    if gtlike.edisp is not False and settings["edisp"] is not None:
        path = check_path(config, settings["edisp"], f"component {name!r}: edisp")
        parts["edisp"] = read_gtdrm(path)
    elif gtlike.edisp:
        raise ConfigError(f"{where}: gtlike.edisp is true, but there is no file edisp (gtdrm)")
    parts["exposure"] = _read_exposure(config, settings, where, parts.get("psf"))
    if gtlike.expscale is not None:
        parts["exposure"] = parts["exposure"].copy(data=parts["exposure"].data * gtlike.expscale)
    if settings["weights"] is not None:
        parts["weights"] = Map.read(check_path(config, settings["weights"], f"component {name!r}: weights"))
    if pixel and "psf" in parts:
        from villard.roi.healpix import widened_psf

        # Events lie anywhere in their pixels, and then are spread over them.
        parts["psf"] = widened_psf(widened_psf(parts["psf"], pixel), pixel)
    return _cut_energies(parts, settings["energies"], where)


def read_counts(
    path: Any, settings: Mapping[str, Any], skydir: SkyCoord | None
) -> tuple[WcsNDMap, float | None]:
    """Read a counts cube, cut to the region.

    Returns
    -------
    counts : `~villard.maps.WcsNDMap`
        Counts.
    pixel : float or None
        Radius (deg) of HEALPix pixels if these were brought to others.
    """
    from villard.roi.healpix import is_healpix, read_healpix_counts

    binning = settings["binning"]
    if is_healpix(path):
        if skydir is None:
            raise ConfigError(
                f"{path}: of a HEALPix cube a part is used: give its centre in the section selection"
            )
        return read_healpix_counts(path, skydir, binning)
    counts = Map.read(path)
    if not isinstance(counts, WcsNDMap) or counts.geom.axes.names != ["energy"]:
        raise ConfigError(f"{path}: expected a counts cube of gtbin, found {counts.geom!r}")
    if skydir is not None and not counts.geom.to_image().contains(skydir):
        raise ConfigError(f"{path}: the centre, {skydir.to_string('decimal')} deg, isn't on the cube")
    if binning.roiwidth is not None:
        center = counts.geom.center_skydir if skydir is None else skydir
        width = u.Quantity(binning.roiwidth, "deg")
        counts = counts.cutout(center, width=width)
        found = counts.geom.width.to_value("deg").reshape(2, -1).max(axis=1)
        pixel = counts.geom.pixel_scales.to_value("deg")
        if np.any(found < binning.roiwidth - 1.5 * pixel):
            log.warning(
                "%s: the region is %.4g x %.4g deg, less than binning.roiwidth, %g x %g deg: the cube ends",
                path,
                *found,
                *binning.roiwidth,
            )
    return counts, None


def read_gtdrm(path: Path) -> Any:
    """Return the energy dispersion of a file of gtdrm, a `~villard.irf.EDispKernel`."""
    from villard.irf.fermi import edisp_kernel_from_gtdrm
    from villard.maps.fits import open_fits

    with open_fits(path) as hdulist:
        return edisp_kernel_from_gtdrm(hdulist, str(path))


def _read_exposure(config: ROIConfig, settings: Mapping[str, Any], where: str, psf: Any) -> Map:
    if settings["exposure"] is None:
        raise ConfigError(
            f"{where}: exposure: expected a file of gtexpcube2, found none. If there is none, 'exposure: "
            f"{FROM_PSF}' takes that of the file of gtpsf, the same in all directions"
        )
    if settings["exposure"] == FROM_PSF:
        if psf is None or psf.exposure_map is None:
            raise ConfigError(f"{where}: exposure: {FROM_PSF} needs a file of gtpsf as psf")
        return psf.exposure_map
    path = check_path(config, settings["exposure"], f"component {settings['name']!r}: exposure")
    exposure = Map.read(path)
    if exposure.geom.axes.names != ["energy_true"]:
        raise ConfigError(f"{path}: expected an exposure of gtexpcube2, found {exposure.geom!r}")
    return exposure


def _cut_energies(parts: dict[str, Any], energies: tuple[Any, Any], where: str) -> dict[str, Any]:
    """Cut reconstructed energies; true ones stay, so that what is beyond becomes a margin."""
    counts = parts["counts"]
    edisp, weights = parts.get("edisp"), parts.get("weights")
    axis = counts.geom.axes["energy"]
    if edisp is not None and not edisp.axes["energy"].is_aligned_with(axis):
        raise ConfigError(
            f"{where}: the energy dispersion has the reconstructed energies {edisp.axes['energy']!r}, "
            f"the counts have {axis!r}"
        )
    if weights is not None:
        parts["weights"] = weights_on_pixels(weights, counts.geom, where)
    if energies == (None, None):
        return parts
    bins = energy_slice(axis.edges.to_value("MeV"), *energies, where)
    parts["counts"] = counts.slice_by_idx({"energy": bins})
    if edisp is not None:
        parts["edisp"] = edisp.slice_by_idx({"energy": bins})
    if weights is not None:
        parts["weights"] = parts["weights"].slice_by_idx({"energy": bins})
    return parts


def weights_on_pixels(weights: Map, geom: WcsGeom, where: str) -> WcsNDMap:
    """Return weights on the pixels and energies of the counts."""
    axes = weights.geom.axes
    if len(axes) != 1 or not axes[0].rename("energy").is_aligned_with(geom.axes["energy"]):
        raise ConfigError(f"{where}: weights: expected the energies {geom.axes['energy']!r}, found {axes!r}")
    image = geom.to_image()
    own = weights.geom.to_image().to_cube([geom.axes["energy"]])
    renamed = type(weights)(own, data=weights.data)
    inside = own.to_image().contains(image.get_coord().skycoord)
    if not np.all(inside):
        raise ConfigError(
            f"{where}: weights: they cover {np.sum(inside)} of {inside.size} pixels of the counts"
        )
    return renamed.interp_to_geom(geom)


def make_dataset(
    counts: WcsNDMap,
    exposure: Map,
    psf: Any = None,
    edisp: Any = None,
    weights: WcsNDMap | None = None,
    name: str | None = None,
    psf_method: str = "exact",
) -> MapDataset:
    """Make a dataset of what the Fermi tools give.

    True energies are those of the energy dispersion, which may reach beyond the reconstructed ones (margin
    bins), and without one those of the counts. The exposure is interpolated to their centres.

    Parameters
    ----------
    counts : `~villard.maps.WcsNDMap`
        Counts.
    exposure : `~villard.maps.Map`
        Exposure at energies of its own, on pixels of its own (WCS or HEALPix), or one for all directions as
        that of `~villard.irf.PSFMap`.
    psf : `~villard.irf.PSFMap`, optional
        Point spread function.
    edisp : `~villard.irf.EDispKernel`, optional
        Energy dispersion.
    weights : `~villard.maps.WcsNDMap`, optional
        Weights of the bins in the likelihood.
    name : str, optional
        Name.
    psf_method : {"kernel", "exact"}
        See `~villard.datasets.MapDataset`.

    Raises
    ------
    DataError
        If exposure or PSF don't cover the energies, or the exposure not the pixels.
    """
    axis = counts.geom.axes["energy"]
    true = axis.copy(name="energy_true") if edisp is None else edisp.axes["energy_true"]
    where = f"Dataset {name!r}"
    if psf is not None:
        _check_energies(psf.energy_axis_true, true, f"{where}: the PSF")
    return MapDataset(
        counts=counts,
        exposure=exposure_in_bins(exposure, true, counts.geom, where),
        psf=psf,
        edisp=edisp,
        weights=weights,
        name=name,
        psf_method=psf_method,
    )


def _check_energies(known: MapAxis, wanted: MapAxis, what: str) -> None:
    """Raise `DataError` if nodes don't reach the centres of the outermost bins."""
    first, last = known.edges[[0, -1]].to_value("MeV")
    low, high = wanted.center[[0, -1]].to_value("MeV")
    if low < first * (1 - 1e-3) or high > last * (1 + 1e-3):
        raise DataError(
            f"{what} covers energies from {first:.5g} to {last:.5g} MeV, but bins have centres "
            f"from {low:.5g} to {high:.5g} MeV"
        )


def exposure_in_bins(exposure: Map, axis: MapAxis, geom: WcsGeom, where: str = "Exposure") -> WcsNDMap:
    """Interpolate an exposure that is given at energies to the centres of bins, as power laws.

    Parameters
    ----------
    exposure : `~villard.maps.Map`
        Exposure at its energies, in WCS or HEALPix pixels or the same everywhere.
    axis : `~villard.maps.MapAxis`
        Bins of true energy.
    geom : `~villard.maps.WcsGeom`
        Pixels that it must cover.
    where : str
        Dataset, for messages.

    Returns
    -------
    `~villard.maps.WcsNDMap`
        Exposure on its own pixels if they are WCS pixels, else on those of ``geom``.
    """
    known = exposure.geom.axes["energy_true"]
    _check_energies(known, axis, f"{where}: the exposure")
    image = geom.to_image()
    if isinstance(exposure, WcsNDMap):
        inside = exposure.geom.to_image().contains(image.get_coord().skycoord)
        if not np.all(inside):
            raise DataError(
                f"{where}: the exposure, {exposure.geom!r}, covers {np.sum(inside)} of {inside.size} pixels "
                "of the counts"
            )
        data, image = np.asarray(exposure.data, dtype=float), exposure.geom.to_image()
    elif exposure.geom.is_hpx:
        data = exposure.interp_to_geom(image.to_cube([known])).data
    else:
        values = np.asarray(exposure.data, dtype=float).reshape(known.nbin, 1, 1)
        data = np.broadcast_to(values, (known.nbin, *image.spatial_shape))
    return WcsNDMap(image.to_cube([axis]), data=_along_energy(data, known, axis), unit=str(exposure.unit))


def _along_energy(data: Any, known: MapAxis, wanted: MapAxis) -> Any:
    x, new = (np.log(item.center.to_value("MeV")) for item in (known, wanted))
    low = np.clip(np.searchsorted(x, new, side="right") - 1, 0, len(x) - 2)
    t = ((new - x[low]) / (x[low + 1] - x[low]))[:, None, None]
    with np.errstate(divide="ignore"):
        logs = np.log(data)
    # Where there is no exposure at one of two energies, there is none between them.
    mixed = np.where(
        t == 0, logs[low], np.where(t == 1, logs[low + 1], logs[low] * (1 - t) + logs[low + 1] * t)
    )
    return np.exp(mixed)


def exposure_from_psf(psf: Any, geom: WcsGeom, axis: MapAxis) -> WcsNDMap:
    """Return the exposure that gtpsf writes, the same in all pixels.

    Over a few degrees that of Fermi-LAT surveys of years varies by about 1 %.

    Parameters
    ----------
    psf : `~villard.irf.PSFMap`
        Read with ``format="gtpsf"``.
    geom : `~villard.maps.WcsGeom`
        Pixels.
    axis : `~villard.maps.MapAxis`
        Bins of true energy.
    """
    if psf.exposure_map is None:
        raise DataError("exposure_from_psf: the PSF has no exposure; read it with format='gtpsf'")
    return exposure_in_bins(psf.exposure_map, axis, geom)

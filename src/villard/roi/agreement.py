"""Whether the cubes, responses and models of a configuration go together."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ConfigError

if TYPE_CHECKING:
    from villard.datasets import Datasets
    from villard.roi.config import ROIConfig

__all__ = ["check_components", "check_galactic", "check_isotropic", "event_types", "uncovered"]

log = logging.getLogger(__name__)

#: How far beyond its first and last energy a cube of diffuse emission is continued, a factor.
_CONTINUED = 4.0


def check_components(config: ROIConfig, settings: Sequence[Mapping[str, Any]], datasets: Datasets) -> None:
    """Raise `ConfigError` if components count the same events, or regions that differ.

    Parameters
    ----------
    config : `~villard.roi.config.ROIConfig`
        Configuration.
    settings : list of dict
        Settings of the components.
    datasets : `~villard.datasets.Datasets`
        Their datasets.
    """
    for (first, one), (second, two) in combinations(zip(settings, datasets, strict=True), 2):
        where = f"{config.where}: components {first['name']!r} and {second['name']!r}"
        if _overlap(one, two):
            if config.path(first["counts"]) == config.path(second["counts"]):
                raise ConfigError(f"{where} have the same counts, {first['counts']}, at the same energies")
            types = [event_types(config.path(item["counts"])) for item in (first, second)]
            if types[0] is not None and types[1] is not None and types[0] & types[1]:
                raise ConfigError(
                    f"{where} have the same events: the cubes are of the event types {types[0]} and "
                    f"{types[1]} (sums of powers of two), which have some in common, at the same energies"
                )
        _check_region(where, one, two)


def _overlap(one: Any, two: Any) -> bool:
    a, b = (dataset.geom.axes["energy"].edges.to_value("MeV") for dataset in (one, two))
    return bool(max(a[0], b[0]) < min(a[-1], b[-1]) * (1 - 1e-6))


def _check_region(where: str, one: Any, two: Any) -> None:
    geoms = [dataset.geom.to_image() for dataset in (one, two)]
    pixel = max(float(np.max(geom.pixel_scales.to_value("deg"))) for geom in geoms)
    distance = float(geoms[0].center_skydir.separation(geoms[1].center_skydir).deg)
    widths = [geom.width.to_value("deg").reshape(2, -1).max(axis=1) for geom in geoms]
    if distance > pixel * 1.01 or np.any(np.abs(widths[0] - widths[1]) > 2.02 * pixel):
        texts = [
            f"{width[0]:.4g} x {width[1]:.4g} deg around {geom.center_skydir.to_string('decimal')} "
            f"({geom.frame})"
            for geom, width in zip(geoms, widths, strict=True)
        ]
        raise ConfigError(
            f"{where} are of different regions: {texts[0]}, and {texts[1]}. Set selection and "
            "binning.roiwidth to a region that all of them hold"
        )


def event_types(path: Path) -> int | None:
    """Return the bits of the event types of a cube, from its keywords DSTYP; `None` if they don't tell."""
    from villard.maps.fits import open_fits

    with open_fits(path) as hdulist:
        for hdu in hdulist[:2]:
            for key in hdu.header:
                if not str(key).startswith("DSTYP"):
                    continue
                found = re.match(r"BIT_MASK\(EVENT_TYPE,(\d+)", str(hdu.header[key]).replace(" ", ""))
                if found:
                    return int(found.group(1))
    return None


def uncovered(model: Any, dataset: Any) -> NDArray[np.bool_]:
    """Return the pixels of a dataset that the map of a model doesn't cover, shape (n_y, n_x)."""
    image = dataset.geom.to_image()
    geom = model.spatial_model.map.geom.to_image()
    return ~np.asarray(geom.contains(image.get_coord().skycoord), dtype=bool).reshape(image.spatial_shape)


def check_galactic(
    config: ROIConfig, model: Any, datasets: Iterable[Any], sources: Iterable[Any] = ()
) -> None:
    """Check that a cube of diffuse emission covers the region and its energies.

    With ``model.cut_galdiff`` pixels that it doesn't cover are left out of the fit, which is logged.

    Raises
    ------
    ConfigError
        If it doesn't; the message tells which pixels and sources are concerned.
    """
    name = config.where
    for dataset in datasets:
        _check_cube_energies(name, model, dataset)
        missing = uncovered(model, dataset)
        if not missing.any():
            continue
        text = (
            f"{name}: {model.name} covers {np.sum(~missing)} of {missing.size} pixels of {dataset.name!r}: "
            f"{_where_missing(missing)}{_sources_outside(model, dataset, sources)}"
        )
        if not config.model.cut_galdiff:
            raise ConfigError(
                f"{text}. Set binning.roiwidth to a region that it covers, or model.cut_galdiff: true to "
                "leave those pixels out of the fit"
            )
        log.warning("%s; those pixels are left out of the fit", text)
        mask = np.broadcast_to(~missing, dataset.data_shape)
        old = True if dataset.mask_fit is None else dataset.mask_fit.data
        dataset.mask_fit = dataset.counts.copy(data=mask & old, unit="")


def _sources_outside(model: Any, dataset: Any, sources: Iterable[Any]) -> str:
    """Return the names of sources in the region, but outside of a cube of diffuse emission."""
    cube, image = model.spatial_model.map.geom.to_image(), dataset.geom.to_image()
    placed = [(source.name, source.position) for source in sources if source.position is not None]
    names = [name for name, place in placed if image.contains(place) and not cube.contains(place)]
    if not names:
        return "; no source is outside"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; outside are the sources {', '.join(names[:5])}{more}"


def _where_missing(missing: NDArray[np.bool_]) -> str:
    rows, columns = np.any(~missing, axis=1), np.any(~missing, axis=0)
    if not rows.any():
        return "none of them"
    y, x = np.flatnonzero(rows), np.flatnonzero(columns)
    return f"those of columns {x[0]} to {x[-1]} and rows {y[0]} to {y[-1]}, counted from 0"


def _check_cube_energies(where: str, model: Any, dataset: Any) -> None:
    """Raise `ConfigError` if a cube would have to be continued far beyond its energies."""
    wanted = dataset.exposure.geom.axes["energy_true"].edges.to_value("MeV")
    known = model.spatial_model.map.geom.axes[0].center.to_value("MeV")
    if known[0] <= wanted[0] * (1 + 1e-3) and known[-1] >= wanted[-1] * (1 - 1e-3):
        return
    text = (
        f"{where}: {model.name} is given from {known[0]:.5g} to {known[-1]:.5g} MeV, "
        f"the true energies of {dataset.name!r} are {wanted[0]:.5g} to {wanted[-1]:.5g} MeV"
    )
    if known[0] > wanted[0] * _CONTINUED or known[-1] < wanted[-1] / _CONTINUED:
        raise ConfigError(f"{text}. Set selection.emin and emax")
    log.warning("%s; beyond, it is continued as a power law in each pixel", text)


def check_isotropic(config: ROIConfig, path: Path, model: Any, datasets: Iterable[Any]) -> None:
    """Raise `ConfigError` if a file of isotropic emission doesn't span the energies of the datasets."""
    parts = (model.spectral_model.model1, model.spectral_model.model2)
    table = next(part for part in parts if hasattr(part, "energy"))
    low, high = table.energy[[0, -1]].to_value("MeV")
    for dataset in datasets:
        first, last = dataset.geom.axes["energy"].edges[[0, -1]].to_value("MeV")
        if low > first * (1 + 1e-6) or high < last * (1 - 1e-6):
            raise ConfigError(
                f"{config.where}: {path} spans energies from {low:.5g} to {high:.5g} MeV, the counts of "
                f"{dataset.name!r} are from {first:.5g} to {last:.5g} MeV. Set selection.emin and emax"
            )

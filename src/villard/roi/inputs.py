"""Files of the Fermi tools made into datasets and models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from villard.datasets import Datasets, MapDataset
from villard.maps import Map, MapAxis, WcsGeom, WcsNDMap
from villard.utils.paths import make_path

__all__ = ["build", "exposure_in_bins"]


def build(config: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `villard.roi.ROI` for a configuration."""
    import yaml
    from astropy.coordinates import SkyCoord

    if not isinstance(config, Mapping):
        config = yaml.safe_load(Path(make_path(config)).read_text())
    selection = config["selection"]
    skydir = SkyCoord(selection["glon"], selection["glat"], unit="deg", frame="galactic")
    width = config["binning"]["roiwidth"]
    datasets = Datasets([_dataset(c, skydir, width) for c in config["components"]])
    models, catalog = [], {}
    for name in config["model"].get("catalogs", []):
        for model, entry in _minimal_3fhl(name, skydir, config["model"]["src_roiwidth"]):
            models.append(model)
            catalog[model.name] = entry
    models.append(_galactic(config["model"]["galdiff"]))
    models += [_isotropic(c["isodiff"], c["name"]) for c in config["components"]]
    for model in models:
        for parameter in model.parameters:
            parameter.frozen = True
    return {"datasets": datasets, "models": models, "config": config, "skydir": skydir, "catalog": catalog}


def _dataset(component: Mapping[str, Any], skydir: Any, width: Any) -> MapDataset:
    from villard.irf import PSFMap

    counts = Map.read(component["counts"]).cutout(skydir, width=u.Quantity(width, "deg"))
    axis = counts.geom.axes["energy"]
    true = axis.copy(name="energy_true")
    exposure = exposure_in_bins(Map.read(component["exposure"]), true)
    psf = PSFMap.read(component["psf"], format="gtpsf")
    return MapDataset(counts=counts, exposure=exposure, psf=psf, name=component["name"], psf_method="exact")


def exposure_in_bins(exposure: Map, axis: MapAxis) -> WcsNDMap:
    """Interpolate an exposure that is given at energies to the centres of bins, as power laws."""
    known = np.log(exposure.geom.axes["energy_true"].center.to_value("TeV"))
    wanted = np.log(axis.center.to_value("TeV"))
    low = np.clip(np.searchsorted(known, wanted, side="right") - 1, 0, len(known) - 2)
    t = ((wanted - known[low]) / (known[low + 1] - known[low]))[:, None, None]
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(exposure.data, dtype=float))
    data = np.exp(logs[low] * (1 - t) + logs[low + 1] * t)
    image: WcsGeom = exposure.geom.to_image()
    return WcsNDMap(image.to_cube([axis]), data=data, unit=str(exposure.unit))


def _galactic(path: str) -> Any:
    from villard.modeling.models import PowerLawNormSpectralModel, SkyModel, TemplateSpatialModel

    spatial = TemplateSpatialModel(Map.read(path), normalize=False, filename=path)
    return SkyModel(PowerLawNormSpectralModel(), spatial, name="galdiff")


def _isotropic(path: str, dataset: str) -> Any:
    from villard.modeling.models import create_fermi_isotropic_diffuse_model

    model = create_fermi_isotropic_diffuse_model(path, datasets_names=[dataset])
    return model.copy(name="isodiff", datasets_names=[dataset])


def _minimal_3fhl(path: str, skydir: Any, width: Any) -> list[tuple[Any, dict[str, Any]]]:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    from villard.modeling.models import (
        DiskSpatialModel,
        LogParabolaSpectralModel,
        PointSpatialModel,
        PowerLawSpectralModel,
        SkyModel,
    )

    file = make_path(path)
    table = Table.read(file, hdu=1)
    extended = {str(row["Source_Name"]).strip(): row for row in Table.read(file, hdu="ExtendedSources")}
    result = []
    for row in table:
        position = SkyCoord(row["RAJ2000"], row["DEJ2000"], unit="deg").galactic
        dx, dy = position.l.wrap_at("180d").deg - skydir.l.wrap_at("180d").deg, position.b.deg - skydir.b.deg
        if abs(dx) > width[0] / 2 or abs(dy) > width[1] / 2:
            continue
        values = {
            "amplitude": u.Quantity(row["Flux_Density"], "cm-2 s-1 GeV-1"),
            "reference": u.Quantity(row["Pivot_Energy"], "GeV"),
        }
        if str(row["SpectrumType"]).strip() == "LogParabola":
            spectrum: Any = LogParabolaSpectralModel(alpha=row["Spectral_Index"], beta=row["beta"], **values)
        else:
            spectrum = PowerLawSpectralModel(index=row["Spectral_Index"], **values)
        name = str(row["Extended_Source_Name"]).strip()
        place = {"lon_0": row["RAJ2000"] * u.deg, "lat_0": row["DEJ2000"] * u.deg, "frame": "icrs"}
        spatial: Any = PointSpatialModel(**place)
        if name in extended:
            spatial = DiskSpatialModel(r_0=extended[name]["Model_SemiMajor"] * u.deg, **place)
        model = SkyModel(spectrum, spatial, name=str(row["Source_Name"]).strip())
        result.append((model, {key: row[key] for key in table.colnames}))
    return result

"""Models of the sources and of the diffuse emission that a configuration names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import ConfigError, UnitsError, VillardError
from villard.maps import Map
from villard.modeling.models import Models
from villard.roi.agreement import check_galactic, check_isotropic
from villard.roi.config import ROIConfig, check_path
from villard.roi.limits import set_limits
from villard.roi.source import normalised
from villard.roi.xml_files import link_norm
from villard.utils.names import suggestion

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.datasets import Datasets

__all__ = ["diffuse_cube", "isotropic", "make_models", "target_position"]

log = logging.getLogger(__name__)

#: A cube of diffuse emission with this many times the pixels that are needed is cut.
_MUCH_LARGER = 4
#: Fraction of the light of a point source at the lowest energy that makes the margin around the cube.
_CONTAINMENT = 0.95
#: Brightness of the border of a cube, relative to its brightest pixel, below which it ends there.
_DARK = 0.01


def make_models(
    config: ROIConfig, settings: list[dict[str, Any]], datasets: Datasets, skydir: SkyCoord
) -> tuple[list[Any], dict[str, dict[str, Any]]]:
    """Make all models; every parameter is frozen, except where a file of models or a dictionary says else.

    Returns
    -------
    models : list of models
        Sources first.
    catalog : dict
        Rows of the catalogues by the names of sources.
    """
    catalogued = _catalogued(config, datasets, skydir)
    catalog = {model.name: row for model, row in catalogued}
    models = [model for model, _ in catalogued]
    models += [
        *_galactic(config, datasets),
        *_diffuse(config, datasets),
        *_isotropics(config, settings, datasets),
    ]
    models += _predicted(config, settings, datasets)
    for model in models:
        for parameter in model.parameters:
            parameter.frozen = True
        set_limits(model)
    _merge(models, _from_dicts(config), "sources")
    for name in config.model.diffuse_xml:
        _merge(models, _read_models(config, name), name)
    if config.model.models is not None:
        _merge(models, _read_models(config, config.model.models), config.model.models)
    if not models:
        raise ConfigError(f"{config.where}: the section model names no source and no diffuse emission")
    _check_cubes(config, datasets, skydir, models)
    _disable_edisp(config, models)
    return models, catalog


def _merge(models: list[Any], more: Any, where: str) -> None:
    """Append models; one of a name that is there takes the place of that."""
    names = {normalised(model.name): i for i, model in enumerate(models)}
    for model in more:
        position = names.get(normalised(model.name))
        if position is None:
            models.append(model)
        else:
            log.info("%s: %r takes the place of the source of this name", where, model.name)
            models[position] = model


# Catalogues


def _catalogued(config: ROIConfig, datasets: Datasets, skydir: SkyCoord) -> list[tuple[Any, dict[str, Any]]]:
    found: list[tuple[Any, dict[str, Any]]] = []
    for entry in config.model.catalogs:
        name = _file_of(entry, config, "catalogs")
        if name.lower().endswith((".xml", ".yaml", ".yml")):
            own = _read_models(config, name)
            near = _are_near(config, datasets, skydir, own)
            found += [(model, {}) for model, is_near in zip(own, near, strict=True) if is_near]
            continue
        found = _joined(found, _of_catalog(config, name, datasets, skydir), config, name)
    return found


def _of_catalog(
    config: ROIConfig, name: str, datasets: Datasets, skydir: SkyCoord
) -> list[tuple[Any, dict[str, Any]]]:
    catalog = _open_catalog(config, name)
    inside = _inside(config, datasets, skydir, catalog.positions)
    part = catalog[np.flatnonzero(inside)]
    options = {}
    if hasattr(part, "missing_templates"):
        options["missing_templates"] = config.model.missing_templates
    models = {model.name: model for model in part.to_models(**options)}
    rows = {source.name: dict(source.data) for source in part}
    return [(model, rows.get(name, {})) for name, model in models.items()]


def _open_catalog(config: ROIConfig, name: str) -> Any:
    from villard.catalog import read_catalog

    path = config.path(name)
    is_file = path.is_file() or path.with_name(f"{path.name}.gz").is_file()
    extdir = config.model.extdir
    options = {} if extdir is None else {"extended_dir": config.path(extdir)}
    return read_catalog(path if is_file else name, **options)


def _joined(
    found: list[tuple[Any, dict[str, Any]]],
    more: list[tuple[Any, dict[str, Any]]],
    config: ROIConfig,
    where: str,
) -> list[tuple[Any, dict[str, Any]]]:
    """Add the sources of a catalogue; those that are there under this or an associated name are left out."""
    known = {normalised(model.name): model.name for model, _ in found}
    columns = config.model.assoc_xmatch_columns
    for _, row in found:
        known |= {normalised(value): value for value in _names_in(row, columns)}
    result = list(found)
    left_out = []
    for model, row in more:
        names = [model.name, *_names_in(row, columns)]
        match = next((known[normalised(item)] for item in names if normalised(item) in known), None)
        if match is not None and config.model.merge_sources:
            left_out.append(f"{model.name} ({match})")
            continue
        result.append((model, row))
    if left_out:
        log.warning(
            "%s: %d sources are left out, an earlier catalogue has them (merge_sources: false keeps all): %s",
            where,
            len(left_out),
            ", ".join(left_out),
        )
    return result


def _names_in(row: Mapping[str, Any], columns: list[str]) -> list[str]:
    values = (str(row.get(column, "")).strip() for column in columns)
    return [value for value in values if value not in ("", "-", "--", "None")]


def _inside(config: ROIConfig, datasets: Datasets, skydir: SkyCoord, positions: SkyCoord) -> Any:
    """Return which directions are to be in the model."""
    model, geom = config.model, datasets[0].geom
    separation = positions.separation(skydir).deg
    center = skydir.transform_to(geom.frame)
    lon, lat = center.spherical_offsets_to(positions.transform_to(center.frame))
    lon, lat = np.abs(lon.wrap_at("180d").deg), np.abs(lat.deg)
    inside = np.ones(len(positions), dtype=bool)
    if model.src_radius is not None:
        inside &= separation < model.src_radius
    if model.src_roiwidth is not None:
        inside &= (lon < model.src_roiwidth[0] / 2) & (lat < model.src_roiwidth[1] / 2)
    half = np.max([d.geom.width.to_value("deg").reshape(2, -1).max(axis=1) / 2 for d in datasets], axis=0)
    if model.src_radius_roi is not None:
        inside &= (lon < half[0] + model.src_radius_roi) & (lat < half[1] + model.src_radius_roi)
    if model.src_radius is None and model.src_roiwidth is None and model.src_radius_roi is None:
        margin = max(_psf_radius(dataset) for dataset in datasets)
        inside &= (lon < half[0] + margin) & (lat < half[1] + margin) & (separation < 90)
    return inside


def _psf_radius(dataset: Any) -> float:
    if dataset.psf is None:
        return 0.0
    energy = dataset.exposure.geom.axes["energy_true"].center[:1]
    return float(dataset.psf.containment_radius(_CONTAINMENT, energy).to_value("deg")[0])


def _are_near(config: ROIConfig, datasets: Datasets, skydir: SkyCoord, models: Any) -> list[bool]:
    """Return which models are near; diffuse ones are."""
    from astropy.coordinates import SkyCoord

    from villard.roi.source import Source

    near = [Source(model, skydir).is_diffuse for model in models]
    places = [i for i, is_diffuse in enumerate(near) if not is_diffuse]
    if places:
        own = [models[i].position.icrs for i in places]
        positions = SkyCoord([p.ra.deg for p in own], [p.dec.deg for p in own], unit="deg", frame="icrs")
        for i, inside in zip(places, _inside(config, datasets, skydir, positions), strict=True):
            near[i] = bool(inside)
    return near


def target_position(config: ROIConfig, name: str) -> SkyCoord:
    """Return the position of a source of the configuration or of its catalogues."""
    from villard.catalog.core import CatalogNameError

    wanted = normalised(name)
    names: list[str] = []
    reasons: list[str] = []
    for model in _from_dicts(config):
        names.append(model.name)
        if normalised(model.name) == wanted:
            return model.position
    for entry in config.model.catalogs:
        file = _file_of(entry, config, "catalogs")
        if file.lower().endswith((".xml", ".yaml", ".yml")):
            models = _read_models(config, file)
            names += models.names
            found = [model for model in models if normalised(model.name) == wanted]
            if found and found[0].position is not None:
                return found[0].position
            continue
        try:
            return _open_catalog(config, file)[name].position
        except CatalogNameError as error:
            reasons.append(f"{file}: {error}")
    own = f"no source {name!r} in the section model. {suggestion(name, names)}".strip()
    raise ConfigError(f"{config.where}: selection.target: {'; '.join(reasons) or own}")


# Sources of the user


def _from_dicts(config: ROIConfig) -> list[Any]:
    from villard.modeling.models.gtlike import find_parameter, model_from_dict

    models = []
    for data in config.model.sources:
        try:
            model = model_from_dict(data)
        except VillardError as error:
            raise ConfigError(f"{config.where}: model.sources: {error}") from error
        for parameter in model.parameters:
            parameter.frozen = True
        # As in fermipy, a parameter is free only if the dictionary says so.
        for key, value in [*data.items(), *dict(data.get("spectral_pars") or {}).items()]:
            if isinstance(value, Mapping) and value.get("free"):
                find_parameter(model, key).frozen = False
        set_limits(model)
        models.append(model)
    return models


def _read_models(config: ROIConfig, name: str) -> Models:
    from villard.modeling.models.gtlike import read_gtlike_xml

    path = check_path(config, name, "model")
    return read_gtlike_xml(path) if path.suffix.lower() == ".xml" else Models.read(path)


# Diffuse emission


def _file_of(entry: Any, config: ROIConfig, key: str) -> str:
    if isinstance(entry, str):
        return entry
    unknown = sorted(set(entry) - {"name", "file"})
    if unknown:
        raise ConfigError(f"{config.where}: model.{key}: unknown key {unknown[0]!r}, expected name and file")
    if not isinstance(entry.get("file"), str):
        raise ConfigError(f"{config.where}: model.{key}: expected a file, found {entry}")
    return str(entry["file"])


def _name_of(entry: Any, default: str, position: int) -> str:
    if isinstance(entry, Mapping) and entry.get("name"):
        return str(entry["name"])
    return default if position == 0 else f"{default}_{position:02d}"


def _diffuse_path(config: ROIConfig, name: str, key: str) -> Path:
    """Return the path of a file of diffuse emission, also looked for in ``diffuse_dir``."""
    for folder in config.model.diffuse_dir:
        path = config.path(folder) / name
        if path.is_file():
            return path
    return check_path(config, name, f"model.{key}")


def _check_cubes(config: ROIConfig, datasets: Datasets, skydir: SkyCoord, models: list[Any]) -> None:
    """Check that all cubes of diffuse emission, also those of files of models, cover the region."""
    from villard.roi.source import Source

    diffuse = {id(model): Source(model, skydir).is_diffuse for model in models}
    sources = [model for model in models if not diffuse[id(model)]]
    for model in models:
        if diffuse[id(model)] and hasattr(getattr(model, "spatial_model", None), "map") and _goes_on(model):
            seen = [dataset for dataset in datasets if model.contributes_to(dataset.name)]
            check_galactic(config, model, seen, sources)


def _goes_on(model: Any) -> bool:
    """Tell whether emission goes on beyond its map; a cube of one source is dark at its border."""
    data = np.abs(np.asarray(model.spatial_model.map.data))
    border = max(float(part.max(initial=0.0)) for part in (data[..., [0, -1], :], data[..., [0, -1]]))
    return border > _DARK * float(data.max(initial=0.0))


def _galactic(config: ROIConfig, datasets: Datasets) -> list[Any]:
    models = []
    for key in ("galdiff", "limbdiff"):
        for i, entry in enumerate(getattr(config.model, key)):
            file = _file_of(entry, config, key)
            models.append(
                diffuse_cube(_diffuse_path(config, file, key), datasets, _name_of(entry, key, i), file)
            )
    return models


def diffuse_cube(path: Path, datasets: Datasets, name: str, filename: str | None = None) -> Any:
    """Return the model of a cube of diffuse emission, such as that of the Galaxy, times a power law.

    Parameters
    ----------
    path : path-like
        FITS file.
    datasets : `~villard.datasets.Datasets`
        Datasets, to whose surroundings large cubes are cut.
    name : str
        Name.
    filename : str, optional
        How the file is called where models are written; ``path`` by default.
    """
    from villard.modeling.models import PowerLawNormSpectralModel, SkyModel, TemplateSpatialModel

    cube = Map.read(path)
    names = cube.geom.axes.names
    if names not in (["energy_true"], ["energy"]):
        raise ConfigError(f"{path}: expected a cube along energy, found {cube.geom!r}")
    margin = 2 + max(_psf_radius(dataset) for dataset in datasets)
    width = np.max([d.geom.width.to_value("deg").reshape(2, -1).max(axis=1) for d in datasets], axis=0)
    width = width + 2 * margin
    whole = cube.geom.width.to_value("deg").reshape(2, -1).max(axis=1)
    file: str | None = str(path) if filename is None else filename
    if np.prod(whole) > _MUCH_LARGER * np.prod(width):
        cube = cube.cutout(datasets[0].geom.center_skydir, width=u.Quantity(width, "deg"))
        file = None
    energies = datasets[0].geom.axes["energy"].edges[[0, -1]]
    spectrum = PowerLawNormSpectralModel(reference=np.sqrt(energies[0] * energies[1]).to("GeV"))
    spatial = TemplateSpatialModel(cube, normalize=False, interp_kwargs={"fill_value": None}, filename=file)
    try:
        return SkyModel(spectrum, spatial, name=name)
    except UnitsError as error:
        raise ConfigError(f"{path}: expected a cube of diffuse emission. {error}") from error


def _diffuse(config: ROIConfig, datasets: Datasets) -> list[Any]:
    models = []
    for i, entry in enumerate(config.model.diffuse):
        file = _file_of(entry, config, "diffuse")
        path = _diffuse_path(config, file, "diffuse")
        name = _name_of(entry, "diffuse", i)
        if path.suffix.lower() == ".txt":
            models.append(isotropic(path, name, datasets.names))
        else:
            models.append(diffuse_cube(path, datasets, name, file))
    return models


def isotropic(path: Path, name: str, datasets_names: list[str] | None = None) -> Any:
    """Return the model of isotropic emission of a text file, times a norm.

    Parameters
    ----------
    path : path-like
        Energies (MeV) and fluxes (cm-2 s-1 MeV-1 sr-1).
    name : str
        Name.
    datasets_names : list of str, optional
        Datasets that it contributes to; all by default.
    """
    from villard.modeling.models import create_fermi_isotropic_diffuse_model

    model = create_fermi_isotropic_diffuse_model(path)
    model = model.copy(name=name, datasets_names=datasets_names)
    # For gtlike's XML.
    model.spectral_model.model1.meta["filename"] = str(path)
    return model


def _isotropics(config: ROIConfig, settings: list[dict[str, Any]], datasets: Datasets) -> list[Any]:
    """Return isotropic emission: of each component its own, all with one norm, as fermipy has it."""
    entries = [item["isodiff"] for item in settings]
    if all(entry == entries[0] for entry in entries):
        return [
            _isotropic(config, entry, _name_of(entry, "isodiff", i), list(datasets))
            for i, entry in enumerate(entries[0])
        ]
    models: list[Any] = []
    first: dict[int, Any] = {}
    for dataset, own in zip(datasets, entries, strict=True):
        for i, entry in enumerate(own):
            name = _name_of(entry, "isodiff", i)
            model = _isotropic(config, entry, f"{name}_{dataset.name}", [dataset], [dataset.name])
            if i in first:
                link_norm(model, first[i])
            first.setdefault(i, model)
            models.append(model)
    return models


def _isotropic(
    config: ROIConfig, entry: Any, name: str, datasets: list[Any], names: list[str] | None = None
) -> Any:
    path = _diffuse_path(config, _file_of(entry, config, "isodiff"), "isodiff")
    model = isotropic(path, name, names)
    check_isotropic(config, path, model, datasets)
    return model


def _predicted(config: ROIConfig, settings: list[dict[str, Any]], datasets: Datasets) -> list[Any]:
    """Return templates of predicted counts, such as gtmodel makes."""
    from villard.modeling.models import TemplateNPredModel

    models = []
    for item, dataset in zip(settings, datasets, strict=True):
        for i, entry in enumerate(item["npred"]):
            path = check_path(config, _file_of(entry, config, "npred"), "npred")
            cube = Map.read(path)
            if cube.geom.axes.names != ["energy"]:
                raise ConfigError(f"{path}: expected predicted counts along energy, found {cube.geom!r}")
            name = _name_of(entry, "npred", i)
            name = name if len(datasets) == 1 else f"{name}_{dataset.name}"
            models.append(TemplateNPredModel(cube, name=name, filename=path, datasets_names=[dataset.name]))
    return models


def _disable_edisp(config: ROIConfig, models: list[Any]) -> None:
    names = {normalised(model.name): model for model in models}
    for name in config.gtlike.edisp_disable:
        found = [model for key, model in names.items() if key == normalised(name)]
        if not found:
            # One isotropic model per component.
            found = [model for model in models if model.name.startswith(f"{name}_")]
        if not found:
            hint = suggestion(name, [model.name for model in models])
            raise ConfigError(f"{config.where}: gtlike.edisp_disable: no source {name!r}. {hint}")
        for model in found:
            if hasattr(model, "apply_irf"):
                model.apply_irf["edisp"] = False

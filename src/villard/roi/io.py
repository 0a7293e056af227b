"""Regions of interest written to files, and read from them."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np

from villard import __version__
from villard.exceptions import ConfigError, FileFormatError
from villard.roi.products import default_overwrite, files_of, region_paths, region_stem, without_suffix
from villard.roi.xml_files import read_xml, write_xml
from villard.utils.io import atomic_write, check_overwrite
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Files", "load_region", "write_region"]

log = logging.getLogger(__name__)

_FORMAT = 1


class Files:
    """Files, for `villard.roi.ROI`."""

    def write_roi(
        self,
        outfile: str | os.PathLike[str],
        save_model_map: bool = False,
        save_weight_map: bool = False,
        make_plots: bool = False,
        overwrite: bool | None = None,
        **kwargs: Any,
    ) -> list[Path]:
        """Write the region: results, models and data, from which `load_roi` makes it again.

        Of ``fit1`` there are ``fit1.fits`` (tables CATALOG, PARAMS, SOURCES, ROI, with fermipy's columns,
        and CONFIG), ``fit1.yaml`` and ``fit1_covariance.dat`` (models), ``fit1_00.xml``, … (for gtlike, one
        file per component) and one file ``fit1_<component>.fits`` per dataset.

        Parameters
        ----------
        outfile : str or path-like
            Name, with or without ``.fits``; relative to ``fileio.outdir`` of the configuration.
        save_model_map : bool
            Whether predicted counts are written, too; see `write_model_map`.
        save_weight_map : bool
            Kept for scripts of fermipy: weights are in the files of the datasets.
        make_plots : bool
            Whether plots are made; ``kwargs`` are for `make_plots`.
        overwrite : bool, optional
            Whether existing files are replaced; by default as ``fileio.overwrite`` of the configuration says
            (true), and not without a configuration.

        Returns
        -------
        list of `~pathlib.Path`
            Files.
        """
        if kwargs and not make_plots:
            raise ConfigError(f"write_roi: unknown argument {next(iter(kwargs))!r}")
        replace = default_overwrite(self) if overwrite is None else overwrite
        paths = write_region(self, outfile, replace)
        # Beside the region, also where that is in a folder.
        stem = str(without_suffix(make_path(outfile)))
        if save_model_map:
            paths.append(self.write_model_map(stem, overwrite=replace))  # type: ignore[attr-defined]
        if make_plots:
            paths += self.make_plots(stem, **{"overwrite": replace, **kwargs})  # type: ignore[attr-defined]
        return paths

    @classmethod
    def load_roi(
        cls,
        infile: str | os.PathLike[str],
        params: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        mask: Any = None,
        reload_sources: bool = False,
    ) -> Self:
        """Read a region that `write_roi` has written.

        Parameters
        ----------
        infile : str or path-like
            Its name.
        params : path or dict, optional
            Values of parameters to be set; see `load_parameters_from_yaml`.
        mask : `~villard.maps.WcsNDMap`, optional
            Boolean map of the bins that enter the fit.
        reload_sources : bool
            Kept for scripts of fermipy: source maps always are those of the models.

        Raises
        ------
        FileFormatError
            If it isn't there, or isn't such a file.
        """
        roi = cls(**load_region(infile))
        restore_state(roi, infile)
        if params is not None:
            roi.load_parameters_from_yaml(params)
        if mask is not None:
            region: Any = roi
            for dataset in region.datasets:
                dataset.mask_fit = mask
            region.update_npred()
        return roi

    create = load_roi

    def load_xml(self, xmlfile: str | os.PathLike[str]) -> None:
        """Replace the models by those of XML files of gtlike; templates of counts stay.

        Sources of several components, such as isotropic emission of each, and norms that they share, are
        known by the names that they have in the region.

        Parameters
        ----------
        xmlfile : str or path-like
            File; or the name of a region, ``fit1`` for ``fit1_00.xml`` and on, one per component.

        Raises
        ------
        FileFormatError
            If a file isn't there.
        ModelError
            If a source has other parameters in the file of another component.
        """
        models = read_xml(self, xmlfile)
        catalog = {source.name: source.catalog for source in self.sources}  # type: ignore[attr-defined]
        self._set_models(models, catalog)  # type: ignore[attr-defined]

    def load_parameters_from_yaml(self, yamlfile: str | os.PathLike[str] | Mapping[str, Any]) -> None:
        """Set parameters to values of a file.

        Parameters
        ----------
        yamlfile : path or dict
            For each source its parameters, by our names or gtlike's, each a value or a dictionary with
            ``value``, ``error``, ``scale``, ``min``, ``max``, ``free``.
        """
        import yaml

        if isinstance(yamlfile, Mapping):
            data: Any = yamlfile
        else:
            try:
                data = yaml.safe_load(make_path(yamlfile).read_text(encoding="utf-8"))
            except OSError as error:
                raise FileFormatError(f"{yamlfile}: can't be read ({error.strerror})") from error
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise FileFormatError(f"{yamlfile}: not a YAML file: {error}") from error
        if not isinstance(data, Mapping):
            raise FileFormatError(f"{yamlfile}: expected sources and their parameters")
        for name, parameters in data.items():
            if not isinstance(parameters, Mapping):
                raise FileFormatError(f"{name}: expected parameters and their values, found {parameters!r}")
            for par, setting in parameters.items():
                _set_from(self, str(name), str(par), setting)


_SETTINGS = ("value", "error", "scale", "min", "max", "free")


def _set_from(roi: Any, name: str, par: str, setting: Any) -> None:
    if not isinstance(setting, Mapping):
        roi.set_parameter(name, par, setting, update_source=False)
        roi.update_npred([name])
        return
    unknown = sorted(set(setting) - set(_SETTINGS))
    if unknown:
        raise FileFormatError(f"{name}, {par}: unknown key {unknown[0]!r}, expected some of {_SETTINGS}")
    options = {key: setting[key] for key in ("scale", "error") if key in setting}
    if "value" in setting:
        roi.set_parameter(name, par, setting["value"], true_value="scale" not in setting, **options)
    if "min" in setting and "max" in setting:
        roi.set_parameter_bounds(name, par, [setting["min"], setting["max"]])
    if "free" in setting:
        roi.free_parameter(name, par, bool(setting["free"]))


# Writing


def write_region(roi: Any, outfile: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
    """Write a region; see `Files.write_roi`."""
    from villard.roi.tables import catalog_table, params_table, roi_table, sources_table

    stem = region_stem(roi, outfile)
    paths, datasets, xml = files_of(stem, roi)
    # Before anything is written.
    for path in region_paths(roi, outfile):
        check_overwrite(path, overwrite)
    stem.parent.mkdir(parents=True, exist_ok=True)
    for dataset in roi.datasets:
        dataset.write(datasets[dataset.name], overwrite=overwrite)
    _write_models(roi, paths["models"], overwrite)
    covariance = paths["models"].with_name(f"{stem.name}_covariance.dat")
    if covariance.is_file():
        paths["covariance"] = covariance
    written = [*paths.values(), *datasets.values(), *write_xml(roi, xml, overwrite)]
    state = _state(roi, datasets)
    from astropy.io import fits

    hdus = [fits.PrimaryHDU()]
    hdus += [_table_hdu(table(roi)) for table in (catalog_table, roi_table, sources_table, params_table)]
    hdus.append(_config_hdu(state))
    with atomic_write(paths["tables"], overwrite) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True)
    return written


def _table_hdu(table: Table) -> Any:
    from astropy.io import fits

    name = table.meta.pop("EXTNAME")
    hdu = fits.table_to_hdu(table)
    hdu.name = name
    return hdu


def _write_models(roi: Any, path: Path, overwrite: bool) -> None:
    """Write YAML; maps that are in no file go beside it, and stay without a name in the models."""
    import yaml

    from villard.modeling.models.template_file import _holders

    nameless = [(m, item) for m in roi.models for item in _holders(m) if item.filename is None]
    try:
        for model, item in nameless:
            safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in model.name)
            item.filename = str(path.parent / f"{path.stem}_{safe}.fits")
            item.write(overwrite=overwrite)
        roi.models.write(path, overwrite=overwrite)
        # Files beside the YAML go by their bare names: so the folder may be moved.
        own = {str(item.filename): Path(str(item.filename)).name for _, item in nameless}
        if own:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            with atomic_write(path, overwrite=True) as temporary:
                text = yaml.safe_dump(_renamed(data, own), sort_keys=False, width=120)
                temporary.write_text(text, encoding="utf-8")
    finally:
        for _, item in nameless:
            item.filename = None


def _renamed(data: Any, names: Mapping[str, str]) -> Any:
    if isinstance(data, dict):
        return {key: _renamed(value, names) for key, value in data.items()}
    if isinstance(data, list):
        return [_renamed(item, names) for item in data]
    return names.get(data, data) if isinstance(data, str) else data


def _state(roi: Any, datasets: Mapping[str, Path]) -> dict[str, Any]:
    config = roi.config
    if hasattr(config, "model_dump"):
        config = config.model_dump(mode="json", exclude_unset=True)
    return {
        "format": _FORMAT,
        "version": __version__,
        "config": config,
        "datasets": [path.name for path in datasets.values()],
        "skydir": [float(roi.skydir.icrs.ra.deg), float(roi.skydir.icrs.dec.deg)],
        "locked": sorted(roi.locked),
        "zeroed": {name: list(values) for name, values in roi._zeroed.items()},
        "scales": [[*key, value] for key, value in roi._scales.items()],
        "catalog": {source.name: _plain(source.catalog) for source in roi.sources},
        "loglike": roi.loglike,
    }


def _plain(value: Any) -> Any:
    """Return something that JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, u.Quantity):
        return {"value": _plain(value.value), "unit": value.unit.to_string()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in np.asarray(value).tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _unplain(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"value", "unit"}:
        return u.Quantity(value["value"], value["unit"])
    return value


def _config_hdu(state: Mapping[str, Any]) -> Any:
    from astropy.io import fits

    text = json.dumps(state)
    column = fits.Column(name="CONFIG", format=f"{len(text)}A", array=np.array([text]))
    return fits.BinTableHDU.from_columns([column], name="CONFIG")


# Reading


def _find(infile: str | os.PathLike[str]) -> Path:
    path = without_suffix(make_path(infile))
    file = path.with_name(f"{path.name}.fits")
    if not file.is_file():
        raise FileFormatError(
            f"{file}: no such file; expected the name of a region that write_roi has written"
        )
    return file


def _read_state(path: Path) -> dict[str, Any]:
    from villard.maps.fits import open_fits

    with open_fits(path) as hdulist:
        names = [hdu.name for hdu in hdulist]
        if "CONFIG" not in names or "CATALOG" not in names:
            raise FileFormatError(f"{path}: expected tables CATALOG and CONFIG of write_roi, found {names}")
        try:
            state: dict[str, Any] = json.loads(str(hdulist["CONFIG"].data["CONFIG"][0]))
            known = state["format"]
        except (KeyError, ValueError, TypeError) as error:
            raise FileFormatError(
                f"{path}, extension CONFIG: it isn't one of villard ({type(error).__name__}); of a region "
                "written by fermipy load the XML file with load_xml"
            ) from error
    if known != _FORMAT:
        raise FileFormatError(f"{path}: expected the format {_FORMAT}, found {known}")
    return state


def load_region(infile: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the arguments of `villard.roi.ROI` for a written region."""
    from astropy.coordinates import SkyCoord

    from villard.datasets import Datasets, MapDataset
    from villard.modeling.models import Models
    from villard.roi.config import ROIConfig

    path = _find(infile)
    state = _read_state(path)
    config = state["config"]
    if config is not None:
        config = ROIConfig.model_validate(config)
        config._folder = path.parent
    catalog = {
        name: {key: _unplain(value) for key, value in row.items()} for name, row in state["catalog"].items()
    }
    return {
        "datasets": Datasets([MapDataset.read(path.parent / name) for name in state["datasets"]]),
        "models": Models.read(path.with_suffix(".yaml")),
        "config": config,
        "skydir": SkyCoord(*state["skydir"], unit="deg", frame="icrs"),
        "catalog": catalog,
    }


def restore_state(roi: Any, infile: str | os.PathLike[str]) -> None:
    """Give a region what is known of its sources and parameters from its file."""
    from astropy.table import Table

    path = _find(infile)
    state = _read_state(path)
    roi.locked = {(name, par) for name, par in state["locked"]}
    roi._zeroed = {name: tuple(values) for name, values in state["zeroed"].items()}
    roi._scales = {(name, par): scale for name, par, scale in state["scales"]}
    # Not masked: NaN are what isn't known, or no limit.
    tables = [Table.read(path, hdu=name, mask_invalid=False) for name in ("PARAMS", "CATALOG")]
    for row in tables[0]:
        # The YAML file has no way to say that a parameter has no limits where its class has some.
        parameter = roi[str(row["source_name"]).strip()].model.parameters[str(row["name"]).strip()]
        parameter.min = parameter.max = math.nan
        parameter.min, parameter.max = (
            math.nan if np.ma.is_masked(row[k]) else row[k] for k in ("min", "max")
        )
    for row in tables[1]:
        source = roi[str(row["name"]).strip()]
        for key in tables[1].colnames:
            if key not in _NO_RESULTS:
                source.results[key] = _value(row[key])
    if not math.isclose(roi.loglike, state["loglike"], rel_tol=1e-10):
        log.warning(
            "%s: ln L was %.10g when it was written, now it is %.10g; has a file of a model changed?",
            path,
            state["loglike"],
            roi.loglike,
        )


_NO_RESULTS = {
    *("Source_Name", "name", "class", "SpectrumType", "SpatialType", "SpatialModel", "SourceType"),
    *(
        "RAJ2000",
        "DEJ2000",
        "GLON",
        "GLAT",
        "offset",
        "offset_ra",
        "offset_dec",
        "offset_glon",
        "offset_glat",
    ),
    *("Flux_Density", "Spectral_Index", "Pivot_Energy", "beta", "Exp_Index", "Cutoff", "Expfactor"),
    *("param_names", "param_values", "param_errors"),
    *(f"Conf_{level}_{key}" for level in ("68", "95") for key in ("PosAng", "SemiMajor", "SemiMinor")),
}


def _value(value: Any) -> Any:
    """Return a number, a text, or a list of numbers without what fills it up."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        if value.dtype.kind != "f":
            return value
        known = np.flatnonzero(np.isfinite(value))
        return np.array(value[: known[-1] + 1] if len(known) else value[:0], dtype=float)
    return value.item() if isinstance(value, np.generic) else value

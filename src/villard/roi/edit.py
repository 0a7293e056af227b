"""Sources added, removed and changed; what they predict, as maps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError, ParameterError
from villard.modeling.models.gtlike import model_from_dict, norm_parameter, shape_parameters
from villard.roi.fluxes import flux_results
from villard.roi.limits import set_limits
from villard.roi.products import are_alike, default_overwrite, product_path, total_map
from villard.roi.selection import select_sources
from villard.roi.source import Source, normalised

if TYPE_CHECKING:
    from villard.maps import WcsNDMap

__all__ = ["Editing"]


class Editing:
    """Changes of sources, for `villard.roi.ROI`."""

    # Adding and removing

    def add_source(self, name: str, src_dict: Any, free: bool | None = None, **kwargs: Any) -> Source:
        """Add a source.

        Parameters
        ----------
        name : str
            Name.
        src_dict : dict, `~villard.modeling.models.SkyModel` or `Source`
            Source: a model, or a dictionary as fermipy takes it, see
            `~villard.modeling.models.gtlike.model_from_dict`. Of a dictionary norm and shape have the limits
            that sources of catalogues have, where it doesn't give some.
        free : bool, optional
            Whether its normalisation is freed, or everything fixed; by default as the model has it, and of
            a dictionary everything is fixed that it doesn't say to be free.

        Returns
        -------
        `Source`
            New source.

        Raises
        ------
        ModelError
            If there is a source of this name.
        """
        for key in kwargs:
            if key not in ("init_source", "save_source_maps", "use_pylike", "use_single_psf", "loglevel"):
                raise ParameterError(f"add_source: unknown argument {key!r}")
        if not isinstance(name, str) or not name.strip():
            raise ModelError(f"add_source: expected a name, found {name!r}")
        if normalised(name) in (normalised(source.name) for source in self.sources):  # type: ignore[attr-defined]
            raise ModelError(f"add_source: there is a source {name!r}; delete it first")
        model, row = _as_model(self, name, src_dict)
        if free is not None:
            for parameter in model.parameters:
                parameter.frozen = True
            norm_parameter(model).frozen = not free
        self._set_models([*self.models, model], {name: row})  # type: ignore[attr-defined]
        return self[name]  # type: ignore[index]

    def add_sources_from_roi(
        self, names: Iterable[str], roi: Any, free: bool | None = None, **kwargs: Any
    ) -> list[Source]:
        """Add copies of sources of another region."""
        return [self.add_source(name, roi[name], free=free, **kwargs) for name in names]

    def delete_source(self, name: str, **kwargs: Any) -> Source:
        """Remove a source, and return it."""
        source: Source = self[name]  # type: ignore[index]
        self._delete([source])
        return source

    def delete_sources(self, **conditions: Any) -> list[Source]:
        """Remove all sources that fulfil conditions, see `Selection.get_sources`, and return them."""
        found = select_sources(self, **conditions)
        self._delete(found)
        return found

    def _delete(self, sources: list[Source]) -> None:
        names = {source.name for source in sources}
        left = [source.model for source in self.sources if source.name not in names]  # type: ignore[attr-defined]
        if not left:
            raise ModelError("delete_source: at least one source must be left")
        self._set_models(left, {})  # type: ignore[attr-defined]
        self.locked: set[tuple[str, str]] = {key for key in self.locked if key[0] not in names}
        for name in names:
            self._zeroed.pop(name, None)  # type: ignore[attr-defined]
        for key in [key for key in self._scales if key[0] in names]:  # type: ignore[attr-defined]
            del self._scales[key]  # type: ignore[attr-defined]

    # Changing

    def set_source_spectrum(
        self,
        name: str,
        spectrum_type: Any = "PowerLaw",
        spectrum_pars: Mapping[str, Any] | None = None,
        update_source: bool = True,
    ) -> None:
        """Give a source another spectrum.

        Parameters
        ----------
        name : str
            Source.
        spectrum_type : str or `~villard.modeling.models.SpectralModel`
            Type as in gtlike ("PowerLaw", "LogParabola", "PLSuperExpCutoff4", …), or a spectrum.
        spectrum_pars : dict, optional
            Parameters by gtlike's names. Without a normalisation that is chosen so that the flux at the
            energy of reference stays as it is, without an index the local one is kept.
        update_source : bool
            Whether the predicted counts are computed anew.
        """
        source: Source = self[name]  # type: ignore[index]
        if source.name in self._zeroed:  # type: ignore[attr-defined]
            raise ParameterError(f"set_source_spectrum: {source.name} is zeroed; first call unzero_source")
        is_named = isinstance(spectrum_type, str)
        if is_named:
            spectrum = _new_spectrum(self, source, spectrum_type, dict(spectrum_pars or {}))
        elif hasattr(spectrum_type, "parameters"):
            spectrum = spectrum_type
        else:
            raise ModelError(f"set_source_spectrum: expected a name or a spectrum, found {spectrum_type!r}")
        norm_free = not norm_parameter(source.model).frozen
        shape_free = any(not p.frozen for p in shape_parameters(source.model))
        model = source.model.copy(name=source.name, spectral_model=spectrum)
        if is_named:
            set_limits(model)
        for parameter in spectrum.parameters:
            parameter.frozen = True
        norm_parameter(model).frozen = not norm_free
        for parameter in shape_parameters(model):
            parameter.frozen = not shape_free
        self._replace(source, model, update_source)

    def set_source_dnde(self, name: str, dnde: u.Quantity, energies: u.Quantity) -> None:
        """Give a source a spectrum that is a table.

        Parameters
        ----------
        name : str
            Source.
        dnde : `~astropy.units.Quantity`
            Differential fluxes.
        energies : `~astropy.units.Quantity`
            Energies.
        """
        from villard.modeling.models import PowerLawNormSpectralModel, TemplateSpectralModel

        table = TemplateSpectralModel(u.Quantity(energies), u.Quantity(dnde))
        self.set_source_spectrum(name, table * PowerLawNormSpectralModel())

    def set_source_morphology(
        self,
        name: str,
        spatial_model: Any = None,
        spatial_pars: Mapping[str, Any] | None = None,
        update_source: bool = True,
        **kwargs: Any,
    ) -> None:
        """Give a source another morphology.

        Parameters
        ----------
        name : str
            Source.
        spatial_model : str or `~villard.modeling.models.SpatialModel`
            Type as in fermipy ("PointSource", "RadialGaussian", "RadialDisk", "SpatialMap"), or a morphology.
        spatial_pars : dict, optional
            ``SpatialWidth``, the radius of 68 % containment (deg); ``Spatial_Filename``; ``ra`` and ``dec``,
            or ``glon`` and ``glat``: without these the position is kept.
        update_source : bool
            Whether the predicted counts are computed anew.
        **kwargs
            The same as ``spatial_pars``.
        """
        source: Source = self[name]  # type: ignore[index]
        if spatial_model is None:
            raise ParameterError("set_source_morphology: expected a spatial_model, found none")
        if isinstance(spatial_model, str):
            pars = {**(spatial_pars or {}), **kwargs}
            pars.pop("use_pylike", None)
            pars.pop("use_cache", None)
            if source.skydir is not None and not {"ra", "dec", "glon", "glat", "skydir"} & set(pars):
                pars["skydir"] = source.skydir
            data = {"name": name, "SpatialModel": spatial_model, "SpectrumType": "PowerLaw", **pars}
            spatial_model = model_from_dict(data).spatial_model
        for parameter in spatial_model.parameters:
            parameter.frozen = True
        self._replace(source, source.model.copy(name=source.name, spatial_model=spatial_model), update_source)

    def _replace(self, source: Source, model: Any, update: bool = True) -> None:
        """Give a source another model, at its place in the order of distances."""
        before, results = source.model, source.results
        source.model = model
        source.forget()
        try:
            self._set_models([item.model for item in self.sources], {})  # type: ignore[attr-defined]
            if update:
                self.update_npred([source.name])  # type: ignore[attr-defined]
        except Exception:
            source.model, source.results = before, results
            self._set_models([item.model for item in self.sources], {})  # type: ignore[attr-defined]
            raise
        self._drop_names(source, before)
        if update:
            source.results |= flux_results(source, self.energy_bounds)  # type: ignore[attr-defined]

    def _drop_names(self, source: Source, before: Any) -> None:
        """Drop locks of parameters that there aren't any more, and scales of those that are others now."""
        own = source.model.parameters
        kept = {
            name
            for name, p in zip(before.parameters.names, before.parameters, strict=True)
            if name in own.names and own[name].unit == p.unit
        }
        self.locked = {k for k in self.locked if k[0] != source.name or k[1] in own.names}
        for key in [k for k in self._scales if k[0] == source.name and k[1] not in kept]:  # type: ignore[attr-defined]
            del self._scales[key]  # type: ignore[attr-defined]
        self.parameter_scale(source.name, self._norm_name(source.name))  # type: ignore[attr-defined]

    def set_edisp_flag(self, name: str, flag: bool = True) -> None:
        """Apply energy dispersion to a source, or not."""
        source: Source = self[name]  # type: ignore[index]
        source.model.apply_irf["edisp"] = bool(flag)
        self.update_npred([source.name])  # type: ignore[attr-defined]

    def set_weights_map(self, wmap: Any) -> None:
        """Set the weights of the bins in the likelihood.

        Parameters
        ----------
        wmap : path, `~villard.maps.WcsNDMap`, list of these, or None
            Weights; of several components one each. `None` for none.
        """
        from villard.maps import Map
        from villard.roi.inputs import weights_on_pixels

        datasets = self.datasets  # type: ignore[attr-defined]
        maps = list(wmap) if isinstance(wmap, list | tuple) else [wmap] * len(datasets)
        if len(maps) != len(datasets):
            raise ParameterError(f"set_weights_map: expected {len(datasets)} maps, found {len(maps)}")
        read = []
        for dataset, item in zip(datasets, maps, strict=True):
            if item is not None:
                item = Map.read(item) if isinstance(item, str | os.PathLike) else item
                if not isinstance(item, Map):
                    raise ParameterError(f"set_weights_map: expected a map or its file, found {item!r}")
                item = weights_on_pixels(item, dataset.geom, f"Dataset {dataset.name!r}")
            read.append(item)
        for dataset, item in zip(datasets, read, strict=True):
            dataset.weights = item
        self.update_npred()  # type: ignore[attr-defined]

    def set_energy_range(self, logemin: float | None = None, logemax: float | None = None) -> u.Quantity:
        """Fit only bins between two energies; their decadic logarithms in MeV. `None` is the end of the cube.

        Pixels that are left out at all energies stay so.

        Returns
        -------
        `~astropy.units.Quantity`
            Lowest and highest energy (MeV) that are fitted.
        """
        from villard.roi.options import energy_range

        chosen = energy_range(self, (logemin, logemax), "set_energy_range")
        assert chosen is not None
        bounds = []
        for dataset, bins in zip(self.datasets, chosen, strict=True):  # type: ignore[attr-defined]
            data = bins[:, None, None] & _pixels_in_use(dataset)
            dataset.mask_fit = dataset.counts.copy(data=data, unit="")
            if bins.any():
                edges = dataset.geom.axes["energy"].edges
                inside = np.flatnonzero(bins)
                bounds += [edges[inside[0]], edges[inside[-1] + 1]]
        self.update_npred()  # type: ignore[attr-defined]
        bounds = u.Quantity(bounds)
        return u.Quantity([bounds.min(), bounds.max()]).to("MeV")

    # Predictions

    def model_counts_map(
        self, name: str | Iterable[str] | None = None, exclude: str | Iterable[str] | None = None
    ) -> WcsNDMap:
        """Return the predicted counts of sources, summed over components of equal pixels and energies.

        Parameters
        ----------
        name : str or list of str, optional
            Sources; all, and the background of the datasets, by default.
        exclude : str or list of str, optional
            Sources that are left out.
        """
        maps = list(self.generate_model(name=name, exclude=exclude).values())
        return total_map(maps, "model_counts_map")

    def counts_map(self) -> WcsNDMap:
        """Return the counts, summed over components of equal pixels and energies."""
        return total_map([dataset.counts for dataset in self.datasets], "counts_map")  # type: ignore[attr-defined]

    def generate_model(
        self, model_name: Any = None, name: Any = None, exclude: Any = None
    ) -> dict[str, WcsNDMap]:
        """Return the predicted counts of each component.

        Parameters
        ----------
        model_name : path, optional
            Other models than those of the region: a file (YAML), or XML files of gtlike as for `load_xml`.
        name, exclude
            As for `model_counts_map`.

        Returns
        -------
        dict
            Predicted counts by the names of the datasets.
        """
        if model_name is not None:
            return _predictions_of(self, model_name)
        sources = self.sources if name is None else select_sources(self, names=name)  # type: ignore[attr-defined]
        excluded = select_sources(self, names=exclude) if exclude is not None else []
        sources = [source for source in sources if source not in excluded]
        return {
            dataset.name: _predict(dataset, [s.model for s in sources], name is None)
            for dataset in self.datasets  # type: ignore[attr-defined]
        }

    def model_counts_spectrum(self, name: str) -> list[Any]:
        """Return the predicted counts of a source in the bins of energy of each component."""
        return [
            cube.data.sum(axis=(1, 2))
            for cube in self.generate_model(name=self[name].name).values()  # type: ignore[index]
        ]

    def write_model_map(self, model_name: str, name: Any = None, overwrite: bool | None = None) -> Path:
        """Write predicted counts: ``mcube_<model_name>.fits``, and one per component if there are several.

        Parameters
        ----------
        model_name : str
            Part of the names of files, in ``fileio.outdir`` of the configuration.
        name : str or list of str, optional
            Sources; all by default.
        overwrite : bool, optional
            As for `write_roi`.

        Returns
        -------
        `~pathlib.Path`
            File of the sum; of the first component if pixels or energies differ.
        """
        replace = default_overwrite(self) if overwrite is None else overwrite
        maps = self.generate_model(name=name)
        folder = Path(model_name)
        name_of = str(folder.with_name(f"mcube_{folder.name}"))
        cubes = list(maps.values())
        named = {f"{name_of}_{i:02d}": cube for i, cube in enumerate(cubes)} if len(cubes) > 1 else {}
        if are_alike(cubes):
            named = {name_of: total_map(cubes, "write_model_map"), **named}
        paths = [product_path(self, stem, overwrite=replace) for stem in named]
        for path, cube in zip(paths, named.values(), strict=True):
            cube.write(path, overwrite=replace)
        return paths[0]


def _pixels_in_use(dataset: Any) -> Any:
    """Return the pixels that a fit may use, shape of the cube: bins left out by energy are in use."""
    if dataset.mask_fit is None:
        return np.ones(dataset.data_shape, dtype=bool)
    mask = np.asarray(dataset.mask_fit.data, dtype=bool)
    whole = np.logical_not(np.any(mask, axis=(1, 2), keepdims=True))
    return np.where(whole, mask.any(axis=0), mask)


def _as_model(roi: Any, name: str, source: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(source, Source):
        return source.model.copy(name=name), dict(source.catalog)
    if hasattr(source, "spectral_model"):
        return (source if source.name == name else source.copy(name=name)), {}
    if not isinstance(source, Mapping):
        raise ModelError(f"add_source: expected a dictionary or a model, found {type(source).__name__}")
    from villard.modeling.models.gtlike import find_parameter

    model = model_from_dict({**source, "name": name})
    for parameter in model.parameters:
        parameter.frozen = True
    for key, value in [*source.items(), *dict(source.get("spectral_pars") or {}).items()]:
        if isinstance(value, Mapping) and value.get("free"):
            find_parameter(model, key).frozen = False
    set_limits(model)
    return model, {}


_NORMS = ("Prefactor", "norm", "Integral", "Normalization", "Value")
_SCALES = ("Scale", "Eb")
_INDICES = {"Index": -1, "Index1": -1, "IndexS": -1, "alpha": 1}


def _new_spectrum(roi: Any, source: Source, kind: str, pars: dict[str, Any]) -> Any:
    """Return a spectrum that goes through the present one where its parameters aren't given."""
    from villard.modeling.models.gtlike import gtlike_parameters, set_gtlike_value

    old = source.spectral_model
    place = {"ra": 0.0, "dec": 0.0, "SpatialModel": "PointSource", "name": source.name, "SpectrumType": kind}
    try:
        spectrum = model_from_dict({**place, **pars}).spectral_model
    except ModelError as error:
        raise ModelError(f"set_source_spectrum: {error}") from error
    names = [p.name for p in gtlike_parameters(spectrum)]
    reference = "reference" in spectrum.parameters.names
    if reference and not set(_SCALES) & set(pars):
        spectrum.parameters["reference"].quantity = _reference(roi, old)
    if source.is_diffuse or not reference:
        return spectrum
    energy = spectrum.parameters["reference"].quantity
    given = {name for name in names if name in pars}
    for name in names:
        if name in _INDICES and name not in given:
            set_gtlike_value(spectrum, name, _INDICES[name] * float(old.spectral_index(energy)))
            break
    if not set(_NORMS) & given:
        norm = norm_parameter(spectrum)
        norm.value = norm.value * float((old(energy) / spectrum(energy)).to_value(""))
    return spectrum


def _reference(roi: Any, spectrum: Any) -> u.Quantity:
    if "reference" in spectrum.parameters.names:
        return spectrum.parameters["reference"].quantity
    low, high = roi.energy_bounds
    return np.sqrt(low * high)


def _predict(dataset: Any, models: list[Any], background: bool) -> Any:
    own = [
        m.name for m in models if m.contributes_to(dataset.name) and not getattr(m, "is_background", False)
    ]
    total = (
        dataset.npred_signal(own) if own else dataset.counts.copy(data=np.zeros(dataset.data_shape), unit="")
    )
    return total + dataset.npred_background() if background else total


def _predictions_of(roi: Any, path: Any) -> dict[str, Any]:
    from villard.modeling.models import Models
    from villard.roi.xml_files import read_xml

    is_yaml = Path(path).suffix.lower() in (".yaml", ".yml")
    models = Models.read(path) if is_yaml else Models(read_xml(roi, path))
    before = roi.datasets.models
    try:
        roi.datasets.models = models
        return {dataset.name: dataset.npred() for dataset in roi.datasets}
    finally:
        roi.datasets.models = before

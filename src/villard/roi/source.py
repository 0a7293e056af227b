"""One source of a region of interest: its model, its entry of a catalogue, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from villard.exceptions import ModelError
from villard.utils.names import suggestion

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["Source", "SourceKeyError", "file_of", "find_source", "normalised"]

#: Columns of catalogues by whose entries a source may be called, besides its name.
ASSOCIATION_COLUMNS = (
    "ASSOC1",
    "ASSOC2",
    "ASSOC_GAM",
    "ASSOC_GAM1",
    "ASSOC_GAM2",
    "ASSOC_GAM3",
    "ASSOC_FGL",
    "ASSOC_FHL",
    "ASSOC_TEV",
    "0FGL_Name",
    "1FGL_Name",
    "2FGL_Name",
    "3FGL_Name",
    "1FHL_Name",
    "2FHL_Name",
    "3FHL_Name",
    "Source_Name",
    "Extended_Source_Name",
    "common_name",
    "Gamma_Ray_Association",
)
#: Errors of positions, which `localize` finds (deg).
_POSITION = (
    *("ra_err", "dec_err", "glon_err", "glat_err", "pos_err", "pos_err_semimajor", "pos_err_semiminor"),
    *("pos_angle", "pos_r68", "pos_r95", "pos_r99"),
)
_ATTRIBUTES = ("name", "model", "skydir", "offset", "is_diffuse", "extended", "associations", "free")


class SourceKeyError(ModelError, KeyError):
    """Something is asked of a source that isn't known of it."""

    def __str__(self) -> str:
        # KeyError would print the message as a quoted string.
        return str(self.args[0])


class Source:
    """A source of a region of interest.

    ``source[key]`` gives, by its key, a result (``"ts"``, ``"npred"``, ``"flux"``, …), an attribute, what
    fermipy calls the model's (``"SpectrumType"``, ``"SpatialModel"``, ``"ra"``, ``"glon"``, …) or a column of
    the catalogue.

    Parameters
    ----------
    model : `~villard.modeling.models.SkyModel` or another model with a name
        Model.
    center : `~astropy.coordinates.SkyCoord`
        Direction from which `offset` counts.
    catalog : dict, optional
        Entry of the catalogue.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from villard.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
    >>> place = PointSpatialModel(lon_0="1 deg", lat_0="0 deg", frame="galactic")
    >>> model = SkyModel(PowerLawSpectralModel(), place, name="3FHL J1748.1-2903")
    >>> source = Source(model, SkyCoord(0, 0, unit="deg", frame="galactic"), {"ASSOC1": "Sgr B"})
    >>> round(source.offset, 9), source.associations
    (1.0, ['Sgr B'])
    >>> source["npred"]
    nan
    >>> source["npread"]
    Traceback (most recent call last):
        ...
    villard.roi.source.SourceKeyError: Source '3FHL J1748.1-2903' has no 'npread'. Did you mean 'npred'?
    """

    def __init__(self, model: Any, center: SkyCoord, catalog: Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.catalog: dict[str, Any] = dict(catalog or {})
        self.results: dict[str, Any] = _unknown_results()
        self._center = center

    @property
    def center(self) -> SkyCoord:
        """Direction from which `offset` counts."""
        return self._center

    def forget(self) -> None:
        """Set all results to what they were before any fit."""
        self.results = _unknown_results()

    @property
    def name(self) -> str:
        """Name, that of the model."""
        return str(self.model.name)

    @property
    def spatial_model(self) -> Any:
        """Morphology, or `None`."""
        return getattr(self.model, "spatial_model", None)

    @property
    def spectral_model(self) -> Any:
        """Spectrum."""
        return self.model.spectral_model

    @property
    def is_diffuse(self) -> bool:
        """Whether it fills the sky: isotropic, a cube of energies and directions, or predicted counts."""
        spatial = self.spatial_model
        if spatial is None or _is_counts(self.model):
            return True
        tags = spatial.tag
        return "const" in tags or ("template" in tags and bool(spatial.is_energy_dependent))

    @property
    def extended(self) -> bool:
        """Whether it is extended, but not diffuse."""
        return not self.is_diffuse and not bool(getattr(self.spatial_model, "is_point", False))

    @property
    def skydir(self) -> SkyCoord | None:
        """Position; `None` for diffuse emission."""
        return None if self.is_diffuse else self.model.position

    @property
    def offset(self) -> float:
        """Distance from the centre of the region (deg); 0 for diffuse emission."""
        position = self.skydir
        return 0.0 if position is None else float(position.separation(self._center).deg)

    @property
    def free(self) -> bool:
        """Whether any parameter is free."""
        return any(not p.frozen for p in self.model.parameters)

    @property
    def associations(self) -> list[str]:
        """Other names, from the columns of the catalogue that have such."""
        values = (str(self.catalog.get(key, "")).strip() for key in ASSOCIATION_COLUMNS)
        return list(dict.fromkeys(v for v in values if v not in ("", "-", "--", "None", self.name)))

    @property
    def names(self) -> list[str]:
        """All names by which it can be called, its own first."""
        return [self.name, *self.associations]

    def __getitem__(self, key: str) -> Any:
        if key in self.results:
            return self.results[key]
        if key in _ATTRIBUTES:
            return getattr(self, key)
        if key in _OF_THE_MODEL:
            return _OF_THE_MODEL[key](self)
        if key in self.catalog:
            return self.catalog[key]
        known = [*self.results, *_ATTRIBUTES, *_OF_THE_MODEL, *self.catalog]
        raise SourceKeyError(f"Source {self.name!r} has no {key!r}. {suggestion(key, known)}".rstrip())

    def __contains__(self, key: object) -> bool:
        return any(key in keys for keys in (self.results, _ATTRIBUTES, _OF_THE_MODEL, self.catalog))

    def get(self, key: str, default: Any = None) -> Any:
        """Return what ``source[key]`` gives, or ``default`` if there is no such thing."""
        try:
            return self[key]
        except SourceKeyError:
            return default

    def __repr__(self) -> str:
        kind = "diffuse" if self.is_diffuse else "extended" if self.extended else "point"
        return f"Source(name={self.name!r}, {kind})"


def _coordinate(frame: str, axis: str) -> Callable[[Source], float]:
    def value(source: Source) -> float:
        position = source.skydir
        return float("nan") if position is None else float(getattr(position.transform_to(frame), axis).deg)

    return value


def _spectrum_type(source: Source) -> str:
    from villard.modeling.models.gtlike import spectrum_type

    return spectrum_type(source.model)


def _spatial_type(source: Source) -> str:
    from villard.modeling.models.gtlike import spatial_type

    return spatial_type(source.model)


def _spatial_model(source: Source) -> str:
    kind = _spatial_type(source)
    return "PointSource" if kind == "SkyDirFunction" else kind


def _from_centre(frame: str, axis: int) -> Callable[[Source], float]:
    def value(source: Source) -> float:
        position = source.skydir
        if position is None:
            return float("nan")
        offsets = source.center.transform_to(frame).spherical_offsets_to(position.transform_to(frame))
        return float(offsets[axis].wrap_at("180d").deg)

    return value


def _width(source: Source) -> float:
    """Return the radius of 68 % containment (deg); NaN for all but disks and Gaussians."""
    from villard.roi.kernel_source import R68, width_parameter

    kind = _spatial_type(source)
    if kind not in R68:
        return float("nan")
    parameter, factor = width_parameter(source.spatial_model, kind)
    return float(factor * parameter.quantity.to_value("deg"))


def file_of(part: Any) -> str | None:
    """Return the name of the file of a spectrum or morphology, also of one in a product."""
    for item in (part, getattr(part, "model1", None), getattr(part, "model2", None)):
        name = getattr(item, "filename", None) or (getattr(item, "meta", None) or {}).get("filename")
        if name:
            return str(name)
    return None


#: What fermipy keeps of the present model; a catalogue may have other values in columns of these names.
_OF_THE_MODEL: dict[str, Callable[[Source], Any]] = {
    "Source_Name": lambda source: source.name,
    "SpectrumType": _spectrum_type,
    "SpatialType": _spatial_type,
    "SpatialModel": _spatial_model,
    "SourceType": lambda s: "DiffuseSource" if s.is_diffuse or s.extended else "PointSource",
    "ra": _coordinate("icrs", "ra"),
    "dec": _coordinate("icrs", "dec"),
    "glon": _coordinate("galactic", "l"),
    "glat": _coordinate("galactic", "b"),
    "offset_ra": _from_centre("icrs", 0),
    "offset_dec": _from_centre("icrs", 1),
    "offset_glon": _from_centre("galactic", 0),
    "offset_glat": _from_centre("galactic", 1),
    "param_names": lambda source: np.array(source.model.parameters.names),
    "param_values": lambda source: np.array([p.value for p in source.model.parameters]),
    "param_errors": lambda source: np.array([p.error for p in source.model.parameters]),
    "SpatialWidth": _width,
    "Spatial_Filename": lambda source: file_of(source.spatial_model),
    "Spectrum_Filename": lambda source: file_of(source.spectral_model),
}


def _unknown_results() -> dict[str, Any]:
    """Return NaN for all numbers that fits give."""
    from villard.roi.fluxes import flux_keys

    return dict.fromkeys(["ts", "npred", "npred_wt", "loglike", *flux_keys(), *_POSITION], np.nan)


def _is_counts(model: Any) -> bool:
    return bool(getattr(model, "is_background", False) or getattr(model, "is_npred_template", False))


def normalised(name: str) -> str:
    """Return a name as names are compared: without spaces, in lower case."""
    return "".join(name.split()).lower()


def find_source(sources: Iterable[Source], name: str) -> Source:
    """Return the source that has a name or, if none has, an association of this name.

    Case and spaces don't count.

    Raises
    ------
    ModelError
        If there is none, with the name that is most alike; or if several have this association.
    """
    sources = list(sources)
    wanted = normalised(str(name))
    for source in sources:
        if normalised(source.name) == wanted:
            return source
    found = [s for s in sources if wanted in (normalised(a) for a in s.associations)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(
            f"{len(found)} sources are associated with {name!r}: {', '.join(s.name for s in found)}. "
            "Use the name of one of them"
        )
    raise ModelError(f"No source {name!r}. {_suggestion(name, sources)}")


def _suggestion(name: str, sources: list[Source]) -> str:
    import difflib

    known = {normalised(alias): alias for source in sources for alias in source.names}
    close = difflib.get_close_matches(normalised(str(name)), list(known), n=1)
    if close:
        return f"Did you mean {known[close[0]]!r}?"
    names = [source.name for source in sources]
    more = f", … ({len(names)} in all)" if len(names) > 12 else ""
    return f"Available: {', '.join(names[:12]) or 'none'}{more}"

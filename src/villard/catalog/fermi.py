"""Source catalogues of the Fermi-LAT collaboration."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np

from villard.catalog.core import R95_PER_SIGMA, SourceCatalog, SourceCatalogObject, finite
from villard.catalog.fermi_shapes import (
    R68_PER_SIGMA,
    MissingTemplateError,
    extended_model,
    template_folders,
)
from villard.catalog.fermi_spectra import spectrum_2fhl, spectrum_3fgl, spectrum_3fhl, spectrum_4fgl
from villard.catalog.table import Row, open_catalog, table_from_hdu
from villard.exceptions import DataError, FileFormatError, ModelError

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.estimators import FluxPoints
    from villard.modeling.models import Models

__all__ = [
    "SourceCatalog2FHL",
    "SourceCatalog3FGL",
    "SourceCatalog3FHL",
    "SourceCatalog4FGL",
    "SourceCatalogFermi",
    "SourceCatalogObject2FHL",
    "SourceCatalogObject3FGL",
    "SourceCatalogObject3FHL",
    "SourceCatalogObject4FGL",
    "SourceCatalogObjectFermi",
]

log = logging.getLogger(__name__)


class SourceCatalogObjectFermi(SourceCatalogObject):
    """A source of a catalogue of the Fermi-LAT collaboration."""

    catalog: Any

    @property
    def data_extended(self) -> Row | None:
        """Row of the table of extended sources; `None` for a point source."""
        name = str(self.data.get("Extended_Source_Name", "")).strip()
        return self.catalog.extended_source(name) if name else None

    @property
    def is_pointlike(self) -> bool:
        """Whether the source is a point."""
        return not str(self.data.get("Extended_Source_Name", "")).strip()

    def spatial_model(self) -> Any:
        """Return the morphology: point, disk, Gaussian or template.

        Raises
        ------
        MissingTemplateError
            If it is a template whose file isn't there.
        """
        row = self.data_extended
        if row is not None:
            return extended_model(row, self.catalog.template_folders, self.name)
        from villard.modeling.models import PointSpatialModel

        model = PointSpatialModel(lon_0=self.data["RAJ2000"], lat_0=self.data["DEJ2000"], frame="icrs")
        return self._with_position_errors(model)

    def _bands(self) -> tuple[Any, Any, Any, Any, Any]:
        """Edges, fluxes, errors, nuFnu and significances of the bands of energy."""
        data = self.data
        nufnu = data["nuFnu_Band"] if "nuFnu_Band" in data else data["nuFnu"]
        errors = data["Unc_Flux_Band"].reshape(-1, 2)
        return self.catalog.flux_points_energy_edges, data["Flux_Band"], errors, nufnu, data["Sqrt_TS_Band"]

    @property
    def flux_points_table(self) -> Table:
        """Flux points, in the GADF format."""
        from villard.catalog.fluxes import flux_points_fermi

        return flux_points_fermi(*self._bands())

    @property
    def flux_points(self) -> FluxPoints:
        """Flux points, relative to the spectrum of the catalogue."""
        from villard.estimators import FluxPoints

        return FluxPoints.from_table(
            self.flux_points_table, sed_type="flux", reference_model=self.spectral_model()
        )

    def lightcurve(self, interval: str = "1-year") -> Table:
        """Return the light curve of the catalogue, in the GADF format.

        Parameters
        ----------
        interval : {"1-year", "2-month", "1-month"}
            Length of the intervals; 4FGL has years and, before DR2, two months, 3FGL months.

        Raises
        ------
        DataError
            If the catalogue has no such light curve.
        """
        from villard.catalog.fluxes import light_curve_fermi

        hdu, prefix = self.catalog.light_curve_names(interval)
        start = np.asarray(self.catalog._extra_table(hdu)["Hist_Start"], dtype=float)
        errors = self.data[f"Unc_Flux{prefix}_History"].reshape(-1, 2)
        sqrt_ts = self.data.get(f"Sqrt_TS{prefix}_History")
        bounds = u.Quantity([0.1, 100], "GeV")
        return light_curve_fermi(start, bounds, self.data[f"Flux{prefix}_History"], errors, sqrt_ts)

    def _with_position_errors(self, model: Any) -> Any:
        """Set errors of the position from the ellipse of 95 % containment, projected on both axes.

        2FHL has the radius of 68 % containment.
        """
        if "Pos_err_68" in self.data and finite(self.data["Pos_err_68"]):
            error = u.Quantity(self.data["Pos_err_68"], "deg") / R68_PER_SIGMA
            model.lat_0.error = error
            model.lon_0.error = error / np.cos(model.lat_0.quantity)
            return model
        columns = ("Conf_95_SemiMajor", "Conf_95_SemiMinor", "Conf_95_PosAng")
        if not all(column in self.data and finite(self.data[column]) for column in columns[:2]):
            return model
        major, minor, angle = (u.Quantity(self.data[column], "deg") for column in columns)
        # Of a circle there is no angle.
        angle = np.where(np.isfinite(angle), angle, 0 * u.deg)
        along, across = np.cos(angle), np.sin(angle)
        north = np.hypot(major * along, minor * across) / R95_PER_SIGMA
        east = np.hypot(major * across, minor * along) / R95_PER_SIGMA
        model.lat_0.error = north
        model.lon_0.error = east / np.cos(model.lat_0.quantity)
        return model


class SourceCatalogFermi(SourceCatalog):
    """Base class of the catalogues of the Fermi-LAT collaboration.

    Parameters
    ----------
    filename : str or path-like
        FITS file; with or without ``.gz``.
    extended_dir : str or path-like, optional
        Archive of the templates of extended sources (its folder, or the folder ``Templates`` in it). By
        default the folders ``Extended_*`` beside the catalogue, and that of ``$LATEXTDIR``.

    Raises
    ------
    FileFormatError
        If the file isn't there, or isn't this catalogue.
    """

    _default: ClassVar[str] = ""
    _source_hdu: ClassVar[str] = "LAT_Point_Source_Catalog"
    _extended_hdu: ClassVar[str] = "ExtendedSources"
    #: Of light curves the table of times, and what stands between "Flux" and "_History".
    _light_curves: ClassVar[dict[str, tuple[str, str]]] = {}

    def __init__(
        self,
        filename: str | os.PathLike[str] | None = None,
        extended_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        filename = self._default if filename is None else filename
        with open_catalog(filename) as hdus:
            names = [item.name.upper() for item in hdus]
            wanted = self._source_hdu.upper()
            if wanted not in names:
                raise FileFormatError(
                    f"{filename}: expected a table {self._source_hdu}, found {', '.join(names)}"
                )
            table = table_from_hdu(hdus[names.index(wanted)], str(filename))
            self._tables = {
                item.name: table_from_hdu(item, f"{filename}: {item.name}")
                for item in hdus[1:]
                if item.name.upper() not in (wanted, "GTI") and hasattr(item, "columns")
            }
        super().__init__(table, filename)
        self._extended_dir = extended_dir

    def _extra_table(self, name: str) -> Table:
        for key, table in self._tables.items():
            if key.upper() == name.upper():
                return table
        raise FileFormatError(f"{self._filename}: no table {name}, found {', '.join(self._tables)}")

    @property
    def flux_points_energy_edges(self) -> u.Quantity:
        """Edges of the bands of the flux points."""
        table = self._extra_table("EnergyBounds")
        unit = table["LowerEnergy"].unit or u.MeV
        low, high = (np.asarray(table[name], dtype=float) for name in ("LowerEnergy", "UpperEnergy"))
        return np.unique(np.append(low, high)) * unit

    def light_curve_names(self, interval: str) -> tuple[str, str]:
        """Return the table of times and the infix of the columns of a light curve.

        Raises
        ------
        DataError
            If the catalogue has no such light curve.
        """
        if interval not in self._light_curves or "Flux_History" not in self.table.colnames:
            known = ", ".join(self._light_curves) or "none"
            raise DataError(f"{self.tag}: no light curve of {interval!r}, expected one of: {known}")
        hdu, infix = self._light_curves[interval]
        if f"Flux{infix}_History" not in self.table.colnames:
            raise DataError(f"{self._filename}: this release has no light curve of {interval!r}")
        return hdu, infix

    @property
    def extended_sources_table(self) -> Table:
        """Table of the extended sources."""
        return self._extra_table(self._extended_hdu)

    @property
    def template_folders(self) -> list[Any]:
        """Folders in which templates of extended sources are looked for."""
        if "folders" not in self._cache:
            self._cache["folders"] = template_folders(self._extended_dir, self._filename)
        return self._cache["folders"]

    def extended_source(self, name: str) -> Row:
        """Return the row of an extended source.

        Raises
        ------
        FileFormatError
            If it isn't there.
        """
        table = self.extended_sources_table
        rows = [i for i, text in enumerate(table["Source_Name"]) if str(text).strip() == name]
        if len(rows) != 1:
            raise FileFormatError(
                f"{self._filename}: expected one extended source {name!r}, found {len(rows)}"
            )
        return Row(table, rows[0])

    def missing_templates(self) -> dict[str, str]:
        """Return the sources whose templates aren't there: name of the source to the reason."""
        missing: dict[str, str] = {}
        for source in self:
            if source.is_pointlike:
                continue
            try:
                extended_model(source.data_extended, self.template_folders, source.name)
            except MissingTemplateError as error:
                missing[source.name] = str(error)
        return missing

    def to_models(self, missing_templates: str = "error", **kwargs: Any) -> Models:
        """Return models of all sources.

        Parameters
        ----------
        missing_templates : {"error", "skip"}
            What happens with extended sources whose templates aren't there: an error that names them, or they
            are left out and a warning is logged that names them.
        **kwargs
            For `SourceCatalogObject.sky_model` of each.

        Raises
        ------
        MissingTemplateError
            If templates are missing; the message names all sources concerned.
        """
        from villard.modeling.models import Models

        if missing_templates not in ("error", "skip"):
            raise ModelError(f"missing_templates must be 'error' or 'skip', found {missing_templates!r}")
        models, missing = [], []
        for source in self:
            try:
                models.append(source.sky_model(**kwargs))
            except MissingTemplateError as error:
                missing.append(str(error))
        if missing and missing_templates == "error":
            raise MissingTemplateError(
                f"{len(missing)} extended sources have no template (missing_templates='skip' leaves them "
                f"out): {'; '.join(missing)}"
            )
        for message in missing:
            log.warning("Left out: %s", message)
        return Models(models)


class SourceCatalogObject3FGL(SourceCatalogObjectFermi):
    """A source of 3FGL."""

    def _bands(self) -> tuple[Any, Any, Any, Any, Any]:
        edges = u.Quantity([100, 300, 1000, 3000, 10000, 100000], "MeV")
        bands = [f"{low:.0f}_{high:.0f}" for low, high in zip(edges.value[:-1], edges.value[1:], strict=True)]
        flux, errors, nufnu = (
            u.Quantity([self.data[f"{name}{band}"] for band in bands])
            for name in ("Flux", "Unc_Flux", "nuFnu")
        )
        sqrt_ts = np.array([self.data[f"Sqrt_TS{band}"] for band in bands], dtype=float)
        return edges, flux, errors, nufnu, sqrt_ts

    def spectral_model(self) -> Any:
        """Return the spectrum that the catalogue prefers."""
        return spectrum_3fgl(self.data)


class SourceCatalog3FGL(SourceCatalogFermi):
    """Fermi-LAT four-year point source catalogue (Acero et al. 2015, ApJS 218, 23)."""

    tag = "3fgl"
    description = "LAT 4-year point source catalog"
    source_object_class = SourceCatalogObject3FGL
    _default = "$GAMMAPY_DATA/catalogs/fermi/gll_psc_v16.fit.gz"
    _light_curves: ClassVar[dict[str, tuple[str, str]]] = {"1-month": ("Hist_Start", "")}
    _source_name_alias = (
        "Extended_Source_Name",
        "0FGL_Name",
        "1FGL_Name",
        "2FGL_Name",
        "1FHL_Name",
        "ASSOC_TEV",
        "ASSOC1",
        "ASSOC2",
    )
    _needed = ("SpectrumType", "Pivot_Energy", "Flux_Density", "Cutoff", "Exp_Index", "Spectral_Index")


class SourceCatalogObject4FGL(SourceCatalogObjectFermi):
    """A source of 4FGL or FL16Y."""

    def spectral_model(self) -> Any:
        """Return the spectrum that the catalogue prefers."""
        return spectrum_4fgl(self.data)


class SourceCatalog4FGL(SourceCatalogFermi):
    """Fermi-LAT catalogue 4FGL, any release up to DR4, and the FL16Y list, which has the same layout.

    Abdollahi et al. 2020, ApJS 247, 33; Ballet et al. 2023, arXiv:2307.12546 (DR4).
    """

    tag = "4fgl"
    description = "LAT 14-year point source catalog"
    source_object_class = SourceCatalogObject4FGL
    _default = "$GAMMAPY_DATA/catalogs/fermi/gll_psc_v35.fit.gz"
    _light_curves: ClassVar[dict[str, tuple[str, str]]] = {
        "1-year": ("Hist_Start", ""),
        "2-month": ("Hist2_Start", "2"),
    }
    _source_name_alias = (
        "Extended_Source_Name",
        "ASSOC_4FGL",
        "ASSOC_FGL",
        "ASSOC_FHL",
        "ASSOC_GAM1",
        "ASSOC_GAM2",
        "ASSOC_GAM3",
        "ASSOC_TEV",
        "ASSOC1",
        "ASSOC2",
    )
    _needed = ("SpectrumType", "Pivot_Energy", "PL_Flux_Density", "LP_Flux_Density", "PLEC_Flux_Density")


class SourceCatalogObject3FHL(SourceCatalogObjectFermi):
    """A source of 3FHL."""

    def spectral_model(self) -> Any:
        """Return the spectrum that the catalogue prefers."""
        return spectrum_3fhl(self.data)


class SourceCatalog3FHL(SourceCatalogFermi):
    """Fermi-LAT third catalogue of hard sources, 10 GeV to 2 TeV (Ajello et al. 2017, ApJS 232, 18)."""

    tag = "3fhl"
    description = "LAT third high-energy source catalog"
    source_object_class = SourceCatalogObject3FHL
    _default = "$GAMMAPY_DATA/catalogs/fermi/gll_psch_v13.fit.gz"
    _source_name_alias = ("Extended_Source_Name", "ASSOC_GAM", "ASSOC_TEV", "ASSOC1", "ASSOC2")
    _needed = ("SpectrumType", "Pivot_Energy", "Flux_Density", "PowerLaw_Index", "Unc_PowerLaw_Index", "beta")


class SourceCatalogObject2FHL(SourceCatalogObjectFermi):
    """A source of 2FHL."""

    @property
    def is_pointlike(self) -> bool:
        """Whether the source is a point: names of extended ones end with "e"."""
        return not self.name.endswith("e")

    @property
    def data_extended(self) -> Row | None:
        """Row of the table of extended sources; `None` for a point source."""
        return None if self.is_pointlike else self.catalog.extended_source(self.name)

    def _bands(self) -> tuple[Any, Any, Any, Any, Any]:
        edges = u.Quantity([50, 171, 585, 2000], "GeV")
        bands = ["50_171GeV", "171_585GeV", "585_2000GeV"]
        flux, errors = (
            u.Quantity([self.data[f"{name}{band}"] for band in bands]) for name in ("Flux", "Unc_Flux")
        )
        sqrt_ts = np.array([self.data[f"Sqrt_TS{band}"] for band in bands], dtype=float)
        # Of a power law of the catalogue's index.
        spectrum = self.spectral_model()
        reference = np.sqrt(edges[:-1] * edges[1:])
        nufnu = flux * reference**2 * spectrum(reference) / spectrum.integral(edges[:-1], edges[1:])
        return edges, flux, errors, nufnu, sqrt_ts

    def spectral_model(self) -> Any:
        """Return the spectrum: a power law from 50 GeV to 2 TeV."""
        return spectrum_2fhl(self.data)


class SourceCatalog2FHL(SourceCatalogFermi):
    """Fermi-LAT second catalogue of hard sources, 50 GeV to 2 TeV (Ackermann et al. 2016, ApJS 222, 5)."""

    tag = "2fhl"
    description = "LAT second high-energy source catalog"
    source_object_class = SourceCatalogObject2FHL
    _default = "$GAMMAPY_DATA/catalogs/fermi/gll_psch_v09.fit.gz"
    _source_hdu = "2FHL Source Catalog"
    _extended_hdu = "Extended Sources"
    _source_name_alias = ("ASSOC", "3FGL_Name", "1FHL_Name", "TeVCat_Name")
    _needed = ("Flux50", "Spectral_Index")

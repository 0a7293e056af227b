"""The H.E.S.S. Galactic plane survey (H.E.S.S. Collaboration 2018, A&A 612, A1)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import astropy.units as u
import numpy as np

from villard.catalog.core import SourceCatalog, SourceCatalogObject, finite, set_errors
from villard.catalog.table import Row, open_catalog, read_table, table_from_hdu
from villard.exceptions import ModelError
from villard.utils.names import nearest

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.catalog.hgps_large_scale import SourceCatalogLargeScaleHGPS
    from villard.estimators import FluxPoints
    from villard.modeling.models import Models

__all__ = ["SourceCatalogHGPS", "SourceCatalogObjectHGPS", "SourceCatalogObjectHGPSComponent"]

_STATUS = ("independent", "linked", "merged")
#: The catalogue has the outer radii of shells only; their inner radii are taken to be this part of them.
_SHELL = 0.95


def _gaussian(data: Any) -> Any:
    from villard.modeling.models import GaussianSpatialModel

    model = GaussianSpatialModel(lon_0=data["GLON"], lat_0=data["GLAT"], sigma=data["Size"], frame="galactic")
    return set_errors(model, lon_0=data["GLON_Err"], lat_0=data["GLAT_Err"], sigma=data["Size_Err"])


class SourceCatalogObjectHGPSComponent(SourceCatalogObject):
    """A Gaussian component of a source of the survey."""

    @property
    def name(self) -> str:
        """Name, such as "HGPSC 001"."""
        return str(self.data["Component_ID"])

    @property
    def position(self) -> Any:
        """Direction."""
        from astropy.coordinates import SkyCoord

        return SkyCoord(self.data["GLON"], self.data["GLAT"], frame="galactic")

    def spatial_model(self) -> Any:
        """Return the Gaussian."""
        return _gaussian(self.data)


class SourceCatalogObjectHGPS(SourceCatalogObject):
    """A source of the survey."""

    catalog: Any

    @property
    def energy_range(self) -> u.Quantity:
        """Energies of the spectrum."""
        return u.Quantity([self.data["Energy_Range_Spec_Min"], self.data["Energy_Range_Spec_Max"]])

    @property
    def components(self) -> list[SourceCatalogObjectHGPSComponent]:
        """Gaussian components, if the morphology has been decomposed."""
        names = [name.strip() for name in str(self.data["Components"]).split(",")]
        table = self.catalog.table_components
        rows = {str(name): i for i, name in enumerate(table["Component_ID"])}
        return [
            SourceCatalogObjectHGPSComponent(Row(table, rows[name]), rows[name], self.catalog)
            for name in names
            if name in rows
        ]

    @property
    def associations_table(self) -> Table:
        """Rows of the table of associations."""
        table = self.catalog.table_associations
        return table[np.asarray(table["Source_Name"]) == self.name]

    @property
    def associations(self) -> list[str]:
        """Names of the object that it is, and of associated sources."""
        names = [str(self.data["Identified_Object"]), *map(str, self.associations_table["Association_Name"])]
        return [name for name in dict.fromkeys(names) if name.strip("-")]

    @property
    def identification_info(self) -> Row | None:
        """Row of the table of firm identifications."""
        table = self.catalog.table_identifications
        rows = np.flatnonzero(np.asarray(table["Source_Name"]) == self.name)
        return Row(table, int(rows[0])) if len(rows) else None

    def spectral_model(self, which: str = "best") -> Any:
        """Return the spectrum.

        Parameters
        ----------
        which : {"best", "pl", "ecpl"}
            The model that the catalogue prefers, the power law, or that with an exponential cutoff.

        Raises
        ------
        ModelError
            If the catalogue has no such fit of the source.
        """
        kind = {"best": str(self.data["Spectral_Model"]).lower()}.get(which, which)
        if kind not in ("pl", "ecpl"):
            raise ModelError(f"{self.name}: which: {nearest(which, ['best', 'pl', 'ecpl'])}")
        prefix = f"Spec_{kind.upper()}"
        reference = self.data[f"Energy_{prefix}_Pivot"]
        if not finite(reference) or reference <= 0:
            raise ModelError(f"{self.name}: the catalogue has no fit {kind.upper()} of its spectrum")
        return self._spectrum(kind, prefix, reference)

    def _spectrum(self, kind: str, prefix: str, reference: u.Quantity) -> Any:
        from villard.modeling.models import ExpCutoffPowerLawSpectralModel, PowerLawSpectralModel

        columns = {"index": f"Index_{prefix}", "amplitude": f"Flux_{prefix}_Diff_Pivot"}
        if kind == "ecpl":
            columns["lambda_"] = f"Lambda_{prefix}"
        values = {name: self.data[column] for name, column in columns.items()}
        cls: Any = ExpCutoffPowerLawSpectralModel if kind == "ecpl" else PowerLawSpectralModel
        model = cls(reference=reference, **values)
        return set_errors(model, **{name: self.data[f"{column}_Err"] for name, column in columns.items()})

    def spatial_model(self) -> Any:
        """Return the morphology: a point, Gaussian, shell, or the sum of Gaussians as a template."""
        kind = str(self.data["Spatial_Model"])
        if kind == "Point-Like":
            from villard.modeling.models import PointSpatialModel

            model = PointSpatialModel(lon_0=self.data["GLON"], lat_0=self.data["GLAT"], frame="galactic")
            return set_errors(model, lon_0=self.data["GLON_Err"], lat_0=self.data["GLAT_Err"])
        if kind == "Shell":
            return self._shell()
        components = self.components
        if kind == "Gaussian":
            return components[0].spatial_model() if len(components) == 1 else _gaussian(self.data)
        if kind in ("2-Gaussian", "3-Gaussian"):
            from villard.catalog.merged import merged_template

            return merged_template([c.spatial_model() for c in components], self._weights(), "galactic")
        raise ModelError(f"{self.name}: the catalogue has the unknown morphology {kind!r}")

    def _shell(self) -> Any:
        from villard.modeling.models import ShellSpatialModel

        size = self.data["Size"]
        model = ShellSpatialModel(
            lon_0=self.data["GLON"],
            lat_0=self.data["GLAT"],
            radius=_SHELL * size,
            width=(1 - _SHELL) * size,
            frame="galactic",
        )
        errors = {"lon_0": self.data["GLON_Err"], "lat_0": self.data["GLAT_Err"]}
        return set_errors(model, radius=_SHELL * self.data["Size_Err"], **errors)

    def _weights(self) -> np.ndarray:
        flux = np.array([c.data["Flux_Map"].to_value("cm-2 s-1") for c in self.components], dtype=float)
        return flux / np.sum(flux)

    def sky_model(self, name: str | None = None, which: str = "best") -> Any:
        """Return the source as one model.

        Parameters
        ----------
        name : str, optional
            Name of the model, by default that of the source. Names of spectra are taken as ``which``.
        which : {"best", "pl", "ecpl"}
            As for `spectral_model`.
        """
        from villard.modeling.models import SkyModel

        if name in ("best", "pl", "ecpl"):
            name, which = None, str(name)
        return SkyModel(self.spectral_model(which), self.spatial_model(), name=name or self.name)

    def components_models(self, which: str = "best", linked: bool = False) -> Models:
        """Return the components of the source as models of their own.

        Parameters
        ----------
        which : {"best", "pl", "ecpl"}
            As for `spectral_model`.
        linked : bool
            Whether they share all parameters of the spectrum but the amplitude.
        """
        from villard.modeling.models import Models, SkyModel

        components = self.components
        if not components:
            return Models([self.sky_model(which=which)])
        models: list[Any] = []
        for component, weight in zip(components, self._weights(), strict=True):
            spectrum = self.spectral_model(which)
            spectrum.amplitude.value *= weight
            if linked and models:
                for parameter in spectrum.parameters:
                    if parameter.name != "amplitude":
                        setattr(spectrum, parameter.name, models[0].spectral_model.parameters[parameter.name])
            models.append(SkyModel(spectrum, component.spatial_model(), name=component.name))
        return Models(models)

    @property
    def flux_points_table(self) -> Table:
        """Flux points, in the GADF format."""
        from villard.catalog.fluxes import flux_points_hgps

        return flux_points_hgps(self.data)

    @property
    def flux_points(self) -> FluxPoints:
        """Flux points, relative to the spectrum that the catalogue prefers."""
        from villard.estimators import FluxPoints

        return FluxPoints.from_table(
            self.flux_points_table, sed_type="dnde", reference_model=self.spectral_model()
        )


class SourceCatalogHGPS(SourceCatalog):
    """Sources of the H.E.S.S. Galactic plane survey.

    Parameters
    ----------
    filename : str or path-like
        FITS file.
    hdu : str
        Table of sources.
    """

    tag = "hgps"
    description = "H.E.S.S. Galactic plane survey (HGPS) source catalog"
    source_object_class = SourceCatalogObjectHGPS
    _source_name_alias = ("Identified_Object",)
    _coordinates = ("GLON", "GLAT", "galactic")
    _needed: ClassVar[tuple[str, ...]] = (
        "Spatial_Model",
        "Spectral_Model",
        "Components",
        "Flux_Spec_PL_Diff_Pivot",
    )
    _default = "$GAMMAPY_DATA/catalogs/hgps_catalog_v1.fits.gz"

    def __init__(self, filename: str | os.PathLike[str] | None = None, hdu: str = "HGPS_SOURCES") -> None:
        filename = self._default if filename is None else filename
        super().__init__(read_table(filename, hdu), filename)
        with open_catalog(filename) as hdus:
            self._tables = {item.name: table_from_hdu(item, f"{filename}: {item.name}") for item in hdus[1:]}

    @property
    def table_components(self) -> Table:
        """Gaussian components."""
        return self._tables["HGPS_GAUSS_COMPONENTS"]

    @property
    def table_associations(self) -> Table:
        """Associations."""
        return self._tables["HGPS_ASSOCIATIONS"]

    @property
    def table_identifications(self) -> Table:
        """Firm identifications."""
        return self._tables["HGPS_IDENTIFICATIONS"]

    @property
    def table_large_scale_component(self) -> Table:
        """Parameters of the large-scale emission, by longitude."""
        return self._tables["HGPS_LARGE_SCALE_COMPONENT"]

    @property
    def large_scale_component(self) -> SourceCatalogLargeScaleHGPS:
        """Large-scale emission along the Galactic plane."""
        from villard.catalog.hgps_large_scale import SourceCatalogLargeScaleHGPS

        return SourceCatalogLargeScaleHGPS(self.table_large_scale_component)

    def to_models(self, which: str = "best", components_status: str = "independent", **kwargs: Any) -> Models:
        """Return models of all sources.

        Parameters
        ----------
        which : {"best", "pl", "ecpl"}
            Spectrum.
        components_status : {"independent", "linked", "merged"}
            Each Gaussian component as a model of its own; the same, with linked shapes of the spectrum; or
            each source as one model.
        **kwargs
            None so far.
        """
        from villard.modeling.models import Models

        if components_status not in _STATUS:
            raise ModelError(f"components_status: {nearest(components_status, _STATUS)}")
        models: list[Any] = []
        for source in self:
            if components_status == "merged":
                models.append(source.sky_model(which=which))
            else:
                models += source.components_models(which, linked=components_status == "linked")
        return Models(models)

"""The open catalogue of gamma-ray sources, gamma-cat (https://github.com/gammapy/gamma-cat)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from villard.catalog.core import IncompleteSourceError, SourceCatalogObject, finite, set_errors
from villard.catalog.mixed import MixedCatalog
from villard.catalog.table import read_table
from villard.exceptions import ModelError

if TYPE_CHECKING:
    from astropy.table import Table

    from villard.estimators import FluxPoints

__all__ = ["SourceCatalogGammaCat", "SourceCatalogObjectGammaCat"]

#: Inner radius of a shell, of which the catalogue has the outer one, and upper energy of an open flux (TeV).
_SHELL, _OPEN = 0.8, 1e5


class SourceCatalogObjectGammaCat(SourceCatalogObject):
    """A source of gamma-cat."""

    @property
    def associations(self) -> list[str]:
        """Other names."""
        columns = ("common_name", "gamma_names", "fermi_names", "other_names")
        texts = (text.strip() for key in columns for text in str(self.data[key]).split(","))
        return [text for text in dict.fromkeys(texts) if text and text != self.name]

    def spectral_model(self) -> Any:
        """Return the spectrum; `None` if the catalogue has none."""
        kind = str(self.data["spec_type"])
        if kind == "none":
            return None
        if kind not in ("pl", "pl2", "ecpl"):
            raise ModelError(f"{self.name}: the catalogue has the unknown spectrum {kind!r}")
        return {"pl": self._power_law, "pl2": self._integral, "ecpl": self._cutoff}[kind]()

    def _power_law(self) -> Any:
        from villard.modeling.models import PowerLawSpectralModel

        data = self.data
        model = PowerLawSpectralModel(
            index=data["spec_pl_index"], amplitude=data["spec_pl_norm"], reference=data["spec_pl_e_ref"]
        )
        return set_errors(model, amplitude=data["spec_pl_norm_err"], index=data["spec_pl_index_err"])

    def _integral(self) -> Any:
        from villard.modeling.models import PowerLaw2SpectralModel

        data = self.data
        emax = data["spec_pl2_e_max"]
        model = PowerLaw2SpectralModel(
            amplitude=data["spec_pl2_flux"],
            index=data["spec_pl2_index"],
            emin=data["spec_pl2_e_min"],
            emax=emax if finite(emax) and emax > 0 else _OPEN * u.TeV,
        )
        return set_errors(model, amplitude=data["spec_pl2_flux_err"], index=data["spec_pl2_index_err"])

    def _cutoff(self) -> Any:
        from villard.modeling.models import ExpCutoffPowerLawSpectralModel

        data = self.data
        cutoff, error = data["spec_ecpl_e_cut"], data["spec_ecpl_e_cut_err"]
        model = ExpCutoffPowerLawSpectralModel(
            index=data["spec_ecpl_index"],
            amplitude=data["spec_ecpl_norm"],
            reference=data["spec_ecpl_e_ref"],
            lambda_=1 / cutoff,
        )
        return set_errors(
            model,
            amplitude=data["spec_ecpl_norm_err"],
            index=data["spec_ecpl_index_err"],
            lambda_=error / cutoff**2,
        )

    def spatial_model(self) -> Any:
        """Return the morphology: a point, Gaussian or shell; `None` if the catalogue has none."""
        import villard.modeling.models as models

        kind = str(self.data["morph_type"])
        place = {"lon_0": self.data["glon"], "lat_0": self.data["glat"], "frame": "galactic"}
        if kind == "none":
            return None
        if kind == "point":
            model: Any = models.PointSpatialModel(**place)
        elif kind == "shell":
            size = self.data["morph_sigma"]
            model = models.ShellSpatialModel(radius=_SHELL * size, width=(1 - _SHELL) * size, **place)
        elif kind == "gauss":
            model = self._gaussian(place)
        else:
            raise ModelError(f"{self.name}: the catalogue has the unknown morphology {kind!r}")
        error = self.data["pos_err"]
        if finite(error):
            set_errors(model, lat_0=error, lon_0=error / np.cos(model.lat_0.quantity))
        return model

    def _gaussian(self, place: dict[str, Any]) -> Any:
        """Gaussian, elongated where the catalogue has two widths and the position angle."""
        from villard.modeling.models import GaussianSpatialModel

        major, minor, angle = (self.data[f"morph_{key}"] for key in ("sigma", "sigma2", "pa"))
        if not finite(major) or major <= 0:
            raise IncompleteSourceError(f"{self.name}: the catalogue has no width of its Gaussian")
        if not finite(minor) or minor <= 0 or minor == major or not finite(angle):
            model = GaussianSpatialModel(sigma=major, **place)
            return set_errors(model, sigma=self.data["morph_sigma_err"])
        if str(self.data["morph_pa_frame"]) == "radec":
            place = {"lon_0": self.data["ra"], "lat_0": self.data["dec"], "frame": "icrs"}
        if minor > major:
            major, minor, angle = minor, major, angle + 90 * u.deg
        e = float(np.sqrt(1 - (minor / major).to_value("") ** 2))
        phi = (90 - (90 - angle.to_value("deg")) % 180) * u.deg
        model = GaussianSpatialModel(sigma=major, e=e, phi=phi, **place)
        return set_errors(model, sigma=self.data["morph_sigma_err"], phi=self.data["morph_pa_err"])

    @property
    def flux_points_table(self) -> Table | None:
        """Flux points, in the GADF format; `None` if there are none."""
        from villard.catalog.fluxes import flux_points_gammacat

        return flux_points_gammacat(self.data)

    @property
    def flux_points(self) -> FluxPoints | None:
        """Flux points, relative to the spectrum of the catalogue; `None` if there are none."""
        from villard.estimators import FluxPoints

        table = self.flux_points_table
        if table is None:
            return None
        return FluxPoints.from_table(table, sed_type="dnde", reference_model=self.spectral_model())


class SourceCatalogGammaCat(MixedCatalog):
    """The open catalogue of gamma-ray sources.

    Parameters
    ----------
    filename : str or path-like
        FITS file.
    """

    tag = "gamma-cat"
    description = "An open catalog of gamma-ray sources"
    source_object_class = SourceCatalogObjectGammaCat
    _source_name_key = "common_name"
    _source_name_alias = ("other_names", "gamma_names", "fermi_names", "tevcat_name")
    _coordinates = ("ra", "dec", "icrs")
    _needed = ("spec_type", "morph_type", "spec_pl_norm")
    _default = "$GAMMAPY_DATA/catalogs/gammacat/gammacat.fits.gz"

    def __init__(self, filename: str | os.PathLike[str] | None = None) -> None:
        filename = self._default if filename is None else filename
        super().__init__(read_table(filename), filename)

    def _texts(self, column: str) -> list[list[str]]:
        return [[text.strip() for text in str(value).split(",")] for value in self.table[column]]

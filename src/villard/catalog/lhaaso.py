"""First catalogue of LHAASO (Cao et al. 2024, ApJS 271, 25)."""

from __future__ import annotations

import os
from typing import Any

import astropy.units as u
import numpy as np

from villard.catalog.core import R95_PER_SIGMA, IncompleteSourceError, SourceCatalogObject, finite, set_errors
from villard.catalog.mixed import MixedCatalog
from villard.catalog.table import read_table
from villard.exceptions import ModelError
from villard.utils.names import nearest

__all__ = ["SourceCatalog1LHAASO", "SourceCatalogObject1LHAASO"]

_WHICH = ("both", "KM2A", "WCDA")
#: WCDA measures below 25 TeV, KM2A above; the outer bounds are those of the cube.
_BOUNDS = u.Quantity([0.1, 25, 2000], "TeV")


class SourceCatalogObject1LHAASO(SourceCatalogObject):
    """A source of 1LHAASO, measured by KM2A, WCDA or both."""

    def _suffix(self, which: str) -> str | None:
        """Suffix of the columns of a detector; `None` if it hasn't measured the source."""
        for suffix in ("", "_b"):
            column = "Model_a" if suffix == "" else "Model_b"
            # Asterisks mark what was measured with the larger component fixed.
            if str(self.data[column]).strip().rstrip("*") == which:
                flux = self.data[f"N0{suffix}"]
                return suffix if finite(flux) and flux > 0 else None
        return None

    def _check(self, which: str) -> None:
        if which not in _WHICH:
            raise ModelError(f"{self.name}: which: {nearest(which, _WHICH)}")

    @property
    def detectors(self) -> list[str]:
        """Detectors that have measured the source, by rising energy."""
        return [which for which in ("WCDA", "KM2A") if self._suffix(which) is not None]

    def _first(self, which: str) -> str:
        self._check(which)
        known = self.detectors
        if not known or (which != "both" and which not in known):
            raise IncompleteSourceError(f"{self.name}: the catalogue has no measurement by {which}")
        return ("KM2A" if "KM2A" in known else known[0]) if which == "both" else which

    def spectral_model(self, which: str = "both") -> Any:
        """Return the power law of a detector; for "both" that of KM2A if there is one.

        Parameters
        ----------
        which : {"both", "KM2A", "WCDA"}
            Detector.
        """
        from villard.modeling.models import PowerLawSpectralModel

        end = self._suffix(self._first(which))
        data = self.data
        model = PowerLawSpectralModel(
            index=data[f"gamma{end}"], amplitude=data[f"N0{end}"], reference=data[f"E0{end}"]
        )
        return set_errors(model, amplitude=data[f"N0_err{end}"], index=data[f"gamma_err{end}"])

    def spatial_model(self, which: str = "both") -> Any:
        """Return the morphology seen by a detector: a point, or a Gaussian of which r39 is the width."""
        from villard.modeling.models import GaussianSpatialModel, PointSpatialModel

        end = self._suffix(self._first(which))
        data = self.data
        lat = "DECJ2000" if f"DECJ2000{end}" in data else "DEJ2000"
        place = {"lon_0": data[f"RAJ2000{end}"], "lat_0": data[f"{lat}{end}"], "frame": "fk5"}
        size = data[f"r39{end}"]
        if finite(size) and size > 0:
            # 39 % of a two-dimensional Gaussian are within one sigma.
            model: Any = GaussianSpatialModel(sigma=size, **place)
            set_errors(model, sigma=data[f"r39_err{end}"])
        else:
            model = PointSpatialModel(**place)
        # The catalogue has radii of 95 %.
        error = data[f"pos_err{end}"] / R95_PER_SIGMA
        return set_errors(model, lat_0=error, lon_0=error / np.cos(model.lat_0.quantity))

    def sky_model(self, name: str | None = None, which: str = "both") -> Any:
        """Return the source as a model.

        Parameters
        ----------
        name : str, optional
            Name of the model, by default that of the source. Names of detectors are taken as ``which``.
        which : {"both", "KM2A", "WCDA"}
            Detector. Of a source that both have measured, "both" is a cube of flux: what WCDA has measured
            below 25 TeV, and KM2A above; its spectrum is a free factor.
        """
        from villard.modeling.models import PowerLawNormSpectralModel, SkyModel, TemplateSpatialModel

        if name in _WHICH:
            name, which = None, str(name)
        self._check(which)
        name = name or self.name
        detectors = self.detectors
        if which != "both" or len(detectors) < 2:
            return SkyModel(self.spectral_model(which), self.spatial_model(which), name=name)
        from villard.catalog.merged import energy_map

        shapes = [self.spatial_model(detector) for detector in detectors]
        spectra = [self.spectral_model(detector) for detector in detectors]
        cube = energy_map(shapes, spectra, _BOUNDS, "icrs")
        options = {"values_scale": "lin"}
        template = TemplateSpatialModel(cube, normalize=False, interp_kwargs=options)
        return SkyModel(PowerLawNormSpectralModel(), template, name=name)


class SourceCatalog1LHAASO(MixedCatalog):
    """First catalogue of LHAASO.

    Parameters
    ----------
    filename : str or path-like
        FITS file.
    """

    tag = "1LHAASO"
    description = "1LHAASO catalog from the LHAASO observatory"
    source_object_class = SourceCatalogObject1LHAASO
    _source_name_alias = ("ASSO_Name",)
    _coordinates = ("RAJ2000", "DECJ2000", "fk5")
    _needed = ("Model_a", "Model_b", "N0", "N0_b", "r39", "gamma")
    _default = "$GAMMAPY_DATA/catalogs/1LHAASO_catalog.fits"

    def __init__(self, filename: str | os.PathLike[str] | None = None) -> None:
        filename = self._default if filename is None else filename
        super().__init__(read_table(filename), filename)

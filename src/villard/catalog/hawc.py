"""Catalogues of HAWC: 2HWC (Abeysekara et al. 2017, ApJ 843, 40), 3HWC (Albert et al. 2020, ApJ 905, 76)."""

from __future__ import annotations

import os
from typing import Any

import astropy.units as u
import numpy as np

from villard.catalog.core import SourceCatalogObject, finite, set_errors
from villard.catalog.mixed import MixedCatalog
from villard.catalog.table import read_table
from villard.exceptions import ModelError
from villard.utils.names import nearest

__all__ = [
    "SourceCatalog2HWC",
    "SourceCatalog3HWC",
    "SourceCatalogObject2HWC",
    "SourceCatalogObject3HWC",
]

#: Energy of the differential fluxes.
_REFERENCE = 7 * u.TeV


class _SourceHWC(SourceCatalogObject):
    """A source of HAWC: point or disk, and one or two power laws."""

    def _place(self) -> dict[str, Any]:
        return {"lon_0": self.data["glon"], "lat_0": self.data["glat"], "frame": "galactic"}

    def _spatial(self, radius: Any) -> Any:
        from villard.modeling.models import DiskSpatialModel, PointSpatialModel

        if finite(radius) and radius > 0:
            model: Any = DiskSpatialModel(r_0=radius, **self._place())
        else:
            model = PointSpatialModel(**self._place())
        error = self.data["pos_err"]
        return set_errors(model, lat_0=error, lon_0=error / np.cos(model.lat_0.quantity))

    def _has(self, which: int) -> bool:
        name = f"spec{which}_dnde"
        return name in self.data and finite(self.data[name])

    @property
    def n_models(self) -> int:
        """Number of spectra of the source in the catalogue."""
        return int(self._has(0)) + int(self._has(1))


class SourceCatalogObject2HWC(_SourceHWC):
    """A source of 2HWC."""

    def _which(self, which: str) -> int:
        if which not in ("point", "extended"):
            raise ModelError(f"{self.name}: which: {nearest(which, ['point', 'extended'])}")
        index = 0 if which == "point" else 1
        if not self._has(index):
            raise ModelError(f"{self.name}: the catalogue has no analysis as an {which} source")
        return index

    def spectral_model(self, which: str = "point") -> Any:
        """Return the spectrum, for the assumption of a point ("point") or of a disk ("extended")."""
        from villard.modeling.models import PowerLawSpectralModel

        i = self._which(which)
        # The catalogue has negative indices.
        model = PowerLawSpectralModel(
            index=-self.data[f"spec{i}_index"], amplitude=self.data[f"spec{i}_dnde"], reference=_REFERENCE
        )
        errors = {"amplitude": f"spec{i}_dnde_err", "index": f"spec{i}_index_err"}
        return set_errors(model, **{name: self.data[column] for name, column in errors.items()})

    def spatial_model(self, which: str = "point") -> Any:
        """Return the morphology: a point, or the disk of the test radius ("extended")."""
        return self._spatial(self.data[f"spec{self._which(which)}_radius"])

    def sky_model(self, name: str | None = None, which: str = "point") -> Any:
        """Return the source as a model.

        Parameters
        ----------
        name : str, optional
            Name of the model, by default that of the source. "point" and "extended" are taken as ``which``.
        which : {"point", "extended"}
            Which of the analyses.
        """
        from villard.modeling.models import SkyModel

        if name in ("point", "extended"):
            name, which = None, str(name)
        return SkyModel(self.spectral_model(which), self.spatial_model(which), name=name or self.name)


class SourceCatalogObject3HWC(_SourceHWC):
    """A source of 3HWC."""

    def spectral_model(self) -> Any:
        """Return the spectrum; `None` if the catalogue has none."""
        from villard.modeling.models import PowerLawSpectralModel

        if not self._has(0):
            return None
        model = PowerLawSpectralModel(
            index=-self.data["spec0_index"], amplitude=self.data["spec0_dnde"], reference=_REFERENCE
        )
        # Errors are asymmetric, the lower ones negative.
        errors = {
            name: 0.5 * (abs(self.data[f"{column}_errp"]) + abs(self.data[f"{column}_errn"]))
            for name, column in (("amplitude", "spec0_dnde"), ("index", "spec0_index"))
        }
        return set_errors(model, **errors)

    def spatial_model(self) -> Any:
        """Return the morphology: a point, or the disk with which the source was searched."""
        return self._spatial(self.data["search_radius"])


class SourceCatalog2HWC(MixedCatalog):
    """Second catalogue of HAWC.

    Parameters
    ----------
    filename : str or path-like
        ECSV file.
    """

    tag = "2hwc"
    description = "2HWC catalog from the HAWC observatory"
    source_object_class = SourceCatalogObject2HWC
    _source_name_key = "source_name"
    _coordinates = ("ra", "dec", "icrs")
    _needed = ("spec0_dnde", "spec0_dnde_err", "spec1_dnde", "spec1_radius")
    _default = "$GAMMAPY_DATA/catalogs/2HWC.ecsv"

    def __init__(self, filename: str | os.PathLike[str] | None = None) -> None:
        filename = self._default if filename is None else filename
        super().__init__(read_table(filename), filename)


class SourceCatalog3HWC(MixedCatalog):
    """Third catalogue of HAWC.

    Parameters
    ----------
    filename : str or path-like
        ECSV file.
    """

    tag = "3hwc"
    description = "3HWC catalog from the HAWC observatory"
    source_object_class = SourceCatalogObject3HWC
    _source_name_key = "source_name"
    _coordinates = ("ra", "dec", "icrs")
    _needed = ("spec0_dnde", "spec0_dnde_errn", "spec0_radius")
    _default = "$GAMMAPY_DATA/catalogs/3HWC.ecsv"

    def __init__(self, filename: str | os.PathLike[str] | None = None) -> None:
        filename = self._default if filename is None else filename
        super().__init__(read_table(filename), filename)

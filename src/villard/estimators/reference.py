"""The energies of flux points and the spectrum that their norms refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.estimators.sed_types import SED_UNITS
from villard.exceptions import DataError, ModelError
from villard.maps import MapAxis, RegionGeom

__all__ = ["EnergyBins", "ReferenceSpectrum"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnergyBins:
    """Energies of flux points: where each is given, and the bin that it was measured in.

    Bins may have gaps between them or overlap, and points needn't lie in their middle.

    Parameters
    ----------
    ref : array
        Energies at which differential fluxes are given, increasing.
    min, max : array or None
        Bins, if they are known.
    unit : `~astropy.units.UnitBase`
        Unit of all.
    """

    ref: Array
    min: Array | None
    max: Array | None
    unit: u.UnitBase

    def __post_init__(self) -> None:
        for name in ("ref", "min", "max"):
            values = getattr(self, name)
            if values is not None and not (np.all(np.isfinite(values)) and np.all(values > 0)):
                raise DataError(f"Flux points: energies must be positive, found e_{name}={values}")
        step = np.diff(self.ref)
        if np.any(step <= 0):
            i = int(np.argmax(step <= 0))
            raise DataError(
                f"Flux points: energies must increase, found {self.ref[i]:g} followed by "
                f"{self.ref[i + 1]:g} {self.unit}"
            )
        if self.min is not None and self.max is not None:
            bad = (self.min > self.ref) | (self.max < self.ref) | (self.min >= self.max)
            if np.any(bad):
                i = int(np.argmax(bad))
                raise DataError(
                    f"Flux points: expected e_min <= e_ref <= e_max, found {self.min[i]:g}, {self.ref[i]:g}, "
                    f"{self.max[i]:g} {self.unit}"
                )

    @classmethod
    def from_axis(cls, axis: MapAxis) -> EnergyBins:
        """Take the energies of an axis; bins are known if it has edges as nodes."""
        if axis.node_type == "edges":
            return cls(axis.center.value, axis.edges_min.value, axis.edges_max.value, axis.unit)
        return cls(axis.center.value, None, None, axis.unit)

    @property
    def is_contiguous(self) -> bool:
        """Whether bins are known and each begins where the one before ends."""
        if self.min is None or self.max is None:
            return False
        return bool(np.allclose(self.min[1:], self.max[:-1], rtol=1e-6, atol=0))

    @property
    def axis(self) -> MapAxis:
        """Axis of the bins or, where they are unknown or have gaps, of the points."""
        if self.is_contiguous and self.min is not None and self.max is not None:
            return MapAxis.from_energy_edges(np.append(self.min, self.max[-1]) * self.unit)
        return MapAxis.from_nodes(self.ref, unit=self.unit, name="energy", interp="log")

    @property
    def geom(self) -> RegionGeom:
        """Geometry of one number per energy."""
        return RegionGeom.create(None, axes=[self.axis])

    def select(self, idx: Any) -> EnergyBins:
        """Return some of the points."""
        low, high = (None if values is None else values[idx] for values in (self.min, self.max))
        return EnergyBins(self.ref[idx], low, high, self.unit)


@dataclass(frozen=True)
class ReferenceSpectrum:
    """A spectrum at the energies of flux points: the unit of their norms.

    Parameters
    ----------
    model : `~villard.modeling.models.SkyModel`
        Model.
    assumed : bool
        Whether nobody gave a model, so that a power law of index 2 stands in.
    dnde : array
        Differential flux at the points, in cm⁻² s⁻¹ TeV⁻¹.
    e2dnde : array
        The same times energy squared, in erg cm⁻² s⁻¹.
    flux, eflux : array or None
        Integral flux (cm⁻² s⁻¹) and energy flux (erg cm⁻² s⁻¹) in the bins, if they are known.
    """

    model: Any
    assumed: bool
    dnde: Array
    e2dnde: Array
    flux: Array | None = None
    eflux: Array | None = None

    @classmethod
    def from_model(cls, model: Any, energies: EnergyBins) -> ReferenceSpectrum:
        """Evaluate a model (`None`: a power law of index 2) at the energies of flux points.

        Raises
        ------
        ModelError
            If it isn't a model of a spectrum, or is not positive at all energies.
        """
        assumed = model is None
        model = _as_sky_model(model)
        spectrum = model.spectral_model
        energy = energies.ref * energies.unit
        dnde = spectrum(energy)
        if not dnde.unit.is_equivalent(SED_UNITS["dnde"]):
            raise ModelError(f"Reference model {model.name!r}: expected a flux, found the unit {dnde.unit}")
        values = {"dnde": dnde, "e2dnde": dnde * energy**2}
        if energies.min is not None and energies.max is not None:
            bounds = energies.min * energies.unit, energies.max * energies.unit
            values["flux"] = spectrum.integral(*bounds)
            values["eflux"] = spectrum.energy_flux(*bounds)
        arrays = {key: np.asarray(value.to_value(SED_UNITS[key])) for key, value in values.items()}
        for key, array in arrays.items():
            if not np.all(array > 0):
                raise ModelError(
                    f"Reference model {model.name!r}: expected a positive {key} everywhere, found {array}"
                )
        return cls(model, assumed, **arrays)

    @classmethod
    def from_columns(cls, energies: EnergyBins, columns: dict[str, Array]) -> ReferenceSpectrum:
        """Take the reference from the ``ref_…`` columns of a table, which hold at least ``dnde``."""
        dnde = columns["dnde"]
        e2dnde = (
            dnde * energies.ref**2 * float((SED_UNITS["dnde"] * energies.unit**2).to(SED_UNITS["e2dnde"]))
        )
        model = _template(energies, dnde)
        return cls(model, False, dnde, e2dnde, columns.get("flux"), columns.get("eflux"))

    def values(self, sed_type: str) -> Array:
        """Return the reference in the representation of a type, in its unit; ones for "likelihood".

        Raises
        ------
        DataError
            If the type needs bins that aren't known.
        """
        if sed_type == "likelihood":
            return np.ones_like(self.dnde)
        values: Array | None = getattr(self, sed_type)
        if values is None:
            raise DataError(
                f"Flux points: {sed_type} needs the bins (e_min and e_max), but only their energies are known"
            )
        return values

    def select(self, idx: Any) -> ReferenceSpectrum:
        """Return the reference at some of the points."""
        arrays = [self.dnde, self.e2dnde, self.flux, self.eflux]
        return ReferenceSpectrum(self.model, self.assumed, *(a if a is None else a[idx] for a in arrays))  # type: ignore[arg-type]


def _as_sky_model(model: Any) -> Any:
    """Return a copy as a `SkyModel`: later fits of the original must not change what was measured."""
    from villard.modeling.models import PowerLawSpectralModel, SkyModel
    from villard.modeling.models.spectral.core import SpectralModel

    if model is None:
        model = PowerLawSpectralModel(index=2)
    if isinstance(model, SpectralModel):
        return SkyModel(spectral_model=model.copy(), name="reference")
    if not isinstance(model, SkyModel):
        raise ModelError(
            f"Reference model: expected a SkyModel or a spectral model, found {type(model).__name__}"
        )
    return model.copy(name=model.name)


def _template(energies: EnergyBins, dnde: Array) -> Any:
    from villard.modeling.models import PowerLawSpectralModel, SkyModel, TemplateSpectralModel

    energy, values = energies.ref * energies.unit, dnde * SED_UNITS["dnde"]
    if len(dnde) > 1:
        return SkyModel(TemplateSpectralModel(energy=energy, values=values), name="reference")
    spectrum = PowerLawSpectralModel(index=2, amplitude=values[0], reference=energy[0])
    return SkyModel(spectrum, name="reference")

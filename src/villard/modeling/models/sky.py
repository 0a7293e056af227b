"""A source on the sky: spectrum, and where they are given morphology and time dependence."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.component import ComponentModel, check_names
from villard.modeling.models.core import model_from_dict, named
from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.models.temporal.core import TemporalModel
from villard.utils.names import make_name, nearest
from villard.utils.units import unit_text

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["SkyModel"]

_KEYS = ("name", "type", "spectral", "spatial", "temporal", "apply_irf", "datasets_names")
_FLUX = u.Unit("cm-2 s-1 TeV-1")
_APPLY_IRF = {"exposure": True, "psf": True, "edisp": True}


class SkyModel(ComponentModel):
    """A source: the product of a spectral and, optionally, a spatial and a temporal model.

    Parameters
    ----------
    spectral_model : `SpectralModel`
        Spectrum.
    spatial_model : `SpatialModel`, optional
        Morphology.
    temporal_model : `TemporalModel`, optional
        Time dependence.
    name : str, optional
        Name; random by default.
    datasets_names : str or list of str, optional
        Datasets that the source contributes to; all by default.
    apply_irf : dict, optional
        Which of ``exposure``, ``psf`` and ``edisp`` are applied; all by default.

    Examples
    --------
    >>> from villard.modeling.models import PowerLawSpectralModel
    >>> model = SkyModel(PowerLawSpectralModel(index=2.3), name="source")
    >>> model.parameters["index"].value
    2.3
    >>> model.parameters_unique_names
    ['spectral.index', 'spectral.amplitude', 'spectral.reference']
    """

    tag: ClassVar[list[str]] = ["SkyModel", "sky-model"]
    _settable = (*ComponentModel._settable, "apply_irf", "temporal_model")

    def __init__(
        self,
        spectral_model: SpectralModel,
        spatial_model: SpatialModel | None = None,
        temporal_model: TemporalModel | None = None,
        name: str | None = None,
        datasets_names: str | list[str] | None = None,
        apply_irf: dict[str, bool] | None = None,
        covariance_data: Any = None,
    ) -> None:
        unknown = set(apply_irf or {}) - set(_APPLY_IRF)
        if unknown:
            raise ModelError(f"SkyModel {name or ''}: apply_irf has no key {sorted(unknown)[0]!r}")
        self.spectral_model = spectral_model
        self.spatial_model = spatial_model
        self.temporal_model = temporal_model
        self.name = make_name(name)
        self.datasets_names = check_names(datasets_names, f"SkyModel {name or ''}")
        self.apply_irf = {**_APPLY_IRF, **(apply_irf or {})}
        super().__init__()
        self._check_parts({"spectral": SpectralModel, "spatial": SpatialModel, "temporal": TemporalModel})
        self._check_unit()
        if covariance_data is not None:
            self.covariance = covariance_data

    def _check_unit(self) -> None:
        unit, expected = self.spectral_model.output_unit, _FLUX
        if self.spatial_model is None:
            what = "the spectrum"
        else:
            # With a template of fluxes on the sky, the spectrum is but a factor.
            what, unit, expected = (
                "spectrum times morphology",
                unit * self.spatial_model.output_unit,
                _FLUX / u.sr,
            )
        if not unit.is_equivalent(expected):
            raise UnitsError(
                f"SkyModel {self.name!r}: {what} must be in a unit like {expected}, found {unit_text(unit)}"
            )

    @property
    def position(self) -> "SkyCoord | None":
        """Centre of the morphology; `None` if there is none."""
        return None if self.spatial_model is None else self.spatial_model.position

    @property
    def position_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre (deg), in the frame of the morphology."""
        return self._morphology().position_lonlat

    @property
    def frame(self) -> str:
        """Frame of the morphology."""
        return self._morphology().frame

    @property
    def evaluation_radius(self) -> u.Quantity | None:
        """Radius around the position beyond which the morphology is neglected; `None` if there is none."""
        return None if self.spatial_model is None else self.spatial_model.evaluation_radius

    def _morphology(self) -> SpatialModel:
        if self.spatial_model is None:
            raise ModelError(f"SkyModel {self.name!r} has no spatial model")
        return self.spatial_model

    def evaluate(self, lon: Any, lat: Any, energy: Any, time: Any = None) -> u.Quantity:
        """Return the surface brightness: the product of the parts that there are.

        Parameters
        ----------
        lon, lat : `~astropy.units.Quantity`
            Directions, in the frame of the spatial model.
        energy : `~astropy.units.Quantity`
            Energies; arrays broadcast.
        time : `~astropy.time.Time`, optional
            Times; without them the temporal model counts as 1.

        Returns
        -------
        `~astropy.units.Quantity`
            Differential flux, per solid angle if there is a spatial model.
        """
        value = self.spectral_model(energy)
        if self.spatial_model is not None:
            value = value * self.spatial_model(lon, lat, energy)
        if self.temporal_model is not None and time is not None:
            value = value * self.temporal_model(time)
        return value

    __call__ = evaluate

    def integral_flux(self, energy_min: u.Quantity, energy_max: u.Quantity) -> u.Quantity:
        """Return the integral flux of the spectrum between two energies."""
        return self.spectral_model.integral(energy_min, energy_max)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Return the model in the form of Gammapy's YAML."""
        result: dict[str, Any] = {"name": self.name, "type": self.tag[0]}
        for part, model in self._components.items():
            result[part] = model.to_dict(full_output=full_output)
        if not all(self.apply_irf.values()):
            result["apply_irf"] = dict(self.apply_irf)
        if self.datasets_names is not None:
            result["datasets_names"] = list(self.datasets_names)
        return result

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the model from the form of `to_dict`.

        Raises
        ------
        ModelError
            If a part is of an unknown type or ``spectral`` is missing; the message names the source.
        """
        name = data.get("name")
        for key in data:
            if key not in _KEYS:
                raise ModelError(f"SkyModel {name!r}: unknown key {key!r}. {nearest(str(key), _KEYS)}")
        if "spectral" not in data:
            raise ModelError(f"SkyModel {name!r}: 'spectral' is missing")
        parts: dict[str, Any] = {}
        with named(f"SkyModel {name!r}"):
            for part in ("spectral", "spatial", "temporal"):
                if data.get(part) is not None:
                    parts[f"{part}_model"] = model_from_dict(part, data[part], part)
        return cls(
            **parts, name=name, datasets_names=data.get("datasets_names"), apply_irf=data.get("apply_irf")
        )

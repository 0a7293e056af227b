"""A source on the sky: spectrum, and where they are given morphology and time dependence."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.core import ModelBase, model_from_dict, named, parameter_lines
from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.models.temporal.core import TemporalModel
from villard.modeling.parameter import Parameters
from villard.utils.names import make_name, nearest
from villard.utils.units import unit_text

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

__all__ = ["SkyModel"]

_KEYS = ("name", "type", "spectral", "spatial", "temporal", "apply_irf", "datasets_names")
_PARTS = ("spectral", "spatial", "temporal")
_FLUX = u.Unit("cm-2 s-1 TeV-1")
_APPLY_IRF = {"exposure": True, "psf": True, "edisp": True}


def check_names(names: Any, where: str) -> list[str] | None:
    """Return names of datasets as a list; `None` means all."""
    if names is None or isinstance(names, str):
        return None if names is None else [names]
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return list(names)
    raise ModelError(f"{where}: datasets_names must be names of datasets, found {names!r}")


def check_part(model_type: str | None) -> None:
    """Raise `ModelError` if there is no part of this name."""
    if model_type is not None and model_type not in _PARTS:
        raise ModelError(f"No part of a model is called {model_type!r}. {nearest(str(model_type), _PARTS)}")


class SkyModel(ModelBase):
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
    _settable = ("name", "datasets_names", "apply_irf", "spectral_model", "spatial_model", "temporal_model")

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
        parts = (
            ("spectral_model", spectral_model, SpectralModel),
            ("spatial_model", spatial_model, SpatialModel),
            ("temporal_model", temporal_model, TemporalModel),
        )
        for part, model, expected in parts:
            if not isinstance(model, expected) and (model is not None or part == "spectral_model"):
                raise ModelError(
                    f"SkyModel {name or ''}: {part} must be a {expected.__name__}, "
                    f"found {type(model).__name__}"
                )
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
        self._check_unit()
        if covariance_data is not None:
            self.covariance = covariance_data

    def _check_unit(self) -> None:
        # With a template on the sky, the spectrum may be but a factor of it.
        unit = self.spectral_model.output_unit
        if self.spatial_model is None and not unit.is_equivalent(_FLUX):
            raise UnitsError(
                f"SkyModel {self.name!r}: the spectrum must be in a unit like {_FLUX}, found "
                f"{unit_text(unit)}"
            )

    @property
    def _components(self) -> dict[str, ModelBase]:
        parts = {
            "spectral": self.spectral_model,
            "spatial": self.spatial_model,
            "temporal": self.temporal_model,
        }
        return {name: model for name, model in parts.items() if model is not None}

    @property
    def parameters(self) -> Parameters:
        """Parameters of all parts."""
        return Parameters.join(model.parameters for model in self._components.values())

    @property
    def parameters_unique_names(self) -> list[str]:
        """Names of the parameters with the part that they belong to, as in ``spectral.index``."""
        return [
            f"{part}.{name}"
            for part, model in self._components.items()
            for name in model.parameters_unique_names
        ]

    def contributes_to(self, dataset_name: str) -> bool:
        """Tell whether the source contributes to the dataset of this name."""
        return self.datasets_names is None or dataset_name in self.datasets_names

    def freeze(self, model_type: str | None = None) -> None:
        """Freeze the parameters of one part (``"spectral"``, ``"spatial"``, ``"temporal"``) or of all."""
        check_part(model_type)
        for part, model in self._components.items():
            if model_type in (None, part):
                model.freeze()

    def unfreeze(self, model_type: str | None = None) -> None:
        """Restore the frozen states that the classes declare, for one part or for all."""
        check_part(model_type)
        for part, model in self._components.items():
            if model_type in (None, part):
                model.unfreeze()

    def copy(self, name: str | None = None, copy_data: bool = True, **kwargs: Any) -> Self:
        """Return a copy with another name (random if none is given)."""
        new = super().copy()
        new.name = make_name(name)
        for key, value in kwargs.items():
            setattr(new, key, value)
        return new

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

    def __add__(self, other: Any) -> Any:
        from villard.modeling.models.collection import Models

        return Models([self, *([other] if isinstance(other, ModelBase) else other)])

    def __repr__(self) -> str:
        parts = ", ".join(f"{part}={type(model).__name__}" for part, model in self._components.items())
        return f"SkyModel(name={self.name!r}, {parts})"

    def __str__(self) -> str:
        datasets = "all" if self.datasets_names is None else ", ".join(self.datasets_names)
        lines = [f"SkyModel {self.name}", "", f"  {'Datasets':<24} {'':>8}: {datasets}"]
        for part, model in self._components.items():
            lines.append(f"  {part.capitalize() + ' model':<24} {'':>8}: {type(model).__name__}")
            lines += [f"    {line}" for line in parameter_lines(model.parameters)]
        return "\n".join(lines)

"""A source on the sky: spectrum, and where they are given morphology and time dependence."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError, UnitsError
from villard.modeling.models.component import ComponentModel, check_names
from villard.modeling.models.core import get_model_class, model_from_dict, named
from villard.modeling.models.spatial.core import SpatialModel
from villard.modeling.models.spectral.core import SpectralModel
from villard.modeling.models.temporal.core import TemporalModel
from villard.utils.names import make_name, nearest
from villard.utils.units import unit_text

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord

    from villard.data.gti import GTI
    from villard.maps import Map

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
        self._check_halo()
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

    def _check_halo(self) -> None:
        """A halo of dark matter has J- or D-factors itself; the spectrum must be of the same process."""
        own = getattr(self.spatial_model, "reference_factor", None)
        given = getattr(self.spectral_model, "jfactor", None)
        if own is None or given is None:
            return
        if not given.unit.is_equivalent(own.unit):
            raise ModelError(
                f"SkyModel {self.name!r}: expected spectrum and halo both of annihilation or both of decay, "
                f"found a spectrum with a factor in {unit_text(given.unit)} and a halo in "
                f"{unit_text(own.unit)} sr-1"
            )
        if abs(float((given / own).to_value("")) - 1) > 1e-9:
            raise ModelError(
                f"SkyModel {self.name!r}: the halo brings its own J- or D-factor, so that of the spectrum "
                f"({given:.3g}) must be left out"
            )

    @classmethod
    def create(
        cls,
        spectral_model: str | SpectralModel,
        spatial_model: str | SpatialModel | None = None,
        temporal_model: str | TemporalModel | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a sky model of models, or of their short names.

        Parameters
        ----------
        spectral_model, spatial_model, temporal_model : str or model
            Models, or tags such as "pl", "gauss" and "exp-decay" of models with default values.
        **kwargs
            For the class.

        Examples
        --------
        >>> SkyModel.create("pl", "gauss", name="source")
        SkyModel(name='source', spectral=PowerLawSpectralModel, spatial=GaussianSpatialModel)
        """
        parts: dict[str, Any] = {
            "spectral": spectral_model,
            "spatial": spatial_model,
            "temporal": temporal_model,
        }
        models = {
            f"{part}_model": get_model_class(part, model)() if isinstance(model, str) else model
            for part, model in parts.items()
        }
        return cls(**models, **kwargs)

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
            value = value * self.temporal_model(time, energy)
        return value

    __call__ = evaluate

    def temporal_factor(self, gti: "GTI | None", energy: u.Quantity | None = None) -> Any:
        """Return the mean of the temporal model over good time intervals.

        Parameters
        ----------
        gti : `~villard.data.GTI`
            Intervals; only needed if there is a temporal model.
        energy : `~astropy.units.Quantity`, optional
            Energies, only for a temporal model that depends on them.

        Returns
        -------
        float or `~numpy.ndarray`
            Factor to the flux: 1 without temporal model, one per energy if it depends on them.

        Raises
        ------
        ModelError
            If there is a temporal model and there are no intervals.

        Examples
        --------
        >>> from villard.data import GTI
        >>> from villard.modeling.models import LinearTemporalModel, PowerLawSpectralModel
        >>> time = LinearTemporalModel(beta="1 d-1", t_ref="55555 d")
        >>> model = SkyModel(PowerLawSpectralModel(), temporal_model=time)
        >>> gti = GTI.create([0, 2] * u.d, [1, 3] * u.d, reference_time=time.reference_time)
        >>> round(model.temporal_factor(gti), 9)
        2.5
        """
        if self.temporal_model is None:
            return 1.0
        if gti is None or not len(gti):
            raise ModelError(
                f"SkyModel {self.name!r}: its temporal model needs good time intervals (gti), of which "
                "there are none"
            )
        bounds = gti.time_start, gti.time_stop
        if not self.temporal_model.is_energy_dependent:
            return float(np.sum(self.temporal_model.integral(*bounds).to_value("")))
        model: Any = self.temporal_model
        return np.sum(model.integral(*bounds, energy=energy).to_value(""), axis=-1)

    def evaluate_geom(self, geom: Any, gti: "GTI | None" = None) -> u.Quantity:
        """Return the surface brightness at the centres of bins.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom` or `~villard.maps.RegionGeom`
            Geometry with energies.
        gti : `~villard.data.GTI`, optional
            Intervals over which the temporal model is averaged; without them it counts as 1.

        Returns
        -------
        `~astropy.units.Quantity`
            Differential flux, per solid angle if there is a spatial model, in the shape of the data.
        """
        axis = _energy_axis(geom, self.name)
        energy = geom._along(axis.center, axis.name)
        value = self.spectral_model(energy) * self._time_weights(gti, energy)
        if self.spatial_model is not None:
            value = value * self.spatial_model.evaluate_geom(geom)
        return np.broadcast_to(value, geom.data_shape, subok=True).copy()

    def integrate_geom(
        self, geom: Any, gti: "GTI | None" = None, oversampling_factor: int | None = None
    ) -> "Map":
        """Return the flux in each bin: integrated over the pixel and over the bin of energy.

        Parameters
        ----------
        geom : `~villard.maps.WcsGeom` or `~villard.maps.RegionGeom`
            Geometry with energies.
        gti : `~villard.data.GTI`, optional
            As for `evaluate_geom`.
        oversampling_factor : int, optional
            As for `SpatialModel.integrate_geom`.

        Returns
        -------
        `~villard.maps.Map`
            Integral flux. Morphologies that depend on energy are taken at several nodes of each bin.
        """
        from villard.maps import Map

        axis = _energy_axis(geom, self.name)
        edges = axis.edges
        if self.spatial_model is not None and self.spatial_model.is_energy_dependent:
            flux = self._integrate_nodes(geom, axis, oversampling_factor)
        else:
            flux = geom._along(self.spectral_model.integral(edges[:-1], edges[1:]), axis.name)
            if self.spatial_model is not None:
                flux = flux * self.spatial_model.integrate_geom(geom, oversampling_factor).quantity
        flux = flux * self._time_weights(gti, geom._along(axis.center, axis.name))
        flux = np.broadcast_to(flux.to_value("cm-2 s-1"), geom.data_shape).copy()
        return Map.from_geom(geom, data=flux, unit="cm-2 s-1")

    def _integrate_nodes(self, geom: Any, axis: Any, oversampling_factor: int | None) -> u.Quantity:
        """Integrate spectrum times morphology over energies by Gauss-Legendre quadrature in ln E."""
        from villard.maps import MapAxis

        assert self.spatial_model is not None
        low, high = np.log(axis.edges[:-1].value), np.log(axis.edges[1:].value)
        # With these a power law of slope -4 is right to 1e-4 and better.
        nodes, weights = np.polynomial.legendre.leggauss(3 if np.max(high - low) < 0.7 else 5)
        total: Any = 0.0
        for node, weight in zip(nodes, weights, strict=True):
            energy = np.exp(0.5 * (low + high) + 0.5 * (high - low) * node)
            # As an axis of its own, whose centres are the energies wanted.
            at = [
                MapAxis.from_nodes([value], name=axis.name, unit=axis.unit, interp="log") for value in energy
            ]
            planes = [
                self.spatial_model.integrate_geom(geom.replace_axis(one), oversampling_factor).quantity
                for one in at
            ]
            width = geom._along(0.5 * (high - low) * weight * energy, axis.name) * axis.unit
            flux = geom._along(self.spectral_model(energy * axis.unit), axis.name)
            total = total + width * flux * np.concatenate(planes, axis=geom.data_axis(axis.name))
        return total

    def _time_weights(self, gti: "GTI | None", energy: u.Quantity) -> Any:
        return 1.0 if gti is None else self.temporal_factor(gti, energy)

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


def _energy_axis(geom: Any, name: str) -> Any:
    """Return the axis of (true) energy of a geometry."""
    for axis_name in ("energy_true", "energy"):
        if axis_name in geom.axes.names:
            return geom.axes[axis_name]
    raise ModelError(
        f"SkyModel {name!r}: expected a geometry with energies, found the axes {geom.axes.names}"
    )

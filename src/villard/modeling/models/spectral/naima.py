"""Spectra of particle populations through the radiative models of naima."""

import copy
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from villard.exceptions import ModelError
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel, engine_values
from villard.modeling.models.spectral.pure import by_callback
from villard.modeling.parameter import Parameter, Parameters

__all__ = ["NaimaSpectralModel"]

Array = NDArray[np.float64]

_UNIT = u.Unit("cm-2 s-1 TeV-1")


class NaimaSpectralModel(SpectralModel):
    """Radiation of a particle population, computed by naima (extra ``naima``).

    The parameters are those of the particle distribution and, for inverse Compton and synchrotron
    radiation, the magnetic field ``B``. naima works in numpy: derivatives are finite differences.

    Parameters
    ----------
    radiative_model : `naima.models` radiative model
        Such as ``naima.models.PionDecay(particle_distribution)``.
    distance : `~astropy.units.Quantity`
        Distance of the source.
    seed : str or list of str, optional
        Seed photon fields of inverse Compton scattering to take into account.
    nested_models : dict, optional
        ``{"SSC": {"B": field, "radius": radius}}`` adds the synchrotron photons of the same electrons
        to the seeds of inverse Compton scattering.

    Raises
    ------
    ModelError
        If it isn't a radiative model, or the nested models aren't known.
    """

    tag = ["NaimaSpectralModel", "naima"]
    traceable = False

    def __init__(
        self,
        radiative_model: Any,
        distance: Any = 1.0 * u.kpc,
        seed: Any = None,
        nested_models: dict[str, Any] | None = None,
    ) -> None:
        if not hasattr(radiative_model, "particle_distribution") or not hasattr(radiative_model, "flux"):
            raise ModelError(
                "NaimaSpectralModel: expected a radiative model of naima, "
                f"found {type(radiative_model).__name__}"
            )
        self._distance, self._seed, self._nested = u.Quantity(distance), seed, dict(nested_models or {})
        # A copy, because it is set to other values whenever a flux is asked for.
        self._model = copy.deepcopy(radiative_model)
        particle = self._model.particle_distribution
        declared = [self._declare(particle, name) for name in getattr(particle, "param_names", ())]
        if hasattr(radiative_model, "B"):
            declared.append(Parameter("B", radiative_model.B))
        if self._nested:
            declared += self._declare_nested()
        self.default_parameters = Parameters(declared)  # type: ignore[misc]
        super().__init__()

    @staticmethod
    def _declare(particle: Any, name: str) -> Parameter:
        # The energy that the amplitude refers to can't be fitted beside it.
        return Parameter(
            name, u.Quantity(getattr(particle, name)), is_norm=name == "amplitude", frozen=name == "e_0"
        )

    def _declare_nested(self) -> list[Parameter]:
        settings = self._nested.get("SSC", {})
        if set(self._nested) != {"SSC"} or set(settings) != {"B", "radius"}:
            raise ModelError(
                "NaimaSpectralModel: nested_models must be {'SSC': {'B': …, 'radius': …}}, "
                f"found {self._nested}"
            )
        if not hasattr(self._model, "seed_photon_fields"):
            raise ModelError(
                "NaimaSpectralModel: synchrotron photons are seeds of InverseCompton, "
                f"found {type(self._model).__name__}"
            )
        return [Parameter("B", settings["B"]), Parameter("radius", settings["radius"], frozen=True)]

    @property
    def distance(self) -> u.Quantity:
        """Distance of the source."""
        return self._distance

    @property
    def radiative_model(self) -> Any:
        """The model of naima, a copy with the current parameters."""
        self._set_naima(engine_values(self))
        return copy.deepcopy(self._model)

    @property
    def particle_distribution(self) -> Any:
        """The particles of `radiative_model`."""
        return self.radiative_model.particle_distribution

    @property
    def flux_unit(self) -> u.UnitBase:
        """Unit of the differential flux."""
        return _UNIT

    def _set_naima(self, values: Array) -> None:
        quantities = {
            name: u.Quantity(value / p.engine_factor, p.unit)
            for p, name, value in zip(self.parameters, self.default_parameters.names, values, strict=True)
        }
        particle = self._model.particle_distribution
        for name in getattr(particle, "param_names", ()):
            plain = not hasattr(getattr(particle, name), "unit")
            setattr(particle, name, quantities[name].value if plain else quantities[name])
        if "SSC" in self._nested:
            self._add_synchrotron_photons(quantities["B"], quantities["radius"])
        elif "B" in quantities:
            self._model.B = quantities["B"]

    def _add_synchrotron_photons(self, field: u.Quantity, radius: u.Quantity) -> None:
        """Set the density of synchrotron photons, as in a homogeneous sphere.

        Atoyan & Aharonian 1996, MNRAS 278, 525: a factor 2.24 of the surface density.
        """
        from astropy.constants import c
        from naima.models import Synchrotron

        particle = self._model.particle_distribution
        synchrotron = Synchrotron(particle, B=field, Eemax=50 * u.PeV, Eemin=0.1 * u.GeV)
        energy = np.logspace(-7, 9, 100) * u.eV
        luminosity = synchrotron.flux(energy, distance=0 * u.cm)
        density = (luminosity / (4 * np.pi * radius**2 * c) * 2.24).to("1 / (eV cm3)")
        self._model.seed_photon_fields.setdefault("SSC", {"isotropic": True, "type": "array"})
        self._model.seed_photon_fields["SSC"].update(energy=energy, photon_density=density)

    def _flux(self, energy: Array, values: Array) -> Array:
        self._set_naima(values)
        options = {} if self._seed is None else {"seed": self._seed}
        # naima wants at least two energies, in one dimension.
        flat = np.atleast_1d(energy).ravel()
        flux = self._model.flux(np.append(flat, flat[-1] * 1.1) * u.TeV, distance=self._distance, **options)
        return flux.to_value(_UNIT)[:-1].reshape(np.shape(energy))

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions, through a callback where JAX traces it."""
        free = tuple(i for i, p in enumerate(self.parameters) if not p.frozen or p.error > 0)
        norms = [i for i, p in enumerate(self.default_parameters) if p.is_norm]
        linear = norms[0] if len(norms) == 1 and "SSC" not in self._nested else None
        # The key holds the model itself, not its id, which another one may get when this is gone.
        return PureSpectrum(
            ("naima", self, free), len(self.parameters), by_callback(self._flux, free), norm_index=linear
        )

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Not possible: a model of naima has no YAML form."""
        raise ModelError("NaimaSpectralModel can't be written as YAML: make it in a script")

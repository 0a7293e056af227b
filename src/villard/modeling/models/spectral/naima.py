"""Spectra of particle populations through the radiative models of naima."""

from typing import Any

import astropy.units as u
import numpy as np

from villard.exceptions import ModelError
from villard.modeling.models.spectral.callback import traced_by_callback
from villard.modeling.models.spectral.core import PureSpectrum, SpectralModel
from villard.modeling.parameter import Parameter, Parameters
from villard.utils.array import namespace

__all__ = ["NaimaSpectralModel"]

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
        If it isn't a radiative model.
    """

    tag = ["NaimaSpectralModel", "naima"]

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
        self._model, self._distance, self._seed = radiative_model, u.Quantity(distance), seed
        self._nested = dict(nested_models or {})
        self._particle = radiative_model.particle_distribution
        declared = [self._declare(self._particle, name) for name in self._particle.param_names]
        if hasattr(radiative_model, "B"):
            declared.append(Parameter("B", radiative_model.B))
        if "SSC" in self._nested:
            declared.append(Parameter("B", self._nested["SSC"]["B"]))
            declared.append(Parameter("radius", self._nested["SSC"]["radius"], frozen=True))
        self.default_parameters = Parameters(declared)  # type: ignore[misc]
        super().__init__()

    @staticmethod
    def _declare(particle: Any, name: str) -> Parameter:
        parameter = Parameter(name, u.Quantity(getattr(particle, name)))
        parameter.is_norm = name == "amplitude"
        parameter.frozen = name in {"e_0", "beta"}
        return parameter

    @property
    def distance(self) -> u.Quantity:
        """Distance of the source."""
        return self._distance

    @property
    def radiative_model(self) -> Any:
        """The model of naima."""
        return self._model

    @property
    def output_unit(self) -> u.UnitBase:
        """Unit of the differential flux."""
        return _UNIT

    def _set_naima(self, values: np.ndarray) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            quantity = u.Quantity(value / parameter.engine_factor, parameter.unit)
            if parameter.name == "B":
                self._model.B = quantity
            elif parameter.name != "radius":
                own = quantity if hasattr(getattr(self._particle, parameter.name), "unit") else quantity.value
                setattr(self._particle, parameter.name, own)
        if "SSC" in self._nested:
            self._add_synchrotron_photons(values)

    def _add_synchrotron_photons(self, values: np.ndarray) -> None:
        """Set the density of synchrotron photons, as in a homogeneous sphere.

        Atoyan & Aharonian 1996, MNRAS 278, 525: a factor 2.24 of the surface density.
        """
        from astropy.constants import c
        from naima.models import Synchrotron

        quantities = {
            p.name: u.Quantity(v / p.engine_factor, p.unit)
            for p, v in zip(self.parameters, values, strict=True)
        }
        synchrotron = Synchrotron(self._particle, B=quantities["B"], Eemax=50 * u.PeV, Eemin=0.1 * u.GeV)
        energy = np.logspace(-7, 9, 100) * u.eV
        luminosity = synchrotron.flux(energy, distance=0 * u.cm)
        density = luminosity / (4 * np.pi * quantities["radius"] ** 2 * c) * 2.24
        seeds = self._model.seed_photon_fields
        if "SSC" not in seeds:
            seeds["SSC"] = {"isotropic": True, "type": "array", "energy": energy, "photon_density": density}
        seeds["SSC"].update(energy=energy, photon_density=density.to("1 / (eV cm3)"))

    def _flux(self, energy: np.ndarray, values: np.ndarray) -> np.ndarray:
        self._set_naima(values)
        options = {} if self._seed is None else {"seed": self._seed}
        # naima wants at least two energies, in one dimension.
        flat = np.atleast_1d(energy).ravel()
        flux = self._model.flux(np.append(flat, flat[-1] * 1.1) * u.TeV, distance=self._distance, **options)
        return flux.to_value(_UNIT)[:-1].reshape(np.shape(energy))

    def pure(self) -> PureSpectrum:
        """Return the model as pure functions, through a callback where JAX traces it."""
        norms = [i for i, p in enumerate(self.parameters) if p.is_norm]
        n = len(self.parameters)
        traced: list[Any] = []

        def evaluate(energy: Any, parameters: Any, arrays: Any) -> Any:
            xp = namespace(energy, parameters)
            if xp is np:
                return self._flux(np.asarray(energy), np.asarray(parameters))
            if not traced:
                traced.append(traced_by_callback(self._flux))
            return traced[0](xp.asarray(energy), xp.asarray(parameters))

        linear = norms[0] if len(norms) == 1 and "SSC" not in self._nested else None
        return PureSpectrum(("naima", id(self)), n, evaluate, norm_index=linear)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """Not possible: a model of naima has no YAML form."""
        raise ModelError("NaimaSpectralModel can't be written as YAML: make it in a script")

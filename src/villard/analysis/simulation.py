"""The configuration of a simulation of events: a YAML file, checked as a whole before anything is drawn.

A file with everything that it may have looks like this::

    observation:
      pointing: {lon: 0 deg, lat: 0 deg, frame: galactic}
      livetime: 5 h
      irfs: analytic                   # or a FITS file in the GADF layout
      obs_id: 1
      start: 2028-01-01T00:00:00       # default: the year 2000
      deadtime_fraction: 0.02
    models: models.yaml                # sky models and backgrounds, in Gammapy's format
    components:                        # default: each model is one
      DM: dark-matter                  # name of a model, a list of names, or again keys and values
      bkg:
        CCR: irf-background
        local: [source-1, source-2]
    n_events: {DM: 250, CCR: 175}      # default: Poisson numbers
    energy_bounds: [0.1 TeV, 100 TeV]
    width: 6 deg                       # or widths in longitude and latitude
    frame: galactic                    # of the field of view; default: that of the pointing
    random_state: 1
    output:
      file: events.fits
      include_irfs: true
      plots: true
      overwrite: false

``observation`` with ``pointing``, ``livetime`` and ``irfs`` is needed, and models or components. The name
``irf-background`` stands for the background of the responses, if no model is called so. Paths are relative to
the file, ``$VAR`` is expanded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import astropy.units as u
from pydantic import Field, PlainValidator, PrivateAttr, model_validator

from villard.config import Energy, Section, load_config
from villard.exceptions import ConfigError
from villard.utils.names import nearest
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from villard.data import Observation
    from villard.simulate.simulated_events import SimulatedEvents

__all__ = ["ObservationConfig", "SimulationConfig", "read_simulation_config", "run_simulation"]

BACKGROUND = "irf-background"


def _quantity(unit: str, what: str, example: str) -> PlainValidator:
    def check(value: Any) -> u.Quantity:
        try:
            quantity = u.Quantity(value)
            quantity.to_value(unit)
        except (u.UnitConversionError, TypeError, ValueError) as error:
            raise ValueError(f"expected {what} such as '{example}', found {value!r}") from error
        return quantity

    return PlainValidator(check)


Angle = Annotated[u.Quantity, _quantity("deg", "an angle", "6 deg")]
Duration = Annotated[u.Quantity, _quantity("s", "a time", "5 h")]
Frame = Literal["icrs", "galactic"]


class PointingConfig(Section):
    """A direction on the sky."""

    lon: Angle
    lat: Angle
    frame: Frame = "icrs"


class ObservationConfig(Section):
    """An observation to be simulated."""

    pointing: PointingConfig
    livetime: Duration
    irfs: str
    obs_id: int = 1
    start: str | None = None
    deadtime_fraction: float = Field(0.0, ge=0, lt=1)

    def create(self, folder: Path) -> Observation:
        """Return the observation; ``folder`` is that of the file."""
        from astropy.coordinates import SkyCoord

        from villard.data import Observation
        from villard.irf import load_irf_dict_from_file, make_analytic_irfs

        irfs: Any = make_analytic_irfs()
        if self.irfs != "analytic":
            irfs = load_irf_dict_from_file(folder / make_path(self.irfs))
        place = self.pointing
        reference: dict[str, Any] = {} if self.start is None else {"reference_time": self._time()}
        return Observation.create(
            SkyCoord(place.lon, place.lat, frame=place.frame),
            livetime=self.livetime,
            irfs=irfs,
            obs_id=self.obs_id,
            deadtime_fraction=self.deadtime_fraction,
            **reference,
        )

    def _time(self) -> Any:
        from astropy.time import Time

        try:
            return Time(str(self.start))
        except ValueError as error:
            raise ConfigError(f"observation.start: expected a time, found {self.start!r}") from error


class SimulationOutput(Section):
    """Where events go."""

    file: str = "events.fits"
    include_irfs: bool = True
    plots: bool = True
    overwrite: bool = False


class SimulationConfig(Section):
    """A whole simulation; the keys are those of the module's description."""

    observation: ObservationConfig
    models: str | None = None
    components: dict[str, Any] | None = None
    n_events: dict[str, Annotated[int, Field(ge=0)]] = {}
    energy_bounds: tuple[Energy, Energy] = (0.1 * u.TeV, 100 * u.TeV)
    width: Angle | tuple[Angle, Angle] = 6 * u.deg
    frame: Frame | None = None
    random_state: int | None = None
    output: SimulationOutput = SimulationOutput()
    _folder: Path = PrivateAttr(Path())

    @model_validator(mode="after")
    def _has_models(self) -> SimulationConfig:
        if self.models is None and self.components is None:
            raise ValueError("expected models, components or both")
        return self

    def seeded(self, random_state: int) -> SimulationConfig:
        """Return the same configuration with another seed."""
        new = self.model_copy(update={"random_state": random_state})
        new._folder = self._folder
        return new

    def tree(self) -> Any:
        """Return the components as `~villard.simulate.simulate_events` takes them."""
        from villard.modeling.models import Models

        models = [] if self.models is None else list(Models.read(self._folder / make_path(self.models)))
        if self.components is None:
            return models
        return _resolved(self.components, {model.name: model for model in models}, "components")


def _resolved(value: Any, models: dict[str, Any], where: str) -> Any:
    """Put models in the place of their names."""
    if isinstance(value, Mapping):
        return {str(key): _resolved(item, models, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, models, where) for item in value]
    if isinstance(value, str) and value in models:
        return models[value]
    if value == BACKGROUND:
        from villard.modeling.models import IRFBackground

        return IRFBackground()
    hint = nearest(str(value), [*models, BACKGROUND])
    raise ConfigError(f"{where}: expected the name of a model, found {value!r}. {hint}")


def read_simulation_config(path: str | os.PathLike[str]) -> SimulationConfig:
    """Read and check the configuration file of a simulation.

    Parameters
    ----------
    path : str or path-like
        YAML file.

    Raises
    ------
    ConfigError
        If the file can't be read or anything in it isn't allowed.
    """
    return load_config(path, SimulationConfig)


def run_simulation(
    config: SimulationConfig, report: Callable[[str], None] = lambda message: None
) -> tuple[Observation, SimulatedEvents]:
    """Draw the events of a configuration.

    Parameters
    ----------
    config : `SimulationConfig`
        Configuration.
    report : callable
        Called with what is being done.

    Returns
    -------
    observation : `~villard.data.Observation`
        Observation, with the events.
    events : `SimulatedEvents`
        Events.
    """
    from villard.simulate.events import simulate_events

    report("Reading responses and models")
    observation, tree = config.observation.create(config._folder), config.tree()
    report("Drawing events")
    width = u.Quantity(list(config.width)) if isinstance(config.width, tuple) else config.width
    events = simulate_events(
        observation,
        tree,
        random_state=config.random_state,
        n_events=config.n_events,
        energy_bounds=u.Quantity(list(config.energy_bounds)),
        width=width,
        frame=config.frame,
    )
    observation.events = events
    return observation, events

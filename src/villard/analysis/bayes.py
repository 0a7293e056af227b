"""The configuration of an inference of event mixtures, and its run: from events to a posterior, resumable.

The file has the keys of a simulation (see `villard.analysis.simulation`), of which ``observation`` and
``components`` are needed, and these::

    events: events.fits                # default: events are simulated, as the other keys say; other than
                                       # simulated ones need energy_bounds and width
    grids:                             # parameters at whose values densities are tabulated
      mass: {bounds: [0.12 TeV, 38.1 TeV], bins: 121, scale: log10, discrete: true}
    total: {type: LogUniformPrior, parameters: [...]}      # prior of the number of events: Poisson term
    alpha: 1                           # concentrations of the Dirichlet priors, by node if they differ
    bounds: {containment: 0.9999, bin_size: 0.05 deg}      # or dex and angle
    outside: raise                     # or drop: events outside of energy_bounds and width
    sampler: {name: dynesty, options: {nlive: 500, dlogz: 0.8}}
    output: {folder: bayes, plots: true, overwrite: false}

Parameters of the models file that are free and have a prior are sampled.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
from pydantic import Field

from villard.analysis.simulation import Angle, SimulationConfig, run_simulation
from villard.config import Section, load_config
from villard.exceptions import CheckpointError, ConfigError, VillardError
from villard.utils.io import atomic_write
from villard.utils.paths import make_path

if TYPE_CHECKING:
    from villard.bayes import EventMixture, Posterior

__all__ = ["BayesConfig", "read_bayes_config", "run_bayes"]

_FILES = ("events.fits", "posterior.fits", "summary.txt", "corner.png", "configuration.sha256")
_FOLDERS = ("chunks", "run")


class GridConfig(Section):
    """Values of a parameter."""

    values: list[Any] | None = None
    bounds: tuple[Any, Any] | None = None
    bins: int = Field(121, ge=2)
    scale: Literal["log10", "lin"] = "log10"
    discrete: bool = True

    def create(self) -> Any:
        """Return the `ParameterGrid`."""
        from villard.bayes import ParameterGrid

        values = None if self.values is None else _quantities(self.values)
        bounds = None if self.bounds is None else _quantities(list(self.bounds))
        return ParameterGrid(values, bounds=bounds, bins=self.bins, scale=self.scale, discrete=self.discrete)


class BoundsConfig(Section):
    """Bounds of the integrals over true energy and direction."""

    containment: float = Field(default=0.9999, gt=0.5, lt=1)
    dex: float | None = Field(default=None, gt=0)
    angle: Angle | None = None
    bin_size: Angle = 0.05 * u.deg


class SamplerConfig(Section):
    """Sampler and its options."""

    name: str = "dynesty"
    options: dict[str, Any] = {}


class BayesOutput(Section):
    """Where results go."""

    folder: str = "bayes"
    plots: bool = True
    overwrite: bool = False


class BayesConfig(SimulationConfig):
    """A whole inference; the keys are those of the module's description."""

    events: str | None = None
    grids: dict[str, GridConfig] = {}
    alpha: float | dict[str, Any] = 1.0
    total: dict[str, Any] | None = None
    bounds: BoundsConfig = BoundsConfig()
    outside: Literal["raise", "drop"] = "raise"
    sampler: SamplerConfig = SamplerConfig()
    output: BayesOutput = BayesOutput()  # type: ignore[assignment]


def _quantities(values: list[Any]) -> Any:
    try:
        return u.Quantity([u.Quantity(v) for v in values])
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise ConfigError(f"grids: expected numbers or quantities, found {values!r}") from error


def read_bayes_config(path: str | os.PathLike[str]) -> BayesConfig:
    """Read and check the configuration file of an inference.

    Parameters
    ----------
    path : str or path-like
        YAML file.

    Raises
    ------
    ConfigError
        If the file can't be read or anything in it isn't allowed.
    """
    return load_config(path, BayesConfig)


def run_bayes(
    config: BayesConfig,
    folder: Path | None = None,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda message: None,
) -> tuple[EventMixture, Posterior, list[Path]]:
    """Run the whole chain: events, marginalisation, sampling, files.

    What is finished is kept in the folder. A second run with the same configuration goes on where the first
    one was stopped; a configuration that differs is an error.

    Parameters
    ----------
    config : `BayesConfig`
        Configuration.
    folder : `~pathlib.Path`, optional
        Folder instead of that of the configuration.
    overwrite : bool
        Whether to start anew, in the place of what is there.
    report : callable
        Called with what is being done.

    Returns
    -------
    mixture, posterior, paths
        What was sampled, its posterior, and the files.

    Raises
    ------
    CheckpointError
        If the folder holds another inference.
    """
    from villard.bayes.samplers import check_options

    folder = make_path(config.output.folder) if folder is None else folder
    # Before the work, so that nobody waits for a mistake.
    check_options(config.sampler.name, config.sampler.options)
    is_new = _prepare(config, folder, overwrite or config.output.overwrite)
    report("Reading responses and models")
    try:
        mixture = _mixture(config, folder, report)
        report(f"Sampling with {config.sampler.name}")
        posterior = mixture.sample(
            config.sampler.name,
            random_state=config.random_state,
            checkpoint=folder / "run",
            **config.sampler.options,
        )
    except VillardError:
        # A mistake in the configuration shouldn't stand in the way of the corrected one.
        if is_new and not any((folder / "run").glob("*")):
            _clear(folder)
        raise
    report("Writing results")
    return mixture, posterior, _write(mixture, posterior, config, folder)


def _clear(folder: Path) -> None:
    """Remove what a run writes."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def _prepare(config: BayesConfig, folder: Path, overwrite: bool) -> bool:
    """Make the folder, or check that it is that of the same inference; tell whether it is new."""
    mark = folder / "configuration.sha256"
    digest = hashlib.sha256(config.model_dump_json(exclude={"output"}, fallback=str).encode())
    for name in (config.models, config.events):
        if name is not None:
            path = config._folder / make_path(name)
            digest.update(path.read_bytes() if path.is_file() else b"")
    if overwrite and mark.exists():
        _clear(folder)
    if mark.exists():
        if mark.read_text().strip() != digest.hexdigest():
            raise CheckpointError(
                f"{folder} holds an inference with another configuration or models; choose another folder, "
                "or use overwrite (--overwrite) to replace it"
            )
        return False
    if folder.exists() and any((folder / name).exists() for name in (*_FILES, *_FOLDERS)):
        raise CheckpointError(f"{folder} holds files that aren't of an inference; choose another folder")
    with atomic_write(mark) as path:
        path.write_text(digest.hexdigest())
    return True


def _mixture(config: BayesConfig, folder: Path, report: Callable[[str], None]) -> EventMixture:
    from villard.bayes import EventMixture
    from villard.data import EventList
    from villard.modeling.prior import Prior
    from villard.simulate.simulated_events import SimulatedEvents

    tree = config.tree()
    if not isinstance(tree, dict):
        raise ConfigError("components: expected a tree of names, found none")
    observation = config.observation.create(config._folder)
    bounds: dict[str, Any] = {}
    if config.events is not None:
        events: Any = EventList.read(config._folder / make_path(config.events))
        if "FOV_LON" in events.meta:
            events = SimulatedEvents(events.table)
        bounds = _bounds(config, isinstance(events, SimulatedEvents))
    elif (folder / "events.fits").exists():
        events = SimulatedEvents.read(folder / "events.fits")
    else:
        simulated, events = run_simulation(config, report)
        simulated.write(folder / "events.fits", include_irfs=False)
        # As read, in the precision of the file: so that a run that goes on has the same events.
        events = SimulatedEvents.read(folder / "events.fits")
    report("Marginalising")
    own = config.bounds
    return EventMixture(
        events,
        observation,
        tree,
        grids={name: grid.create() for name, grid in config.grids.items()},
        alpha=config.alpha,
        total=None if config.total is None else Prior.from_dict(config.total),
        outside=config.outside,
        containment=own.containment,
        dex=own.dex,
        angle=own.angle,
        bin_size=own.bin_size,
        folder=folder / "chunks",
        **bounds,
    )


def _bounds(config: BayesConfig, is_known: bool) -> dict[str, Any]:
    """Return the bounds that the configuration states: its defaults aren't those of any events."""
    stated = config.model_fields_set
    lacking = [key for key in ("energy_bounds", "width") if key not in stated]
    if lacking and not is_known:
        raise ConfigError(
            f"events: expected {' and '.join(lacking)} too, within which the events of {config.events} were "
            "selected (simulated ones know theirs)"
        )
    bounds: dict[str, Any] = {}
    if "energy_bounds" in stated:
        bounds["energy_bounds"] = u.Quantity(list(config.energy_bounds))
    if "width" in stated:
        width = config.width
        bounds["width"] = width if isinstance(width, u.Quantity) else u.Quantity(list(width))
    return bounds | ({} if config.frame is None else {"frame": config.frame})


def _write(mixture: EventMixture, posterior: Posterior, config: BayesConfig, folder: Path) -> list[Path]:
    paths = [folder / "posterior.fits", folder / "summary.txt"]
    posterior.write(paths[0], overwrite=True)
    with atomic_write(paths[1], overwrite=True) as path:
        path.write_text(f"{mixture}\n\n{posterior}\n")
    if config.output.plots:
        import matplotlib as mpl

        with mpl.rc_context({"backend": "agg"}):
            figure = posterior.plot_corner()
            paths.append(folder / "corner.png")
            with atomic_write(paths[-1], overwrite=True) as path:
                figure.savefig(path, format="png", dpi=120)
            import matplotlib.pyplot as plt

            plt.close(figure)
    return paths

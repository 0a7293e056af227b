"""Simulation-based calibration of event mixtures, and the evidence against an integral over a grid.

Data sets with shares and a mass drawn from their priors, analytic responses: no other files are needed.
"""

import argparse
import time

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from scipy.special import logsumexp

from villard.astro.darkmatter import EinastoProfile, HaloSpatialModel, ScalarSingletSpectralModel
from villard.bayes import EventMixture, ParameterGrid, simulation_based_calibration, stick_breaking
from villard.data import Observation
from villard.irf import make_analytic_irfs
from villard.modeling.models import (
    GaussianSpatialModel,
    IRFBackground,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from villard.modeling.prior import LogUniformPrior
from villard.simulate import simulate_events

CENTER = SkyCoord(0, 0, unit="deg", frame="galactic")
BOUNDS, WIDTH = [0.1, 100] * u.TeV, 6 * u.deg
MASSES = ParameterGrid(bounds=[0.3, 30] * u.TeV, bins=41)


class Study:
    """The mixture of the tutorial with stand-ins that need no files."""

    def __init__(self, n_events: int) -> None:
        self.n_events = n_events
        self.observation = Observation.create(CENTER, livetime=5 * u.h, irfs=make_analytic_irfs())
        halo = HaloSpatialModel(EinastoProfile())
        self.dark = SkyModel(
            ScalarSingletSpectralModel(mass=1 * u.TeV, coupling=0.1, source="analytic"), halo
        )
        self.dark.parameters["mass"].prior = LogUniformPrior(min=0.3, max=30)
        places = [PointSpatialModel(lon_0=x * u.deg, lat_0=0 * u.deg, frame="galactic") for x in (-1.1, 0.9)]
        plane = GaussianSpatialModel(sigma=3 * u.deg, e=0.98, phi=90 * u.deg, frame="galactic")
        self.components = {
            "DM": self.dark,
            "bkg": {
                "CCR": IRFBackground(),
                "local": [SkyModel(PowerLawSpectralModel(index=2.3), place) for place in places],
                "diffuse": SkyModel(PowerLawSpectralModel(index=2.7), plane),
            },
        }
        self.mixture: EventMixture | None = None

    def __call__(self, rng: np.random.Generator) -> tuple[dict[str, float], EventMixture]:
        dm, bkg = stick_breaking(rng.random(1), np.ones(2))
        ccr, local, diffuse = stick_breaking(rng.random(2), np.ones(3))
        mass = float(rng.choice(MASSES.values))
        numbers = rng.multinomial(self.n_events, [dm, bkg * ccr, bkg * local, bkg * diffuse])
        self.dark.parameters["mass"].value = mass
        counts = {k: int(n) for k, n in zip(("DM", "CCR", "local", "diffuse"), numbers, strict=True)}
        seed = int(rng.integers(2**31))
        options = {"energy_bounds": BOUNDS, "width": WIDTH}
        events = simulate_events(self.observation, self.components, seed, counts, **options)
        truths = {"DM": dm, "CCR": ccr, "local": local, "diffuse": diffuse, "mass": mass}
        if self.mixture is None:
            self.mixture = EventMixture(events, self.observation, self.components, grids={"mass": MASSES})
            return truths, self.mixture
        return truths, self.mixture.with_events(events)


def grid_evidence(mixture: EventMixture, n: int = 32) -> float:
    """Return ln Z by Gauss and Legendre's rule over the unit cube of the shares, for all masses."""
    nodes, parts = np.polynomial.legendre.leggauss(n)
    w, log_parts = 0.5 * (nodes + 1), np.log(0.5 * parts)
    log_weight = np.sum(np.meshgrid(log_parts, log_parts, log_parts), axis=0).ravel()
    masses = (np.arange(len(MASSES.values)) + 0.5) / len(MASSES.values)
    total = []
    for mass in masses:
        u = np.stack(np.meshgrid(w, w, w, [mass]), axis=-1).reshape(-1, 4)
        total.append(logsumexp(mixture.log_likelihood(mixture.prior_transform(u)) + log_weight))
    return float(logsumexp(total) - np.log(len(masses)))


def compare_evidences(study: Study, n: int, samplers: list[str]) -> None:
    """Print how far evidences of many data sets are from integrals over a grid."""
    away: dict[str, list[float]] = {}
    pulls: dict[str, list[float]] = {}

    def note(name: str, value: float, error: float, exact: float) -> None:
        away.setdefault(name, []).append(value - exact)
        pulls.setdefault(name, []).append((value - exact) / error)

    for seed in range(n):
        _, mixture = study(np.random.default_rng(10_000 + seed))
        exact = grid_evidence(mixture)
        text = f"{seed:3d} grid {exact:9.3f}"
        for sampler in samplers:
            p = (
                mixture.sample(sampler, random_state=seed, dlogz=0.8)
                if sampler == "dynesty"
                else (mixture.sample(sampler, random_state=seed))
            )
            note(sampler, p.log_evidence, p.log_evidence_error, exact)
            text += f", {sampler} {p.log_evidence - exact:+.4f} ± {p.log_evidence_error:.4f}"
            if "own_log_evidence" in p.diagnostics:
                own = p.diagnostics["own_log_evidence"], p.diagnostics["own_log_evidence_error"]
                note(f"{sampler}, its own", *own, exact)
                text += f" (its own {own[0] - exact:+.3f} ± {own[1]:.3f})"
        print(text, flush=True)
    for name, values in away.items():
        pull = np.sqrt(np.mean(np.square(pulls[name])))
        print(
            f"ln Z of {n} data sets, {name:<18}: largest distance {np.max(np.abs(values)):.4f}, "
            f"mean {np.mean(values):+.4f}, rms {np.sqrt(np.mean(np.square(values))):.4f}, rms pull {pull:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="number of data sets, none with 0")
    parser.add_argument("--events", type=int, default=300, help="events of each")
    parser.add_argument("--evidences", type=int, default=24, help="data sets whose evidence is compared")
    parser.add_argument("--sampler", default="importance")
    parser.add_argument("--plot", help="file of the histograms of ranks")
    arguments = parser.parse_args()
    study, start = Study(arguments.events), time.perf_counter()
    if arguments.evidences:
        compare_evidences(study, arguments.evidences, ["importance", "dynesty"])
    if not arguments.n:
        return
    result = simulation_based_calibration(study, arguments.n, arguments.sampler)
    print(result)
    print(f"{time.perf_counter() - start:.0f} s")
    if arguments.plot:
        result.plot().savefig(arguments.plot, dpi=120)


if __name__ == "__main__":
    main()
